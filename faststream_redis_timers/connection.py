"""A broker's client, and other objects that all its subscribers share.

All modules that import redis-py are imported from here, and this module when a broker is
created: redis-py takes as long to import as the rest of this package.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from ssl import SSLContext
from typing import Any, TypeAlias

import redis
import redis.asyncio
from faststream.exceptions import IncorrectState
from faststream.security import (
    SASLGSSAPI,
    BaseSecurity,
    SASLOAuthBearer,
    SASLPlaintext,
    SASLScram256,
    SASLScram512,
)
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from faststream_redis_timers.calls.cluster import (
    ClusterRunner,
    address_of_cluster,
    address_of_nodes,
)
from faststream_redis_timers.calls.pools import (
    address_at,
    address_of,
    connection_options,
)
from faststream_redis_timers.calls.runner import Runner
from faststream_redis_timers.calls.wakeups import WakeUps
from faststream_redis_timers.delivery.schedule import AlarmClock, SpinBudget
from faststream_redis_timers.delivery.slots import Suspects
from faststream_redis_timers.tasks import check_cancelled, count_cancellations
from faststream_redis_timers_sync.protocol.clients import (
    URL_OPTIONS,
    check_url,
    database_of,
    is_cluster_url,
    options_for_nodes,
    read_cluster_url,
)
from faststream_redis_timers_sync.protocol.cluster import Address
from faststream_redis_timers_sync.protocol.replication import Confirmation
from faststream_redis_timers_sync.protocol.safe_text import text_of

Client: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster


class TimersConnection:
    """The broker's client, and other objects that its subscribers share.

    The first use opens it. A client created here belongs to the event loop of that first use.
    Another loop gets another client, once the first loop no longer runs.

    Args:
        client: A client, which the caller must close; a URL, from which a client is created
            and closed here; or None. For a cluster's client, connections are created here too.
        on_open: Called with the client each time it is opened.
        log: Writes a line with a `logging` level to the broker's log.
        security: User, password and TLS of a client created from a URL.
        confirmation: How many replicas must confirm writes; None waits for none.
        hash_tags: Whether keys have hash tags, and wake-ups are sharded.

    Raises:
        TypeError: `client` is a blocking client, or not a client; or `security` can't be
            used with a URL.
        ValueError: redis-py does not understand the URL, or it is that of a Unix
            socket and `security` requires TLS.
    """

    def __init__(
        self,
        client: "Client | str | None",
        on_open: Callable[["Client"], None],
        log: Callable[[int, str], None],
        security: BaseSecurity | None = None,
        confirmation: Confirmation | None = None,
        *,
        hash_tags: bool = False,
    ) -> None:
        """Check client and security; send nothing yet."""
        if security is not None and not isinstance(security, BaseSecurity):
            # The value may be a password.
            raise _no_security(security)
        self.confirmation = confirmation
        self._hash_tags = hash_tags
        self._options: dict[str, Any] = {}
        self._seeds: tuple[Address, ...] = ()
        if isinstance(client, str):
            if is_cluster_url(client):
                check_url(client)
                client, self._seeds = read_cluster_url(client)
            self._options = {
                **URL_OPTIONS,
                "retry": Retry(NoBackoff(), 0),
                **_options_of(client, security),
            }
            # Raise for unusable options here, not at the first call.
            if self._seeds:
                _cluster_of(self._seeds, self._options)
            else:
                _check_options(self._options)
        elif client is not None:
            _check_client(client)
        self._given = client
        self._on_open = on_open
        self._log = log
        self._runner: Runner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._wake_ups: WakeUps | None = None
        self.spin_budget = SpinBudget()
        self.alarm_clock = AlarmClock()
        self.suspects = Suspects()

    @property
    def runner(self) -> Runner:
        """Runs operations on the client, which connects when it is first used.

        Raises:
            IncorrectState: There is no client; or a client created here was closed and not opened
                again, or is in use in another event loop.
        """
        if self._runner is not None:
            if self._loop is None or self._loop is asyncio.get_running_loop():
                return self._runner
            if self._loop.is_running():
                raise IncorrectState(_OTHER_LOOP)
            self._runner.hang_up()
        self._runner = self._make_runner()
        self._wake_ups = None
        self._on_open(self._runner.client)
        return self._runner

    def _make_runner(self) -> Runner:
        if self._given is None:
            raise IncorrectState(_NO_CLIENT)
        if isinstance(self._given, redis.asyncio.Redis):
            return Runner(self._given, self.confirmation)
        if isinstance(self._given, str) and self._is_closed:
            raise IncorrectState(_CLOSED)
        # Connections created here belong to this event loop.
        self._loop = asyncio.get_running_loop()
        if isinstance(self._given, redis.asyncio.RedisCluster):
            return ClusterRunner(self._given, self.confirmation)
        if self._seeds:
            cluster = _cluster_of(self._seeds, self._options)
            return ClusterRunner(cluster, self.confirmation, closes_client=True)
        client = redis.asyncio.Redis.from_pool(ConnectionPool(**self._options))
        return Runner(client, self.confirmation)

    @property
    def address(self) -> str:
        """The server's URL for documents, without user and password."""
        if isinstance(self._given, redis.asyncio.RedisCluster):
            return address_of_cluster(self._given)
        if isinstance(self._given, redis.asyncio.Redis):
            return address_of(self._given)
        connection_class = self._options.get("connection_class", Connection)
        if self._seeds:
            return address_of_nodes(self._seeds, connection_class)
        return address_at(self._options, connection_class)

    @property
    def database(self) -> int:
        """The number of the server's database; a cluster has only 0."""
        if isinstance(self._given, redis.asyncio.Redis):
            return database_of(connection_options(self._given))
        return database_of(self._options)

    @property
    def wake_ups(self) -> WakeUps:
        """The listener that all subscribers share."""
        if self._wake_ups is None:
            runner = self.runner
            self._wake_ups = WakeUps(runner.primaries, self._log, are_sharded=self._hash_tags)
            if isinstance(runner, ClusterRunner):
                self._wake_ups.follow(runner.primaries.slots)
        return self._wake_ups

    def open(self) -> "Client":
        """Return a client, even after `close`; it connects at its first use.

        Raises:
            IncorrectState: The broker has neither client nor URL, or another event loop uses
                it.
        """
        self._is_closed = False
        return self.runner.client

    async def wait_for_server(self, timeout: float) -> None:
        """Ping the server until it replies.

        Args:
            timeout: Seconds; 0 pings once, and waits a second at most.

        Raises:
            TimeoutError: It did not reply in time.
        """
        problem: Exception | None = None
        cancelled_before = count_cancellations()
        try:
            async with asyncio.timeout(timeout or _SINGLE_TRY):
                while problem is None or timeout > 0:
                    try:
                        return await self.runner.ping()
                    except (RedisError, OSError) as error:
                        problem = error
                        # The error may have replaced the cancellation of the timeout.
                        check_cancelled(cancelled_before)
                    await asyncio.sleep(0.05)
                raise TimeoutError  # noqa: TRY301  like the end of the timeout
        except TimeoutError:
            msg = f"the server did not reply within start_timeout={timeout:g} s"
            if problem is None:
                raise TimeoutError(msg) from None
            reason = text_of(problem)
            msg = f"{msg}: {reason}"
            # A traceback would show what the text leaves out.
            raise TimeoutError(msg) from (problem if reason == str(problem) else None)

    async def is_answered(self, timeout: float) -> bool:
        """Return whether the server replies; False after `close`, and without a client.

        Args:
            timeout: Seconds to wait for the reply.
        """
        if self._is_closed or self._given is None:
            return False
        # Another event loop's client can't be asked.
        with suppress(RedisError, OSError, IncorrectState):
            async with asyncio.timeout(timeout):
                await self.runner.ping()
                return True
        return False

    async def close(self) -> None:
        """Disconnect, and close the client if it was created here.

        A client that the user passed works again when it is used.

        Raises:
            IncorrectState: Another event loop uses it.
        """
        is_left = self._loop not in {None, asyncio.get_running_loop()}
        if self._loop is not None and is_left and self._loop.is_running():
            raise IncorrectState(_OTHER_LOOP)
        self._is_closed = True
        runner, self._runner = self._runner, None
        self._loop = self._wake_ups = None
        if runner is None:
            return
        if is_left:
            runner.hang_up()
        else:
            await self._close_if_ours(runner)

    async def close_again(self, runner: Runner) -> None:
        """Close the runner that a delivery loop used after `close`: a handler stopped the broker.

        Args:
            runner: The loop's runner.
        """
        if runner is not self._runner:
            await self._close_if_ours(runner)

    async def _close_if_ours(self, runner: Runner) -> None:
        if not isinstance(self._given, redis.asyncio.Redis):
            await runner.close()


