"""A worker that tests kill, stop and starve; it notes each delivery in the run's journal.

What the handler does depends on the timer's body: "work 0.5" takes half a second, "gate" waits
until the file "gate" is there beside the journal, "hang" never ends. "block" stops the whole
event loop until there is that file, "block 2" for two seconds, but only when the timer is
delivered for the first time. All but "plain" commit by hand, and note what came of it; those of
a batch commit with it.
"""

import asyncio
import json
import os
import time
from pathlib import Path

from faststream import BaseMiddleware, FastStream
from journal import Journal
from reach import asyncio_client

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.annotations import TimerBatchMessage, TimerMessage
from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.delivery.duty import Duty

settings = json.loads(os.environ["FAULT_SETTINGS"])
journal = Journal(Path(settings["journal"]))
# Tests don't wait for the five minutes after which those are counted on again who were not there.
Duty.MEMORY = settings.get("memory", Duty.MEMORY)
gate = journal.path.with_name("gate")


async def until_open(name: str) -> None:
    file = journal.path.with_name(name)
    while not file.exists():  # noqa: ASYNC110  another process opens it
        await asyncio.sleep(0.005)


def block(seconds: float) -> None:
    """Keep the event loop from everything else, until the gate opens at the latest."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not gate.exists():
        time.sleep(0.005)


class Porch(BaseMiddleware):
    """Holds handlers that are about to start, where a test asks for it."""

    async def consume_scope(self, call_next, msg):
        if settings.get("porch"):
            journal.note("on the porch", id=msg.timer_id)
            await until_open("gate")
        return await call_next(msg)


broker = TimersBroker(
    asyncio_client(settings["target"]),
    graceful_timeout=settings.get("graceful_timeout", 10.0),
    middlewares=[Porch],
)
app = FastStream(broker)


@app.after_startup
async def note_start() -> None:
    journal.note("started", date=time.time())


async def run(body: str, delivery: TimerDelivery, *, commits: bool) -> None:
    noted = {"id": delivery.timer_id, "lease": delivery.leases[0].decode()}
    journal.note(
        "begun",
        **noted,
        score=float(delivery.claimed.previous_score),
        topic=delivery.topic,
        claimed_at=delivery.claimed_at,
        redelivered=delivery.redelivered,
        occurrence=delivery.occurrence and delivery.occurrence.timestamp(),
    )
    doing, _, seconds = body.partition(" ")
    try:
        if doing == "work":
            await asyncio.sleep(float(seconds))
        elif doing == "block" and not delivery.redelivered:
            block(float(seconds or "inf"))
        elif doing == "gate":
            await until_open("gate")
        elif doing == "hang":
            await asyncio.Event().wait()
        journal.note("done", **noted)
        if commits and doing != "plain":
            committed = await delivery.commit()
            journal.note("committed" if committed else "fenced", **noted)
    except asyncio.CancelledError:
        journal.note("cancelled", **noted)
        raise


async def handle(body: str, message: TimerMessage) -> None:
    await run(body, message.raw_message, commits=True)


async def handle_batch(bodies: list[str], message: TimerBatchMessage) -> None:
    # All of them commit with the batch, some by a mark.
    deliveries = message.raw_message.deliveries
    await asyncio.gather(
        *(run(*one, commits=False) for one in zip(bodies, deliveries, strict=True))
    )
    for body, timer in zip(bodies, message.timers, strict=True):
        if body != "plain":
            await timer.ack()


options = settings.get("options", {})
for topic in settings["topics"]:
    broker.subscriber(topic, **options)(handle_batch if options.get("batch") else handle)


if __name__ == "__main__":
    asyncio.run(app.run())
