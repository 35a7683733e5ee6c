"""Stopping: what becomes of running handlers, of claimed timers, of claims in flight."""

import asyncio
import logging
import sys
import threading
import time
from contextlib import suppress

import pytest
from bench import (
    BLOCKING,
    HOUR,
    NO_POLLS,
    delivering,
    fail_in_a_task_group,
    until_idle,
    until_listening,
)
from faststream import AckPolicy, FastStream
from faststream.exceptions import StopApplication, StopConsume
from inside import is_delivering
from waiting import wait_until_async

from faststream_redis_timers import RetryPolicy
from faststream_redis_timers.annotations import TimerBatchMessage, TimerMessage

HANG = 8.0
"""Seconds; only a stop that waits for itself takes as long."""


async def stop_quickly(broker):
    async with asyncio.timeout(HANG):
        await broker.stop()


def timer_tasks():
    """Name the tasks that belong to timers: all but the test's own."""
    this = asyncio.current_task()
    return [repr(task) for task in asyncio.all_tasks() if task is not this]


def is_running(broker):
    return all(subscriber.running for subscriber in broker.subscribers)


# --- several subscribers -----------------------------------------------------------------


async def test_all_subscribers_stop_at_once_and_claim_nothing_more(bench, calls):
    topics = [f"topic-{n}" for n in range(3)]
    broker = bench.broker(graceful_timeout=HANG)

    async def handle(message: TimerMessage):
        await calls.hold(message)

    for topic in topics:
        broker.subscriber(topic)(handle)
        bench.client.schedule("x", topic, timer_id=f"{topic}, before")
    await broker.start()
    await calls.until(3)
    stopping = asyncio.create_task(broker.stop())
    await wait_until_async(lambda: not any(s.running for s in broker.subscribers))
    for topic in topics:
        bench.client.schedule("x", topic, timer_id=f"{topic}, after")
    # Any worker that would claim these has been woken by now.
    for _ in range(50):
        bench.redis.ping()
        await asyncio.sleep(0)
    calls.gate.set()
    await stopping

    assert sorted(calls.ids) == [f"{topic}, before" for topic in topics]
    for topic in topics:
        assert bench.client.get_pending_timers(topic) == [f"{topic}, after"]
        bench.client.cancel_all(topic)


# --- handlers at work --------------------------------------------------------------------


async def test_running_handlers_finish_and_their_timers_are_committed(bench, calls):
    broker = bench.broker(graceful_timeout=HANG)
    ended = []

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        await calls.hold(message)
        ended.append(message.timer_id)

    for timer_id in ("1", "2", "3"):
        bench.schedule(timer_id)
    await broker.start()
    await calls.until(3)
    stopping = asyncio.create_task(broker.stop())
    await wait_until_async(lambda: not is_running(broker))
    calls.gate.set()
    await stopping

    assert sorted(ended) == ["1", "2", "3"]
    assert bench.client.count_pending(bench.topic) == 0
    assert bench.log.complaints == []


async def test_after_the_graceful_timeout_handlers_are_cancelled_and_their_timers_released(
    bench, calls
):
    broker = bench.broker(graceful_timeout=0.1)
    cleaned_up = []

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        try:
            await calls.hold(message)
        except asyncio.CancelledError:
            # It is awaited: what it does to clean up is done when stop returns.
            await asyncio.sleep(0.05)
            cleaned_up.append(message.timer_id)
            raise

    bench.schedule("1")
    due = bench.score("1")
    await broker.start()
    await calls.until(1)
    await stop_quickly(broker)

    assert cleaned_up == ["1"]
    assert bench.score("1") == due


@pytest.mark.parametrize("batch", [False, True])
async def test_a_handler_that_fails_by_its_task_group_while_a_stop_waits_has_failed(
    bench, calls, batch
):
    """Up to Python 3.12, such a group leaves its task counted as cancelled."""
    broker = bench.broker(graceful_timeout=HANG)
    dead = f"{bench.topic}:dead"

    @broker.subscriber(
        bench.topic, ack_policy=AckPolicy.REJECT_ON_ERROR, batch=batch, dead_letter_topic=dead
    )
    async def handle(message: TimerBatchMessage if batch else TimerMessage):
        await calls.hold(message.timers[0] if batch else message)
        await fail_in_a_task_group()
        raise ValueError

    bench.schedule("1")
    await broker.start()
    await calls.until(1)
    stopping = asyncio.create_task(broker.stop())
    await wait_until_async(lambda: not is_running(broker))
    calls.gate.set()
    await stopping

    assert bench.is_gone("1")
    assert bench.client.cancel_all(dead) == 1


