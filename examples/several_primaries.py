"""Two servers without a cluster: a broker for each, and a table of topics and their servers.

A Redis Cluster spreads topics by itself: see docs/how-to/redis-cluster.md.

python -m examples.several_primaries
"""

import asyncio
from contextlib import ExitStack
from datetime import timedelta

from faststream import FastStream

from examples.embedded_server import embedded_server
from faststream_redis_timers import TimersBroker, TimersRouter

# All processes share this table, workers and producers. To move a topic, run workers for both
# primaries until the timers that are pending on the old one have fired.
HOMES = {
    "example-invoices": "billing",
    "example-receipts": "billing",
    "example-trials": "accounts",
}

# A router for each primary. Its handlers need not know where that primary is.
billing = TimersRouter()
accounts = TimersRouter()
fired: asyncio.Queue[str] = asyncio.Queue()


@billing.subscriber("example-invoices")
async def remind(number: str) -> None:
    await fired.put(f"billing: {number} is due")


@billing.subscriber("example-receipts")
async def file_receipt(number: str) -> None:
    await fired.put(f"billing: {number} is filed")


@accounts.subscriber("example-trials")
async def end_trial(user: str) -> None:
    await fired.put(f"accounts: the trial of {user} ends")


async def main(billing_url: str, accounts_url: str) -> None:
    brokers = {"billing": TimersBroker(billing_url), "accounts": TimersBroker(accounts_url)}
    brokers["billing"].include_router(billing)
    brokers["accounts"].include_router(accounts)

    # One app runs both brokers. A worker for one primary has only its broker.
    app = FastStream(*brokers.values(), logger=None)

    @app.after_startup
    async def schedule() -> None:
        for message, topic in (
            ("INV-001", "example-invoices"),
            ("RCP-001", "example-receipts"),
            ("ada", "example-trials"),
        ):
            home = brokers[HOMES[topic]]
            await home.publish(message, topic=topic, activate_in=timedelta(seconds=1))
        for name, broker in brokers.items():
            topics = [topic for topic in HOMES if await broker.count_pending(topic)]
            print(f"{name} holds timers of {', '.join(topics)}")

    running = asyncio.create_task(app.run())
    for _ in HOMES:
        print(await asyncio.wait_for(fired.get(), timeout=10))
    app.exit()
    await running


if __name__ == "__main__":
    with ExitStack() as stack:
        # Starts two servers, whatever REDIS_URL says.
        urls = [stack.enter_context(embedded_server(config={})) for _ in range(2)]
        asyncio.run(main(*urls))
