"""Definitions of recurring timers: what they refuse, their text, and the times they give."""

import copy
import datetime as dt
import pickle
import subprocess
import sys
import zoneinfo
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from zoneinfo import ZoneInfo

import cronsim
import pytest

from faststream_redis_timers_sync.protocol.model import PAUSED
from faststream_redis_timers_sync.protocol.recurrence import (
    BEGIN,
    END,
    Cron,
    Every,
    Repeat,
    UnknownRepeat,
    check_repeat,
    next_times,
    read_repeat,
)
from faststream_redis_timers_sync.protocol.times import time_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def utcs(*texts):
    return [utc(text) for text in texts]


# --- cron: a table of cases

AFTER = {
    "spring, the hour is left out": (
        ("30 2 * * *", "Europe/Berlin", "2027-03-27T01:30:00.2"),
        ["2027-03-28T01:00", "2027-03-29T00:30"],
    ),
    "claimed right after the gap": (
        ("30 2 * * *", "Europe/Berlin", "2027-03-28T01:00:00.1"),
        ["2027-03-29T00:30"],
    ),
    "what the gap leaves out and what follows it share a time": (
        ("0 2,3 * * *", "Europe/Berlin", "2027-03-27T12:00"),
        ["2027-03-28T01:00", "2027-03-29T00:00", "2027-03-29T01:00"],
    ),
    "autumn, the first pass alone": (
        ("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00"),
        ["2027-10-31T00:30", "2027-11-01T01:30"],
    ),
    "claimed in the first pass": (
        ("30 2 * * *", "Europe/Berlin", "2027-10-31T00:30:00.1"),
        ["2027-11-01T01:30"],
    ),
    "published in the second pass": (
        ("30 2 * * *", "Europe/Berlin", "2027-10-31T01:10"),
        ["2027-11-01T01:30"],
    ),
    "each quarter of both passes": (
        ("*/15 * * * *", "America/New_York", "2027-11-07T04:59"),
        [f"2027-11-07T0{5 + n // 4}:{15 * (n % 4):02}" for n in range(8)],
    ),
    "each quarter beside the gap": (
        ("*/15 * * * *", "America/New_York", "2027-03-14T06:31"),
        ["2027-03-14T06:45", "2027-03-14T07:00"],
    ),
    "the second pass comes yet, at an earlier reading": (
        ("10 * * * *", "Europe/Berlin", "2027-10-31T00:30"),
        ["2027-10-31T01:10", "2027-10-31T02:10"],
    ),
    "a minute or hour with a star is not made up for": (
        ("0 */2 * * *", "Europe/Berlin", "2027-03-27T22:30"),
        ["2027-03-27T23:00", "2027-03-28T02:00"],
    ),
    "every hour without a star": (
        ("0 0-23 * * *", "Europe/Berlin", "2027-10-30T23:30"),
        ["2027-10-31T00:00", "2027-10-31T02:00"],
    ),
    "a gap of half an hour": (
        ("15 2 * * *", "Australia/Lord_Howe", "2027-10-02T00:00"),
        ["2027-10-02T15:30", "2027-10-03T15:15"],
    ),
    "half an hour comes twice": (
        ("45 1 * * *", "Australia/Lord_Howe", "2027-04-03T00:00"),
        ["2027-04-03T14:45", "2027-04-04T15:15"],
    ),
    "half an hour comes twice, with a star": (
        ("45 * * * *", "Australia/Lord_Howe", "2027-04-03T14:00"),
        ["2027-04-03T14:45", "2027-04-03T15:15", "2027-04-03T16:15"],
    ),
    "a whole day is left out": (
        ("0 9 * * *", "Pacific/Apia", "2011-12-29T12:00"),
        ["2011-12-29T19:00", "2011-12-30T10:00", "2011-12-30T19:00"],
    ),
    "an offset with seconds": (
        ("0 0 * * *", "Africa/Monrovia", "1971-06-01T12:00"),
        ["1971-06-02T00:44:30"],
    ),
    "a gap of 44.5 minutes": (
        ("30 0 * * *", "Africa/Monrovia", "1972-01-06T12:00"),
        ["1972-01-07T00:44:30", "1972-01-08T00:30"],
    ),
    "over a weekend and a clock change": (
        ("0 9 * * MON-FRI", "Europe/Berlin", "2027-03-26T08:00:00.1"),
        ["2027-03-29T07:00"],
    ),
    "workers were away": (
        ("0 9 * * MON-FRI", "Europe/Berlin", "2027-06-10T12:20"),
        ["2027-06-11T07:00"],
    ),
    "in the evening": (
        ("59 23 * * *", "Europe/Berlin", "2027-06-01T22:00:20"),
        ["2027-06-02T21:59"],
    ),
    "leap days, over the year 2100": (
        ("0 0 29 2 *", "Asia/Kolkata", "2096-03-01T00:00"),
        ["2104-02-28T18:30"],
    ),
    "the rarest of all": (("0 0 */31 2 SUN#1", "UTC", "2027-01-01T00:00"), ["2032-02-01T00:00"]),
    "a leap day that is the fifth Monday": (
        ("0 0 * 2 MON#5", "UTC", "2072-03-01T00:00"),
        ["2112-02-29T00:00"],
    ),
    "a time that is due itself": (("0 9 * * *", "UTC", "2027-01-01T09:00"), ["2027-01-02T09:00"]),
    "a microsecond before": (
        ("0 9 * * *", "UTC", "2027-01-01T08:59:59.999999"),
        ["2027-01-01T09:00"],
    ),
}


