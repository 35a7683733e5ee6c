"""A batch: timers of one claim that a handler gets together, and that share one slot."""

from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from faststream_redis_timers.delivery.leased import Claim, LeasedTimer

_T = TypeVar("_T", bound=LeasedTimer)


class LeasedBatch(Generic[_T]):
    """Timers that are handled together; at least one.

    A mark is the outcome that a handler has decided for one of them: it is carried out when the
    handler has ended, even with an error. The first one counts.

    Args:
        deliveries: The timers.
        whole: The whole batch, which holds the slot, if this is a part; None for the whole.
        is_split: Whether the whole batch has failed.

    Attributes:
        has_failed: Whether its handler has raised an error, for the whole or a part.
        marks: Function that carries out the mark, by marked timer.
    """

    __slots__ = ("_holds_slot", "deliveries", "has_failed", "is_split", "marks")

    def __init__(
        self,
        deliveries: list[_T],
        whole: "LeasedBatch[_T] | None" = None,
        *,
        is_split: bool = False,
    ) -> None:
        """Start without marks, or with those of the whole."""
        self.deliveries = deliveries
        self.is_split = is_split
        self.has_failed = False
        self._holds_slot = whole is None
        self.marks: dict[_T, Callable[[], None]] = {} if whole is None else whole.marks

    def __repr__(self) -> str:
        """Return topic and number; ids, bodies and headers may be secret."""
        return f"{type(self).__name__}(topic={self.topic!r}, {len(self.deliveries)} timers)"

    # --- facts

    @property
    def holds_slot(self) -> bool:
        """Whether it holds a slot, which its timers share."""
        return self._holds_slot

    @holds_slot.setter
    def holds_slot(self, holds_slot: bool) -> None:
        self._holds_slot = holds_slot
        for timer in self.deliveries:
            timer.holds_slot = holds_slot

    @property
    def claim(self) -> Claim:
        """The claim of all timers."""
        return self.deliveries[0].claim

    @property
    def topic(self) -> str:
        """The full topic."""
        return self.claim.topic

    @property
    def redelivered(self) -> bool:
        """Whether a handler may have started any of them before."""
        return self.is_split or any(timer.redelivered for timer in self.deliveries)

    @property
    def lease_ends_at(self) -> float:
        """When the first of their leases expires, on the holder's clock, in seconds.

        Leases of timers that were cancelled or rescheduled meanwhile count only if all were.
        """
        leased = [timer for timer in self.deliveries if not timer.is_lost]
        return min(timer.lease_ends_at for timer in leased or self.deliveries)

    @property
    def lease_ended(self) -> bool:
        """Whether one of their leases has expired by the holder's clock."""
        return self.claim.holder.now() >= self.lease_ends_at

    @property
    def unmarked(self) -> list[_T]:
        """Timers without a mark or outcome."""
        return [
            timer for timer in self.deliveries if not timer.is_decided and timer not in self.marks
        ]

    # --- decisions

    def mark(self, timer: _T, decide: Callable[[_T], None]) -> None:
        """Mark a timer, unless it is marked already.

        Args:
            timer: The timer.
            decide: Function that carries out the mark.
        """
        self.marks.setdefault(timer, partial(decide, timer))

    def settle_marks(self) -> None:
        """Carry out the marks, including those of the whole."""
        for decide in self.marks.values():
            decide()
        self.marks.clear()

    def release(self) -> None:
        """Carry out the marks, and release the other timers: they are due as before the claim."""
        self.settle_marks()
        for timer in self.deliveries:
            timer.release()

    def free_slot(self) -> None:
        """Free the slot for another batch: the handler has ended."""
        self.claim.holder.free_slot(self)
