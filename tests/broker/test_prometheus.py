"""`TimersPrometheusMiddleware`: what a worker's metrics say of timers handled and scheduled."""

import asyncio
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from bench import PanicException
from faststream import AckPolicy
from faststream.exceptions import (
    AckMessage,
    IgnoredException,
    NackMessage,
    RejectMessage,
    SkipMessage,
)
from prometheus_client import CollectorRegistry
from waiting import wait_until_async

from faststream_redis_timers import Every, TestTimersBroker, TimersBroker, TimersRouter
from faststream_redis_timers.annotations import TimerBatchMessage, TimerMessage
from faststream_redis_timers.prometheus import TimersPrometheusMiddleware
from faststream_redis_timers.prometheus.provider import TimersMetricsSettingsProvider

TOPIC = "invoices"
HOUR = timedelta(hours=1)

STANDARD = {
    "faststream_received_messages",
    "faststream_received_messages_size_bytes",
    "faststream_received_messages_in_process",
    "faststream_received_processed_messages",
    "faststream_received_processed_messages_duration_seconds",
    "faststream_received_processed_messages_exceptions",
    "faststream_published_messages",
    "faststream_published_messages_duration_seconds",
    "faststream_published_messages_exceptions",
}


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def middleware(registry):
    return TimersPrometheusMiddleware(registry=registry)


def samples(registry, name):
    """Give the values of a metric that are not 0, by their labels without the common ones."""
    return {
        tuple(value for label, value in sample.labels.items() if label != "app_name"): (
            sample.value
        )
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name and sample.value
    }


async def handled(registry, count=1):
    """Wait until so many timers have been handled, and give them by status."""
    name = "faststream_received_processed_messages_total"
    await wait_until_async(lambda: sum(samples(registry, name).values()) == count)
    return {labels[-1]: number for labels, number in samples(registry, name).items()}


# --- received ----------------------------------------------------------------------------


async def test_all_metrics_of_faststream_are_there(run, registry, middleware):
    broker = run.broker(middleware)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        """Do nothing."""

    async with run(broker):
        await broker.publish("hello", TOPIC)
        assert await handled(registry) == {"acked": 1}

    name = "faststream_received_messages"
    assert samples(registry, f"{name}_total") == {("redis_timers", TOPIC): 1}
    assert samples(registry, f"{name}_size_bytes_sum") == {("redis_timers", TOPIC): 5}
    assert samples(registry, f"{name}_in_process") == {}
    duration = "faststream_received_processed_messages_duration_seconds"
    assert samples(registry, f"{duration}_count") == {("redis_timers", TOPIC): 1}
    assert samples(registry, "faststream_received_processed_messages_exceptions_total") == {}
    metrics = {metric.name for metric in registry.collect()}
    assert metrics == STANDARD | {"faststream_timers_lateness_seconds"}
    apps = {s.labels["app_name"] for metric in registry.collect() for s in metric.samples}
    assert apps == {"faststream"}


async def test_a_batch_counts_as_its_messages(run, registry, middleware):
    broker = run.broker(middleware)

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[str]) -> None:
        """Do nothing."""

    async with run(broker):
        await broker.publish_batch("hello", "you", topic=TOPIC)
        assert await handled(registry, 2) == {"acked": 2}

    name = "faststream_received_messages"
    assert samples(registry, f"{name}_total") == {("redis_timers", TOPIC): 2}
    assert samples(registry, f"{name}_size_bytes_sum") == {("redis_timers", TOPIC): 8}
    assert samples(registry, f"{name}_size_bytes_count") == {("redis_timers", TOPIC): 1}
    assert samples(registry, f"{name}_in_process") == {}
    duration = "faststream_received_processed_messages_duration_seconds"
    assert samples(registry, f"{duration}_count") == {("redis_timers", TOPIC): 1}


