"""Mistakes of users that mypy and pyright must find: each line that holds one is marked.

A mark that is not needed is an error too, so nothing here may be accepted.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import redis
import redis.asyncio

from faststream_redis_timers import (
    Cron,
    Every,
    Repeat,
    TimerPublishMessage,
    TimerResponse,
    TimersBroker,
    TimersRoute,
    TimersRouter,
)
from faststream_redis_timers.annotations import TimerBatchMessage, TimerMessage
from faststream_redis_timers_sync import TimersClient

asynchronous = redis.asyncio.Redis()
blocking = redis.Redis()

# --- the other client --------------------------------------------------------------------

TimersBroker(blocking)  # type: ignore[arg-type]
TimersClient(asynchronous)  # type: ignore[arg-type]
TimersBroker(42)  # type: ignore[arg-type]
TimersClient()  # type: ignore[call-arg]

broker = TimersBroker(asynchronous)
timers = TimersClient(blocking)

# --- names -------------------------------------------------------------------------------

TimersBroker(asynchronous, polling=5)  # type: ignore[call-arg]
broker.subscriber("invoices", lease=5)  # type: ignore[call-overload]
broker.subscriber(channel="invoices")  # type: ignore[call-overload]
broker.publisher()  # type: ignore[call-arg]
TimersRoute("no handler", "invoices")  # type: ignore[arg-type]
TimersRouter(handlers=["no route"])  # type: ignore[list-item]


# --- batches -----------------------------------------------------------------------------


@broker.subscriber("expiries", batch=True)  # type: ignore[arg-type]
async def expire(invoice: str) -> None: ...


@broker.subscriber("expiries", batch=True)  # type: ignore[arg-type]
async def expire_one(invoice: dict[str, Any], message: TimerBatchMessage) -> None: ...


broker.subscriber("expiries", batch="yes")  # type: ignore[call-overload]
broker.subscriber("expiries", batch=True, max_records=0.5)  # type: ignore[call-overload]


async def with_batch(message: TimerBatchMessage) -> None:
    message.timers[0].commit()  # type: ignore[attr-defined]
    await message.timers[0].nack(5)  # type: ignore[arg-type]
    message.timers[0] = None  # type: ignore[index]
    text: str = message.body[0]  # type: ignore[assignment]
    assert text


async def with_broker(message: TimerMessage) -> None:
    # --- times
    await broker.publish("x", "invoices", activate_in=5)  # type: ignore[arg-type]
    await broker.publish("x", "invoices", activate_at="tomorrow")  # type: ignore[arg-type]
    await broker.publish("x", "invoices", delay=timedelta(1))  # type: ignore[call-arg]
    await message.nack(delay=5)  # type: ignore[arg-type]

    # --- recurring timers
    week = timedelta(weeks=1)
    await broker.publish("x", "reports", timer_id="1", repeat=week)  # type: ignore[arg-type]
    await broker.publish("x", "reports", timer_id="1", repeat="0 9 * * *")  # type: ignore[arg-type]
    await broker.publish_batch("x", topic="reports", repeat=300)  # type: ignore[arg-type]
    TimerPublishMessage("x", timer_id="1", repeat=week)  # type: ignore[arg-type]
    TimerResponse("x", timer_id="1", repeat=week)  # type: ignore[arg-type]
    Every(300)  # type: ignore[arg-type]
    Every(minutes="5")  # type: ignore[arg-type]
    Cron("0 9 * * *", "Europe/Berlin")  # type: ignore[call-arg]
    Cron("0 9 * * *", tz=UTC)  # type: ignore[arg-type]
    broker.add_series("x", "reports", repeat=Every(hours=1))  # type: ignore[call-arg]
    broker.add_series("x", "reports", timer_id="1", repeat=week)  # type: ignore[arg-type]
    TimersBroker(series_owner=5)  # type: ignore[arg-type]
    Repeat()  # type: ignore[abstract]
    await broker.pause_timer("reports")  # type: ignore[call-arg]

    # --- what is named
    await broker.publish("x")  # type: ignore[call-arg]
    await broker.publish("x", "invoices", "id")  # type: ignore[call-arg]
    await broker.publish("x", "invoices", timer_id=7)  # type: ignore[arg-type]
    await broker.publish("x", "invoices", if_exists="ignore")  # type: ignore[arg-type]
    await broker.publish("x", "invoices", headers={"x": object()})  # type: ignore[dict-item]
    await broker.publish_batch("x")  # type: ignore[call-arg]

    # --- pipelines
    pipeline = blocking.pipeline()
    await broker.publish("x", "invoices", pipeline=pipeline)  # type: ignore[arg-type]

    # --- answers
    was_moved: str
    was_moved = await broker.reschedule_timer("invoices", "1")  # type: ignore[assignment]
    timer = await broker.get_timer("invoices", "1")
    assert timer.due_at > was_moved  # type: ignore[union-attr, operator]
    message.lateness = 5.0  # type: ignore[misc]


def with_client(when: datetime) -> None:
    timers.schedule("x", "invoices", activate_in=when)  # type: ignore[arg-type]
    timers.schedule("x", "invoices", activate_at=5)  # type: ignore[arg-type]
    timers.schedule("x")  # type: ignore[call-arg]
    timers.schedule("x", "invoices", timer_id="1", repeat=timedelta(1))  # type: ignore[arg-type]
    timers.schedule("x", "invoices", timer_id="1", repeat=Every)  # type: ignore[arg-type]
    timers.resume_timer("invoices")  # type: ignore[call-arg]
    timers.ensure_series([])  # type: ignore[call-arg]
    timers.ensure_series(["reports"], owner="shop")  # type: ignore[list-item]
    timers.schedule("x", "invoices", pipeline=asynchronous.pipeline())  # type: ignore[arg-type]
    timers.cancel_timer("invoices")  # type: ignore[call-overload]
    timers.count_pending(["invoices"])  # type: ignore[arg-type]
