"""How often a claim reads payloads: small ones many at a time, large ones never in vain."""

import budgets
import pytest
from bench import HOUR

TOPIC = "invoices"
SMALL, LARGE = b"x" * 200, b"x" * 200_000


def reads_of(bench, meter, payloads):
    """Claim timers with these payloads; tell how many there were, and how often some were read."""
    for n, payload in enumerate(payloads):
        bench.home.plant(TOPIC, f"{n}", 1000.0 + n, payload)
    meter.reset()
    operation = bench.home.operations.settle_and_claim(
        TOPIC, (), limit=100, lease_ttl=HOUR.total_seconds(), jitter=1
    )
    claimed = bench.home.run(operation).claimed
    return len(claimed), meter.read().sent("hmget")


async def test_small_ones_are_read_many_at_a_time(bench, meter):
    assert reads_of(bench, meter, [SMALL] * 100) == (100, budgets.PAYLOAD_READS)


@pytest.mark.parametrize(("before", "reads"), [(1, 4), (2, 5), (3, 3)])
async def test_once_one_was_large_they_are_read_one_by_one(bench, meter, before, reads):
    # Two of the large ones fit the reply, and no third one is read to find that out.
    payloads = [*[SMALL] * before, *[LARGE, SMALL] * 40]

    assert reads_of(bench, meter, payloads) == (before + 4, reads)
