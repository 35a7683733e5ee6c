"""Series that brokers and routers declare: what a start makes of them, and what it says."""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
import redis
from bench import LogLines
from faststream import BaseMiddleware
from faststream.exceptions import SetupError

from faststream_redis_timers import (
    Cron,
    Every,
    TestTimersBroker,
    TimerPublishMessage,
    TimersBroker,
    TimersRouter,
)
from faststream_redis_timers.delivery import words

OWNER = "shop"
HOURLY = Every(hours=1)
DAILY = Cron("0 9 * * *", tz="Europe/Berlin")
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)


def index_of(bench, owner=OWNER):
    key = bench.home.operations.keys.series_of(owner)
    return sorted(tuple(json.loads(field)) for field in bench.redis.hkeys(key))


async def started(broker):
    await broker.start()
    await broker.stop()


# --- what a start does -----------------------------------------------------------------------


async def test_a_start_creates_what_is_declared_and_connecting_does_not(bench):
    broker = bench.broker(series_owner=OWNER)
    broker.add_series("tick", "ticks", timer_id="tick", repeat=HOURLY, headers={"x-a": "b"})

    await broker.connect()
    assert bench.home.written() == []
    await started(broker)

    timer = bench.client.get_timer("ticks", "tick")
    assert (timer.decode(), timer.repeat, timer.headers["x-a"]) == ("tick", HOURLY, "b")
    assert index_of(bench) == [("ticks", "tick")]
    assert bench.log.lines == [f"series 'tick' of topic 'ticks' was created: {HOURLY}"]


async def test_the_next_start_changes_what_has_another_definition_alone(bench):
    first = bench.broker(series_owner=OWNER)
    first.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    first.add_series("b", "ticks", timer_id="b", repeat=HOURLY)
    await started(first)
    due = bench.client.get_timer("ticks", "a").due_at
    bench.log.records.clear()

    second = bench.broker(series_owner=OWNER)
    second.add_series("new", "ticks", timer_id="a", repeat=HOURLY)
    second.add_series("b", "ticks", timer_id="b", repeat=DAILY)
    await started(second)

    timer = bench.client.get_timer("ticks", "a")
    assert (timer.decode(), timer.due_at) == ("new", due)
    assert bench.client.get_timer("ticks", "b").repeat == DAILY
    assert bench.log.at(logging.INFO) == [f"series 'b' of topic 'ticks' was changed: {DAILY}"]
    assert bench.log.complaints == []


async def test_a_series_that_is_declared_no_longer_is_warned_of_at_each_start(bench):
    broker = bench.broker(series_owner=OWNER)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    await started(broker)

    for _ in range(2):
        await started(bench.broker(series_owner=OWNER))
    assert bench.log.complaints == 2 * [words.series_undeclared("ticks", "a", "shop")]
    assert bench.client.has_pending("ticks", "a")


async def test_with_prune_series_a_start_cancels_it(bench):
    broker = bench.broker(series_owner=OWNER)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    await started(broker)

    await started(bench.broker(series_owner=OWNER, prune_series=True))

    assert bench.log.complaints == [words.series_pruned("ticks", "a", "shop")]
    assert bench.home.written() == []


async def test_a_due_time_that_leaves_out_occurrences_is_warned_of(bench):
    broker = bench.broker(series_owner=OWNER)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    broker.add_series("b", "ticks", timer_id="b", repeat=HOURLY)
    broker.add_series("c", "ticks", timer_id="c", repeat=HOURLY)
    await started(broker)
    bench.client.reschedule_timer("ticks", "a", activate_at=HOURLY.after(YEAR_2050))
    bench.client.reschedule_timer("ticks", "b", activate_at=YEAR_2050 + timedelta(minutes=1))
    bench.client.pause_timer("ticks", "c")

    await started(broker)

    (line,) = bench.log.complaints
    assert line.startswith("series 'a' of topic 'ticks' skips occurrences: ")
    assert line.endswith("the server's clock was ahead: pause and resume it.")


