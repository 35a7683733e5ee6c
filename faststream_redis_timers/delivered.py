"""A claimed timer on its way through a handler: what FastStream calls the raw message."""

import asyncio
from datetime import timedelta

from faststream.exceptions import NackMessage, RejectMessage

from faststream_redis_timers.delivery.leased import Claim, LeasedTimer
from faststream_redis_timers.delivery.occurrences import Occurrence
from faststream_redis_timers.schemas import check_seconds
from faststream_redis_timers_sync.protocol.envelope import Envelope
from faststream_redis_timers_sync.protocol.model import Claimed


class TimerDelivery(LeasedTimer):
    """A leased timer whose outcome can be awaited.

    Args:
        claim: The claim that it came with.
        claimed: The timer as it was claimed.
        envelope: Its payload, read.
        occurrence: Which occurrence it is, where it is a recurring timer.
    """

    __slots__ = ("_waiters",)

    def __init__(
        self,
        claim: Claim,
        claimed: Claimed,
        envelope: Envelope,
        occurrence: Occurrence | None = None,
    ) -> None:
        """Begin with nobody who waits."""
        super().__init__(claim, claimed, envelope, occurrence)
        self._waiters: list[asyncio.Future[None]] = []

    async def commit(self) -> bool:
        """Remove the timer, or let a recurring one be due next: its handler has finished.

        Returns:
            Whether that was done under this lease. False: it was replaced,
            rescheduled, cancelled, or another worker has claimed it.
        """
        self.commit_soon()
        return await self._wait_for_outcome()

    async def nack(self, delay: timedelta | None = None) -> bool:
        """Keep the timer for another attempt, if it has any left.

        Args:
            delay: When; None means after the delay of the retry policy, and
                without one when the lease would have ended.

        Returns:
            Whether it was kept under this lease.

        Raises:
            TypeError: `delay` is not a timedelta.
        """
        self.nack_soon(NackMessage(), delay)
        return await self._wait_for_outcome()

    async def reject(self) -> bool:
        """Dead-letter the timer, or remove it where there is no dead-letter topic.

        A recurring timer is due at its next time beside that.

        Returns:
            Whether that was done under this lease.
        """
        self.reject_soon(RejectMessage())
        return await self._wait_for_outcome()

    async def renew(self, lease_ttl: float | None = None) -> bool:
        """Extend the lease, unless it lasts that long anyhow.

        Args:
            lease_ttl: Seconds from now; None means those of the claim.

        Returns:
            Whether the timer still is this worker's.

        Raises:
            TypeError: `lease_ttl` is no number.
            ValueError: It is out of range.
        """
        if lease_ttl is None:
            lease_ttl = self.claim.lease_ttl
        check_seconds("lease_ttl", lease_ttl)
        self.renew_soon(lease_ttl)
        while self.is_renewing and self.outcome is None:
            await self._wait()
        return not (self.is_lost or self.is_decided)

    async def _wait_for_outcome(self) -> bool:
        while (outcome := self.outcome) is None:
            await self._wait()
        return outcome

    async def _wait(self) -> None:
        # Each has a future of its own: a handler that is cancelled here gives up the
        # reply, not the settlement, and after a timeout it may ask for it again.
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _notify(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
