"""Runs operations on a blocking redis-py client, sending each once.

redis-py's own ``execute_command`` repeats a command whose reply was lost, which creates a second
timer, or reports a successful cancel as "was not pending". So this takes a connection from the
pool, sends, and reads one reply.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import redis
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError, ResponseError

from faststream_redis_timers_sync.calls.exchange import LOST, TIMED_OUT, exchange
from faststream_redis_timers_sync.calls.pools import acquire
from faststream_redis_timers_sync.protocol.clients import (
    check_database,
    check_pipeline,
    is_pool_full,
)
from faststream_redis_timers_sync.protocol.errors import (
    TimerNotReplicatedError,
    TimersError,
    TopicTornError,
)
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.operation import PING, Operation, Steps, TimerPages
from faststream_redis_timers_sync.protocol.replication import Confirmation
from faststream_redis_timers_sync.protocol.routing import is_refused_for_now

_T = TypeVar("_T")


class Runner:
    """Runs operations on one client.

    Args:
        client: The client whose pool has the connections.
        confirmation: How many replicas must confirm a write; None asks none.

    Attributes:
        is_cluster: Whether it uses all primaries of a cluster.
        is_primary: Whether it may write, as far as is known.
    """

    __slots__ = ("client", "confirmation")
    is_cluster = False
    is_primary = True

    def __init__(self, client: redis.Redis, confirmation: Confirmation | None = None) -> None:
        """Keep both."""
        self.client = client
        self.confirmation = confirmation

    @property
    def connection_options(self) -> Mapping[str, Any]:
        """The arguments with which redis-py makes the client's connections."""
        return self.client.connection_pool.connection_kwargs

    @property
    def address(self) -> str:
        """The server's address, without user and password."""
        options = self.connection_options
        if path := options.get("path"):
            return f"unix socket {path}"
        if host := options.get("host"):
            return f"{host}:{options.get('port', 6379)}"
        return "the client's address"

    @property
    def map_fingerprint(self) -> str:
        """On a cluster a word that changes once slots have moved; else empty."""
        return ""

    def new_pipeline(self) -> "Pipeline | OneByOne":
        """Make what `queue` takes."""
        if self.confirmation is not None or self._repeats_pipelines:
            return OneByOne(self)
        # No MULTI: timers need no right to it otherwise.
        return self.client.pipeline(transaction=False)

    def execute(self, pipeline: "Pipeline | OneByOne") -> list[Any]:
        """Send what was queued into a pipeline of `new_pipeline`.

        It waits while all connections of a full pool are in use, as all calls do. redis-py's
        pipelines don't, as they take their connections themselves.

        Args:
            pipeline: The pipeline.

        Returns:
            The replies, or errors of the server.

        Raises:
            redis.RedisError: The server or the connection failed.
        """
        if isinstance(pipeline, Pipeline):
            # It returns the connection to the pool in any case, as if it had taken it.
            pipeline.connection = acquire(pipeline.connection_pool)
        # The errors of redis-py would show the commands, and so the messages.
        return pipeline.execute(raise_on_error=False)

    @property
    def _repeats_pipelines(self) -> bool:
        """Whether redis-py sends a pipeline again after a lost reply, as many clients do.

        A timer that was scheduled or cancelled in between would be overwritten.
        """
        options = self.connection_options
        if options.get("retry_on_error") or options.get("retry_on_timeout"):
            return True
        # redis-py 5 has no `get_retries`.
        return getattr(options.get("retry"), "_retries", 0) != 0

    def share_fate(self, operation: Operation[Any], other: Operation[Any]) -> bool:
        """Return whether one operation fails if another found its server away.

        Args:
            operation: The operation.
            other: The other operation.
        """
        return True

    def primaries(self) -> "list[Runner]":
        """Return a runner for each primary, here this one alone."""
        return [self]

    def primary_of(self, key: bytes) -> "Runner":
        """Return a runner for the primary that serves a key, here this one.

        Args:
            key: The key, or the name of a sharded channel.
        """
        return self

    def nodes(self) -> "list[Runner]":
        """Return a runner for each node, here this one alone."""
        return [self]

    def close(self) -> None:
        """Close the client, which is ours."""
        self.client.close()

    def run(self, operation: Operation[_T]) -> _T:
        """Send an operation and return its result.

        Args:
            operation: The operation.

        Raises:
            TimerOutcomeUnknownError: The reply was lost, and it may not be repeated.
            TimerNotReplicatedError: Too few replicas have it.
            redis.RedisError: The server or the connection failed.
        """
        return operation.parse(self._answer(operation))

    def _answer(self, operation: Operation[Any]) -> Any:
        try:
            return self._ask(operation)
        except TIMED_OUT:
            # A server that is silent would be waited for twice.
            raise
        except LOST as error:
            # A full pool has been waited for already.
            if not operation.may_repeat or is_pool_full(error):
                raise
            return self._ask(operation)

    def _ask(self, operation: Operation[Any]) -> Any:
        pool = self.client.connection_pool
        connection = acquire(pool)
        try:
            return exchange(connection, operation, self.confirmation)
        finally:
            pool.release(connection)

    def ping(self) -> None:
        """Ping the server.

        Raises:
            redis.RedisError: The server or the connection failed.
        """
        self.run(PING)

    def run_steps(self, steps: Steps[_T]) -> _T:
        """Send several operations, one after the other, and return their common result.

        Args:
            steps: The operations.
        """
        go_on = partial(steps.send, None)
        while True:
            try:
                operation = go_on()
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            try:
                go_on = partial(steps.send, self.run(operation))
            except TimersError as error:
                # One of several topics may fail, and the others' steps follow.
                go_on = partial(steps.throw, error)

    def iterate(self, pages: TimerPages) -> Iterator[Timer]:
        """Return timers one by one, asking for pages as they are needed.

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
                result = self.run(step)
            else:
                result = None
                yield from step

    def queue(
        self,
        pipeline: "Pipeline | OneByOne",
        operation: Operation[Any],
        if_exists: str | None = None,
    ) -> None:
        """Add an operation to a caller's pipeline.

        It is sent as EVAL with the script's text: inside EXEC a NOSCRIPT would come after the
        caller's own writes.

        Args:
            pipeline: The pipeline.
            operation: The operation.
            if_exists: The caller's option.

        Raises:
            TypeError: It is not a blocking pipeline.
            ValueError: It would run the command at once or is for another database, or
                ``if_exists="error"`` or `confirm_replicas` was given.
        """
        if isinstance(pipeline, OneByOne):
            pipeline.command_stack.append(operation)
            return
        confirms = self.confirmation is not None
        check_pipeline(pipeline, Pipeline, if_exists=if_exists, confirms=confirms)
        check_database(pipeline.connection_pool.connection_kwargs, self.connection_options)
        pipeline.execute_command(*operation.words(by_text=True))  # type: ignore[no-untyped-call]


class OneByOne:
    """Collects operations like a pipeline, but runs each by itself.

    So replicas can confirm each, and none is sent twice.

    Args:
        runner: Runs them.

    Attributes:
        command_stack: The operations.
    """

    def __init__(self, runner: Runner) -> None:
        """Start empty."""
        self._runner = runner
        self.command_stack: list[Operation[Any]] = []

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002  as redis-py
        """Run all, even if some are refused or not confirmed.

        Once a connection is lost or the server does not reply, the rest are not tried; on a cluster
        those of other slots are, until one of them fails likewise.

        Args:
            raise_on_error: Whether to raise the first error at once.

        Returns:
            Their results, or errors.

        Raises:
            redis.RedisError: The server could not be reached for the first.
        """
        results: list[Any] = []
        failed: list[Operation[Any]] = []
        untried: Exception | None = None
        operations, self.command_stack = self.command_stack, []
        for operation in operations:
            shares_fate = any(self._runner.share_fate(operation, other) for other in failed)
            if shares_fate or len(failed) >= MOST_FAILED:
                results.append(untried)
                continue
            try:
                results.append(self._runner.run(operation))
            except Exception as error:  # the caller's, one by one
                is_away = not isinstance(error, (ResponseError, TimersError))
                if raise_on_error or (is_away and not results):
                    raise
                results.append(error)
                if not isinstance(error, _ANSWERS) or is_refused_for_now(error):
                    failed.append(operation)
                    untried = RedisConnectionError(f"not sent, because of an earlier call: {error}")
        return results


MOST_FAILED = 2
"""Slots of a cluster whose primaries are away, after which all are taken to be."""

_ANSWERS = (ResponseError, TimerNotReplicatedError, TopicTornError)
