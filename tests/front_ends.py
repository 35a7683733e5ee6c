"""The front ends under one interface, so that one contract suite runs against all of them.

A front end is made by a factory of `FRONT_ENDS`. To add one: write a class with the methods
of `FrontEnd`, and a factory, an async context manager that takes a `Home`.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, partial
from random import randrange
from typing import Any, Protocol

import fakeredis
import pytest
import redis
import redis.asyncio
from leaks import keys_under, leftovers

from faststream_redis_timers import TestTimersBroker, TimersBroker
from faststream_redis_timers_sync import Repeat, Timer, TimersClient
from faststream_redis_timers_sync.calls.opening import open_runner
from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.protocol.clients import database_of
from faststream_redis_timers_sync.protocol.keys import KeySpace, TopicKeys
from faststream_redis_timers_sync.protocol.memory.topic import Entry
from faststream_redis_timers_sync.protocol.model import CommitGroup, Settlement, Step
from faststream_redis_timers_sync.protocol.operation import Operation, command
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.steps import LEASE_JITTER
from faststream_redis_timers_sync.testing import FakeTimersClient

PATIENT = {"socket_timeout": 30.0, "socket_connect_timeout": 30.0}
"""Options of clients that outlast a machine which stands still for seconds: from redis-py 8 on they
give up after 5."""


@dataclass
class Home:
    """Where the timers of one test live, and hands on them that no front end has.

    Args:
        key_names: The names of the keys, and their layout, as the front ends' arguments.
        server_url: The real server's; None stands for a fakeredis of its own.
    """

    key_names: Mapping[str, Any]
    server_url: str | None
    fake_server: fakeredis.FakeServer = field(default_factory=fakeredis.FakeServer)

    @property
    def broker_url(self) -> str | None:
        """The URL for brokers."""
        return self.server_url

    def blocking(self, **options: Any) -> redis.Redis:
        """Make a blocking client."""
        if self.server_url is None:
            return fakeredis.FakeRedis(server=self.fake_server, **options)
        return redis.Redis.from_url(self.server_url, **{**PATIENT, **options})

    def asynchronous(self, **options: Any) -> redis.asyncio.Redis:
        """Make an asyncio client of the same server."""
        if self.server_url is None:
            return fakeredis.FakeAsyncRedis(server=self.fake_server, **options)
        return redis.asyncio.Redis.from_url(self.server_url, **{**PATIENT, **options})

    @cached_property
    def redis(self) -> redis.Redis:
        """A plain client for looking at keys and planting entries."""
        return self.blocking()

    @cached_property
    def operations(self) -> Operations:
        database = database_of(self.redis.connection_pool.connection_kwargs)
        return Operations(KeySpace(**self.key_names, database=database))

    @cached_property
    def runner(self) -> Runner:
        """Runs operations that no front end has."""
        return open_runner(self.redis, None, None)

    def keys_of(self, topic: str) -> TopicKeys:
        return self.operations.keys.of(topic)

    def now(self, topic: str = "invoices") -> datetime:
        """Tell the time of the server that has a topic."""
        seconds, microseconds = self.redis.time()
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)

    def written(self) -> list[Any]:
        """Tell all that front ends have written."""
        return keys_under(self.redis, self.key_names)

    def plant(self, topic: str, timer_id: bytes | str, due: float, payload: bytes | None) -> None:
        """Write an entry as somebody else might; without payload it is half of one."""
        keys = self.keys_of(topic)
        self.redis.zadd(keys.timeline, {timer_id: due})
        if payload is not None:
            self.redis.hset(keys.payloads, timer_id, payload)

    def step(
        self,
        topic: str,
        *settlements: Settlement,
        groups: Sequence[CommitGroup] = (),
        limit: int = 0,
        lease_ttl: float = 30.0,
    ) -> Step:
        """Settle and claim as a worker does."""
        operation = self.operations.settle_and_claim(
            topic,
            settlements,
            groups,
            limit=limit,
            lease_ttl=lease_ttl,
            jitter=randrange(LEASE_JITTER),
        )
        return self.run(operation)

    def run(self, operation: Operation[Step]) -> Step:
        """Run an operation that no front end has."""
        return self.runner.run(operation)

    def leave(self) -> list[str]:
        """Remove all keys, and tell what was wrong with them."""
        wrong = leftovers(self.redis, self.key_names)
        # One by one, as they may be on several nodes.
        for key in self.written():
            self.redis.delete(key)
        self.runner.close()
        return wrong

    def server_of(self, topic: str) -> Any:
        """Give a client of the server that a topic's wake-ups come from."""
        return self.redis

    def listen(self, pubsub: Any, topic: str) -> None:
        """Subscribe to a topic's wake-ups, as workers do."""
        sharded = "s" if self.operations.keys.hash_tags else ""
        subscribe = getattr(pubsub, f"{sharded}subscribe")
        subscribe(self.operations.keys.channel_of(topic))
        assert pubsub.get_message(timeout=10)["type"] == f"{sharded}subscribe"

    def publish(self, topic: str, message: str) -> None:
        """Publish on a topic's channel."""
        sharded = "s" if self.operations.keys.hash_tags else ""
        getattr(self.redis, f"{sharded}publish")(self.operations.keys.channel_of(topic), message)

    def claim(self, topic: str, lease_ttl: float = 30.0) -> Step:
        """Claim what is due, so that it runs."""
        return self.step(topic, limit=100, lease_ttl=lease_ttl)

    def claim_due(self, topic: str) -> list[bytes]:
        """Claim what is due, and give the ids."""
        return [timer.timer_id for timer in self.claim(topic).claimed]