@pytest.mark.parametrize("policy", AckPolicy)
@pytest.mark.parametrize("batch", [False, True])
async def test_a_handler_that_turns_its_cancellation_into_an_error_has_not_failed(
    bench, calls, policy, batch
):
    """As a task group does whose tasks fail when they are cancelled."""
    broker = bench.broker(graceful_timeout=0.1)

    @broker.subscriber(
        bench.topic,
        ack_policy=policy,
        batch=batch,
        dead_letter_topic=f"{bench.topic}:dead",
        retry_policy=RetryPolicy(max_attempts=1),
    )
    async def handle(message: TimerBatchMessage if batch else TimerMessage):
        try:
            await calls.hold(message.timers[0] if batch else message)
        except asyncio.CancelledError:
            raise OSError from None

    bench.schedule("1")
    due = bench.score("1")
    await broker.start()
    await calls.until(1)
    await stop_quickly(broker)

    assert bench.client.count_pending(f"{bench.topic}:dead") == 0
    assert bench.score("1") == (None if policy is AckPolicy.ACK_FIRST else due)


async def test_a_released_timer_is_delivered_by_another_worker_at_once(bench, calls, open_calls):
    broker = bench.broker(graceful_timeout=0.0)
    other = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    # This one does not poll within the test: it is the wake-up that it hears.
    @other.subscriber(bench.topic, polling_interval=3600, max_polling_interval=3600)
    async def handle_too(message: TimerMessage):
        open_calls.note(message)

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        async with delivering(other):
            bench.schedule("other", activate_in=HOUR)
            await wait_until_async(lambda: subscribers_of(bench) == 2)
            await stop_quickly(broker)
            await bench.until_gone("1")

    assert open_calls.ids == ["1"]
    assert not open_calls.messages[0].redelivered
    bench.client.cancel_all(bench.topic)


def subscribers_of(bench):
    ((_, count),) = bench.redis.pubsub_numsub(bench.timeline)
    return count


async def test_without_a_graceful_timeout_stop_waits_for_the_handlers(bench, calls):
    broker = bench.broker(graceful_timeout=None)
    ended = []

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        await calls.hold(message)
        ended.append(message.timer_id)

    bench.schedule("1")
    await broker.start()
    await calls.until(1)
    stopping = asyncio.create_task(broker.stop())
    done, _ = await asyncio.wait({stopping}, timeout=0.3)
    assert not done
    calls.gate.set()
    await stopping

    assert ended == ["1"]
    assert bench.is_gone("1")


async def test_a_handler_that_ignores_its_cancellation_does_not_hold_up_stop_forever(
    bench, calls, monkeypatch
):
    monkeypatch.setattr("faststream_redis_timers.subscriber.handling.CANCELLED_HANDLERS", 0.1)
    broker = bench.broker(graceful_timeout=0.0)

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        calls.note(message)
        while not calls.gate.is_set():
            try:
                await calls.gate.wait()
            except asyncio.CancelledError:
                continue

    bench.schedule("1")
    await broker.start()
    await calls.until(1)
    await stop_quickly(broker)

    (line,) = bench.log.at(logging.ERROR)
    assert "did not end" in line
    assert bench.is_leased("1")
    calls.gate.set()
    await wait_until_async(lambda: not timer_tasks())


async def test_two_stops_at_once_give_up_on_a_handler_that_hangs_and_both_end(
    bench, calls, monkeypatch
):
    monkeypatch.setattr("faststream_redis_timers.subscriber.handling.CANCELLED_HANDLERS", 0.1)
    broker = bench.broker(graceful_timeout=0.0)

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        calls.note(message)
        while not calls.gate.is_set():
            with suppress(asyncio.CancelledError):
                await calls.gate.wait()

    bench.schedule("1")
    await broker.start()
    await calls.until(1)
    (subscriber,) = broker.subscribers
    await asyncio.gather(subscriber.stop(), subscriber.stop())

    assert len(bench.log.at(logging.ERROR)) == 1
    assert not is_delivering(subscriber)
    calls.gate.set()
    await wait_until_async(lambda: not timer_tasks())


