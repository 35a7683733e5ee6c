"""Calls that begin while others are in flight share a connection: one write, and one wait.

A program that publishes from many tasks would otherwise take a connection for each of them, and a
system call for each of their requests and replies.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
)

from faststream_redis_timers.calls.ended import note_heard
from faststream_redis_timers.calls.exchange import LOST, drop, raise_meaning, send, writer_of
from faststream_redis_timers_sync.protocol.operation import REFUSALS, Operation
from faststream_redis_timers_sync.protocol.routing import fresh

MOST_TOGETHER = 100
"""Calls that share a connection at a time: if it breaks, the outcome of all of them is unknown."""

MOST_BYTES = 64 * 1024
"""Bytes of calls that share a connection at a time; larger calls are sent alone. So many fit into
the buffer of a connection: none waits until the server has taken a large one before it."""


class Pipelining:
    """Sends a call alone if none is in flight, and otherwise with those that begin with it.

    Calls travel together that begin in the same turn of the event loop, so none waits longer.

    Args:
        alone: Sends a call on its own connection, and returns its reply.
        together: Takes a connection, and calls its argument with it.

    Attributes:
        loop: The event loop for which it is.
    """

    __slots__ = ("_alone", "_group", "_in_flight", "_tasks", "_together", "loop")

    def __init__(
        self,
        alone: Callable[[Operation[Any]], Awaitable[Any]],
        together: Callable[[Callable[[Any], Awaitable[None]]], Awaitable[None]],
    ) -> None:
        """Begin with nothing in flight."""
        self.loop = asyncio.get_running_loop()
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
        call = _Call(operation, self.loop.create_future())
        if len(call.packed) > MOST_BYTES:
            return await self._ask_alone(operation)
        group = self._group
        if group is not None and group.has_room_for(call):
            group.add(call)
        else:
            group = self._group = _Group(call)
            await self._wait_for_others(group)
            if len(group.calls) == 1:
                return await self._ask_alone(operation)
        try:
            reply = await call.reply
        except asyncio.CancelledError:
            group.end_if_unwanted()
            raise
        finally:
            # An error that is kept would keep the messages of all other callers.
            del group
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

    async def _wait_for_others(self, group: "_Group") -> None:
        """Wait for the end of the event loop's turn, then send the group if others have joined."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            # The calls that have joined go on.
            group.calls[0].reply.cancel()
            self._begin(group)
            raise
        self._begin(group)

    def _begin(self, group: "_Group") -> None:
        if self._group is group:
            self._group = None
        if len(group.calls) == 1:
            return
        sending = self._send(group)
        try:
            # Each caller has its own context: the calls together have none. As an argument, not
            # all task factories take one.
            task = Context().run(self.loop.create_task, sending, name="calls on one connection")
        except Exception as error:  # noqa: BLE001  whatever a task factory raises, nobody waits
            sending.close()
            group.fail(error)
            return
        group.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(group.settle)

    async def _send(self, group: "_Group") -> None:
        self._in_flight += 1
        try:
            await self._together(group.exchange)
        finally:
            self._in_flight -= 1


class _Call:
    """One call of a group.

    Args:
        operation: The operation.
        reply: Becomes its reply, or the error that came in its place.

    Attributes:
        packed: The bytes to send.
    """

    __slots__ = ("operation", "packed", "reply")

    def __init__(self, operation: Operation[Any], reply: "asyncio.Future[Any]") -> None:
        """Pack it."""
        self.operation = operation
        self.packed = operation.pack()[0]
        self.reply = reply

    def settle(self, reply: Any) -> None:
        """Pass a reply, or an error after the call was sent, to the caller if it still waits."""
        if not self.reply.done():
            self.reply.set_result(reply)


