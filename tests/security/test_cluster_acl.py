"""The rules for roles on a real cluster: enough, also while a slot moves, and no word too many."""

from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
import redis
from bench import NO_POLLS
from command_line import click_runner
from waiting import wait_until_async

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import (
    Every,
    Series,
    TimerNotReplicatedError,
    TimerPublishMessage,
    TimersClient,
    TimersError,
)
from faststream_redis_timers_sync.cli.group import group
from faststream_redis_timers_sync.manage.check import check_server
from faststream_redis_timers_sync.manage.forecast import Forecasts
from faststream_redis_timers_sync.manage.roles import (
    DECLARER,
    INSPECTOR,
    PRODUCER,
    WORKER,
    role_rule,
)
from faststream_redis_timers_sync.manage.selection import list_timers, redrive_each, reschedule_each
from faststream_redis_timers_sync.manage.server import count_keys, internals_of
from faststream_redis_timers_sync.manage.stats import count_running, count_topics
from faststream_redis_timers_sync.manage.topics import (
    listening_topics,
    scan_topics,
    topics_elsewhere,
)
from faststream_redis_timers_sync.protocol.clients import get_connection_args
from faststream_redis_timers_sync.protocol.cluster import slot_of
from faststream_redis_timers_sync.protocol.keys import RESERVE_GROUPS
from faststream_redis_timers_sync.protocol.model import Settlement
from faststream_redis_timers_sync.protocol.operations import Operations

HOUR = timedelta(hours=1)
PASSWORD = "s3cret"  # noqa: S105  no real one
TOPICS = ["a", "b", "c"]
"""One on each primary."""


@pytest.fixture
def users(empty_cluster):
    """Make users at all nodes, each with a rule of its own and nothing else."""
    names = set()

    def make(rule):
        setuser, name, *words = rule.split(" ")[1:]
        names.add(name)
        for node in empty_cluster.nodes:
            node.ask("ACL", setuser, name, "reset", "on", f">{PASSWORD}", *words)
        # Connections that log in as the user are closed where it is reset.
        return empty_cluster.url.replace("://", f"://{name}:{PASSWORD}@")

    yield make
    for node in empty_cluster.nodes:
        for name in names:
            node.ask("ACL", "DELUSER", name)


def rule_of(role, cluster):
    with TimersClient(cluster.url) as timers:
        return role_rule(timers, role)


@contextmanager
def half_moved(cluster, timers, topic):
    """Let a topic's keys be at another primary than its slot, so that calls are answered ASK."""
    slot = slot_of(internals_of(timers).keys.of(topic).timeline)
    source = cluster.owner_of(slot)
    target = next(node for node in cluster.primaries() if node is not source)
    cluster.begin_move(slot, target)
    try:
        cluster.move_keys(slot, target)
        yield
    finally:
        cluster.flush()
        cluster.abandon_move(slot, target)


def owner_of(cluster, timers, topic):
    return cluster.owner_of(slot_of(internals_of(timers).keys.of(topic).timeline))


def plant_attempts(cluster, timers, topic):
    """Leave attempts of a timer "1" behind, as a server whose memory is full may do."""
    attempts = internals_of(timers).keys.of(topic).attempts
    owner_of(cluster, timers, topic).ask("HSET", attempts, "1", 1)


def has_attempts(cluster, timers, topic):
    attempts = internals_of(timers).keys.of(topic).attempts
    return owner_of(cluster, timers, topic).ask("EXISTS", attempts)


def forget_scripts(cluster):
    for node in cluster.primaries():
        node.ask("SCRIPT", "FLUSH")


def admin_of(cluster):
    return TimersClient(cluster.url)


@contextmanager
def subscribed(cluster, timers, topic, *channels):
    with owner_of(cluster, timers, topic).client() as client, client.pubsub() as pubsub:
        pubsub.ssubscribe(*channels)
        for _ in channels:
            assert pubsub.get_message(timeout=10)["type"] == "ssubscribe"
        yield pubsub


@contextmanager
def hearing_calls(cluster, timers, topic):
    """Be 64 workers in reserve, one in each group, with a function that counts who is called."""
    keys = internals_of(timers).keys
    groups = [keys.reserve_channel_of(topic, group) for group in range(RESERVE_GROUPS)]
    channels = keys.workers_channel_of(topic), *groups
    with subscribed(cluster, timers, topic, *channels) as pubsub:

        def count_heard():
            pubsub.ping()
            kinds = []
            while "pong" not in kinds:
                if message := pubsub.get_message(timeout=10):
                    kinds.append(message["type"])
            return len(kinds) - 1

        yield count_heard


