"""Messages published at the same time share a connection; each caller has its own outcome."""

import asyncio
from contextlib import suppress

import pytest
import redis.asyncio
from bench import HOUR
from redis.exceptions import ConnectionError as RedisConnectionError
from waiting import wait_until_async

from faststream_redis_timers import TimerExistsError, TimerOutcomeUnknownError
from faststream_redis_timers.calls.pipelining import MOST_BYTES, MOST_TOGETHER

TOPIC = "invoices"
SOME = [f"{n}" for n in range(20)]


@pytest.fixture
async def broker(bench, relay):
    """A broker behind a relay, whose pool has two connections and whose script is loaded."""
    broker = bench.broker(relay.url)
    await broker.connect()
    await asyncio.gather(*(publish(broker, f"first-{n}") for n in range(2)))
    await broker.cancel_all(TOPIC)
    relay.commands.clear()
    return broker


def publish(broker, timer_id, body="x", **options):
    return broker.publish(body, TOPIC, timer_id=timer_id, activate_in=HOUR, **options)


async def publish_all(broker, ids, **options):
    """Publish at the same time; give what each caller gets."""
    calls = (publish(broker, timer_id, **options) for timer_id in ids)
    return await asyncio.gather(*calls, return_exceptions=True)


def shared_calls():
    return [task for task in asyncio.all_tasks() if task.get_name() == "calls on one connection"]


def pending(bench):
    return {timer.timer_id for timer in bench.client.iter_timers(TOPIC)}


async def test_each_caller_gets_the_id_of_its_timer(bench, broker, relay):
    connected = relay.connected

    assert await publish_all(broker, SOME) == SOME
    assert pending(bench) == set(SOME)
    assert relay.count("EVALSHA") == len(SOME)
    assert relay.connected == connected


async def test_more_than_share_a_connection_are_all_scheduled(bench, broker):
    ids = [f"{n}" for n in range(3 * MOST_TOGETHER)]

    assert await publish_all(broker, ids) == ids
    assert bench.client.count_pending(TOPIC) == len(ids)


