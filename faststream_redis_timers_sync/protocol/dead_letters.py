"""Dead letters, and what their payloads say about their end.

A dead letter keeps body and headers as they were. The reason and the origin stand in headers after
all others, so that they can be removed: then the payload is what it was, byte for byte.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple

from faststream_redis_timers_sync.protocol.envelope import (
    append_headers,
    bytes_before_headers,
    counts_bytes,
    is_envelope,
    read_envelope,
    replace_headers,
    take_headers,
    write_envelope,
)
from faststream_redis_timers_sync.protocol.keys import encode_known_id
from faststream_redis_timers_sync.protocol.recurrence import REPEAT, REPEAT_OWNER
from faststream_redis_timers_sync.protocol.timers import (
    DEFINITION,
    OCCURRENCE,
    SERIES_ID,
    occurrence_id,
)
from faststream_redis_timers_sync.protocol.times import time_of

Reason = Literal["attempts", "rejected", "unreadable"]
"""Why a timer was dead-lettered: its attempts are used up, its handler rejected it, or nobody
can read it."""

REASON = "dead-letter-reason"
TOPIC = "dead-letter-topic"
TIMER_ID = "dead-letter-timer-id"
DUE_AT = "dead-letter-due-at"
ATTEMPTS = "dead-letter-attempts"
ERROR = "dead-letter-error"
BODY = "dead-letter-body"

_WHOLE_PAYLOAD = "payload"
_REWRITTEN = "rewritten"
# Values of `BODY`. The body is the timer's whole payload, which is not an envelope or can't be
# read; or the timer's envelope was of another kind, and what it was stands before the headers.

_CORRELATION_ID = "correlation_id"
_ADDED = (REASON, TOPIC, TIMER_ID, DUE_AT, ATTEMPTS, ERROR, BODY, _CORRELATION_ID)
# The reason is always the first: headers before it were the timer's own. An occurrence of a
# recurring timer has further headers, which stay when it is redriven, see `_as_one_shot`.

_SUFFIX = 9
# Characters by which a dead letter's id is longer than that of its timer.


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why and when a timer was dead-lettered.

    Args:
        reason: Why.
        topic: The full topic that it comes from.
        timer_id: Its id, as it stands in the keys.
        first_due: The score of its first due time, as text.
        attempts: How often it was claimed; None if that is not counted.
        error: The name of the type of its handler's last error. None if its handler never
            reported one: the timer may have killed its workers, or never have reached a handler.
        definition: The definition, if it was one occurrence of a recurring timer.
        occurrence: Which one, in UTC; None before the first one.
    """

    reason: Reason
    topic: str
    timer_id: bytes
    first_due: bytes
    attempts: int | None = None
    error: str | None = None
    definition: str | None = None
    occurrence: datetime | None = None


class Origin(NamedTuple):
    """The origin of a dead letter.

    Args:
        topic: The full topic.
        timer_id: The timer's id, as it stood in the keys.
        payload: Its payload.
    """

    topic: str
    timer_id: bytes
    payload: bytes

    def __repr__(self) -> str:
        """Name topic and id; the payload may be secret."""
        return (
            f"{type(self).__name__}(topic={self.topic!r}, timer_id={self.timer_id!r}, "
            f"{len(self.payload)} bytes)"
        )


def is_dead_letter(headers: Mapping[str, str]) -> bool:
    """Return whether headers are those of a dead letter that says where it comes from.

    Args:
        headers: A timer's headers.
    """
    return REASON in headers and bool(headers.get(TOPIC))


def read_occurrence(headers: Mapping[str, str]) -> datetime | None:
    """Return which occurrence of a recurring timer was dead-lettered.

    Args:
        headers: The headers of a dead letter, or of the timer that was redriven from it.

    Returns:
        Its time in UTC; None if unknown.
    """
    try:
        time = datetime.fromisoformat(headers.get(OCCURRENCE, ""))
    except ValueError:
        return None
    return None if time.utcoffset() is None else time