async def test_calls_after_a_failed_batch_count_again_but_for_the_lateness(
    run, registry, middleware
):
    broker = run.broker(middleware, ack_policy=AckPolicy.REJECT_ON_ERROR, logger=None)

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int]) -> None:
        if 13 in bodies:
            raise LookupError

    async with run(broker):
        # The test broker raises it.
        with suppress(LookupError):
            await broker.publish_batch(11, 12, 13, topic=TOPIC)
        assert await handled(registry, 6) == {"error": 4, "acked": 2}

    exceptions = "faststream_received_processed_messages_exceptions_total"
    assert sum(samples(registry, exceptions).values()) == 2
    name = "faststream_timers_lateness_seconds_count"
    assert samples(registry, name) == {("redis_timers", TOPIC): 3}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AckMessage, "acked"),
        (NackMessage, "nacked"),
        (RejectMessage, "rejected"),
        (SkipMessage, "skipped"),
        (IgnoredException, "error"),
    ],
)
async def test_an_instruction_is_a_status_and_no_exception(
    run, registry, middleware, error, status
):
    broker = run.broker(middleware, ack_policy=AckPolicy.REJECT_ON_ERROR, logger=None)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        raise error

    async with run(broker):
        try:
            await broker.publish("x", TOPIC)
        except IgnoredException:
            # The test broker raises exceptions that are not instructions.
            assert error is IgnoredException
        assert await handled(registry) == {status: 1}
        assert samples(registry, "faststream_received_processed_messages_exceptions_total") == {}
        await cancel_rest(broker)


async def test_a_failure_is_an_error_and_an_exception(run, registry, middleware):
    broker = run.broker(middleware, logger=None)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        raise LookupError(body)

    async with run(broker):
        try:
            await broker.publish("x", TOPIC)
        except LookupError:
            assert isinstance(run(broker), TestTimersBroker)
        assert await handled(registry) == {"error": 1}
        assert samples(registry, "faststream_received_processed_messages_exceptions_total") == {
            ("redis_timers", TOPIC, "LookupError"): 1
        }
        await cancel_rest(broker)


@pytest.mark.parametrize(
    ("method", "status"), [("ack", "acked"), ("nack", "nacked"), ("reject", "rejected")]
)
@pytest.mark.parametrize("fails", [False, True])
async def test_what_the_handler_did_itself_is_the_status(
    run, registry, middleware, method, status, fails
):
    broker = run.broker(middleware, ack_policy=AckPolicy.MANUAL, logger=None)

    @broker.subscriber(TOPIC)
    async def handle(body: str, message: TimerMessage) -> None:
        await getattr(message, method)()
        if fails:
            raise SkipMessage

    async with run(broker):
        await broker.publish("x", TOPIC)
        assert await handled(registry) == {status: 1}
        await cancel_rest(broker)


async def cancel_rest(broker):
    """Leave no timer that waits for another try."""
    await broker.cancel_all(TOPIC)


async def test_a_handler_that_is_stopped_did_not_ack(registry, middleware, make_broker, inbox):
    broker = make_broker(middlewares=[middleware], graceful_timeout=0.01)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        inbox.put(body)
        await asyncio.Event().wait()

    await broker.start()
    await broker.publish("x", TOPIC)
    await inbox.get()
    in_process = "faststream_received_messages_in_process"
    assert samples(registry, in_process) == {("redis_timers", TOPIC): 1}
    await broker.stop()

    assert await handled(registry) == {"error": 1}
    assert samples(registry, in_process) == {}
    assert samples(registry, "faststream_received_processed_messages_exceptions_total") == {}
    await broker.connect()
    assert await broker.count_pending(TOPIC) == 1
    await cancel_rest(broker)


async def test_sys_exit_of_a_handler_comes_out_as_ever(registry, middleware):
    broker = TimersBroker(middlewares=[middleware])

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        sys.exit("enough")

    async with TestTimersBroker(broker):
        with pytest.raises(SystemExit, match="enough"):
            await broker.publish("x", TOPIC)

    assert await handled(registry) == {"error": 1}


