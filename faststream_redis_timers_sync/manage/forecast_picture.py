"""Draws a forecast as SVG for all pages: no styles, no scripts, no texts but titles.

Labels and a table go into the HTML around it, where they keep their size on small screens.
"""

from collections.abc import Callable
from datetime import datetime, tzinfo
from html import escape

from faststream_redis_timers_sync.manage.forecast import Forecast, Part, Range
from faststream_redis_timers_sync.manage.text import in_zone, plural

_WIDTH = 10
"""Of a part, in the picture's own units; a bar leaves a gap on both sides."""

_GAP = 1
_HEIGHT = 100
_LOWEST = 2
"""Height of the bar of a single timer beside millions."""


def draw(
    forecast: Forecast,
    *,
    label: str | None = None,
    describe: Callable[[Part], str] | None = None,
) -> str:
    """Draw a forecast: a bar per part, whose height is the number of timers due in it.

    The picture takes the colours of its classes, or that of the text around it:
    ``timers-forecast`` is the picture, ``timers-forecast-bar`` a bar, ``timers-forecast-part`` the
    invisible field behind it, where a pointer finds its title, ``timers-forecast-line`` the line
    below. It stretches to the width that it is given.

    Args:
        forecast: The forecast.
        label: Text alternative; None makes one in English.
        describe: Returns the title of a part; None gives time and count in English.

    Returns:
        The markup, with all texts escaped.
    """
    label = summary_of(forecast) if label is None else label
    describe = describe or (lambda part: f"{part_text(forecast, part)}: {plural(part.count)}")
    most = max(forecast.counts, default=0)
    width = _WIDTH * len(forecast.counts)
    begin = (
        '<svg xmlns="http://www.w3.org/2000/svg" class="timers-forecast" role="img" '
        f'aria-label="{escape(label)}" viewBox="0 0 {width} {_HEIGHT}" width="100%" height="160" '
        'preserveAspectRatio="none">'
    )
    shapes = [begin]
    for n, part in enumerate(forecast.parts):
        shapes.append(
            f'<g><title>{escape(describe(part))}</title><rect class="timers-forecast-part" '
            f'x="{n * _WIDTH}" y="0" width="{_WIDTH}" height="{_HEIGHT}" fill="none" '
            f'pointer-events="all"/>{_bar(n, part.count, most)}</g>'
        )
    shapes.append(
        f'<line class="timers-forecast-line" x1="0" y1="{_HEIGHT}" x2="{width}" y2="{_HEIGHT}" '
        'stroke="currentColor" vector-effect="non-scaling-stroke"/></svg>'
    )
    return "".join(shapes)


def _bar(n: int, count: int, most: int) -> str:
    if not count:
        return ""
    height = max(_LOWEST, round(_HEIGHT * count / most, 2))
    return (
        f'<rect class="timers-forecast-bar" x="{n * _WIDTH + _GAP}" y="{_HEIGHT - height:g}" '
        f'width="{_WIDTH - 2 * _GAP}" height="{height:g}" fill="currentColor"/>'
    )


def summary_of(forecast: Forecast) -> str:
    """Return a sentence that says what a picture shows.

    Args:
        forecast: The forecast.
    """
    fullest = forecast.fullest
    text = f"{forecast.range.heading}: {plural(forecast.total)}"
    if fullest is None:
        return text
    when = part_text(forecast, fullest)
    return f"{text}, at most {fullest.count:,} per {forecast.range.part_name} ({when})"


def part_text(forecast: Forecast, part: Part) -> str:
    """Return the time of a part: ``14:05``, ``14:00 to 15:00``, ``2026-06-01``.

    Args:
        forecast: The forecast.
        part: One of its parts.
    """
    if forecast.range is Range.MONTH:
        return _local(part.start, forecast.zone, "%Y-%m-%d")
    start, end = (_local(time, forecast.zone, "%H:%M") for time in (part.start, part.end))
    return start if forecast.range is Range.HOUR else f"{start} to {end}"


def tick_text(forecast: Forecast, part: Part) -> str:
    """Return the label of a part below a picture: ``14:05``, ``06-01``; the first is ``now``.

    Args:
        forecast: The forecast.
        part: One of its parts.
    """
    if part.start == forecast.at:
        return "now"
    return _local(part.start, forecast.zone, "%m-%d" if forecast.range is Range.MONTH else "%H:%M")


def _local(time: datetime, zone: tzinfo | None, form: str) -> str:
    return in_zone(time, zone).strftime(form)
