"""Selects timers of a topic by id, by pattern or all; cancels, reschedules and redrives them.

All work goes in steps of 200 to 1,000 timers, so that neither memory nor the time of a call
depends on how many timers there are.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from heapq import nsmallest
from itertools import islice

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.series import with_series
from faststream_redis_timers_sync.manage.server import escape_glob, internals_of
from faststream_redis_timers_sync.protocol.keys import decode_id, encode_known_id, encode_text
from faststream_redis_timers_sync.protocol.management import State, cancel_some, move_some
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.operation import (
    MOST_CHANGED,
    Operation,
    TimerPages,
    in_chunks,
)
from faststream_redis_timers_sync.protocol.operations import Operations, RedriveOutcome

OnExamined = Callable[[int], object]
"""Called repeatedly with the number of timers examined since the last call."""

_WILD = frozenset("*?")
"""What makes a pattern of a search; brackets alone are rather a part of an id."""


def leaves_nothing_out(pattern: str) -> bool:
    """Return whether a pattern matches every id.

    Args:
        pattern: The pattern. No id is empty, so one ``?`` beside a ``*`` leaves nothing out either.
    """
    return set(pattern) <= _WILD and "*" in pattern and pattern.count("?") <= 1


def pattern_of(search: str) -> str | None:
    """Make a glob pattern of what somebody typed.

    Args:
        search: A pattern as it stands, or a part of an id; empty means all.

    Returns:
        The pattern, None for all.
    """
    if not search:
        return None
    if _WILD & set(search):
        return search
    part = escape_glob(search).decode(errors="surrogateescape")
    return f"*{part}*"


def list_timers(
    timers: TimersClient,
    topic: str,
    *,
    match: str | None = None,
    limit: int | None = None,
    recurring: bool = False,
    on_examined: OnExamined | None = None,
) -> Iterator[Timer]:
    """List timers of a topic without their bodies: all, the earliest, or those that match.

    They come in order of due time; with `match` but no `limit`, in no order. A timer that is
    delivered, scheduled or rescheduled meanwhile may be left out or appear twice.

    Args:
        timers: The client.
        topic: The topic.
        match: Only ids that match this glob pattern (``user:42:*``).
        limit: Only the earliest so many.
        recurring: Only recurring timers, with their definitions.
        on_examined: Called with the number of timers examined.

    Raises:
        ValueError: Topic or pattern is empty.
        redis.RedisError: The server or the connection failed.
    """
    runner, keys, _ = reach = internals_of(timers)
    pages = Operations(keys).iterate(reach.full(topic), match=match, bodies=False)
    found: Iterator[Timer] = runner.iterate(_watched(pages, on_examined))
    if recurring:
        found = (one for one in with_series(timers, topic, found) if one.repeat is not None)
    if limit is None:
        return found
    if match is None:
        return islice(found, min(limit, sys.maxsize))
    return iter(nsmallest(limit, found, key=lambda timer: (timer.due_at, timer.timer_id)))


def matching_ids(
    timers: TimersClient, topic: str, match: str | None, on_examined: OnExamined | None = None
) -> Iterator[str]:
    """Yield ids of a topic, in no order, for `cancel_each` and `reschedule_each`.

    Both may change timers while ids are read: a rescheduled timer does not appear again, as it
    would in order of due time.

    Args:
        timers: The client.
        topic: The topic.
        match: Only ids that match this glob pattern; None means all.
        on_examined: Called with the number of timers examined.

    Raises:
        ValueError: Topic or pattern is empty.
        redis.RedisError: The server or the connection failed.
    """
    pattern = "*" if match is None else match
    for timer in list_timers(timers, topic, match=pattern, on_examined=on_examined):
        yield timer.timer_id


def cancel_each(
    timers: TimersClient, topic: str, timer_ids: Iterable[str]
) -> Iterator[tuple[str, State]]:
    """Cancel timers, 200 in a call, and yield the state that each had.

    Args:
        timers: The client.
        topic: Their topic.
        timer_ids: Their ids, as many as there are.

    Returns:
        An iterator of ids with ``"waiting"`` or ``"running"`` for cancelled timers, or
        ``"unknown"``. Timers are cancelled only as it is consumed.

    Raises:
        ValueError: Topic or an id is empty.
        TimerOutcomeUnknownError: The server's reply to a call was lost.
        redis.RedisError: The server or the connection failed.
    """
    runner, keys, _ = reach = internals_of(timers)
    for some in in_chunks(timer_ids, MOST_CHANGED):
        unique = list(dict.fromkeys(some))
        states = runner.run(cancel_some(keys, reach.full(topic), unique))
        yield from zip(unique, states, strict=True)


def reschedule_each(
    timers: TimersClient,
    topic: str,
    timer_ids: Iterable[str],
    *,
    activate_in: timedelta | None = None,
    activate_at: datetime | None = None,
) -> Iterator[tuple[str, State]]:
    """Reschedule timers, 200 in a call, and yield the state that each had.

    Args:
        timers: The client.
        topic: Their topic.
        timer_ids: Their ids, as many as there are.
        activate_in: Delay from each call, by the server's clock.
        activate_at: Aware datetime. Neither means now.

    Returns:
        An iterator of ids with ``"waiting"`` or ``"running"`` for rescheduled timers (a running
        timer runs again at the new time); ``"paused"`` for a recurring timer that stays paused;
        or ``"unknown"``. Timers are rescheduled only as it is consumed.

    Raises:
        TypeError: A time has the wrong type.
        ValueError: Topic or an id is empty, or a time can't be used.
        TimerOutcomeUnknownError: The server's reply to a call was lost.
        redis.RedisError: The server or the connection failed.
    """
    runner, keys, _ = reach = internals_of(timers)
    for some in in_chunks(timer_ids, MOST_CHANGED):
        unique = list(dict.fromkeys(some))
        operation = move_some(
            keys, reach.full(topic), unique, activate_in=activate_in, activate_at=activate_at
        )
        states = runner.run(operation)
        yield from zip(unique, states, strict=True)


def redrive_each(
    timers: TimersClient, topic: str, timer_ids: Iterable[str]
) -> Iterator[tuple[str, RedriveOutcome]]:
    """Redrive dead letters, up to 200 in a call, and yield the outcome of each.

    Args:
        timers: The client.
        topic: The dead-letter topic.
        timer_ids: Their ids there, as many as there are.

    Returns:
        An iterator of ids with ``"moved"`` for redriven ones; ``"waiting"``, ``"running"`` or
        ``"other slot"`` for one that stays because a timer with its old id is waiting, a handler
        is running with it, or the topic it came from is in another slot; ``"no dead letter"``; or
        ``"unknown"``. Dead letters are redriven only as it is consumed.

    Raises:
        ValueError: Topic or an id is empty.
        TimerOutcomeUnknownError: The server's reply to a call was lost.
        redis.RedisError: The server or the connection failed.
    """
    runner, keys, _ = reach = internals_of(timers)
    operations, full = Operations(keys), reach.full(topic)
    for some in in_chunks(timer_ids, MOST_CHANGED):
        if "" in some:
            encode_text("timer_id", "")
        ids = [encode_known_id(timer_id) for timer_id in dict.fromkeys(some)]
        while ids:
            outcomes = runner.run_steps(operations.redrive_first(full, ids))
            yield from zip(map(decode_id, ids), outcomes, strict=False)
            ids = ids[len(outcomes) :]


def _watched(pages: TimerPages, on_examined: OnExamined | None) -> TimerPages:
    """Pass pages on, and report for each call how many timers it examines."""
    result = None
    while True:
        try:
            step = pages.send(result)
        except StopIteration:
            return
        if on_examined is not None and isinstance(step, Operation):
            on_examined(int(step.args[_SIZES[step.name]]))
        result = yield step


_SIZES = {"scan": 2, "page": 0}
"""The argument of a script that says how many timers it examines."""
