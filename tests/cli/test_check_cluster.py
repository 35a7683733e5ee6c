"""What is wrong with a cluster: each of its nodes is looked at, and what all say is said once."""

import json
from datetime import timedelta

import pytest
from clusters import Cluster
from command_line import click_runner
from waiting import wait_until

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.cli.group import group
from faststream_redis_timers_sync.manage.check import Reading, check_server, compare_clocks
from faststream_redis_timers_sync.manage.cluster import (
    CLUSTER_NODES,
    View,
    check_cluster,
    read_nodes,
)
from faststream_redis_timers_sync.manage.findings import Finding, agreed
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.protocol.cluster import SLOTS

HOUR = timedelta(hours=1)
LONGEST = 30.0


@pytest.fixture(autouse=True)
def _lists_replicas(request):
    """Wait until a new cluster lists its replicas: before they have read anything it doesn't."""
    for name in {"empty_cluster", "own_cluster"} & set(request.fixturenames):
        cluster = request.getfixturevalue(name)
        count = len(cluster.nodes)
        with TimersClient(cluster.url) as timers:
            nodes = internals_of(timers).runner.nodes
            wait_until(lambda nodes=nodes, count=count: len(nodes()) == count, LONGEST)


@pytest.fixture
def timers(empty_cluster):
    """A client of the cluster."""
    with TimersClient(empty_cluster.url) as timers:
        yield timers


@pytest.fixture
def setting(empty_cluster):
    """Change a setting of a node until the end of the test."""
    before = []

    def change(node, name, value):
        before.append((node, name, node.ask("CONFIG", "GET", name)[1]))
        node.ask("CONFIG", "SET", name, value)

    yield change
    for node, name, value in reversed(before):
        node.ask("CONFIG", "SET", name, value)


@pytest.fixture
def as_user(empty_cluster):
    """Make a user with these rules at nodes, all by default, and a client of the cluster for it."""
    clients = []

    def make(*rules, nodes=empty_cluster.nodes):
        for node in nodes:
            node.ask("ACL", "SETUSER", "alice", "reset", "on", ">secret", *rules)
        if not clients:
            url = empty_cluster.url.replace("://", "://alice:secret@")
            clients.append(TimersClient(url))
        return clients[0]

    yield make
    for client in clients:
        client.close()
    for node in empty_cluster.nodes:
        node.ask("ACL", "DELUSER", "alice")


def found(timers, check):
    return [finding for finding in check_server(timers) if finding.check == check]


def run(cluster, *words):
    return click_runner().invoke(
        group, ["--redis-url", cluster.url, *words], catch_exceptions=False
    )


# --- what all nodes say is said once


def test_a_cluster_in_order_has_a_line_for_each_thing_looked_at(timers, setting, empty_cluster):
    for node in empty_cluster.nodes:
        setting(node, "cluster-node-timeout", "1500")

    findings = list(check_server(timers))

    assert [finding.check for finding in findings] == [
        *("version", "cluster", "replicas", "eviction", "memory", "persistence", "failover"),
        *("permissions", "layout", "clock"),
    ]
    assert {finding.level for finding in findings if finding.check != "persistence"} == {"ok"}
    assert all(finding.nodes == () for finding in findings)
    messages = {finding.check: finding.message for finding in findings}
    assert messages["cluster"] == "3 primaries serve all slots"
    assert messages["replicas"] == "each primary has 1 replica"
    assert "outlast a failover" in messages["failover"]
    assert messages["clock"].startswith("the nodes' clocks and this machine's agree to 0.0")


def test_what_one_node_says_names_it_replicas_too(timers, setting, empty_cluster):
    odd = empty_cluster.nodes[4]
    setting(odd, "maxmemory-policy", "allkeys-lru")
    setting(odd, "maxmemory", "1gb")

    eviction = found(timers, "eviction")

    assert [finding.level for finding in eviction] == ["error", "ok"]
    assert eviction[0].message.startswith(f"{odd.address}: maxmemory-policy is allkeys-lru")
    assert eviction[0].nodes == (odd.address,)
    assert eviction[1].message == f"all but {odd.address}: maxmemory-policy is noeviction"
    assert len(eviction[1].nodes) == 5
    result = run(empty_cluster, "check")
    assert result.exit_code == 1
    assert "timers could be evicted" in result.stdout
    as_json = run(empty_cluster, "check", "--json").stdout
    records = [json.loads(line) for line in as_json.splitlines()]
    assert [record["nodes"] for record in records if record["check"] == "eviction"] == [
        [odd.address],
        sorted({node.address for node in empty_cluster.nodes} - {odd.address}),
    ]


