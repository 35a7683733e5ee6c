"""What becomes of timers whose handlers fail: another try, or an end.

Counting attempts is the server's matter, see `settle_and_claim.lua`.
"""

import inspect
import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from faststream_redis_timers_sync.protocol.dead_letters import Ending, Reason, write_dead_letter
from faststream_redis_timers_sync.protocol.keys import encode_text, show_id
from faststream_redis_timers_sync.protocol.model import Claimed
from faststream_redis_timers_sync.protocol.times import ask_in, is_lease

RetryDecision = Callable[[int, BaseException | None], timedelta | None]
"""Says what follows a failed attempt: the delay until the next one, None for no more.

It is called with the number of the attempt that has failed, from 1, and with its error:
None where it never told of one, since its worker died or its lease was lost.
"""

LOSSES_OF_A_SUSPECT = 2
"""Lost leases, from which on a timer is suspected of killing its workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Tries again after growing delays, and not for ever.

    After attempt number n the delay is ``delay * factor ** (n - 1)``.

    Args:
        max_attempts: How often a timer is tried in all.
        delay: Delay after the first attempt.
        factor: By what each further delay is longer.
        max_delay: The longest delay.
        jitter: Share, from 0 to 1, by which a delay is longer or shorter at random, so
            that timers which failed together do not come back together.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: It is out of range.
    """

    max_attempts: int = 5
    delay: timedelta = timedelta(seconds=10)
    factor: float = 2.0
    max_delay: timedelta = timedelta(hours=1)
    jitter: float = 0.1

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not isinstance(self.max_attempts, int) or isinstance(self.max_attempts, bool):
            msg = f"max_attempts must be an int, got {self.max_attempts!r}"
            raise TypeError(msg)
        if self.max_attempts < 1:
            msg = f"max_attempts must be at least 1, got {self.max_attempts!r}"
            raise ValueError(msg)
        for argument in ("delay", "max_delay"):
            ask_in(argument, value := getattr(self, argument))
            if value < timedelta(0):
                msg = f"{argument} must not be negative, got {value!r}"
                raise ValueError(msg)
        _check_number("factor", self.factor, least=1.0, most=math.inf)
        _check_number("jitter", self.jitter, least=0.0, most=1.0)

    def __call__(self, attempt: int, error: BaseException | None = None) -> timedelta | None:
        """Give the delay until the next attempt.

        Args:
            attempt: The number of the attempt that has failed, from 1.
            error: Its error, without a meaning here.

        Returns:
            The delay; None after the last attempt.
        """
        if attempt >= self.max_attempts:
            return None
        # Also the longest delay is spread, and never exceeded.
        most = self.max_delay.total_seconds() / (1 + self.jitter)
        try:
            seconds = min(most, self.delay.total_seconds() * self.factor ** (attempt - 1))
        except OverflowError:
            seconds = most
        spread = random.uniform(-self.jitter, self.jitter)  # noqa: S311  no secret
        return timedelta(seconds=seconds * (1 + spread))


def _check_number(argument: str, value: float, *, least: float, most: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        msg = f"{argument} must be a number, got {value!r}"
        raise TypeError(msg)
    if not (least <= value <= most and math.isfinite(value)):
        msg = f"{argument} must be from {least:g} to {most:g}, got {value!r}"
        raise ValueError(msg)


def check_retry_policy(policy: RetryDecision | None) -> None:
    """Refuse what can't be a retry policy.

    Args:
        policy: What was given.

    Raises:
        TypeError: It can't be called with attempt and error, or is a class or asynchronous.
    """
    if policy is None or _is_decision(policy):
        return
    msg = (
        "retry_policy must be a RetryPolicy(...), a function (no `async def`) of attempt and "
        f"error, or None, got {policy!r}"
    )
    raise TypeError(msg)


def _is_decision(policy: object) -> bool:
    if not callable(policy) or isinstance(policy, type):
        return False
    if any(map(inspect.iscoroutinefunction, (policy, type(policy).__call__))):
        return False
    try:
        inspect.signature(policy).bind(1, None)
    except TypeError:
        return False
    except ValueError:
        # It does not tell its arguments.
        pass
    return True


def check_dead_letter(dead_letter: str | None, topic: str | None = None) -> None:
    """Refuse what can't name a topic for dead letters.

    Args:
        dead_letter: What was given.
        topic: The topic that is to have it, if it is for a single one.

    Raises:
        TypeError: It is not a string.
        ValueError: It is empty, or the topic itself.
    """
    if dead_letter is None:
        return
    encode_text("dead_letter", dead_letter)
    if topic is not None and dead_letter_topic(dead_letter, topic) == topic:
        msg = f"dead_letter must be another topic than the subscriber's own, {topic!r}"
        raise ValueError(msg)


def dead_letter_topic(dead_letter: str, topic: str) -> str:
    """Name the topic for dead letters of a topic.

    Args:
        dead_letter: The name, in which ``{topic}`` stands for the topic.
        topic: The topic, without prefixes.
    """
    return dead_letter.replace("{topic}", topic)


class Retries:
    """Decides what follows failures and rejections in one topic.

    Args:
        topic: The full topic.
        policy: What follows a failed attempt; None tries again without end, each time
            when the lease would have ended.
        dead_topic: The full topic to which timers are set aside; None removes them.
        log: Writes a line of a `logging` level, with an error's traceback if given.
    """

    __slots__ = ("_log", "_policy", "_topic", "dead_topic", "suspect_from")

    def __init__(
        self,
        topic: str,
        policy: RetryDecision | None,
        dead_topic: str | None,
        log: Callable[[int, str, BaseException | None], None],
    ) -> None:
        """Keep them."""
        self._topic = topic
        self._policy = policy
        self._log = log
        self.dead_topic = dead_topic
        self.suspect_from: int | None = None
        if policy is not None or dead_topic is not None:
            # A policy with fewer attempts must not use them up on a poisonous timer's neighbours.
            most = policy.max_attempts if isinstance(policy, RetryPolicy) else math.inf
            self.suspect_from = 2 if most <= LOSSES_OF_A_SUSPECT else LOSSES_OF_A_SUSPECT + 1

    def suspects(self, claimed: Claimed) -> bool:
        """Tell whether a timer may be what killed its worker, as the server decides.

        Args:
            claimed: The timer.
        """
        if not is_lease(float(claimed.previous_score)):
            return False
        return claimed.attempt is None or claimed.attempt >= (self.suspect_from or 0)

    def ending_of(self, claimed: Claimed) -> tuple[bytes, bytes] | None:
        """Decide about a timer that was claimed although its last attempt is over.

        That one has lost its lease, so nobody has decided then.

        Args:
            claimed: The timer.

        Returns:
            Action and detail of a settlement; None where it is to be tried.
        """
        attempt = claimed.attempt
        if attempt is None or attempt == 1 or not is_lease(float(claimed.previous_score)):
            return None
        # This claim is no attempt.
        tried = claimed._replace(attempt=attempt - 1)
        goes_on, _ = self._ask_policy(tried, None)
        return None if goes_on else self.set_aside(tried, "attempts", None)

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
            return self.set_aside(claimed, "attempts", error)
        delay = asked if delay is None else delay
        return b"nack", b"" if delay is None else ask_in("delay", delay)

    def _ask_policy(
        self, claimed: Claimed, error: BaseException | None
    ) -> tuple[bool, timedelta | None]:
        """Tell whether there is another attempt, and after which delay."""
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

    def set_aside(
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
            remedy = "" if reason == "unreadable" else "; with dead_letter= it would be kept"
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
