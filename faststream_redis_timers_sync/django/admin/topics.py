"""The page of topics: those that the project names, that workers listen to, or that a scan finds.

Nobody scans unasked: the server may hold millions of keys of others.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext
from redis.exceptions import NoPermissionError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.django.admin.forecast import (
    forecast_part,
    make_forecast,
    range_named,
)
from faststream_redis_timers_sync.django.admin.shown import moment, number
from faststream_redis_timers_sync.django.tokens import Place, from_token, to_token
from faststream_redis_timers_sync.manage.forecast import Forecast, largest
from faststream_redis_timers_sync.manage.server import count_keys
from faststream_redis_timers_sync.manage.stats import TopicStats, count_topics
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.manage.topics import (
    listening_topics,
    read_cursor,
    scan_topics,
    tell_elsewhere,
    topics_elsewhere,
)
from faststream_redis_timers_sync.protocol.keys import REMEDY_ELSEWHERE

MOST_TOPICS = 1000
"""Topics on the page; who has more names the one to look at."""

SCAN_SECONDS = 2.0
"""How long one request scans."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan as it stands, carried from request to request by the page's form.

    Args:
        cursor: Where to go on; empty at the beginning and at the end.
        examined: How many keys were looked at.
        topics: The topics found.
        total: How many keys there are; None before the first step.
        elsewhere: The topics found whose keys have no hash tags, where the client's have.
        has_gaps: Whether topics may be missing, since slots of a cluster have moved meanwhile.
    """

    cursor: str = ""
    examined: int = 0
    topics: frozenset[str] = field(default_factory=frozenset)
    total: int | None = None
    elsewhere: frozenset[str] = field(default_factory=frozenset)
    has_gaps: bool = False

    @property
    def state(self) -> str:
        """The scan as one word for a form."""
        found = (sorted(self.topics), sorted(self.elsewhere))
        return to_token(json.dumps([self.cursor, self.examined, *found]))

    @property
    def is_done(self) -> bool:
        """Whether all keys were looked at, or enough topics found."""
        return self.total is not None and (not self.cursor or len(self.topics) > MOST_TOPICS)

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        if self.is_done and not self.cursor:
            return gettext("All %(total)s keys of the database were looked at.") % {  # type: ignore[no-any-return]
                "total": number(self.total or 0)
            }
        return gettext("About %(examined)s of %(total)s keys were looked at.") % {  # type: ignore[no-any-return]
            "examined": number(min(self.examined, self.total or 0)),
            "total": number(self.total or 0),
        }


def read_scan(state: str) -> Scan:
    """Read `Scan.state`.

    Args:
        state: The word; what can't be read begins anew.
    """
    try:
        cursor, examined, *found = json.loads(from_token(state))
        read_cursor(cursor)
        # What could not be named would be an error later on.
        topics, elsewhere = (
            frozenset(topic for topic in some if topic and topic.encode()) for some in found
        )
        return Scan(cursor, int(examined), topics, elsewhere=elsewhere)
    except (AttributeError, TypeError, ValueError):
        return Scan()


def go_on(timers: TimersClient, scan: Scan) -> Scan:
    """Scan for `SCAN_SECONDS`.

    Args:
        timers: The client.
        scan: The scan so far.
    """
    total = count_keys(timers)
    part = scan_topics(timers, scan.cursor, seconds=SCAN_SECONDS)
    return Scan(
        part.cursor,
        scan.examined + part.examined,
        scan.topics | part.topics,
        total,
        scan.elsewhere | part.elsewhere,
        part.has_gaps,
    )


def topics_page(
    timers: TimersClient, alias: str, known: tuple[str, ...], scan: Scan | None, reach: str
) -> Mapping[str, Any]:
    """Gather what the page of topics shows.

    Args:
        timers: The client.
        alias: Its alias.
        known: The topics that the project names.
        scan: The scan that was asked for, to be taken a step further.
        reach: The name of the forecast's range; what is none means a day.
    """
    topics = set(known)
    notes = []
    try:
        topics |= listening_topics(timers).keys()
    except NoPermissionError:
        notes.append(
            gettext("The server does not allow PUBSUB: which workers listen stays unknown.")
        )
    if scan is not None:
        try:
            scan = go_on(timers, scan)
            topics |= scan.topics
        except NoPermissionError:
            scan = None
            notes.append(
                gettext("The server does not allow SCAN or DBSIZE: open topics by their names.")
            )
    if len(topics) > MOST_TOPICS:
        notes.append(
            gettext("There are more than %(most)s topics: open others by their names.")
            % {"most": number(MOST_TOPICS)}
        )
    if scan is not None and scan.has_gaps:
        notes.append(
            gettext(
                "Topics may be missing: slots of the cluster moved during the search, so search "
                "again."
            )
        )
    shown = sorted(topics)[:MOST_TOPICS]
    notes += _layout_notes(timers, shown, scan)
    snapshot = count_topics(timers, shown)
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
        "notes": notes,
        "scan": scan,
    }


def _layout_notes(timers: TimersClient, topics: list[str], scan: Scan | None) -> list[str]:
    """Warn of timers in the other layout of keys, which nobody of this one delivers."""
    found = []
    with suppress(NoPermissionError):
        found.append(topics_elsewhere(timers, topics))
    if scan is not None:
        found.append(sorted(scan.elsewhere - set(topics)))
    return [f"{_warning(timers, some)}: {REMEDY_ELSEWHERE}." for some in found if some]


def _warning(timers: TimersClient, topics: list[str]) -> str:
    sentence = tell_elsewhere(timers, topics)
    return escape(sentence[0].upper() + sentence[1:], keep="\\")


def _left_out(forecast: Forecast, topics: list[TopicStats]) -> str:
    """Say that a forecast is not that of all topics; nothing where it is."""
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
