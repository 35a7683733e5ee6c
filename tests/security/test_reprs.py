"""What objects and errors say of themselves names timers, and neither bodies nor passwords."""

import asyncio
import re
import traceback

import pytest
import redis
import redis.asyncio
from faststream.security import SASLPlaintext
from flask import Flask
from planted import SECRETS, assert_no_secret
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from examples.embedded_server import embedded_server
from faststream_redis_timers import (
    TestTimersBroker as OneTimersBroker,  # pytest must not take it for a test
    TimerMessage,
    TimerPublishMessage,
    TimerResponse,
    TimersBroker,
    TimersRouter,
)
from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.delivery.leased import Claim
from faststream_redis_timers.delivery.outbox import Settling
from faststream_redis_timers.delivery.settlement_policy import SettlementPolicy
from faststream_redis_timers.parser import TimersParser
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync._settings import Place, read_settings
from faststream_redis_timers_sync.flask import FlaskTimers
from faststream_redis_timers_sync.protocol.dead_letters import Ending, Origin, write_dead_letter
from faststream_redis_timers_sync.protocol.envelope import read_envelope
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.listing import make_timer
from faststream_redis_timers_sync.protocol.memory.topic import Entry
from faststream_redis_timers_sync.protocol.model import Claimed, EncodedTimer, Settlement, Step
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.safe_text import printable, text_of
from faststream_redis_timers_sync.protocol.timers import encode_timer
from faststream_redis_timers_sync.testing import FakeTimersClient

BODY, HEADER, PASSWORD = SECRETS
URL = f"redis://user:{PASSWORD}@localhost:1"
HEADERS = {"x-token": HEADER}
ENCODED = encode_timer(BODY.encode(), "text/plain", timer_id="one", headers=HEADERS)
ENDING = Ending(reason="attempts", topic="invoices", timer_id=b"one", first_due=b"1.000000")
DEAD_LETTER = write_dead_letter(ENCODED.payload, ENDING)
CLAIMED = Claimed(b"one", ENCODED.payload, b"1.000000")


def all_ways(thing):
    return f"{thing!r} {thing} {[thing]} {(thing,)} {{'x': {thing!r}}}"


def delivery():
    claim = Claim(
        "invoices",
        lease=b"9.0000005",
        lease_ends_at=9.0,
        claimed_at=1.0,
        received_at=1.0,
        lease_ttl=30.0,
        settlement_policy=SettlementPolicy("invoices", None, None, lambda *_: None),
        holder=None,
    )
    return TimerDelivery(claim, CLAIMED, read_envelope(CLAIMED.payload))


def message() -> TimerMessage:
    return asyncio.run(TimersParser().parse_message(delivery()))


def scheduled_by_a_broker():
    async def schedule():
        test = OneTimersBroker(TimersBroker(), hold=True)
        async with test as broker:
            await broker.publish(BODY, "invoices", timer_id="one", headers=HEADERS)
            return test.scheduled_timers

    return asyncio.run(schedule())


def scheduled_by_a_fake():
    timers = FakeTimersClient()
    timers.schedule(BODY, "invoices", timer_id="one", headers=HEADERS)
    timers.cancel_timer("invoices", "one")
    return timers.scheduled, timers.cancelled


def flask_timers():
    app = Flask(__name__)
    app.config["TIMERS_URL"] = URL
    timers = FlaskTimers()
    timers.init_app(app)
    with app.app_context():
        assert timers.client is not None
    (state,) = (found for name, found in app.extensions.items() if "timers" in name)
    # Flask's own config, which it refers to, shows what it holds.
    return timers, state, state._made


def publish_command():
    response = TimerResponse(BODY, headers=HEADERS, timer_id="one")
    return response, response.as_publish_command()


def subscribers_and_publishers():
    broker = TimersBroker(URL, security=SASLPlaintext("user", PASSWORD))
    router = TimersRouter(prefix="my-")
    subscriber = router.subscriber("invoices")
    publisher = router.publisher("invoices", headers=HEADERS)
    broker.include_router(router)
    return subscriber, publisher, broker, router, broker.config, broker.specification


