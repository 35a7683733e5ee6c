"""A worker's step: what a claim leases and tells, and what a settlement does and does not."""

import random
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from waiting import wait_until

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.model import CommitGroup, Outcome, Settlement
from faststream_redis_timers_sync.protocol.operation import PAYLOAD_BUDGET
from faststream_redis_timers_sync.protocol.steps import MOST_CLAIMED
from faststream_redis_timers_sync.protocol.times import is_lease

TOPIC = "invoices"
HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)
# Any leases that are long over by the time of the next claim.
MOMENT = 0.000001


@pytest.fixture
def client(home):
    return TimersClient(home.redis, **home.key_names)


def ids(step):
    return [timer.timer_id.decode() for timer in step.claimed]


def plant_due(home, *timer_ids, payload=b"x"):
    """Write timers that have been due since long, the first for longest."""
    for n, timer_id in enumerate(timer_ids):
        home.plant(TOPIC, timer_id, 1000.0 + n, payload)


def settle(home, action, step, detail=b""):
    """Settle all timers of a claim alike; give the outcomes."""
    settlements = [Settlement(action, timer.timer_id, step.lease, detail) for timer in step.claimed]
    return list(home.step(TOPIC, *settlements).outcomes)


def claim_again(home, timer_ids):
    """Claim until all of these are claimed: their leases are about to end."""
    steps = []

    def are_claimed():
        steps.append(home.claim(TOPIC))
        return sorted(chain.from_iterable(map(ids, steps))) == sorted(timer_ids)

    wait_until(are_claimed)
    return next(step for step in steps if step.claimed)


# --- claiming ----------------------------------------------------------------------------


def test_a_claim_leases_what_is_due_the_longest_due_first(home, client):
    plant_due(home, "a", "c", "b")
    client.schedule("x", TOPIC, timer_id="later", activate_in=HOUR)

    step = home.step(TOPIC, limit=2)

    assert ids(step) == ["a", "c"]
    assert step.claimed[0][:3] == (b"a", b"x", b"1000")
    assert ids(home.claim(TOPIC)) == ["b"]
    assert ids(home.claim(TOPIC)) == []


def test_a_claim_of_none_leases_none(home):
    plant_due(home, "a")

    step = home.step(TOPIC, limit=0)

    assert (step.claimed, step.lease, step.head) == ([], b"-", 1000.0)


def test_a_step_returns_the_servers_time_and_the_head_of_the_timeline(home, client):
    assert home.claim(TOPIC).head is None

    client.schedule("x", TOPIC, timer_id="later", activate_at=YEAR_2050)
    before = home.now().timestamp()
    step = home.claim(TOPIC)

    assert before <= step.now <= home.now().timestamp()
    assert step.head == YEAR_2050.timestamp()


def test_the_lease_is_the_timers_new_score(home):
    plant_due(home, "a", "b")

    step = home.claim(TOPIC, lease_ttl=30)

    scores = home.redis.zrange(home.keys_of(TOPIC).timeline, 0, -1, withscores=True)
    assert scores == [(b"a", float(step.lease)), (b"b", float(step.lease))]
    assert is_lease(float(step.lease))
    assert step.head == float(step.lease)
    # At most a hundredth of a second is added, so that no two leases are the same.
    assert 30 <= float(step.lease) - step.now < 30.011


def test_what_is_added_to_a_lease_sets_it_apart(home):
    plant_due(home, "a", "b")
    leases = []
    for jitter in (0, 9_999):
        operation = home.operations.settle_and_claim(
            TOPIC, [], limit=1, lease_ttl=30.0, jitter=jitter
        )
        now, lease = home.redis.execute_command(*operation.words(by_text=True)).split()[:2]
        leases.append(round((float(lease) - float(now)) * 1e6) - 30_000_000)

    assert leases[0] in {0, 1}
    assert leases[1] in {9_999, 10_000}


def test_a_claims_payloads_are_bounded_and_no_more_is_leased_than_returned(home, client):
    plant_due(home, "a", "b", "c", payload=b"x" * 200_000)

    assert ids(home.claim(TOPIC)) == ["a", "b"]

    assert client.get_timer(TOPIC, "c").running is False
    assert ids(home.claim(TOPIC)) == ["c"]


def test_a_payload_above_the_bound_is_claimed_alone(home):
    plant_due(home, "large", payload=b"x" * 2_000_000)
    home.plant(TOPIC, "small", 1001.0, b"x")

    assert ids(home.claim(TOPIC)) == ["large"]
    assert ids(home.claim(TOPIC)) == ["small"]


@pytest.mark.parametrize("seed", range(4))
def test_a_claim_has_what_fits_whatever_sizes_stand_beside_each_other(home, seed):
    choice = random.Random(seed)
    sizes = choice.choices([None, 1, 1000, 40_000, 300_000, 600_000], [2, 40, 20, 3, 2, 1], k=260)
    for n, size in enumerate(sizes):
        home.plant(TOPIC, f"{n}", 1000.0 + n, None if size is None else b"x" * size)

    claims = []
    while (step := home.claim(TOPIC)).claimed or step.orphans:
        claims.append([*map(int, ids(step)), *map(int, step.orphans)])

    assert claims == list(claims_of(sizes))


