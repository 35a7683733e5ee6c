"""An application for `faststream run` in which all goes wrong, with every log at DEBUG.

What it is told, and what it has noted, goes through Redis; what it prints must have no secret.
"""

import asyncio
import json
import logging
import os
import sys
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

from fast_depends.pydantic import PydanticSerializer
from faststream import AckPolicy, FastStream
from faststream.exceptions import NackMessage, RejectMessage
from faststream.specification import AsyncAPI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from planted import HOSTILE, say
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis

from faststream_redis_timers import RetryPolicy, TimerResponse, TimersBroker
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.opentelemetry import TimersTelemetryMiddleware
from faststream_redis_timers.prometheus import TimersPrometheusMiddleware

settings = json.loads(os.environ["LEAKY_SETTINGS"])
url: str = settings["url"]
notes = Redis.from_url(settings["notes_url"])
DOCUMENTS = Path(settings["documents"])

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
logger = logging.getLogger("leaky")
registry = CollectorRegistry()
tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stdout)))
meters = MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter(out=sys.stdout))])

broker = TimersBroker(
    url,
    graceful_timeout=2.0,
    logger=logger,
    log_level=logging.DEBUG,
    middlewares=[
        TimersPrometheusMiddleware(registry=registry),
        TimersTelemetryMiddleware(tracer_provider=tracers, meter_provider=meters),
    ],
    serializer=PydanticSerializer(
        ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True),
        use_fastdepends_errors=False,
    ),
)
app = FastStream(broker, logger=logger)
background: set["asyncio.Task[None]"] = set()


async def note(topic: str) -> None:
    """Tell the test that a topic's handler has been called, or its error met."""
    await notes.rpush("handled", topic)


def show(error: BaseException) -> None:
    """Print an error as a careless program would."""
    say("ERROR:", str(error), error.args if not error.args[1:] else "")
    traceback.print_exception(error)


class Address(BaseModel):
    """Part of a body."""

    zip_code: int


class Customer(BaseModel):
    """A body."""

    address: Address


class UnwiseError(Exception):
    """An error with a secret: its type may be told, not its text."""

    def __str__(self) -> str:
        return "hidden"


async def fail(message: Any) -> Any:
    """Fail, as a parser or decoder that does not understand a message."""
    await note(message.topic if hasattr(message, "topic") else "unknown")
    msg = "not understood"
    raise ValueError(msg)


@broker.subscriber("ok")
async def ok(body: str, message: TimerMessage) -> TimerResponse:
    say(repr(message), repr(message.raw_message), f"{message.raw_message.envelope}")
    logger.debug("got %s %r", message, message)
    await note("ok")
    return TimerResponse(body, headers=message.headers, activate_in=timedelta(hours=1))


@broker.subscriber("fails")
@broker.subscriber(f"fails{HOSTILE}")
async def fails(body: str) -> None:
    await note("fails")
    msg = "no secret of mine"
    raise RuntimeError(msg)


@broker.subscriber("typed", ack_policy=AckPolicy.REJECT_ON_ERROR)
async def typed(body: int) -> None:
    await note("never")


@broker.subscriber("model", ack_policy=AckPolicy.REJECT_ON_ERROR)
async def model(body: Customer) -> None:
    await note("never")


@broker.subscriber("answer", ack_policy=AckPolicy.REJECT_ON_ERROR)
async def answer(body: str) -> int:
    await note("answer")
    return body  # type: ignore[return-value]  it is what fails


@broker.subscriber("parser", parser=fail)
async def parsed(body: str) -> None:
    await note("never")


@broker.subscriber("decoder", decoder=fail)
async def decoded(body: str) -> None:
    await note("never")


@broker.subscriber(
    "dead",
    dead_letter_topic="{topic}:dead",
    retry_policy=RetryPolicy(max_attempts=1),
    renew_lease=True,
)
async def dead(body: str) -> None:
    await note("dead")
    msg = f"it is {body}"
    raise UnwiseError(msg) from None