@pytest.mark.parametrize(("asked", "times"), AFTER.values(), ids=AFTER)
def test_times_of_cron_after_a_time(asked, times):
    expression, tz, time = asked
    found = next_times(Cron(expression, tz=tz), len(times), after=utc(time))
    assert found == utcs(*times)
    assert {moment.tzinfo for moment in found} == {UTC}


BEFORE = {
    "in the second pass, what was due in the first": (
        ("30 2 * * *", "Europe/Berlin", "2027-10-31T01:10"),
        "2027-10-31T00:30",
    ),
    "in the first pass": (
        ("30 2 * * *", "Europe/Berlin", "2027-10-31T00:29"),
        "2027-10-30T00:30",
    ),
    "later readings of the first pass": (
        ("50 2 * * *", "Europe/Berlin", "2027-10-31T01:10"),
        "2027-10-31T00:50",
    ),
    "later readings of the first pass, with a star": (
        ("50 * * * *", "Europe/Berlin", "2027-10-31T01:10"),
        "2027-10-31T00:50",
    ),
    "the second pass, with a star": (
        ("10 * * * *", "Europe/Berlin", "2027-10-31T01:20"),
        "2027-10-31T01:10",
    ),
    "after both passes, with a star": (
        ("*/50 2 * * *", "Europe/Berlin", "2027-10-31T05:00"),
        "2027-10-31T01:50",
    ),
    "at the end of the gap": (
        ("30 2 * * *", "Europe/Berlin", "2027-03-28T01:00"),
        "2027-03-28T01:00",
    ),
    "before the end of the gap": (
        ("30 2 * * *", "Europe/Berlin", "2027-03-28T00:59:59.999999"),
        "2027-03-27T01:30",
    ),
    "the end of a week": (
        ("0 9 * * MON-FRI", "Europe/Berlin", "2027-06-13T12:20"),
        "2027-06-11T07:00",
    ),
    "a lost lease after midnight": (
        ("59 23 * * *", "Europe/Berlin", "2027-06-01T22:00:20"),
        "2027-06-01T21:59",
    ),
    "a time that is due itself": (("0 9 * * *", "UTC", "2027-01-01T09:00"), "2027-01-01T09:00"),
    "with microseconds": (("* * * * *", "UTC", "2027-01-01T09:00:59.9"), "2027-01-01T09:00"),
    "years ago": (("0 0 29 2 *", "UTC", "2104-02-28T00:00"), "2096-02-29T00:00"),
    "a whole day was left out": (
        ("0 9 * * *", "Pacific/Apia", "2011-12-30T12:00"),
        "2011-12-30T10:00",
    ),
}


@pytest.mark.parametrize(("asked", "time"), BEFORE.values(), ids=BEFORE)
def test_the_last_time_of_cron(asked, time):
    expression, tz, now = asked
    assert Cron(expression, tz=tz).at_or_before(utc(now)) == utc(time)


@pytest.fixture
def steps(monkeypatch):
    """How often cronsim is asked for one more reading, and for how many walks."""
    counts = {"walks": 0, "readings": 0}

    class Counting(cronsim.CronSim):
        def __init__(self, *args, **keywords):
            counts["walks"] += 1
            super().__init__(*args, **keywords)

        def __next__(self):
            counts["readings"] += 1
            return super().__next__()

    monkeypatch.setattr(cronsim, "CronSim", Counting)
    return counts


