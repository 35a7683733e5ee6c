"""Recurring timers in the admin: seen, run now, paused, resumed, rescheduled, cancelled."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from admin_pages import Visitor, log, tokens
from django.contrib.admin.models import CHANGE, DELETION
from django.test import Client, override_settings

from faststream_redis_timers_sync import Cron, Every
from faststream_redis_timers_sync.manage import forms, pages
from faststream_redis_timers_sync.manage.deadline import Deadline
from faststream_redis_timers_sync.protocol.envelope import write_envelope
from faststream_redis_timers_sync.protocol.recurrence import REPEAT
from faststream_redis_timers_sync.testing import FakeTimersClient

HOUR = timedelta(hours=1)
LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
DAILY = Cron("0 9 * * *", tz="Europe/Berlin")


@pytest.fixture
def reports(timers):
    """Recurring timers, one of them paused, and one that is due once."""
    timers.schedule("x", "reports", timer_id="daily", repeat=DAILY)
    timers.schedule("x", "reports", timer_id="hourly", repeat=Every(hours=1))
    timers.schedule("x", "reports", timer_id="stopped", repeat=Every(minutes=5))
    timers.pause_timer("reports", "stopped")
    timers.schedule("x", "reports", timer_id="once", activate_at=LATER)
    return timers


def paused(timers):
    return {timer.timer_id for timer in timers.iter_timers("reports") if timer.paused}


def is_due(timers, timer_id, now):
    return timers.get_timer("reports", timer_id).due_at <= now


# --- seen


def test_a_list_shows_definitions_and_counts_paused_ones_apart(visitor, reports):
    page = visitor.topic("reports")

    assert "Timer Repeats Next delivery" in page.text
    assert re.search(r"daily 0 9 \* \* \* \d", page.text)
    assert "stopped every 5m - paused" in page.text
    assert "Pending: 4 Overdue: 0 Paused: 1" in page.text
    assert "9999" not in page.text


def test_a_list_without_any_has_no_such_column(visitor, timers):
    timers.schedule("x", "reports", timer_id="once", activate_at=LATER)
    page = visitor.topic("reports")
    assert "Repeats" not in page.text
    assert "Paused:" not in page.text


def test_topics_with_paused_timers_have_a_column_for_them(visitor, reports, key_settings):
    with override_settings(TIMERS={"default": {"CLIENT": lambda: reports, "TOPICS": ["reports"]}}):
        page = visitor.topics()
    assert "Overdue Paused Next delivery" in page.text
    assert "reports 4 0 1 " in page.text


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("recurring", {"daily", "hourly", "stopped"}),
        ("paused", {"stopped"}),
        ("nonsense", {"daily", "hourly", "stopped", "once"}),
    ],
)
def test_a_list_can_be_limited_to_a_kind(only, expected, visitor, reports):
    page = visitor.topic("reports", only=only)
    assert {name for name in ("daily", "hourly", "stopped", "once") if name in page.links} == (
        expected
    )
    assert ("Select all" in page.text) is False
    page = visitor.topic("reports", only=only, q="ly")
    assert {name for name in ("daily", "hourly", "stopped", "once") if name in page.links} == (
        expected & {"daily", "hourly"}
    )


def test_pages_of_a_kind_go_on_and_offer_no_selection_of_all(visitor, timers):
    for n in range(120):
        timers.schedule("x", "reports", timer_id=f"s{n:03}", repeat=Every(hours=1))
    timers.schedule_batch(["x"] * 50, "reports", activate_at=LATER)
    page = visitor.topic("reports", only="recurring")
    assert "120 timers" in page.text
    assert "Select all 120" not in page.text
    assert "Select all 170 timers" in visitor.topic("reports").text
    page = visitor.follow(page, "Next page")
    assert len(page.fields["_selected_action"]) == 20


def test_where_there_is_no_time_for_a_kind_that_is_said(visitor, reports, monkeypatch):
    monkeypatch.setattr(pages, "MOST_READ", 1)
    monkeypatch.setattr(
        "faststream_redis_timers_sync.django.admin.timers.Deadline", lambda _: Deadline(0)
    )
    page = visitor.topic("reports", only="recurring")
    assert "Examined 2 of 4 timers: continue for the rest." in page.text
    shown = set(page.links)
    while "Continue" in page.links:
        page = visitor.follow(page, "Continue")
        shown |= set(page.links)
    assert {"daily", "hourly", "stopped"} <= shown
    assert "once" not in shown


def test_a_page_has_definition_and_next_times_in_zone_and_utc(visitor, reports, here):
    page = visitor.follow(visitor.topic("reports"), "daily")

    assert "Repeats 0 9 * * * Europe/Berlin" in page.text
    assert "Next times Europe/Berlin UTC" in page.text
    first = DAILY.after(here.now())
    for time in (first, DAILY.after(first)):
        assert f"{time:%a %Y-%m-%d %H:%M:%S} UTC" in page.text
    assert page.text.count("09:00:00 CE") == 3
    assert "timer-repeat" not in page.text
    assert {"Reschedule", "Run now", "Pause", "Cancel"} <= page.links.keys()
    assert "Resume" not in page.links


def test_a_page_of_a_paused_one_has_no_due_time(visitor, reports):
    page = visitor.follow(visitor.topic("reports"), "stopped")
    assert "It is paused: it is not due until it is resumed." in page.text
    assert "Next times, if resumed now" in page.text
    assert "Next delivery" not in page.text
    assert "9999" not in page.text
    assert "Resume" in page.links
    assert "Pause" not in page.links


def test_a_page_of_one_that_is_due_once_offers_no_pause(visitor, reports):
    page = visitor.follow(visitor.topic("reports"), "once")
    assert "Next times" not in page.text
    assert not {"Pause", "Resume"} & page.links.keys()
    assert "Run now" in page.links


def test_why_there_are_no_next_times_is_said(visitor, here, timers):
    payload = write_envelope(b"x", first={REPEAT: "cron Mars/Olympus 0 9 * * *"})
    here.plant("reports", "odd", LATER.timestamp(), payload)
    page = visitor.follow(visitor.topic("reports"), "odd")
    assert "Repeats 0 9 * * * Mars/Olympus" in page.text
    assert (
        "The next times can't be computed here: tz must be a time zone that this machine knows"
        in page.text
    )


# --- changed


def test_one_is_paused_and_resumed_from_its_page(visitor, reports, here):
    page = visitor.follow(visitor.topic("reports"), "daily")
    asked = visitor.follow(page, "Pause")
    assert "Pause 1 timer of topic “reports”?" in asked.text
    assert "occurrences that they miss are not made up for" in asked.text
    assert paused(reports) == {"stopped"}
    done = visitor.send(asked)
    assert "Paused: 1 timer." in done.text
    assert paused(reports) == {"daily", "stopped"}

    asked = visitor.follow(visitor.follow(visitor.topic("reports"), "daily"), "Resume")
    assert "Each is due again at its next time." in asked.text
    assert "Resumed: 1 timer." in visitor.send(asked).text
    assert reports.get_timer("reports", "daily").due_at == DAILY.after(here.now())
    assert log() == [
        (CHANGE, "daily (reports)", "Paused."),
        (CHANGE, "daily (reports)", "Resumed."),
    ]


def test_of_those_selected_it_is_said_which_stay(visitor, reports):
    page = visitor.choose(visitor.topic("reports"), "pause", tokens("daily", "stopped", "once"))
    done = visitor.send(page)
    words = "Unchanged: 1 timer (not recurring), 1 timer (already paused)."
    assert f"Paused: 1 timer. {words}" in done.text
    page = visitor.choose(visitor.topic("reports"), "resume", tokens("daily", "hourly", "once"))
    done = visitor.send(page)
    assert (
        "Resumed: 1 timer. Unchanged: 1 timer (not recurring), 1 timer (not paused)." in done.text
    )


def test_of_all_those_count_that_can_be_changed(visitor, reports):
    page = visitor.choose(visitor.topic("reports"), "pause", select_across="1")
    assert "Pause 2 timers of topic “reports”?" in page.text
    assert "Paused: 2 timers." in visitor.send(page).text
    assert paused(reports) == {"daily", "hourly", "stopped"}
    page = visitor.choose(visitor.topic("reports"), "resume", select_across="1")
    assert "Resume 3 timers of topic “reports”?" in page.text
    visitor.send(page)
    assert paused(reports) == set()
    page = visitor.choose(visitor.topic("reports"), "resume", select_across="1")
    assert "None of these timers is still pending" in page.text
    assert [name for _, name, _ in log()] == ["topic reports"] * 2


def test_where_time_is_up_somebody_is_asked_for_the_rest(visitor, timers, monkeypatch):
    for n in range(250):
        timers.schedule("x", "reports", timer_id=f"s{n:03}", repeat=Every(hours=1))
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    page = visitor.choose(visitor.topic("reports"), "pause", select_across="1")
    page = visitor.send(page)
    assert "Paused: 200 timers." in page.text
    assert "Continue with the rest of topic “reports”?" in page.text
    page = visitor.send(page)
    assert "Paused: 50 timers." in page.text
    assert len(paused(timers)) == 250


def test_one_is_run_now_and_the_series_goes_on(visitor, reports, here):
    asked = visitor.follow(visitor.follow(visitor.topic("reports"), "daily"), "Run now")
    assert "Run 1 timer of topic “reports” now?" in asked.text
    assert "Series continue at their next times." in asked.text
    assert "A second run" not in asked.text
    assert "Made due: 1 timer." in visitor.send(asked).text
    assert is_due(reports, "daily", here.now())
    assert log() == [(CHANGE, "daily (reports)", "Made due.")]


def test_of_one_that_runs_it_is_said_that_a_second_run_starts(visitor, reports, here):
    reports.reschedule_timer("reports", "daily", activate_in=timedelta(0))
    here.claim("reports", lease_ttl=600)
    asked = visitor.follow(visitor.follow(visitor.topic("reports"), "daily"), "Run now")
    assert "Running: 1 timer. A second run starts beside the first." in asked.text
    done = visitor.send(asked)
    assert "Running: 1 timer. A second run starts beside the first." in done.text
    assert is_due(reports, "daily", here.now())


@pytest.mark.parametrize(
    ("link", "fields", "sentence"),
    [
        ("Reschedule", {"delay": "1h"}, "Rescheduling a paused timer resumes it."),
        ("Run now", {}, "Running a paused timer resumes it."),
    ],
)
def test_moving_a_paused_one_resumes_it_and_that_is_asked(link, fields, sentence, visitor, reports):
    asked = visitor.follow(visitor.follow(visitor.topic("reports"), "stopped"), link)
    assert f"Paused: 1 timer. {sentence}" in asked.text
    assert paused(reports) == {"stopped"}
    visitor.send(asked, **fields)
    assert paused(reports) == set()


def test_one_that_was_paused_after_the_question_stays(visitor, reports):
    asked = visitor.choose(visitor.topic("reports"), "run_now", tokens("daily"))
    assert "Paused" not in asked.text
    reports.pause_timer("reports", "daily")
    done = visitor.send(asked)
    assert "Made due: 0 timers. Unchanged: 1 timer (changed since you were asked)." in done.text
    assert paused(reports) == {"daily", "stopped"}


@pytest.mark.parametrize(
    ("action", "fields", "done"),
    [("reschedule", {"delay": "1h"}, "Rescheduled"), ("run_now", {}, "Made due")],
)
def test_of_all_paused_ones_are_left_out(action, fields, done, visitor, reports):
    asked = visitor.choose(visitor.topic("reports"), action, select_across="1")
    assert "Paused: 1 timer. They stay paused." in asked.text
    page = visitor.send(asked, **fields)
    assert (
        f"{done}: 3 timers. Unchanged: 1 timer (paused; resume it, or name it by its ID)."
        in page.text
    )
    assert paused(reports) == {"stopped"}


def test_cancelling_says_that_series_end(visitor, reports):
    asked = visitor.follow(visitor.follow(visitor.topic("reports"), "daily"), "Cancel")
    assert (
        "Recurring: 1 timer. Series end. A series that an application declares is created again"
        in asked.text
    )
    done = visitor.send(asked)
    assert "Cancelled: 1 timer. Series ended: 1." in done.text
    asked = visitor.choose(visitor.topic("reports"), "cancel", tokens("once"))
    assert "Series" not in asked.text
    asked = visitor.choose(visitor.topic("reports"), "cancel", select_across="1")
    text = "Recurring timers may be among them. Series end. A series that an application"
    assert text in asked.text
    assert log() == [(DELETION, "daily (reports)", "Cancelled.")]


# --- who may, and where


@pytest.mark.parametrize("name", ["run_now", "pause", "resume"])
@pytest.mark.parametrize(("granted", "may"), [(["view", "delete"], False), (["change"], True)])
def test_it_takes_the_permission_to_change(name, granted, may, reports, users):
    client = Client()
    client.force_login(users(*granted))
    visitor = Visitor(client)
    page = visitor.topic("reports")
    assert (f'value="{name}"' in page.html) is may
    timer = visitor.follow(page, "daily")
    assert ("Pause" in timer.links) is may
    before = list(reports.iter_timers("reports"))
    fields = {"action": name, "_selected_action": tokens("daily")}
    address = timer.url.replace("change/", f"{name}/")
    for sure in ({}, {"post": "yes"}):
        if may and sure:
            continue
        for url in (page.url, address):
            assert client.post(url, fields | sure).status_code == (200 if may else 403)
    assert client.get(address).status_code == (200 if may else 403)
    assert list(reports.iter_timers("reports")) == before


def test_a_client_in_memory_can_pause_too(visitor):
    fake = FakeTimersClient()
    fake.schedule("x", "reports", timer_id="hourly", repeat=Every(hours=1))
    with override_settings(TIMERS={"default": {"CLIENT": lambda: fake}}):
        page = visitor.topic("reports")
        visitor.send(visitor.choose(page, "pause"))
        assert "hourly every 1h - paused" in visitor.topic("reports").text
    assert fake.get_timer("reports", "hourly").paused
