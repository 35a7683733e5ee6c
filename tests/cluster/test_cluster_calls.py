"""What a call through a cluster does: whom it asks, how often, and what is told where it fails."""

import asyncio
import gc
import os
import signal
import threading
from contextlib import ExitStack
from datetime import timedelta

import pytest
import redis
from clusters import Cluster
from front_ends import PATIENT, BlockingFrontEnd
from redis.exceptions import ClusterDownError, NoPermissionError, ResponseError
from relayed_cluster import front_end_on, slot_of_topic, topics_at
from waiting import wait_until, wait_until_async

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimerOutcomeUnknownError, TimersClient, TopicTornError
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.routing import refusal_of

HOUR = timedelta(hours=1)


@pytest.fixture
def slot():
    return slot_of_topic("invoices")


@pytest.fixture
def source(cluster, slot):
    return cluster.owner_of(slot)


@pytest.fixture
def target(cluster, source):
    return next(node for node in cluster.primaries() if node is not source)


@pytest.fixture
def moving(cluster, slot, source, target):
    """The slot of `invoices` on its way to another primary; afterwards it is back, and empty."""
    cluster.begin_move(slot, target)
    yield
    cluster.flush()
    if cluster.owner_of(slot) is target:
        cluster.move_slot(slot, source)
    else:
        cluster.abandon_move(slot, target)


# --- how often the server is asked --------------------------------------------------------


async def test_a_call_is_one_round_trip_where_the_map_is_right(relayed, relays, cluster):
    topics = [topic for node in cluster.primaries() for topic in topics_at(cluster, node, 2)]
    for topic in topics:
        await relayed.schedule("x", topic, timer_id="1", activate_in=HOUR)
        await relayed.count_pending(topic)
        await relayed.cancel_timer(topic, "1")
    relays.forget()

    for topic in topics:
        await relayed.schedule("x", topic, timer_id="1", activate_in=HOUR)
        await relayed.count_pending(topic)
        await relayed.cancel_timer(topic, "1")

    assert relays.calls == [b"EVALSHA"] * (3 * len(topics))


async def test_the_map_is_read_once_for_all_who_need_it(relays, cluster, key_names):
    client = redis.asyncio.RedisCluster(
        host="127.0.0.1", port=cluster.nodes[0].port, address_remap=relays.remap
    )
    broker = TimersBroker(client, hash_tags=True, **key_names)
    await asyncio.gather(*(broker.publish("x", f"t{n}", activate_in=HOUR) for n in range(50)))
    assert relays.calls.count(b"CLUSTER") <= 1
    await broker.stop()
    cluster.flush()


@pytest.mark.parametrize("call", ["schedule", "cancel", "reschedule"])
async def test_a_lost_reply_is_an_unknown_outcome_and_nothing_is_repeated(
    relayed, relays, source, call
):
    calls = {
        "schedule": lambda: relayed.schedule("x", "invoices", timer_id="2", activate_in=HOUR),
        "cancel": lambda: relayed.cancel_timer("invoices", "1"),
        "reschedule": lambda: relayed.reschedule_timer("invoices", "1", activate_in=HOUR),
    }
    await relayed.schedule("x", "invoices", timer_id="1", activate_in=HOUR)
    await calls[call]()
    relays.forget()
    relays[source].lose_reply("EVALSHA")

    with pytest.raises(TimerOutcomeUnknownError, match="'invoices'"):
        await calls[call]()

    assert relays.calls == [b"EVALSHA"]


async def test_a_look_whose_reply_is_lost_is_asked_once_more(relayed, relays, source):
    await relayed.schedule("x", "invoices", timer_id="1", activate_in=HOUR)
    assert await relayed.has_pending("invoices", "1")
    relays.forget()
    relays[source].lose_reply("EVALSHA")

    assert await relayed.has_pending("invoices", "1")

    assert relays.calls.count(b"EVALSHA") == 2


async def test_a_silent_node_is_an_unknown_outcome_and_the_map_is_read_again(
    relayed, relays, source
):
    await relayed.schedule("x", "invoices", timer_id="1", activate_in=HOUR)
    relays[source].stall()
    with pytest.raises(TimerOutcomeUnknownError):
        await relayed.schedule("x", "invoices", timer_id="2", activate_in=HOUR)
    relays.forget()
    relays[source].resume()
    relays[source].cut()

    await relayed.schedule("x", "invoices", timer_id="3", activate_in=HOUR)

    assert b"CLUSTER" in relays.calls