@pytest.mark.parametrize(
    "expression", ["* * * * *", "*/15 * * * *", "0 9 * * MON-FRI", "0 0 29 2 *"]
)
@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("method", ["after", "at_or_before"])
def test_one_reading_is_looked_at_where_no_clock_is_changed(steps, expression, tz, method):
    cron = read_repeat(f"cron {tz} {expression}")
    getattr(cron, method)(utc("2027-06-10T12:20:11.5"))
    assert steps == {"walks": 1, "readings": 1}


@pytest.mark.parametrize("expression", ["* * * * *", "0-59 0-23 * * *", "30 2 * * *"])
@pytest.mark.parametrize("method", ["after", "at_or_before"])
def test_within_a_repeated_hour_no_more_is_walked_than_that_hour(steps, expression, method):
    cron = read_repeat(f"cron Europe/Berlin {expression}")
    for minute in range(0, 120, 7):
        steps.update(walks=0, readings=0)
        getattr(cron, method)(utc("2027-10-31T00:00:30") + timedelta(minutes=minute))
        assert steps["walks"] <= 2
        assert steps["readings"] <= 62


# --- cron: expressions

READ = {
    "0 9 * * mon-fri": "0 9 * * MON-FRI",
    "  0\t9  * *   1 \n": "0 9 * * 1",
    "@daily": "0 0 * * *",
    " @Midnight ": "0 0 * * *",
    "@hourly": "0 * * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "*/7 * * * *": "*/7 * * * *",
    "1,2,5-9/2 0-23/6 1-31 jan-mar,DEC 0-7": "1,2,5-9/2 0-23/6 1-31 JAN-MAR,DEC 0-7",
    "0 0 l * *": "0 0 L * *",
    "0 0 LW * *": "0 0 LW * *",
    "0 0 * * MON#5": "0 0 * * MON#5",
    "0 0 * * 5L": "0 0 * * 5L",
    "0 0 31 2 MON": "0 0 31 2 MON",
    "05 09 * * *": "05 09 * * *",
}


@pytest.mark.parametrize(("given", "kept"), READ.items())
def test_an_expression_is_kept_in_capitals_with_single_spaces(given, kept):
    cron = Cron(given)
    assert cron.expression == kept
    assert cron.after(EPOCH) is not None


class Schedule(str, Enum):  # noqa: UP042  what users of older Pythons write
    NIGHTLY = "0 3 * * *"
    ZONE = "Europe/Berlin"


def test_members_of_an_enum_are_their_values():
    assert Cron(Schedule.NIGHTLY, tz=Schedule.ZONE).definition == "cron Europe/Berlin 0 3 * * *"


UNREADABLE = [
    *("* * * *", "* * * * * *", "0 0 9 * * MON", "@reboot", "@", "daily", "every 5 minutes"),
    *("60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * 0 *"),
    *("* * * * 8", "* * * * MOON", "* * * FOO *", "-1 * * * *", "1.5 * * * *", "*/0 * * * *"),
    *("*/ * * * *", "1, * * * *", ",1 * * * *", "5-1 * * * *", "* 22-2 * * *", "* * * * SAT-SUN"),
    *("* * ? * *", "* * 15W * *", "* * * * L", "* * * * L5", "* * * * MON#6", "* * * * MON#0"),
    *("* * * * MON#", "H * * * *", "R R * * *", "** * * * *", "1/2/3 * * * *", "* * * * MONDAY"),
    *(
        "0 0 * * *\0",
        "٣ * * * *",
        "\u017fun * * * *",
        "* * * * \u017fun",
        "0\N{NO-BREAK SPACE}0 * * *",
    ),
]


@pytest.mark.parametrize("expression", UNREADABLE, ids=ascii)
def test_an_expression_that_cannot_be_read_is_named(expression):
    with pytest.raises(ValueError, match="expression of Cron can't be read") as caught:
        Cron(expression)
    assert repr(expression) in str(caught.value)


@pytest.mark.parametrize(
    "expression", ["0 0 30 2 *", "0 0 31 2,4,jun,9,11 *", "0 0 */31 * MON#2", "0 0 30,31 2 */2"]
)
def test_an_expression_that_never_occurs_is_named(expression):
    with pytest.raises(ValueError, match="never occurs") as caught:
        Cron(expression)
    assert repr(expression) in str(caught.value)


def test_an_expression_has_a_longest_length():
    longest = "0" * 992 + " 0 * * *"
    assert len(longest) == 1000
    assert Cron(longest).after(EPOCH) == EPOCH + timedelta(days=1)
    with pytest.raises(ValueError, match="at most 1,000 characters, got 1,001: '0000") as caught:
        Cron("0" + longest)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("expression", [None, 5, b"* * * * *", ["*"]], ids=repr)
