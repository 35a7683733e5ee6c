"""Calls that begin while others are in flight share a connection: one write, and one wait.

A program that publishes from many tasks would otherwise take a connection for each of them, and a
system call for each of their requests and replies.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.exceptions import NoScriptError

from faststream_redis_timers.calls.exchange import raise_meaning
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.routing import fresh

MOST_TOGETHER = 100
"""Calls that share a connection at a time: if it breaks, the replies of all of them are lost."""

MOST_BYTES = 64 * 1024
"""Bytes of arguments that share a connection at a time; larger calls are sent alone. So many fit
into the buffer of a connection: nobody waits until a slow one has taken the others."""


class Pipelining:
    """Sends a call alone if none is in flight, and otherwise with those that begin with it.

    Nothing waits longer for that: calls travel together that begin in the same turn of the event
    loop.

    Args:
        alone: Sends a call on its own connection, and returns its reply.
        together: Sends calls on one connection, and returns for each its reply, or the error.
    """

    __slots__ = ("_alone", "_group", "_in_flight", "_tasks", "_together")

    def __init__(
        self,
        alone: Callable[[Operation[Any]], Awaitable[Any]],
        together: Callable[[Sequence[Operation[Any]]], Awaitable[list[Any]]],
    ) -> None:
        """Begin with nothing in flight."""
        self._alone = alone
        self._together = together
        self._in_flight = 0
        self._group: _Group | None = None
        # The event loop keeps no reference to tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, operation: Operation[Any]) -> Any:
        """Send an operation, and return its reply.

        Args:
            operation: The operation.

        Raises:
            TimerOutcomeUnknownError: The reply was lost, and the operation must not be repeated.
            redis.RedisError: The server or the connection failed.
        """
        if not self._in_flight:
            return await self._ask_alone(operation)
        size = sum(map(len, operation.args))
        if size > MOST_BYTES:
            return await self._ask_alone(operation)
        group = self._group
        if group is None or not group.add(operation, size):
            group = self._group = _Group(operation, size)
            await self._begin(group)
            if len(group.calls) == 1:
                return await self._ask_alone(operation)
            reply = await group.calls[0][1]
        else:
            reply = await group.calls[-1][1]
        if isinstance(reply, NoScriptError):
            return await self._ask_alone(operation)
        if isinstance(reply, BaseException):
            raise_meaning(operation, reply)
        return reply

    async def _ask_alone(self, operation: Operation[Any]) -> Any:
        self._in_flight += 1
        try:
            return await self._alone(operation)
        finally:
            self._in_flight -= 1

    async def _begin(self, group: "_Group") -> None:
        """Let other calls join a group during one turn of the event loop, then send them."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            # The calls that have joined go on.
            group.calls[0][1].cancel()
            self._close(group)
            raise
        self._close(group)

    def _close(self, group: "_Group") -> None:
        if self._group is group:
            self._group = None
        if len(group.calls) > 1:
            task = asyncio.create_task(self._send(group), name="calls on one connection")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, group: "_Group") -> None:
        # A caller that has been cancelled has sent nothing.
        calls = [call for call in group.calls if not call[1].done()]
        self._in_flight += 1
        try:
            replies = await self._together([operation for operation, _ in calls])
        except Exception as error:  # noqa: BLE001  callers get it, whatever it is
            for _, future in calls:
                if not future.done():
                    future.set_exception(fresh(error))
        except BaseException:
            for _, future in calls:
                future.cancel()
            raise
        else:
            for (_, future), reply in zip(calls, replies, strict=True):
                if not future.done():
                    future.set_result(reply)
        finally:
            self._in_flight -= 1


class _Group:
    """Calls that travel together.

    Args:
        operation: The first.
        size: The bytes of its arguments.

    Attributes:
        calls: Each with the future of its reply, which may be an error.
    """

    __slots__ = ("_loop", "_size", "calls")

    def __init__(self, operation: Operation[Any], size: int) -> None:
        """Begin with one call."""
        self._loop = asyncio.get_running_loop()
        self._size = size
        self.calls = [(operation, self._loop.create_future())]

    def add(self, operation: Operation[Any], size: int) -> bool:
        """Add a call, and return whether it fits.

        Args:
            operation: The call.
            size: The bytes of its arguments.
        """
        is_full = len(self.calls) >= MOST_TOGETHER or self._size + size > MOST_BYTES
        # A group that was begun in an event loop that is gone is never sent.
        if is_full or self._loop is not asyncio.get_running_loop():
            return False
        self._size += size
        self.calls.append((operation, self._loop.create_future()))
        return True
