"""Histories of cores, without an event loop: they are driven from a heap of what is due when."""

from random import Random

from simulation.actors import Actor
from simulation.cores.people import CoreProducer, CoreWorker
from simulation.cores.server import PlainServer
from simulation.cores.virtual_time import VirtualTime, when_over
from simulation.people import NAMES, TOPIC
from simulation.world import World

from faststream_redis_timers.delivery.attendance import Channels
from faststream_redis_timers.delivery.duty import Duty
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers_sync.protocol.keys import RESERVE_GROUPS, KeySpace
from faststream_redis_timers_sync.protocol.operations import Operations


class CoresWorld(World):
    """All that there is in one history.

    Args:
        seed: Gives the same history each time.
    """

    operations = Operations(KeySpace(**NAMES))

    def __init__(self, seed):
        super().__init__(seed)
        of_the_sub = {
            name: value
            for name, value in self.options.items()
            if name not in {"retry_policy", "dead_letter_topic"}
        }
        self.sub = TimerSub(topic=TOPIC, **of_the_sub)

    def make_duty(self, draw):
        """Make the rule of a worker; None where all are on duty."""
        if self.holders is None:
            return None
        return Duty(self.holders, self.sub.most_running, draw, self.sub.max_wait)

    def channels_of(self, actor):
        """Give the channels of a worker."""
        keys = self.operations.keys
        wake_ups = keys.channel_of(TOPIC)
        if self.holders is None:
            return Channels(wake_ups)
        group = Random(f"{self.seed} {actor} group").randrange(RESERVE_GROUPS)
        help_calls = keys.reserve_channel_of(TOPIC, group)
        return Channels(wake_ups, help_calls, keys.workers_channel_of(TOPIC))

    def _make_clock(self, draws):
        return VirtualTime(draws)

    def _make_server(self, clock, watch):
        return PlainServer(clock, watch, writes_17_digits=self.draws.random() < 0.5)

    def _make_worker(self, name):
        return CoreWorker(self, name, self.options)

    def _make_producer(self, name, *, blocking):
        return CoreProducer(self, name, blocking=blocking)

    def add_actor(self, name):
        return Actor(name)

    def _current_actor(self):
        return self.clock.current

    def _run(self):
        violations = []

        def on_violation(violation):
            violations.append(violation)
            self.clock.end()

        self.ledger.on_violation = on_violation
        self.clock.spawn(self._follow())
        try:
            self.clock.run()
        finally:
            self.ledger.is_closed = True
        if violations:
            raise violations[0]

    def _follow(self):
        for wanted in self._story():
            yield wanted if isinstance(wanted, float) else when_over(wanted)
        self.clock.end()
