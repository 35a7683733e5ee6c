"""What users say about failed attempts: whether another one follows, and when.

Acting on it is the matter of `delivery/retries.py`.
"""

import inspect
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from faststream_redis_timers_sync.protocol.checks import check_count, check_number
from faststream_redis_timers_sync.protocol.times import ask_in

RetryDecision = Callable[[int, BaseException | None], timedelta | None]
"""Says what follows a failed attempt: the delay until the next one, None for no more.

It is called with the number of the attempt that has failed, from 1, and with its error:
None where it never told of one, since its worker died or its lease was lost.
"""


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
        check_count("max_attempts", self.max_attempts)
        for argument in ("delay", "max_delay"):
            ask_in(argument, value := getattr(self, argument))
            if value < timedelta(0):
                msg = f"{argument} must not be negative, got {value!r}"
                raise ValueError(msg)
        _check_factor("factor", self.factor, least=1.0, most=math.inf)
        _check_factor("jitter", self.jitter, least=0.0, most=1.0)

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


def _check_factor(argument: str, value: float, *, least: float, most: float) -> None:
    check_number(argument, value, "a number")
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
