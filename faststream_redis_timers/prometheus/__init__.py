"""Metrics of a worker for Prometheus: FastStream's own, and how late timers were.

What topics hold is counted from outside: `faststream_redis_timers_sync.prometheus`.
"""

from faststream_redis_timers_sync.protocol.extras import missing_extra

try:
    import prometheus_client  # noqa: F401  only whether it is there
except ModuleNotFoundError as error:
    if error.name != "prometheus_client":
        raise
    raise missing_extra(__name__, error, "prometheus") from None

from faststream_redis_timers.prometheus.middleware import TimersPrometheusMiddleware

__all__ = ("TimersPrometheusMiddleware",)
