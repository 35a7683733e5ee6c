"""Topics and listening workers of a cluster: each primary has its own."""

from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
import redis
from command_line import click_runner

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.cli.group import group
from faststream_redis_timers_sync.manage.server import count_keys, internals_of
from faststream_redis_timers_sync.manage.topics import (
    count_workers,
    listening_topics,
    scan_topics,
)
from faststream_redis_timers_sync.protocol.cluster import SLOTS, slot_of

HOUR = timedelta(hours=1)
TOPICS = {f"topic-{n}" for n in range(30)}
ONE_TAG = {f"{name}_key": f"{{t}}:{name}" for name in ("timeline", "payloads", "attempts")}


@pytest.fixture
def timers(empty_cluster):
    """A client of the cluster."""
    with TimersClient(empty_cluster.url) as timers:
        yield timers


@pytest.fixture
def one_tag(empty_cluster):
    """A client of the cluster whose key names hold one tag, so that all topics are in one slot."""
    with redis.RedisCluster.from_url(empty_cluster.nodes[0].url) as client:
        yield TimersClient(client, **ONE_TAG)


@contextmanager
def listening(node, topic, *, keys, count=1):
    """Listen to a topic at a node, as workers do."""
    with ExitStack() as stack:
        client = stack.enter_context(node.client())
        for _ in range(count):
            pubsub = stack.enter_context(client.pubsub())
            subscribe = pubsub.ssubscribe if keys.hash_tags else pubsub.subscribe
            subscribe(keys.channel_of(topic))
            assert "subscribe" in pubsub.get_message(timeout=10)["type"]
        yield


def schedule_all(timers):
    for topic in TOPICS:
        timers.schedule("x", topic, activate_in=HOUR)


def slot_at(cluster, timers, topic):
    slot = slot_of(internals_of(timers).keys.of(topic).timeline)
    return slot, cluster.owner_of(slot)


def other_than(cluster, node):
    return next(one for one in cluster.primaries() if one is not node)


# --- a scan


def test_a_scan_goes_through_all_primaries(timers, empty_cluster):
    schedule_all(timers)
    owners = {slot_at(empty_cluster, timers, topic)[1] for topic in TOPICS}

    found = scan_topics(timers, seconds=60)

    assert len(owners) == 3
    assert found == (TOPICS, "", 3000, set(), False)
    assert count_keys(timers) == 2 * len(TOPICS)


def test_a_scan_is_gone_on_with_by_another_client_and_its_cursor_is_a_text(timers, empty_cluster):
    schedule_all(timers)
    for primary in empty_cluster.primaries():
        served = empty_cluster.slots_of(primary)
        tag = next(f"{m}" for m in range(SLOTS) if slot_of(f"{m}".encode()) in served)
        with primary.client() as client:
            client.mset({f"foreign:{{{tag}}}:{m}": "x" for m in range(3000)})
    found, parts, examined, cursor = set(), 0, 0, ""
    while cursor or not parts:
        with TimersClient(empty_cluster.url) as one:
            part = scan_topics(one, cursor, seconds=0.0)
        assert not part.has_gaps
        parts, examined, cursor = parts + 1, examined + part.examined, part.cursor
        found |= part.topics

    assert found == TOPICS
    # Three of 1,000 keys at least at each primary.
    assert 9 <= parts <= 18
    assert examined == parts * 1000


@pytest.mark.parametrize("cursor", ["x", "1,2", "1,2,3,4", ","])
def test_a_text_that_is_no_cursor_is_refused(cursor, timers):
    with pytest.raises(ValueError, match=r"cursor must be|invalid literal"):
        scan_topics(timers, cursor)


def test_a_slot_that_moves_during_a_scan_leaves_gaps(timers, empty_cluster):
    schedule_all(timers)
    slot, owner = slot_at(empty_cluster, timers, "topic-1")
    begun = scan_topics(timers, seconds=0.0)
    empty_cluster.move_slot(slot, other_than(empty_cluster, owner))
    try:
        parts = [begun]
        while parts[-1].cursor:
            parts.append(scan_topics(timers, parts[-1].cursor, seconds=0.0))

        assert [part.has_gaps for part in parts] == [False] + [True] * (len(parts) - 1)
        assert not scan_topics(timers, seconds=60).has_gaps
    finally:
        empty_cluster.move_slot(slot, owner)


def test_a_slot_that_moves_away_and_back_during_a_scan_leaves_gaps_too(timers, empty_cluster):
    schedule_all(timers)
    slot, owner = slot_at(empty_cluster, timers, "topic-1")
    begun = scan_topics(timers, seconds=0.0)
    empty_cluster.move_slot(slot, other_than(empty_cluster, owner))
    second = scan_topics(timers, begun.cursor, seconds=0.0)
    empty_cluster.move_slot(slot, owner)

    assert scan_topics(timers, second.cursor, seconds=60).has_gaps


