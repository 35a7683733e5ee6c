"""A claimed timer on its way through a handler: what FastStream calls the raw message."""

import asyncio
import math
from datetime import datetime, timedelta
from typing import Protocol

from faststream.exceptions import NackMessage, RejectMessage

from faststream_redis_timers.delivery.retries import Retries
from faststream_redis_timers.delivery.schedule import monotonic
from faststream_redis_timers.schemas import check_seconds
from faststream_redis_timers_sync.protocol.envelope import Envelope
from faststream_redis_timers_sync.protocol.keys import decode_id
from faststream_redis_timers_sync.protocol.model import Claimed, Settlement
from faststream_redis_timers_sync.protocol.times import is_lease, time_of


class Holder(Protocol):
    """Who holds leases: a delivery loop, or a test in its place."""

    def settle(self, delivery: "TimerDelivery", action: bytes, detail: bytes, /) -> None:
        """Send a settlement, and call the delivery's `tell` with the answer.

        A renewal's answer goes to `tell_renewed` instead.
        """
        ...

    def propose_lease(self, lease_ttl: float, /) -> bytes:
        """Give a lease that begins now and lasts for some seconds, as a score."""
        ...


class TimerDelivery:
    """A timer that this worker has leased.

    Args:
        topic: The full topic.
        claimed: The timer as it was claimed.
        envelope: Its payload, read.
        lease: The score that it has while leased, as text.
        lease_ends_at: When the lease ends, on the monotonic clock, in seconds.
        claimed_at: The server's Unix time of the claim, in seconds.
        retries: Decides what follows a failure.
        holder: Sends what becomes of it; None where there is no server (tests).
        lease_ttl: Seconds for which it was leased.
    """

    __slots__ = (
        "_is_decided",
        "_is_lost",
        "_lease_ttl",
        "_outcome",
        "_renewals",
        "_retries",
        "_waiters",
        "begun_at",
        "caution_ends",
        "claimed",
        "claimed_at",
        "envelope",
        "holder",
        "holds_slot",
        "key",
        "lease_ends_at",
        "leases",
        "timer_id",
        "topic",
    )

    def __init__(  # noqa: PLR0913, PLR0917  the parts of a claim
        self,
        topic: str,
        claimed: Claimed,
        envelope: Envelope,
        lease: bytes,
        lease_ends_at: float,
        claimed_at: float,
        retries: Retries,
        holder: Holder | None,
        lease_ttl: float,
    ) -> None:
        """Keep the parts."""
        self.topic = topic
        self.claimed = claimed
        self.key = claimed.timer_id
        self.timer_id = decode_id(claimed.timer_id)
        self.envelope = envelope
        # After renewals that were not answered it may be any of several.
        self.leases = [lease]
        self.lease_ends_at = lease_ends_at
        self.claimed_at = claimed_at
        self.begun_at = monotonic()
        self.holds_slot = True
        # Set while it is suspected of killing its workers.
        self.caution_ends: asyncio.TimerHandle | None = None
        self._retries = retries
        self.holder = holder
        self._lease_ttl = lease_ttl
        self._renewals = 0
        self._is_decided = False
        self._is_lost = False
        self._outcome: bool | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        """Name topic and id; body and headers may be secret."""
        return f"{type(self).__name__}(topic={self.topic!r}, timer_id={self.timer_id!r})"

    @property
    def due_at(self) -> datetime:
        """When it was due, in UTC.

        Where attempts are counted it is the first due time. Else for a redelivery it is
        when its last lease ended, or the delay that a ``NackMessage`` asked for.
        """
        return time_of(self._due_score)

    @property
    def lateness(self) -> float:
        """Seconds from `due_at` to its claim, both by the server's clock."""
        return self.claimed_at - self._due_score

    @property
    def _due_score(self) -> float:
        return float(self.claimed.first_due or self.claimed.previous_score)

    @property
    def attempt(self) -> int | None:
        """Which attempt this is, from 1; None where attempts are not counted."""
        return self.claimed.attempt

    @property
    def redelivered(self) -> bool:
        """Whether a worker held it before and did not finish."""
        attempt = self.claimed.attempt
        return is_lease(float(self.claimed.previous_score)) or (attempt is not None and attempt > 1)

    @property
    def lease_ended(self) -> bool:
        """Whether its lease has ended by this process's monotonic clock."""
        return monotonic() >= self.lease_ends_at

    @property
    def lease_lost(self) -> bool:
        """Whether it is no longer this worker's, as far as it knows.

        Its lease has ended, or the server has refused to renew it: another worker has
        claimed it, or it was cancelled, moved or scheduled anew.
        """
        if self._outcome is not None:
            return not self._outcome
        return self._is_lost or self.lease_ended

    async def commit(self) -> bool:
        """Remove the timer: its handler has finished.

        Returns:
            Whether it was removed under this lease. False: it was scheduled
            anew, moved, cancelled, or another worker has claimed it.
        """
        self.commit_soon()
        return await self._answer()

    async def nack(self, delay: timedelta | None = None) -> bool:
        """Keep the timer for another try, if it has any left.

        Args:
            delay: When; None means after the delay of the retry policy, and
                without one when the lease would have ended.

        Returns:
            Whether it was kept under this lease.

        Raises:
            TypeError: `delay` is not a timedelta.
        """
        self.nack_soon(NackMessage(), delay)
        return await self._answer()

    async def reject(self) -> bool:
        """Make a dead letter of the timer, or remove it where there is no topic for them.

        Returns:
            Whether that was done under this lease.
        """
        self.reject_soon(RejectMessage())
        return await self._answer()

    async def renew(self, lease_ttl: float | None = None) -> bool:
        """Extend the lease, unless it lasts that long anyhow.

        Args:
            lease_ttl: Seconds from now; None means the subscriber's `lease_ttl`.

        Returns:
            Whether the timer still is this worker's.

        Raises:
            TypeError: `lease_ttl` is no number.
            ValueError: It is out of range.
        """
        if lease_ttl is None:
            lease_ttl = self._lease_ttl
        check_seconds("lease_ttl", lease_ttl)
        self.renew_soon(lease_ttl)
        while self._renewals and self._outcome is None:
            await self._wait()
        return not (self._is_lost or self._is_decided)

    def commit_soon(self) -> None:
        """Commit the timer, and do not wait for the answer."""
        self.decide(b"commit", b"")

    def nack_soon(self, error: BaseException, delay: timedelta | None = None) -> None:
        """Keep the timer for another try, and do not wait for the answer.

        Args:
            error: What its handler raised.
            delay: See `nack`.

        Raises:
            TypeError: `delay` is not a timedelta.
        """
        if not self._is_decided:
            self.decide(*self._retries.after_failure(self.claimed, error, delay))

    def reject_soon(self, error: BaseException) -> None:
        """Reject the timer, and do not wait for the answer.

        Args:
            error: What its handler raised.
        """
        if not self._is_decided:
            self.decide(*self._retries.set_aside(self.claimed, "rejected", error))

    def decide(self, action: bytes, detail: bytes) -> None:
        """Settle the timer, and do not wait for the answer; nothing if that was done before.

        Args:
            action: See `Settlement`.
            detail: See `Settlement`.
        """
        if self._is_decided:
            return
        self._is_decided = True
        if self.holder is None:
            self.tell(outcome=True)
        else:
            self.holder.settle(self, action, detail)

    def renew_soon(self, lease_ttl: float) -> None:
        """Extend the lease, and do not wait for the answer.

        Args:
            lease_ttl: Seconds from now.
        """
        if self._is_decided or self._is_lost or self.holder is None:
            return
        lease = self.holder.propose_lease(lease_ttl)
        # One that ends before the present lease does lowers no score, but asks for it. Where
        # an earlier renewal was lost on its way it may be the longest nevertheless.
        self.leases.append(lease)
        self._renewals += 1
        self.holder.settle(self, b"renew", lease)

    def prolong(self, waiting: bytes, lease_ttl: float, *, may_be_known: bool) -> bytes:
        """Give the lease that a renewal is to ask for which has not been answered yet.

        Args:
            waiting: The lease that it asks for.
            lease_ttl: Seconds from now.
            may_be_known: Whether the server may have that one already.

        Returns:
            The later one of both.
        """
        if self.holder is None or float(lease := self.holder.propose_lease(lease_ttl)) <= float(
            waiting
        ):
            return waiting
        if not may_be_known:
            self.leases = [one for one in self.leases if one != waiting]
        self.leases.append(lease)
        return lease

    def release(self) -> None:
        """Give the timer back, due as before; nothing if its fate is decided."""
        self.decide(b"release", self.claimed.previous_score)

    @property
    def is_renewing(self) -> bool:
        """Whether a renewal waits for its answer."""
        return self._renewals > 0

    @property
    def is_lost(self) -> bool:
        """Whether the server has refused to renew its lease."""
        return self._is_lost

    @property
    def is_decided(self) -> bool:
        """Whether its fate is decided."""
        return self._is_decided

    @property
    def is_settling(self) -> bool:
        """Whether its fate is decided, and not yet carried out."""
        return self._is_decided and self._outcome is None

    def settlement(self, action: bytes, detail: bytes) -> Settlement:
        """Make the settlement under the lease that it has by now.

        Args:
            action: See `Settlement`.
            detail: See `Settlement`.
        """
        leases = self.leases[0] if len(self.leases) == 1 else b" ".join(self.leases)
        return Settlement(action, self.key, leases, detail)

    def tell(self, *, outcome: bool) -> None:
        """Tell those who wait what has become of the settlement.

        Args:
            outcome: Whether it was carried out under this lease.
        """
        self._outcome = outcome
        self._wake_waiters()

    def tell_renewed(self, lease: bytes | None, lease_ends_at: float = -math.inf) -> None:
        """Tell what has become of a renewal.

        Args:
            lease: The lease that was proposed; None where it was refused.
            lease_ends_at: When that ends, on the monotonic clock, in seconds.
        """
        self._renewals -= 1
        if lease is None:
            self._is_lost = True
        else:
            self.leases = [one for one in self.leases if float(one) >= float(lease)]
            self.lease_ends_at = max(self.lease_ends_at, lease_ends_at)
        self._wake_waiters()

    def tell_claimed(self, lease: bytes, lease_ends_at: float) -> None:
        """Take a claim by this worker, while its handler runs, for a renewal.

        Args:
            lease: The new lease.
            lease_ends_at: When it ends, on the monotonic clock, in seconds.
        """
        # A renewal that is on its way may still come after it.
        later = [one for one in self.leases if float(one) > float(lease)]
        self.leases = [lease, *later]
        self.lease_ends_at = lease_ends_at

    def _wake_waiters(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def _answer(self) -> bool:
        while self._outcome is None:
            await self._wait()
        return self._outcome

    async def _wait(self) -> None:
        # Each has a future of its own: a handler that is cancelled here gives up the
        # answer, not the settlement, and after a timeout it may ask for it again.
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter
