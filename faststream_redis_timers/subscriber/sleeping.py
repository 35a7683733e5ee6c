"""Sleeps until a subscriber's next turn, precisely if a timer is due then."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress

from faststream_redis_timers.clock import monotonic
from faststream_redis_timers.delivery.core import Wait
from faststream_redis_timers.delivery.duty import Duty
from faststream_redis_timers.delivery.schedule import AlarmClock, SpinBudget

WARMING = 0.1
"""Seconds that the ping that warms a connection may take."""

SHORTEST_SPIN = 0.001
"""Shortest spin in seconds; with a smaller budget, sleeping is as good."""


class Sleeper:
    """Sleeps until a time, or until `stir` is called.

    Args:
        ping: Warms a connection of the pool.
        on_wait: Called with whether wake-ups are useful, when a sleep begins and ends.
        on_stall: Called with the seconds by which a sleep was too long, if handlers blocked the
            event loop.
        spin_budget: Limits active waiting, for all subscribers of the broker.
        alarm_clock: Knows how late sleeps end, from all subscribers of the broker.
    """

    def __init__(
        self,
        ping: Callable[[], Awaitable[None]],
        on_wait: Callable[[bool], None],
        on_stall: Callable[[float], None],
        spin_budget: SpinBudget,
        alarm_clock: AlarmClock,
    ) -> None:
        """Start awake."""
        self._ping = ping
        self._on_wait = on_wait
        self._on_stall = on_stall
        self._spin_budget = spin_budget
        self._alarm_clock = alarm_clock
        self._waiter: asyncio.Future[bool] | None = None
        self._is_stirred = False

    def stir(self) -> None:
        """End the sleep."""
        self._is_stirred = True
        if self._waiter is not None:
            _finish(self._waiter, True)

    async def sleep(self, turn: Wait) -> None:
        """Sleep until the end of a turn, or until `stir` is called.

        Args:
            turn: Until when, and how precisely.
        """
        # `next` has already considered earlier calls of `stir`.
        self._is_stirred = False
        self._on_wait(turn.listens)
        try:
            early = 0.0
            if turn.is_precise:
                early = min(self._alarm_clock.early, self._spin_budget.left(monotonic()))
            if early < SHORTEST_SPIN:
                await self._sleep(turn.until)
            else:
                await self._sleep_precisely(turn.until, early)
        finally:
            self._on_wait(False)

    async def _sleep_precisely(self, until: float, early: float) -> None:
        alarm_at = max(until - early, monotonic())
        if await self._sleep(alarm_at):
            return
        self._alarm_clock.overslept(monotonic() - alarm_at)
        with suppress(Exception):
            async with asyncio.timeout(WARMING):
                await self._ping()
        started_at = monotonic()
        while monotonic() < until and not self._is_stirred:  # noqa: ASYNC110  an event is late
            await asyncio.sleep(0)
        self._spin_budget.spend(monotonic() - started_at)

    async def _sleep(self, until: float) -> bool:
        """Sleep until a time of the monotonic clock; return whether `stir` ended the sleep."""
        until = max(until, monotonic())
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        alarm = None
        if until < math.inf:
            alarm = loop.call_later(max(0.0, until - monotonic()), _finish, waiter, False)
        try:
            return await waiter
        finally:
            self._waiter = None
            if alarm is not None:
                alarm.cancel()
            if (late := monotonic() - until) > Duty.STALL:
                self._on_stall(late)


def _finish(waiter: "asyncio.Future[bool]", is_stirred: bool) -> None:  # noqa: FBT001
    if not waiter.done():
        waiter.set_result(is_stirred)