async def test_a_node_that_refuses_connections_was_sent_nothing(relayed, relays, source):
    relays[source].refuse()

    with pytest.raises(redis.ConnectionError):
        await relayed.schedule("x", "invoices", timer_id="2", activate_in=HOUR)

    relays[source].accept()
    assert await relayed.get_pending_timers("invoices") == []


# --- slots that move ----------------------------------------------------------------------


async def test_after_a_slot_has_moved_a_call_goes_there_by_itself(
    relayed, relays, cluster, slot, source, target
):
    await relayed.schedule("x", "invoices", timer_id="1", activate_in=HOUR)
    cluster.move_slot(slot, target)
    relays.forget()
    try:
        await relayed.schedule("x", "invoices", timer_id="2", activate_in=HOUR)
        # MOVED, and at the target first by name, then by text.
        assert relays.calls in ([b"EVALSHA"] * 2, [b"EVALSHA", b"EVALSHA", b"EVAL"])
        relays.forget()
        assert await relayed.count_pending("invoices") == 2
        assert [*relays.calls][:1] == [b"EVALSHA"]
        assert b"CLUSTER" not in relays.calls
    finally:
        cluster.move_slot(slot, source)
    assert await relayed.count_pending("invoices") == 2


async def test_a_topic_whose_keys_have_all_moved_is_served_by_the_target_on_the_way(
    relayed, relays, cluster, slot, source, target
):
    for timer_id in ("1", "2"):
        await relayed.schedule("x", "invoices", timer_id=timer_id, activate_in=HOUR)
    cluster.begin_move(slot, target)
    cluster.move_keys(slot, target)
    relays.forget()
    try:
        await relayed.schedule("x", "invoices", timer_id="3", activate_in=HOUR)
        assert await relayed.cancel_timer("invoices", "1")
        assert await relayed.get_pending_timers("invoices") == ["2", "3"]
        assert b"ASKING" in relays.calls
        assert b"CLUSTER" not in relays.calls
    finally:
        cluster.finish_move(slot, target)
        cluster.flush()
        cluster.move_slot(slot, source)


@pytest.mark.usefixtures("moving")
async def test_a_topic_without_keys_waits_until_its_slot_has_moved(front_end):
    with pytest.raises(ResponseError) as raised:
        await front_end.schedule("x", "invoices", timer_id="1", activate_in=HOUR)
    assert refusal_of(raised.value).kind == "TRYAGAIN"


async def test_replicas_confirm_on_the_way_too(flavour, cluster, key_names, slot, source, target):
    options = {"timers_confirm_replicas": 1, "timers_confirm_timeout": 5.0}
    async with front_end_on(flavour, source, key_names, **options) as front_end:
        await front_end.schedule("x", "invoices", timer_id="0", activate_in=HOUR)
        cluster.begin_move(slot, target)
        cluster.move_keys(slot, target)
        await front_end.schedule("x", "invoices", timer_id="1", activate_in=HOUR)
        # What changes nothing is confirmed by a write that does not either.
        await front_end.schedule("y", "invoices", timer_id="1", activate_in=HOUR, if_exists="keep")
        assert await front_end.cancel_timer("invoices", "unknown") is False
        assert await front_end.get_pending_timers("invoices") == ["0", "1"]
    cluster.finish_move(slot, target)
    cluster.flush()
    cluster.move_slot(slot, source)


async def test_keys_on_both_sides_are_waited_for_and_nothing_is_changed(
    front_end, cluster, slot, source, target, key_names
):
    await front_end.schedule("x", "invoices", timer_id="1", activate_in=HOUR)
    keys = KeySpace(**key_names, hash_tags=True).of("invoices")
    cluster.begin_move(slot, target)
    cluster.move_keys(slot, target, keys.payloads)
    try:
        for call in (
            front_end.schedule("x", "invoices", timer_id="2", activate_in=HOUR),
            front_end.cancel_timer("invoices", "1"),
            front_end.get_timer("invoices", "1"),
        ):
            with pytest.raises(ResponseError) as raised:
                await call
            assert refusal_of(raised.value).kind == "TRYAGAIN"
    finally:
        cluster.move_keys(slot, target)
        cluster.finish_move(slot, target)
    try:
        assert await front_end.get_pending_timers("invoices") == ["1"]
        assert await front_end.cancel_timer("invoices", "1")
    finally:
        cluster.move_slot(slot, source)


