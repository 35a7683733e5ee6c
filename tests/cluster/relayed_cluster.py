"""A cluster's nodes behind relays, and both front ends on a cluster."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import redis
import redis.asyncio
from clusters import Cluster
from front_ends import AsyncFrontEnd, BlockingFrontEnd, FrontEnd
from relay import Relay

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.cluster import slot_of

SHORT = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
"""With these a call goes on for 2 seconds after refusals."""


def slot_of_topic(topic: str) -> int:
    """Tell the slot of a topic that has no hash tag of its own."""
    return slot_of(b"{%b}" % topic.encode())


def topics_at(cluster: Cluster, node: Any, count: int = 1) -> list[str]:
    """Name topics that a node serves."""
    slots = cluster.slots_of(node)
    names = (f"topic-{n}" for n in range(10_000))
    found = (name for name in names if slot_of_topic(name) in slots)
    return [next(found) for _ in range(count)]


class Relays:
    """A relay before each node of a cluster; clients are led to them by `address_remap`."""

    def __init__(self, cluster: Cluster, stack: ExitStack) -> None:
        self._relays = {node.port: stack.enter_context(Relay(node.url)) for node in cluster.nodes}

    def __getitem__(self, node: Any) -> Relay:
        return self._relays[node.port]

    def remap(self, address: tuple[str, int]) -> tuple[str, int]:
        host, port = address
        return host, self._relays[port].port if port in self._relays else port

    @property
    def calls(self) -> list[bytes]:
        """The commands about timers and the map that went through, over all nodes."""
        wanted = {b"EVALSHA", b"EVAL", b"CLUSTER", b"ASKING", b"PING", b"WAIT"}
        return [
            command[0].upper()
            for relay in self._relays.values()
            for command in relay.commands
            if command[0].upper() in wanted
        ]

    def forget(self) -> None:
        for relay in self._relays.values():
            relay.commands.clear()


@asynccontextmanager
async def front_end_on(
    flavour: str, node: Any, key_names: dict[str, str], **options: Any
) -> AsyncIterator[FrontEnd]:
    """Make a front end of a RedisCluster client; `broker` options begin with ``timers_``."""
    ours = {
        name.removeprefix("timers_"): options.pop(name)
        for name in list(options)
        if name.startswith("timers_")
    }
    if flavour == "blocking":
        client = redis.RedisCluster(host="127.0.0.1", port=node.port, **{**SHORT, **options})
        with client, TimersClient(client, hash_tags=True, **key_names, **ours) as timers:
            yield BlockingFrontEnd(timers)
        return
    client = redis.asyncio.RedisCluster(host="127.0.0.1", port=node.port, **{**SHORT, **options})
    broker = TimersBroker(client, hash_tags=True, logger=None, **key_names, **ours)
    try:
        yield AsyncFrontEnd(broker)
    finally:
        await broker.stop()
        await client.aclose()
