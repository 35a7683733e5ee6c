"""How recurring timers are spoken of: definitions, next times, states."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from faststream_redis_timers_sync import Cron, Every, Timer
from faststream_redis_timers_sync.console import formatting
from faststream_redis_timers_sync.manage.series import (
    coming_times,
    definition_text,
    owner_of,
    short_text,
)
from faststream_redis_timers_sync.manage.states import state_of
from faststream_redis_timers_sync.manage.times import parse_duration
from faststream_redis_timers_sync.protocol.model import PAUSED
from faststream_redis_timers_sync.protocol.recurrence import read_repeat
from faststream_redis_timers_sync.protocol.times import duration_text, time_of

BERLIN = "Europe/Berlin"
WORKDAYS = Cron("0 9 * * MON-FRI", tz=BERLIN)
FRIDAY = datetime(2027, 3, 26, 8, tzinfo=UTC)
MONDAY = datetime(2027, 3, 29, 7, tzinfo=UTC)
DAY = timedelta(days=1)


def timer(repeat=WORKDAYS, due_at=FRIDAY, *, running=False, headers=None):
    paused = due_at == time_of(PAUSED)
    return Timer(
        topic="reports",
        timer_id="daily",
        due_at=due_at,
        running=running,
        headers=headers or {},
        correlation_id="daily",
        repeat=repeat,
        paused=paused,
    )


@pytest.mark.parametrize(
    "text", ["5m", "1h30m", "2w", "10d", "1.5s", "0.000001s", "1d1s", "365250d", "1h0.25s", "0s"]
)
def test_a_length_of_time_is_written_as_it_is_read(text):
    assert duration_text(parse_duration(text)) == text


@pytest.mark.parametrize(
    ("repeat", "text", "short"),
    [
        (Every(minutes=5), "every 5m", "every 5m"),
        (
            Every(days=1, start=datetime(2027, 1, 2, 9, tzinfo=UTC)),
            "every 1d, from Sat 2027-01-02 09:00:00 UTC",
            "every 1d",
        ),
        (
            Every(minutes=5, start=datetime(1970, 1, 1, 0, 1, 30, tzinfo=UTC)),
            "every 5m, shifted by 1m30s",
            "every 5m",
        ),
        (WORKDAYS, "0 9 * * MON-FRI Europe/Berlin", "0 9 * * MON-FRI"),
        (read_repeat("lunar \x1b[31m"), r"lunar \x1b[31m", r"lunar \x1b[31m"),
        (read_repeat("cron \x07 \x1b[31m"), r"\x1b[31m \x07", r"\x1b[31m"),
    ],
)
def test_a_definition_is_shown(repeat, text, short):
    assert (definition_text(repeat), short_text(repeat)) == (text, short)


@pytest.mark.parametrize(
    ("due_at", "running", "now", "expected"),
    [
        # It waits for a time of its own, or was rescheduled to another.
        (FRIDAY, False, FRIDAY - DAY, [FRIDAY, MONDAY, MONDAY + DAY]),
        (FRIDAY + DAY, False, FRIDAY, [FRIDAY + DAY, MONDAY, MONDAY + DAY]),
        # It is overdue, runs, or is paused.
        (FRIDAY, False, FRIDAY + DAY, [MONDAY, MONDAY + DAY, MONDAY + 2 * DAY]),
        (FRIDAY + DAY, True, FRIDAY, [MONDAY, MONDAY + DAY, MONDAY + 2 * DAY]),
        (time_of(PAUSED), False, FRIDAY - DAY, [FRIDAY, MONDAY, MONDAY + DAY]),
    ],
)
def test_the_next_three_times_are_told(due_at, running, now, expected):
    coming = coming_times(timer(due_at=due_at, running=running), now)
    assert coming == (expected, ZoneInfo(BERLIN), "")


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        ("cron Mars/Olympus 0 9 * * *", "tz must be a time zone that this machine knows"),
        ("lunar 1", "this version can't read the definition 'lunar 1'"),
        ("cron UTC no idea", "it must have five fields"),
    ],
)
def test_what_this_machine_cannot_compute_is_said(definition, problem):
    coming = coming_times(timer(read_repeat(definition)), FRIDAY - DAY)
    assert coming.times == []
    assert problem in coming.problem


def test_times_in_utc_are_shown_on_a_machine_without_zones():
    code = (
        "import sys; sys.modules['tzdata'] = None\n"
        "from datetime import UTC, datetime\n"
        "from faststream_redis_timers_sync import Cron, Timer\n"
        "from faststream_redis_timers_sync.manage.series import coming_times, zoned\n"
        "due_at = datetime(2027, 1, 1, tzinfo=UTC)\n"
        "timer = Timer(topic='reports', timer_id='daily', due_at=due_at, running=False,"
        " correlation_id='daily', repeat=Cron('@daily'))\n"
        "coming = coming_times(timer, due_at)\n"
        "print(zoned(coming.times[0], coming.zone))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONTZPATH": ""},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "Sat 2027-01-02 00:00:00 UTC\n", done.stderr


def test_a_timer_that_is_due_once_has_no_next_times():
    with pytest.raises(ValueError, match="timer must be recurring, got Timer"):
        coming_times(timer(None), FRIDAY)


def test_a_page_has_definition_owner_and_next_times_in_zone_and_utc():
    headers = {"timer-repeat": WORKDAYS.definition, "timer-repeat-owner": "shop\x1b"}
    facts = dict(formatting.timer_facts("reports", timer(headers=headers), FRIDAY - DAY, UTC))

    assert facts["Repeats"] == "0 9 * * MON-FRI Europe/Berlin"
    assert facts["Declared by"] == owner_of(timer(headers=headers)) == r"shop\x1b"
    assert facts["Next times"].splitlines() == [
        "Fri 2027-03-26 09:00:00 CET = Fri 2027-03-26 08:00:00 UTC",
        "Mon 2027-03-29 09:00:00 CEST = Mon 2027-03-29 07:00:00 UTC",
        "Tue 2027-03-30 09:00:00 CEST = Tue 2027-03-30 07:00:00 UTC",
    ]
    assert facts["Headers"] == "-"


def test_a_page_of_a_paused_timer_has_no_due_time():
    facts = dict(
        formatting.timer_facts("reports", timer(due_at=time_of(PAUSED)), FRIDAY - DAY, UTC)
    )

    assert facts["State"] == "paused"
    assert "Due" not in facts
    assert facts["If resumed"].startswith("Fri 2027-03-26 09:00:00 CET")
    assert "9999" not in str(facts)


def test_a_page_says_why_times_cannot_be_told_and_that_a_series_ends():
    facts = dict(
        formatting.timer_facts("reports", timer(read_repeat("lunar 1")), FRIDAY - DAY, UTC)
    )
    assert facts["Next times"].startswith("unknown here: this version can't read the definition")
    last = Every(days=365_250, start=datetime(9000, 1, 1, tzinfo=UTC))
    overdue = timer(last, due_at=last.start)
    facts = dict(formatting.timer_facts("reports", overdue, last.start + DAY, UTC))
    assert facts["Next times"] == "none: the series ends"


def test_objects_have_definition_and_times_for_programs():
    waits = formatting.timer_details("reports", timer(headers={}), FRIDAY - DAY)
    assert waits["repeat"] == "cron Europe/Berlin 0 9 * * MON-FRI"
    assert waits["repeat_owner"] is None
    assert waits["next_times"][0] == waits["due_at"] == "2027-03-26T08:00:00.000000Z"
    paused = formatting.timer_details("reports", timer(due_at=time_of(PAUSED)), FRIDAY - DAY)
    assert (paused["state"], paused["due_at"], len(paused["next_times"])) == ("paused", None, 3)
    unknown = formatting.timer_details("reports", timer(read_repeat("lunar 1")), FRIDAY - DAY)
    assert unknown["next_times"] is None
    once = formatting.timer_details("reports", timer(None), FRIDAY - DAY)
    assert once["repeat"] is None
    assert "next_times" not in once


def test_paused_is_a_state_of_its_own():
    assert state_of(timer(due_at=time_of(PAUSED)), FRIDAY) == "paused"
    assert state_of(timer(), FRIDAY + DAY) == "overdue"
