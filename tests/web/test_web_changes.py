"""Changing timers on the web pages: confirmation, what became of each, and the audit log."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from dead import dead_letter_all
from web_pages import visitor_of

from faststream_redis_timers_sync import Every, TimersClient
from faststream_redis_timers_sync.manage import forms
from faststream_redis_timers_sync.manage.tokens import to_token
from faststream_redis_timers_sync.web import Access, TimerPages

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
DAILY = Every(days=1)
AUDIT = "faststream_redis_timers_sync.web.audit"


@pytest.fixture
def audit(caplog):
    """The lines of the audit log."""
    caplog.set_level("INFO", AUDIT)
    return lambda: [line.getMessage() for line in caplog.records if line.name == AUDIT]


def pending(timers, topic="invoices"):
    return {timer.timer_id for timer in timers.iter_timers(topic)}


def test_ticked_timers_are_cancelled_after_a_confirmation(visitor, invoices, audit):
    asked_page = visitor.press(visitor.get("topic=invoices"), "Cancel", "a", "b")

    assert "Cancel 2 timers of topic “invoices”?" in asked_page.text
    assert "a 2099-06-01 09:00:00 UTC" in asked_page.text
    assert pending(invoices) == {"a", "b", "c", "other-1", "other-2"}
    assert audit() == []

    invoices.cancel_timer("invoices", "b")
    done = visitor.press(asked_page, "Yes, cancel")

    assert "Cancelled 1, no longer pending 1." in done.text
    assert "a cancelled b no longer pending" in done.text
    assert pending(invoices) == {"c", "other-1", "other-2"}
    assert audit() == [
        "action begun by ops: cancel in topic invoices: 2 timers (a b)",
        (
            "action ended by ops: cancel in topic invoices: 2 timers (a b): cancelled 1, "
            "no longer pending 1"
        ),
    ]


def test_all_that_match_a_search_are_cancelled(visitor, invoices, audit):
    page = visitor.get("topic=invoices&q=other")
    assert "Select all 2 that match the search" in page.text
    page = visitor.press(page, "Cancel", all="1")
    assert "Cancel all timers that match “*other*” (2 timers) of topic “invoices”?" in page.text
    page = visitor.press(page, "Yes, cancel")

    assert "Cancelled 2." in page.text
    assert pending(invoices) == {"a", "b", "c"}
    assert "all that match *other*" in audit()[0]


def test_cancelling_all_wants_the_topic_s_name(visitor, invoices, audit):
    page = visitor.press(visitor.get("topic=invoices"), "Cancel all timers of this topic")
    assert "Cancel all timers (5 timers) of topic “invoices”?" in page.text

    refused = visitor.press(page, "Yes, cancel", name="invoice")

    assert refused.status == 400
    assert "Type the topic's name, invoices" in refused.text
    assert len(pending(invoices)) == 5
    assert audit() == []

    done = visitor.press(refused, "Yes, cancel", name="invoices")
    assert "Cancelled 5." in done.text
    assert pending(invoices) == set()
    assert audit()[0] == "action begun by ops: cancel in topic invoices: all timers"


def test_a_topic_s_name_of_spaces_is_quoted(visitor, timers):
    timers.schedule("x", " ", timer_id="a", activate_at=LATER)
    page = visitor.press(visitor.get("topic=%20"), "Cancel all timers of this topic")
    assert "Type the name of the topic, “ ” , to confirm" in page.text
    refused = visitor.press(page, "Yes, cancel", name="x")
    assert "Type the topic's name, “ ”, to cancel" in refused.text

    assert "Cancelled 1." in visitor.press(page, "Yes, cancel", name=" ").text


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"delay": "1h"}, timedelta(hours=1)),
        ({"at": "2098-01-01T10:00+02:00"}, datetime(2098, 1, 1, 8, tzinfo=UTC)),
    ],
)
def test_timers_are_rescheduled_by_a_delay_or_to_a_time(visitor, invoices, fields, wanted):
    page = visitor.press(visitor.get("topic=invoices"), "Reschedule", "a")
    begun = datetime.now(UTC)
    done = visitor.press(page, "Reschedule", **fields)

    assert "Rescheduled 1." in done.text
    due = invoices.get_timer("invoices", "a").due_at
    if isinstance(wanted, timedelta):
        assert timedelta() <= due - begun - wanted < timedelta(minutes=5)
    else:
        assert due == wanted


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Say when: fill in either the delay or the time."),
        ({"delay": "1h", "at": "2098-01-01T10:00Z"}, "Say when"),
        ({"delay": "soon"}, "'soon' is not a duration"),
        ({"at": "2098-01-01T10:00"}, "has no time zone"),
        ({"delay": "9999999d"}, "'9999999d' is too long: a delay must be at most 365,250 days."),
        ({"delay": "9" * 5000 + "d"}, f"'{'9' * 57}...' is too long."),
        ({"at": "9" * 5000}, f"'{'9' * 57}...' is not a time"),
    ],
)
def test_times_that_cannot_be_are_asked_for_again(visitor, invoices, fields, sentence):
    page = visitor.press(visitor.get("topic=invoices"), "Reschedule", "a")
    again = visitor.press(page, "Reschedule", **fields)

    assert again.status == 400
    assert sentence in again.text
    assert "Reschedule 1 timer of topic “invoices”?" in again.text
    assert invoices.get_timer("invoices", "a").due_at == LATER


def test_the_audit_log_has_the_new_due_time(visitor, invoices, audit):
    page = visitor.press(visitor.get("topic=invoices"), "Reschedule", "a")
    visitor.press(page, "Reschedule", at="2098-01-01T10:00+02:00")

    what = "by ops: reschedule to 2098-01-01T08:00:00.000000Z in topic invoices: 1 timer (a)"
    assert audit() == [f"action begun {what}", f"action ended {what}: rescheduled 1"]


def test_the_audit_log_says_that_paused_ones_were_resumed(visitor, timers, audit):
    timers.schedule("x", "invoices", timer_id="s", repeat=DAILY)
    timers.pause_timer("invoices", "s")
    page = visitor.press(visitor.get("topic=invoices&timer=s"), "Run now")
    visitor.press(page, "Run now", resumes="1")

    wanted = r"by ops: run_now to \d{4}-\S+Z \(paused ones resumed\) in topic invoices: "
    assert re.search(wanted, audit()[0])


@pytest.mark.parametrize("again", ["2020-01-01T10:00Z", "2021-01-01T10:00Z"])
def test_a_time_that_is_past_is_asked_for_twice(visitor, invoices, again):
    page = visitor.press(visitor.get("topic=invoices"), "Reschedule", "a")
    page = visitor.press(page, "Reschedule", at="2020-01-01T10:00Z")

    assert page.status == 400
    assert "That time is past, so they would be due at once: confirm again" in page.text
    assert invoices.get_timer("invoices", "a").due_at == LATER

    page = visitor.press(page, "Reschedule", at=again)
    is_same = again.startswith("2020")
    assert page.status == (200 if is_same else 400)
    assert (invoices.get_timer("invoices", "a").due_at < LATER) is is_same


def test_the_example_of_a_time_is_tomorrow(visitor, invoices):
    page = visitor.press(visitor.get("topic=invoices"), "Reschedule", all="1")
    days = {datetime.now(UTC) + timedelta(days=1, minutes=n) for n in (-5, 5)}

    assert any(f"{day:%Y-%m-%d}T09:00Z, or with an offset" in page.text for day in days)


def test_timers_are_run_now(visitor, invoices):
    page = visitor.press(visitor.get("topic=invoices&timer=a"), "Run now")
    assert "Run 1 timer of topic “invoices” now?" in page.text
    visitor.press(page, "Run now")

    assert invoices.get_timer("invoices", "a").due_at < LATER


def test_series_are_paused_resumed_and_run_now(visitor, timers):
    timers.schedule("x", "invoices", timer_id="s", repeat=DAILY)
    timers.schedule("x", "invoices", timer_id="once", activate_at=LATER)

    page = visitor.press(visitor.get("topic=invoices"), "Pause", "s", "once")
    assert "occurrences that they miss are not made up for" in page.text
    done = visitor.press(page, "Pause")
    assert "s paused once unchanged: not recurring" in done.text
    assert timers.get_timer("invoices", "s").paused

    page = visitor.press(visitor.get("topic=invoices&timer=s"), "Run now")
    assert "Running a paused timer resumes it." in page.text
    assert "s unchanged: paused" in visitor.press(page, "Run now").text
    assert "s made due" in visitor.press(page, "Run now", resumes="1").text

    visitor.press(visitor.press(visitor.get("topic=invoices&timer=s"), "Pause"), "Pause")
    done = visitor.press(
        visitor.press(visitor.get("topic=invoices&only=paused"), "Resume", "s"), "Resume"
    )
    assert "s resumed" in done.text
    assert not timers.get_timer("invoices", "s").paused


def test_cancelling_a_series_says_that_it_ends(visitor, timers):
    timers.schedule("x", "invoices", timer_id="s", repeat=DAILY)
    page = visitor.press(visitor.get("topic=invoices&timer=s"), "Cancel")

    assert "Series end." in page.text
    assert "s cancelled (its series has ended)" in visitor.press(page, "Yes, cancel").text


def test_dead_letters_are_redriven(visitor, timers, here):
    for timer_id in ("a", "b"):
        timers.schedule("x", "invoices", timer_id=timer_id)
    dead_letter_all(here)
    timers.schedule("x", "invoices", timer_id="b", activate_at=LATER)

    page = visitor.get("topic=invoices:dead")
    assert "Dead letters 2" in page.text
    assert "Search IDs Search" in page.text
    dead_ids = [timer.timer_id for timer in timers.iter_timers("invoices:dead")]
    named = visitor.press(page, "Redrive", *dead_ids)
    assert named.text.count(" now dead letter ") == 2
    page = visitor.press(visitor.press(page, "Redrive", all="1"), "Redrive")

    assert "Redriven 1, unchanged 1 (a timer with its old ID is waiting or recurring)." in page.text
    assert pending(timers) == {"a", "b"}
    assert len(pending(timers, "invoices:dead")) == 1


def test_running_timers_are_told_of(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="a")
    here.claim("invoices")
    page = visitor.press(visitor.get("topic=invoices&timer=a"), "Cancel")

    assert "Running: 1 timer. They are removed, but their handlers finish." in page.text
    assert "a cancelled (it was running)" in visitor.press(page, "Yes, cancel").text


def test_a_question_that_is_answered_twice_runs_a_timer_once(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="a", activate_at=LATER)
    page = visitor.press(visitor.get("topic=invoices"), "Run now", "a")
    assert "Made due 1." in visitor.press(page, "Run now").text
    here.claim("invoices")

    again = visitor.press(page, "Run now")

    assert "Made due 0, unchanged 1 (changed since you were asked)." in again.text
    assert "a unchanged: changed since you were asked" in again.text
    assert timers.get_timer("invoices", "a").running


def test_a_timer_that_is_claimed_after_its_lease_expired_is_left_alone(visitor, timers, here):
    """It was overdue when the user was asked, and is running at the answer."""
    timers.schedule("x", "invoices", timer_id="a")
    here.claim("invoices", lease_ttl=0.01)
    time.sleep(0.05)
    page = visitor.press(visitor.get("topic=invoices"), "Run now", "a")
    assert "A second run starts" not in page.text
    here.claim("invoices")

    again = visitor.press(page, "Run now")

    assert "a unchanged: changed since you were asked" in again.text
    assert timers.get_timer("invoices", "a").running


def test_a_running_timer_is_changed_by_who_saw_that_it_runs(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="a")
    here.claim("invoices")
    page = visitor.press(visitor.get("topic=invoices"), "Run now", "a")
    assert "A second run starts beside the first." in page.text

    assert "a made due (it was running)" in visitor.press(page, "Run now").text


def test_a_timer_that_took_the_place_of_another_is_left_alone(visitor, invoices):
    invoices.cancel_timer("invoices", "b")
    page = visitor.get("topic=invoices")
    fields = [("id", to_token(one)) for one in ("c", "b", "a")]
    page = visitor.post("topic=invoices&do=cancel", fields)
    invoices.schedule("x", "invoices", timer_id="b", activate_at=LATER)
    invoices.schedule("x", "invoices", timer_id="a", activate_in=timedelta(days=2))
    done = visitor.press(page, "Yes, cancel")

    assert "Cancelled 1, unchanged 2 (changed since you were asked)." in done.text
    assert re.search("c cancelled b unchanged: .* a unchanged: ", done.text)
    assert pending(invoices) == {"a", "b", "other-1", "other-2"}


def test_marks_of_other_timers_are_not_taken(visitor, invoices):
    fields = [("id", to_token("a")), ("seen", "1.2"), ("sure", "1")]
    page = visitor.post("topic=invoices&do=cancel", fields)

    assert page.status == 400
    assert "The form was made for other timers." in page.text
    assert len(pending(invoices)) == 5


@pytest.mark.parametrize("search", ["", "other"])
def test_more_than_were_shown_are_told_of(visitor, invoices, search):
    page = visitor.press(visitor.get(f"topic=invoices&q={search}"), "Run now", all="1")
    invoices.schedule("x", "invoices", timer_id="other-3", activate_at=LATER)
    done = visitor.press(page, "Run now")

    count = 3 if search else 6
    assert f"Made due {count}, 1 more than shown when you confirmed." in done.text


def test_nothing_is_left_to_do(visitor, invoices):
    page = visitor.get("topic=invoices&timer=a")
    invoices.cancel_timer("invoices", "a")

    assert "None of these timers is still pending." in visitor.press(page, "Cancel").text


def test_the_forecast_counts_what_was_changed_just_now(visitor, timers):
    timers.schedule("x", "invoices", timer_id="a", activate_in=timedelta(hours=1))
    page = visitor.get("topic=invoices")
    assert "1 due, at most" in page.text
    visitor.press(visitor.press(page, "Cancel", "a"), "Yes, cancel")
    timers.schedule("x", "invoices", timer_id="b", activate_at=LATER)

    assert "No timer is due in this time." in visitor.get("topic=invoices").text
    assert "1 due, at most" not in visitor.get().text


def test_an_action_on_a_search_that_matches_nothing(visitor, invoices):
    fields = [("all", "1"), ("q", to_token("nobody"))]
    page = visitor.post("topic=invoices&do=cancel", fields)

    assert "No timer matches." in page.text
    assert "still pending" not in page.text


def test_the_outcome_links_to_no_timer_that_is_gone(visitor, invoices):
    page = visitor.press(visitor.get("topic=invoices"), "Cancel", "a", "b")
    invoices.cancel_timer("invoices", "b")
    done = visitor.press(page, "Yes, cancel")
    assert not {"a", "b"} & set(done.links)

    page = visitor.press(visitor.get("topic=invoices"), "Reschedule", "c")
    done = visitor.press(page, "Reschedule", delay="1h")
    assert visitor.follow(done, "c").status == 200


def test_the_outcome_of_a_redrive_links_to_where_it_returned(visitor, timers, here):
    timers.schedule("x", "invoices", timer_id="a")
    dead_letter_all(here)
    (dead,) = [timer.timer_id for timer in timers.iter_timers("invoices:dead")]
    page = visitor.press(visitor.get("topic=invoices:dead"), "Redrive", dead)
    page = visitor.follow(visitor.press(page, "Redrive"), dead)

    assert page.status == 200
    assert page.links["invoices"] == "?topic=invoices"


def test_nothing_ticked_is_refused(visitor, invoices):
    page = visitor.press(visitor.get("topic=invoices"), "Cancel")

    assert page.status == 400
    assert "Select timers first" in page.text


@pytest.mark.parametrize("name", ["run_now", "cancel"])
def test_what_one_request_has_no_time_for_is_asked_again(visitor, timers, monkeypatch, name):
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    for n in range(450):
        timers.schedule("x", "invoices", timer_id=f"t-{n}", activate_at=LATER)
    button = {"run_now": "Run now", "cancel": "Cancel"}[name]
    page = visitor.press(visitor.get("topic=invoices&q=t-"), button, all="1")
    page = visitor.press(page, "Yes, cancel" if name == "cancel" else button)
    done = 0
    while "Continue" in page.buttons:
        assert "There was no time for all of them." in page.text
        done += 1
        page = visitor.press(page, "Continue")

    assert done >= 1
    left = [one for one in timers.iter_timers("invoices") if one.due_at == LATER]
    assert left == []


def test_what_ran_meanwhile_is_not_made_due_again(visitor, timers, monkeypatch, here):
    monkeypatch.setattr(forms, "CHANGE_SECONDS", 0.0)
    for n in range(250):
        timers.schedule("x", "invoices", timer_id=f"s-{n}", repeat=DAILY)
    page = visitor.press(visitor.get("topic=invoices&q=s-"), "Run now", all="1")
    page = visitor.press(page, "Run now")
    assert "Made due 200." in page.text
    # As if they ran, and wait for their next time.
    for timer in list(timers.iter_timers("invoices", before=here.now())):
        timers.reschedule_timer("invoices", timer.timer_id, activate_at=LATER)
    page = visitor.press(page, "Continue")

    assert "Made due 50." in page.text
    assert "Continue" not in page.buttons
    assert len([one for one in timers.iter_timers("invoices") if one.due_at == LATER]) == 200


def test_an_error_midway_says_what_was_done_before(relay, key_names, audit):
    with TimersClient(relay.url, **key_names) as client:
        for n in range(300):
            client.schedule("x", "invoices", timer_id=f"t-{n}", activate_at=LATER)
        pages = TimerPages(client, allow=lambda _: Access("ops", may={"cancel"}))
        visitor = visitor_of(pages)
        page = visitor.press(visitor.get("topic=invoices&q=t-"), "Cancel", all="1")
        relay.lose_reply_of_script("cancel", nth=2)
        done = visitor.press(page, "Yes, cancel")

    assert done.status == 503
    assert "Cancelled 200." in done.text
    assert audit()[1].startswith("action failed by ops: cancel in topic invoices: all that match")
    assert "cancelled 200; " in audit()[1]


def test_the_audit_log_names_twenty_ids_and_no_line_can_be_forged(make_pages, timers, audit):
    ids = [f"t-{n:02}" for n in range(25)] + ["x\naction ended by root: cancel"]
    for timer_id in ids:
        timers.schedule("x", "invoices", timer_id=timer_id, activate_at=LATER)
    visitor = visitor_of(
        make_pages(allow=lambda _: Access("eve\nroot", may={"cancel", "run"}), topics=["invoices"])
    )
    sure = [("sure", "1"), *(("id", to_token(timer_id)) for timer_id in ids)]
    visitor.post("topic=invoices&do=cancel", sure)
    visitor.post("topic=invoices&do=redrive", sure)

    begun, ended, refused = audit()
    assert begun.startswith(r"action begun by eve\nroot: cancel in topic invoices: 26 timers (t-00")
    assert begun.endswith("t-19 ...)")
    assert ended.endswith("cancelled 26")
    assert refused == r"action refused to eve\nroot: redrive in topic invoices"
    assert "\n" not in begun + ended + refused
