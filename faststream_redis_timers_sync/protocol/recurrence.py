"""When recurring timers are due: `Every` and `Cron`.

The times of a series depend only on its definition. So only the definition has to be kept, as text
in the header `timer-repeat`, and nothing drifts.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from hashlib import sha256
from itertools import islice
from typing import Self

from faststream_redis_timers_sync.protocol.checks import check_count, check_number
from faststream_redis_timers_sync.protocol.extras import missing_extra
from faststream_redis_timers_sync.protocol.keys import plain_text
from faststream_redis_timers_sync.protocol.times import LONGEST_DELAY, check_aware, duration_text
from faststream_redis_timers_sync.protocol.wall_clock import WallClock

REPEAT = "timer-repeat"
"""Header that holds the definition of a series. It is the first one: scripts read it there."""

REPEAT_OWNER = "timer-repeat-owner"
"""Header that names who declares a series. It is the second one."""

SHORTEST_PERIOD = timedelta(seconds=1)

# No series is due before or after them. The clocks of all zones can show what lies between, and
# the end is the score that paused timers have.
BEGIN = datetime(1, 1, 2, tzinfo=UTC)
END = datetime(9999, 12, 31, tzinfo=UTC)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS = 1_000_000
_FIELDS = 5
_LONGEST_EXPRESSION = 1000

_ALIASES = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}
_NUMBER = re.compile(r"(-?)([0-9]{1,17})\.([0-9]{6})")
_ZONE = re.compile(r"(?!(?:right|posix)/)[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
# They are files beside those of the zones, and differ from machine to machine.
_NO_ZONES = frozenset({"localtime", "posixrules", "Factory"})


class Repeat(ABC):
    """The definition of a recurring timer: `Every` or `Cron`.

    Two are equal if their definitions are.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def definition(self) -> str:
        """What the header `timer-repeat` says, in ASCII."""

    @abstractmethod
    def after(self, time: datetime) -> datetime | None:
        """Return the first time later than a given one.

        Args:
            time: The given time, an aware datetime.

        Returns:
            The time in UTC; None if there is none before 9999-12-31.

        Raises:
            TypeError: `time` is not a datetime.
            ValueError: `time` is naive, or a `Cron` that was read from a timer can't be computed
                here: this machine does not know its time zone, or this version its expression.
            ModuleNotFoundError: A `Cron` needs cronsim, which is not installed.
        """

    @abstractmethod
    def at_or_before(self, time: datetime) -> datetime | None:
        """Return the last time that is not later than a given one.

        Args:
            time: The given time, an aware datetime.

        Returns:
            The time in UTC; None if there is none.

        Raises:
            TypeError: `time` is not a datetime.
            ValueError: As `after`.
            ModuleNotFoundError: As `after`.
        """

    def bound_to(self, topic: str, timer_id: str) -> "Repeat":
        """Return the definition that a timer gets, which may depend on that timer.

        Args:
            topic: The full topic.
            timer_id: Its id.
        """
        return self

    def __eq__(self, other: object) -> bool:
        """Compare definitions."""
        if not isinstance(other, Repeat):
            return NotImplemented
        return self.definition == other.definition

    def __hash__(self) -> int:
        """Hash the definition."""
        return hash(self.definition)


