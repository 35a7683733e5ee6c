"""Blocking handlers: each slot of theirs brings a thread of its own."""

import threading

import anyio.to_thread
import pytest
from bench import BLOCKING, delivering
from faststream.exceptions import StopConsume
from waiting import wait_until_async

SLOTS = 60
"""More than the threads that an event loop has by itself."""


def total_threads():
    return anyio.to_thread.current_default_thread_limiter().total_tokens


async def test_as_many_run_at_once_as_there_are_slots(bench):
    gate = threading.Event()
    begun = []
    broker = bench.broker()

    @broker.subscriber(bench.topic, max_concurrent=SLOTS)
    def handle(body: str):
        begun.append(body)
        gate.wait(timeout=60)

    ids = [f"{n}" for n in range(SLOTS)]
    bench.client.schedule_batch(ids, bench.topic)
    async with delivering(broker):
        try:
            await wait_until_async(lambda: len(begun) == SLOTS)
        finally:
            gate.set()

    assert sorted(begun) == sorted(ids)
    assert bench.client.count_pending(bench.topic) == 0


@pytest.mark.parametrize("make", BLOCKING.values(), ids=BLOCKING)
async def test_the_threads_go_with_the_subscriber(bench, make):
    broker = bench.broker()
    broker.subscriber(bench.topic, max_concurrent=SLOTS)(make(print))

    @broker.subscriber("other", max_concurrent=SLOTS)
    async def asynchronous(body: str): ...

    before = total_threads()
    for _ in range(2):
        async with delivering(broker):
            assert total_threads() == before + SLOTS
        assert total_threads() == before


async def test_the_threads_go_with_a_subscriber_that_its_handler_stops(bench):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    def handle(body: str):
        raise StopConsume

    before = total_threads()
    bench.schedule("1")
    await broker.start()

    await wait_until_async(lambda: total_threads() == before)
    bench.client.cancel_timer(bench.topic, "1")
