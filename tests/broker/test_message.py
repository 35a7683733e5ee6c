"""The message that handlers get, and what the log says of it: names, never contents."""

import json
import logging
import math
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from faststream.annotations import ContextRepo as FastStreamContextRepo
from faststream.message import StreamMessage
from front_ends import Home
from waiting import wait_until_async

from faststream_redis_timers import TimersBroker, decoding
from faststream_redis_timers.annotations import (
    ContextRepo,
    Logger,
    NoCast,
    Pipeline,
    Redis,
    TimerMessage,
    TimersBroker as Broker,
)
from faststream_redis_timers_sync.protocol.envelope import write_envelope
from faststream_redis_timers_sync.protocol.safe_text import printable
from faststream_redis_timers_sync.protocol.times import time_of

SECRET = "s3cret"  # noqa: S105  no real one
FORGED = "42\nINFO  -  other | 43 - Processed\x1b[2K\u2028\u202e\r"


# --- its fields --------------------------------------------------------------------------


async def test_a_message_knows_its_timer(make_broker, inbox, client):
    broker = make_broker(prefix="my:")

    @broker.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        inbox.put(message)

    await broker.connect()
    seconds, microseconds = await client.time()
    now = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
    due_at = now + timedelta(milliseconds=100)
    await broker.publish(
        "x", "invoices", timer_id="42", activate_at=due_at, correlation_id="c", reply_to="replies"
    )
    await broker.start()
    message = await inbox.get()

    assert isinstance(message, StreamMessage)
    assert (message.timer_id, message.message_id) == ("42", "42")
    assert message.topic == "my:invoices"
    assert message.due_at == due_at
    assert 0 <= message.lateness < 60
    assert message.redelivered is False
    assert message.correlation_id == "c"
    assert message.reply_to == "my:replies"
    assert message.content_type == "text/plain"
    assert message.body == b"x"


async def test_a_message_that_another_worker_had_leased_is_a_redelivery(
    make_broker, inbox, server_url, key_names
):
    broker = make_broker()

    @broker.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        inbox.put(message)

    await broker.connect()
    await broker.publish("x", "invoices", timer_id="42")
    # A worker that dies while the timer is leased to it.
    home = Home(key_names, server_url)
    step = home.claim("invoices", lease_ttl=0.05)
    home.redis.close()
    await broker.start()
    message = await inbox.get()

    assert message.redelivered is True
    assert message.due_at == time_of(float(step.lease))
    assert message.lateness >= 0


@pytest.mark.parametrize("reads_with", ["the standard library", "orjson"])
async def test_numbers_that_json_does_not_know_are_still_delivered(
    make_broker, inbox, server_url, key_names, monkeypatch, reads_with
):
    if reads_with == "orjson":
        # FastStream reads and writes with it wherever it is installed: all other tests would,
        # too. What counts here is that it takes JSON alone.
        strict = partial(json.loads, parse_constant=refuse_constant)
        monkeypatch.setattr(decoding, "_read_json", strict)
    broker = make_broker()

    @broker.subscriber("invoices")
    async def handle(body: Any) -> None:
        inbox.put(body)

    home = Home(key_names, server_url)
    payload = write_envelope(b'{"a":[NaN,-Infinity]}', content_type="application/json")
    home.plant("invoices", "42", 1.0, payload)
    home.redis.close()
    async with broker:
        not_a_number, infinity = (await inbox.get())["a"]

        assert math.isnan(not_a_number)
        assert infinity == -math.inf
        await wait_until_async(lambda: gone(broker))


def refuse_constant(name):
    msg = "orjson takes no constants"
    raise json.JSONDecodeError(msg, name, 0)


async def gone(broker):
    return await broker.count_pending("invoices") == 0