async def test_handlers_that_end_with_their_event_loop_are_no_late_settlement(bench, calls):
    """Nobody has stopped the broker: `asyncio.run` cancels the tasks of loop and handlers."""
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        calls.note(message)
        await calls.gate.wait()

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

        assert not any("settled" in line for line in bench.log.complaints)
        assert bench.is_leased("1")


@pytest.mark.parametrize("make", BLOCKING.values(), ids=BLOCKING)
async def test_a_blocking_handler_can_not_be_cancelled_so_its_timer_stays_leased(bench, make):
    broker = bench.broker(graceful_timeout=0.0)
    begun, end = threading.Event(), threading.Event()

    def handle(body: str) -> None:
        begun.set()
        end.wait()

    broker.subscriber(bench.topic)(make(handle))

    bench.schedule("1")
    try:
        await broker.start()
        await wait_until_async(begun.is_set)
        await stop_quickly(broker)

        # Released, it would run elsewhere beside the thread that goes on.
        assert bench.is_leased("1")
    finally:
        end.set()


# --- claimed, not begun; claims in flight ------------------------------------------------


async def test_a_claim_in_flight_is_awaited_and_its_timers_are_released(bench, relay, calls):
    broker = bench.broker(relay.url, graceful_timeout=HANG)

    @broker.subscriber(bench.topic, max_polling_interval=0.05)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    bench.schedule("running")
    await broker.start()
    await calls.until(1)
    dues = await bench.hold_a_claim(relay, "1", "2", "3")
    stopping = asyncio.create_task(broker.stop())
    await wait_until_async(lambda: not is_running(broker))
    assert bench.is_leased("1")
    relay.resume()
    # At once, though a handler is still at work.
    await wait_until_async(lambda: {id_: bench.score(id_) for id_ in dues} == dues)
    assert calls.running == 1
    calls.gate.set()
    async with asyncio.timeout(HANG):
        await stopping

    assert calls.ids == ["running"]
    assert bench.is_gone("running")


async def test_a_claim_in_flight_is_awaited_though_the_graceful_timeout_is_over(
    bench, relay, calls, monkeypatch
):
    monkeypatch.setattr("faststream_redis_timers.subscriber.loop.LAST_CALLS", 0.05)
    broker = bench.broker(relay.url, graceful_timeout=0.0)

    @broker.subscriber(bench.topic, max_polling_interval=0.05)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    await broker.start()
    dues = await bench.hold_a_claim(relay, "1")
    stopping = asyncio.create_task(broker.stop())
    # Long enough for a stop that does not wait to have given up.
    await asyncio.wait({stopping}, timeout=0.3)
    relay.resume()
    async with asyncio.timeout(HANG):
        await stopping

    assert calls.ids == []
    assert bench.score("1") == dues["1"]


async def test_nothing_is_claimed_while_handlers_finish(bench, calls):
    broker = bench.broker(graceful_timeout=HANG)

    @broker.subscriber(bench.topic, max_polling_interval=0.05)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    bench.schedule("1")
    await broker.start()
    await calls.until(1)
    stopping = asyncio.create_task(broker.stop())
    await wait_until_async(lambda: not is_running(broker))
    bench.schedule("2")
    due = bench.score("2")
    await asyncio.sleep(0.2)
    assert bench.score("2") == due
    calls.gate.set()
    await stopping

    assert calls.ids == ["1"]
    assert bench.score("2") == due


# --- tasks -------------------------------------------------------------------------------


async def idle(bench, relay, calls):
    await until_idle(bench, relay)


async def waits_for_a_timer(bench, relay, calls):
    await until_listening(bench)
    bench.schedule("waiting", activate_in=HOUR)
    await until_idle(bench, relay)


async def at_work(bench, relay, calls):
    bench.schedule("1")
    await calls.until(1)


async def without_a_server(bench, relay, calls):
    relay.refuse()
    await wait_until_async(lambda: bench.log.at(logging.ERROR))


async def with_a_silent_server(bench, relay, calls):
    await until_idle(bench, relay)
    relay.stall()


@pytest.mark.parametrize(
    "reach", [idle, waits_for_a_timer, at_work, without_a_server, with_a_silent_server]
)
async def test_no_task_survives_a_stop(bench, relay, calls, reach):
    broker = bench.broker(relay.url, graceful_timeout=0.0)

    @broker.subscriber(bench.topic, **NO_POLLS)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    await broker.start()
    await reach(bench, relay, calls)
    await stop_quickly(broker)

    assert timer_tasks() == []
    relay.resume()
    bench.client.cancel_all(bench.topic)


