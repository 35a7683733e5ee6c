"""Times of a series: beside a walk from minute to minute, beside croniter, and their laws."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import HealthCheck, given, settings, strategies as st

from faststream_redis_timers_sync.protocol.recurrence import Cron, Every

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]
FIRST = datetime(2021, 1, 1, tzinfo=UTC)
LAST = datetime(2031, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)

SLOW_MACHINES = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- fields of expressions, as text and as the numbers that they stand for


@dataclass(frozen=True)
class Field:
    text: str
    numbers: frozenset = field(repr=False)

    @property
    def begins_with_a_star(self):
        return self.text.startswith("*")


@st.composite
def terms(draw, lowest, highest):
    kind = draw(st.sampled_from(["number", "range", "steps", "steps from"]))
    first = draw(st.integers(lowest, highest))
    if kind == "number":
        return Field(str(first), frozenset({first}))
    last = draw(st.integers(first + 1, highest)) if first < highest else None
    if last is None:
        return Field(str(first), frozenset({first}))
    if kind == "range":
        return Field(f"{first}-{last}", frozenset(range(first, last + 1)))
    step = draw(st.integers(1, 40))
    if kind == "steps":
        return Field(f"{first}-{last}/{step}", frozenset(range(first, last + 1, step)))
    return Field(f"{first}/{step}", frozenset(range(first, highest + 1, step)))


def stars(lowest, highest):
    every = st.just(Field("*", frozenset(range(lowest, highest + 1))))
    steps = st.integers(1, 40).map(
        lambda step: Field(f"*/{step}", frozenset(range(lowest, highest + 1, step)))
    )
    return every | steps


def fields(lowest, highest):
    lists = st.lists(terms(lowest, highest), min_size=1, max_size=3).map(
        lambda parts: Field(
            ",".join(part.text for part in parts),
            frozenset().union(*(part.numbers for part in parts)),
        )
    )
    return stars(lowest, highest) | lists


@dataclass(frozen=True)
class Expression:
    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    def __str__(self):
        parts = (self.minute, self.hour, self.day, self.month, self.weekday)
        return " ".join(part.text for part in parts)

    def fits_day(self, day):
        in_month = day.day in self.day.numbers
        in_week = bool({day.isoweekday(), day.isoweekday() % 7} & self.weekday.numbers)
        either = not (self.day.begins_with_a_star or self.weekday.begins_with_a_star)
        fits = in_month or in_week if either else in_month and in_week
        return fits and day.month in self.month.numbers

    def fits(self, reading):
        return (
            reading.minute in self.minute.numbers
            and reading.hour in self.hour.numbers
            and self.fits_day(reading)
        )

    def is_due(self, moment, zone):
        """Whether it is due in the minute that begins now, from what the clock shows and showed."""
        shown = moment.astimezone(zone)
        if self.minute.begins_with_a_star or self.hour.begins_with_a_star:
            return self.fits(shown)
        if shown.fold:
            return False
        reading = (moment - MINUTE).astimezone(zone).replace(tzinfo=None, fold=0) + MINUTE
        shown = shown.replace(tzinfo=None)
        # Where nothing is left out there is one reading, where clocks are set back none is later.
        while reading < shown:
            if self.fits(reading):
                return True
            reading += MINUTE
        return self.fits(shown)


def numbers(lowest, highest):
    return st.frozensets(st.integers(lowest, highest), min_size=1, max_size=3).map(
        lambda chosen: Field(",".join(map(str, sorted(chosen))), chosen)
    )


# Often at hours at which clocks are changed.
hours = fields(0, 23) | numbers(0, 4)
# The last days of months are rarer, and no month has none of the others.
days = stars(1, 31) | numbers(1, 28) | terms(1, 31).filter(lambda term: min(term.numbers) < 29)
any_day, any_month = Field("*", frozenset(range(1, 32))), Field("*", frozenset(range(1, 13)))
any_weekday = Field("*", frozenset(range(8)))
# Sunday is 0, and 7.
expressions = st.builds(
    Expression, fields(0, 59), hours, st.just(any_day), st.just(any_month), st.just(any_weekday)
) | st.builds(
    Expression,
    fields(0, 59),
    hours,
    st.just(any_day) | days,
    st.just(any_month) | fields(1, 12),
    st.just(any_weekday) | fields(0, 7),
)


# --- times, mostly around clock changes


@cache
def changes(tz):
    """Find the first moments with another offset from UTC, hour by hour."""
    zone, found, time = ZoneInfo(tz), [], FIRST
    offset = time.astimezone(zone).utcoffset()
    while time < LAST:
        time += timedelta(hours=12)
        if (new := time.astimezone(zone).utcoffset()) != offset:
            change = time - timedelta(hours=12)
            while change.astimezone(zone).utcoffset() == offset:
                change += timedelta(minutes=30)
            found.append(change)
            offset = new
    return found


@st.composite
def times(draw, tz):
    near = changes(tz) and draw(st.sampled_from([True, True, False]))
    if near:
        whole = draw(st.integers(-200, 200)) * MINUTE
        time = draw(st.sampled_from(changes(tz))) + whole
    else:
        time = FIRST + draw(st.integers(0, (LAST - FIRST) // MINUTE)) * MINUTE
    return time + draw(
        st.sampled_from([timedelta(0), MICROSECOND, timedelta(seconds=30), -MICROSECOND])
    )


asked = st.sampled_from(ZONES).flatmap(lambda tz: st.tuples(st.just(tz), times(tz)))


# --- a walk from minute to minute

LONGEST_WALK = timedelta(days=2 * 366)


def walk(expression, zone, time, step):
    """Give the first minute at which it is due, from one on; None if it takes too long."""
    end = time + LONGEST_WALK * (step // MINUTE)
    while (time < end) if step > timedelta(0) else (time > end):
        around = {(time + n * DAY / 2).astimezone(zone).date() for n in range(-2, 3)}
        if not any(map(expression.fits_day, around)):
            # Whatever the clock shows within this day, it is not due.
            time += DAY * (step // MINUTE)
        elif expression.is_due(time, zone):
            return time
        else:
            time += step
    return None


@settings(SLOW_MACHINES, max_examples=400)
@given(expressions, asked)
def test_the_next_time_is_the_first_that_a_walk_finds(expression, asked):
    tz, time = asked
    start = time.replace(second=0, microsecond=0)
    found = walk(expression, ZoneInfo(tz), start + MINUTE, MINUTE)
    after = Cron(str(expression), tz=tz).after(time)
    if found is None:
        assert after > time + LONGEST_WALK - DAY
    else:
        assert after == found


@settings(SLOW_MACHINES, max_examples=400)
@given(expressions, asked)
def test_the_last_time_is_the_first_that_a_walk_back_finds(expression, asked):
    tz, time = asked
    found = walk(expression, ZoneInfo(tz), time.replace(second=0, microsecond=0), -MINUTE)
    before = Cron(str(expression), tz=tz).at_or_before(time)
    if found is None:
        assert before < time - LONGEST_WALK + DAY
    else:
        assert before == found


@pytest.mark.parametrize("tz", ZONES)
def test_the_zones_change_their_clocks_as_they_should_for_these_tests(tz):
    assert len(changes(tz)) == (0 if tz in {"Asia/Kolkata", "UTC"} else 20)


# --- laws

ODD_ZONES = [
    *("Pacific/Apia", "Pacific/Kwajalein", "America/Juneau", "Asia/Manila", "Europe/London"),
    *(
        "Europe/Dublin",
        "Africa/Casablanca",
        "Africa/Monrovia",
        "Antarctica/Troll",
        "Asia/Pyongyang",
    ),
    *("America/St_Johns", "America/Caracas", "Asia/Kathmandu", "Pacific/Kiritimati", "Asia/Gaza"),
    *ZONES,
]
repeats = st.builds(
    lambda expression, tz: Cron(str(expression), tz=tz), expressions, st.sampled_from(ODD_ZONES)
) | st.builds(
    lambda period, start: Every(period, start=start),
    st.timedeltas(timedelta(seconds=1), timedelta(days=400)),
    st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
anywhere = st.datetimes(datetime(1800, 1, 1), datetime(2300, 1, 1), timezones=st.just(UTC)) | (  # noqa: DTZ001
    st.sampled_from(ODD_ZONES).flatmap(times)
)


@settings(SLOW_MACHINES, max_examples=500)
@given(repeats, anywhere)
def test_what_is_next_follows_what_was_last(repeat, time):
    last, following = repeat.at_or_before(time), repeat.after(time)
    assert following > time
    assert repeat.at_or_before(following) == following
    assert repeat.at_or_before(following - MICROSECOND) == last
    if last is not None:
        assert last <= time
        assert repeat.at_or_before(last) == last
        assert repeat.after(last) == following
        assert repeat.after(last - MICROSECOND) == last


@settings(SLOW_MACHINES, max_examples=300)
@given(repeats, anywhere, st.timedeltas(timedelta(0), timedelta(days=2)))
def test_later_questions_have_later_answers(repeat, time, later):
    assert repeat.after(time) <= repeat.after(time + later)
    earlier = repeat.at_or_before(time)
    assert earlier is None or earlier <= repeat.at_or_before(time + later)


# --- beside croniter

LIKE_CRONITER = st.builds(
    Expression,
    fields(0, 59),
    fields(0, 23),
    st.just(any_day) | days,
    st.just(any_month) | fields(1, 12),
    st.just(any_weekday),
) | st.builds(
    Expression,
    fields(0, 59),
    fields(0, 23),
    st.just(any_day),
    st.just(any_month),
    stars(0, 6) | numbers(0, 6),
)
"""croniter takes days with steps, like ``*/2``, for restricted ones: one of both days is ``*``.
And for it days of the week end with 6, where they begin with a number: ``1/2``."""


@settings(SLOW_MACHINES, max_examples=200)
@given(LIKE_CRONITER, times("UTC"))
def test_croniter_says_the_same_in_utc(expression, time):
    theirs = croniter(str(expression), time)
    cron, ours = Cron(str(expression)), time
    for _ in range(3):
        ours = cron.after(ours)
        assert ours == theirs.get_next(datetime)


@settings(SLOW_MACHINES, max_examples=200)
@given(LIKE_CRONITER, asked)
def test_croniter_says_the_same_where_no_clock_is_changed(expression, asked):
    tz, time = asked
    theirs = croniter(str(expression), time.astimezone(ZoneInfo(tz))).get_next(datetime)
    ours = Cron(str(expression), tz=tz).after(time)
    if not any(time - DAY < change < max(ours, theirs) + DAY for change in changes(tz)):
        assert ours == theirs


@pytest.mark.parametrize("expression", ["0 0 L * *", "0 0 * * MON#2", "0 0 13 * FRI", "0 0 29 2 *"])
def test_croniter_says_the_same_of_rare_days(expression):
    theirs = croniter(expression, FIRST)
    cron, ours = Cron(expression), FIRST
    for _ in range(12):
        ours = cron.after(ours)
        assert ours == theirs.get_next(datetime)
