"""The decisions of a subscriber, told the time and the replies: no server, no event loop."""

import logging
import math
from datetime import timedelta

import pytest
from core_driver import SERVER, Driver

from faststream_redis_timers import RetryPolicy
from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.core import Done, Wait
from faststream_redis_timers.delivery.outage import Failure, FailureKind
from faststream_redis_timers.delivery.slots import Suspects
from faststream_redis_timers_sync.protocol.model import Claimed, Outcome, Step

LOST = Failure(FailureKind.LOST_REPLY, "lost")
REFUSED = Failure(FailureKind.OTHER, "refused")
FULL = Failure(FailureKind.POOL_FULL, "full")
MOVING = Failure(FailureKind.SLOT_MOVING, "moving")


def test_it_claims_as_many_as_it_has_slots_then_waits_for_the_head():
    driver = Driver(max_concurrent=3)

    call = driver.call()
    assert call.limit == 3
    assert driver.answer(call, head=SERVER + 10) == []

    turn = driver.wait()
    assert turn == Wait(until=pytest.approx(0.05), is_precise=False, listens=True)
    driver.claim(at=0.05, head=SERVER + 0.1)
    assert driver.wait() == Wait(until=pytest.approx(0.1), is_precise=True, listens=True)


def test_it_claims_at_once_while_claims_are_full():
    driver = Driver(max_concurrent=2)

    first, second = driver.claim("1", "2")

    assert driver.wait().until == math.inf
    driver.core.free_slot(first)
    assert driver.call().limit == 1
    assert second.holds_slot


def test_no_more_than_a_hundred_are_claimed_at_once():
    assert Driver(max_concurrent=1000).call().limit == 100


def test_a_commit_rides_with_a_claim_that_is_due_and_comes_alone_otherwise():
    driver = Driver(max_concurrent=2)
    (timer,) = driver.claim("1")
    driver.core.free_slot(timer)
    timer.commit_soon()

    # The claim found less than it asked for, so the next one is some time away.
    call = driver.call()
    assert driver.actions(call) == [b"commit"]
    assert call.limit == 0
    assert timer.is_settling
    driver.answer(call)
    assert timer.outcome is True


def test_a_lost_reply_is_repeated_and_gone_then_means_done():
    driver = Driver()
    (timer,) = driver.claim("1")
    timer.commit_soon()

    call = driver.call()
    assert driver.core.failed(call, LOST) == 0.0
    again = driver.call()
    assert driver.actions(again) == [b"commit"]
    driver.answer(again, outcomes=bytes([Outcome.GONE]))

    assert timer.outcome is True
    assert driver.lines == []


def test_a_refused_settlement_is_repeated_and_gone_then_means_gone():
    driver = Driver()
    (timer,) = driver.claim("1")
    timer.commit_soon()

    assert driver.core.failed(driver.call(), REFUSED) > 0.0
    driver.answer(driver.call(), outcomes=bytes([Outcome.GONE]))

    assert timer.outcome is False


def test_after_a_failed_claim_it_asks_for_nothing_until_it_is_answered():
    driver = Driver()
    pauses = [driver.core.failed(driver.call(), LOST) for _ in range(3)]
    assert pauses == pytest.approx([0.05, 0.1, 0.2])
    assert driver.core.is_away

    question = driver.call()
    assert (question.limit, question.settlements) == (0, [])
    driver.answer(question)
    assert driver.core.is_away
    driver.claim()

    assert not driver.core.is_away
    assert [level for level, _ in driver.lines] == [logging.ERROR, logging.INFO]


@pytest.mark.parametrize("failure", [FULL, MOVING], ids=["full pool", "moving slot"])
def test_what_delays_timers_is_no_outage(failure):
    driver = Driver()
    for _ in range(3):
        assert driver.core.failed(driver.call(), failure) > 0

    assert not driver.core.is_away
    assert driver.call().limit > 0
    assert [level for level, _ in driver.lines] == [logging.WARNING]


