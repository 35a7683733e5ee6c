"""`TimersClient` on its own: its connections, threads, forks, pipelines, and a failing server."""

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.cluster
from freezegun import freeze_time
from front_ends import Home
from redis.backoff import NoBackoff
from redis.retry import Retry
from waiting import wait_until

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync import (
    Every,
    TimerOutcomeUnknownError,
    TimerPublishMessage,
    TimersClient,
    TimersError,
)
from faststream_redis_timers_sync.protocol.model import Settlement

TOPIC = "invoices"
HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)
YEARLY = Every(timedelta(days=365), start=YEAR_2050)


@pytest.fixture
def client(redis_client, key_names):
    return TimersClient(redis_client, **key_names)


@pytest.fixture
def own_redis(own_url):
    """A client of a server that may forget its scripts, which disturbs others' tests."""
    with redis.Redis.from_url(own_url) as client:
        yield client


@pytest.fixture
def home(key_names, server_url):
    """The real server alone."""
    home = Home(key_names, server_url)
    yield home
    home.redis.close()


def with_options(url, **options):
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"{url}{'&' if '?' in url else '?'}{query}"


# --- what it takes -----------------------------------------------------------------------


def test_an_asyncio_client_is_refused():
    with pytest.raises(TypeError, match=r"redis\.asyncio\.Redis.*TimersBroker"):
        TimersClient(redis.asyncio.Redis())


class OurCluster(redis.RedisCluster):
    pass


@pytest.mark.parametrize(
    "cluster_class", [redis.RedisCluster, OurCluster, redis.asyncio.cluster.RedisCluster]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cluster_client_is_refused_without_hash_tags(cluster_class):
    # Made without its constructor, which looks for a cluster.
    cluster = cluster_class.__new__(cluster_class)

    with pytest.raises(TypeError, match=r"client is a RedisCluster.*pass hash_tags=True"):
        TimersClient(cluster)


def test_a_single_connection_client_is_refused(server_url):
    with (
        redis.Redis.from_url(server_url, single_connection_client=True) as single,
        pytest.raises(TypeError, match="single_connection_client=True"),
    ):
        TimersClient(single)


def test_a_single_connection_is_refused_among_the_options_too():
    with pytest.raises(TypeError, match="single_connection_client=True"):
        TimersClient("redis://localhost:1", options={"single_connection_client": True})


@pytest.mark.parametrize("junk", [None, 5, b"redis://localhost", object(), redis.Redis])
def test_anything_else_is_refused_by_its_type(junk):
    with pytest.raises(TypeError, match=f"redis.RedisCluster or a URL, got {type(junk).__name__}"):
        TimersClient(junk)


@pytest.mark.parametrize("url", ["", "localhost", "http://localhost"])
def test_a_url_that_redis_py_can_not_read_is_refused(url):
    with pytest.raises(ValueError, match="scheme"):
        TimersClient(url)


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ({"timeline_key": ""}, ValueError),
        ({"payloads_key": b"x"}, TypeError),
        ({"attempts_key": "timers_timeline"}, ValueError),
        ({"series_key": "timers_timeline"}, ValueError),
    ],
)
def test_key_names_are_checked(names, error):
    with pytest.raises(error, match=next(iter(names))):
        TimersClient("redis://localhost", **names)


# --- connections of its own --------------------------------------------------------------


def connection_options(client):
    return client._runner.client.connection_pool.connection_kwargs


def timeouts(client):
    kwargs = connection_options(client)
    return kwargs["socket_timeout"], kwargs["socket_connect_timeout"]


def test_a_client_made_from_a_url_does_not_repeat_as_redis_py_would():
    assert connection_options(TimersClient("redis://localhost"))["retry"]._retries == 0


def test_a_client_made_from_a_url_has_timeouts_and_the_urls_options_win():
    assert timeouts(TimersClient("redis://localhost")) == (2.0, 2.0)
    assert timeouts(TimersClient("redis://localhost?socket_timeout=5")) == (5.0, 2.0)


def test_options_win_over_ours_and_the_urls_over_both():
    retry = Retry(NoBackoff(), 7)
    options = {"socket_timeout": 5, "socket_connect_timeout": 3, "retry": retry, "db": 2}
    client = TimersClient("redis://localhost?socket_timeout=4", options=options)

    assert timeouts(client) == (4.0, 3)
    assert connection_options(client)["retry"] is retry
    assert connection_options(client)["db"] == 2


