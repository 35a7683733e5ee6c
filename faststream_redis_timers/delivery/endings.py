"""What follows a handler: another attempt, a dead letter, or removal.

Counting attempts is the server's matter, see `settle_and_claim.lua`.
"""

import logging
import math
from collections.abc import Callable
from datetime import timedelta

from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers_sync.protocol.dead_letters import Ending, Reason, write_dead_letter
from faststream_redis_timers_sync.protocol.envelope import Envelope, read_envelope
from faststream_redis_timers_sync.protocol.errors import EnvelopeError
from faststream_redis_timers_sync.protocol.keys import show_id
from faststream_redis_timers_sync.protocol.model import Claimed
from faststream_redis_timers_sync.protocol.times import ask_in, is_lease

LOSSES_OF_A_SUSPECT = 2
"""Lost leases, from which on a timer is suspected of killing its workers."""

_UNREADABLE = Envelope(b"", {})
# What stands for an envelope that can't be read.


class Endings:
    """Decides what follows failures and rejections in one topic.

    Args:
        topic: The full topic.
        policy: Gives the delay after a failed attempt, of its number and its error, or None
            for no more; None tries again without end, each time when the lease would have
            ended.
        dead_topic: The full topic to which timers are set aside; None removes them.
        log: Writes a line of a `logging` level, with an error's traceback if given.
        max_attempts: After how many attempts the policy gives none, if that is known.
    """

    __slots__ = ("_log", "_policy", "_topic", "dead_topic", "suspect_from")

    def __init__(
        self,
        topic: str,
        policy: Callable[[int, BaseException | None], timedelta | None] | None,
        dead_topic: str | None,
        log: Log,
        max_attempts: float = math.inf,
    ) -> None:
        """Keep them."""
        self._topic = topic
        self._policy = policy
        self._log = log
        self.dead_topic = dead_topic
        self.suspect_from: int | None = None
        if policy is not None or dead_topic is not None:
            # A policy with fewer attempts must not use them up on a poisonous timer's neighbours.
            is_short = max_attempts <= LOSSES_OF_A_SUSPECT
            self.suspect_from = 2 if is_short else LOSSES_OF_A_SUSPECT + 1

    def read(self, claimed: Claimed) -> tuple[Envelope, tuple[bytes, bytes] | None]:
        """Read the payload of a claimed timer, and decide where no handler is to get it.

        Args:
            claimed: The timer.

        Returns:
            Its envelope; and action and detail of a settlement, None where its handler is
            to begin.
        """
        try:
            claimed.timer_id.decode()
            return read_envelope(claimed.payload), self._ending_of(claimed)
        except UnicodeDecodeError:
            problem = "its id is no UTF-8"
        except EnvelopeError as error:
            problem = str(error)
        return _UNREADABLE, self.dead_letter(claimed, "unreadable", None, problem)

    def is_suspect(self, claimed: Claimed) -> bool:
        """Return whether a timer may be what killed its worker, as the server decides.

        Args:
            claimed: The timer.
        """
        if not is_lease(float(claimed.previous_score)):
            return False
        return claimed.attempt is None or claimed.attempt >= (self.suspect_from or 0)

    def _ending_of(self, claimed: Claimed) -> tuple[bytes, bytes] | None:
        """Decide about a timer that was claimed although its last attempt is over.

        That one has lost its lease, so nobody has decided then.
        """
        attempt = claimed.attempt
        if attempt is None or attempt == 1 or not is_lease(float(claimed.previous_score)):
            return None
        # This claim is no attempt.
        tried = claimed._replace(attempt=attempt - 1)
        goes_on, _ = self._ask_policy(tried, None)
        return None if goes_on else self.dead_letter(tried, "attempts", None)

    def after_failure(
        self, claimed: Claimed, error: BaseException | None, delay: timedelta | None
    ) -> tuple[bytes, bytes]:
        """Decide about a timer whose attempt has failed.

        Args:
            claimed: The timer.
            error: What its handler raised.
            delay: The delay that its handler asks for, instead of the policy's.

        Returns:
            Action and detail of a settlement.
        """
        goes_on, asked = self._ask_policy(claimed, error)
        if not goes_on:
            return self.dead_letter(claimed, "attempts", error)
        delay = asked if delay is None else delay
        return b"nack", b"" if delay is None else ask_in("delay", delay)

    def _ask_policy(
        self, claimed: Claimed, error: BaseException | None
    ) -> tuple[bool, timedelta | None]:
        """Return whether there is another attempt, and after which delay."""
        if self._policy is None or claimed.attempt is None:
            return True, None
        try:
            delay = self._policy(claimed.attempt, error)
            if delay is not None:
                ask_in("the delay of retry_policy", delay)
        except Exception as failure:  # noqa: BLE001  it is the user's
            self._log(
                logging.ERROR,
                f"the retry_policy failed for timer {show_id(claimed.timer_id)} of topic "
                f"{self._topic!r} after attempt {claimed.attempt}: it is tried again",
                failure,
            )
            return True, None
        return delay is not None, delay

    def dead_letter(
        self, claimed: Claimed, reason: Reason, error: BaseException | None, why: str = ""
    ) -> tuple[bytes, bytes]:
        """Make a dead letter of a timer, or remove it where there is no topic for them.

        Args:
            claimed: The timer.
            reason: Why.
            error: What its handler raised, None where it did not tell.
            why: More about it, for the log.

        Returns:
            Action and detail of a settlement.
        """
        told = f" ({why or _name_of(error) or 'its workers never told of an end'})"
        told = f"{_REASONS[reason]}{told}"
        if claimed.attempt is not None:
            told += f", attempt {claimed.attempt}"
        timer = f"timer {show_id(claimed.timer_id)} of topic {self._topic!r}"
        if self.dead_topic is None:
            remedy = "" if reason == "unreadable" else "; with dead_letter_topic= it would be kept"
            size = f" with its {len(claimed.payload)} bytes" if reason == "unreadable" else ""
            self._log(logging.ERROR, f"{timer} was removed{size}: {told}{remedy}", None)
            return b"commit", b""
        level = logging.ERROR if reason == "unreadable" else logging.WARNING
        self._log(level, f"{timer} was set aside in topic {self.dead_topic!r}: {told}", None)
        ending = Ending(
            reason=reason,
            topic=self._topic,
            timer_id=claimed.timer_id,
            first_due=claimed.first_due or claimed.previous_score,
            attempts=claimed.attempt,
            error=_name_of(error),
        )
        return b"dead", write_dead_letter(claimed.payload, ending)


_REASONS: dict[Reason, str] = {
    "attempts": "its attempts are used up",
    "rejected": "it was rejected",
    "unreadable": "it can't be read",
}


def _name_of(error: BaseException | None) -> str | None:
    if error is None:
        return None
    kind = type(error)
    # The message may hold secrets.
    is_builtin = kind.__module__ == "builtins"
    return kind.__qualname__ if is_builtin else f"{kind.__module__}.{kind.__qualname__}"
