"""Fixtures of the broker's tests: brokers on the real server, and what handlers have got."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis.asyncio

from faststream_redis_timers import TestTimersBroker, TimersBroker


@pytest.fixture
async def client(server_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """An asyncio client of the test's own."""
    async with redis.asyncio.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
async def make_broker(
    client: redis.asyncio.Redis, key_names: dict[str, str]
) -> AsyncIterator[Callable[..., TimersBroker]]:
    """Make brokers over `client` or another one; the test starts them, all are stopped here."""
    brokers = []

    def make(given: Any = client, **options: Any) -> TimersBroker:
        broker = TimersBroker(given, **{**key_names, **options})
        brokers.append(broker)
        return broker

    yield make
    for broker in brokers:
        await broker.stop()


class Inbox:
    """What handlers have got, in order of arrival."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, item: Any) -> None:
        """Note an item."""
        self._items.put_nowait(item)

    async def get(self) -> Any:
        """Wait for the next item."""
        async with asyncio.timeout(10):
            return await self._items.get()

    def rest(self) -> list[Any]:
        """Take what has not been looked at."""
        items = []
        while not self._items.empty():
            items.append(self._items.get_nowait())
        return items


@pytest.fixture
def inbox() -> Inbox:
    """An empty inbox."""
    return Inbox()


@pytest.fixture(params=["real", "test broker"])
def run(request, server_url, key_names):
    """Make a context manager that runs a broker: on the server, then without one."""

    def make(broker: TimersBroker) -> Any:
        return broker if request.param == "real" else TestTimersBroker(broker)

    make.broker = lambda *middlewares, **options: TimersBroker(
        server_url, middlewares=middlewares, **key_names, **options
    )
    return make
