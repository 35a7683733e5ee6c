"""Bad input gets a clear error at the call, and nothing is written.

The rows that both front ends share are in ``test_contract.py``; these are the broker's
and its publishers' own.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from faststream import BaseMiddleware
from leaks import keys_under
from waiting import wait_until_async

from faststream_redis_timers import Every, TimerPublishMessage, TimerResponse

TOPIC = "invoices"
HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001  naive is the point


class Home:
    """A broker and a publisher of it, for the rows below."""

    def __init__(self, broker):
        self.broker = broker
        self.publisher = broker.publisher(TOPIC)

    def publish(self, message="x", topic=TOPIC, **settings):
        return self.broker.publish(message, topic, **settings)

    def batch(self, *messages, topic=TOPIC, **settings):
        return self.broker.publish_batch(*messages or ("x",), topic=topic, **settings)


ROWS = [
    # Topics
    (lambda home: home.publish(topic=""), ValueError, ["topic must not be empty"]),
    (lambda home: home.publish(topic=None), TypeError, ["topic", "None"]),
    (lambda home: home.publish(topic=5), TypeError, ["topic", "5"]),
    (lambda home: home.publish(topic="\ud800"), ValueError, ["topic", r"'\ud800'"]),
    (lambda home: home.batch(topic=""), ValueError, ["topic must not be empty"]),
    (lambda home: home.broker.publish_batch(topic=""), ValueError, ["topic must not be empty"]),
    (lambda home: home.publisher.publish("x", ""), ValueError, ["topic must not be empty"]),
    (lambda home: home.publisher.publish("x", 5), TypeError, ["topic", "5"]),
    (lambda home: home.publish(reply_to=5), TypeError, ["reply_to", "5"]),
    (lambda home: home.batch(reply_to=5), TypeError, ["reply_to", "5"]),
    (lambda home: home.publisher.publish("x", reply_to=5), TypeError, ["reply_to", "5"]),
    (lambda home: home.publish(reply_to="\ud800"), ValueError, ["reply_to", r"'\ud800'"]),
    # Messages
    (
        lambda home: home.publisher.publish({"a": [0, math.inf]}),
        ValueError,
        ["message['a'][1] is Infinity"],
    ),
    (lambda home: home.batch(1, [math.nan]), ValueError, ["messages[1][0] is NaN"]),
    # Ids
    (lambda home: home.publish(timer_id=""), ValueError, ["timer_id must not be empty"]),
    (lambda home: home.publish(timer_id=42), TypeError, ["timer_id", "42"]),
    (
        lambda home: home.batch("x", TimerPublishMessage("y", timer_id="")),
        ValueError,
        ["timer_id must not be empty"],
    ),
    (
        lambda home: home.batch(*[TimerPublishMessage("y", timer_id="42")] * 2),
        ValueError,
        ["timer_id '42' occurs twice"],
    ),
    (
        lambda home: home.publisher.publish("x", timer_id=""),
        ValueError,
        ["timer_id must not be empty"],
    ),
    (lambda home: home.publisher.cancel_timer(""), ValueError, ["timer_id must not be empty"]),
    (lambda home: home.publisher.cancel_timer(42), TypeError, ["timer_id", "42"]),
    (
        lambda home: home.publisher.reschedule_timer("", activate_in=HOUR),
        ValueError,
        ["timer_id must not be empty"],
    ),
    # Times
    (
        lambda home: home.publish(activate_in=30),
        TypeError,
        ["activate_in", "30", "activate_in=timedelta(seconds=30)"],
    ),
    (
        lambda home: home.publish(activate_in=1.5),
        TypeError,
        ["activate_in", "1.5", "activate_in=timedelta(seconds=1.5)"],
    ),
    (lambda home: home.publish(activate_in=True), TypeError, ["activate_in", "True"]),
    (lambda home: home.publish(activate_in="30"), TypeError, ["activate_in", "'30'"]),
    (lambda home: home.publish(activate_in=float("nan")), ValueError, ["activate_in", "nan"]),
    (lambda home: home.publish(activate_in=float("inf")), ValueError, ["activate_in", "inf"]),
    (
        lambda home: home.publish(activate_in=timedelta.max),
        ValueError,
        ["activate_in", repr(timedelta.max)],
    ),
    (lambda home: home.publish(activate_at=NAIVE), ValueError, ["activate_at", repr(NAIVE)]),
    (lambda home: home.publish(activate_at=float("nan")), ValueError, ["activate_at", "nan"]),
    (
        lambda home: home.publish(activate_at=1893456000),
        TypeError,
        ["activate_at", "1893456000", "datetime.fromtimestamp(1893456000, tz=UTC)"],
    ),
    (lambda home: home.publish(activate_at=YEAR_2050.date()), TypeError, ["activate_at"]),
    (lambda home: home.publish(activate_at="2050-01-01"), TypeError, ["activate_at"]),
    (
        lambda home: home.publish(activate_in=HOUR, activate_at=YEAR_2050),
        ValueError,
        ["activate_in", "activate_at", repr(HOUR), repr(YEAR_2050)],
    ),
    (
        lambda home: home.batch(activate_in=HOUR, activate_at=YEAR_2050),
        ValueError,
        ["activate_in", "activate_at", repr(HOUR), repr(YEAR_2050)],
    ),
    (
        lambda home: home.batch(TimerPublishMessage("x", activate_in=5)),
        TypeError,
        ["activate_in", "5"],
    ),
    (
        lambda home: home.publisher.publish("x", activate_in=HOUR, activate_at=YEAR_2050),
        ValueError,
        ["activate_in", "activate_at", repr(HOUR), repr(YEAR_2050)],
    ),
    (lambda home: home.publisher.publish("x", activate_in=5), TypeError, ["activate_in", "5"]),
    (lambda home: home.publisher.reschedule_timer("1"), TypeError, ["activate_in", "activate_at"]),
    (
        lambda home: home.publisher.reschedule_timer("1", activate_at=NAIVE),
        ValueError,
        ["activate_at", repr(NAIVE)],
    ),
    # Headers
    (lambda home: home.publish(headers={"x-a": None}), TypeError, ["'x-a'", "NoneType"]),
    (lambda home: home.publish(headers={"x-a": [1]}), TypeError, ["'x-a'", "list"]),
    (lambda home: home.publish(headers="abc"), TypeError, ["headers", "mapping", "str"]),
    (lambda home: home.publish(headers=5), TypeError, ["headers", "mapping", "int"]),
    (lambda home: home.publish(headers=[("a", "b")]), TypeError, ["headers", "mapping", "list"]),
    (lambda home: home.batch(headers=[("a", "b")]), TypeError, ["headers", "mapping", "list"]),
    (
        lambda home: home.batch("x", TimerPublishMessage("y", headers="abc")),
        TypeError,
        ["headers", "mapping", "str"],
    ),
    (lambda home: home.publisher.publish("x", headers=5), TypeError, ["headers", "mapping", "int"]),
    (lambda home: home.publish(headers={5: "x"}), TypeError, ["header", "5"]),
    (lambda home: home.publish(headers={"x-a": b"\xff"}), ValueError, ["'x-a'", "UTF-8"]),
    (lambda home: home.publish(headers={"x-a": "\ud800"}), ValueError, ["'x-a'", "UTF-8"]),
    (
        lambda home: home.publish(headers={"x-a": "é" * 32_768}),
        ValueError,
        ["'x-a'", "65,535", "65,536"],
    ),
    (lambda home: home.batch(headers={"x-a": None}), TypeError, ["'x-a'"]),
    (
        lambda home: home.batch("x", TimerPublishMessage("y", headers={"x-a": None})),
        TypeError,
        ["'x-a'"],
    ),
    (lambda home: home.publisher.publish("x", headers={"x-a": None}), TypeError, ["'x-a'"]),
    (lambda home: home.publish(correlation_id=[1]), TypeError, ["correlation_id", "list"]),
    (
        lambda home: home.publish(correlation_id="x" * 65_536),
        ValueError,
        ["correlation_id", "65,535"],
    ),
    # The rest
    (lambda home: home.publish(if_exists="maybe"), ValueError, ["if_exists", "'maybe'"]),
    (lambda home: home.publish(if_exists=["keep"]), ValueError, ["if_exists", "['keep']"]),
    (lambda home: home.batch(if_exists=""), ValueError, ["if_exists", "''"]),
    (lambda home: home.batch(if_exists="update"), ValueError, ["if_exists", "'update'", "repeat"]),
    (
        lambda home: home.publisher.publish("x", if_exists="maybe"),
        ValueError,
        ["if_exists", "'maybe'"],
    ),
    (lambda home: home.publish(pipeline="x"), TypeError, ["pipeline", "str"]),
    (lambda home: home.batch(pipeline="x"), TypeError, ["pipeline", "str"]),
    (lambda home: home.publisher.publish("x", pipeline="x"), TypeError, ["pipeline", "str"]),
]


@pytest.fixture
async def home(make_broker):
    broker = make_broker()
    await broker.connect()
    return Home(broker)


@pytest.mark.parametrize("row", range(len(ROWS)))
async def test_bad_input_is_refused_by_name_and_value_and_writes_nothing(
    home, redis_client, key_names, row
):
    call, error, texts = ROWS[row]

    with pytest.raises(error) as caught:
        await call(home)

    assert type(caught.value) is error
    assert [text for text in texts if text not in str(caught.value)] == [], caught.value
    assert keys_under(redis_client, key_names) == []


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda home: home.publish(object()), "message"),
        (lambda home: home.batch("x", object()), "messages[1]"),
        (lambda home: home.publisher.publish({"nested": object()}), "message"),
        (lambda home: home.publish([object(), math.nan]), "message"),
    ],
    ids=["publish", "publish_batch", "publisher", "and a NaN"],
)
async def test_a_body_that_cannot_be_encoded_names_its_topic(
    home, redis_client, key_names, call, name
):
    with pytest.raises(Exception, match="serialize") as caught:
        await call(home)

    assert caught.value.__notes__ == [f"while encoding {name} for topic {TOPIC!r}"]
    assert keys_under(redis_client, key_names) == []


async def test_an_error_about_a_header_does_not_show_its_value(home):
    for value in ("s3cret" * 20_000, "s3cret\ud800", b"s3cret\xff", ["s3cret"]):
        with pytest.raises((TypeError, ValueError)) as caught:
            await home.publish(headers={"authorization": value})

        assert "authorization" in str(caught.value)
        assert "s3cret" not in str(caught.value)


class Catching(BaseMiddleware):
    """Keeps what handling or publishing the result raises."""

    caught: ClassVar[list[Exception]] = []

    async def after_processed(self, exc_type=None, exc_val=None, exc_tb=None):
        if exc_val is not None:
            self.caught.append(exc_val)
        return False


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"activate_in": 5}, TypeError, "activate_in"),
        ({"activate_in": HOUR, "activate_at": YEAR_2050}, ValueError, "not both"),
        ({"timer_id": ""}, ValueError, "timer_id must not be empty"),
        ({"headers": {"x-a": None}}, TypeError, "'x-a'"),
        ({"if_exists": "maybe"}, ValueError, "if_exists"),
        ({"repeat": Every(HOUR)}, ValueError, "needs a timer_id"),
        ({"repeat": HOUR, "timer_id": "1"}, TypeError, "repeat must be Every(...) or Cron(...)"),
        ({"repeat": Every(HOUR), "timer_id": "1", "activate_in": HOUR}, ValueError, "only one"),
    ],
    ids=repr,
)
async def test_a_bad_response_fails_its_handler_and_keeps_the_timer(
    make_broker, settings, error, text
):
    Catching.caught.clear()
    broker = make_broker(logger=None, middlewares=[Catching])

    @broker.subscriber("in")
    @broker.publisher("out")
    async def handle(body: str) -> TimerResponse:
        return TimerResponse(body, **settings)

    async with broker:
        await broker.publish("x", "in", timer_id="42")
        await wait_until_async(lambda: Catching.caught)

        (caught,) = Catching.caught
        assert type(caught) is error
        assert text in str(caught)
        assert await broker.get_pending_timers("in") == ["42"]
        assert await broker.count_pending("out") == 0
