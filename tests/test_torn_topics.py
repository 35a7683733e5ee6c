"""Topics whose payloads are gone, as after a node of a cluster failed while their slot moved."""

import logging
import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from bench import bench_at, delivering
from clusters import Cluster
from command_line import click_runner
from front_ends import async_front_end, blocking_front_end
from redis.exceptions import ResponseError
from series import HOURLY, series
from waiting import wait_until, wait_until_async

from examples.embedded_cluster import HOST
from examples.embedded_server import embedded_server
from faststream_redis_timers import TopicTornError
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.delivery import words
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.cli.group import group
from faststream_redis_timers_sync.manage.stats import count_running, count_topics
from faststream_redis_timers_sync.protocol.envelope import write_envelope
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.listing import make_timer
from faststream_redis_timers_sync.protocol.model import PAUSED, Settlement
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.operations import Operations

TOPIC, DEAD = "invoices", "invoices:dead"
HOUR = timedelta(hours=1)
BODY = write_envelope(b"x")
TORN = (
    "topic 'invoices' is torn: it has timers, and all of their payloads are gone, as after a node "
    "failed while their slot moved: start the failed node again and bring the keys together with "
    "`redis-cli --cluster fix`, or give the timers up with cancel_all"
)

on_every_front_end = pytest.mark.parametrize(
    ("make_front_end", "home"),
    [
        pytest.param(make_front_end, home, id=f"{name}-{home}")
        for name, make_front_end in (("blocking", blocking_front_end), ("async", async_front_end))
        for home in ("tagged", "cluster")
    ],
    indirect=True,
)


def tear(home, topic=TOPIC, count=3):
    """Schedule timers, and lose their payloads."""
    for n in range(count):
        home.plant(topic, str(n), 1.0 + n, None)


def data_of(home, *topics):
    """Give all that is under the keys of topics."""
    return {
        key: home.server_of(topic).dump(key)
        for topic in topics or (TOPIC, DEAD)
        for key in home.keys_of(topic)
    }


# --- what is asked of such a topic -------------------------------------------------------

CALLS = {
    "schedule": lambda front_end: front_end.schedule("x", TOPIC, timer_id="n"),
    "schedule over one": lambda front_end: front_end.schedule("x", TOPIC, timer_id="1"),
    "schedule if none": lambda front_end: front_end.schedule(
        "x", TOPIC, timer_id="1", if_exists="keep"
    ),
    "schedule a batch": lambda front_end: front_end.schedule_batch(["x", "y"], TOPIC),
    "schedule a series": lambda front_end: front_end.schedule(
        "x", TOPIC, timer_id="n", repeat=HOURLY
    ),
    "update a series": lambda front_end: front_end.schedule(
        "x", TOPIC, timer_id="1", repeat=HOURLY
    ),
    "pause": lambda front_end: front_end.pause_timer(TOPIC, "1"),
    "resume": lambda front_end: front_end.resume_timer(TOPIC, "1"),
    "reschedule": lambda front_end: front_end.reschedule_timer(TOPIC, "1", activate_in=HOUR),
    "cancel": lambda front_end: front_end.cancel_timer(TOPIC, "1"),
    "cancel several": lambda front_end: front_end.cancel_timers(TOPIC, ["1", "2"]),
    "has_pending": lambda front_end: front_end.has_pending(TOPIC, "1"),
    "count": lambda front_end: front_end.count_pending(TOPIC),
    "get": lambda front_end: front_end.get_timer(TOPIC, "1"),
    "list": lambda front_end: front_end.get_pending_timers(TOPIC),
}


@on_every_front_end
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_call_raises_and_changes_nothing(call, front_end, home):
    tear(home)
    before = data_of(home)

    with pytest.raises(TopicTornError) as caught:
        await call(front_end)

    assert str(caught.value) == TORN
    assert caught.value.topic == TOPIC
    assert data_of(home) == before
    await front_end.cancel_all(TOPIC)