OPERATIONS = Operations(KeySpace())
PUBLIC = {
    "Timer": lambda: make_timer("invoices", b"one", b"1.000000", ENCODED.payload),
    "TimerPublishMessage": lambda: TimerPublishMessage(BODY, timer_id="one", headers=HEADERS),
    "TimerMessage": message,
    "a copy of a TimerMessage": lambda: __import__("copy").copy(message()),
    "TimerDelivery": delivery,
    "TimersBroker and its parts": subscribers_and_publishers,
    "TimersBroker of a URL": lambda: TimersBroker(URL),
    "TimersConnection": lambda: TimersBroker(URL).config.connection,
    "TimersClient": lambda: TimersClient(URL),
    "TimerResponse and its command": publish_command,
    "FakeTimersClient's records": scheduled_by_a_fake,
    "TestTimersBroker's records": scheduled_by_a_broker,
    "FlaskTimers": flask_timers,
    "settings of Django and Flask": lambda: read_settings(
        Place("TIMERS['default']", ValueError), {"URL": URL, "OPTIONS": {"password": PASSWORD}}
    ),
    "Envelope": lambda: read_envelope(ENCODED.payload),
    "EncodedTimer": lambda: ENCODED,
    "Claimed": lambda: CLAIMED,
    "Step": lambda: Step(1.0, b"9.0000005", None, b"", [CLAIMED], []),
    "Settlement on its way": lambda: Settling(delivery(), b"dead", DEAD_LETTER),
    "Settlement": lambda: Settlement(b"dead", b"one", b"9.0000005", DEAD_LETTER),
    "Origin": lambda: Origin("invoices", b"one", ENCODED.payload),
    "Ending": lambda: ENDING,
    "Operation": lambda: OPERATIONS.schedule("invoices", ENCODED),
    "Entry": lambda: Entry(b"1.000000", ENCODED.payload),
}


@pytest.mark.parametrize("make", PUBLIC.values(), ids=PUBLIC)
def test_a_repr_has_no_secret(make):
    assert_no_secret(all_ways(make()))


def test_what_hides_a_payload_still_names_its_timer():
    for thing in (ENCODED, CLAIMED, message(), delivery(), OPERATIONS.schedule("t", ENCODED)):
        assert "one" in repr(thing) or "schedule" in repr(thing)
    assert repr(len(ENCODED.payload)) in repr(ENCODED)
    assert isinstance(ENCODED, EncodedTimer)


# --- errors about arguments


SWAPPED = {
    "topic": lambda timers: timers.schedule("invoices", {"card": BODY}),
    "timer_id": lambda timers: timers.schedule("x", "invoices", timer_id={"card": BODY}),
    "cancel": lambda timers: timers.cancel_timer("invoices", {"card": BODY}),
    "header": lambda timers: timers.schedule("x", "invoices", headers={"x": {"card": HEADER}}),
    "long header": lambda timers: timers.schedule("x", "t", headers={"x": HEADER * 9_000}),
    "lone surrogate": lambda timers: timers.schedule("x", "t", headers={"x": f"{HEADER}\ud800"}),
    "body": lambda timers: timers.schedule(f"{BODY}\ud800", "invoices"),
    "object": lambda timers: timers.schedule({"x": BODY, "y": object()}, "invoices"),
    "batch": lambda timers: timers.schedule_batch([TimerPublishMessage(BODY)] * 2, [BODY]),
    "message of a batch": lambda timers: timers.schedule(TimerPublishMessage(BODY), "invoices"),
}


@pytest.mark.parametrize("call", SWAPPED.values(), ids=SWAPPED)
def test_an_error_about_an_argument_has_no_body_or_header(call):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(FakeTimersClient())

    assert_no_secret(str(caught.value), *getattr(caught.value, "__notes__", ()))


def test_a_wrong_client_is_refused_without_its_repr():
    for make in (TimersBroker, TimersClient):
        with pytest.raises(TypeError) as caught:
            make({"password": PASSWORD})
        assert_no_secret(str(caught.value))


# --- errors of redis-py and of servers


@pytest.mark.parametrize("password", [PASSWORD, f"a)>,{PASSWORD}'\""])
async def test_the_error_of_sentinels_says_what_they_said_without_their_passwords(password):
    options = {"password": password, "retry": Retry(NoBackoff(), 0)}
    sentinels = redis.asyncio.Sentinel(
        [("127.0.0.1", 1), ("127.0.0.1", 2)], sentinel_kwargs=options, **options
    )
    with pytest.raises(redis.exceptions.ConnectionError) as caught:
        await sentinels.master_for("mymaster").ping()

    told = text_of(caught.value)

    assert told.startswith("No master found for 'mymaster'")
    assert "ConnectionError" in told
    assert_no_secret(told)


