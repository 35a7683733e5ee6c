"""A claimed timer on its way through a handler: what FastStream calls the raw message."""

import asyncio
from datetime import datetime, timedelta
from typing import Protocol

from faststream_redis_timers.subscriber.schedule import monotonic
from faststream_redis_timers_sync.protocol.envelope import Envelope
from faststream_redis_timers_sync.protocol.keys import decode_id
from faststream_redis_timers_sync.protocol.model import Claimed, Settlement
from faststream_redis_timers_sync.protocol.times import ask_in, is_lease, time_of


class Settle(Protocol):
    """Takes a settlement of a delivery on its way to the server."""

    def __call__(self, delivery: "TimerDelivery", action: bytes, detail: bytes, /) -> None:
        """Send it, and call the delivery's `tell` with the answer."""
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
        settle: Sends what becomes of it; None where there is no server (tests).
    """

    __slots__ = (
        "_is_decided",
        "_outcome",
        "_settle",
        "_waiters",
        "claimed_at",
        "envelope",
        "holds_slot",
        "key",
        "lease",
        "lease_ends_at",
        "previous_score",
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
        settle: Settle | None,
    ) -> None:
        """Keep the parts."""
        self.topic = topic
        self.key = claimed.timer_id
        self.timer_id = decode_id(claimed.timer_id)
        self.previous_score = claimed.previous_score
        self.envelope = envelope
        self.lease = lease
        self.lease_ends_at = lease_ends_at
        self.claimed_at = claimed_at
        self.holds_slot = True
        self._settle = settle
        self._is_decided = False
        self._outcome: bool | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        """Name topic and id; body and headers may be secret."""
        return f"{type(self).__name__}(topic={self.topic!r}, timer_id={self.timer_id!r})"

    @property
    def due_at(self) -> datetime:
        """When it was due, in UTC; for a redelivery when its last lease ended."""
        return time_of(float(self.previous_score))

    @property
    def lateness(self) -> float:
        """Seconds from `due_at` to its claim, both by the server's clock."""
        return self.claimed_at - float(self.previous_score)

    @property
    def redelivered(self) -> bool:
        """Whether a worker held it before and did not finish."""
        return is_lease(float(self.previous_score))

    @property
    def lease_ended(self) -> bool:
        """Whether its lease has ended by this process's monotonic clock."""
        return monotonic() >= self.lease_ends_at

    async def commit(self) -> bool:
        """Remove the timer: its handler has finished, or it is rejected.

        Returns:
            Whether it was removed under this lease. False: it was scheduled
            anew, moved, cancelled, or another worker has claimed it.
        """
        self.commit_soon()
        return await self._answer()

    async def nack(self, delay: timedelta | None = None) -> bool:
        """Keep the timer for another try.

        Args:
            delay: When; None means when the lease would have ended.

        Returns:
            Whether it was kept under this lease.

        Raises:
            TypeError: `delay` is not a timedelta.
        """
        self.nack_soon(delay)
        return await self._answer()

    def commit_soon(self) -> None:
        """Commit the timer, and do not wait for the answer."""
        self._decide(b"commit", b"")

    def nack_soon(self, delay: timedelta | None = None) -> None:
        """Keep the timer for another try, and do not wait for the answer.

        Args:
            delay: When; None means when the lease would have ended.

        Raises:
            TypeError: `delay` is not a timedelta.
        """
        self._decide(b"nack", b"" if delay is None else ask_in("delay", delay))

    def release(self) -> None:
        """Give the timer back, due as before; nothing if its fate is decided."""
        self._decide(b"release", self.previous_score)

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
        return Settlement(action, self.key, self.lease, detail)

    def tell(self, *, outcome: bool) -> None:
        """Tell those who wait what has become of the settlement.

        Args:
            outcome: Whether it was carried out under this lease.
        """
        self._outcome = outcome
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _decide(self, action: bytes, detail: bytes) -> None:
        if self._is_decided:
            return
        self._is_decided = True
        if self._settle is None:
            self.tell(outcome=True)
        else:
            self._settle(self, action, detail)

    async def _answer(self) -> bool:
        # Each has a future of its own: a handler that is cancelled here gives up the
        # answer, not the settlement, and after a timeout it may ask for it again.
        while self._outcome is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        return self._outcome