def test_a_torn_topic_is_told_of_once_and_polled_for_at_growing_intervals():
    driver = Driver(polling_interval=1.0, max_polling_interval=8.0)
    driver.claim(is_torn=True)
    intervals = []
    for _ in range(6):
        until = driver.wait().until
        intervals.append(until - driver.time)
        driver.claim(at=until, is_torn=True)

    assert intervals == pytest.approx([1.0, 2.0, 4.0, 8.0, 8.0, 8.0])
    assert not driver.core.is_away
    ((level, line),) = driver.lines
    assert level == logging.ERROR
    assert line == words.torn("orders")


def test_it_is_told_of_when_the_topic_is_whole_and_when_it_is_torn_again():
    driver = Driver(max_concurrent=1)
    driver.claim(is_torn=True)
    (timer,) = driver.claim("1", at=1.0)
    driver.core.free_slot(timer)
    timer.commit_soon()
    # What it settles is as usual; a call that claims nothing tells nothing.
    settling = driver.call()
    assert driver.actions(settling) == [b"commit"]
    driver.answer(settling, is_torn=settling.limit > 0)
    assert timer.outcome is True
    driver.claim(at=100.0, is_torn=True)

    assert [level for level, _ in driver.lines] == [logging.ERROR, logging.INFO, logging.ERROR]
    assert driver.lines[1][1] == words.no_longer_torn("orders")


@pytest.mark.parametrize("sent_at", [-1.0, 0.0, 1.0])
def test_a_wake_up_sets_the_alarm_unless_it_is_older_than_the_last_claim(sent_at):
    driver = Driver(polling_interval=100.0, max_polling_interval=100.0)
    driver.claim()
    until = driver.wait().until

    driver.core.wake(SERVER + sent_at, SERVER + 5)

    is_news = sent_at >= 0
    assert driver.stirred == is_news
    assert driver.wait().until == pytest.approx(5.0 if is_news else until)


def test_a_wake_up_that_overtakes_the_reply_to_a_claim_counts():
    driver = Driver(polling_interval=100.0, max_polling_interval=100.0)
    driver.claim()
    driver.core.poll_now()
    call = driver.call(at=50.0)
    driver.core.wake(SERVER + 50.5, SERVER + 51)
    driver.answer(call)

    assert driver.wait().until == pytest.approx(51.0)


def test_leases_are_renewed_a_third_of_a_lease_after_handlers_begin_and_each_third_on():
    driver = Driver(renew_lease=True, max_concurrent=1)
    driver.claim(at=0.0)
    (timer,) = driver.claim("1", at=3.0)

    for moment in (13.0, 23.0, 33.0):
        assert driver.wait().until == pytest.approx(moment)
        call = driver.call(at=moment)
        assert driver.actions(call) == [b"renew"]
        driver.answer(call)
        assert timer.lease_ends_at == pytest.approx(moment + 30, abs=0.02)

    driver.core.ended(timer)
    driver.claim(at=43.0)
    assert driver.wait().until < 44.0


def test_a_renewal_that_waits_in_an_outage_asks_for_a_lease_that_begins_now():
    driver = Driver(renew_lease=True, max_concurrent=1)
    (timer,) = driver.claim("1")
    for moment in (10.0, 20.0, 30.0):
        driver.core.failed(driver.call(at=moment), REFUSED)

    call = driver.call(at=31.0)
    (renewal,) = call.settlements
    assert renewal.detail == b"%.6f5" % (SERVER + 60 + 7e-6)
    # That of the claim and the latest one: the others never arrived.
    assert timer.leases == (timer.claim.lease, renewal.detail)


def test_past_max_lease_a_lease_is_no_longer_renewed():
    driver = Driver(renew_lease=True, max_lease=30.0, max_concurrent=1)
    driver.claim("1")
    for moment in (10.0, 20.0):
        driver.answer(driver.call(at=moment))
    driver.wait(at=30.0)

    ((level, line),) = driver.lines
    assert level == logging.ERROR
    assert "max_lease" in line
    assert driver.wait(at=40.0).until == math.inf


def test_a_timer_that_is_claimed_again_while_it_runs_is_renewed_by_that():
    driver = Driver(max_concurrent=2)
    (timer,) = driver.claim("1")

    # Its lease has ended, so the next claim renews it first; the claim leases it all the same.
    call = driver.call(at=31.0)
    assert driver.actions(call) == [b"renew"]
    begun = driver.answer(
        call, "1", score=timer.claim.lease, outcomes=bytes([Outcome.LEASED_AGAIN])
    )

    assert begun == []
    assert not timer.lease_ended


