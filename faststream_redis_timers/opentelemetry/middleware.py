"""Spans of scheduling and handling, linked by headers that may wait for weeks."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from faststream.exceptions import IgnoredException
from faststream.message import StreamMessage
from faststream.opentelemetry import Baggage, TelemetryMiddleware
from faststream.opentelemetry.consts import (
    ERROR_TYPE,
    MESSAGING_DESTINATION_PUBLISH_NAME,
    WITH_BATCH,
    MessageAction,
)
from faststream.opentelemetry.middleware import BaseTelemetryMiddleware
from opentelemetry import baggage, context as otel_context, trace
from opentelemetry.context import Context
from opentelemetry.metrics import Meter, MeterProvider
from opentelemetry.semconv.trace import SpanAttributes
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from faststream_redis_timers._faststream import ContextRepo
from faststream_redis_timers.delivered import TimerBatchDelivery, TimerDelivery
from faststream_redis_timers.opentelemetry.provider import TimersTelemetrySettingsProvider
from faststream_redis_timers.response import TimerPublishCommand
from faststream_redis_timers.tasks import INTERRUPTIONS

_PROPAGATOR = TraceContextTextMapPropagator()


class TimersTelemetryMiddleware(TelemetryMiddleware[TimerPublishCommand]):
    """Creates spans for what a broker schedules and handles, and FastStream's metrics for both.

    Scheduling is a span "create" that contains a span "publish", and the timer carries the W3C
    header ``traceparent`` of the former (a `TimersClient` uses that of the current span). When it
    is due, perhaps weeks later, its handler runs in a span "process" that starts a new trace and
    links to that span: most backends can't show a trace that lasts for weeks, and the sampler
    decides again. Timers that the handler schedules belong to its trace. A batch is one span
    "process" with a link for each of its timers.

    Baggage is passed on if it is named: in ``headers=Baggage(...).to_headers()``, and from a
    message to what its handler schedules, see FastStream's `CurrentBaggage`. Baggage that the
    process itself has set is not passed on.

    A handler's instruction (`AckMessage`, `RejectMessage` and so on) is not an error of its span; a
    handler that is stopped with its worker is one.

    Args:
        tracer_provider: Provides the tracer; by default the global one.
        meter_provider: Provides the meter; by default the global one.
        meter: The meter itself.
        include_messages_counters: Whether to count messages, in addition to timing them.
        continue_trace: Whether the span "process" is a child of the producer's span, in its
            trace, instead of linking to it: for timers that are due soon. A batch always links.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        meter: Meter | None = None,
        include_messages_counters: bool = True,
        continue_trace: bool = False,
    ) -> None:
        """Create tracer and meter."""
        self._provider = TimersTelemetrySettingsProvider()
        super().__init__(
            settings_provider_factory=lambda _: self._provider,
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            meter=meter,
            include_messages_counters=include_messages_counters,
        )
        self._continue_trace = continue_trace

    def __call__(
        self, msg: TimerDelivery | TimerBatchDelivery | None, /, *, context: ContextRepo
    ) -> "_TimersTelemetry":
        """Return the middleware of one message.

        Args:
            msg: The delivery or batch; None when a timer is scheduled.
            context: FastStream's context.
        """
        return _TimersTelemetry(
            msg,
            tracer=self._tracer,
            metrics_container=self._metrics,
            settings_provider_factory=self._settings_provider_factory,
            context=context,
            provider=self._provider,
            continue_trace=self._continue_trace,
        )


