"""What calls cost inside a server, in microseconds of its CPU time: a run of `benchmarks.calls`.

It takes the packages that PYTHONPATH names, so that another commit's can be measured too. Commands
are written beforehand and sent many at a time; the server's main thread alone is counted.
"""

import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count as count_from
from typing import Any

import redis
from harness import Pipe, arguments, make_body

from faststream_redis_timers_sync.protocol.encoding import encode_message
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.model import EncodedTimer, Settlement
from faststream_redis_timers_sync.protocol.operation import Operation, pack_words
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.steps import LEASE_JITTER
from faststream_redis_timers_sync.protocol.timers import encode_timer

AT_ONCE = 100
"""Calls on their way at a time."""

MOST = 100
"""Timers in a call of many."""

OTHERS = 1000
"""Timers that wait, so that no key is empty."""

_OPERATIONS = Operations(KeySpace())
_TOPIC = "calls"
_KEYS = _OPERATIONS.keys.of(_TOPIC)
_HOUR = timedelta(hours=1)


class Server:
    """The server.

    Args:
        url: Where it is.
    """

    def __init__(self, url: str) -> None:
        """Connect."""
        self.client = redis.Redis.from_url(url)
        self.connection = self.client.connection_pool.get_connection()

    def ask(self, operation: Operation[Any]) -> Any:
        """Send a call, and give its result."""
        (reply,) = self.send([operation.pack(by_text=True)[0]])
        return operation.parse(reply)

    def send(self, packed: list[bytes], replies: int = 1) -> list[Any]:
        """Send calls, many at a time.

        Args:
            packed: The calls.
            replies: How many replies each has.
        """
        told: list[Any] = []
        for start in range(0, len(packed), AT_ONCE):
            some = packed[start : start + AT_ONCE]
            self.connection.send_packed_command([b"".join(some)])
            told += [self.connection.read_response() for _ in range(replies * len(some))]
        return told

    def cpu(self) -> float:
        """Give the seconds of CPU time that its main thread has used."""
        info = self.client.info("cpu")
        return float(info["used_cpu_sys_main_thread"] + info["used_cpu_user_main_thread"])


def _timers(count: int, due: timedelta) -> list[EncodedTimer]:
    body, content_type = encode_message(make_body(time.time(), 0))
    return [
        encode_timer(body, content_type, timer_id=f"timer-{n:016}", activate_in=due)
        for n in range(count)
    ]


def _fill(server: Server, count: int, due: timedelta) -> list[EncodedTimer]:
    timers = _timers(count, due)
    for operation in _OPERATIONS.schedule_calls(_TOPIC, timers):
        server.ask(operation)
    return timers


# --- the library's calls


def _schedule(_: Server, calls: int, size: int) -> Iterator[Operation[Any]]:
    timers = _timers(calls * size, _HOUR)
    for start in range(0, len(timers), size):
        yield from _OPERATIONS.schedule_calls(_TOPIC, timers[start : start + size])


def _reschedule(server: Server, calls: int, _: int) -> Iterator[Operation[Any]]:
    for timer in _fill(server, calls, _HOUR):
        yield _OPERATIONS.reschedule(
            _TOPIC, timer.timer_id, activate_in=2 * _HOUR, activate_at=None
        )


def _cancel(server: Server, calls: int, _: int) -> Iterator[Operation[Any]]:
    for timer in _fill(server, calls, _HOUR):
        yield _OPERATIONS.cancel(_TOPIC, timer.timer_id)


def _step(
    settlements: list[Settlement], limit: int, number: int, *, counts: bool
) -> Operation[Any]:
    return _OPERATIONS.settle_and_claim(
        _TOPIC,
        settlements,
        limit=limit,
        lease_ttl=3600.0,
        jitter=number % LEASE_JITTER,
        suspect_from=3 if counts else None,
        # As in a fleet whose workers on duty are there: workers are counted, and nobody is called.
        call=b"0 0 0 0 0.0" if limit else b"",
    )


def _claim(*, counts: bool) -> Callable[[Server, int, int], Iterator[Operation[Any]]]:
    def prepare(server: Server, calls: int, size: int) -> Iterator[Operation[Any]]:
        _fill(server, calls * size, timedelta(0))
        for number in range(calls):
            yield _step([], size, number, counts=counts)

    return prepare


