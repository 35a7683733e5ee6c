"""Chooses the timers of a failed batch to try alone, and draws conclusions for the others."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

_T = TypeVar("_T")

PROBES = 2
"""How many timers are tried alone to find out whether the cause is common to all."""


class Splitting(Generic[_T]):
    """Tries timers of a batch alone: first two random ones, then the others in order.

    If both fail the cause is common to all, such as an unavailable database, and trying a hundred
    timers is useless. If not, each timer has its own outcome.

    Args:
        timers: The timers without an outcome.
        sample: Returns a random sample of a sequence, like `random.sample`.
        longest: Seconds that a call may take, as far as known.

    Attributes:
        rest: The timers that were not tried yet, in order.
        has_common_cause: Whether both probes have failed.
    """

    __slots__ = ("_has_passed", "_longest", "_probes", "_tried", "has_common_cause", "rest")

    def __init__(
        self,
        timers: Sequence[_T],
        sample: Callable[[Sequence[_T], int], list[_T]],
        longest: float = 0.0,
    ) -> None:
        """Start with the probes."""
        self.rest = list(timers)
        self._probes = sample(self.rest, min(PROBES, len(self.rest)))
        self._longest = longest
        self._tried = 0
        self._has_passed = False
        self.has_common_cause = False

    def next(self, seconds_left: float) -> _T | None:
        """Return the timer to try next.

        Args:
            seconds_left: For how long the leases last, less the time to release timers.

        Returns:
            The timer; None if no timer, or not enough time, is left.
        """
        if not self.rest:
            return None
        # A single probe proves nothing.
        needed = max(1, len(self._probes)) * self._longest
        if seconds_left <= 0 or seconds_left < needed:
            return None
        timer = self._probes.pop(0) if self._probes else self.rest[0]
        self.rest.remove(timer)
        return timer

    def tried(self, seconds: float, *, has_failed: bool) -> None:
        """Note the result of the timer that `next` returned.

        Args:
            seconds: How long its call took.
            has_failed: Whether it has failed.
        """
        self._longest = max(self._longest, seconds)
        self._tried += 1
        self._has_passed |= not has_failed
        self.has_common_cause |= self._tried == PROBES and not self._has_passed

    @property
    def has_tried(self) -> bool:
        """Whether any timer was tried."""
        return self._tried > 0

    @property
    def rest_has_failed(self) -> bool:
        """Whether the rest counts as failed without being tried.

        None has succeeded, and there was no time for both probes: if that did not count, a batch
        that uses up its leases would be redelivered without end.
        """
        return not self._has_passed and self._tried < PROBES
