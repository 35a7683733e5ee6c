"""Reads timers page by page, for front ends that show some at a time.

A page starts after the last timer of the page before, by due time and id, never by rank: timers
that are delivered meanwhile leave no gap. However large a topic is, a page examines only as much
as there is time for, and the next page continues there. Searches by pattern are in `searching`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.deadline import TimeUpError
from faststream_redis_timers_sync.manage.selection import OnExamined
from faststream_redis_timers_sync.manage.series import definitions_of
from faststream_redis_timers_sync.manage.server import ask, internals_of, server_time
from faststream_redis_timers_sync.manage.states import TimerState
from faststream_redis_timers_sync.manage.tokens import from_token, to_token
from faststream_redis_timers_sync.protocol.keys import decode_id, encode_known_id
from faststream_redis_timers_sync.protocol.listing import make_timer, parse_entries
from faststream_redis_timers_sync.protocol.model import PAUSED, Timer
from faststream_redis_timers_sync.protocol.operation import (
    MOST_READ,
    in_chunks,
    reading,
)
from faststream_redis_timers_sync.protocol.times import is_lease, score_text

Only = Literal["recurring", "paused"] | TimerState
"""Kinds and states of timers that a page can be limited to."""

Entry = tuple[bytes, bytes]
"""An entry of a timeline: id and score."""

Keep = Callable[[list[Entry]], list[Entry]]
"""Filters entries by the page's kind or state, in their order."""


class Cursor(NamedTuple):
    """Where a page ended; valid only for the same topic, search and kind.

    Args:
        score: The score of the last timer shown in order, as text; empty if none was.
        timer_id: Its id; empty likewise.
        examined: How many timers were looked at so far; 0 where nobody counts them.
        position: Where a search that ran out of time continues, see `searching`; 0 if it examines
            the whole topic.
    """

    score: str = ""
    timer_id: str = ""
    examined: int = 0
    position: int = 0

    @property
    def token(self) -> str:
        """The cursor as one word for an address."""
        place = f"{to_token(self.score)}.{to_token(self.timer_id)}"
        return f"{place}.{self.examined}.{self.position}" if self.examined else place


def read_cursor(token: str) -> Cursor | None:
    """Read `Cursor.token`.

    Args:
        token: The word; empty stands for the first page.

    Raises:
        ValueError: It is something else.
    """
    if not token:
        return None
    score, timer_id, *rest = token.split(".")
    examined, position = map(read_count, rest or ("0", "0"))
    cursor = Cursor(from_token(score), from_token(timer_id), examined, position)
    if bool(cursor.score) != bool(cursor.timer_id) or not (cursor.score or position):
        msg = f"expected a cursor, got {token!r}"
        raise ValueError(msg)
    # Python reads more texts as numbers than the server, which would reply with an error.
    if cursor.score and (set(cursor.score) - _OF_SCORES or math.isnan(float(cursor.score))):
        msg = "a cursor's score must be a number"
        raise ValueError(msg)
    return cursor


_OF_SCORES = frozenset("0123456789.e+-inf")


