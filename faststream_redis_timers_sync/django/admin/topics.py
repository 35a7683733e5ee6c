"""The page of topics: named ones, those that workers listen to, those that a scan finds."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.django.admin.forecast import (
    forecast_part,
    make_forecast,
    range_named,
)
from faststream_redis_timers_sync.django.admin.formatting import moment, number
from faststream_redis_timers_sync.django.tokens import Place
from faststream_redis_timers_sync.manage import wording
from faststream_redis_timers_sync.manage.forecast import Forecast, largest
from faststream_redis_timers_sync.manage.scanning import Scan, find_topics
from faststream_redis_timers_sync.manage.stats import TopicStats, count_topics
from faststream_redis_timers_sync.manage.text import escape


def topics_page(
    timers: TimersClient, alias: str, known: tuple[str, ...], scan: Scan | None, reach: str
) -> Mapping[str, Any]:
    """Return the context of the page of topics.

    Args:
        timers: The client.
        alias: Its alias.
        known: The topics that the project names.
        scan: The requested scan, to be taken a step further.
        reach: The name of the forecast's range; an unknown one means a day.
    """
    found = find_topics(timers, known, scan)
    snapshot = count_topics(timers, found.topics)
    remarks = [
        gettext(wording.REMARKS[remark]) % {"most": number(len(found.topics))}
        for remark in found.remarks
    ]
    forecast = make_forecast(timers, largest(snapshot.topics), range_named(reach))
    dead = [stats for stats in snapshot.topics if stats.topic in forecast.dead_topics]
    alive = [stats for stats in snapshot.topics if stats.topic not in forecast.dead_topics]
    return {
        "rows": [_row(alias, stats) for stats in alive],
        "dead_rows": [_row(alias, stats) for stats in dead],
        "has_paused": any(stats.paused for stats in alive),
        "forecast": forecast_part(forecast, {"alias": alias}),
        "left_out": _left_out(forecast, snapshot.topics),
        "range": forecast.range.value if reach else "",
        "notes": [*remarks, *found.warnings],
        "scan": found.scan,
        "progress": "" if found.scan is None else _progress(found.scan),
    }


def _progress(scan: Scan) -> str:
    """Return how far a scan is."""
    is_whole = scan.is_done and not scan.cursor
    total = scan.total or 0
    counts = {"examined": number(min(scan.examined, total)), "total": number(total)}
    return gettext(wording.SCANNED_ALL if is_whole else wording.SCANNED) % counts  # type: ignore[no-any-return]


def _left_out(forecast: Forecast, topics: list[TopicStats]) -> str:
    """Return the sentence that a forecast leaves out topics; empty if it has all."""
    if sum(stats.pending > 0 for stats in topics) == len(forecast.topics):
        return ""
    return gettext("These are the %(most)s topics with the most timers.") % {  # type: ignore[no-any-return]
        "most": number(len(forecast.topics))
    }


def _row(alias: str, stats: TopicStats) -> Mapping[str, Any]:
    return {
        "key": Place(alias, stats.topic).key,
        "name": escape(stats.topic),
        "pending": number(stats.pending),
        "overdue": number(stats.overdue) if stats.overdue else "",
        "paused": number(stats.paused) if stats.paused else "",
        "next": None if stats.next_at is None else moment(stats.next_at, stats.at),
        "workers": "?" if stats.workers is None else number(stats.workers),
    }
