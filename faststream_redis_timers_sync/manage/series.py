"""Recurring timers: which timers are recurring, their next times and their words."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.manage.states import state_of
from faststream_redis_timers_sync.manage.text import escape, in_zone
from faststream_redis_timers_sync.protocol.keys import encode_known_id
from faststream_redis_timers_sync.protocol.listing import read_timers
from faststream_redis_timers_sync.protocol.management import read_definitions
from faststream_redis_timers_sync.protocol.model import PAUSED, Timer
from faststream_redis_timers_sync.protocol.operation import MOST_READ, in_chunks
from faststream_redis_timers_sync.protocol.recurrence import (
    REPEAT,
    REPEAT_OWNER,
    Cron,
    Every,
    Repeat,
    next_times,
    zone_of,
)
from faststream_redis_timers_sync.protocol.times import duration_text, time_of

SHOWN_TIMES = 3
"""How many next times a page shows."""

SERIES_HEADERS = frozenset({REPEAT, REPEAT_OWNER})
"""Headers whose contents are shown elsewhere on the page."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def definitions_of(timers: TimersClient, topic: str, timer_ids: Iterable[str]) -> dict[str, Repeat]:
    """Read the definitions of recurring timers.

    Args:
        timers: The client.
        topic: Their topic.
        timer_ids: Ids of timers, as many as there are.

    Returns:
        The definitions by id; timers that are due once have none.

    Raises:
        redis.RedisError: The server or the connection failed.
    """
    runner, keys, _ = reach = internals_of(timers)
    full = reach.full(topic)
    found: dict[str, Repeat] = {}
    for some in in_chunks(timer_ids, MOST_READ):
        left = some
        while left:
            definitions = runner.run(read_definitions(keys, full, left))
            found.update(
                (timer_id, one)
                for timer_id, one in zip(left, definitions, strict=False)
                if one is not None
            )
            left = left[len(definitions) :]
    return found


def owners_of(timers: TimersClient, topic: str, timer_ids: Iterable[str]) -> dict[str, str]:
    """Read the owners of declared recurring timers.

    Args:
        timers: The client.
        topic: Their topic.
        timer_ids: Their ids.

    Returns:
        The owners of those that have one, by id.

    Raises:
        redis.RedisError: The server or the connection failed.
    """
    runner, keys, _ = reach = internals_of(timers)
    ids = [encode_known_id(timer_id) for timer_id in timer_ids]
    found = runner.run_steps(read_timers(keys, reach.full(topic), ids))
    return {
        timer.timer_id: owner
        for timer in found
        if timer is not None and timer.repeat is not None and (owner := owner_of(timer))
    }


def with_series(timers: TimersClient, topic: str, found: Iterable[Timer]) -> Iterator[Timer]:
    """Add to timers that were read without bodies whether they are recurring or paused.

    Args:
        timers: The client.
        topic: Their topic.
        found: The timers.

    Raises:
        redis.RedisError: The server or the connection failed.
    """
    for some in in_chunks(found, MOST_READ):
        definitions = definitions_of(timers, topic, (timer.timer_id for timer in some))
        for timer in some:
            repeat = definitions.get(timer.timer_id)
            if repeat is None:
                yield timer
            else:
                yield replace(timer, repeat=repeat, paused=timer.due_at == _PAUSED_AT)


_PAUSED_AT = time_of(PAUSED)


class Coming(NamedTuple):
    """The next times of a recurring timer.

    Args:
        times: The times in UTC; there are fewer than `SHOWN_TIMES` where the series ends.
        zone: The time zone of its definition; None if it has none.
        problem: Why they can't be computed on this machine; empty if they can.
    """

    times: list[datetime]
    zone: tzinfo | None = None
    problem: str = ""


def coming_times(timer: Timer, now: datetime) -> Coming:
    """Return when a recurring timer is due next; for a paused one, if it were resumed now.

    Args:
        timer: The timer.
        now: The server's time.

    Raises:
        ValueError: It is due once.
    """
    if timer.repeat is None:
        msg = f"timer must be recurring, got {timer!r}"
        raise ValueError(msg)
    # A waiting timer may have been rescheduled; its next times follow from there.
    first = [timer.due_at] if state_of(timer, now) == "waiting" else []
    try:
        more = next_times(timer.repeat, SHOWN_TIMES - len(first), after=first[0] if first else now)
        zone = zone_of(timer.repeat.tz) if isinstance(timer.repeat, Cron) else None
    except (ValueError, ModuleNotFoundError) as error:
        return Coming([], problem=escape(str(error)))
    return Coming(first + more, zone)


def definition_text(repeat: Repeat) -> str:
    """Return a definition as text.

    Args:
        repeat: The definition.
    """
    if isinstance(repeat, Every):
        return f"every {duration_text(repeat.period)}{_start_text(repeat)}"
    if isinstance(repeat, Cron):
        return escape(f"{repeat.expression} {repeat.tz}")
    return escape(repeat.definition)


def short_text(repeat: Repeat) -> str:
    """Return a definition as short text for a list: without its time zone and start.

    Args:
        repeat: The definition.
    """
    if isinstance(repeat, Every):
        return f"every {duration_text(repeat.period)}"
    return escape(repeat.expression if isinstance(repeat, Cron) else repeat.definition)


def owner_of(timer: Timer) -> str:
    """Return the owner that declares a timer's series; empty if it has none.

    Args:
        timer: The timer, with its headers.
    """
    return escape(timer.headers.get(REPEAT_OWNER, ""))


def series_facts(timer: Timer) -> list[tuple[str, str]]:
    """Return the definition of a recurring timer as names, in English, and values.

    Args:
        timer: The timer, with its headers.

    Returns:
        Empty if it is due once.
    """
    if timer.repeat is None:
        return []
    owner = owner_of(timer)
    facts = [("Repeats", definition_text(timer.repeat))]
    return [*facts, ("Declared by", owner)] if owner else facts


def zoned(time: datetime, zone: tzinfo | None) -> str:
    """Return a time with its weekday and its time zone.

    Args:
        time: The time.
        zone: The zone; None is the machine's.
    """
    local = in_zone(time, zone)
    return f"{local:%a} {local:%Y-%m-%d %H:%M:%S} {local.tzname()}"


def _start_text(repeat: Every) -> str:
    shift = repeat.start - _EPOCH
    if timedelta() <= shift < repeat.period:
        return f", shifted by {duration_text(shift)}" if shift else ""
    return f", from {zoned(repeat.start, UTC)}"
