"""The forecast on the pages, and how many timers have left since the last refresh."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from faststream_redis_timers_sync.manage.forecast import NOTE, Forecast, Range
from faststream_redis_timers_sync.manage.forecast_picture import draw, part_text, tick_text
from faststream_redis_timers_sync.manage.states import COUNT_WORDS
from faststream_redis_timers_sync.manage.text import exact_time, plural
from faststream_redis_timers_sync.manage.times import in_words, parse_time
from faststream_redis_timers_sync.web.addresses import Address
from faststream_redis_timers_sync.web.visit import Visit


class _Seen(NamedTuple):
    """The counts of the last page.

    Args:
        at: When they were made.
        edge: The time up to which timers were counted.
        before: How many were due before it.
    """

    at: datetime
    edge: datetime
    before: int


def forecast_parts(visit: Visit, topics: Iterable[str]) -> dict[str, Any]:
    """Return the context of the forecast's template.

    Args:
        visit: The visit, whose address has the range.
        topics: The topics, `forecast.MOST_TOPICS` at most.
    """
    here = visit.address.but(do="")
    reach = Range(here.range or Range.DAY)
    forecast = visit.forecasts.of(topics, reach)
    later = [
        (name, count)
        for name, count in (
            (COUNT_WORDS["overdue"], forecast.overdue),
            (COUNT_WORDS["later"], forecast.later),
            (COUNT_WORDS["paused"], forecast.paused),
        )
        if count
    ]
    edge = forecast.edges[-1]
    seen = _Seen(forecast.at, edge, forecast.before(edge) or 0)
    return {
        "forecast": forecast,
        "picture": "" if forecast.is_empty else draw(forecast),
        "parts": [(part_text(forecast, part), part.count) for part in forecast.parts],
        "ticks": [tick_text(forecast, part) for part in forecast.ticks],
        "others": later,
        "note": NOTE,
        "ranges": [(one.label, one is reach, here.but(range=one.value, seen="")) for one in Range],
        "left": _left(visit.address, forecast),
        "refresh_link": here.but(seen=_write(seen)),
    }


def _left(address: Address, forecast: Forecast) -> str:
    """Return how many timers have left since the last refresh; empty if unknown."""
    seen = _read(address.seen)
    now = None if seen is None else forecast.before(seen.edge)
    if seen is None or now is None or seen.at >= forecast.at:
        return ""
    since = in_words(seen.at - forecast.at)
    if now > seen.before:
        return f"{plural(now - seen.before)} more than at the last refresh, {since}."
    return f"{plural(seen.before - now)} left since the last refresh, {since}."


def _write(seen: _Seen) -> str:
    return f"{exact_time(seen.at)},{exact_time(seen.edge)},{seen.before}"


_MOST_DIGITS = 18


def _read(text: str) -> _Seen | None:
    try:
        at, edge, count = text.split(",")
        if not (count.isascii() and count.isdecimal() and len(count) <= _MOST_DIGITS):
            return None
        return _Seen(parse_time(at), parse_time(edge), int(count))
    except ValueError:
        return None
