"""What a user of the broker writes: `make check` has mypy and pyright read it, nothing runs it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Any, assert_type

import redis.asyncio
from faststream import (
    AckPolicy,
    BaseMiddleware,
    Context,
    Depends,
    FastStream,
    StreamMessage,
)
from faststream.asgi import AsgiFastStream, make_ping_asgi
from faststream.exceptions import NackMessage
from faststream.security import SASLPlaintext
from faststream.specification import AsyncAPI
from pydantic import BaseModel

from faststream_redis_timers import (
    Cron,
    EnsuredSeries,
    Every,
    RetryPolicy,
    ScheduledTimer,
    TestTimersBroker,
    Timer,
    TimerBatchMessage,
    TimerMessage,
    TimerPublishCommand,
    TimerPublishMessage,
    TimerResponse,
    TimersBroker,
    TimersError,
    TimersRoute,
    TimersRoutePublisher,
    TimersRouter,
    TimerSub,
    annotations as kinds,
    next_times,
)
from faststream_redis_timers.subscriber.batch_usecase import TimersBatchSubscriber
from faststream_redis_timers.subscriber.usecase import TimersSubscriber
from faststream_redis_timers_sync.testing import FakeTimersClient


class Invoice(BaseModel):
    number: int


# --- brokers -----------------------------------------------------------------------------

client = redis.asyncio.Redis(host="localhost", decode_responses=True)
broker = TimersBroker(client, prefix="shop:", ack_policy=AckPolicy.NACK_ON_ERROR, logger=None)
from_url = TimersBroker("redis://localhost:6379", graceful_timeout=None)
described = TimersBroker(
    description="Our timers.",
    tags=[{"name": "durable"}],
    security=SASLPlaintext("user", "password", use_ssl=True),
    id_generator=lambda: "1",
    log_level="WARNING",
)

app = FastStream(broker, from_url, specification=AsyncAPI(title="Shop"))
web = AsgiFastStream(broker, asgi_routes=[("/health", make_ping_asgi(broker, timeout=1.0))])

# --- handlers ----------------------------------------------------------------------------


def discount() -> int:
    return 5


@broker.subscriber("invoices", lease_ttl=60.0, max_concurrent=20, title="Invoices")
@broker.publisher("paid", activate_in=timedelta(days=1), headers={"x-source": "shop"})
async def remind(  # noqa: PLR0913, PLR0917  all that a handler may ask for
    invoice: Invoice,
    message: kinds.TimerMessage,
    timers: kinds.TimersBroker,
    connection: kinds.Redis,
    pipeline: kinds.Pipeline,
    logger: kinds.Logger,
    repository: kinds.ContextRepo,
    percent: Annotated[int, Depends(discount)],
    correlation_id: Annotated[str, Context("message.correlation_id")],
    attempt: str = Context("message.headers.attempt", default="1"),
) -> Invoice:
    assert_type(message.timer_id, str)
    assert_type(message.topic, str)
    assert_type(message.due_at, datetime)
    assert_type(message.lateness, float)
    assert_type(message.redelivered, bool)
    assert_type(message.attempt, int | None)
    assert_type(message.lease_lost, bool)
    assert_type(await message.renew(60.0), bool)
    assert_type(message.correlation_id, str)
    assert_type(percent, int)
    logger.info("%s %s %s", correlation_id, attempt, repository)
    await connection.get("x")
    pipeline.incr("reminders")
    await timers.publish(invoice, "invoices", pipeline=pipeline)
    await pipeline.execute()
    await timers.publish(invoice, "invoices", activate_in=timedelta(days=1))
    return invoice


# --- batches -----------------------------------------------------------------------------


@broker.subscriber("expiries", batch=True, max_records=50, max_wait=0.05, max_concurrent=2)
async def expire(
    invoices: list[Invoice], message: kinds.TimerBatchMessage, logger: kinds.Logger
) -> None:
    assert_type(message, TimerBatchMessage)
    assert_type(message.body, list[bytes])
    assert_type(message.is_split, bool)
    assert_type(message.redelivered, bool)
    assert_type(message.lease_lost, bool)
    assert_type(message.topic, str)
    assert_type(message.batch_headers, list[dict[str, Any]])
    for invoice, timer in zip(invoices, message.timers, strict=True):
        assert_type(invoice, Invoice)
        assert_type(timer.timer_id, str)
        assert_type(timer.headers, dict[str, str])
        assert_type(timer.attempt, int | None)
        assert_type(timer.due_at, datetime)
        assert_type(timer.lateness, float)
        assert_type(timer.redelivered, bool)
        assert_type(timer.occurrence, datetime | None)
        await timer.nack(delay=timedelta(minutes=5))
    assert_type(await message.timers[0].ack(), None)
    for timer in message.timers[1:]:
        await timer.reject()
    logger.info("%s", len(message.timers))


assert_type(broker.subscriber("closings", batch=True), TimersBatchSubscriber)
assert_type(broker.subscriber("closings", batch=False), TimersSubscriber)
assert_type(TimersRouter().subscriber("closings", batch=True), TimersBatchSubscriber)


@broker.subscriber("closings", batch=True)
def close(bodies: Sequence[dict[str, Any]], *, percent: int = 5) -> None: ...


@broker.subscriber("closings", batch=True)
async def count(message: kinds.TimerBatchMessage) -> None: ...


@broker.subscriber("closings", batch=True)
async def write(logger: kinds.Logger, bodies: list[str]) -> None: ...


@broker.subscriber("closings", batch=True)(filter=lambda message: "x" in message.headers)
async def store(bodies: list[bytes], message: kinds.TimerBatchMessage) -> None: ...


@broker.subscriber(TimerSub(topic="closings", batch=True, max_records=10))
@broker.subscriber("outcomes", batch=True)
async def end(bodies: list[Any]) -> None: ...


async def call_a_handler(message: TimerBatchMessage) -> None:
    await store([b"x"], message)
    await expire([Invoice(number=1)], message, logger=app.logger)  # type: ignore[arg-type]


TimersRoute(expire, "expiries", batch=True)


# --- decisions ---------------------------------------------------------------------------


def decide(attempt: int, error: BaseException | None) -> timedelta | None:
    return None if isinstance(error, KeyError) else timedelta(seconds=attempt)


careful = TimersBroker(retry_policy=RetryPolicy(max_attempts=3), dead_letter_topic="{topic}:dead")
router_of_its_own = TimersRouter(prefix="x:", retry_policy=decide, dead_letter_topic=None)


@careful.subscriber(
    "long",
    retry_policy=decide,
    dead_letter_topic="dead",
    renew_lease=True,
    max_lease=7200.0,
    handler_timeout=3600.0,
)
async def long(body: str) -> None: ...


@careful.subscriber(TimerSub(topic="other", renew_lease=True), retry_policy=None)
async def other(body: str) -> None: ...


class Topic(str, Enum):  # noqa: UP042  as many have written it
    INVOICES = "invoices"


@careful.subscriber(Topic.INVOICES)
@careful.publisher(Topic.INVOICES)
async def by_enum(body: str) -> str:
    await careful.publish(body, Topic.INVOICES)
    return body


async def redrive() -> None:
    assert_type(await careful.redrive("long:dead"), int)
    assert_type(await careful.redrive("long:dead", ["1:abcdefgh"]), int)


@broker.subscriber("blocking")
def blocking(body: str) -> None:
    raise NackMessage(delay=timedelta(minutes=5))


@broker.subscriber(TimerSub(topic="by-hand", lease_ttl=5.0), ack_policy=AckPolicy.MANUAL)
async def by_hand(body: bytes, message: kinds.TimerMessage) -> None:
    await message.ack()
    await message.nack(delay=timedelta(minutes=5))
    await message.reject()


@broker.subscriber("results")
@broker.publisher("answers")
async def respond(body: dict[str, int]) -> TimerResponse:
    return TimerResponse(body, activate_in=timedelta(hours=1), timer_id="1", if_exists="keep")


several = broker.subscriber("events")


@several(filter=lambda message: message.content_type == "application/json")
async def handle_json(event: dict[str, Any]) -> None: ...


@several
async def handle_rest(event: str) -> None: ...


on_demand = broker.subscriber("on-demand")


async def take() -> None:
    if (message := await on_demand.get_one(timeout=1.0)) is not None:
        assert_type(message, TimerMessage)
        await message.ack()
    async for each in on_demand:
        assert_type(each, TimerMessage)
        await each.nack(delay=timedelta(seconds=5))


async def call_directly() -> None:
    # A decorated handler can be called as the function that it was.
    await handle_rest("x")
    blocking("x")


# --- scheduling --------------------------------------------------------------------------


async def remind_later(
    invoice: Invoice, wait: timedelta | None = None, until: datetime | None = None
) -> str:
    """Forward both times as they come."""
    timer_id = await broker.publish(invoice, "invoices", activate_in=wait, activate_at=until)
    assert_type(timer_id, str)
    await paid.publish(invoice, activate_in=wait, activate_at=until)
    await broker.reschedule_timer("invoices", timer_id, activate_in=wait, activate_at=until)
    await broker.publish_batch(1, 2, topic="invoices", activate_in=wait, activate_at=until)
    TimerPublishMessage(invoice, activate_in=wait, activate_at=until)
    TimerResponse(invoice, activate_in=wait, activate_at=until)
    return timer_id


async def schedule_and_look(headers: Mapping[str, str], number: Mapping[str, int]) -> None:
    await broker.publish(
        {"any": ["thing"]},
        topic="invoices",
        timer_id="INV-1",
        correlation_id="order-7",
        headers=headers,
        reply_to="answers",
        if_exists="error",
    )
    await broker.publish(None, "invoices", headers=number)
    ids = await broker.publish_batch("a", TimerPublishMessage("b", timer_id="b"), topic="invoices")
    assert_type(ids, list[str])

    assert_type(await broker.reschedule_timer("invoices", "1", activate_in=timedelta(0)), bool)
    assert_type(await broker.cancel_timer("invoices", "1"), bool)
    assert_type(await broker.cancel_timers("invoices", iter(ids)), int)
    assert_type(await broker.cancel_all("invoices"), int)
    assert_type(await broker.has_pending("invoices", "1"), bool)
    assert_type(await broker.get_timer("invoices", "1"), Timer | None)
    assert_type(await broker.get_pending_timers("invoices", before=None), list[str])
    assert_type(await broker.count_pending("invoices"), int)
    assert_type(await broker.ping(1.0), bool)
    async for timer in broker.iter_timers("invoices", match="INV-*", bodies=False):
        assert_type(timer, Timer)
        assert_type(timer.due_at, datetime)
        assert_type(timer.body, bytes)
        assert_type(timer.headers, Mapping[str, str])


async def schedule_recurring_timers(wait: timedelta) -> None:
    every, cron = Every(hours=1), Cron("@daily", tz="Europe/Berlin")
    await broker.publish("x", "reports", timer_id="daily", repeat=cron)
    await broker.publish("x", "reports", timer_id="often", repeat=Every(wait), if_exists="update")
    await broker.publish_batch(
        TimerPublishMessage("a", timer_id="a"),
        TimerPublishMessage("b", timer_id="b", repeat=cron),
        topic="reports",
        repeat=every,
    )
    TimerResponse("x", timer_id="daily", repeat=cron)
    await paid.publish("x", timer_id="often", repeat=every, if_exists=None)
    assert_type(await broker.pause_timer("reports", "daily"), bool)
    assert_type(await broker.resume_timer("reports", "daily"), bool)
    assert_type(await paid.pause_timer("often"), bool)
    assert_type(await paid.resume_timer("often"), bool)
    assert_type(next_times(every, 3), list[datetime])
    shop = TimersBroker("redis://localhost", series_owner="shop", prune_series=True)
    shop.add_series({"n": 1}, "reports", timer_id="daily", repeat=cron, headers={"x": 1})
    TimersRouter().add_series("x", "reports", timer_id="often", repeat=every)
    assert_type(await shop.ensure_series(prune=True), EnsuredSeries)


async def in_a_transaction() -> None:
    async with client.pipeline(transaction=True) as pipeline:
        assert_type(await broker.publish("x", "invoices", pipeline=pipeline), str)
        await broker.publish_batch("x", topic="invoices", pipeline=pipeline)
        # There is no answer before the pipeline is executed.
        assert_type(await broker.cancel_timer("invoices", "1", pipeline=pipeline), None)
        assert_type(await paid.cancel_timer("1", pipeline=pipeline), None)
        await pipeline.execute()


async def life() -> None:
    async with broker as running:
        assert_type(running, TimersBroker)
    await broker.connect()
    await broker.start()
    await broker.stop()


# --- publishers, routers, routes ---------------------------------------------------------

paid = broker.publisher("paid", schema=Invoice, reply_to="answers", include_in_schema=False)


async def use_publisher() -> None:
    assert_type(await paid.publish(Invoice(number=1), timer_id="1"), str)
    await paid.publish("x", "another", headers={"x": "y"}, if_exists="keep")
    assert_type(await paid.cancel_timer("1"), bool)
    assert_type(await paid.reschedule_timer("1", activate_in=timedelta(0)), bool)


router = TimersRouter(
    "eu:",
    handlers=[
        TimersRoute(handle_rest, "texts", publishers=[TimersRoutePublisher("out", title="Out")]),
        TimersRoute(blocking, TimerSub(topic="others"), max_concurrent=1),
    ],
    dependencies=[Depends(discount)],
    routers=[TimersRouter("inner:")],
)


@router.subscriber("invoices", no_reply=True, persistent=False)
@router.publisher("paid")
async def routed(invoice: Invoice) -> None: ...


broker.include_router(router)


class Counting(BaseMiddleware[TimerPublishCommand, Any]):
    async def publish_scope(self, call_next: Any, cmd: TimerPublishCommand) -> Any:
        assert_type(cmd.activate_in, timedelta | None)
        return await call_next(cmd)


TimersBroker(middlewares=[Counting], dependencies=[Depends(discount)])


async def parse(message: Any, original: Any) -> StreamMessage[Any]:
    parsed: TimerMessage = await original(message)
    return parsed


TimersBroker(parser=parse)

# --- tests of a user's own ---------------------------------------------------------------


async def test_reminding() -> None:
    test = TestTimersBroker(broker)
    async with test as br:
        assert_type(br, TimersBroker)
        await br.publish(Invoice(number=1), "invoices", activate_in=timedelta(days=30))
        assert_type(test.scheduled_timers, list[ScheduledTimer])
        assert test.scheduled_timers[0].body == Invoice(number=1)
    async with TestTimersBroker(broker, from_url, with_real=True) as brokers:
        assert_type(brokers, tuple[TimersBroker, ...])


async def test_thirty_days_later() -> None:
    blocking_client = FakeTimersClient()
    test = TestTimersBroker(broker, hold=True, client=blocking_client)
    async with test as br:
        await br.publish(Invoice(number=1), "invoices", activate_in=timedelta(days=30))
        await test.advance(timedelta(days=30))
        assert_type(test.now(), datetime)
    remind.mock.assert_called_once()


async def handle_errors() -> None:
    try:
        await broker.publish("x", "invoices", if_exists="error")
    except TimersError as error:
        raise ValueError from error
