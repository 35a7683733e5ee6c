"""Fleets in virtual time: what they cost and how late they are, and what the parts of the rule that
keeps a few workers on duty are worth. Counts and times are exact here, and the same everywhere.

`python -m benchmarks.fleet` shows the rest.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import duty_parts
from benchmarks.duties import (
    ALL,
    SOME,
    Load,
    Plan,
    blocking,
    busy_load,
    computing,
    late_blocking,
    long,
    measure_burst,
    measure_departure,
    mixed,
    short,
)
from benchmarks.fleet import main
from benchmarks.simulated_fleet import Fleet, all_on_duty, duty_of
from benchmarks.simulated_topic import Work

ROOT = Path(__file__).parent.parent

SOON = 1.0
"""Milliseconds: a timer that is later was not claimed by a worker that waited for it."""


def without(kind):
    return Plan(duty_of(3, kind))


# --- what is to be reached


@pytest.mark.parametrize(
    ("workers", "messages"), [(30, 4), (50, 4), (100, 20), pytest.param(1000, 20, id="1000")]
)
@pytest.mark.parametrize("work", [short, long, computing], ids=["1ms", "1s", "computing"])
def test_calls_do_not_grow_with_the_number_of_workers(work, workers, messages):
    figures = Load(workers, 10, work, seconds=10).measure(SOME)

    assert figures.calls <= workers / 5 + 8 * 10
    assert figures.messages <= messages
    assert figures.median <= SOON


@pytest.mark.parametrize(
    ("slots", "busy", "together", "over"),
    [(1, 0.5, 1, 1.0), (5, 0.8, 1, 1.0), (5, 0.5, 3, 5.0), (5, 0.8, 3, 5.0)],
)
@pytest.mark.parametrize("work", [mixed, computing], ids=["mixed", "computing"])
def test_timers_are_no_later_than_with_all_on_duty(work, slots, busy, together, over):
    load = busy_load(30, slots, busy, together, work)

    assert load.measure(SOME).late <= load.measure(ALL).late + over


@pytest.mark.parametrize(("workers", "milliseconds"), [(100, 10), (1000, 30)])
def test_a_burst_wakes_the_reserve(workers, milliseconds):
    took, messages = measure_burst(SOME, workers)

    assert took <= milliseconds
    assert messages <= 20


@pytest.mark.parametrize(("workers", "rate"), [(10, 2.0), (30, 9), (30, 12)])
def test_where_handlers_keep_most_event_loops_timers_are_late_as_with_all_on_duty(workers, rate):
    """They are 40, 60 and 80% busy: there the wait for a free worker may be long by itself."""
    load = Load(workers, rate, blocking, seconds=240)

    assert load.measure(SOME).late <= load.measure(ALL).late + 5.0


@pytest.mark.parametrize("work", [blocking, late_blocking], ids=["at once", "later"])
@pytest.mark.parametrize("workers", [10, 30])
def test_handlers_that_keep_the_event_loop_make_no_timer_of_others_late(workers, work):
    assert Load(workers, workers / 10, work, seconds=100).measure(SOME).late <= SOON


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "stopped"])
@pytest.mark.parametrize("work", [short, long], ids=["1ms", "1s"])
def test_one_of_those_on_duty_is_not_missed(work, is_killed):
    before, after = Load(30, 10, work).measure_loss(SOME, 1, is_killed=is_killed)

    assert before.latest <= 10
    assert after.latest <= 10


@pytest.mark.parametrize("slots", [1, 5])
@pytest.mark.parametrize("work", [short, long, blocking], ids=["1ms", "1s", "blocking"])
def test_when_all_on_duty_are_stopped_the_reserve_takes_over(work, slots):
    load = Load(30, 3, work, slots, seconds=200)
    before, after = load.measure_loss(SOME, 3)

    assert before.latest <= 7500
    assert after.median <= SOON
    assert after.late <= SOON


@pytest.mark.parametrize("slots", [1, 2])
def test_they_are_found_missing_even_if_the_finder_cannot_take_all_that_was_left(slots):
    load = Load(30, 10, short, slots, seconds=10)
    latest = [load.measure_loss(SOME, 30, seed=seed)[1].latest for seed in range(30)]

    assert max(latest) <= 10


@pytest.mark.parametrize("workers", [30, 100, 1000])
def test_after_a_backlog_few_are_on_duty_again(workers):
    fleet = Load(workers, 10, short).begin(SOME, 60)
    fleet.run(20)
    fleet.schedule(fleet.timeline.now, 0.0, [Work(1.0)] * (3 * 5 * workers))
    fleet.run(15)

    assert len(fleet.topic.on_duty) <= 8
    assert fleet.run(10).calls / 10 <= workers / 5 + 8 * 10 + 40


@pytest.mark.parametrize("workers", [3, 8])
@pytest.mark.parametrize("work", [short, long], ids=["1ms", "1s"])
def test_small_fleets_stay_as_they_are(work, workers):
    load = Load(workers, 10, work)
    old, new = load.measure(ALL), load.measure(SOME)

    assert new.calls == pytest.approx(old.calls, rel=0.1)
    assert new.late == pytest.approx(old.late, rel=0.1)


def test_workers_that_start_at_once_do_not_all_stay_on_duty():
    fleet = Fleet(SOME.make_rule)
    fleet.start(1000)
    fleet.feed(10, 20, short)
    fleet.run(15)

    assert len(fleet.topic.on_duty) <= 8
    assert fleet.run(5).calls / 5 <= 1000 / 5 + 8 * 10


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_a_rolling_restart_leaves_nobody_late(seconds):
    fleet = Fleet(SOME.make_rule)
    fleet.start(30, within=5)
    fleet.feed(10, 60, short)
    fleet.run(15)
    late = []
    for worker in list(fleet.workers):
        worker.stop()
        fleet.start(1)
        late += fleet.run(seconds).late

    assert max(late) <= 0.01


@pytest.mark.parametrize("old", [3, 15, 29])
def test_beside_workers_that_know_no_duty_timers_wait_for_a_poll_at_most(old):
    fleet = Fleet(SOME.make_rule)
    fleet.start(30 - old, within=5)
    fleet.start(old, within=5, make_rule=all_on_duty)
    fleet.feed(10, 60, long)
    fleet.run(15)
    late = sorted(fleet.run(45).late)

    assert late[len(late) // 2] <= SOON / 1000
    assert late[-1] <= 7.5


# --- what parts of the rule are worth


def test_without_calls_for_those_who_leave_timers_are_late():
    load = Load(30, 3, blocking, seconds=240)
    assert load.measure(SOME).late <= SOON
    assert load.measure(without(duty_parts.NoCallForMissing)).late > 100


def test_without_calls_for_what_is_left_a_burst_waits_for_polls():
    took, _ = measure_burst(without(duty_parts.NoCallForRest), 100, slots=20)
    assert took > 100


def test_without_quiet_a_burst_costs_ten_times_the_messages():
    _, messages = measure_burst(SOME, 1000)
    _, loud = measure_burst(without(duty_parts.NoQuiet), 1000)
    assert loud > 10 * messages


def test_with_one_group_each_call_is_heard_by_the_whole_reserve():
    load = Load(30, 10, computing, seconds=20)
    figures = load.measure(Plan(SOME.make_rule, groups=1))
    assert figures.messages > 10


@pytest.mark.parametrize("kind", [duty_parts.NoEvidence, duty_parts.NoMissing])
def test_where_ghosts_are_counted_on_timers_stay_late(kind):
    _, after = Load(30, 3, long, 1, seconds=100).measure_loss(without(kind), 3)
    assert after.late > 100


def test_when_all_on_duty_stop_at_once_others_were_called():
    assert max(measure_departure(SOME, seed) for seed in range(60)) <= SOON
    plan = without(duty_parts.NoFarewell)
    assert max(measure_departure(plan, seed) for seed in range(60)) > 100


def test_without_joining_by_polls_nobody_follows_those_on_duty_who_were_killed():
    counts = []
    for plan in (SOME, without(duty_parts.NoJoining)):
        fleet = Fleet(plan.make_rule)
        fleet.start(30, within=5)
        fleet.run(15)
        for worker in list(fleet.topic.on_duty):
            worker.kill()
        # No timer comes, so that nobody is called.
        fleet.run(15)
        counts.append(len(fleet.topic.on_duty))

    assert counts[0] >= 3
    assert counts[1] == 0


@pytest.mark.parametrize("workers", [30, 100, 1000])
def test_a_server_that_pauses_again_and_again_has_no_more_workers_on_duty(workers):
    fleet = Load(workers, 10, short).begin(SOME, 150)
    fleet.run(15)
    for _ in range(6):
        fleet.topic.pause(0.1)
        fleet.run(20)

    assert len(fleet.topic.on_duty) == 3


@pytest.mark.parametrize("kind", [duty_parts.NeverAway, duty_parts.NoDistrust])
def test_those_who_do_not_hear_keep_others_waiting(kind):
    load = busy_load(30, 5, 0.8, 1, computing)
    assert load.measure(without(kind)).late > 5


# --- the simulation itself


@pytest.mark.parametrize("only", ["burst of 1,000, W = 100:", "start of", "hasty"])
def test_the_command_shows_goals_and_parts(only):
    result = CliRunner().invoke(main, ["--only", only])

    if only == "start of":
        assert result.exit_code == 1
        assert "no goal and no part has this in its name" in result.output
    else:
        assert result.exit_code == 0, result.output
        assert ("3 on duty" in result.stdout) == only.startswith("burst")
        assert ("30 workers" in result.stdout) == (only == "hasty")


HISTORY = """
from benchmarks.duties import SOME, Load, mixed
print(Load(30, 50, mixed, seconds=5).measure(SOME))
"""


def test_a_seed_gives_the_same_history_in_each_process():
    told = {
        subprocess.run(
            [sys.executable, "-c", HISTORY],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(told) == 1


def test_rules_that_are_compared_meet_the_same_timers():
    old, new = (Load(30, 10, mixed).begin(plan, 5) for plan in (ALL, SOME))
    timers = [fleet.topic for fleet in (old, new)]
    for fleet in (old, new):
        fleet.run(20)
    assert timers[0].counts.timers == timers[1].counts.timers == 50
    assert len(timers[0].counts.late) == len(timers[1].counts.late) == 50