# --- from inside a handler ---------------------------------------------------------------


async def stop_broker(broker):
    await broker.stop()


async def stop_consume(_):
    raise StopConsume


async def sys_exit(_):
    sys.exit(1)


async def stop_application(_):
    raise StopApplication


WAYS = {
    "broker.stop()": stop_broker,
    "StopConsume": stop_consume,
    "sys.exit()": sys_exit,
    "StopApplication": stop_application,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("graceful_timeout", [30.0, None])
async def test_a_handler_may_stop_what_runs_it(bench, open_calls, way, graceful_timeout):
    broker = bench.broker(graceful_timeout=graceful_timeout)
    ended = []

    @broker.subscriber(bench.topic, max_polling_interval=0.05)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        try:
            await WAYS[way](broker)
        finally:
            ended.append(message.timer_id)

    bench.schedule("1")
    due = bench.score("1")
    async with asyncio.timeout(HANG):
        await broker.start()
        await wait_until_async(lambda: ended)
        await wait_until_async(lambda: not bench.is_leased("1"))
        await broker.stop()

    assert open_calls.ids == ["1"]
    # broker.stop() returns, and then the handler does.
    assert bench.score("1") == (None if way == "broker.stop()" else due)
    assert timer_tasks() == []


@pytest.mark.parametrize("way", WAYS)
async def test_several_handlers_may_do_so_at_once(bench, open_calls, way):
    broker = bench.broker(graceful_timeout=30.0)
    ended = []

    async def handle(message: TimerMessage):
        open_calls.note(message)
        await open_calls.until(6)
        try:
            await WAYS[way](broker)
        finally:
            ended.append(message.timer_id)

    broker.subscriber(bench.topic, max_concurrent=3)(handle)
    broker.subscriber("other", max_concurrent=3)(handle)
    for n in range(3):
        bench.schedule(f"{n}")
        bench.client.schedule("x", "other", timer_id=f"other-{n}")
    async with asyncio.timeout(HANG):
        await broker.start()
        await wait_until_async(lambda: len(ended) == 6)
        await broker.stop()

    assert len(open_calls.ids) == 6
    pending = bench.client.count_pending(bench.topic) + bench.client.count_pending("other")
    assert pending == (0 if way == "broker.stop()" else 6)
    assert not any(bench.is_leased(f"{n}") for n in range(3))
    assert timer_tasks() == []


async def test_broker_stop_from_a_handler_lets_the_others_finish(bench, calls):
    broker = bench.broker(graceful_timeout=HANG)
    ended = []

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        if message.timer_id == "stops":
            await calls.until(1)
            await broker.stop()
        else:
            await calls.hold(message)
        ended.append(message.timer_id)

    bench.schedule("works")
    bench.schedule("stops")
    await broker.start()
    await wait_until_async(lambda: calls.ids and not is_running(broker))
    calls.gate.set()
    await bench.until_gone("works", "stops")
    await stop_quickly(broker)

    assert ended == ["works", "stops"]
    assert timer_tasks() == []


@pytest.mark.parametrize("way", ["sys.exit()", "StopApplication"])
async def test_an_application_ends_when_a_handler_exits(bench, open_calls, way):
    broker = bench.broker(graceful_timeout=30.0)
    app = FastStream(broker, logger=None)

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        await WAYS[way](broker)

    bench.schedule("1")
    due = bench.score("1")
    async with asyncio.timeout(HANG):
        await app.run(sleep_time=0.01)

    assert open_calls.ids == ["1"]
    assert bench.score("1") == due
    assert timer_tasks() == []


async def test_stop_consume_stops_its_subscriber_alone(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def stops(message: TimerMessage):
        raise StopConsume

    @broker.subscriber("other")
    async def goes_on(message: TimerMessage):
        open_calls.note(message)

    bench.schedule("1")
    async with delivering(broker):
        await wait_until_async(lambda: not is_running(broker))
        bench.client.schedule("x", "other", timer_id="2")
        await open_calls.until(1)

    assert open_calls.ids == ["2"]
    assert not bench.is_gone("1")


# --- life --------------------------------------------------------------------------------


async def test_no_task_and_no_connection_outlives_the_broker(own_bench, open_calls):
    bench = own_bench
    broker = bench.broker()
    topics = [bench.topic, "b", "c"]

    async def handle(message: TimerMessage):
        open_calls.note(message)

    for topic in topics:
        broker.subscriber(topic)(handle)
        bench.client.schedule("x", topic, timer_id="1")
    connections = bench.redis.info("clients")["connected_clients"]
    async with delivering(broker):
        await open_calls.until(3)
        assert timer_tasks() != []

    assert timer_tasks() == []
    await wait_until_async(lambda: bench.redis.info("clients")["connected_clients"] <= connections)
    assert bench.log.complaints == []


async def test_starting_and_stopping_at_once_hangs_nowhere_and_leaves_nothing(bench):
    for pause in range(40):
        broker = bench.broker()

        @broker.subscriber(bench.topic)
        async def handle(message: TimerMessage): ...

        await broker.start()
        # Meets another moment of the connecting each time.
        for _ in range(pause):
            await asyncio.sleep(0)
        await stop_quickly(broker)
        assert timer_tasks() == []


async def test_a_second_start_changes_nothing(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with delivering(broker):
        tasks = set(timer_tasks())
        await broker.start()
        for subscriber in broker.subscribers:
            await subscriber.start()
        assert len(timer_tasks()) == len(tasks)
        bench.schedule("1")
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]


async def test_a_second_stop_changes_nothing(bench):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage): ...

    await broker.start()
    await asyncio.gather(broker.stop(), broker.stop())
    await broker.stop()

    assert timer_tasks() == []


async def test_after_a_restart_it_delivers_again(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    for timer_id in ("1", "2", "3"):
        async with delivering(broker):
            bench.schedule(timer_id)
            await bench.until_gone(timer_id)
        assert timer_tasks() == []

    assert open_calls.ids == ["1", "2", "3"]


async def test_a_handler_may_restart_its_broker(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic, max_concurrent=1)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        open_calls.running += 1
        open_calls.most_running = max(open_calls.most_running, open_calls.running)
        if message.timer_id == "restart":
            await broker.stop()
            await broker.start()
        else:
            await asyncio.sleep(0.02)
        open_calls.running -= 1

    bench.schedule("restart", activate_at=bench.home.now() - HOUR)
    ids = [str(n) for n in range(10)]
    async with asyncio.timeout(HANG):
        await broker.start()
        await bench.until_gone("restart")
        for timer_id in ids:
            bench.schedule(timer_id)
        open_calls.most_running = 0
        await bench.until_gone(*ids)
        # The old loop's slot must not count as one of the new loop's.
        assert open_calls.most_running == 1
        await broker.stop()

    assert open_calls.counts == dict.fromkeys(["restart", *ids], 1)
    assert timer_tasks() == []


# --- while the server is away ------------------------------------------------------------


@pytest.mark.parametrize("failure", ["refuse", "stall"])
async def test_stop_ends_soon_after_the_graceful_timeout_while_the_server_is_away(
    bench, relay, calls, failure
):
    broker = bench.broker(relay.url, graceful_timeout=0.5)

    # No claim may be in flight: that would be awaited for its own deadline.
    @broker.subscriber(bench.topic, **NO_POLLS)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    bench.schedule("1")
    await broker.start()
    await calls.until(1)
    await until_idle(bench, relay)
    getattr(relay, failure)()
    # It has ended, and its commit can't be sent.
    calls.gate.set()
    await wait_until_async(lambda: calls.running == 0)
    started_at = time.monotonic()
    await broker.stop()

    assert time.monotonic() - started_at < 0.5 + 2 + 2  # and two for a slow machine
    assert timer_tasks() == []
    assert bench.is_leased("1")
    assert any("were not settled before" in line for line in bench.log.at(logging.ERROR))


async def test_a_short_outage_during_stop_does_not_lose_the_commit(bench, relay, calls):
    broker = bench.broker(relay.url, graceful_timeout=20.0)

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    bench.schedule("1")
    await broker.start()
    await calls.until(1)
    relay.refuse()
    calls.gate.set()
    stopping = asyncio.create_task(broker.stop())
    await wait_until_async(lambda: bench.log.at(logging.ERROR))
    relay.accept()
    async with asyncio.timeout(HANG):
        await stopping

    assert bench.is_gone("1")
    assert calls.ids == ["1"]
