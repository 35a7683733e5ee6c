"""A recurring timer: schedule it once, and it becomes due again after each occurrence.

python -m examples.recurring
"""

import asyncio
from datetime import timedelta

from examples.embedded_server import embedded_server
from faststream_redis_timers import Cron, Every, TimersBroker, TimersRouter
from faststream_redis_timers.annotations import TimerMessage

TOPIC = "example-reports"
EVERY_SECOND = Every(seconds=1)
DAILY = Cron("0 9 * * MON-FRI", tz="Europe/Berlin")

router = TimersRouter()
written: asyncio.Queue[str] = asyncio.Queue()


@router.subscriber(TOPIC)
async def write_report(name: str, message: TimerMessage) -> None:
    # The time that this occurrence is for, even if it runs late or twice.
    print(f"{name} of {message.occurrence:%d %b %Y %H:%M:%S} ({message.repeat})")
    await written.put(name)


async def main(url: str) -> None:
    broker = TimersBroker(url)
    broker.include_router(router)
    async with broker:
        # Each worker can do this when it starts. If the series exists with the same
        # definition, only its message is replaced: the next report stays due when it was.
        for _ in range(3):
            await broker.publish("report", topic=TOPIC, timer_id="report", repeat=EVERY_SECOND)
        for _ in range(3):
            await asyncio.wait_for(written.get(), timeout=10)

        # With a new definition the series follows that from now on.
        await broker.publish("daily report", topic=TOPIC, timer_id="report", repeat=DAILY)

        # Run it now, in addition to its times.
        await broker.reschedule_timer(TOPIC, "report", activate_in=timedelta(0))
        while await asyncio.wait_for(written.get(), timeout=10) != "daily report":
            pass

        await broker.pause_timer(TOPIC, "report")
        print("paused:", await broker.resume_timer(TOPIC, "report"))

        # This ends the series, even while its handler runs.
        await broker.cancel_timer(TOPIC, "report")
        print("pending:", await broker.count_pending(TOPIC))


if __name__ == "__main__":
    with embedded_server() as url:
        asyncio.run(main(url))
