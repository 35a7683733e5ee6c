"""`TimersTelemetryMiddleware`: spans of scheduling and handling, their links, and baggage."""

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from bench import PanicException
from faststream import AckPolicy
from faststream.exceptions import AckMessage, NackMessage, RejectMessage
from faststream.opentelemetry import Baggage, CurrentBaggage, CurrentSpan
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from waiting import wait_until_async

from faststream_redis_timers import Every, TestTimersBroker, TimerPublishMessage, TimersBroker
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.opentelemetry import TimersTelemetryMiddleware
from faststream_redis_timers_sync import TimersClient

TOPIC = "invoices"
HOUR = timedelta(hours=1)


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracer_provider(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


@pytest.fixture
def middleware(tracer_provider):
    return TimersTelemetryMiddleware(tracer_provider=tracer_provider)


@contextmanager
def in_context(surroundings):
    token = context.attach(surroundings)
    try:
        yield
    finally:
        context.detach(token)


async def finished(exporter, *names):
    """Wait until just these spans have ended, and give them in this order."""
    await wait_until_async(lambda: len(exporter.get_finished_spans()) >= len(names))
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert len(spans) == len(exporter.get_finished_spans())
    assert set(spans) == set(names)
    return [spans[name] for name in names]


def points(reader):
    """Give the first point of each metric, by its name."""
    data = reader.get_metrics_data()
    metrics = data.resource_metrics[0].scope_metrics[0].metrics if data else []
    return {metric.name: metric.data.data_points[0] for metric in metrics}


def linked(span):
    return [link.context.span_id for link in span.links]


# --- spans -------------------------------------------------------------------------------


async def test_handling_begins_a_trace_that_links_to_the_producers(run, exporter, middleware):
    broker = run.broker(middleware)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        """Do nothing."""

    async with run(broker):
        await broker.publish("start", TOPIC)
        create, publish, process = await finished(
            exporter, f"{TOPIC} create", f"{TOPIC} publish", f"{TOPIC} process"
        )

    assert publish.parent.span_id == create.context.span_id
    assert process.parent is None
    assert process.context.trace_id != create.context.trace_id
    assert linked(process) == [create.context.span_id]
    assert process.links[0].context.trace_id == create.context.trace_id
    assert [span.kind for span in (create, publish, process)] == [
        SpanKind.PRODUCER,
        SpanKind.PRODUCER,
        SpanKind.CONSUMER,
    ]


async def test_handling_can_be_the_producers_child_instead(run, exporter, tracer_provider):
    broker = run.broker(
        TimersTelemetryMiddleware(tracer_provider=tracer_provider, continue_trace=True)
    )

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        """Do nothing."""

    async with run(broker):
        await broker.publish("start", TOPIC)
        create, publish, process = await finished(
            exporter, f"{TOPIC} create", f"{TOPIC} publish", f"{TOPIC} process"
        )

    assert publish.parent.span_id == process.parent.span_id == create.context.span_id
    assert process.context.trace_id == create.context.trace_id
    assert linked(process) == []


async def test_spans_have_the_attributes_of_messaging(run, exporter, middleware):
    broker = run.broker(middleware)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        """Do nothing."""

    async with run(broker):
        await broker.publish("start", TOPIC, timer_id="42", correlation_id="order")
        create, publish, process = await finished(
            exporter, f"{TOPIC} create", f"{TOPIC} publish", f"{TOPIC} process"
        )

    outgoing = {
        "messaging.system": "redis_timers",
        "messaging.destination.name": TOPIC,
        "messaging.message.id": "42",
        "messaging.message.conversation_id": "order",
    }
    assert dict(create.attributes) == outgoing
    assert dict(publish.attributes) == {**outgoing, "messaging.operation": "publish"}
    attributes = dict(process.attributes)
    # The test broker's due time is rounded.
    assert -1e-6 <= attributes.pop("timers.lateness") < 60
    assert attributes == {
        "messaging.system": "redis_timers",
        "messaging.destination_publish.name": TOPIC,
        "messaging.message.id": "42",
        "messaging.message.conversation_id": "order",
        "messaging.message.payload_size_bytes": len("start"),
        "messaging.operation": "process",
        "timers.redelivered": False,
    }


async def test_the_publishing_span_names_the_id_that_was_made(run, exporter, middleware):
    broker = run.broker(middleware)

    async with run(broker):
        timer_id = await broker.publish("x", TOPIC, activate_in=HOUR)
        create, publish = await finished(exporter, f"{TOPIC} create", f"{TOPIC} publish")
        await broker.cancel_all(TOPIC)

    assert publish.attributes["messaging.message.id"] == timer_id
    assert publish.attributes["messaging.message.conversation_id"] == timer_id
    assert "messaging.message.id" not in create.attributes


async def test_each_message_of_a_batch_links_to_the_one_span_of_it(run, exporter, middleware):
    broker = run.broker(middleware)
    bags = []

    @broker.subscriber(TOPIC)
    async def handle(body: str, bag: CurrentBaggage) -> None:
        bags.append(bag.get_all())

    async with run(broker):
        with in_context(baggage.set_baggage("secret", "of the process")):
            await broker.publish_batch("a", "b", "c", topic=TOPIC)
        await wait_until_async(lambda: len(exporter.get_finished_spans()) == 5)
    spans = exporter.get_finished_spans()
    (create,) = [span for span in spans if span.name == f"{TOPIC} create"]
    (publish,) = [span for span in spans if span.name == f"{TOPIC} publish"]
    processes = [span for span in spans if span.name == f"{TOPIC} process"]

    assert publish.attributes["messaging.batch.message_count"] == 3
    assert [linked(process) for process in processes] == [[create.context.span_id]] * 3
    assert len({process.context.trace_id for process in (create, *processes)}) == 4
    assert bags == [{}, {}, {}]


@pytest.mark.parametrize("continue_trace", [False, True])
async def test_a_batch_is_one_span_with_a_link_to_each_producer(
    exporter, tracer_provider, make_broker, continue_trace
):
    middleware = TimersTelemetryMiddleware(
        tracer_provider=tracer_provider, continue_trace=continue_trace
    )
    broker = make_broker(middlewares=(middleware,))

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[str]) -> None:
        """Do nothing."""

    await broker.connect()
    for name in ("a", "bb"):
        await broker.publish(name, TOPIC, timer_id=name)
    await broker.publish_batch("ccc", "dddd", topic=TOPIC)
    creates = {
        span.context.span_id
        for span in exporter.get_finished_spans()
        if span.name == f"{TOPIC} create"
    }
    exporter.clear()
    await broker.start()
    (process,) = await finished(exporter, f"{TOPIC} process")

    assert len(creates) == 3
    assert set(linked(process)) == creates
    assert len(process.links) == 3
    assert process.parent is None
    attributes = dict(process.attributes)
    assert attributes["messaging.batch.message_count"] == 4
    assert attributes["messaging.message.payload_size_bytes"] == 10
    assert attributes["timers.redelivered"] is False
    assert 0 <= attributes["timers.lateness"] < 60


