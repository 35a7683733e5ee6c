"""A timeout that counts from the last byte, for large calls."""

import asyncio
from types import TracebackType
from typing import Any

CHECKS = 4
"""How often per timeout to check whether bytes have moved."""

NO_LIMIT = 86_400.0
"""Timeout that redis-py gets: without one it would apply its own to the whole reply."""


class UntilSilent:
    """Cancels its block when no bytes have been received or sent for some time.

    A timeout for a whole call would cancel each claim of a payload that takes longer,
    and each would lease the timer again, without end.

    Args:
        seconds: The longest silence, in seconds.
        connection: A connection of redis-py's.
        writer: The writer of the connection.
    """

    __slots__ = (
        "_alarm",
        "_limit",
        "_moved_at",
        "_reader",
        "_received",
        "_seconds",
        "_seen",
        "_writer",
    )

    def __init__(self, seconds: float, connection: Any, writer: asyncio.StreamWriter) -> None:
        """Prepare; the block starts it."""
        if connection.socket_timeout is not None:
            seconds = min(seconds, connection.socket_timeout)
        self._seconds = seconds
        self._reader = connection._reader  # noqa: SLF001  there is no other way to see bytes come
        self._writer = writer
        self._received: int | None = None
        self._seen = (0, 0)
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        """Start."""
        await self._limit.__aenter__()
        loop = asyncio.get_running_loop()
        self._moved_at = loop.time()
        self._schedule_check(loop, self._seconds)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End; raise TimeoutError if the silence was too long."""
        self._alarm.cancel()
        if self._received is not None:
            del self._reader.feed_data
        await self._limit.__aexit__(exc_type, exc_value, traceback)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        if self._received is None:
            # Only calls that take this long are watched. And if the event loop was
            # blocked, the reply has come meanwhile.
            self._received = 0
            self._reader.feed_data = self._count
            self._schedule_check(loop, self._seconds)
            return
        seen = (self._received, self._writer.transport.get_write_buffer_size())
        if seen != self._seen:
            self._seen = seen
            self._moved_at = now
        left = self._moved_at + self._seconds - now
        if left <= 0:
            self._limit.reschedule(now)
        else:
            self._schedule_check(loop, left)

    def _schedule_check(self, loop: asyncio.AbstractEventLoop, left: float) -> None:
        self._alarm = loop.call_later(min(self._seconds / CHECKS, left), self._check, loop)

    def _count(self, data: bytes) -> None:
        self._received = (self._received or 0) + len(data)
        type(self._reader).feed_data(self._reader, data)
