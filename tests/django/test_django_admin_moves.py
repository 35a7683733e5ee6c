"""Rescheduling in the admin, and going on with what takes long."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from admin_pages import log, tokens
from django.contrib.admin.models import CHANGE
from django.test import override_settings
from django.utils import timezone
from waiting import wait_until

from faststream_redis_timers_sync import Every
from faststream_redis_timers_sync.django import get_client
from faststream_redis_timers_sync.django.admin import timers as admin_timers
from faststream_redis_timers_sync.manage import changing as manage_changing, forms
from faststream_redis_timers_sync.manage.tokens import to_token

HOUR = timedelta(hours=1)
LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)


def test_the_selected_ones_move_by_a_delay(visitor, invoices, here):
    page = visitor.choose(visitor.topic("invoices"), "reschedule", tokens("a", "b"))
    assert "Reschedule 2 timers of topic “invoices”?" in page.text
    page = visitor.send(page, delay="1h30m")
    assert "Rescheduled: 2 timers." in page.text
    due = invoices.get_timer("invoices", "a").due_at
    assert abs(due - here.now() - 1.5 * HOUR) < timedelta(minutes=1)
    assert invoices.get_timer("invoices", "c").due_at == LATER
    assert log() == [
        (CHANGE, "a (invoices)", f"Rescheduled: {due:%Y-%m-%d %H:%M:%S} UTC."),
        (CHANGE, "b (invoices)", f"Rescheduled: {due:%Y-%m-%d %H:%M:%S} UTC."),
    ]


def test_a_time_is_read_in_the_time_zone_of_the_user(visitor, invoices):
    page = visitor.choose(visitor.topic("invoices"), "reschedule", tokens("a"))
    with timezone.override("Asia/Tokyo"):
        visitor.send(page, at_0="2099-07-01", at_1="09:00:00")
    assert invoices.get_timer("invoices", "a").due_at == datetime(2099, 7, 1, tzinfo=UTC)
    assert log() == [(CHANGE, "a (invoices)", "Rescheduled: 2099-07-01 09:00:00 Asia/Tokyo.")]


def test_a_time_is_read_in_the_time_zone_of_the_project_without_time_zones(visitor, invoices):
    with override_settings(USE_TZ=False, TIME_ZONE="Asia/Tokyo"):
        page = visitor.choose(visitor.topic("invoices"), "reschedule", tokens("a"))
        assert "(Asia/Tokyo)" in page.text
        visitor.send(page, at_0="2099-07-01", at_1="09:00:00")
    # The settings lead to a new client.
    assert get_client().get_timer("invoices", "a").due_at == datetime(2099, 7, 1, tzinfo=UTC)


def test_a_time_in_the_past_means_now_and_that_is_said(visitor, invoices, here):
    page = visitor.choose(visitor.topic("invoices"), "reschedule", tokens("a"))
    page = visitor.send(page, at_0="2020-01-01", at_1="00:00:00")
    assert "That time is past: due at once." in page.text
    assert here.claim_due("invoices") == [b"a"]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "Say when: fill in either the delay or the time."),
        ({"delay": "1h", "at_0": "2099-07-01", "at_1": "9:00"}, "Say when: fill in either"),
        ({"delay": "soon"}, "'soon' is not a duration"),
        ({"delay": "1M"}, "write 1m for minutes, or days for months: 30d"),
        ({"delay": "999999w"}, "must be at most 365,250 days"),
        ({"at_0": "2099-07-01", "at_1": "noon"}, "Enter a valid time."),
    ],
)
def test_a_time_that_cannot_be_is_asked_for_again(visitor, invoices, fields, complaint):
    page = visitor.choose(visitor.topic("invoices"), "reschedule", tokens("a"))
    page = visitor.send(page, **fields)
    assert page.status == 200
    assert complaint in page.text
    assert invoices.get_timer("invoices", "a").due_at == LATER
    page = visitor.send(page, delay="0s", at_0="", at_1="")
    assert "Rescheduled: 1 timer." in page.text


def test_a_running_timer_will_run_again_and_that_is_said_before_and_after(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="a")
    here.claim("invoices")
    page = visitor.choose(visitor.topic("invoices"), "reschedule")
    warning = "Running: 1 timer. They run again at the new time."
    assert warning in page.text
    page = visitor.send(page, delay="1h")
    assert f"Rescheduled: 1 timer. {warning}" in page.text
    assert not timers.get_timer("invoices", "a").running


def test_all_that_match_move_and_the_search_stays(visitor, invoices, here):
    page = visitor.topic("invoices", q="other")
    page = visitor.choose(page, "reschedule", select_across="1")
    assert "These are all timers that match “*other*”." in page.text
    page = visitor.send(page, delay="1h")
    assert "Rescheduled: 2 timers." in page.text
    assert "other-1" in page.links
    assert "a" not in page.links
    moved = {t.timer_id for t in invoices.iter_timers("invoices", before=here.now() + 2 * HOUR)}
    assert moved == {"other-1", "other-2"}
    ((flag, name, words),) = log()
    assert (flag, name) == (CHANGE, "topic invoices")
    assert words.startswith("All timers that match “*other*”: Rescheduled: 20")


def test_all_of_a_topic_move(visitor, invoices, here):
    page = visitor.choose(visitor.topic("invoices"), "reschedule", select_across="1")
    assert "Timers that are running are included. They run again" in page.text
    page = visitor.send(page, delay="1h")
    assert "Rescheduled: 5 timers." in page.text


def ask_for_all(visitor, action, search=""):
    page = visitor.topic("invoices", **({"q": search} if search else {}))
    return visitor.choose(page, action, select_across="1")


def test_what_takes_long_goes_on_when_asked_again(visitor, timers, monkeypatch):
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    timers.schedule_batch(["x"] * 450, "invoices", activate_at=LATER)
    page = visitor.send(ask_for_all(visitor, "cancel", "*"))
    assert "Cancelled: 200 timers. There was no time for all of them. " in page.text
    for _ in range(2):
        assert "Continue with the rest that match “*” in topic “invoices”?" in page.text
        page = visitor.send(page)
    assert "Cancelled: 50 timers. " in page.text
    assert "No timer matches." in page.text
    assert timers.count_pending("invoices") == 0
    assert "Gone meanwhile" not in "".join(words for _, _, words in log())


@pytest.mark.parametrize("search", ["", "*"])
def test_those_that_were_moved_already_are_left_alone_then(visitor, timers, monkeypatch, search):
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    timers.schedule_batch(["x"] * 450, "invoices", activate_at=LATER)
    page = visitor.send(ask_for_all(visitor, "reschedule", search), delay="1h")
    assert "Rescheduled: 200 timers. There was no time for all of them. " in page.text
    for _ in range(2):
        assert "Continue with the rest " in page.text
        page = visitor.send(page)
    assert "Rescheduled: 50 timers." in page.text
    assert "Gone meanwhile" not in page.text
    (due,) = {timer.due_at for timer in timers.iter_timers("invoices")}
    assert due < LATER


def test_what_is_cut_at_the_last_one_is_not_cut(visitor, timers, monkeypatch):
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    timers.schedule_batch(["x"] * 200, "invoices", activate_at=LATER)
    page = visitor.send(ask_for_all(visitor, "cancel", "*"))
    assert "Cancelled: 200 timers." in page.text
    assert "There was no time" not in page.text


def test_those_that_are_due_already_or_run_are_left_alone_too(visitor, timers, monkeypatch, here):
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    timers.schedule_batch(["x"] * 250, "invoices", activate_at=LATER)
    page = visitor.send(ask_for_all(visitor, "reschedule"), delay="0s")
    claimed = set(here.claim_due("invoices"))
    assert len(claimed) == 100
    page = visitor.send(page)
    assert "Rescheduled: 50 timers." in page.text
    left = list(timers.iter_timers("invoices"))
    assert {t.timer_id.encode() for t in left if t.running} == claimed
    assert not [t for t in left if t.due_at > here.now() and not t.running]


@pytest.mark.parametrize("action", ["run_now", "reschedule"])
def test_those_that_ran_meanwhile_are_left_alone_too(visitor, timers, monkeypatch, here, action):
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    for n in range(250):
        timers.schedule("x", "invoices", timer_id=f"s-{n}", repeat=Every(hours=1))
    fields = {"delay": "0s"} if action == "reschedule" else {}
    page = visitor.send(ask_for_all(visitor, action), **fields)
    # As if they ran, and wait for their next time.
    for timer in list(timers.iter_timers("invoices", before=here.now())):
        timers.reschedule_timer("invoices", timer.timer_id, activate_at=LATER)
    page = visitor.send(page)
    assert ": 50 timers." in page.text
    assert len([one for one in timers.iter_timers("invoices") if one.due_at == LATER]) == 200


def test_those_that_run_when_the_new_time_has_come_are_left_alone(
    visitor, timers, monkeypatch, here
):
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    timers.schedule_batch(["x"] * 250, "invoices", activate_at=LATER)
    page = visitor.send(ask_for_all(visitor, "reschedule"), delay="1s")
    wait_until(lambda: here.claim_due("invoices"))
    # As if the time had come while the topic is walked through.
    real_time = manage_changing.server_time
    monkeypatch.setattr(manage_changing, "server_time", lambda *of: real_time(*of) - HOUR)
    page = visitor.send(page)
    assert "Rescheduled: 50 timers." in page.text
    assert sum(timer.running for timer in timers.iter_timers("invoices")) == 100


def test_one_that_runs_is_moved_with_the_rest_to_a_time_after_its_lease(
    visitor, timers, monkeypatch, here
):
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    timers.schedule_batch(["x"] * 250, "invoices")
    here.claim("invoices")
    page = visitor.send(ask_for_all(visitor, "reschedule"), delay="1h")
    assert "Rescheduled: 50 timers." in visitor.send(page).text
    assert not [timer for timer in timers.iter_timers("invoices") if timer.running]


# --- topics that are too large


@pytest.fixture
def many(timers, monkeypatch):
    """A topic that takes more than one step, where no time is left for a second."""
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    monkeypatch.setattr(forms, "FIND_SECONDS", 0.0)
    monkeypatch.setattr(forms, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(admin_timers, "PAGE_SECONDS", 0.0)
    timers.schedule_batch(["x"] * 3000, "invoices", activate_at=LATER)
    return timers


TOO_LARGE = "The topic is too large to examine all of its timers in time."


def test_what_takes_long_to_count_is_not_counted_to_the_end(visitor, many):
    form = {"action": "cancel", "select_across": "1", "search": to_token("*")}
    page = visitor.post(visitor.topic("invoices").url, form)
    seen = int(
        re.search(r"Cancel at least ([\d,]+) timers of topic", page.text)[1].replace(",", "")
    )
    assert 0 < seen < 3000
    assert "Timers that are running are included." in page.text
    assert "Cancelled: 200 timers." in visitor.send(page).text


def test_a_search_that_takes_long_goes_on_and_finds_a_whole_id_at_once(visitor, many):
    timer_id = next(many.iter_timers("invoices")).timer_id
    page = visitor.topic("invoices", q="nobody")
    assert re.search(r"Examined [12],\d{3} of 3,000 timers: continue for the rest.", page.text)
    assert "None found yet." in page.text
    pages = 1
    while "Continue" in page.links:
        page = visitor.follow(page, "Continue")
        pages += 1
    assert pages > 1
    assert "There are no more timers." in page.text
    assert "Examined" not in page.text
    page = visitor.topic("invoices", q=timer_id)
    assert "Examined" in page.text
    assert timer_id in page.links


def test_all_that_match_can_be_selected_though_nobody_has_counted_them(visitor, many):
    page = visitor.topic("invoices", q="?*")
    assert "Select all matching timers" in page.text
    page = visitor.send(page, action="cancel", select_across="1")
    assert "These are all timers that match “?*”." in page.text


@pytest.mark.parametrize("action", ["cancel", "reschedule"])
def test_where_none_is_found_in_time_nothing_is_asked_again(visitor, many, monkeypatch, action):
    form = {"action": action, "select_across": "1", "search": to_token("nobody")}
    page = visitor.topic("invoices")
    assert TOO_LARGE in visitor.post(page.url, form).text
    page = visitor.post(page.url, {**form, "post": "yes", "delay": "1h"})
    assert TOO_LARGE in page.text
    assert "Continue with the rest" not in page.text


@pytest.mark.parametrize("more", [{}, {"search": ""}])
def test_a_form_that_lost_its_search_does_not_mean_everything(visitor, invoices, more):
    form = {"action": "run_now", "select_across": "1", **more, "post": "yes"}
    due = [one.due_at for one in invoices.iter_timers("invoices")]

    assert visitor.post(visitor.topic("invoices").url, form).status == 400
    assert [one.due_at for one in invoices.iter_timers("invoices")] == due


@pytest.mark.parametrize("target", ["nonsense", "2099-01-01"])
def test_a_form_that_goes_on_to_no_time_is_refused(visitor, invoices, target):
    page = ask_for_all(visitor, "reschedule")
    assert visitor.send(page, target=target).status == 400


def test_a_form_that_goes_on_nowhere_is_refused(visitor, invoices):
    page = ask_for_all(visitor, "run_now")
    assert visitor.send(page, position="nonsense").status == 400


def test_a_form_to_run_timers_now_names_no_other_time(visitor, invoices, here):
    page = ask_for_all(visitor, "run_now")
    page = visitor.send(page, target="2099-01-01T00:00:00+00:00")
    assert "Made due: 5 timers." in page.text
    assert len(here.claim_due("invoices")) == 5


def test_one_is_moved_from_its_own_page(visitor, invoices, here):
    timer = visitor.follow(visitor.topic("invoices"), "a")
    page = visitor.follow(timer, "Reschedule")
    page = visitor.send(page, delay="0s")
    assert here.claim_due("invoices") == [b"a"]
