"""The worker behind the demo's web pages: topics of a shop, one of which always fails.

`make demo WEB=1` runs it as a separate process, as you would run yours:
`faststream run examples.demo_web_worker:app`.
"""

import asyncio
import os

from faststream import FastStream

from faststream_redis_timers import RetryPolicy, TimersBroker

broker = TimersBroker(
    os.environ.get("REDIS_URL", "redis://localhost:6379"),
    prefix=os.environ.get("DEMO_PREFIX", ""),
)
app = FastStream(broker)


class CardDeclinedError(Exception):
    """Raised for each payment of the demo."""


@broker.subscriber("invoices")
@broker.subscriber("trials")
@broker.subscriber("reports")
async def do(what: dict[str, str]) -> None:
    print(what, flush=True)


@broker.subscriber("exports", renew_lease=True)
async def export(what: dict[str, str]) -> None:
    # Long enough to inspect; the lease is extended meanwhile.
    await asyncio.sleep(600)
    print(what, flush=True)


@broker.subscriber(
    "payments", retry_policy=RetryPolicy(max_attempts=1), dead_letter_topic="payments:dead"
)
async def charge(what: dict[str, str]) -> None:
    msg = f"the card of {what['customer']} was declined"
    raise CardDeclinedError(msg)
