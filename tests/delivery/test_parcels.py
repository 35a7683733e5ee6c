"""What one call carries: settlements alone, commits in groups; and where outcomes belong."""

from itertools import groupby

from core_driver import Driver
from hypothesis import given, strategies as st

from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers.delivery.outage import Failure, FailureKind
from faststream_redis_timers_sync.protocol.model import Outcome

HEADER = 8
"""Words of a step before its settlements: the key of the attempts, and seven more."""


def claimed(driver, count, start=0):
    """Claim timers, and free their slots: nobody waits for their commits."""
    timers = driver.claim(*(f"{start + n}" for n in range(count)))
    for timer in timers:
        driver.core.free_slot(timer)
    return timers


def words_of(call):
    return call.operation.args[HEADER:]


def test_three_commits_under_one_lease_share_it():
    driver = Driver(max_concurrent=3)
    timers = claimed(driver, 3)
    LeasedTimer.commit_all_soon(timers)

    call = driver.call()

    assert words_of(call) == [b"commits", b"3", timers[0].claim.lease, b"0", b"1", b"2"]
    driver.answer(call, outcomes=b"1" + b"01")
    assert [timer.outcome for timer in timers] == [True, False, True]


def test_two_commits_travel_alone():
    driver = Driver(max_concurrent=2)
    timers = claimed(driver, 2)
    LeasedTimer.commit_all_soon(timers)

    assert words_of(driver.call())[::4] == [b"commit", b"commit"]


def test_what_was_decided_before_is_not_committed():
    driver = Driver(max_concurrent=4)
    timers = claimed(driver, 4)
    timers[1].release()
    LeasedTimer.commit_all_soon(timers)

    call = driver.call()

    assert driver.actions(call) == [b"release", b"commit", b"commit", b"commit"]
    assert words_of(call)[4:] == [b"commits", b"3", timers[0].claim.lease, b"0", b"2", b"3"]


def test_a_group_whose_reply_is_lost_is_sent_again_and_gone_then_means_done():
    driver = Driver(max_concurrent=3)
    timers = claimed(driver, 3)
    LeasedTimer.commit_all_soon(timers)
    call = driver.call()

    driver.core.failed(call, Failure(FailureKind.LOST_REPLY, "lost"))
    again = driver.call()

    assert words_of(again) == words_of(call)
    driver.answer(again, outcomes=bytes([Outcome.GONE] * 3))
    assert [timer.outcome for timer in timers] == [True] * 3


def test_a_renewal_that_was_not_answered_sets_a_commit_apart():
    driver = Driver(max_concurrent=4)
    timers = claimed(driver, 4)
    timers[3].renew_soon(30.0)
    driver.core.failed(driver.call(), Failure(FailureKind.LOST_REPLY, "lost"))
    LeasedTimer.commit_all_soon(timers)

    call = driver.call()

    assert driver.actions(call) == [b"renew", b"commit", b"commit", b"commit", b"commit"]
    assert words_of(call)[4:] == [
        *(b"commit", b"3", b" ".join(timers[3].leases), b""),
        *(b"commits", b"3", timers[0].claim.lease, b"0", b"1", b"2"),
    ]


def test_after_the_end_each_is_told_that_it_comes_too_late():
    driver = Driver(max_concurrent=3)
    timers = claimed(driver, 3)
    driver.core.end()

    LeasedTimer.commit_all_soon(timers)

    assert [timer.outcome for timer in timers] == [False] * 3
    assert len(driver.lines) == 3


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=20),
    st.lists(st.sampled_from(b"10ld"), min_size=20, max_size=20),
)
def test_each_outcome_reaches_its_timer(decided, outcomes):
    driver = Driver(max_concurrent=40)
    claims = []
    for n in range(4):
        driver.time = 0.1 * n
        claims.append(claimed(driver, 5, start=5 * n))
        driver.core.poll_now()
    left = [list(timers) for timers in claims]
    sent = []
    for claim, is_commit in decided:
        if left[claim]:
            timer = left[claim].pop()
            sent.append(timer)
            timer.commit_soon() if is_commit else timer.release()
    driver.core.drain()

    call = driver.call()
    driver.answer(call, outcomes=bytes(outcomes[: len(sent)]))

    assert {item.timer for item in call.settlements} == set(sent)
    for item, outcome in zip(call.settlements, outcomes, strict=False):
        assert item.timer.outcome is (outcome == Outcome.DONE)
    # What is sent says the same, in the same order.
    assert list(settled_by(words_of(call))) == [
        (item.action, item.timer.key, item.timer.leases_word) for item in call.settlements
    ]
    in_groups = [key for key, _ in groupby(call.settlements, key=lambda item: item.action)]
    assert in_groups.count(b"release") <= 1


def settled_by(words):
    """Give action, id and leases of each settlement among the words of a call."""
    while words:
        if words[0] == b"commits":
            _, count, leases, *words = words
            yield from ((b"commit", timer_id, leases) for timer_id in words[: int(count)])
            words = words[int(count) :]
        else:
            action, timer_id, leases, _, *words = words
            yield action, timer_id, leases
