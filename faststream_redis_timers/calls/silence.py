"""A time limit that counts from the last byte, for calls that carry much."""

import asyncio
from types import TracebackType
from typing import Any

LOOKS = 4
"""How often it is looked in a time limit whether anything has moved."""

NO_LIMIT = 86_400.0
"""Seconds that redis-py is told: given none it would take its own, for the whole of a reply."""


class UntilSilent:
    """Ends what is done in its block when nothing has come or gone for some time.

    A limit for the whole of a call would end each try to claim a payload that takes
    longer, for ever, and each would lease it anew.

    Args:
        seconds: How long it may be silent.
        connection: A connection of redis-py's.
        writer: What it writes to.
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
        """Prepare; the block begins it."""
        if connection.socket_timeout is not None:
            seconds = min(seconds, connection.socket_timeout)
        self._seconds = seconds
        self._reader = connection._reader  # noqa: SLF001  there is no other way to see bytes come
        self._writer = writer
        self._received: int | None = None
        self._seen = (0, 0)
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        """Begin."""
        await self._limit.__aenter__()
        loop = asyncio.get_running_loop()
        self._moved_at = loop.time()
        self._look_again(loop, self._seconds)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End; raises TimeoutError where it was too silent."""
        self._alarm.cancel()
        if self._received is not None:
            del self._reader.feed_data
        await self._limit.__aexit__(exc_type, exc_value, traceback)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        if self._received is None:
            # Only a call that takes this long is watched. And where the event loop was
            # blocked, the answer has come meanwhile.
            self._received = 0
            self._reader.feed_data = self._count
            self._look_again(loop, self._seconds)
            return
        seen = (self._received, self._writer.transport.get_write_buffer_size())
        if seen != self._seen:
            self._seen = seen
            self._moved_at = now
        left = self._moved_at + self._seconds - now
        if left <= 0:
            self._limit.reschedule(now)
        else:
            self._look_again(loop, left)

    def _look_again(self, loop: asyncio.AbstractEventLoop, left: float) -> None:
        self._alarm = loop.call_later(min(self._seconds / LOOKS, left), self._look, loop)

    def _count(self, data: bytes) -> None:
        self._received = (self._received or 0) + len(data)
        type(self._reader).feed_data(self._reader, data)
