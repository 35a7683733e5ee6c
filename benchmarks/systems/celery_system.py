"""Celery: `countdown` is held in the worker's memory. Its pool is of threads here.

The default pool forks, and forks can't record into one process.
"""

import os
import threading
import time
from typing import Any

from celery import Celery
from harness import Pipe, Recorder, arguments, make_body, paced

role, server, given = arguments()
recorder = Recorder()
app = Celery("bench", broker=server)
app.conf.update(
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=0,  # its best for many timers: all are in memory
)


@app.task(name="handle")
def handle(body: dict[str, Any]) -> None:
    recorder.record(body)


def work(options: dict[str, Any]) -> None:
    pipe = Pipe()
    begin = threading.Event()

    def stop() -> None:
        os._exit(0)

    threading.Thread(target=pipe.serve, args=(recorder, begin.set, stop), daemon=True).start()
    begin.wait()
    app.worker_main(
        [
            "worker",
            "--pool=threads",
            f"--concurrency={options.get('concurrency') or 4}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=ERROR",
        ]
    )


def produce(options: dict[str, Any]) -> dict[str, Any]:
    delay = options.get("delay", 0.0)
    for number, moment in paced(options["count"], options.get("rate", 1e9)):
        if options["action"] == "paced":
            time.sleep(max(0.0, moment - time.time()))
        body = make_body(time.time() + delay, number)
        handle.apply_async((body,), countdown=delay or None)
    return {"count": options["count"]}


if __name__ == "__main__":
    if role == "worker":
        work(given)
    else:
        pipe = Pipe()
        pipe.say(**produce(given))