def test_an_expression_is_a_string(expression):
    with pytest.raises(TypeError, match="expression must be a str"):
        Cron(expression)


def test_an_expression_is_not_empty():
    with pytest.raises(ValueError, match="expression must not be empty"):
        Cron("")


# --- cron: time zones


@pytest.mark.parametrize("tz", ["UTC", "Etc/UTC", "Europe/Berlin", "America/Argentina/Ushuaia"])
def test_zones_are_known_by_their_names(tz):
    assert Cron("@daily", tz=tz).tz == tz


@pytest.mark.parametrize(
    "tz", ["Etc/GMT+5", "Asia/Ho_Chi_Minh", "America/Port-au-Prince", "EST5EDT"]
)
def test_names_of_zones_have_more_than_letters(tz):
    assert Cron("@daily", tz=tz).after(EPOCH)


STRANGERS = [
    *(
        "Europe/Nowhere",
        "europe/berlin!",
        "Europe",
        "America/Argentina",
        "Europe/",
        "/Europe/Berlin",
    ),
    *("/etc/localtime", "../../etc/localtime", "./UTC", "Europe//Berlin", "Europe/../UTC", "."),
    *("localtime", "posixrules", "Factory", "right/Europe/Berlin", "posix/Europe/Berlin"),
    *(
        "tzdata.zi",
        "zone.tab",
        "Ünited",
        "UTC ",
        " UTC",
        "UTC\n",
        "U\0TC",
        "a" * 5000,
        "+01:00",
        "CEST",
    ),
]


@pytest.mark.parametrize("tz", STRANGERS, ids=lambda tz: ascii(tz)[:30])
def test_what_is_no_zone_is_named(tz):
    with pytest.raises(ValueError, match="tz must be a time zone") as caught:
        Cron("@daily", tz=tz)
    assert repr(tz) in str(caught.value)
    assert "pip install tzdata" in str(caught.value)


@pytest.mark.parametrize("tz", [None, 1, UTC, ZoneInfo("Europe/Berlin")], ids=repr)
def test_a_zone_is_given_by_name(tz):
    with pytest.raises(TypeError, match="tz must be a str"):
        Cron("@daily", tz=tz)


def test_a_zone_has_a_name():
    with pytest.raises(ValueError, match="tz must not be empty"):
        Cron("@daily", tz="")


# --- every


def test_periods_are_counted_from_the_epoch():
    assert next_times(Every(minutes=5), 2, after=utc("2027-01-01T10:12:13")) == utcs(
        "2027-01-01T10:15", "2027-01-01T10:20"
    )


def test_a_run_of_twelve_minutes_shares_what_it_misses():
    every = Every(minutes=5)
    assert every.after(utc("2027-01-01T10:12")) == utc("2027-01-01T10:15")
    assert every.at_or_before(utc("2027-01-01T10:12")) == utc("2027-01-01T10:10")


def test_parts_of_a_period_add_up():
    parts = Every(weeks=1, days=1, hours=1, minutes=1, seconds=1.5)
    assert parts == Every(timedelta(weeks=1, days=1, hours=1, minutes=1, seconds=1.5))
    assert parts.period == timedelta(days=8, hours=1, minutes=1, seconds=1.5)


@pytest.mark.parametrize("start", ["1999-05-05T05:05:05.000005", "2030-01-01T00:00"])
def test_nothing_is_due_before_the_start(start):
    start = utc(start)
    every = Every(days=7, start=start)
    assert every.at_or_before(start - MICROSECOND) is None
    assert every.after(BEGIN) == every.after(start - MICROSECOND) == start
    assert every.at_or_before(start) == start
    assert every.after(start) == start + timedelta(days=7)


