"""The arithmetic of the delivery loop, by tables: no clock, no server."""

import itertools
import math

import pytest

from faststream_redis_timers.delivery.schedule import (
    AlarmClock,
    Backoff,
    FloodGap,
    PollSchedule,
    ServerClock,
    SpinBudget,
)
from faststream_redis_timers.subscriber.loop import RANDOM_DRAWS

MIDDLE = 0.5
"""The jitter that changes nothing."""


def schedule_with(jitter=MIDDLE, base=0.05, ceiling=5.0):
    return PollSchedule(base, ceiling, jitter=lambda: jitter)


# --- when to claim next ------------------------------------------------------------------


def test_the_first_claim_is_made_at_once():
    assert schedule_with().next_at == -math.inf


def test_poll_delays_double_up_to_the_ceiling_while_nothing_is_found():
    schedule = schedule_with()
    delays = []
    for _ in range(10):
        schedule.found_nothing(100.0, math.inf)
        delays.append(round(schedule.poll_at - 100.0, 9))

    assert delays == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


@pytest.mark.parametrize("find", ["found", "found_more"])
def test_a_timer_found_resets_the_delay(find):
    schedule = schedule_with()
    for _ in range(10):
        schedule.found_nothing(0.0, math.inf)
    if find == "found":
        schedule.found(100.0, math.inf)
        assert schedule.poll_at == pytest.approx(100.05)
    else:
        schedule.found_more()
        assert schedule.next_at == -math.inf
    schedule.found_nothing(200.0, math.inf)
    assert schedule.poll_at == pytest.approx(200.05)


@pytest.mark.parametrize(("jitter", "factor"), [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (1.0, 1.5)])
def test_each_delay_is_spread_by_half_of_itself(jitter, factor):
    schedule = schedule_with(jitter)
    for delay in (0.05, 0.1, 0.2):
        schedule.found_nothing(100.0, math.inf)
        assert schedule.poll_at == pytest.approx(100.0 + delay * factor)


@pytest.mark.parametrize(
    ("head_at", "next_at"),
    [
        (math.inf, 100.05),  # nothing scheduled: poll
        (100.2, 100.05),  # the poll comes first
        (100.01, 100.01),  # due before the poll: then, not earlier
        (99.0, 99.0),  # it became due meanwhile: at once
    ],
)
@pytest.mark.parametrize("find", ["found", "found_nothing"])
def test_it_sleeps_until_the_next_due_time_or_the_poll(find, head_at, next_at):
    schedule = schedule_with()
    getattr(schedule, find)(100.0, head_at)

    assert schedule.next_at == pytest.approx(next_at)


def test_an_empty_claim_does_not_reset_the_delay_though_a_timer_is_near():
    schedule = schedule_with()
    schedule.found_nothing(100.0, 100.01)
    schedule.found_nothing(100.01, 100.02)
    schedule.found_nothing(100.02, math.inf)

    assert schedule.poll_at == pytest.approx(100.02 + 0.2)


@pytest.mark.parametrize(
    ("head_at", "wakeups", "next_at"),
    [
        (math.inf, [100.03], 100.03),
        (100.02, [100.03], 100.02),  # a wake-up only ever sets the alarm earlier
        (100.04, [100.03, 100.01, 100.02], 100.01),
        (math.inf, [107.0], 100.05),  # far ahead: the poll comes first
    ],
)
def test_a_wakeup_sets_the_alarm_and_does_not_claim(head_at, wakeups, next_at):
    schedule = schedule_with()
    schedule.found_nothing(100.0, head_at)
    for due_at in wakeups:
        schedule.ring_at(due_at)

    assert schedule.next_at == pytest.approx(next_at)


def test_a_gap_holds_back_what_is_due_but_not_for_longer():
    schedule = schedule_with()
    schedule.found(100.0, 100.001, gap=0.01)
    schedule.ring_at(100.0)

    assert schedule.next_at == pytest.approx(100.01)
    assert not schedule.is_for_alarm
    schedule.found_more()
    assert schedule.next_at == -math.inf
    schedule.found_nothing(100.02, 100.03)
    assert schedule.next_at == pytest.approx(100.03)
    assert schedule.is_for_alarm


