"""Redriving dead letters in the admin: where it is offered, what it asks, does and says."""

from datetime import UTC, datetime, timedelta

import pytest
from admin_pages import ODD, START, Visitor, log, tokens
from dead import dead_letter_all
from django.contrib.admin.models import CHANGE
from django.test import Client, override_settings
from django.utils import timezone
from relay import Relay

from faststream_redis_timers_sync import Cron
from faststream_redis_timers_sync.django.tokens import Place
from faststream_redis_timers_sync.manage import forms

HOUR = timedelta(hours=1)
LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
DEAD = "invoices:dead"
EXPLAINED = "Each returns to the topic it came from, under its old ID, due at once,"


@pytest.fixture
def dead_letter_some(timers, here):
    """Make dead letters of new timers; give their ids."""

    def run(*timer_ids, **changes):
        for timer_id in timer_ids:
            timers.schedule(f"dead {timer_id}", "invoices", timer_id=timer_id)
        return [one.decode() for one in dead_letter_all(here, **changes)]

    return run


# --- where it is offered


def test_a_dead_letter_shows_how_it_ended_and_can_be_redriven(visitor, timers, dead_letter_some):
    (dead_id,) = dead_letter_some("42", first_due=b"1767258000.250000", error="app.PaymentError")
    with timezone.override("Asia/Tokyo"):
        page = visitor.follow(visitor.topic(DEAD), dead_id)
    assert "its attempts are used up (attempts: 3, last error: app.PaymentError)" in page.text
    assert "From topic invoices Timer ID there 42" in page.text
    assert "First due 2026-01-01 18:00:00 Asia/Tokyo (" in page.text
    assert "dead-letter-reason" in page.text

    page = visitor.follow(page, "Redrive")
    assert "Redrive 1 timer of topic “invoices:dead”?" in page.text
    assert EXPLAINED in page.text
    assert timers.count_pending(DEAD) == 1
    page = visitor.send(page)
    assert "Redriven: 1 timer." in page.text
    assert "No timer is pending here." in page.text
    assert timers.get_timer("invoices", "42").decode() == "dead 42"
    assert timers.count_pending(DEAD) == 0
    assert log() == [(CHANGE, f"{dead_id} ({DEAD})", "Redriven.")]


def test_of_an_occurrence_it_is_shown_which_one_it_was(visitor, timers, here):
    daily = Cron("0 9 * * *", tz="Europe/Berlin")
    timers.schedule("x", "reports", timer_id="daily", repeat=daily)
    timers.reschedule_timer("reports", "daily", activate_in=timedelta(0))
    occurrence = datetime(2027, 3, 26, 8, tzinfo=UTC)
    dead_letter_all(here, "reports", definition=daily.definition, occurrence=occurrence)
    (dead_id,) = timers.get_pending_timers("reports:dead")

    page = visitor.follow(visitor.topic("reports:dead"), dead_id)

    assert "From series daily (0 9 * * * Europe/Berlin)" in page.text
    assert "Occurrence 2027-03-26 08:00:00 UTC" in page.text
    assert "Next times" not in page.text


@pytest.mark.parametrize("headers", [None, {"dead-letter-reason": "rejected"}])
def test_only_dead_letters_are_offered_for_redriving(visitor, timers, headers):
    timers.schedule("x", "invoices", timer_id="42", activate_at=LATER, headers=headers)
    page = visitor.follow(visitor.topic("invoices"), "42")
    assert "Redrive" not in page.links
    assert "Reschedule" in page.links
    assert "Dead-lettered" not in page.text


def test_what_a_dead_letter_says_is_shown_as_it_can_be(visitor, timers):
    odd = {
        "dead-letter-reason": "by <b>hand</b>\n",
        "dead-letter-topic": "in\0voices",
        "dead-letter-due-at": "yesterday",
    }
    timers.schedule("x", DEAD, timer_id="42", activate_at=LATER, headers=odd)
    page = visitor.follow(visitor.topic(DEAD), "42")
    assert r"by <b>hand</b>\n" in page.text
    assert r"From topic in\x00voices" in page.text
    assert "First due" not in page.text
    assert "<b>hand" not in page.html


# --- redriving


def test_the_selected_ones_are_redriven(visitor, timers, dead_letter_some):
    one, two, three = dead_letter_some("1", "2", "3")
    page = visitor.choose(visitor.topic(DEAD), "redrive", tokens(one, three))
    assert "Redrive 2 timers of topic “invoices:dead”?" in page.text
    page = visitor.send(page)
    assert "Redriven: 2 timers." in page.text
    assert "stay" not in page.text
    assert timers.get_pending_timers(DEAD) == [two]
    assert sorted(timers.get_pending_timers("invoices")) == ["1", "3"]
    assert [entry[1] for entry in log()] == [f"{one} ({DEAD})", f"{three} ({DEAD})"]


def test_those_that_stay_are_counted_by_the_reason(visitor, timers, here, dead_letter_some):
    (leased,) = dead_letter_some("held")
    here.claim(DEAD)
    one, waits, gone = dead_letter_some("1", "2", "3")
    timers.schedule("new", "invoices", timer_id="2", activate_at=LATER)
    timers.schedule("x", DEAD, timer_id="plain", activate_at=LATER)
    page = visitor.choose(visitor.topic(DEAD), "redrive")
    assert "Redrive 5 timers" in page.text
    assert "Running: 1 timer. They stay dead letters." in page.text
    timers.cancel_timer(DEAD, gone)
    page = visitor.send(page)
    assert (
        "Redriven: 1 timer. Unchanged: 1 timer (a timer with its old ID is waiting or "
        "recurring), 1 timer (a handler is running with it), 1 timer (not a dead letter). "
        "No longer pending: 1 timer."
    ) in page.text
    assert set(timers.get_pending_timers(DEAD)) == {leased, waits, "plain"}
    assert timers.get_timer("invoices", "2").decode() == "new"
    assert [entry[1] for entry in log()] == [f"{one} ({DEAD})"]