_SINGLE_TRY = 1.0
"""Seconds of a single ping."""

_NO_CLIENT = (
    "the TimersBroker has no client: pass a redis.asyncio.Redis or a URL, "
    'as in TimersBroker("redis://localhost:6379")'
)
_CLOSED = (
    "the TimersBroker is stopped, and the client made from its URL is closed: "
    "call `await broker.connect()` or `await broker.start()` first"
)
_OTHER_LOOP = (
    "the TimersBroker is in use in another event loop, which is running: create one broker per "
    "loop, or call `await broker.stop()` there first"
)


def _options_of(url: str, security: BaseSecurity | None) -> dict[str, Any]:
    check_url(url)
    options: dict[str, Any] = dict(parse_url(url))
    if security is None:
        return options
    if isinstance(security, SASLPlaintext):
        options |= {"username": security.username, "password": security.password}
    elif isinstance(security, _UNKNOWN_TO_REDIS):
        raise _no_security(security)
    if security.use_ssl:
        if "path" in options:
            msg = "security requires TLS, but the URL is that of a Unix socket, which can't use TLS"
            raise ValueError(msg)
        options["connection_class"] = SSLConnection
        if security.ssl_context is not None:
            options["connection_class"] = _with_context(security.ssl_context)
        # redis-py below 6.0 does not check host names by default; FastStream always does.
        options.setdefault("ssl_check_hostname", options.get("ssl_cert_reqs") != "none")
    return options


