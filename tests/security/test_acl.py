"""The rules for a worker, a producer and an inspector: enough, no word too many, as documented."""

import os
import re
import shutil
from contextlib import suppress
from datetime import timedelta
from functools import partial
from importlib.resources import files

import pytest
import redis
from bench import NO_POLLS
from command_line import ROOT, click_runner
from waiting import wait_until_async

from examples.embedded_server import embedded_server
from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import (
    Every,
    Series,
    TimerNotReplicatedError,
    TimerPublishMessage,
    TimersClient,
    TimersError,
    protocol,
)
from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.cli.group import group
from faststream_redis_timers_sync.manage.check import check_server
from faststream_redis_timers_sync.manage.forecast import Forecasts, Range
from faststream_redis_timers_sync.manage.permissions import name_of, purposes_of
from faststream_redis_timers_sync.manage.roles import (
    DECLARER,
    INSPECTOR,
    PRODUCER,
    ROLES,
    WORKER,
    commands_of,
    role_rule,
)
from faststream_redis_timers_sync.manage.selection import list_timers, reschedule_each
from faststream_redis_timers_sync.manage.server import count_keys
from faststream_redis_timers_sync.manage.stats import count_running, count_topics
from faststream_redis_timers_sync.manage.topics import listening_topics, scan_topics
from faststream_redis_timers_sync.protocol.clients import get_connection_args
from faststream_redis_timers_sync.protocol.dead_letters import Ending, write_dead_letter
from faststream_redis_timers_sync.protocol.envelope import write_envelope
from faststream_redis_timers_sync.protocol.keys import RESERVE_GROUPS, KeySpace
from faststream_redis_timers_sync.protocol.model import Settlement
from faststream_redis_timers_sync.protocol.operations import Operations

HOUR = timedelta(hours=1)
PASSWORD = "s3cret"  # noqa: S105  no real one
CHANNEL = "timers_timeline:t"
PAGE = (ROOT / "docs" / "security.md").read_text()
LAYOUTS = {"plain": KeySpace(), "hash tags": KeySpace(hash_tags=True)}


