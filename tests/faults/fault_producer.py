"""A producer in a process of its own: schedules, moves and cancels, and notes the answers.

It ends when it has scheduled its share, or when it is terminated.
"""

import asyncio
import json
import os
import random
import signal
import time
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from journal import Journal
from reach import asyncio_client, blocking_client
from redis.exceptions import RedisError

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient, TimersError

settings = json.loads(os.environ["FAULT_SETTINGS"])
journal = Journal(Path(settings["journal"]))
name: str = settings["name"]
# Each producer of a run draws its own.
dice = random.Random(name)
ended: list[int] = []


class BlockingFront:
    """`TimersClient`, behind the awaits of the other front end."""

    def __init__(self) -> None:
        self._client = TimersClient(
            blocking_client(settings["target"]), **settings.get("options", {})
        )

    async def schedule(self, *args: Any, **kwargs: Any) -> None:
        self._client.schedule(*args, **kwargs)

    async def move(self, *args: Any, **kwargs: Any) -> bool:
        return self._client.reschedule_timer(*args, **kwargs)

    async def cancel(self, *args: Any) -> bool:
        return self._client.cancel_timer(*args)


class AsyncFront:
    """`TimersBroker`."""

    def __init__(self) -> None:
        self._broker = TimersBroker(
            asyncio_client(settings["target"]), **settings.get("options", {})
        )

    async def schedule(self, *args: Any, **kwargs: Any) -> None:
        await self._broker.connect()
        await self._broker.publish(*args, **kwargs)

    async def move(self, *args: Any, **kwargs: Any) -> bool:
        return await self._broker.reschedule_timer(*args, **kwargs)

    async def cancel(self, *args: Any) -> bool:
        return await self._broker.cancel_timer(*args)


async def schedule(front: Any, topic: str, timer_id: str) -> bool:
    """Schedule a timer, again under its id until it is accepted; return whether it was."""
    delay = timedelta(seconds=dice.uniform(0, settings.get("longest_delay", 1.0)))
    body = dice.choice(settings.get("bodies", ["work 0.01"]))
    while not ended:
        journal.note("scheduling", id=timer_id, delay=delay.total_seconds())
        try:
            await front.schedule(body, topic, timer_id=timer_id, activate_in=delay)
        except TimersError as error:
            # The reply was lost, or not enough replicas have it: maybe it was scheduled.
            journal.note("unknown", id=timer_id, error=f"{type(error).__name__}: {error}")
        except (RedisError, OSError) as error:
            journal.note("refused", id=timer_id, error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.02)
        else:
            journal.note("accepted", id=timer_id, topic=topic, delay=delay.total_seconds())
            return True
    return False


async def move(front: Any, topic: str, timer_id: str) -> None:
    journal.note("moving", id=timer_id)
    try:
        delay = timedelta(seconds=dice.uniform(0, 1))
        existed = await front.move(topic, timer_id, activate_in=delay)
    except (TimersError, RedisError, OSError):
        return
    journal.note("moved" if existed else "was not there", id=timer_id)


async def cancel(front: Any, topic: str, timer_id: str) -> None:
    journal.note("cancelling", id=timer_id)
    try:
        waited = await front.cancel(topic, timer_id)
    except (TimersError, RedisError, OSError):
        return
    journal.note("cancelled_waiting" if waited else "cancelled_running", id=timer_id)


async def main() -> None:
    front = BlockingFront() if settings["front"] == "blocking" else AsyncFront()
    most = settings.get("count")
    for number in count() if most is None else range(most):
        timer_id = f"{name}-{number}"
        topic = dice.choice(settings["topics"])
        if ended or not await schedule(front, topic, timer_id):
            break
        chance = dice.random()
        if chance < settings.get("moves", 0.0):
            await move(front, topic, timer_id)
        elif chance > 1 - settings.get("cancels", 0.0):
            await cancel(front, topic, timer_id)
        await asyncio.sleep(settings.get("pause", 0.01))
    journal.note("produced", date=time.time())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    asyncio.run(main())