def test_wakeups_that_may_have_been_missed_bring_a_claim_at_once():
    schedule = schedule_with()
    schedule.found_nothing(100.0, math.inf)
    schedule.poll_now()

    assert schedule.next_at == -math.inf


def test_the_delays_of_workers_are_jittered():
    schedules = [PollSchedule(1.0, 5.0, RANDOM_DRAWS.spread) for _ in range(50)]
    for schedule in schedules:
        schedule.found_nothing(0.0, math.inf)

    assert len({schedule.poll_at for schedule in schedules}) > 40
    assert all(0.5 <= schedule.poll_at <= 1.5 for schedule in schedules)


@pytest.mark.parametrize("find", ["found", "found_nothing"])
@pytest.mark.parametrize("head_at", [math.inf, 100.2, 99.0])
def test_without_heed_for_alarms_it_polls_once_in_the_longest_delay(find, head_at):
    schedule = schedule_with()
    schedule.heeds_alarms = False
    for _ in range(2):
        getattr(schedule, find)(100.0, head_at)
        assert schedule.next_at == pytest.approx(105.0)
        assert not schedule.is_for_alarm


# --- gaps between claims -----------------------------------------------------------------


def gaps(rate, seconds, gap_of, taken=math.inf):
    """Claim what comes at a steady rate, within `taken` seconds of the claim before."""
    gap, at, gaps = 0.0, 0.0, []
    while at < seconds:
        wait = max(gap, 1 / rate)
        at += wait
        came_for = min(wait, taken)
        gap = gap_of.after(at, round(rate * wait), polled_at=at, last_due=at - wait + came_for)
        gaps.append(gap)
    return gaps


@pytest.mark.parametrize(
    ("rate", "most"), [(500, 0.0), (2000, FloodGap.MOST), (20_000, FloodGap.MOST)]
)
def test_in_a_flood_claims_keep_a_gap_in_which_timers_gather(rate, most):
    assert gaps(rate, 1.0, FloodGap())[-1] == pytest.approx(most)


def test_the_gap_grows_in_steps_and_never_beyond_its_end():
    found = gaps(5000, 1.0, FloodGap())

    grown = [gap for gap in found if gap]
    assert grown[0] < 0.001
    assert all(after <= 1.5 * before for before, after in itertools.pairwise(grown))
    assert max(grown) == FloodGap.MOST


def test_where_all_come_at_the_beginning_of_a_gap_it_is_no_longer_than_that():
    # Each handler schedules the next timer: all are there after 2 ms, whatever the gap.
    found = gaps(5000, 1.0, FloodGap(), taken=0.002)

    assert found[-1] <= 0.002 + 2 * FloodGap.LEAST


def test_a_burst_in_one_claim_is_no_flood():
    gap = FloodGap()

    assert gap.after(100.0, 100, polled_at=5.0, last_due=5.0) == 0.0
    assert gap.after(100.2, 100, polled_at=5.2, last_due=5.2) == 0.0


def test_a_flood_that_has_passed_leaves_no_gap():
    gap = FloodGap()
    gaps(20_000, 1.0, gap)

    assert gap.after(1.5, 1, polled_at=1.5, last_due=1.5) == 0.0


# --- the server's clock ------------------------------------------------------------------


def test_the_server_s_time_is_taken_at_the_middle_of_a_quick_call():
    clock = ServerClock()
    assert not clock.is_set
    clock.observe(10.0, 10.008, 1_790_000_000.0)

    assert clock.is_set
    assert clock.here(1_790_000_000.0) == pytest.approx(10.004, abs=1e-6)
    assert clock.here(1_790_000_005.5) == pytest.approx(15.504, abs=1e-6)


def test_of_a_slow_first_call_the_beginning_is_taken_as_early_costs_less_than_late():
    clock = ServerClock()
    clock.observe(10.0, 13.0, 1000.0)

    assert clock.here(1001.0) == 11.0


