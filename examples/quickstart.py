"""A worker whose handler is called when a timer is due.

With a server at REDIS_URL (or at localhost:6379):

    faststream run examples.quickstart:app

Without one, on a server that runs as long as this program:

    python -m examples.quickstart
"""

import os
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta

from faststream import FastStream

from examples.embedded_server import embedded_server
from faststream_redis_timers import TimersBroker

broker = TimersBroker(os.environ.get("REDIS_URL", "redis://localhost:6379"))
app = FastStream(broker)


@broker.subscriber("example-invoices")
async def remind(number: str) -> None:
    print(f"{number} is due", flush=True)


# Usually another program schedules: see blocking_producer.py.
@app.after_startup
async def schedule_one() -> None:
    delay = timedelta(seconds=1)
    timer_id = await broker.publish("INV-001", topic="example-invoices", activate_in=delay)
    print(f"INV-001 is scheduled as timer {timer_id}, due in 1 s", flush=True)


if __name__ == "__main__":
    with embedded_server() as url, suppress(KeyboardInterrupt):
        subprocess.run(
            [sys.executable, "-m", "faststream", "run", "examples.quickstart:app"],
            env={**os.environ, "REDIS_URL": url},
            check=True,
        )
