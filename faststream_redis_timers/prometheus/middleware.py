"""FastStream's metrics for a broker of timers, and a histogram of how late they were."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from faststream.exceptions import IgnoredException
from faststream.message import StreamMessage
from faststream.prometheus import PrometheusMiddleware
from faststream.prometheus.middleware import BasePrometheusMiddleware
from prometheus_client import CollectorRegistry, Histogram

from faststream_redis_timers._faststream import EMPTY, ContextRepo
from faststream_redis_timers.delivered import TimerBatchDelivery, TimerDelivery
from faststream_redis_timers.prometheus.provider import TimersMetricsSettingsProvider
from faststream_redis_timers.response import TimerPublishCommand
from faststream_redis_timers.tasks import INTERRUPTIONS

LATENESS_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21_600.0, 86_400.0),
    math.inf,
)
"""Seconds: from an idle worker's delay, over the longest poll, to a day without workers."""


_LABELS = {"app_name", "broker", "destination", "exception_type", "handler", "status", "topic"}


_Raw = TimerDelivery | TimerBatchDelivery


class TimersPrometheusMiddleware(PrometheusMiddleware[_Raw, TimerPublishCommand]):
    """Counts and times what a broker handles and schedules.

    In addition to FastStream's metrics (``faststream_received_messages_total`` and so on, see
    FastStream's documentation) it has ``faststream_timers_lateness_seconds``: how long after
    its due time a timer was claimed, by the server's clock. For a retry it counts from when that
    was due, and for a redelivery from the end of the last lease: it excludes the delays of a retry
    policy, which a message's `lateness` includes. For a recurring timer that missed occurrences
    while no worker ran, it counts from the last one, its `occurrence`.

    A batch counts as its number of messages, but has one duration and size. If it is split after
    an error, each further call counts again, except for the lateness.

    Several brokers may share a registry, if their `custom_labels` have the same names.

    Args:
        registry: The registry for the metrics.
        app_name: The label `app_name`; by default `metrics_prefix`.
        metrics_prefix: Prefix of all names.
        received_messages_size_buckets: Upper bounds of the buckets of sizes, in bytes.
        lateness_buckets: Upper bounds of the buckets of lateness, in seconds.
        custom_labels: Further labels of all metrics: a text, or a function that returns one for
            a `TimerDelivery`, a `TimerBatchDelivery`, or None when a timer is scheduled.

    Raises:
        ValueError: A custom label has the name of a built-in one, another broker of the registry
            has other custom labels, or a bucket or a name is invalid.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        app_name: str = EMPTY,
        metrics_prefix: str = "faststream",
        received_messages_size_buckets: Sequence[float] | None = None,
        lateness_buckets: Sequence[float] = LATENESS_BUCKETS,
        custom_labels: dict[str, str | Callable[[Any], str]] | None = None,
    ) -> None:
        """Register the metrics, unless another broker did."""
        if taken := _LABELS.intersection(custom_labels or {}):
            msg = f"custom_labels must not use the names {', '.join(sorted(taken))}"
            raise ValueError(msg)
        provider = TimersMetricsSettingsProvider()
        super().__init__(
            settings_provider_factory=lambda _: provider,
            registry=registry,
            app_name=app_name,
            metrics_prefix=metrics_prefix,
            received_messages_size_buckets=received_messages_size_buckets,
            custom_labels=custom_labels,
        )
        self._check_shared(custom_labels or {})
        self._system = provider.messaging_system
        self._app_name = metrics_prefix if app_name is EMPTY else app_name
        name = f"{metrics_prefix}_timers_lateness_seconds"
        # FastStream finds the metrics of another middleware in the same way.
        known = self._metrics_container._get_registered_metric(name)  # noqa: SLF001
        self._lateness = cast("Histogram | None", known) or Histogram(
            name=name,
            documentation="Histogram of seconds from due time to claim by broker and topic",
            labelnames=["app_name", "broker", "topic", *(custom_labels or {})],
            registry=registry,
            buckets=lateness_buckets,
        )

    def _check_shared(self, custom_labels: Mapping[str, object]) -> None:
        # prometheus_client has no other way to ask for the names of a metric's labels.
        names = self._metrics_container.received_messages_total._labelnames  # noqa: SLF001
        if (known := {*names} - {"app_name", "broker", "handler"}) != custom_labels.keys():
            msg = (
                "custom_labels must have the same names for all brokers of a registry, "
                f"got {sorted(custom_labels)} beside {sorted(known)}"
            )
            raise ValueError(msg)

    def __call__(self, msg: _Raw | None, /, *, context: ContextRepo) -> "_TimersPrometheus":
        """Return the middleware of one message.

        Args:
            msg: The delivery or batch; None when a timer is scheduled.
            context: FastStream's context.
        """
        labels = self._static_labels | {
            name: label(msg) for name, label in self._dynamic_labels.items()
        }
        return _TimersPrometheus(
            msg,
            metrics_manager=self._metrics_manager,
            settings_provider_factory=self._settings_provider_factory,
            context=context,
            custom_labels=labels,
            observe_lateness=self._observe_lateness,
        )

    def _observe_lateness(self, raw: _Raw, labels: Mapping[str, str]) -> None:
        observe = self._lateness.labels(
            app_name=self._app_name, broker=self._system, topic=raw.topic, **labels
        ).observe
        if not isinstance(raw, TimerBatchDelivery):
            observe(_lateness_of(raw))
        elif not raw.is_split:
            for delivery in raw.deliveries:
                observe(_lateness_of(delivery))


def _lateness_of(delivery: TimerDelivery) -> float:
    due = float(delivery.claimed.previous_score)
    if delivery.repeat is not None and delivery.occurrence is not None:
        due = max(due, delivery.occurrence.timestamp())
    return max(delivery.claimed_at - due, 0.0)


class _TimersPrometheus(BasePrometheusMiddleware[TimerPublishCommand, _Raw]):
    def __init__(
        self,
        msg: _Raw | None,
        /,
        *,
        observe_lateness: Callable[[_Raw, Mapping[str, str]], None],
        **settings: Any,
    ) -> None:
        super().__init__(msg, **settings)
        self._observe_lateness = observe_lateness

    async def consume_scope(
        self,
        call_next: Callable[[StreamMessage[_Raw]], Awaitable[Any]],
        msg: StreamMessage[_Raw],
    ) -> Any:
        self._observe_lateness(msg.raw_message, self._custom_labels)

        async def call(message: StreamMessage[_Raw]) -> Any:
            try:
                return await call_next(message)
            except INTERRUPTIONS as error:
                raise _InterruptedError from error
            except Exception:
                raise
            except BaseException as error:
                raise _failed(error) from error

        try:
            return await super().consume_scope(call, msg)
        except (_InterruptedError, _FailedError) as error:
            raise cast("BaseException", error.__cause__) from None


class _InterruptedError(IgnoredException):
    """The handler was stopped: its timer is released, but FastStream would count it as acked."""


class _FailedError(Exception):
    """The handler raised what is no Exception, which FastStream would count as acked."""


def _failed(error: BaseException) -> _FailedError:
    # FastStream counts exceptions by the names of their classes.
    kind: type[_FailedError] = type(type(error).__name__, (_FailedError,), {})
    return kind()
