"""A handler that ends the delivery of its topic, in a process that lives on, and who is told."""

import logging
import sys

import pytest
from bench import LogLines
from faststream.asgi import AsgiFastStream, make_ping_asgi
from faststream.exceptions import StopApplication, StopConsume
from inside import is_delivering
from prometheus_client import CollectorRegistry
from waiting import wait_until_async

from faststream_redis_timers import TestTimersBroker
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.manage.stats import count_topics
from faststream_redis_timers_sync.prometheus import TimersCollector

WORKERS = "faststream_timers_workers"


async def health(app):
    """Ask an app how it is, without a server; give the status."""
    sent = []
    scope = {"type": "http", "method": "GET", "path": "/health", "query_string": b"", "headers": []}

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"]


class Worker:
    """A broker with two topics; the handler of ``"invoices"`` raises what it is told to."""

    def __init__(self, make_broker, inbox, server_url, key_names):
        self.log = LogLines()
        self.inbox = inbox
        self.raises = None
        self.broker = make_broker(logger=self.log.logger)
        self.app = AsgiFastStream(
            self.broker, asgi_routes=[("/health", make_ping_asgi(self.broker, timeout=5.0))]
        )
        self.invoices = self.broker.subscriber("invoices", max_concurrent=3)
        self.other = self.broker.subscriber("other")
        self.other(self._note)
        self._timers = TimersClient(server_url, **key_names)

    async def _note(self, body: str) -> None:
        self.inbox.put(body)

    def _end(self):
        if self.raises is not None:
            raise self.raises

    async def handle(self, body: str) -> None:
        self._end()
        self.inbox.put(body)

    def handle_in_a_thread(self, body: str) -> None:
        self._end()
        self.inbox.put(body)

    def warnings(self):
        return self.log.at(logging.WARNING)

    def workers(self):
        """Count the workers that `stats` shows by topic, and those that the metrics show."""
        topics = ["invoices", "other"]
        shown = {one.topic: one.workers for one in count_topics(self._timers, topics).topics}
        registry = CollectorRegistry()
        registry.register(TimersCollector(self._timers, topics))
        scraped = {topic: registry.get_sample_value(WORKERS, {"topic": topic}) for topic in topics}
        return shown, scraped

    async def listens(self, invoices):
        expected = {"invoices": invoices, "other": 1}
        await wait_until_async(lambda: self.workers() == (expected, expected))

    async def has_ended(self):
        await wait_until_async(lambda: not self.invoices.running)
        await self.listens(0)


@pytest.fixture
def worker(make_broker, inbox, server_url, key_names):
    worker = Worker(make_broker, inbox, server_url, key_names)
    yield worker
    worker._timers.close()


ERRORS = {
    "SystemExit": (SystemExit("s3cret"), False),
    "StopApplication": (StopApplication(), False),
    "StopConsume": (StopConsume(), True),
}


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("error", ERRORS)
async def test_ping_and_health_notice_that_a_topic_has_ended(worker, error, is_async):
    worker.raises, is_well = ERRORS[error]
    worker.invoices(worker.handle if is_async else worker.handle_in_a_thread)
    async with worker.broker:
        await worker.listens(1)
        assert await worker.broker.ping() is True

        await worker.broker.publish("x", "invoices", timer_id="42")
        await worker.has_ended()

        assert await worker.broker.ping() is is_well
        assert await health(worker.app) == (204 if is_well else 500)
        (line,) = worker.warnings()
        assert line.startswith("delivery of topic 'invoices' stopped until ")
        assert line.endswith(f"the handler of timer '42' raised {error}")
        # The others go on.
        await worker.broker.publish("y", "other")
        assert await worker.inbox.get() == "y"

        worker.raises = None
        await worker.invoices.start()

        assert await worker.inbox.get() == "x"
        await worker.listens(1)
        assert await worker.broker.ping() is True
        assert await health(worker.app) == 204
    assert len(worker.warnings()) == 1


@pytest.mark.parametrize("error", ERRORS)
async def test_a_restart_of_the_broker_resumes_delivery(worker, error):
    worker.raises, _ = ERRORS[error]
    worker.invoices(worker.handle)
    await worker.broker.connect()
    await worker.broker.publish("x", "invoices")
    async with worker.broker:
        await worker.has_ended()
    assert await worker.broker.ping() is False

    worker.raises = None
    async with worker.broker:
        assert await worker.inbox.get() == "x"
        assert await worker.broker.ping() is True


async def test_several_handlers_that_end_a_topic_are_told_once(worker):
    begun = []

    @worker.invoices
    async def handle(body: str) -> None:
        begun.append(body)
        await wait_until_async(lambda: len(begun) == 3)
        raise StopConsume

    await worker.broker.connect()
    await worker.broker.publish_batch(*"abc", topic="invoices")
    async with worker.broker:
        await worker.has_ended()

        assert sorted(begun) == ["a", "b", "c"]
        assert len(worker.warnings()) == 1
        assert await worker.broker.cancel_all("invoices") == 3


@pytest.mark.parametrize("first", ["stop", "exit"])
async def test_of_two_endings_the_one_that_asks_for_a_restart_counts(worker, first):
    begun = []

    @worker.invoices
    async def handle(body: str) -> None:
        begun.append(body)
        await wait_until_async(lambda: len(begun) == 2)
        if body != first:
            await wait_until_async(worker.warnings)
        if body == "exit":
            sys.exit("s3cret")
        raise StopConsume

    await worker.broker.connect()
    await worker.broker.publish_batch("stop", "exit", topic="invoices")
    async with worker.broker:
        await worker.has_ended()
        await wait_until_async(lambda: not is_delivering(worker.invoices))

        assert await worker.broker.ping() is False
        assert len(worker.warnings()) == 1
        assert await worker.broker.cancel_all("invoices") == 2


async def test_a_stop_is_no_such_end(worker):
    worker.invoices(worker.handle)
    async with worker.broker:
        await worker.listens(1)
        await worker.invoices.stop()
        await worker.listens(0)

        # Somebody in this process has stopped it, and knows.
        assert await worker.broker.ping() is True
    assert worker.warnings() == []


async def test_a_handler_that_is_tried_out_beside_a_worker_does_not_end_its_delivery(worker):
    worker.invoices(worker.handle)
    async with worker.broker:
        await worker.listens(1)
        worker.raises = StopConsume()
        async with TestTimersBroker(worker.broker):
            with pytest.raises(StopConsume):
                await worker.broker.publish("x", "invoices")
        worker.raises = None

        await worker.broker.publish("y", "invoices")
        assert await worker.inbox.get() == "y"
        assert worker.warnings() == []
