"""The bridge, a FastStream worker: sends a Celery task when a timer is due.

Run it alone: `REDIS_URL=redis://localhost:6379 faststream run examples.celery_app.bridge:app`.
"""

import os

from celery import Celery
from faststream import FastStream

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.annotations import TimerMessage

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

# Tasks are sent by name, so their code need not be here.
celery = Celery("bridge", broker=REDIS_URL.replace("unix://", "redis+socket://", 1))
# Seconds; without them a silent Celery broker blocks the handler forever.
celery.conf.broker_transport_options = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}

broker = TimersBroker(REDIS_URL)
app = FastStream(broker)


# A plain def, which runs in a thread: send_task blocks.
@broker.subscriber("orders:unpaid")
def give_up(order: str, message: TimerMessage) -> None:
    # If this raises, the timer is retried. If the worker dies after it, the timer is redelivered:
    # then the task is sent twice, and has the same id, which is the timer's.
    celery.send_task("shop.give_up", [order], task_id=message.timer_id)
