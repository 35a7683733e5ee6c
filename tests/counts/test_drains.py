"""Draining: what it costs to deliver timers that are due."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import budgets
import pytest
from bench import NO_POLLS
from faststream import Depends

from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync import Every, TimerPublishMessage
from faststream_redis_timers_sync.manage.selection import reschedule_each

YEARLY = Every(days=365, start=datetime(2050, 1, 1, tzinfo=UTC))


async def drain(bench, meter, calls, handle, count, *, workers, **options):
    """Let workers deliver that many timers; tell what they have sent."""
    ids = [f"{n}" for n in range(count)]
    bench.client.schedule_batch(
        [TimerPublishMessage({"id": id_, "text": "x" * 180}, timer_id=id_) for id_ in ids],
        bench.topic,
    )
    brokers = [bench.broker() for _ in range(workers)]
    for broker in brokers:
        broker.subscriber(bench.topic, **options)(handle)
    meter.reset()
    for broker in brokers:
        await broker.start()
    await calls.until(count, timeout=60)
    # They commit what has ended before they stop.
    for broker in brokers:
        await broker.stop()
    traffic = meter.read()
    assert bench.client.count_pending(bench.topic) == 0
    assert calls.counts == dict.fromkeys(ids, 1)
    return traffic


async def look_up():
    await asyncio.sleep(0)


@pytest.fixture(params=["plain", "with a dependency", "with its message"])
def handle(request, open_calls):
    """Handlers that are as fast as their like: all that are begun together end together."""

    async def plain(body: dict):
        open_calls.bodies.append((body["id"], None))

    async def with_dependency(body: dict, _: Annotated[None, Depends(look_up)]):
        open_calls.bodies.append((body["id"], None))

    async def with_message(body: dict, message: TimerMessage):
        open_calls.bodies.append((body["id"], None))

    return {
        "plain": plain,
        "with a dependency": with_dependency,
        "with its message": with_message,
    }[request.param]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("options", "budget"),
    [({"max_concurrent": 100}, budgets.DRAIN_BY_HUNDREDS), ({}, budgets.DRAIN_BY_DEFAULT)],
    ids=["100 at once", "default"],
)
async def test_what_ends_together_travels_together(  # noqa: PLR0913, PLR0917
    bench, meter, open_calls, handle, options, budget, workers
):
    traffic = await drain(bench, meter, open_calls, handle, 1000, workers=workers, **options)

    assert traffic.sent() / 1000 <= budget


@pytest.mark.parametrize(
    ("options", "budget"),
    [({"max_concurrent": 100}, budgets.DRAIN_BY_HUNDREDS), ({}, budgets.DRAIN_BY_DEFAULT)],
    ids=["100 at once", "default"],
)
async def test_recurring_timers_move_on_in_as_many_calls_as_others_are_committed(
    bench, meter, open_calls, options, budget
):
    ids = [f"{n}" for n in range(1000)]
    messages = [TimerPublishMessage({"id": id_}, timer_id=id_) for id_ in ids]
    bench.client.schedule_batch(messages, bench.topic, repeat=YEARLY)
    for _ in reschedule_each(bench.client, bench.topic, ids):
        pass
    broker = bench.broker()

    @broker.subscriber(bench.topic, **options)
    async def handle(body: dict):
        open_calls.bodies.append((body["id"], None))

    meter.reset()
    await broker.start()
    await open_calls.until(1000, timeout=60)
    await broker.stop()
    traffic = meter.read()
    timers = list(bench.client.iter_timers(bench.topic))
    bench.client.cancel_all(bench.topic)

    assert traffic.sent() / 1000 <= budget
    assert open_calls.counts == dict.fromkeys(ids, 1)
    assert {timer.due_at for timer in timers} == {YEARLY.start}
    assert len(timers) == 1000


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_ends_alone_takes_the_next_claim_along(bench, meter, open_calls, workers):
    turn = asyncio.Lock()

    async def handle(body: dict):
        async with turn:
            # No handler ends before the commit of the one before it has been carried out.
            while open_calls.ids and bench.score(open_calls.ids[-1]) is not None:  # noqa: ASYNC110  no event tells
                await asyncio.sleep(0)
            open_calls.bodies.append((body["id"], None))

    traffic = await drain(bench, meter, open_calls, handle, 200, workers=workers, **NO_POLLS)

    spent = traffic.sent() - budgets.START * workers
    assert spent / 200 <= budgets.DRAIN_ONE_BY_ONE


@pytest.mark.parametrize("max_concurrent", [1, 2])
@pytest.mark.parametrize("renew_lease", [False, True])
async def test_a_batch_takes_one_round_trip_and_one_task(
    bench, meter, open_calls, max_concurrent, renew_lease
):
    async def handle(bodies: list[dict]):
        open_calls.bodies += [(body["id"], None) for body in bodies]

    tasks = count_tasks()
    traffic = await drain(
        bench,
        meter,
        open_calls,
        handle,
        5000,
        workers=1,
        batch=True,
        max_concurrent=max_concurrent,
        renew_lease=renew_lease,
    )

    assert traffic.sent() / 5000 <= budgets.DRAIN_BATCHES
    assert len(tasks) <= 50 * budgets.TASKS_OF_A_BATCH + budgets.TASKS_OF_A_WORKER


async def test_recurring_timers_of_a_batch_move_on_in_one_round_trip(bench, meter, open_calls):
    ids = [f"{n}" for n in range(1000)]
    messages = [TimerPublishMessage({"id": id_}, timer_id=id_) for id_ in ids]
    bench.client.schedule_batch(messages, bench.topic, repeat=YEARLY)
    for _ in reschedule_each(bench.client, bench.topic, ids):
        pass
    broker = bench.broker()

    @broker.subscriber(bench.topic, batch=True)
    async def handle(bodies: list[dict]):
        open_calls.bodies += [(body["id"], None) for body in bodies]

    meter.reset()
    await broker.start()
    await open_calls.until(1000, timeout=60)
    await broker.stop()
    traffic = meter.read()
    timers = list(bench.client.iter_timers(bench.topic))
    bench.client.cancel_all(bench.topic)

    assert (traffic.sent() - budgets.START) / 1000 <= budgets.DRAIN_BATCHES
    assert open_calls.counts == dict.fromkeys(ids, 1)
    assert {timer.due_at for timer in timers} == {YEARLY.start}


def count_tasks():
    """Give a list that has an entry for each task which begins from now on."""
    begun = []

    def make(loop, coroutine, **options):
        begun.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(make)
    return begun
