"""The caller's trace goes along in the headers, where OpenTelemetry is loaded."""

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta

import pytest
from faststream.opentelemetry import TelemetryMiddleware
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import Every, TimerPublishMessage, TimersClient
from faststream_redis_timers_sync.protocol import tracing
from faststream_redis_timers_sync.testing import FakeTimersClient

TOPIC = "invoices"
ANOTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACING = {"traceparent", "tracestate", "baggage"}


@pytest.fixture(params=["real", "in memory"])
def client(request, redis_client, key_names):
    if request.param == "real":
        return TimersClient(redis_client, **key_names)
    return FakeTimersClient(**key_names)


@pytest.fixture
def tracer():
    return TracerProvider().get_tracer("tests")


@contextmanager
def a_span(tracer, state=()):
    """Be in a span, with tracestate and baggage as a web request may bring them."""
    remote = trace.SpanContext(
        trace_id=1,
        span_id=2,
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        trace_state=trace.TraceState(state),
    )
    request = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    token = context.attach(baggage.set_baggage("secret", "value", context=request))
    try:
        with tracer.start_as_current_span("request") as span:
            yield span.get_span_context()
    finally:
        context.detach(token)


def traced(headers):
    return {name: value for name, value in headers.items() if name.lower() in TRACING}


def headers_of(client, timer_id):
    return traced(client.get_timer(TOPIC, timer_id).headers)


@pytest.mark.parametrize("state", [(), [("vendor", "a"), ("other", "b")]])
def test_the_headers_are_those_of_the_w3c_propagator_and_no_baggage(client, tracer, state):
    expected = {}
    with a_span(tracer, state) as span:
        TraceContextTextMapPropagator().inject(expected)
        client.schedule("x", TOPIC, timer_id="42")

    assert headers_of(client, "42") == expected
    assert set(expected) == ({"traceparent", "tracestate"} if state else {"traceparent"})
    found = TraceContextTextMapPropagator().extract(expected)
    assert trace.get_current_span(found).get_span_context().span_id == span.span_id


def test_a_span_that_is_not_sampled_is_named_too(client):
    expected = {}
    with TracerProvider(sampler=ALWAYS_OFF).get_tracer("tests").start_as_current_span("request"):
        TraceContextTextMapPropagator().inject(expected)
        client.schedule("x", TOPIC, timer_id="42")

    assert headers_of(client, "42") == expected
    assert int(expected["traceparent"][-2:], 16) & trace.TraceFlags.SAMPLED == 0


def test_without_a_span_there_are_no_headers(client):
    client.schedule("x", TOPIC, timer_id="42")

    assert headers_of(client, "42") == {}


def test_other_headers_are_kept(client, tracer):
    with a_span(tracer):
        client.schedule("x", TOPIC, timer_id="42", headers={"x-tenant": "acme"})

    headers = client.get_timer(TOPIC, "42").headers
    assert headers["x-tenant"] == "acme"
    assert "traceparent" in headers


def test_a_trace_of_the_callers_own_stands_alone(client, tracer):
    with a_span(tracer, [("vendor", "a")]):
        client.schedule("x", TOPIC, timer_id="42", headers={"traceparent": ANOTHER})
        client.schedule("x", TOPIC, timer_id="43", headers={"tracestate": "own=1"})

    assert headers_of(client, "42") == {"traceparent": ANOTHER}
    assert headers_of(client, "43")["tracestate"] == "own=1"


def test_each_message_of_a_batch_has_the_trace_or_one_of_its_own(client, tracer):
    messages = [
        "x",
        TimerPublishMessage("x", headers={"x-tenant": "acme"}),
        TimerPublishMessage("x", headers={"traceparent": ANOTHER}),
    ]
    expected = {}
    with a_span(tracer, [("vendor", "a")]):
        TraceContextTextMapPropagator().inject(expected)
        ids = client.schedule_batch(messages, TOPIC, headers={"shared": "yes"})
        others = client.schedule_batch(messages, TOPIC, headers={"traceparent": "00-of-batch"})

    assert [headers_of(client, timer_id) for timer_id in ids] == [
        expected,
        expected,
        {"traceparent": ANOTHER},
    ]
    assert [headers_of(client, timer_id)["traceparent"] for timer_id in others] == [
        "00-of-batch",
        "00-of-batch",
        ANOTHER,
    ]
    assert all("tracestate" not in headers_of(client, timer_id) for timer_id in others)
    assert client.get_timer(TOPIC, ids[2]).headers["shared"] == "yes"