async def test_annotations_give_handlers_what_they_name(make_broker, inbox, client):
    broker = make_broker()

    @broker.subscriber("invoices")
    async def handle(
        body: str,
        message: TimerMessage,
        own_broker: Broker,
        redis: Redis,
        logger: Logger,
        context: ContextRepo,
    ) -> None:
        inbox.put((message.timer_id, own_broker, redis, logger, context))

    async with broker:
        await broker.publish("x", "invoices", timer_id="42")
        timer_id, own_broker, redis, logger, context = await inbox.get()

    assert timer_id == "42"
    assert own_broker is broker
    assert redis is client
    assert logger is not None
    assert context is broker.context
    assert ContextRepo is FastStreamContextRepo


async def test_a_pipeline_is_the_handler_s_own_and_sends_what_it_executes(
    make_broker, inbox, client, key_names
):
    broker = make_broker()
    # Beside the timers, and gone with them.
    marks = f"{key_names['attempts_key']}:marks"

    @broker.subscriber("invoices")
    async def handle(body: str, pipeline: Pipeline, message: TimerMessage) -> None:
        inbox.put(pipeline)
        pipeline.hset(marks, body, message.timer_id)
        await broker.publish(body, "receipts", timer_id=f"of {body}", pipeline=pipeline)
        if body == "sent":
            await pipeline.execute()
        inbox.put("done")

    async with broker:
        for body in ("sent", "dropped"):
            await broker.publish(body, "invoices", timer_id=body)
        got = [await inbox.get() for _ in range(4)]
        await wait_until_async(lambda: nothing_pending(broker))

        assert len({id(pipeline) for pipeline in got if pipeline != "done"}) == 2
        assert await broker.get_pending_timers("receipts") == ["of sent"]
        assert await client.hgetall(marks) == {b"sent": b"sent"}
    await client.delete(marks)


async def nothing_pending(broker):
    return await broker.count_pending("invoices") == 0


async def test_without_casting_an_argument_is_the_decoded_body(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber("invoices")
    async def handle(body: NoCast[int]) -> None:
        inbox.put(body)

    async with broker:
        await broker.publish("5", "invoices")

        assert await inbox.get() == "5"


# --- what is secret ----------------------------------------------------------------------


async def test_repr_and_str_name_ids_and_hide_body_and_headers(make_broker, inbox):
    broker = make_broker()

    @broker.subscriber("invoices")
    async def handle(body: str, message: TimerMessage) -> None:
        inbox.put(message)

    async with broker:
        await broker.publish(
            SECRET, "invoices", timer_id="42", correlation_id="c", headers={"x-token": SECRET}
        )
        message = await inbox.get()

    assert SECRET in str(message.headers)
    assert repr(message) == ("TimerMessage(topic='invoices', timer_id='42', correlation_id='c')")
    assert repr(message.raw_message) == "TimerDelivery(topic='invoices', timer_id='42')"
    for thing in (message, message.raw_message, message.raw_message.envelope):
        for text in (repr(thing), str(thing), f"{thing}"):
            assert SECRET not in text


@pytest.fixture
def own_logger(caplog):
    """A logger whose lines are caught."""
    caplog.set_level(logging.DEBUG)
    return logging.getLogger("own")


def fail_to_parse(_):
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("message", "options", "says"),
    [
        (SECRET, {"filter": lambda _: False}, "SubscriberNotFound"),
        (SECRET, {"parser": fail_to_parse}, "ZeroDivisionError"),
        (SECRET, {"filter": fail_to_parse}, "ZeroDivisionError"),
        (SECRET, {"decoder": fail_to_parse}, "ZeroDivisionError"),
        (SECRET.encode(), {"by_hand": "application/json"}, "JSONDecodeError"),
        (SECRET.encode() + b"\xff", {"by_hand": "text/plain"}, "UnicodeDecodeError"),
    ],
    ids=["no filter matches", "parser", "filter", "decoder", "bad JSON", "bad text"],
)
async def test_what_goes_wrong_is_logged_without_body_and_headers(
    make_broker, caplog, own_logger, message, options, says
):
    broker = make_broker(logger=own_logger)
    content_type = options.pop("by_hand", None)
    headers = {"x-token": SECRET} | ({"content-type": content_type} if content_type else {})

    @broker.subscriber("invoices")(**options)
    async def handle(body: str) -> None:
        pass

    async with broker:
        await broker.publish(message, "invoices", timer_id="42", headers=headers)
        await wait_until_async(lambda: says in caplog.text)

    assert SECRET not in caplog.text