@contextmanager
def hearing(cluster, timers, topic):
    """Yield a function that returns whether anything was published for waiting workers."""
    with subscribed(cluster, timers, topic, internals_of(timers).keys.channel_of(topic)) as pubsub:

        def has_heard():
            found = pubsub.get_message(timeout=10)
            return found is not None and found["type"] == "smessage"

        yield has_heard


# --- what each role does


def produce(cluster, url):
    """Schedule, move and cancel."""
    with TimersClient(url) as timers:
        assert timers.ping()
        with hearing(cluster, timers, "a") as has_heard:
            timers.schedule("x", "a", timer_id="1", headers={"x": "y"}, activate_in=HOUR)
            assert has_heard()
        for topic in TOPICS:
            timers.schedule("x", topic, timer_id="1", activate_in=2 * HOUR, if_exists="keep")
            timers.schedule_batch([TimerPublishMessage("x", timer_id=n) for n in "23456"], topic)
            with pytest.raises(TimersError):
                timers.schedule("x", topic, timer_id="1", if_exists="error")
            plant_attempts(cluster, timers, topic)
            assert timers.reschedule_timer(topic, "1", activate_in=HOUR)
            assert timers.cancel_timer(topic, "1")
            # What may not be forgotten stays, and nothing fails.
            assert not has_attempts(cluster, timers, topic)
            assert timers.cancel_timers(topic, ["2", "3"]) == 2
            timers.schedule("x", topic, timer_id="8", repeat=Every(hours=1))
            # Whether it waits for its next attempt must be known.
            timers.schedule("x", topic, timer_id="8", repeat=Every(hours=2))
            assert timers.pause_timer(topic, "8")
            assert timers.resume_timer(topic, "8")
        with half_moved(cluster, timers, "b"):
            timers.schedule("x", "b", timer_id="7", activate_in=HOUR)
            timers.schedule("x", "b", timer_id="9", repeat=Every(hours=1))
            assert timers.reschedule_timer("b", "7", activate_in=2 * HOUR)
            assert timers.cancel_timer("b", "7")
        assert timers.cancel_all("a") == 0
        with hearing_calls(cluster, timers, "a") as count_heard:
            timers.schedule("x", "a", activate_in=HOUR)
            assert count_heard() == 1


def declare(cluster, url):
    """Do what a producer does, and declare series and remove them."""
    produce(cluster, url)
    with TimersClient(url) as timers:
        series = [Series("x", topic, timer_id="1", repeat=Every(hours=1)) for topic in TOPICS]
        names = [(topic, "1") for topic in TOPICS]
        assert timers.ensure_series(series, owner="shop").created == names
        assert timers.ensure_series([], owner="shop").removed == names
        assert timers.ensure_series([], owner="shop", prune=True).removed == names
        assert [timers.get_timer(*name) for name in names] == [None] * len(names)


def work(cluster, url):
    """Claim, commit, put off, release, renew, dead-letter, clear up, count attempts, and listen."""
    with admin_of(cluster) as here, TimersClient(url) as timers:
        runner, operations = internals_of(timers).runner, Operations(internals_of(timers).keys)
        for timer_id in "12345":
            # Large, or the worker would not ask for sizes.
            here.schedule("x" * 40_000, "a", timer_id=timer_id)
        timeline = operations.keys.of("a").timeline
        owner_of(cluster, here, "a").ask("ZADD", timeline, 1, "orphan")

        def step(*settlements, limit=0, topic="a", dead_topic="a:dead", call=b""):
            return runner.run(
                operations.settle_and_claim(
                    topic,
                    settlements,
                    limit=limit,
                    lease_ttl=30.0,
                    jitter=1,
                    suspect_from=3,
                    dead_topic=dead_topic,
                    call=call,
                )
            )

        assert timers.ping()
        claimed = step(limit=10)
        assert (len(claimed.claimed), claimed.orphans) == (5, [b"orphan"])
        one, two, three, four, five = claimed.claimed
        lease, later = claimed.lease, b"4000000000.0000005"
        with hearing(cluster, here, "a") as has_heard:
            settled = step(
                Settlement(b"commit", one.timer_id, lease),
                Settlement(b"nack", two.timer_id, lease, b"+5.000000"),
                Settlement(b"release", three.timer_id, lease, three.previous_score),
                Settlement(b"renew", four.timer_id, lease, later),
                Settlement(b"dead", five.timer_id, lease, b"6:5:dead" + five.payload),
            )
            assert has_heard()
        assert settled.outcomes == b"11111"
        plant_attempts(cluster, here, "empty")
        assert step(limit=1, topic="empty", dead_topic=None).claimed == []
        assert not has_attempts(cluster, here, "empty")
        assert topics_elsewhere(timers, TOPICS) == []
        for timer_id in "12":
            here.schedule("x", "b", timer_id=timer_id)
        # A topic without attempts is not served until its slot has arrived.
        assert len(step(limit=1, topic="b", dead_topic=None).claimed) == 1
        with half_moved(cluster, here, "b"):
            assert len(step(limit=1, topic="b", dead_topic=None).claimed) == 1
        for timer_id in "1234":
            here.schedule("x", "c", timer_id=timer_id)
        with hearing_calls(cluster, here, "c") as count_heard:
            left = step(limit=1, topic="c", dead_topic=None, call=b"0 0 1 0 0.0")
            assert (left.on_duty, left.workers) == (0, 1)
            assert count_heard() == 3
        listen(cluster, url, here)


