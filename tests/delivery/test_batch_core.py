"""What the delivery core decides about batches, with a clock that stands where a test sets it."""

from itertools import count

import pytest
from core_driver import SERVER, Driver

from faststream_redis_timers import RetryPolicy
from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.core import Call
from faststream_redis_timers.delivery.outage import Failure, FailureKind
from faststream_redis_timers.delivery.slots import Suspects
from faststream_redis_timers_sync.protocol.model import Outcome

LEASED = b"1899999990.0000005"
"""The score of a timer whose lease was lost."""


def limits(call):
    """Give how many timers a call claims, and how many suspects."""
    args = call.operation.args
    return int(args[1]), int(args[6])


def batching(**options):
    return Driver(batch=True, **options)


def ids_of(batch):
    return [timer.timer_id for timer in batch.deliveries]


def end(driver, batch, decide=lambda timer: timer.commit_soon()):
    """End the handler of a batch."""
    batch.free_slot()
    for timer in batch.deliveries:
        decide(timer)
    driver.core.ended(batch)


def test_a_claim_asks_for_a_whole_batch_while_a_slot_is_free():
    driver = batching(max_records=30, max_concurrent=2)
    call = driver.call()
    assert limits(call)[0] == 30
    (batch,) = driver.answer(call, *map(str, range(30)), head=SERVER - 1)
    assert len(batch.deliveries) == 30

    call = driver.call()
    assert limits(call)[0] == 30
    (other,) = driver.answer(call, "x", head=SERVER - 1)
    assert ids_of(other) == ["x"]

    # Both slots are taken, whatever is due.
    driver.wait()
    end(driver, other)
    call = driver.call()
    assert limits(call)[0] == 30
    assert driver.actions(call) == [b"commit"]


def test_all_of_a_batch_are_settled_in_one_call_that_claims_the_next():
    driver = batching(max_records=3)
    (batch,) = driver.claim("a", "b", "c", head=SERVER - 1)
    end(driver, batch)

    call = driver.call()

    assert driver.actions(call) == [b"commit"] * 3
    assert limits(call)[0] == 3
    (following,) = driver.answer(call, "d")
    assert ids_of(following) == ["d"]


def renew(driver, at):
    call = driver.next(at)
    if isinstance(call, Call):
        driver.answer(call)


def test_only_what_nothing_was_decided_about_is_renewed():
    driver = batching(renew_lease=True, lease_ttl=30.0)
    driver.draws = driver.draws._replace(lease=count().__next__)
    (batch,) = driver.claim("a", "b", "c")
    batch.deliveries[1].commit_soon()
    call = driver.call()
    assert driver.actions(call) == [b"commit"]
    driver.answer(call)

    call = driver.call(at=10.0)

    assert driver.actions(call) == [b"renew"] * 2
    assert [item.timer.timer_id for item in call.settlements] == ["a", "c"]
    # Under equal leases, so that they are settled as a group in the end.
    assert len({item.detail for item in call.settlements}) == 1


def test_after_max_lease_the_log_has_a_line_for_a_batch():
    driver = batching(
        renew_lease=True, lease_ttl=30.0, max_lease=50.0, max_records=3, max_concurrent=2
    )
    driver.claim("a", "b", "c")
    driver.poll(at=5.0)
    driver.claim("d", "e")
    for time in (10.0, 20.0, 30.0, 40.0):
        renew(driver, at=time)
    renew(driver, at=50.0)
    (line,) = [line for _, line in driver.lines if "max_lease" in line]
    assert "the leases of 3 timers" in line
    renew(driver, at=60.0)
    assert len([line for _, line in driver.lines if "max_lease" in line]) == 2


def test_the_log_has_a_line_for_a_batch_whose_timers_others_have_claimed():
    driver = batching(lease_ttl=2.0)
    (batch,) = driver.claim("a", "b", "c", "d")
    driver.time = 3.0
    end(driver, batch)
    call = driver.call()
    leased, gone = Outcome.LEASED_AGAIN, Outcome.GONE
    driver.answer(call, outcomes=bytes([leased, gone, leased, leased]))

    leased, gone = (line for _, line in driver.lines)
    assert leased.startswith(
        words.batch_outlived("orders", 3, "was claimed by another worker and run twice: ")
        + "lease_ttl (2 s) must be longer"
    )
    assert gone.startswith(words.batch_outlived("orders", 1, "is gone"))


