"""Cancelling in the admin: what is asked, what is done, what is refused, what is logged."""

import re
from datetime import UTC, datetime

import pytest
from admin_pages import START, Visitor, log, tokens
from django.contrib.admin.models import DELETION, LogEntry
from django.test import Client, override_settings
from relay import Relay

from faststream_redis_timers_sync.django.admin import actions as admin_actions
from faststream_redis_timers_sync.django.tokens import Place
from faststream_redis_timers_sync.web import words as web_words

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)


def pending(timers):
    return sorted(timers.get_pending_timers("invoices"))


# --- cancelling


def test_the_selected_ones_are_cancelled_once_that_is_confirmed(visitor, invoices):
    page = visitor.choose(visitor.topic("invoices"), "cancel", tokens("a", "b"))
    assert "Cancel 2 timers of topic “invoices”?" in page.text
    assert "Running" not in page.text
    assert pending(invoices) == ["a", "b", "c", "other-1", "other-2"]

    page = visitor.send(page)
    assert "Cancelled: 2 timers." in page.text
    assert pending(invoices) == ["c", "other-1", "other-2"]
    assert log() == [
        (DELETION, "a (invoices)", "Cancelled."),
        (DELETION, "b (invoices)", "Cancelled."),
    ]


def test_those_that_fired_before_the_question_are_counted_apart(visitor, invoices):
    page = visitor.topic("invoices")
    invoices.cancel_timer("invoices", "a")
    page = visitor.choose(page, "cancel", tokens("a", "b"))
    assert "Cancel 1 timer of" in page.text
    assert "No longer pending: 1 timer." in page.text


def test_those_that_fired_before_the_answer_are_counted_and_said(visitor, invoices):
    page = visitor.choose(visitor.topic("invoices"), "cancel", tokens("a", "b", "c"))
    invoices.cancel_timers("invoices", ["a", "b"])
    page = visitor.send(page)
    assert "Cancelled: 1 timer. No longer pending: 2 timers." in page.text
    assert log() == [(DELETION, "c (invoices)", "Cancelled.")]


def test_those_that_changed_before_the_answer_are_left_alone(visitor, invoices):
    page = visitor.choose(visitor.topic("invoices"), "cancel", tokens("a", "b"))
    invoices.schedule("x", "invoices", timer_id="b", activate_at=LATER.replace(year=2098))
    page = visitor.send(page)
    assert "Cancelled: 1 timer. Unchanged: 1 timer (changed since you were asked)." in page.text
    assert pending(invoices) == ["b", "c", "other-1", "other-2"]


def test_more_than_were_shown_are_told_of(visitor, invoices):
    page = visitor.choose(visitor.topic("invoices"), "cancel", select_across="1")
    invoices.schedule("x", "invoices", timer_id="other-3", activate_at=LATER)
    page = visitor.send(page)
    assert "Cancelled: 6 timers. 1 more than shown when you confirmed." in page.text


def test_when_all_have_fired_nothing_is_asked(visitor, invoices):
    page = visitor.topic("invoices")
    invoices.cancel_all("invoices")
    for across in ("0", "1"):
        answer = visitor.choose(page, "cancel", select_across=across)
        assert "None of these timers is still pending." in answer.text
    assert log() == []


def test_a_running_timer_is_removed_and_that_is_said(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="a")
    here.claim("invoices")
    page = visitor.choose(visitor.topic("invoices"), "cancel")
    assert "Running: 1 timer. They are removed, but their handlers finish." in page.text
    page = visitor.send(page)
    assert "Cancelled: 1 timer. Running: 1 timer. They are removed" in page.text


def test_all_that_match_are_cancelled_also_those_on_other_pages(visitor, timers):
    for n in range(130):
        timers.schedule("x", "invoices", timer_id=f"user:{n}", activate_at=LATER)
    timers.schedule("x", "invoices", timer_id="kept", activate_at=LATER)
    page = visitor.topic("invoices", q="user:*")
    page = visitor.choose(page, "cancel", select_across="1")
    assert (
        "Cancel 130 timers of topic “invoices”? These are all timers that match “user:*”."
        in page.text
    )
    timers.cancel_timers("invoices", [f"user:{n}" for n in range(30)])
    page = visitor.send(page)
    outcome = "Cancelled: 100 timers. No longer pending: 30 timers."
    assert outcome in page.text
    assert "No timer matches." in page.text
    assert pending(timers) == ["kept"]
    assert log() == [
        (
            DELETION,
            "topic invoices",
            f"All timers that match “user:*”: Cancelled. {outcome}",
        )
    ]


def test_all_of_a_topic_are_cancelled_in_one_call(visitor, invoices, key_names, redis_client):
    page = visitor.choose(visitor.topic("invoices"), "cancel", select_across="1")
    assert "Cancel 5 timers of topic “invoices”? These are all timers of the topic." in page.text
    page = visitor.send(page)
    assert "Cancelled: 5 timers." in page.text
    assert pending(invoices) == []
    assert [entry[1] for entry in log()] == ["topic invoices"]


def test_one_is_cancelled_from_its_own_page(visitor, invoices):
    timer = visitor.follow(visitor.topic("invoices"), "a")
    page = visitor.follow(timer, "Cancel")
    assert "Cancel 1 timer of topic" in page.text
    assert "a" in pending(invoices)
    page = visitor.send(page)
    assert "Cancelled: 1 timer." in page.text
    assert "a" not in pending(invoices)


# --- what is refused


