"""Cancels handlers that take too long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from faststream import BaseMiddleware
from faststream.message import StreamMessage

from faststream_redis_timers.tasks import GROUPS_TAKE_BACK, is_cancelled_for_stop

CANCELLED_AGAIN = 1.0
"""Seconds after which a handler that goes on is cancelled again."""


class HandlerTimeout(BaseMiddleware):
    """Cancels a handler after some seconds; other middlewares see a failure.

    Args:
        timeout: The seconds.
        *args: See `BaseMiddleware`.
        **kwargs: See `BaseMiddleware`.
    """

    def __init__(self, timeout: float, *args: Any, **kwargs: Any) -> None:
        """Store the timeout."""
        super().__init__(*args, **kwargs)
        self._timeout = timeout

    async def consume_scope(
        self,
        call_next: Callable[[StreamMessage[Any]], Awaitable[Any]],
        msg: StreamMessage[Any],
    ) -> Any:
        """Run the handler.

        Args:
            call_next: Runs it.
            msg: Its message.

        Raises:
            TimeoutError: It took too long.
        """
        limit = _Limit(self._timeout)
        try:
            return await call_next(msg)
        except asyncio.CancelledError:
            if not limit.was_reached_alone():
                raise
            text = f"the handler took longer than handler_timeout ({self._timeout:g} s)"
            raise TimeoutError(text) from None
        finally:
            limit.end()


class _Limit:
    """Cancels the current task after a time, and again until it ends.

    `asyncio.timeout` cancels once, and some code swallows that: redis-py 8.1 does while it
    connects, so a handler could go on forever.
    """

    def __init__(self, seconds: float) -> None:
        self._task = asyncio.current_task()
        self._cancelled_before = self._task.cancelling() if self._task else 0
        self._times = 0
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            if not self._times and not GROUPS_TAKE_BACK:
                # The handler may have run task groups that failed.
                self._cancelled_before = self._task.cancelling()
            self._task.cancel()
        self._times += 1
        self._alarm = asyncio.get_running_loop().call_later(CANCELLED_AGAIN, self._cancel)

    def was_reached_alone(self) -> bool:
        """Return whether only this limit has cancelled the task."""
        if self._task is None or not self._times or is_cancelled_for_stop(self._task):
            return False
        return self._task.cancelling() - self._times <= self._cancelled_before

    def end(self) -> None:
        """Stop cancelling, and take back this limit's cancellations."""
        self._alarm.cancel()
        for _ in range(self._times):
            if self._task is not None:
                self._task.uncancel()