def test_a_slot_that_is_on_the_move_at_the_end_of_a_scan_leaves_gaps(timers, empty_cluster):
    schedule_all(timers)
    slot, owner = slot_at(empty_cluster, timers, "topic-1")
    target = other_than(empty_cluster, owner)
    empty_cluster.begin_move(slot, target)
    try:
        part = scan_topics(timers, seconds=60)
    finally:
        empty_cluster.abandon_move(slot, target)

    assert (part.topics, part.has_gaps) == (TOPICS, True)
    assert not scan_topics(timers, seconds=60).has_gaps


def test_a_scan_whose_primary_was_replaced_goes_on_with_the_others(own_cluster):
    with TimersClient(own_cluster.url) as timers:
        schedule_all(timers)
        begun = scan_topics(timers, seconds=0.0)
        (node,) = [node for node in own_cluster.nodes if node.address in begun.cursor]
        own_cluster.fail_over(node)

        rest = scan_topics(timers, begun.cursor, seconds=60)

        assert (rest.cursor, rest.has_gaps) == ("", True)
        assert scan_topics(timers, seconds=60) == (TOPICS, "", 3000, set(), False)


def test_topics_in_one_slot_are_found_at_its_primary(one_tag):
    schedule_all(one_tag)

    assert scan_topics(one_tag, seconds=60).topics == TOPICS


# --- workers


def test_workers_are_counted_at_all_primaries(timers, empty_cluster):
    keys = internals_of(timers).keys
    with ExitStack() as stack:
        for n, topic in enumerate(sorted(TOPICS)):
            _, owner = slot_at(empty_cluster, timers, topic)
            stack.enter_context(listening(owner, topic, keys=keys, count=1 + n % 2))
        expected = {topic: 1 + n % 2 for n, topic in enumerate(sorted(TOPICS))}

        assert listening_topics(timers) == expected
        assert count_workers(timers, [*TOPICS, "unknown"]) == {**expected, "unknown": 0}
        with TimersClient(empty_cluster.url, prefix="topic-1") as mine:
            assert sorted(listening_topics(mine)) == [f"{n}" for n in range(10)]


def test_workers_that_hear_no_wake_ups_are_counted_at_their_topics_primaries(timers, empty_cluster):
    keys = internals_of(timers).keys
    with ExitStack() as stack:
        for topic in TOPICS:
            _, owner = slot_at(empty_cluster, timers, topic)
            pubsub = stack.enter_context(stack.enter_context(owner.client()).pubsub())
            for channel in (keys.workers_channel_of(topic), keys.reserve_channel_of(topic, 5)):
                pubsub.ssubscribe(channel)
                assert pubsub.get_message(timeout=10)["type"] == "ssubscribe"

        assert listening_topics(timers) == dict.fromkeys(TOPICS, 1)


def test_workers_of_topics_in_one_slot_listen_wherever_they_are(one_tag, empty_cluster):
    # PUBLISH goes to every node, so a worker hears at any of them.
    keys = internals_of(one_tag).keys
    with ExitStack() as stack:
        for node in empty_cluster.primaries():
            stack.enter_context(listening(node, "invoices", keys=keys))
        stack.enter_context(listening(empty_cluster.nodes[1], "others", keys=keys))

        assert listening_topics(one_tag) == {"invoices": 3, "others": 1}


# --- the command line


def run(cluster, *words):
    return click_runner().invoke(
        group, ["--redis-url", cluster.url, *words], catch_exceptions=False
    )


def test_the_command_line_lists_topics_of_all_primaries(timers, empty_cluster):
    schedule_all(timers)
    _, owner = slot_at(empty_cluster, timers, "topic-7")
    with listening(owner, "topic-7", keys=internals_of(timers).keys):
        result = run(empty_cluster, "topics")

    lines = result.stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == sorted(TOPICS)
    assert [line.split()[1:] for line in lines if line.startswith("topic-7 ")] == [["1", "0", "1"]]
    assert result.stderr == ""


def test_the_command_line_says_where_a_list_may_have_gaps(timers, empty_cluster, monkeypatch):
    schedule_all(timers)
    slot, owner = slot_at(empty_cluster, timers, "topic-1")
    monkeypatch.setattr("faststream_redis_timers_sync.console.actions._SLICE", 0.0)
    real = scan_topics

    def scan_while_slots_move(client, cursor, **options):
        part = real(client, cursor, **options)
        if not cursor:
            empty_cluster.move_slot(slot, other_than(empty_cluster, owner))
        return part

    monkeypatch.setattr(
        "faststream_redis_timers_sync.console.actions.scan_topics", scan_while_slots_move
    )
    try:
        result = run(empty_cluster, "topics")
    finally:
        empty_cluster.move_slot(slot, owner)

    assert result.exit_code == 0
    assert "topics may be missing: slots of the cluster moved" in " ".join(result.stderr.split())
