"""An application for `faststream run`; tests steer it by environment variables and look at Redis.

Its handler notes each delivery in the list ``{notes}:begun``, and ``{notes}:ended`` when it
is done; what it does in between depends on the timer's body.
"""

import asyncio
import json
import os
import signal

from faststream import FastStream
from redis.asyncio import Redis

from faststream_redis_timers import Every, RetryPolicy, TimersBroker
from faststream_redis_timers.annotations import TimerBatchMessage, TimerMessage

settings = json.loads(os.environ["WORKER_SETTINGS"])
notes: str = settings["notes"]
client = Redis.from_url(settings["url"])
series = settings.get("series")
broker = TimersBroker(
    client,
    graceful_timeout=settings["graceful_timeout"],
    series_owner=None if series is None else "shop",
    **settings["key_names"],
)
for timer_id, (period, body) in (series or {}).items():
    broker.add_series(body, "invoices", timer_id=timer_id, repeat=Every(seconds=period))
app = FastStream(broker)
options = settings.get("options", {})
if "max_attempts" in options:
    options["retry_policy"] = RetryPolicy(max_attempts=options.pop("max_attempts"))


@app.after_startup
async def note_start() -> None:
    await client.rpush(f"{notes}:started", os.getpid())


@app.after_shutdown
async def close() -> None:
    await client.aclose()


async def handle(body: str, message: TimerMessage) -> None:
    note = json.dumps([message.timer_id, message.redelivered, os.getpid()])
    await client.rpush(f"{notes}:begun", note)
    if body == "wait for the gate":
        while not await client.exists(f"{notes}:gate"):  # noqa: ASYNC110  another process opens it
            await asyncio.sleep(0.01)
    elif body == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif body == "take a while":
        await asyncio.sleep(0.5)
    elif body == "hang":
        await asyncio.Event().wait()
    await client.rpush(f"{notes}:ended", note)


async def handle_batch(bodies: list[str], message: TimerBatchMessage) -> None:
    timers = [(timer.timer_id, timer.redelivered, os.getpid()) for timer in message.timers]
    timer_notes = [json.dumps(timer) for timer in timers]
    await client.rpush(f"{notes}:begun", *timer_notes)
    if "kill" in bodies:
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.sleep(0.05)
    await client.rpush(f"{notes}:ended", *timer_notes)


broker.subscriber("invoices", **options)(handle_batch if options.get("batch") else handle)