async def test_a_call_during_the_failure_of_a_primary_reaches_its_replica(
    flavour, own_cluster, key_names
):
    primary = own_cluster.owner_of(slot_of_topic("invoices"))
    other = next(node for node in own_cluster.primaries() if node is not primary)
    patient = {"socket_timeout": 10.0, "socket_connect_timeout": 10.0}
    async with front_end_on(flavour, other, key_names, **patient) as front_end:
        await front_end.schedule("x", "invoices", timer_id="1", activate_in=HOUR)
        own_cluster.wait_until_ok()
        own_cluster.kill(primary)

        await front_end.schedule("x", "invoices", timer_id="2", activate_in=HOUR)

        assert await front_end.get_pending_timers("invoices") == ["1", "2"]


async def test_connections_to_a_node_that_has_left_are_closed(flavour, own_cluster, key_names):
    added = own_cluster.add_node()
    slot = slot_of_topic("invoices")
    own_cluster.move_slots([slot], added)
    async with front_end_on(flavour, own_cluster.nodes[0], key_names) as front_end:
        await front_end.schedule("x", "invoices", timer_id="1", activate_in=HOUR)
        runner = runner_of(front_end)
        assert addresses(runner) >= {added.port}
        own_cluster.remove_node(added)

        await front_end.schedule("x", "invoices", timer_id="2", activate_in=HOUR)

        assert added.port not in addresses(runner)
        assert await front_end.count_pending("invoices") == 2


def runner_of(front_end):
    if isinstance(front_end, BlockingFrontEnd):
        return front_end._client._runner
    return front_end._broker.config.connection.runner


def addresses(runner):
    pools = runner._pools if hasattr(runner, "_pools") else runner.primaries._pools
    return {address.port for address in pools}


async def test_a_client_made_of_a_url_can_be_used_and_is_closed_with_the_broker(cluster, key_names):
    before = clients_of(cluster)
    broker = TimersBroker(cluster.url, logger=None, **key_names)
    client = await broker.connect()
    await client.set("x", "y")
    assert clients_of(cluster) > before
    await broker.stop()
    await wait_until_async(lambda: clients_of(cluster) == before)
    cluster.flush()


async def test_a_primary_that_was_replaced_while_it_slept_is_left(flavour, own_cluster, key_names):
    primary = own_cluster.owner_of(slot_of_topic("invoices"))
    other = next(node for node in own_cluster.primaries() if node is not primary)
    async with front_end_on(flavour, other, key_names) as front_end:
        await front_end.schedule("x", "invoices", timer_id="1", activate_in=HOUR)
        own_cluster.wait_until_ok()
        with own_cluster.paused(primary):
            own_cluster.wait_until_replaced(primary)
            with pytest.raises(TimerOutcomeUnknownError):
                await front_end.schedule("x", "invoices", timer_id="2", activate_in=HOUR)
            await front_end.schedule("x", "invoices", timer_id="3", activate_in=HOUR)
            assert "3" in await front_end.get_pending_timers("invoices")


@pytest.mark.parametrize("kind", ["hostname", "unknown-endpoint"])
async def test_endpoints_may_be_announced_otherwise(flavour, own_cluster, key_names, kind):
    own_cluster.announce(kind)
    async with front_end_on(flavour, own_cluster.nodes[0], key_names) as front_end:
        for topic in ("invoices", "orders", "trials", "mails"):
            await front_end.schedule("x", topic, activate_in=HOUR)
            assert await front_end.count_pending(topic) == 1
        slot = slot_of_topic("invoices")
        source = own_cluster.owner_of(slot)
        target = next(node for node in own_cluster.primaries() if node is not source)
        own_cluster.move_slot(slot, target)
        assert await front_end.count_pending("invoices") == 1


# --- clear errors -------------------------------------------------------------------------


def has_slot(node, slot):
    """Let a node forget the primary of a slot; return whether it still has one."""
    owned = [range(first, last + 1) for first, last, *_ in node.ask("CLUSTER", "SLOTS")]
    if any(slot in slots for slots in owned):
        node.ask("CLUSTER", "DELSLOTS", slot)
        return True
    return False


