"""Runs operations on a Redis Cluster: each once, on the primary of its keys.

This package makes its own connections: redis-py closes those of a RedisCluster during calls
whenever the client meets an error.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    ConnectionError as RedisConnectionError,
    RedisError,
)
from redis.retry import Retry

from faststream_redis_timers_sync.calls.exchange import LOST, exchange
from faststream_redis_timers_sync.calls.pools import acquire
from faststream_redis_timers_sync.calls.runner import OneByOne, Runner
from faststream_redis_timers_sync.protocol.clients import is_pool_full, options_for_nodes
from faststream_redis_timers_sync.protocol.cluster import Address, Remap, SlotMap, share_slot
from faststream_redis_timers_sync.protocol.operation import Operation
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

_NO_MAINTENANCE: dict[str, Any] = {}
if "maint_notifications_config" in signature(redis.ConnectionPool.__init__).parameters:
    # From redis-py 7.0 on. Its handlers close connections during calls, and lead back to the
    # caller's client.
    from redis.maint_notifications import MaintNotificationsConfig

    _NO_MAINTENANCE["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)


class ClusterNodes(NamedTuple):
    """How to reach a cluster.

    Args:
        seeds: Some of its nodes.
        connection_class: The class of connections.
        options: Their arguments, without those that name a node or retry.
        max_connections: The maximum per node; None leaves it to redis-py.
        remap: Maps an announced address to the one to connect to.
    """

    seeds: Sequence[Address]
    connection_class: type[Any]
    options: Mapping[str, Any]
    max_connections: int | None = None
    remap: Remap | None = None


def nodes_of(client: redis.RedisCluster) -> ClusterNodes:
    """Read how a client reaches its cluster.

    Args:
        client: The client, which has connected already.
    """
    nodes: Any = client.nodes_manager
    known: list[Any] = client.get_nodes()  # type: ignore[no-untyped-call]
    own: Any = client.get_redis_connection(known[0])
    pool = own.connection_pool
    options = options_for_nodes(pool.connection_kwargs)
    if client.user_on_connect_func is not None:
        options["redis_connect_func"] = _OnConnect(client.user_on_connect_func)
    return ClusterNodes(
        [Address(node.host, int(node.port)) for node in (*nodes.startup_nodes.values(), *known)],
        pool.connection_class,
        options,
        pool.max_connections,
        nodes.address_remap,
    )


class _OnConnect:
    """Runs the caller's hook on each new connection; the client's own hook leads back to it."""

    def __init__(self, then: Callable[[Any], Any]) -> None:
        self._then = then

    def __call__(self, connection: Any) -> None:
        connection.on_connect()
        self._then(connection)


class ClusterRunner(Runner):
    """Runs operations on a cluster, with its own map of slots and its own connections.

    Args:
        nodes: How to reach it.
        confirmation: How many replicas must confirm a write; None asks none.
    """

    __slots__ = (
        "_nodes",
        "_options",
        "_pid",
        "_pools",
        "_problem",
        "_refreshing",
        "_slots",
        "_window",
    )
    is_cluster = True

    def __init__(self, nodes: ClusterNodes, confirmation: Confirmation | None = None) -> None:
        """Prepare; nothing is sent yet."""
        self.confirmation = confirmation
        self._nodes = nodes
        self._options = {**nodes.options, **_NO_MAINTENANCE, "retry": Retry(NoBackoff(), 0)}
        self._slots = SlotMap(nodes.seeds, nodes.remap)
        self._window = window_of(nodes.options)
        self._problem: Exception | None = None
        self._begin()

    def _begin(self) -> None:
        self._pools: dict[Address, redis.ConnectionPool] = {}
        self._refreshing = threading.Lock()
        # Last: another thread that sees it uses the others as they are.
        self._pid = os.getpid()

    @property
    def connection_options(self) -> Mapping[str, Any]:
        """The arguments with which redis-py makes the connections; none names a node."""
        return self._options

    @property
    def address(self) -> str:
        """The addresses of its nodes, without user and password."""
        return ",".join(dict.fromkeys(map(str, self._nodes.seeds)))

    @property
    def map_fingerprint(self) -> str:
        """A word that changes once slots have moved, by the map that was read last."""
        return self._slots.fingerprint

    def share_fate(self, operation: Operation[Any], other: Operation[Any]) -> bool:
        """Return whether one operation fails if the other did: its slot is the same."""
        return share_slot(*operation.keys[:1], *other.keys[:1])

    def new_pipeline(self) -> "OneByOne":
        """Return an object that runs one call after the other: a pipeline has only one node."""
        return OneByOne(self)

    def primaries(self) -> "list[Runner]":
        """Return a runner for each primary, by a map that is read again.

        Raises:
            redis.RedisError: No node returns the map, or slots are served by none.
        """
        self.ping()
        return [_NodeRunner(self, primary) for primary in self._slots.primaries]

    def primary_of(self, key: bytes) -> Runner:
        """Return a runner for the primary that serves a key, as far as is known.

        Args:
            key: The key, or the name of a sharded channel.

        Raises:
            redis.RedisError: No node returns the map, or no primary serves the key.
        """
        if not self._slots.version:
            self._read_again()
        primary = self._slots.primary_of_key(key)
        if primary is None:
            raise ClusterDownError(str(not_served(self._slots)))
        return _NodeRunner(self, primary)

    def nodes(self) -> "list[Runner]":
        """Return a runner for each primary and each replica, by a map that is read again.

        Raises:
            redis.RedisError: No node returns the map.
        """
        self._read_again()
        primaries = self._slots.primaries
        nodes = sorted(dict.fromkeys((*primaries, *self._slots.nodes)))
        return [_NodeRunner(self, node, is_primary=node in primaries) for node in nodes]

    def ping(self) -> None:
        """Check that all slots of the cluster are served.

        Raises:
            redis.RedisError: They are not, or a node failed.
        """
        self._read_again()
        if self._slots.uncovered:
            raise ClusterDownError(str(not_served(self._slots)))

    def _read_again(self) -> None:
        try:
            self._refresh(self._slots.version, None, LONGEST_REFRESH)
        except NotSentError as error:
            raise error.problem from None

    def close(self) -> None:
        """Close the connections, which are never the client's."""
        if self._pid != os.getpid():
            # As in `_pool_of`: redis-py would take the lock of the parent's pool.
            self._begin()
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.disconnect()

    def _answer(self, operation: Operation[Any]) -> Any:
        way = way_of(operation, self._slots, self._window, time.monotonic, random.random)
        try:
            turn = next(way)
            while True:
                try:
                    answer = None
                    if isinstance(turn, Ask):
                        answer = self.ask_at(turn.primary, operation, asking=turn.asking)
                    elif isinstance(turn, Pause):
                        time.sleep(turn.seconds)
                    else:
                        self._refresh(*turn)
                except Exception as error:
                    if is_pool_full(error):
                        raise
                    turn = way.throw(error)
                else:
                    turn = way.send(answer)
        except StopIteration as stop:
            return stop.value
        except NotServedError as error:
            raise ClusterDownError(str(error)) from None

    def ask_at(self, primary: Address, operation: Operation[Any], *, asking: bool = False) -> Any:
        """Send an operation to one primary, once.

        Args:
            primary: The primary.
            operation: The operation.
            asking: Whether it is asked for a slot that is moving to it.

        Returns:
            The raw reply.

        Raises:
            NotSentError: No connection was made.
            TimerOutcomeUnknownError: The reply was lost, and it may not be repeated.
            TimerNotReplicatedError: Too few replicas have it.
            redis.RedisError: The server or the connection failed.
        """
        pool = self._pool_of(primary)
        try:
            connection = acquire(pool)
        except LOST as error:
            if is_pool_full(error):
                raise
            raise NotSentError from error
        try:
            return exchange(connection, operation, self.confirmation, asking=asking)
        finally:
            if self._pools.get(primary) is not pool:
                # The node has left, or this runner was closed: this pool is no longer used.
                connection.disconnect()
            pool.release(connection)

    def _pool_of(self, primary: Address) -> redis.ConnectionPool:
        if self._pid != os.getpid():
            # A fork: the parent keeps its connections, and maybe its lock was held.
            self._begin()
        pool = self._pools.get(primary)
        if pool is None:
            made = redis.ConnectionPool(
                connection_class=self._nodes.connection_class,
                max_connections=self._nodes.max_connections,
                **self._options,
                **primary._asdict(),
            )
            # Another thread may have been faster.
            pool = self._pools.setdefault(primary, made)
        return pool

    def _refresh(self, version: int, without: Address | None, seconds: float) -> None:
        """Read the map again, unless that was done since; waiting threads share the outcome."""
        if self._pid != os.getpid():
            self._begin()
        is_waiting = self._refreshing.locked()
        with self._refreshing:
            if self._slots.version != version:
                return
            if not is_waiting or self._problem is None:
                self._problem = self._read_map(without, min(seconds, LONGEST_REFRESH))
            if self._problem is not None:
                raise NotSentError from fresh(self._problem)

    def _read_map(self, without: Address | None, seconds: float) -> Exception | None:
        """Read the map from the first node that returns one; else return the last error."""
        problem: Exception | None = None
        limits = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), MAP_TIMEOUT)
        end = time.monotonic() + seconds
        for address in self._slots.candidates(without):
            arguments = {**self._options, **limits, **address._asdict()}
            connection = self._nodes.connection_class(**arguments)
            try:
                connection.connect()
                reply = exchange(connection, CLUSTER_SLOTS, None)
            except (RedisError, OSError) as error:
                problem = explained(error, address)
            else:
                # A node that was reset knows nothing.
                if reply:
                    self._slots.replace(reply, address)
                    self._let_go_of_former()
                    return None
            finally:
                connection.disconnect()
            if time.monotonic() >= end:
                break
        return problem or RedisConnectionError(NO_MAP)

    def _let_go_of_former(self) -> None:
        """Close connections to nodes that are no longer in the cluster."""
        for address in self._pools.keys() - self._slots.nodes:
            if (pool := self._pools.pop(address, None)) is not None:
                pool.disconnect(inuse_connections=False)


class _NodeRunner(Runner):
    """Runs operations on one node of a cluster, whatever their keys."""

    __slots__ = ("_cluster", "_node", "is_primary")

    def __init__(self, cluster: ClusterRunner, node: Address, *, is_primary: bool = True) -> None:
        self.confirmation = cluster.confirmation
        self.is_primary = is_primary
        self._cluster = cluster
        self._node = node

    @property
    def address(self) -> str:
        return str(self._node)

    def _answer(self, operation: Operation[Any]) -> Any:
        try:
            return self._cluster.ask_at(self._node, operation)
        except NotSentError as error:
            problem = error.problem
        # Not in the block above, or its own cause would be lost.
        raise problem
