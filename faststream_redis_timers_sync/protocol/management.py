"""The operations for managing timers: outcomes per id, counts, permissions.

Those that applications need are in `operations`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from faststream_redis_timers_sync.protocol.keys import KeySpace, encode_known_id, encode_text
from faststream_redis_timers_sync.protocol.operation import (
    BUDGET_WORD,
    Operation,
    load_script,
    reading,
    split_reply,
)
from faststream_redis_timers_sync.protocol.operations import was_there
from faststream_redis_timers_sync.protocol.recurrence import Repeat, read_repeat
from faststream_redis_timers_sync.protocol.times import ask_due, time_of

MOST_TOPICS = 20
"""Topics in one `overview`: each takes up to 0.15 ms if 500 timers run."""

MOST_FORECAST = 5
"""Topics in one `forecast`."""

MOST_EDGES = 160
"""Times in one `forecast`, those of all its topics together: each takes up to 3 microseconds, and
so all of them 0.5 ms, in which the server serves nobody else."""

MOST_WITHIN_LEASE = 2000
"""Timers in which `count_running` looks for leases: it takes up to 2 ms."""

_LOOKED_AT = b"500"

State = Literal["waiting", "running", "paused", "unknown"]
"""The state of a timer when it was cancelled or rescheduled. A paused recurring timer is not
rescheduled; unknown means that there was no such timer."""

_STATES: dict[str, State] = {"w": "waiting", "r": "running", "p": "paused", "0": "unknown"}

Paused = Literal["paused", "already paused", "not recurring", "unknown"]
"""The outcome of pausing a timer."""

_PAUSED: dict[str, Paused] = {
    "1": "paused",
    "p": "already paused",
    "n": "not recurring",
    "0": "unknown",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """What one topic holds.

    Args:
        pending: How many timers, running ones included.
        overdue: How many should have been claimed by a worker already: they are
            due, or their lease has expired.
        paused: How many are paused. A timer that is due once, at the very second that stands
            for it (`PAUSED`), counts too: payloads are not read.
        next_at: When the next is due, paused ones left out; None if there is none.
        last_at: When the last is due, paused ones left out; None if there is none.
        within: How many are due within each requested duration; the ends of leases count as due
            times.
    """

    pending: int
    overdue: int
    paused: int
    next_at: datetime | None
    last_at: datetime | None
    within: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DueCounts:
    """How many timers of one topic are due when.

    Args:
        pending: How many timers it has, running ones included.
        overdue: How many should have been claimed by a worker already: they are
            due, or their lease has expired.
        paused: How many are paused, as in `Counts`.
        before: How many are due before each requested time, overdue ones included; the ends of
            leases count as due times.
    """

    pending: int
    overdue: int
    paused: int
    before: tuple[int, ...]


def cancel_some(keys: KeySpace, topic: str, timer_ids: Sequence[str]) -> Operation[list[State]]:
    """Cancel up to `MOST_CHANGED` timers, and return the state that each had.

    Args:
        keys: The names of the keys.
        topic: The full topic.
        timer_ids: Their ids, each once.

    Raises:
        ValueError: The topic or an id is empty.
    """
    names = keys.of(topic)
    return Operation(
        load_script("cancel", keys.dialect),
        names[:2],
        [names.attempts, *_encode_ids(timer_ids)],
        _parse_states,
        action="cancel",
        has_written=was_there,
        topic=topic,
        timer_ids=tuple(timer_ids),
    )


def move_some(
    keys: KeySpace,
    topic: str,
    timer_ids: Sequence[str],
    *,
    activate_in: timedelta | None,
    activate_at: datetime | None,
) -> Operation[list[State]]:
    """Reschedule up to `MOST_CHANGED` timers, and return the state that each had.

    Args:
        keys: The names of the keys.
        topic: The full topic.
        timer_ids: Their ids, each once.
        activate_in: Delay until they are due, by the server's clock.
        activate_at: Due time, an aware datetime.

    Raises:
        TypeError: A time of a wrong type was given.
        ValueError: The topic or an id is empty, or the time can't be used.
    """
    names = keys.of(topic)
    return Operation(
        load_script("move", keys.dialect),
        names[:2],
        [names.attempts, ask_due(activate_in, activate_at), *_encode_ids(timer_ids)],
        _parse_states,
        action="reschedule",
        has_written=was_there,
        topic=topic,
        timer_ids=tuple(timer_ids),
    )


def overview(
    keys: KeySpace, topics: Sequence[str], within: Sequence[timedelta] = ()
) -> Operation[tuple[datetime, list[Counts]]]:
    """Count the timers of up to `MOST_TOPICS` topics, even of those whose payloads are gone.

    Args:
        keys: The names of the keys.
        topics: The full topics, which share a slot.
        within: Lengths of time, in whole seconds, to count due timers for.

    Returns:
        An operation that gives the server's time, and counts topic by topic.
    """
    return Operation(
        load_script("overview", keys.dialect),
        tuple(key for topic in topics for key in keys.of(topic)[:2]),
        [_LOOKED_AT, *(b"%d" % length.total_seconds() for length in within)],
        _parse_overview,
        may_repeat=True,
    )


def forecast(
    keys: KeySpace, topics: Sequence[str], edges: Sequence[datetime]
) -> Operation[tuple[datetime, list[DueCounts]]]:
    """Count the timers of up to `MOST_FORECAST` topics that are due before each of some times.

    Args:
        keys: The names of the keys.
        topics: The full topics, which share a slot.
        edges: The times, on whole seconds, in ascending order; up to `MOST_EDGES` of all topics
            together.

    Returns:
        An operation that gives the server's time, and counts topic by topic.
    """
    return Operation(
        load_script("forecast", keys.dialect),
        tuple(keys.of(topic).timeline for topic in topics),
        [b"%d" % edge.timestamp() for edge in edges],
        _parse_forecast,
        may_repeat=True,
    )


def count_running(keys: KeySpace, topic: str, longest_lease: timedelta) -> Operation[int | None]:
    """Count the running timers of a topic.

    Args:
        keys: The names of the keys.
        topic: The full topic.
        longest_lease: The longest `lease_ttl` of its subscribers.

    Returns:
        An operation that returns their number; None if more than
        `MOST_WITHIN_LEASE` timers are due within such a lease, running or not.
    """
    # A lease may be a hundredth of a second longer, and a part of a second counts whole.
    seconds = math.ceil(longest_lease.total_seconds()) + 1
    return Operation(
        load_script("running"),
        keys.of(topic)[:1],
        [b"%d" % seconds, b"%d" % MOST_WITHIN_LEASE],
        lambda reply: None if reply < 0 else reply,
        may_repeat=True,
    )


def pause_one(keys: KeySpace, topic: str, timer_id: str) -> Operation[Paused]:
    """Pause a timer, and return the outcome.

    Args:
        keys: The names of the keys.
        topic: The full topic.
        timer_id: Its id.

    Raises:
        ValueError: The topic or the id is empty.
    """
    names = keys.of(topic)
    return Operation(
        load_script("pause", keys.dialect),
        names[:2],
        [names.attempts, *_encode_ids([timer_id])],
        lambda reply: _PAUSED[reply.decode()],
        action="pause",
        has_written=lambda reply: reply == b"1",
        topic=topic,
        timer_ids=(timer_id,),
    )


def read_definitions(
    keys: KeySpace, topic: str, timer_ids: Sequence[str]
) -> Operation[list[Repeat | None]]:
    """Read the definitions of up to `MOST_READ` timers, and nothing else of them.

    Args:
        keys: The names of the keys.
        topic: The full topic.
        timer_ids: Their ids.

    Returns:
        An operation that gives the definition of each, None for a timer that is due once or
        absent; of the first ids only where payloads are large.
    """
    words = [BUDGET_WORD, *map(encode_known_id, timer_ids)]
    return reading("definitions", keys, topic, words, _parse_definitions)


def check_permissions(commands: Sequence[Sequence[bytes]]) -> Operation[list[bool]]:
    """Ask which commands the connection's user may run; none of them is run.

    Args:
        commands: The commands, word by word.

    Returns:
        An operation that answers for each of them.
    """
    args: list[bytes] = []
    for words in commands:
        args += (b"%d" % len(words), *words)
    return Operation(
        load_script("permissions"),
        (),
        args,
        lambda reply: [c == ord("1") for c in reply],
        may_repeat=True,
    )


def _encode_ids(timer_ids: Sequence[str]) -> list[bytes]:
    if "" in timer_ids:
        encode_text("timer_id", "")
    return [encode_known_id(timer_id) for timer_id in timer_ids]


def _parse_states(reply: bytes) -> list[State]:
    return [_STATES[character] for character in reply.decode()]


def _parse_definitions(reply: bytes) -> list[Repeat | None]:
    words, texts = split_reply(reply)
    found: list[Repeat | None] = []
    position = 0
    for length in map(int, words):
        if length < 0:
            found.append(None)
            continue
        text = texts[position : position + length]
        found.append(read_repeat(text.decode(errors="surrogateescape")))
        position += length
    return found


def _parse_overview(reply: bytes) -> tuple[datetime, list[Counts]]:
    now, *lines = reply.split(b"\n")
    return time_of(float(now)), [_parse_counts(line.split(b" ")) for line in lines]


def _parse_counts(words: list[bytes]) -> Counts:
    pending, overdue, paused = map(int, words[:3])
    next_at, last_at = (None if word == b"-" else time_of(float(word)) for word in words[3:5])
    return Counts(pending, overdue, paused, next_at, last_at, tuple(map(int, words[5:])))


def _parse_forecast(reply: bytes) -> tuple[datetime, list[DueCounts]]:
    now, *lines = reply.split(b"\n")
    return time_of(float(now)), [_parse_due(line.split(b" ")) for line in lines]


def _parse_due(words: list[bytes]) -> DueCounts:
    pending, overdue, paused, *before = map(int, words)
    return DueCounts(pending, overdue, paused, tuple(before))
