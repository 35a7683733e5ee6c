"""Clients and their pools: checks of clients, clients from URLs, taking connections."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from queue import Empty
from types import NoneType
from typing import Any
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError, RedisError
from redis.retry import Retry

from faststream_redis_timers_sync.protocol.clients import (
    URL_OPTIONS,
    PoolWait,
    check_url,
    get_connection_args,
    is_pool_full,
)

_GET_CONNECTION_ARGS = get_connection_args(redis.__version__)


def acquire(pool: redis.ConnectionPool) -> Any:
    """Take a connection from a pool, waiting while all of them are in use.

    It is pinged now if its client wants that (``health_check_interval``), while nothing was sent.

    Args:
        pool: The pool.

    Raises:
        redis.RedisError: What the pool or the connection says.
    """
    connection = _take(pool)
    try:
        connection.check_health()
    except BaseException:
        connection.disconnect()
        pool.release(connection)
        raise
    return connection


def _take(pool: redis.ConnectionPool) -> Any:
    wait = None
    while True:
        try:
            return pool.get_connection(*_GET_CONNECTION_ARGS)
        except RedisConnectionError as error:
            # A BlockingConnectionPool has waited already, for as long as it was told.
            waits_itself = isinstance(pool, redis.BlockingConnectionPool)
            if waits_itself or not is_pool_full(error):
                raise
            wait = wait or PoolWait(time.monotonic)
            if not wait.left:
                raise
        except RedisError:
            raise
        except BaseException:
            _drop_idle(pool)
            raise
        time.sleep(wait.next_pause())


def _drop_idle(pool: redis.ConnectionPool) -> None:
    # If anything but an error of redis-py ends a handshake, such as an error of a credential
    # provider or of a signal handler, redis-py returns the open connection to its pool. The next
    # call would use it without its user, and with database 0.
    if not isinstance(pool, redis.BlockingConnectionPool):
        pool.disconnect(inuse_connections=False)
        return
    # Before version 6 redis-py can't tell idle connections of this pool from others.
    taken = []
    with suppress(Empty):
        while True:
            taken.append(pool.pool.get_nowait())
    for connection in reversed(taken):
        if connection is not None:
            connection.disconnect()
        pool.pool.put_nowait(connection)


def client_of(client: "redis.Redis | str", options: Mapping[str, Any] | None) -> redis.Redis:
    """Return the client that operations run on.

    Args:
        client: A client, or a URL to make one from.
        options: Further arguments for the client that is made; None for a client that was given.

    Raises:
        TypeError: It is an asyncio or single-connection client, or not a client.
        ValueError: URL or options can't be used.
    """
    if isinstance(client, str):
        return _client_from(client, {} if options is None else options)
    check_options(client, options)
    if isinstance(client, (redis.asyncio.Redis, redis.asyncio.RedisCluster)):
        kind = type(client).__name__
        msg = (
            f"client is a redis.asyncio.{kind}, but this client is blocking: pass a redis.{kind}, "
            "or use faststream_redis_timers.TimersBroker"
        )
        raise TypeError(msg)
    if not isinstance(client, redis.Redis):
        msg = (
            "client must be a redis.Redis, a redis.RedisCluster or a URL, got "
            f"{type(client).__name__}"
        )
        raise TypeError(msg)
    if client.connection is not None:
        raise TypeError(_NO_SINGLE_CONNECTION)
    if getattr(client.connection_pool, "cache", None) is not None:
        msg = (
            "client caches replies (cache_config), so redis-py would mix up replies of scripts "
            "and of cached commands: pass a client without it"
        )
        raise TypeError(msg)
    return client


def check_options(client: object, options: Mapping[str, Any] | None) -> None:
    """Refuse options beside a client that has its own.

    Args:
        client: The client.
        options: The value.

    Raises:
        ValueError: It was not None.
    """
    if options is not None:
        kind = type(client).__name__
        msg = f"options are for a client that is made from a URL: pass them to your redis.{kind}"
        raise ValueError(msg)


_NO_SINGLE_CONNECTION = (
    "client was made with single_connection_client=True, which threads and forks corrupt: "
    "leave that option out"
)


def _client_from(url: str, options: Mapping[str, Any]) -> redis.Redis:
    if not isinstance(options, Mapping):
        msg = f"options must be a mapping, got {type(options).__name__}"
        raise TypeError(msg)
    if options.get("single_connection_client"):
        raise TypeError(_NO_SINGLE_CONNECTION)
    check_url(url)
    options = {"retry": Retry(NoBackoff(), 0), **URL_OPTIONS, **options}
    options.pop("single_connection_client", None)
    make_pool = partial(_pool_from, url, options)
    client = redis.Redis.from_pool(pool := make_pool())
    for name in URL_OPTIONS:
        seconds = pool.connection_kwargs.get(name)
        # The socket would refuse it, at the first call.
        if not isinstance(seconds, (int, float, NoneType)):
            msg = f"options[{name!r}] must be a number of seconds, got {seconds!r}"
            raise ValueError(msg)  # noqa: TRY004  as for all that options can be wrong in
    try:
        # redis-py would refuse a name that it does not know at the first call.
        pool.connection_class(**pool.connection_kwargs)
    except Exception as error:  # what it raises depends on the option
        msg = f"options, or the part of the URL after the ?, can't be used: {error}"
        raise ValueError(msg) from error
    _pools_of_ours[client] = make_pool
    return client


def _pool_from(url: str, options: Mapping[str, Any]) -> redis.ConnectionPool:
    pool = redis.ConnectionPool.from_url(url, **options)
    if pool.connection_class is redis.UnixDomainSocketConnection:
        pool.connection_class = _UnixConnection
    return pool


_pools_of_ours: WeakKeyDictionary[redis.Redis, Callable[[], redis.ConnectionPool]] = (
    WeakKeyDictionary()
)
# The clients that were made from URLs, and what makes a pool for each.


def _renew_pools() -> None:
    # redis-py empties a pool in a forked process by itself. But 8.1 takes the pool's old lock for
    # it, and if a thread of the parent held that, nobody will ever release it.
    for client, make_pool in list(_pools_of_ours.items()):
        client.connection_pool = make_pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_pools)


class _UnixConnection(redis.UnixDomainSocketConnection):
    """A connection that keeps its timeout, which redis-py before 5.0.8 forgets."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self.socket_timeout = options["socket_timeout"]
