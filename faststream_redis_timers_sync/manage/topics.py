"""Finding topics. Nothing lists them in Redis, and the server may be shared with others.

So there are three ways: the application names them; workers that listen show theirs; and
a scan of all keys finds the rest, a bounded step at a time.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.server import ask, escape_glob, inside
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operation import in_chunks
from faststream_redis_timers_sync.protocol.operations import Operations

SCAN_COUNT = 1000
"""Keys that the server looks at in one call of SCAN: about 0.5 ms."""

_CHANNELS_AT_ONCE = 500

_KEYS_AT_ONCE = 500


class TopicScan(NamedTuple):
    """What a part of a scan brought.

    Args:
        topics: The topics found in this part, perhaps some that an earlier one found.
        cursor: Where to go on; 0 at the end.
        examined: About how many keys were looked at in this part.
        elsewhere: The topics whose keys have no hash tags in this part, where the client's have.
    """

    topics: set[str]
    cursor: int
    examined: int
    elsewhere: set[str]


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
    _, keys_of_topics, prefix = inside(timers)
    plain = replace(keys_of_topics, hash_tags=False)
    pattern = _pattern(timers)
    topics: set[str] = set()
    elsewhere: set[str] = set()
    examined = 0
    while True:
        cursor, keys = ask(
            timers,
            *(b"SCAN", b"%d" % cursor, b"MATCH", pattern, b"COUNT", b"%d" % SCAN_COUNT),
            *(b"TYPE", b"zset"),
            parse=_parse_scan,
        )
        found, others = _topics(keys_of_topics, prefix, keys)
        topics.update(found)
        # A key with a topic's hash tag would be read as that of a plain topic in braces.
        if keys_of_topics.hash_tags:
            elsewhere.update(_topics(plain, prefix, others)[0])
        examined += SCAN_COUNT
        if cursor == 0 or time.monotonic() >= end:
            return TopicScan(topics, cursor, examined, elsewhere)


def listening_topics(timers: TimersClient) -> dict[str, int]:
    """Find the topics that workers listen to, and how many workers do.

    Args:
        timers: The client; only topics with its prefix are found, and named without it.

    Raises:
        redis.RedisError: What the server or the connection says.
    """
    _, keys, prefix = inside(timers)
    before = keys.channel_prefix.encode()
    subcommand = b"SHARDCHANNELS" if keys.hash_tags else b"CHANNELS"
    channels: list[bytes] = ask(
        timers, b"PUBSUB", subcommand, before + _pattern(timers), parse=list
    )
    timelines = [channel.removeprefix(before) for channel in channels]
    return count_workers(timers, _topics(keys, prefix, timelines)[0])


def topics_elsewhere(timers: TimersClient, topics: Iterable[str]) -> list[str]:
    """Find topics that have timers under the keys of the other layout, too.

    Args:
        timers: The client.
        topics: The topics.

    Raises:
        redis.RedisError: What the server or the connection says.
    """
    runner, keys, _ = reach = inside(timers)
    found: set[str] = set()
    names = {topic: reach.full(topic) for topic in topics}
    for some in in_chunks(names.values(), _KEYS_AT_ONCE):
        found.update(runner.run_steps(Operations(keys).find_elsewhere(some)))
    return [topic for topic, full in names.items() if full in found]


def tell_elsewhere(timers: TimersClient, topics: Sequence[str]) -> str:
    """Say that topics have timers in the other layout; `REMEDY_ELSEWHERE` is to follow.

    Args:
        timers: The client.
        topics: Some of `topics_elsewhere`, or of `TopicScan.elsewhere`; the first is named.
    """
    reach = inside(timers)
    more = f" (and so have {len(topics) - 1:,} others)" if len(topics) > 1 else ""
    return reach.keys.tell_elsewhere(reach.full(topics[0])) + more


def count_workers(timers: TimersClient, topics: Iterable[str]) -> dict[str, int]:
    """Count the workers that listen to topics: one per subscriber and process.

    Args:
        timers: The client.
        topics: The topics.

    Raises:
        redis.RedisError: What the server or the connection says.
    """
    _, keys, _ = reach = inside(timers)
    subcommand = b"SHARDNUMSUB" if keys.hash_tags else b"NUMSUB"
    counts: dict[str, int] = {}
    for some in in_chunks(topics, _CHANNELS_AT_ONCE):
        channels = [keys.channel_of(reach.full(topic)) for topic in some]
        reply: list[bytes | int] = ask(timers, b"PUBSUB", subcommand, *channels, parse=list)
        counts.update(zip(some, map(int, reply[1::2]), strict=True))
    return counts


def _pattern(timers: TimersClient) -> bytes:
    _, keys, prefix = inside(timers)
    return escape_glob(f"{keys.timeline_key}:{keys.common_beginning(prefix)}") + b"*"


def _topics(
    keys: KeySpace, prefix: str, timelines: Iterable[bytes]
) -> tuple[list[str], list[bytes]]:
    """Give the topics with the prefix, without it, and the timelines that are no such topic's."""
    topics, others = [], []
    for timeline in timelines:
        topic = keys.topic_of(timeline)
        if topic and topic != prefix and topic.startswith(prefix):
            topics.append(topic[len(prefix) :])
        else:
            others.append(timeline)
    return topics, others


def _parse_scan(reply: tuple[bytes, list[bytes]]) -> tuple[int, list[bytes]]:
    cursor, keys = reply
    return int(cursor), keys
