"""The page of topics."""

from typing import NamedTuple

from faststream_redis_timers_sync.manage.deadline import PART_SECONDS, Deadline, TimeUpError
from faststream_redis_timers_sync.manage.forecast import largest
from faststream_redis_timers_sync.manage.scanning import Found, Scan, find_topics
from faststream_redis_timers_sync.manage.stats import (
    Snapshot,
    TopicStats,
    count_running,
    count_topics,
)
from faststream_redis_timers_sync.manage.times import in_words
from faststream_redis_timers_sync.manage.tokens import from_token, to_token
from faststream_redis_timers_sync.web.addresses import Address
from faststream_redis_timers_sync.web.forecasts import forecast_parts
from faststream_redis_timers_sync.web.formatting import Moment, moment, name_of
from faststream_redis_timers_sync.web.messages import RefusedError, Response
from faststream_redis_timers_sync.web.visit import DEAD_ENDING, Visit
from faststream_redis_timers_sync.web.words import NOT_COUNTED, remark_text, scan_text

ON_A_PAGE = 200
"""Topics on a page; a step of a scan shows all that it found."""


class _Row(NamedTuple):
    link: Address
    name: str
    stats: TopicStats
    running: str
    late: str
    next: Moment | None


def topics_page(visit: Visit, scan: Scan | None) -> Response:
    """Make the page of topics.

    Args:
        visit: The visit.
        scan: The requested scan, to be taken a step further.

    Raises:
        RefusedError: The cursor is not from this page.
    """
    found = _find(visit, scan)
    snapshot = count_topics(visit.timers, found.topics)
    counted = largest(snapshot.topics)
    parts = forecast_parts(visit, counted)
    if scan is not None:
        # A refresh would show the page without the scan's results.
        parts["refresh_link"] = None
    dead = {
        topic for topic in found.topics if topic not in set(counted) and topic.endswith(DEAD_ENDING)
    } | set(parts["forecast"].dead_topics)
    running = _running(visit, snapshot, dead)
    rows = [_row(visit, stats, running) for stats in snapshot.topics]
    return visit.page(
        "topics",
        "Topics",
        rows=[row for row in rows if row.stats.topic not in dead],
        dead_rows=[row for row in rows if row.stats.topic in dead],
        has_running=visit.longest_lease is not None,
        has_paused=any(row.stats.paused for row in rows),
        now=moment(snapshot.at, snapshot.at),
        remarks=_remarks(found, running),
        first=visit.address.but(after="", seen="") if visit.address.after else None,
        next=_next(visit, found),
        scan=found.scan,
        scan_text="" if found.scan is None else scan_text(found.scan),
        left_out=max(0, sum(1 for one in snapshot.topics if one.pending) - len(counted)),
        **parts,
    )


def _find(visit: Visit, scan: Scan | None) -> Found:
    if scan is not None:
        return find_topics(visit.timers, visit.topics, scan)
    try:
        after = from_token(visit.address.after)
        after.encode()
    except ValueError:
        msg = "This page does not exist: go back to the first page of topics."
        raise RefusedError(400, "Bad address", msg) from None
    return find_topics(visit.timers, visit.topics, None, after=after, limit=ON_A_PAGE)


def _next(visit: Visit, found: Found) -> Address | None:
    if found.scan is not None or not found.end:
        return None
    return visit.address.but(after=to_token(found.end), seen="")


def _remarks(found: Found, running: dict[str, str]) -> list[str]:
    # Without a scan the others are on the next page.
    remarks = [one for one in found.remarks if one != "too many" or found.scan is not None]
    not_counted = [NOT_COUNTED] if _UNKNOWN in running.values() else []
    return [*(remark_text(one) for one in remarks), *not_counted, *found.warnings]


_UNKNOWN = "?"


def _running(visit: Visit, snapshot: Snapshot, dead: set[str]) -> dict[str, str]:
    """Count the running timers of as many topics as there is time for."""
    if visit.longest_lease is None:
        return {}
    # Dead letters have no leases, and no timer runs if all are overdue.
    busy = [
        one.topic
        for one in snapshot.topics
        if one.topic not in dead and one.pending > one.overdue + one.paused
    ]
    found = dict.fromkeys(busy, _UNKNOWN)
    deadline = Deadline(PART_SECONDS)
    try:
        for topic in busy:
            counts = count_running(visit.timers, [topic], longest_lease=visit.longest_lease)
            found[topic] = "many" if counts[topic] is None else f"{counts[topic]:,}"
            deadline(1)
    except TimeUpError:
        pass
    return found


def _row(visit: Visit, stats: TopicStats, running: dict[str, str]) -> _Row:
    return _Row(
        link=visit.address.to(topic=stats.topic),
        name=name_of(stats.topic),
        stats=stats,
        running=running.get(stats.topic, "0"),
        late=_late(stats),
        next=None if stats.next_at is None else moment(stats.next_at, stats.at),
    )


def _late(stats: TopicStats) -> str:
    """Return how long the first overdue timer has been overdue; empty if there is none."""
    if not stats.overdue:
        return ""
    words = in_words(-stats.overdue_for)
    return "less than a second" if words == "now" else words.removesuffix(" ago")
