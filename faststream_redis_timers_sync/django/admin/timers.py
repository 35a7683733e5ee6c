"""The pages of a topic's timers and of one timer."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.utils.translation import gettext, ngettext

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.django.admin.forecast import (
    forecast_part,
    make_forecast,
    range_named,
)
from faststream_redis_timers_sync.django.admin.formatting import (
    Row,
    count_text,
    dead_letter_facts,
    number,
    row_of,
    rows_of,
    timers_text,
    times_of,
    zone_name,
)
from faststream_redis_timers_sync.django.tokens import Place
from faststream_redis_timers_sync.manage import wording
from faststream_redis_timers_sync.manage.contents import MOST_BODY, body_text, header_texts
from faststream_redis_timers_sync.manage.deadline import PAGE_SECONDS, Deadline
from faststream_redis_timers_sync.manage.forms import token_of_search
from faststream_redis_timers_sync.manage.pages import Only, Page, read_cursor
from faststream_redis_timers_sync.manage.searching import search_page
from faststream_redis_timers_sync.manage.series import series_facts, with_series
from faststream_redis_timers_sync.manage.server import server_time
from faststream_redis_timers_sync.manage.stats import TopicStats, count_topics
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.protocol.dead_letters import is_dead_letter

ON_A_PAGE = 100
"""Timers on a page."""

_KINDS: dict[str, Only] = {"recurring": "recurring", "paused": "paused"}


def timers_page(
    timers: TimersClient, place: Place, search: str, only: str, after: str, reach: str
) -> Mapping[str, Any] | None:
    """Return the context of the page of a topic's timers.

    Args:
        timers: The client.
        place: The topic.
        search: The search.
        only: The kind of timers to show; empty or unknown means all.
        after: The cursor of the page, from a link; empty starts.
        reach: The name of the forecast's range; an unknown one means a day.

    Returns:
        The page; None if the cursor can't be read.
    """
    try:
        cursor = read_cursor(after)
    except ValueError:
        return None
    kind = _KINDS.get(only)
    page = search_page(
        timers,
        place.topic,
        search,
        only=kind,
        after=cursor,
        limit=ON_A_PAGE,
        on_examined=Deadline(PAGE_SECONDS),
    )
    (stats,) = count_topics(timers, [place.topic]).topics
    now = stats.at
    forecast = make_forecast(timers, [place.topic], range_named(reach))
    are_dead = bool(forecast.dead_topics)
    rows = rows_of(with_series(timers, place.topic, page.timers), place, now, are_dead=are_dead)
    # A number is shown only if timers were counted.
    is_limited = bool(search or kind)
    count = page.matching if is_limited else stats.pending
    searched = {name: text for name, text in (("q", search), ("only", kind)) if text}
    query = {**searched, "range": forecast.range.value} if reach else searched
    end = page.end and {**query, "after": page.end.token}
    return {
        "rows": rows,
        "has_series": any(row.repeats for row in rows),
        "facts": _facts(stats, are_dead=are_dead),
        "forecast": forecast_part(forecast, {**searched, **({"after": after} if after else {})}),
        "range": query.get("range", ""),
        "zone": zone_name(now),
        "search": search,
        "only": kind or "",
        "search_token": token_of_search(search),
        "progress": _progress(page, stats.pending) if page.is_cut else "",
        "nothing": gettext(_nothing(page, is_first=cursor is None, is_limited=is_limited)),
        "count": count,
        "count_text": "" if count is None else timers_text(count),
        "is_first": cursor is None,
        "first_link": f"?{urlencode(query)}",
        "next_link": end and f"?{urlencode(end)}",
    }


def timer_page(timers: TimersClient, place: Place) -> Mapping[str, Any] | None:
    """Return the context of the page of one timer.

    Args:
        timers: The client.
        place: The timer.

    Returns:
        The page; None if it is not pending.
    """
    timer = timers.get_timer(place.topic, place.timer_id)
    if timer is None:
        return None
    now = server_time(timers, place.topic)
    body, _is_json = body_text(timer)
    is_dead = is_dead_letter(timer.headers)
    row = row_of(timer, place.key, now, is_dead=is_dead)
    return {
        "row": row,
        "is_dead_letter": is_dead,
        "facts": [
            (gettext("Timer"), row.name),
            (gettext("Topic"), escape(place.topic)),
            *dead_letter_facts(timer, now),
            *((gettext(name), value) for name, value in series_facts(timer)),
            (gettext("State"), row.state_name),
            *_time_facts(row, now),
            (gettext("Correlation ID"), escape(timer.correlation_id)),
            (gettext("Content type"), escape(timer.content_type or "-")),
        ],
        "times": times_of(timer, now),
        "headers": header_texts(timer),
        "body": body[:MOST_BODY],
        "body_size": _bytes(len(timer.body)),
        "cut_after": number(MOST_BODY) if len(body) > MOST_BODY else "",
    }


def _nothing(page: Page, *, is_first: bool, is_limited: bool) -> str:
    """Return why a page has no timers."""
    if page.is_cut:
        return wording.NONE_YET
    if not is_first:
        return wording.NO_MORE
    return wording.NO_MATCH if is_limited else wording.NONE_HERE


def _progress(page: Page, pending: int) -> str:
    """Return how far a page got if there was no time for all timers."""
    words = gettext(wording.LOOKED_THROUGH)
    examined = number(min(page.examined, pending))
    return words % {"examined": examined, "timers": timers_text(pending)}  # type: ignore[no-any-return]


def _facts(stats: TopicStats, *, are_dead: bool) -> list[str]:
    if are_dead:
        facts = [count_text("dead", stats.pending)]
    else:
        facts = [count_text("pending", stats.pending), count_text("overdue", stats.overdue)]
    if stats.paused:
        facts.append(count_text("paused", stats.paused))
    if stats.workers is not None:
        facts.append(gettext("Workers listening: %s") % number(stats.workers))
    return facts


def _bytes(count: int) -> str:
    return ngettext("%(count)s byte", "%(count)s bytes", count) % {"count": number(count)}  # type: ignore[no-any-return]


def _time_facts(row: Row, now: datetime) -> list[tuple[str, str]]:
    if row.at is None:
        return []
    title = gettext("Lease ends") if row.is_leased else gettext("Next delivery")
    return [(title, f"{row.at.date} {row.at.clock} {zone_name(now)} ({row.at.distance})")]
