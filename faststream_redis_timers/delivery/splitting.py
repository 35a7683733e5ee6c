"""Which timers of a failed batch are tried alone, and what their outcomes say about the others."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

_T = TypeVar("_T")

PROBES = 2
"""Timers that are tried alone to find out whether the cause is one timer or common to all."""


class Splitting(Generic[_T]):
    """Tries timers of a batch alone: first two at random, and then the others in order.

    If both fail the cause is common to all, say a database that is away, and there is no use
    in asking a hundred times. If not, each has an outcome of its own.

    Args:
        timers: Those about which nothing is decided.
        sample: Draws some of a sequence at random, as `random.sample` does.
        longest: Seconds that a call may take, as far as is known.

    Attributes:
        rest: Those that were not tried yet, in order.
        has_common_cause: Whether both probes have failed.
    """

    __slots__ = ("_has_passed", "_longest", "_probes", "_tried", "has_common_cause", "rest")

    def __init__(
        self,
        timers: Sequence[_T],
        sample: Callable[[Sequence[_T], int], list[_T]],
        longest: float = 0.0,
    ) -> None:
        """Begin with the probes."""
        self.rest = list(timers)
        self._probes = sample(self.rest, min(PROBES, len(self.rest)))
        self._longest = longest
        self._tried = 0
        self._has_passed = False
        self.has_common_cause = False

    def next(self, seconds_left: float) -> _T | None:
        """Return the timer to try next.

        Args:
            seconds_left: How long the leases last, less what it takes to release.

        Returns:
            The timer; None if none is left, or no time for it.
        """
        if not self.rest:
            return None
        # One probe says nothing.
        needed = max(1, len(self._probes)) * self._longest
        if seconds_left <= 0 or seconds_left < needed:
            return None
        timer = self._probes.pop(0) if self._probes else self.rest[0]
        self.rest.remove(timer)
        return timer

    def tried(self, seconds: float, *, has_failed: bool) -> None:
        """Note what has come of the timer that `next` has given.

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
        """Whether any was tried."""
        return self._tried > 0

    @property
    def rest_has_failed(self) -> bool:
        """Whether the rest counts as failed, though it was not tried.

        None has passed, and there was no time for both probes: if that did not count, a batch
        that takes all the time there is would be claimed again without end.
        """
        return not self._has_passed and self._tried < PROBES
