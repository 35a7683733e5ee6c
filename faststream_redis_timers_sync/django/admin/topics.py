"""The page of topics: those that the project names, that workers listen to, that a scan finds."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext, gettext_lazy as _

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.django.admin.shown import moment, number
from faststream_redis_timers_sync.django.tokens import Place
from faststream_redis_timers_sync.manage.scanning import Remark, Scan, find_topics
from faststream_redis_timers_sync.manage.stats import TopicStats, count_topics
from faststream_redis_timers_sync.manage.text import escape

_REMARKS: dict[Remark, Any] = {
    "no pubsub": _("The server does not allow PUBSUB: which workers listen stays unknown."),
    "no scan": _("The server does not allow SCAN or DBSIZE: open topics by their names."),
    "too many": _("There are more than %(most)s topics: open others by their names."),
    "gaps": _(
        "Topics may be missing: slots of the cluster moved during the search, so search again."
    ),
}


def topics_page(
    timers: TimersClient, alias: str, known: tuple[str, ...], scan: Scan | None
) -> Mapping[str, Any]:
    """Gather what the page of topics shows.

    Args:
        timers: The client.
        alias: Its alias.
        known: The topics that the project names.
        scan: The scan that was asked for, to be taken a step further.
    """
    found = find_topics(timers, known, scan)
    snapshot = count_topics(timers, found.topics)
    remarks = [_REMARKS[remark] % {"most": number(len(found.topics))} for remark in found.remarks]
    return {
        "rows": [_row(alias, stats) for stats in snapshot.topics],
        "has_paused": any(stats.paused for stats in snapshot.topics),
        "notes": [*remarks, *found.warnings],
        "scan": found.scan,
        "progress": "" if found.scan is None else _progress(found.scan),
    }


def _progress(scan: Scan) -> str:
    """Say how far a scan is."""
    if scan.is_done and not scan.cursor:
        return gettext("All %(total)s keys of the database were looked at.") % {  # type: ignore[no-any-return]
            "total": number(scan.total or 0)
        }
    return gettext("About %(examined)s of %(total)s keys were looked at.") % {  # type: ignore[no-any-return]
        "examined": number(min(scan.examined, scan.total or 0)),
        "total": number(scan.total or 0),
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