class _TimersTelemetry(BaseTelemetryMiddleware[TimerPublishCommand]):
    """Publishes as FastStream does, and consumes in its own way.

    FastStream's consuming side can link only for batches, and does not reset its contexts if
    the handler raises or schedules nothing.
    """

    def __init__(
        self,
        msg: TimerDelivery | TimerBatchDelivery | None,
        /,
        *,
        provider: TimersTelemetrySettingsProvider,
        continue_trace: bool,
        **settings: Any,
    ) -> None:
        super().__init__(msg, **settings)
        self._provider = provider
        self._continue_trace = continue_trace
        self._baggage: Baggage | None = None

    async def publish_scope(
        self,
        call_next: Callable[[TimerPublishCommand], Awaitable[Any]],
        msg: TimerPublishCommand,
    ) -> Any:
        async def call(command: TimerPublishCommand) -> Any:
            result = await call_next(command)
            if isinstance(result, str):
                _name_timer(result, command)
            return result

        # The process's own baggage would go into the headers of batches.
        surroundings = baggage.clear()
        with ExitStack() as scopes:
            if self._current_span is not None:
                # A handler's result is scheduled when the handler has returned.
                surroundings = trace.set_span_in_context(self._current_span, surroundings)
                scopes.enter_context(self.context.scope("baggage", self._baggage))
            scopes.enter_context(_attached(surroundings))
            return await super().publish_scope(call, msg)

    async def consume_scope(
        self,
        call_next: Callable[[StreamMessage[Any]], Awaitable[Any]],
        msg: StreamMessage[Any],
    ) -> Any:
        is_batch = isinstance(msg.raw_message, TimerBatchDelivery)
        headers = msg.batch_headers if is_batch else [msg.headers]
        producers = [_PROPAGATOR.extract(one, Context()) for one in headers]
        continues = self._continue_trace and not is_batch
        parent = producers[0] if continues else Context()
        attributes = self._provider.get_consume_attrs_from_message(msg)
        span = self._tracer.start_span(
            f"{msg.raw_message.topic} {MessageAction.PROCESS}",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes={
                **attributes,
                SpanAttributes.MESSAGING_OPERATION: MessageAction.PROCESS,
            },
            links=[] if continues else _links_to(producers),
        )
        within = trace.set_span_in_context(span, parent)
        self._current_span = span
        # FastStream passes this on with the handler's result.
        self._origin_context = parent or within
        count = attributes.get(SpanAttributes.MESSAGING_BATCH_MESSAGE_COUNT, 1)
        with self._measured(msg, count), _attached(within):
            # Read it here, where the process's own baggage is not set.
            self._baggage = Baggage.from_msg(msg)
            # FastStream's marker of messages from batches is not the sender's baggage.
            for payload in self._baggage.get_all_batch():
                payload.pop(WITH_BATCH, None)
            self._baggage.remove(WITH_BATCH)
            with self.context.scopes((("span", span), ("baggage", self._baggage))):
                return await call_next(msg)

    @contextmanager
    def _measured(self, msg: StreamMessage[Any], count: int) -> Iterator[None]:
        attributes = {
            SpanAttributes.MESSAGING_SYSTEM: self._provider.messaging_system,
            MESSAGING_DESTINATION_PUBLISH_NAME: self._provider.get_consume_destination_name(msg),
        }
        started = time.perf_counter()
        try:
            yield
        except (IgnoredException, GeneratorExit):
            raise
        except BaseException as error:
            name = type(error).__name__
            text = "the handler was stopped" if isinstance(error, INTERRUPTIONS) else str(error)
            attributes[ERROR_TYPE] = name
            if self._current_span is not None:
                self._current_span.record_exception(error)
                self._current_span.set_status(Status(StatusCode.ERROR, f"{name}: {text}"))
            raise
        finally:
            self._metrics.observe_consume(attributes, time.perf_counter() - started, count)


@contextmanager
def _attached(context: Context) -> Iterator[None]:
    token = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(token)


def _links_to(producers: list[Context]) -> list[Link]:
    spans = (trace.get_current_span(producer).get_span_context() for producer in producers)
    # Timers of one call of `publish_batch` share a span.
    return [
        Link(one)
        for one in {(one.trace_id, one.span_id): one for one in spans if one.is_valid}.values()
    ]


def _name_timer(timer_id: str, command: TimerPublishCommand) -> None:
    # On the span "publish": the id is known only now.
    span = trace.get_current_span()
    span.set_attribute(SpanAttributes.MESSAGING_MESSAGE_ID, timer_id)
    span.set_attribute(
        SpanAttributes.MESSAGING_MESSAGE_CONVERSATION_ID, command.correlation_id or timer_id
    )
