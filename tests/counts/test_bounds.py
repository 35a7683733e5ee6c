"""Bounds: what a claim, a worker and the server hold at most, and how many handlers run."""

import gc
import threading
import tracemalloc

import anyio.to_thread
import budgets
import pytest
from bench import bench_at, delivering
from waiting import wait_until_async

from examples.embedded_server import embedded_server
from faststream_redis_timers.annotations import TimerMessage

MEBIBYTE = 1024 * 1024


def plant(bench, count, size):
    """Write timers that are due, one by one, so that the server holds no more at once."""
    due = bench.home.now().timestamp()
    for n in range(count):
        bench.home.plant(bench.topic, f"{n}", due, b"x" * size)


# --- large payloads ----------------------------------------------------------------------


@pytest.mark.parametrize(("size", "count"), [(200, 100), (20 * 1024, 25), (MEBIBYTE // 2, 1)])
def test_a_claim_is_bounded(bench, size, count):
    plant(bench, 1000 if size < MEBIBYTE // 2 else 3, size)
    claimed = bench.home.claim(bench.topic).claimed
    bench.client.cancel_all(bench.topic)

    assert len(claimed) == count <= budgets.CLAIMED_TIMERS
    assert sum(len(timer.payload) for timer in claimed) <= budgets.CLAIMED_BYTES


@pytest.mark.parametrize("options", [{}, {"max_concurrent": 100}], ids=["default", "100 at once"])
async def test_neither_worker_nor_server_holds_more_than_some_claims(key_names, options):
    count = 100
    # Its peak of memory is that of its whole life, so it serves this test alone.
    with embedded_server(config={}) as url:
        async with bench_at(url, key_names) as bench:
            done = []
            broker = bench.broker()

            @broker.subscriber(bench.topic, **options)
            async def handle(body: bytes):
                done.append(len(body))

            plant(bench, count, MEBIBYTE)
            before = bench.redis.info("memory")
            gc.collect()
            tracemalloc.start()
            async with delivering(broker):
                await wait_until_async(lambda: len(done) == count, timeout=60)
            _, held = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            after = bench.redis.info("memory")
            assert bench.client.count_pending(bench.topic) == 0

    assert done == [MEBIBYTE] * count
    # Each of them is a claim of its own.
    assert held <= budgets.HELD_CLAIMS * MEBIBYTE
    # Scripts have a memory of their own.
    grown = after["used_memory_peak"] - before["used_memory"] + after["used_memory_vm_eval"]
    assert grown <= budgets.SERVER_HELD_CLAIMS * MEBIBYTE


# --- many handlers -----------------------------------------------------------------------


async def test_ten_thousand_handlers_run_at_once(bench, meter, calls):
    count = 10_000
    broker = bench.broker(logger=None, graceful_timeout=60)

    @broker.subscriber(bench.topic, max_concurrent=count)
    async def handle(body: str):
        calls.bodies.append((body, None))
        calls.running += 1
        await calls.gate.wait()

    ids = [f"{n}" for n in range(count)]
    bench.client.schedule_batch(ids, bench.topic)
    meter.reset()
    async with delivering(broker):
        await calls.until(count, timeout=60)
        assert calls.running == count
        calls.gate.set()
    traffic = meter.read()

    assert bench.client.count_pending(bench.topic) == 0
    assert calls.counts == dict.fromkeys(ids, 1)
    assert traffic.sent() / count <= budgets.DRAIN_BY_HUNDREDS


@pytest.fixture(params=["plain", "with its message"])
def asynchronous(request, open_calls):
    """Asynchronous handlers."""

    async def plain(body: str):
        open_calls.bodies.append((body, None))

    async def with_message(body: str, message: TimerMessage):
        open_calls.note(message, body)

    return plain if request.param == "plain" else with_message


async def test_forty_blocking_handlers_do_not_delay_another_topic(bench, open_calls, asynchronous):
    broker = bench.broker()
    gate = threading.Event()
    begun = []

    @broker.subscriber(bench.topic, max_concurrent=40)
    def blocking(body: str):
        begun.append(body)
        gate.wait(timeout=60)

    broker.subscriber("other")(asynchronous)
    threads = anyio.to_thread.current_default_thread_limiter()

    def is_decided():
        return len(open_calls.ids) == 20 or threads.statistics().tasks_waiting

    ids = [f"{n}" for n in range(40)]
    bench.client.schedule_batch(ids, bench.topic)
    async with delivering(broker):
        try:
            await wait_until_async(lambda: len(begun) == 40)
            bench.client.schedule_batch(ids[:20], "other")
            await wait_until_async(is_decided)
            assert threads.statistics().tasks_waiting == 0
            # Not one of the forty has ended meanwhile.
            assert bench.client.count_pending(bench.topic) == 40
        finally:
            gate.set()

    assert sorted(begun) == sorted(ids)
