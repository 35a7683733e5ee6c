"""A primary killed under load: Sentinels promote a replica, workers and producers find it."""

import pytest
from fleet import Fleet
from reach import blocking_client
from servers import Sentinels, short_folder
from waiting import wait_until

from faststream_redis_timers_sync import TimersClient

CONFIRMED = {"confirm_replicas": 2, "confirm_timeout": 0.3}
OPTIONS = {"lease_ttl": 1.0, "max_concurrent": 10}


@pytest.fixture
def sentinels():
    with short_folder() as folder, Sentinels(folder) as sentinels:
        yield sentinels


@pytest.fixture
def fleet(sentinels, tmp_path):
    fleet = Fleet(tmp_path, sentinels.addresses)
    yield fleet
    fleet.close()


def cut_off_replicas(primary):
    """Let the replicas of a primary lose it, and not come back."""
    primary.client.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
    primary.client.execute_command("CLIENT", "KILL", "TYPE", "replica")
    wait_until(lambda: primary.client.info("replication")["connected_slaves"] == 0)


def test_a_promoted_replica_is_found_and_nothing_confirmed_is_lost(sentinels, fleet, record):
    for _ in range(2):
        fleet.worker(options=OPTIONS)
    producers = [
        fleet.producer(front, front=front, bodies=["work 0.02", "plain"], options=CONFIRMED)
        for front in ("blocking", "async")
    ]
    fleet.until_begun("blocking-50", "async-50")
    primary = sentinels.primary()
    cut_off_replicas(primary)
    # What is scheduled from now on only the primary has. Accepted, it would be lost.
    asked = len(fleet.noted("scheduling"))
    wait_until(lambda: len(fleet.noted("scheduling")) >= asked + 10)
    primary.kill()
    fleet.journal.note("failover")
    wait_until(lambda: sentinels.has_moved_from(primary), 30)
    moved = len(fleet.journal.read())
    # It comes back, and there are two replicas again.
    primary.start("--replicaof", "127.0.0.1", f"{sentinels.primary().port}")

    def goes_on(front):
        facts = fleet.journal.read()[moved:]
        return sum(f["what"] == "accepted" and f["id"].startswith(front) for f in facts) > 50

    wait_until(lambda: goes_on("blocking") and goes_on("async"), 30)
    for producer in producers:
        fleet.terminate(producer)
    with TimersClient(blocking_client(sentinels.addresses)) as client:
        fleet.until_empty(client)

    ledger = fleet.ledger()
    ledger.check()
    record(ledger.row("primary killed, failover by Sentinels", 1))