def test_nothing_is_done_by_get_or_without_a_token_of_csrf(visitor, invoices):
    page = visitor.choose(visitor.topic("invoices"), "cancel", tokens("a"))
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = visitor.client.cookies
    fields = {name: page.fields[name] for name in page.fields if name != "csrfmiddlewaretoken"}
    assert fields["post"] == ["yes"]
    assert strict.post(page.action, fields).status_code == 403
    assert strict.get(page.action, fields).status_code == 200
    timer = f"{START}{Visitor.quoted(Place('default', 'invoices', 'a'))}/"
    assert strict.get(f"{timer}delete/", {"post": "yes"}).status_code == 200
    assert strict.get(f"{timer}reschedule/", {"post": "yes", "delay": "1h"}).status_code == 200
    assert invoices.get_timer("invoices", "a").due_at == LATER


def test_a_form_without_action_or_timers_is_said_to_be_so(visitor, invoices):
    page = visitor.topic("invoices")
    assert "No action selected." in visitor.choose(page, "").text
    assert "Select timers first" in visitor.choose(page, "cancel", []).text


@pytest.mark.parametrize("token", ["!", "", "_w", "a" * 5])
def test_a_form_that_is_none_of_ours_is_refused(visitor, invoices, token):
    page = visitor.choose(visitor.topic("invoices"), "cancel", [token])
    # Some bytes may well be an id.
    assert page.status == 400 or "None of these timers is still pending" in page.text


def test_more_than_a_page_cannot_be_named_in_one_form(visitor, invoices):
    page = visitor.topic("invoices")
    many = tokens(*(f"t{n}" for n in range(501)))
    assert visitor.choose(page, "cancel", many).status == 400


# --- the log


def test_a_timer_has_a_history_that_outlives_it(visitor, invoices):
    page = visitor.choose(visitor.topic("invoices"), "reschedule", tokens("a"))
    page = visitor.send(page, delay="1h")
    visitor.send(visitor.choose(page, "cancel", tokens("a")))
    address = f"{START}{Visitor.quoted(Place('default', 'invoices', 'a'))}/history/"
    page = visitor.get(address)
    assert re.search("Rescheduled: 20.*Cancelled", page.text)
    # The dashboard links what was changed, not what was deleted.
    page = visitor.get("/admin/")
    page = visitor.follow(page, "a (invoices)")
    assert "Timer “a” is no longer pending" in page.text


def test_a_topic_has_a_history(visitor, invoices):
    page = visitor.choose(visitor.topic("invoices"), "reschedule", select_across="1")
    page = visitor.send(page, delay="1h")
    assert "All timers:" in visitor.follow(page, "History").text
    # What the dashboard says of a topic leads to its timers.
    page = visitor.follow(visitor.get("/admin/"), "topic invoices")
    assert "other-1" in page.links


def test_a_long_or_odd_id_fits_the_log(visitor, timers):
    odd = "x" * 300 + "\0"
    timers.schedule("x", "invoices", timer_id=odd, activate_at=LATER)
    visitor.send(visitor.choose(visitor.topic("invoices"), "cancel"))
    entry = LogEntry.objects.get()
    assert entry.object_repr == "x" * 200
    assert entry.object_id == Place("default", "invoices", odd).key


# --- the server goes away meanwhile


def test_what_replicas_do_not_confirm_is_told_and_logged(visitor, timers, server_url, key_settings):
    timers.schedule("x", "invoices", timer_id="a", activate_at=LATER)
    # The server has no replica.
    confirms = {"CONFIRM_REPLICAS": 1, "CONFIRM_TIMEOUT": 0.05}
    with override_settings(TIMERS={"default": {"URL": server_url, **key_settings, **confirms}}):
        page = visitor.send(visitor.choose(visitor.topic("invoices"), "cancel"))
    assert page.status == 503
    assert "(timer 'a' in topic 'invoices') was carried out on the primary" in page.text
    assert not timers.has_pending("invoices", "a")
    (words,) = [words for _, _, words in log()]
    assert "only 0 of 1 replicas confirmed it" in words


def test_what_was_done_before_the_reply_was_lost_is_told_and_logged(
    visitor, timers, server_url, key_settings
):
    timers.schedule_batch(["x"] * 700, "invoices", activate_at=LATER)
    # From now on the server knows the script, so that each call is one command.
    timers.cancel_timer("invoices", "nobody")
    with Relay(server_url) as relay:
        relay.lose_reply_of_script("cancel", nth=2)
        with override_settings(TIMERS={"default": {"URL": relay.url, **key_settings}}):
            page = visitor.choose(visitor.topic("invoices", q="*"), "cancel", select_across="1")
            assert "Cancel 700 timers" in page.text
            page = visitor.send(page)
    assert page.status == 503
    assert "Before this: Cancelled: 200 timers." in page.text
    assert "server's reply to cancel (200 timers of topic" in page.text
    (unknown, done) = [words for _, _, words in log()]
    assert "was lost: the call may or may not have had effect" in unknown
    assert "Cancelled: 200 timers." in done


# --- words

SAID = ("label", "button", "title", "question", "confirm", "explanation")
SAID_OF_SOME = ("of_running", "of_recurring", "of_paused")


def test_actions_have_the_words_of_the_web_pages():
    assert set(admin_actions.ACTIONS) == set(web_words.ACTIONS)
    for name, action in admin_actions.ACTIONS.items():
        words = web_words.ACTIONS[name].words
        for said in (*SAID, *SAID_OF_SOME):
            assert getattr(action.words, said) == getattr(words, said)