async def test_what_is_no_exception_did_not_ack(registry, middleware, make_broker):
    broker = make_broker(middlewares=[middleware], ack_policy=AckPolicy.REJECT_ON_ERROR)

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        raise PanicException

    await broker.start()
    await broker.publish("x", TOPIC)

    assert await handled(registry) == {"error": 1}
    kinds = registry.collect()
    (exceptions,) = (
        metric.samples
        for metric in kinds
        if metric.name == "faststream_received_processed_messages_exceptions"
    )
    assert {sample.labels["exception_type"] for sample in exceptions} == {"PanicException"}


# --- lateness ----------------------------------------------------------------------------


async def test_lateness_is_that_of_the_servers_clock(
    registry, middleware, make_broker, redis_client, key_names, inbox
):
    broker = make_broker(middlewares=[middleware])

    @broker.subscriber(TOPIC)
    async def handle(body: str, message: TimerMessage) -> None:
        inbox.put(message.lateness)

    await broker.connect()
    timer_id = await broker.publish("x", TOPIC, activate_in=HOUR)
    seconds, _ = redis_client.time()
    redis_client.zadd(f"{key_names['timeline_key']}:{TOPIC}", {timer_id: seconds - 7})
    await broker.start()
    lateness = await inbox.get()
    await handled(registry)

    name = "faststream_timers_lateness_seconds"
    assert 7 <= lateness < 60
    assert samples(registry, f"{name}_sum") == {("redis_timers", TOPIC): lateness}
    buckets = samples(registry, f"{name}_bucket")
    assert ("redis_timers", TOPIC, "5.0") not in buckets
    assert buckets["redis_timers", TOPIC, "60.0"] == 1


async def test_lateness_of_a_recurring_timer_counts_from_its_occurrence(
    registry, middleware, make_broker, redis_client, key_names, inbox
):
    broker = make_broker(middlewares=[middleware])

    @broker.subscriber(TOPIC)
    async def handle(body: str, message: TimerMessage) -> None:
        inbox.put((message.lateness, message.due_at, message.occurrence))

    await broker.connect()
    hourly = Every(hours=1, start=datetime.now(UTC) - HOUR / 2)
    await broker.publish("x", TOPIC, timer_id="hourly", repeat=hourly)
    seconds, _ = redis_client.time()
    days_ago = seconds - 3 * 86_400
    redis_client.zadd(f"{key_names['timeline_key']}:{TOPIC}", {"hourly": days_ago})
    await broker.start()
    lateness, due_at, occurrence = await inbox.get()
    await handled(registry)

    assert 1800 <= lateness < 1860
    assert due_at == occurrence == hourly.start
    name = "faststream_timers_lateness_seconds"
    assert samples(registry, f"{name}_sum") == {("redis_timers", TOPIC): lateness}
    redis_client.delete(*(f"{key_names[key]}:{TOPIC}" for key in ("timeline_key", "payloads_key")))


async def test_lateness_of_a_batch_is_that_of_each_of_its_timers(
    registry, middleware, make_broker, inbox
):
    broker = make_broker(middlewares=(middleware,))

    @broker.subscriber(TOPIC, batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage) -> None:
        inbox.put([timer.lateness for timer in message.timers])

    await broker.connect()
    await broker.publish_batch(*range(3), topic=TOPIC)
    await broker.start()
    lateness = await inbox.get()

    name = "faststream_timers_lateness_seconds"
    assert samples(registry, f"{name}_count") == {("redis_timers", TOPIC): 3}
    total = samples(registry, f"{name}_sum")["redis_timers", TOPIC]
    assert total == pytest.approx(sum(lateness))


async def test_the_pauses_of_a_retry_policy_are_not_in_it(
    registry, middleware, make_broker, redis_client, key_names, inbox
):
    broker = make_broker(middlewares=[middleware])

    @broker.subscriber(
        TOPIC, retry_policy=lambda attempt, _: timedelta(0) if attempt == 1 else None
    )
    async def handle(body: str, message: TimerMessage) -> None:
        inbox.put(message.lateness)
        if message.attempt == 1:
            raise ValueError

    await broker.connect()
    timer_id = await broker.publish("x", TOPIC, activate_in=HOUR)
    seconds, _ = redis_client.time()
    redis_client.zadd(f"{key_names['timeline_key']}:{TOPIC}", {timer_id: seconds - 7})
    await broker.start()
    first, second = await inbox.get(), await inbox.get()
    await handled(registry, 2)

    name = "faststream_timers_lateness_seconds"
    assert second > first >= 7
    # The second try was claimed as soon as it was due.
    total = samples(registry, f"{name}_sum")["redis_timers", TOPIC]
    assert first <= total < first + second


