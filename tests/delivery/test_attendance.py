"""What the core tells the rule of a fleet, and how it carries out what that decides."""

import logging

import pytest
from bench import NO_POLLS
from core_driver import SERVER, Driver

from faststream_redis_timers.delivery.attendance import Channels
from faststream_redis_timers.delivery.duty import Call, Duty, Missing, Post
from faststream_redis_timers.delivery.slots import BatchSlots, Slots
from faststream_redis_timers.schemas import TimerSub

FLEET = (3, 20)
"""Three on duty, of twenty workers."""

CALL = 7
"""Where a step has what it is to call for."""


class Draws:
    """Gives the number that a test has set."""

    def __init__(self):
        self.next = 1.0

    def __call__(self):
        return self.next


def driver_at(post):
    """Make a driver of a worker of a fleet that is at a post, and has found nothing so far."""
    driver = Driver(duty=Duty(3, 5, Draws()), polling_interval=60.0, max_polling_interval=60.0)
    driver.claim(at=0.0, roster=(2, 20) if post is Post.ON_DUTY else FLEET)
    assert driver.posts == [post]
    driver.posts.clear()
    return driver


def claim(driver, *ids, at, **reply):
    """Claim after a wake-up for timers that are due."""
    driver.core.poll_now()
    return driver.claim(*ids, at=at, roster=FLEET, **reply)


def trusted(post):
    """Make a driver whose handlers have let the event loop turn."""
    driver = driver_at(post)
    (timer,) = claim(driver, "first", at=1.0)
    driver.wait(1.001)
    driver.core.ended(timer)
    if post is Post.ON_DUTY:
        come(driver, at=1.002)
    driver.posts.clear()
    return driver


def come(driver, at):
    """Call a worker of the reserve, which comes."""
    driver.core.attendance.called(2.0, Missing(0, 0.0), at)
    assert driver.posts[-1:] == [Post.ON_DUTY]


def test_it_begins_away_and_goes_where_the_first_reply_sends_it():
    driver = Driver(duty=Duty(3, 5, Draws()))
    assert driver.core.attendance.post is Post.AWAY
    assert driver.call().limit == 5
    for post in (Post.ON_DUTY, Post.IN_RESERVE):
        driver_at(post)


@pytest.mark.parametrize("slots", [None, 0, 3])
def test_without_a_rule_it_is_on_duty_and_asks_for_nothing(slots):
    driver = Driver(slots=slots)
    assert driver.core.attendance.post is Post.ON_DUTY
    driver.core.add_slot()
    call = driver.call()
    assert call.operation.args[CALL] == b""
    driver.answer(call, "a")
    assert driver.posts == []


def test_a_claim_asks_as_the_rule_says_and_a_call_that_only_settles_for_nothing():
    driver = driver_at(Post.ON_DUTY)
    driver.core.poll_now()
    call = driver.call(1.0)
    # It would leave for its first handler.
    assert call.operation.args[CALL] == b"4 4 5 0 0.0"
    (timer,) = driver.answer(call, "a", roster=FLEET)
    driver.core.drain()
    timer.commit_soon()
    call = driver.call(1.1)
    assert (call.limit, call.operation.args[CALL]) == (0, b"")
    driver.answer(call)


def test_a_call_is_written_as_the_script_has_it():
    assert Call(3, 4, 5, Missing(2, 298.54321)).packed() == b"3 4 5 2 298.5"
    assert Call(3 + True, 4, 0, Missing(0, 0.0)).packed() == b"4 4 0 0 0.0"


def test_who_has_work_is_away_until_the_event_loop_turns():
    driver = driver_at(Post.ON_DUTY)
    claim(driver, "a", at=1.0)
    assert driver.posts == [Post.AWAY]
    driver.wait(1.001)
    assert driver.posts == [Post.AWAY, Post.IN_RESERVE]


def test_who_has_no_free_slot_is_away_until_a_handler_ends():
    driver = trusted(Post.ON_DUTY)
    timers = claim(driver, *"abcde", at=2.0)
    assert driver.posts == [Post.AWAY]
    driver.wait(2.001)
    assert driver.posts == [Post.AWAY]
    driver.core.free_slot(timers[0])
    assert driver.posts == [Post.AWAY, Post.IN_RESERVE]
    # Only the end of a handler that has its slot counts.
    driver.core.ended(timers[0])
    assert driver.posts == [Post.AWAY, Post.IN_RESERVE]


def test_who_has_shown_that_the_event_loop_turns_stays_on_duty():
    driver = trusted(Post.ON_DUTY)
    for n in range(2, 5):
        (timer,) = claim(driver, f"{n}", at=float(n))
        driver.wait(n + 0.001)
        driver.core.ended(timer)
    assert driver.posts == []


