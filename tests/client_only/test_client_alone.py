"""The blocking client's whole life, without the broker: it needs redis-py alone."""

import dataclasses
import enum
import json
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
import redis

from faststream_redis_timers_sync import (
    TimerExistsError,
    TimerPublishMessage,
    TimersClient,
)

NOON = datetime(2099, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def server_time(server):
    seconds, microseconds = server.time()
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)


# --- scheduling


def test_a_timer_is_due_after_its_delay_by_the_servers_clock(client, server):
    before = server_time(server)
    timer_id = client.schedule("INV-001", topic="invoices", activate_in=HOUR)
    after = server_time(server)

    timer = client.get_timer("invoices", timer_id)
    assert before + HOUR <= timer.due_at <= after + HOUR
    assert timer.decode() == "INV-001"
    assert timer.correlation_id == timer_id
    assert not timer.running


def test_a_timer_is_due_at_its_time(client):
    client.schedule("INV-001", "invoices", timer_id="a", activate_at=NOON)

    assert client.get_timer("invoices", "a").due_at == NOON


def test_headers_and_correlation_id_are_kept(client):
    client.schedule(
        "INV-001",
        "invoices",
        timer_id="a",
        activate_in=HOUR,
        correlation_id="order-7",
        headers={"x-tenant": "José", "x-try": 2},
    )

    timer = client.get_timer("invoices", "a")
    assert timer.correlation_id == "order-7"
    assert timer.headers["x-tenant"] == "José"
    assert timer.headers["x-try"] == "2"


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Invoice:
    number: str
    amount: Decimal


@pytest.mark.parametrize(
    ("message", "decoded"),
    [
        ("text", "text"),
        (b"\x00\xff", b"\x00\xff"),
        (None, b""),
        ({"a": [1, 2.5, None, True]}, {"a": [1, 2.5, None, True]}),
        (UUID(int=7), str(UUID(int=7))),
        (date(2026, 6, 1), "2026-06-01"),
        (Decimal("1.50"), "1.50"),
        (Color.RED, "red"),
        (Invoice("INV-1", Decimal("9.99")), {"number": "INV-1", "amount": "9.99"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_messages_of_many_types_are_encoded_without_pydantic(client, message, decoded):
    client.schedule(message, "types", timer_id="a", activate_in=HOUR)

    assert client.get_timer("types", "a").decode() == decoded


@pytest.mark.parametrize(("if_exists", "body"), [("replace", "new"), ("keep", "old")])
def test_a_waiting_timer_is_replaced_or_kept(client, if_exists, body):
    client.schedule("old", "invoices", timer_id="a", activate_in=HOUR)

    client.schedule("new", "invoices", timer_id="a", activate_in=HOUR, if_exists=if_exists)

    assert client.get_timer("invoices", "a").decode() == body
    assert client.count_pending("invoices") == 1


def test_a_waiting_timer_can_be_in_the_way(client):
    client.schedule("old", "invoices", timer_id="a", activate_in=HOUR)

    with pytest.raises(TimerExistsError, match="'a'"):
        client.schedule("new", "invoices", timer_id="a", activate_in=HOUR, if_exists="error")

    assert client.get_timer("invoices", "a").decode() == "old"


def test_a_batch_may_mix_messages_with_and_without_settings(client):
    ids = client.schedule_batch(
        ["first", TimerPublishMessage("second", timer_id="b", activate_at=NOON)],
        "invoices",
        activate_in=HOUR,
    )

    assert ids[1] == "b"
    assert client.get_pending_timers("invoices") == ids
    assert [timer.decode() for timer in client.iter_timers("invoices")] == ["first", "second"]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"activate_in": 30}, TypeError, "timedelta(seconds=30)"),
        ({"activate_at": datetime(2099, 1, 1)}, ValueError, "activate_at"),  # noqa: DTZ001
        ({"activate_in": HOUR, "activate_at": NOON}, ValueError, "activate_at"),
        ({"timer_id": ""}, ValueError, "timer_id"),
        ({"topic": ""}, ValueError, "topic"),
        ({"headers": {"x-list": []}}, TypeError, "x-list"),
    ],
)
def test_bad_input_is_named_and_writes_nothing(client, arguments, error, text):
    with pytest.raises(error) as caught:
        client.schedule("INV-001", **{"topic": "invoices", **arguments})

    assert text in str(caught.value)
    assert client.count_pending("invoices") == 0