@on_every_front_end
@pytest.mark.parametrize("torn", [TOPIC, DEAD])
async def test_redriving_names_the_one_that_is_torn(torn, front_end, home):
    headers = {"dead-letter-reason": "attempts", "dead-letter-topic": TOPIC}
    await front_end.schedule("x", DEAD, timer_id="a:12345678", headers=headers)
    if torn == DEAD:
        await front_end.cancel_all(DEAD)
    tear(home, torn)
    before = data_of(home)

    for ids in (None, ["a:12345678"]):
        with pytest.raises(TopicTornError) as caught:
            await front_end.redrive(DEAD, ids)
        assert caught.value.topic == torn

    assert data_of(home) == before
    for topic in (TOPIC, DEAD):
        await front_end.cancel_all(topic)


@on_every_front_end
async def test_its_timers_can_be_given_up(front_end, home):
    tear(home)

    assert await front_end.cancel_all(TOPIC) == 3
    assert home.written() == []
    await front_end.schedule("x", TOPIC, timer_id="1")
    assert await front_end.cancel_all(TOPIC) == 1


@on_every_front_end
async def test_a_single_entry_without_a_payload_is_none(front_end, home):
    tear(home, count=1)

    assert await front_end.count_pending(TOPIC) == 0
    await front_end.schedule("x", TOPIC, timer_id="1")
    assert await front_end.cancel_all(TOPIC) == 1


# --- on either server --------------------------------------------------------------------


