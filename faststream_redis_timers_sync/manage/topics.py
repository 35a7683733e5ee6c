"""Finding topics. Nothing lists them in Redis, and the server may be shared with others.

So there are three ways: the application names them; workers that listen show theirs; and
a scan of all keys finds the rest, a bounded step at a time.
"""

import time
from collections.abc import Iterable
from typing import NamedTuple

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.server import ask, escape_glob, inside
from faststream_redis_timers_sync.protocol.operation import in_chunks

SCAN_COUNT = 1000
"""Keys that the server looks at in one call of SCAN: about 0.5 ms."""

_CHANNELS_AT_ONCE = 500


class TopicScan(NamedTuple):
    """What a part of a scan brought.

    Args:
        topics: The topics found in this part, perhaps some that an earlier one found.
        cursor: Where to go on; 0 at the end.
        examined: About how many keys were looked at in this part.
    """

    topics: set[str]
    cursor: int
    examined: int


def scan_topics(timers: TimersClient, cursor: int = 0, *, seconds: float = 2.0) -> TopicScan:
    """Look for topics among all keys of the database, for a limited time.

    Topics that are there all the while are found by going on until the cursor is 0.

    Args:
        timers: The client; only topics with its prefix are found, and named without it.
        cursor: Where an earlier part ended; 0 begins.
        seconds: After this time it ends, with the call of SCAN that is under way.

    Raises:
        redis.RedisError: What the server or the connection says.
    """
    end = time.monotonic() + seconds
    name = _common_name(timers)
    pattern = escape_glob(name) + b"*"
    topics: set[str] = set()
    examined = 0
    while True:
        cursor, keys = ask(
            timers,
            *(b"SCAN", b"%d" % cursor, b"MATCH", pattern, b"COUNT", b"%d" % SCAN_COUNT),
            *(b"TYPE", b"zset"),
            parse=_parse_scan,
        )
        topics.update(_topics(name, keys))
        examined += SCAN_COUNT
        if cursor == 0 or time.monotonic() >= end:
            return TopicScan(topics, cursor, examined)


def listening_topics(timers: TimersClient) -> dict[str, int]:
    """Find the topics that workers listen to, and how many workers do.

    Args:
        timers: The client; only topics with its prefix are found, and named without it.

    Raises:
        redis.RedisError: What the server or the connection says.
    """
    name = inside(timers).keys.channel_prefix + _common_name(timers)
    channels: list[bytes] = ask(
        timers, b"PUBSUB", b"CHANNELS", escape_glob(name) + b"*", parse=list
    )
    return count_workers(timers, _topics(name, channels))


def count_workers(timers: TimersClient, topics: Iterable[str]) -> dict[str, int]:
    """Count the workers that listen to topics: one per subscriber and process.

    Args:
        timers: The client.
        topics: The topics.

    Raises:
        redis.RedisError: What the server or the connection says.
    """
    _, keys, _ = reach = inside(timers)
    counts: dict[str, int] = {}
    for some in in_chunks(topics, _CHANNELS_AT_ONCE):
        channels = [keys.channel_of(reach.full(topic)) for topic in some]
        reply: list[bytes | int] = ask(timers, b"PUBSUB", b"NUMSUB", *channels, parse=list)
        counts.update(zip(some, map(int, reply[1::2]), strict=True))
    return counts


def _common_name(timers: TimersClient) -> str:
    _, keys, prefix = inside(timers)
    return f"{keys.timeline_key}:{prefix}"


def _topics(name: str, keys: list[bytes]) -> list[str]:
    topics = []
    for key in keys:
        try:
            topic = key.decode()[len(name) :]
        except UnicodeDecodeError:
            # No client of this library can name it.
            continue
        if topic:
            topics.append(topic)
    return topics


def _parse_scan(reply: tuple[bytes, list[bytes]]) -> tuple[int, list[bytes]]:
    cursor, keys = reply
    return int(cursor), keys