# --- the log -----------------------------------------------------------------------------


def forget_logger():
    logger = logging.getLogger("faststream.access.timers")
    logger.handlers.clear()
    logger.filters.clear()


@pytest.fixture
def printed(capsys):
    """Give the lines that the default logger has printed, without colors."""

    def lines():
        out, err = capsys.readouterr()
        return re.sub("\x1b\\[[0-9;]*m", "", out + err).splitlines()

    # All brokers of a process share a logger, with the widths and the stream of the first.
    forget_logger()
    yield lines
    forget_logger()


async def test_lines_name_topic_and_whole_timer_id(make_broker, inbox, printed):
    broker = make_broker()
    timer_id = "a-rather-long-id-of-the-caller's-own-" + "0" * 100

    @broker.subscriber("a-topic-with-a-long-name")
    async def handle(body: str, logger: Logger) -> None:
        logger.info("from the handler")
        inbox.put(body)

    async with broker:
        await broker.publish("x", "a-topic-with-a-long-name", timer_id=timer_id)
        await inbox.get()

    lines = printed()
    for said in ("Received", "from the handler", "Processed"):
        (line,) = [line for line in lines if line.endswith(said)]
        assert f"a-topic-with-a-long-name | {timer_id} - {said}" in line


async def test_columns_are_as_wide_as_the_longest_topic(make_broker, inbox, printed):
    broker = make_broker()
    for topic in ("short", "a-longer-topic"):

        @broker.subscriber(topic)
        async def handle(body: str) -> None:
            inbox.put(body)

    async with broker:
        timer_id = await broker.publish("x", "short")
        await inbox.get()

    (line,) = [line for line in printed() if line.endswith("Received")]
    assert f"- short          | {timer_id} - Received" in line


async def test_ids_and_topics_forge_no_lines_of_the_log(make_broker, inbox, printed):
    broker = make_broker()

    @broker.subscriber(FORGED)
    async def handle(body: str) -> None:
        inbox.put(body)
        raise ZeroDivisionError

    async with broker:
        await broker.publish("x", FORGED, timer_id=FORGED, correlation_id=FORGED)
        await inbox.get()

    lines = printed()
    assert not [line for line in lines if re.match("INFO  -  other", line)]
    (line,) = [line for line in lines if line.endswith("- Received")]
    escaped = r"42\nINFO  -  other | 43 - Processed\x1b[2K\u2028\u202e\r"
    assert f"{escaped} | {escaped} - Received" in line
    assert not any(char in "".join(lines) for char in "\x1b\u2028\u202e\r")


async def test_what_is_removed_is_logged_with_an_escaped_id(
    make_broker, caplog, own_logger, redis_client, key_names
):
    broker = make_broker(logger=own_logger)

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        pass

    redis_client.zadd(f"{key_names['timeline_key']}:invoices", {FORGED: 1.0})
    async with broker:
        await wait_until_async(lambda: "had no payload" in caplog.text)

    (record,) = [record for record in caplog.records if "had no payload" in record.getMessage()]
    assert "\n" not in record.getMessage()
    assert "\x1b" not in record.getMessage()
    assert repr(FORGED) in record.getMessage()


def test_plain_text_is_logged_as_it_is():
    assert printable("invoices:é:日本") == "invoices:é:日本"
    assert printable("") == ""
    assert printable("\udcff\n") == r"\udcff\n"


async def test_without_a_logger_nothing_is_said(make_broker, inbox, capsys):
    broker = make_broker(logger=None)

    @broker.subscriber("invoices")
    async def handle(body: str) -> None:
        inbox.put(body)

    async with broker:
        await broker.publish("x", "invoices")
        await inbox.get()

    assert capsys.readouterr() == ("", "")


def test_a_broker_is_described_without_its_url():
    assert SECRET not in repr(TimersBroker(f"redis://user:{SECRET}@localhost"))
