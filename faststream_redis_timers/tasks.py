"""Ending a task for certain."""

import asyncio
from typing import Any

_PAUSE = 0.05
"""Seconds until a task that went on is cancelled again."""


async def end_task(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait until it has ended.

    Up to Python 3.11 `asyncio.wait_for`, by which redis-py sends, swallows a
    cancellation that comes just when it is done, so one may not be enough.

    Args:
        task: The task, one of our own: it ends soon after it was cancelled.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_PAUSE)


def check_cancelled() -> None:
    """Raise where a cancellation of the running task was swallowed: see `end_task`.

    A loop that may run inside ``asyncio.run`` calls it in each turn, since at its end that
    cancels each task once, and then waits for them.

    Raises:
        asyncio.CancelledError: The task was asked to end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
