"""Runs operations on an asyncio redis-py client, asking the server once.

redis-py's own ``execute_command`` repeats a command whose reply was lost, which
makes a second timer, or leases a second batch. So this takes a connection from
the pool, sends, and reads one reply.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, TypeVar, overload

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.client import Pipeline

from faststream_redis_timers.calls.exchange import LOST, connect_if_ended, exchange
from faststream_redis_timers.calls.line import TIMED_OUT, PoolFullError, acquire, release
from faststream_redis_timers.calls.pools import close_pools, hang_up
from faststream_redis_timers.calls.primaries import OnePrimary, Primaries
from faststream_redis_timers_sync.protocol.clients import check_pipeline
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.operation import PING, Operation, Steps, TimerPages
from faststream_redis_timers_sync.protocol.replication import Confirmation

_T = TypeVar("_T")


class Runner:
    """Runs operations on one client.

    Args:
        client: The client whose pool gives the connections.
        confirmation: How many replicas must have what is written; None asks none.

    Attributes:
        primaries: Which primary serves a key.
    """

    __slots__ = ("client", "confirmation", "primaries")

    client: Redis | RedisCluster
    primaries: Primaries

    delivers = True
    """Whether subscribers that are started on it have delivery loops."""

    def __init__(self, client: Redis, confirmation: Confirmation | None = None) -> None:
        """Keep both."""
        self.client = client
        self.confirmation = confirmation
        self.primaries = OnePrimary(client)

    async def run(self, operation: Operation[_T], timeout: float | None = None) -> _T:
        """Send an operation and give its result.

        Args:
            operation: The operation.
            timeout: Seconds for connecting, and again of silence until the answer is
                there, less where the client's `socket_timeout` is less; waiting for a
                connection of a full pool does not count. None leaves it to the client.

        Raises:
            TimerOutcomeUnknownError: The reply was lost, and it may not be repeated.
            TimerNotReplicatedError: Too few replicas have it.
            TimeoutError: It took too long, and nothing was changed.
            redis.RedisError: What the server or the connection says.
        """
        return operation.parse(await self._answer(operation, timeout))

    async def _answer(self, operation: Operation[Any], timeout: float | None) -> Any:
        try:
            return await self._ask(operation, timeout)
        except (*TIMED_OUT, PoolFullError):
            # A server that is silent would be waited for twice, and so would a full pool.
            raise
        except LOST:
            if not operation.may_repeat:
                raise
            return await self._ask(operation, timeout)

    async def _ask(self, operation: Operation[Any], timeout: float | None) -> Any:
        pool = self._pool
        connection = await acquire(pool, timeout)
        try:
            await connect_if_ended(connection, timeout)
            return await exchange(connection, operation, timeout, self.confirmation)
        finally:
            await release(pool, connection)

    async def ping(self) -> None:
        """Ask the server for a sign of life.

        Raises:
            redis.RedisError: What the server or the connection says.
        """
        await self.run(PING)

    async def warm(self, key: bytes) -> None:
        """Ask the server of a key for a sign of life, which warms the pool's connection to it.

        Args:
            key: The key.

        Raises:
            redis.RedisError: What the server or the connection says.
        """
        await self.ping()

    async def close(self) -> None:
        """Close the client, which is ours."""
        await close_pools([self._pool])

    @property
    def _pool(self) -> Any:
        # Each time anew: the caller may give the client another one.
        client: Any = self.client
        return client.connection_pool

    def hang_up(self) -> None:
        """Close it where its event loop does not run."""
        hang_up(self._pool)

    async def run_steps(self, steps: Steps[_T], timeout: float | None = None) -> _T:
        """Send several operations, one after the other, and give their common result.

        Args:
            steps: The operations.
            timeout: As in `run`, of each.
        """
        go_on = partial(steps.send, None)
        while True:
            try:
                operation = go_on()
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            try:
                go_on = partial(steps.send, await self.run(operation, timeout))
            except TimersError as error:
                # One of several topics may fail, and the others' steps follow.
                go_on = partial(steps.throw, error)

    @overload
    async def run_or_queue(self, operation: Operation[_T], pipeline: None) -> _T: ...

    @overload
    async def run_or_queue(
        self, operation: Operation[_T], pipeline: Pipeline | None
    ) -> _T | None: ...

    async def run_or_queue(self, operation: Operation[_T], pipeline: Pipeline | None) -> _T | None:
        """Send an operation and give its result, or put it into a caller's pipeline.

        Args:
            operation: The operation.
            pipeline: The pipeline, if there is one.

        Returns:
            The result; None with a pipeline.
        """
        if pipeline is None:
            return await self.run(operation)
        self.queue(pipeline, operation)
        return None

    def queue(
        self, pipeline: Pipeline, operation: Operation[Any], if_exists: str | None = None
    ) -> None:
        """Put an operation into a caller's pipeline.

        It goes as EVAL with the script's text: inside EXEC a NOSCRIPT would come
        after the caller's own writes are done.

        Args:
            pipeline: The pipeline.
            operation: The operation.
            if_exists: What was asked for.

        Raises:
            TypeError: It is no asyncio pipeline.
            ValueError: It would run the command at once, ``if_exists="error"``, or
                replicas are waited for.
        """
        confirms = self.confirmation is not None
        check_pipeline(pipeline, Pipeline, if_exists=if_exists, confirms=confirms)
        # Only a watching pipeline would give something to await.
        pipeline.execute_command(*operation.words(by_text=True))

    async def iterate(self, pages: TimerPages) -> AsyncIterator[Timer]:
        """Give timers one by one, asking for pages as they are needed.

        Args:
            pages: The operations and pages.
        """
        result = None
        while True:
            try:
                step = pages.send(result)
            except StopIteration:
                return
            if isinstance(step, Operation):
                result = await self.run(step)
            else:
                result = None
                for timer in step:
                    yield timer