async def test_slots_that_nobody_serves_are_named(flavour, own_cluster, key_names):
    slot = slot_of_topic("invoices")
    owner = own_cluster.owner_of(slot)
    for node in (owner, *(node for node in own_cluster.nodes if node is not owner)):
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        # One that hears meanwhile from its owner of before takes it up again.
        wait_until(lambda node=node: not has_slot(node, slot))

    with pytest.raises(TimeoutError, match=rf"serves these slots: {slot};"):
        await TimersBroker(own_cluster.url, start_timeout=0.5, logger=None).start()
    timers = TimersClient(own_cluster.url, **key_names, options={"socket_timeout": 0.2})
    assert timers.ping() is False
    with pytest.raises(redis.ResponseError, match=rf"slot {slot} of topic 'invoices'|not served"):
        timers.schedule("x", "invoices")
    timers.close()
    # All others are served.
    with TimersClient(own_cluster.url, **key_names, options=PATIENT) as patient:
        patient.schedule("x", "orders")
        assert patient.count_pending("orders") == 1


def test_a_server_that_is_no_cluster_is_told_at_once(relay):
    timers = TimersClient(relay.url.replace("redis:", "redis+cluster:"))
    with pytest.raises(ResponseError, match=r"is not a node of a Redis Cluster.*write redis://"):
        timers.schedule("x", "invoices")
    assert relay.count("CLUSTER") == 1


@pytest.fixture(scope="module")
def unformed():
    """Nodes that are up, and know nothing of each other yet."""
    with Cluster(primaries=3, replicas=0) as cluster:
        for node in cluster.nodes:
            node.ask("FLUSHALL")
            node.ask("CLUSTER", "RESET", "HARD")
        yield cluster


async def test_a_cluster_that_is_not_formed_yet_is_waited_for(unformed, key_names):
    broker = TimersBroker(unformed.url, start_timeout=0.5, logger=None, **key_names)
    with pytest.raises(TimeoutError, match=r"start_timeout=0.5 s: no node .* gives a map"):
        await broker.start()
    assert not await broker.ping(1.0)
    await broker.connect()
    with pytest.raises(redis.ConnectionError, match="gives a map of its slots"):
        await broker.publish("x", "invoices")
    await broker.stop()
    with TimersClient(unformed.url, **key_names) as timers:
        assert timers.ping() is False
        with pytest.raises(redis.ConnectionError, match="gives a map of its slots"):
            timers.schedule("x", "invoices")


async def test_a_refused_asking_leaves_no_reply_behind(
    flavour, cluster, key_names, slot, source, target
):
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", "lacking", "on", ">secret", "~*", "&*", "+@all", "-asking")
    lacking = {"username": "lacking", "password": "secret"}
    async with front_end_on(flavour, source, key_names, **lacking) as front_end:
        await front_end.schedule("x", "invoices", timer_id="1", activate_in=HOUR)
        elsewhere = topics_at(cluster, target)[0]
        cluster.begin_move(slot, target)
        cluster.move_keys(slot, target)
        try:
            for _ in range(5):
                with pytest.raises(NoPermissionError, match="asking"):
                    await front_end.count_pending("invoices")
                assert await front_end.count_pending(elsewhere) == 0
        finally:
            cluster.finish_move(slot, target)
            cluster.flush()
            cluster.move_slot(slot, source)
            for node in cluster.nodes:
                node.ask("ACL", "DELUSER", "lacking")


async def test_who_publishes_while_the_broker_stops_is_not_cancelled(own_cluster, key_names):
    broker = TimersBroker(own_cluster.url, logger=None, **key_names)
    await broker.connect()
    with ExitStack() as stack:
        for node in own_cluster.nodes:
            stack.enter_context(own_cluster.paused(node))
        publishing = asyncio.create_task(broker.publish("x", "invoices"))
        await asyncio.sleep(0.3)
        await broker.stop()
        with pytest.raises((redis.RedisError, OSError)):
            await publishing


def test_options_of_a_cluster_are_those_of_any_url(cluster, key_names):
    connected = []

    def on_connect(connection):
        connection.on_connect()
        connected.append(connection)

    options = {"redis_connect_func": on_connect}
    with TimersClient(cluster.url, options=options, **key_names) as timers:
        timers.count_pending("invoices")
    assert connected
    url = f"{cluster.url}?retry_on_timeout=yes&max_connections=7"
    assert TimersBroker(url).config.connection.address == cluster.url
    for make in (TimersClient, TimersBroker):
        with pytest.raises(ValueError, match=r"can't be used: .*'timeot'"):
            make(f"{cluster.url}?timeot=3")
    # Whatever documents are told.
    with pytest.raises(ValueError, match=r"can't be used: .*'timeot'"):
        TimersBroker(f"{cluster.url}?timeot=3", specification_url="redis://elsewhere")