def test_a_slow_answer_does_not_move_an_estimate_that_it_allows():
    clock = ServerClock()
    clock.observe(10.0, 10.0, 1000.0)
    clock.observe(20.0, 23.0, 1010.0)

    assert clock.here(1015.0) == 25.0


@pytest.mark.parametrize(("server_now", "here"), [(1060.0, 23.0), (950.0, 20.0)])
def test_a_slow_answer_corrects_an_estimate_that_it_disproves(server_now, here):
    clock = ServerClock()
    clock.observe(10.0, 10.0, 1000.0)
    clock.observe(20.0, 23.0, server_now)

    assert clock.here(server_now) == here


def test_the_newest_answer_counts():
    clock = ServerClock()
    clock.observe(10.0, 10.0, 1000.0)
    clock.observe(20.0, 20.0, 2000.0)

    assert clock.here(2001.0) == 21.0


# --- active waiting ----------------------------------------------------------------------


def test_a_spin_may_cost_what_was_saved_and_no_more():
    budget = SpinBudget(share=0.05, cap=0.02)
    assert budget.left(0.0) == 0.02
    budget.spend(0.015)
    assert budget.left(0.0) == pytest.approx(0.005)
    assert budget.left(0.1) == pytest.approx(0.01)
    assert budget.left(1000.0) == 0.02


def test_what_was_overspent_is_earned_again_first():
    budget = SpinBudget(share=0.05, cap=0.02)
    budget.left(0.0)
    budget.spend(0.03)

    assert budget.left(0.0) == pytest.approx(-0.01)
    assert budget.left(0.2) == pytest.approx(0.0)
    assert budget.left(0.3) == pytest.approx(0.005)


def test_however_often_it_is_asked_a_spin_costs_its_share_of_the_time():
    budget = SpinBudget(share=0.05, cap=0.02)
    spent = 0.0
    for n in range(10_000):
        left = budget.left(n / 1000)
        if left > 0.001:
            budget.spend(0.001)
            spent += 0.001

    assert spent <= 0.05 * 10.0 + 0.02


# --- outages -----------------------------------------------------------------------------


def test_pauses_double_up_to_the_ceiling_and_start_over_after_a_reply():
    backoff = Backoff(jitter=lambda: MIDDLE)
    pauses = [round(backoff.next_pause(), 9) for _ in range(7)]
    backoff.reset()

    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert backoff.next_pause() == 0.05


@pytest.mark.parametrize(("jitter", "pause"), [(0.0, 0.025), (1.0, 0.075)])
def test_each_pause_is_spread_by_half_of_itself(jitter, pause):
    assert Backoff(jitter=lambda: jitter).next_pause() == pytest.approx(pause)


# --- how early an alarm is set -------------------------------------------------------------


def test_an_alarm_clock_is_as_early_as_it_may_until_it_knows_more():
    assert AlarmClock(most=0.004, ping=0.001).early == 0.004


def test_an_alarm_clock_learns_how_long_sleeps_take():
    clock = AlarmClock(most=0.004, ping=0.001)
    for _ in range(100):
        clock.overslept(0.001)

    assert clock.early == pytest.approx(0.002, abs=1e-5)


def test_an_alarm_clock_takes_a_long_sleep_at_its_word_and_forgets_it_slowly():
    clock = AlarmClock(most=0.004, ping=0.001)
    for _ in range(100):
        clock.overslept(0.0)
    clock.overslept(0.002)
    after_one = clock.early
    clock.overslept(0.0)

    assert after_one == pytest.approx(0.003)
    assert clock.early == pytest.approx(0.0028)


def test_an_alarm_clock_is_never_earlier_than_it_may_be():
    clock = AlarmClock(most=0.004, ping=0.001)
    clock.overslept(1.0)
    after_a_stall = clock.early
    for _ in range(100):
        clock.overslept(0.0)

    assert after_a_stall == 0.004
    assert clock.early == pytest.approx(0.001, abs=1e-5)