async def test_metrics_count_the_messages_of_a_batch(run):
    reader = InMemoryMetricReader()
    middleware = TimersTelemetryMiddleware(meter_provider=MeterProvider([reader]))
    broker = run.broker(middleware)
    done = []

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int]) -> None:
        done.append(bodies)

    async with run(broker):
        await broker.publish_batch(1, 2, 3, topic=TOPIC)
        await wait_until_async(lambda: done)

    points = {
        metric.name: metric.data.data_points
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    (count,) = points["messaging.process.messages"]
    (duration,) = points["messaging.process.duration"]
    assert (count.value, duration.count) == (3, 1)


async def test_a_series_has_spans_of_its_scheduling_and_no_trace_in_its_headers(
    exporter, middleware, make_broker
):
    broker = make_broker(middlewares=[middleware])
    await broker.connect()
    daily = Every(days=1)

    await broker.publish("x", TOPIC, timer_id="42", repeat=daily)
    await broker.publish_batch(
        TimerPublishMessage("x", timer_id="43"),
        TimerPublishMessage("x", timer_id="44", activate_in=HOUR),
        topic=TOPIC,
        repeat=daily,
    )

    names = [span.name for span in exporter.get_finished_spans()]
    assert names.count(f"{TOPIC} create") == 2
    assert names.count(f"{TOPIC} publish") == 2
    headers = {timer.timer_id: timer.headers async for timer in broker.iter_timers(TOPIC)}
    assert ["traceparent" in headers[timer_id] for timer_id in ("42", "43", "44")] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("continue_trace", [False, True])
async def test_without_a_producers_span_there_is_one_span_alone(
    server_url, key_names, exporter, tracer_provider, make_broker, continue_trace
):
    broker = make_broker(
        middlewares=[
            TimersTelemetryMiddleware(
                tracer_provider=tracer_provider, continue_trace=continue_trace
            )
        ]
    )

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        """Do nothing."""

    with TimersClient(server_url, **key_names) as client:
        client.schedule("x", TOPIC, headers={"traceparent": "nonsense"})
    await broker.start()
    (process,) = await finished(exporter, f"{TOPIC} process")

    assert process.parent is None
    assert linked(process) == []


async def test_a_blocking_clients_span_is_linked_too(
    server_url, key_names, exporter, tracer_provider, middleware, make_broker
):
    broker = make_broker(middlewares=[middleware])

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        """Do nothing."""

    web = tracer_provider.get_tracer("web")
    with TimersClient(server_url, **key_names) as client, web.start_as_current_span("request"):
        client.schedule("x", TOPIC)
    await broker.start()
    request, process = await finished(exporter, "request", f"{TOPIC} process")

    assert linked(process) == [request.context.span_id]
    assert process.context.trace_id != request.context.trace_id


@pytest.mark.parametrize("continue_trace", [False, True])
async def test_each_occurrence_of_a_recurring_timer_is_a_trace_of_its_own(
    exporter, tracer_provider, continue_trace
):
    middleware = TimersTelemetryMiddleware(
        tracer_provider=tracer_provider, continue_trace=continue_trace
    )
    broker = TimersBroker(middlewares=[middleware])

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        await broker.publish("made", "others")

    test = TestTimersBroker(broker, hold=True)
    async with test:
        with tracer_provider.get_tracer("test").start_as_current_span("request"):
            await broker.publish("x", TOPIC, timer_id="hourly", repeat=Every(hours=1))
        await test.advance(3 * HOUR)

    spans = exporter.get_finished_spans()
    runs = [span for span in spans if span.name == f"{TOPIC} process"]
    assert len(runs) == 3
    assert {(span.parent, *span.links) for span in runs} == {(None,)}
    traces = [span.context.trace_id for span in runs]
    assert len(set(traces)) == 3
    # What a handler schedules belongs to the trace of its occurrence.
    assert traces == [span.context.trace_id for span in spans if span.name == "others create"]


async def test_a_timer_that_waited_and_was_moved_is_linked_all_the_same(
    exporter, middleware, make_broker
):
    broker = make_broker(middlewares=[middleware])

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        """Do nothing."""

    await broker.start()
    timer_id = await broker.publish("x", TOPIC, activate_in=30 * 24 * HOUR)
    await broker.reschedule_timer(TOPIC, timer_id, activate_in=0 * HOUR)
    create, _, process = await finished(
        exporter, f"{TOPIC} create", f"{TOPIC} publish", f"{TOPIC} process"
    )

    assert linked(process) == [create.context.span_id]
    assert process.attributes["messaging.message.id"] == timer_id


async def test_the_headers_are_w3cs(exporter, middleware, make_broker):
    broker = make_broker(middlewares=[middleware])
    await broker.connect()

    timer_id = await broker.publish("x", TOPIC, activate_in=HOUR)
    create, _ = await finished(exporter, f"{TOPIC} create", f"{TOPIC} publish")
    timer = await broker.get_timer(TOPIC, timer_id)

    found = TraceContextTextMapPropagator().extract(timer.headers)
    assert trace.get_current_span(found).get_span_context().span_id == create.context.span_id
    assert "baggage" not in timer.headers
    await broker.cancel_all(TOPIC)


@pytest.mark.parametrize("is_returned", [True, False])
async def test_what_a_handler_schedules_belongs_to_its_trace(
    run, exporter, middleware, is_returned
):
    broker = run.broker(middleware)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> Any:
        if not is_returned:
            await broker.publish(body, "receipts")

    @broker.subscriber("receipts")
    async def file(body: str) -> None:
        """Do nothing."""

    if is_returned:

        @broker.publisher("receipts")
        @broker.subscriber("orders")
        async def order(body: str) -> str:
            return body

    first = "orders" if is_returned else TOPIC
    names = [f"{first} create", f"{first} publish", f"{first} process", "receipts publish"]
    names += ["receipts process"] if is_returned else ["receipts process", "receipts create"]
    async with run(broker):
        await broker.publish("x", first)
        _, _, process, publish, filed, *created = await finished(exporter, *names)

    assert publish.context.trace_id == process.context.trace_id
    assert filed.context.trace_id != process.context.trace_id
    assert filed.links[0].context.trace_id == process.context.trace_id
    # A handler's result is linked to its span; where it publishes there is a span for that.
    source = created[0] if created else process
    assert linked(filed) == [source.context.span_id]
    if created:
        assert source.parent.span_id == process.context.span_id
    else:
        assert publish.parent.span_id == process.context.span_id


async def test_a_trace_that_is_not_sampled_stays_so(make_broker, exporter, inbox):
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    broker = make_broker(middlewares=[TimersTelemetryMiddleware(tracer_provider=provider)])

    @broker.publisher("receipts")
    @broker.subscriber(TOPIC)
    async def handle(body: str, span: CurrentSpan) -> str:
        inbox.put(span.get_span_context())
        return body

    await broker.start()
    await broker.publish("x", TOPIC)
    process = await inbox.get()
    await wait_until_async(lambda: broker.count_pending("receipts"))
    (timer,) = [timer async for timer in broker.iter_timers("receipts")]

    _, trace_id, _, flags = timer.headers["traceparent"].split("-")
    assert trace_id == f"{process.trace_id:032x}"
    assert int(flags, 16) & trace.TraceFlags.SAMPLED == 0
    assert exporter.get_finished_spans() == ()
    await broker.cancel_all("receipts")


async def test_the_span_is_the_handlers_current_one(run, exporter, middleware):
    broker = run.broker(middleware)
    seen = []

    @broker.subscriber(TOPIC)
    async def handle(body: str, span: CurrentSpan) -> None:
        seen.append(span is trace.get_current_span())

    async with run(broker):
        before = context.get_current()
        await broker.publish("x", TOPIC)
        await finished(exporter, f"{TOPIC} create", f"{TOPIC} publish", f"{TOPIC} process")
        assert context.get_current() == before

    assert seen == [True]


# --- errors ------------------------------------------------------------------------------


async def test_a_failure_is_recorded(run, exporter, middleware):
    broker = run.broker(middleware, logger=None)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        raise LookupError(body)

    async with run(broker):
        before = context.get_current()
        try:
            await broker.publish("x", TOPIC)
        except LookupError:
            assert isinstance(run(broker), TestTimersBroker)
        assert context.get_current() == before
        *_, process = await finished(
            exporter, f"{TOPIC} create", f"{TOPIC} publish", f"{TOPIC} process"
        )
        await broker.cancel_all(TOPIC)

    assert process.status.status_code is StatusCode.ERROR
    assert process.status.description == "LookupError: x"
    (event,) = process.events
    assert event.attributes["exception.type"] == "LookupError"


@pytest.mark.parametrize("instruction", [AckMessage, NackMessage, RejectMessage])
async def test_an_instruction_is_no_failure(run, exporter, middleware, instruction):
    broker = run.broker(middleware)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        raise instruction

    async with run(broker):
        await broker.publish("x", TOPIC)
        *_, process = await finished(
            exporter, f"{TOPIC} create", f"{TOPIC} publish", f"{TOPIC} process"
        )
        await broker.cancel_all(TOPIC)

    assert process.status.status_code is StatusCode.UNSET
    assert process.events == ()


async def test_a_handler_that_is_stopped_is_recorded(make_broker, exporter, tracer_provider, inbox):
    reader = InMemoryMetricReader()
    middleware = TimersTelemetryMiddleware(
        tracer_provider=tracer_provider, meter_provider=MeterProvider(metric_readers=[reader])
    )
    broker = make_broker(middlewares=[middleware], graceful_timeout=0.01)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        inbox.put(body)
        await asyncio.Event().wait()

    await broker.start()
    await broker.publish("x", TOPIC)
    await inbox.get()
    await broker.stop()

    *_, process = await finished(
        exporter, f"{TOPIC} create", f"{TOPIC} publish", f"{TOPIC} process"
    )
    assert process.status.status_code is StatusCode.ERROR
    assert process.status.description == "CancelledError: the handler was stopped"
    assert points(reader)["messaging.process.duration"].attributes["error.type"] == "CancelledError"
    await broker.connect()
    assert await broker.count_pending(TOPIC) == 1
    await broker.cancel_all(TOPIC)


async def test_sys_exit_of_a_handler_is_recorded(exporter, middleware):
    broker = TimersBroker(middlewares=[middleware])

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        sys.exit("enough")

    async with TestTimersBroker(broker):
        with pytest.raises(SystemExit, match="enough"):
            await broker.publish("x", TOPIC)

    *_, process = await finished(
        exporter, f"{TOPIC} create", f"{TOPIC} publish", f"{TOPIC} process"
    )
    assert process.status.description == "SystemExit: the handler was stopped"


async def test_what_is_no_exception_is_recorded(make_broker, exporter, middleware):
    broker = make_broker(middlewares=[middleware], ack_policy=AckPolicy.REJECT_ON_ERROR)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        raise PanicException

    await broker.start()
    await broker.publish("x", TOPIC)

    *_, process = await finished(
        exporter, f"{TOPIC} create", f"{TOPIC} publish", f"{TOPIC} process"
    )
    assert process.status.status_code is StatusCode.ERROR
    assert process.status.description == "PanicException: "


# --- baggage -----------------------------------------------------------------------------


@pytest.fixture
def bags(run, middleware):
    """A broker whose handler notes its baggage, and schedules on another topic that does so."""
    broker = run.broker(middleware)
    broker.bags = []

    @broker.publisher("second")
    @broker.publisher("third")
    @broker.subscriber("first")
    async def first(body: str, bag: CurrentBaggage) -> str:
        broker.bags.append(("first", bag.get_all()))
        if body == "clear":
            bag.clear()
        if body == "set":
            bag.set("own", "yes")
        return body

    @broker.subscriber("second")
    @broker.subscriber("third")
    async def next_one(body: str, bag: CurrentBaggage, message: TimerMessage) -> None:
        broker.bags.append((message.topic, bag.get_all()))

    return broker


@pytest.mark.parametrize(
    ("body", "passed_on"),
    [("keep", {"user": "ada"}), ("clear", {}), ("set", {"user": "ada", "own": "yes"})],
)
async def test_baggage_goes_on_with_what_a_handler_returns(run, bags, body, passed_on):
    async with run(bags):
        await bags.publish(body, "first", headers=Baggage({"user": "ada"}).to_headers())
        await wait_until_async(lambda: len(bags.bags) == 3)

    assert sorted(bags.bags) == [
        ("first", {"user": "ada"}),
        ("second", passed_on),
        ("third", passed_on),
    ]


async def test_baggage_does_not_leak_into_what_comes_later(run, bags):
    async with run(bags):
        await bags.publish("x", "first", headers=Baggage({"user": "ada"}).to_headers())
        await wait_until_async(lambda: len(bags.bags) == 3)
        await bags.publish("x", "first")
        await wait_until_async(lambda: len(bags.bags) == 6)
        assert bags.context.get_local("baggage") is None
        assert bags.context.get_local("span") is None

    assert sorted(bags.bags[3:]) == [("first", {}), ("second", {}), ("third", {})]


async def test_a_batch_has_the_baggage_of_all_and_of_each(exporter, middleware):
    broker = TimersBroker(middlewares=[middleware])
    got = []

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int], bag: CurrentBaggage) -> None:
        got.append((bag.get_all(), bag.get_all_batch()))

    async with TestTimersBroker(broker):
        messages = [
            TimerPublishMessage(n, timer_id=str(n), headers=Baggage({f"k{n}": n}).to_headers())
            for n in range(2)
        ]
        await broker.publish_batch(*messages, topic=TOPIC)

    assert got == [({"k0": "0", "k1": "1"}, [{"k0": "0"}, {"k1": "1"}])]


