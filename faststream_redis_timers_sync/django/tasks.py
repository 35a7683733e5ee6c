"""A backend for `django.tasks` (Django 6 or newer): enqueued tasks become timers.

    TASKS = {"default": {"BACKEND": "faststream_redis_timers_sync.django.tasks.TimersBackend"}}

This module encodes tasks as timers and decodes them; a FastStream worker runs them, with
`faststream_redis_timers.django.serve_tasks`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django import VERSION
from django.conf import settings
from django.core.checks import Error
from django.core.exceptions import ImproperlyConfigured

if VERSION < (6, 0):
    _msg = f"{__name__} needs Django 6 or newer, this is {VERSION[0]}.{VERSION[1]}"
    raise ImportError(_msg)

from django.tasks import Task, TaskResult, TaskResultStatus
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.exceptions import InvalidTask
from django.tasks.signals import task_enqueued
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.module_loading import import_string

from faststream_redis_timers_sync._settings import listed, nearest
from faststream_redis_timers_sync.django.clients import as_aware, get_client
from faststream_redis_timers_sync.django.conf import DEFAULT_ALIAS, read_alias
from faststream_redis_timers_sync.protocol.keys import plain_prefix, prefixed

_OPTIONS = {"ALIAS": DEFAULT_ALIAS, "TOPIC_PREFIX": "tasks:", "RETRY": False}
"""The known options and their defaults."""


class TimersBackend(BaseTaskBackend):  # type: ignore[misc]  # Django has no types
    """Enqueues tasks as timers: at once, or for the time of ``run_after``.

    Delivery is at least once: a task whose worker dies, or that outlives its lease, is redelivered,
    so tasks must be idempotent. A task is scheduled when it is enqueued, even if the database
    transaction around it rolls back; ``transaction.on_commit(partial(task.enqueue, ...))`` waits
    for the commit. Results are not kept.

    ``OPTIONS`` may have: ``ALIAS``, the alias of `TIMERS` (``"default"``); ``TOPIC_PREFIX``, which
    goes before the queue's name to make its topic (``"tasks:"``); ``RETRY``: whether a task that
    raises is retried when its lease expires, until it returns. By default it is FAILED, and
    removed.

    Args:
        alias: Its alias in `TASKS`.
        params: Its parameters there.

    Raises:
        ImproperlyConfigured: ``OPTIONS`` has an unknown key, or a prefix that is not a str.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = False
    supports_priority = False

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        """Read the options; nothing is sent."""
        super().__init__(alias, params)
        for name in self.options:
            if name not in _OPTIONS:
                msg = (
                    f"TASKS[{alias!r}]['OPTIONS'] has the unknown key {name!r}"
                    f"{nearest(str(name), _OPTIONS)}; it may have {listed(_OPTIONS)}"
                )
                raise ImproperlyConfigured(msg)
        options = {**_OPTIONS, **self.options}
        self.timers_alias = options["ALIAS"]
        try:
            self.topic_prefix = plain_prefix(options["TOPIC_PREFIX"], "TOPIC_PREFIX")
        except (TypeError, ValueError) as error:
            msg = f"TASKS[{alias!r}]['OPTIONS']: {error}"
            raise ImproperlyConfigured(msg) from None
        self.retries = options["RETRY"]

    def validate_task(self, task: Any) -> None:
        """Check that a task can be enqueued.

        Args:
            task: The task.

        Raises:
            InvalidTask: It can't: for Django's reasons, or ``run_after`` is not a datetime.
        """
        if not isinstance(task.run_after, datetime | None):
            msg = (
                f"run_after must be a datetime, got {task.run_after!r}; for a delay write "
                "timezone.now() + timedelta(...)"
            )
            raise InvalidTask(msg)
        super().validate_task(task)

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Schedule a timer for a task.

        Args:
            task: The task. A naive ``run_after`` is read in `TIME_ZONE` with ``USE_TZ = False``;
                otherwise it is refused.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            A `TaskResult` with the timer's id.

        Raises:
            InvalidTask: The task can't be enqueued.
            TypeError: An argument can't be encoded as JSON.
            ImproperlyConfigured: `TIMERS` is invalid, or has no such alias.
            redis.RedisError: The server or the connection failed.
        """
        self.validate_task(task)
        now = datetime.now(UTC)
        result = self._result(task, get_random_string(32), args, kwargs, enqueued_at=now)
        message = {
            "task": task.module_path,
            "queue": task.queue_name,
            "args": result.args,
            "kwargs": result.kwargs,
            "enqueued_at": now.isoformat(),
        }
        get_client(self.timers_alias).schedule(
            message,
            self.topic_of(task.queue_name),
            timer_id=result.id,
            activate_at=as_aware(task.run_after),
        )
        task_enqueued.send(type(self), task_result=result)
        return result

    def topic_of(self, queue_name: str) -> str:
        """Return the topic of a queue.

        Args:
            queue_name: The queue.
        """
        return prefixed(self.topic_prefix, queue_name, "queue_name")

    def read(self, timer_id: str, message: Any) -> Any:
        """Decode a message of `enqueue`.

        Args:
            timer_id: The timer's id.
            message: Its message.

        Returns:
            A `TaskResult` that is ready to run.

        Raises:
            ImportError: There is no such task here.
            ValueError: It is not a task.
        """
        match message:
            case {
                "task": str(path),
                "queue": str(queue),
                "args": list(args),
                "kwargs": dict(kwargs),
                "enqueued_at": str(enqueued_at),
            }:
                at = datetime.fromisoformat(enqueued_at)
            case _:
                msg = f"timer {timer_id!r} holds no task"
                raise ValueError(msg)
        task = import_string(path)
        if not isinstance(task, Task):
            msg = f"{path!r}, which timer {timer_id!r} names, is not a task: decorate it with @task"
            raise ValueError(msg)  # noqa: TRY004  the message is wrong, not an argument's type
        task = task.using(queue_name=queue, backend=self.alias)
        return self._result(task, timer_id, args, kwargs, enqueued_at=at)

    def check(self, **_: Any) -> list[Any]:
        """Check the settings, without network access.

        Returns:
            The errors.
        """
        try:
            read_alias(self.timers_alias)
        except ImproperlyConfigured as error:
            return [Error(f"TASKS[{self.alias!r}]: {error}", id="timers.E002")]
        return []

    def _result(
        self,
        task: Any,
        result_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        enqueued_at: datetime,
    ) -> Any:
        return TaskResult(
            task=task,
            id=result_id,
            status=TaskResultStatus.READY,
            enqueued_at=enqueued_at if settings.USE_TZ else timezone.make_naive(enqueued_at),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