def test_what_runs_here_already_counts_as_renewed_and_comes_into_no_batch():
    driver = batching(max_concurrent=2, max_records=5)
    (batch,) = driver.claim("a", "b")
    driver.poll(at=31.0)
    call = driver.call()
    # Overdue ones ask for longer leases first of all.
    assert driver.actions(call) == [b"renew"] * 2

    (other,) = driver.answer(call, "c", "a", score={"a": batch.claim.lease}, outcomes=b"ll")

    assert ids_of(other) == ["c"]
    assert batch.deliveries[0].leases[0] == other.claim.lease


@pytest.mark.parametrize("max_wait", [0.0, 9.0])
def test_claims_lease_a_suspect_alone_and_alternate_with_others(max_wait):
    driver = batching(policy=RetryPolicy(), max_records=5, max_wait=max_wait)
    call = driver.call()
    assert limits(call) == (5, -1)
    (suspect,) = driver.answer(call, "bad", score=LEASED, attempt=2, head=SERVER - 1)
    end(driver, suspect)

    # This one passes over all of them.
    call = driver.call()
    assert limits(call) == (5, 0)
    (batch,) = driver.answer(call, "a", "b", attempt=1)
    end(driver, batch)

    # It was not full, and yet the next one comes at once: for those that were passed over.
    call = driver.call()
    assert limits(call) == (5, -1)
    driver.answer(call)
    driver.wait()


def test_a_claim_that_passes_over_suspects_and_finds_nothing_is_followed_at_once():
    driver = batching(max_records=5)
    (suspect,) = driver.claim("bad", score=LEASED, head=SERVER - 1)
    end(driver, suspect)
    call = driver.call()
    assert limits(call) == (5, 0)
    driver.answer(call)

    call = driver.call()

    assert limits(call) == (5, -2)
    driver.answer(call)
    driver.wait()


@pytest.mark.parametrize("policy", [None, RetryPolicy()])
def test_one_suspect_runs_at_a_time_and_others_run_beside_it(policy):
    driver = batching(policy=policy, max_records=5, max_concurrent=3)
    (suspect,) = driver.claim(
        "bad", score=LEASED, attempt=None if policy is None else 2, head=SERVER - 1
    )

    for name in "ab":
        call = driver.call()
        assert limits(call) == (5, 0)
        driver.answer(call, name, attempt=None if policy is None else 1, head=SERVER - 1)
    driver.wait()
    end(driver, suspect)

    assert driver.call().limit == 5


def test_where_nothing_is_counted_lists_of_suspects_grow_until_a_handler_fails():
    driver = batching(max_records=6)
    names = map(str, count())

    def run(*, has_failed=False):
        """Answer with what the claim may lease; those after it pass over suspects."""
        call = driver.call()
        most = -limits(call)[1]
        ids = [next(names) for _ in range(most)]
        (batch,) = driver.answer(call, *ids, score=LEASED, head=SERVER - 1)
        batch.has_failed = has_failed
        end(driver, batch)
        driver.claim(head=SERVER - 1)
        return most

    # Not 6: such a claim would lease others too.
    assert [run() for _ in range(5)] == [1, 2, 4, 5, 5]
    assert [run(has_failed=True), run(), run()] == [5, 1, 2]


def test_one_that_hangs_lets_a_list_of_suspects_be_of_one_again():
    driver = batching(max_records=6, max_concurrent=2, max_lease=100.0)
    (suspect,) = driver.claim("a", score=LEASED, head=SERVER - 1)
    end(driver, suspect)
    driver.claim(head=SERVER - 1)
    call = driver.call()
    assert limits(call)[1] == -2
    driver.answer(call, "b", "c", score=LEASED)
    driver.poll(at=100.0)
    driver.claim(head=SERVER - 1)

    assert limits(driver.call())[1] == -1


def test_where_attempts_are_counted_each_suspect_runs_alone():
    driver = batching(policy=RetryPolicy(), max_records=6)
    for name in "abc":
        call = driver.call()
        assert limits(call)[1] == -1
        (batch,) = driver.answer(call, name, score=LEASED, attempt=2, head=SERVER - 1)
        end(driver, batch)
        driver.claim(head=SERVER - 1)


