"""Finds topics. Redis has no list of them, and the server may be shared with other programs.

So there are three ways: the application names them; listening workers reveal theirs; and a scan
of all keys finds the rest, in bounded steps. In a cluster each primary has its own topics and
listening workers.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.cluster import are_slots_moving
from faststream_redis_timers_sync.manage.server import ask_primaries, escape_glob, internals_of
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operation import Operation, command, in_chunks
from faststream_redis_timers_sync.protocol.operations import Operations

SCAN_COUNT = 1000
"""Keys that the server examines in one call of SCAN: about 0.5 ms."""

_CHANNELS_AT_ONCE = 500

_KEYS_AT_ONCE = 500

_LARGEST_NUMBER = 2**64 - 1
_MOST_DIGITS = len(str(_LARGEST_NUMBER))
"""What SCAN takes as a cursor."""

_NO_COUNT = 1_000_000
# Valkey 9.1 returns a memory address for some numbers of subscribers, see `_shared.lua`.


class TopicScan(NamedTuple):
    """The result of one part of a scan.

    Args:
        topics: The topics found in this part; may repeat topics of earlier parts.
        cursor: Where to continue; empty at the end.
        examined: About how many keys were examined in this part.
        elsewhere: The topics whose keys have no hash tags in this part, where the client's have.
        has_gaps: Whether topics may be missing, since slots of a cluster have moved from one
            primary to another after the scan began, or are on the move at its end.
    """

    topics: set[str]
    cursor: str
    examined: int
    elsewhere: set[str]
    has_gaps: bool = False


class _Cursor(NamedTuple):
    """Where a scan continues.

    Args:
        number: SCAN's cursor; 0 starts on a primary.
        primary: The primary's address; empty on a single primary.
        fingerprint: That of the cluster's map of slots when the scan began, likewise.
    """

    number: int
    primary: str = ""
    fingerprint: str = ""

    def __str__(self) -> str:
        return ",".join(part for part in (str(self.number), *self[1:]) if part)


def read_cursor(cursor: str) -> _Cursor:
    """Read a `TopicScan.cursor` that came back from a form or an address.

    Args:
        cursor: The cursor, not empty.

    Raises:
        ValueError: It is something else.
    """
    number, *place = cursor.split(",")
    is_number = number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS
    if len(place) not in {0, 2} or not is_number or int(number) > _LARGEST_NUMBER:
        msg = f"cursor must be one that scan_topics returned, got {cursor!r}"
        raise ValueError(msg)
    return _Cursor(int(number), *place)


def scan_topics(timers: TimersClient, cursor: str = "", *, seconds: float = 2.0) -> TopicScan:
    """Scan all keys of the database for topics, for a limited time.

    To find all topics that exist throughout, continue until the cursor is empty. In a cluster the
    primaries are scanned one after the other.

    Args:
        timers: The client; only topics with its prefix are found, and named without it.
        cursor: Where an earlier part ended; empty starts.
        seconds: The time limit; a call of SCAN under way is finished.

    Raises:
        ValueError: The cursor can't be read.
        redis.RedisError: The server or the connection failed.
    """
    end = time.monotonic() + seconds
    runner, keys_of_topics, prefix = internals_of(timers)
    plain = replace(keys_of_topics, hash_tags=False)
    pattern = _pattern(timers)
    topics: set[str] = set()
    elsewhere: set[str] = set()
    examined = 0
    primaries = {_place_of(one, runner): one for one in runner.primaries()}
    begun = read_cursor(cursor) if cursor else _Cursor(0, "", runner.map_fingerprint)
    left = sorted(place for place in primaries if place >= begun.primary)
    # If a primary is gone, its SCAN cursor means nothing to the others.
    number = begun.number if left[:1] == [begun.primary] else 0
    while left:
        number, keys = primaries[left[0]].run(_scan(number, pattern))
        found, others = _topics(keys_of_topics, prefix, keys)
        topics.update(found)
        # A key with a topic's hash tag would be read as that of a plain topic in braces.
        if keys_of_topics.hash_tags:
            elsewhere.update(_topics(plain, prefix, others)[0])
        examined += SCAN_COUNT
        if number == 0:
            del left[0]
        if time.monotonic() >= end:
            break
    are_moving = runner.is_cluster and not left and are_slots_moving(runner.primaries())
    has_gaps = are_moving or runner.map_fingerprint != begun.fingerprint
    further = _Cursor(number, left[0], _CHANGED if has_gaps else begun.fingerprint) if left else ""
    return TopicScan(topics, str(further), examined, elsewhere, has_gaps)


_CHANGED = "changed"
"""Stands for a fingerprint and equals none."""


def _place_of(primary: Runner, whole: Runner) -> str:
    # A single primary may have another address by the next part.
    return primary.address if whole.is_cluster else ""


def _scan(number: int, pattern: bytes) -> Operation[tuple[int, list[bytes]]]:
    return command(
        *(b"SCAN", b"%d" % number, b"MATCH", pattern, b"COUNT", b"%d" % SCAN_COUNT),
        *(b"TYPE", b"zset"),
        parse=_parse_scan,
    )


def listening_topics(timers: TimersClient) -> dict[str, int | None]:
    """Find the topics that workers listen to, and how many workers do.

    Args:
        timers: The client; only topics with its prefix are found, and named without it.

    Raises:
        redis.RedisError: The server or the connection failed.
    """
    return count_workers(timers, topics_listened_to(timers))


def topics_listened_to(timers: TimersClient) -> list[str]:
    """Find the topics that workers listen to.

    Args:
        timers: The client; only topics with its prefix are found, and named without it.

    Raises:
        redis.RedisError: The server or the connection failed.
    """
    _, keys, prefix = internals_of(timers)
    before = keys.channel_prefix.encode()
    subcommand = b"SHARDCHANNELS" if keys.hash_tags else b"CHANNELS"
    channels: list[list[bytes]] = ask_primaries(
        timers, b"PUBSUB", subcommand, before + _pattern(timers), parse=list
    )
    timelines = {keys.timeline_of(channel) for some in channels for channel in some}
    return _topics(keys, prefix, timelines)[0]


def topics_elsewhere(timers: TimersClient, topics: Iterable[str]) -> list[str]:
    """Find topics that also have timers under the keys of the other layout.

    Args:
        timers: The client.
        topics: The topics.

    Raises:
        redis.RedisError: The server or the connection failed.
    """
    runner, keys, _ = reach = internals_of(timers)
    found: set[str] = set()
    names = {topic: reach.full(topic) for topic in topics}
    for some in in_chunks(names.values(), _KEYS_AT_ONCE):
        found.update(runner.run_steps(Operations(keys).find_elsewhere(some)))
    return [topic for topic, full in names.items() if full in found]


def describe_elsewhere(timers: TimersClient, topics: Sequence[str]) -> str:
    """Return the sentence that topics have timers in the other layout; `REMEDY_ELSEWHERE` follows.

    Args:
        timers: The client.
        topics: Some of `topics_elsewhere`, or of `TopicScan.elsewhere`; the first is named.
    """
    reach = internals_of(timers)
    more = f" (and so have {len(topics) - 1:,} others)" if len(topics) > 1 else ""
    return reach.keys.describe_elsewhere(reach.full(topics[0])) + more


def count_workers(timers: TimersClient, topics: Iterable[str]) -> dict[str, int | None]:
    """Count the workers that listen to topics: one per subscriber and process.

    If workers with and without `duty` listen to a topic, the larger of both counts is returned:
    the workers of the two kinds can't be told apart.

    Args:
        timers: The client.
        topics: The topics.

    Returns:
        The number by topic; None if the server reports no number.

    Raises:
        redis.RedisError: The server or the connection failed.
    """
    runner, keys, _ = reach = internals_of(timers)
    channels = {
        topic: (keys.channel_of(full), keys.workers_channel_of(full))
        for topic, full in ((topic, reach.full(topic)) for topic in topics)
    }
    counts = _count_listeners(runner, keys, [one for both in channels.values() for one in both])
    most = {topic: max(counts[one] for one in both) for topic, both in channels.items()}
    return {topic: count if count < _NO_COUNT else None for topic, count in most.items()}


def _count_listeners(runner: Runner, keys: KeySpace, channels: Sequence[bytes]) -> dict[bytes, int]:
    counts = Counter[bytes]()
    if keys.hash_tags:
        at: dict[str, tuple[Runner, list[bytes]]] = {}
        for channel in channels:
            primary = runner.primary_of(channel)
            at.setdefault(primary.address, (primary, []))[1].append(channel)
        asked = list(at.values())
    else:
        # PUBLISH goes to every node, so a worker may listen on any of them.
        asked = [(primary, list(channels)) for primary in runner.primaries()]
    subcommand = b"SHARDNUMSUB" if keys.hash_tags else b"NUMSUB"
    for primary, theirs in asked:
        for some in in_chunks(theirs, _CHANNELS_AT_ONCE):
            words = (b"PUBSUB", subcommand, *some)
            counts.update(dict(zip(some, primary.run(command(*words, parse=_counts)), strict=True)))
    return counts


def _counts(reply: list[bytes | int]) -> list[int]:
    return list(map(int, reply[1::2]))


def _pattern(timers: TimersClient) -> bytes:
    _, keys, prefix = internals_of(timers)
    return escape_glob(f"{keys.timeline_key}:{keys.common_beginning(prefix)}") + b"*"


def _topics(
    keys: KeySpace, prefix: str, timelines: Iterable[bytes]
) -> tuple[list[str], list[bytes]]:
    """Return the topics with the prefix, without it, and the timelines of no such topic."""
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
