"""Walks through the timers of a topic in no order, which a later request can continue.

The server keeps its place in a hash table, in which rescheduled timers stay where they are. So a
walk that continues there comes to each timer once, also to those that have run since and are
waiting again.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.pages import read_count
from faststream_redis_timers_sync.manage.selection import OnExamined
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.manage.tokens import from_token, to_token
from faststream_redis_timers_sync.protocol.keys import decode_id, encode_known_id, encode_pattern
from faststream_redis_timers_sync.protocol.listing import (
    DENSE_STEP,
    SCAN_STEP,
    make_timer,
    parse_entries,
    step_after,
)
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.operation import reading


class Position(NamedTuple):
    """Where a walk ended; valid only for the same topic and pattern.

    Args:
        cursor: The server's cursor before the step in which the walk ended.
        size: How many timers that step examines.
        digests: Digests of the ids that it found before the end.
    """

    cursor: int
    size: int
    digests: frozenset[bytes]

    @property
    def token(self) -> str:
        """The position as one word for a form."""
        return f"{self.cursor}.{self.size}.{to_token(decode_id(b''.join(self.digests)))}"


def read_position(token: str) -> Position | None:
    """Read `Position.token`.

    Args:
        token: The word; empty stands for the start.

    Raises:
        ValueError: It is something else.
    """
    if not token:
        return None
    cursor, size, joined = token.split(".")
    found = encode_known_id(from_token(joined))
    digests = (found[at : at + _DIGEST_SIZE] for at in range(0, len(found), _DIGEST_SIZE))
    position = Position(read_count(cursor), read_count(size), frozenset(digests))
    # The server would refuse the one, and be busy for long with the other.
    if not 0 < position.size <= SCAN_STEP:
        msg = f"expected at most {SCAN_STEP} timers in a step, got {size!r}"
        raise ValueError(msg)
    return position


_DIGEST_SIZE = 6

_STEPS_OF_A_STEP = 8
"""Over how many steps the timers of one may be spread after the server has resized its table."""


def _digest(timer_id: bytes) -> bytes:
    return blake2b(timer_id, digest_size=_DIGEST_SIZE).digest()


class Walk:
    """Finds timers without their bodies.

    Each timer that exists throughout is found. It may be found twice while the topic grows or
    shrinks by half. If the server fails over between two walks, the second may omit timers:
    another server has another order.

    Args:
        timers: The client.
        topic: The topic.
        match: Only ids that match this glob pattern; None means all.
        after: Where an earlier walk ended; None starts.
        on_examined: Called before each step with the number of timers that it examines.

    Raises:
        ValueError: Topic or pattern is empty.
    """

    def __init__(
        self,
        timers: TimersClient,
        topic: str,
        match: str | None,
        after: Position | None = None,
        on_examined: OnExamined | None = None,
    ) -> None:
        """Send nothing yet."""
        self._runner, self._keys, _ = reach = internals_of(timers)
        self._topic = reach.full(topic)
        self._pattern = encode_pattern("*" if match is None else match)
        self._on_examined = on_examined
        self._cursor, self._size, self._earlier = after or Position(0, DENSE_STEP, frozenset())
        self._passed: list[bytes] = []
        self._steps = 0

    @property
    def position(self) -> Position:
        """Where it is: behind the last timer after which another was asked for."""
        digests = frozenset(map(_digest, self._passed))
        if self._steps < _STEPS_OF_A_STEP:
            digests |= self._earlier
        return Position(self._cursor, self._size, digests)

    def __iter__(self) -> Iterator[Timer]:
        """Find them.

        Raises:
            redis.RedisError: The server or the connection failed.
        """
        while True:
            if self._on_examined is not None:
                self._on_examined(self._size)
            args = (b"%d" % self._cursor, self._pattern, b"%d" % self._size)
            scan = reading("scan", self._keys, self._topic, args, parse_entries)
            cursor, entries = self._runner.run(scan)
            for timer_id, score, _ in entries:
                if self._earlier and _digest(timer_id) in self._earlier:
                    continue
                yield make_timer(self._topic, timer_id, score)
                self._passed.append(timer_id)
            if cursor == b"0":
                return
            self._size = step_after(len(entries), self._size)
            self._cursor, self._passed = int(cursor), []
            self._steps += 1
