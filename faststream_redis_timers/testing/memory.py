"""Timers in memory as the broker meets them: a runner, a client and a pipeline of no server."""

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
        memory: Where the timers are.
        confirmation: How many replicas are asked for; all of them confirm at once.
    """

    __slots__ = ("memory",)

    delivers = False
    """Whether subscribers that are started have delivery loops: here the test delivers."""

    def __init__(self, memory: TimersMemory, confirmation: Confirmation | None = None) -> None:
        """Keep them, with a client of no server."""
        super().__init__(MemoryRedis(memory), confirmation)
        self.memory = memory

    async def run(self, operation: Operation[_T], timeout: float | None = None) -> _T:
        """Answer an operation.

        Args:
            operation: The operation.
            timeout: Without a meaning here.
        """
        return self.memory.run(operation)

    async def ping(self) -> None:
        """Give a sign of life."""

    def queue(
        self, pipeline: Pipeline, operation: Operation[Any], if_exists: str | None = None
    ) -> None:
        """Put an operation into a pipeline of this memory.

        Args:
            pipeline: The pipeline.
            operation: The operation.
            if_exists: What was asked for.

        Raises:
            TypeError: It is another's pipeline.
            ValueError: With ``if_exists="error"``, or where replicas are waited for.
        """
        confirms = self.confirmation is not None
        check_pipeline(pipeline, Pipeline, if_exists=if_exists, confirms=confirms)
        self.memory.put_into(pipeline, operation, NAME)


class MemoryRedis(Redis):
    """What handlers get for the broker's client: it makes pipelines, and connects to nothing.

    Args:
        memory: Where the timers are.
    """

    def __init__(self, memory: TimersMemory) -> None:
        """Keep it."""
        super().__init__(host="in-memory.invalid")
        self._memory = memory

    async def execute_command(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse a command.

        Raises:
            NotImplementedError: Always.
        """
        raise no_server_for(args[0], NAME)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> "MemoryPipeline":  # noqa: FBT001, FBT002  as redis-py
        """Make a pipeline that takes timers.

        Args:
            transaction: Without a meaning here: nothing happens in between.
            shard_hint: Without a meaning here.
        """
        return MemoryPipeline(self._memory)


class MemoryPipeline(Pipeline):
    """Takes calls with ``pipeline=``, and no other commands.

    Args:
        memory: Where they happen, in their order, when `execute` is called.
    """

    def __init__(self, memory: TimersMemory) -> None:
        """Begin empty, with a pool that is never asked for a connection."""
        super().__init__(ConnectionPool(), {}, True, None)
        self.memory = memory

    def execute_command(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse a command of a server.

        Raises:
            NotImplementedError: Always.
        """
        raise no_server_for(args[0], NAME)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002  as redis-py
        """Let all happen that was put in.

        Args:
            raise_on_error: Without a meaning here: nothing fails.

        Returns:
            The replies, as a server gives them.
        """
        operations: list[Any] = self.command_stack
        self.command_stack = []
        return self.memory.answer_all(operations)
