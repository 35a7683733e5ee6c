"""A cluster that is changed and broken under load: schedules, moves, cancels and two workers.

How long work stood still is told in the table of faults; no test is held to a time.
"""

import pytest
from fleet import Fleet
from waiting import wait_until

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.cluster import slot_of

TOPICS = ("orders", "trials", "invoices")
"""One on each primary, in the order of the primaries."""

AFFECTED = "trials"
SLOT = slot_of(AFFECTED.encode())

FRONTS = ("blocking", "async")
OPTIONS = {"lease_ttl": 1.0, "max_concurrent": 10}
PRODUCTION = {
    "bodies": ["work 0.02", "plain"],
    "moves": 0.1,
    "cancels": 0.1,
    "options": {"confirm_replicas": 1, "confirm_timeout": 0.5},
}
TIMES = 5
LONGEST = 60.0


class Load(Fleet):
    """Workers and producers on a cluster, and what became of their timers."""

    def __init__(self, folder, cluster):
        super().__init__(folder, cluster.url, TOPICS)
        self.cluster = cluster
        self.producers = []

    def begin(self):
        """Start them, and wait until timers of every topic are delivered."""
        for _ in range(2):
            self.worker(options=OPTIONS)
        self.producers = [self.producer(front, front=front, **PRODUCTION) for front in FRONTS]
        self.goes_on()
        self.journal.note("fault")

    def goes_on(self):
        """Wait until both producers schedule, and what they schedule now is delivered."""
        seen = len(self.journal.read())

        def all_goes_on():
            facts = self.journal.read()[seen:]
            begun = {fact["id"] for fact in facts if fact["what"] == "begun"}
            done = [f for f in facts if f["what"] == "accepted" and f["id"] in begun]
            return all(
                sum(f["topic"] == topic and f["id"].startswith(front) for f in done) > 5
                for topic in TOPICS
                for front in FRONTS
            )

        wait_until(all_goes_on, LONGEST)

    def end(self, fault, tried, record):
        """Let all be delivered; check that nothing was lost, and nothing committed twice."""
        self.goes_on()
        for producer in self.producers:
            self.terminate(producer)
        with TimersClient(self.target) as client:
            self.until_empty(client, LONGEST)
        for moment in self.cluster.elections():
            self.journal.note("failover", at=moment)
        ledger = self.ledger()
        ledger.check()
        row = ledger.row(f"{self.cluster.server}: {fault}", tried)
        record(row._replace(halted=ledger.halted(AFFECTED)))


@pytest.fixture
def load(own_cluster, tmp_path):
    load = Load(tmp_path, own_cluster)
    yield load
    load.close()


@pytest.fixture
def patient(own_cluster):
    """Let no replica take a primary's place that a busy machine only keeps waiting."""
    own_cluster.configure("cluster-node-timeout", "5000")


def elsewhere(cluster):
    """Give a primary that does not serve the affected topic."""
    return next(node for node in cluster.primaries() if node is not cluster.owner_of(SLOT))


def test_topics_are_spread_over_all_primaries(own_cluster):
    owners = [own_cluster.owner_of(slot_of(topic.encode())) for topic in TOPICS]
    assert owners == own_cluster.primaries()


def test_a_slot_moves_key_by_key_there_and_back(own_cluster, load, record, patient):
    source, target = own_cluster.owner_of(SLOT), elsewhere(own_cluster)
    load.begin()
    for _ in range(TIMES):
        own_cluster.move_slot(SLOT, target)
        load.goes_on()
        own_cluster.move_slot(SLOT, source)
        load.goes_on()
    load.end("slot moved key by key", 2 * TIMES, record)


def test_a_slot_moves_as_a_whole_there_and_back(own_cluster, load, record, patient):
    if not own_cluster.moves_atomically:
        pytest.skip("this server moves slots key by key alone")
    source, target = own_cluster.owner_of(SLOT), elsewhere(own_cluster)
    load.begin()
    for _ in range(TIMES):
        own_cluster.move_slots_atomically([SLOT], target)
        load.goes_on()
        own_cluster.move_slots_atomically([SLOT], source)
        load.goes_on()
    load.end("slot moved as a whole", 2 * TIMES, record)


@pytest.fixture
def primary(own_cluster):
    """The primary of the affected topic, with two replicas: one can confirm what the other has."""
    primary = own_cluster.owner_of(SLOT)
    own_cluster.add_node(replicates=primary)
    return primary


def test_a_primary_is_killed(own_cluster, load, record, primary):
    load.begin()
    own_cluster.kill(primary)
    load.goes_on()
    own_cluster.wait_until_replaced(primary)
    own_cluster.restart(primary)
    own_cluster.wait_until_ok()
    load.end("primary killed", 1, record)


def test_a_primary_is_paused_until_it_is_replaced(own_cluster, load, record, primary):
    load.begin()
    with own_cluster.paused(primary):
        load.goes_on()
        own_cluster.wait_until_replaced(primary)
    # What it does now, before it knows better, is forgotten.
    load.journal.note("failover")
    own_cluster.wait_until_ok()
    load.end("primary paused until replaced", 1, record)


def test_a_primary_is_added_and_removed(own_cluster, load, record, patient):
    load.begin()
    added = own_cluster.add_node()
    own_cluster.add_node(replicates=added)
    own_cluster.move_slots([SLOT], added)
    load.goes_on()
    replica = own_cluster.replica_of(added)
    own_cluster.remove_node(added)
    load.goes_on()
    own_cluster.remove_node(replica)
    load.end("primary added and removed", 1, record)


def test_every_node_is_restarted_in_turn(own_cluster, load, record, patient):
    load.begin()
    for node in list(own_cluster.nodes):
        if node in own_cluster.primaries():
            own_cluster.fail_over(node)
        own_cluster.kill(node)
        own_cluster.restart(node)
        own_cluster.wait_until_ok()
        load.goes_on()
    load.end("every node restarted in turn", 6, record)


@pytest.mark.parametrize("kind", ["hostname", "unknown-endpoint"])
def test_endpoints_are_announced_otherwise(own_cluster, load, record, primary, kind):
    own_cluster.announce(kind)
    load.begin()
    own_cluster.move_slot(SLOT, elsewhere(own_cluster))
    load.goes_on()
    own_cluster.move_slot(SLOT, primary)
    load.goes_on()
    own_cluster.kill(primary)
    load.goes_on()
    own_cluster.wait_until_replaced(primary)
    own_cluster.restart(primary)
    own_cluster.wait_until_ok()
    load.end(f"{kind}, slot moved, primary killed", 3, record)
