"""Batches: one call of a handler for many timers, with outcomes for some of them.

python -m examples.batches
"""

import asyncio
from datetime import timedelta

from examples.embedded_server import embedded_server
from faststream_redis_timers import RetryPolicy, TimersBroker
from faststream_redis_timers.annotations import TimerBatchMessage

TOPIC = "example-offers"
OFFERS = 250
UNKNOWN = 13


async def main(url: str) -> None:
    broker = TimersBroker(
        url,
        retry_policy=RetryPolicy(max_attempts=2, delay=timedelta(seconds=0.2)),
        dead_letter_topic="{topic}:dead",
        logger=None,
    )
    expired: set[int] = set()

    # Two batches at a time: one is claimed while the other waits for the database.
    @broker.subscriber(TOPIC, batch=True, max_concurrent=2)
    async def expire(offers: list[int], message: TimerBatchMessage) -> None:
        if not message.is_split:
            print(f"{len(offers)} offers have expired")
        for offer, timer in zip(offers, message.timers, strict=True):
            # A mark settles one timer; all others are committed.
            if offer == UNKNOWN:
                await timer.reject()
        # Stands for one UPDATE ... WHERE id = ANY(...).
        expired.update(offer for offer in offers if offer != UNKNOWN)

    async with broker:
        for start in range(0, OFFERS, 50):
            offers = range(start, start + 50)
            await broker.publish_batch(*offers, topic=TOPIC, activate_in=timedelta(seconds=0.5))
        while await broker.count_pending(TOPIC):  # noqa: ASYNC110  no event to wait for
            await asyncio.sleep(0.05)
        print(f"{len(expired)} offers in all")
        async for dead_letter in broker.iter_timers(f"{TOPIC}:dead"):
            print(f"dead-lettered: offer {dead_letter.decode()}")


if __name__ == "__main__":
    with embedded_server() as url:
        asyncio.run(main(url))