def test_the_start_is_kept_in_utc():
    start = datetime(2027, 10, 31, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    every = Every(hours=1, start=start)
    assert every.start == utc("2027-10-31T01:30")
    assert every.start.tzinfo is UTC
    assert Every(hours=1).start == EPOCH


def test_days_have_24_hours():
    start = datetime(2027, 3, 27, 9, tzinfo=ZoneInfo("Europe/Berlin"))
    assert Every(days=1, start=start).after(start) == utc("2027-03-28T08:00")


@pytest.mark.parametrize("period", [SECOND, SECOND + MICROSECOND, timedelta(days=365_250)])
def test_the_shortest_and_the_longest_period(period):
    every = Every(period)
    assert every.after(EPOCH) == EPOCH + period
    assert every.at_or_before(EPOCH + period - MICROSECOND) == EPOCH


def test_no_time_is_lost_in_a_float():
    every = Every(timedelta(days=365_249, microseconds=1), start=utc("0002-01-01T00:00:00.000001"))
    assert every.after(every.start) == every.start + every.period


PERIODS = [
    {"period": SECOND - MICROSECOND},
    {"period": timedelta(days=365_250) + MICROSECOND},
    {"period": timedelta.max},
    {"period": timedelta(seconds=-5)},
    {"seconds": 0.4},
    {"seconds": -60},
    {"days": 365_251},
    {"days": 10**12},
    {"weeks": 10**400},
    {"minutes": float("nan")},
    {"minutes": float("inf")},
    {"hours": float("-inf")},
    {"hours": 1, "minutes": -60},
]


@pytest.mark.parametrize("keywords", PERIODS, ids=lambda keywords: str(keywords)[:40])
def test_a_period_out_of_range_is_named(keywords):
    with pytest.raises(
        ValueError, match="period of Every must be from 1 second to 365,250"
    ) as caught:
        Every(**keywords)
    assert all(repr(value) in str(caught.value) for value in keywords.values())


@pytest.mark.parametrize("keywords", [{}, {"minutes": 0}, {"minutes": 0.0, "days": 0}], ids=str)
def test_a_period_is_needed(keywords):
    with pytest.raises(ValueError, match="got none: write Every"):
        Every(**keywords)


def test_a_period_is_given_once():
    with pytest.raises(ValueError, match=r"not both: got period=.* and minutes=5"):
        Every(SECOND, minutes=5)


@pytest.mark.parametrize("period", [5, 5.0, "5m", "PT5M"], ids=repr)
def test_a_period_is_a_timedelta(period):
    with pytest.raises(TypeError, match="period must be a timedelta"):
        Every(period)


@pytest.mark.parametrize("value", [True, False, None, "5", Decimal(5), SECOND], ids=repr)
@pytest.mark.parametrize("part", ["weeks", "days", "hours", "minutes", "seconds"])
def test_parts_are_numbers(part, value):
    with pytest.raises(TypeError, match=f"{part} must be a number"):
        Every(timedelta(days=1), **{part: value})


@pytest.mark.parametrize("start", [date(2027, 1, 1), "2027-01-01", 0, 1.5, True], ids=repr)
def test_a_start_is_a_datetime(start):
    with pytest.raises(TypeError, match="start must be a datetime"):
        Every(days=1, start=start)


def test_a_start_has_a_time_zone():
    with pytest.raises(ValueError, match="start must be timezone-aware"):
        Every(days=1, start=datetime(2027, 1, 1))  # noqa: DTZ001  that is what is refused


@pytest.mark.parametrize(
    "start",
    [
        END,
        datetime.max.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=9))),
    ],
    ids=str,
)
def test_a_series_starts_before_the_end_of_all_times(start):
    with pytest.raises(ValueError, match=r"start must be before 9999-12-31"):
        Every(days=1, start=start)


@pytest.mark.parametrize("spread", [None, 1, "yes"], ids=repr)
def test_spread_is_a_bool(spread):
    with pytest.raises(TypeError, match="spread must be True or False"):
        Every(days=1, spread=spread)


class Period(timedelta):
    def __mul__(self, other):
        raise AssertionError

    __rmul__ = __floordiv__ = __mul__


class Moment(datetime):
    def __repr__(self):
        return "a moment"


def test_subclasses_of_periods_and_times_are_made_plain():
    every = Every(Period(days=1), start=Moment(2027, 1, 1, tzinfo=UTC))
    assert type(every.period) is timedelta
    assert type(every.start) is datetime
    assert every.after(utc("2027-01-01T12:00")) == utc("2027-01-02T00:00")


# --- spread


def test_a_timer_of_a_spread_series_has_a_start_of_its_own():
    every = Every(hours=1, spread=True)
    bound = every.bound_to("reports", "tenant-1")
    # The text is the same in each process and version: a deploy must not move a series.
    assert bound.definition == "every 3600.000000 1456.513150"
    assert bound.spread is False
    assert bound.bound_to("reports", "tenant-2") is bound
    assert bound != every
    assert every.bound_to("other", "tenant-1") != bound
    assert Every(hours=1).bound_to("reports", "tenant-1") == Every(hours=1)


