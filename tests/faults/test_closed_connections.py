"""Idle connections that the server has closed: what is sent next takes another one."""

import asyncio
from contextlib import suppress

import pytest
import redis
import redis.asyncio
from waiting import wait_until, wait_until_async

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient

IDLE = 3
"""Connections that are left idle in the pool."""


def close_by_timeout(server):
    server.client.config_set("timeout", 1)


def close_by_kill(server):
    server.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def close_by_restart(server):
    server.save_and_end()
    server.start()


CLOSED_BY = {"timeout": close_by_timeout, "kill": close_by_kill, "restart": close_by_restart}
closed_by = pytest.mark.parametrize("close", CLOSED_BY.values(), ids=CLOSED_BY)


def others(server):
    """Count the server's connections beside the one that counts."""
    with redis.Redis.from_url(server.url) as one:
        return len(one.client_list()) - 1


def has_closed_all(server):
    # Where the server closes idle connections, that of its own client too.
    server.client.connection_pool.disconnect()
    with suppress(redis.ConnectionError):
        return others(server) == 0
    return False


ASYNC = {
    "a URL": lambda url: url,
    "a client": redis.asyncio.Redis.from_url,
    "RESP2": lambda url: redis.asyncio.Redis.from_url(url, protocol=2),
    "RESP3": lambda url: redis.asyncio.Redis.from_url(url, protocol=3),
    "a pool that waits": lambda url: redis.asyncio.Redis(
        connection_pool=redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=IDLE)
    ),
}


@pytest.mark.parametrize("make", ASYNC.values(), ids=ASYNC)
@closed_by
async def test_a_broker_leaves_connections_that_were_closed_and_loses_nothing(server, make, close):
    broker = TimersBroker(client := make(server.url))
    await broker.connect()
    await asyncio.gather(*(broker.publish(f"{n}", "t") for n in range(IDLE)))
    # Those share connections; these do not.
    await asyncio.gather(*(broker.count_pending("t") for _ in range(IDLE)))
    assert others(server) >= IDLE

    close(server)
    await wait_until_async(lambda: has_closed_all(server))
    await asyncio.gather(*(broker.publish(f"{n}", "t") for n in range(IDLE)))

    assert await broker.count_pending("t") == 2 * IDLE
    await broker.stop()
    if not isinstance(client, str):
        # Under 5.0.1 it has another name.
        await client.connection_pool.disconnect()


BLOCKING = {
    "a URL": lambda url: url,
    "a client": redis.Redis.from_url,
    "RESP2": lambda url: redis.Redis.from_url(url, protocol=2),
    "RESP3": lambda url: redis.Redis.from_url(url, protocol=3),
    "a pool that waits": lambda url: redis.Redis(
        connection_pool=redis.BlockingConnectionPool.from_url(url, max_connections=IDLE)
    ),
}


@pytest.mark.parametrize("make", BLOCKING.values(), ids=BLOCKING)
@closed_by
def test_a_client_leaves_connections_that_were_closed_and_loses_nothing(server, make, close):
    client = TimersClient(made := make(server.url))
    for n in range(IDLE):
        client.schedule(f"{n}", "t")

    close(server)
    wait_until(lambda: has_closed_all(server))
    for n in range(IDLE):
        client.schedule(f"{n}", "t")

    assert client.count_pending("t") == 2 * IDLE
    client.close()
    if not isinstance(made, str):
        made.close()
