"""Declared series, and what a deploy of the next version does to them.

python -m examples.declared_series
"""

import asyncio

from examples.embedded_server import embedded_server
from faststream_redis_timers import Cron, Every, TimersBroker, TimersRouter

OWNER = "example-shop"
DAILY = Cron("0 9 * * MON-FRI", tz="Europe/Berlin")


def make_first_version(url: str) -> TimersBroker:
    broker = TimersBroker(url, series_owner=OWNER)

    # Usually in the handlers' module, with their router: its prefix comes before the topic.
    router = TimersRouter(prefix="example-shop:")
    router.add_series("daily report", "reports", timer_id="daily", repeat=DAILY)
    router.add_series("ECB", "rates", timer_id="rates", repeat=Every(hours=1))
    broker.include_router(router)
    return broker


def make_second_version(url: str) -> TimersBroker:
    broker = TimersBroker(url, series_owner=OWNER)
    router = TimersRouter(prefix="example-shop:")
    # A new message with the same times: the next report stays due when it was.
    router.add_series("daily report, with totals", "reports", timer_id="daily", repeat=DAILY)
    # Rates are no longer declared, and stock is new.
    router.add_series("stock", "stock", timer_id="stock", repeat=Every(minutes=15))
    broker.include_router(router)
    return broker


async def start_worker(broker: TimersBroker) -> None:
    await broker.start()
    async for timer in broker.iter_timers("example-shop:reports"):
        print(f"  {timer.decode()!r} is due at {timer.due_at.isoformat()}")
    # In a rolling deploy it runs until workers of the next version are there.
    await broker.stop()


async def prune(broker: TimersBroker) -> None:
    # connect() delivers nothing: only start() does.
    await broker.connect()
    ensured = await broker.ensure_series(prune=True)
    print(f"  unchanged: {ensured.unchanged}")
    print(f"  pruned: {ensured.removed}")
    await broker.stop()


async def main(url: str) -> None:
    print("a worker of the first version starts:")
    await start_worker(make_first_version(url))

    print("a worker of the second version starts:")
    # Its log says that a series is no longer declared. That series stays, because workers of
    # the first version may need it.
    await start_worker(make_second_version(url))

    print("the last step of the deploy, once they are gone:")
    await prune(make_second_version(url))

    print("the application is given up:")
    await prune(TimersBroker(url, series_owner=OWNER))


if __name__ == "__main__":
    with embedded_server() as url:
        asyncio.run(main(url))
