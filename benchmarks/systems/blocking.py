"""The blocking client beside redis-py's bare EVALSHA with the same arguments, in turns."""

import time
from collections.abc import Callable, Sequence
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

    def bare() -> dict[str, float]:
        calls = [
            operations.schedule(
                "speed", encode_timer(*encode_message(body), activate_in=month)
            ).words(by_text=False)
            for _ in range(SLICE)
        ]

        def send() -> None:
            for words in calls:
                connection.execute_command(*words)

        return timed(connection, send, SLICE)

    def schedule() -> dict[str, float]:
        def send() -> None:
            for _ in range(SLICE):
                client.schedule(body, "speed", activate_in=month)

        return timed(connection, send, SLICE)

    def batches(count: int) -> dict[str, float]:
        def send() -> None:
            for _ in range(count):
                client.schedule_batch([body] * 100, "speed", activate_in=month)

        return timed(connection, send, 100 * count)

    schedule()
    slices = max(1, options["count"] // SLICE)
    turns = [(bare(), schedule()) for _ in range(slices)]
    batches(10)
    told = {
        "bare": total([turn[0] for turn in turns]),
        "schedule": total([turn[1] for turn in turns]),
        "batch": batches(options["batches"]),
    }
    connection.close()
    return told


def timed(connection: "redis.Redis", work: Callable[[], None], count: int) -> dict[str, float]:
    server, client, started = server_cpu(connection), time.process_time(), time.perf_counter()
    work()
    return {
        "count": count,
        "seconds": time.perf_counter() - started,
        "client": time.process_time() - client,
        "server": server_cpu(connection) - server,
    }


def server_cpu(connection: "redis.Redis") -> float:
    info = connection.info("cpu")
    return float(info["used_cpu_sys"] + info["used_cpu_user"])


def total(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(run[name] for run in runs) for name in runs[0]}


if __name__ == "__main__":
    _, server, given = arguments()
    pipe = Pipe()
    pipe.say(**measure(server, given))