@pytest.fixture(scope="module", params=["embedded", "redis-server"])
def acl_url(request):
    """The URL of a server of our own, of either make."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "redis-server":
            if shutil.which("redis-server") is None and os.environ.get("CI") != "true":
                pytest.skip("there is no redis-server here")
            patch.setenv("TIMERS_TEST_SERVER", "redis-server")
        with embedded_server(config={}) as url:
            yield url


@pytest.fixture
def admin(acl_url):
    """A client that may do everything, on a server that is empty."""
    with redis.Redis.from_url(acl_url) as client:
        client.flushall()
        yield client
        for user in ("worker", "producer", "inspector"):
            client.acl_deluser(user)


def url_of(user, url):
    return url.replace("://", f"://{user}:{PASSWORD}@")


def rule_of(role, url="redis://localhost:1", **names):
    with TimersClient(url, **names) as timers:
        return role_rule(timers, role)


def make_user(admin, rule):
    """Do as the rule says, with a password, for a user who has nothing else."""
    setuser, name, *words = rule.split(" ")[1:]
    admin.execute_command("ACL", setuser, name, "reset", "on", f">{PASSWORD}", *words)


def of_wake_ups(keys):
    return [keys.channel_of("t")]


def of_reserve(keys):
    """Name the channels of another topic that a worker in each group of its reserve would hear."""
    groups = [keys.reserve_channel_of("u", group) for group in range(RESERVE_GROUPS)]
    return [keys.workers_channel_of("u"), *groups]


class Ears:
    """Hears what is published for workers."""

    def __init__(self, admin, keys, channels_of=of_wake_ups):
        self._pubsub = admin.pubsub(ignore_subscribe_messages=True)
        subscribe = self._pubsub.ssubscribe if keys.hash_tags else self._pubsub.subscribe
        subscribe(*channels_of(keys))
        self.count_heard()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._pubsub.close()

    def count_heard(self):
        """Count what was published before this call, and was not counted."""
        # The answer to this comes after all that was published before.
        self._pubsub.ping()
        kinds = []
        while "pong" not in kinds:
            if message := self._pubsub.get_message(timeout=10):
                kinds.append(message["type"])
        return len(kinds) - 1


def produce(admin, url, keys, user="producer"):
    """Schedule, move and cancel, on a server that does not know the scripts."""
    admin.flushall()
    admin.script_flush()
    names = {"hash_tags": keys.hash_tags}
    with TimersClient(url_of(user, url), **names) as timers, Ears(admin, keys) as ears:
        timers._runner.run(_ping())
        attempts = keys.of("t").attempts
        admin.hset(attempts, "1", "1 1.000000 1.000000")
        timers.schedule("x", "t", timer_id="1", headers={"x": "y"}, activate_in=HOUR)
        # What may be forgotten alone is not refused aloud.
        assert not admin.exists(attempts)
        assert ears.count_heard()
        timers.schedule("x", "t", timer_id="1", activate_in=2 * HOUR, if_exists="keep")
        with pytest.raises(TimersError):
            timers.schedule("x", "t", timer_id="1", if_exists="error")
        timers.schedule_batch([TimerPublishMessage("x", timer_id=n) for n in "23456"], "t")
        assert timers.reschedule_timer("t", "1", activate_in=HOUR)
        assert timers.cancel_timer("t", "1")
        assert timers.cancel_timers("t", ["2", "3"]) == 2
        admin.hset(attempts, "1", "1 1.000000 1.000000")
        timers.schedule("x", "t", timer_id="7", repeat=Every(hours=1))
        # Whether it waits for its next attempt must be known.
        timers.schedule("x", "t", timer_id="7", repeat=Every(hours=2))
        assert timers.pause_timer("t", "7")
        assert timers.resume_timer("t", "7")
        assert timers.get_timer("t", "7").repeat == Every(hours=2)
        assert timers.cancel_all("t") == 4
        assert not admin.exists(attempts)
        with timers._runner.client.pipeline(transaction=False) as pipeline:
            timers.schedule("x", "t", pipeline=pipeline)
            pipeline.execute()
        with Ears(admin, keys, of_reserve) as reserve:
            timers.schedule("x", "u", activate_in=HOUR)
            assert reserve.count_heard() == 1


def declare(admin, url, keys):
    """Do what a producer does, and declare series and remove them."""
    produce(admin, url, keys, "declarer")
    with TimersClient(url_of("declarer", url), hash_tags=keys.hash_tags) as timers:
        series = Series("x", "t", timer_id="1", repeat=Every(hours=1))
        assert timers.ensure_series([series], owner="shop").created == [("t", "1")]
        assert timers.ensure_series([], owner="shop").removed == [("t", "1")]
        assert timers.ensure_series([], owner="shop", prune=True).removed == [("t", "1")]
        assert not admin.exists(keys.series_of("shop"))
        assert timers.get_timer("t", "1") is None


def _ping():
    from faststream_redis_timers_sync.protocol.operation import command  # noqa: PLC0415

    return command(b"PING", parse=lambda reply: reply)


def work(admin, url, keys):
    """Claim, commit, put off, release, renew, dead-letter, clear up, count attempts, and listen."""
    admin.flushall()
    admin.script_flush()
    here = TimersClient(admin, hash_tags=keys.hash_tags)
    for timer_id in "12345":
        # Large, or the worker would not ask for sizes.
        here.schedule("x" * 40_000, "t", timer_id=timer_id)
    admin.zadd(keys.of("t").timeline, {"orphan": 1})
    step_of = partial(_step, Operations(keys))
    worker_url = url_of("worker", url)
    with redis.Redis.from_url(worker_url, protocol=2) as client, Ears(admin, keys) as ears:
        runner = Runner(client)
        runner.run(_ping())
        step = runner.run(step_of(limit=10))
        assert (len(step.claimed), step.orphans) == (5, [b"orphan"])
        one, two, three, four, five = step.claimed
        lease, later = step.lease, b"4000000000.0000005"
        settled = runner.run(
            step_of(
                Settlement(b"commit", one.timer_id, lease),
                Settlement(b"nack", two.timer_id, lease, b"+5.000000"),
                Settlement(b"release", three.timer_id, lease, three.previous_score),
                Settlement(b"renew", four.timer_id, lease, later),
                Settlement(b"dead", five.timer_id, lease, b"6:5:dead" + five.payload),
            )
        )
        assert settled.outcomes == b"11111"
        assert ears.count_heard()
        assert admin.zcard(keys.of("t:dead").timeline) == 1
        admin.hset(keys.of("empty").attempts, "1", "1 1.000000 1.000000")
        assert runner.run(step_of(limit=1, topic="empty")).claimed == []
        assert not admin.exists(keys.of("empty").attempts)
        assert runner.run_steps(Operations(keys).find_elsewhere(["t"])) == []
        connection = client.connection_pool.get_connection(*get_connection_args(redis.__version__))
        shard = "S" if keys.hash_tags else ""
        for word in (f"{shard}SUBSCRIBE", f"{shard}UNSUBSCRIBE"):
            connection.send_command(word, keys.channel_of("t"))
            connection.read_response()
        client.connection_pool.release(connection)
        call_for_help(admin, runner, keys)


def call_for_help(admin, runner, keys):
    """Leave as many due timers as others are to be called for."""
    here = TimersClient(admin, hash_tags=keys.hash_tags)
    for timer_id in "1234":
        here.schedule("x", "u", timer_id=timer_id)
    with Ears(admin, keys, of_reserve) as reserve:
        step = runner.run(_step(Operations(keys), limit=1, topic="u", call=b"0 0 1 0 0.0"))
        assert (step.on_duty, step.workers) == (0, 1)
        assert reserve.count_heard() == 3


def _step(operations, *settlements, limit=0, topic="t", call=b""):
    return operations.settle_and_claim(
        topic,
        settlements,
        limit=limit,
        lease_ttl=30.0,
        jitter=1,
        suspect_from=3,
        dead_topic="t:dead",
        call=call,
    )


def inspect(admin, url, keys):
    """Look at everything."""
    admin.flushall()
    admin.script_flush()
    here = TimersClient(admin, hash_tags=keys.hash_tags)
    for timer_id in "123":
        here.schedule("x", "t", timer_id=timer_id)
    with TimersClient(url_of("inspector", url), hash_tags=keys.hash_tags) as timers:
        timers._runner.run(_ping())
        assert timers.count_pending("t") == 3
        assert timers.has_pending("t", "1")
        assert timers.get_timer("t", "1").decode() == "x"
        assert len(list(timers.iter_timers("t"))) == 3
        assert len(list(timers.iter_timers("t", match="*"))) == 3
        assert len(list(list_timers(timers, "t", match=None, limit=2))) == 2
        assert scan_topics(timers).topics == {"t"}
        assert count_keys(timers) == 2
        assert listening_topics(timers) == {}
        # None where the server does not allow to count them.
        assert count_topics(timers, ["t"]).topics[0].workers == 0
        assert [Forecasts(timers).of(["t"], reach).overdue for reach in Range] == [3, 3, 3]
        assert count_running(timers, {"t": "t"}, longest_lease=timedelta(seconds=30))
        found = {finding.check: finding.level for finding in check_server(timers)}
        assert "info" not in found
        assert found["clock"] == found["layout"] == "ok"


EXERCISES = {WORKER: work, PRODUCER: produce, DECLARER: declare, INSPECTOR: inspect}


IN_A_CLUSTER_ALONE = {"+cluster|slots", "+cluster|info", "+cluster|nodes", "+asking"}


@pytest.mark.parametrize("keys", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("role", EXERCISES, ids=lambda role: role.name)
def test_a_role_s_rule_is_enough_and_each_of_its_words_is_needed(role, keys, admin, acl_url):
    rule = rule_of(role, hash_tags=keys.hash_tags)
    make_user(admin, rule)
    EXERCISES[role](admin, acl_url, keys)

    superfluous = []
    words = rule.split(" ")
    for n in range(3, len(words)):
        make_user(admin, " ".join(words[:n] + words[n + 1 :]))
        with suppress(redis.RedisError, TimersError, AssertionError):
            EXERCISES[role](admin, acl_url, keys)
            superfluous.append(words[n])

    assert set(superfluous) - (IN_A_CLUSTER_ALONE if keys.hash_tags else set()) == set()
    admin.flushall()


@pytest.mark.parametrize("role", EXERCISES, ids=lambda role: role.name)
def test_a_role_may_touch_no_other_keys_or_channels_and_do_nothing_else(role, admin, acl_url):
    make_user(admin, rule_of(role, prefix="mine:"))

    for words in (
        ("EVAL", "return redis.call('ZCARD', KEYS[1])", 1, "timers_timeline:mine:x"),
        ("ZRANGE", "timers_timeline:mine:x", 0, 1),
    ):
        assert admin.execute_command("ACL", "DRYRUN", role.name, *words) == b"OK"
    for words in (
        ("EVAL", "return 1", 1, "timers_timeline:x"),
        ("ZRANGE", "timers_timeline:x", 0, 1),
        ("ZRANGE", "foreign", 0, 1),
        ("PUBLISH", "timers_timeline:x", "x"),
        ("SUBSCRIBE", "foreign"),
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("KEYS", "*"),
        ("SCRIPT", "LOAD", "return 1"),
        ("ACL", "LIST"),
        ("MONITOR",),
    ):
        assert admin.execute_command("ACL", "DRYRUN", role.name, *words) != b"OK", words


@pytest.mark.parametrize("database", [0, 1])
async def test_a_worker_and_a_producer_of_these_rules_meet_by_wake_ups_alone(
    admin, acl_url, database
):
    make_user(admin, rule_of(WORKER, f"redis://localhost:1/{database}"))
    make_user(admin, rule_of(PRODUCER, f"redis://localhost:1/{database}"))
    acl_url += f"?db={database}"
    channel = Operations(KeySpace(database=database)).keys.channel_of("t")
    admin.execute_command("ACL", "LOG", "RESET")
    delivered = []
    broker = TimersBroker(url_of("worker", acl_url))

    @broker.subscriber("t", **NO_POLLS)
    async def handle(body: str) -> None:
        delivered.append(body)

    def is_listening():
        return admin.pubsub_numsub(channel)[0][1] == 1

    with TimersClient(url_of("producer", acl_url)) as timers:
        async with broker:
            await wait_until_async(is_listening)
            timers.schedule("soon", "t", activate_in=timedelta(seconds=0.1))
            await wait_until_async(lambda: delivered == ["soon"])
        async with TimersBroker(url_of("producer", acl_url)) as publishing:
            await publishing.publish("later", "t", timer_id="1", activate_in=HOUR)
            await publishing.cancel_timer("t", "1")

    # Some that redis-py sends when it connects, and does without.
    refused = {entry["object"] for entry in admin.acl_log()}
    assert refused <= {"client|setinfo", "client|maint_notifications"}


LOOKS = (["topics"], ["stats"], ["list", "t"], ["show", "t", "1"], ["list", "t", "--match", "*"])


@pytest.mark.parametrize("words", [*LOOKS, ["check"]], ids=" ".join)
def test_the_command_line_looks_with_an_inspector_s_rule(words, admin, acl_url):
    TimersClient(admin).schedule("x", "t", timer_id="1", activate_in=HOUR)
    make_user(admin, rule_of(INSPECTOR))

    result = click_runner().invoke(group, ["--redis-url", url_of("inspector", acl_url), *words])

    assert result.exit_code == (0 if words != ["check"] else 1), result.output
    assert "does not allow" not in result.output
    if words == ["check"]:
        # It tells that this user delivers and schedules nothing, and all else it could see.
        assert "unknown" not in result.output
    admin.flushall()


async def test_the_page_s_broker_and_client_log_in(admin, acl_url):
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if '"username"' in b)
    names = {"password": PASSWORD}
    exec(block.replace("redis://db.internal", acl_url), names)  # noqa: S102  it is our page
    make_user(admin, rule_of(WORKER))
    make_user(admin, rule_of(PRODUCER))

    async with names["broker"]:
        assert await names["broker"].ping(timeout=5)
    with names["timers"] as timers:
        assert timers.ping()


def test_another_database_needs_the_right_to_select_it(admin, acl_url):
    make_user(admin, rule_of(PRODUCER))
    url = f"{url_of('producer', acl_url)}?db=1"
    with TimersClient(url) as timers, pytest.raises(redis.RedisError):
        timers.cancel_all("t")

    admin.execute_command("ACL", "SETUSER", "producer", "+select")
    with TimersClient(url) as timers:
        assert timers.cancel_all("t") == 0


ROW = re.search(r"^\| puts timers into a transaction .*$", PAGE, re.MULTILINE)[0]


def test_a_transaction_of_ones_own_needs_what_its_row_says(admin, acl_url):
    make_user(admin, rule_of(PRODUCER))
    words = " ".join(re.findall(r"`(\+[^`]*)`", ROW)).split()
    admin.execute_command("ACL", "SETUSER", "producer", *words)
    with redis.Redis.from_url(url_of("producer", acl_url)) as client:
        timers = TimersClient(client)
        with client.pipeline() as pipeline:
            pipeline.watch("timers_payloads:t")
            pipeline.multi()
            timers.schedule("x", "t", timer_id="1", activate_in=HOUR, pipeline=pipeline)
            assert pipeline.execute() == [b"1"]
        # What ends early ends as it would without these rules.
        with suppress(KeyError), client.pipeline() as pipeline:
            pipeline.watch("timers_payloads:t")
            raise KeyError

    assert TimersClient(admin).cancel_all("t") == 1


def test_confirming_needs_what_its_row_says(admin, acl_url):
    make_user(admin, rule_of(PRODUCER))
    with TimersClient(url_of("producer", acl_url), confirm_replicas=1, confirm_timeout=0.01) as t:
        for call in (lambda: t.schedule("x", "t"), lambda: t.cancel_timer("t", "nobody")):
            with pytest.raises(TimerNotReplicatedError, match="NoPermissionError"):
                call()
            admin.execute_command("ACL", "SETUSER", "producer", "+wait")
            # It was asked, and there is no replica.
            with pytest.raises(TimerNotReplicatedError) as caught:
                call()
            assert caught.value.confirmed == 0
            admin.execute_command("ACL", "SETUSER", "producer", "-wait")

    assert "| has `confirm_replicas` | also `+wait` |" in PAGE
    admin.flushall()


# --- code and documentation


@pytest.mark.parametrize("keys", LAYOUTS.values(), ids=LAYOUTS)
def test_every_script_belongs_to_a_role(keys):
    scripts = {file.name.removesuffix(".lua") for file in (files(protocol) / "lua").iterdir()}
    scripts = {name for name in scripts if not name.startswith("_")}
    # Of people who look after timers, who are inspectors and producers, and of confirm_replicas.
    others = {"move", "redrive", "touch"}

    assert scripts - others == {script for role in ROLES.values() for script in role.scripts}
    known = {
        command
        for role in (PRODUCER, INSPECTOR)
        for script in role.scripts
        for command in commands_of(script, keys.dialect)
    }
    for script in others:
        assert commands_of(script, keys.dialect) <= known


def test_who_moves_or_redrives_needs_an_inspector_s_and_a_producer_s_rule(admin, acl_url):
    make_user(admin, rule_of(INSPECTOR))
    admin.execute_command(*rule_of(PRODUCER).replace("producer", "inspector").split(" "))
    with TimersClient(url_of("inspector", acl_url)) as timers:
        timers.schedule("x", "t", timer_id="1", activate_in=HOUR)
        assert list(reschedule_each(timers, "t", ["1"])) == [("1", "waiting")]
        dead_letter = write_dead_letter(
            write_envelope(b"x"),
            Ending(reason="attempts", topic="t", timer_id=b"2", first_due=b"1.000000"),
        )
        length, _, rest = dead_letter.partition(b":")
        dead_id, payload = rest[: int(length)], rest[int(length) :]
        admin.zadd(f"{CHANNEL}:dead", {dead_id: 1})
        admin.hset("timers_payloads:t:dead", dead_id, payload)
        assert timers.redrive("t:dead") == 1
        assert timers.cancel_all("t") == 2


@pytest.mark.parametrize("keys", LAYOUTS.values(), ids=LAYOUTS)
def test_the_commands_of_scripts_are_known_to_the_purposes(keys):
    known = {name_of(command) for purpose in purposes_of(keys) for command in purpose.commands}

    for role in ROLES.values():
        for script in role.scripts:
            assert commands_of(script, keys.dialect) <= known


def test_the_documented_rules_are_those_of_the_code():
    rules = re.findall(r"^ACL SETUSER .*$", PAGE, re.MULTILINE)
    *plain, clustered = [rule.replace(" on >PASSWORD", "") for rule in rules]

    assert all(" on >PASSWORD " in rule for rule in rules[:-1])
    assert plain == [rule_of(role) for role in ROLES.values()]
    assert clustered == rule_of(PRODUCER, "redis+cluster://node-1")


@pytest.mark.parametrize("role", ROLES)
def test_the_command_line_writes_the_rule_for_ones_own_names_and_asks_nobody(role):
    words = ["--redis-url", "redis://localhost:1", "--prefix", "my:", "check", "--role", role]

    result = click_runner().invoke(group, words)

    assert result.exit_code == 0
    assert result.stdout == f"{rule_of(ROLES[role], prefix='my:')}\n"
    assert "timers_timeline:my:*" in result.stdout
    as_json = click_runner().invoke(group, [*words, "--json"])
    assert f'"role": "{role}"' in as_json.stdout
