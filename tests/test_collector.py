"""`TimersCollector`: what topics hold, as Prometheus scrapes it; also while the server is away."""

import logging
import os
import threading
import time
from datetime import timedelta
from enum import Enum

import pytest
import redis
from front_ends import Home
from prometheus_client import CollectorRegistry, generate_latest
from relay import Relay

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync import Every, TimersClient
from faststream_redis_timers_sync.manage.stats import count_running
from faststream_redis_timers_sync.prometheus import TimersCollector
from faststream_redis_timers_sync.protocol.management import MOST_WITHIN_LEASE
from faststream_redis_timers_sync.testing import FakeTimersClient

HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=30)
OF_A_TOPIC = {"pending", "running", "overdue", "oldest_overdue_seconds", "paused", "workers"}


@pytest.fixture
def client(server_url, key_names):
    with TimersClient(server_url, **key_names) as client:
        yield client


@pytest.fixture
def here(server_url, key_names):
    """Hands on the server's timers that no front end has."""
    home = Home(key_names, server_url)
    yield home
    home.redis.close()


def scrape(collector):
    """Give the values by metric and topic, as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(collector)
    text = generate_latest(registry).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = {}
    for line in lines:
        series, _, value = line.rpartition(" ")
        name, _, labels = series.removeprefix("faststream_timers_").partition("{")
        found.setdefault(name, {})[labels.removeprefix('topic="').removesuffix('"}')] = float(value)
    return found


# --- counts ------------------------------------------------------------------------------


def test_each_topic_is_counted(client, here):
    client.schedule("x", "invoices", timer_id="held")
    here.claim("invoices")
    now = here.now().timestamp() // 1
    here.plant("invoices", "late", now - 100, b"x")
    here.plant("invoices", "dead", now - 10 + 0.000_000_5, b"x")
    client.schedule("x", "invoices", timer_id="soon", activate_in=timedelta(seconds=10))
    client.schedule("x", "invoices", timer_id="far", activate_in=HOUR)
    client.schedule("x", "trials", timer_id="far", activate_in=HOUR)

    found = scrape(TimersCollector(client, ["invoices", "trials", "empty"]))

    assert 100 <= found["oldest_overdue_seconds"].pop("invoices") < 160
    assert found == {
        "up": {"": 1},
        "pending": {"invoices": 5, "trials": 1, "empty": 0},
        "running": {"invoices": 1, "trials": 0, "empty": 0},
        "overdue": {"invoices": 2, "trials": 0, "empty": 0},
        "oldest_overdue_seconds": {"trials": 0, "empty": 0},
        "paused": {"invoices": 0, "trials": 0, "empty": 0},
        "workers": {"invoices": 0, "trials": 0, "empty": 0},
    }


def test_paused_timers_are_pending_and_never_overdue(client):
    client.schedule("x", "reports", timer_id="hourly", repeat=Every(hours=1))
    client.schedule("x", "reports", timer_id="daily", repeat=Every(days=1))
    collector = TimersCollector(client, ["reports"])
    client.reschedule_timer("reports", "daily", activate_in=timedelta(0))
    assert scrape(collector)["overdue"] == {"reports": 1}

    client.pause_timer("reports", "daily")

    found = scrape(collector)
    assert (found["pending"], found["paused"]) == ({"reports": 2}, {"reports": 1})
    assert (found["overdue"], found["oldest_overdue_seconds"]) == ({"reports": 0}, {"reports": 0})
    client.resume_timer("reports", "daily")
    assert scrape(collector)["paused"] == {"reports": 0}


def test_a_topic_is_named_as_workers_name_it_and_each_once(server_url, key_names):
    with TimersClient(server_url, **key_names, prefix="app:") as client:
        found = scrape(TimersCollector(client, (topic for topic in ("a", "b", "a"))))

    assert found["pending"] == {"app:a": 0, "app:b": 0}


def test_a_topic_of_an_enum_is_its_value(client):
    topic = Enum("Topic", {"INVOICES": "invoices"}, type=str).INVOICES

    found = scrape(TimersCollector(client, [topic, "invoices"]))

    assert found["pending"] == {"invoices": 0}


def test_every_scrape_counts_again(client):
    collector = TimersCollector(client, ["invoices"])

    assert scrape(collector)["pending"] == {"invoices": 0}
    client.schedule("x", "invoices", activate_in=HOUR)
    assert scrape(collector)["pending"] == {"invoices": 1}


def test_names_have_a_prefix_that_can_be_chosen(client):
    registry = CollectorRegistry()
    registry.register(TimersCollector(client, ["invoices"], metrics_prefix="acme"))

    names = {metric.name for metric in registry.collect()}
    assert names == {f"acme_timers_{name}" for name in OF_A_TOPIC | {"up"}}


def test_a_fake_client_is_counted_too():
    fake = FakeTimersClient()
    fake.schedule("x", "invoices", activate_in=HOUR)
    fake.schedule("x", "invoices")
    fake.advance(timedelta(minutes=1))

    found = scrape(TimersCollector(fake, ["invoices"]))

    assert (found["pending"], found["overdue"]) == ({"invoices": 2}, {"invoices": 1})
    assert found["running"] == {"invoices": 0}
    assert 60 <= found["oldest_overdue_seconds"]["invoices"] < 120


def test_a_server_that_hides_who_listens_is_counted_without():
    # A server of our own: users are those of the whole server.
    with embedded_server(config={}) as url, redis.Redis.from_url(url) as server:
        server.acl_setuser(
            "scraper", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-pubsub"]
        )
        with TimersClient(url, options={"username": "scraper"}) as scraper:
            found = scrape(TimersCollector(scraper, ["invoices"]))

    assert found["pending"] == {"invoices": 0}
    assert found.keys() == (OF_A_TOPIC | {"up"}) - {"workers"}


# --- running -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 150])
def test_running_timers_are_told_from_waiting_ones_beside_them(client, here, count):
    client.schedule_batch(["x"] * count, "topic")
    while here.claim("topic", lease_ttl=20).claimed:
        pass
    for seconds in (10, 20, 25):
        client.schedule_batch(["x"] * 100, "topic", activate_in=timedelta(seconds=seconds))

    assert count_running(client, ["topic"], longest_lease=LEASE) == {"topic": count}


@pytest.mark.parametrize("lease_ttl", [30, 0.5])
def test_a_lease_of_the_full_length_is_seen(client, here, lease_ttl):
    client.schedule("x", "topic")
    here.claim("topic", lease_ttl=lease_ttl)
    longest = timedelta(seconds=lease_ttl)

    assert count_running(client, ["topic"], longest_lease=longest) == {"topic": 1}


def test_where_too_many_are_due_within_a_lease_it_is_not_known(client, here):
    client.schedule("x", "topic")
    here.claim("topic")
    seconds = timedelta(seconds=20)
    client.schedule_batch(["x"] * (MOST_WITHIN_LEASE - 1), "topic", activate_in=seconds)
    assert count_running(client, ["topic"], longest_lease=LEASE) == {"topic": 1}

    client.schedule("x", "topic", activate_in=seconds)
    assert count_running(client, ["topic"], longest_lease=LEASE) == {"topic": None}
    # Those that are due later or already cost nothing.
    assert count_running(client, ["topic"], longest_lease=timedelta(seconds=1)) == {"topic": 0}
    found = scrape(TimersCollector(client, ["topic", "empty"]))
    assert found["running"] == {"empty": 0}
    assert found["pending"] == {"topic": MOST_WITHIN_LEASE + 1, "empty": 0}
    assert found.keys() == OF_A_TOPIC | {"up"}


# --- a server that is away ---------------------------------------------------------------


def test_a_server_that_refuses_is_told_and_so_is_its_return(server_url, key_names, caplog):
    caplog.set_level(logging.INFO, "faststream_redis_timers_sync")
    with Relay(server_url) as relay, TimersClient(relay.url, **key_names) as client:
        collector = TimersCollector(client, ["invoices"])
        relay.refuse()
        assert scrape(collector) == scrape(collector) == {"up": {"": 0}}
        relay.accept()
        assert scrape(collector).keys() == OF_A_TOPIC | {"up"}

    gone, back = caplog.records
    assert gone.levelname == "WARNING"
    assert "can't be counted: ConnectionError" in gone.getMessage()
    assert back.levelname == "INFO"


def test_a_server_that_is_silent_is_waited_for_by_one_thread_and_no_longer_than_said(
    server_url, key_names, caplog
):
    # A client without timeouts of its own.
    with Relay(server_url) as relay, redis.Redis.from_url(relay.url) as waits_forever:
        client = TimersClient(waits_forever, **key_names)
        collector = TimersCollector(client, ["invoices"], timeout=0.05)
        relay.stall()
        before = threading.active_count()
        started = time.monotonic()
        assert [scrape(collector) for _ in range(3)] == [{"up": {"": 0}}] * 3
        assert time.monotonic() - started < 5
        counting = [t for t in threading.enumerate() if t.name == "counting timers"]
        assert len(counting) == 1
        assert counting[0].daemon
        assert threading.active_count() <= before + 1 + 2  # a connection is two threads of relay
        relay.resume()
        counting[0].join(timeout=10)
        assert not counting[0].is_alive()
        assert scrape(TimersCollector(client, ["invoices"])).keys() == OF_A_TOPIC | {"up"}

    (gone,) = caplog.records
    assert "no reply within 0.05 seconds" in gone.getMessage()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_process_that_was_forked_while_another_counted_counts_itself(server_url, key_names):
    with Relay(server_url) as relay, TimersClient(relay.url, **key_names) as client:
        collector = TimersCollector(client, ["invoices"], timeout=0.05)
        relay.stall()
        assert scrape(collector) == {"up": {"": 0}}
        child = os.fork()
        if child == 0:
            # The thread did not come along.
            os._exit(0 if collector._count_in_time() is None and _is_counting() else 1)
        _, status = os.waitpid(child, 0)
        relay.resume()

    assert os.waitstatus_to_exitcode(status) == 0


def _is_counting():
    return any(thread.name == "counting timers" for thread in threading.enumerate())


def test_an_answer_of_the_server_that_is_an_error_is_told(client, here, key_names):
    here.redis.set(f"{key_names['timeline_key']}:invoices", "text")
    try:
        assert scrape(TimersCollector(client, ["invoices"])) == {"up": {"": 0}}
    finally:
        here.redis.delete(f"{key_names['timeline_key']}:invoices")


def test_a_registry_takes_it_while_the_server_is_away():
    with TimersClient("redis://localhost:1") as client:
        registry = CollectorRegistry(auto_describe=True)
        registry.register(TimersCollector(client, ["invoices"]))

        with pytest.raises(ValueError, match="faststream_timers_pending"):
            registry.register(TimersCollector(client, ["trials"]))


# --- arguments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topics", "options", "error", "text"),
    [
        (
            "invoices",
            {},
            TypeError,
            r"must be several strings, got one: write \['invoices'\]",
        ),
        ([], {}, ValueError, "topics must name at least one topic"),
        ([""], {}, ValueError, "topic must not be empty"),
        (["a"], {"lease_ttl": 0}, ValueError, "lease_ttl must be a number of seconds above 0"),
        (["a"], {"timeout": float("nan")}, ValueError, "timeout must be .* got nan"),
        (["a"], {"timeout": float("inf")}, ValueError, "timeout must be .* got inf"),
    ],
)
def test_arguments_are_checked_at_once(topics, options, error, text):
    with TimersClient("redis://localhost:1") as client, pytest.raises(error, match=text):
        TimersCollector(client, topics, **options)