async def test_lateness_is_never_below_0(registry, middleware):
    broker = TimersBroker(middlewares=[middleware])

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        """Do nothing."""

    async with TestTimersBroker(broker):
        # The test broker delivers at once what is due in an hour.
        await broker.publish("x", TOPIC, activate_in=HOUR)

    name = "faststream_timers_lateness_seconds"
    assert samples(registry, f"{name}_count") == {("redis_timers", TOPIC): 1}
    assert sum(samples(registry, f"{name}_sum").values()) < 1


async def test_a_topic_is_named_in_full(registry, middleware):
    broker = TimersBroker(middlewares=[middleware], prefix="app:")
    router = TimersRouter("billing:")

    @router.subscriber(TOPIC)
    async def handle(body: str) -> None:
        """Do nothing."""

    broker.include_router(router)
    async with TestTimersBroker(broker):
        await broker.publish("x", "billing:invoices")

    for name in (
        "faststream_received_messages_total",
        "faststream_published_messages_total",
        "faststream_timers_lateness_seconds_count",
    ):
        (labels,) = samples(registry, name)
        assert "app:billing:invoices" in labels


# --- published ---------------------------------------------------------------------------


async def test_published_timers_are_counted_one_by_one(run, registry, middleware):
    broker = run.broker(middleware)

    async with run(broker):
        await broker.publish("x", TOPIC, activate_in=HOUR)
        await broker.publish_batch("a", "b", None, topic="others", activate_in=HOUR)
        await broker.cancel_all(TOPIC)
        await broker.cancel_all("others")

    assert samples(registry, "faststream_published_messages_total") == {
        ("redis_timers", TOPIC, "success"): 1,
        ("redis_timers", "others", "success"): 3,
    }
    assert samples(registry, "faststream_published_messages_duration_seconds_count") == {
        ("redis_timers", TOPIC): 1,
        ("redis_timers", "others"): 1,
    }
    assert samples(registry, "faststream_published_messages_exceptions_total") == {}


async def test_what_handlers_return_is_counted_as_published(run, registry, middleware):
    broker = run.broker(middleware)

    @broker.publisher("receipts")
    @broker.subscriber(TOPIC)
    async def handle(body: str) -> str:
        return body

    async with run(broker):
        await broker.publish("x", TOPIC)
        await wait_until_async(
            lambda: (
                samples(registry, "faststream_published_messages_total")
                == {
                    ("redis_timers", TOPIC, "success"): 1,
                    ("redis_timers", "receipts", "success"): 1,
                }
            )
        )
        await broker.cancel_all("receipts")


async def test_publishing_that_fails_is_counted_as_such(run, registry, middleware):
    broker = run.broker(middleware)

    async with run(broker):
        with pytest.raises(ValueError, match="timer_id"):
            await broker.publish("x", TOPIC, timer_id="")

    assert samples(registry, "faststream_published_messages_total") == {
        ("redis_timers", TOPIC, "error"): 1
    }
    assert samples(registry, "faststream_published_messages_exceptions_total") == {
        ("redis_timers", TOPIC, "ValueError"): 1
    }


# --- settings ----------------------------------------------------------------------------


