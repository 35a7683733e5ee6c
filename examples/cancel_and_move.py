"""Cancel timers, reschedule them, and inspect pending ones.

python -m examples.cancel_and_move
"""

import asyncio
from datetime import timedelta

from examples.embedded_server import embedded_server
from faststream_redis_timers import TimerExistsError, TimersBroker, TimersRouter

TOPIC = "example-trials"

router = TimersRouter()
fired: asyncio.Queue[str] = asyncio.Queue()


@router.subscriber(TOPIC)
async def end_trial(user: str) -> None:
    print(f"fired: the trial of {user} ends")
    await fired.put(user)


async def main(url: str) -> None:
    broker = TimersBroker(url)
    broker.include_router(router)
    async with broker:
        month = timedelta(days=30)
        for user in ("ada", "bob", "cyd"):
            await broker.publish(user, topic=TOPIC, timer_id=f"trial:{user}", activate_in=month)

        # Ada has paid. True: the timer was waiting, and no worker will claim it.
        print("cancelled ada:", await broker.cancel_timer(TOPIC, "trial:ada"))
        # False: there is no such timer (or its handler is running).
        print("cancelled ada again:", await broker.cancel_timer(TOPIC, "trial:ada"))

        # Bob gets another month, Cyd's trial ends now. False would mean that there is no timer.
        print(
            "moved bob:", await broker.reschedule_timer(TOPIC, "trial:bob", activate_in=2 * month)
        )
        print(
            "moved cyd:", await broker.reschedule_timer(TOPIC, "trial:cyd", activate_in=0 * month)
        )
        await asyncio.wait_for(fired.get(), timeout=10)

        # A new timer replaces a waiting timer with its id, unless if_exists says otherwise.
        try:
            await broker.publish("bob", topic=TOPIC, timer_id="trial:bob", if_exists="error")
        except TimerExistsError as error:
            print("refused:", error)

        if timer := await broker.get_timer(TOPIC, "trial:bob"):
            print(f"bob's is due on {timer.due_at:%Y-%m-%d}, its body is {timer.decode()!r}")
        print("pending:", await broker.get_pending_timers(TOPIC))
        print("cancelled all:", await broker.cancel_all(TOPIC))


if __name__ == "__main__":
    with embedded_server() as url:
        asyncio.run(main(url))