def test_spread_fills_the_period():
    every = Every(minutes=1, start=utc("2027-01-01T00:00"), spread=True)
    shifts = [(every.bound_to("t", str(n)).start - every.start) / SECOND for n in range(1000)]
    assert min(shifts) >= 0
    assert max(shifts) < 60
    counts = [sum(tenth <= shift / 6 < tenth + 1 for shift in shifts) for tenth in range(10)]
    assert min(counts) > 60


def test_the_shift_must_leave_a_time():
    every = Every(days=365_250, start=utc("9990-01-01T00:00"), spread=True)
    with pytest.raises(ValueError, match="start must be before"):
        every.bound_to("t", "a")


# --- the ends of all times


EVERY = [
    Every(seconds=1),
    Every(days=365_250),
    Every(days=1, start=datetime(1, 1, 1, second=1, tzinfo=UTC)),
    Every(days=1, start=END - MICROSECOND),
    Cron("* * * * *"),
    Cron("0 9 * * *", tz="Pacific/Apia"),
    Cron("0 9 * * *", tz="Pacific/Niue"),
    Cron("30 */2 * * *", tz="America/New_York"),
    Cron("0 0 29 2 *", tz="Europe/Berlin"),
    Cron("59 23 31 12 *", tz="Pacific/Kiritimati"),
]
FAR = [
    datetime.min.replace(tzinfo=timezone(timedelta(hours=23))),
    datetime.min.replace(tzinfo=UTC),
    BEGIN,
    BEGIN + timedelta(hours=20),
    datetime(4, 2, 29, tzinfo=UTC),
    END - timedelta(days=400),
    END - timedelta(hours=20),
    END - MICROSECOND,
    END,
    datetime.max.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=timezone(-timedelta(hours=23))),
]


@pytest.mark.parametrize("repeat", EVERY, ids=str)
@pytest.mark.parametrize("time", FAR, ids=str)
def test_at_the_ends_of_all_times_nothing_is_raised(repeat, time):
    later, earlier = repeat.after(time), repeat.at_or_before(time)
    assert later is None or time < later < END
    assert earlier is None or earlier <= time
    if later is not None:
        assert repeat.at_or_before(later) == later
        assert repeat.at_or_before(later - MICROSECOND) == earlier
    else:
        assert repeat.at_or_before(END) == earlier


def test_no_time_is_the_score_of_a_paused_timer():
    assert time_of(PAUSED) == END
    assert Every(days=1).after(END - MICROSECOND) is None
    assert Every(days=1).at_or_before(END) == END - timedelta(days=1)
    assert next_times(Cron("@daily"), 3, after=END - timedelta(days=2)) == [END - timedelta(days=1)]


@pytest.mark.parametrize("repeat", [Every(days=1), Cron("@daily")], ids=str)
@pytest.mark.parametrize("method", ["after", "at_or_before"])
def test_times_that_are_asked_for_are_aware(repeat, method):
    with pytest.raises(ValueError, match="time must be timezone-aware"):
        getattr(repeat, method)(datetime(2027, 1, 1))  # noqa: DTZ001  that is what is refused
    with pytest.raises(TypeError, match="time must be a datetime"):
        getattr(repeat, method)("2027-01-01")


@pytest.mark.parametrize(
    "repeat", [Every(days=1), Cron("0 9 * * *", tz="America/New_York")], ids=str
)
def test_times_of_any_zone_can_be_asked_for(repeat):
    time = utc("2027-10-31T01:30")
    for zone in (
        ZoneInfo("Europe/Berlin"),
        ZoneInfo("Asia/Kolkata"),
        timezone(timedelta(hours=-3)),
    ):
        asked = time.astimezone(zone)
        assert repeat.after(asked) == repeat.after(time)
        assert repeat.at_or_before(asked) == repeat.at_or_before(time)
        assert repeat.after(asked).tzinfo is UTC


# --- next times


def test_next_times_are_in_order_and_as_many_as_asked_for():
    assert next_times(Cron("@weekly"), 2, after=utc("2027-01-01T00:00")) == utcs(
        "2027-01-03T00:00", "2027-01-10T00:00"
    )
    before = datetime.now(UTC)
    (time,) = next_times(Every(hours=1), 1)
    assert before < time <= datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(
    ("repeat", "count", "error", "match"),
    [
        ("0 9 * * *", 1, TypeError, "repeat must be Every"),
        (Every(days=1), 0, ValueError, "count must be at least 1"),
        (Every(days=1), True, TypeError, "count must be an int"),
        (Every(days=1), 1.5, TypeError, "count must be an int"),
    ],
)
def test_next_times_refuse(repeat, count, error, match):
    with pytest.raises(error, match=match):
        next_times(repeat, count)


