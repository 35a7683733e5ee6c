"""Handlers begin, whatever kind of callable they are, and none whose lease has ended."""

import asyncio
import functools
import re
import time

import pytest
from asgiref.sync import sync_to_async
from bench import delivering
from faststream import AckPolicy, Depends
from faststream.exceptions import SetupError
from waiting import wait_until_async

from faststream_redis_timers import TestTimersBroker
from faststream_redis_timers.annotations import TimerBatchMessage, TimerMessage
from faststream_redis_timers.subscriber.handling import Handling

LEASE = 0.2


class SlowAtFirst:
    """A dependency whose first resolution outlives the lease."""

    def __init__(self):
        self.solved = 0

    async def __call__(self, message: TimerMessage):
        self.solved += 1
        while self.solved == 1 and not message.raw_message.lease_ended:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("blocking", [False, True])
async def test_what_is_late_at_its_handler_is_redelivered(bench, open_calls, blocking):
    broker = bench.broker()
    slow = SlowAtFirst()
    on = broker.subscriber(bench.topic, lease_ttl=LEASE, max_concurrent=1)
    if blocking:

        @on
        def handle(message: TimerMessage, _: None = Depends(slow)):
            open_calls.note(message)

    else:

        @on
        async def handle(message: TimerMessage, _: None = Depends(slow)):
            open_calls.note(message)

    bench.schedule("1")
    async with delivering(broker):
        # The only slot is free again.
        await bench.until_gone("1")

    assert slow.solved == 2
    assert [message.redelivered for message in open_calls.messages] == [True]
    assert bench.log.complaints == []
    assert any("the lease expired" in line for line in bench.log.at(20))


@pytest.mark.parametrize("batch", [False, True])
async def test_a_lease_that_ended_before_its_handler_is_not_renewed(
    bench, open_calls, monkeypatch, batch
):
    broker = bench.broker()
    begin = Handling.begin
    late = []

    def begin_late(handling, delivery):
        # The event loop is blocked once: after the first claim, for the rest of its lease.
        if not late or late[0].claim is delivery.claim:
            late.append(delivery)
            while not delivery.lease_ended:
                time.sleep(0.01)
        begin(handling, delivery)

    monkeypatch.setattr(Handling, "begin", begin_late)

    # More slots than timers, and a poll is due when the event loop is free again.
    @broker.subscriber(
        bench.topic, batch=batch, lease_ttl=LEASE, max_concurrent=10, polling_interval=0.01
    )
    async def handle(message: TimerBatchMessage if batch else TimerMessage):
        for timer in message.raw_message.deliveries:
            open_calls.note(timer)

    ids = ["1", "2", "3"]
    for timer_id in ids:
        bench.schedule(timer_id)
    async with delivering(broker):
        await bench.until_gone(*ids)

    assert set(open_calls.ids) == set(ids)
    timers = [timer for delivery in late for timer in delivery.deliveries]
    assert [timer.leases for timer in timers] == [(late[0].claim.lease,)] * len(ids)


async def test_what_is_committed_first_begins_however_late(bench, open_calls):
    broker = bench.broker()
    slow = SlowAtFirst()

    @broker.subscriber(bench.topic, lease_ttl=LEASE, ack_policy=AckPolicy.ACK_FIRST)
    async def handle(message: TimerMessage, _: None = Depends(slow)):
        open_calls.note(message)

    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(1)

    assert open_calls.ids == ["1"]


async def test_a_handler_may_call_another_when_its_lease_has_ended(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber("other")
    async def other():
        return "done"

    @broker.subscriber(bench.topic, lease_ttl=LEASE, max_concurrent=1)
    async def handle(message: TimerMessage):
        while not message.raw_message.lease_ended:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        open_calls.note(message, await other())

    bench.schedule("1")
    async with delivering(broker):
        await open_calls.until(1)
        await bench.until_gone("1")

    assert open_calls.bodies == [("1", "done")]


# --- callables ---------------------------------------------------------------------------


class Charge:
    """Handlers of an object, and the object as a handler."""

    def __init__(self):
        self.bodies = []

    async def __call__(self, body):
        self.bodies.append(body)

    async def charge(self, body):
        self.bodies.append(body)

    async def charge_for(self, reason, body):
        self.bodies.append(body)

    def charge_blocking(self, body):
        self.bodies.append(body)


CALLABLES = {
    "an object with an async __call__": lambda charge: charge,
    "a bound method": lambda charge: charge.charge,
    "a partial of an async function": lambda charge: functools.partial(charge.charge_for, "a"),
    "sync_to_async": lambda charge: sync_to_async(charge.charge_blocking),
    "a blocking bound method": lambda charge: charge.charge_blocking,
}


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("make", CALLABLES.values(), ids=CALLABLES)
async def test_each_kind_of_callable_is_called(bench, make, batch):
    broker = bench.broker()
    charge = Charge()
    broker.subscriber(bench.topic, batch=batch)(make(charge))

    bench.schedule("1", "INV-1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert charge.bodies == [["INV-1"] if batch else "INV-1"]


def blindly_wrapped(function):
    """Wrap a function as decorators do that don't know asynchronous ones."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


async def asynchronous(body): ...


def generator(body):
    yield


async def asynchronous_generator(body):
    yield


async def forgotten_await(body):
    return asynchronous(body)


class BlindlyYielding:
    """A generator that only its code shows."""

    @blindly_wrapped
    def __call__(self, body):
        yield


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(
    "handler",
    [
        blindly_wrapped(asynchronous),
        blindly_wrapped(generator),
        functools.partial(blindly_wrapped(generator)),
        BlindlyYielding(),
        blindly_wrapped(asynchronous_generator),
        forgotten_await,
    ],
    ids=[
        "coroutine",
        "generator",
        "partial",
        "object",
        "asynchronous generator",
        "forgotten await",
    ],
)
async def test_a_result_that_has_yet_to_run_is_an_error_and_keeps_the_timer(bench, handler, batch):
    broker = bench.broker()
    broker.subscriber(bench.topic, batch=batch)(handler)

    bench.schedule("1")
    async with delivering(broker):
        await wait_until_async(lambda: bench.log.complaints and not bench.is_leased("1"))

    (line,) = bench.log.complaints
    assert re.match("TypeError: handler '.*' returned a", line)
    assert "which nothing runs" in line
    assert bench.client.cancel_timer(bench.topic, "1")


def generator_expression(body):
    return (part for part in [body])


async def running_task(body):
    return asyncio.create_task(asynchronous(body))


@pytest.mark.parametrize("handler", [generator_expression, running_task])
async def test_a_result_that_can_be_published_or_runs_already_is_no_error(bench, handler):
    broker = bench.broker()
    broker.subscriber(bench.topic)(handler)

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert bench.log.complaints == []


class Yielding:
    """A handler that is no function."""

    def __call__(self, body):
        yield


@pytest.mark.parametrize("handler", [generator, asynchronous_generator, Yielding()])
async def test_a_generator_function_is_refused(bench, handler):
    broker = bench.broker()
    broker.subscriber(bench.topic)(handler)

    with pytest.raises(SetupError, match=r"has a yield, .* which nothing runs"):
        await broker.start()
    with pytest.raises(SetupError, match=r"has a yield, .* which nothing runs"):
        async with TestTimersBroker(broker):
            pass