@pytest.mark.parametrize(
    ("url", "options", "name"),
    [
        ("redis://localhost", {"socket_timout": 5}, "socket_timout"),
        ("unix:///nowhere", {"socket_timout": 5}, "socket_timout"),
        ("rediss://localhost", {"ssl_cert_reqs": "perhaps"}, "perhaps"),
        ("redis://localhost", {"retry": "often", "retry_on_timeout": True}, "'str' object"),
        ("redis://localhost?socket_timout=5", None, "socket_timout"),
        ("redis://localhost?single_connection_client=1", None, "single_connection_client"),
    ],
)
def test_an_option_that_redis_py_does_not_know_is_refused_at_once(url, options, name):
    with pytest.raises(
        ValueError, match=f"options, or the part of the URL after the .* can't be used.*{name}"
    ):
        TimersClient(url, options=options)


@pytest.mark.parametrize("name", ["socket_timeout", "socket_connect_timeout"])
def test_a_timeout_that_is_no_number_is_refused_at_once(name):
    with pytest.raises(ValueError, match=rf"options\['{name}'\] must be a number .*, got '5'"):
        TimersClient("redis://localhost", options={name: "5"})


@pytest.mark.parametrize("options", [5, "socket_timeout=5", [("socket_timeout", 5)]])
def test_options_that_are_no_mapping_are_refused(options):
    with pytest.raises(TypeError, match=f"options must be a mapping, got {type(options).__name__}"):
        TimersClient("redis://localhost", options=options)


def test_options_are_not_for_a_client_that_was_given(redis_client):
    with pytest.raises(ValueError, match=r"made from a URL.*pass them to your redis\.Redis"):
        TimersClient(redis_client, options={"socket_timeout": 5})


def test_checking_the_options_takes_no_connection_of_the_pool(server_url, key_names):
    with TimersClient(server_url, options={"max_connections": 1}, **key_names) as client:
        assert client.count_pending(TOPIC) == 0


@pytest.fixture
def is_connected(redis_client, key_names):
    """Return whether the server has connections of this test's name."""

    def is_connected():
        return any(one["name"] == name for one in redis_client.client_list())

    name = is_connected.client_name = key_names["timeline_key"]
    return is_connected


def test_its_own_connections_are_closed_by_close(server_url, is_connected, key_names):
    url = with_options(server_url, client_name=is_connected.client_name)
    client = TimersClient(url, **key_names)
    client.count_pending(TOPIC)
    assert is_connected()

    client.close()

    wait_until(lambda: not is_connected())


def test_its_own_connections_are_closed_at_the_end_of_a_with_block(
    server_url, is_connected, key_names
):
    url = with_options(server_url, client_name=is_connected.client_name)

    with TimersClient(url, **key_names) as client:
        client.count_pending(TOPIC)
        assert is_connected()

    wait_until(lambda: not is_connected())


def test_a_client_that_was_given_is_never_closed(server_url, is_connected, key_names):
    url = with_options(server_url, client_name=is_connected.client_name)
    with redis.Redis.from_url(url) as given:
        with TimersClient(given, **key_names) as client:
            client.count_pending(TOPIC)
        client.close()

        assert is_connected()
        assert client.count_pending(TOPIC) == 0


def test_ping_returns_whether_the_server_answers(relay):
    with TimersClient(with_options(relay.url, socket_timeout=0.2)) as client:
        wait_until(lambda: client.ping() is True)

        relay.stall()
        assert client.ping() is False
        relay.resume()
        wait_until(lambda: client.ping() is True)

        relay.refuse()
        assert client.ping() is False
        relay.accept()
        wait_until(lambda: client.ping() is True)


# --- whose clock -------------------------------------------------------------------------


@pytest.mark.parametrize("wrong_clock", ["2001-01-01", "2099-01-01"])
def test_a_delay_is_counted_by_the_servers_clock_however_wrong_ours_is(client, home, wrong_clock):
    before = home.now()
    with freeze_time(wrong_clock):
        client.schedule("x", TOPIC, timer_id="42", activate_in=HOUR)

    assert before + HOUR <= client.get_timer(TOPIC, "42").due_at <= home.now() + HOUR


# --- threads and forks -------------------------------------------------------------------


