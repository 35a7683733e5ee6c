"""Ends tasks reliably."""

import asyncio
from typing import Any

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


def check_cancelled() -> None:
    """Raise if a cancellation of the current task was swallowed, see `end_task`.

    A loop that may run inside ``asyncio.run`` calls it in each turn, since ``asyncio.run``
    cancels each task only once when it ends, and then waits for it.

    Raises:
        asyncio.CancelledError: The task was cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
