"""Stands in for a server: answers operations as the Lua scripts do, out of dicts.

Nobody claims timers here, so none is ever running.
"""

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import redis
from redis.client import Pipeline

from faststream_redis_timers_sync._glob import glob
from faststream_redis_timers_sync._run import Runner
from faststream_redis_timers_sync.protocol.clients import check_pipeline
from faststream_redis_timers_sync.protocol.keys import decode_id, encode_known_id
from faststream_redis_timers_sync.protocol.model import EncodedTimer, Timer
from faststream_redis_timers_sync.protocol.operations import Operation, Operations

_T = TypeVar("_T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledTimer(Timer):
    """A timer as `FakeTimersClient` got it.

    Args:
        topic: The full topic, prefix included.
        timer_id: Its id.
        due_at: When it is due, in UTC.
        running: Always False.
        body: The message, encoded.
        content_type: MIME type of the body, None where there is none.
        headers: All headers that the handler will get, as text.
        correlation_id: Its correlation id, by default the timer id.
        message: The message, as it was given.
    """

    message: Any


class Entry(NamedTuple):
    """A timer as it lies in memory; due is in microseconds of Unix time."""

    due: int
    payload: bytes


_Timers = dict[bytes, Entry]


class Memory(Runner):
    """Runs operations on what it holds itself.

    Args:
        client: A client of no server; nothing is sent.
        operations: The operations of the key space that it stands for.
    """

    def __init__(self, client: redis.Redis, operations: Operations) -> None:
        """Begin without timers."""
        super().__init__(client)
        self.lock = threading.RLock()
        self.advanced = timedelta(0)
        self.scheduled: list[ScheduledTimer] = []
        self.cancelled: list[ScheduledTimer] = []
        self._operations = operations
        self._topics: dict[bytes, _Timers] = {}
        self._messages: dict[bytes, Any] = {}

    def now(self) -> datetime:
        """Tell the time."""
        return datetime.now(UTC) + self.advanced

    def remember(self, messages: Iterable[Any], timers: Iterable[EncodedTimer]) -> None:
        """Note which messages payloads were made of.

        Args:
            messages: The messages.
            timers: The timers made of them.
        """
        with self.lock:
            self._messages.update(
                (timer.payload, message) for timer, message in zip(timers, messages, strict=True)
            )

    def remove(self, topic: str, timers: Iterable[Timer]) -> None:
        """Remove timers that are done.

        Args:
            topic: The full topic.
            timers: The timers.
        """
        held = self._held(self._operations.keys.of(topic))
        for timer in timers:
            held.pop(encode_known_id(timer.timer_id), None)

    def clear(self) -> None:
        """Forget everything."""
        with self.lock:
            self.advanced = timedelta(0)
            for collection in (self.scheduled, self.cancelled, self._topics, self._messages):
                collection.clear()

    def run(self, operation: Operation[_T]) -> _T:
        """Answer an operation.

        Args:
            operation: The operation.
        """
        return operation.parse(self.answer(operation))

    def queue(
        self, pipeline: Pipeline, operation: Operation[Any], if_exists: str = "replace"
    ) -> None:
        """Put an operation into a pipeline of this memory.

        Args:
            pipeline: The pipeline.
            operation: The operation.
            if_exists: What was asked for.

        Raises:
            TypeError: It is another's pipeline.
            ValueError: With ``if_exists="error"``.
        """
        check_pipeline(pipeline, Pipeline, if_exists=if_exists)
        if getattr(pipeline, "memory", None) is not self:
            msg = (
                "pipeline is executed elsewhere, and a FakeTimersClient keeps its timers in "
                "memory: use its own pipeline(), or test with a TimersClient on that server"
            )
            raise TypeError(msg)
        pipeline.command_stack.append(operation)

    def answer(self, operation: Operation[Any]) -> Any:
        """Do what an operation's script does, and give its reply.

        Args:
            operation: The operation.

        Raises:
            NotImplementedError: It is a question that only a server can answer.
        """
        name = operation.script.name or "command"
        answer = getattr(self, f"_answer_{name}", None)
        if answer is None:
            raise no_server_for(name)
        with self.lock:
            return answer(operation, self._held(operation.keys), *operation.args)

    def _answer_schedule(
        self, operation: Operation[Any], held: _Timers, if_exists: bytes, *words: bytes
    ) -> bytes:
        now = self._microseconds()
        timers = list(zip(words[::3], words[1::3], words[2::3], strict=True))
        if if_exists == b"error":
            for position, (timer_id, _, _) in enumerate(timers, 1):
                if timer_id in held:
                    return b"E%d" % position
        reply = []
        for timer_id, payload, asked in timers:
            if if_exists == b"keep" and timer_id in held:
                reply.append(b"0")
                continue
            held[timer_id] = Entry(_resolve(asked, now), payload)
            self.scheduled.append(self._record(operation.topic, timer_id, held[timer_id]))
            reply.append(b"1")
        return b"".join(reply)

    def _answer_reschedule(
        self, operation: Operation[Any], held: _Timers, timer_id: bytes, asked: bytes
    ) -> bytes:
        return b"1" if self._answer_move(operation, held, asked, timer_id) == b"w" else b"0"

    def _answer_move(self, _: Operation[Any], held: _Timers, asked: bytes, *ids: bytes) -> bytes:
        due = _resolve(asked, self._microseconds())
        reply = b"".join(b"w" if timer_id in held else b"0" for timer_id in ids)
        held.update((one, held[one]._replace(due=due)) for one in ids if one in held)
        return reply

    def _answer_cancel(self, operation: Operation[Any], held: _Timers, *ids: bytes) -> bytes:
        reply = []
        for timer_id in ids:
            entry = held.pop(timer_id, None)
            if entry is not None:
                self.cancelled.append(self._record(operation.topic, timer_id, entry))
            reply.append(b"0" if entry is None else b"w")
        return b"".join(reply)

    def _answer_cancel_all(self, operation: Operation[Any], held: _Timers) -> int:
        in_order = sorted(held, key=lambda timer_id: (held[timer_id].due, timer_id))
        return len(self._answer_cancel(operation, held, *in_order))

    def _answer_exists(self, _: Operation[Any], held: _Timers, timer_id: bytes) -> int:
        return int(timer_id in held)

    def _answer_count(self, _: Operation[Any], held: _Timers) -> int:
        return len(held)

    def _answer_get(self, _: Operation[Any], held: _Timers, __: bytes, *ids: bytes) -> bytes:
        return _get(held, ids)

    def _answer_page(
        self,
        _: Operation[Any],
        held: _Timers,
        __: bytes,
        highest: bytes,
        lowest: bytes,
        *___: bytes,
    ) -> bytes:
        return _page(held, float(lowest), float(highest))

    def _answer_scan(
        self, _: Operation[Any], held: _Timers, __: bytes, pattern: bytes, ___: bytes
    ) -> bytes:
        matches = glob(pattern).fullmatch
        return _page({timer_id: held[timer_id] for timer_id in held if matches(timer_id)})

    def _answer_overview(
        self, operation: Operation[Any], _: _Timers, __: bytes, *within: bytes
    ) -> bytes:
        now = self._microseconds()
        lines = [_score(now)]
        for key in operation.keys[::2]:
            dues = sorted(entry.due for entry in self._held([key]).values())
            words = [b"%d" % len(dues), b"%d" % sum(due <= now for due in dues)]
            words += (_score(dues[0]), _score(dues[-1])) if dues else (b"-", b"-")
            ends = [now + int(length) * _MICROSECONDS for length in within]
            words += (b"%d" % sum(now < due <= end for due in dues) for end in ends)
            lines.append(b" ".join(words))
        return b"\n".join(lines)

    def _answer_command(self, _: Operation[Any], __: _Timers, *words: bytes) -> Any:
        keys = [key for key, held in self._topics.items() if held]
        match words:
            case [b"TIME"]:
                return [b"%d" % part for part in divmod(self._microseconds(), _MICROSECONDS)]
            case [b"ZMSCORE", key, *ids]:
                held = self._held([key])
                return [_score(held[one].due) if one in held else None for one in ids]
            case [b"DBSIZE"]:
                return len(keys)
            case [b"SCAN", _, b"MATCH", pattern, *_]:
                return [b"0", [key for key in keys if glob(pattern).fullmatch(key)]]
            case [b"PUBSUB", b"CHANNELS", _]:
                return []
            case [b"PUBSUB", b"NUMSUB", *channels]:
                return [word for channel in channels for word in (channel, 0)]
        raise no_server_for(words[0].decode())

    def _held(self, keys: Sequence[bytes]) -> _Timers:
        return self._topics.setdefault(keys[0], {}) if keys else {}

    def _microseconds(self) -> int:
        return (self.now() - _EPOCH) // _MICROSECOND

    def _record(self, topic: str, timer_id: bytes, entry: Entry) -> ScheduledTimer:
        look = self._operations.get(topic, decode_id(timer_id))
        timer = look.parse(_get({timer_id: entry}, [timer_id]))
        known = {one.name: getattr(timer, one.name) for one in fields(Timer)}
        return ScheduledTimer(**known, message=self._messages.get(entry.payload))


def no_server_for(what: str) -> NotImplementedError:
    """Make the error for a question that only a server can answer.

    Args:
        what: The question.
    """
    return NotImplementedError(f"a FakeTimersClient has no server that answers {what}")


def _resolve(asked: bytes, now: int) -> int:
    """Read a due time as `ask_due` writes it; the past means now."""
    given = int(asked[1:].replace(b".", b""))
    return now + given if asked.startswith(b"+") else max(given, now)


def _score(due: int) -> bytes:
    return b"%d.%06d" % divmod(due, _MICROSECONDS)


def _get(held: _Timers, ids: Sequence[bytes]) -> bytes:
    words, payloads = [], []
    for timer_id in ids:
        entry = held.get(timer_id)
        words.append(
            b"- 0" if entry is None else b"%b %d" % (_score(entry.due), len(entry.payload))
        )
        payloads.append(b"" if entry is None else entry.payload)
    return b" ".join(words) + b"\n" + b"".join(payloads)


def _page(held: _Timers, lowest: float = -math.inf, highest: float = math.inf) -> bytes:
    """Write a page or scan after which nothing follows."""
    found = sorted(
        (entry.due, timer_id)
        for timer_id, entry in held.items()
        if lowest < entry.due / _MICROSECONDS <= highest
    )
    words = [b"%b %d" % (_score(due), len(timer_id)) for due, timer_id in found]
    return b" ".join((b"0", *words)) + b"\n" + b"".join(timer_id for _, timer_id in found)
