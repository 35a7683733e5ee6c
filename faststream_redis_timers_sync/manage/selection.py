"""Choosing timers of a topic, by id, pattern or all of them, and cancelling, moving or redriving.

Everything goes by steps of 200 to 1,000, so that neither memory nor the time of a call
depends on how many timers there are.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from heapq import nsmallest
from itertools import islice

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.series import with_series
from faststream_redis_timers_sync.manage.server import escape_glob, inside
from faststream_redis_timers_sync.protocol.keys import decode_id, encode_known_id, encode_text
from faststream_redis_timers_sync.protocol.management import State, cancel_some, move_some
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.operation import (
    MOST_CHANGED,
    Operation,
    TimerPages,
    in_chunks,
)
from faststream_redis_timers_sync.protocol.operations import Fate, Operations

OnExamined = Callable[[int], object]
"""Told, again and again, how many more timers were looked at."""

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

    They come in order of due time, with `match` alone in none. A timer that fires, is
    scheduled or moved meanwhile may be left out or come twice.

    Args:
        timers: The client.
        topic: The topic.
        match: Only ids that match this glob pattern (``user:42:*``).
        limit: Only the earliest so many.
        recurring: Only recurring ones, with their definitions.
        on_examined: Told how many timers were looked at.

    Raises:
        ValueError: Topic or pattern is empty.
        redis.RedisError: What the server or the connection says.
    """
    runner, keys, _ = reach = inside(timers)
    pages = Operations(keys).iterate(reach.full(topic), match=match, bodies=False)
    found: Iterator[Timer] = runner.iterate(_watched(pages, on_examined))
    if recurring:
        found = (one for one in with_series(timers, topic, found) if one.repeat is not None)
    if limit is None:
        return found
    if match is None:
        return islice(found, limit)
    return iter(nsmallest(limit, found, key=lambda timer: (timer.due_at, timer.timer_id)))


def matching_ids(
    timers: TimersClient, topic: str, match: str | None, on_examined: OnExamined | None = None
) -> Iterator[str]:
    """Give ids of a topic, in no order, for `cancel_each` and `move_each`.

    Both may be at work on what has been given already: what they move does not come
    again for that, as it would in order of due time.

    Args:
        timers: The client.
        topic: The topic.
        match: Only ids that match this glob pattern; None means all.
        on_examined: Told how many timers were looked at.

    Raises:
        ValueError: Topic or pattern is empty.
        redis.RedisError: What the server or the connection says.
    """
    pattern = "*" if match is None else match
    for timer in list_timers(timers, topic, match=pattern, on_examined=on_examined):
        yield timer.timer_id


def cancel_each(
    timers: TimersClient, topic: str, timer_ids: Iterable[str]
) -> Iterator[tuple[str, State]]:
    """Cancel timers, 200 in a call, and tell what each did.

    Args:
        timers: The client.
        topic: Their topic.
        timer_ids: Their ids, as many as there are.

    Returns:
        Ids with ``"waiting"`` or ``"running"``: it was, and is gone; or ``"unknown"``.
        Those that are not taken from it are not all cancelled.

    Raises:
        ValueError: Topic or an id is empty.
        TimerOutcomeUnknownError: The server's answer to a call was lost.
        redis.RedisError: What the server or the connection says.
    """
    runner, keys, _ = reach = inside(timers)
    for some in in_chunks(timer_ids, MOST_CHANGED):
        unique = list(dict.fromkeys(some))
        states = runner.run(cancel_some(keys, reach.full(topic), unique))
        yield from zip(unique, states, strict=True)


def move_each(
    timers: TimersClient,
    topic: str,
    timer_ids: Iterable[str],
    *,
    activate_in: timedelta | None = None,
    activate_at: datetime | None = None,
) -> Iterator[tuple[str, State]]:
    """Move timers to another due time, 200 in a call, and tell what each did.

    Args:
        timers: The client.
        topic: Their topic.
        timer_ids: Their ids, as many as there are.
        activate_in: Delay from each call, by the server's clock.
        activate_at: Time with a time zone. Neither means now.

    Returns:
        Ids with ``"waiting"`` or ``"running"``: it was, and fires at the new time (a
        running one again, then); ``"paused"``: it is a recurring timer, and stays paused; or
        ``"unknown"``.
        Those that are not taken from it are not all moved.

    Raises:
        TypeError: A time has the wrong type.
        ValueError: Topic or an id is empty, or a time can't be used.
        TimerOutcomeUnknownError: The server's answer to a call was lost.
        redis.RedisError: What the server or the connection says.
    """
    runner, keys, _ = reach = inside(timers)
    for some in in_chunks(timer_ids, MOST_CHANGED):
        unique = list(dict.fromkeys(some))
        operation = move_some(
            keys, reach.full(topic), unique, activate_in=activate_in, activate_at=activate_at
        )
        states = runner.run(operation)
        yield from zip(unique, states, strict=True)


def redrive_each(
    timers: TimersClient, topic: str, timer_ids: Iterable[str]
) -> Iterator[tuple[str, Fate]]:
    """Put dead letters back, up to 200 in a call, and tell what became of each.

    Args:
        timers: The client.
        topic: The topic for dead letters.
        timer_ids: Their ids there, as many as there are.

    Returns:
        Ids with ``"moved"``; ``"waiting"``, ``"running"`` or ``"other slot"``: it stays, since
        a timer of its old id waits, a handler runs with it, or the topic that it comes from is
        in another slot; ``"no dead letter"``; or ``"unknown"``.
        Those that are not taken from it are not all put back.

    Raises:
        ValueError: Topic or an id is empty.
        TimerOutcomeUnknownError: The server's answer to a call was lost.
        redis.RedisError: What the server or the connection says.
    """
    runner, keys, _ = reach = inside(timers)
    operations, full = Operations(keys), reach.full(topic)
    for some in in_chunks(timer_ids, MOST_CHANGED):
        if "" in some:
            encode_text("timer_id", "")
        ids = [encode_known_id(timer_id) for timer_id in dict.fromkeys(some)]
        while ids:
            fates = runner.run_steps(operations.redrive_first(full, ids))
            yield from zip(map(decode_id, ids), fates, strict=False)
            ids = ids[len(fates) :]


def _watched(pages: TimerPages, on_examined: OnExamined | None) -> TimerPages:
    """Pass pages on, and tell of each call how many timers it looks at."""
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
"""Which argument of a script says how many timers it looks at."""
