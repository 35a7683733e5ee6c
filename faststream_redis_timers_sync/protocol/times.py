"""Due times on the microsecond grid, and the meaning of scores.

A due time is requested as text: ``+12.345678`` seconds from the server's present time, or
``@1790000000.000000`` Unix time. The script turns it into a score.
"""

import math
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
_SECONDS_PER_DAY = 86_400
_MICROSECONDS = 1_000_000

NOW = b"+0.000000"
"""Due at once."""

LONGEST_DELAY = timedelta(days=365_250)
"""A thousand years: further ahead no `datetime` is sure to hold the due time."""

_LARGEST_LEASE = 2.0**32
"""Seconds; above it doubles are too coarse to tell half microseconds (year 2106)."""


def ask_due(
    activate_in: timedelta | None, activate_at: datetime | None, default: timedelta | None = None
) -> bytes:
    """Return when a timer is to be due, as the scripts read it.

    Args:
        activate_in: Delay, counted by the server's clock; a negative one means now.
        activate_at: Aware datetime; a past time means now.
        default: Delay if neither is given; None means now.

    Returns:
        The requested due time, for example ``b"+30.000000"``.

    Raises:
        TypeError: A number, or anything but a timedelta or datetime, was given.
        ValueError: Both were given, the datetime is naive, a number is not
            finite, or the delay is longer than `LONGEST_DELAY`.
    """
    if activate_at is not None:
        if activate_in is not None:
            msg = (
                "give activate_in or activate_at, not both: "
                f"got activate_in={activate_in!r} and activate_at={activate_at!r}"
            )
            raise ValueError(msg)
        return _ask_at(activate_at)
    if activate_in is None:
        activate_in = default
    return NOW if activate_in is None else ask_in("activate_in", activate_in)


def ask_in(argument: str, delay: timedelta) -> bytes:
    """Return a delay as the scripts read it; a negative one means now.

    Args:
        argument: Name of the argument, for the error.
        delay: The delay.

    Raises:
        TypeError: It is not a timedelta.
        ValueError: It is not finite, or longer than `LONGEST_DELAY`.
    """
    if not isinstance(delay, timedelta):
        raise _no_time(argument, delay, "a timedelta", "timedelta(seconds={})")
    if delay > LONGEST_DELAY:
        msg = f"{argument} must be at most {LONGEST_DELAY.days:,} days, got {delay!r}"
        raise ValueError(msg)
    if delay < timedelta(0):
        return NOW
    return b"+%d.%06d" % _whole_and_micro(delay)


def _ask_at(activate_at: datetime) -> bytes:
    check_aware("activate_at", activate_at)
    since_epoch = activate_at - _EPOCH
    if since_epoch < timedelta(0):
        return NOW
    return b"@%d.%06d" % _whole_and_micro(since_epoch)


def check_aware(argument: str, time: datetime) -> None:
    """Refuse a value that is not an aware datetime.

    Args:
        argument: Name of the argument, for the error.
        time: The value.

    Raises:
        TypeError: It is not a datetime.
        ValueError: It is naive, or a number that is not finite.
    """
    if not isinstance(time, datetime):
        raise _no_time(argument, time, "a datetime", "datetime.fromtimestamp({}, tz=UTC)")
    if time.utcoffset() is None:
        msg = (
            f"{argument} must be timezone-aware, got the naive {time!r}: "
            "write datetime(..., tzinfo=UTC)"
        )
        raise ValueError(msg)


def _no_time(argument: str, value: object, expected: str, example: str) -> Exception:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # isfinite would refuse an int that no float can hold.
        if isinstance(value, float) and not math.isfinite(value):
            return ValueError(f"{argument} must be {expected} and finite, got {value!r}")
        return TypeError(
            f"{argument} must be {expected}, got the number {value!r}: "
            f"write {argument}={example.format(value)}"
        )
    return TypeError(f"{argument} must be {expected}, got {value!r}")


def _whole_and_micro(delta: timedelta) -> tuple[int, int]:
    return delta.days * _SECONDS_PER_DAY + delta.seconds, delta.microseconds


def seconds_text(seconds: float) -> bytes:
    """Return a duration as ``30.000000``.

    Args:
        seconds: Its length, finite and not negative.
    """
    return b"%d.%06d" % divmod(round(seconds * _MICROSECONDS), _MICROSECONDS)


def lease_text(ends_at: float, jitter: int) -> bytes:
    """Return the score of a lease.

    Args:
        ends_at: When it ends, in seconds of Unix time.
        jitter: Microseconds to add, which distinguish it from other leases.
    """
    end = round(ends_at * _MICROSECONDS) + jitter
    return b"%d.%06d5" % divmod(end, _MICROSECONDS)


def is_lease(score: float) -> bool:
    """Return whether a score is the end of a lease (on a half microsecond), not a due time.

    Args:
        score: A score of a timeline, in seconds of Unix time.
    """
    if not score < _LARGEST_LEASE or score == -math.inf:
        return False
    microseconds = (score - math.floor(score)) * _MICROSECONDS
    fraction = microseconds - math.floor(microseconds)
    return 0.25 < fraction < 0.75  # noqa: PLR2004  a half, give or take a quarter


def time_of(score: float) -> datetime:
    """Return a score as a datetime in UTC.

    Args:
        score: A score of a timeline, in seconds of Unix time. Outside the range of datetime it
            becomes its first or last moment.
    """
    try:
        whole = math.floor(score)
        return _EPOCH + timedelta(
            seconds=whole, microseconds=round((score - whole) * _MICROSECONDS)
        )
    except (OverflowError, ValueError):
        return _LAST if score > 0 else _FIRST


def lease_end(score: float) -> datetime:
    """Return the last microsecond of a lease, in UTC.

    Args:
        score: The score of the lease, in seconds of Unix time.
    """
    return _EPOCH + timedelta(microseconds=math.floor(score * _MICROSECONDS))


def score_text(time: datetime) -> bytes:
    """Return the score of a due time, to the microsecond.

    Args:
        time: The time, an aware datetime.
    """
    microseconds = (time - _EPOCH) // timedelta(microseconds=1)
    sign = b"-" if microseconds < 0 else b""
    return sign + b"%d.%06d" % divmod(abs(microseconds), _MICROSECONDS)


def score_bound(argument: str, time: datetime | None, unbounded: bytes) -> bytes:
    """Return a bound for a range of scores.

    Args:
        argument: Name of the argument, for the error.
        time: The bound, an aware datetime. None means no bound.
        unbounded: What to write for None.

    Raises:
        TypeError: It is not a datetime.
        ValueError: It is naive.
    """
    if time is None:
        return unbounded
    check_aware(argument, time)
    return score_text(time)


UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
"""Units of time as people write them."""


def duration_text(length: timedelta) -> str:
    """Return a duration in short form: ``1h30m``, ``2w``, ``1.5s``.

    Args:
        length: The length, not negative.
    """
    text, left = "", length
    for unit, size in UNITS.items():
        if unit == "s" or (unit == "w" and left % size):
            # 10 days are not 1w3d.
            continue
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    if left or not text:
        seconds = f"{left / UNITS['s']:.6f}".rstrip("0").rstrip(".")
        text += f"{seconds}s"
    return text
