"""Subscribers that come and go while their broker runs."""

import gc
import logging

from bench import NO_POLLS, delivering, until_listening
from waiting import wait_until_async

from faststream_redis_timers import TimersRouter
from faststream_redis_timers.annotations import Logger, TimerMessage


def deliver_to(registrator, inbox, topic, **options):
    subscriber = registrator.subscriber(topic, **options)

    @subscriber
    async def handle(body: str, message: TimerMessage) -> None:
        inbox.put((message.topic, body))

    return subscriber


async def test_one_that_is_added_to_a_running_broker_delivers_once_it_is_started(bench, inbox):
    broker = bench.broker()
    deliver_to(broker, inbox, "old")
    async with delivering(broker):
        subscriber = deliver_to(broker, inbox, "new")
        await broker.publish("1", "new")
        await broker.publish("2", "old")
        assert await inbox.get() == ("old", "2")

        await subscriber.start()

        assert await inbox.get() == ("new", "1")
        assert await broker.ping() is True
        # It is the broker's like any other, and stops with it.
    assert not subscriber.running


async def test_one_is_stopped_and_started_again_while_others_go_on(bench, inbox):
    broker = bench.broker()
    coming = deliver_to(broker, inbox, "coming", **NO_POLLS)
    deliver_to(broker, inbox, "staying", **NO_POLLS)
    async with delivering(broker):
        for round_ in ("1", "2"):
            await coming.stop()
            await until_listening(bench, count=0, topic="coming")
            await broker.publish(round_, "coming", timer_id="c")
            await broker.publish(round_, "staying")
            assert await inbox.get() == ("staying", round_)
            assert (await broker.get_timer("coming", "c")).running is False
            assert await broker.ping() is True

            await coming.start()
            assert await inbox.get() == ("coming", round_)
            await until_listening(bench, topic="coming")

            await broker.publish("at short notice", "coming")
            assert await inbox.get() == ("coming", "at short notice")
    assert inbox.rest() == []


async def test_one_is_the_block_of_an_async_with(bench, inbox):
    broker = bench.broker()
    async with delivering(broker):
        subscriber = deliver_to(broker, inbox, "invoices", persistent=False)
        async with subscriber:
            await broker.publish("x", "invoices")
            assert await inbox.get() == ("invoices", "x")
        assert not subscriber.running
        await until_listening(bench, count=0)


async def test_one_that_is_not_persistent_lives_as_long_as_it_is_held(bench):
    broker = bench.broker()
    router = TimersRouter(prefix="my:")
    broker.include_router(router)
    for registrator in (broker, router):
        kept = registrator.subscriber("kept")
        held = registrator.subscriber("held", persistent=False)
        publisher = registrator.publisher("held", persistent=False)
        assert {held, kept} <= set(broker.subscribers)
        assert publisher in broker.publishers

        del held, kept, publisher
        gc.collect()

    assert sorted(subscriber.topic for subscriber in broker.subscribers) == ["kept", "my:kept"]
    assert broker.publishers == []


async def test_one_without_a_handler_comes_and_goes_too(bench):
    broker = bench.broker()
    async with delivering(broker):
        subscriber = broker.subscriber("invoices", persistent=False)
        async with subscriber:
            await broker.publish("x", "invoices")
            message = await subscriber.get_one()
            await message.ack()
        await until_listening(bench, count=0)

    assert await message.decode() == "x"


async def test_a_router_that_is_included_late_brings_its_subscribers(bench, inbox):
    broker = bench.broker(prefix="my:")
    router = TimersRouter(prefix="late:")
    subscriber = deliver_to(router, inbox, "invoices")
    async with delivering(broker):
        broker.include_router(router)
        await subscriber.start()

        await broker.publish("x", "late:invoices")

        assert await inbox.get() == ("my:late:invoices", "x")


async def test_lines_of_one_that_was_added_name_topic_and_whole_timer_id(bench):
    broker = bench.broker()
    timer_id = "an-id-of-the-caller's-own-" + "0" * 100
    async with delivering(broker):
        subscriber = broker.subscriber("added-later")

        @subscriber
        async def handle(body: str, logger: Logger) -> None:
            logger.info("from the handler")

        await subscriber.start()
        await broker.publish("x", "added-later", timer_id=timer_id)
        await wait_until_async(lambda: "Processed" in bench.log.at(logging.INFO))

    for said in ("Received", "Processed"):
        (record,) = [r for r in bench.log.records if r.getMessage() == said]
        assert (record.topic, record.message_id) == ("added-later", timer_id)
