"""The forecast on the pages of topics: how many timers are due when."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from django.utils import timezone
from django.utils.safestring import mark_safe
from django.utils.translation import gettext

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.django.admin.formatting import (
    count_text,
    number,
    timers_text,
    zone_name,
)
from faststream_redis_timers_sync.manage.forecast import (
    NOTE,
    Forecast,
    Forecasts,
    Part,
    Range,
    read_range,
)
from faststream_redis_timers_sync.manage.forecast_picture import draw, part_text, tick_text
from faststream_redis_timers_sync.manage.text import local_time

_MOST_CLIENTS = 16
"""Clients whose forecasts are kept; there is one per alias."""


@lru_cache(_MOST_CLIENTS)
def forecasts_of(timers: TimersClient) -> Forecasts:
    """Return the maker of a client's forecasts, shared by all requests.

    Args:
        timers: The client.
    """
    return Forecasts(timers)


def range_named(name: str) -> Range:
    """Read a range from an address.

    Args:
        name: Its name; an unknown one means a day.
    """
    try:
        return read_range(name)
    except ValueError:
        return Range.DAY


def make_forecast(timers: TimersClient, topics: Iterable[str], reach: Range) -> Forecast:
    """Return a forecast in the user's time zone, at most five seconds old.

    Args:
        timers: The client.
        topics: The topics.
        reach: How far.
    """
    return forecasts_of(timers).of(topics, reach, timezone.get_current_timezone())


def holds_dead_letters(timers: TimersClient, topic: str) -> bool:
    """Return whether a topic holds dead letters.

    Args:
        timers: The client.
        topic: The topic.
    """
    return bool(make_forecast(timers, [topic], Range.DAY).dead_topics)


def forecast_part(forecast: Forecast, query: Mapping[str, str]) -> Mapping[str, Any] | None:
    """Return a forecast's context for its template.

    Args:
        forecast: The forecast.
        query: The fields of the page's address other than the range, for links to other ranges.

    Returns:
        None if there are no timers but dead letters.
    """
    if forecast.is_empty:
        return None
    reach, fullest = forecast.range, forecast.fullest
    heading = gettext(reach.heading)
    total = timers_text(forecast.total)
    return {
        "heading": heading,
        "ranges": [
            (gettext(each.label), f"?{urlencode({**query, 'range': each.value})}", each is reach)
            for each in Range
        ],
        "total": total,
        "most": ""
        if fullest is None
        else f"{number(fullest.count)} ({part_text(forecast, fullest)})",
        "facts": _facts(forecast),
        # All texts in it are escaped.
        "picture": mark_safe(  # noqa: S308  made by `draw`
            draw(
                forecast,
                label=f"{heading}: {total}",
                describe=lambda part: f"{part_text(forecast, part)}: {timers_text(part.count)}",
            )
        ),
        "ticks": [_tick(forecast, part) for part in forecast.ticks],
        "rows": [(part_text(forecast, part), number(part.count)) for part in forecast.parts],
        "at": local_time(forecast.at, forecast.zone),
        "zone": zone_name(forecast.at),
        "note": gettext(NOTE),
    }


def _facts(forecast: Forecast) -> list[str]:
    facts = [count_text("overdue", forecast.overdue)]
    if forecast.later:
        facts.append(count_text("later", forecast.later))
    if forecast.paused:
        facts.append(count_text("paused", forecast.paused))
    return facts


def _tick(forecast: Forecast, part: Part) -> str:
    return gettext("now") if part.start == forecast.at else tick_text(forecast, part)
