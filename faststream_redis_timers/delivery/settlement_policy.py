"""Outcomes of handlers: a retry, the next occurrence, a dead letter, or removal.

The server counts attempts, see `settle_and_claim.lua`.
"""

import logging
import math
from collections.abc import Callable
from datetime import timedelta

from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.delivery.occurrences import Occurrence, lost_occurrence, occurrence_at
from faststream_redis_timers_sync.protocol.dead_letters import (
    Ending,
    Reason,
    id_of_dead_letter,
    write_dead_letter,
)
from faststream_redis_timers_sync.protocol.envelope import Envelope, EnvelopeReader
from faststream_redis_timers_sync.protocol.errors import EnvelopeError
from faststream_redis_timers_sync.protocol.keys import show_id
from faststream_redis_timers_sync.protocol.model import Claimed
from faststream_redis_timers_sync.protocol.recurrence import REPEAT, read_repeat
from faststream_redis_timers_sync.protocol.times import ask_in, is_lease, lease_end, time_of

LOSSES_OF_A_SUSPECT = 2
"""Number of lost leases after which a timer is suspected of killing its workers."""

_UNREADABLE = Envelope(b"", {})
# Placeholder for an envelope that can't be read.


Reading = tuple[Envelope, Occurrence | None, bool, tuple[bytes, bytes] | None]
"""A decoded timer: its envelope; its occurrence, for a recurring timer; whether to start its
handler; and if not, action and detail of a settlement, or None to leave it leased. It is a plain
tuple for speed, since each timer creates one."""


