"""Counts of topics: pending, overdue and next timers, and listening workers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from redis.exceptions import NoPermissionError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.server import internals_of, server_time
from faststream_redis_timers_sync.manage.topics import count_workers
from faststream_redis_timers_sync.protocol.management import (
    MOST_TOPICS,
    Counts,
    count_running as count_running_of,
    overview,
)
from faststream_redis_timers_sync.protocol.operation import in_chunks

_WITHIN = (timedelta(hours=1), timedelta(days=1))


@dataclass(frozen=True, slots=True)
class TopicStats:
    """The counts of one topic.

    Args:
        topic: The topic, without the client's prefix.
        at: When they were counted, by the clock of its primary.
        pending: How many timers, running ones included.
        overdue: How many should have been claimed by a worker already: they are
            due, or their lease has expired.
        overdue_for: How long the first of these has been overdue; zero if there
            are none.
        paused: How many of the pending ones are paused; they have no due time.
        within_hour: How many more are due within an hour; a running timer counts
            by the end of its lease.
        within_day: How many more are due within a day.
        next_at: When the next is due, in UTC; None if there is none. If hundreds
            of timers run it may be the end of a lease.
        last_at: When the last is due.
        workers: How many listen, one per subscriber and process; None if the
            server does not allow the count, or reports none.
    """

    topic: str
    at: datetime
    pending: int
    overdue: int
    overdue_for: timedelta
    paused: int
    within_hour: int
    within_day: int
    next_at: datetime | None
    last_at: datetime | None
    workers: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts of several topics.

    Args:
        at: The server's time when the last of them was counted; in a cluster that of its primary.
        topics: The counts, in the order asked for.
    """

    at: datetime
    topics: list[TopicStats]


def count_topics(timers: TimersClient, topics: Sequence[str]) -> Snapshot:
    """Count the timers of topics.

    Args:
        timers: The client.
        topics: The topics; an unknown one holds nothing.

    Raises:
        ValueError: A topic is empty or can't be written as UTF-8.
        redis.RedisError: The server or the connection failed.
    """
    runner, keys, _ = reach = internals_of(timers)
    counted: dict[str, tuple[datetime, Counts]] = {}
    names = {reach.full(topic): topic for topic in topics}
    for of_slot in keys.by_slot(names):
        for some in in_chunks(of_slot, MOST_TOPICS):
            at, counts = runner.run(overview(keys, some, _WITHIN))
            counted.update((names[full], (at, one)) for full, one in zip(some, counts, strict=True))
    # These calls discover where slots have moved to; counting workers does not.
    try:
        workers: dict[str, int | None] | None = count_workers(timers, topics)
    except NoPermissionError:
        workers = None
    stats = [
        _stats_of(topic, *counted[topic], None if workers is None else workers[topic])
        for topic in topics
    ]
    return Snapshot(stats[-1].at if stats else server_time(timers), stats)


def _stats_of(topic: str, at: datetime, count: Counts, workers: int | None) -> TopicStats:
    return TopicStats(
        topic=topic,
        at=at,
        pending=count.pending,
        overdue=count.overdue,
        # Overdue timers have no lease, so the first of them is the next to be delivered.
        overdue_for=at - count.next_at if count.overdue and count.next_at else timedelta(0),
        paused=count.paused,
        within_hour=count.within[0],
        within_day=count.within[1],
        next_at=count.next_at,
        last_at=count.last_at,
        workers=workers,
    )


def count_running(
    timers: TimersClient, topics: Iterable[str], *, longest_lease: timedelta
) -> dict[str, int | None]:
    """Count the running timers of each topic.

    A timer whose worker died counts until its lease expires; then it is overdue.

    Args:
        timers: The client.
        topics: The topics; an unknown one holds nothing.
        longest_lease: The longest `lease_ttl` of the topics' subscribers; a timer
            with a longer lease may be left out.

    Returns:
        The number by topic; None if a topic has too many timers that are due
        within such a lease (`MOST_WITHIN_LEASE`) to tell which of them run.

    Raises:
        ValueError: A topic is empty or can't be written as UTF-8.
        redis.RedisError: The server or the connection failed.
    """
    runner, keys, _ = reach = internals_of(timers)
    return {
        topic: runner.run(count_running_of(keys, reach.full(topic), longest_lease))
        for topic in topics
    }
