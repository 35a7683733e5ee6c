"""Changing chosen timers, as front ends do: what becomes of each id, and what a deadline leaves."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from dead import dead_letter_all

from faststream_redis_timers_sync import Every
from faststream_redis_timers_sync.manage.changing import (
    Cancel,
    Outcome,
    Redrive,
    Reschedule,
    Tally,
    carry_out,
)
from faststream_redis_timers_sync.manage.chosen import Chosen, Preview, preview
from faststream_redis_timers_sync.manage.deadline import Deadline
from faststream_redis_timers_sync.manage.server import server_time
from faststream_redis_timers_sync.manage.states import state_of
from faststream_redis_timers_sync.manage.walking import Position, Walk, read_position

HOUR = timedelta(hours=1)
LATER = datetime(2099, 1, 1, 12, tzinfo=UTC)
EARLIER = LATER - HOUR
EVERYTHING = Chosen(topic="t", everything=True)
MATCHING = Chosen(topic="t", match="*")


@pytest.fixture
def stock(timers, here):
    """One timer that runs, one that is overdue, one that waits."""
    timers.schedule("x", "t", timer_id="running")
    here.claim("t", lease_ttl=600)
    timers.schedule("x", "t", timer_id="overdue")
    timers.schedule("x", "t", timer_id="waiting", activate_at=LATER)
    return timers


NAMED = Chosen(topic="t", timer_ids=("waiting", "nobody", "running", "waiting", "overdue"))
DONE = [
    Outcome("waiting", "done"),
    Outcome("nobody", "unknown"),
    Outcome("running", "done", was_running=True),
    Outcome("overdue", "done"),
]


@pytest.mark.parametrize("change", [Cancel(), Reschedule(activate_at=EARLIER), Reschedule()])
def test_what_became_of_each_that_was_named_is_told_in_order(change, stock):
    tally = Tally()
    carry_out(stock, change, NAMED, tally)
    assert tally == Tally(done=3, running=1, named=DONE)
    assert tally.unknown == ["nobody"]


def test_so_it_is_of_dead_letters_with_the_reason_why_one_stays(timers, here):
    def dead_letter_one(timer_id):
        timers.schedule("x", "t", timer_id=timer_id)
        return dead_letter_all(here, "t")[0].decode()

    leased = dead_letter_one("held")
    here.claim("t:dead")
    comes, waits = dead_letter_one("comes"), dead_letter_one("waits")
    timers.schedule("x", "t", timer_id="waits", activate_at=LATER)
    timers.schedule("x", "t:dead", timer_id="plain", activate_at=LATER)
    tally = Tally()
    named = Chosen(topic="t:dead", timer_ids=(comes, waits, leased, "plain", "nobody"))
    carry_out(timers, Redrive(), named, tally)
    assert tally.named == [
        Outcome(comes, "done"),
        Outcome(waits, "waiting"),
        Outcome(leased, "running"),
        Outcome("plain", "no dead letter"),
        Outcome("nobody", "unknown"),
    ]
    assert tally.stayed == {"waiting": 1, "running": 1, "no dead letter": 1}
    assert (tally.done, tally.gone) == (1, 0)


def test_an_id_that_is_named_twice_in_two_calls_is_told_once(timers):
    ids = [f"t{n}" for n in range(300)]
    timers.schedule_batch(["x"] * 5, "t", activate_at=LATER)
    timers.schedule("x", "t", timer_id="t0", activate_at=LATER)
    tally = Tally()
    carry_out(timers, Cancel(), Chosen(topic="t", timer_ids=[*ids, "t0"]), tally)
    assert tally.done == 1
    assert [outcome.timer_id for outcome in tally.named] == ids


@pytest.mark.parametrize("chosen", [EVERYTHING, MATCHING])
@pytest.mark.parametrize("change", [Cancel(), Reschedule(), Redrive()])
def test_nothing_is_changed_where_nothing_was_expected(chosen, change, stock):
    before = list(stock.iter_timers("t"))
    tally = Tally()
    carry_out(stock, change, chosen, tally, expected=0)
    assert tally == Tally()
    assert list(stock.iter_timers("t")) == before


def test_those_that_were_counted_and_are_not_found_are_gone(stock):
    tally = Tally()
    carry_out(stock, Cancel(), MATCHING, tally, expected=5)
    assert tally == Tally(done=3, running=1, gone=2)


@pytest.mark.parametrize(
    ("chosen", "change"),
    [
        (MATCHING, Cancel()),
        (MATCHING, Reschedule(activate_at=EARLIER, moved_to=EARLIER)),
        (EVERYTHING, Reschedule(activate_at=EARLIER, moved_to=EARLIER)),
    ],
)
def test_in_slices_of_time_all_are_changed_and_each_once(chosen, change, timers):
    timers.schedule_batch(["x"] * 450, "t", activate_at=LATER)
    done = []
    while True:
        tally = Tally()
        carry_out(timers, change, chosen, tally, deadline=Deadline(0))
        done.append(tally.done)
        if not tally.is_cut:
            break
    assert done == [200, 200, 50]
    assert {timer.due_at for timer in timers.iter_timers("t")} <= {EARLIER}


@pytest.mark.parametrize("chosen", [MATCHING, EVERYTHING])
def test_what_ran_meanwhile_and_waits_again_is_not_run_again(chosen, timers):
    for n in range(225):
        timers.schedule("x", "t", timer_id=f"hourly-{n}", repeat=Every(hours=1))
        timers.schedule("x", "t", timer_id=f"once-{n}", activate_at=LATER)
    runs = Counter()
    moved_to = after = None
    done = []
    while True:
        tally, now = Tally(), server_time(timers, "t")
        change = Reschedule(activate_at=now, moved_to=moved_to, after=after)
        carry_out(timers, change, chosen, tally, deadline=Deadline(0))
        # As if they ran: a series waits for its next time, another for its retry.
        for timer in list(timers.iter_timers("t", before=server_time(timers, "t"))):
            runs[timer.timer_id] += 1
            timers.reschedule_timer("t", timer.timer_id, activate_in=HOUR)
        done.append(tally.done)
        if not tally.is_cut:
            break
        moved_to, after = now, read_position(tally.walk.position.token)
    assert done == [200, 200, 50]
    assert set(runs.values()) == {1}
    assert len(runs) == 450


def test_a_position_is_left_aside_where_the_time_is_still_to_come(timers):
    """The due time shows what was rescheduled, also on another server."""
    timers.schedule_batch(["x"] * 250, "t", activate_at=LATER)
    tally = Tally()
    carry_out(timers, Reschedule(activate_at=EARLIER), MATCHING, tally, deadline=Deadline(0))
    nowhere = Position(2**63, 200, frozenset())
    change = Reschedule(activate_at=EARLIER, moved_to=EARLIER, after=nowhere)
    carry_out(timers, change, MATCHING, rest := Tally())
    assert (tally.done, rest.done) == (200, 50)


def test_a_walk_that_goes_on_finds_the_rest_also_in_a_table_that_has_grown(timers):
    timers.schedule_batch(["x"] * 250, "t", activate_at=LATER)
    begun = Walk(timers, "t", None)
    passed = {timer.timer_id for timer in islice(begun, 100)}
    position = begun.position
    before = set(timers.get_pending_timers("t"))
    timers.schedule_batch(["x"] * 1000, "t", activate_at=LATER)
    found = [timer.timer_id for timer in Walk(timers, "t", None, read_position(position.token))]
    # Nobody has asked for the next yet, so the last one is not behind it.
    assert len(passed & set(found)) == 1
    assert set(found) | passed >= before


@pytest.mark.parametrize("token", ["x", "1.2", "1.0.", "1.1001.", "-1.1.", "1.x.", "1.1.!"])
def test_no_position_is_read_from_something_else(token):
    with pytest.raises(ValueError):
        read_position(token)


def test_a_preview_has_the_states_of_those_that_are_named(stock):
    seen = preview(stock, NAMED)
    assert [(timer.timer_id, state_of(timer, seen.at)) for timer in seen.timers] == [
        ("waiting", "waiting"),
        ("running", "running"),
        ("overdue", "overdue"),
    ]
    assert (seen.count, seen.running, seen.gone, seen.is_cut) == (3, 1, 1, False)


def test_a_preview_counts_those_that_are_not(stock):
    assert preview(stock, EVERYTHING) == Preview(3)
    assert preview(stock, MATCHING) == Preview(3, 1, 0)
    stock.schedule_batch(["x"] * 3000, "t", activate_at=LATER)
    cut = preview(stock, MATCHING, on_examined=Deadline(0))
    assert cut.is_cut
    assert 0 < cut.count < 3003


@pytest.mark.parametrize(
    "ways",
    [
        {},
        {"timer_ids": ["a"], "everything": True},
        {"match": "*", "everything": True},
        {"timer_ids": ["a"], "match": ""},
    ],
)
def test_which_ones_are_meant_is_said_in_one_way(ways):
    with pytest.raises(ValueError, match="exactly one of timer_ids, match and everything"):
        Chosen(topic="t", **ways)
