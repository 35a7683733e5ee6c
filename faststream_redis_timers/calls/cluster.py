"""Runs operations on a Redis Cluster: each on the primary of its keys, and only once.

The connections are created here. A RedisCluster closes its connections under calls in flight
whenever it has an error itself, and redis-py 5 can't release them.
"""

import asyncio
import random
from collections.abc import Iterable
from contextlib import suppress
from inspect import signature
from typing import TYPE_CHECKING, Any

from redis.asyncio import ConnectionPool, RedisCluster
from redis.asyncio.connection import AbstractConnection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, ConnectionError as RedisConnectionError, RedisError

from faststream_redis_timers.calls.exchange import LOST, drop, ensure_ready, exchange, writer_of
from faststream_redis_timers.calls.line import PoolFullError, acquire, release
from faststream_redis_timers.calls.pools import (
    LONGEST_CLOSE,
    close_pools,
    hang_up,
    idle_connections_of,
)
from faststream_redis_timers.calls.runner import Runner
from faststream_redis_timers.clock import monotonic
from faststream_redis_timers.tasks import end_task
from faststream_redis_timers_sync.protocol.clients import options_for_nodes
from faststream_redis_timers_sync.protocol.cluster import Address, SlotMap
from faststream_redis_timers_sync.protocol.operation import Operation, command
from faststream_redis_timers_sync.protocol.replication import Confirmation
from faststream_redis_timers_sync.protocol.routing import (
    CLUSTER_SLOTS,
    LONGEST_REFRESH,
    MAP_TIMEOUT,
    NO_MAP,
    Ask,
    NotSentError,
    NotServedError,
    Pause,
    explained,
    fresh,
    not_served,
    way_of,
    window_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_NO_MAINTENANCE: dict[str, Any] = {}
if "maint_notifications_config" in signature(AbstractConnection.__init__).parameters:
    # From redis-py 8.1 on. Its handlers close connections under calls, and refer to the
    # caller's client.
    from redis.maint_notifications import MaintNotificationsConfig

    _NO_MAINTENANCE["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)

_NO_MAP = RedisConnectionError(NO_MAP)


class ClusterPrimaries:
    """The primaries of a cluster: which slots they serve, and a pool of connections to each.

    Args:
        client: The client; its arguments are used to connect, but not its connections.
    """

    is_cluster = True

    def __init__(self, client: RedisCluster) -> None:
        """Read the arguments; send nothing yet."""
        options = client.connection_kwargs
        self._connection_class: type[Any] = options["connection_class"]
        self._max_connections: int = options["max_connections"]
        self._options = {
            **options_for_nodes(options),
            **_NO_MAINTENANCE,
            "retry": Retry(NoBackoff(), 0),
        }
        self.slots = SlotMap(_seeds_of(client), client.nodes_manager.address_remap)
        self.window = window_of(options)
        self._pools: dict[Address, ConnectionPool] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._is_closed = False

    def pool_of(self, primary: Address) -> ConnectionPool:
        """Return the pool of connections to a primary.

        Args:
            primary: The primary.
        """
        pool = self._pools.get(primary)
        if pool is None:
            pool = self._pools[primary] = ConnectionPool(
                connection_class=self._connection_class,
                max_connections=self._max_connections,
                **self._options,
                **primary._asdict(),
            )
        return pool

    def new_connection(self, primary: Address | None) -> Any:
        """Return a redis-py connection outside all pools, which is not connected yet.

        Args:
            primary: What `primary_of` returned.
        """
        address = {} if primary is None else primary._asdict()
        return self._connection_class(**self._options, **address)

    async def primary_of(self, key: bytes) -> Address:
        """Return the primary of a key or sharded channel.

        Args:
            key: The key or channel.

        Raises:
            redis.RedisError: No node knows, or none serves it.
            OSError: No node replies.
        """
        if self.slots.version == 0:
            await self.refresh()
        primary = self.slots.primary_of_key(key)
        if primary is None:
            raise ClusterDownError(
                str(not_served(self.slots, command(b"", parse=str, keys=(key,))))
            )
        return primary

    async def refresh(self) -> None:
        """Ask a node again which primary serves which slot.

        Raises:
            redis.RedisError: No node knows.
            OSError: No node replies.
        """
        try:
            await self.refresh_once(self.slots.version, None, LONGEST_REFRESH)
        except NotSentError as error:
            raise error.problem from None

    async def refresh_once(self, version: int, without: Address | None, seconds: float) -> None:
        """Refresh the map, unless it was refreshed since; concurrent callers share one request.

        Args:
            version: The version of the outdated map.
            without: A node that has just failed to reply, which is asked last.
            seconds: How long to wait, in seconds.

        Raises:
            NotSentError: No node replies, or none knows.
        """
        if self.slots.version != version:
            return
        task = self._refreshing
        if task is None:
            task = asyncio.create_task(self._refresh(without), name="map of the slots")
            self._refreshing = task
            task.add_done_callback(self._end_refresh)
        done, _ = await asyncio.wait({task}, timeout=seconds)
        problem = task.exception() if done and not task.cancelled() else _NO_MAP
        if problem is not None:
            raise NotSentError from fresh(problem)

    def _end_refresh(self, task: "asyncio.Task[None]") -> None:
        self._refreshing = None
        if not task.cancelled():
            # Waiters get the exception; perhaps nobody waits any longer.
            task.exception()

    async def _refresh(self, without: Address | None) -> None:
        problem: Exception = _NO_MAP
        end = monotonic() + LONGEST_REFRESH
        for address in self.slots.candidates(without):
            connection = self.new_connection(address)
            try:
                async with asyncio.timeout(MAP_TIMEOUT):
                    await connection.connect()
                    reply = await exchange(connection, CLUSTER_SLOTS, None, None)
            except (RedisError, OSError) as error:
                problem = explained(error, address)
            else:
                # A node that was reset has an empty map.
                if reply:
                    self.slots.replace(reply, address)
                    await self._close_former()
                    return
            finally:
                await drop(connection, writer_of(connection))
            if monotonic() >= end:
                break
        raise problem

    async def _close_former(self) -> None:
        """Close idle connections to nodes that have left; `give_back` closes the others."""
        for address in self._pools.keys() - self.slots.nodes:
            for connection in idle_connections_of(self._pools.pop(address)):
                # The node may be dead, and TLS would wait for its reply.
                await drop(connection, writer_of(connection))

    async def give_back(self, primary: Address, pool: ConnectionPool, connection: Any) -> None:
        """Return a connection to its pool, or close it if the pool is no longer used.

        Args:
            primary: The pool's primary.
            pool: The pool.
            connection: The connection.
        """
        if self._is_closed or self._pools.get(primary) is not pool:
            await drop(connection, writer_of(connection))
        await release(pool, connection)

    async def close(self) -> None:
        """Close all connections; later calls use new ones, which are closed after each call."""
        self._is_closed = True
        if self._refreshing is not None:
            await end_task(self._refreshing)
        pools, self._pools = self._pools, {}
        await close_pools(list(pools.values()))

    def hang_up(self) -> None:
        """Close all connections without awaiting, as their event loop does not run."""
        pools, self._pools = self._pools, {}
        hang_up(*pools.values())


class ClusterRunner(Runner):
    """Runs operations on a cluster.

    Args:
        client: The client; its nodes and arguments are used, but not its connections.
        confirmation: How many replicas must confirm writes; None waits for none.
        closes_client: Whether the client was created here, and must be closed.
    """

    __slots__ = ("_closes_client", "primaries")

    client: RedisCluster
    primaries: ClusterPrimaries

    def __init__(
        self,
        client: RedisCluster,
        confirmation: Confirmation | None = None,
        *,
        closes_client: bool = False,
    ) -> None:
        """Store them."""
        self.client = client
        self.confirmation = confirmation
        self._closes_client = closes_client
        self.primaries = ClusterPrimaries(client)

    async def _answer(self, operation: Operation[Any], timeout: float | None) -> Any:
        primaries = self.primaries
        way = way_of(operation, primaries.slots, primaries.window, monotonic, random.random)
        try:
            turn = next(way)
            while True:
                try:
                    answer = None
                    if isinstance(turn, Ask):
                        answer = await self._ask_at(turn, operation, timeout)
                    elif isinstance(turn, Pause):
                        await asyncio.sleep(turn.seconds)
                    else:
                        await primaries.refresh_once(*turn)
                except PoolFullError:
                    raise
                except asyncio.CancelledError:
                    # A caller that gave up may have waited for a silent node.
                    primaries.slots.is_stale = True
                    raise
                except Exception as error:  # noqa: BLE001  `way` handles each error
                    turn = way.throw(error)
                else:
                    turn = way.send(answer)
        except StopIteration as stop:
            return stop.value
        except NotServedError as error:
            raise ClusterDownError(str(error)) from None

    async def _ask_at(self, turn: Ask, operation: Operation[Any], timeout: float | None) -> Any:
        pool = self.primaries.pool_of(turn.primary)
        try:
            connection = await acquire(pool, timeout)
        except PoolFullError:
            raise
        except LOST as error:
            raise NotSentError from error
        try:
            try:
                await ensure_ready(connection, timeout)
            except LOST as error:
                raise NotSentError from error
            return await exchange(
                connection, operation, timeout, self.confirmation, asking=turn.asking
            )
        finally:
            await self.primaries.give_back(turn.primary, pool, connection)

    async def ping(self) -> None:
        """Check that the cluster replies and serves all slots.

        Raises:
            redis.RedisError: Some slots are not served, or the nodes failed.
        """
        await self.primaries.refresh()
        if self.primaries.slots.uncovered:
            raise ClusterDownError(str(not_served(self.primaries.slots)))

    async def warm(self, key: bytes) -> None:
        """Ping the primary of a key, which warms the connection to it.

        Args:
            key: The key.

        Raises:
            redis.RedisError: The server or the connection failed.
        """
        await self.run(command(b"PING", parse=bool, keys=(key,)))

    async def close(self) -> None:
        """Close the connections, and the client if it was created here."""
        await self.primaries.close()
        if self._closes_client:
            # It has connections only if something used it.
            with suppress(RedisError, OSError):
                async with asyncio.timeout(LONGEST_CLOSE):
                    await self.client.aclose()

    def hang_up(self) -> None:
        """Close the connections if their event loop does not run."""
        self.primaries.hang_up()


def address_of_cluster(client: RedisCluster) -> str:
    """Return the URL of a cluster's nodes for documents, without user and password.

    Args:
        client: The client.
    """
    return address_of_nodes(_seeds_of(client), client.connection_kwargs["connection_class"])


def address_of_nodes(seeds: Iterable[Address], connection_class: type[Any]) -> str:
    """Return the URL of nodes for documents.

    Args:
        seeds: The nodes.
        connection_class: The class of the connections to them.
    """
    scheme = "rediss" if issubclass(connection_class, SSLConnection) else "redis"
    return f"{scheme}+cluster://{','.join(map(str, seeds))}"


def _seeds_of(client: RedisCluster) -> list[Address]:
    nodes: Mapping[str, Any] = client.nodes_manager.startup_nodes
    return [Address(node.host, int(node.port)) for node in nodes.values()]