def listen(cluster, url, here):
    name = url.partition("://")[2].partition(":")[0]
    node = owner_of(cluster, here, "c")
    with redis.Redis.from_url(
        node.url.replace("://", f"://{name}:{PASSWORD}@"), protocol=2
    ) as client:
        connection = client.connection_pool.get_connection(*get_connection_args(redis.__version__))
        channel = internals_of(here).keys.channel_of("c")
        for words in (["SSUBSCRIBE", channel], ["PING"], ["SUNSUBSCRIBE", channel]):
            connection.send_command(*words)
            connection.read_response()
        client.connection_pool.release(connection)


def inspect(cluster, url):
    """Look at everything."""
    with admin_of(cluster) as here, TimersClient(url) as timers:
        for topic in TOPICS:
            for timer_id in "123":
                here.schedule("x", topic, timer_id=timer_id)
        assert timers.ping()
        assert count_keys(timers) == 2 * len(TOPICS)
        assert scan_topics(timers).topics == set(TOPICS)
        assert listening_topics(timers) == {}
        # None where the server does not allow to count them.
        assert {one.workers for one in count_topics(timers, TOPICS).topics} == {0}
        assert Forecasts(timers).of(TOPICS).overdue == 9
        assert count_running(timers, TOPICS, longest_lease=timedelta(seconds=30))
        look_at(timers, "a")
        found = {finding.check: finding for finding in check_server(timers)}
        assert "unknown" not in {finding.level for finding in found.values()}
        assert "info" not in found
        with half_moved(cluster, here, "b"):
            look_at(timers, "b")


def look_at(timers, topic):
    assert timers.count_pending(topic) == 3
    assert timers.has_pending(topic, "1")
    assert timers.get_timer(topic, "1").decode() == "x"
    assert len(list(timers.iter_timers(topic))) == 3
    assert len(list(timers.iter_timers(topic, match="*"))) == 3
    assert len(list(list_timers(timers, topic, match=None, limit=2))) == 2


def manage(cluster, url):
    """Look, move and redrive, as people do with both rules."""
    with admin_of(cluster) as here, TimersClient(url) as timers:
        here.schedule("x", "b", timer_id="1", activate_in=HOUR)
        here.schedule("x", "b", timer_id="2", activate_in=HOUR)
        assert list(reschedule_each(timers, "b", ["1"])) == [("1", "waiting")]
        here.schedule("no dead letter", "b:dead", timer_id="1")
        assert list(redrive_each(timers, "b:dead", ["1", "2"])) == [
            ("1", "no dead letter"),
            ("2", "unknown"),
        ]
        with half_moved(cluster, here, "b"):
            assert list(reschedule_each(timers, "b", ["1"])) == [("1", "waiting")]
        assert timers.cancel_all("b:dead") == 0


EXERCISES = {WORKER: work, PRODUCER: produce, DECLARER: declare, INSPECTOR: inspect}

ON_ONE_PRIMARY_ALONE = {"+ping"}
"""The sign of life of a cluster is the map of its slots; a worker's listening connections ping."""


@pytest.mark.parametrize("role", EXERCISES, ids=lambda role: role.name)
def test_a_role_s_rule_is_enough_and_each_of_its_words_is_needed(role, users, empty_cluster):
    rule = rule_of(role, empty_cluster)
    forget_scripts(empty_cluster)
    EXERCISES[role](empty_cluster, users(rule))

    superfluous = []
    words = rule.split(" ")
    for n in range(3, len(words)):
        empty_cluster.flush()
        forget_scripts(empty_cluster)
        url = users(" ".join(words[:n] + words[n + 1 :]))
        with suppress(redis.RedisError, TimersError, AssertionError):
            EXERCISES[role](empty_cluster, url)
            superfluous.append(words[n])

    assert set(superfluous) <= ON_ONE_PRIMARY_ALONE