@pytest.mark.parametrize("when", ["at its start", "later"])
def test_who_stalls_the_event_loop_is_not_trusted_for_a_while(when):
    driver = trusted(Post.ON_DUTY)
    (timer,) = claim(driver, "a", at=2.0)
    if when == "at its start":
        driver.wait(2.5)
    else:
        driver.wait(2.001)
        driver.core.attendance.stalled(0.5)
    driver.core.ended(timer)
    assert driver.posts == []
    for n in range(Duty.PROBATION - 1):
        come(driver, at=3.0 + n) if driver.core.attendance.post is Post.IN_RESERVE else None
        (timer,) = claim(driver, f"{n}", at=3.0 + n)
        assert driver.core.attendance.post is Post.AWAY
        driver.wait(3.001 + n)
        driver.core.ended(timer)
    come(driver, at=200.0)
    driver.posts.clear()
    claim(driver, "b", at=201.0)
    assert driver.posts == []


def test_in_reserve_it_claims_when_it_polls_and_not_when_a_timer_is_due():
    driver = driver_at(Post.IN_RESERVE)
    driver.core.wake(SERVER + 1, SERVER + 1)
    assert driver.wait(2.0).until == 60.0
    driver.core.attendance._duty._draw.next = 0.0
    stirred = driver.stirred
    come(driver, at=2.0)
    # It has been told of one that is due.
    assert driver.stirred > stirred
    assert driver.call(2.0).limit == 5


def test_who_was_outrun_leaves_where_there_are_too_many():
    driver = driver_at(Post.ON_DUTY)
    driver.core.wake(SERVER + 1, SERVER + 1)
    driver.core.attendance._duty._draw.next = 0.0
    driver.claim(at=1.1, roster=(4, 20))
    assert driver.posts == [Post.IN_RESERVE]


def test_who_only_polled_was_not_outrun():
    driver = driver_at(Post.ON_DUTY)
    driver.core.poll_now()
    driver.core.attendance._duty._draw.next = 0.0
    driver.claim(at=1.1, roster=(4, 20))
    assert driver.posts == []


def test_in_reserve_a_lease_that_was_lost_says_nothing_of_others():
    driver = driver_at(Post.IN_RESERVE)
    scores = {"a": b"%.6f5" % (SERVER + 0.5), "b": b"%.6f" % (SERVER + 0.99)}
    claim(driver, "a", "b", at=1.0, score=scores)
    driver.wait(1.001)
    assert driver.posts == [Post.AWAY, Post.IN_RESERVE]


def test_in_reserve_a_timer_that_was_left_lying_shows_that_somebody_is_missing():
    driver = driver_at(Post.IN_RESERVE)
    # It has been due for a second.
    claim(driver, "a", at=1.0)
    driver.wait(1.001)
    assert driver.posts == [Post.AWAY, Post.ON_DUTY]
    driver.core.poll_now()
    assert driver.call(2.0).operation.args[CALL] == b"7 7 5 3 299.0"


def test_timers_that_are_left_call_for_nobody_a_second_time_at_once():
    driver = driver_at(Post.ON_DUTY)
    claim(driver, *"abcd", at=1.0, head=SERVER)
    driver.core.poll_now()
    assert driver.call(1.001).operation.args[CALL].split()[2] == b"0"


def test_where_counting_is_refused_it_is_on_duty_for_good_and_says_so_once():
    driver = Driver(duty=Duty(3, 5, Draws()))
    driver.claim(at=0.0)
    assert driver.posts == [Post.ON_DUTY]
    driver.core.poll_now()
    call = driver.call(1.0)
    assert call.operation.args[CALL] == b""
    driver.answer(call, "a")
    driver.next(1.1)
    driver.core.attendance.called(1.0, Missing(0, 0.0), 1.2)
    driver.core.attendance.stalled(1.0)
    assert driver.posts == [Post.ON_DUTY]
    ((level, line),) = driver.lines
    assert level == logging.WARNING
    assert line.startswith("workers of topic 'orders' can't be counted, ")


def test_where_the_server_knows_no_number_all_stay_where_they_are():
    driver = driver_at(Post.ON_DUTY)
    driver.core.poll_now()
    driver.claim(at=1.0, roster=(None, None))
    assert driver.posts == []
    assert driver.call(61.0).operation.args[CALL] == b"4 4 5 0 0.0"
    assert driver.lines == []


def test_where_a_channel_is_refused_it_is_on_duty_for_good():
    driver = driver_at(Post.IN_RESERVE)
    driver.core.attendance.be_always_on_duty()
    assert driver.posts == [Post.ON_DUTY]
    driver.core.poll_now()
    call = driver.call(1.0)
    assert call.operation.args[CALL] == b""
    # It was sent before.
    driver.answer(call, "a", roster=FLEET)
    assert driver.posts == [Post.ON_DUTY]


