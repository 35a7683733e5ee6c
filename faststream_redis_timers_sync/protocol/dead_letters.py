"""Dead letters: timers that were set aside, and what their payloads tell of it.

A dead letter keeps body and headers as they were, byte for byte. What tells of its end
stands in headers behind all others, so that it can be taken away again.
"""

import secrets
from dataclasses import dataclass
from typing import Literal, NamedTuple

from faststream_redis_timers_sync.protocol.envelope import (
    Envelope,
    append_headers,
    is_envelope,
    read_envelope,
    remove_headers,
    write_envelope,
)
from faststream_redis_timers_sync.protocol.keys import encode_known_id
from faststream_redis_timers_sync.protocol.times import time_of

Reason = Literal["attempts", "rejected", "unreadable"]
"""Why a timer was set aside: its attempts are used up, its handler rejected it, or nobody
can read it."""

REASON = "dead-letter-reason"
TOPIC = "dead-letter-topic"
TIMER_ID = "dead-letter-timer-id"
DUE_AT = "dead-letter-due-at"
ATTEMPTS = "dead-letter-attempts"
ERROR = "dead-letter-error"
BODY = "dead-letter-body"

_WHOLE_PAYLOAD = "payload"
# The value of `BODY` where the body is the timer's whole payload, which could not be read.

_CORRELATION_ID = "correlation_id"
_ADDED = (_CORRELATION_ID, REASON, TOPIC, TIMER_ID, DUE_AT, ATTEMPTS, ERROR, BODY)
_SUFFIX = 9
# Characters by which a dead letter's id is longer than that of its timer.


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why and when a timer was set aside.

    Args:
        reason: Why.
        topic: The full topic that it comes from.
        timer_id: Its id, as it stands in the keys.
        first_due: The score of its first due time, as text.
        attempts: How often it was claimed; None where that is not counted.
        error: The name of the type of its handler's last error. None where it never
            told of one: it may have killed its workers, or never have reached one.
    """

    reason: Reason
    topic: str
    timer_id: bytes
    first_due: bytes
    attempts: int | None = None
    error: str | None = None


class Origin(NamedTuple):
    """Where a dead letter comes from.

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


def write_dead_letter(payload: bytes, ending: Ending) -> bytes:
    """Make a dead letter of a timer, as `settle_and_claim` takes it.

    Its id is the timer's, a colon and eight random characters.

    Args:
        payload: The timer's payload.
        ending: Why it is set aside.

    Returns:
        The length of its id, a colon, the id and its payload.
    """
    shown_id = ending.timer_id.decode("utf-8", "backslashreplace")
    dead_id = f"{shown_id}:{secrets.token_urlsafe(6)}".encode()
    letter = _write_payload(payload, ending)
    return b"%d:%b%b" % (len(dead_id), dead_id, letter)


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
            envelope = read_envelope(payload)
            # What is no envelope yet becomes one.
            if not is_envelope(payload):
                payload = write_envelope(envelope.body, headers=_writable(envelope))
            if _CORRELATION_ID not in envelope.headers:
                # The default is the timer's id, and that is another one now.
                added = {_CORRELATION_ID: ending.timer_id, **added}
            return append_headers(payload, added)
        except ValueError:
            # There is no room for more headers.
            pass
    added = {_CORRELATION_ID: ending.timer_id, **added, BODY: _WHOLE_PAYLOAD.encode()}
    return append_headers(write_envelope(payload), added)


def _writable(envelope: Envelope) -> dict[str, str]:
    return {
        name.encode("utf-8", "backslashreplace").decode(): value.encode(
            "utf-8", "backslashreplace"
        ).decode()
        for name, value in envelope.headers.items()
    }


def read_dead_letter(dead_id: bytes, letter: bytes) -> Origin | None:
    """Find out where a dead letter comes from, and what its payload was.

    Args:
        dead_id: Its id.
        letter: Its payload.

    Returns:
        None where it is no dead letter, or does not tell where it comes from.
    """
    try:
        body, headers = read_envelope(letter)
        if REASON not in headers or not headers.get(TOPIC):
            return None
        if headers.get(BODY) == _WHOLE_PAYLOAD:
            payload = body
        else:
            payload = remove_headers(letter, _ADDED, may_lack=_CORRELATION_ID)
        timer_id = headers.get(TIMER_ID)
        # An id that was too long for a header stands in the dead letter's.
        known_id = encode_known_id(timer_id) if timer_id else dead_id[:-_SUFFIX]
        headers[TOPIC].encode()
    except ValueError:
        return None
    return Origin(headers[TOPIC], known_id, payload)