async def test_baggage_of_the_process_stays_there(run, bags):
    with in_context(baggage.set_baggage("secret", "of the process")):
        async with run(bags):
            await bags.publish("x", "first")
            await bags.publish_batch("x", "y", topic="second")
            await wait_until_async(lambda: len(bags.bags) == 5)
            assert baggage.get_all() == {"secret": "of the process"}

    assert [bag for _, bag in bags.bags] == [{}] * 5


async def test_a_handler_that_schedules_by_itself_passes_its_baggage_on(run, middleware):
    broker = run.broker(middleware)
    bags = []

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        await broker.publish_batch("a", "b", topic="receipts")

    @broker.subscriber("receipts")
    async def file(body: str, bag: CurrentBaggage) -> None:
        bags.append(bag.get_all())

    async with run(broker):
        await broker.publish("x", TOPIC, headers=Baggage({"user": "ada"}).to_headers())
        await wait_until_async(lambda: len(bags) == 2)

    assert bags == [{"user": "ada"}] * 2


# --- metrics -----------------------------------------------------------------------------


@pytest.mark.parametrize("with_counters", [True, False])
@pytest.mark.parametrize("fails", [True, False])
async def test_metrics_are_those_of_faststream(run, with_counters, fails):
    reader = InMemoryMetricReader()
    options = {} if with_counters else {"include_messages_counters": False}
    middleware = TimersTelemetryMiddleware(
        meter_provider=MeterProvider(metric_readers=[reader]), **options
    )
    broker = run.broker(middleware, logger=None)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        if fails:
            raise LookupError

    async with run(broker):
        try:
            await broker.publish("x", TOPIC)
        except LookupError:
            assert fails
        await wait_until_async(lambda: "messaging.process.duration" in points(reader))
        await broker.cancel_all(TOPIC)

    found = points(reader)
    durations = {"messaging.process.duration", "messaging.publish.duration"}
    counters = {"messaging.process.messages", "messaging.publish.messages"}
    assert set(found) == (durations | counters if with_counters else durations)
    assert all(found[name].count == 1 for name in durations)
    assert all(found[name].value == 1 for name in counters & set(found))
    assert dict(found["messaging.process.duration"].attributes) == {
        "messaging.system": "redis_timers",
        "messaging.destination_publish.name": TOPIC,
        **({"error.type": "LookupError"} if fails else {}),
    }


def test_without_opentelemetry_the_remedy_is_named():
    # As where it is not installed; redis-py does without.
    code = """
import sys
class Nowhere:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Nowhere())
import faststream_redis_timers.opentelemetry
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )

    assert "needs opentelemetry, which is not installed" in done.stderr
    assert "pip install 'faststream-redis-timers[otel]'" in done.stderr