@pytest.fixture(scope="module", params=["embedded", "redis-server"])
def either_url(request):
    """The URL of a server of either make."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "redis-server":
            if shutil.which("redis-server") is None and os.environ.get("CI") != "true":
                pytest.skip("there is no redis-server here")
            patch.setenv("TIMERS_TEST_SERVER", "redis-server")
        with embedded_server(config={}) as url:
            yield url


@pytest.fixture
async def tagged(either_url, key_names):
    """A bench whose keys have hash tags."""
    async with bench_at(either_url, {**key_names, "hash_tags": True}) as bench:
        yield bench
        bench.client.cancel_all(TOPIC)


def step(home, *settlements, limit=10, **options):
    return home.run(
        home.operations.settle_and_claim(
            TOPIC, settlements, limit=limit, lease_ttl=30.0, jitter=1, **options
        )
    )


@pytest.mark.parametrize("suspect_from", [None, 3])
@pytest.mark.parametrize("due", ["now", "later"])
async def test_a_claim_says_so_and_claims_and_removes_nothing(tagged, suspect_from, due):
    home = tagged.home
    for n in range(3):
        home.plant(TOPIC, str(n), 1.0 + n if due == "now" else 4e9 + n, None)
    home.redis.hset(home.keys_of(TOPIC).attempts, "1", "1 1.000000 1.000000")
    before = data_of(home, TOPIC)

    found = step(home, suspect_from=suspect_from)

    assert (found.is_torn, found.claimed, found.orphans, found.head) == (True, [], [], None)
    assert data_of(home, TOPIC) == before
    # One that claims nothing is not told.
    assert not step(home, limit=0).is_torn


@pytest.mark.parametrize("payload_of_another", [False, True])
async def test_what_has_ended_is_settled_as_usual(tagged, payload_of_another):
    home = tagged.home
    tagged.client.schedule("x", TOPIC, timer_id="held")
    lease = step(home).lease
    tear(home)
    if payload_of_another:
        home.plant(TOPIC, "other", 2.5, BODY)
    else:
        home.redis.delete(home.keys_of(TOPIC).payloads)

    found = step(home, Settlement(b"commit", b"held", lease))

    assert found.outcomes == b"1"
    assert found.is_torn is not payload_of_another
    assert [timer.timer_id for timer in found.claimed] == ([b"other"] if payload_of_another else [])
    left = home.redis.zrange(home.keys_of(TOPIC).timeline, 0, -1)
    assert left == ([b"other"] if payload_of_another else [b"0", b"1", b"2"])


async def test_a_series_moves_on_as_usual_and_its_dead_letter_is_made(tagged):
    home = tagged.home
    tagged.client.schedule("x", TOPIC, timer_id="held", repeat=HOURLY)
    tagged.client.reschedule_timer(TOPIC, "held", activate_in=timedelta(0))
    lease = step(home).lease
    tear(home)
    home.redis.delete(home.keys_of(TOPIC).payloads)

    detail = b"4000000000.000000 6:letter" + BODY
    found = step(home, Settlement(b"repeat", b"held", lease, detail), dead_topic=DEAD)

    assert (found.outcomes, found.is_torn) == (b"1", True)
    assert home.redis.zscore(home.keys_of(TOPIC).timeline, "held") == 4e9
    assert home.redis.hkeys(home.keys_of(DEAD).payloads) == [b"letter"]
    tagged.client.cancel_all(DEAD)


@pytest.mark.parametrize("dead", [b"dead", b"repeat"])
async def test_a_torn_topic_gets_no_dead_letters_and_the_timer_stays(tagged, dead):
    home = tagged.home
    for timer_id in ("dead", "done"):
        tagged.client.schedule("x", TOPIC, timer_id=timer_id)
    lease = step(home, suspect_from=3).lease
    tear(home, DEAD)
    before = data_of(home, DEAD)
    detail = b"4000000000.000000 6:letter" if dead == b"repeat" else b"6:letter"
    settlement = Settlement(dead, b"dead", lease, detail + BODY)

    found = step(
        home,
        settlement,
        Settlement(b"commit", b"done", lease),
        suspect_from=3,
        dead_topic=DEAD,
    )

    assert found.outcomes == b"t1"
    assert data_of(home, DEAD) == before
    assert home.redis.zscore(home.keys_of(TOPIC).timeline, "dead") == float(lease)
    assert home.redis.hget(home.keys_of(TOPIC).attempts, "dead").startswith(b"1 ")
    home.redis.hset(home.keys_of(DEAD).payloads, mapping=dict.fromkeys("012", BODY))
    assert step(home, settlement, suspect_from=3, dead_topic=DEAD).outcomes == b"1"
    assert tagged.client.count_pending(DEAD) == 4
    tagged.client.cancel_all(DEAD)


@pytest.mark.parametrize("name", ["prune", "resume"])
async def test_what_looks_after_series_is_refused(name, tagged):
    tear(tagged.home)
    before = data_of(tagged.home)
    operations = tagged.home.operations
    resume = operations.resume(TOPIC, "1")
    next(resume)
    resume.send(make_timer(TOPIC, b"1", b"%d" % PAUSED, series("1").payload))
    operation = {
        "prune": operations.prune(TOPIC, "1", "shop"),
        "resume": resume.send(datetime(2030, 1, 1, tzinfo=UTC)),
    }[name]

    with pytest.raises(TopicTornError):
        tagged.home.runner.run(operation)
    assert data_of(tagged.home) == before


async def test_the_last_payload_is_committed_and_the_rest_is_torn(tagged):
    home = tagged.home
    tagged.client.schedule("x", TOPIC, timer_id="held")
    lease = step(home).lease
    tear(home, count=2)

    found = step(home, Settlement(b"commit", b"held", lease))

    assert (found.outcomes, found.is_torn, found.orphans) == (b"1", True, [])


@pytest.mark.parametrize("is_committed", [False, True])
async def test_the_last_timer_is_not_removed_either(tagged, is_committed):
    home = tagged.home
    tagged.client.schedule("x", TOPIC, timer_id="held")
    lease = step(home).lease
    tagged.client.schedule("x", TOPIC, timer_id="waiting")
    home.redis.delete(home.keys_of(TOPIC).payloads)
    if not is_committed:
        home.redis.zrem(home.keys_of(TOPIC).timeline, "held")

    found = step(home, *[Settlement(b"commit", b"held", lease)] * is_committed)

    assert (found.is_torn, found.orphans, found.head) == (True, [], None)
    assert home.redis.zrange(home.keys_of(TOPIC).timeline, 0, -1) == [b"waiting"]
    home.redis.hset(home.keys_of(TOPIC).payloads, "waiting", BODY)
    assert [timer.timer_id for timer in step(home).claimed] == [b"waiting"]


async def test_a_single_entry_without_a_payload_is_removed_after_the_next_timer(tagged):
    home = tagged.home
    tear(home, count=1)
    assert step(home).is_torn
    tagged.client.schedule("x", TOPIC, timer_id="next")

    found = step(home)

    assert (found.is_torn, found.orphans) == (False, [b"0"])
    assert [timer.timer_id for timer in found.claimed] == [b"next"]


async def test_once_its_keys_are_together_all_is_claimed(tagged):
    home = tagged.home
    tear(home)
    assert step(home).is_torn
    home.redis.hset(home.keys_of(TOPIC).payloads, mapping=dict.fromkeys("012", BODY))

    found = step(home)

    assert not found.is_torn
    assert [timer.timer_id for timer in found.claimed] == [b"0", b"1", b"2"]


async def test_a_pipeline_is_refused_by_the_server(tagged):
    tear(tagged.home)
    before = data_of(tagged.home)
    with tagged.home.redis.pipeline() as pipeline:
        tagged.client.schedule("x", TOPIC, pipeline=pipeline)
        with pytest.raises(ResponseError, match=r"TORN .*:{invoices} has timers, and their"):
            pipeline.execute()

    assert data_of(tagged.home) == before


async def test_counts_of_several_topics_have_its_timers(tagged):
    tear(tagged.home)
    tagged.client.schedule("x", "others", activate_in=HOUR)

    torn, whole = count_topics(tagged.client, [TOPIC, "others"]).topics

    assert (torn.pending, torn.overdue, whole.pending) == (3, 3, 1)
    assert count_running(tagged.client, [TOPIC], longest_lease=HOUR) == {TOPIC: 0}
    tagged.client.cancel_all("others")


@pytest.mark.parametrize("count", [1, 2])
async def test_without_hash_tags_entries_without_payloads_are_leftovers(
    either_url, key_names, count
):
    with TimersClient(either_url, **key_names) as timers:
        operations = Operations(KeySpace(**key_names))
        timeline = operations.keys.of(TOPIC).timeline
        timers._runner.client.zadd(timeline, {str(n): 1 + n for n in range(count)})

        assert timers.count_pending(TOPIC) == 0
        found = timers._runner.run(
            operations.settle_and_claim(TOPIC, [], limit=10, lease_ttl=30.0, jitter=1)
        )

        assert (found.is_torn, found.orphans) == (False, [b"0", b"1"][:count])


def operations_on(keys):
    operations = Operations(keys)
    yield operations.count(TOPIC)
    yield operations.cancel(TOPIC, "1")
    yield operations.settle_and_claim(TOPIC, [], limit=10, lease_ttl=30.0, jitter=1)


def test_a_refusal_means_nothing_to_others():
    for operation in operations_on(KeySpace(hash_tags=True)):
        assert isinstance(operation, Operation)
        assert operation.refusal(ResponseError("OOM command not allowed")) is None
        assert operation.refusal(ResponseError("")) is None
        assert str(operation.refusal(ResponseError("TORN x has timers"))) == TORN


# --- workers and the command line --------------------------------------------------------


async def test_a_worker_says_so_once_polls_on_and_goes_on_when_it_is_whole(tagged, open_calls):
    broker = tagged.broker()

    @broker.subscriber(TOPIC, polling_interval=0.01, max_polling_interval=0.02)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    home = tagged.home
    tear(home)
    torn = words.torn(TOPIC)

    def claims():
        return home.redis.info("commandstats")["cmdstat_evalsha"]["calls"]

    async with delivering(broker):
        await wait_until_async(lambda: torn in tagged.log.at(logging.ERROR))
        before = claims()
        await wait_until_async(lambda: claims() >= before + 10)
        assert not open_calls.messages
        home.redis.hset(home.keys_of(TOPIC).payloads, mapping=dict.fromkeys("012", BODY))
        await open_calls.until(3)
        await wait_until_async(lambda: not home.written())
        tear(home)
        await wait_until_async(lambda: len(tagged.log.at(logging.ERROR)) == 2)
        tagged.client.cancel_all(TOPIC)
        whole = words.no_longer_torn(TOPIC)
        await wait_until_async(lambda: tagged.log.at(logging.INFO).count(whole) == 2)

    assert tagged.log.at(logging.ERROR) == [torn, torn]
    assert tagged.log.at(logging.WARNING) == []


async def test_a_worker_says_that_the_dead_letter_topic_is_torn(tagged, open_calls):
    broker = tagged.broker()

    @broker.subscriber(
        TOPIC,
        retry_policy=lambda attempt, error: None,
        dead_letter_topic=DEAD,
        lease_ttl=0.2,
        polling_interval=0.01,
        max_polling_interval=0.02,
    )
    async def handle(message: TimerMessage):
        open_calls.note(message)
        raise ValueError

    home = tagged.home
    tear(home, DEAD)
    tagged.client.schedule("x", TOPIC, timer_id="failing")
    line = words.dead_topic_torn(TOPIC, DEAD, 1)

    async with delivering(broker):
        await wait_until_async(lambda: tagged.log.at(logging.ERROR).count(line) == 2)
        assert home.redis.hkeys(home.keys_of(DEAD).payloads) == []
        assert tagged.client.has_pending(TOPIC, "failing")
        tagged.client.cancel_all(DEAD)
        await wait_until_async(lambda: tagged.client.count_pending(DEAD) == 1)

    assert tagged.client.count_pending(TOPIC) == 0
    assert len(open_calls.messages) == 1
    tagged.client.cancel_all(DEAD)


@pytest.mark.parametrize("words", [["list", TOPIC], ["cancel", TOPIC, "1"]], ids=" ".join)
async def test_the_command_line_says_what_can_be_done(words, tagged, either_url, key_names):
    tear(tagged.home)

    result = click_runner().invoke(group, [*options(either_url, key_names), *words])

    assert result.exit_code != 0
    assert result.stderr == f"Error: {TORN}\n"


async def test_the_command_line_gives_its_timers_up(tagged, either_url, key_names):
    tear(tagged.home)

    words = ["cancel", TOPIC, "--all", "--yes"]
    result = click_runner().invoke(group, [*options(either_url, key_names), *words])

    assert (result.exit_code, result.output) == (0, "3 timers cancelled\n")
    wait_until(lambda: not tagged.home.written())


def options(url, key_names):
    names = (
        word for name, value in key_names.items() for word in (f"--{name.replace('_', '-')}", value)
    )
    return ["--redis-url", url, "--hash-tags", *names]


# --- how it comes about --------------------------------------------------------------------


@pytest.fixture
def redis_cluster():
    """A cluster of Redis servers, whose replicas take what a failed primary had."""
    binary = shutil.which("redis-server")
    if binary is None and os.environ.get("CI") != "true":
        pytest.skip("there is no redis-server here")
    with Cluster(binary) as cluster:
        yield cluster


def test_a_node_fails_while_a_slot_moves_and_nothing_is_lost(redis_cluster):
    keys = KeySpace(hash_tags=True)
    timeline, payloads, _ = keys.of(TOPIC)
    cluster = redis_cluster
    slot = cluster.key_slot(timeline)
    source = cluster.owner_of(slot)
    target = next(node for node in cluster.primaries() if node is not source)
    heir = cluster.replica_of(source)
    with TimersClient(source.url, hash_tags=True) as timers:
        for n in range(3):
            timers.schedule("x", TOPIC, timer_id=str(n))
    wait_until(lambda: heir.ask("CLUSTER", "COUNTKEYSINSLOT", slot) == 2)
    cluster.begin_move(slot, target)
    cluster.move_keys(slot, target, payloads.decode())
    wait_until(lambda: heir.ask("CLUSTER", "COUNTKEYSINSLOT", slot) == 1)

    cluster.kill(source)

    wait_until(lambda: serves(heir, timeline), 30.0)
    claim = Operations(keys).settle_and_claim(TOPIC, [], limit=10, lease_ttl=30.0, jitter=1)
    with TimersClient(heir.url, hash_tags=True) as timers:
        assert timers._runner.run(claim).is_torn
        with pytest.raises(TopicTornError):
            timers.schedule("x", TOPIC, timer_id="n")
        # As `redis-cli --cluster fix` does it.
        cluster.restart(source)
        wait_until(lambda: "role:slave" in source.ask("INFO", "replication"), 30.0)
        wait_until(lambda: can_send(target, heir, payloads), 30.0)
        step = timers._runner.run(claim)

    assert [timer.timer_id for timer in step.claimed] == [b"0", b"1", b"2"]


def serves(node, key):
    try:
        return node.ask("ZCARD", key) > 0 and "role:master" in node.ask("INFO", "replication")
    except ResponseError:
        return False


def can_send(source, target, key):
    try:
        return source.ask("MIGRATE", HOST, target.port, key, 0, 5000) == "OK"
    except ResponseError:
        return False