def in_threads(count: int, call: Callable[[int], Any]) -> None:
    """Call it in several threads at once; raise what the first of them raised."""
    errors = []
    start = threading.Barrier(count)

    def work(number):
        try:
            start.wait()
            call(number)
        except Exception as error:  # noqa: BLE001  it is raised in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize(
    ("pool_class", "connections"),
    [
        (redis.ConnectionPool, 1000),
        (redis.ConnectionPool, 2),
        (redis.BlockingConnectionPool, 2),
    ],
)
def test_threads_may_share_a_client_and_wait_for_a_full_pool(
    server_url, key_names, pool_class, connections
):
    pool = pool_class.from_url(server_url, max_connections=connections)
    client = TimersClient(redis.Redis(connection_pool=pool), **key_names)

    def schedule_a_hundred(thread):
        for n in range(100):
            timer_id = f"{thread}:{n}"
            assert client.schedule(timer_id, TOPIC, timer_id=timer_id) == timer_id
            assert client.get_timer(TOPIC, timer_id).decode() == timer_id

    in_threads(8, schedule_a_hundred)

    assert client.count_pending(TOPIC) == 800
    pool.disconnect()


class CountingPool(redis.BlockingConnectionPool):
    asked = 0

    def get_connection(self, *args, **options):
        self.asked += 1
        return super().get_connection(*args, **options)


@pytest.mark.parametrize("reads", [False, True])
def test_a_pool_that_waits_by_itself_is_asked_once(server_url, key_names, reads):
    """Not twice for a read, which is repeated if its connection is lost."""
    pool = CountingPool.from_url(server_url, max_connections=1, timeout=0.1)
    client = TimersClient(redis.Redis(connection_pool=pool), **key_names)
    with redis.Redis(connection_pool=pool).pipeline() as pipeline:
        # A pipeline that watches keeps its connection.
        pipeline.watch("some-key")
        before = pool.asked
        with pytest.raises(redis.ConnectionError, match="No connection available"):
            client.get_timer(TOPIC, "1") if reads else client.schedule("x", TOPIC, timer_id="1")
        assert pool.asked == before + 1

    assert client.schedule("x", TOPIC, timer_id="1") == "1"
    pool.disconnect()


# Python warns of forks beside threads, and a test before this may have left one.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_client_may_be_used_on_both_sides_of_a_fork(server_url, key_names):
    with redis.Redis.from_url(server_url) as given:
        client = TimersClient(given, **key_names)
        client.schedule("x", TOPIC, timer_id="before")
        fork = multiprocessing.get_context("fork")
        start = fork.Barrier(2)

        def schedule_some(side):
            start.wait(timeout=30)
            for n in range(100):
                timer_id = f"{side}:{n}"
                client.schedule(timer_id, TOPIC, timer_id=timer_id)
                assert client.get_timer(TOPIC, timer_id).decode() == timer_id

        child = fork.Process(target=schedule_some, args=("child",))
        child.start()
        schedule_some("parent")
        child.join()

        assert child.exitcode == 0
        assert client.count_pending(TOPIC) == 201
    child.close()


# --- pipelines ---------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["transaction", "no-transaction"])
def pipeline(request, redis_client):
    with redis_client.pipeline(transaction=request.param) as pipeline:
        yield pipeline


def test_operations_in_a_pipeline_happen_when_it_is_executed(client, pipeline):
    client.schedule("x", TOPIC, timer_id="move", activate_at=YEAR_2050)
    client.schedule("x", TOPIC, timer_id="cancel")

    assert client.schedule("y", TOPIC, timer_id="new", activate_in=HOUR, pipeline=pipeline) == "new"
    assert len(client.schedule("y", TOPIC, activate_in=HOUR, pipeline=pipeline)) == 22
    assert client.reschedule_timer(TOPIC, "move", activate_in=-HOUR, pipeline=pipeline) is None
    assert client.cancel_timer(TOPIC, "cancel", pipeline=pipeline) is None
    assert client.get_pending_timers(TOPIC) == ["cancel", "move"]

    pipeline.execute()

    assert client.count_pending(TOPIC) == 3
    assert client.get_pending_timers(TOPIC)[0] == "move"
    assert client.get_timer(TOPIC, "new").decode() == "y"


def test_a_large_batch_fits_a_pipeline(client, pipeline):
    messages = [TimerPublishMessage(n, timer_id=f"{n:04}") for n in range(1100)]

    ids = client.schedule_batch(messages, TOPIC, activate_at=YEAR_2050, pipeline=pipeline)
    pipeline.execute()

    assert client.get_pending_timers(TOPIC) == ids


