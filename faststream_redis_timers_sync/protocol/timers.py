"""Makes timers of messages, ready to be scheduled."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from faststream_redis_timers_sync.protocol.envelope import (
    HeaderValue,
    check_headers,
    write_envelope,
)
from faststream_redis_timers_sync.protocol.keys import plain_text
from faststream_redis_timers_sync.protocol.model import EncodedTimer, TimerPublishMessage
from faststream_redis_timers_sync.protocol.recurrence import (
    REPEAT,
    REPEAT_OWNER,
    Repeat,
    check_repeat,
)
from faststream_redis_timers_sync.protocol.times import ask_due
from faststream_redis_timers_sync.protocol.tracing import without_trace

DEFINITION = "dead-letter-repeat"
"""Header of a dead-lettered occurrence, and of the timer redriven from it: the definition."""

SERIES_ID = "dead-letter-series-id"
"""Likewise: the id of the recurring timer."""

OCCURRENCE = "dead-letter-occurrence"
"""Likewise: which occurrence it is."""

_OF_SERIES = frozenset({REPEAT, REPEAT_OWNER, DEFINITION, SERIES_ID, OCCURRENCE})


def new_timer_id() -> str:
    """Make an id: 22 characters, 128 random bits.

    It never begins with a dash, so that it can stand on a command line.
    """
    while (timer_id := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return timer_id


def encode_timer(  # noqa: PLR0913  a timer has that many properties
    body: bytes,
    content_type: str | None,
    *,
    timer_id: str | None = None,
    activate_in: timedelta | None = None,
    activate_at: datetime | None = None,
    default_delay: timedelta | None = None,
    correlation_id: str | None = None,
    headers: Mapping[str, HeaderValue] | None = None,
    reply_to: str = "",
    repeat: Repeat | None = None,
    repeat_owner: str | None = None,
    topic: str = "",
) -> EncodedTimer:
    """Make a timer ready to be scheduled.

    Args:
        body: The encoded message.
        content_type: Its MIME type; None for raw bytes.
        timer_id: Its id; None makes a new one.
        activate_in: Delay until it is due, by the server's clock.
        activate_at: Due time, an aware datetime.
        default_delay: Delay if neither is given; None means now.
        correlation_id: Its correlation id. The timer id is the default, and is
            not written twice.
        headers: Its headers.
        reply_to: Full topic for the handler's result.
        repeat: Its definition if it is recurring; its first time is found out later.
        repeat_owner: Who declares it.
        topic: The full topic, by which `Every` with `spread` finds its shift.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The id is empty, a time can't be used, a header can't be written, or there
            is no id or a time beside `repeat`.
    """
    check_headers(headers)
    if repeat is not None:
        return _encode_recurring(
            body,
            content_type,
            timer_id=timer_id,
            activate_in=activate_in,
            activate_at=activate_at,
            correlation_id=correlation_id,
            headers=headers,
            reply_to=reply_to,
            repeat=repeat,
            repeat_owner=repeat_owner,
            topic=topic,
        )
    timer_id = new_timer_id() if timer_id is None else plain_text("timer_id", timer_id)
    due = ask_due(activate_in, activate_at, default_delay)
    payload = write_envelope(
        body,
        content_type=content_type,
        correlation_id=None if correlation_id in (None, "", timer_id) else correlation_id,
        reply_to=reply_to,
        headers=without_series(headers) if headers else None,
    )
    return EncodedTimer(timer_id, payload, due)


def occurrence_id(timer_id: str, occurrence: datetime) -> str:
    """Return the correlation id that an occurrence of a recurring timer has by default.

    Args:
        timer_id: The timer's id.
        occurrence: Its time, in UTC.

    Returns:
        Both, as in ``daily@2027-03-29T07:00:00+00:00``.
    """
    return f"{timer_id}@{occurrence.isoformat()}"


def without_series(
    headers: Mapping[str, HeaderValue] | None,
) -> Mapping[str, HeaderValue] | None:
    """Remove the headers of a series: forwarding a timer's headers must not create a series.

    Nor must the new timer count as an occurrence of one.

    Args:
        headers: The headers.
    """
    if not headers or _OF_SERIES.isdisjoint(headers):
        return headers
    return {name: headers[name] for name in headers if name not in _OF_SERIES}


def _encode_recurring(  # noqa: PLR0913  a timer has that many properties
    body: bytes,
    content_type: str | None,
    *,
    timer_id: str | None,
    activate_in: timedelta | None,
    activate_at: datetime | None,
    correlation_id: str | None,
    headers: Mapping[str, HeaderValue] | None,
    reply_to: str,
    repeat: Repeat,
    repeat_owner: str | None,
    topic: str,
) -> EncodedTimer:
    check_repeat("repeat", repeat)
    if timer_id is None:
        msg = (
            f"repeat={repeat!r} needs a timer_id, which identifies the recurring timer; in a "
            "batch each message needs its own: TimerPublishMessage(..., timer_id=...)"
        )
        raise ValueError(msg)
    if activate_in is not None or activate_at is not None:
        msg = (
            "give only one of repeat, activate_in and activate_at, got "
            f"repeat={repeat!r}, activate_in={activate_in!r} and activate_at={activate_at!r}"
        )
        raise ValueError(msg)
    timer_id = plain_text("timer_id", timer_id)
    repeat = repeat.bound_to(topic, timer_id)
    # Scripts read these, as the first ones. A year of occurrences would be a single trace.
    series: dict[str, HeaderValue] = {REPEAT: repeat.definition}
    if repeat_owner is not None:
        series[REPEAT_OWNER] = repeat_owner
    payload = write_envelope(
        body,
        content_type=content_type,
        correlation_id=correlation_id or None,
        reply_to=reply_to,
        headers=without_series(without_trace(headers)),
        first=series,
    )
    return EncodedTimer(timer_id, payload, b"", repeat)


def ask_first(repeat: Repeat, now: datetime) -> bytes:
    """Return when a series is due first, as the scripts read it.

    Args:
        repeat: Its definition.
        now: The server's time.

    Raises:
        ValueError: It has no further time.
    """
    first = repeat.after(now)
    if first is None:
        msg = f"repeat must have a time after {now.isoformat()}, got {repeat!r}"
        raise ValueError(msg)
    return ask_due(None, first)


def first_due(timer: EncodedTimer, now: datetime) -> EncodedTimer:
    """Set the time at which a recurring timer is due first.

    Args:
        timer: The timer.
        now: The server's time.

    Raises:
        ValueError: Its definition has no further time.
    """
    if timer.repeat is None:
        return timer
    return timer._replace(due=ask_first(timer.repeat, now))


def encode_batch_item(  # noqa: PLR0913  a timer has that many properties
    message: TimerPublishMessage,
    body: bytes,
    content_type: str | None,
    *,
    activate_in: timedelta | None,
    activate_at: datetime | None,
    default_delay: timedelta | None,
    correlation_id: str | None,
    headers: Mapping[str, HeaderValue] | None,
    reply_to: str,
    repeat: Repeat | None = None,
    topic: str = "",
) -> EncodedTimer:
    """Make one timer of a batch: its own options win over the batch's.

    Args:
        message: The message and its options.
        body: The message, encoded.
        content_type: Its MIME type.
        activate_in: The batch's.
        activate_at: The batch's.
        default_delay: The batch's.
        correlation_id: The batch's.
        headers: The batch's.
        reply_to: The batch's.
        repeat: The batch's; times and `repeat` count as one option.
        topic: The full topic.
    """
    if message.headers is not None:
        check_headers(headers)
        check_headers(message.headers)
        headers = {**(headers or {}), **message.headers}
    own_in, own_at, own_repeat = message.activate_in, message.activate_at, message.repeat
    if own_in is not None or own_at is not None or own_repeat is not None:
        activate_in, activate_at, repeat = own_in, own_at, own_repeat
    return encode_timer(
        body,
        content_type,
        timer_id=message.timer_id,
        activate_in=activate_in,
        activate_at=activate_at,
        default_delay=default_delay,
        correlation_id=message.correlation_id or correlation_id,
        headers=headers,
        reply_to=reply_to,
        repeat=repeat,
        topic=topic,
    )


def as_publish_message(message: Any) -> TimerPublishMessage:
    """Wrap a message of a batch in a `TimerPublishMessage`, unless it is one.

    Args:
        message: A message, or a `TimerPublishMessage`.
    """
    return message if isinstance(message, TimerPublishMessage) else TimerPublishMessage(message)


def refuse_publish_message(message: Any) -> None:
    """Refuse a message with its own options, which only a batch uses.

    Args:
        message: The message.

    Raises:
        TypeError: It is a `TimerPublishMessage`: its time would be ignored.
    """
    if isinstance(message, TimerPublishMessage):
        msg = (
            "a TimerPublishMessage is for batches: pass its body as the message, "
            "and its options as arguments"
        )
        raise TypeError(msg)


def name_topic(error: Exception, topic: str, name: str) -> None:
    """Add to an encoder's error the name of the message and its topic.

    Args:
        error: The error.
        topic: The full topic.
        name: The name of the message.
    """
    error.add_note(f"while encoding {name} for topic {topic!r}")
