"""Which workers are on duty, by tables: no clock, no server."""

import pytest

from faststream_redis_timers.delivery.duty import (
    NEVER,
    Call,
    ClaimResult,
    Duty,
    Missing,
    Post,
    Roster,
)

ON_DUTY, IN_RESERVE, AWAY = Post

SLOTS = 5

NOBODY = Missing(0, 0.0)

EMPTY = ClaimResult(found=0, free=SLOTS, overdue=0.0, is_outrun=False, is_more_due=False)
OUTRUN = EMPTY._replace(is_outrun=True)
ONE = EMPTY._replace(found=1, free=SLOTS - 1)
ALL = EMPTY._replace(found=SLOTS, free=0)

LIKELY, UNLIKELY = 0.0, 1.0
"""What is drawn, so that whatever is possible happens, or does not."""


def many(on_duty):
    """Count a fleet that is not small."""
    return Roster(on_duty, 30)


def duty_at(post, *, draw=UNLIKELY, trusted=True, holders=3):
    """Make a duty at a post, of a worker whose handlers have let the event loop turn."""
    duty = Duty(holders, SLOTS, lambda: draw)
    if trusted:
        duty.ended(SLOTS)
    duty.claimed(EMPTY, many(0 if post is ON_DUTY else 99), 0.0)
    if post is AWAY:
        duty.claimed(ALL, many(99), 0.0)
    assert duty.post is post
    return duty


# --- who goes on duty


def test_before_its_first_claim_was_answered_a_worker_hears_nothing():
    assert Duty(3, SLOTS, lambda: LIKELY).post is AWAY


@pytest.mark.parametrize(
    ("on_duty", "post"), [(0, ON_DUTY), (2, ON_DUTY), (3, IN_RESERVE), (30, IN_RESERVE)]
)
@pytest.mark.parametrize("before", [None, IN_RESERVE])
def test_who_finds_nothing_goes_on_duty_where_too_few_are(before, on_duty, post):
    duty = Duty(3, SLOTS, lambda: UNLIKELY) if before is None else duty_at(before)
    duty.claimed(EMPTY, many(on_duty), 1.0)

    assert duty.post is post


@pytest.mark.parametrize(("workers", "post"), [(1, ON_DUTY), (8, ON_DUTY), (9, IN_RESERVE)])
@pytest.mark.parametrize("before", [IN_RESERVE, AWAY])
def test_in_a_small_fleet_all_are_on_duty(before, workers, post):
    duty = duty_at(before)
    duty.ended(SLOTS)
    duty.claimed(EMPTY, Roster(8, workers), 1.0)

    assert duty.post is post


@pytest.mark.parametrize("look", [ONE, ALL, OUTRUN])
def test_in_a_small_fleet_they_stay_whatever_happens(look):
    duty = duty_at(ON_DUTY, draw=LIKELY, trusted=False)
    duty.claimed(look, Roster(8, 8), 1.0)
    duty.turned(2.0, look.free)

    assert duty.post is ON_DUTY
    assert duty.call(1.0) == NEVER


# --- who leaves since there are too many


@pytest.mark.parametrize(
    ("on_duty", "draw", "post"),
    [
        (3, LIKELY, ON_DUTY),  # nobody is to spare
        (1, LIKELY, ON_DUTY),
        (0, LIKELY, ON_DUTY),  # its own command is on its way
        (4, 1 / 33, IN_RESERVE),  # one of four, in eight races
        (4, 1 / 31, ON_DUTY),
        (11, 1 / 12, IN_RESERVE),  # eight of eleven, in eight races
        (11, 1 / 10, ON_DUTY),
        (1003, 0.12, IN_RESERVE),
        (1003, 0.13, ON_DUTY),
    ],
)
def test_who_loses_a_race_leaves_by_chance_where_others_are_to_spare(on_duty, draw, post):
    duty = duty_at(ON_DUTY, draw=draw)
    duty.claimed(OUTRUN, many(on_duty), 1.0)

    assert duty.post is post


@pytest.mark.parametrize("look", [EMPTY, ONE])
def test_who_loses_no_race_stays(look):
    duty = duty_at(ON_DUTY, draw=LIKELY)
    duty.claimed(look, many(99), 1.0)

    assert duty.post is ON_DUTY


# --- where the server does not know how many there are


@pytest.mark.parametrize("workers", [30, None])
@pytest.mark.parametrize(
    ("before", "post"), [(None, IN_RESERVE), (IN_RESERVE, IN_RESERVE), (ON_DUTY, ON_DUTY)]
)
def test_where_those_on_duty_are_not_known_nobody_leaves_or_comes(before, post, workers):
    duty = Duty(3, SLOTS, lambda: LIKELY) if before is None else duty_at(before, draw=LIKELY)
    duty.claimed(OUTRUN, Roster(None, workers), 1.0)

    assert duty.post is post