async def test_names_labels_and_buckets_can_be_chosen(registry):
    middleware = TimersPrometheusMiddleware(
        registry=registry,
        app_name="billing",
        metrics_prefix="acme",
        received_messages_size_buckets=[10, 100],
        lateness_buckets=[1, 60],
        custom_labels={
            "region": "eu",
            "kind": lambda delivery: "outgoing" if delivery is None else delivery.topic,
        },
    )
    broker = TimersBroker(middlewares=[middleware])

    @broker.subscriber(TOPIC)
    async def handle(body: str) -> None:
        """Do nothing."""

    async with TestTimersBroker(broker):
        await broker.publish("x", TOPIC)

    metrics = {metric.name: metric for metric in registry.collect()}
    assert set(metrics) == {
        name.replace("faststream", "acme")
        for name in STANDARD | {"faststream_timers_lateness_seconds"}
    }
    used = [sample for metric in metrics.values() for sample in metric.samples]
    assert {s.labels["app_name"] for s in used} == {"billing"}
    assert {s.labels["region"] for s in used} == {"eu"}
    assert {s.labels["kind"] for s in used if "published" in s.name} == {"outgoing"}
    assert {s.labels["kind"] for s in used if "published" not in s.name} == {TOPIC}
    for name, bounds in (
        ("acme_received_messages_size_bytes", {"10.0", "100.0", "+Inf"}),
        ("acme_timers_lateness_seconds", {"1.0", "60.0", "+Inf"}),
    ):
        assert {s.labels.get("le") for s in metrics[name].samples} - {None} == bounds


async def test_brokers_may_share_a_registry(registry):
    brokers = [
        TimersBroker(middlewares=[TimersPrometheusMiddleware(registry=registry)]) for _ in range(2)
    ]
    for number, broker in enumerate(brokers):

        @broker.subscriber(f"topic-{number}")
        async def handle(body: str) -> None:
            """Do nothing."""

    async with TestTimersBroker(*brokers):
        for number, broker in enumerate(brokers):
            await broker.publish("x", f"topic-{number}")

    assert samples(registry, "faststream_timers_lateness_seconds_count") == {
        ("redis_timers", "topic-0"): 1,
        ("redis_timers", "topic-1"): 1,
    }


async def test_brokers_of_a_registry_may_have_different_texts_in_their_labels(registry):
    brokers = [
        TimersBroker(
            middlewares=[TimersPrometheusMiddleware(registry=registry, custom_labels=labels)]
        )
        for labels in ({"team": "a", "zone": "b"}, {"zone": "c", "team": "d"})
    ]

    async with TestTimersBroker(*brokers):
        for broker in brokers:
            await broker.publish("x", TOPIC)

    assert samples(registry, "faststream_published_messages_total") == {
        ("redis_timers", TOPIC, "success", "a", "b"): 1,
        ("redis_timers", TOPIC, "success", "d", "c"): 1,
    }


@pytest.mark.parametrize("labels", [None, {"zone": "b"}, {"team": "a", "zone": "b"}])
def test_brokers_of_a_registry_have_the_same_labels(registry, labels):
    TimersPrometheusMiddleware(registry=registry, custom_labels={"team": "a"})

    with pytest.raises(
        ValueError, match=r"custom_labels must have the same names.*beside \['team'\]"
    ):
        TimersPrometheusMiddleware(registry=registry, custom_labels=labels)
    TimersPrometheusMiddleware(registry=registry, custom_labels=labels, metrics_prefix="other")


def test_a_label_that_is_there_already_is_refused(registry):
    with pytest.raises(ValueError, match="custom_labels must not use the names status, topic"):
        TimersPrometheusMiddleware(
            registry=registry, custom_labels={"topic": "a", "status": "b", "own": "c"}
        )

    assert list(registry.collect()) == []


def test_the_provider_names_the_system():
    assert TimersMetricsSettingsProvider().messaging_system == "redis_timers"


@pytest.mark.parametrize(
    "module", ["faststream_redis_timers.prometheus", "faststream_redis_timers_sync.prometheus"]
)
def test_without_prometheus_client_the_remedy_is_named(module):
    # As where it is not installed.
    code = f"""
import sys
class Nowhere:
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "prometheus_client":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Nowhere())
import {module}
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )

    assert "needs prometheus_client, which is not installed" in done.stderr
    assert "pip install 'faststream-redis-timers[prometheus]'" in done.stderr