def _check_options(options: Mapping[str, Any]) -> None:
    try:
        ConnectionPool(**options).make_connection()  # type: ignore[no-untyped-call]
    except Exception as error:  # what it raises depends on the option
        msg = f"the options after the ? in the URL can't be used: {error}"
        raise ValueError(msg) from error


def _no_security(security: object) -> TypeError:
    return TypeError(
        "security of a TimersBroker must be a BaseSecurity or, for user and password, a "
        f"SASLPlaintext, got {type(security).__name__}"
    )


_UNKNOWN_TO_REDIS = (SASLScram256, SASLScram512, SASLOAuthBearer, SASLGSSAPI)


def _with_context(context: SSLContext) -> type[Connection]:
    class SecuredConnection(SSLConnection):
        # redis-py creates its context from files. FastStream's RedisBroker overrides the same.
        def _connection_arguments(self) -> dict[str, Any]:
            return {**Connection._connection_arguments(self), "ssl": context}  # noqa: SLF001

    return SecuredConnection


def _cluster_of(seeds: Iterable[Address], options: Mapping[str, Any]) -> redis.asyncio.RedisCluster:
    connection_class = options.get("connection_class", Connection)
    allowed = options_for_nodes(options)
    if "max_connections" in options:
        allowed["max_connections"] = options["max_connections"]
    nodes = [ClusterNode(*seed) for seed in seeds]
    try:
        client = redis.asyncio.RedisCluster(
            startup_nodes=nodes, ssl=issubclass(connection_class, SSLConnection), **allowed
        )
    except TypeError as error:
        msg = f"the options after the ? in the URL of a cluster can't be used: {error}"
        raise ValueError(msg) from error
    if issubclass(connection_class, SSLConnection):
        # It accepts no connection class, and `security` needs its own.
        client.connection_kwargs["connection_class"] = connection_class
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = connection_class
    return client


def _check_client(client: object) -> None:
    if isinstance(client, (redis.Redis, redis.RedisCluster)):
        kind = type(client).__name__
        msg = (
            f"client is a blocking redis.{kind}, but the broker is asynchronous: pass a "
            f"redis.asyncio.{kind}, or use faststream_redis_timers_sync.TimersClient"
        )
        raise TypeError(msg)
    if not isinstance(client, (redis.asyncio.Redis, redis.asyncio.RedisCluster)):
        msg = (
            "client must be a redis.asyncio.Redis, a redis.asyncio.RedisCluster or a URL, got "
            f"{type(client).__name__}"
        )
        raise TypeError(msg)