@broker.subscriber("slow", handler_timeout=0.1, retry_policy=lambda _attempt, _error: None)
async def slow(body: str) -> None:
    await asyncio.Event().wait()


@broker.subscriber("policy", retry_policy=lambda _attempt, error: error.delay)
async def policy(body: str, message: TimerMessage) -> None:
    await message.renew()
    say(message.attempt, message.lease_lost)
    await note("policy")
    raise RuntimeError


@broker.subscriber("unreadable-dead", dead_letter_topic=f"{HOSTILE}{{topic}}")
async def unreadable_dead(body: str) -> None:
    await note("never")


for topic in ("json", "text", "unreadable"):

    @broker.subscriber(topic, ack_policy=AckPolicy.REJECT_ON_ERROR)
    async def undecodable(body: Any) -> None:
        await note("never")


@broker.subscriber("filtered")(filter=lambda _: False)
async def filtered(body: str) -> None:
    await note("never")


@broker.subscriber("bad-answer", ack_policy=AckPolicy.REJECT_ON_ERROR)
async def bad_answer(body: str) -> list[Any]:
    await note("bad-answer")
    return [body, object()]


@broker.subscriber("nacks")
async def nacks(body: str) -> None:
    await note("nacks")
    raise NackMessage(delay="soon")  # it is refused


@broker.subscriber("rejects")
async def rejects(body: str, message: TimerMessage) -> None:
    await message.ack()
    await note("rejects")
    raise RejectMessage


@broker.subscriber("publishes")
async def publishes(body: str) -> None:
    for arguments in (
        {"topic": "", "message": body},
        {"topic": {"x": body}, "message": "x"},
        {"topic": "t", "message": body, "headers": {"x": {"y": body}}},
        {"topic": "t", "message": [body, object()]},
        {"topic": "t", "message": body, "if_exists": "sometimes"},
        {"topic": "t", "message": body, "timer_id": [body]},
        {"topic": "t", "message": body, "activate_in": 5},
    ):
        try:
            await broker.publish(**arguments)  # type: ignore[arg-type]  that is the point
        except (TypeError, ValueError) as error:
            show(error)
    await note("publishes")


@broker.subscriber("long", lease_ttl=0.2)
async def long(body: str) -> None:
    await note("long")
    await asyncio.sleep(0.5)


@broker.subscriber("hangs")
async def hangs(body: str) -> None:
    await note("hangs")
    await asyncio.Event().wait()


by_hand = broker.subscriber("by-hand")
by_hand_failing = broker.subscriber("by-hand-failing", parser=fail)


async def claim_by_hand() -> None:
    """Claim timers by hand."""
    while (message := await by_hand.get_one(timeout=60)) is not None:
        say(message, repr(message.raw_message))
        await note("by-hand")
        await message.nack(timedelta(hours=1))


async def claim_failing() -> None:
    """Claim a timer that can't be parsed."""
    try:
        await by_hand_failing.get_one(timeout=60)
    except ValueError as error:
        show(error)
        await note("by-hand-failing")


@app.after_startup
async def begin() -> None:
    other = TimersBroker(settings["wrong_url"], start_timeout=0.3, logger=logger)
    other.subscriber("nothing")(ok)
    try:
        await other.start()
    except TimeoutError as error:
        show(error)
    await other.stop()
    for task in (claim_by_hand(), claim_failing()):
        background.add(asyncio.create_task(task))
    say(broker, broker.config, vars(broker.config), broker.specification, registry)
    say("has started")


@app.on_shutdown
def tell() -> None:
    # Apart from the log: these are for programs, not for terminals.
    versions = ("2.6.0", "3.0.0")
    specifications = [AsyncAPI(broker, schema_version=v).to_specification() for v in versions]
    documents = [generate_latest(registry).decode(), *(s.to_json() for s in specifications)]
    DOCUMENTS.write_text("\n".join(documents))
    meters.force_flush()


@app.after_shutdown
async def close() -> None:
    for task in background:
        task.cancel()
    await notes.aclose()