@pytest.mark.parametrize("on_duty", [5, None])
@pytest.mark.parametrize(("workers", "post"), [(8, ON_DUTY), (9, IN_RESERVE)])
def test_where_the_fleet_is_not_known_it_is_as_large_as_before(workers, post, on_duty):
    duty = duty_at(ON_DUTY, draw=LIKELY)
    duty.claimed(EMPTY, Roster(8, workers), 1.0)
    duty.claimed(OUTRUN, Roster(on_duty, None), 2.0)
    duty.claimed(OUTRUN, Roster(99, None), 3.0)

    assert duty.post is post


def test_what_was_left_lying_by_an_unknown_number_brings_one_on_duty_too():
    duty = with_ghosts(3)
    duty.claimed(OUTRUN, many(99), 2.0)
    for _ in range(2):
        duty.post = IN_RESERVE
        duty.claimed(ONE._replace(overdue=1.0), Roster(None, 30), 3.0)
        assert duty.post is ON_DUTY

    assert duty.call(3.0).missing == Missing(3, 298.0)


# --- who leaves since it has work


@pytest.mark.parametrize(
    ("trusted", "look", "post"),
    [(True, ONE, ON_DUTY), (True, ALL, AWAY), (False, ONE, AWAY), (False, ALL, AWAY)],
)
def test_who_has_work_stays_where_it_can_be_heard(trusted, look, post):
    duty = duty_at(ON_DUTY, trusted=trusted)
    duty.claimed(look, many(3), 1.0)

    assert duty.post is post


def test_who_left_for_work_returns_to_the_reserve_when_its_loop_turns():
    duty = duty_at(ON_DUTY, trusted=False)
    duty.claimed(ONE, many(3), 1.0)
    duty.turned(0.0, SLOTS - 1)

    assert duty.post is IN_RESERVE


def test_who_is_full_returns_when_it_has_a_slot():
    duty = duty_at(ON_DUTY)
    duty.claimed(ALL, many(3), 1.0)
    duty.turned(0.0, 0)
    assert duty.post is AWAY
    duty.ended(1)

    assert duty.post is IN_RESERVE


@pytest.mark.parametrize(("seconds", "post"), [(0.005, ON_DUTY), (0.0051, AWAY)])
def test_a_handler_that_kept_the_event_loop_makes_it_leave_for_those_that_follow(seconds, post):
    duty = duty_at(ON_DUTY)
    duty.turned(seconds, SLOTS)
    duty.claimed(ONE, many(3), 1.0)

    assert duty.post is post


def test_after_a_hundred_handlers_that_did_not_it_is_trusted_again():
    duty = duty_at(ON_DUTY)
    duty.turned(2.0, SLOTS)
    for _ in range(99):
        duty.ended(SLOTS)
    assert duty.call(1.0).least == 4
    duty.ended(SLOTS)
    assert duty.call(1.0).least == 3


# --- ghosts


@pytest.mark.parametrize(
    ("look", "post"),
    [
        (ONE._replace(overdue=0.05), IN_RESERVE),  # those on duty are on their way
        (ONE._replace(overdue=0.051), ON_DUTY),
        (ONE._replace(overdue=1.0, is_more_due=True), ON_DUTY),
        (ALL._replace(overdue=1.0), AWAY),
    ],
)
def test_who_finds_a_timer_in_reserve_that_was_left_lying_goes_on_duty(look, post):
    duty = duty_at(IN_RESERVE)
    duty.claimed(look, many(3), 1.0)

    assert duty.post is post


@pytest.mark.parametrize(("overdue", "post"), [(0.54, IN_RESERVE), (0.56, ON_DUTY)])
def test_a_timer_was_not_left_lying_while_those_on_duty_wait_for_others(overdue, post):
    duty = Duty(3, SLOTS, lambda: UNLIKELY, max_wait=0.5)
    duty.ended(SLOTS)
    duty.claimed(EMPTY, many(99), 0.0)
    duty.claimed(ONE._replace(overdue=overdue), many(3), 1.0)

    assert duty.post is post


def test_if_that_made_it_full_it_goes_on_duty_when_it_has_a_slot():
    duty = duty_at(IN_RESERVE)
    duty.claimed(ALL._replace(overdue=1.0), many(3), 1.0)
    duty.ended(1)

    assert duty.post is ON_DUTY


@pytest.mark.parametrize("is_more_due", [True, False])
def test_it_learns_who_is_missing_even_if_it_leaves_timers(is_more_due):
    duty = duty_at(IN_RESERVE)
    duty.claimed(ONE._replace(overdue=1.0, is_more_due=is_more_due), many(3), 1.0)

    assert duty.call(1.0).missing == Missing(3, 300.0)


