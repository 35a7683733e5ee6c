"""What an agenda makes of claims where others may answer alarms: no clock, no server."""

import math

import pytest

from faststream_redis_timers.delivery.agenda import Agenda
from faststream_redis_timers_sync.protocol.model import Claimed, Step

WAY = 0.0001
"""Seconds to the server, and back."""

AHEAD = 1000.0
"""Seconds by which the server's clock is ahead."""


def step_at(server_now, head=None, found=0, orphans=0):
    claimed = [Claimed(b"id", b"", str(server_now).encode())] * found
    return Step(server_now, b"", head, b"", claimed, [b"id"] * orphans)


def claim(agenda, sent_at, limit=5, **reply):
    """Claim, and give the reply; times are those of the worker."""
    agenda.calling(is_claim=True)
    if "head" in reply:
        reply["head"] += AHEAD
    step = step_at(sent_at + WAY + AHEAD, **reply)
    agenda.answered(sent_at, sent_at + 2 * WAY, step.now)
    outrun = agenda.is_outrun(step)
    agenda.claimed(step, limit, sent_at + 2 * WAY)
    return outrun


@pytest.fixture
def agenda():
    """Give one that knows that a timer is due at 20."""
    agenda = Agenda(0.05, 5.0, lambda: 0.5)
    agenda.calling(is_claim=True)
    claim(agenda, 10.0, head=20.0)
    for now in (11.0, 13.0, 16.0, 17.0, 18.0, 19.0, 19.5):
        claim(agenda, now, head=20.0)
    assert agenda.is_for_alarm
    return agenda


def test_a_claim_at_an_alarm_that_finds_nothing_was_outrun(agenda):
    assert claim(agenda, 20.0, head=30.0)


def test_also_where_no_timer_is_left(agenda):
    assert claim(agenda, 20.0)


@pytest.mark.parametrize("found", [{"found": 1}, {"orphans": 1}])
def test_one_that_finds_something_was_not(agenda, found):
    assert not claim(agenda, 20.0, **found)


def test_one_that_comes_before_the_timer_is_due_was_only_early(agenda):
    assert not claim(agenda, 20.0 - 3 * WAY, head=20.0)


def test_a_poll_is_never_outrun(agenda):
    agenda.poll_now()
    assert not claim(agenda, 20.0, head=30.0)


def test_what_settles_between_does_not_hide_what_the_claim_was_for(agenda):
    agenda.calling(is_claim=True)
    agenda.calling(is_claim=False)
    assert agenda.is_outrun(step_at(20.1 + AHEAD))


def test_who_leaves_alarms_to_others_polls_as_seldom_as_it_may():
    agenda = Agenda(0.05, 5.0, lambda: 0.5)
    agenda.heeds_alarms = False
    claim(agenda, 10.0, head=12.0)

    assert agenda.next_at == pytest.approx(15.0, abs=0.001)
    assert not agenda.is_for_alarm


def test_a_wake_up_that_comes_late_does_not_make_it_claim():
    agenda = Agenda(0.05, 5.0, lambda: 0.5)
    agenda.heeds_alarms = False
    claim(agenda, 10.0)
    agenda.wake(10.5 + AHEAD, 10.5 + AHEAD)

    assert agenda.next_at == pytest.approx(15.0, abs=0.001)


def test_it_knows_the_next_alarm_when_it_is_to_heed_them_again():
    agenda = Agenda(0.05, 5.0, lambda: 0.5)
    agenda.heeds_alarms = False
    claim(agenda, 10.0, head=12.0)
    agenda.heeds_alarms = True

    assert agenda.next_at == pytest.approx(12.0, abs=0.001)
    assert agenda.is_for_alarm


def test_where_more_may_be_due_it_claims_at_once_all_the_same():
    agenda = Agenda(0.05, 5.0, lambda: 0.5)
    agenda.heeds_alarms = False
    claim(agenda, 10.0, limit=1, found=1)

    assert agenda.next_at == -math.inf
