"""Runs operations on timers in memory instead of a server."""

from typing import Any, TypeVar

import redis
from redis.client import Pipeline

from faststream_redis_timers_sync.calls.runner import OneByOne, Runner
from faststream_redis_timers_sync.protocol.clients import check_pipeline
from faststream_redis_timers_sync.protocol.memory.timers import TimersMemory
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.replication import Confirmation

_T = TypeVar("_T")


class MemoryRunner(Runner):
    """Runs operations on a memory.

    Args:
        client: A client without a server; nothing is sent.
        memory: Holds the timers.
        confirmation: How many replicas must confirm; all do at once.
    """

    __slots__ = ("memory",)

    def __init__(
        self, client: redis.Redis, memory: TimersMemory, confirmation: Confirmation | None = None
    ) -> None:
        """Keep them."""
        super().__init__(client, confirmation)
        self.memory = memory

    def run(self, operation: Operation[_T]) -> _T:
        """Run an operation.

        Args:
            operation: The operation.
        """
        return self.memory.run(operation)

    def execute(self, pipeline: Pipeline | OneByOne) -> list[Any]:
        """Run what was queued into a pipeline.

        Args:
            pipeline: The pipeline.
        """
        return pipeline.execute(raise_on_error=False)

    def queue(
        self, pipeline: Pipeline | OneByOne, operation: Operation[Any], if_exists: str | None = None
    ) -> None:
        """Add an operation to a pipeline of this memory.

        Args:
            pipeline: The pipeline.
            operation: The operation.
            if_exists: The caller's option.

        Raises:
            TypeError: It is not a pipeline of this memory.
            ValueError: ``if_exists="error"`` or `confirm_replicas` was given.
        """
        if isinstance(pipeline, OneByOne):
            pipeline.command_stack.append(operation)
            return
        confirms = self.confirmation is not None
        check_pipeline(pipeline, Pipeline, if_exists=if_exists, confirms=confirms)
        self.memory.put_into(pipeline, operation, "FakeTimersClient")