def test_a_series_has_no_trace(client, tracer):
    daily = Every(days=1)
    messages = [
        TimerPublishMessage("x", timer_id="b", headers={"traceparent": ANOTHER, "x-tenant": "b"}),
        TimerPublishMessage("x", timer_id="c", activate_in=timedelta(days=1)),
    ]
    with a_span(tracer, [("vendor", "a")]):
        client.schedule("x", TOPIC, timer_id="a", repeat=daily, headers={"x-tenant": "a"})
        client.schedule_batch(messages, TOPIC, repeat=daily)

    # A year of occurrences would be one trace, begun by the last deployment.
    assert [headers_of(client, timer_id) for timer_id in "ab"] == [{}, {}]
    assert set(headers_of(client, "c")) == {"traceparent", "tracestate"}
    assert [client.get_timer(TOPIC, name).headers["x-tenant"] for name in "ab"] == ["a", "b"]


def test_headers_that_are_wrong_are_refused_as_ever(client, tracer):
    with a_span(tracer), pytest.raises(TypeError, match="'x-a'"):
        client.schedule("x", TOPIC, headers={"x-a": None})
    for odd in ("abc", 5, [("a", "b")]):
        with a_span(tracer), pytest.raises(TypeError, match="headers must be a mapping"):
            client.schedule("x", TOPIC, headers=odd)
        with pytest.raises(TypeError, match="headers must be a mapping"):
            client.schedule("x", TOPIC, headers=odd)
        with pytest.raises(TypeError, match="headers must be a mapping"):
            client.schedule_batch([TimerPublishMessage("x", headers=odd)], TOPIC)


def test_a_timer_in_a_pipeline_has_the_trace_of_the_call(client, tracer, redis_client):
    make = client.pipeline if isinstance(client, FakeTimersClient) else redis_client.pipeline
    with make() as pipeline:
        with a_span(tracer):
            client.schedule("x", TOPIC, timer_id="42", pipeline=pipeline)
        pipeline.execute()

    assert "traceparent" in headers_of(client, "42")


@pytest.mark.parametrize("module", [None, object()])
def test_a_module_that_is_not_there_yet_does_no_harm(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", module)

    assert tracing.current_trace() == {}


class Attributes:
    """What FastStream's middleware asks of a broker's provider of settings."""

    messaging_system = "timers"

    def get_consume_attrs_from_message(self, message):
        return {}

    def get_consume_destination_name(self, message):
        return message.raw_message.topic


async def test_the_workers_span_belongs_to_the_request(server_url, key_names):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    middleware = TelemetryMiddleware(
        settings_provider_factory=lambda _: Attributes(), tracer_provider=provider
    )
    broker = TimersBroker(server_url, middlewares=[middleware], **key_names)
    handled = asyncio.Event()

    @broker.subscriber(TOPIC)
    async def handle(message: str) -> None:
        handled.set()

    with a_span(provider.get_tracer("web")) as request:
        TimersClient(server_url, **key_names).schedule("x", TOPIC)
    async with broker:
        await asyncio.wait_for(handled.wait(), timeout=10)

    (processing,) = [span for span in exporter.get_finished_spans() if "process" in span.name]
    assert processing.context.trace_id == request.trace_id
    assert processing.parent.span_id == request.span_id


def run(code):
    """Run code in a process of its own, on a fake."""
    subprocess.run(
        [sys.executable, "-W", "error", "-c", "import sys\n" + code], check=True, timeout=60
    )


def test_opentelemetry_is_never_imported():
    run("""
import redis, redis.asyncio  # newer ones import a part of it themselves
before = [name for name in sys.modules if name.startswith("opentelemetry")]
from faststream_redis_timers_sync.testing import FakeTimersClient
fake = FakeTimersClient()
fake.schedule("x", "invoices", headers={"x-tenant": "acme"})
fake.schedule_batch(["x"], "invoices")
assert [name for name in sys.modules if name.startswith("opentelemetry")] == before
assert all("traceparent" not in timer.headers for timer in fake.scheduled)
""")


def test_opentelemetry_that_is_loaded_later_is_seen_and_nothing_more_is_loaded():
    run("""
from faststream_redis_timers_sync.testing import FakeTimersClient
fake = FakeTimersClient()
fake.schedule("x", "invoices")
from opentelemetry import trace
span = trace.NonRecordingSpan(trace.SpanContext(1, 2, False, trace.TraceFlags(1)))
before = set(sys.modules)
with trace.use_span(span):
    fake.schedule("x", "invoices")
assert [("traceparent" in timer.headers) for timer in fake.scheduled] == [False, True]
assert set(sys.modules) == before
""")