@pytest.mark.parametrize(
    ("before", "on_duty"),
    [
        (ONE, 3),  # it knows of the backlog, since it takes part
        (EMPTY, 7),  # all these have a free slot, and may be on their way
        (EMPTY, None),
    ],
)
def test_from_a_backlog_it_learns_nothing(before, on_duty):
    duty = duty_at(IN_RESERVE)
    duty.claimed(before, many(99), 1.0)
    duty.claimed(ONE._replace(overdue=1.0, is_more_due=True), many(on_duty), 2.0)

    assert duty.post is IN_RESERVE
    assert duty.call(2.0).missing == NOBODY


@pytest.mark.parametrize("before", [None, ON_DUTY])
def test_who_was_not_in_reserve_learns_nothing_from_it(before):
    duty = Duty(3, SLOTS, lambda: UNLIKELY) if before is None else duty_at(before)
    duty.claimed(ONE._replace(overdue=1.0), many(3), 1.0)

    assert duty.call(1.0).missing == NOBODY


def with_ghosts(count, *, draw=UNLIKELY):
    """Make the duty of a worker that has found at 1.0 that so many are not there."""
    duty = duty_at(IN_RESERVE, draw=draw)
    duty.claimed(ONE._replace(overdue=1.0), many(count), 1.0)
    return duty


@pytest.mark.parametrize(("now", "wanted"), [(1.0, 6), (300.9, 6), (301.0, 3)])
def test_those_who_were_not_there_are_not_counted_on_for_five_minutes(now, wanted):
    assert with_ghosts(3).call(now).least == wanted


@pytest.mark.parametrize(("on_duty", "post"), [(6, ON_DUTY), (7, IN_RESERVE)])
def test_who_loses_a_race_stays_until_there_are_enough_beside_ghosts(on_duty, post):
    duty = with_ghosts(3, draw=LIKELY)
    duty.claimed(OUTRUN, many(on_duty), 2.0)

    assert duty.post is post


# --- calls for help


@pytest.mark.parametrize(
    ("post", "trusted", "call"),
    [
        (ON_DUTY, True, Call(3, 4, SLOTS, NOBODY)),  # full, it will leave
        (ON_DUTY, False, Call(4, 4, SLOTS, NOBODY)),  # it will leave for any timer
        (IN_RESERVE, True, Call(3, 3, SLOTS, NOBODY)),  # it is not counted
        (IN_RESERVE, False, Call(3, 3, SLOTS, NOBODY)),
    ],
)
def test_a_claim_calls_for_those_who_are_missing_when_it_is_over(post, trusted, call):
    assert duty_at(post, trusted=trusted).call(1.0) == call


@pytest.mark.parametrize(("look", "slots"), [(ALL, SLOTS), (ALL._replace(is_more_due=True), 0)])
def test_who_has_called_for_what_it_left_does_not_at_once_do_so_again(look, slots):
    duty = duty_at(ON_DUTY)
    duty.claimed(look, many(3), 1.0)

    assert duty.call(1.0099).slots == slots
    assert duty.call(1.0101).slots == SLOTS


@pytest.mark.parametrize(("draw", "post"), [(0.49, ON_DUTY), (0.5, IN_RESERVE)])
def test_of_those_who_hear_a_call_a_share_comes(draw, post):
    duty = duty_at(IN_RESERVE, draw=draw)
    duty.called(0.5, NOBODY, 1.0)

    assert duty.post is post


@pytest.mark.parametrize("post", [ON_DUTY, AWAY])
def test_who_is_not_in_reserve_ignores_a_call(post):
    duty = duty_at(post, draw=LIKELY)
    duty.called(1.0, Missing(3, 100.0), 1.0)

    assert duty.post is post
    assert duty.call(1.0).missing == NOBODY


def test_who_was_called_does_not_at_once_call_for_what_it_leaves():
    duty = duty_at(IN_RESERVE, draw=LIKELY)
    duty.called(1.0, NOBODY, 1.0)

    assert duty.call(1.0099).slots == 0
    assert duty.call(1.0101).slots == SLOTS


def test_who_was_called_knows_of_ghosts_for_as_long_as_its_caller():
    caller, called = with_ghosts(3), duty_at(IN_RESERVE, draw=LIKELY)
    called.called(1.0, caller.call(101.0).missing, 1001.0)

    assert called.call(1001.0).missing == Missing(3, 200.0)
    assert called.call(1201.0).missing == NOBODY


@pytest.mark.parametrize(("told", "kept"), [(Missing(1, 10.0), 3), (Missing(5, 400.0), 5)])
def test_what_is_to_be_believed_for_longer_counts(told, kept):
    duty = with_ghosts(3, draw=LIKELY)
    duty.claimed(OUTRUN, many(99), 1.0)
    assert duty.post is IN_RESERVE
    duty.called(1.0, told, 1.0)

    assert duty.call(1.0).missing.workers == kept