@cache
def looking_at(url: str) -> redis.RedisCluster:
    """Make a cluster's client once: it asks all nodes."""
    return redis.RedisCluster.from_url(url)


class ClusterHome(Home):
    """A real cluster, with hash tags in the keys."""

    @property
    def broker_url(self) -> str:
        return self.server_url.replace("redis:", "redis+cluster:")

    @cached_property
    def redis(self) -> redis.RedisCluster:
        return looking_at(self.server_url)

    def blocking(self, **options: Any) -> Any:
        return redis.RedisCluster.from_url(self.server_url, **options)

    def asynchronous(self, **options: Any) -> Any:
        return redis.asyncio.RedisCluster.from_url(self.server_url, **options)

    @cached_property
    def operations(self) -> Operations:
        return Operations(KeySpace(**self.key_names))

    def now(self, topic: str = "invoices") -> datetime:
        # What two servers on one machine answer to TIME differs by microseconds, and by
        # milliseconds where the machine is busy.
        keys = self.operations.keys.of(topic)[:1]
        seconds, microseconds = self.runner.run(command(b"TIME", parse=list, keys=keys))
        return datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(microseconds))

    def server_of(self, topic: str) -> Any:
        node = self.redis.get_node_from_key(self.operations.keys.of(topic).timeline)
        return self.redis.get_redis_connection(node)


class MemoryHome(Home):
    """The memory of a `FakeTimersClient`: there are no keys in it."""

    @cached_property
    def fake(self) -> FakeTimersClient:
        return FakeTimersClient(**self.key_names)

    @property
    def redis(self) -> redis.Redis:
        pytest.skip("it is about keys, and in memory there are none")

    def now(self, topic: str = "invoices") -> datetime:
        return self.fake.now()

    def written(self) -> list[Any]:
        return [entries for entries in self.fake.memory._topics.values() if entries]

    def plant(self, topic: str, timer_id: bytes | str, due: float, payload: bytes | None) -> None:
        if payload is None:
            pytest.skip("it is about half an entry, and in memory there are none")
        entries = self.fake.memory._entries_of(self.keys_of(topic))
        entries[timer_id if isinstance(timer_id, bytes) else timer_id.encode()] = Entry(
            repr(due).encode(), payload
        )

    def run(self, operation: Operation[Step]) -> Step:
        return self.fake.memory.run(operation)