def read_count(text: str) -> int:
    """Read a number of up to 64 bits from an address or a form.

    Args:
        text: The number.

    Raises:
        ValueError: It is something else.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        msg = f"expected a count, got {text!r}"
        raise ValueError(msg)
    count = int(text)
    if count > _LARGEST_POSITION:
        msg = f"expected at most 64 bits, got {text!r}"
        raise ValueError(msg)
    return count


_LARGEST_POSITION = 2**64 - 1
_MOST_DIGITS = len(str(_LARGEST_POSITION))


@dataclass(frozen=True, slots=True)
class Page:
    """Some timers of a topic, without their bodies.

    Args:
        timers: The timers, in order of due time. If a search was cut, the next page may have
            earlier ones.
        end: Where the next page begins; None if there is none.
        matching: How many match search and kind, on this page and all others; None if that was
            not counted.
        is_cut: Whether time ran out before all timers were examined: `end` continues with the
            rest.
        examined: How many timers were examined for this page and those before.
    """

    timers: list[Timer]
    end: Cursor | None
    matching: int | None = None
    is_cut: bool = False
    examined: int = 0


def read_page(  # noqa: PLR0913  which timers, and which part of them
    timers: TimersClient,
    topic: str,
    *,
    only: Only | None = None,
    after: Cursor | None = None,
    limit: int = 100,
    longest_lease: timedelta | None = None,
    on_examined: OnExamined | None = None,
) -> Page:
    """Read a page of a topic's timers, in order of due time.

    It examines as many timers as it takes to fill the page. The first page of a kind examines and
    counts all of them, if there is time.

    Args:
        timers: The client.
        topic: The topic.
        only: Only timers of this kind or state.
        after: Where the page before ended; None starts.
        limit: How many timers a page has, at most 500.
        longest_lease: The longest `lease_ttl` of the topic's subscribers: with it a page of
            running timers stops where leases end.
        on_examined: Called after each step with the number of timers examined. If it raises
            `TimeUpError`, the page has the timers found so far, and is cut.

    Raises:
        ValueError: The topic is empty.
        redis.RedisError: The server or the connection failed.
    """
    keep, bounds = None, _Bounds()
    if only is not None:
        now = server_time(timers, topic)
        keep = keeper(timers, topic, only, now)
        bounds = _bounds_of(only, now, longest_lease)
    walk = _Walk(timers, topic, keep, bounds, limit)
    return walk.read(after, on_examined, counts=after is None and only == "recurring")


def keeper(timers: TimersClient, topic: str, only: Only, now: datetime) -> Keep:
    """Return the filter for a kind or state.

    Args:
        timers: The client.
        topic: The topic.
        only: The kind or state.
        now: The server's time.
    """
    if only in {"recurring", "paused"}:

        def keep(entries: list[Entry]) -> list[Entry]:
            if only == "paused":
                entries = [(one, score) for one, score in entries if float(score) == PAUSED]
            names = {decode_id(one): (one, score) for one, score in entries}
            # Nobody asks the server about none.
            return [names[name] for name in definitions_of(timers, topic, names)]

        return keep

    at = now.timestamp()

    def is_in(score: float) -> bool:
        # A timer whose lease has expired is overdue too. A paused timer has no due time.
        if score <= at or score >= PAUSED:
            return only == "overdue" and score <= at
        return only == ("running" if is_lease(score) else "waiting")

    return lambda entries: [(one, score) for one, score in entries if is_in(float(score))]


class _Bounds(NamedTuple):
    """The range of scores that a page examines.

    Args:
        lowest: The lowest score, exclusive.
        highest: The highest score.
    """

    lowest: bytes = b"-inf"
    highest: bytes = b"+inf"


def _bounds_of(only: Only, now: datetime, longest_lease: timedelta | None) -> _Bounds:
    if only == "recurring":
        return _Bounds()
    if only == "paused":
        return _Bounds(_BEFORE_PAUSED, b"%d" % PAUSED)
    if only == "overdue":
        return _Bounds(highest=score_text(now))
    # Overdue timers stand before all others, and paused timers after them.
    highest = _BEFORE_PAUSED
    if only == "running" and longest_lease is not None:
        # A lease may be a hundredth of a second longer.
        highest = score_text(now + longest_lease + timedelta(seconds=1))
    return _Bounds(score_text(now), highest)


_BEFORE_PAUSED = repr(math.nextafter(PAUSED, 0)).encode()


def read_timers(timers: TimersClient, topic: str, timer_ids: Iterable[str]) -> list[Timer]:
    """Read timers by id, without their bodies.

    Args:
        timers: The client.
        topic: Their topic.
        timer_ids: Their ids.

    Returns:
        Those that are pending, in the order asked for.

    Raises:
        ValueError: The topic is empty.
        redis.RedisError: The server or the connection failed.
    """
    full = internals_of(timers).full(topic)
    return [make_timer(full, *entry) for entry in entries_of(timers, topic, timer_ids)]


def entries_of(timers: TimersClient, topic: str, timer_ids: Iterable[str]) -> list[Entry]:
    """Read the timeline's entries of timers, by id.

    Args:
        timers: The client.
        topic: Their topic.
        timer_ids: Their ids.

    Returns:
        Those that are pending, in the order asked for.

    Raises:
        ValueError: The topic is empty.
        redis.RedisError: The server or the connection failed.
    """
    _, keys, _ = reach = internals_of(timers)
    timeline = keys.of(reach.full(topic)).timeline
    found: list[Entry] = []
    for some in in_chunks(timer_ids, MOST_READ):
        ids = [encode_known_id(timer_id) for timer_id in some]
        scores: list[bytes | float | None] = ask(
            timers, b"ZMSCORE", timeline, *ids, parse=list, keys=(timeline,)
        )
        found += (
            (timer_id, score if isinstance(score, bytes) else repr(score).encode())
            for timer_id, score in zip(ids, scores, strict=True)
            if score is not None
        )
    return found


class _Walk:
    """Walks through a topic in order of due time.

    Args:
        timers: The client.
        topic: The topic.
        keep: Leaves those timers that the page is limited to; None leaves all.
        bounds: Between which scores to look.
        limit: How many timers a page has.
    """

    def __init__(
        self,
        timers: TimersClient,
        topic: str,
        keep: Keep | None,
        bounds: _Bounds,
        limit: int,
    ) -> None:
        self._runner, self._keys, _ = reach = internals_of(timers)
        self._full = reach.full(topic)
        self._keep = keep
        self._bounds = bounds
        self._limit = limit
        self._at_once = limit if keep is None else MOST_READ

    def read(self, after: Cursor | None, on_examined: OnExamined | None, *, counts: bool) -> Page:
        """Read a page.

        Args:
            after: Where the page before ended; None begins.
            on_examined: As `read_page` has it.
            counts: Whether to look at all timers, if there is time, and count.
        """
        begin = after or Cursor()
        at, examined = (encode_known_id(begin.timer_id), begin.score.encode()), begin.examined
        found: list[Entry] = []
        end: Cursor | None = None
        count = 0
        while True:
            more, entries = self._step(at)
            examined += len(entries)
            kept = [(one, score) for one, score, has_payload in entries if has_payload]
            kept = kept if self._keep is None else self._keep(kept)
            count += len(kept)
            room = self._limit - len(found)
            found += kept[:room]
            if end is None and len(found) == self._limit and (more or kept[room:]):
                end = _cursor_at(found[-1], 0 if self._keep is None else examined)
            if not more:
                return self._page(found, end, count if counts else None, examined)
            at = entries[-1][:2]
            if end is not None and not counts:
                return self._page(found, end, None, examined)
            try:
                if on_examined is not None:
                    on_examined(len(entries))
            except TimeUpError:
                is_cut = end is None
                end = end or _cursor_at(at, examined)
                return self._page(found, end, None, examined, is_cut=is_cut)

    def _step(self, at: Entry) -> tuple[bool, list[tuple[bytes, bytes, bool]]]:
        timer_id, score = at
        lowest, highest = self._bounds
        args = (b"%d" % self._at_once, highest, lowest, score, timer_id)
        operation = reading("page", self._keys, self._full, args, parse_entries)
        more, entries = self._runner.run(operation)
        return more == b"1", entries

    def _page(
        self,
        found: list[Entry],
        end: Cursor | None,
        matching: int | None,
        examined: int,
        *,
        is_cut: bool = False,
    ) -> Page:
        shown = [make_timer(self._full, *entry) for entry in found]
        return Page(shown, end, matching, is_cut, examined)


def _cursor_at(entry: Entry, examined: int) -> Cursor:
    timer_id, score = entry
    return Cursor(score.decode(), decode_id(timer_id), examined)
