"""Ends tasks reliably, and tells who has cancelled one.

Before Python 3.13 `Task.cancelling` also counts each `asyncio.TaskGroup` in the task that has
failed while it was being left: the group cancels its task, and does not take that back.
"""

import asyncio
import sys
from typing import Any
from weakref import WeakSet

GROUPS_TAKE_BACK = sys.version_info >= (3, 13)
"""Whether a failed task group takes back that it has cancelled its task."""

INTERRUPTIONS = (asyncio.CancelledError, SystemExit, KeyboardInterrupt)
"""What a handler raises that is stopped, or that stops its worker."""

_PAUSE = 0.05
"""Seconds until a task that went on is cancelled again."""


async def end_task(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait until it has ended.

    Up to Python 3.11 `asyncio.wait_for`, which redis-py uses to send, swallows a
    cancellation that comes just when it is done, so one may not be enough.

    Args:
        task: A task of this package, which ends soon after it is cancelled.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_PAUSE)


_stopped: WeakSet[asyncio.Task[Any]] = WeakSet()
# Handlers that a stop has cancelled.


def cancel_for_stop(handler: "asyncio.Task[Any]") -> None:
    """Cancel a handler because its subscriber stops.

    Args:
        handler: The task that runs it.
    """
    _stopped.add(handler)
    handler.cancel()


def is_cancelled_for_stop(handler: "asyncio.Task[Any]") -> bool:
    """Return whether a stop has cancelled a handler.

    Args:
        handler: The task that runs it.
    """
    return handler in _stopped


def count_cancellations() -> int:
    """Return how often the current task counts as cancelled, to compare with later."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def check_cancelled(before: int = 0) -> None:
    """Raise if a cancellation of the current task was swallowed, see `end_task`.

    A loop that may run inside ``asyncio.run`` calls it in each turn, since ``asyncio.run``
    cancels each task only once when it ends, and then waits for it.

    Args:
        before: What `count_cancellations` returned when the user's task came here; 0 in tasks of
            this package.

    Raises:
        asyncio.CancelledError: The task was cancelled.
    """
    if count_cancellations() > before:
        raise asyncio.CancelledError
