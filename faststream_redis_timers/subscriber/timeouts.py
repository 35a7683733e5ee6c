"""Ends handlers that take too long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from faststream import BaseMiddleware
from faststream.message import StreamMessage


class HandlerTimeout(BaseMiddleware):
    """Cancels a handler after some seconds; to all other middlewares it has failed.

    Args:
        timeout: The seconds.
        *args: See `BaseMiddleware`.
        **kwargs: See `BaseMiddleware`.
    """

    def __init__(self, timeout: float, *args: Any, **kwargs: Any) -> None:
        """Keep the seconds."""
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
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await call_next(msg)
        except TimeoutError:
            if not limit.expired():
                raise
            text = f"the handler took longer than handler_timeout ({self._timeout:g} s)"
            raise TimeoutError(text) from None
