"""Timers in memory for a broker: a runner, a client and a pipeline without a server."""

from typing import Any, NoReturn, TypeVar

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline

from faststream_redis_timers.calls.runner import Runner
from faststream_redis_timers_sync.protocol.clients import check_pipeline
from faststream_redis_timers_sync.protocol.memory.timers import TimersMemory, no_server_for
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.replication import Confirmation

_T = TypeVar("_T")

NAME = "TestTimersBroker"


class MemoryRunner(Runner):
    """Runs operations on a memory.

    Args:
        memory: The memory with the timers.
        confirmation: How many replicas must confirm; all of them do so immediately.
    """

    __slots__ = ("memory",)

    delivers = False
    """Whether started subscribers have delivery loops: here the test delivers."""

    def __init__(self, memory: TimersMemory, confirmation: Confirmation | None = None) -> None:
        """Store them, with a client without a server."""
        super().__init__(MemoryRedis(memory), confirmation)
        self.memory = memory

    async def run(self, operation: Operation[_T], timeout: float | None = None) -> _T:
        """Run an operation on the memory and return its reply.

        Args:
            operation: The operation.
            timeout: Ignored.
        """
        return self.memory.run(operation)

    async def run_together(self, operation: Operation[_T]) -> _T:
        """Run an operation on the memory and return its reply.

        Args:
            operation: The operation.
        """
        return self.memory.run(operation)

    async def ping(self) -> None:
        """Return: memory always replies."""

    def queue(
        self, pipeline: Pipeline, operation: Operation[Any], if_exists: str | None = None
    ) -> None:
        """Put an operation into a pipeline of this memory.

        Args:
            pipeline: The pipeline.
            operation: The operation.
            if_exists: The caller's `if_exists`.

        Raises:
            TypeError: It is not a pipeline of this memory.
            ValueError: `if_exists` is ``"error"``, or replicas must confirm.
        """
        confirms = self.confirmation is not None
        check_pipeline(pipeline, Pipeline, if_exists=if_exists, confirms=confirms)
        self.memory.put_into(pipeline, operation, NAME)


class MemoryRedis(Redis):
    """The broker's client that handlers get in a test: it creates pipelines, and never connects.

    Args:
        memory: The memory with the timers.
    """

    def __init__(self, memory: TimersMemory) -> None:
        """Store it."""
        super().__init__(host="in-memory.invalid")
        self._memory = memory

    async def execute_command(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse a command.

        Raises:
            NotImplementedError: Always.
        """
        raise no_server_for(args[0], NAME)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> "MemoryPipeline":  # noqa: FBT001, FBT002  as redis-py
        """Return a pipeline that accepts timers.

        Args:
            transaction: Ignored: nothing happens in between.
            shard_hint: Ignored.
        """
        return MemoryPipeline(self._memory)


class MemoryPipeline(Pipeline):
    """Accepts calls with ``pipeline=``, and no other commands.

    Args:
        memory: The memory on which `execute` runs the calls, in order.
    """

    def __init__(self, memory: TimersMemory) -> None:
        """Start empty, with a pool that is never used."""
        super().__init__(ConnectionPool(), {}, True, None)
        self.memory = memory

    def execute_command(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse a command of a server.

        Raises:
            NotImplementedError: Always.
        """
        raise no_server_for(args[0], NAME)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002  as redis-py
        """Run the calls that were added.

        Args:
            raise_on_error: Ignored: nothing fails.

        Returns:
            The replies, as from a server.
        """
        operations: list[Any] = self.command_stack
        self.command_stack = []
        return self.memory.answer_all(operations)
