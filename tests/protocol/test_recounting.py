"""A claim that renewed a lease of its own worker is not an attempt: the count is put right.

That travels with whatever else becomes of the timer meanwhile, and may be repeated.
"""

import pytest
from waiting import wait_until

from faststream_redis_timers_sync.protocol.model import Outcome, Settlement

TOPIC = "invoices"
RECOUNT = (b"recount", b"1")
RENEW = (b"renew", b"4000000000.0000005")


@pytest.fixture
def step(home):
    """Settle a timer several times in one call, and claim; attempts are counted."""

    def step(claim=None, *settlements, limit=0, lease_ttl=30.0):
        items = [Settlement(action, b"a", claim.lease, detail) for action, detail in settlements]
        return home.run(
            home.operations.settle_and_claim(
                TOPIC, items, limit=limit, lease_ttl=lease_ttl, jitter=1, suspect_from=3
            )
        )

    return step


@pytest.fixture
def claim(home, step):
    """The second claim of a timer."""
    home.plant(TOPIC, "a", 1000.0, b"x")
    first = step(limit=1)
    step(first, (b"nack", b"+0.000000"))
    second = step(limit=1)
    assert second.claimed[0].attempt == 2
    return second


def attempts_of(home):
    return int(home.redis.hget(home.keys_of(TOPIC).attempts, "a").split()[0])


def score_of(home):
    return home.redis.zscore(home.keys_of(TOPIC).timeline, "a")


def test_a_recount_leaves_the_lease_and_may_be_repeated(home, step, claim):
    for _ in range(2):
        assert list(step(claim, RECOUNT).outcomes) == [Outcome.DONE]

    assert attempts_of(home) == 1
    assert score_of(home) == float(claim.lease)


@pytest.mark.parametrize("settlements", [(RECOUNT, RENEW), (RENEW, RECOUNT)])
def test_a_renewal_in_the_same_call_holds_and_so_does_the_count(home, step, claim, settlements):
    step(claim, *settlements)

    assert attempts_of(home) == 1
    assert score_of(home) == float(RENEW[1])


def test_the_next_attempt_after_a_recount_and_a_failure_is_the_second(home, step, claim):
    step(claim, RECOUNT, (b"nack", b"+0.000000"))

    assert step(limit=1).claimed[0].attempt == 2


def test_a_recount_and_a_release_in_one_call_leave_no_attempt(home, step, claim):
    step(claim, RECOUNT, (b"release", b"1000"))

    assert step(limit=1).claimed[0].attempt == 1


@pytest.mark.parametrize("then", ["its lease ends", "it is released", "it has failed"])
def test_a_timer_whose_only_attempt_was_taken_back_knows_when_it_was_due_first(home, step, then):
    home.plant(TOPIC, "a", 1000.0, b"x")
    first = step(limit=1, lease_ttl=0.05)
    step(first, (b"recount", b"0"))
    if then != "its lease ends":
        second = claim_again(step)
        settlement = (b"release", first.lease) if "released" in then else (b"nack", b"+0.000000")
        step(second, (b"recount", b"0"), settlement)

    (again,) = claim_again(step).claimed

    assert again.attempt == 1
    assert float(again.first_due) == 1000.0


def claim_again(step):
    """Claim a timer when its lease has ended."""
    claims = []

    def has_claimed():
        claims.append(step(limit=1))
        return claims[-1].claimed

    wait_until(has_claimed)
    return claims[-1]


def test_a_recount_under_another_lease_does_nothing(home, step, claim):
    other = claim._replace(lease=b"3999999999.0000005")

    assert list(step(other, RECOUNT).outcomes) == [Outcome.LEASED_AGAIN]

    assert attempts_of(home) == 2
