"""Routers: handlers in separate modules, under prefixes.

python -m examples.routers
"""

import asyncio
from datetime import timedelta

from examples.embedded_server import embedded_server
from faststream_redis_timers import (
    TimersBroker,
    TimersRoute,
    TimersRoutePublisher,
    TimersRouter,
)
from faststream_redis_timers.annotations import TimerMessage

finished = asyncio.Event()

# A router's prefix comes before the topics of all its handlers.
reminders = TimersRouter(prefix="reminders:")
last_reminders = reminders.publisher("last")


@reminders.subscriber("first")
async def remind(number: str, message: TimerMessage) -> None:
    print(f"{message.topic}: {number} is due")
    await last_reminders.publish(number, activate_in=timedelta(seconds=0.2))


async def remind_again(number: str, message: TimerMessage) -> str:
    print(f"{message.topic}: {number} is overdue")
    return number


async def collect(number: str, message: TimerMessage) -> None:
    print(f"{message.topic}: {number} goes to court")
    finished.set()


# You can also list handlers instead of decorating them: they stay plain functions.
escalation = TimersRouter(
    handlers=[
        TimersRoute(
            remind_again,
            "reminders:last",
            # Its result becomes a timer on this topic, after this delay.
            publishers=[TimersRoutePublisher("court", activate_in=timedelta(seconds=0.2))],
        ),
        TimersRoute(collect, "court"),
    ]
)

# Routers can contain routers: their prefixes are joined.
billing = TimersRouter(prefix="example-billing:")
billing.include_router(reminders)
billing.include_router(escalation)


async def main(url: str) -> None:
    broker = TimersBroker(url)
    broker.include_router(billing)
    async with broker:
        # At the broker, use the topic with its prefixes.
        await broker.publish("INV-001", topic="example-billing:reminders:first")
        await asyncio.wait_for(finished.wait(), timeout=10)


if __name__ == "__main__":
    with embedded_server() as url:
        asyncio.run(main(url))
