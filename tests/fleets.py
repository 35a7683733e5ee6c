"""Fleets of workers in one process: each with a broker of its own, for the same topic."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

from bench import NO_POLLS
from inside import is_polling, loops_of, post_of
from waiting import wait_until_async

from faststream_redis_timers.delivery.duty import Post
from faststream_redis_timers_sync.protocol.keys import RESERVE_GROUPS

WORKERS = 12
SOON = timedelta(seconds=0.02)


class Fleet:
    """Workers of one topic, each with a broker of its own, that do not poll.

    Args:
        bench: Where the topic is.
        handle: Their handler.
        clients: A client or URL for each.
        duty: How many of them are to be on duty.
        **options: Options of their subscribers.
    """

    def __init__(self, bench, handle, clients, duty=3, **options):
        self.bench = bench
        self._handle = handle
        self._duty = duty
        self._options = options
        self.brokers = [self._make_broker(client) for client in clients]
        self._serial = 0

    def _make_broker(self, client):
        broker = self.bench.broker(client, duty=self._duty)
        broker.subscriber(self.bench.topic, **NO_POLLS, **self._options)(self._handle)
        return broker

    async def add(self, client):
        """Start one more, and give its loops."""
        self.brokers.append(self._make_broker(client))
        await self.brokers[-1].start()
        return loops_of(self.brokers[-1])

    @property
    def loops(self):
        return [loop for broker in self.brokers for loop in loops_of(broker)]

    def at(self, post):
        """Give the loops at a post."""
        return [loop for loop in self.loops if post_of(loop) is post]

    def brokers_on_duty(self):
        """Give the brokers whose loops are on duty."""
        return [one for one in self.brokers if post_of(loops_of(one)[0]) is Post.ON_DUTY]

    def counted(self):
        """Tell how many the server counts on duty, in reserve, and in all."""
        keys, topic = self.bench.home.operations.keys, self.bench.topic
        groups = [keys.reserve_channel_of(topic, group) for group in range(RESERVE_GROUPS)]
        channels = (keys.channel_of(topic), keys.workers_channel_of(topic), *groups)
        counts = dict(self.bench.redis.pubsub_numsub(*channels))
        on_duty, workers = counts.pop(channels[0]), counts.pop(channels[1])
        return on_duty, sum(counts.values()), workers

    async def until_counted(self, *expected):
        await wait_until_async(lambda: self.counted() == expected)

    async def deliver_one(self):
        """Schedule a timer that is due a moment later, and wait until it is gone."""
        self._serial += 1
        self.bench.schedule(f"one-{self._serial}", activate_in=SOON)
        await self.bench.until_gone(f"one-{self._serial}")

    async def thin_out(self):
        """Have timers until three are on duty, and no reply to a claim may change that."""
        while not self._is_thin():
            await self.deliver_one()

    def _is_thin(self):
        # Two may leave at the same time: one of them may still be counted.
        if any(map(is_polling, self.loops)) or len(self.at(Post.ON_DUTY)) != 3:
            return False
        return self.counted() == (3, len(self.brokers) - 3, len(self.brokers))


@asynccontextmanager
async def fleet_of(bench, handle, clients=(None,) * WORKERS, duty=3, **options):
    """Start workers at the same time, and stop them at the end of the block."""
    fleet = Fleet(bench, handle, clients, duty, **options)
    await asyncio.gather(*(broker.start() for broker in fleet.brokers))
    try:
        await wait_until_async(lambda: len(clients) in fleet.counted())
        yield fleet
    finally:
        await asyncio.gather(*(broker.stop() for broker in fleet.brokers))
