"""Stands in for a server: runs operations as the Lua scripts do, on dicts.

Both front ends' tests run on it. It does not care who sends operations, or who claims and settles
timers.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from faststream_redis_timers_sync.protocol.glob import glob
from faststream_redis_timers_sync.protocol.keys import encode_known_id
from faststream_redis_timers_sync.protocol.listing import make_timer
from faststream_redis_timers_sync.protocol.memory.clock import MemoryClock
from faststream_redis_timers_sync.protocol.memory.topic import (
    Entry,
    MemoryTopic,
    Rules,
    read_seconds,
    resolve_due,
    score_of,
)
from faststream_redis_timers_sync.protocol.model import PAUSED, EncodedTimer, Outcome, Timer
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.times import ask_due

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledTimer(Timer):
    """A timer as it was scheduled or cancelled.

    Args:
        topic: The full topic, prefix included.
        timer_id: Its id.
        due_at: When it is due, in UTC.
        running: Always False.
        body: The message, encoded.
        content_type: MIME type of the body, None if there is none.
        headers: All headers that the handler will get, as text.
        correlation_id: Its correlation id, by default the timer id.
        repeat: Its definition if it is recurring; None if it is due once.
        paused: Whether it is a recurring timer that was paused.
        message: The message, as it was given.
    """

    message: Any = field(repr=False)


class TimersMemory:
    """Holds timers of any key space, and runs operations on them.

    Attributes:
        clock: Its clock.
        lock: Held while an operation runs; threads may share a memory.
        scheduled: All timers that were scheduled, in order.
        cancelled: All waiting timers that were cancelled, in order.
        on_scheduled: Called with each timer that is scheduled.
    """

    def __init__(self) -> None:
        """Start without timers."""
        self.clock = MemoryClock()
        self.lock = threading.RLock()
        self.scheduled: list[ScheduledTimer] = []
        self.cancelled: list[ScheduledTimer] = []
        self.on_scheduled: list[Callable[[ScheduledTimer], None]] = []
        self._topics: dict[bytes, MemoryTopic] = {}
        self._hashes: dict[bytes, dict[bytes, bytes]] = {}
        self._messages: dict[bytes, Any] = {}

    def remember(self, messages: Iterable[Any], timers: Iterable[EncodedTimer]) -> None:
        """Remember the messages of timers.

        Args:
            messages: The messages.
            timers: The timers made of them.
        """
        with self.lock:
            self._messages.update(
                (timer.payload, message) for timer, message in zip(timers, messages, strict=True)
            )

    def finish(self, keys: Sequence[bytes], timers: Iterable[Timer]) -> None:
        """Settle timers as if their handlers returned now.

        Args:
            keys: The keys of their topic.
            timers: The timers. Recurring ones are due at their next time, others are gone.
        """
        with self.lock:
            now, entries = self.clock.now(), self._entries_of(keys)
            for timer in timers:
                timer_id = encode_known_id(timer.timer_id)
                following = None if timer.repeat is None else timer.repeat.after(now)
                if following is None:
                    entries.pop(timer_id, None)
                else:
                    entries.move(timer_id, ask_due(None, following)[1:])

    def clear(self) -> None:
        """Forget everything, and reset the clock."""
        with self.lock:
            self.clock.reset()
            for collection in (self.scheduled, self.cancelled):
                collection.clear()
            for known in (self._topics, self._hashes, self._messages):
                known.clear()

    def put_into(self, pipeline: Any, operation: Operation[Any], name: str) -> None:
        """Keep an operation until a pipeline of this memory is executed.

        Args:
            pipeline: The pipeline.
            operation: The operation.
            name: Whose pipeline it must be, for the error.

        Raises:
            TypeError: It is another's pipeline.
        """
        if getattr(pipeline, "memory", None) is not self:
            msg = (
                f"pipeline is executed elsewhere, but a {name} keeps its timers in "
                "memory: use its own pipeline(), or test on that server"
            )
            raise TypeError(msg)
        pipeline.command_stack.append(operation)

    def run(self, operation: Operation[_T]) -> _T:
        """Run an operation, and return its result.

        Args:
            operation: The operation.
        """
        return operation.parse(self.answer(operation))

    def answer_all(self, operations: Iterable[Operation[Any]]) -> list[Any]:
        """Run operations with nothing in between.

        Args:
            operations: The operations.

        Returns:
            Their replies.
        """
        with self.lock:
            return [self.answer(operation) for operation in operations]

    def answer(self, operation: Operation[Any]) -> Any:
        """Do what an operation's script does, and return its reply.

        Args:
            operation: The operation.

        Raises:
            NotImplementedError: Only a server can run it.
        """
        name = "command" if operation.script is None else operation.script.name
        answer = getattr(self, f"_answer_{name}", None)
        if answer is None:
            raise no_server_for(name)
        with self.lock:
            return answer(operation, self._entries_of(operation.keys), *operation.args)

    # --- the scripts, one each: the operation, its topic's timers, its other arguments

    def _answer_schedule(
        self,
        operation: Operation[Any],
        entries: MemoryTopic,
        _: bytes,
        if_exists: bytes,
        *words: bytes,
    ) -> bytes:
        now = self.clock.microseconds()
        timers = list(zip(words[::3], words[1::3], words[2::3], strict=True))
        stands_in_the_way = if_exists in {b"keep", b"error"}
        waits = [stands_in_the_way and entries.state_of(one) == b"w" for one, _, _ in timers]
        if if_exists == b"error" and True in waits:
            return b"E%d" % (waits.index(True) + 1)
        reply = []
        for (timer_id, payload, asked), stays in zip(timers, waits, strict=True):
            if stays:
                reply.append(b"0")
                continue
            if asked.startswith(b"u"):
                reply.append(
                    entries.update_series(timer_id, payload, resolve_due(asked[1:], now), now)
                )
            else:
                entries[timer_id] = Entry(resolve_due(asked, now), payload)
                reply.append(b"1")
            record = self._record(operation.topic, timer_id, entries[timer_id])
            self.scheduled.append(record)
            for tell in self.on_scheduled:
                tell(record)
        return b"".join(reply)

    def _answer_pause(
        self, _: Operation[Any], entries: MemoryTopic, __: bytes, timer_id: bytes
    ) -> bytes:
        entry = entries.get(timer_id)
        if entry is None:
            return b"0"
        if entry.definition is None:
            return b"n"
        if entry.is_paused:
            return b"p"
        entries.move(timer_id, b"%d.000000" % PAUSED)
        return b"1"

    def _answer_resume(
        self,
        _: Operation[Any],
        entries: MemoryTopic,
        __: bytes,
        timer_id: bytes,
        definition: bytes,
        asked: bytes,
    ) -> bytes:
        entry = entries.get(timer_id)
        if entry is None or not entry.is_paused:
            return b"0"
        if entry.definition != definition.decode():
            return b"c"
        entries.move(timer_id, resolve_due(asked, self.clock.microseconds()))
        return b"1"

    def _answer_prune(
        self,
        operation: Operation[Any],
        entries: MemoryTopic,
        key: bytes,
        timer_id: bytes,
        owner: bytes,
    ) -> bytes:
        entry = entries.get(timer_id)
        if entry is None or entry.definition is None or entry.owner != owner.decode():
            return b"0"
        self._answer_cancel(operation, entries, key, timer_id)
        return b"1"

    def _answer_reschedule(
        self,
        _: Operation[Any],
        entries: MemoryTopic,
        __: bytes,
        timer_id: bytes,
        asked: bytes,
    ) -> bytes:
        if timer_id not in entries:
            return b"0"
        entries.move(timer_id, resolve_due(asked, self.clock.microseconds()))
        return b"1"

    def _answer_move(
        self, _: Operation[Any], entries: MemoryTopic, __: bytes, asked: bytes, *ids: bytes
    ) -> bytes:
        due = resolve_due(asked, self.clock.microseconds())
        reply = []
        for timer_id in ids:
            entry = entries.get(timer_id)
            if entry is not None and entry.is_paused:
                reply.append(b"p")
                continue
            reply.append(entries.state_of(timer_id))
            if entry is not None:
                entries.move(timer_id, due)
        return b"".join(reply)

    def _answer_cancel(
        self, operation: Operation[Any], entries: MemoryTopic, _: bytes, *ids: bytes
    ) -> bytes:
        reply = []
        for timer_id in ids:
            reply.append(entries.state_of(timer_id))
            entry = entries.pop(timer_id, None)
            if entry is not None and not entry.is_running:
                self.cancelled.append(self._record(operation.topic, timer_id, entry))
        return b"".join(reply)

    def _answer_cancel_all(
        self, operation: Operation[Any], entries: MemoryTopic, key: bytes
    ) -> int:
        return len(self._answer_cancel(operation, entries, key, *entries.in_order()))

    def _answer_settle_and_claim(  # noqa: PLR0913, PLR0917  as the script
        self,
        operation: Operation[Any],
        entries: MemoryTopic,
        _: bytes,
        limit: bytes,
        lease_ttl: bytes,
        jitter: bytes,
        budget: bytes,
        suspect_from: bytes,
        most_suspects: bytes,
        call: bytes,
        *words: bytes,
    ) -> bytes:
        now = self.clock.microseconds()
        settlements = _one_by_one(words)
        counts = suspect_from != b""
        outcomes = entries.settle(settlements, now, counts=counts)
        done = zip(settlements[::4], settlements[3::4], outcomes, strict=True)
        dead_letters = [
            detail.partition(b" ")[2] if action == b"repeat" else detail
            for action, detail, outcome in done
            if outcome == Outcome.DONE
            and (action == b"dead" or (action == b"repeat" and b" " in detail))
        ]
        if dead_letters:
            self._entries_of(operation.keys[2:]).add_dead_letters(dead_letters, now)
        lease = score_of(now + read_seconds(lease_ttl) + int(jitter)) + b"5"
        rules = Rules(
            int(limit), int(budget), int(suspect_from) if counts else None, int(most_suspects)
        )
        claimed, head = entries.claim(rules, now, lease)
        line = [score_of(now), lease if claimed else b"-", head, outcomes or b"-"]
        if call:
            # Nobody listens to a memory.
            line.append(b"0 0")
        line.append(b"%d" % len(claimed))
        for timer_id, entry, attempts in claimed:
            line.append(b"%d %d %b" % (len(timer_id), len(entry.payload), entry.score))
            if counts:
                line.append(b"%d %b" % (attempts.times, attempts.first_due))
        data = [timer_id + entry.payload for timer_id, entry, _ in claimed]
        return b" ".join(line) + b"\n" + b"".join(data)

    def _answer_redrive(
        self, operation: Operation[Any], entries: MemoryTopic, _: bytes, __: bytes, *words: bytes
    ) -> bytes:
        now = self.clock.microseconds()
        home = self._entries_of(operation.keys[2:])
        dead_letters = zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True)
        reply = []
        for dead_id, score, timer_id, payload in dead_letters:
            entry = entries.get(dead_id)
            if entry and entry.is_running and float(entry.score) > float(score_of(now)):
                reply.append(b"r")
            elif entry is None or float(entry.score) != float(score):
                reply.append(b"0")
            elif (present := home.get(timer_id)) and (
                not present.is_running or present.definition is not None
            ):
                reply.append(b"w")
            else:
                home[timer_id] = Entry(score_of(now), payload)
                del entries[dead_id]
                reply.append(b"1")
        return b"".join(reply)

    def _answer_exists(self, _: Operation[Any], entries: MemoryTopic, timer_id: bytes) -> int:
        return int(timer_id in entries)

    def _answer_count(self, _: Operation[Any], entries: MemoryTopic) -> int:
        return len(entries)

    def _answer_get(self, _: Operation[Any], entries: MemoryTopic, __: bytes, *ids: bytes) -> bytes:
        return entries.read(ids)

    def _answer_definitions(
        self, _: Operation[Any], entries: MemoryTopic, __: bytes, *ids: bytes
    ) -> bytes:
        return entries.define(ids)

    def _answer_page(
        self,
        _: Operation[Any],
        entries: MemoryTopic,
        limit: bytes,
        highest: bytes,
        lowest: bytes,
        score: bytes,
        timer_id: bytes,
    ) -> bytes:
        after = (float(score), timer_id) if score else None
        return entries.page(int(limit), float(lowest), float(highest), after)

    def _answer_scan(
        self, _: Operation[Any], entries: MemoryTopic, __: bytes, pattern: bytes, ___: bytes
    ) -> bytes:
        matches = glob(pattern).fullmatch
        return entries.show(one for one in entries if matches(one))

    def _answer_overview(
        self, operation: Operation[Any], _: MemoryTopic, __: bytes, *within: bytes
    ) -> bytes:
        now = self.clock.microseconds()
        topics = [self._entries_of([key]) for key in operation.keys[::2]]
        return b"\n".join((score_of(now), *(topic.count(now, within) for topic in topics)))

    def _answer_forecast(self, operation: Operation[Any], _: MemoryTopic, *edges: bytes) -> bytes:
        now = self.clock.microseconds()
        topics = [self._entries_of([key]) for key in operation.keys]
        return b"\n".join((score_of(now), *(topic.forecast(now, edges) for topic in topics)))

    def _answer_running(
        self, _: Operation[Any], entries: MemoryTopic, longest: bytes, most: bytes
    ) -> int:
        return entries.count_running(self.clock.microseconds(), int(longest), int(most))

    def _answer_command(self, _: Operation[Any], __: MemoryTopic, *words: bytes) -> Any:
        keys = [key for key, entries in self._topics.items() if entries]
        match words:
            case [b"TIME"]:
                return score_of(self.clock.microseconds()).split(b".")
            case [b"ZMSCORE", key, *ids]:
                entries = self._entries_of([key])
                return [entries[one].score if one in entries else None for one in ids]
            case [b"HSET" | b"HKEYS" | b"HDEL" as name, key, *rest]:
                return self._answer_hash(name, self._hashes.setdefault(key, {}), rest)
            case [b"EXISTS", *wanted]:
                return sum(key in keys for key in wanted)
            case [b"DBSIZE"]:
                return len(keys)
            case [b"SCAN", _, b"MATCH", pattern, *_]:
                return [b"0", [key for key in keys if glob(pattern).fullmatch(key)]]
            case [b"PUBSUB", b"CHANNELS" | b"SHARDCHANNELS", _]:
                return []
            case [b"PUBSUB", b"NUMSUB" | b"SHARDNUMSUB", *channels]:
                return [word for channel in channels for word in (channel, 0)]
        raise no_server_for(words[0].decode())

    def _answer_hash(self, name: bytes, entries: dict[bytes, bytes], rest: list[bytes]) -> Any:
        before = len(entries)
        if name == b"HKEYS":
            return list(entries)
        if name == b"HSET":
            entries.update(zip(rest[::2], rest[1::2], strict=True))
        else:
            for field in rest:
                entries.pop(field, None)
        return abs(len(entries) - before)

    def _entries_of(self, keys: Sequence[bytes]) -> MemoryTopic:
        return self._topics.setdefault(keys[0], MemoryTopic()) if keys else MemoryTopic()

    def _record(self, topic: str, timer_id: bytes, entry: Entry) -> ScheduledTimer:
        timer = make_timer(topic, timer_id, entry.score, entry.payload)
        known = {one.name: getattr(timer, one.name) for one in fields(Timer)}
        return ScheduledTimer(**known, message=self._messages.get(entry.payload))


def _one_by_one(words: Sequence[bytes]) -> Sequence[bytes]:
    """Return the words of settlements, with those of groups as if each stood alone."""
    if b"commits" not in words[::4]:
        return words
    start = words[::4].index(b"commits") * 4
    alone = list(words[:start])
    while start < len(words):
        end = start + 3 + int(words[start + 1])
        for timer_id in words[start + 3 : end]:
            alone += (b"commit", timer_id, words[start + 2], b"")
        start = end
    return alone


def no_server_for(what: str, name: str = "FakeTimersClient") -> NotImplementedError:
    """Make the error for a question that only a server can answer.

    Args:
        what: The question.
        name: Who was asked.
    """
    return NotImplementedError(f"a {name} has no server that answers {what}")
