"""The configuration that a broker shares with its subscribers and publishers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis
import redis.asyncio
from faststream.exceptions import IncorrectState
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from faststream_redis_timers._faststream import BrokerConfig
from faststream_redis_timers.subscriber.schedule import SpinBudget
from faststream_redis_timers.subscriber.wakeups import WakeUps
from faststream_redis_timers_sync.protocol.clients import NO_CLUSTER, URL_OPTIONS, is_cluster
from faststream_redis_timers_sync.protocol.operations import Operations


class TimersConnection:
    """The broker's client, and what its subscribers share beside it.

    Args:
        client: A client, which stays the caller's; a URL, of which one is made
            and closed here; or None.
        log: Writes a line of a `logging` level to the broker's log.

    Raises:
        TypeError: `client` is a blocking or cluster client, or no client at all.
        ValueError: redis-py does not understand the URL.
    """

    def __init__(
        self, client: "redis.asyncio.Redis | str | None", log: Callable[[int, str], None]
    ) -> None:
        """Check the client; nothing is sent yet."""
        if isinstance(client, str):
            parse_url(client)
        elif client is not None:
            _check_client(client)
        self._given = client
        self._log = log
        self._client: redis.asyncio.Redis | None = None
        self._wake_ups: WakeUps | None = None
        self.spin_budget = SpinBudget()

    @property
    def client(self) -> "redis.asyncio.Redis":
        """The client.

        Raises:
            IncorrectState: There is none, or `open` was not called.
        """
        if self._client is not None:
            return self._client
        if self._given is None:
            msg = (
                "the TimersBroker has no client: give it a redis.asyncio.Redis or a URL, "
                'as in TimersBroker("redis://localhost:6379")'
            )
            raise IncorrectState(msg)
        msg = "the TimersBroker is not connected: call `await broker.connect()` first"
        raise IncorrectState(msg)

    @property
    def address(self) -> str:
        """The server's URL for documents, without user and password."""
        if isinstance(self._given, str):
            url = urlsplit(self._given)
            return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))
        options: dict[str, Any] = {}
        if self._given is not None:
            options = self._given.connection_pool.connection_kwargs
        if path := options.get("path"):
            return f"unix://{path}"
        return f"redis://{options.get('host', 'localhost')}:{options.get('port', 6379)}"

    @property
    def wake_ups(self) -> WakeUps:
        """The listener that all subscribers share."""
        if self._wake_ups is None:
            self._wake_ups = WakeUps(self.client, self._log)
        return self._wake_ups

    def open(self) -> "redis.asyncio.Redis":
        """Have a client; it connects when it is first used.

        Raises:
            IncorrectState: Neither client nor URL was given.
        """
        if self._client is None and self._given is not None:
            self._client = (
                redis.asyncio.Redis.from_url(
                    self._given, retry=Retry(NoBackoff(), 0), **URL_OPTIONS
                )
                if isinstance(self._given, str)
                else self._given
            )
        return self.client

    async def close(self) -> None:
        """Let go of the client, and close it if it was made here."""
        client, self._client = self._client, None
        self._wake_ups = None
        if client is not None and client is not self._given:
            await client.aclose()

    async def close_again(self, client: "redis.asyncio.Redis") -> None:
        """Close what a delivery loop used after `close`: a handler had stopped the broker.

        Args:
            client: The client that the loop used.
        """
        if client is not self._client and client is not self._given:
            await client.aclose()


def _check_client(client: object) -> None:
    if is_cluster(client):
        raise TypeError(NO_CLUSTER)
    if isinstance(client, redis.Redis):
        msg = (
            "client is a blocking redis.Redis, the broker is asynchronous: give it a "
            "redis.asyncio.Redis, or use faststream_redis_timers_sync.TimersClient"
        )
        raise TypeError(msg)
    if not isinstance(client, redis.asyncio.Redis):
        msg = f"client must be a redis.asyncio.Redis or a URL, got {type(client).__name__}"
        raise TypeError(msg)


@dataclass(kw_only=True)
class TimersBrokerConfig(BrokerConfig):
    """A broker's configuration.

    Args:
        connection: Its client.
        operations: Makes the calls.
    """

    connection: TimersConnection
    operations: Operations


@dataclass(kw_only=True)
class TimersRouterConfig(BrokerConfig):
    """A router's configuration; client and keys come from its broker."""

    @property
    def connection(self) -> TimersConnection:
        """The broker's.

        Raises:
            IncorrectState: No broker includes the router.
        """
        raise IncorrectState(_NOT_INCLUDED)

    @property
    def operations(self) -> Operations:
        """The broker's.

        Raises:
            IncorrectState: No broker includes the router.
        """
        raise IncorrectState(_NOT_INCLUDED)


_NOT_INCLUDED = "the router is in no broker: call `broker.include_router(router)` first"
