"""The clients of the setting `TIMERS`: one per alias and process, made on first use."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils import timezone

from faststream_redis_timers_sync import _settings
from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.django.conf import DEFAULT_ALIAS, read_alias
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.protocol.model import Timer, TimerPublishMessage


class _Clients:
    """The clients that were made, by alias."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start over, after a fork while another thread held the lock."""
        self._made: dict[str, TimersClient] = {}
        # Reentrant: what makes the client of one alias may ask for that of another.
        self._lock = threading.RLock()

    def get(self, alias: str) -> TimersClient:
        client = self._made.get(alias)
        if client is None:
            with self._lock:
                client = self._made.get(alias)
                if client is None:
                    client = self._made[alias] = make_client(read_alias(alias))
        return client

    def drop(self) -> None:
        with self._lock:
            made, self._made = self._made, {}
        for client in made.values():
            # A client that CLIENT made belongs to the project.
            if isinstance(client, DjangoTimersClient):
                client.close()


_clients = _Clients()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_clients.forget)


def _drop_clients(*, setting: str, **_: Any) -> None:
    if setting == "TIMERS":
        _clients.drop()


setting_changed.connect(_drop_clients, dispatch_uid="faststream_redis_timers")


def get_client(alias: str = DEFAULT_ALIAS) -> TimersClient:
    """Return the client of an alias of `TIMERS`.

    All threads of a process share one client, which you may keep. With ``USE_TZ = False`` it
    reads naive datetimes in `TIME_ZONE`; otherwise it refuses them.

    It blocks. In an asynchronous view::

        schedule = sync_to_async(get_client().schedule, thread_sensitive=False)
        await schedule("INV-001", "invoices", activate_in=timedelta(days=3))

    It calls Redis at once, even if the database transaction around it rolls back;
    `schedule_on_commit` and `cancel_on_commit` wait for the commit.

    Args:
        alias: The alias.

    Returns:
        The client. If `CLIENT` returns a `TimersClient`, for example a `FakeTimersClient`, it is
        that object, which refuses naive datetimes.

    Raises:
        ImproperlyConfigured: `TIMERS` is invalid, or has no such alias.
    """
    return _clients.get(alias)


def make_client(config: _settings.ClientSettings) -> TimersClient:
    """Make the client of an alias; nothing is sent.

    Args:
        config: The alias.

    Raises:
        ImproperlyConfigured: No client can be made from it.
    """
    return _settings.make_client(config, DjangoTimersClient)


def new_pipeline(client: TimersClient) -> Any:
    """Return a pipeline for a client's ``pipeline=``.

    Args:
        client: The client.

    Returns:
        A redis-py pipeline, or that of a `FakeTimersClient`, which only that client accepts; with
        `confirm_replicas`, on a cluster, or with a client that repeats pipelines, an object that
        runs one call after the other.
    """
    runner = internals_of(client).runner
    if runner.confirmation is None and (make := getattr(client, "pipeline", None)) is not None:
        return make()
    return runner.new_pipeline()


class DjangoTimersClient(TimersClient):
    """A `TimersClient` that reads naive datetimes by the project's settings."""

    def schedule(
        self, message: Any, topic: str, *, activate_at: datetime | None = None, **options: Any
    ) -> str:
        """Schedule a timer, as `TimersClient.schedule`."""
        return super().schedule(message, topic, activate_at=as_aware(activate_at), **options)

    def schedule_batch(
        self,
        messages: Iterable[Any],
        topic: str,
        *,
        activate_at: datetime | None = None,
        **options: Any,
    ) -> list[str]:
        """Schedule many timers, as `TimersClient.schedule_batch`."""
        is_several = isinstance(messages, Iterable)
        if is_several and not isinstance(messages, (str, bytes, Mapping)):
            messages = map(_with_aware_time, messages)
        return super().schedule_batch(messages, topic, activate_at=as_aware(activate_at), **options)

    def reschedule_timer(
        self, topic: str, timer_id: str, *, activate_at: datetime | None = None, **options: Any
    ) -> Any:
        """Reschedule a timer, as `TimersClient.reschedule_timer`."""
        return super().reschedule_timer(
            topic, timer_id, activate_at=as_aware(activate_at), **options
        )

    def iter_timers(
        self,
        topic: str,
        *,
        after: datetime | None = None,
        before: datetime | None = None,
        **options: Any,
    ) -> Iterator[Timer]:
        """Read pending timers, as `TimersClient.iter_timers`."""
        return super().iter_timers(topic, after=as_aware(after), before=as_aware(before), **options)


def as_aware(time: datetime | None) -> datetime | None:
    """Read a naive datetime in `TIME_ZONE`, if ``USE_TZ = False``.

    When the clocks are put back, an hour occurs twice: ``fold`` chooses one, by default the first.
    When they are put forward, an hour is missing: a time in it is moved forward by the change, so
    that 02:30 becomes 03:30. Python and Django's models do the same.

    Args:
        time: The time; anything but a naive datetime is returned unchanged, for the client to
            refuse.
    """
    if settings.USE_TZ or not isinstance(time, datetime) or timezone.is_aware(time):
        return time
    return timezone.make_aware(time, timezone.get_default_timezone())  # type: ignore[no-any-return]


def _with_aware_time(message: Any) -> Any:
    if isinstance(message, TimerPublishMessage):
        return replace(message, activate_at=as_aware(message.activate_at))
    return message
