"""The page of topics."""

from typing import NamedTuple

from faststream_redis_timers_sync.manage.forecast import largest
from faststream_redis_timers_sync.manage.scanning import Scan, find_topics
from faststream_redis_timers_sync.manage.stats import TopicStats, count_running, count_topics
from faststream_redis_timers_sync.manage.times import in_words
from faststream_redis_timers_sync.web.addresses import Address
from faststream_redis_timers_sync.web.forecasts import forecast_parts
from faststream_redis_timers_sync.web.messages import Response
from faststream_redis_timers_sync.web.shown import Moment, moment, name_of
from faststream_redis_timers_sync.web.visit import DEAD_ENDING, Visit
from faststream_redis_timers_sync.web.words import REMARKS, scan_text


class _Row(NamedTuple):
    link: Address
    name: str
    stats: TopicStats
    running: int | None
    late: str
    next: Moment | None


def topics_page(visit: Visit, scan: Scan | None) -> Response:
    """Make the page of topics.

    Args:
        visit: The visit.
        scan: The scan that was asked for, to be taken a step further.
    """
    found = find_topics(visit.timers, visit.topics, scan)
    snapshot = count_topics(visit.timers, found.topics)
    counted = largest(snapshot.topics)
    parts = forecast_parts(visit, counted)
    dead = {
        topic for topic in found.topics if topic not in set(counted) and topic.endswith(DEAD_ENDING)
    } | set(parts["forecast"].dead_topics)
    running = {}
    if visit.longest_lease is not None:
        # A lease is no dead letter's, and what is all overdue does not run.
        busy = [
            one.topic
            for one in snapshot.topics
            if one.topic not in dead and one.pending > one.overdue + one.paused
        ]
        running = count_running(visit.timers, busy, longest_lease=visit.longest_lease)
    rows = [_row(visit, stats, running) for stats in snapshot.topics]
    return visit.page(
        "topics",
        "Topics",
        rows=[row for row in rows if row.stats.topic not in dead],
        dead_rows=[row for row in rows if row.stats.topic in dead],
        has_running=visit.longest_lease is not None,
        has_paused=any(row.stats.paused for row in rows),
        now=moment(snapshot.at, snapshot.at),
        remarks=[*(REMARKS[remark] for remark in found.remarks), *found.warnings],
        scan=found.scan,
        scan_text="" if found.scan is None else scan_text(found.scan),
        left_out=max(0, sum(1 for one in snapshot.topics if one.pending) - len(counted)),
        **parts,
    )


def _row(visit: Visit, stats: TopicStats, running: dict[str, int | None]) -> _Row:
    return _Row(
        link=visit.address.to(topic=stats.topic),
        name=name_of(stats.topic),
        stats=stats,
        running=running.get(stats.topic, 0),
        late=in_words(-stats.overdue_for).removesuffix(" ago") if stats.overdue else "",
        next=None if stats.next_at is None else moment(stats.next_at, stats.at),
    )