def test_a_pipeline_takes_series(client, pipeline):
    client.schedule("old", TOPIC, timer_id="b", repeat=YEARLY)
    client.schedule("old", TOPIC, timer_id="c", repeat=Every(days=1))

    given = client.schedule("new", TOPIC, timer_id="a", repeat=YEARLY, pipeline=pipeline)
    messages = [
        TimerPublishMessage("new", timer_id="b"),
        TimerPublishMessage("new", timer_id="c"),
        TimerPublishMessage("new", timer_id="d", activate_at=YEAR_2050),
    ]
    given += "".join(client.schedule_batch(messages, TOPIC, repeat=YEARLY, pipeline=pipeline))

    assert given == "abcd"
    assert client.count_pending(TOPIC) == 2
    # Nothing is in it but the calls themselves.
    assert pipeline.execute() == [b"1", b"sc1"]
    timers = list(client.iter_timers(TOPIC))
    assert [timer.timer_id for timer in timers] == list("abcd")
    assert [timer.repeat for timer in timers] == [YEARLY, YEARLY, YEARLY, None]
    assert {(timer.decode(), timer.due_at) for timer in timers} == {("new", YEAR_2050)}


def test_the_callers_own_commands_keep_their_results(client, pipeline, key_names):
    own = key_names["attempts_key"] + ":own"
    pipeline.set(own, "1")
    client.schedule("x", TOPIC, timer_id="42", pipeline=pipeline)
    pipeline.get(own)
    client.cancel_timer(TOPIC, "42", pipeline=pipeline)
    client.cancel_timer(TOPIC, "42", pipeline=pipeline)
    client.reschedule_timer(TOPIC, "42", activate_in=HOUR, pipeline=pipeline)
    pipeline.delete(own)

    assert pipeline.execute() == [True, b"1", b"1", b"w", b"0", b"0", 1]


@pytest.mark.parametrize("timer_id", ["42", "José", "\x00\n😀"])
def test_replies_fit_a_pipeline_that_decodes(server_url, key_names, timer_id):
    with redis.Redis.from_url(server_url, decode_responses=True, encoding="ascii") as decoding:
        client = TimersClient(decoding, **key_names)
        with decoding.pipeline() as pipeline:
            for if_exists in ("replace", "keep"):
                client.schedule(
                    b"\xff", TOPIC, timer_id=timer_id, if_exists=if_exists, pipeline=pipeline
                )
            client.reschedule_timer(TOPIC, timer_id, activate_in=HOUR, pipeline=pipeline)
            client.cancel_timer(TOPIC, timer_id, pipeline=pipeline)

            assert pipeline.execute() == ["1", "0", "1", "w"]


@pytest.mark.parametrize("transaction", [True, False])
def test_a_pipeline_outlives_a_script_flush(own_redis, key_names, transaction):
    client = TimersClient(own_redis, **key_names)
    with own_redis.pipeline(transaction=transaction) as pipeline:
        client.schedule("x", TOPIC, timer_id="42", pipeline=pipeline)

        own_redis.script_flush()
        pipeline.execute()

    assert client.has_pending(TOPIC, "42")


def test_a_pipeline_that_is_given_up_schedules_nothing(client, pipeline):
    client.schedule("x", TOPIC, pipeline=pipeline)

    pipeline.reset()

    assert client.count_pending(TOPIC) == 0


def test_a_transaction_whose_watched_key_changed_schedules_nothing(client, redis_client, key_names):
    watched = key_names["attempts_key"] + ":watched"
    with redis_client.pipeline() as pipeline:
        pipeline.watch(watched)
        pipeline.multi()
        client.schedule("x", TOPIC, pipeline=pipeline)
        redis_client.set(watched, "changed")

        with pytest.raises(redis.WatchError):
            pipeline.execute()

    redis_client.delete(watched)
    assert client.count_pending(TOPIC) == 0


def test_a_pipeline_that_watches_is_refused_until_it_calls_multi(client, redis_client, key_names):
    calls = [
        lambda pipeline: client.schedule("x", TOPIC, pipeline=pipeline),
        lambda pipeline: client.schedule_batch(["x"], TOPIC, pipeline=pipeline),
        lambda pipeline: client.schedule(
            "x", TOPIC, timer_id="42", repeat=YEARLY, pipeline=pipeline
        ),
        lambda pipeline: client.reschedule_timer(TOPIC, "42", activate_in=HOUR, pipeline=pipeline),
        lambda pipeline: client.cancel_timer(TOPIC, "42", pipeline=pipeline),
    ]
    client.schedule("x", TOPIC, timer_id="42", activate_at=YEAR_2050)
    with redis_client.pipeline() as pipeline:
        pipeline.watch(key_names["attempts_key"] + ":watched")
        for call in calls:
            with pytest.raises(ValueError, match=r"call pipeline\.multi\(\) first"):
                call(pipeline)
        assert client.get_timer(TOPIC, "42").due_at == YEAR_2050
        assert client.count_pending(TOPIC) == 1

        pipeline.multi()
        calls[0](pipeline)
        pipeline.execute()

    assert client.count_pending(TOPIC) == 2


