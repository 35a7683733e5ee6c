"""Handlers that use Django's ORM, and Django's tasks."""

from typing import TYPE_CHECKING, Any

from faststream_redis_timers.django.handlers import django_handler

if TYPE_CHECKING:
    from faststream_redis_timers.django.tasks import serve_tasks

__all__ = ("django_handler", "serve_tasks")


def __getattr__(name: str) -> Any:
    # Only Django 6 and newer have tasks.
    if name == "serve_tasks":
        from faststream_redis_timers.django import tasks  # noqa: PLC0415

        return tasks.serve_tasks
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return list(__all__)
