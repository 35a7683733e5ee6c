"""What wake-ups that nobody hears, and claims by the rule for fleets, cost a server."""

from contextlib import contextmanager

import budgets
import pytest
from bench import HOUR

from faststream_redis_timers_sync.protocol.keys import RESERVE_GROUPS

TOPIC = "invoices"


@contextmanager
def listening(bench, *channels):
    """Let somebody listen to channels."""
    with bench.home.redis.pubsub() as pubsub:
        pubsub.subscribe(*channels)
        for _ in channels:
            assert pubsub.get_message(timeout=10)["type"] == "subscribe"
        yield


def asked(meter):
    """Tell how often a script has counted listeners, and published."""
    traffic = meter.read()
    return traffic.sent("pubsub|numsub"), traffic.sent("publish")


def schedule(bench, meter):
    meter.reset()
    bench.client.schedule("x", TOPIC, timer_id="1", activate_in=HOUR)
    found = asked(meter)
    bench.client.cancel_timer(TOPIC, "1")
    return found


def claim(bench, meter, call):
    """Claim a timer, or none, and tell how often listeners were counted, and was published."""
    meter.reset()
    operation = bench.home.operations.settle_and_claim(
        TOPIC, (), limit=10, lease_ttl=30.0, jitter=1, call=call
    )
    bench.home.run(operation)
    return asked(meter)


async def test_a_wake_up_that_is_heard_looks_for_nobody(bench, meter):
    keys = bench.home.operations.keys
    with listening(bench, keys.channel_of(TOPIC), keys.workers_channel_of(TOPIC)):
        assert schedule(bench, meter) == (budgets.ROSTER, 1)


async def test_who_listens_to_a_pattern_does_not_count_as_a_worker_that_hears(bench, meter):
    keys = bench.home.operations.keys
    groups = [keys.reserve_channel_of(TOPIC, group) for group in range(RESERVE_GROUPS)]
    with (
        bench.home.redis.pubsub() as monitor,
        listening(bench, keys.workers_channel_of(TOPIC), *groups),
    ):
        monitor.psubscribe("*")
        assert monitor.get_message(timeout=10)["type"] == "psubscribe"
        assert schedule(bench, meter) == (budgets.ROSTER + 1, 2)


async def test_a_wake_up_of_a_topic_without_workers_is_not_looked_for_in_all_groups(bench, meter):
    assert schedule(bench, meter) == (budgets.ROSTER, 1)


async def test_a_wake_up_that_nobody_hears_looks_for_one_worker(bench, meter):
    keys = bench.home.operations.keys
    with listening(bench, keys.workers_channel_of(TOPIC)):
        # All are away.
        assert schedule(bench, meter) == (budgets.ROSTER + budgets.ALL_GROUPS, 1)
    groups = [keys.reserve_channel_of(TOPIC, group) for group in range(RESERVE_GROUPS)]
    with listening(bench, keys.workers_channel_of(TOPIC), *groups):
        assert schedule(bench, meter) == (budgets.ROSTER + 1, 2)


@pytest.mark.parametrize("due", [True, False])
async def test_a_claim_without_the_rule_counts_nobody(bench, meter, due):
    if due:
        bench.home.plant(TOPIC, "1", 1000.0, b"x")
    assert claim(bench, meter, b"") == (0, 0)
    bench.client.cancel_all(TOPIC)


async def test_a_claim_by_the_rule_counts_once_and_looks_for_those_it_calls(bench, meter):
    keys = bench.home.operations.keys
    assert claim(bench, meter, b"3 3 5 0 0.0") == (budgets.ROSTER, 0)
    with listening(bench, keys.channel_of(TOPIC), keys.workers_channel_of(TOPIC)):
        bench.home.plant(TOPIC, "1", 1000.0, b"x")
        assert claim(bench, meter, b"1 1 5 0 0.0") == (budgets.ROSTER, 0)
        bench.home.plant(TOPIC, "1", 1000.0, b"x")
        # Nobody is in reserve.
        assert claim(bench, meter, b"3 3 5 0 0.0") == (budgets.ROSTER + budgets.ALL_GROUPS, 0)
        groups = [keys.reserve_channel_of(TOPIC, group) for group in range(RESERVE_GROUPS)]
        with listening(bench, *groups):
            bench.home.plant(TOPIC, "1", 1000.0, b"x")
            assert claim(bench, meter, b"3 3 5 0 0.0") == (budgets.ROSTER + 1, 2)
    bench.client.cancel_all(TOPIC)