class FrontEnd(Protocol):
    """What a front end can do, always with `await`; arguments and results are its own."""

    async def schedule(  # noqa: PLR0913  a timer has that many properties
        self,
        message: Any,
        topic: str,
        *,
        timer_id: str | None = None,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        repeat: Repeat | None = None,
        correlation_id: str | None = None,
        headers: Mapping[str, Any] | None = None,
        reply_to: str = "",
        if_exists: str | None = None,
    ) -> str: ...

    async def schedule_batch(  # noqa: PLR0913  a timer has that many properties
        self,
        messages: Iterable[Any],
        topic: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        repeat: Repeat | None = None,
        correlation_id: str | None = None,
        headers: Mapping[str, Any] | None = None,
        reply_to: str = "",
        if_exists: str | None = None,
    ) -> list[str]: ...

    async def reschedule_timer(
        self,
        topic: str,
        timer_id: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
    ) -> bool: ...

    async def cancel_timer(self, topic: str, timer_id: str) -> bool: ...

    async def pause_timer(self, topic: str, timer_id: str) -> bool: ...

    async def resume_timer(self, topic: str, timer_id: str) -> bool: ...

    async def cancel_timers(self, topic: str, timer_ids: Iterable[str]) -> int: ...

    async def cancel_all(self, topic: str) -> int: ...
    async def redrive(self, dead_topic: str, timer_ids: Any = None) -> int: ...

    async def has_pending(self, topic: str, timer_id: str) -> bool: ...

    async def get_timer(self, topic: str, timer_id: str) -> Timer | None: ...

    async def get_pending_timers(self, topic: str, before: datetime | None = None) -> list[str]: ...

    def iter_timers(
        self,
        topic: str,
        *,
        match: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        bodies: bool = True,
    ) -> AsyncIterator[Timer]: ...

    async def count_pending(self, topic: str) -> int: ...


class BlockingFrontEnd:
    """`TimersClient` as a front end: its calls simply run, the event loop waits."""

    def __init__(self, client: TimersClient) -> None:
        self._client = client

    async def schedule(self, *args: Any, **kwargs: Any) -> str:
        return self._client.schedule(*args, **kwargs)

    async def schedule_batch(self, *args: Any, **kwargs: Any) -> list[str]:
        return self._client.schedule_batch(*args, **kwargs)

    async def reschedule_timer(self, *args: Any, **kwargs: Any) -> bool:
        return self._client.reschedule_timer(*args, **kwargs)

    async def cancel_timer(self, *args: Any, **kwargs: Any) -> bool:
        return self._client.cancel_timer(*args, **kwargs)

    async def pause_timer(self, *args: Any, **kwargs: Any) -> bool:
        return self._client.pause_timer(*args, **kwargs)

    async def resume_timer(self, *args: Any, **kwargs: Any) -> bool:
        return self._client.resume_timer(*args, **kwargs)

    async def cancel_timers(self, *args: Any, **kwargs: Any) -> int:
        return self._client.cancel_timers(*args, **kwargs)

    async def cancel_all(self, *args: Any, **kwargs: Any) -> int:
        return self._client.cancel_all(*args, **kwargs)

    async def redrive(self, *args: Any, **kwargs: Any) -> int:
        return self._client.redrive(*args, **kwargs)

    async def has_pending(self, *args: Any, **kwargs: Any) -> bool:
        return self._client.has_pending(*args, **kwargs)

    async def get_timer(self, *args: Any, **kwargs: Any) -> Timer | None:
        return self._client.get_timer(*args, **kwargs)

    async def get_pending_timers(self, *args: Any, **kwargs: Any) -> list[str]:
        return self._client.get_pending_timers(*args, **kwargs)

    async def iter_timers(self, *args: Any, **kwargs: Any) -> AsyncIterator[Timer]:
        for timer in self._client.iter_timers(*args, **kwargs):
            yield timer

    async def count_pending(self, *args: Any, **kwargs: Any) -> int:
        return self._client.count_pending(*args, **kwargs)


@asynccontextmanager
async def blocking_front_end(
    home: Home, prefix: str = "", **options: Any
) -> AsyncIterator[FrontEnd]:
    """Make a `BlockingFrontEnd` whose redis-py client has these options."""
    with home.blocking(**options) as client:
        yield BlockingFrontEnd(TimersClient(client, **home.key_names, prefix=prefix))