# --- moving and cancelling


def test_a_timer_can_be_moved(client):
    client.schedule("INV-001", "invoices", timer_id="a", activate_in=HOUR)

    assert client.reschedule_timer("invoices", "a", activate_at=NOON) is True
    assert client.reschedule_timer("invoices", "unknown", activate_at=NOON) is False
    assert client.get_timer("invoices", "a").due_at == NOON
    assert not client.has_pending("invoices", "unknown")


def test_a_cancelled_timer_is_gone(client):
    client.schedule("INV-001", "invoices", timer_id="a", activate_in=HOUR)

    assert client.cancel_timer("invoices", "a") is True
    assert client.cancel_timer("invoices", "a") is False
    assert client.get_timer("invoices", "a") is None
    assert not client.has_pending("invoices", "a")


def test_many_timers_are_cancelled_at_once(client):
    client.schedule_batch(
        [TimerPublishMessage("x", timer_id=str(n)) for n in range(5)], "invoices", activate_in=HOUR
    )

    assert client.cancel_timers("invoices", ["0", "1", "unknown"]) == 2
    assert client.cancel_all("invoices") == 3
    assert client.count_pending("invoices") == 0


def test_no_key_is_left_when_all_timers_are_gone(client, server):
    before = set(server.keys())
    client.schedule("INV-001", "invoices", timer_id="a", activate_in=HOUR)
    client.cancel_timer("invoices", "a")

    assert set(server.keys()) == before


def test_pending_timers_are_found_by_time_and_pattern(client):
    for hours in (3, 1, 2):
        client.schedule("x", "invoices", timer_id=f"h:{hours}", activate_at=NOON + hours * HOUR)

    assert client.get_pending_timers("invoices") == ["h:1", "h:2", "h:3"]
    assert client.get_pending_timers("invoices", before=NOON + 2 * HOUR) == ["h:1", "h:2"]
    assert [t.timer_id for t in client.iter_timers("invoices", match="h:3")] == ["h:3"]


# --- the caller's client, pipeline and threads


def test_a_transaction_schedules_and_cancels_with_the_callers_own_writes(client, server):
    client.schedule("old", "invoices", timer_id="old", activate_in=HOUR)
    own_key = "client-only-own-key"

    with server.pipeline(transaction=True) as pipeline:
        pipeline.set(own_key, "paid", ex=60)
        timer_id = client.schedule("new", "invoices", activate_in=HOUR, pipeline=pipeline)
        assert client.cancel_timer("invoices", "old", pipeline=pipeline) is None
        assert client.get_pending_timers("invoices") == ["old"]
        pipeline.execute()

    assert server.get(own_key) == b"paid"
    assert client.get_pending_timers("invoices") == [timer_id]
    server.delete(own_key)


def test_a_client_decodes_nothing_even_if_the_callers_does(client, server_url):
    with redis.Redis.from_url(server_url, decode_responses=True) as decoding:
        other = TimersClient(decoding, prefix=client._prefix)
        other.schedule(b"\xff\xfe", "invoices", timer_id="a", activate_in=HOUR)

        assert other.get_timer("invoices", "a").decode() == b"\xff\xfe"


def test_a_client_is_shared_between_threads(client):
    def schedule(number):
        for n in range(20):
            client.schedule(json.dumps(n), "threads", timer_id=f"{number}-{n}", activate_in=HOUR)

    threads = [threading.Thread(target=schedule, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert client.count_pending("threads") == 160


def test_a_url_makes_a_client_of_its_own_that_is_closed(server_url):
    with TimersClient(server_url) as client:
        assert client.ping()


def test_ping_is_false_where_nobody_answers():
    with TimersClient("redis://localhost:1") as client:
        assert client.ping() is False


def test_an_asyncio_client_is_refused_with_the_name_of_the_right_one(server_url):
    with pytest.raises(TypeError, match="TimersBroker"):
        TimersClient(redis.asyncio.Redis.from_url(server_url))
