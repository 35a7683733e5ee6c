"""Claims timers one by one, each for a caller who waits for it: `get_one` and `async for`.

Claiming, waiting, settling and outages are the delivery loop's; here is who gets what.
"""

import asyncio
import logging
from collections import deque
from typing import Any

from faststream.exceptions import IncorrectState

from faststream_redis_timers.delivery.caution import Caution
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers.subscriber.delivery import TimerDelivery
from faststream_redis_timers.subscriber.loop import DeliveryLoop


class ClaimsOnDemand(DeliveryLoop):
    """Claims a due timer for each caller that waits for one, and none ahead.

    A caller that waits is a free slot; one that has got its timer is on its own, and
    settles it, or lets its lease end.

    Args:
        sub: The topic, without prefixes, and the knobs.
        **parts: See `DeliveryLoop`.
    """

    def __init__(self, sub: TimerSub, **parts: Any) -> None:
        """Prepare; `start` begins."""
        super().__init__(sub, handle=self._give, **parts)
        self._free_slots = 0
        # Callers ask for one at a time anyhow.
        self._caution = Caution(1, None, self.look_now)
        self._callers: deque[asyncio.Future[TimerDelivery | None]] = deque()

    async def take(self, timeout: float | None) -> TimerDelivery | None:
        """Wait for a due timer, and claim it.

        Args:
            timeout: Seconds to wait; None means without limit.

        Returns:
            The timer; None after the timeout, or when the subscriber stops.

        Raises:
            IncorrectState: It has died.
        """
        if self._stopping:
            return None
        if not self.alive:
            msg = f"the delivery of topic {self._topic!r} has died, see the log: start it anew"
            raise IncorrectState(msg)
        caller: asyncio.Future[TimerDelivery | None] = asyncio.get_running_loop().create_future()
        self._callers.append(caller)
        self._free_slots += 1
        # What was learnt for the caller before may be old.
        self.look_now()
        try:
            await asyncio.wait({caller}, timeout=timeout)
        except BaseException:
            if caller.done() and (delivery := caller.result()) is not None:
                delivery.release()
            raise
        finally:
            if not caller.done():
                self._callers.remove(caller)
                self._free_slots -= 1
        return caller.result() if caller.done() else None

    def begin_stop(self) -> None:
        """Claim nothing more, and send all callers away."""
        super().begin_stop()
        self._send_callers_away()

    async def _give(self, delivery: TimerDelivery) -> None:
        self._end_caution(delivery)
        if not self._callers:
            # Its caller has gone while it was claimed.
            delivery.release()
            return
        # The slot was the caller's, and goes with it.
        delivery.holds_slot = False
        self._callers.popleft().set_result(delivery)

    def _send_callers_away(self) -> None:
        while self._callers:
            self._free_slots -= 1
            self._callers.popleft().set_result(None)

    def settle(self, delivery: TimerDelivery, action: bytes, detail: bytes, /) -> None:
        """Send a settlement with the next call, if there is one.

        Args:
            delivery: See `DeliveryLoop.settle`.
            action: See `DeliveryLoop.settle`.
            detail: See `DeliveryLoop.settle`.
        """
        if not self.alive:
            self._log(
                logging.WARNING,
                f"timer {delivery.timer_id!r} of topic {delivery.topic!r} was settled after its "
                "subscriber had stopped: it will be delivered again when its lease ends",
            )
        super().settle(delivery, action, detail)

    def _end(self, task: "asyncio.Task[None]") -> None:
        super()._end(task)
        self._send_callers_away()