async def test_a_deploy_step_ensures_without_delivering(bench):
    broker = bench.broker(series_owner=OWNER)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    got = []

    @broker.subscriber("ticks")
    async def handle(body: str) -> None:
        got.append(body)

    await broker.connect()
    assert (await broker.ensure_series()).created == [("ticks", "a")]
    bench.client.reschedule_timer("ticks", "a", activate_in=timedelta(0))
    assert (await broker.ensure_series(prune=True)).unchanged == [("ticks", "a")]
    assert not broker.running
    assert got == []


async def test_a_second_start_of_a_broker_that_runs_ensures_nothing(bench):
    broker = bench.broker(series_owner=OWNER)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    await broker.start()
    bench.client.cancel_timer("ticks", "a")

    await broker.start()

    assert not bench.client.has_pending("ticks", "a")
    # A cancelled one is created again by the next start.
    await started(bench.broker(series_owner=OWNER, routers=[]))
    await broker.stop()
    await broker.start()
    assert bench.client.has_pending("ticks", "a")


async def test_one_that_is_declared_while_the_broker_runs_is_refused(bench):
    broker = bench.broker(series_owner=OWNER)
    await broker.start()
    try:
        with pytest.raises(SetupError, match="'a' of topic 'ticks' is declared too late"):
            broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    finally:
        await broker.stop()
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    await started(broker)
    assert bench.client.has_pending("ticks", "a")


async def test_several_brokers_that_start_at_once_create_it_once(bench):
    brokers = [bench.broker(series_owner=OWNER) for _ in range(5)]
    for broker in brokers:
        for n in range(20):
            broker.add_series(n, "ticks", timer_id=str(n), repeat=HOURLY)

    await asyncio.gather(*(broker.start() for broker in brokers))

    created = [line for line in bench.log.lines if "was created" in line]
    assert len(created) == 20
    assert bench.client.count_pending("ticks") == 20


async def test_on_a_cluster(cluster_home, key_names):
    broker = TimersBroker(cluster_home.broker_url, **cluster_home.key_names, series_owner=OWNER)
    for n in range(20):
        broker.add_series(n, f"topic-{n}", timer_id="x", repeat=HOURLY)
    await started(broker)
    pruning = TimersBroker(
        cluster_home.broker_url, **cluster_home.key_names, series_owner=OWNER, prune_series=True
    )
    pruning.add_series(0, "topic-0", timer_id="x", repeat=HOURLY)
    await pruning.connect()
    ensured = await pruning.ensure_series(prune=True)
    await pruning.stop()

    assert ensured.unchanged == [("topic-0", "x")]
    assert len(ensured.removed) == 19


# --- routers, middlewares, codecs --------------------------------------------------------------


async def test_series_of_routers_have_their_prefixes(bench):
    broker = bench.broker(series_owner=OWNER, prefix="b:")
    inner = TimersRouter(prefix="inner:")
    inner.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    outer = TimersRouter(prefix="outer:", routers=[inner])
    outer.add_series("b", "ticks", timer_id="b", repeat=HOURLY)
    broker.include_router(outer, prefix="more:")
    # After it was included too.
    inner.add_series("c", "ticks", timer_id="c", repeat=HOURLY)

    await started(broker)

    # The broker's prefix comes before the owner too.
    assert index_of(bench, "b:shop") == [
        ("b:more:outer:inner:ticks", "a"),
        ("b:more:outer:inner:ticks", "c"),
        ("b:more:outer:ticks", "b"),
    ]
    assert bench.client.has_pending("b:more:outer:inner:ticks", "a")


class Marking(BaseMiddleware):
    mark = "broker"

    async def publish_scope(self, call_next, cmd):
        cmd.headers["marks"] = f"{cmd.headers.get('marks', '')}{self.mark},"
        cmd.body = f"{cmd.body}!"
        return await call_next(cmd)


class RouterMarking(Marking):
    mark = "router"


async def test_middlewares_see_it_as_they_see_what_is_published(bench):
    broker = bench.broker(series_owner=OWNER, middlewares=[Marking])
    router = TimersRouter(middlewares=[RouterMarking])
    router.add_series("a", "ticks", timer_id="a", repeat=HOURLY, headers={"x": "y"})
    publisher = router.publisher("ticks", headers={"x": "y"})
    broker.include_router(router)

    await started(broker)
    await broker.connect()
    await publisher.publish("a", timer_id="b", activate_at=YEAR_2050)

    timers = [bench.client.get_timer("ticks", timer_id) for timer_id in "ab"]
    assert [timer.headers["marks"] for timer in timers] == ["broker,router,"] * 2
    assert [timer.headers["x"] for timer in timers] == ["y"] * 2
    assert [timer.decode() for timer in timers] == ["a!!"] * 2