def _commit(*, counts: bool) -> Callable[[Server, int, int], Iterator[Operation[Any]]]:
    def prepare(server: Server, calls: int, size: int) -> Iterator[Operation[Any]]:
        _fill(server, calls * size, timedelta(0))
        held: list[Settlement] = []
        for number in count_from():
            step = server.ask(_step([], MOST, number, counts=counts))
            if not step.claimed:
                break
            held += [Settlement(b"commit", one.timer_id, step.lease, b"") for one in step.claimed]
        for number in range(calls):
            some = held[number * size : (number + 1) * size]
            yield _step(some, 0, 0, counts=counts)

    return prepare


# --- what their commands alone cost

_LEAST = {
    "EVALSHA: return 1": "return 1",
    "EVALSHA: ZADD, HSET": """
        redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
        redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
        return 1""",
    "EVALSHA: ZADD, HSET, HDEL, head, TIME": """
        redis.call('TIME')
        redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
        redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
        redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
        redis.call('HDEL', ARGV[4], ARGV[2])
        return 1""",
}
_MULTI = "MULTI: ZADD, HSET, EXEC"


def _least(server: Server, name: str, calls: int) -> list[bytes]:
    timers = _timers(calls, _HOUR)
    score = b"%d.000000" % (time.time() + 3600)
    if name == _MULTI:
        return [
            pack_words([b"MULTI"])
            + pack_words([b"ZADD", _KEYS.timeline, score, timer.timer_id.encode()])
            + pack_words([b"HSET", _KEYS.payloads, timer.timer_id.encode(), timer.payload])
            + pack_words([b"EXEC"])
            for timer in timers
        ]
    head = (b"EVALSHA", server.client.script_load(_LEAST[name]).encode(), b"2", *_KEYS[:2])
    return [
        pack_words((*head, score, timer.timer_id.encode(), timer.payload, _KEYS.attempts))
        for timer in timers
    ]


_OURS: dict[str, tuple[Callable[[Server, int, int], Iterator[Operation[Any]]], int]] = {
    "schedule": (_schedule, 1),
    f"schedule of {MOST}": (_schedule, MOST),
    "reschedule": (_reschedule, 1),
    "cancel": (_cancel, 1),
    "claim of 1": (_claim(counts=False), 1),
    f"claim of {MOST}": (_claim(counts=False), MOST),
    "commit of 1": (_commit(counts=False), 1),
    f"commit of {MOST}": (_commit(counts=False), MOST),
    "claim of 1, attempts counted": (_claim(counts=True), 1),
    f"claim of {MOST}, attempts counted": (_claim(counts=True), MOST),
    "commit of 1, attempts counted": (_commit(counts=True), 1),
    f"commit of {MOST}, attempts counted": (_commit(counts=True), MOST),
}


def weigh(server: Server, name: str, count: int) -> float:
    """Give what a call costs, in microseconds.

    Args:
        server: The server, which is emptied.
        name: Which call.
        count: How many of them; of a call of many a tenth as many.
    """
    server.client.execute_command("FLUSHALL", "SYNC")
    for timer in _OPERATIONS.schedule_calls(_TOPIC, _others()):
        server.ask(timer)
    if name in _OURS:
        prepare, size = _OURS[name]
        calls = count if size == 1 else max(1, count // 10)
        operations = list(prepare(server, calls, size))
        server.client.script_load(operations[0].script.text)
        packed = [operation.pack()[0] for operation in operations]
    else:
        packed = _least(server, name, count)
    replies = 4 if name == _MULTI else 1
    before = server.cpu()
    server.send(packed, replies)
    return 1e6 * (server.cpu() - before) / len(packed)


def _others() -> list[EncodedTimer]:
    timers = _timers(OTHERS, timedelta(minutes=50))
    return [timer._replace(timer_id=f"other-{n:016}") for n, timer in enumerate(timers)]


if __name__ == "__main__":
    _, url, given = arguments()
    pipe = Pipe()
    asked = Server(url)
    pipe.say(ready=True)
    for line in sys.stdin:
        pipe.say(microseconds=weigh(asked, line.strip(), given["count"]))