def test_calls_one_by_one_give_up_after_two_primaries(cluster, key_names, monkeypatch):
    options = {"socket_timeout": 0.1, "socket_connect_timeout": 0.1}
    with TimersClient(cluster.url, options=options, **key_names) as timers:
        tried = []

        def refuse(operation):
            tried.append(operation.topic)
            raise ClusterDownError(operation.topic)

        pipeline = timers._runner.new_pipeline()
        topics = [topic for node in cluster.primaries() for topic in topics_at(cluster, node, 2)]
        for topic in (*topics, *topics):
            timers.schedule("x", topic, pipeline=pipeline)
        monkeypatch.setattr(type(timers._runner), "_answer", lambda _, operation: refuse(operation))

        results = pipeline.execute(raise_on_error=False)

    assert tried == topics[:2]
    assert len(results) == 12
    assert all(isinstance(result, redis.RedisError) for result in results)


def test_names_with_one_tag_are_guarded_against_torn_topics_too(server_url, redis_client):
    names = {name: f"{{torn}}:{name}" for name in ("timeline_key", "payloads_key", "attempts_key")}
    with TimersClient(server_url, **names) as timers:
        for timer_id in ("1", "2"):
            timers.schedule("x", "invoices", timer_id=timer_id, activate_in=HOUR)
        redis_client.delete("{torn}:payloads_key:invoices")
        with pytest.raises(TopicTornError):
            timers.schedule("x", "invoices", timer_id="3")
        assert timers.cancel_all("invoices") == 2


def test_a_pipeline_of_a_cluster_is_refused(cluster, key_names):
    with (
        redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port) as client,
        TimersClient(client, hash_tags=True, **key_names) as timers,
    ):
        pipeline = client.pipeline()
        with pytest.raises(TypeError, match=r"pipeline is that of a cluster.*Leave pipeline out"):
            timers.schedule("x", "invoices", pipeline=pipeline)
        assert timers.count_pending("invoices") == 0


# --- connections --------------------------------------------------------------------------


def clients_of(cluster, flag="N"):
    """Count the clients of all nodes: those that ask (N), or listen (P)."""
    return sum(
        f"flags={flag}" in line
        for node in cluster.nodes
        for line in node.ask("CLIENT", "LIST").splitlines()
    )


async def test_connections_are_ours_and_closed_with_us(cluster, key_names):
    before = clients_of(cluster)
    client = redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
    broker = TimersBroker(client, hash_tags=True, logger=None, **key_names)
    topics = [topics_at(cluster, node)[0] for node in cluster.primaries()]
    for topic in topics:
        broker.subscriber(topic)(lambda message: None)
    async with broker:
        for topic in topics:
            await broker.publish("x", topic, activate_in=HOUR)
        await wait_until_async(lambda: clients_of(cluster, "P") == 3)
    await wait_until_async(lambda: clients_of(cluster) == before)
    await wait_until_async(lambda: clients_of(cluster, "P") == 0)

    # The client is the caller's: it goes on, and so does the broker with it.
    await client.set("x", "y")
    await broker.publish("x", topics[0], activate_in=HOUR)
    await broker.stop()
    await client.aclose()
    cluster.flush()


def test_a_blocking_client_closes_what_is_its_own(cluster, key_names):
    with redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port) as client:
        before = clients_of(cluster)
        with TimersClient(client, hash_tags=True, **key_names) as timers:
            timers.schedule("x", "invoices", activate_in=HOUR)
            assert clients_of(cluster) == before + 1
        wait_until(lambda: clients_of(cluster) == before)
        client.set("x", "y")
    cluster.flush()


def test_threads_and_forks_share_a_client(cluster, key_names):
    with TimersClient(cluster.url, **key_names) as timers:

        def work(name):
            for n in range(20):
                timers.schedule("x", f"t{n % 7}", timer_id=f"{name}-{n}", activate_in=HOUR)

        threads = [threading.Thread(target=work, args=(str(n),)) for n in range(8)]
        for thread in threads:
            thread.start()
        children = []
        for n in range(5):
            if (pid := os.fork()) == 0:
                work(f"child-{n}")
                os._exit(0)
            children.append(pid)
        for thread in threads:
            thread.join()
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
        assert sum(timers.count_pending(f"t{n}") for n in range(7)) == 20 * (8 + 5)
    cluster.flush()