def claims_of(sizes):
    """Give the numbers of the timers of each claim, orphans last."""
    left = list(enumerate(sizes))
    while left:
        claimed, orphans, total = [], [], 0
        for n, size in left[:MOST_CLAIMED]:
            if claimed and total + (size or 0) > PAYLOAD_BUDGET:
                break
            (orphans if size is None else claimed).append(n)
            total += size or 0
        left = left[len(claimed) + len(orphans) :]
        yield claimed + orphans


def test_ids_and_payloads_may_be_any_bytes(home):
    raw = {b"\xff\x00 \n": b"\n\xff 1 2", b" ": b"", b"5 5": b"\r\n"}
    for timer_id, payload in raw.items():
        home.plant(TOPIC, timer_id, 1000.0, payload)

    claimed = home.claim(TOPIC).claimed

    assert {timer.timer_id: timer.payload for timer in claimed} == raw


def test_an_entry_without_payload_is_removed_and_told(home, client):
    home.plant(TOPIC, b"orphan \xff", 999.0, None)
    plant_due(home, "a")
    home.plant(TOPIC, "orphan 2", 1001.0, None)
    home.redis.hset(home.keys_of(TOPIC).attempts, "orphan 2", 1)

    step = home.claim(TOPIC)

    assert ids(step) == ["a"]
    assert step.orphans == [b"orphan \xff", b"orphan 2"]
    assert client.get_pending_timers(TOPIC) == ["a"]


def test_a_timer_whose_worker_died_is_due_again_when_its_lease_ends(home):
    plant_due(home, "a")
    first = home.claim(TOPIC, lease_ttl=MOMENT)

    second = claim_again(home, ["a"])

    assert float(second.claimed[0].previous_score) == float(first.lease)
    assert second.lease != first.lease


def test_a_claim_may_not_be_repeated_and_a_settlement_may(home):
    def step(limit):
        return home.operations.settle_and_claim(TOPIC, [], limit=limit, lease_ttl=30.0, jitter=0)

    assert step(1).outcome_unknown(ConnectionError()) is not None
    assert step(0).outcome_unknown(ConnectionError()) is None


# --- settling ----------------------------------------------------------------------------


def test_a_commit_removes_the_timer_from_all_keys(home):
    plant_due(home, "a", "b")
    home.redis.hset(home.keys_of(TOPIC).attempts, "a", 1)
    step = home.claim(TOPIC)

    assert settle(home, b"commit", step) == [Outcome.DONE, Outcome.DONE]

    assert not home.redis.exists(*home.keys_of(TOPIC))
    assert settle(home, b"commit", step) == [Outcome.GONE, Outcome.GONE]


@pytest.mark.parametrize("action", [b"commit", b"nack", b"release"])
def test_a_settlement_does_nothing_once_the_timer_is_leased_again(home, action):
    plant_due(home, "a")
    first = home.claim(TOPIC, lease_ttl=MOMENT)
    second = claim_again(home, ["a"])

    assert settle(home, action, first, b"1000" if action == b"release" else b"") == [
        Outcome.LEASED_AGAIN
    ]

    score = home.redis.zscore(home.keys_of(TOPIC).timeline, "a")
    assert score == float(second.lease)
    assert settle(home, b"commit", second) == [Outcome.DONE]


@pytest.mark.parametrize("action", [b"commit", b"nack", b"release"])
def test_a_settlement_does_nothing_once_the_timer_is_due_again(home, client, action):
    plant_due(home, "a")
    step = home.claim(TOPIC)
    client.reschedule_timer(TOPIC, "a", activate_at=YEAR_2050)

    assert settle(home, action, step, b"1000" if action == b"release" else b"") == [
        Outcome.DUE_AGAIN
    ]

    assert client.get_timer(TOPIC, "a").due_at == YEAR_2050


def test_a_nacked_timer_waits_until_its_lease_would_have_ended(home, client):
    plant_due(home, "a")
    step = home.claim(TOPIC)

    assert settle(home, b"nack", step) == [Outcome.DONE]

    timer = client.get_timer(TOPIC, "a")
    assert timer.running is False
    half_a_microsecond_less = datetime.fromtimestamp(float(step.lease[:-1]), UTC)
    assert timer.due_at == half_a_microsecond_less


def test_a_nacked_timer_with_a_delay_waits_for_that_delay(home, client):
    plant_due(home, "a")
    step = home.claim(TOPIC)

    before = home.now()
    settle(home, b"nack", step, b"+3600.000000")
    after = home.now()

    assert before + HOUR <= client.get_timer(TOPIC, "a").due_at <= after + HOUR
    assert client.get_timer(TOPIC, "a").running is False


def test_a_released_timer_is_due_as_before_the_claim(home, client):
    plant_due(home, "a")
    step = home.claim(TOPIC)

    assert settle(home, b"release", step, step.claimed[0].previous_score) == [Outcome.DONE]

    assert home.redis.zscore(home.keys_of(TOPIC).timeline, "a") == 1000.0
    assert ids(home.claim(TOPIC)) == ["a"]


