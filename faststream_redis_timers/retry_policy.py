"""Retry policies: whether a failed attempt is retried, and when.

`delivery/settlement_policy.py` applies them.
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
"""Returns the delay until the next attempt after a failed one; None for no further attempt.

It is called with the number of the failed attempt, from 1, and its error. The error is None
if none was reported, because the worker died or the lease was lost.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Retries a limited number of times, after growing delays.

    After attempt number n the delay is ``delay * factor ** (n - 1)``.

    Args:
        max_attempts: How many attempts a timer has, including the first.
        delay: Delay after the first attempt.
        factor: Factor by which each further delay is longer.
        max_delay: The longest delay.
        jitter: Fraction, from 0 to 1, by which a delay is randomly longer or shorter, so that
            timers which failed together are not retried together.

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
        """Return the delay until the next attempt.

        Args:
            attempt: The number of the failed attempt, from 1.
            error: Its error, which is ignored.

        Returns:
            The delay; None after the last attempt.
        """
        if attempt >= self.max_attempts:
            return None
        # The longest delay has jitter too, and is never exceeded.
        most = self.max_delay.total_seconds() / (1 + self.jitter)
        try:
            seconds = min(most, self.delay.total_seconds() * self.factor ** (attempt - 1))
        except OverflowError:
            seconds = most if self.delay else 0.0
        spread = random.uniform(-self.jitter, self.jitter)  # noqa: S311  no secret
        return timedelta(seconds=seconds * (1 + spread))


def _check_factor(argument: str, value: float, *, least: float, most: float) -> None:
    check_number(argument, value, "a number")
    if not (least <= value <= most and math.isfinite(value)):
        msg = f"{argument} must be from {least:g} to {most:g}, got {value!r}"
        raise ValueError(msg)


def check_retry_policy(policy: RetryDecision | None) -> None:
    """Raise unless a value can be a retry policy.

    Args:
        policy: The value.

    Raises:
        TypeError: It can't be called with attempt and error, or it is a class or asynchronous.
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
        # Its signature is unknown.
        pass
    return True
