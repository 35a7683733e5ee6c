"""Paused timers for front ends that look after timers: counted apart, and left out of moves."""

from datetime import UTC, datetime, timedelta

import pytest
from series import series

from faststream_redis_timers_sync.manage.changing import Outcome, Reschedule, Tally, carry_out
from faststream_redis_timers_sync.manage.chosen import Chosen
from faststream_redis_timers_sync.manage.selection import cancel_each, reschedule_each
from faststream_redis_timers_sync.protocol.management import overview

TOPIC = "reports"
HOUR = timedelta(hours=1)
PAUSED_AT = datetime(9999, 12, 31, tzinfo=UTC)


def pause(here, *timer_ids):
    for timer_id in timer_ids:
        here.runner.run_steps(here.operations.schedule_batch(TOPIC, [series(timer_id)]))
        assert here.runner.run(here.operations.pause(TOPIC, timer_id))


def count(here):
    _, (counts,) = here.runner.run(overview(here.operations.keys, [TOPIC]))
    return counts


def test_a_topic_with_paused_timers_alone_has_no_next_and_no_last(timers, here):
    pause(here, "a", "b")

    counts = count(here)

    assert (counts.pending, counts.overdue, counts.paused) == (2, 0, 2)
    assert (counts.next_at, counts.last_at) == (None, None)


@pytest.mark.parametrize("due_at", [PAUSED_AT.replace(year=2050), PAUSED_AT + 2 * HOUR])
def test_the_others_are_next_and_last(due_at, timers, here):
    pause(here, "a", "b")
    timers.schedule("x", TOPIC, timer_id="c", activate_at=due_at)

    counts = count(here)

    assert (counts.pending, counts.paused) == (3, 2)
    assert (counts.next_at, counts.last_at) == (due_at, due_at)


def test_beside_those_that_run_the_end_of_a_lease_is_next(timers, here):
    pause(here, "a")
    timers.schedule("x", TOPIC, timer_id="running")
    here.claim(TOPIC)
    lease_ends_at = timers.get_timer(TOPIC, "running").due_at

    counts = count(here)

    assert (counts.next_at, counts.last_at) == (lease_ends_at, lease_ends_at)
    assert (counts.pending, counts.overdue, counts.paused) == (2, 0, 1)


def test_they_stay_where_many_are_moved(timers, here):
    pause(here, "a")
    timers.schedule("x", TOPIC, timer_id="b", activate_in=HOUR)
    before = timers.get_timer(TOPIC, "a")

    moved = list(reschedule_each(timers, TOPIC, ["a", "b", "c"], activate_in=2 * HOUR))

    assert moved == [("a", "paused"), ("b", "waiting"), ("c", "unknown")]
    assert timers.get_timer(TOPIC, "a") == before
    assert before.paused
    assert list(cancel_each(timers, TOPIC, ["a", "b"])) == [("a", "waiting"), ("b", "waiting")]


@pytest.mark.parametrize(
    "chosen", [Chosen(topic=TOPIC, timer_ids=("a", "b")), Chosen(topic=TOPIC, everything=True)]
)
def test_the_tally_says_why_they_stay(chosen, timers, here):
    pause(here, "a")
    timers.schedule("x", TOPIC, timer_id="b", activate_in=HOUR)
    tally = Tally()

    carry_out(timers, Reschedule(activate_in=HOUR), chosen, tally, expected=2)

    assert (tally.done, tally.stayed, tally.gone) == (1, {"paused": 1}, 0)
    assert tally.named in ([], [Outcome("a", "paused"), Outcome("b", "done")])
