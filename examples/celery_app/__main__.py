"""Starts a Redis server, a Celery worker and the bridge, until Ctrl+C, and sends some tasks.

`python -m examples.celery_app`. If REDIS_URL is set, that server is used.
"""

import os
import signal
import sys
import tempfile
import time
from contextlib import suppress

from examples.embedded_server import embedded_server
from examples.processes import running

# Two processes, made by fork; the other options make it start faster.
PYTHON = (sys.executable, "-m")
CELERY = (*PYTHON, "celery", "-A", "examples.celery_app.tasks", "worker", "--pool", "prefork")
OPTIONS = ("--concurrency", "2", "--loglevel", "INFO", "--without-mingle", "--without-gossip")
BRIDGE = (*PYTHON, "faststream", "run", "examples.celery_app.bridge:app")


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        embedded_server() as url,
        tempfile.TemporaryDirectory(prefix="shop-") as folder,
    ):
        database = f"{folder}/shop.sqlite3"
        os.environ.update(REDIS_URL=url, SHOP_DATABASE=database)
        with running(*CELERY, *OPTIONS) as worker, running(*BRIDGE) as bridge:
            send_tasks()
            show(url, database)
            while worker.poll() is None and bridge.poll() is None:
                time.sleep(0.1)
            sys.exit("the Celery worker or the bridge has ended: see above")


def send_tasks() -> None:
    # The module reads the environment when it is imported.
    from examples.celery_app.tasks import accept, pay  # noqa: PLC0415

    accept.delay("ORD-1", 3)
    (accept.si("ORD-2", 3) | pay.si("ORD-2")).delay()


def show(url: str, database: str) -> None:
    print(
        f"""
ORD-1 and ORD-2 are to be paid within 3 seconds. Try, in another terminal:

  export REDIS_URL={url} SHOP_DATABASE={database}
  celery -A examples.celery_app.tasks call shop.accept --args '["ORD-3"]'
  faststream-redis-timers --redis-url $REDIS_URL list orders:unpaid
  faststream-redis-timers --redis-url $REDIS_URL run-now orders:unpaid ORD-3

Ctrl+C stops all.
""",
        flush=True,
    )


if __name__ == "__main__":
    main()
