"""Which primary serves a key, and how to connect to it."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from faststream_redis_timers_sync.protocol.cluster import Address


class Primaries(Protocol):
    """The primaries of a client's server or cluster."""

    @property
    def is_cluster(self) -> bool:
        """Whether slots are served by several, and may move from one to another."""
        ...

    async def primary_of(self, key: bytes) -> "Address | None":
        """Return which serves a key or a sharded channel; None, if there is one primary alone.

        Args:
            key: The key or channel.

        Raises:
            redis.RedisError: No node can tell.
            OSError: No node answers.
        """
        ...

    def new_connection(self, primary: "Address | None") -> Any:
        """Return a connection of redis-py's beside all pools, which is still to be connected.

        Args:
            primary: What `primary_of` returned.
        """
        ...

    async def refresh(self) -> None:
        """Ask a node anew which primary serves which slot.

        Raises:
            redis.RedisError: No node can tell.
            OSError: No node answers.
        """
        ...


class OnePrimary:
    """The primary that a client without cluster connects to.

    Args:
        client: Whose pool tells how to connect; none of its connections is used.
    """

    is_cluster = False

    def __init__(self, client: "Redis") -> None:
        """Keep the client."""
        self._client = client

    async def primary_of(self, key: bytes) -> None:
        """Return None: there is one alone.

        Args:
            key: Any key.
        """

    def new_connection(self, primary: "Address | None") -> Any:
        """Return a connection of redis-py's beside the pool, which is still to be connected.

        Args:
            primary: None.
        """
        pool = self._client.connection_pool
        return pool.connection_class(**pool.connection_kwargs)

    async def refresh(self) -> None:
        """Do nothing: there is one alone."""
