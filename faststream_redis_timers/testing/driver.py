"""Drives a subscriber's delivery core in a test, one timer or batch at a time."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from faststream_redis_timers.delivery.core import Call, DeliveryCore, Draws
from faststream_redis_timers_sync.protocol.model import Step

if TYPE_CHECKING:
    from faststream_redis_timers.delivered import TimerBatchDelivery, TimerDelivery
    from faststream_redis_timers.delivery.core import Done, Wait
    from faststream_redis_timers.delivery.duty import Post
    from faststream_redis_timers.delivery.leased import LeasedTimer, Unit
    from faststream_redis_timers.subscriber.usecase import TimersSubscriber

_NO_JITTER = Draws(spread=lambda: 0.5, lease=lambda: 0)


class OneByOne:
    """A subscriber whose timers a test claims one by one, and that are settled immediately.

    Args:
        subscriber: The subscriber.
        answer: Replies to its calls, in place of a server.
        now: Returns the time, in seconds.
    """

    def __init__(
        self,
        subscriber: "TimersSubscriber",
        answer: Callable[[Call], Step],
        now: Callable[[], float],
    ) -> None:
        """Claim nothing yet."""
        self._answer = answer
        self._now = now
        self._core: DeliveryCore[TimerDelivery] = subscriber.make_core(self, slots=0)
        self.counts_attempts = subscriber.counts_attempts
        self._is_answering = False

    def claim(self) -> "TimerDelivery | TimerBatchDelivery | None":
        """Claim the next timer, or with `batch` all that are due, up to `max_records`.

        A timer whose attempts are used up is settled, and the next one is claimed.

        Returns:
            The timer or batch; None if none is due.
        """
        self._core.add_slot()
        delivery = None
        try:
            delivery = self._run()
        finally:
            if delivery is None:
                self._core.remove_slot()
            else:
                self._core.hand_over(delivery)
        return delivery

    def _run(self) -> "TimerDelivery | TimerBatchDelivery | None":
        while isinstance(call := self._next(), Call):
            now = self._now()
            self._is_answering = True
            try:
                deliveries = self._core.answered(call, self._answer(call), now, now)
            finally:
                self._is_answering = False
            if deliveries:
                delivery: TimerDelivery | TimerBatchDelivery = deliveries[0]
                return delivery
        return None

    def _next(self) -> "Call | Wait | Done":
        # The test's clock stands still meanwhile, so a gap would never end.
        self._core.end_gap()
        return self._core.next(self._now())

    # --- what the core and its timers ask for

    @property
    def draws(self) -> Draws:
        """No randomness: a test has no other workers, from which polls and leases must differ."""
        return _NO_JITTER

    def stir(self) -> None:
        """Do nothing: a test does not sleep."""

    def follow_post(self, post: "Post") -> None:
        """Do nothing: a test does not listen."""

    def now(self) -> float:
        """Return the time by which leases expire, in seconds."""
        return self._now()

    def settle(self, timers: "Sequence[LeasedTimer]", action: bytes, detail: bytes, /) -> None:
        """Carry out a settlement.

        Args:
            timers: The settled timers, which get the outcomes.
            action: See `Settlement`.
            detail: See `Settlement`.
        """
        self._core.settle(timers, action, detail, self._now())
        if not self._is_answering:
            self._run()

    def propose_lease(self, lease_ttl: float, /) -> bytes:
        """Return a lease that begins now, as a score.

        Args:
            lease_ttl: Its length in seconds.
        """
        return self._core.propose_lease(lease_ttl, self._now())

    def free_slot(self, unit: "Unit", /) -> None:
        """Do nothing: the slot is removed with the timer."""
