"""Metrics of a worker for Prometheus: FastStream's own, and how late timers were.

What topics hold is counted from outside: `faststream_redis_timers_sync.prometheus`.
"""

try:
    import prometheus_client  # noqa: F401  only whether it is there
except ModuleNotFoundError as error:
    if error.name != "prometheus_client":
        raise
    _msg = (
        f"{__name__} needs prometheus_client, which is not installed: "
        "pip install 'faststream-redis-timers[prometheus]'"
    )
    raise ModuleNotFoundError(_msg, name=error.name) from None

from faststream_redis_timers.prometheus.middleware import TimersPrometheusMiddleware

__all__ = ("TimersPrometheusMiddleware",)