def test_of_amounts_the_largest_is_told(timers, setting, empty_cluster):
    used = empty_cluster.nodes[0].client().info("memory")["used_memory"]
    for node in empty_cluster.nodes[:2]:
        setting(node, "maxmemory", str(100 * used))
    setting(empty_cluster.nodes[2], "maxmemory", str(50 * used))

    (memory,) = found(timers, "memory")

    assert memory.level == "ok"
    assert memory.message.endswith(", the most of 6 nodes")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"a": "x", "b": "x", "c": "x"}, ["x"]),
        ({"a": "x", "b": "y", "c": "y"}, ["a: x", "all but a: y"]),
        ({"a": "x", "b": "x", "c": "y", "d": "y"}, ["a, b: x", "c, d: y"]),
        ({"a": "x", "b": "y", "c": "z"}, ["a: x", "b: y", "c: z"]),
        ({}, []),
    ],
)
def test_nodes_that_say_alike_are_told_together(said, told):
    pairs = [(node, Finding("version", "ok", message)) for node, message in said.items()]

    assert [finding.message for finding in agreed(pairs, list(said))] == told


def test_the_worst_is_told_first_and_a_node_may_have_several_findings():
    pairs = [
        ("a", Finding("permissions", "ok", "fine")),
        ("b", Finding("permissions", "warning", "little")),
        ("b", Finding("permissions", "error", "much")),
        ("c", Finding("permissions", "unknown", "dark")),
    ]

    told = [(finding.level, finding.message) for finding in agreed(pairs, ["a", "b", "c"])]

    assert told == [
        ("error", "b: much"),
        ("warning", "b: little"),
        ("unknown", "c: dark"),
        ("ok", "a: fine"),
    ]


@pytest.mark.parametrize("options", [{"protocol": 2}, {"protocol": 3}, {"decode_responses": True}])
def test_whatever_a_client_s_connections_speak_the_findings_are_the_same(
    options, timers, empty_cluster
):
    def checked(client):
        return [(finding.check, finding.level) for finding in check_server(client)]

    with TimersClient(empty_cluster.url, options=options) as other:
        assert checked(other) == checked(timers)


# --- the cluster


def test_slots_on_the_move_are_told_with_where_they_go(timers, empty_cluster):
    source, target, _ = empty_cluster.primaries()
    slot = min(empty_cluster.slots_of(source))
    empty_cluster.begin_move(slot, target)
    try:
        fine, moving = found(timers, "cluster")
    finally:
        empty_cluster.abandon_move(slot, target)

    assert fine.level == "ok"
    assert moving.level == "warning"
    assert f"slot {slot} from {source.address} to {target.address}. Until" in moving.message
    assert "--cluster fix" in moving.remedy
    assert len(found(timers, "cluster")) == 1


def test_a_move_that_one_side_has_forgotten_is_told_too(timers, empty_cluster):
    source, target, _ = empty_cluster.primaries()
    slots = sorted(empty_cluster.slots_of(source))[:4]
    for slot in slots:
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    try:
        _, moving = found(timers, "cluster")
    finally:
        for slot in slots:
            target.ask("CLUSTER", "SETSLOT", slot, "STABLE")

    assert f"4 slots from {source.address} to {target.address}" in moving.message


def test_the_default_node_timeout_outlasts_calls(timers, setting, empty_cluster):
    setting(empty_cluster.nodes[0], "cluster-node-timeout", "15000")

    (failover,) = found(timers, "failover")

    assert failover.level == "warning"
    assert failover.message.startswith(
        "cluster-node-timeout is 15 s: a failover takes longer than the 4 s"
    )
    assert "set cluster-node-timeout to 1500 ms" in failover.remedy


@pytest.mark.parametrize("kind", ["hostname", "unknown-endpoint"])
def test_nodes_are_named_as_clients_reach_them(kind, own_cluster):
    source, target, _ = own_cluster.primaries()
    slot = min(own_cluster.slots_of(source))
    own_cluster.announce(kind)
    host = {"hostname": "localhost", "unknown-endpoint": "127.0.0.1"}[kind]
    with TimersClient(own_cluster.url) as timers:
        own_cluster.begin_move(slot, target)
        _, moving = found(timers, "cluster")
        replica = own_cluster.replica_of(source)
        own_cluster.kill(replica)
        wait_until(lambda: "fail" in line_of(target, replica), LONGEST)
        (nodes,) = found(timers, "nodes")
        (replicas,) = found(timers, "replicas")

    assert f"from {host}:{source.port} to {host}:{target.port}." in moving.message
    assert f"{replica.port}" in nodes.message
    assert replicas.message.startswith(f"{host}:{source.port}: 0 replicas")