def test_where_all_stay_that_is_a_warning_and_nothing_is_logged(visitor, invoices):
    page = visitor.send(visitor.choose(visitor.topic("invoices"), "redrive", tokens("a", "b")))
    assert "Redriven: 0 timers. Unchanged: 2 timers (not a dead letter)." in page.text
    assert 'class="warning"' in page.html
    assert log() == []
    assert invoices.count_pending("invoices") == 5


def test_all_that_match_are_redriven_also_those_on_other_pages(visitor, timers, dead_letter_some):
    dead_letter_some(*(f"user:{n}" for n in range(130)), "other")
    page = visitor.choose(visitor.topic(DEAD, q="user:*"), "redrive", select_across="1")
    assert (
        "Redrive 130 timers of topic “invoices:dead”? These are all timers that match" in page.text
    )
    page = visitor.send(page)
    assert "Redriven: 130 timers." in page.text
    assert timers.count_pending(DEAD) == 1
    words = "All timers that match “user:*”: Redriven. Redriven: 130 timers."
    assert log() == [(CHANGE, f"topic {DEAD}", words)]


def test_of_all_of_a_topic_the_first_with_an_old_id_is_redriven(visitor, timers, dead_letter_some):
    for _ in range(3):
        dead_letter_some("42")
    first = next(timers.iter_timers(DEAD)).timer_id
    page = visitor.choose(visitor.topic(DEAD), "redrive", select_across="1")
    page = visitor.send(page)
    assert (
        "Redriven: 1 timer. Unchanged: 2 timers (a timer with its old ID is waiting or recurring)."
        in page.text
    )
    assert first not in timers.get_pending_timers(DEAD)


def test_what_takes_long_goes_on_when_asked_again(visitor, timers, dead_letter_some, monkeypatch):
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    timers.schedule_batch(["x"] * 450, "invoices")
    dead_letter_some()
    page = visitor.choose(visitor.topic(DEAD), "redrive", select_across="1")
    page = visitor.send(page)
    assert "Redriven: 200 timers. There was no time for all of them. " in page.text
    for _ in range(2):
        assert "Continue with the rest of topic “invoices:dead”?" in page.text
        page = visitor.send(page)
    assert "Redriven: 50 timers." in page.text
    assert timers.count_pending(DEAD) == 0
    assert timers.count_pending("invoices") == 450


def test_odd_ids_are_redriven_too(visitor, timers, here):
    for odd in ODD:
        here.plant("invoices", odd.encode("utf-8", "surrogateescape"), 1.0, b"x")
    dead_letter_all(here)
    page = visitor.send(visitor.choose(visitor.topic(DEAD), "redrive"))
    assert f"Redriven: {len(ODD)} timers." in page.text
    assert sorted(timers.get_pending_timers("invoices")) == sorted(ODD)


# --- who may, and what goes wrong


@pytest.mark.parametrize(("granted", "may"), [(["view", "delete"], False), (["change"], True)])
def test_it_needs_the_permission_to_change(users, timers, dead_letter_some, granted, may):
    (dead_id,) = dead_letter_some("42")
    client = Client()
    client.force_login(users(*granted))
    visitor = Visitor(client)
    page = visitor.topic(DEAD)
    assert ('value="redrive"' in page.html) is may
    timer = visitor.follow(page, dead_id)
    assert ("Redrive" in timer.links) is may
    fields = {"action": "redrive", "_selected_action": tokens(dead_id)}
    address = f"{START}{Visitor.quoted(Place('default', DEAD, dead_id))}/redrive/"
    assert client.get(address).status_code == (200 if may else 403)
    assert timers.count_pending(DEAD) == 1
    if may:
        assert client.post(page.url, fields).status_code == 200
        return
    assert client.post(page.url, {**fields, "post": "yes"}).status_code == 403
    assert client.post(address, {"post": "yes"}).status_code == 403
    assert timers.count_pending(DEAD) == 1


def test_nothing_is_done_by_get(visitor, timers, dead_letter_some):
    (dead_id,) = dead_letter_some("42")
    address = f"{START}{Visitor.quoted(Place('default', DEAD, dead_id))}/redrive/"
    assert visitor.get(address, post="yes").status == 200
    assert timers.count_pending(DEAD) == 1
    assert Client().get(address)["Location"].startswith("/admin/login/")
    topic = f"{START}{Visitor.quoted(Place('default', DEAD))}/redrive/"
    assert visitor.get(topic).status == 404


def test_what_was_done_before_the_reply_was_lost_is_told_and_logged(
    visitor, timers, dead_letter_some, server_url, key_settings
):
    timers.schedule_batch(["x"] * 500, "invoices")
    ids = dead_letter_some()
    # From now on the server knows the script, so that each call is one command.
    timers.redrive(DEAD, ids[:1])
    with Relay(server_url) as relay:
        relay.lose_reply_of_script("redrive", nth=2)
        with override_settings(TIMERS={"default": {"URL": relay.url, **key_settings}}):
            page = visitor.choose(visitor.topic(DEAD), "redrive", select_across="1")
            page = visitor.send(page)
    assert page.status == 503
    assert "Before this: Redriven: 200 timers." in page.text
    assert "server's reply to redrive (200 timers of topic" in page.text
    (unknown, done) = [words for _, _, words in log()]
    assert "was lost: the call may or may not have had effect" in unknown
    assert "Redriven: 200 timers." in done
