"""The worker of the demo: a FastStream app whose handler notes in a Redis list what fired.

`make demo` runs it as a process of its own, in the way that you would run yours:
`faststream run examples.demo_worker:app`.
"""

import json
import os

from faststream import FastStream
from redis.asyncio import Redis

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.annotations import TimerMessage

TOPIC = "reminders"
PREFIX = os.environ.get("DEMO_PREFIX", "demo:")
NOTES = "notes"

redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
broker = TimersBroker(redis, prefix=PREFIX)
app = FastStream(broker)


@broker.subscriber(TOPIC)
async def remind(text: str, message: TimerMessage) -> None:
    await note(
        timer_id=message.timer_id,
        text=text,
        due_at=message.due_at.isoformat(),
        lateness=message.lateness,
    )


@app.after_startup
async def say_ready() -> None:
    await note(ready=True)


@app.after_shutdown
async def close_client() -> None:
    # A client that was given to the broker is the caller's to close.
    await redis.aclose()


async def note(**facts: object) -> None:
    await redis.rpush(PREFIX + NOTES, json.dumps(facts))
