"""Traces and metrics of a worker for OpenTelemetry.

A blocking client needs nothing from here: it names its span by itself, see the `tracing` module
of `faststream_redis_timers_sync.protocol`.
"""

try:
    import opentelemetry.semconv.trace  # noqa: F401  only whether it is there
except ModuleNotFoundError as error:
    if error.name is None or not error.name.startswith("opentelemetry"):
        raise
    _msg = (
        f"{__name__} needs {error.name}, which is not installed: "
        "pip install 'faststream-redis-timers[otel]'"
    )
    raise ModuleNotFoundError(_msg, name=error.name) from None

from faststream_redis_timers.opentelemetry.middleware import TimersTelemetryMiddleware

__all__ = ("TimersTelemetryMiddleware",)
