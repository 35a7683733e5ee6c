"""The forecast: how many timers are due when, in the next hour, day or 30 days.

`forecast_picture` draws these counts, for all pages.
"""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import NamedTuple

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.deadline import Deadline
from faststream_redis_timers_sync.manage.pages import read_page
from faststream_redis_timers_sync.manage.server import internals_of, server_time
from faststream_redis_timers_sync.manage.stats import TopicStats
from faststream_redis_timers_sync.protocol.dead_letters import is_dead_letter
from faststream_redis_timers_sync.protocol.errors import TopicTornError
from faststream_redis_timers_sync.protocol.management import (
    MOST_EDGES,
    MOST_FORECAST,
    DueCounts,
    forecast as forecast_of,
)
from faststream_redis_timers_sync.protocol.operation import in_chunks

MOST_TOPICS = 100
"""Topics in one forecast: 50 calls at most, each of which holds a server for up to 0.5 ms; in a
cluster, where topics are in different slots, a call per topic."""

KEPT_SECONDS = 5.0
"""How long a forecast is reused before the server is asked again."""

MOST_KEPT = 64
"""Forecasts that are kept; the oldest go first."""

_HEAD = 10
"""How many timers are read to find the first."""

_MOST_FIRSTS = 10 * MOST_TOPICS

NOTE = (
    "A running timer counts at the end of its lease, a recurring timer once, at its next time. "
    "Paused timers are left out."
)
"""The note below each picture."""


