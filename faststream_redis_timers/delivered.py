"""Claimed timers that a handler processes: what FastStream calls the raw message."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from enum import Enum, auto
from typing import Optional

from faststream.exceptions import NackMessage, RejectMessage

from faststream_redis_timers.delivery.batch import LeasedBatch
from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers.schemas import check_seconds
from faststream_redis_timers_sync.protocol.times import ask_in


class TimerDelivery(LeasedTimer):
    """A leased timer whose outcome can be awaited.

    Args:
        claim: The claim that it came with.
        claimed: The timer as it was claimed.
        envelope: Its decoded payload.
        occurrence: The occurrence, for a recurring timer.
    """

    __slots__ = ()

    async def commit(self) -> bool:
        """Commit the timer: it is removed, or due at its next time if it recurs.

        Returns:
            Whether that was done under this lease. If False, it was replaced, rescheduled
            or cancelled, or another worker has claimed it.
        """
        self.commit_soon()
        return await self.wait_for_outcome()

    async def nack(self, delay: timedelta | None = None) -> bool:
        """Fail this attempt: the timer is retried, if it has attempts left.

        Args:
            delay: Delay until the retry. None means that of the retry policy or, without one,
                until the lease would have ended.

        Returns:
            Whether that was done under this lease.

        Raises:
            TypeError: `delay` is not a timedelta.
        """
        self.nack_soon(NackMessage(), delay)
        return await self.wait_for_outcome()

    async def reject(self) -> bool:
        """Dead-letter the timer or, without a dead-letter topic, remove it.

        A recurring timer also stays, and is due at its next time.

        Returns:
            Whether that was done under this lease.
        """
        self.reject_soon(RejectMessage())
        return await self.wait_for_outcome()

    async def renew(self, lease_ttl: float | None = None) -> bool:
        """Renew the lease, unless it already lasts that long.

        Args:
            lease_ttl: Seconds from now; None means the claim's.

        Returns:
            Whether this worker still has the lease.

        Raises:
            TypeError: `lease_ttl` is not a number.
            ValueError: It is out of range.
        """
        if lease_ttl is None:
            lease_ttl = self.claim.lease_ttl
        check_seconds("lease_ttl", lease_ttl)
        self.renew_soon(lease_ttl)
        while self.is_renewing and self.outcome is None:
            await self._wait()
        return not (self.is_lost or self.is_decided)

    async def wait_for_outcome(self) -> bool:
        """Wait until the settlement has been carried out.

        Returns:
            Whether it was carried out under this lease.
        """
        while (outcome := self.outcome) is None:
            await self._wait()
        return outcome

    async def _wait(self) -> None:
        # Each caller has its own future: a handler that is cancelled here gives up the
        # reply, not the settlement, and may wait again after a timeout.
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters = [*self._waiters, waiter]
        await waiter

    def _notify(self) -> None:
        waiters, self._waiters = self._waiters, ()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Marking(Enum):
    """When marks on timers of a batch are carried out."""

    LATER = auto()
    """When the handler has ended."""

    AT_ONCE = auto()
    """Immediately, and they are awaited."""

    REFUSED = auto()
    """Never: the timers were committed before."""


class TimerBatchDelivery(LeasedBatch[TimerDelivery]):
    """Timers that are handled together.

    Args:
        deliveries: The timers.
        whole: See `LeasedBatch`.
        is_split: See `LeasedBatch`.

    Attributes:
        has_begun: Whether the handler itself has started.
        count_of_bodies: How many bodies were decoded; None before that, or if not to a list.
        marking: When marks are carried out.
        on_refusal: Called for a mark that has no effect.
    """

    __slots__ = ("count_of_bodies", "has_begun", "marking", "on_refusal")

    def __init__(
        self,
        deliveries: list[TimerDelivery],
        whole: Optional["TimerBatchDelivery"] = None,
        *,
        is_split: bool = False,
    ) -> None:
        """Start with marks that are carried out later, or as in the whole batch."""
        super().__init__(deliveries, whole, is_split=is_split)
        self.has_begun = False
        self.count_of_bodies: int | None = None
        self.marking: Marking = Marking.LATER if whole is None else whole.marking
        self.on_refusal: Callable[[], None] | None = None if whole is None else whole.on_refusal

    async def mark_ack(self, index: int | None = None) -> None:
        """Mark a timer as done.

        Args:
            index: Its index; None marks all unmarked timers.
        """
        await self._mark(index, TimerDelivery.commit_soon)

    async def mark_nack(self, index: int | None = None, delay: timedelta | None = None) -> None:
        """Mark a timer as failed.

        Args:
            index: Its index; None marks all unmarked timers.
            delay: Delay until the retry, see `TimerDelivery.nack`.

        Raises:
            TypeError: `delay` is not a timedelta.
            ValueError: It is longer than 365,250 days.
        """
        if delay is not None:
            ask_in("delay", delay)
        await self._mark(index, lambda timer: timer.nack_soon(NackMessage(), delay))

    async def mark_reject(self, index: int | None = None) -> None:
        """Mark a timer as rejected.

        Args:
            index: Its index; None marks all unmarked timers.
        """
        await self._mark(index, lambda timer: timer.reject_soon(RejectMessage()))

    async def _mark(self, index: int | None, decide: Callable[[TimerDelivery], None]) -> None:
        if self.marking is Marking.REFUSED:
            if self.on_refusal is not None:
                self.on_refusal()
            return
        timers = self.unmarked if index is None else [self.deliveries[index]]
        for timer in timers:
            self.mark(timer, decide)
        if self.marking is Marking.AT_ONCE:
            self.settle_marks()
            for timer in timers:
                await timer.wait_for_outcome()
