"""The worker of the demo: a FastStream app whose handler notes each timer in a Redis list.

`make demo` runs it as a separate process, as you would run yours:
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
    # The broker does not close a client that you pass.
    await redis.aclose()


async def note(**facts: object) -> None:
    await redis.rpush(PREFIX + NOTES, json.dumps(facts))
