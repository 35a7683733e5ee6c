"""Limited retries, dead letters, and how to redrive them.

python -m examples.retries
"""

import asyncio
from datetime import timedelta

from examples.embedded_server import embedded_server
from faststream_redis_timers import RetryPolicy, TimersBroker
from faststream_redis_timers.annotations import TimerMessage

TOPIC = "example-payments"

# Three attempts in all: the second after about 0.2 s, the third about 0.4 s later.
POLICY = RetryPolicy(max_attempts=3, delay=timedelta(seconds=0.2))


async def main(url: str) -> None:
    # For all subscribers of the broker; each can have its own.
    broker = TimersBroker(url, retry_policy=POLICY, dead_letter_topic="{topic}:dead", logger=None)
    is_down = asyncio.Event()
    is_down.set()
    charged = asyncio.Event()

    @broker.subscriber(TOPIC)
    async def charge(order: str, message: TimerMessage) -> None:
        print(f"attempt {message.attempt}: charging for {order}")
        if is_down.is_set():
            raise ConnectionError
        charged.set()

    async with broker:
        await broker.publish("order 7", topic=TOPIC, timer_id="7")
        while not await broker.count_pending(f"{TOPIC}:dead"):  # noqa: ASYNC110  no event to wait for
            await asyncio.sleep(0.05)

        async for dead_letter in broker.iter_timers(f"{TOPIC}:dead"):
            headers = dead_letter.headers
            print(
                f"dead-lettered: {dead_letter.decode()} (timer {headers['dead-letter-timer-id']}), "
                f"{headers['dead-letter-attempts']} attempts, {headers['dead-letter-error']}"
            )

        is_down.clear()
        print("redriven:", await broker.redrive(f"{TOPIC}:dead"))
        await charged.wait()


if __name__ == "__main__":
    with embedded_server() as url:
        asyncio.run(main(url))
