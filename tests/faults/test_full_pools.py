"""Calls that wait for a connection of a full pool: each as long as it may, and side by side."""

import asyncio
import contextlib

import redis
import redis.asyncio

from faststream_redis_timers import TimersBroker

LIMIT = "faststream_redis_timers_sync.protocol.clients._LONGEST_WAIT_FOR_POOL"
CONNECTIONS = 5


async def test_those_in_line_connect_side_by_side_to_a_silent_server():
    """Each takes the pool's place of a call that has failed, and not one after the other."""
    opened, at_once = 0, []

    async def be_silent(reader, writer):
        nonlocal opened
        opened += 1
        at_once.append(opened)
        await reader.read()
        opened -= 1
        writer.close()

    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"redis://127.0.0.1:{port}?socket_timeout=0.3&max_connections={CONNECTIONS}"
    broker = TimersBroker(url)
    await broker.connect()

    calls = (broker.has_pending("orders", "1") for _ in range(3 * CONNECTIONS))
    errors = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(error, (redis.RedisError, TimeoutError)) for error in errors), errors
    assert len(at_once) == 3 * CONNECTIONS
    for wave in (at_once[:CONNECTIONS], at_once[CONNECTIONS:-CONNECTIONS], at_once[-CONNECTIONS:]):
        assert max(wave) == CONNECTIONS
    await broker.stop()
    server.close()


async def test_all_in_line_wait_as_long_as_the_first(bench, monkeypatch):
    client = redis.asyncio.Redis.from_url(bench.home.server_url, max_connections=1)
    broker = TimersBroker(client, **bench.home.key_names)
    await broker.connect()
    async with client.pipeline() as pipeline:
        # A pipeline that watches keeps its connection.
        await pipeline.watch("some-key")
        monkeypatch.setattr(LIMIT, 0.3)
        calls = [asyncio.create_task(broker.has_pending(bench.topic, "1")) for _ in range(6)]
        await asyncio.sleep(0)
        # If any of them began to wait only now, it would wait forever.
        monkeypatch.setattr(LIMIT, 3600.0)
        errors = await asyncio.gather(*calls, return_exceptions=True)

    assert [str(error) for error in errors] == [str(errors[0])] * 6
    assert isinstance(errors[0], redis.ConnectionError)
    await broker.stop()
    await client.aclose()


async def test_who_gives_up_in_line_lets_the_others_go_on(bench):
    client = redis.asyncio.Redis.from_url(bench.home.server_url, max_connections=1)
    broker = TimersBroker(client, **bench.home.key_names)
    await broker.connect()
    async with client.pipeline() as pipeline:
        await pipeline.watch("some-key")
        calls = [asyncio.create_task(broker.has_pending(bench.topic, "1")) for _ in range(6)]
        await asyncio.sleep(0.01)
        for call in (calls[0], calls[3], calls[5]):
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call

    assert await asyncio.gather(calls[1], calls[2], calls[4]) == [False] * 3
    await broker.stop()
    await client.aclose()
