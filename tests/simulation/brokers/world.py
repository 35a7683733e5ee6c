"""Histories of real brokers and clients, on an event loop in virtual time."""

import asyncio
from contextlib import contextmanager
from unittest import mock

from simulation.brokers.people import BrokerProducer, BrokerWorker
from simulation.brokers.server import FakeredisServer
from simulation.brokers.virtual_time import LoopActor, VirtualLoop, current_actor
from simulation.world import World

from faststream_redis_timers import clock


class BrokersWorld(World):
    """All that there is in one history.

    Args:
        seed: Gives the same history each time.
    """

    def _make_clock(self, draws):
        return VirtualLoop(draws)

    def _make_server(self, clock, watch):
        return FakeredisServer(clock, watch)

    def _make_worker(self, name):
        return BrokerWorker(self, name, self.options)

    def _make_producer(self, name, *, blocking):
        return BrokerProducer(self, name, blocking=blocking)

    def add_actor(self, name):
        actor = LoopActor(name)
        self.clock.add_actor(actor)
        return actor

    def _current_actor(self):
        return current_actor()

    def _run(self):
        try:
            self.clock.run_until_complete(self._watch())
        finally:
            self.clock.close()

    async def _watch(self):
        end = self.clock.create_future()

        def on_violation(violation):
            if not end.done():
                end.set_exception(violation)

        self.ledger.on_violation = on_violation
        story = self.clock.create_task(self._follow())
        try:
            await asyncio.wait({story, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.ledger.is_closed = True
            self.clock.clear_away()
        if end.done():
            raise end.exception()
        await story

    async def _follow(self):
        for wanted in self._story():
            if isinstance(wanted, float):
                await asyncio.sleep(wanted)
            else:
                await asyncio.wait(wanted)
        if self.clock.errors:
            self.ledger.violated("alive", f"{self.clock.errors}")

    @contextmanager
    def _clocks(self):
        with (
            super()._clocks(),
            mock.patch.dict(clock.monotonic.__kwdefaults__, {"_clock": self.clock.time}),
        ):
            yield

    def _wall_clock(self):
        return self.server.now if self.server.is_at_work else super()._wall_clock()
