"""Times as people write and read them."""

import re
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from faststream_redis_timers_sync.manage.times import in_words, parse_duration, parse_time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3d", timedelta(days=3)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("2w3d4h5m6s", timedelta(weeks=2, days=3, hours=4, minutes=5, seconds=6)),
        ("1.5h", timedelta(minutes=90)),
        ("0.25s", timedelta(milliseconds=250)),
        (" 45S ", timedelta(seconds=45)),
        ("0s", timedelta()),
        ("100000h", timedelta(hours=100_000)),
    ],
)
def test_a_duration_is_read(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "3", "3 days", "30m1h", "1h1h", "-3d", "+3d", "1h-5m", "h", "1.h", ".5h"),
        *("1e3s", "inf", "nan", "٣d", "1:30", "PT1H", "3d\n4h", "1h 30m"),
    ],
)
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="for example 3d, 1h30m or 45s") as caught:
        parse_duration(text)

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "minutes"), [("1M", "1m"), (" 2M ", "2m"), ("1.5M", "1.5m"), ("1H30M", "1H30m")]
)
def test_an_upper_case_m_may_be_minutes_or_months_and_is_refused(text, minutes):
    with pytest.raises(ValueError, match="can mean minutes or months") as caught:
        parse_duration(text)

    assert repr(text) in str(caught.value)
    assert f"write {minutes} for minutes, or days for months: 30d" in str(caught.value)


@pytest.mark.parametrize("text", ["9" * 20 + "d", "9" * 400 + "w"])
def test_a_duration_without_end_is_refused(text):
    with pytest.raises(ValueError, match="too long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-06-01T09:00+02:00", datetime(2026, 6, 1, 7, tzinfo=UTC)),
        ("2026-06-01T07:00Z", datetime(2026, 6, 1, 7, tzinfo=UTC)),
        ("2026-06-01 07:00:00.5+00:00", datetime(2026, 6, 1, 7, 0, 0, 500_000, UTC)),
        ("20260601T0700Z", datetime(2026, 6, 1, 7, tzinfo=UTC)),
    ],
)
def test_a_time_is_read(text, expected):
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01T00:00Z", "09:00Z", "1790000000"])
def test_what_is_no_time_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"2026-06-01T09:00\+02:00"):
        parse_time(text)


@pytest.fixture
def in_vienna(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "local", "utc"),
    [
        ("2026-06-01T09:00", "2026-06-01T09:00:00+02:00", "2026-06-01T09:00:00Z"),
        ("2026-12-01T09:00", "2026-12-01T09:00:00+01:00", "2026-12-01T09:00:00Z"),
        ("2026-06-01", "2026-06-01T00:00:00+02:00", "2026-06-01T00:00:00Z"),
    ],
)
def test_a_time_without_offset_is_refused_with_both_ways_to_say_it(text, local, utc, in_vienna):
    with pytest.raises(ValueError, match="time zone") as caught:
        parse_time(text)

    assert f"write {local} if" in str(caught.value)
    assert f"or {utc} if" in str(caught.value)
    assert parse_time(local) != parse_time(utc)


@pytest.mark.parametrize("text", ["2026-03-29T02:30", "2026-03-29T02:00:00.000001"])
def test_in_a_gap_the_time_of_this_machine_is_what_zoneinfo_says(text, in_vienna):
    with pytest.raises(ValueError, match="time zone") as caught:
        parse_time(text)

    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Vienna"))
    (meant,) = re.findall(r"write (\S+) if you mean this machine's time zone", str(caught.value))
    assert parse_time(meant).astimezone(UTC) == local.astimezone(UTC)
    assert meant.startswith("2026-03-29T03:")


def test_of_a_time_that_comes_twice_both_are_named(in_vienna):
    with pytest.raises(ValueError, match="time zone") as caught:
        parse_time("2026-10-25T02:30")

    assert (
        "write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00 (it occurs twice) if you "
        "mean this machine's time zone, or 2026-10-25T02:30:00Z if you mean UTC"
    ) in str(caught.value)


@pytest.mark.parametrize("text", ["0001-01-01T00:00", "9999-12-31T23:59"])
def test_so_are_the_first_and_last_times_that_there_are(text, in_vienna):
    with pytest.raises(ValueError, match="time zone"):
        parse_time(text)


@pytest.mark.parametrize(
    ("delta", "words"),
    [
        (timedelta(days=3) - timedelta(milliseconds=20), "in 3 days"),
        (timedelta(hours=50), "in 50 hours"),
        (timedelta(days=400), "in 400 days"),
        (timedelta(days=365 * 100), "in 100 years"),
        (timedelta(minutes=90), "in 90 minutes"),
        (timedelta(seconds=100), "in 100 seconds"),
        (timedelta(seconds=1), "in 1 second"),
        (timedelta(seconds=-1), "1 second ago"),
        (timedelta(seconds=-50), "50 seconds ago"),
        (timedelta(days=-5), "5 days ago"),
        (timedelta(milliseconds=300), "now"),
        (timedelta(milliseconds=-300), "now"),
        (timedelta(), "now"),
        (timedelta(days=365 * 5000), "in 5,000 years"),
    ],
)
def test_a_distance_is_said_in_words(delta, words):
    assert in_words(delta) == words