def test_a_pipeline_can_not_answer_that_a_timer_exists(client, pipeline):
    with pytest.raises(ValueError, match='if_exists="error" can\'t be used with pipeline='):
        client.schedule("x", TOPIC, if_exists="error", pipeline=pipeline)
    with pytest.raises(ValueError, match='if_exists="error" can\'t be used with pipeline='):
        client.schedule_batch(["x"], TOPIC, if_exists="error", pipeline=pipeline)
    with pytest.raises(ValueError, match='if_exists="error" can\'t be used with pipeline='):
        client.schedule(
            "x", TOPIC, timer_id="42", repeat=YEARLY, if_exists="error", pipeline=pipeline
        )

    assert len(pipeline) == 0


@pytest.mark.parametrize("messages", ["hello", b"hello", "", {"x": 1}, 5, TimerPublishMessage("x")])
def test_a_batch_that_is_no_series_of_messages_is_refused(client, messages):
    with pytest.raises(TypeError, match=r"messages must|not iterable"):
        client.schedule_batch(messages, TOPIC)


def test_bad_input_leaves_a_pipeline_empty(client, pipeline):
    with pytest.raises(TypeError, match="activate_in"):
        client.schedule("x", TOPIC, activate_in=5, pipeline=pipeline)
    with pytest.raises(ValueError, match="occurs twice"):
        client.schedule_batch(
            [TimerPublishMessage("x", timer_id="42")] * 2, TOPIC, pipeline=pipeline
        )
    with pytest.raises(ValueError, match="needs a timer_id"):
        client.schedule("x", TOPIC, repeat=YEARLY, pipeline=pipeline)
    with pytest.raises(ValueError, match="'update' is for recurring timers"):
        client.schedule_batch(["x"], TOPIC, if_exists="update", pipeline=pipeline)

    assert len(pipeline) == 0


def test_a_pipeline_for_another_database_is_refused(client, server_url):
    with redis.Redis.from_url(server_url, db=5) as other, other.pipeline() as pipeline:
        with pytest.raises(ValueError, match=r"pipeline is for database 5.*in database \d: make"):
            client.schedule("x", TOPIC, pipeline=pipeline)

        assert len(pipeline) == 0


# The oldest redis-py has no cache.
if find_spec("redis.cache"):

    def test_a_client_that_caches_replies_is_refused(server_url):
        cache_config = importlib.import_module("redis.cache").CacheConfig()
        caching = redis.Redis.from_url(server_url, protocol=3, cache_config=cache_config)
        with caching, pytest.raises(TypeError, match="client caches replies"):
            TimersClient(caching)


def test_what_is_no_blocking_pipeline_is_refused(client, redis_client):
    cluster_pipeline = redis.cluster.ClusterPipeline.__new__(redis.cluster.ClusterPipeline)
    for pipeline, text in [
        (
            redis.asyncio.Redis().pipeline(),
            r"must be a redis\.client\.Pipeline, got redis\.asyncio",
        ),
        (redis_client, r"must be a redis\.client\.Pipeline, got redis\.client\.Redis"),
        (cluster_pipeline, "pipeline is that of a cluster.*Leave pipeline out"),
    ]:
        with pytest.raises(TypeError, match=text):
            client.cancel_timer(TOPIC, "42", pipeline=pipeline)


# --- lost replies ------------------------------------------------------------------------


def retrying(relay):
    """Make a client that repeats what fails, as redis-py's own defaults do from version 6 on."""
    retry = Retry(NoBackoff(), 3)
    return redis.Redis(port=relay.port, retry=retry, retry_on_error=[redis.ConnectionError])


THROUGH_A_RELAY = ["url", "redis-py's defaults", "retrying"]


@contextmanager
def through(relay, kind, key_names):
    """Give a client whose connections go through the relay, and whose scripts are loaded."""
    if kind == "url":
        given = relay.url
    elif kind == "retrying":
        given = retrying(relay)
    else:
        given = redis.Redis.from_url(relay.url)
    with TimersClient(given, **key_names) as client:
        client.schedule("x", "warm-up", timer_id="1", activate_in=HOUR)
        client.reschedule_timer("warm-up", "1", activate_in=HOUR)
        client.cancel_timer("warm-up", "1")
        client.cancel_all("warm-up")
        client.has_pending("warm-up", "1")
        relay.commands.clear()
        yield client
    if not isinstance(given, str):
        given.close()


