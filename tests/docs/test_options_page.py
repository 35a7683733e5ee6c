"""The table of options has them all, with the defaults that the code has."""

import inspect
import logging
from datetime import timedelta

import pytest
from django import VERSION
from faststream import AckPolicy
from pages import DOCS, rows_of
from prometheus_client import CollectorRegistry

from faststream_redis_timers import RetryPolicy, TimersBroker, TimersRouter, TimerSub
from faststream_redis_timers._faststream import EMPTY
from faststream_redis_timers.calls import listener
from faststream_redis_timers.opentelemetry import TimersTelemetryMiddleware
from faststream_redis_timers.prometheus import TimersPrometheusMiddleware
from faststream_redis_timers.subscriber import handling, loop
from faststream_redis_timers_sync import TimersClient, _settings
from faststream_redis_timers_sync.cli.group import group
from faststream_redis_timers_sync.prometheus import TimersCollector
from faststream_redis_timers_sync.protocol import envelope, operation, steps, timers

PAGE = (DOCS / "reference" / "options.md").read_text()
ROWS = rows_of(PAGE, "All options")

# What FastStream's brokers have in common, and what names a thing.
COMMON = {
    *("self", "client", "topic", "brokers", "broker", "alias", "topics", "registry", "handlers"),
    *("dependencies", "parser", "decoder", "codec", "persistent", "middlewares", "routers"),
    *("title", "description", "schema", "include_in_schema", "logger", "apply_types"),
    *("serializer", "provider", "context", "underlying_driver_annotations", "security"),
    *("specification_url", "protocol", "protocol_version", "tags"),
}
CALLABLES = {
    "broker.subscriber": TimersBroker.subscriber,
    "broker.publisher": TimersBroker.publisher,
    "TimersBroker": TimersBroker.__init__,
    "TimersRouter": TimersRouter.__init__,
    "RetryPolicy": RetryPolicy.__init__,
    "TimersClient": TimersClient.__init__,
    "TimersCollector": TimersCollector.__init__,
    "TimersPrometheusMiddleware": TimersPrometheusMiddleware.__init__,
    "TimersTelemetryMiddleware": TimersTelemetryMiddleware.__init__,
}
if VERSION >= (6, 0):
    from faststream_redis_timers.django import serve_tasks

    CALLABLES["serve_tasks"] = serve_tasks

SPOKEN = {
    # What stands in the table where the default is not a literal.
    ("broker.subscriber", "max_concurrent"): "`5`; with `batch` `1`",
    ("broker.subscriber", "ack_policy"): "the broker's",
    ("broker.subscriber", "retry_policy"): "the broker's",
    ("broker.subscriber", "dead_letter_topic"): "the broker's",
    ("broker.subscriber", "duty"): "the broker's",
    ("TimersRouter", "ack_policy"): "the broker's",
    ("TimersRouter", "retry_policy"): "the broker's",
    ("TimersRouter", "dead_letter_topic"): "the broker's",
    ("TimersRouter", "duty"): "the broker's",
    ("TimersBroker", "retry_policy"): "none: retries without limit",
    ("TimersBroker", "dead_letter_topic"): "none: removes the timer",
    ("RetryPolicy", "delay"): "`10 s`",
    ("RetryPolicy", "max_delay"): "`1 h`",
    ("TimersBroker", "ack_policy"): "`NACK_ON_ERROR`",
    ("TimersBroker", "log_level"): "`INFO`",
    ("TimersBroker", "id_generator"): "`new_timer_id`",
    ("TimersPrometheusMiddleware", "app_name"): '`"faststream"`',
    ("TimersPrometheusMiddleware", "received_messages_size_buckets"): "16 B to 16 MiB",
    ("TimersPrometheusMiddleware", "lateness_buckets"): "1 ms to a day",
}


def options_of(owner):
    return {row[1].strip("`"): row[2] for row in ROWS if row[0].replace("`", "").startswith(owner)}


@pytest.mark.parametrize("owner", CALLABLES)
def test_a_callable_has_these_options_with_these_defaults(owner):
    parameters = inspect.signature(CALLABLES[owner]).parameters.values()
    wanted = {
        p.name: SPOKEN.get((owner, p.name)) or f"`{p.default!r}`".replace("'", '"')
        for p in parameters
        if p.name not in COMMON
    }
    found = {row[1].strip("`"): row[2] for row in ROWS if row[0] == f"`{owner}`"}
    assert found == wanted


def test_defaults_that_are_not_literals():
    subscriber = TimersBroker().subscriber("a")
    assert subscriber._config.ack_policy is AckPolicy.NACK_ON_ERROR
    assert (subscriber._config.retry_policy, subscriber._config.dead_topic) == (None, None)
    assert [TimerSub(topic="a", batch=batch).slots for batch in (False, True)] == [5, 1]
    policy = RetryPolicy()
    assert (policy.delay, policy.max_delay) == (timedelta(seconds=10), timedelta(hours=1))
    assert inspect.signature(TimersBroker).parameters["log_level"].default == logging.INFO
    generator = inspect.signature(TimersBroker).parameters["id_generator"].default
    assert generator is timers.new_timer_id
    assert inspect.signature(TimersBroker).parameters["ack_policy"].default is EMPTY

    registry = CollectorRegistry()
    middleware = TimersPrometheusMiddleware(registry=registry)
    bounds = {
        collector._name: collector._upper_bounds
        for collector in registry._collector_to_names
        if hasattr(collector, "_upper_bounds")
    }
    sizes = bounds["faststream_received_messages_size_bytes"]
    assert (sizes[0], sizes[-2]) == (16, 16 * 1024 * 1024)
    lateness = bounds["faststream_timers_lateness_seconds"]
    assert (lateness[0], lateness[-2]) == (0.001, 86_400)
    assert middleware is not None


def test_the_keys_of_settings():
    found = options_of("Django's TIMERS")
    assert set(found) == set(_settings._KEYS)
    parameters = inspect.signature(TimersClient).parameters
    wanted = {
        key: f"`{parameters[argument].default!r}`".replace("'", '"')
        for key, argument in _settings._ARGUMENTS.items()
    }
    assert {key: found[key] for key in wanted} == wanted


@pytest.mark.skipif(VERSION < (6, 0), reason="Django's tasks are in Django from 6 on")
def test_the_options_of_tasks():
    from faststream_redis_timers_sync.django import tasks  # noqa: PLC0415

    wanted = {key: f"`{value!r}`".replace("'", '"') for key, value in tasks._OPTIONS.items()}
    assert options_of("Django's TASKS") == wanted


def test_the_variables_of_the_command_line():
    wanted = {
        option.envvar: f"`{option.default}`" if option.default != "" else '`""`'
        for option in group.params
        if getattr(option, "envvar", None)
    }
    assert options_of("command line") == wanted


def test_what_is_fixed():
    values = [row[1] for row in rows_of(PAGE, "Fixed limits")]
    assert values == [
        str(operation.MOST_CHANGED),
        f"{operation.PAYLOAD_BUDGET:,}",
        str(steps.MOST_CLAIMED),
        f"{loop.CALL_TIMEOUT:g}",
        f"{listener.PING_INTERVAL:g}",
        f"{handling.CANCELLED_HANDLERS:g}",
        str(len(timers.new_timer_id())),
        f"{envelope._LONGEST_TEXT:,}",
    ]
