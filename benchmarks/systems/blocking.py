"""The blocking client beside redis-py's bare EVALSHA with the same arguments, in turns."""

import time
from datetime import timedelta
from typing import Any

import redis
from harness import Pipe, arguments, make_body

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.encoding import encode_message
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operations import Operations, encode_timer

MONTH = timedelta(days=30)


def measure(url: str, options: dict[str, Any]) -> dict[str, Any]:
    connection = redis.Redis.from_url(url)
    client = TimersClient(connection)
    count = options["count"]
    body = make_body(time.time(), 0)
    operations = Operations(KeySpace())

    def bare() -> float:
        calls = [
            operations.schedule(
                "speed", encode_timer(*encode_message(body), activate_in=MONTH)
            ).words(by_text=False)
            for _ in range(count)
        ]
        started = time.perf_counter()
        for words in calls:
            connection.execute_command(*words)
        return count / (time.perf_counter() - started)

    def schedule() -> float:
        started = time.perf_counter()
        for _ in range(count):
            client.schedule(body, "speed", activate_in=MONTH)
        return count / (time.perf_counter() - started)

    def batch() -> float:
        started = time.perf_counter()
        for _ in range(count // 100):
            client.schedule_batch([body] * 100, "speed", activate_in=MONTH)
        return count / (time.perf_counter() - started)

    client.schedule(body, "speed", activate_in=MONTH)
    turns = [(bare(), schedule(), batch()) for _ in range(options["turns"])]
    connection.close()
    return {
        "bare": [turn[0] for turn in turns],
        "schedule": [turn[1] for turn in turns],
        "batch": [turn[2] for turn in turns],
    }


if __name__ == "__main__":
    _, server, given = arguments()
    pipe = Pipe()
    pipe.say(**measure(server, given))