def test_another_worker_s_claim_of_a_timer_that_outlived_its_lease_is_told():
    driver = Driver(max_concurrent=1)
    (timer,) = driver.claim("1")
    driver.time = 31.0
    timer.commit_soon()
    driver.answer(driver.call(), outcomes=bytes([Outcome.LEASED_AGAIN]))

    assert timer.outcome is False
    ((level, line),) = driver.lines
    assert level == logging.WARNING
    assert "outlived its lease and was claimed by another worker" in line


def test_one_suspect_runs_at_a_time_over_all_subscribers_that_count_attempts():
    suspects = Suspects()
    policy = RetryPolicy(delay=timedelta(seconds=1))
    one, other = (Driver(policy, suspects, max_concurrent=3, max_lease=100.0) for _ in range(2))

    def suspected(driver):
        call = driver.call()
        now = SERVER + driver.time
        claimed = Claimed(b"1", b"x", b"%.6f5" % (now - 1), attempt=4, first_due=b"%.6f" % now)
        step = Step(now, b"%.6f5" % (now + 30), None, b"", [claimed], [])
        return driver.core.answered(call, step, driver.time, driver.time)

    (timer,) = suspected(one)
    assert suspected(other) == []
    assert driver_releases(other)

    stirred = other.stirred
    one.core.ended(timer)
    assert other.stirred == stirred + 1


def driver_releases(driver):
    call = driver.call()
    return driver.actions(call) == [b"release"]


def test_a_suspect_that_hangs_keeps_others_back_for_max_lease_at_most():
    suspects = Suspects()
    driver = Driver(RetryPolicy(), suspects, max_concurrent=1, max_lease=100.0)
    call = driver.call()
    claimed = Claimed(b"1", b"x", b"%.6f5" % (SERVER - 1), attempt=4, first_due=b"%.6f" % SERVER)
    driver.core.answered(call, Step(SERVER, b"1.0000005", None, b"", [claimed], []), 0.0, 0.0)
    assert suspects.is_running

    assert driver.wait().until == pytest.approx(100.0)
    driver.wait(at=100.0)

    assert not suspects.is_running


def test_an_entry_without_payload_is_told_and_one_that_can_t_be_read_is_removed():
    driver = Driver()
    begun = driver.claim(
        "\udc80".encode("utf-8", "surrogateescape").decode("latin1"), orphans=[b"2"]
    )
    assert len(begun) == 1
    assert "timer '2' of topic 'orders' had no payload" in driver.lines[0][1]

    call = driver.call(at=1.0)
    now = SERVER + driver.time
    step = Step(now, b"1.0000005", None, b"", [Claimed(b"\xff", b"x", b"%.6f" % now)], [])
    assert driver.core.answered(call, step, 1.0, 1.0) == []
    assert driver.actions(driver.call()) == [b"commit"]


def test_it_is_done_when_it_is_closed_and_all_handlers_have_ended_and_all_is_settled():
    driver = Driver(max_concurrent=2)
    first, second = driver.claim("1", "2")
    driver.core.drain()
    assert not driver.wait().listens
    driver.core.close()
    assert isinstance(driver.next(), Wait)

    for timer in (first, second):
        timer.commit_soon()
        driver.core.ended(timer)
    call = driver.call()
    assert driver.actions(call) == [b"commit", b"commit"]
    driver.answer(call)

    assert driver.next() == Done()


def test_what_is_left_at_the_end_is_logged_and_nothing_is_accepted_after_it():
    driver = Driver(max_concurrent=2)
    first, second = driver.claim("1", "2")
    first.commit_soon()
    driver.core.end()
    second.commit_soon()

    assert (first.outcome, second.outcome) == (False, False)
    assert [level for level, _ in driver.lines] == [logging.ERROR, logging.WARNING]


def test_callers_are_slots_and_take_them_along():
    driver = Driver(slots=0)
    assert driver.wait().until == math.inf

    driver.core.add_slot()
    (timer,) = driver.claim("1")
    driver.core.hand_over(timer)
    assert driver.wait().until == math.inf

    driver.core.add_slot()
    driver.core.remove_slot()
    assert driver.wait().until == math.inf