@pytest.fixture(params=THROUGH_A_RELAY)
def relayed(request, relay, key_names):
    """Give such a client before the server of all tests."""
    with through(relay, request.param, key_names) as client:
        yield client


LOSABLE = [
    (lambda client: client.schedule("new", TOPIC, timer_id="42"), "schedule", ("42",)),
    (
        lambda client: client.schedule("new", TOPIC, timer_id="42", if_exists="error"),
        "schedule",
        ("42",),
    ),
    (
        lambda client: client.schedule_batch(
            [TimerPublishMessage("new", timer_id=timer_id) for timer_id in ("42", "43")], TOPIC
        ),
        "schedule",
        ("42", "43"),
    ),
    (lambda client: client.reschedule_timer(TOPIC, "1", activate_in=HOUR), "reschedule", ("1",)),
    (lambda client: client.cancel_timer(TOPIC, "1"), "cancel", ("1",)),
    (lambda client: client.cancel_timers(TOPIC, ["1", "2"]), "cancel", ("1", "2")),
    (lambda client: client.cancel_all(TOPIC), "cancel all", ()),
]


@pytest.mark.parametrize(("call", "action", "timer_ids"), LOSABLE)
def test_a_lost_reply_is_an_unknown_outcome_and_nothing_is_sent_twice(
    client, relay, relayed, call, action, timer_ids
):
    client.schedule("old", TOPIC, timer_id="1", activate_at=YEAR_2050)
    before = [(timer.timer_id, timer.due_at) for timer in client.iter_timers(TOPIC)]
    relay.lose_reply()

    with pytest.raises(TimerOutcomeUnknownError) as caught:
        call(relayed)

    error = caught.value
    assert (error.action, error.topic, error.timer_ids) == (action, TOPIC, timer_ids)
    assert error.timer_id == (timer_ids[0] if len(timer_ids) == 1 else None)
    assert action in str(error)
    assert repr(TOPIC) in str(error)
    assert all(repr(timer_id) in str(error) for timer_id in timer_ids[:1])
    assert isinstance(error.__cause__, (redis.ConnectionError, redis.TimeoutError))
    assert relay.count("EVALSHA", "EVAL") == 1
    # It was executed, once.
    after = [(timer.timer_id, timer.due_at) for timer in client.iter_timers(TOPIC)]
    assert after != before
    # And the client can go on.
    assert relayed.count_pending(TOPIC) == len(after)


READS = [
    (lambda client: client.has_pending(TOPIC, "1"), True),
    (lambda client: client.get_timer(TOPIC, "1").decode(), "old"),
    (lambda client: client.get_pending_timers(TOPIC), ["1"]),
    (lambda client: client.count_pending(TOPIC), 1),
]


@pytest.mark.parametrize(("read", "answer"), READS)
def test_a_read_whose_reply_is_lost_is_repeated_once(client, relay, relayed, read, answer):
    client.schedule("old", TOPIC, timer_id="1", activate_at=YEAR_2050)
    read(relayed)
    relay.commands.clear()

    relay.lose_reply()
    assert read(relayed) == answer
    assert relay.count("EVALSHA") == 2

    relay.lose_reply(times=2)
    with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
        read(relayed)
    assert relay.count("EVALSHA") == 4


def test_only_the_calls_of_a_batch_that_were_sent_may_have_happened(client, relay, relayed):
    messages = [TimerPublishMessage(n, timer_id=str(n)) for n in range(1100)]
    relay.lose_reply()

    with pytest.raises(TimerOutcomeUnknownError, match=r"200 timers of .* first '0'") as caught:
        relayed.schedule_batch(messages, TOPIC)

    assert caught.value.timer_ids == tuple(map(str, range(200)))
    assert client.count_pending(TOPIC) == 200


def test_a_connection_that_broke_while_idle_is_replaced_before_anything_is_sent(relay, relayed):
    relay.cut()

    assert relayed.schedule("x", TOPIC, timer_id="42") == "42"
    assert relay.count("EVALSHA") == 1


@pytest.mark.skipif(
    redis.__version__.startswith("5."), reason="redis-py 5 repeats a pipeline only after a timeout"
)
def test_a_client_of_ones_own_that_retries_gives_other_answers_in_a_pipeline(
    client, relay, key_names
):
    client.schedule("x", TOPIC, timer_id="1", activate_at=YEAR_2050)
    with retrying(relay) as given, given.pipeline(transaction=False) as pipeline:
        through = TimersClient(given, **key_names)
        through.cancel_timer(TOPIC, "1", pipeline=pipeline)
        through.schedule("y", TOPIC, timer_id="later", if_exists="keep", pipeline=pipeline)
        relay.lose_reply("EVAL", word=b"later")

        # Without a lost reply: b"w", it waited; b"1", scheduled.
        assert pipeline.execute() == [b"0", b"0"]

    assert client.get_pending_timers(TOPIC) == ["later"]