@pytest.mark.parametrize("value", [None, "@daily", timedelta(days=1), Every, UnknownRepeat("x")])
def test_a_timer_repeats_as_every_or_cron_says(value):
    with pytest.raises(TypeError, match=r"repeat must be Every\(...\) or Cron\(...\)"):
        check_repeat("repeat", value)


# --- definitions

DEFINITIONS = {
    "every 300.000000 0.000000": Every(minutes=5),
    "every 86400.500000 1790000000.000001": Every(
        days=1, seconds=0.5, start=EPOCH + timedelta(seconds=1_790_000_000, microseconds=1)
    ),
    "every 1.000000 -0.000001": Every(seconds=1, start=EPOCH - MICROSECOND),
    "every 31557600000.000000 -62135596800.000000": Every(
        days=365_250, start=datetime.min.replace(tzinfo=UTC)
    ),
    "every 60.000000 0.000000 spread": Every(minutes=1, spread=True),
    "cron Europe/Berlin 0 9 * * MON-FRI": Cron("0 9 * * mon-fri", tz="Europe/Berlin"),
    "cron UTC 0 0 1 * *": Cron("@monthly"),
}


@pytest.mark.parametrize(("definition", "repeat"), DEFINITIONS.items())
def test_a_definition_is_read_as_it_is_written(definition, repeat):
    assert repeat.definition == definition
    assert definition.isascii()
    read = read_repeat(definition)
    assert type(read) is type(repeat)
    assert read == repeat
    assert read.definition == definition
    assert hash(read) == hash(repeat)
    assert read.after(utc("2027-01-01T00:00")) == repeat.after(utc("2027-01-01T00:00"))
    assert (repr(read), str(read)) == (repr(repeat), str(repeat))


@pytest.mark.parametrize("repeat", DEFINITIONS.values(), ids=str)
def test_the_repr_makes_it_again(repeat):
    names = {"Every": Every, "Cron": Cron, "datetime": dt, "zoneinfo": zoneinfo}
    made = eval(repr(repeat), names)  # noqa: S307  it is ours
    assert made == repeat
    assert repr(made) == repr(repeat)


@pytest.mark.parametrize("repeat", [*DEFINITIONS.values(), UnknownRepeat("x y")], ids=str)
def test_it_can_be_copied_pickled_and_hashed(repeat):
    protocols = range(2, pickle.HIGHEST_PROTOCOL + 1)
    copies = [
        copy.copy(repeat),
        copy.deepcopy(repeat),
        *(pickle.loads(pickle.dumps(repeat, protocol)) for protocol in protocols),  # noqa: S301  ours
    ]
    for made in copies:
        assert type(made) is type(repeat)
        assert made == repeat
        assert made.definition == repeat.definition
        assert {made: 1}[repeat] == 1


def test_definitions_are_equal_as_their_texts_are():
    assert Every(hours=24) == Every(days=1) == Every(days=1, start=EPOCH)
    assert Cron("@daily") == Cron("0  0 * * *", tz="UTC")
    assert Cron("@daily") != Cron("@daily", tz="Etc/UTC")
    assert Every(days=1) != Every(days=1, start=EPOCH + SECOND)
    assert Every(days=1) != "every 86400.000000 0.000000"
    assert Cron("@daily") != Every(days=1)


def test_people_read_them():
    assert str(Cron("@daily", tz="Asia/Kolkata")) == "0 0 * * * Asia/Kolkata"
    assert str(Every(minutes=5)) == "every 5m"
    assert str(Every(days=1, start=utc("2027-01-01T09:00"))) == (
        "every 1d from 2027-01-01T09:00:00+00:00"
    )
    assert str(Every(minutes=5, spread=True)) == "every 5m, spread"


UNKNOWN = [
    *("", " ", "every", "every ", "every 5", "every 300 0", "every 300.000000", "every nan nan"),
    *("every 300.000000 0.000000 ", "every 300.000000 0.000000 spread x"),
    *("every 300.000000 0.000000 jitter", "every  300.000000 0.000000"),
    *("every 0300.000000 0.000000", "every 300.000000 -0.000000", "every -300.000000 0.000000"),
    *("every 0.500000 0.000000", "every 300.0 0.0", "every 99999999999999999.000000 0.000000"),
    *("every 300.000000 99999999999999999.000000", "every 300.000000 253402214400.000000"),
    *("every ٣٠٠.000000 0.000000", "EVERY 300.000000 0.000000", "cron", "cron UTC"),
    *("rrule FREQ=DAILY", "solar sunrise", "\udce9", "every 300.000000 0.000000\n"),
]


