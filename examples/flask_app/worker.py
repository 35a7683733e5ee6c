"""The worker, a FastStream app: ends trials that are due, and counts the others daily.

Run it alone: `REDIS_URL=redis://localhost:6379 faststream run examples.flask_app.worker:app`.
"""

import os

from faststream import FastStream

from faststream_redis_timers import TimersBroker

broker = TimersBroker(os.environ.get("REDIS_URL", "redis://localhost:6379"))
app = FastStream(broker)


@broker.subscriber("trials")
async def end_trial(user: str) -> None:
    # Delivery is at least once: ask your database whether the trial has ended already.
    print(f"The trial of {user} has ended", flush=True)


@broker.subscriber("trial-counts")
async def count_trials(_: str) -> None:
    print(f"Trials that go on: {await broker.count_pending('trials')}", flush=True)