@pytest.mark.parametrize("kind", ["hostname", "unknown-endpoint"])
def test_a_node_that_is_silent_and_has_failed_is_told_once(kind, own_cluster):
    source, target, _ = own_cluster.primaries()
    replica = own_cluster.replica_of(source)
    own_cluster.announce(kind)
    with TimersClient(own_cluster.url) as timers:
        # As where a client asks for the map before it shows that the node is gone.
        nodes = internals_of(timers).runner.nodes()
        own_cluster.kill(replica)
        wait_until(lambda: "fail" in line_of(target, replica), LONGEST)
        (gone,) = [node for node in nodes if node.address.endswith(f":{replica.port}")]
        views = [
            View(node, None, known=node.run(CLUSTER_NODES)) for node in nodes if node is not gone
        ]
        told = list(check_cluster(timers, views, [(gone, "it does not answer")]))

    assert [f.message for f in told if f.check == "nodes"] == ["it does not answer"]


def test_a_slot_without_a_primary_is_an_error(own_cluster):
    with TimersClient(own_cluster.url) as timers:
        for node in own_cluster.nodes:
            node.ask("CLUSTER", "DELSLOTS", 0)
        wait_until(
            lambda: all("state:fail" in node.ask("CLUSTER", "INFO") for node in own_cluster.nodes),
            LONGEST,
        )

        findings = list(check_server(timers))
        topics = run(own_cluster, "topics")

    cluster = next(finding for finding in findings if finding.check == "cluster")
    assert cluster.level == "error"
    assert f"no primary serves 1 of {SLOTS:,} slots" in cluster.message
    assert cluster.message.endswith("cluster_state is fail")
    assert {finding.level for finding in findings if finding.check == "layout"} == {"unknown"}
    assert topics.exit_code == 4
    assert "the cluster refused: no primary of the cluster serves these slots: 0;" in topics.stderr


def test_replicas_and_primaries_that_are_away_are_told(own_cluster):
    with TimersClient(own_cluster.url) as timers:
        primary, other, _ = own_cluster.primaries()
        replica = own_cluster.replica_of(primary)
        own_cluster.kill(replica)
        wait_until(lambda: "fail" in line_of(other, replica), LONGEST)

        findings = list(check_server(timers))

        nodes = [finding for finding in findings if finding.check == "nodes"]
        assert [(one.level, one.nodes) for one in nodes] == [("warning", (replica.address,))]
        replicas = [finding for finding in findings if finding.check == "replicas"]
        assert [(one.level, one.message) for one in replicas] == [
            ("warning", f"{primary.address}: 0 replicas, where others have 1")
        ]
        assert all(finding.level != "error" for finding in findings)

        own_cluster.kill(primary)
        wait_until(lambda: "state:fail" in other.ask("CLUSTER", "INFO"), LONGEST)
        findings = list(check_server(timers))

        errors = [finding for finding in findings if finding.level == "error"]
        assert [one.check for one in errors] == ["nodes", "cluster"]
        assert errors[0].nodes == (primary.address,)
        assert f"{primary.address} can't be reached: connection refused" in errors[0].message
        assert "slots has failed" in errors[1].message


def line_of(node, other):
    (line,) = [line for line in node.ask("CLUSTER", "NODES").splitlines() if other.address in line]
    return line.split()[2].split(",")


def test_a_cluster_without_replicas_is_a_warning():
    with Cluster(replicas=0) as cluster, TimersClient(cluster.url) as timers:
        (replicas,) = found(timers, "replicas")

    assert (replicas.level, replicas.remedy) == ("warning", "give each primary a replica")


# --- rights


def test_a_user_whom_one_node_does_not_know_is_told_of_that_node(as_user, empty_cluster):
    away = empty_cluster.nodes[5]
    timers = as_user("~*", "&*", "+@all", nodes=empty_cluster.nodes[:5])

    (nodes,) = found(timers, "nodes")

    assert (nodes.level, nodes.nodes) == ("warning", (away.address,))
    assert f"{away.address} refused the login: check user and password" in nodes.message


