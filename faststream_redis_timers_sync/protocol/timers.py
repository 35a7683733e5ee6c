"""Makes timers of messages, ready to be scheduled."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from faststream_redis_timers_sync.protocol.envelope import HeaderValue, write_envelope
from faststream_redis_timers_sync.protocol.keys import plain_text
from faststream_redis_timers_sync.protocol.model import EncodedTimer, TimerPublishMessage
from faststream_redis_timers_sync.protocol.times import ask_due


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
) -> EncodedTimer:
    """Make a timer ready to be scheduled.

    Args:
        body: The encoded message.
        content_type: Its MIME type, None for bytes as they stand.
        timer_id: Its id; None makes a new one.
        activate_in: Delay until it is due, by the server's clock.
        activate_at: Time at which it is due, with a time zone.
        default_delay: Delay where neither is given; None means now.
        correlation_id: Its correlation id. The timer id is the default, and is
            not written twice.
        headers: Its headers.
        reply_to: Full topic for the handler's result.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The id is empty, a time can't be used, a header can't be written.
    """
    timer_id = new_timer_id() if timer_id is None else plain_text("timer_id", timer_id)
    due = ask_due(activate_in, activate_at, default_delay)
    payload = write_envelope(
        body,
        content_type=content_type,
        correlation_id=None if correlation_id in (None, "", timer_id) else correlation_id,
        reply_to=reply_to,
        headers=headers,
    )
    return EncodedTimer(timer_id, payload, due)


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
) -> EncodedTimer:
    """Make one timer of a batch: its own settings win over the batch's.

    Args:
        message: The message and its settings.
        body: The message, encoded.
        content_type: Its MIME type.
        activate_in: The batch's.
        activate_at: The batch's.
        default_delay: The batch's.
        correlation_id: The batch's.
        headers: The batch's.
        reply_to: The batch's.
    """
    if message.activate_in is not None or message.activate_at is not None:
        activate_in, activate_at = message.activate_in, message.activate_at
    return encode_timer(
        body,
        content_type,
        timer_id=message.timer_id,
        activate_in=activate_in,
        activate_at=activate_at,
        default_delay=default_delay,
        correlation_id=message.correlation_id or correlation_id,
        headers={**headers, **message.headers}
        if headers and message.headers
        else message.headers or headers,
        reply_to=reply_to,
    )


def as_publish_message(message: Any) -> TimerPublishMessage:
    """Give a message of a batch its settings, if it has none.

    Args:
        message: A message, or a `TimerPublishMessage`.
    """
    return message if isinstance(message, TimerPublishMessage) else TimerPublishMessage(message)


def refuse_publish_message(message: Any) -> None:
    """Refuse a message with settings of its own where only a batch looks at them.

    Args:
        message: The message.

    Raises:
        TypeError: It is a `TimerPublishMessage`: its time would be ignored.
    """
    if isinstance(message, TimerPublishMessage):
        msg = (
            "a TimerPublishMessage is for batches: give its body as the message, "
            "and its settings as arguments"
        )
        raise TypeError(msg)


def name_topic(error: Exception, topic: str, name: str) -> None:
    """Note on an encoder's error which message it is about, and which topic that was for.

    Args:
        error: The error.
        topic: The full topic.
        name: What the message is called.
    """
    error.add_note(f"while encoding {name} for topic {topic!r}")
