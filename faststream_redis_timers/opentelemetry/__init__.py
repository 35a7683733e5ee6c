"""Traces and metrics of a worker for OpenTelemetry.

A blocking client needs nothing from here: it adds the current span itself, see the `tracing`
module of `faststream_redis_timers_sync.protocol`.
"""

from faststream_redis_timers_sync.protocol.extras import missing_extra

try:
    import opentelemetry.semconv.trace  # noqa: F401  only whether it is there
except ModuleNotFoundError as error:
    if error.name is None or not error.name.startswith("opentelemetry"):
        raise
    raise missing_extra(__name__, error, "otel") from None

from faststream_redis_timers.opentelemetry.middleware import TimersTelemetryMiddleware

__all__ = ("TimersTelemetryMiddleware",)