def write_dead_letter(payload: bytes, ending: Ending) -> bytes:
    """Make a dead letter of a timer, as `settle_and_claim` takes it.

    Its id is the timer's, a colon and eight random characters.

    Args:
        payload: The timer's payload.
        ending: Why it is dead-lettered.

    Returns:
        The length of its id, a colon, the id and its payload.
    """
    shown_id = ending.timer_id.decode("utf-8", "backslashreplace")
    dead_id = f"{shown_id}:{secrets.token_urlsafe(6)}".encode()
    if ending.definition is not None:
        # It is redriven under its own id, beside the recurring timer.
        payload = _as_one_shot(payload, ending.definition, shown_id, ending.occurrence)
        ending = replace(ending, timer_id=dead_id)
    dead_letter = _write_payload(payload, ending)
    return b"%d:%b%b" % (len(dead_id), dead_id, dead_letter)


def id_of_dead_letter(dead_letter: bytes) -> bytes:
    """Return the id of a dead letter.

    Args:
        dead_letter: A result of `write_dead_letter`.
    """
    length, _, rest = dead_letter.partition(b":")
    return rest[: int(length)]


def _as_one_shot(
    payload: bytes, definition: str, shown_id: str, occurrence: datetime | None
) -> bytes:
    """Make the payload of one occurrence, which does not recur.

    Headers for which there is no room are left out: a dead letter must always be possible.
    """
    first = {DEFINITION: definition}
    told = {**first, SERIES_ID: shown_id}
    if occurrence is not None:
        told[OCCURRENCE] = occurrence.isoformat()
        if _CORRELATION_ID not in read_envelope(payload).headers:
            told[_CORRELATION_ID] = occurrence_id(shown_id, occurrence)
    series = {REPEAT, REPEAT_OWNER}
    try:
        return replace_headers(payload, series, told)
    except ValueError:
        # There is room for one header in place of another.
        return replace_headers(payload, series, first)


def _write_payload(payload: bytes, ending: Ending) -> bytes:
    added = {
        REASON: ending.reason.encode(),
        TOPIC: ending.topic.encode(),
        TIMER_ID: ending.timer_id,
        DUE_AT: time_of(float(ending.first_due)).isoformat().encode(),
    }
    if ending.attempts is not None:
        added[ATTEMPTS] = b"%d" % ending.attempts
    if ending.error is not None:
        added[ERROR] = ending.error.encode("utf-8", "backslashreplace")
    if ending.reason != "unreadable":
        try:
            return _write_beside(payload, added, ending.timer_id)
        except ValueError:
            # It is not an envelope, or there is no room for more headers.
            pass
    added |= {BODY: _WHOLE_PAYLOAD.encode(), _CORRELATION_ID: ending.timer_id}
    return append_headers(write_envelope(payload), added)


def _write_beside(payload: bytes, added: dict[str, bytes], timer_id: bytes) -> bytes:
    """Add headers to those of a payload; ValueError if it can't have any."""
    body, headers = read_envelope(payload)
    if _CORRELATION_ID not in headers:
        # The default is the timer's id, and that is another one now.
        added = {**added, _CORRELATION_ID: timer_id}
    if counts_bytes(payload):
        return append_headers(payload, added)
    if body == payload:
        msg = "it is not an envelope"
        raise ValueError(msg)
    writable = {_writable(name): _writable(value) for name, value in headers.items()}
    before = payload[: len(payload) - len(body)] if is_envelope(payload) else payload
    added = {**added, BODY: _REWRITTEN.encode()}
    return append_headers(write_envelope(body, headers=writable), added, before=before)


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def read_dead_letter(dead_id: bytes, dead_letter: bytes) -> Origin | None:
    """Return where a dead letter comes from, and what its payload was.

    Args:
        dead_id: Its id.
        dead_letter: Its payload.

    Returns:
        None if it is not a dead letter, or does not say where it came from.
    """
    try:
        found = take_headers(dead_letter, _ADDED)
        if found is None:
            return None
        payload, added = found
        topic = added.get(TOPIC, "")
        topic.encode()
    except ValueError:
        return None
    if not topic:
        return None
    if added.get(BODY) == _WHOLE_PAYLOAD:
        payload = read_envelope(dead_letter).body
    elif added.get(BODY) == _REWRITTEN and (before := bytes_before_headers(dead_letter)):
        payload = before + read_envelope(dead_letter).body if is_envelope(before) else before
    timer_id = added.get(TIMER_ID)
    if timer_id:
        return Origin(topic, encode_known_id(timer_id), payload)
    # An id that was too long for a header stands in the dead letter's.
    known_id, end = dead_id[:-_SUFFIX], dead_id[-_SUFFIX:]
    return Origin(topic, known_id, payload) if known_id and end.startswith(b":") else None
