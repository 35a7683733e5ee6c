"""The commands and the collector with topics on all primaries of a cluster."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from clusters import Cluster
from command_line import click_runner
from prometheus_client import CollectorRegistry, generate_latest
from waiting import wait_until

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.cli.group import group
from faststream_redis_timers_sync.console import watch as watching
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.manage.server import internals_of, server_time
from faststream_redis_timers_sync.manage.stats import count_running, count_topics
from faststream_redis_timers_sync.prometheus import TimersCollector
from faststream_redis_timers_sync.protocol.cluster import slot_of
from faststream_redis_timers_sync.protocol.dead_letters import Ending, write_dead_letter
from faststream_redis_timers_sync.protocol.envelope import write_envelope
from faststream_redis_timers_sync.protocol.operations import Operations

HOUR = timedelta(hours=1)
TOPICS = ["a", "b", "c"]
"""One on each primary."""


@pytest.fixture
def timers(empty_cluster):
    """A client of the cluster, with timers in topics of all primaries."""
    with TimersClient(empty_cluster.url) as timers:
        for topic in TOPICS:
            timers.schedule("x", topic, timer_id="now")
            timers.schedule("x", topic, timer_id="soon", activate_in=HOUR / 2)
            timers.schedule("x", topic, timer_id="later", activate_in=3 * HOUR)
        assert len({owner_of(empty_cluster, timers, topic) for topic in TOPICS}) == 3
        yield timers


@pytest.fixture
def invoke(empty_cluster):
    """Run the command line on the cluster."""

    def run(*words):
        arguments = ["--redis-url", empty_cluster.url, *words]
        return click_runner().invoke(group, arguments, catch_exceptions=False)

    return run


def slot(timers, topic):
    return slot_of(internals_of(timers).keys.of(topic).timeline)


def owner_of(cluster, timers, topic):
    return cluster.owner_of(slot(timers, topic))


def claim(timers, topic):
    operations = Operations(internals_of(timers).keys)
    step = operations.settle_and_claim(topic, (), limit=1, lease_ttl=30.0, jitter=1)
    return internals_of(timers).runner.run(step).claimed


def records(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- recurring timers


def test_series_are_listed_paused_and_resumed_wherever_they_are(timers, invoke):
    for topic in TOPICS:
        words = ("--id", "hourly", "--every", "1h")
        result = invoke("schedule", topic, "x", *words)
        assert (result.exit_code, result.stdout) == (0, "hourly\n")
        assert result.stderr.startswith("due in ")
        (listed,) = records(invoke("list", topic, "--series", "--json"))
        assert (listed["timer_id"], listed["repeat"]) == ("hourly", "every 3600.000000 0.000000")

        assert invoke("pause", topic, "--all", "--yes").stdout == "1 recurring timer paused\n"
        (shown,) = records(invoke("show", topic, "hourly", "--json"))
        assert (shown["state"], shown["due_at"]) == ("paused", None)
        assert (
            invoke("run-now", topic, "--all", "--yes").stdout == "3 timers made due, 1 unchanged\n"
        )
    counted = records(invoke("stats", *TOPICS, "--json"))
    assert [(stats["pending"], stats["paused"]) for stats in counted] == [(4, 1)] * 3
    for topic in TOPICS:
        assert invoke("resume", topic, "hourly").stdout == "1 paused timer resumed\n"
        result = invoke("cancel", topic, "hourly")
        assert result.stderr == "timer 'hourly' was recurring: its series has ended\n"


# --- looking


def test_topics_are_counted_wherever_they_are(timers, invoke):
    found = records(invoke("stats", *TOPICS, "unknown", "--json"))

    assert [record["topic"] for record in found] == [*TOPICS, "unknown"]
    for record in found[:-1]:
        counts = [record[name] for name in ("pending", "overdue", "within_hour", "within_day")]
        assert counts == [3, 1, 1, 2]
        assert datetime.fromisoformat(record["at"]) >= datetime.fromisoformat(record["next_at"])
    assert (found[-1]["pending"], found[-1]["workers"]) == (0, 0)
    assert [record["topic"] for record in records(invoke("stats", "--json"))] == TOPICS


def test_running_timers_are_counted_wherever_they_are(timers):
    for topic in TOPICS:
        claim(timers, topic)

    running = count_running(timers, TOPICS, longest_lease=timedelta(seconds=30))

    assert running == dict.fromkeys(TOPICS, 1)


def test_each_topic_is_counted_by_the_clock_of_its_primary(timers, empty_cluster):
    before = server_time(timers)

    found = count_topics(timers, TOPICS)

    times = [stats.at for stats in found.topics]
    assert before < times[0] < times[1] < times[2] == found.at


def test_the_time_is_asked_of_the_topic_s_primary(timers, empty_cluster):
    calls = {}
    for topic in TOPICS:
        for node in empty_cluster.primaries():
            node.ask("CONFIG", "RESETSTAT")
        server_time(timers, topic)
        asked = [n for n in empty_cluster.primaries() if "cmdstat_time:calls=1" in stats_of(n)]
        calls[topic] = asked

    assert calls == {topic: [owner_of(empty_cluster, timers, topic)] for topic in TOPICS}


def stats_of(node):
    return node.ask("INFO", "commandstats")


def test_looking_at_one_topic_asks_its_primary_alone(timers, empty_cluster):
    count_topics(timers, ["b"])
    for node in empty_cluster.primaries():
        node.ask("CONFIG", "RESETSTAT")
    count_topics(timers, ["b"])

    owner = owner_of(empty_cluster, timers, "b")
    for node in empty_cluster.primaries():
        names = set(re.findall(r"cmdstat_(\S+):", stats_of(node))) - {"info", "config|resetstat"}
        names -= {"ping", "replconf", "cluster|nodes", "cluster|info"}
        assert bool(names & {"evalsha", "pubsub|shardnumsub"}) == (node is owner), (node, names)


def test_workers_of_a_topic_whose_slot_has_moved_are_counted_at_once(timers, empty_cluster):
    count_topics(timers, TOPICS)
    owner = owner_of(empty_cluster, timers, "a")
    target = owner_of(empty_cluster, timers, "b")
    empty_cluster.move_slot(slot(timers, "a"), target)
    try:
        with target.client() as client, client.pubsub() as pubsub:
            pubsub.ssubscribe(internals_of(timers).keys.channel_of("a"))
            assert pubsub.get_message(timeout=10)["type"] == "ssubscribe"

            assert [stats.workers for stats in count_topics(timers, TOPICS).topics] == [1, 0, 0]
    finally:
        empty_cluster.move_slot(slot(timers, "a"), owner)


def test_while_a_primary_is_away_topics_of_others_are_counted():
    config = {"cluster-require-full-coverage": "no"}
    with Cluster(replicas=0, config=config) as cluster, TimersClient(cluster.url) as timers:
        for topic in TOPICS:
            timers.schedule("x", topic)
        cluster.kill(owner_of(cluster, timers, "a"))

        found = count_topics(timers, ["b", "c"]).topics
        result = click_runner().invoke(group, ["--redis-url", cluster.url, "stats", "a"])

    assert [(stats.pending, stats.workers) for stats in found] == [(1, 0), (1, 0)]
    assert result.exit_code == 4
    assert re.search("the cluster at .* can't be reached: .*[Cc]onnect", result.stderr)


def test_timers_are_listed_and_shown(timers, invoke):
    for topic in TOPICS:
        found = records(invoke("list", topic, "--json"))
        assert [record["timer_id"] for record in found] == ["now", "soon", "later"]
        assert [record["state"] for record in found] == ["overdue", "waiting", "waiting"]
        (details,) = records(invoke("show", topic, "soon", "--json"))
        assert details["body"] == "x"
    assert invoke("show", "a", "unknown").exit_code == 3


def test_a_watch_shows_topics_of_all_primaries(timers, invoke, monkeypatch):
    updates = []

    def stop(seconds):
        updates.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr("faststream_redis_timers_sync.console.watch.time.sleep", stop)

    found = records(invoke("watch", "--json"))

    assert [(record["topic"], record["pending"]) for record in found] == [(t, 3) for t in TOPICS]
    assert len(updates) == 1


def test_a_watch_goes_on_while_slots_are_served_by_nobody():
    with Cluster(replicas=0) as cluster, TimersClient(cluster.url) as timers:
        timers.schedule("x", "a")
        output = Output(as_json=True)
        updates = watching._updates(timers, output, ["a"], 0.01, finds_more=True)
        assert not next(updates).silent
        owner = cluster.owner_of(0)
        for node in cluster.nodes:
            node.ask("CLUSTER", "DELSLOTS", 0)
        wait_until(lambda: all("state:fail" in n.ask("CLUSTER", "INFO") for n in cluster.nodes))

        assert next(updates).silent

        owner.ask("CLUSTER", "ADDSLOTS", 0)
        cluster.wait_until_ok()
        update = next(updates)
        assert not update.silent
        assert [stats.pending for stats in update.snapshot.topics] == [1]


# --- changing


def test_timers_are_changed_wherever_they_are(timers, invoke):
    at = datetime.now(UTC) + 9 * HOUR
    for topic in TOPICS:
        assert records(invoke("cancel", topic, "soon", "--yes", "--json"))[0]["cancelled"] == 1
        moved = invoke("reschedule", topic, "--match", "lat*", "--in", "9h", "--yes", "--json")
        assert records(moved)[0]["moved"] == 1
        assert abs(timers.get_timer(topic, "later").due_at - at) < timedelta(minutes=1)
        assert records(invoke("run-now", topic, "later", "--yes", "--json"))[0]["moved"] == 1
        assert records(invoke("cancel", topic, "--all", "--yes", "--json"))[0]["cancelled"] == 2
        assert timers.count_pending(topic) == 0
        assert invoke("schedule", topic, "y", "--id", "new").stdout == "new\n"
        assert timers.get_timer(topic, "new").decode() == "y"


def test_dead_letters_are_redriven_and_those_of_another_slot_stay(timers, invoke, empty_cluster):
    keys = internals_of(timers).keys.of("a:dead")
    for origin in ("a", "b"):
        ending = Ending(reason="attempts", topic=origin, timer_id=b"1", first_due=b"1.000000")
        dead_letter = write_dead_letter(write_envelope(b"x"), ending)
        length, _, rest = dead_letter.partition(b":")
        dead_id, payload = rest[: int(length)], rest[int(length) :]
        owner = owner_of(empty_cluster, timers, "a:dead")
        owner.ask("ZADD", keys.timeline, 1, dead_id)
        owner.ask("HSET", keys.payloads, dead_id, payload)

    (record,) = records(invoke("redrive", "a:dead", "--all", "--yes", "--json"))

    assert record["redriven"] == 1
    assert record["stayed"]["other_slot"] == 1
    assert timers.has_pending("a", "1")
    assert not timers.has_pending("b", "1")


# --- metrics


def test_a_scrape_counts_topics_of_all_primaries(timers):
    registry = CollectorRegistry()
    registry.register(TimersCollector(timers, TOPICS))
    claim(timers, "b")

    text = generate_latest(registry).decode()

    assert "faststream_timers_up 1.0" in text
    for topic, running in zip(TOPICS, (0, 1, 0), strict=True):
        assert f'faststream_timers_pending{{topic="{topic}"}} 3.0' in text
        assert f'faststream_timers_running{{topic="{topic}"}} {running}.0' in text
        assert f'faststream_timers_workers{{topic="{topic}"}} 0.0' in text


# --- what goes wrong


def test_a_cluster_that_cannot_be_reached_is_told_with_the_node(invoke):
    words = ["--redis-url", "redis+cluster://127.0.0.1:1,127.0.0.1:2", "topics"]

    result = click_runner().invoke(group, words)

    assert result.exit_code == 4
    assert re.search(
        r"the cluster at 127\.0\.0\.1:1, \.\.\. can't be reached: .*1:[12]", result.stderr
    )