def test_who_manages_needs_an_inspector_s_and_a_producer_s_rule(users, empty_cluster):
    inspector, producer = (rule_of(role, empty_cluster) for role in (INSPECTOR, PRODUCER))
    url = users(" ".join([inspector, *producer.split(" ")[3:]]))

    manage(empty_cluster, url)
    inspect(empty_cluster, url)


async def test_a_worker_and_a_producer_of_these_rules_meet_by_wake_ups_alone(users, empty_cluster):
    worker, producer = (users(rule_of(role, empty_cluster)) for role in (WORKER, PRODUCER))
    for node in empty_cluster.nodes:
        node.ask("ACL", "LOG", "RESET")
    delivered = []
    broker = TimersBroker(worker)
    for topic in TOPICS:

        @broker.subscriber(topic, **NO_POLLS)
        async def handle(body: str) -> None:
            delivered.append(body)

    with TimersClient(producer) as timers, admin_of(empty_cluster) as here:
        async with broker:
            await broker.start()
            await wait_until_async(lambda: listening_topics(here) == dict.fromkeys(TOPICS, 1))
            for topic in TOPICS:
                timers.schedule(topic, topic, activate_in=timedelta(seconds=0.1))
            await wait_until_async(lambda: sorted(delivered) == TOPICS)
        async with TimersBroker(producer) as publishing:
            await publishing.publish("later", "a", timer_id="1", activate_in=HOUR)
            await publishing.cancel_timer("a", "1")

    refused = {entry["object"] for node in empty_cluster.nodes for entry in node.client().acl_log()}
    # Some that redis-py sends when it connects, and does without.
    assert refused <= {"client|setinfo", "client|maint_notifications"}


LOOKS = (["topics"], ["stats"], ["list", "a"], ["show", "a", "1"], ["list", "a", "--match", "*"])


@pytest.mark.parametrize("words", [*LOOKS, ["check"]], ids=" ".join)
def test_the_command_line_looks_with_an_inspector_s_rule(words, users, empty_cluster):
    with admin_of(empty_cluster) as here:
        here.schedule("x", "a", timer_id="1", activate_in=HOUR)
    url = users(rule_of(INSPECTOR, empty_cluster))

    result = click_runner().invoke(group, ["--redis-url", url, *words])

    assert result.exit_code == (0 if words != ["check"] else 1), result.output
    assert "does not allow" not in result.output
    assert "unknown" not in result.output


def test_a_user_without_asking_gets_the_error_and_no_reply_of_another_call(users, empty_cluster):
    rule = rule_of(INSPECTOR, empty_cluster)
    url = users(rule.replace(" +asking", ""))
    with admin_of(empty_cluster) as here, TimersClient(url) as timers:
        for timer_id in "123":
            here.schedule("x", "b", timer_id=timer_id)
        with half_moved(empty_cluster, here, "b"):
            for _ in range(3):
                with pytest.raises(redis.exceptions.NoPermissionError, match="asking"):
                    timers.count_pending("b")
                assert [timers.count_pending(topic) for topic in ("a", "c", "d", "e")] == [0] * 4


def test_confirming_needs_the_right_to_wait(users, empty_cluster):
    rule = rule_of(PRODUCER, empty_cluster)
    with admin_of(empty_cluster) as here:
        here.schedule("x", "b", timer_id="1", activate_in=HOUR)
        with half_moved(empty_cluster, here, "b"):
            with TimersClient(users(rule), confirm_replicas=1) as timers:
                for topic in TOPICS:
                    with pytest.raises(TimerNotReplicatedError, match="NoPermissionError"):
                        timers.schedule("x", topic, timer_id="2", activate_in=HOUR)
            with TimersClient(users(f"{rule} +wait"), confirm_replicas=1) as timers:
                for topic in TOPICS:
                    timers.schedule("x", topic, timer_id="3", activate_in=HOUR)


def test_a_rule_for_names_with_one_tag_has_the_plain_channels_and_what_a_cluster_needs(
    empty_cluster,
):
    names = {f"{name}_key": f"{{t}}:{name}" for name in ("timeline", "payloads", "attempts")}
    with redis.RedisCluster.from_url(empty_cluster.nodes[0].url) as client:
        timers = TimersClient(client, **names)
        rules = {role: role_rule(timers, role).split(" ") for role in EXERCISES}

    for words in rules.values():
        assert {"+cluster|slots", "+asking"} <= set(words)
        assert not any(word.startswith(("+ss", "+sp", "+pubsub|shard")) for word in words)
    assert "+subscribe" in rules[WORKER]
    assert "+publish" in rules[PRODUCER]
    assert {"+pubsub|channels", "+cluster|nodes"} <= set(rules[INSPECTOR])
