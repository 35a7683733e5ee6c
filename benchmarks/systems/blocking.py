"""The blocking client beside redis-py's bare EVALSHA with the same arguments, in turns."""

import time
from datetime import timedelta
from typing import Any

import redis
from harness import MONTH, Pipe, arguments, make_body

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.encoding import encode_message
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.timers import encode_timer

SLICE = 200
"""Calls before it is the other's turn: both see the machine in the same moods."""


def measure(url: str, options: dict[str, Any]) -> dict[str, Any]:
    connection = redis.Redis.from_url(url)
    client = TimersClient(connection)
    body, month = make_body(time.time() + MONTH, 0), timedelta(seconds=MONTH)
    operations = Operations(KeySpace())

    def bare() -> float:
        calls = [
            operations.schedule(
                "speed", encode_timer(*encode_message(body), activate_in=month)
            ).words(by_text=False)
            for _ in range(SLICE)
        ]
        started = time.perf_counter()
        for words in calls:
            connection.execute_command(*words)
        return time.perf_counter() - started

    def schedule() -> float:
        started = time.perf_counter()
        for _ in range(SLICE):
            client.schedule(body, "speed", activate_in=month)
        return time.perf_counter() - started

    def batches(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            client.schedule_batch([body] * 100, "speed", activate_in=month)
        return time.perf_counter() - started

    schedule()
    slices = max(1, options["count"] // SLICE)
    turns = [(bare(), schedule()) for _ in range(slices)]
    batches(10)
    count = options["batches"]
    rates = {
        "bare": slices * SLICE / sum(turn[0] for turn in turns),
        "schedule": slices * SLICE / sum(turn[1] for turn in turns),
        "batch": 100 * count / batches(count),
    }
    connection.close()
    return rates


if __name__ == "__main__":
    _, server, given = arguments()
    pipe = Pipe()
    pipe.say(**measure(server, given))
