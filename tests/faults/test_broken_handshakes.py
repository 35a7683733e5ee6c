"""Handshakes that something other than redis-py ends: the next call does not use what is left."""

import asyncio
from contextlib import suppress

import pytest
import redis
import redis.asyncio
from redis.credentials import CredentialProvider

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient

DATABASE = 3


class Provider(CredentialProvider):
    """Gives the default user's credentials, but the first time it does something else."""

    def __init__(self, first):
        self._first = first

    def get_credentials(self):
        first, self._first = self._first, None
        if first is not None:
            raise first
        return "default", "any"

    async def get_credentials_async(self):
        if self._first is asyncio.sleep:
            self._first = None
            await asyncio.Event().wait()
        return self.get_credentials()


@pytest.fixture
def pending(home):
    """Count the timers of a topic in each database."""
    clients = {number: redis.Redis.from_url(home.server_url, db=number) for number in (0, DATABASE)}

    def count():
        return {
            number: TimersClient(client, **home.key_names).count_pending("orders")
            for number, client in clients.items()
        }

    yield count
    clients[DATABASE].flushdb()
    for client in clients.values():
        client.close()


@pytest.fixture
def home(bench):
    return bench.home


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (redis.asyncio.ConnectionPool, {}),
        # redis-py 5.0 waits for itself when it returns the connection.
        (redis.asyncio.BlockingConnectionPool, {"timeout": 0.5}),
    ],
    ids=["raises when full", "waits when full"],
)
@pytest.mark.parametrize("first", [OSError("no token"), ValueError("no token"), asyncio.sleep])
async def test_a_broken_handshake_leaves_no_connection_to_a_broker(
    home, pending, kind, options, first
):
    options = {"db": DATABASE, "credential_provider": Provider(first), **options}
    pool = kind.from_url(home.server_url, **options)
    broker = TimersBroker(redis.asyncio.Redis(connection_pool=pool), **home.key_names)
    # Starting it would make the first handshake.
    await broker.connect()
    with pytest.raises((OSError, ValueError, redis.RedisError)):
        async with asyncio.timeout(0.2 if first is asyncio.sleep else None):
            await broker.publish("x", "orders", timer_id="first")

    await broker.publish("x", "orders", timer_id="second")

    assert pending() == {0: 0, DATABASE: 1}
    await broker.stop()
    await pool.disconnect()


@pytest.mark.parametrize(
    "kind",
    [redis.ConnectionPool, redis.BlockingConnectionPool],
    ids=["raises when full", "waits when full"],
)
@pytest.mark.parametrize("first", [ValueError("no token"), KeyboardInterrupt()])
def test_a_broken_handshake_leaves_no_connection_to_a_client(home, pending, kind, first):
    provider = Provider(first)
    pool = kind.from_url(home.server_url, db=DATABASE, credential_provider=provider)
    client = TimersClient(redis.Redis(connection_pool=pool), **home.key_names)
    with suppress(ValueError, KeyboardInterrupt):
        client.schedule("x", "orders", timer_id="first")

    client.schedule("x", "orders", timer_id="second")

    assert pending() == {0: 0, DATABASE: 1}
    pool.disconnect()
