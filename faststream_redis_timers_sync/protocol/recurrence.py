"""When recurring timers are due: `Every` and `Cron`.

The times of a series are a function of its definition alone. So nothing has to be kept but the
definition, which stands as text in the header `timer-repeat`, and nothing drifts.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

from faststream_redis_timers_sync.protocol.checks import check_count
from faststream_redis_timers_sync.protocol.keys import plain_text
from faststream_redis_timers_sync.protocol.times import LONGEST_DELAY

if TYPE_CHECKING:
    from cronsim import CronSim

REPEAT = "timer-repeat"
"""Header that holds the definition of a series. It is the first one: scripts read it there."""

REPEAT_OWNER = "timer-repeat-owner"
"""Header that names who declares a series. It is the second one."""

SHORTEST_PERIOD = timedelta(seconds=1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS = 1_000_000
_FIELDS = 5
_NEIGHBOURHOOD = timedelta(days=2)
# No clock change reaches further: the largest ones leave out a whole day.

_ALIASES = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}
_NUMBER = re.compile(r"(-?)(\d{1,17})\.(\d{6})")


class Repeat(ABC):
    """When a timer is due again and again: `Every` or `Cron`.

    Two are equal if their definitions are.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def definition(self) -> str:
        """What the header `timer-repeat` says, in ASCII."""

    @abstractmethod
    def after(self, time: datetime) -> datetime | None:
        """Return the first time later than another.

        Args:
            time: That other time, with a time zone.

        Returns:
            The time in UTC; None where there is none before the year 10000.

        Raises:
            ValueError: `time` is naive, or this machine does not know the time zone.
            ModuleNotFoundError: A `Cron` needs cronsim, which is not installed.
        """

    @abstractmethod
    def at_or_before(self, time: datetime) -> datetime | None:
        """Return the last time that is not later than another.

        Args:
            time: That other time, with a time zone.

        Returns:
            The time in UTC; None where there is none.

        Raises:
            ValueError: As `after`.
            ModuleNotFoundError: As `after`.
        """

    def bound_to(self, topic: str, timer_id: str) -> "Repeat":
        """Return the definition that a timer gets, where it depends on that timer.

        Args:
            topic: The full topic.
            timer_id: Its id.
        """
        return self

    def __eq__(self, other: object) -> bool:
        """Compare definitions."""
        return isinstance(other, Repeat) and self.definition == other.definition

    def __hash__(self) -> int:
        """Hash the definition."""
        return hash(self.definition)


