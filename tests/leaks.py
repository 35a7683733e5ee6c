"""What must hold of the keys in Redis whenever nothing is going on."""

from collections.abc import Mapping
from typing import Any

import redis

NAMES = ("timeline_key", "payloads_key", "attempts_key")


def keys_under(client: redis.Redis, names: Mapping[str, Any]) -> list[bytes]:
    """List all keys that begin with one of the names."""
    own = [names[name] for name in (*NAMES, "series_key") if name in names]
    return [key for name in own for key in client.scan_iter(match=f"{name}:*", count=1000)]


def leftovers(client: redis.Redis, names: Mapping[str, Any]) -> list[str]:
    """Name entries of one key without their counterpart in another, by topic."""
    prefixes = {name: f"{names[name]}:".encode() for name in NAMES}
    topics = {
        key.removeprefix(prefix)
        for key in keys_under(client, names)
        for prefix in prefixes.values()
        if key.startswith(prefix)
    }
    wrong = []
    for topic in sorted(topics):
        timeline = set(client.zrange(prefixes["timeline_key"] + topic, 0, -1))
        payloads = set(client.hkeys(prefixes["payloads_key"] + topic))
        attempts = set(client.hkeys(prefixes["attempts_key"] + topic))
        wrong += [f"{topic!r}: {id_!r} has no payload" for id_ in timeline - payloads]
        wrong += [f"{topic!r}: {id_!r} has a payload, but no time" for id_ in payloads - timeline]
        wrong += [f"{topic!r}: {id_!r} has attempts, but no time" for id_ in attempts - timeline]
    return wrong