@pytest.mark.parametrize("size", [MOST_BYTES // 3, MOST_BYTES // 2, 20 * MOST_BYTES])
async def test_large_bodies_are_all_scheduled(bench, broker, size):
    assert await publish_all(broker, SOME, body="x" * size) == SOME
    assert {len(timer.body) for timer in bench.client.iter_timers(TOPIC)} == {size}


async def test_an_id_that_exists_is_an_error_for_its_caller_alone(bench, broker):
    bench.schedule("7", activate_in=HOUR)

    results = await publish_all(broker, SOME, if_exists="error")
    assert isinstance(results[7], TimerExistsError)
    assert results[:7] + results[8:] == SOME[:7] + SOME[8:]
    assert pending(bench) == set(SOME)


async def test_scripts_that_the_server_has_lost_are_sent_again(bench, broker, relay):
    bench.redis.script_flush()
    connected = relay.connected

    assert await publish_all(broker, SOME) == SOME
    assert pending(bench) == set(SOME)
    assert relay.connected == connected


async def test_with_a_single_connection_all_are_scheduled(bench, relay):
    client = redis.asyncio.Redis.from_url(relay.url, max_connections=1)
    broker = bench.broker(client)
    await broker.connect()

    assert await publish_all(broker, SOME) == SOME
    assert pending(bench) == set(SOME)
    await client.aclose()
    assert relay.connected == 1


async def test_after_a_lost_connection_each_caller_learns_that_its_outcome_is_unknown(
    bench, broker, relay
):
    # The first call has its own connection.
    relay.lose_reply(word=b"1", among=len(SOME) - 1)

    results = await publish_all(broker, SOME)
    assert results[0] == "0"
    assert [type(result) for result in results[1:]] == [TimerOutcomeUnknownError] * 19
    assert [result.timer_ids for result in results[1:]] == [(one,) for one in SOME[1:]]
    assert len({id(result) for result in results[1:]}) == 19
    assert pending(bench) == set(SOME)
    assert await publish_all(broker, SOME) == SOME


async def test_where_no_server_is_each_caller_gets_the_connection_s_error(broker, relay):
    relay.refuse()
    # What finds a connection that is cut at this moment may have been sent on it.
    await publish_all(broker, SOME)

    results = await publish_all(broker, SOME)
    assert all(isinstance(result, RedisConnectionError) for result in results), results
    relay.accept()
    assert await publish_all(broker, SOME) == SOME


@pytest.mark.parametrize("cancelled", [0, 1, 2, 19])
@pytest.mark.parametrize("turns", range(4))
async def test_a_caller_that_is_cancelled_leaves_the_others_alone(bench, broker, cancelled, turns):
    tasks = [asyncio.create_task(publish(broker, timer_id)) for timer_id in SOME]
    for _ in range(turns):
        await asyncio.sleep(0)
    tasks[cancelled].cancel()
    with suppress(asyncio.CancelledError):
        await tasks[cancelled]
    others = [task for task in tasks if task is not tasks[cancelled]]

    ids = [one for one in SOME if one != SOME[cancelled]]
    assert await asyncio.gather(*others) == ids
    assert pending(bench) >= set(ids)


async def test_callers_that_are_all_cancelled_leave_nothing_behind(bench, broker):
    for turns in range(6):
        tasks = [asyncio.create_task(publish(broker, timer_id)) for timer_id in SOME]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert await publish_all(broker, SOME) == SOME
    assert pending(bench) == set(SOME)
    # Those of callers that were cancelled end as soon as the server has replied.
    await wait_until_async(lambda: not shared_calls())


async def test_a_caller_that_gives_up_while_the_pool_is_full_has_sent_nothing(bench, relay):
    client = redis.asyncio.Redis.from_url(relay.url, max_connections=2)
    broker = bench.broker(client)
    await broker.connect()
    # Both connections are in use: the first is that of a single call.
    relay.hold_replies()
    calls = [asyncio.create_task(broker.count_pending(TOPIC)) for _ in range(2)]
    await wait_until_async(lambda: relay.connected == 2)
    given_up = [asyncio.create_task(publish(broker, timer_id)) for timer_id in SOME]
    await asyncio.sleep(0.05)
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    relay.resume()
    await asyncio.gather(*calls)

    assert await publish(broker, "later") == "later"
    assert pending(bench) == {"later"}
    await client.aclose()


async def test_callers_that_give_up_on_a_silent_server_keep_no_connection(bench, relay):
    client = redis.asyncio.Redis.from_url(relay.url)
    broker = bench.broker(client)
    await broker.connect()
    await publish(broker, "first")
    relay.hold_replies()
    for _ in range(3):
        tasks = [asyncio.create_task(publish(broker, timer_id)) for timer_id in SOME]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    await wait_until_async(lambda: not shared_calls())
    assert not client.connection_pool._in_use_connections
    relay.resume()
    await client.aclose()


@pytest.mark.parametrize("turns", range(8))
async def test_where_the_exchange_is_cancelled_each_caller_learns_of_it(bench, broker, turns):
    tasks = [asyncio.create_task(publish(broker, timer_id)) for timer_id in SOME]
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in shared_calls():
        task.cancel()

    results = await asyncio.gather(*tasks, return_exceptions=True)
    for one, result in zip(SOME, results, strict=True):
        assert result == one or isinstance(result, TimerOutcomeUnknownError | RedisConnectionError)
        if isinstance(result, RedisConnectionError):
            assert not bench.client.has_pending(TOPIC, one)


async def test_a_task_factory_need_not_take_a_context(broker):
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coro, name=None: asyncio.Task(coro, loop=loop, name=name))
    try:
        assert await publish_all(broker, SOME) == SOME
    finally:
        loop.set_task_factory(None)


async def test_where_no_task_can_be_made_each_caller_gets_the_error(bench, broker):
    loop = asyncio.get_running_loop()
    calls = [asyncio.create_task(publish(broker, timer_id)) for timer_id in SOME]

    def refuse(loop, coro, **options):
        raise RuntimeError

    loop.set_task_factory(refuse)
    try:
        await wait_until_async(lambda: all(call.done() for call in calls))
    finally:
        loop.set_task_factory(None)
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert results[0] == "0"
    assert {type(result) for result in results[1:]} == {RuntimeError}
    assert pending(bench) == {"0"}


async def test_a_refusal_is_that_of_each_caller(own_bench):
    bench = own_bench
    broker = bench.broker()
    await broker.connect()
    await publish_all(broker, SOME)
    await broker.cancel_all(TOPIC)
    bench.redis.config_set("maxmemory", "1")
    try:
        results = await publish_all(broker, SOME)
    finally:
        bench.redis.config_set("maxmemory", "0")

    assert {type(result) for result in results} == {redis.exceptions.OutOfMemoryError}
    assert await publish_all(broker, SOME) == SOME


async def test_replies_that_have_come_are_passed_on_at_once(broker, relay):
    relay.split(len(b"$1\r\n1\r\n"), 0.02)
    tasks = [asyncio.create_task(publish(broker, timer_id)) for timer_id in SOME]
    await wait_until_async(lambda: sum(task.done() for task in tasks) > 2)

    assert not all(task.done() for task in tasks)
    relay.split(None)
    assert await asyncio.gather(*tasks) == SOME


async def test_a_broker_that_stops_meanwhile_keeps_no_caller_waiting(bench, broker, relay):
    relay.hold_replies()
    tasks = [asyncio.create_task(publish(broker, timer_id)) for timer_id in SOME]
    await asyncio.sleep(0.05)
    await broker.stop()
    relay.resume()

    results = await asyncio.gather(*tasks, return_exceptions=True)
    for one, result in zip(SOME, results, strict=True):
        assert result == one or isinstance(result, TimerOutcomeUnknownError)