class TimeLimitError(Exception):
    """What a signal handler raises, as Celery's soft time limit does."""


@contextmanager
def interrupted(relay, word):
    """Expect what a signal handler raises, once the server has been sent a command."""

    def on_signal(signum, frame):
        raise TimeLimitError

    def interrupt_while_it_waits():
        try:
            wait_until(lambda: relay.count(word))
        finally:
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, on_signal)
    interrupter = threading.Thread(target=interrupt_while_it_waits)
    interrupter.start()
    try:
        with pytest.raises(TimeLimitError):
            yield
    finally:
        interrupter.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_call_that_a_signal_interrupts_leaves_no_reply_to_the_next(relay, relayed):
    relayed.schedule("x", TOPIC, timer_id="42")
    relay.commands.clear()
    relay.hold_replies()
    with interrupted(relay, "EVALSHA"):
        relayed.count_pending(TOPIC)
    relay.resume()

    assert relayed.get_timer(TOPIC, "42").decode() == "x"


def test_what_a_signal_raises_while_replicas_are_waited_for_is_raised(relay, key_names):
    # The server has no replica.
    client = TimersClient(relay.url, **key_names, confirm_replicas=1, confirm_timeout=30)
    with client, interrupted(relay, "WAIT"):
        client.schedule("x", TOPIC, timer_id="42")


class InterruptedConnection(redis.Connection):
    """A connection on which Ctrl-C strikes once, between a request and its reply."""

    strikes = False

    def send_packed_command(self, *args, **kwargs):
        super().send_packed_command(*args, **kwargs)
        if self.strikes:
            InterruptedConnection.strikes = False
            raise KeyboardInterrupt


def test_a_connection_with_an_unread_reply_is_not_used_again(relay, key_names):
    pool = redis.ConnectionPool.from_url(relay.url, connection_class=InterruptedConnection)
    client = TimersClient(redis.Redis(connection_pool=pool), **key_names)
    client.schedule("x", TOPIC, timer_id="42")
    assert relay.connected == 1

    relay.hold_replies()
    InterruptedConnection.strikes = True
    with pytest.raises(KeyboardInterrupt):
        client.count_pending(TOPIC)
    relay.resume()

    assert client.get_timer(TOPIC, "42").decode() == "x"
    assert relay.connected == 2
    pool.disconnect()


# --- a server that is away ---------------------------------------------------------------


def within(seconds: float, call: Callable[[], Any]) -> BaseException:
    """Give what the call raises; fail if it has not ended in this time."""
    raised = []

    def work():
        with pytest.raises(Exception) as caught:
            call()
        raised.append(caught.value)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert raised, f"no error within {seconds} s"
    return raised[0]