class SettlementPolicy:
    """Decides the outcomes of handlers, failures and rejections in one topic.

    Args:
        topic: The full topic.
        policy: Returns the delay after a failed attempt, given its number and error, or None
            for no further attempt. Without a policy timers are retried without limit, each
            time when the lease would have ended.
        dead_topic: The full dead-letter topic; None removes timers instead.
        log: Writes a line with a `logging` level, and an error's traceback if given.
        max_attempts: After how many attempts the policy returns None, if known.
        is_batched: Whether timers are handled together with up to a hundred others.
    """

    __slots__ = (
        "_is_batched",
        "_log",
        "_policy",
        "_reader",
        "_topic",
        "_unknown",
        "dead_topic",
        "suspect_from",
    )

    def __init__(
        self,
        topic: str,
        policy: Callable[[int, BaseException | None], timedelta | None] | None,
        dead_topic: str | None,
        log: Log,
        max_attempts: float = math.inf,
        *,
        is_batched: bool = False,
    ) -> None:
        """Store the arguments."""
        self._topic = topic
        self._policy = policy
        self._log = log
        self._is_batched = is_batched
        self._reader = EnvelopeReader()
        self._unknown: set[str] = set()
        # Definitions that have been logged.
        self.dead_topic = dead_topic
        self.suspect_from: int | None = None
        if policy is not None or dead_topic is not None:
            # With so few attempts, timers beside a poison timer must not use theirs up.
            is_short = max_attempts <= LOSSES_OF_A_SUSPECT
            self.suspect_from = 2 if is_short else LOSSES_OF_A_SUSPECT + 1
            if is_batched:
                # Each loss may be the fault of a hundred others. A timer that is to be tried alone
                # comes with its first attempt, since that was taken back.
                self.suspect_from = 1

    def read(self, claimed: Claimed, claimed_at: float) -> Reading:
        """Decode a claimed timer, and decide its outcome if no handler is to get it.

        Args:
            claimed: The timer.
            claimed_at: The server's Unix time of the claim, in seconds.
        """
        try:
            if not claimed.timer_id.isascii():
                claimed.timer_id.decode()
            envelope = self._reader.read(claimed.payload)
        except UnicodeDecodeError:
            problem = "its id is not UTF-8"
        except EnvelopeError as error:
            problem = str(error)
        else:
            definition = envelope.headers.get(REPEAT)
            if definition is not None:
                return self._read_recurring(claimed, envelope, definition, claimed_at)
            if claimed.attempt is None or (tried := self._exhausted(claimed)) is None:
                return envelope, None, True, None
            return envelope, None, False, self.dead_letter(tried, None, "attempts", None)
        settlement = self.dead_letter(claimed, None, "unreadable", None, problem)
        return _UNREADABLE, None, False, settlement

    def _read_recurring(
        self, claimed: Claimed, envelope: Envelope, definition: str, claimed_at: float
    ) -> Reading:
        repeat = read_repeat(definition)
        try:
            occurrence = occurrence_at(repeat, time_of(claimed_at))
            if (tried := self._exhausted(claimed)) is None:
                return envelope, occurrence, True, None
            first_due = float(claimed.first_due or claimed.previous_score)
            lost = lost_occurrence(
                occurrence, lease_end(first_due) if is_lease(first_due) else time_of(first_due)
            )
        except (ValueError, ModuleNotFoundError) as error:
            if definition not in self._unknown:
                self._unknown.add(definition)
                self._log(
                    logging.ERROR,
                    f"recurring timer {show_id(claimed.timer_id)} of topic {self._topic!r} can't "
                    "be run by this worker, which leaves it leased after each claim: "
                    f"{error}",
                    None,
                )
            # Another worker may be able to run it. Its handler has not run, so this was no attempt.
            attempt = claimed.attempt
            recount = None if attempt is None else (b"recount", b"%d" % (attempt - 1))
            return envelope, None, False, recount
        return envelope, lost, False, self.dead_letter(tried, lost, "attempts", None)

    def is_suspect(self, claimed: Claimed) -> bool:
        """Return whether a timer may have killed its worker, by the server's rule.

        Args:
            claimed: The timer.
        """
        if not claimed.was_leased:
            return False
        return claimed.attempt is None or claimed.attempt >= (self.suspect_from or 0)

    def _exhausted(self, claimed: Claimed) -> Claimed | None:
        """Return a timer that was claimed although its last attempt is over, else None.

        Its last attempt lost the lease, so no outcome was decided.

        If timers are batched, it must also have had its last attempt alone.
        """
        attempt = claimed.attempt
        if attempt is None or attempt == 1 or not claimed.was_leased:
            return None
        # This claim does not count as an attempt.
        tried = claimed._replace(attempt=attempt - 1)
        if self._ask_policy(tried, None)[0]:
            return None
        if self._is_batched:
            # Another timer of its batch may have caused the loss: it has one more attempt, alone.
            before = claimed._replace(attempt=attempt - 2)
            if before.attempt == 0 or self._ask_policy(before, None)[0]:
                return None
        return tried

    def after_success(self, claimed: Claimed, occurrence: Occurrence) -> tuple[bytes, bytes]:
        """Decide the outcome of a recurring timer whose handler has succeeded.

        Args:
            claimed: The timer.
            occurrence: Which occurrence it is.

        Returns:
            Action and detail of a settlement.
        """
        if occurrence.next_due is None:
            self._log(
                logging.WARNING,
                f"recurring timer {show_id(claimed.timer_id)} of topic {self._topic!r} has run for "
                f"the last time: no occurrence follows in {occurrence.repeat}",
                None,
            )
            return b"commit", b""
        return b"repeat", occurrence.next_due

    def after_failure(
        self,
        claimed: Claimed,
        occurrence: Occurrence | None,
        error: BaseException | None,
        delay: timedelta | None,
    ) -> tuple[bytes, bytes]:
        """Decide the outcome of a timer whose attempt has failed.

        Args:
            claimed: The timer.
            occurrence: The occurrence, for a recurring timer.
            error: The error of its handler.
            delay: The delay that its handler requests, instead of the policy's.

        Returns:
            Action and detail of a settlement.
        """
        goes_on, asked = self._ask_policy(claimed, error)
        if not goes_on:
            return self.dead_letter(claimed, occurrence, "attempts", error)
        return _nack(asked if delay is None else delay)

    def after_assumed_failure(
        self, claimed: Claimed, error: BaseException
    ) -> tuple[bytes, bytes] | None:
        """Decide the outcome of a timer that was not tried, but others of its batch failed.

        Args:
            claimed: The timer.
            error: The error of the others.

        Returns:
            Action and detail of a settlement; None if this was its last attempt.
        """
        goes_on, delay = self._ask_policy(claimed, error)
        return _nack(delay) if goes_on else None

    def _ask_policy(
        self, claimed: Claimed, error: BaseException | None
    ) -> tuple[bool, timedelta | None]:
        """Return whether another attempt follows, and after which delay."""
        if self._policy is None or claimed.attempt is None:
            return True, None
        try:
            delay = self._policy(claimed.attempt, error)
            if delay is not None:
                ask_in("the delay of retry_policy", delay)
        except Exception as failure:  # noqa: BLE001  it is the user's
            self._log(
                logging.ERROR,
                f"retry_policy failed for timer {show_id(claimed.timer_id)} of topic "
                f"{self._topic!r} after attempt {claimed.attempt}, so the timer is retried",
                failure,
            )
            return True, None
        return delay is not None, delay

    def dead_letter(
        self,
        claimed: Claimed,
        occurrence: Occurrence | None,
        reason: Reason,
        error: BaseException | None,
        why: str = "",
    ) -> tuple[bytes, bytes]:
        """Dead-letter a timer or, without a dead-letter topic, remove it.

        A recurring timer stays, and is due at its next time, if it has one.

        Args:
            claimed: The timer.
            occurrence: The occurrence, for a recurring timer.
            reason: The reason.
            error: The error of its handler; None if none was reported.
            why: Details for the log.

        Returns:
            Action and detail of a settlement.
        """
        details = f" ({why or _name_of(error) or 'no worker reported an outcome'})"
        details = f"{_REASONS[reason]}{details}"
        if claimed.attempt is not None:
            details += f", attempt {claimed.attempt}"
        timer = f"timer {show_id(claimed.timer_id)} of topic {self._topic!r}"
        dead_letter = self._write_dead_letter(claimed, occurrence, reason, error)
        if occurrence is not None and occurrence.next_due is not None:
            if occurrence.time is not None:
                details += f", occurrence {occurrence.time.isoformat()}"
            if dead_letter is None:
                self._log(
                    logging.ERROR,
                    f"an occurrence of recurring {timer} was discarded: {details}; "
                    "set dead_letter_topic= to keep such occurrences",
                    None,
                )
                return b"repeat", occurrence.next_due
            self._log(
                logging.WARNING,
                f"an occurrence of recurring {timer} was dead-lettered to topic "
                f"{self.dead_topic!r} as {show_id(id_of_dead_letter(dead_letter))}: {details}",
                None,
            )
            return b"repeat", b"%b %b" % (occurrence.next_due, dead_letter)
        if dead_letter is None:
            is_unreadable = reason == "unreadable"
            remedy = "" if is_unreadable else "; set dead_letter_topic= to keep such timers"
            size = f" with its {len(claimed.payload)} bytes" if is_unreadable else ""
            self._log(logging.ERROR, f"{timer} was removed{size}: {details}{remedy}", None)
            return b"commit", b""
        level = logging.ERROR if reason == "unreadable" else logging.WARNING
        self._log(level, f"{timer} was dead-lettered to topic {self.dead_topic!r}: {details}", None)
        return b"dead", dead_letter

    def _write_dead_letter(
        self,
        claimed: Claimed,
        occurrence: Occurrence | None,
        reason: Reason,
        error: BaseException | None,
    ) -> bytes | None:
        if self.dead_topic is None:
            return None
        ending = Ending(
            reason=reason,
            topic=self._topic,
            timer_id=claimed.timer_id,
            first_due=claimed.first_due or claimed.previous_score,
            attempts=claimed.attempt,
            error=_name_of(error),
            definition=None if occurrence is None else occurrence.repeat.definition,
            occurrence=None if occurrence is None else occurrence.time,
        )
        return write_dead_letter(claimed.payload, ending)


_REASONS: dict[Reason, str] = {
    "attempts": "its attempts are used up",
    "rejected": "it was rejected",
    "unreadable": "it can't be read",
}


def _nack(delay: timedelta | None) -> tuple[bytes, bytes]:
    return b"nack", b"" if delay is None else ask_in("delay", delay)


def _name_of(error: BaseException | None) -> str | None:
    if error is None:
        return None
    kind = type(error)
    # The message may hold secrets.
    is_builtin = kind.__module__ == "builtins"
    return kind.__qualname__ if is_builtin else f"{kind.__module__}.{kind.__qualname__}"
