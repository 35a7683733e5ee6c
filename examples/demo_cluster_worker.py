"""The worker of the cluster demo: a FastStream app that prints a line of JSON for each timer.

`make demo CLUSTER=1` runs it as a separate process, as you would run yours:
`faststream run examples.demo_cluster_worker:app`.
"""

import json
import os

from faststream import FastStream

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.annotations import TimerMessage

broker = TimersBroker(os.environ.get("TIMERS_URL", "redis+cluster://localhost:7000"))
app = FastStream(broker)


@broker.subscriber("orders")
@broker.subscriber("trials")
@broker.subscriber("invoices")
async def tell(text: str, message: TimerMessage) -> None:
    note(
        timer_id=message.timer_id,
        topic=message.topic,
        text=text,
        due_at=message.due_at.isoformat(),
        lateness=message.lateness,
    )


@app.after_startup
async def say_ready() -> None:
    note(ready=True)


def note(**facts: object) -> None:
    print(json.dumps(facts), flush=True)
