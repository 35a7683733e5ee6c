"""A timer that recurs: its handler schedules the same id again.

python -m examples.recurring
"""

import asyncio
from datetime import timedelta

from examples.embedded_server import embedded_server
from faststream_redis_timers import TimersBroker, TimersRouter
from faststream_redis_timers.annotations import TimerMessage, TimersBroker as Broker

TOPIC = "example-reports"
INTERVAL = timedelta(seconds=0.5)

router = TimersRouter()
written: asyncio.Queue[str] = asyncio.Queue()


@router.subscriber(TOPIC)
async def write_report(name: str, message: TimerMessage, broker: Broker) -> None:
    # First of all, so that a report that fails does not end the series. The new due time
    # stands: that the running delivery ends well removes only what it was claimed as.
    # Counted from the due time and not from now, the reports keep their rhythm.
    await broker.publish(
        name, topic=TOPIC, timer_id=message.timer_id, activate_at=message.due_at + INTERVAL
    )
    print(f"{name}, due at {message.due_at:%S.%f}"[:-3])
    await written.put(name)


async def main(url: str) -> None:
    broker = TimersBroker(url)
    broker.include_router(router)
    async with broker:
        # Each worker may say this when it starts: a series that is there is kept.
        for _ in range(3):
            await broker.publish(
                "daily report",
                topic=TOPIC,
                timer_id="daily",
                activate_in=INTERVAL,
                if_exists="keep",
            )
        for _ in range(3):
            await asyncio.wait_for(written.get(), timeout=10)

        # Cancelling ends the series. False would mean that the handler runs at this moment,
        # and may schedule the next one after this: then it takes another try.
        while not await broker.cancel_timer(TOPIC, "daily"):  # noqa: ASYNC110  no event tells
            await asyncio.sleep(0.05)
        print("pending:", await broker.count_pending(TOPIC))


if __name__ == "__main__":
    with embedded_server() as url:
        asyncio.run(main(url))