class Every(Repeat):
    """Due after each period: at ``start``, a period later, two periods later, and so on.

    A day has 24 hours, also where clocks are changed; `Cron` follows the clock on the wall.

    Args:
        period: Time from one occurrence to the next, from 1 second to 365,250 days.
        weeks: The same in weeks, in place of `period`. Those below add up with it.
        days: In days of 24 hours.
        hours: In hours.
        minutes: In minutes.
        seconds: In seconds.
        start: The first time, with a time zone; nothing is due before it. By default periods are
            counted from the Unix epoch (1970-01-01T00:00Z), so that all who define the same series
            agree. Give a fixed time: with ``datetime.now()`` each deploy would define another one.
        spread: Whether topic and id shift the times within the period, so that a thousand series
            are not due in the same microsecond. The shift is the same in each process.

    Raises:
        TypeError: `period` is not a timedelta, a number is none, `start` is not a datetime, or
            `spread` is neither True nor False.
        ValueError: The period is out of range, or given twice, or `start` is naive.
    """

    __slots__ = ("_start", "period", "spread", "start")

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
        keywords = {
            "weeks": weeks,
            "days": days,
            "hours": hours,
            "minutes": minutes,
            "seconds": seconds,
        }
        given = {name: value for name, value in keywords.items() if value != 0}
        self.period = _read_period(period, given)
        if start is not None:
            if not isinstance(start, datetime):
                msg = f"start must be a datetime, got {start!r}"
                raise TypeError(msg)
            if start.utcoffset() is None:
                msg = (
                    f"start must be timezone-aware, got the naive {start!r}: "
                    "write datetime(..., tzinfo=UTC)"
                )
                raise ValueError(msg)
        if not isinstance(spread, bool):
            msg = f"spread must be True or False, got {spread!r}"
            raise TypeError(msg)
        self.start = start
        self.spread = spread
        self._start = (start or _EPOCH).astimezone(UTC)

    @property
    def definition(self) -> str:
        """What the header `timer-repeat` says, in ASCII."""
        period, start = _write_number(self.period), _write_number(self._start - _EPOCH)
        return f"every {period} {start}{' spread' if self.spread else ''}"

    def bound_to(self, topic: str, timer_id: str) -> "Every":
        """Return the definition that a timer gets: with `spread` its start is shifted.

        Args:
            topic: The full topic.
            timer_id: Its id.
        """
        if not self.spread:
            return self
        digest = sha256(f"{topic}\0{timer_id}".encode()).digest()
        shift = int.from_bytes(digest[:16]) % (self.period // _MICROSECOND)
        return Every(self.period, start=self._start + shift * _MICROSECOND)

    def after(self, time: datetime) -> datetime | None:
        """Return the first time later than another; see `Repeat`."""
        _check_aware(time)
        if time < self._start:
            return self._start
        return self._later((time - self._start) // self.period + 1)

    def at_or_before(self, time: datetime) -> datetime | None:
        """Return the last time that is not later than another; see `Repeat`."""
        _check_aware(time)
        if time < self._start:
            return None
        return self._later((time - self._start) // self.period)

    def _later(self, periods: int) -> datetime | None:
        try:
            return self._start + periods * self.period
        except OverflowError:
            return None

    def __repr__(self) -> str:
        """Show how to make it."""
        more = f", start={self.start!r}" if self.start is not None else ""
        return f"Every({self.period!r}{more}{', spread=True' if self.spread else ''})"

    def __str__(self) -> str:
        """Show it to people."""
        text = f"every {self.period}"
        if self.start is not None and self._start != _EPOCH:
            text += f" from {self._start.isoformat()}"
        return text

    @classmethod
    def read(cls, words: str) -> Self:
        """Read what stands behind "every" in a definition.

        Args:
            words: Period and start, in seconds.

        Raises:
            ValueError: It is neither.
        """
        period, start = map(_read_number, words.split(" "))
        return cls(period, start=_EPOCH + start if start else None)


class Cron(Repeat):
    """Due as a cron expression says, by the clock on a wall in a time zone.

    Where clocks are put forward, what falls into the hour that is left out runs once, right after
    it. Where they are put back, it runs once, in the first of both hours. What runs every hour or
    more often (a minute or hour that begins with ``*``) runs in each hour that there is.

    Args:
        expression: Five fields, "minute hour day-of-month month day-of-week", as Debian's cron
            knows them, or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly`` or ``@yearly``. Names
            like MON or JAN, ``L`` for the last day of a month and ``MON#2`` for its second Monday
            can be used. Where one of the two days begins with ``*`` both must fit, else one.
        tz: The time zone, by its IANA name.

    Raises:
        TypeError: `expression` or `tz` is not a string.
        ValueError: The expression is none or never occurs, or this machine does not know the time
            zone.
        ModuleNotFoundError: cronsim is not installed; the error says how to install it.
    """

    __slots__ = ("expression", "tz")

    def __init__(self, expression: str, *, tz: str = "UTC") -> None:
        """Check the expression and the time zone."""
        self.expression = _plain_expression(expression)
        self.tz = plain_text("tz", tz)
        _zone_of(self.tz)
        try:
            first = self._first(_EPOCH.replace(year=2000), UTC)
        except ValueError as error:
            msg = f"the expression of Cron can't be read, got {expression!r}: {error}"
            raise ValueError(msg) from error
        if first is None:
            msg = f"the expression of Cron never occurs, got {expression!r}"
            raise ValueError(msg)

    @property
    def definition(self) -> str:
        """What the header `timer-repeat` says, in ASCII."""
        return f"cron {self.tz} {self.expression}"

    def after(self, time: datetime) -> datetime | None:
        """Return the first time later than another; see `Repeat`."""
        _check_aware(time)
        return self._first(time, _zone_of(self.tz))

    def _first(self, time: datetime, zone: tzinfo) -> datetime | None:
        # Within the second pass of an hour cronsim begins with times of the first pass.
        time = time.astimezone(UTC)
        return next((one for one in self._walk(time, zone) if one > time), None)

    def at_or_before(self, time: datetime) -> datetime | None:
        """Return the last time that is not later than another; see `Repeat`."""
        _check_aware(time)
        zone = _zone_of(self.tz)
        time = time.astimezone(UTC)
        next_second = time.replace(microsecond=0) + timedelta(seconds=1)
        last = next(self._walk(next_second, zone, backwards=True), None)
        if last is None or _is_steady(last, next_second, zone):
            return last
        # Around a clock change cronsim's way back is not its way forth.
        earlier = max(last - _NEIGHBOURHOOD, _EPOCH.replace(year=2))
        last = None
        for one in self._walk(earlier, zone):
            if one > time:
                break
            last = one if last is None else max(one, last)
        return last

    def _walk(self, time: datetime, zone: tzinfo, *, backwards: bool = False) -> Iterator[datetime]:
        """Give what cronsim says, in UTC, as far as it and `datetime` reach."""
        steps = _make_cronsim(self.expression, time.astimezone(zone), backwards=backwards)
        try:
            for one in steps:
                yield one.astimezone(UTC)
        except (OverflowError, ValueError):
            return

    def __repr__(self) -> str:
        """Show how to make it."""
        return f"Cron({self.expression!r}, tz={self.tz!r})"

    def __str__(self) -> str:
        """Show it to people."""
        return f"{self.expression} {self.tz}"

    @classmethod
    def read(cls, words: str) -> Self:
        """Read what stands behind "cron" in a definition, without cronsim and time zones.

        Args:
            words: The time zone, and the expression.
        """
        cron = cls.__new__(cls)
        cron.tz, _, cron.expression = words.partition(" ")
        return cron


class UnknownRepeat(Repeat):
    """A definition that this version can't read: a later one has written it, or somebody's hand.

    Args:
        definition: It.
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
            f"this version knows no definition like {self._definition!r}: "
            "update faststream-redis-timers"
        )

    def __repr__(self) -> str:
        """Show it."""
        return f"UnknownRepeat({self._definition!r})"

    def __str__(self) -> str:
        """Show it to people."""
        return self._definition


def read_repeat(definition: str) -> Repeat:
    """Read a definition; neither cronsim nor time zones are asked.

    Args:
        definition: What the header `timer-repeat` says.

    Returns:
        An `Every` or `Cron`, or an `UnknownRepeat`, whose times nobody can tell.
    """
    kind, _, words = definition.partition(" ")
    try:
        if kind == "every":
            return Every.read(words)
        if kind == "cron":
            return Cron.read(words)
    except (ValueError, OverflowError):
        pass
    return UnknownRepeat(definition)


def check_repeat(argument: str, repeat: object) -> Repeat:
    """Refuse what is no definition.

    Args:
        argument: Name of the argument, for the error.
        repeat: What was given.

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
        count: How many at most; there are fewer where a series ends.
        after: The times are later than this one, with a time zone; None means now, by the clock
            of this machine.

    Returns:
        The times in UTC, in order.

    Raises:
        TypeError: `repeat` is no definition, or `count` no whole number.
        ValueError: `count` is below 1, or as `Repeat.after`.
        ModuleNotFoundError: As `Repeat.after`.
    """
    if not isinstance(repeat, Repeat):
        msg = f"repeat must be Every(...) or Cron(...), got {repeat!r}"
        raise TypeError(msg)
    check_count("count", count)
    return list(islice(_times_after(repeat, datetime.now(UTC) if after is None else after), count))


def _times_after(repeat: Repeat, time: datetime | None) -> Iterator[datetime]:
    while time is not None and (time := repeat.after(time)) is not None:
        yield time


def _read_period(period: timedelta | None, keywords: dict[str, float]) -> timedelta:
    if period is not None:
        if not isinstance(period, timedelta):
            msg = f"period must be a timedelta, got {period!r}: write Every(seconds=...)"
            raise TypeError(msg)
        if keywords:
            msg = f"give period or its parts, not both: got period={period!r} and {keywords}"
            raise ValueError(msg)
    elif not keywords:
        msg = "Every needs a period: write Every(minutes=5) or Every(timedelta(minutes=5))"
        raise TypeError(msg)
    else:
        for name, value in keywords.items():
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                msg = f"{name} must be a number, got {value!r}"
                raise TypeError(msg)
        try:
            period = timedelta(**keywords)
        except (OverflowError, ValueError):
            # It is refused below, as whatever is out of range.
            period = timedelta(0)
    if not SHORTEST_PERIOD <= period <= LONGEST_DELAY:
        given = ", ".join(f"{name}={value!r}" for name, value in keywords.items()) or repr(period)
        msg = (
            f"the period of Every must be from 1 second to {LONGEST_DELAY.days:,} days, got {given}"
        )
        raise ValueError(msg)
    return period


def _check_aware(time: datetime) -> None:
    if time.utcoffset() is None:
        msg = f"time must be timezone-aware, got the naive {time!r}"
        raise ValueError(msg)


def _plain_expression(expression: str) -> str:
    words = plain_text("expression", expression).upper().split()
    text = " ".join(words)
    text = _ALIASES.get(text, text)
    if len(text.split(" ")) != _FIELDS or not text.isascii():
        msg = (
            "the expression of Cron must have five fields, as in '0 9 * * MON-FRI', or be one of "
            f"{', '.join(_ALIASES).lower()}, got {expression!r}"
        )
        raise ValueError(msg)
    return text


def _zone_of(tz: str) -> tzinfo:
    if tz == "UTC":
        return UTC
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError) as error:
        msg = (
            f"tz must be a time zone that this machine knows, like 'Europe/Berlin', got {tz!r}: "
            "where it is the right name, pip install tzdata"
        )
        raise ValueError(msg) from error


def _make_cronsim(expression: str, time: datetime, *, backwards: bool) -> "CronSim":
    try:
        from cronsim import CronSim, CronSimError  # noqa: PLC0415  only who uses Cron needs it
    except ModuleNotFoundError as error:
        msg = (
            "Cron needs cronsim, which is not installed: "
            "pip install 'faststream-redis-timers[cron]'"
        )
        raise ModuleNotFoundError(msg, name=error.name) from error
    try:
        return CronSim(expression, time, reverse=backwards)
    except CronSimError as error:
        raise ValueError(str(error)) from error


def _is_steady(start: datetime, end: datetime, zone: tzinfo) -> bool:
    """Return whether no clock is changed around a stretch of time, as far as a few days show."""
    if zone is UTC:
        return True
    try:
        moments = (start - _NEIGHBOURHOOD, start, end, end + _NEIGHBOURHOOD)
        return len({moment.astimezone(zone).utcoffset() for moment in moments}) == 1
    except OverflowError:
        return False


def _write_number(time: timedelta) -> str:
    microseconds = time // _MICROSECOND
    sign = "-" if microseconds < 0 else ""
    return f"{sign}%d.%06d" % divmod(abs(microseconds), _MICROSECONDS)


def _read_number(text: str) -> timedelta:
    parts = _NUMBER.fullmatch(text)
    if parts is None:
        msg = f"{text!r} is no number of seconds"
        raise ValueError(msg)
    seconds = timedelta(seconds=int(parts[2]), microseconds=int(parts[3]))
    return -seconds if parts[1] else seconds
