"""Timers for callers instead of handlers: `subscriber.get_one()` and ``async for``."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from bench import HOUR, NO_POLLS, delivering, until_idle, until_listening
from faststream import BaseMiddleware
from faststream.exceptions import IncorrectState
from inside import free_slots, kill_loop, loop_of, waiting_loops
from prometheus_client import CollectorRegistry
from waiting import wait_until_async

from faststream_redis_timers import Every, TestTimersBroker, TimersRouter
from faststream_redis_timers._faststream import DefaultCodec
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.prometheus import TimersPrometheusMiddleware
from faststream_redis_timers.subscriber.on_demand import Callers
from faststream_redis_timers_sync.protocol.times import is_lease

SHORT = timedelta(milliseconds=200)


@pytest.fixture
async def subscriber(bench):
    """A subscriber without handlers, of a started broker. It does not poll."""
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic, **NO_POLLS)
    async with delivering(broker):
        yield subscriber


@pytest.fixture
async def behind_relay(bench, relay):
    """The same with a relay before the server."""
    broker = bench.broker(relay.url)
    subscriber = broker.subscriber(bench.topic, **NO_POLLS)
    async with delivering(broker):
        yield subscriber
        relay.resume()


# --- what is given -----------------------------------------------------------------------


async def test_a_due_timer_is_given_with_all_that_is_known_of_it_and_leased(bench, subscriber):
    bench.schedule("1", {"number": 7}, headers={"kind": "paid"}, correlation_id="c")

    message = await subscriber.get_one()

    assert (message.timer_id, message.message_id, message.topic) == ("1", "1", bench.topic)
    assert await message.decode() == {"number": 7}
    assert (message.correlation_id, message.headers["kind"]) == ("c", "paid")
    assert message.lateness >= 0
    assert message.redelivered is False
    assert bench.is_leased("1")


async def test_a_recurring_timer_that_is_acknowledged_is_due_next(bench, subscriber):
    repeat = Every(hours=1, start=datetime.now(UTC) - HOUR / 2)
    bench.schedule("1", repeat=repeat)
    bench.client.reschedule_timer(bench.topic, "1", activate_in=timedelta(0))

    message = await subscriber.get_one()
    assert message.repeat == repeat
    assert message.occurrence == repeat.at_or_before(message.due_at)
    await message.ack()

    assert not message.lease_lost
    assert bench.client.get_timer(bench.topic, "1").due_at == repeat.after(message.due_at)
    bench.client.cancel_timer(bench.topic, "1")


async def test_before_its_caller_settles_it_a_timer_is_given_to_nobody_else(bench, subscriber):
    bench.schedule("1")

    await subscriber.get_one()

    assert await subscriber.get_one(timeout=0.1) is None
    assert bench.is_leased("1")


@pytest.mark.parametrize("method", ["ack", "reject"])
async def test_one_that_is_acknowledged_has_left_redis(bench, subscriber, method):
    bench.schedule("1")
    message = await subscriber.get_one()

    await getattr(message, method)()

    assert bench.is_gone("1")


async def test_one_that_is_nacked_is_due_when_its_lease_would_have_ended(bench, subscriber):
    bench.schedule("1")
    message = await subscriber.get_one()
    lease = bench.score("1")

    await message.nack()

    assert 0 < lease - bench.score("1") < 1e-6
    assert not is_lease(bench.score("1"))


async def test_one_that_is_nacked_with_a_delay_is_due_then(bench, subscriber):
    bench.schedule("1")
    message = await subscriber.get_one()
    before = bench.home.now().timestamp()

    await message.nack(delay=HOUR)

    assert before + 3600 <= bench.score("1") <= bench.home.now().timestamp() + 3600


async def test_one_that_nobody_settles_is_redelivered_when_its_lease_ends(bench):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic, lease_ttl=0.05)
    bench.schedule("1")
    async with delivering(broker):
        first = await subscriber.get_one()
        lease = bench.score("1")
        second = await subscriber.get_one()

        assert (first.timer_id, second.timer_id) == ("1", "1")
        assert second.redelivered is True
        assert second.due_at.timestamp() == pytest.approx(lease, abs=1e-5)
        # The lease of the first is over, so it can no longer do harm.
        await first.ack()
        assert not bench.is_gone("1")
        await second.ack()
        assert bench.is_gone("1")


async def test_what_fell_due_first_comes_first(bench, subscriber):
    for timer_id in ("b", "c", "a"):
        bench.schedule(timer_id)

    messages = [await subscriber.get_one() for _ in range(3)]

    assert [message.timer_id for message in messages] == ["b", "c", "a"]


async def test_a_broken_entry_is_removed_and_the_next_one_given(bench, subscriber):
    bench.redis.zadd(bench.timeline, {"broken": 1.0})
    bench.schedule("1")

    assert (await subscriber.get_one()).timer_id == "1"

    assert bench.score("broken") is None
    (line,) = bench.log.at(logging.ERROR)
    assert "'broken'" in line


async def test_several_callers_get_a_timer_each(bench, subscriber):
    callers = [asyncio.create_task(subscriber.get_one()) for _ in range(5)]
    await until_listening(bench)
    for n in range(5):
        bench.schedule(f"{n}")

    messages = await asyncio.gather(*callers)

    assert {message.timer_id for message in messages} == {f"{n}" for n in range(5)}


async def test_prefixes_and_routers_are_in_the_topic(make_broker):
    router = TimersRouter(prefix="b:")
    subscriber = router.subscriber("invoices")
    broker = make_broker(prefix="a:")
    broker.include_router(router)
    async with broker:
        await broker.publish("x", "b:invoices")
        message = await subscriber.get_one()
        await message.ack()

    assert message.topic == "a:b:invoices"


# --- how it waits ------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 1e-24, 0.05])
async def test_after_the_timeout_nothing_is_given(subscriber, timeout):
    assert await subscriber.get_one(timeout=timeout) is None


@pytest.mark.parametrize(
    ("timeout", "error"), [(-1, ValueError), (float("nan"), ValueError), ("5", TypeError)]
)
async def test_a_timeout_that_is_no_length_of_time_is_refused(subscriber, timeout, error):
    with pytest.raises(error, match=f"timeout .*got {timeout!r}"):
        await subscriber.get_one(timeout=timeout)


async def test_a_timer_that_falls_due_meanwhile_is_waited_for_and_not_polled(
    bench, relay, behind_relay
):
    await behind_relay.get_one(timeout=0.01)
    await until_idle(bench, relay)
    sent = relay.count("EVALSHA", "EVAL")
    bench.schedule("1", activate_in=SHORT)

    message = await behind_relay.get_one()

    assert 0 <= message.lateness < 5
    # It looks when it is asked, and when the timer is due; under load it may be early once.
    assert relay.count("EVALSHA", "EVAL") <= sent + 3


async def test_a_timer_that_is_scheduled_meanwhile_is_given_without_polling(bench, subscriber):
    caller = asyncio.create_task(subscriber.get_one())
    await until_listening(bench)

    bench.schedule("1")

    assert (await caller).timer_id == "1"


async def test_none_is_claimed_ahead(bench, subscriber):
    bench.schedule("1")
    bench.schedule("2")

    message = await subscriber.get_one()
    assert not bench.is_leased("2")
    await message.ack()

    assert not bench.is_leased("2")


async def test_while_nobody_asks_nothing_is_sent(bench, relay, behind_relay):
    await behind_relay.get_one(timeout=0.01)
    await until_idle(bench, relay)
    sent = relay.count("EVALSHA", "EVAL")

    bench.schedule("1")
    await until_idle(bench, relay)

    assert relay.count("EVALSHA", "EVAL") == sent
    assert not bench.is_leased("1")
    assert (await behind_relay.get_one()).timer_id == "1"


async def test_wake_ups_are_listened_for_from_the_first_call_on(bench):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic)
    async with delivering(broker):
        await until_listening(bench, count=0)
        await subscriber.get_one(timeout=0.01)
        await until_listening(bench)
    await until_listening(bench, count=0)


@pytest.mark.parametrize("how", ["timeout", "cancelled"])
async def test_one_that_was_claimed_for_a_caller_who_has_gone_is_released(
    bench, relay, behind_relay, how
):
    relay.hold_replies()
    bench.schedule("1")
    due = bench.score("1")
    caller = asyncio.create_task(behind_relay.get_one(timeout=0.1 if how == "timeout" else 10))
    await wait_until_async(lambda: bench.is_leased("1"))
    if how == "cancelled":
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    else:
        assert await caller is None

    relay.resume()

    await wait_until_async(lambda: bench.score("1") == due)
    assert (await behind_relay.get_one()).timer_id == "1"


async def test_one_that_a_caller_is_cancelled_over_is_released(bench, subscriber, monkeypatch):
    give = Callers.begin

    def give_and_cancel(self, delivery):
        give(self, delivery)
        caller.cancel()

    monkeypatch.setattr(Callers, "begin", give_and_cancel)
    bench.schedule("1")
    due = bench.score("1")

    caller = asyncio.create_task(subscriber.get_one())
    with pytest.raises(asyncio.CancelledError):
        await caller

    await wait_until_async(lambda: bench.score("1") == due)


async def test_a_server_that_is_away_is_waited_for(bench, relay, behind_relay):
    relay.refuse()
    caller = asyncio.create_task(behind_relay.get_one())
    await wait_until_async(lambda: bench.log.at(logging.ERROR))
    bench.schedule("1")

    relay.accept()

    message = await caller
    await message.ack()
    assert bench.is_gone("1")


async def test_a_silent_server_is_waited_for_no_longer_than_asked(behind_relay, relay):
    relay.stall()

    async with asyncio.timeout(5):
        assert await behind_relay.get_one(timeout=0.1) is None


async def test_an_acknowledgement_whose_reply_is_lost_is_sent_again(bench, relay, behind_relay):
    bench.schedule("1")
    message = await behind_relay.get_one()

    relay.lose_reply()
    await message.ack()

    assert bench.is_gone("1")


# --- one after the other -----------------------------------------------------------------


async def test_iterating_gives_one_after_the_other_until_the_caller_has_enough(bench, subscriber):
    for n in range(4):
        bench.schedule(f"{n}", n)

    bodies = []
    async for message in subscriber:
        bodies.append(await message.decode())
        await message.ack()
        if len(bodies) == 3:
            break

    assert bodies == [0, 1, 2]
    assert bench.client.get_pending_timers(bench.topic) == ["3"]
    assert not bench.is_leased("3")


async def iterate(subscriber, inbox):
    async for message in subscriber:
        inbox.put(message)
        await message.ack()
    inbox.put("the end")


STOPS = {
    "broker": lambda broker, subscriber: broker.stop(),
    "subscriber": lambda broker, subscriber: subscriber.stop(),
}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
async def test_a_stop_ends_an_iteration_that_waits_and_gives_a_caller_nothing(bench, inbox, stop):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic)
    before = asyncio.all_tasks()
    await broker.start()
    bench.schedule("1")
    iteration = asyncio.create_task(iterate(subscriber, inbox))
    assert (await inbox.get()).timer_id == "1"
    caller = asyncio.create_task(subscriber.get_one(timeout=60))
    await wait_until_async(lambda: free_slots(loop_of(subscriber)) == 2)

    await stop(broker, subscriber)

    assert await inbox.get() == "the end"
    assert await caller is None
    await iteration
    await broker.stop()
    await wait_until_async(lambda: asyncio.all_tasks() == before)
    assert bench.log.complaints == []


async def test_a_stop_in_the_body_ends_the_iteration_after_it(bench):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic)
    bench.schedule("1")
    bench.schedule("2")
    await broker.start()

    ids = []
    async for message in subscriber:
        ids.append(message.timer_id)
        await message.ack()
        await broker.stop()

    assert ids == ["1"]
    assert not bench.is_leased("2")


async def test_a_claim_in_flight_while_it_stops_is_awaited_and_released(
    bench, relay, behind_relay, inbox
):
    relay.hold_replies()
    bench.schedule("1")
    due = bench.score("1")
    iteration = asyncio.create_task(iterate(behind_relay, inbox))
    await wait_until_async(lambda: bench.is_leased("1"))

    stop = asyncio.create_task(behind_relay.stop())
    assert await inbox.get() == "the end"
    relay.resume()
    await stop

    await iteration
    assert bench.score("1") == due


async def test_a_cancelled_iteration_leaves_nothing_claimed_but_what_it_gave(bench, subscriber):
    for n in range(3):
        bench.schedule(f"{n}")
    given = asyncio.Event()

    async def hold():
        async for _ in subscriber:
            given.set()
            await asyncio.get_running_loop().create_future()

    iteration = asyncio.create_task(hold())
    await given.wait()
    iteration.cancel()
    with pytest.raises(asyncio.CancelledError):
        await iteration

    assert [bench.is_leased(f"{n}") for n in range(3)] == [True, False, False]


async def test_settled_after_the_stop_it_stays_leased_and_the_log_says_so(bench):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic)
    bench.schedule("1")
    async with delivering(broker):
        message = await subscriber.get_one()

    await message.ack()

    assert bench.is_leased("1")
    (line,) = bench.log.at(logging.WARNING)
    assert "'1'" in line
    assert "redelivered when its lease expires" in line


async def test_a_restarted_broker_gives_timers_again(bench):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic)
    for n in range(2):
        bench.schedule(f"{n}")
        async with delivering(broker):
            message = await subscriber.get_one()
            await message.ack()
        assert bench.is_gone(f"{n}")


# --- what is refused ---------------------------------------------------------------------


async def first_of(subscriber):
    async for message in subscriber:
        return message
    return None


CALLS = {"get_one": lambda subscriber: subscriber.get_one(timeout=0.1), "async for": first_of}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_subscriber_with_handlers_gives_them_all_its_timers(bench, call):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic)

    @subscriber
    async def handle(body: str) -> None:
        pass

    async with delivering(broker):
        with pytest.raises(AssertionError, match="topic 'invoices' has handlers"):
            await call(subscriber)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_subscriber_that_was_not_started_says_what_to_call(bench, call):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic)
    says = r"call `await subscriber\.start\(\)`"

    with pytest.raises(IncorrectState, match=says):
        await call(subscriber)
    async with delivering(broker):
        assert await subscriber.get_one(timeout=0.01) is None
    with pytest.raises(IncorrectState, match=says):
        await call(subscriber)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_test_broker_says_that_it_gives_none(make_broker, call):
    broker = make_broker()
    subscriber = broker.subscriber("invoices")
    async with TestTimersBroker(broker):
        with pytest.raises(
            IncorrectState, match="TestTimersBroker starts it only if it has with_real=True"
        ):
            await call(subscriber)


async def test_with_real_the_test_broker_gives_timers_of_its_server(make_broker):
    broker = make_broker()
    subscriber = broker.subscriber("invoices")
    async with TestTimersBroker(broker, with_real=True):
        await broker.publish("x", "invoices")
        message = await subscriber.get_one()
        await message.ack()

    assert await message.decode() == "x"


# --- parsers, decoders, middlewares ------------------------------------------------------


async def test_parser_and_decoder_of_the_subscriber_make_the_message(bench):
    async def parse(delivery, original):
        message = await original(delivery)
        message.headers["parsed"] = delivery.timer_id
        return message

    async def decode(message, original):
        return (await original(message))[::-1]

    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic, parser=parse, decoder=decode)
    bench.schedule("1", "abc")
    async with delivering(broker):
        message = await subscriber.get_one()
        await message.ack()

    assert message.headers["parsed"] == "1"
    assert await message.decode() == "cba"


async def test_middlewares_see_the_timer_and_may_change_the_message(bench):
    seen = []

    class Tagging(BaseMiddleware):
        async def on_receive(self):
            seen.append(("received", self.msg.timer_id))

        async def consume_scope(self, call_next, msg):
            msg.headers["tag"] = "yes"
            return await call_next(msg)

        async def after_processed(self, exc_type=None, exc_val=None, exc_tb=None):
            seen.append(("processed", exc_type))

    broker = bench.broker(middlewares=[Tagging])
    subscriber = broker.subscriber(bench.topic)
    bench.schedule("1")
    async with delivering(broker):
        message = await subscriber.get_one()
        await message.ack()

    assert isinstance(message, TimerMessage.__origin__)
    assert message.headers["tag"] == "yes"
    assert seen == [("received", "1"), ("processed", None)]


async def test_what_a_parser_raises_comes_to_the_caller_and_keeps_the_timer(bench):
    def parse(delivery):
        raise ZeroDivisionError

    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic, parser=parse)
    bench.schedule("1")
    async with delivering(broker):
        with pytest.raises(ZeroDivisionError):
            await subscriber.get_one()
        await wait_until_async(lambda: not bench.is_leased("1"))

        assert bench.score("1") > bench.home.now().timestamp()


async def test_two_ways_to_decode_are_refused_before_a_timer_is_claimed(bench):
    broker = bench.broker()
    subscriber = broker.subscriber(
        bench.topic, codec=DefaultCodec(), decoder=lambda message: message
    )
    bench.schedule("1")
    due = bench.score("1")
    async with delivering(broker):
        with pytest.raises(ValueError, match="codec"):
            await subscriber.get_one()

    assert bench.score("1") == due


async def test_a_caller_who_is_cancelled_in_a_parser_releases_the_timer(bench):
    parsing = asyncio.Event()

    async def parse(delivery, original):
        parsing.set()
        await asyncio.get_running_loop().create_future()

    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic, parser=parse)
    bench.schedule("1")
    due = bench.score("1")
    async with delivering(broker):
        caller = asyncio.create_task(subscriber.get_one())
        await parsing.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

        await wait_until_async(lambda: bench.score("1") == due)


async def test_a_subscriber_that_was_stopped_is_read_for_no_more(bench):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic)
    async with delivering(broker):
        assert await subscriber.get_one(timeout=0.05) is None
        (waiting,) = waiting_loops(broker)
        assert waiting is loop_of(subscriber)
        await subscriber.stop()

        assert not waiting_loops(broker)


async def test_after_a_stop_that_was_cancelled_it_can_be_started_again(bench, subscriber):
    assert await subscriber.get_one(timeout=0.05) is None
    stop = asyncio.create_task(subscriber.stop())
    await asyncio.sleep(0)
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop

    await subscriber.start()
    bench.schedule("1")
    message = await subscriber.get_one()
    assert message.timer_id == "1"
    await message.ack()


async def test_one_whose_delivery_has_died_says_so(bench, subscriber):
    assert await subscriber.get_one(timeout=0.05) is None
    await kill_loop(subscriber)

    with pytest.raises(IncorrectState, match=f"topic '{bench.topic}' died"):
        await subscriber.get_one()
    with pytest.raises(IncorrectState, match="died"):
        async for _ in subscriber:
            pass


async def test_metrics_count_what_is_given(bench):
    registry = CollectorRegistry()
    broker = bench.broker(middlewares=[TimersPrometheusMiddleware(registry=registry)])
    subscriber = broker.subscriber(bench.topic)
    bench.schedule("1")
    async with delivering(broker):
        message = await subscriber.get_one()
        await message.nack()

    (total,) = (
        sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "faststream_received_processed_messages_total"
        and sample.labels["status"] == "acked"
    )
    assert total == 1
