"""Callers that wait for one timer each: `get_one` and `async for`.

The delivery loop claims, waits, settles and handles outages; this assigns timers to callers.
"""

import asyncio
from collections import deque

from faststream.exceptions import IncorrectState

from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.subscriber.loop import DeliveryLoop


class Callers:
    """Waiting callers. Each is a slot, so no timer is claimed ahead.

    A caller that has its timer leaves: it settles the timer, or lets the lease expire.

    Args:
        loop: Delivers to them.
    """

    def __init__(self, loop: DeliveryLoop[TimerDelivery]) -> None:
        """Start without callers."""
        self._loop = loop
        self._waiting: deque[asyncio.Future[TimerDelivery | None]] = deque()
        self._is_closed = False

    async def claim_one(self, timeout: float | None) -> TimerDelivery | None:
        """Wait for a due timer, and claim it.

        Args:
            timeout: Seconds to wait; None means without limit.

        Returns:
            The timer; None after the timeout, or when the subscriber stops.

        Raises:
            IncorrectState: Delivery died.
        """
        if self._is_closed:
            return None
        if not self._loop.alive:
            msg = (
                f"delivery of topic {self._loop.topic!r} died, see the log: call "
                "`await subscriber.stop()`, then `await subscriber.start()`"
            )
            raise IncorrectState(msg)
        caller: asyncio.Future[TimerDelivery | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(caller)
        # What the last poll found may be old, so poll again.
        core = self._loop.core
        core.add_slot()
        try:
            await asyncio.wait({caller}, timeout=timeout)
        except BaseException:
            if caller.done() and (delivery := caller.result()) is not None:
                delivery.release()
            raise
        finally:
            if not caller.done():
                self._waiting.remove(caller)
                core.remove_slot()
        return caller.result() if caller.done() else None

    def start(self) -> None:
        """Do nothing: callers come by themselves."""

    def begin(self, delivery: TimerDelivery) -> None:
        """Pass a delivery to the caller that has waited longest.

        Args:
            delivery: The delivery.
        """
        core = self._loop.core
        if not self._waiting or not core.claims or delivery.lease_ended:
            # Its caller left while it was claimed.
            delivery.release()
            core.ended(delivery)
            return
        core.hand_over(delivery)
        self._waiting.popleft().set_result(delivery)

    def dismiss(self) -> None:
        """Send all callers away without a timer, including future ones."""
        self._is_closed = True
        self._dismiss_waiting()

    def _dismiss_waiting(self) -> None:
        while self._waiting:
            self._loop.core.remove_slot()
            self._waiting.popleft().set_result(None)

    async def finish(self, graceful_timeout: float | None) -> bool:
        """Send all callers away; do not wait for those with a timer.

        Args:
            graceful_timeout: Ignored.
        """
        self.dismiss()
        return True

    def close(self) -> None:
        """Send the remaining callers away: the loop has ended."""
        self._dismiss_waiting()