def test_a_batch_takes_one_slot():
    def poll_now():
        raise AssertionError

    assert [BatchSlots(2, 50, None, poll_now).free_after(n) for n in (0, 1, 50)] == [2, 1, 1]
    assert [Slots(5, None, poll_now).free_after(n) for n in (0, 1, 5)] == [5, 4, 0]
    assert TimerSub(topic="a", batch=True, max_records=50, max_concurrent=2).most_running == 100
    assert TimerSub(topic="a").most_running == 5


@pytest.mark.parametrize(
    ("options", "call"),
    [
        # Any batch takes the only slot: it leaves, and who is to come is missing one more.
        ({"batch": True}, b"4 4 100 0 0.0"),
        # No batch takes both.
        ({"batch": True, "max_concurrent": 2}, b"3 3 200 0 0.0"),
        ({"max_concurrent": 2}, b"3 4 2 0 0.0"),
        ({"max_concurrent": 1}, b"4 4 1 0 0.0"),
        # One claim takes a hundred at most.
        ({"max_concurrent": 101}, b"3 3 101 0 0.0"),
    ],
)
def test_who_will_have_no_slot_left_calls_for_one_more(options, call):
    sub = TimerSub(topic="a", **options)
    driver = Driver(duty=Duty(3, sub.most_running, Draws()), **options)
    driver.claim(at=0.0, roster=(2, 20))
    (unit,) = claim(driver, "first", at=1.0)
    driver.wait(1.001)
    driver.core.ended(unit)
    come(driver, at=1.002)
    driver.core.poll_now()

    assert driver.call(2.0).operation.args[CALL] == call


def test_the_channels_of_each_post():
    channels = Channels(b"wake-ups", b"help", b"workers")
    assert set(channels.at(Post.ON_DUTY)) == {b"wake-ups", b"workers"}
    assert set(channels.at(Post.IN_RESERVE)) == {b"help", b"workers"}
    assert channels.at(Post.AWAY) == (b"workers",)
    assert {Channels(b"wake-ups").at(post) for post in Post} == {(b"wake-ups",)}


@pytest.mark.parametrize("batch", [True, False])
def test_who_was_away_polls_when_a_handler_has_ended(batch):
    """What was scheduled meanwhile may have had nobody who heard of it."""
    options = {"batch": True} if batch else {"max_concurrent": 1}
    driver = Driver(duty=Duty(3, 5, Draws()), **NO_POLLS, **options)
    (unit,) = driver.claim("a", at=0.0, roster=FLEET)
    assert driver.core.attendance.post is Post.AWAY
    driver.wait(0.001)
    driver.core.ended(unit)
    assert driver.core.attendance.post is Post.IN_RESERVE
    assert driver.call(0.002).limit == (100 if batch else 1)


def test_who_comes_back_after_it_kept_the_event_loop_polls():
    driver = driver_at(Post.IN_RESERVE)
    claim(driver, "a", at=1.0)
    assert driver.call(1.0 + 2 * Duty.STALL).limit == 4

    driver = driver_at(Post.IN_RESERVE)
    claim(driver, "a", at=1.0)
    driver.wait(1.0 + Duty.STALL / 2)


def test_who_is_on_duty_calls_another_one_when_it_stops():
    driver = driver_at(Post.ON_DUTY)
    driver.core.drain()
    call = driver.call(1.0)
    assert (call.limit, call.operation.args[CALL]) == (0, b"1 1 0 0 0.0")
    driver.answer(call)
    # Once, whatever has become of it.
    driver.wait(1.1)

    driver = driver_at(Post.ON_DUTY)
    driver.core.drain()
    driver.core.attendance.be_always_on_duty()
    driver.answer(driver.call(1.0))
    driver.wait(1.1)

    driver = driver_at(Post.IN_RESERVE)
    driver.core.drain()
    driver.wait(1.0)


def test_who_is_on_duty_in_a_small_fleet_calls_nobody_when_it_stops():
    driver = Driver(duty=Duty(3, 5, Draws()), **NO_POLLS)
    driver.claim(at=0.0, roster=(8, 8))
    driver.core.drain()
    driver.wait(1.0)


def test_a_server_that_was_slow_to_answer_shows_nobody_s_absence():
    for waited, post in ((0.0, Post.ON_DUTY), (1.0, Post.IN_RESERVE)):
        driver = driver_at(Post.IN_RESERVE)
        driver.core.poll_now()
        call = driver.call(5.0 - waited)
        driver.time = 5.0
        due = b"%.6f" % (SERVER + 5.0 - 0.9)
        step = driver.step(call, "a", score=due, roster=FLEET)
        driver.core.answered(call, step, 5.0 - waited, 5.0)
        driver.next(5.001)
        assert driver.core.attendance.post is post
