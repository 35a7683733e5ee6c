"""What failed calls mean, and how long to pause after them."""

import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.delivery.schedule import Backoff
from faststream_redis_timers_sync.protocol.clients import is_pool_full
from faststream_redis_timers_sync.protocol.errors import TimerOutcomeUnknownError
from faststream_redis_timers_sync.protocol.routing import refusal_of
from faststream_redis_timers_sync.protocol.safe_text import text_of


class FailureKind(Enum):
    """How a call can fail."""

    LOST_REPLY = auto()
    """It was sent, and it is unknown whether it was carried out."""

    POOL_FULL = auto()
    """All connections were in use."""

    SLOT_MOVING = auto()
    """The slot of its keys is moving to another primary, and some keys are not there yet."""

    OTHER = auto()
    """It was refused, or was never sent."""


class Failure(NamedTuple):
    """A call that has failed.

    Args:
        kind: How it failed.
        reason: The error, for the log.
    """

    kind: FailureKind
    reason: str


def failure_of(error: BaseException) -> Failure:
    """Return what an error means for a call.

    Args:
        error: The error of sending it, or of reading its reply.
    """
    kind = FailureKind.OTHER
    if is_pool_full(error):
        kind = FailureKind.POOL_FULL
    elif (refusal := refusal_of(error)) is not None and refusal.kind == "TRYAGAIN":
        kind = FailureKind.SLOT_MOVING
    elif isinstance(error, TimerOutcomeUnknownError):
        kind = FailureKind.LOST_REPLY
        # The log needs the cause: claimed timers are redelivered when their leases expire.
        error = error.__cause__ or error
    return Failure(kind, f"{type(error).__name__}: {text_of(error)}".rstrip(": "))


_DELAYS = {FailureKind.POOL_FULL, FailureKind.SLOT_MOVING}
# These are not outages, but delay timers.


class _State(Enum):
    UP = auto()
    # One reply was lost: a single closed connection is not an outage.
    DOUBTFUL = auto()
    DOWN = auto()
    # The server replies, but not to a claim yet: it may reply to reads and still refuse to
    # write, or cut long replies.
    ANSWERING = auto()


class Outage:
    """Whether there is an outage, judged by the calls of one subscriber.

    Args:
        topic: The full topic.
        log: Writes to the broker's log, once for each change.
        spread: Returns a number from 0 to 1, for the jitter of pauses.
    """

    __slots__ = ("_backoff", "_delayed_by", "_log", "_state", "_topic", "is_away")

    def __init__(self, topic: str, log: Log, spread: Callable[[], float]) -> None:
        """Start without an outage."""
        self._topic = topic
        self._log = log
        self._backoff = Backoff(spread)
        self._state = _State.UP
        self._delayed_by: FailureKind | None = None
        # Read for each settlement.
        self.is_away = False

    @property
    def is_unanswered(self) -> bool:
        """Whether the last call has failed, so that the next one should not claim.

        Its reply may be lost, and then nobody would handle the timers that it leases.
        """
        return self._state is _State.DOWN

    def failed(self, failure: Failure, *, is_claim: bool) -> float:
        """Note a call that has failed.

        Args:
            failure: How it failed.
            is_claim: Whether it claimed timers.

        Returns:
            Seconds to pause before the next call.
        """
        if failure.kind in _DELAYS:
            if self._delayed_by is not failure.kind:
                self._delayed_by = failure.kind
                self._log_delay(failure.kind)
            return self._backoff.next_pause()
        if failure.kind is FailureKind.LOST_REPLY and not is_claim and self._state is _State.UP:
            self._state = _State.DOUBTFUL
            return 0.0
        if not self.is_away:
            self._log(logging.ERROR, words.outage(self._topic, failure.reason))
        self._state = _State.DOWN
        self.is_away = True
        return self._backoff.next_pause()

    def _log_delay(self, kind: FailureKind) -> None:
        if kind is FailureKind.POOL_FULL:
            self._log(logging.WARNING, words.pool_full(self._topic))
        else:
            self._log(logging.WARNING, words.slot_moving(self._topic))

    def answered(self, *, is_claim: bool, may_claim: bool) -> bool:
        """Note a call with a reply.

        Args:
            is_claim: Whether it claimed timers.
            may_claim: Whether claims are possible now. Then only the reply to a claim shows
                that timers are delivered.

        Returns:
            Whether the call before had failed.
        """
        self._delayed_by = None
        was_unanswered = self.is_unanswered
        if self.is_away:
            if may_claim and not is_claim:
                self._state = _State.ANSWERING
                return was_unanswered
            self._log(logging.INFO, words.recovery(self._topic))
        self._state = _State.UP
        self.is_away = False
        self._backoff.reset()
        return was_unanswered