class Every(Repeat):
    """Due after each period: at ``start``, a period later, two periods later, and so on.

    A day has 24 hours, even if clocks change; `Cron` follows the local clock.

    Args:
        period: Time from one occurrence to the next, from 1 second to 365,250 days.
        weeks: The period in weeks, instead of `period`; added to the arguments below.
        days: The period in days of 24 hours.
        hours: The period in hours.
        minutes: The period in minutes.
        seconds: The period in seconds.
        start: The first time, an aware datetime; the timer is not due before it. By default periods
            are counted from the Unix epoch (1970-01-01T00:00Z), so that all programs that define
            the same series agree. Use a fixed time: with ``datetime.now()`` each deploy would
            define another series.
        spread: Whether topic and id shift the times within the period, so that a thousand series
            are not due in the same microsecond. The shift is the same in each process. A timer
            keeps the shifted `start`: read its times from ``Timer.repeat`` or ``message.repeat``,
            since those of this object are not shifted.

    Attributes:
        period: The period.
        start: The first time, in UTC.
        spread: Whether the times of a timer are shifted.

    Raises:
        TypeError: `period` is not a timedelta, a number is not a number, `start` is not a datetime,
            or `spread` is neither True nor False.
        ValueError: The period is missing, out of range or given twice, or `start` is naive or not
            before 9999-12-31.
    """

    __slots__ = ("period", "spread", "start")

    def __init__(  # noqa: PLR0913  the keywords of a timedelta
        self,
        period: timedelta | None = None,
        *,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        start: datetime | None = None,
        spread: bool = False,
    ) -> None:
        """Check the arguments."""
        parts = {
            "weeks": weeks,
            "days": days,
            "hours": hours,
            "minutes": minutes,
            "seconds": seconds,
        }
        for name, value in parts.items():
            check_number(name, value, "a number")
        given = {name: value for name, value in parts.items() if value}
        self.period = _read_period(period, given)
        self.start = _EPOCH if start is None else _read_start(start)
        if not isinstance(spread, bool):
            msg = f"spread must be True or False, got {spread!r}"
            raise TypeError(msg)
        self.spread = spread

    @property
    def definition(self) -> str:
        """What the header `timer-repeat` says, in ASCII."""
        period, start = _write_number(self.period), _write_number(self.start - _EPOCH)
        return f"every {period} {start}{' spread' if self.spread else ''}"

    def bound_to(self, topic: str, timer_id: str) -> "Every":
        """Return the definition that a timer gets: with `spread` its start is shifted.

        Args:
            topic: The full topic.
            timer_id: Its id.

        Raises:
            ValueError: The shifted start is not before 9999-12-31.
        """
        if not self.spread:
            return self
        digest = sha256(f"{topic}\0{timer_id}".encode()).digest()
        shift = int.from_bytes(digest[:16]) % (self.period // _MICROSECOND) * _MICROSECOND
        return Every(self.period, start=min(self.start, END - shift) + shift)

    def after(self, time: datetime) -> datetime | None:
        """Return the first time later than another; see `Repeat`."""
        check_aware("time", time)
        if time < self.start:
            return self.start
        periods = (time - self.start) // self.period + 1
        # Not multiplied and added first: that may not fit into a datetime.
        if periods > (END - self.start - _MICROSECOND) // self.period:
            return None
        return self.start + periods * self.period

    def at_or_before(self, time: datetime) -> datetime | None:
        """Return the last time that is not later than another; see `Repeat`."""
        check_aware("time", time)
        if time < self.start:
            return None
        return (
            self.start + (min(time, END - _MICROSECOND) - self.start) // self.period * self.period
        )

    def __repr__(self) -> str:
        """Show how to make it."""
        start = f", start={self.start!r}" if self.start != _EPOCH else ""
        return f"Every({self.period!r}{start}{', spread=True' if self.spread else ''})"

    def __str__(self) -> str:
        """Return readable text."""
        start = f" from {self.start.isoformat()}" if self.start != _EPOCH else ""
        return f"every {duration_text(self.period)}{start}{', spread' if self.spread else ''}"

    @classmethod
    def read(cls, words: str) -> Self:
        """Read the part of a definition after "every".

        Args:
            words: Period and start, in seconds, and perhaps "spread".

        Raises:
            ValueError: They can't be read.
            OverflowError: They are out of range.
        """
        period, start, *spread = words.split(" ")
        return cls(
            _read_number(period), start=_EPOCH + _read_number(start), spread=spread == ["spread"]
        )


class Cron(Repeat):
    """Due by a cron expression, by the local clock of a time zone.

    When clocks are put forward, an occurrence in the skipped hour is due once, right after it. When
    they are set back, an occurrence in the repeated hour is due once, in the first pass. An
    expression whose minute or hour begins with ``*`` is due at each existing time: in both passes,
    and not in the skipped hour.

    Args:
        expression: Five fields, "minute hour day-of-month month day-of-week", as in Debian's cron,
            or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly`` or ``@yearly``. It may have names
            like MON or JAN, ``L`` for the last day of a month, ``LW`` for its last day from Monday
            to Friday, ``FRI#2`` for its second Friday and ``5L`` for its last Friday. If one of the
            two day fields begins with ``*``, both must match, otherwise either.
        tz: The time zone, by its IANA name.

    Attributes:
        expression: The expression in capitals, with single spaces.
        tz: The name of the time zone.

    Raises:
        TypeError: `expression` or `tz` is not a string.
        ValueError: The expression is invalid or never occurs, or this machine does not know the
            time zone.
        ModuleNotFoundError: cronsim is not installed; the error says how to install it.
    """

    __slots__ = ("expression", "tz")

    def __init__(self, expression: str, *, tz: str = "UTC") -> None:
        """Check the expression and the time zone."""
        given = plain_text("expression", expression)
        self.expression = _plain_expression(given)
        self.tz = plain_text("tz", tz)
        zone_of(self.tz)
        try:
            occurs = _occurs(self.expression)
        except ValueError as error:
            occurs = not _would_occur_in_another_month(self.expression)
            if occurs:
                raise _unreadable(given, error) from error
        if not occurs:
            msg = f"the expression of Cron never occurs, got {given!r}"
            raise ValueError(msg)

    @property
    def definition(self) -> str:
        """What the header `timer-repeat` says, in ASCII."""
        return f"cron {self.tz} {self.expression}"

    def after(self, time: datetime) -> datetime | None:
        """Return the first time later than another; see `Repeat`."""
        check_aware("time", time)
        if time >= END:
            return None
        time = max(time, BEGIN).astimezone(UTC)
        clock = WallClock(zone_of(self.tz))
        reading = clock.read(time)
        starts = [reading]
        if (repeated := clock.repeated(reading)) and not reading.fold:
            # The second pass is still to come.
            starts.append(repeated[0] - _MINUTE)
        return min(
            filter(None, (self._first(time, clock, start) for start in starts)), default=None
        )

    def _first(self, time: datetime, clock: WallClock, start: datetime) -> datetime | None:
        try:
            for reading in self._walk(start):
                for moment in self._moments(clock, reading):
                    if moment > time:
                        return moment if moment < END else None
        except OverflowError:
            pass
        return None

    def at_or_before(self, time: datetime) -> datetime | None:
        """Return the last time that is not later than another; see `Repeat`."""
        check_aware("time", time)
        if time <= BEGIN:
            return None
        time = min(time, END - _MICROSECOND).astimezone(UTC)
        clock = WallClock(zone_of(self.tz))
        reading = clock.read(time)
        ends = [reading.replace(second=0, microsecond=0) + _MINUTE]
        if (repeated := clock.repeated(reading)) and reading.fold:
            # The first pass is over, up to its end.
            ends.append(repeated[1])
        return max(filter(None, (self._last(time, clock, end) for end in ends)), default=None)

    def _last(self, time: datetime, clock: WallClock, end: datetime) -> datetime | None:
        try:
            for reading in self._walk(end, backwards=True):
                for moment in reversed(self._moments(clock, reading)):
                    if moment <= time:
                        return moment if moment > BEGIN else None
        except OverflowError:
            pass
        return None

    def _walk(self, reading: datetime, *, backwards: bool = False) -> Iterator[datetime]:
        try:
            return _make_cronsim(self.expression, reading, backwards=backwards)
        except ValueError as error:
            raise _unreadable(self.expression, error) from error

    def _moments(self, clock: WallClock, reading: datetime) -> list[datetime]:
        minute, hour, _ = self.expression.split(" ", 2)
        if minute.startswith("*") or hour.startswith("*"):
            return clock.moments(reading)
        return [clock.first_moment(reading)]

    def __repr__(self) -> str:
        """Show how to make it."""
        return f"Cron({self.expression!r}, tz={self.tz!r})"

    def __str__(self) -> str:
        """Return readable text."""
        return f"{self.expression} {self.tz}"

    @classmethod
    def read(cls, words: str) -> Self:
        """Read the part of a definition after "cron", without cronsim and time zones.

        Args:
            words: The time zone, and the expression.
        """
        cron = cls.__new__(cls)
        cron.tz, _, cron.expression = words.partition(" ")
        return cron


class UnknownRepeat(Repeat):
    """A definition that this version can't read: written by a later version, or by hand.

    Args:
        definition: The definition.
    """

    __slots__ = ("_definition",)

    def __init__(self, definition: str) -> None:
        """Keep it."""
        self._definition = definition

    @property
    def definition(self) -> str:
        """What the header `timer-repeat` says."""
        return self._definition

    def after(self, time: datetime) -> datetime | None:
        """Refuse: nobody here knows."""
        raise self._error()

    def at_or_before(self, time: datetime) -> datetime | None:
        """Refuse: nobody here knows."""
        raise self._error()

    def _error(self) -> ValueError:
        return ValueError(
            f"this version can't read the definition {self._definition!r}: "
            "update faststream-redis-timers"
        )

    def __repr__(self) -> str:
        """Show it."""
        return f"UnknownRepeat({self._definition!r})"

    def __str__(self) -> str:
        """Show it to people."""
        return self._definition


def read_repeat(definition: str) -> Repeat:
    """Read a definition, without cronsim and time zones.

    Args:
        definition: The text of the header `timer-repeat`.

    Returns:
        An `Every` or `Cron`, or an `UnknownRepeat`, whose times can't be computed.
    """
    kind, _, words = definition.partition(" ")
    repeat: Repeat = UnknownRepeat(definition)
    try:
        if kind == "every":
            repeat = Every.read(words)
        elif kind == "cron":
            repeat = Cron.read(words)
    except (ValueError, OverflowError):
        pass
    # Definitions are compared as text, so another spelling is another definition.
    return repeat if repeat.definition == definition else UnknownRepeat(definition)


def check_repeat(argument: str, repeat: object) -> Repeat:
    """Refuse a value that is not a definition.

    Args:
        argument: Name of the argument, for the error.
        repeat: The value.

    Returns:
        It.

    Raises:
        TypeError: It is neither an `Every` nor a `Cron`.
    """
    if not isinstance(repeat, (Every, Cron)):
        msg = f"{argument} must be Every(...) or Cron(...), got {repeat!r}"
        raise TypeError(msg)
    return repeat


def next_times(repeat: Repeat, count: int, *, after: datetime | None = None) -> list[datetime]:
    """Return the next times of a series.

    Args:
        repeat: Its definition.
        count: How many at most; fewer are returned if the series ends.
        after: Return only later times; an aware datetime. None means now, by this machine's clock.

    Returns:
        The times in UTC, in order.

    Raises:
        TypeError: `repeat` is not a definition, or `count` is not an int.
        ValueError: `count` is below 1, `after` has no time zone, or as `Repeat.after`.
        ModuleNotFoundError: As `Repeat.after`.
    """
    if not isinstance(repeat, Repeat):
        msg = f"repeat must be Every(...) or Cron(...), got {repeat!r}"
        raise TypeError(msg)
    check_count("count", count)
    if after is not None:
        check_aware("after", after)
    return list(islice(_times_after(repeat, datetime.now(UTC) if after is None else after), count))


def _times_after(repeat: Repeat, time: datetime | None) -> Iterator[datetime]:
    while time is not None and (time := repeat.after(time)) is not None:
        yield time


def _read_period(period: timedelta | None, parts: dict[str, float]) -> timedelta:
    given = ", ".join(f"{name}={value!r}" for name, value in parts.items())
    if period is None:
        try:
            period = timedelta(**parts)
        except (OverflowError, ValueError):
            # It is refused below, like all periods out of range.
            period = timedelta(0)
    elif not isinstance(period, timedelta):
        msg = f"period must be a timedelta, got {period!r}: write Every(seconds=...)"
        raise TypeError(msg)
    elif parts:
        msg = f"give period or its parts, not both: got period={period!r} and {given}"
        raise ValueError(msg)
    else:
        given = repr(period)
    if not SHORTEST_PERIOD <= period <= LONGEST_DELAY:
        msg = (
            f"the period of Every must be from 1 second to {LONGEST_DELAY.days:,} days, got "
            f"{given or 'none'}: write Every(minutes=5) or Every(timedelta(minutes=5))"
        )
        raise ValueError(msg)
    # A subclass may calculate otherwise.
    return timedelta(period.days, period.seconds, period.microseconds)


def _read_start(start: datetime) -> datetime:
    check_aware("start", start)
    try:
        start = start.astimezone(UTC)
    except OverflowError:
        start = END
    if start >= END:
        msg = f"start must be before {END.isoformat()}, got {start!r}"
        raise ValueError(msg)
    return datetime.combine(start.date(), start.time(), UTC)


def _plain_expression(expression: str) -> str:
    if len(expression) > _LONGEST_EXPRESSION:
        msg = (
            f"the expression of Cron must be at most {_LONGEST_EXPRESSION:,} characters, "
            f"got {len(expression):,}: {expression[:80]!r}..."
        )
        raise ValueError(msg)
    if not expression.isascii():
        # Not later: capitals of other letters may be ASCII.
        raise _unreadable(expression, "it is not ASCII")
    words = " ".join(expression.upper().split())
    return _ALIASES.get(words, words)


def _occurs(expression: str) -> bool:
    # cronsim gives up after 50 years, and no date is that rare: the rarest is 29 February on a
    # given day of the week, with 40 years between if they span 2100.
    return next(_make_cronsim(expression, _EPOCH.replace(tzinfo=None)), None) is not None


def _would_occur_in_another_month(expression: str) -> bool:
    try:
        minute, hour, day, month, weekday = expression.split(" ")
        return _occurs(f"* * * {month} *") and _occurs(f"{minute} {hour} {day} * {weekday}")
    except ValueError:
        return False


def _unreadable(expression: str, reason: object) -> ValueError:
    return ValueError(f"the expression of Cron can't be read, got {expression!r}: {reason}")


@cache
def zone_of(tz: str) -> tzinfo:
    """Return a time zone; UTC needs no zone data.

    Args:
        tz: Its IANA name.

    Raises:
        ValueError: This machine does not know it.
    """
    if tz == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415  it loads much that only a Cron in a zone needs

    cause: Exception | None = None
    try:
        if _ZONE.fullmatch(tz) and tz not in _NO_ZONES:
            return ZoneInfo(tz)
    except (KeyError, ValueError, OSError) as error:
        cause = error
    msg = (
        f"tz must be a time zone that this machine knows, such as 'Europe/Berlin', got {tz!r}: "
        "names are case-sensitive; if the name is right, pip install tzdata"
    )
    raise ValueError(msg) from cause


def _make_cronsim(
    expression: str, reading: datetime, *, backwards: bool = False
) -> Iterator[datetime]:
    """Let cronsim walk over a clock's readings: those later than one, or earlier.

    It gets no time zone, so its own handling of clock changes plays no role.
    """
    try:
        from cronsim import CronSim, CronSimError  # noqa: PLC0415  only who uses Cron needs it
    except ModuleNotFoundError as error:
        raise missing_extra("Cron", error, "cron") from error
    if len(expression.split(" ")) != _FIELDS:
        # cronsim takes six too, the first for seconds.
        msg = (
            "it must have five fields, as in '0 9 * * MON-FRI', or be one of "
            f"{', '.join(_ALIASES).lower()}; for seconds use Every(seconds=10)"
        )
        raise ValueError(msg)
    try:
        return CronSim(expression, reading, reverse=backwards)
    except CronSimError as error:
        raise ValueError(str(error)) from error


def _write_number(time: timedelta) -> str:
    microseconds = time // _MICROSECOND
    sign = "-" if microseconds < 0 else ""
    return f"{sign}%d.%06d" % divmod(abs(microseconds), _MICROSECONDS)


def _read_number(text: str) -> timedelta:
    parts = _NUMBER.fullmatch(text)
    if parts is None:
        msg = f"{text!r} is not a number of seconds"
        raise ValueError(msg)
    seconds = timedelta(seconds=int(parts[2]), microseconds=int(parts[3]))
    return -seconds if parts[1] else seconds
