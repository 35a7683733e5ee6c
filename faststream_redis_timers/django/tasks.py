"""Runs tasks of `django.tasks` that `TimersBackend` has scheduled (Django 6 or newer)."""

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

    Each queue is a topic with a subscriber of its own. Tasks run in threads, as many at once as
    the subscriber has slots, and leave no database connection open; an asynchronous one has an
    event loop of its own there, as `Task.call` gives it. Django's signals ``task_started`` and
    ``task_finished`` are sent, and so Django logs what fails, receivers that raise too.

    At least once: a task is run again if its worker dies, or if it takes longer than its lease.
    What a task returns must be JSON, but is not kept. One that raises is FAILED and removed; with
    ``OPTIONS = {"RETRY": True}`` it is tried again when its lease has ended, and nothing is said
    to have finished. Tries are not counted: ``context.attempt`` is 1. A timer that names no task
    which this worker knows is kept, for a newer worker may.

    Args:
        broker: A broker or router, with the prefix and the keys' names of the alias of `TIMERS`.
        alias: The backend's alias in `TASKS`.
        queues: Which of its queues; by default those of ``QUEUES``.
        lease_ttl: Seconds that a task may take.
        max_concurrent: How many tasks of a queue may run at once.

    Raises:
        InvalidTaskBackend: `TASKS` has no such alias.
        TypeError: The backend is no `TimersBackend`.
        ValueError: No queue is named.
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
    # Blocking also for asynchronous tasks: what can't be interrupted stays leased when its
    # worker is stopped, and is not run a second time beside itself.
    def run_task(task: Any, message: TimerMessage) -> None:
        """Run a task of `django.tasks`."""
        result = backend.read(message.timer_id, task)
        _start(result)
        # Robust, here and below: a receiver that raises would have the task run again, for ever.
        task_started.send_robust(type(backend), task_result=result)
        try:
            value = _call(result)
        except KeyboardInterrupt:
            raise
        # Whatever it is comes from the task: in this thread nobody cancels anything.
        except BaseException as error:
            if backend.retries:
                # Not itself: SystemExit would stop the worker.
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
    # A result is frozen for those who enqueue; backends set it as Django's own do.
    for name, value in values.items():
        object.__setattr__(result, name, value)