@pytest.mark.parametrize("definition", UNKNOWN, ids=ascii)
def test_what_nobody_here_has_written_is_unknown(definition):
    repeat = read_repeat(definition)
    assert isinstance(repeat, UnknownRepeat)
    assert repeat.definition == str(repeat) == definition
    for ask in (repeat.after, repeat.at_or_before):
        with pytest.raises(ValueError, match="update faststream-redis-timers") as caught:
            ask(EPOCH)
        assert repr(definition) in str(caught.value)


ELSEWHERE = {
    "cron UTC 0 0 9 * * MON": "'0 0 9 * * MON'",
    "cron UTC 0 0 15W * *": "'0 0 15W * *'",
    "cron UTC @sunrise": "'@sunrise'",
    "cron Europe/Nowhere 0 9 * * *": "'Europe/Nowhere'",
    "cron ../../etc/passwd 0 9 * * *": "'../../etc/passwd'",
    "cron  0 9 * * *": "''",
}


@pytest.mark.parametrize(("definition", "named"), ELSEWHERE.items())
def test_a_cron_from_elsewhere_is_read_and_says_when_asked_why_it_has_no_times(definition, named):
    cron = read_repeat(definition)
    assert isinstance(cron, Cron)
    assert cron.definition == definition
    for ask in (cron.after, cron.at_or_before):
        with pytest.raises(ValueError, match=r"can't be read|time zone") as caught:
            ask(EPOCH)
        assert named in str(caught.value)


def test_a_repeat_of_ones_own_is_no_definition():
    assert Repeat.__abstractmethods__ == {"definition", "after", "at_or_before"}


# --- without libraries and zones

CRON = (
    "from datetime import *; from faststream_redis_timers_sync import Cron; "
    "print(Cron('30 2 * * *', tz='Europe/Berlin').after(datetime(2027, 3, 27, 12, tzinfo=UTC)))"
)


def run(code, *, hidden=(), **environment):
    """Run Python in a new process, in which some packages can't be imported."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({[*hidden]})); "
    return subprocess.run(
        [sys.executable, "-c", hide + code],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_machine_without_zones_uses_tzdata():
    done = run(CRON, PYTHONTZPATH="")
    assert done.stdout == "2027-03-28 01:00:00+00:00\n", done.stderr


def test_a_machine_without_zones_and_tzdata_says_what_to_install():
    done = run(CRON, hidden=["tzdata"], PYTHONTZPATH="")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ValueError: tz must be a time zone that this machine knows")
    assert last.endswith(
        "got 'Europe/Berlin': names are case-sensitive; if the name is right, pip install tzdata"
    )


def test_utc_needs_no_zones():
    done = run(CRON.replace("Europe/Berlin", "UTC"), hidden=["tzdata"], PYTHONTZPATH="")
    assert done.stdout == "2027-03-28 02:30:00+00:00\n", done.stderr


def test_cron_without_cronsim_says_what_to_install():
    done = run(CRON, hidden=["cronsim"])
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: Cron needs cronsim, which is not installed: "
        "pip install 'faststream-redis-timers[cron]'"
    )


@pytest.mark.parametrize("package", ["faststream_redis_timers", "faststream_redis_timers_sync"])
def test_cronsim_is_imported_when_it_is_asked(package):
    code = (
        f"import sys; from {package} import Cron, Every, next_times; "
        "from faststream_redis_timers_sync.protocol.recurrence import read_repeat; "
        "next_times(Every(days=1), 3); read_repeat('cron Europe/Berlin 0 9 * * *'); "
        "print('cronsim' in sys.modules); Cron('@daily'); print('cronsim' in sys.modules)"
    )
    done = run(code)
    assert done.stdout == "False\nTrue\n", done.stderr


def test_a_time_without_a_zone_is_refused_by_its_name():
    with pytest.raises(ValueError, match=r"^after must "):
        next_times(Every(hours=1), 2, after=datetime(2027, 1, 1))  # noqa: DTZ001  the mistake


def test_six_fields_are_told_how_seconds_are_written():
    with pytest.raises(ValueError, match=r"for seconds use Every\(seconds=10\)"):
        Cron("*/10 * * * * *")