def test_a_right_that_is_missing_at_one_node_is_told_of_it(as_user, empty_cluster):
    timers = as_user("~*", "&*", "+@all")
    odd = empty_cluster.nodes[1]
    as_user("~*", "&*", "+@all", "-spublish", nodes=[odd])

    missing, fine = found(timers, "permissions")

    assert missing.level == "warning"
    assert missing.message.startswith(f"{odd.address}: this user may not wake workers")
    assert missing.rule.startswith("ACL SETUSER alice &timers_timeline:*")
    assert fine.message == f"all but {odd.address}: this user has all permissions that timers need"


def test_a_user_who_may_not_ask_for_the_cluster_hears_what_would_let_him(as_user, empty_cluster):
    timers = as_user("~*", "&*", "+@all", "-cluster|info", "-config")

    (cluster,) = found(timers, "cluster")

    assert cluster.level == "unknown"
    assert cluster.rule == "ACL SETUSER alice +cluster|info +cluster|nodes"
    assert found(timers, "replicas") == found(timers, "failover") == []
    for node in empty_cluster.nodes:
        node.ask(*cluster.rule.split())
    assert found(timers, "cluster")[0].level == "ok"


def test_the_rules_that_are_printed_give_a_user_all_it_needs_at_every_node(as_user, empty_cluster):
    timers = as_user("+cluster|slots", "+acl|whoami")
    rules = [finding.rule for finding in check_server(timers) if finding.rule]
    for node in empty_cluster.nodes:
        for rule in rules:
            node.ask(*rule.split(" "))

    assert [finding.rule for finding in check_server(timers) if finding.rule] == []
    timers.schedule("x", "topic", timer_id="one", activate_in=HOUR)
    assert timers.cancel_timer("topic", "one")


# --- clocks


# Readings in place of servers: libfaketime stops a server now and then as it starts.
@pytest.mark.parametrize(
    ("ahead", "level", "words"),
    [
        ({"a": 0.0, "b": 0.9, "c": 0.1}, "ok", "clocks and this machine's agree to 0.9"),
        ({"a": 0.0, "b": -5.0, "c": 1.0}, "warning", "clock of c is 6.000 s ahead of that of b"),
        ({"a": 60.0, "b": 60.1}, "warning", "nodes' clocks are 60.100 s ahead of this machine"),
        ({"a": -60.0, "b": -60.1}, "warning", "nodes' clocks are 60.100 s behind this machine"),
        ({"a": 60.0}, "warning", "the server's clock is 60.000 s ahead of this machine"),
    ],
)
def test_clocks_of_nodes_that_differ_are_told(ahead, level, words):
    doubt = timedelta(milliseconds=1)
    readings = {node: Reading(timedelta(seconds=off), doubt) for node, off in ahead.items()}

    finding = compare_clocks(readings)

    assert (finding.check, finding.level) == ("clock", level)
    assert words in finding.message
    assert finding.nodes == ("c", "b") or "ahead of that" not in finding.message


def test_a_slow_look_at_clocks_is_no_difference_between_them():
    readings = {"a": Reading(timedelta(0), timedelta(0)), "b": Reading(HOUR, HOUR)}

    assert compare_clocks(readings).level == "ok"


# --- a client of one node


def test_a_client_of_one_node_is_told_how_to_name_the_cluster(empty_cluster):
    with TimersClient(empty_cluster.nodes[0].url, hash_tags=True) as timers:
        (cluster,) = found(timers, "cluster")

    assert cluster.level == "error"
    assert "redis+cluster://" in cluster.remedy


# --- what nodes tell


def test_lines_of_nodes_are_read():
    replica, mine, gone = read_nodes(
        "07c3 127.0.0.1:30004@31004,host-4 slave e7d1 0 1426238317239 4 connected\n"
        "e7d1 10.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-5460 7000 [93->-292f] "
        "[77-<-e7d1]\n"
        "292f :0@0 master,fail,noaddr - 1 1 3 disconnected\n"
    )

    assert (mine.address, mine.is_primary, mine.is_down) == ("10.0.0.1:30001", True, False)
    assert (mine.leaving, mine.coming) == ({93: "292f"}, {77: "e7d1"})
    assert (replica.address, replica.primary_id) == ("127.0.0.1:30004", "e7d1")
    assert (replica.hostname_address, mine.hostname_address) == ("host-4:30004", mine.address)
    assert (replica.is_primary, gone.is_primary, gone.is_down) == (False, False, True)