class AsyncFrontEnd:
    """`TimersBroker` as a front end: it is connected and delivers nothing."""

    def __init__(self, broker: TimersBroker) -> None:
        self._broker = broker

    async def schedule(self, *args: Any, **kwargs: Any) -> str:
        return await self._broker.publish(*args, **kwargs)

    async def schedule_batch(self, messages: Iterable[Any], topic: str, **kwargs: Any) -> list[str]:
        return await self._broker.publish_batch(*messages, topic=topic, **kwargs)

    async def reschedule_timer(self, *args: Any, **kwargs: Any) -> bool:
        return await self._broker.reschedule_timer(*args, **kwargs)

    async def cancel_timer(self, *args: Any, **kwargs: Any) -> bool:
        return await self._broker.cancel_timer(*args, **kwargs)

    async def pause_timer(self, *args: Any, **kwargs: Any) -> bool:
        return await self._broker.pause_timer(*args, **kwargs)

    async def resume_timer(self, *args: Any, **kwargs: Any) -> bool:
        return await self._broker.resume_timer(*args, **kwargs)

    async def cancel_timers(self, *args: Any, **kwargs: Any) -> int:
        return await self._broker.cancel_timers(*args, **kwargs)

    async def cancel_all(self, *args: Any, **kwargs: Any) -> int:
        return await self._broker.cancel_all(*args, **kwargs)

    async def redrive(self, *args: Any, **kwargs: Any) -> int:
        return await self._broker.redrive(*args, **kwargs)

    async def has_pending(self, *args: Any, **kwargs: Any) -> bool:
        return await self._broker.has_pending(*args, **kwargs)

    async def get_timer(self, *args: Any, **kwargs: Any) -> Timer | None:
        return await self._broker.get_timer(*args, **kwargs)

    async def get_pending_timers(self, *args: Any, **kwargs: Any) -> list[str]:
        return await self._broker.get_pending_timers(*args, **kwargs)

    def iter_timers(self, *args: Any, **kwargs: Any) -> AsyncIterator[Timer]:
        return self._broker.iter_timers(*args, **kwargs)

    async def count_pending(self, *args: Any, **kwargs: Any) -> int:
        return await self._broker.count_pending(*args, **kwargs)


@asynccontextmanager
async def async_front_end(home: Home, prefix: str = "", **options: Any) -> AsyncIterator[FrontEnd]:
    """Make an `AsyncFrontEnd` whose redis-py client has these options."""
    async with home.asynchronous(**options) as client:
        broker = TimersBroker(client, **home.key_names, prefix=prefix)
        await broker.connect()
        try:
            yield AsyncFrontEnd(broker)
        finally:
            await broker.stop()


FrontEndFactory = Callable[..., AbstractAsyncContextManager[FrontEnd]]
"""Called with a `Home`, and ``prefix="..."`` where a test wants one."""

CLIENT_OPTIONS: dict[str, dict[str, Any]] = {
    # Which protocol this speaks depends on redis-py: RESP3 from 8.0 on.
    "default": {},
    "decoding": {"decode_responses": True, "protocol": 2},
    "resp3": {"protocol": 3},
    "decoding-resp3": {"decode_responses": True, "protocol": 3},
}


@asynccontextmanager
async def memory_front_end(home: MemoryHome, prefix: str = "") -> AsyncIterator[FrontEnd]:
    """Make a `BlockingFrontEnd` of a `FakeTimersClient`, all of them on one memory."""
    client = FakeTimersClient(**home.key_names, prefix=prefix)
    client.memory, client._runner = home.fake.memory, home.fake._runner
    yield BlockingFrontEnd(client)


@asynccontextmanager
async def virtual_time_front_end(home: MemoryHome, prefix: str = "") -> AsyncIterator[FrontEnd]:
    """Make an `AsyncFrontEnd` of a broker whose time a `TestTimersBroker` moves."""
    broker = TimersBroker(**home.key_names, prefix=prefix)
    async with TestTimersBroker(broker, hold=True, client=home.fake):
        yield AsyncFrontEnd(broker)


FRONT_ENDS: dict[str, FrontEndFactory] = {
    f"{flavour}-{name}": partial(factory, **options)
    for flavour, factory in (("blocking", blocking_front_end), ("async", async_front_end))
    for name, options in CLIENT_OPTIONS.items()
}
"""All front ends by name that talk to a server. Each runs on a real one and on fakeredis."""

FRONT_ENDS_AND_HOMES = [
    *(
        pytest.param(front_end, home, id=f"{name}-{home}")
        for home in ("real", "fake")
        for name, front_end in FRONT_ENDS.items()
    ),
    pytest.param(blocking_front_end, "tagged", id="blocking-tagged"),
    pytest.param(async_front_end, "tagged", id="async-tagged"),
    *(
        pytest.param(FRONT_ENDS[name], "cluster", id=f"{name}-cluster")
        for name in ("blocking-decoding-resp3", "async-decoding")
    ),
    pytest.param(memory_front_end, "memory", id="memory"),
    pytest.param(virtual_time_front_end, "memory", id="virtual-time"),
]
"""All front ends, with the homes that they run in."""