CALLS = [
    lambda client: client.schedule("x", TOPIC, timer_id="42"),
    lambda client: client.cancel_timer(TOPIC, "42"),
    lambda client: client.count_pending(TOPIC),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_refuses_is_an_error_and_nothing_unknown(client, relay, key_names, call):
    relay.refuse()

    with TimersClient(relay.url, **key_names) as refused:
        error = within(30, lambda: call(refused))

    assert isinstance(error, redis.ConnectionError)
    assert client.count_pending(TOPIC) == 0


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_accepts_and_stays_silent_is_an_error(client, relay, key_names, call):
    relay.stall()

    with TimersClient(with_options(relay.url, socket_timeout=0.2), **key_names) as stalled:
        error = within(30, lambda: call(stalled))

    assert isinstance(error, (redis.TimeoutError, redis.ConnectionError, TimerOutcomeUnknownError))
    assert relay.count("EVALSHA", "EVAL") == 0
    # Each new attempt would wait again.
    assert relay.connected == 1


def test_a_server_that_stays_silent_is_an_error_by_the_default_timeouts(relay, key_names):
    relay.stall()

    with TimersClient(relay.url, **key_names) as stalled:
        error = within(30, lambda: stalled.schedule("x", TOPIC))

    assert isinstance(error, (redis.TimeoutError, TimerOutcomeUnknownError))


def test_a_server_that_falls_silent_after_the_request_leaves_the_outcome_unknown(
    client, relay, key_names
):
    with TimersClient(with_options(relay.url, socket_timeout=0.2), **key_names) as silenced:
        silenced.schedule("x", TOPIC, timer_id="1")
        relay.commands.clear()
        relay.hold_replies()

        error = within(30, lambda: silenced.schedule("x", TOPIC, timer_id="42"))

    assert isinstance(error, TimerOutcomeUnknownError)
    assert error.timer_id == "42"
    wait_until(lambda: client.has_pending(TOPIC, "42"))
    assert relay.count("EVALSHA", "EVAL") == 1


# --- what the server says ----------------------------------------------------------------


@pytest.mark.parametrize("kind", THROUGH_A_RELAY)
def test_a_script_that_the_server_forgot_is_sent_again(own_relay, own_redis, key_names, kind):
    with through(own_relay, kind, key_names) as client:
        own_redis.script_flush()

        client.schedule("x", TOPIC, timer_id="42")
        assert (own_relay.count("EVALSHA"), own_relay.count("EVAL")) == (1, 1)

        client.schedule("x", TOPIC, timer_id="42")
        assert (own_relay.count("EVALSHA"), own_relay.count("EVAL")) == (2, 1)
        assert client.has_pending(TOPIC, "42")


def test_a_key_of_another_type_is_the_servers_own_error(client, redis_client, home):
    redis_client.set(home.keys_of(TOPIC).timeline, "a string")

    for call in CALLS:
        with pytest.raises(redis.ResponseError, match="WRONGTYPE") as caught:
            call(client)
        assert not isinstance(caught.value, TimersError)

    redis_client.delete(home.keys_of(TOPIC).timeline)
    # The connection was returned in order.
    assert client.count_pending(TOPIC) == 0


# --- a server that is full ---------------------------------------------------------------


@pytest.fixture(scope="module")
def small_server():
    with embedded_server(config={"maxmemory-policy": "noeviction"}) as url:
        yield url


@pytest.fixture
def full(small_server, key_names):
    """Give the client's home on a server that ran out of memory after three timers."""
    home = Home(key_names, small_server)
    client = TimersClient(home.redis, **key_names)
    for timer_id in ("running", "waiting", "other"):
        client.schedule("old", TOPIC, timer_id=timer_id)
        if timer_id == "running":
            home.running = home.claim(TOPIC)
    client.reschedule_timer(TOPIC, "waiting", activate_at=YEAR_2050)
    home.redis.config_set("maxmemory", "1")
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        home.redis.set("anything", "x")
    home.client = client
    yield home
    home.redis.config_set("maxmemory", "0")
    home.redis.flushdb()
    home.redis.close()


def contents(home):
    keys = home.keys_of(TOPIC)
    return (
        home.redis.zrange(keys.timeline, 0, -1, withscores=True),
        home.redis.hgetall(keys.payloads),
        home.redis.keys("*"),
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.schedule("new", TOPIC, timer_id="new"),
        lambda client: client.schedule("new", TOPIC, timer_id="waiting"),
        lambda client: client.schedule("new", "new-topic", timer_id="new"),
        lambda client: client.schedule_batch(["new", "new"], TOPIC),
        lambda client: client.reschedule_timer(TOPIC, "waiting", activate_in=HOUR),
        lambda client: client.reschedule_timer(TOPIC, "running", activate_in=HOUR),
    ],
)
def test_a_full_server_refuses_timers_and_moves_and_nothing_is_written(full, call):
    before = contents(full)

    with pytest.raises(redis.ResponseError, match="maxmemory"):
        call(full.client)

    assert contents(full) == before


def test_a_full_server_cancels_and_shows(full):
    assert full.client.count_pending(TOPIC) == 3
    assert full.client.get_timer(TOPIC, "waiting").decode() == "old"
    assert len(list(full.client.iter_timers(TOPIC))) == 3
    assert full.client.cancel_timer(TOPIC, "waiting") is True
    assert full.client.cancel_timers(TOPIC, ["running", "other"]) == 1
    assert full.client.cancel_all(TOPIC) == 0
    assert full.redis.keys("*") == []


@pytest.mark.parametrize("action", [b"commit", b"nack", b"release"])
def test_a_full_server_lets_workers_claim_and_settle(full, action):
    (claimed,) = full.running.claimed
    details = {b"nack": b"+2.000000", b"release": claimed.previous_score}
    settlement = Settlement(action, claimed.timer_id, full.running.lease, details.get(action, b""))

    step = full.step(TOPIC, settlement, limit=1)

    assert step.outcomes == b"1"
    assert [timer.timer_id for timer in step.claimed] == [
        b"running" if action == b"release" else b"other"
    ]
    assert full.client.has_pending(TOPIC, "running") is (action != b"commit")
