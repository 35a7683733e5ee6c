"""Timers in Django: an app for `INSTALLED_APPS`, with its clients in the setting `TIMERS`.

    INSTALLED_APPS = [..., "faststream_redis_timers_sync.django"]
    TIMERS = {"default": {"URL": "redis://localhost:6379/1"}}

Views, models and tasks schedule and cancel timers; FastStream workers of
`faststream_redis_timers` deliver them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faststream_redis_timers_sync.django.clients import get_client
    from faststream_redis_timers_sync.django.on_commit import cancel_on_commit, schedule_on_commit

__all__ = ("cancel_on_commit", "get_client", "schedule_on_commit")


def __getattr__(name: str) -> Any:
    # Django imports this package to find the app, long before anything is scheduled.
    if name == "get_client":
        from faststream_redis_timers_sync.django import clients  # noqa: PLC0415

        return clients.get_client
    if name in {"cancel_on_commit", "schedule_on_commit"}:
        from faststream_redis_timers_sync.django import on_commit  # noqa: PLC0415

        return getattr(on_commit, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return list(__all__)