def test_subscribers_of_a_broker_share_the_suspect_that_runs():
    suspects = Suspects()

    one, other = (batching(policy=RetryPolicy(), suspects=suspects) for _ in range(2))
    first, second = one.call(), other.call()
    (suspect,) = one.answer(first, "bad", score=LEASED, attempt=2)
    # It was on its way when that one began.
    assert other.answer(second, "worse", score=LEASED, attempt=2) == []
    call = other.call()
    assert other.actions(call) == [b"release"]
    assert limits(call)[1] == 0 or not call.limit
    other.answer(call)
    end(one, suspect)

    assert limits(other.call()) == (100, -1)


def test_a_suspect_is_one_from_the_first_loss_on_and_one_whose_attempt_was_taken_back():
    for attempt in (1, 2):
        driver = batching(policy=RetryPolicy(), max_lease=100.0)
        driver.claim("bad", score=LEASED, attempt=attempt, head=SERVER - 1)
        # Until then it keeps others back.
        assert driver.wait().until == 100.0


def test_one_whose_last_attempt_was_lost_in_a_batch_has_one_more_alone():
    """It may have been lost for another one of the batch."""
    driver = batching(policy=RetryPolicy(max_attempts=2))
    (again,) = driver.claim("good", score=LEASED, attempt=3, head=SERVER - 1)
    assert ids_of(again) == ["good"]
    end(driver, again)
    driver.call()

    driver = batching(policy=RetryPolicy(max_attempts=2))
    assert driver.claim("bad", score=LEASED, attempt=4, head=SERVER - 1) == []
    # Removed: nobody has named a dead-letter topic.
    assert driver.actions(driver.call()) == [b"commit"]


def test_one_whose_only_attempt_was_lost_in_a_batch_has_one_more_alone():
    driver = batching(policy=RetryPolicy(max_attempts=1))
    (again,) = driver.claim("good", score=LEASED, attempt=2, head=SERVER - 1)
    assert ids_of(again) == ["good"]


def test_max_wait_is_a_gap_after_claims_that_were_not_full():
    driver = batching(max_records=2, max_concurrent=9, max_wait=0.5)
    driver.claim("a", "b", at=1.0)
    # A full claim ignores it.
    driver.claim("c", at=1.0)
    assert driver.wait(at=1.0).until == 1.5
    driver.core.wake(SERVER + 1.1, SERVER + 1.1)
    assert driver.wait(at=1.1).until == 1.5

    # One that finds nothing begins none: what is rare is not delayed.
    driver.claim(at=1.5, head=SERVER + 1.52)
    assert driver.wait().until == pytest.approx(1.52)


def test_what_is_not_decided_when_a_batch_ends_stays_leased_and_is_known_no_longer():
    driver = batching(max_concurrent=2)
    (batch,) = driver.claim("a", "b")
    batch.deliveries[0].commit_soon()
    batch.free_slot()
    driver.core.ended(batch)
    driver.poll(at=31.0)

    call = driver.call()
    assert driver.actions(call) == [b"commit"]
    (again,) = driver.answer(call, "b", score=batch.claim.lease)
    assert ids_of(again) == ["b"]


def test_a_suspect_that_was_passed_over_does_not_wait_for_max_wait():
    driver = batching(policy=RetryPolicy(), max_records=5, max_concurrent=2, max_wait=9.0)
    (suspect,) = driver.claim("0", score=LEASED, attempt=3, head=float(LEASED))
    driver.claim("good", head=float(LEASED), attempt=1)
    assert driver.wait().until > driver.time

    # Another suspect was passed over for it.
    end(driver, suspect)

    assert limits(driver.call()) == (5, -1)


def test_renewals_of_a_batch_whose_lease_has_ended_do_not_pile_up():
    driver = batching(max_concurrent=2, lease_ttl=10.0)
    ids = [f"{n}" for n in range(100)]
    (batch,) = driver.claim(*ids)
    driver.time = 31.0
    for _ in range(5):
        call = driver.call()
        driver.core.failed(call, Failure(FailureKind.POOL_FULL, "full"))
        assert driver.actions(call) == [b"renew"] * 100
        # They go on being settled as a group.
        assert len({timer.leases_word for timer in batch.deliveries}) == 1
        driver.poll(driver.time + 1)

    assert len(batch.deliveries[0].leases) == 2


def test_a_poll_for_wake_ups_that_were_missed_leaves_max_wait_as_it_is():
    driver = batching(max_records=2, max_concurrent=2, max_wait=9.0)
    call = driver.call()
    # The channel is listened to by now.
    driver.core.poll_now()
    driver.answer(call, "a")

    assert driver.wait(1.0).until == pytest.approx(9.0)
    assert driver.call(9.0).limit == 2
