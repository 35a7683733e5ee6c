"""Makes the runner of operations from a front end's client or URL."""

from collections.abc import Mapping
from typing import Any

import redis

from faststream_redis_timers_sync.calls.cluster import (
    ClusterNodes,
    ClusterRunner,
    nodes_of,
)
from faststream_redis_timers_sync.calls.pools import check_options, client_of
from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.protocol.clients import (
    check_url,
    is_cluster_url,
    options_for_nodes,
    read_cluster_url,
)
from faststream_redis_timers_sync.protocol.replication import Confirmation


def open_runner(
    client: "redis.Redis | redis.RedisCluster | str",
    options: Mapping[str, Any] | None,
    confirmation: Confirmation | None,
) -> Runner:
    """Make the runner; nothing is sent yet.

    Args:
        client: A client, or a URL to make one from.
        options: Further arguments for the client that is made; None for a client that was given.
        confirmation: How many replicas must confirm a write; None asks none.

    Raises:
        TypeError: It is an asyncio or single-connection client, or not a client.
        ValueError: URL or options can't be used.
    """
    if isinstance(client, redis.RedisCluster):
        check_options(client, options)
        return ClusterRunner(nodes_of(client), confirmation)
    if not isinstance(client, str) or not is_cluster_url(client):
        return Runner(client_of(client, options), confirmation)
    check_url(client)
    first, seeds = read_cluster_url(client)
    # A client of its first node has read and checked all that the URL and the options say.
    pool = client_of(first, options).connection_pool
    kept = options_for_nodes(pool.connection_kwargs)
    if (on_connect := pool.connection_kwargs.get("redis_connect_func")) is not None:
        kept["redis_connect_func"] = on_connect
    nodes = ClusterNodes(seeds, pool.connection_class, kept, pool.max_connections)
    return ClusterRunner(nodes, confirmation)
