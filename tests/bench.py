"""What tests with workers share: a bench with a topic, brokers, a log, and eyes on the keys."""

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

import redis
from asgiref.sync import sync_to_async
from front_ends import Home
from relay import Relay
from waiting import wait_until_async

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.times import is_lease

HOUR = timedelta(hours=1)

NO_POLLS = {"polling_interval": 3600.0, "max_polling_interval": 3600.0}
"""Options with which a worker, once it has looked, only wakes for what it has learnt."""


INTERRUPTED, RESUMED = "interrupted, trying again until it succeeds", "resumed"
"""What the first and the last line of an outage have after the topic, see `delivery.words`."""


def in_a_loop_of_its_own(function):
    """Wrap a blocking function in an asynchronous one, and that in a blocking one."""

    async def handle(body: str) -> None:
        function(body)

    @functools.wraps(handle)
    def run(body: str) -> None:
        asyncio.run(handle(body))

    return run


BLOCKING = {
    "a plain function": lambda function: function,
    "asyncio.run": in_a_loop_of_its_own,
    "sync_to_async": sync_to_async,
}
"""What makes a handler of a blocking function; each runs it in a thread."""


class LogLines(logging.Handler):
    """A logger's lines, kept."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        # One of its own: loggers by name are shared by all tests.
        self.logger = logging.Logger("test", logging.INFO)  # noqa: LOG001
        self.logger.addHandler(self)
        # So that pytest shows the lines of a test that fails.
        self.logger.parent = logging.root

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def at(self, level: int) -> list[str]:
        """Give the lines of one level."""
        return [record.getMessage() for record in self.records if record.levelno == level]

    @property
    def lines(self) -> list[str]:
        """Give all lines."""
        return [record.getMessage() for record in self.records]

    @property
    def complaints(self) -> list[str]:
        """Give the lines from WARNING upwards."""
        return [record.getMessage() for record in self.records if record.levelno >= logging.WARNING]


@dataclass
class Bench:
    """One topic on one server.

    Args:
        home: Where its timers live.
        topic: The topic.
    """

    home: Home
    topic: str = "invoices"
    log: LogLines = field(default_factory=LogLines)
    brokers: list[TimersBroker] = field(default_factory=list)

    @cached_property
    def client(self) -> TimersClient:
        """A client to schedule with: its calls simply run, the event loop waits."""
        return TimersClient(self.home.redis, **self.home.key_names)

    @property
    def redis(self) -> redis.Redis:
        return self.home.redis

    @property
    def timeline(self) -> bytes:
        return self.home.keys_of(self.topic).timeline

    @property
    def channel(self) -> bytes:
        return self.home.operations.keys.channel_of(self.topic)

    def broker(self, client: Any = None, **options: Any) -> TimersBroker:
        """Make a broker that is stopped at the end of the test."""
        options = {"logger": self.log.logger, "graceful_timeout": 2.0, **options}
        broker = TimersBroker(client or self.home.broker_url, **self.home.key_names, **options)
        self.brokers.append(broker)
        return broker

    def schedule(self, timer_id: str, body: Any = "first", **options: Any) -> None:
        self.client.schedule(body, self.topic, timer_id=timer_id, **options)

    async def hold_a_claim(self, relay: Relay, *timer_ids: str) -> dict[str, float]:
        """Let a worker behind a relay claim timers and not learn of it.

        Args:
            relay: The relay, which holds the reply until it resumes.
            timer_ids: The ids of timers that are scheduled for it.

        Returns:
            The times at which they were due.
        """
        for _ in range(5):
            relay.hold_replies()
            # In one transaction: the worker may be asking at this moment.
            with self.redis.pipeline() as pipeline:
                for timer_id in timer_ids:
                    self.schedule(timer_id, pipeline=pipeline)
                for timer_id in timer_ids:
                    pipeline.zscore(self.timeline, timer_id)
                scores = pipeline.execute()[len(timer_ids) :]
            with suppress(AssertionError):
                await wait_until_async(lambda: all(map(self.is_leased, timer_ids)), 1)
                return dict(zip(timer_ids, scores, strict=True))
            # The reply that is held is that of an earlier claim, when there was nothing.
            self.client.cancel_timers(self.topic, timer_ids)
            relay.resume()
        raise AssertionError

    def score(self, timer_id: str | bytes) -> float | None:
        return self.redis.zscore(self.timeline, timer_id)

    def is_gone(self, timer_id: str) -> bool:
        return not self.client.has_pending(self.topic, timer_id)

    def is_leased(self, timer_id: str) -> bool:
        score = self.score(timer_id)
        return score is not None and is_lease(score)

    async def until_gone(self, *timer_ids: str) -> None:
        await wait_until_async(lambda: all(self.is_gone(timer_id) for timer_id in timer_ids))

    async def until_settled(self, broker: TimersBroker) -> None:
        """Wait until what handlers of this broker have settled before has reached the server.

        Settlements go in order: that of one more timer comes after all others. It needs a
        free slot, and a handler that returns for a timer named "last".
        """
        self.schedule("last")
        await self.until_gone("last")


@asynccontextmanager
async def bench_at(server_url: str, key_names: Mapping[str, str]) -> AsyncIterator[Bench]:
    """Make a bench; brokers made with it are stopped at the end of the block."""
    home = Home(key_names, server_url)
    try:
        async with bench_of(home) as bench:
            yield bench
    finally:
        home.redis.close()


@asynccontextmanager
async def bench_of(home: Home) -> AsyncIterator[Bench]:
    """Make a bench where timers live there; its brokers are stopped at the end of the block."""
    bench = Bench(home)
    try:
        yield bench
    finally:
        for broker in bench.brokers:
            await broker.stop()


@asynccontextmanager
async def delivering(broker: TimersBroker) -> AsyncIterator[TimersBroker]:
    """Start a broker, and stop it at the end of the block."""
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


@dataclass
class Calls:
    """What handlers were called with, and a gate that holds them.

    Args:
        open: Whether the gate is open from the start.
    """

    open: bool = False
    bodies: list[tuple[str, Any]] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)
    running: int = 0
    most_running: int = 0

    def __post_init__(self) -> None:
        self.gate = asyncio.Event()
        if self.open:
            self.gate.set()

    @property
    def ids(self) -> list[str]:
        return [timer_id for timer_id, _ in self.bodies]

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.ids)

    def note(self, message: Any, body: Any = None) -> None:
        self.messages.append(message)
        self.bodies.append((message.timer_id, body))

    async def hold(self, message: Any, body: Any = None) -> None:
        """Note a call, and wait at the gate."""
        self.note(message, body)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1

    async def until(self, count: int, timeout: float = 10.0) -> None:
        await wait_until_async(lambda: len(self.bodies) >= count, timeout)


class PanicException(BaseException):
    """No Exception, like that of extensions in Rust."""


async def fail_in_a_task_group():
    """Let a task group fail while it is left, and handle its error."""

    async def fail():
        raise LookupError

    with suppress(BaseExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())


async def until_listening(bench, count=1, topic=None):
    """Wait until that many workers listen to the topic."""
    keys = bench.home.operations.keys
    ask = bench.redis.pubsub_shardnumsub if keys.hash_tags else bench.redis.pubsub_numsub
    channel = keys.channel_of(topic or bench.topic)
    await wait_until_async(lambda: ask(channel)[0][1] == count)


async def until_idle(bench, relay, count=1):
    """Wait until that many workers listen, and nothing more is sent."""
    await until_listening(bench, count)
    await until_nothing_is_sent(relay)


async def until_nothing_is_sent(relay):
    """Wait until no more scripts are called through the relay."""

    async def is_idle():
        before = relay.count("EVALSHA")
        await asyncio.sleep(0.1)
        return relay.count("EVALSHA") == before

    await wait_until_async(is_idle)
