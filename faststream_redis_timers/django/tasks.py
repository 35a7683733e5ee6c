"""Runs tasks of `django.tasks` that `TimersBackend` scheduled (Django 6 or newer)."""

import os
import socket
from collections.abc import Callable, Iterable
from traceback import format_exception
from typing import Any

from django import VERSION

if VERSION < (6, 0):
    _msg = f"serve_tasks needs Django 6 or newer, this is {VERSION[0]}.{VERSION[1]}"
    raise ImportError(_msg)

from django.tasks import TaskContext, TaskResultStatus, task_backends
from django.tasks.base import TaskError
from django.tasks.signals import task_finished, task_started
from django.utils import timezone
from django.utils.json import normalize_json

from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.django.handlers import django_handler
from faststream_redis_timers.registrator import TimersRegistrator
from faststream_redis_timers.schemas import LEASE_TTL, MAX_CONCURRENT


def serve_tasks(
    broker: TimersRegistrator,
    alias: str = "default",
    *,
    queues: Iterable[str] | None = None,
    lease_ttl: float = LEASE_TTL,
    max_concurrent: int = MAX_CONCURRENT,
) -> None:
    """Let a worker run the tasks of a backend.

    In the worker's module::

        broker = TimersBroker(settings.TIMERS["default"]["URL"])
        app = FastStream(broker)
        serve_tasks(broker)

    Each queue is a topic with its own subscriber. Tasks run in threads, up to `max_concurrent`
    at once, and leave no database connection open; `Task.call` runs an asynchronous task in its
    own event loop there. Django's signals ``task_started`` and ``task_finished`` are sent, so
    Django logs failed tasks, and receivers that raise.

    Delivery is at least once: a task is redelivered if its worker dies, or if it takes longer
    than its lease. Its result must be JSON, but is not kept. A task that raises is FAILED and
    removed. With ``OPTIONS = {"RETRY": True}`` it is retried when its lease would have ended, and
    ``task_finished`` is not sent. Attempts are not counted: ``context.attempt`` is 1. A timer
    whose task this worker does not know is kept, since a newer worker may know it.

    Args:
        broker: A broker or router, with the same prefix and key names as the alias of `TIMERS`.
        alias: The backend's alias in `TASKS`.
        queues: The queues to serve; by default those of ``QUEUES``.
        lease_ttl: Seconds that a task may take.
        max_concurrent: How many tasks of a queue may run at once.

    Raises:
        InvalidTaskBackend: `TASKS` has no such alias.
        TypeError: The backend is not a `TimersBackend`.
        ValueError: No queue is given.
    """
    backend = task_backends[alias]
    if not hasattr(backend, "topic_of"):
        msg = (
            f"the backend of TASKS[{alias!r}] must be a TimersBackend, "
            f"got {type(backend).__qualname__}"
        )
        raise TypeError(msg)
    names = sorted(backend.queues if queues is None else queues)
    if not names:
        msg = f"TASKS[{alias!r}] allows any queue: name those to serve, such as queues=['default']"
        raise ValueError(msg)
    for name in names:
        subscriber = broker.subscriber(
            backend.topic_of(name), lease_ttl=lease_ttl, max_concurrent=max_concurrent
        )
        subscriber(django_handler(_runner(backend)))


def _runner(backend: Any) -> Callable[..., None]:
    # Blocking also for asynchronous tasks: a thread can't be interrupted, so its timer stays
    # leased when the worker stops, and the task does not run twice at the same time.
    def run_task(task: Any, message: TimerMessage) -> None:
        """Run a task of `django.tasks`."""
        result = backend.read(message.timer_id, task)
        _start(result)
        # Robust, here and below: a receiver that raises would cause endless retries of the task.
        task_started.send_robust(type(backend), task_result=result)
        try:
            value = _call(result)
        except KeyboardInterrupt:
            raise
        # Any exception comes from the task: nothing is cancelled in this thread.
        except BaseException as error:
            if backend.retries:
                # Not the error itself: SystemExit would stop the worker.
                msg = f"task {result.task.module_path} raised {error!r} and will be retried"
                raise RuntimeError(msg) from error
            _fail(result, error)
            # Django logs the error that is being handled.
            task_finished.send_robust(type(backend), task_result=result)
        else:
            _end(result, TaskResultStatus.SUCCESSFUL, _return_value=value)
            task_finished.send_robust(type(backend), task_result=result)

    return run_task


def _call(result: Any) -> Any:
    context = [TaskContext(task_result=result)] if result.task.takes_context else []
    return normalize_json(result.task.call(*context, *result.args, **result.kwargs))


def _start(result: Any) -> None:
    now = timezone.now()
    result.worker_ids.append(f"{socket.gethostname()}-{os.getpid()}")
    _set(result, status=TaskResultStatus.RUNNING, started_at=now, last_attempted_at=now)


def _fail(result: Any, error: BaseException) -> None:
    kind = type(error)
    result.errors.append(
        TaskError(
            exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
            traceback="".join(format_exception(error)),
        )
    )
    _end(result, TaskResultStatus.FAILED)


def _end(result: Any, status: Any, **more: Any) -> None:
    _set(result, status=status, finished_at=timezone.now(), **more)


def _set(result: Any, **values: Any) -> None:
    # Results are frozen for callers; Django's own backends set them in the same way.
    for name, value in values.items():
        object.__setattr__(result, name, value)