def test_a_redelivered_timer_that_is_released_is_still_a_redelivery(home):
    plant_due(home, "a")
    first = home.claim(TOPIC, lease_ttl=MOMENT)
    second = claim_again(home, ["a"])

    settle(home, b"release", second, second.claimed[0].previous_score)

    third = home.claim(TOPIC)
    assert float(third.claimed[0].previous_score) == float(first.lease)


def test_settlements_travel_together_and_with_the_next_claim(home, client):
    plant_due(home, "commit", "nack", "release", "moved", "gone")
    step = home.claim(TOPIC)
    client.reschedule_timer(TOPIC, "moved", activate_in=HOUR)
    client.cancel_timer(TOPIC, "gone")
    plant_due(home, "new")

    after = home.step(
        TOPIC,
        Settlement(b"commit", b"commit", step.lease),
        Settlement(b"commit", b"gone", step.lease),
        Settlement(b"nack", b"nack", step.lease),
        Settlement(b"commit", b"moved", step.lease),
        Settlement(b"release", b"release", step.lease, b"1002"),
        limit=10,
    )

    assert list(after.outcomes) == [
        Outcome.DONE,
        Outcome.GONE,
        Outcome.DONE,
        Outcome.DUE_AGAIN,
        Outcome.DONE,
    ]
    # What was released is due, so the same step claims it again.
    assert ids(after) == ["new", "release"]


def test_two_hundred_settlements_fit_a_step(home):
    plant_due(home, *map(str, range(200)))
    steps = [home.claim(TOPIC) for _ in range(2)]
    settlements = [
        Settlement(b"commit", timer.timer_id, step.lease)
        for step in steps
        for timer in step.claimed
    ]

    assert home.step(TOPIC, *settlements).outcomes == b"1" * 200
    assert not home.redis.exists(*home.keys_of(TOPIC))


def test_groups_of_commits_come_out_as_single_ones_do(home, client):
    outcomes = []
    for as_groups in (False, True):
        plant_due(home, *"abcdefgh")
        first, second = home.step(TOPIC, limit=5), home.step(TOPIC, limit=3)
        client.cancel_timer(TOPIC, "b")
        client.reschedule_timer(TOPIC, "c", activate_in=HOUR)
        client.schedule("again", TOPIC, timer_id="d", activate_in=HOUR)
        home.step(TOPIC, Settlement(b"release", b"f", second.lease, b"1000"))
        again = home.step(TOPIC, limit=1)
        pairs = [(b"1.0000005 " + first.lease, b"abcde"), (second.lease, b"fgh")]
        singles = [
            Settlement(b"commit", bytes([one]), leases) for leases, ids in pairs for one in ids
        ]
        groups = [CommitGroup(leases, [bytes([one]) for one in ids]) for leases, ids in pairs]
        nack = Settlement(b"nack", b"f", again.lease, b"+5.000000")
        done = (
            home.step(TOPIC, nack, groups=groups) if as_groups else home.step(TOPIC, nack, *singles)
        )
        left = dict(home.redis.zrange(home.keys_of(TOPIC).timeline, 0, -1, withscores=True))
        outcomes.append((done.outcomes, sorted(left), ids(home.step(TOPIC, limit=10))))
        client.cancel_all(TOPIC)

    assert outcomes[0] == outcomes[1]
    assert outcomes[0][:2] == (b"110dd1l11", [b"c", b"d", b"f"])


def test_two_hundred_commits_fit_a_step_in_groups(home):
    plant_due(home, *map(str, range(200)))
    steps = [home.claim(TOPIC) for _ in range(2)]
    groups = [CommitGroup(one.lease, [timer.timer_id for timer in one.claimed]) for one in steps]

    assert home.step(TOPIC, groups=groups).outcomes == b"1" * 200
    assert not home.redis.exists(*home.keys_of(TOPIC))


def test_a_timer_that_is_renewed_and_committed_in_one_step_is_gone(home):
    plant_due(home, "a", "b")
    step = home.claim(TOPIC)
    renewal = Settlement(b"renew", b"a", step.lease, b"4000000000.0000005")

    done = home.step(TOPIC, renewal, groups=[CommitGroup(step.lease, [b"a", b"b"])])

    assert done.outcomes == b"111"
    assert not home.redis.exists(*home.keys_of(TOPIC))


# --- waking others -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "detail", "wakes"),
    [
        (b"release", b"1000", True),
        (b"nack", b"+2.000000", True),
        # It is due when the lease ended anyway: who waits for that knows already.
        (b"nack", b"", False),
        (b"commit", b"", False),
    ],
)
def test_only_what_lowers_the_head_wakes_others(home, action, detail, wakes):
    channel = home.keys_of(TOPIC).timeline
    plant_due(home, "a")
    step = home.claim(TOPIC)
    with home.redis.pubsub() as pubsub:
        pubsub.subscribe(channel)
        assert pubsub.get_message(timeout=10)["type"] == "subscribe"

        settle(home, action, step, detail)
        home.redis.publish(channel, "end")

        messages = iter(lambda: pubsub.get_message(timeout=10)["data"], b"end")
        assert len(list(messages)) == wakes