class _Group:
    """Calls that travel together.

    Args:
        call: The first.

    Attributes:
        calls: The calls.
        task: Sends them; None before.
    """

    __slots__ = ("_is_sent", "_size", "calls", "task")

    def __init__(self, call: _Call) -> None:
        """Begin with one call."""
        self.calls = [call]
        self.task: asyncio.Task[None] | None = None
        self._size = len(call.packed)
        self._is_sent = False

    def has_room_for(self, call: _Call) -> bool:
        """Return whether one more call can join.

        Args:
            call: The call.
        """
        return len(self.calls) < MOST_TOGETHER and self._size + len(call.packed) <= MOST_BYTES

    def add(self, call: _Call) -> None:
        """Let a call join.

        Args:
            call: The call.
        """
        self._size += len(call.packed)
        self.calls.append(call)

    def end_if_unwanted(self) -> None:
        """End the exchange if no caller waits for it any longer."""
        if self.task is not None and all(call.reply.done() for call in self.calls):
            self.task.cancel()

    async def exchange(self, connection: Any) -> None:
        """Send the calls, and pass each reply on as soon as it has come.

        Args:
            connection: A connection of redis-py, ready to send on.
        """
        # A caller that has given up meanwhile has sent nothing. Nothing is awaited from here to
        # the write.
        calls = [call for call in self.calls if not call.reply.done()]
        if calls:
            self._is_sent = True
            await _exchange(connection, calls)

    def settle(self, task: "asyncio.Task[None]") -> None:
        """Let no caller wait: the task has ended.

        Args:
            task: The task, which may have failed or been cancelled.
        """
        if self._is_sent:
            for call in self.calls:
                # This means to its caller that the outcome is unknown.
                call.settle(RedisConnectionError("the exchange was cancelled"))
        else:
            self.fail(None if task.cancelled() else task.exception())

    def fail(self, error: BaseException | None) -> None:
        """Let no caller wait: nothing was sent.

        Args:
            error: Why; None if the task was cancelled.
        """
        for call in self.calls:
            if not call.reply.done():
                call.reply.set_exception(_not_sent(error))


def _not_sent(error: BaseException | None) -> BaseException:
    if error is None:
        return RedisConnectionError("the call was cancelled before it was sent")
    copied = fresh(error)
    copied.__cause__ = error.__cause__
    return copied


async def _exchange(connection: Any, calls: Sequence[_Call]) -> None:
    writer = writer_of(connection)
    waiting: deque[_Call] = deque(calls)
    without_script: deque[_Call] = deque()
    try:
        await send(connection, writer, [call.packed for call in calls])
        is_refused = await _pass_on_replies(connection, waiting, without_script)
        if again := [call for call in without_script if not call.reply.done()]:
            # The first brings the script. A call that needs another one is sent alone.
            packed = [again[0].operation.pack(by_text=True)[0], *(one.packed for one in again[1:])]
            without_script.clear()
            waiting.extend(again)
            await send(connection, writer, packed)
            is_refused |= await _pass_on_replies(connection, waiting, None)
        note_heard()
    except Exception as error:  # noqa: BLE001  whatever it is, the calls were sent
        await drop(connection, writer)
        # Frames of the traceback have the messages of all callers.
        lost: BaseException = error.with_traceback(None)
        if not isinstance(error, LOST):
            lost = RedisConnectionError(*error.args)
        for call in waiting:
            call.settle(lost)
            lost = fresh(lost)
        for call in without_script:
            call.settle(NoScriptError())
    except BaseException:
        await drop(connection, writer)
        raise
    else:
        if is_refused:
            # The next connection may find the primary, or one that is ready.
            await drop(connection, writer)


async def _pass_on_replies(
    connection: Any, waiting: deque[_Call], without_script: deque[_Call] | None
) -> bool:
    """Pass each reply on, and return whether the server refuses calls for now.

    Args:
        connection: A connection on which calls were sent.
        waiting: The calls, which are removed as their replies come.
        without_script: Gets calls that the server does not know the script of; None passes that
            on too.
    """
    is_refused = False
    while waiting:
        reply = await _read(connection)
        call = waiting.popleft()
        if without_script is not None and isinstance(reply, NoScriptError):
            without_script.append(call)
            continue
        is_refused |= isinstance(reply, (ReadOnlyError, RedisConnectionError))
        call.settle(reply)
    return is_refused


async def _read(connection: Any) -> Any:
    """Read one reply, or the error that the server sent in its place."""
    # A Sentinel's connection closes itself at the first refusal of a replica, though the other
    # replies still come.
    is_sentinel = isinstance(connection, SentinelManagedConnection)
    read = AbstractConnection.read_response if is_sentinel else type(connection).read_response
    try:
        return await read(connection, disable_decoding=True, disconnect_on_error=False)
    except ResponseError as error:
        return error
    except RedisConnectionError as error:
        if type(error).__name__ not in REFUSALS:
            raise
        return error