# Python warns of forks beside threads, which is what this is about.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_closes_a_client_whose_pool_a_thread_was_using(cluster, key_names):
    with TimersClient(cluster.url, **key_names) as timers:
        timers.schedule("x", "invoices", timer_id="parent", activate_in=HOUR)
        (pool,) = timers._runner._pools.values()
        is_held, is_over = threading.Event(), threading.Event()

        def hold():
            with pool._lock:
                is_held.set()
                is_over.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        is_held.wait()
        if (pid := os.fork()) == 0:
            # If it hangs, nobody else would end it.
            signal.alarm(30)
            try:
                timers.close()
                timers.schedule("x", "invoices", timer_id="child", activate_in=HOUR)
                timers.close()
                os._exit(0)
            finally:
                os._exit(1)
        status = os.waitpid(pid, 0)[1]
        is_over.set()
        thread.join()
        assert os.waitstatus_to_exitcode(status) == 0
        # The parent's connection is still open.
        assert timers.get_pending_timers("invoices") == ["parent", "child"]
        assert next(iter(timers._runner._pools.values())) is pool
    cluster.flush()


# Those of an event loop that does not run can't be closed as redis-py wants it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_broker_serves_one_event_loop_after_another(cluster, key_names):
    broker = TimersBroker(cluster.url, logger=None, **key_names)

    async def use():
        await broker.connect()
        await broker.publish("x", "invoices", timer_id="1", activate_in=HOUR)
        return await broker.count_pending("invoices")

    assert asyncio.run(use()) == 1
    assert asyncio.run(use()) == 1
    asyncio.run(broker.stop())
    cluster.flush()
    # Here, where it is expected, not in a later test.
    gc.collect()


def test_documents_name_the_nodes_and_no_password():
    broker = TimersBroker("rediss+cluster://me:secret@node-1,node-2:7000?socket_timeout=5")
    assert broker.specification.url == ["rediss+cluster://node-1:6379,node-2:7000"]
    assert broker.specification.protocol == "rediss"
    client = redis.asyncio.RedisCluster.from_url("redis://me:secret@node-1:7000")
    broker = TimersBroker(client, hash_tags=True)
    assert broker.specification.url == ["redis+cluster://node-1:7000"]
    assert broker.specification.protocol == "redis"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis+cluster://", "can't be read"),
        ("redis+cluster://node-1:port", "can't be read"),
        ("redis+cluster://node-1:1,,node-2:2", "can't be read"),
        ("redis+cluster://node-1:99999", "can't be read"),
        ("redis+cluster://me:sec/ret@node-1", "can't be read"),
        ("redis+cluster://me:sec?ret@node-1", "can't be read"),
        ("redis+cluster://me:top：secret@node-1:6379", "can't be read"),  # noqa: RUF001
        ("redis+cluster://me:top[sec]ret@node-1:6379", "can't be read"),
        ("redis+cluster://me:top[secret@node-1:6379", "can't be read"),
        ("redis+cluster://node-1/1", "has only database 0"),
        ("redis+cluster://node-1?db=2", "has only database 0"),
        ("redis+cluster://node-1/db", "has only database 0"),
    ],
)
def test_a_url_that_can_not_be_used_is_refused_and_not_repeated(url, sentence):
    for make in (TimersClient, TimersBroker):
        with pytest.raises(ValueError, match=sentence) as raised:
            make(url)
        assert "sec" not in str(raised.value)


def test_one_tag_in_all_names_places_all_topics_together(cluster):
    names = {name: f"{{test}}:{name}" for name in ("timeline_key", "payloads_key", "attempts_key")}
    with TimersClient(cluster.url, **names) as timers:
        for topic in ("invoices", "orders", "trials"):
            timers.schedule("x", topic, activate_in=HOUR)
        node = cluster.owner_of(cluster.key_slot("{test}"))
        assert sorted(node.ask("KEYS", "{test}:timeline_key:*")) == [
            "{test}:timeline_key:invoices",
            "{test}:timeline_key:orders",
            "{test}:timeline_key:trials",
        ]
    cluster.flush()
