"""How the processes of a run with faults reach the server: as users do, by URL or by Sentinel."""

from typing import Any

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel

SERVICE = "timers"
"""The name under which Sentinels know the primary."""


def blocking_client(target: Any, **options: Any) -> Any:
    """Give what a `TimersClient` is made with.

    Args:
        target: A URL, or a list of the Sentinels' hosts and ports.
        options: For the connections that a Sentinel leads to.
    """
    if isinstance(target, str):
        return target
    sentinels = [tuple(address) for address in target]
    manager = redis.sentinel.Sentinel(sentinels, sentinel_kwargs={"socket_timeout": 0.5})
    return manager.master_for(SERVICE, socket_timeout=2.0, **options)


def asyncio_client(target: Any, **options: Any) -> Any:
    """Give what a `TimersBroker` is made with; the arguments are those of `blocking_client`."""
    if isinstance(target, str):
        return target
    sentinels = [tuple(address) for address in target]
    manager = redis.asyncio.sentinel.Sentinel(sentinels, sentinel_kwargs={"socket_timeout": 0.5})
    return manager.master_for(SERVICE, socket_timeout=2.0, **options)