class Range(StrEnum):
    """How far a forecast goes, and into how many parts it is cut."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    @property
    def parts(self) -> int:
        """How many parts it has; the first has begun already."""
        return _PARTS[self]

    @property
    def labelled(self) -> int:
        """Every how many parts one is labelled below a picture; there are six labels."""
        return self.parts // 6

    @property
    def label(self) -> str:
        """Its name on a link, in English."""
        return _LABELS[self]

    @property
    def part_name(self) -> str:
        """What a part is: ``minute``, ``hour`` or ``day``."""
        return _PART_NAMES[self]

    @property
    def heading(self) -> str:
        """What a forecast of it shows, in English."""
        return _HEADINGS[self]


_PARTS = {Range.HOUR: 60, Range.DAY: 24, Range.MONTH: 30}
_LABELS = {Range.HOUR: "1 hour", Range.DAY: "24 hours", Range.MONTH: "30 days"}
_PART_NAMES = {Range.HOUR: "minute", Range.DAY: "hour", Range.MONTH: "day"}
_HEADINGS = {
    Range.HOUR: "Due within an hour, by minutes",
    Range.DAY: "Due within a day, by hours",
    Range.MONTH: "Due within 30 days, by days",
}
_LENGTHS = {Range.HOUR: timedelta(minutes=1), Range.DAY: timedelta(hours=1)}


def read_range(text: str) -> Range:
    """Read the name of a range, as addresses of pages have it.

    Args:
        text: ``hour``, ``day`` or ``month``.

    Raises:
        ValueError: It is something else.
    """
    try:
        return Range(text)
    except ValueError:
        known = ", ".join(repr(one.value) for one in Range)
        msg = f"range must be one of {known}, got {text!r}"
        raise ValueError(msg) from None


def edges_of(reach: Range, now: datetime, zone: tzinfo | None = UTC) -> tuple[datetime, ...]:
    """Cut a range into whole minutes, hours or days: give the end of each, in UTC.

    Args:
        reach: The range.
        now: The server's time; the first part ends after it.
        zone: The time zone in which hours and days are whole; None is the machine's. A day may have
            23 or 25 hours there.
    """
    local = now.astimezone(zone)
    if reach is Range.MONTH:
        today = datetime(local.year, local.month, local.day)  # noqa: DTZ001  it gets the zone below
        days = (today + timedelta(days=n + 1) for n in range(reach.parts))
        # By way of UTC: between times of one zone Python counts by the clock on the wall.
        return tuple(day.replace(tzinfo=zone).astimezone(UTC) for day in days)
    begun = timedelta(seconds=local.second, microseconds=local.microsecond)
    if reach is Range.DAY:
        begun += timedelta(minutes=local.minute)
    first = local.astimezone(UTC) - begun
    return tuple(first + (n + 1) * _LENGTHS[reach] for n in range(reach.parts))


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a forecast: a minute, an hour or a day.

    Args:
        start: When it begins, in UTC; the first begins when the timers were counted.
        end: When it ends; what is due at that very time is in the next part.
        count: How many timers are due in it.
    """

    start: datetime
    end: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many timers are due when. Dead-letter topics are counted apart.

    Args:
        range: How far it goes.
        at: When it was made, by the server's clock, in UTC.
        zone: The time zone in which its hours and days are whole; None is the machine's.
        topics: The topics that were counted, without the client's prefix.
        edges: When each part ends, in UTC, in ascending order.
        counts: How many timers are due in each part. A running timer counts at the end of its
            lease, a recurring one once, at its next time.
        overdue: How many should have been claimed by a worker already.
        later: How many are due behind the last part.
        paused: How many are paused, and so due at no time.
        dead_topics: The topics that hold dead letters: these are not delivered, so the other
            counts leave them out.
        dead: How many dead letters they hold.
    """

    range: Range
    at: datetime
    zone: tzinfo | None
    topics: tuple[str, ...]
    edges: tuple[datetime, ...]
    counts: tuple[int, ...]
    overdue: int = 0
    later: int = 0
    paused: int = 0
    dead_topics: tuple[str, ...] = ()
    dead: int = 0

    @property
    def parts(self) -> list[Part]:
        """Its parts, in order of time."""
        starts = (self.at, *self.edges[:-1])
        return list(map(Part, starts, self.edges, self.counts))

    @property
    def ticks(self) -> list[Part]:
        """Those parts that are labelled below a picture."""
        return self.parts[:: self.range.labelled]

    @property
    def total(self) -> int:
        """How many timers are due in all parts."""
        return sum(self.counts)

    @property
    def fullest(self) -> Part | None:
        """The first of the parts in which most timers are due; None where none are."""
        return max(self.parts, key=lambda part: part.count) if self.total else None

    @property
    def is_empty(self) -> bool:
        """Whether its topics hold no timers but dead letters."""
        return not (self.total or self.overdue or self.later or self.paused)

    def before(self, edge: datetime) -> int | None:
        """Return how many timers are due before a time, overdue ones included.

        The difference between two forecasts is how many have left since: those that were
        delivered, cancelled or rescheduled, less those that were added.

        Args:
            edge: The end of one of the parts.

        Returns:
            None if no part ends then.
        """
        if edge not in self.edges:
            return None
        return self.overdue + sum(self.counts[: self.edges.index(edge) + 1])


def largest(stats: Iterable[TopicStats]) -> list[str]:
    """Choose the topics for a forecast: those with most timers, up to `MOST_TOPICS`.

    Args:
        stats: Counts of topics; those that hold nothing are left out.

    Returns:
        Their names, in the order of the counts.
    """
    held = [one for one in stats if one.pending]
    chosen = {one.topic for one in sorted(held, key=lambda one: -one.pending)[:MOST_TOPICS]}
    return [one.topic for one in held if one.topic in chosen]


class _Key(NamedTuple):
    topics: tuple[str, ...]
    range: Range
    zone: tzinfo | None


class Forecasts:
    """Makes forecasts of a client's topics, and caches each for 5 seconds.

    It is thread-safe. Two threads that ask for the same forecast at once may both ask the server.

    Args:
        timers: The client.
        clock: Returns the time in seconds, by which cached forecasts age.
    """

    def __init__(
        self, timers: TimersClient, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start with an empty cache."""
        self._timers = timers
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[_Key, tuple[float, Forecast]] = {}
        self._forgotten = 0
        """How often `forget` was called: forecasts in progress then are not kept."""
        # Replaced, never changed, so that threads need no lock.
        self._firsts: dict[str, _First] = {}

    def of(
        self, topics: Iterable[str], reach: Range = Range.DAY, zone: tzinfo | None = UTC
    ) -> Forecast:
        """Forecast topics.

        Args:
            topics: The topics; an unknown one holds nothing.
            reach: How far.
            zone: The time zone in which hours and days are whole; None is the machine's.

        Raises:
            TypeError: `topics` is one text.
            ValueError: There are more than `MOST_TOPICS`, one is empty or can't be written as
                UTF-8, or the range is none.
            redis.RedisError: The server or the connection failed.
        """
        if isinstance(topics, str):
            msg = f"topics must be several strings, got one: write [{topics!r}]"
            raise TypeError(msg)
        key = _Key(tuple(dict.fromkeys(topics)), read_range(reach), zone)
        if len(key.topics) > MOST_TOPICS:
            msg = (
                f"topics must be at most {MOST_TOPICS}, got {len(key.topics):,}: choose the "
                "largest of them"
            )
            raise ValueError(msg)
        now = self._clock()
        with self._lock:
            kept, forgotten = self._kept.get(key), self._forgotten
        if kept is not None and now - kept[0] < KEPT_SECONDS:
            return kept[1]
        made = self._make(key)
        with self._lock:
            if forgotten == self._forgotten:
                young = {
                    known: one
                    for known, one in self._kept.items()
                    if known != key and now - one[0] < KEPT_SECONDS
                }
                self._kept = dict([*young.items(), (key, (now, made))][-MOST_KEPT:])
        return made

    def forget(self, topic: str | None = None) -> None:
        """Drop the cached forecasts of a topic, whose timers were changed.

        Args:
            topic: The topic; None means all.
        """
        with self._lock:
            self._forgotten += 1
            self._kept = {
                key: kept
                for key, kept in self._kept.items()
                if topic is not None and topic not in key.topics
            }

    def _make(self, key: _Key) -> Forecast:
        runner, keys, _ = reach = internals_of(self._timers)
        names = {reach.full(topic): topic for topic in key.topics}
        # The edges are the same for all topics, wherever in a cluster they lie.
        at = server_time(self._timers, key.topics[0] if key.topics else None)
        edges = edges_of(key.range, at, key.zone)
        counted: dict[str, DueCounts] = {}
        for of_slot in keys.by_slot(names):
            for some in in_chunks(of_slot, min(MOST_FORECAST, MOST_EDGES // len(edges))):
                _, due = runner.run(forecast_of(keys, some, edges))
                counted.update(zip((names[full] for full in some), due, strict=True))
        dead = {topic: one for topic, one in counted.items() if self._is_dead(topic, one)}
        alive = [one for topic, one in counted.items() if topic not in dead]
        counts, later = _count_parts(len(edges), alive)
        return Forecast(
            range=key.range,
            at=at,
            zone=key.zone,
            topics=key.topics,
            edges=edges,
            counts=tuple(counts),
            overdue=sum(one.overdue for one in alive),
            later=later,
            paused=sum(one.paused for one in alive),
            dead_topics=tuple(topic for topic in key.topics if topic in dead),
            dead=sum(one.pending for one in dead.values()),
        )

    def _is_dead(self, topic: str, counts: DueCounts) -> bool:
        """Return whether a topic holds dead letters, by the first of its timers."""
        # They are due when they are dead-lettered, and nobody claims them.
        if not counts.pending or counts.pending > counts.overdue:
            return False
        with suppress(TopicTornError):
            # Entries without a payload are not timers, and there may be many.
            first = read_page(self._timers, topic, limit=_HEAD, on_examined=Deadline(0.0))
            for timer in first.timers:
                return self._is_dead_letter(topic, timer.timer_id)
        return False

    def _is_dead_letter(self, topic: str, timer_id: str) -> bool:
        known = self._firsts.get(topic)
        # It stays the first until it is redriven, and its payload may be large.
        if known is None or known.timer_id != timer_id:
            timer = self._timers.get_timer(topic, timer_id)
            if timer is None:
                # It was just redriven, and may be dead-lettered again under this id.
                return False
            known = _First(timer_id, is_dead_letter(timer.headers))
            others = {name: first for name, first in self._firsts.items() if name != topic}
            self._firsts = dict([*others.items(), (topic, known)][-_MOST_FIRSTS:])
        return known.is_dead_letter


class _First(NamedTuple):
    """The first timer of a topic, and whether it is a dead letter."""

    timer_id: str
    is_dead_letter: bool


def _count_parts(parts: int, topics: Iterable[DueCounts]) -> tuple[list[int], int]:
    """Add up how many timers are due in each part, and how many after the last."""
    counts, later = [0] * parts, 0
    for one in topics:
        reached = one.overdue
        for n, before in enumerate(one.before):
            # The first part may have ended before this topic was counted.
            counts[n] += max(0, before - reached)
            reached = max(reached, before)
        later += one.pending - one.paused - reached
    return counts, later
