"""Runs operations on an asyncio redis-py client, and sends each only once.

redis-py's own ``execute_command`` repeats a command whose reply was lost, which
would schedule a second timer, or lease a second batch. So this takes a connection
from the pool, sends the command, and reads one reply.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, overload

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.client import Pipeline

from faststream_redis_timers.calls.exchange import LOST, ensure_ready, exchange
from faststream_redis_timers.calls.line import TIMED_OUT, PoolFullError, acquire, release
from faststream_redis_timers.calls.pipelining import Pipelining
from faststream_redis_timers.calls.pools import close_pools, connection_options, hang_up
from faststream_redis_timers.calls.primaries import OnePrimary, Primaries
from faststream_redis_timers_sync.protocol.clients import check_database, check_pipeline
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.operation import PING, Operation, Steps, TimerPages
from faststream_redis_timers_sync.protocol.replication import Confirmation

_T = TypeVar("_T")


class Runner:
    """Runs operations on one client.

    Args:
        client: The client whose pool provides connections.
        confirmation: How many replicas must confirm writes; None waits for none.

    Attributes:
        primaries: Knows which primary serves a key.
    """

    __slots__ = ("_pipelining", "client", "confirmation", "primaries")

    client: Redis | RedisCluster
    primaries: Primaries

    delivers = True
    """Whether subscribers that start with it have delivery loops."""

    def __init__(self, client: Redis, confirmation: Confirmation | None = None) -> None:
        """Store both."""
        self.client = client
        self.confirmation = confirmation
        self.primaries = OnePrimary(client)
        self._pipelining: Pipelining | None = None

    async def run(self, operation: Operation[_T], timeout: float | None = None) -> _T:
        """Send an operation and return its result.

        Args:
            operation: The operation.
            timeout: Seconds for connecting, and again of silence until the reply has
                come, or the client's `socket_timeout` if that is shorter. Waiting for a
                connection of a full pool does not count. None leaves it to the client.

        Raises:
            TimerOutcomeUnknownError: The reply was lost, and the operation must not be repeated.
            TimerNotReplicatedError: Too few replicas confirmed it.
            TimeoutError: It took too long, and nothing has changed.
            redis.RedisError: The server or the connection failed.
        """
        return operation.parse(await self._answer(operation, timeout))

    async def run_together(self, operation: Operation[_T]) -> _T:
        """Send an operation that is quick on the server, and return its result.

        Those that begin at the same time, while others are in flight, share a connection.

        Args:
            operation: The operation, which must not be repeated.

        Raises:
            TimerOutcomeUnknownError: The reply was lost.
            TimerNotReplicatedError: Too few replicas confirmed it.
            redis.RedisError: The server or the connection failed.
        """
        # Replicas confirm the writes of one call, and nodes of a cluster serve their own topics.
        if self.confirmation is not None or self.primaries.is_cluster:
            return await self.run(operation)
        pipelining = self._pipelining
        if pipelining is None or pipelining.loop is not asyncio.get_running_loop():
            pipelining = Pipelining(partial(self._ask, timeout=None), self._with_connection)
            self._pipelining = pipelining
        return operation.parse(await pipelining.ask(operation))

    async def _answer(self, operation: Operation[Any], timeout: float | None) -> Any:
        try:
            return await self._ask(operation, timeout)
        except (*TIMED_OUT, PoolFullError):
            # A repetition would wait for a silent server, or a full pool, twice.
            raise
        except LOST:
            if not operation.may_repeat:
                raise
            return await self._ask(operation, timeout)

    async def _ask(self, operation: Operation[Any], timeout: float | None) -> Any:
        pool = self._pool
        connection = await acquire(pool, timeout)
        try:
            await ensure_ready(connection, timeout)
            return await exchange(connection, operation, timeout, self.confirmation)
        finally:
            await release(pool, connection)

    async def _with_connection(self, use: Callable[[Any], Awaitable[None]]) -> None:
        pool = self._pool
        connection = await acquire(pool, None)
        try:
            await ensure_ready(connection, None)
            await use(connection)
        finally:
            await release(pool, connection)

    async def ping(self) -> None:
        """Ping the server.

        Raises:
            redis.RedisError: The server or the connection failed.
        """
        await self.run(PING)

    async def warm(self, key: bytes) -> None:
        """Ping the server of a key, which warms the pool's connection to it.

        Args:
            key: The key.

        Raises:
            redis.RedisError: The server or the connection failed.
        """
        await self.ping()

    async def close(self) -> None:
        """Close the client, which was created here."""
        await close_pools([self._pool])

    @property
    def _pool(self) -> Any:
        # Not stored: the caller may replace the client's pool.
        client: Any = self.client
        return client.connection_pool

    def hang_up(self) -> None:
        """Close the client if its event loop does not run."""
        hang_up(self._pool)

    async def run_steps(self, steps: Steps[_T], timeout: float | None = None) -> _T:
        """Send several operations, one after another, and return their common result.

        Args:
            steps: The operations.
            timeout: As in `run`, for each.
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
                # One of several topics may fail, and the steps of others follow.
                go_on = partial(steps.throw, error)

    @overload
    async def run_or_queue(self, operation: Operation[_T], pipeline: None) -> _T: ...

    @overload
    async def run_or_queue(
        self, operation: Operation[_T], pipeline: Pipeline | None
    ) -> _T | None: ...

    async def run_or_queue(self, operation: Operation[_T], pipeline: Pipeline | None) -> _T | None:
        """Send an operation and return its result, or add it to a caller's pipeline.

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
        """Add an operation to a caller's pipeline.

        It is sent as EVAL with the script's text: inside EXEC a NOSCRIPT would come
        after the caller's own writes.

        Args:
            pipeline: The pipeline.
            operation: The operation.
            if_exists: The caller's `if_exists`.

        Raises:
            TypeError: It is not an asyncio pipeline.
            ValueError: It would run the command immediately or is for another database,
                `if_exists` is ``"error"``, or replicas must confirm.
        """
        confirms = self.confirmation is not None
        check_pipeline(pipeline, Pipeline, if_exists=if_exists, confirms=confirms)
        # A cluster has only database 0.
        own = connection_options(self.client) if isinstance(self.client, Redis) else {}
        check_database(pipeline.connection_pool.connection_kwargs, own)
        # Only a watching pipeline would return something to await.
        pipeline.execute_command(*operation.words(by_text=True))

    async def iterate(self, pages: TimerPages) -> AsyncIterator[Timer]:
        """Yield timers one by one, and read pages as needed.

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