class Upper:
    async def encode(self, message, serializer):
        return message.upper().encode(), "text/plain"

    async def decode(self, message):
        return message.body.decode()


async def test_the_codec_encodes_it(bench):
    broker = bench.broker(series_owner=OWNER, codec=Upper())
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    await started(broker)

    assert bench.client.get_timer("ticks", "a").body == b"A"


# --- mistakes ------------------------------------------------------------------------------------


async def test_a_series_without_owner_is_refused_with_a_remedy(bench):
    broker = bench.broker()
    router = TimersRouter(prefix="r:")
    router.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    broker.include_router(router)
    sentence = r"series 'a' of topic 'ticks' is declared.* no series_owner: write TimersBroker\("

    with pytest.raises(SetupError, match=sentence):
        await broker.start()
    with pytest.raises(SetupError, match=sentence):
        async with TestTimersBroker(broker):
            pass
    with pytest.raises(SetupError, match=r"needs an owner: write TimersBroker\("):
        await broker.ensure_series()
    assert bench.home.written() == []


def test_pruning_needs_an_owner():
    with pytest.raises(ValueError, match="prune_series=True needs series_owner="):
        TimersBroker(prune_series=True)


@pytest.mark.parametrize(
    ("add", "error", "sentence"),
    [
        (
            lambda broker: broker.add_series("x", "ticks", timer_id="a", repeat=HOURLY),
            ValueError,
            "declare timer_id 'a' of topic 'ticks' twice",
        ),
        (
            lambda broker: broker.add_series(
                TimerPublishMessage("x"), "ticks", timer_id="b", repeat=HOURLY
            ),
            TypeError,
            "a TimerPublishMessage is for batches",
        ),
        (
            lambda broker: broker.add_series("\ud800", "ticks", timer_id="b", repeat=HOURLY),
            ValueError,
            "surrogates not allowed",
        ),
    ],
)
async def test_a_mistake_ends_the_start_and_nothing_is_written(bench, add, error, sentence):
    broker = bench.broker(series_owner=OWNER)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    add(broker)

    with pytest.raises(error, match=sentence):
        await broker.start()

    assert not broker.running
    assert bench.home.written() == []


@pytest.mark.parametrize(
    "arguments",
    [{"topic": ""}, {"timer_id": ""}, {"timer_id": None}, {"repeat": "daily"}, {"headers": 5}],
)
@pytest.mark.parametrize("make", [TimersBroker, TimersRouter])
def test_what_can_not_be_is_refused_where_it_is_added(make, arguments):
    right = {"message": "x", "topic": "ticks", "timer_id": "tick", "repeat": HOURLY}
    registrator = make()

    with pytest.raises((TypeError, ValueError), match=next(iter(arguments))):
        registrator.add_series(**{**right, **arguments})
    assert registrator.declared_series == []


async def test_where_the_server_is_away_nothing_starts(key_names):
    broker = TimersBroker(
        "redis://127.0.0.1:1", **key_names, series_owner=OWNER, start_timeout=0, logger=None
    )
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)

    with pytest.raises(TimeoutError, match="did not reply"):
        await broker.start()
    assert not broker.running


async def test_what_the_server_says_ends_the_start(bench, server_url):
    key = bench.home.operations.keys.series_of(OWNER)
    bench.redis.set(key, "no hash")
    broker = bench.broker(series_owner=OWNER)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)

    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await broker.start()

    assert not broker.running
    assert not bench.client.has_pending("ticks", "a")


@pytest.fixture
def full_bench(own_bench):
    """A bench on a server that is out of memory, after what is scheduled before."""
    yield own_bench
    own_bench.redis.config_set("maxmemory", "0")


