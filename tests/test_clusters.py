"""The clusters of tests do what their names say."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
import trustme
from clusters import Cluster
from command_line import ROOT
from waiting import wait_until

from examples.embedded_cluster import SLOTS, TLS

KEYS = [f"{{here}}:{n}" for n in range(250)]


@pytest.fixture
def slot(own_cluster):
    """A slot that has keys."""
    slot = own_cluster.key_slot(KEYS[0])
    for key in KEYS:
        own_cluster.owner_of(slot).ask("SET", key, key)
    return slot


def keys_at(node, slot):
    return node.ask("CLUSTER", "COUNTKEYSINSLOT", slot)


def test_three_primaries_share_all_slots_and_have_a_replica_each(cluster):
    primaries = cluster.primaries()
    assert primaries == cluster.nodes[:3]
    assert [cluster.replica_of(primary) for primary in primaries] == cluster.nodes[3:]
    assert sum(len(cluster.slots_of(primary)) for primary in primaries) == SLOTS
    assert cluster.is_ok()
    assert cluster.url.startswith("redis+cluster://127.0.0.1:")
    assert cluster.url.count(",") == 5


def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica(own_cluster, slot):
    primary = own_cluster.owner_of(slot)
    replica = own_cluster.replica_of(primary)
    wait_until(lambda: keys_at(replica, slot) == len(KEYS))
    own_cluster.kill(primary)
    before = time.monotonic()
    own_cluster.wait_until_replaced(primary)
    assert any(before < moment < time.monotonic() for moment in own_cluster.elections())
    assert own_cluster.owner_of(slot) is replica
    assert keys_at(replica, slot) == len(KEYS)
    own_cluster.restart(primary)
    own_cluster.wait_until_ok()
    assert own_cluster.replica_of(replica) is primary


def test_a_node_that_is_killed_and_started_at_once_has_what_it_had(own_cluster, slot):
    primary = own_cluster.owner_of(slot)
    own_cluster.kill(primary)
    own_cluster.restart(primary)
    own_cluster.wait_until_ok()
    assert keys_at(own_cluster.owner_of(slot), slot) == len(KEYS)


def test_a_paused_primary_is_replaced_and_goes_on_as_a_replica(own_cluster, slot):
    primary = own_cluster.owner_of(slot)
    with own_cluster.paused(primary):
        own_cluster.wait_until_replaced(primary)
        replica = own_cluster.owner_of(slot)
    own_cluster.wait_until_ok()
    assert own_cluster.replica_of(replica) is primary
    assert own_cluster.owner_of(slot) is replica


def test_a_replica_takes_its_primary_s_place_on_demand(own_cluster, slot):
    primary = own_cluster.owner_of(slot)
    replica = own_cluster.fail_over(primary)
    assert own_cluster.owner_of(slot) is replica
    assert own_cluster.replica_of(replica) is primary
    assert own_cluster.fail_over(replica) is primary
    assert own_cluster.owner_of(slot) is primary


def test_a_slot_moves_key_by_key_and_back(own_cluster, slot):
    source = own_cluster.owner_of(slot)
    target = next(node for node in own_cluster.primaries() if node is not source)
    for before, after in ((source, target), (target, source)):
        own_cluster.move_slot(slot, after)
        assert own_cluster.owner_of(slot) is after
        assert (keys_at(before, slot), keys_at(after, slot)) == (0, len(KEYS))


def test_a_slot_is_held_half_moved(own_cluster, slot):
    source = own_cluster.owner_of(slot)
    target = next(node for node in own_cluster.primaries() if node is not source)
    own_cluster.begin_move(slot, target)
    own_cluster.move_keys(slot, target, *KEYS[:2])
    assert (keys_at(source, slot), keys_at(target, slot)) == (len(KEYS) - 2, 2)
    assert own_cluster.owner_of(slot) is source
    with pytest.raises(redis.ResponseError, match=rf"^(ASK )?{slot} {target.address}$"):
        source.ask("GET", KEYS[0])
    with pytest.raises(redis.ResponseError, match="Multiple keys request during"):
        source.ask("MGET", KEYS[0], KEYS[2])
    own_cluster.move_keys(slot, target)
    own_cluster.finish_move(slot, target)
    assert keys_at(target, slot) == len(KEYS)


def test_a_move_that_is_abandoned_leaves_the_slot_where_it_is(own_cluster, slot):
    source = own_cluster.owner_of(slot)
    target = next(node for node in own_cluster.primaries() if node is not source)
    own_cluster.begin_move(slot, target)
    own_cluster.abandon_move(slot, target)
    assert source.ask("GET", KEYS[0]) == KEYS[0]
    assert source.ask("GET", f"{KEYS[0]} is not there") is None


def test_slots_move_as_a_whole_and_back_where_the_server_can(own_cluster, slot):
    if not own_cluster.moves_atomically:
        assert "MIGRATESLOTS" not in str(own_cluster.nodes[0].ask("CLUSTER", "HELP"))
        return
    source = own_cluster.owner_of(slot)
    target = next(node for node in own_cluster.primaries() if node is not source)
    neighbour = min(own_cluster.slots_of(source) - {slot})
    for before, after in ((source, target), (target, source)):
        own_cluster.move_slots_atomically([slot, neighbour], after)
        assert {slot, neighbour} <= own_cluster.slots_of(after)
        assert (keys_at(before, slot), keys_at(after, slot)) == (0, len(KEYS))


def test_a_node_is_added_given_slots_and_removed(own_cluster, slot):
    source = own_cluster.owner_of(slot)
    added = own_cluster.add_node()
    assert added not in own_cluster.primaries()
    replica = own_cluster.add_node(replicates=added)
    own_cluster.move_slots([slot, slot + 1], added)
    assert own_cluster.owner_of(slot) is added
    assert own_cluster.replica_of(added) is replica
    own_cluster.remove_node(replica)
    own_cluster.remove_node(added)
    assert len(own_cluster.nodes) == 6
    assert keys_at(own_cluster.owner_of(slot), slot) == len(KEYS)
    own_cluster.remove_node(source)
    assert len(own_cluster.primaries()) == 2
    assert sum(len(own_cluster.slots_of(primary)) for primary in own_cluster.primaries()) == SLOTS
    assert keys_at(own_cluster.owner_of(slot), slot) == len(KEYS)


@pytest.mark.parametrize("kind", ["hostname", "unknown-endpoint"])
def test_nodes_are_announced_otherwise(cluster, kind):
    primary, other = cluster.primaries()[:2]
    slots = cluster.slots_of(other)
    key = next(f"{n}" for n in range(1000) if cluster.key_slot(f"{n}") in slots)
    cluster.announce(kind)
    try:
        host = {"hostname": "localhost", "unknown-endpoint": None}[kind]
        assert cluster._announced() == {host}
        with pytest.raises(redis.ResponseError, match=rf"^(MOVED )?\d+ {host or ''}:{other.port}$"):
            primary.ask("GET", key)
    finally:
        cluster.announce("ip")


# Where a shell has started all this in its background, SIGINT is ignored.
LEFT_ALONE = """
import signal
import time
from examples.embedded_cluster import EmbeddedCluster
signal.signal(signal.SIGINT, signal.default_int_handler)
with EmbeddedCluster() as cluster:
    print(cluster._folder, *(node.pid for node in cluster.nodes), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_or_folder_outlives_the_one_that_started_it(number):
    with subprocess.Popen(
        [sys.executable, "-c", LEFT_ALONE], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        folder, *pids = process.stdout.readline().split()
        assert len(pids) == 6
        assert Path(folder).exists()
        process.send_signal(number)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    wait_until(lambda: not Path(folder).exists())


@pytest.fixture
def certificates(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "node.pem")
    issued.private_key_pem.write_to_path(tmp_path / "node.key")
    return TLS(tmp_path / "ca.pem", tmp_path / "node.pem", tmp_path / "node.key")


def test_nodes_speak_tls(certificates):
    binary = shutil.which("redis-server")
    if binary is None and os.environ.get("CI") != "true":
        pytest.skip("there is no redis-server here, and the embedded one has no TLS")
    with Cluster(binary, tls=certificates) as cluster:
        assert cluster.url.startswith("rediss+cluster://127.0.0.1:")
        source, target = cluster.primaries()[:2]
        slot = min(cluster.slots_of(source))
        cluster.move_slot(slot, target)
        assert cluster.owner_of(slot) is target
        with redis.Redis(port=source.port) as client, pytest.raises(redis.ConnectionError):
            client.ping()
        with source.client() as client:
            assert client.ping()


def test_processes_end_with_the_block(tmp_path):
    with Cluster() as cluster:
        pids = [node.pid for node in cluster.nodes]
        cluster.pause(cluster.nodes[0])
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
