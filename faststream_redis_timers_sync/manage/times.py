"""Times as people write and read them: ``1h30m``, ``2026-06-01T09:00+02:00``, "in 3 days"."""

import re
from datetime import UTC, datetime, timedelta

from faststream_redis_timers_sync.protocol.times import LONGEST_DELAY, UNITS

_DURATION = re.compile(
    "".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in UNITS), re.ASCII
)

_SPOKEN = (
    (timedelta(days=365), "year"),
    (timedelta(days=1), "day"),
    (timedelta(hours=1), "hour"),
    (timedelta(minutes=1), "minute"),
    (timedelta(seconds=1), "second"),
)
_FEWEST = 3


_MOST_SHOWN = 60
"""The most characters of an input that an error repeats."""


def _cut(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}...")


def parse_delay(text: str) -> timedelta:
    """Read a delay: a length of time that a timer can wait.

    Args:
        text: As `parse_duration` has it.

    Raises:
        ValueError: It is something else, or too long.
    """
    delay = parse_duration(text)
    if delay > LONGEST_DELAY:
        msg = f"{_cut(text)} is too long: a delay must be at most {LONGEST_DELAY.days:,} days"
        raise ValueError(msg)
    return delay


def parse_duration(text: str) -> timedelta:
    """Read a length of time: weeks, days, hours, minutes and seconds, in this order.

    Args:
        text: For example ``3d``, ``1h30m`` or ``1.5s``. A number needs its unit. Units may be
            upper-case but for ``M``, which others read as months.

    Raises:
        ValueError: It is something else, or too long to be a `timedelta`.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if not text.strip() or found is None:
        msg = (
            f"{_cut(text)} is not a duration: write numbers with their units w, d, h, m and s, "
            "for example 3d, 1h30m or 45s"
        )
        raise ValueError(msg)
    if "M" in text:
        msg = (
            f"{_cut(text)} has an upper-case M, which can mean minutes or months: write "
            f"{text.strip()[:_MOST_SHOWN].replace('M', 'm')} for minutes, or days for months: 30d"
        )
        raise ValueError(msg)
    try:
        return sum(
            (float(count) * UNITS[unit] for unit, count in found.groupdict(default="0").items()),
            timedelta(),
        )
    except OverflowError:
        msg = f"{_cut(text)} is too long"
        raise ValueError(msg) from None


def parse_time(text: str) -> datetime:
    """Read a time as ISO 8601 has it, with an offset from UTC.

    Args:
        text: For example ``2026-06-01T09:00+02:00`` or ``2026-06-01T07:00Z``.

    Raises:
        ValueError: It is something else, or has no offset.
    """
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        msg = (
            f"{_cut(text)} is not a time: write it as 2026-06-01T09:00+02:00, or in UTC as "
            "2026-06-01T07:00Z"
        )
        raise ValueError(msg) from None
    if time.utcoffset() is None:
        msg = (
            f"{_cut(text)} has no time zone: write {_with_local_offset(time)} if "
            f"you mean this machine's time zone, or {time.isoformat()}Z if you mean UTC"
        )
        raise ValueError(msg)
    try:
        time.astimezone(UTC)
    except OverflowError:
        msg = f"{_cut(text)} can't be converted to UTC"
        raise ValueError(msg) from None
    return time


def _with_local_offset(time: datetime) -> str:
    try:
        first, second = (_as_local(time.replace(fold=fold)) for fold in (0, 1))
    except (OverflowError, ValueError, OSError):
        return f"{time.isoformat()}+00:00"
    if first < second:
        return f"{first.isoformat()} or {second.isoformat()} (it occurs twice)"
    return first.isoformat()


def _as_local(time: datetime) -> datetime:
    # By way of UTC: in a gap `time.astimezone()` takes the offset from behind the gap, and so is
    # early by its length. Microseconds would not survive a float of the last years.
    utc = datetime.fromtimestamp(time.replace(microsecond=0).timestamp(), UTC)
    return utc.replace(microsecond=time.microsecond).astimezone()


def in_words(delta: timedelta) -> str:
    """Return how far away a time is: ``in 3 days``, ``50 seconds ago``, ``now``.

    Args:
        delta: Its distance from now; negative for the past.
    """
    length = abs(delta)
    for unit, name in _SPOKEN:
        count = round(length / unit)
        # Small counts of large units are too coarse: 50 hours, not 2 days.
        if count >= _FEWEST or (name == "second" and count):
            words = f"{count:,} {name}" + ("s" if count > 1 else "")
            return f"in {words}" if delta > timedelta(0) else f"{words} ago"
    return "now"