async def test_a_server_that_is_out_of_memory_is_still_drained(full_bench):
    bench = full_bench
    bench.schedule("1")
    bench.redis.config_set("maxmemory-policy", "noeviction")
    bench.redis.config_set("maxmemory", "1")
    broker = bench.broker(series_owner=OWNER)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)

    @broker.subscriber(bench.topic)
    async def handle(body: str) -> None: ...

    await broker.start()
    await bench.until_gone("1")

    (line,) = bench.log.at(logging.ERROR)
    assert line.startswith("declared series were not all ensured, the next start tries again: ")
    assert "maxmemory" in line
    # A step of a deploy is told.
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        await broker.ensure_series()
    bench.redis.config_set("maxmemory", "0")
    assert (await broker.ensure_series()).created == [("ticks", "a")]


async def test_a_replica_that_is_missing_keeps_nothing_from_being_delivered(bench):
    broker = bench.broker(series_owner=OWNER, confirm_replicas=1, confirm_timeout=0.05)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)

    await started(broker)

    (line,) = bench.log.at(logging.ERROR)
    assert line.startswith("declared series were not all ensured, the next start tries again: ")
    assert "(timer 'a' in topic 'ticks') was carried out on the primary, but only 0 of 1" in line
    assert bench.client.has_pending("ticks", "a")


async def test_a_topic_that_is_torn_keeps_no_other_from_being_delivered(cluster_home):
    names = cluster_home.key_names
    log = LogLines()
    broker = TimersBroker(cluster_home.broker_url, **names, series_owner=OWNER, logger=log.logger)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    for n in range(2):
        cluster_home.plant("ticks", f"{n}", YEAR_2050.timestamp(), None)
    got = asyncio.Event()

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        got.set()

    async with broker:
        await broker.publish("x", "invoices")
        await asyncio.wait_for(got.wait(), 10)
    cluster_home.redis.delete(cluster_home.keys_of("ticks").timeline)

    (line,) = log.at(logging.ERROR)
    assert line.startswith("declared series were not all ensured")
    assert "'ticks'" in line


@pytest.mark.parametrize("lost", ["HSET", "TIME", "EVALSHA", "HKEYS"])
async def test_a_call_whose_reply_is_lost_is_made_again(bench, relay, lost):
    broker = bench.broker(relay.url, series_owner=OWNER)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    await broker.connect()
    await broker.ensure_series()
    bench.client.cancel_timer("ticks", "a")

    relay.lose_reply(lost)
    ensured = await broker.ensure_series()

    assert relay.all_lost
    # Of what was done the first time the second one finds the result.
    assert (ensured.unchanged if lost == "EVALSHA" else ensured.created) == [("ticks", "a")]
    assert bench.client.has_pending("ticks", "a")
    assert index_of(bench) == [("ticks", "a")]


# --- tests of one's own ----------------------------------------------------------------------


async def test_at_once_a_declared_series_is_recorded_and_not_run():
    broker = TimersBroker(series_owner=OWNER)
    got = []

    @broker.subscriber("ticks")
    async def handle(body: dict[str, int]) -> None:
        got.append(body)

    broker.add_series({"n": 1}, "ticks", timer_id="a", repeat=HOURLY)
    test = TestTimersBroker(broker)
    async with test:
        assert got == []
        (timer,) = test.scheduled_timers
        assert (timer.topic, timer.timer_id, timer.body) == ("ticks", "a", {"n": 1})
        assert await broker.has_pending("ticks", "a")
        await broker.publish({"n": 2}, "ticks", timer_id="b", repeat=HOURLY)
        assert got == [{"n": 2}]
        assert not await broker.has_pending("ticks", "b")


async def test_in_virtual_time_it_runs_as_time_is_moved():
    broker = TimersBroker(series_owner=OWNER)
    got = []

    @broker.subscriber("ticks")
    async def handle(body: dict[str, int]) -> None:
        got.append(body)

    broker.add_series({"n": 1}, "ticks", timer_id="a", repeat=HOURLY)
    test = TestTimersBroker(broker, hold=True)
    async with test:
        assert (test.scheduled_timers[0].body, got) == ({"n": 1}, [])
        await test.advance(timedelta(hours=3))
        assert got == [{"n": 1}] * 3


async def test_with_real_it_is_on_the_server(bench):
    broker = bench.broker(series_owner=OWNER)
    broker.add_series("a", "ticks", timer_id="a", repeat=HOURLY)
    async with TestTimersBroker(broker, with_real=True):
        assert bench.client.has_pending("ticks", "a")
