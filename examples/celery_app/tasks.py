"""The Celery app: tasks that accept orders, settle them, and cancel those that stay unpaid.

Run it alone: `REDIS_URL=redis://localhost:6379 celery -A examples.celery_app.tasks worker`.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import cache

from celery import Celery

from faststream_redis_timers_sync import TimersClient

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")
# Celery has its own URL scheme for Unix sockets.
BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1)
DATABASE = os.environ.get("SHOP_DATABASE", "shop.sqlite3")

TOPIC = "orders:unpaid"
PATIENCE = timedelta(minutes=30)

app = Celery("shop", broker=BROKER_URL)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@cache
def timers() -> TimersClient:
    """Return the client of this process: its first task makes it, after the pool has forked."""
    return TimersClient(REDIS_URL)


# With acks_late Celery repeats a task whose worker died: the same id replaces the timer.
@app.task(name="shop.accept", acks_late=True)
def accept(order: str, patience: float = PATIENCE.total_seconds()) -> None:
    """Accept an order, to be paid within `patience` seconds."""
    with database() as connection:
        connection.execute("INSERT OR IGNORE INTO orders VALUES (?, 'unpaid')", [order])
    # Instead of give_up.apply_async([order], countdown=patience).
    timers().schedule(order, TOPIC, timer_id=order, activate_in=timedelta(seconds=patience))
    print(f"{order} is accepted")


@app.task(name="shop.pay", acks_late=True)
def pay(order: str) -> None:
    if settle(order, "paid"):
        print(f"{order} is paid")
    timers().cancel_timer(TOPIC, order)


@app.task(name="shop.give_up", acks_late=True)
def give_up(order: str) -> None:
    # The task can be sent twice, so the state of the order decides.
    if settle(order, "cancelled"):
        print(f"{order} is cancelled: nobody paid")
    else:
        print(f"{order} was settled before")


def settle(order: str, state: str) -> bool:
    """Settle an unpaid order; return whether it was unpaid."""
    with database() as connection:
        query = "UPDATE orders SET state = ? WHERE id = ? AND state = 'unpaid'"
        return connection.execute(query, [state, order]).rowcount == 1


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """Open a transaction in the database, which stands for yours."""
    with closing(sqlite3.connect(DATABASE)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, state TEXT)")
        yield connection