async def test_a_broker_whose_sentinels_are_away_shows_no_password_in_its_traceback():
    options = {"password": PASSWORD, "retry": Retry(NoBackoff(), 0)}
    sentinels = redis.asyncio.Sentinel([("127.0.0.1", 1)], sentinel_kwargs=options, **options)
    client = sentinels.master_for("mymaster")
    broker = TimersBroker(client, start_timeout=0.3)
    with pytest.raises(TimeoutError) as caught:
        await broker.start()
    await broker.stop()
    await client.aclose()

    told = "".join(traceback.format_exception(caught.value))
    assert "No master found for 'mymaster'" in told
    assert_no_secret(told)


SHOWN_BY_REDIS_PY_7_1 = (
    "No master found for 'mymaster' : <redis.asyncio.client.Redis("
    "<redis.asyncio.connection.ConnectionPool(<redis.asyncio.connection.Connection("
    "db=0,username=None,password={password},host=127.0.0.1,port=1)>)>)> - "
    "AuthenticationError('invalid password'), <redis.asyncio.client.Redis("
    "<redis.asyncio.connection.ConnectionPool(<redis.asyncio.connection.Connection("
    "password={password},host=127.0.0.1,port=2)>)>)> - ConnectionError(\"no ('a', 1).\")"
)


def test_a_password_that_redis_py_shows_is_left_out():
    error = redis.sentinel.MasterNotFoundError(SHOWN_BY_REDIS_PY_7_1.format(password=PASSWORD))

    assert text_of(error) == (
        "No master found for 'mymaster': AuthenticationError('invalid password'), "
        "ConnectionError(\"no ('a', 1).\")"
    )


async def test_neither_a_start_that_fails_nor_its_traceback_shows_it(monkeypatch):
    broker = TimersBroker("redis://localhost:1", start_timeout=0.1)
    await broker.connect()

    async def ping():
        raise redis.sentinel.MasterNotFoundError(SHOWN_BY_REDIS_PY_7_1.format(password=PASSWORD))

    monkeypatch.setattr(type(broker.config.connection.runner), "ping", lambda _: ping())
    with pytest.raises(TimeoutError) as caught:
        await broker.start()

    assert "invalid password" in str(caught.value)
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None
    await broker.stop()


def test_what_a_server_says_stays_on_one_line():
    error = redis.ResponseError("ERR \x1b[31m'a\nb\x9b\u202e\0'")

    assert text_of(error) == r"ERR \x1b[31m'a\nb\x9b\u202e\x00'"
    assert printable("\r") == r"\r"


REFUSALS = {
    # Then the server repeats how the arguments begin.
    "renamed": {"rename-command": "EVALSHA nothing"},
    "not allowed": {"user": "default on nopass ~* &* +@all -evalsha -eval"},
}


@pytest.mark.parametrize("config", REFUSALS.values(), ids=REFUSALS)
def test_a_refused_command_repeats_no_payload(config):
    with (
        embedded_server(config=config) as url,
        TimersClient(url, timeline_key="a", payloads_key="b", attempts_key="c") as timers,
        pytest.raises(redis.ResponseError) as caught,
    ):
        timers.schedule(BODY.encode(), "t", timer_id="1", headers=HEADERS)

    assert re.search("permission|unknown command", str(caught.value))
    assert_no_secret(str(caught.value))


SHOWS_PIPELINES = int(redis.__version__.partition(".")[0]) < 6
"""Whether redis-py does what docs/security.md says of its old versions."""


def check_error_of_pipeline(error):
    shown = [secret in str(error) for secret in (BODY, *HEADERS.values())]
    assert shown == [SHOWS_PIPELINES] * len(shown)


async def test_the_error_of_a_pipeline_is_as_the_page_says(server_url, redis_client, key_names):
    # A key that is not a timeline can't take a timer.
    timeline = f"{key_names['timeline_key']}:t"
    redis_client.set(timeline, "x")
    with redis_client.pipeline() as pipeline:
        timers = TimersClient(redis_client, **key_names)
        timers.schedule(BODY, "t", headers=HEADERS, pipeline=pipeline)
        with pytest.raises(redis.ResponseError, match="caused error") as caught:
            pipeline.execute()
    check_error_of_pipeline(caught.value)

    async with redis.asyncio.from_url(server_url) as client, client.pipeline() as pipeline:
        broker = TimersBroker(client, **key_names)
        await broker.connect()
        await broker.publish(BODY, "t", headers=HEADERS, pipeline=pipeline)
        with pytest.raises(redis.ResponseError, match="caused error") as caught:
            await pipeline.execute()
    check_error_of_pipeline(caught.value)
    redis_client.delete(timeline)
