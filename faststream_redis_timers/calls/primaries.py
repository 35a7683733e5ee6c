"""Which primary serves a key, and how to connect to it."""

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from faststream_redis_timers_sync.protocol.cluster import Address


class Primaries(Protocol):
    """The primaries of a client's server or cluster."""

    @property
    def is_cluster(self) -> bool:
        """Whether several primaries serve slots, which may move between them."""
        ...

    async def primary_of(self, key: bytes) -> "Address | None":
        """Return the primary of a key or sharded channel; None if there is only one primary.

        Args:
            key: The key or channel.

        Raises:
            redis.RedisError: No node knows.
            OSError: No node replies.
        """
        ...

    def new_connection(self, primary: "Address | None") -> Any:
        """Return a redis-py connection outside all pools, which is not connected yet.

        Args:
            primary: What `primary_of` returned.
        """
        ...

    async def refresh(self) -> None:
        """Ask a node again which primary serves which slot.

        Raises:
            redis.RedisError: No node knows.
            OSError: No node replies.
        """
        ...


class OnePrimary:
    """The primary that a client without cluster connects to.

    Args:
        client: The client; its pool has the connection options, but its connections are not used.
    """

    is_cluster = False

    def __init__(self, client: "Redis") -> None:
        """Store the client."""
        self._client = client

    async def primary_of(self, key: bytes) -> None:
        """Return None: there is only one.

        Args:
            key: Any key.
        """

    def new_connection(self, primary: "Address | None") -> Any:
        """Return a redis-py connection outside the pool, which is not connected yet.

        Args:
            primary: None.
        """
        pool = self._client.connection_pool
        return pool.connection_class(**pool.connection_kwargs)

    async def refresh(self) -> None:
        """Do nothing: there is only one."""
