"""Timers page by page, for whoever shows some at a time and asks for more later.

A page goes on behind the last timer of the one before, by due time and id, never by rank: what
fires meanwhile leaves none out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nsmallest
from typing import Literal, NamedTuple

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.deadline import TimeUpError
from faststream_redis_timers_sync.manage.selection import OnExamined, list_timers, pattern_of
from faststream_redis_timers_sync.manage.server import ask, inside, server_time
from faststream_redis_timers_sync.manage.states import TimerState, state_of
from faststream_redis_timers_sync.manage.tokens import from_token, to_token
from faststream_redis_timers_sync.protocol.keys import decode_id, encode_known_id
from faststream_redis_timers_sync.protocol.listing import make_timer, parse_entries
from faststream_redis_timers_sync.protocol.model import PAUSED, Timer
from faststream_redis_timers_sync.protocol.operation import (
    MOST_READ,
    in_chunks,
    reading,
)
from faststream_redis_timers_sync.protocol.times import score_bound, time_of

Only = Literal["recurring", "paused"] | TimerState
"""Kinds and states of timers that a page can be limited to."""

_STATES: dict[str, TimerState] = {
    "waiting": "waiting",
    "running": "running",
    "overdue": "overdue",
}
"""Those that due times tell; the others are told by definitions."""

_NEVER = time_of(PAUSED)


class Cursor(NamedTuple):
    """Where a page ended; it is good for the same topic, pattern and kind alone.

    Args:
        score: The score of the last timer, as text; with a pattern its due time, ISO 8601.
        timer_id: Its id.
    """

    score: str
    timer_id: str

    @property
    def token(self) -> str:
        """The cursor as one word for an address."""
        return f"{to_token(self.score)}.{to_token(self.timer_id)}"


def read_cursor(token: str) -> Cursor | None:
    """Read `Cursor.token`.

    Args:
        token: The word; empty begins with the first page.

    Raises:
        ValueError: It is something else.
    """
    if not token:
        return None
    score, timer_id = token.split(".")
    return Cursor(from_token(score), from_token(timer_id))


@dataclass(frozen=True, slots=True)
class Page:
    """Some timers of a topic, without their bodies.

    Args:
        timers: The timers, in order of due time.
        end: Where the next page begins; None where there is none.
        matching: How many match pattern and kind, on this page and all others; None without
            either.
        is_cut: Whether there was no time to look at all timers. Then a search has looked for a
            whole id alone, and a page of a state goes on at `end`.
    """

    timers: list[Timer]
    end: Cursor | None
    matching: int | None = None
    is_cut: bool = False


def read_page(  # noqa: PLR0913  which timers, and which part of them
    timers: TimersClient,
    topic: str,
    *,
    match: str | None = None,
    only: Only | None = None,
    after: Cursor | None = None,
    limit: int = 100,
    longest_lease: timedelta | None = None,
    on_examined: OnExamined | None = None,
) -> Page:
    """Read a page of a topic's timers.

    With a pattern or a kind it looks at all of them each time; with a state alone at as many as
    it takes to fill the page.

    Args:
        timers: The client.
        topic: The topic.
        match: Only ids that match this glob pattern (``user:42:*``).
        only: Only timers of this kind or state.
        after: Where the page before ended; None begins.
        limit: How many timers a page has, at most 500.
        longest_lease: The longest `lease_ttl` of the topic's subscribers: with it a page of
            running timers looks no further than leases end.
        on_examined: Where it looks at all, told how many timers it has; may raise to give up.

    Raises:
        ValueError: Topic or pattern is empty, or the cursor is none of `read_page`.
        redis.RedisError: What the server or the connection says.
    """
    if match is None and only is None:
        return _read_in_order(timers, topic, after, limit)
    state = _STATES.get(only or "")
    if match is None and state is not None:
        return _read_in_state(timers, topic, state, after, limit, longest_lease, on_examined)
    pattern = "*" if match is None else match
    is_kind = only is not None and state is None
    every = list_timers(timers, topic, match=pattern, recurring=is_kind, on_examined=on_examined)
    if only == "paused":
        every = (timer for timer in every if timer.paused)
    elif state is not None:
        now = server_time(timers, topic)
        every = (timer for timer in every if _is_in(timer, state, now))
    return _read_matching(every, after, limit)


def search_page(  # noqa: PLR0913  which timers, and which part of them
    timers: TimersClient,
    topic: str,
    search: str,
    *,
    only: Only | None = None,
    after: Cursor | None = None,
    limit: int = 100,
    longest_lease: timedelta | None = None,
    on_examined: OnExamined | None = None,
) -> Page:
    """Read a page of what somebody searched for; of all timers where that is nothing.

    Args:
        timers: The client.
        topic: The topic.
        search: A part of an id, or a pattern, as `pattern_of` reads it.
        only: As in `read_page`.
        after: Where the page before ended; None begins.
        limit: How many timers a page has, at most 500.
        longest_lease: The longest `lease_ttl` of the topic's subscribers: with it a page of
            running timers looks no further than leases end.
        on_examined: Told how many timers were looked at. Where it raises `TimeUpError`, the
            page has the timer whose id it is, if there is one, and no other.

    Raises:
        ValueError: The topic is empty, or the cursor is none of this search.
        redis.RedisError: What the server or the connection says.
    """
    pattern = pattern_of(search)
    try:
        return read_page(
            timers,
            topic,
            match=pattern,
            only=only,
            after=after,
            limit=limit,
            longest_lease=longest_lease,
            on_examined=on_examined,
        )
    except TimeUpError:
        found = look_at(timers, topic, [search] if search else [])
        return Page(found, None, len(found), is_cut=True)


def look_at(timers: TimersClient, topic: str, timer_ids: Iterable[str]) -> list[Timer]:
    """Look at timers by id, without their bodies.

    Args:
        timers: The client.
        topic: Their topic.
        timer_ids: Their ids.

    Returns:
        Those that are pending, in the order asked for.

    Raises:
        ValueError: The topic is empty.
        redis.RedisError: What the server or the connection says.
    """
    _, keys, _ = reach = inside(timers)
    full = reach.full(topic)
    found: list[Timer] = []
    for some in in_chunks(timer_ids, MOST_READ):
        ids = [encode_known_id(timer_id) for timer_id in some]
        timeline = keys.of(full).timeline
        scores: list[bytes | float | None] = ask(
            timers, b"ZMSCORE", timeline, *ids, parse=list, keys=(timeline,)
        )
        found += (
            make_timer(full, timer_id, score if isinstance(score, bytes) else repr(score).encode())
            for timer_id, score in zip(ids, scores, strict=True)
            if score is not None
        )
    return found


class _Entries(NamedTuple):
    """A part of a topic in order of due time: each timer with where it stands."""

    timers: list[tuple[Timer, Cursor]]
    end: Cursor | None


def _read_entries(
    timers: TimersClient, topic: str, after: Cursor | None, limit: int, highest: bytes = b"+inf"
) -> _Entries:
    runner, keys, _ = reach = inside(timers)
    full = reach.full(topic)
    score, timer_id = (b"", b"") if after is None else _packed(after)
    more = b"1"
    found: list[tuple[Timer, Cursor]] = []
    # A page of entries that all lack their payloads is no end.
    while more == b"1" and not found:
        args = (b"%d" % limit, highest, b"-inf", score, timer_id)
        more, entries = runner.run(reading("page", keys, full, args, parse_entries))
        found = [
            (make_timer(full, known, at), Cursor(at.decode(), decode_id(known)))
            for known, at, has_payload in entries
            if has_payload
        ]
        if entries:
            timer_id, score, _ = entries[-1]
    return _Entries(found, Cursor(score.decode(), decode_id(timer_id)) if more == b"1" else None)


def _read_in_order(timers: TimersClient, topic: str, after: Cursor | None, limit: int) -> Page:
    entries, end = _read_entries(timers, topic, after, limit)
    return Page([timer for timer, _ in entries], end)


def _read_in_state(  # noqa: PLR0913, PLR0917  as `read_page`
    timers: TimersClient,
    topic: str,
    state: TimerState,
    after: Cursor | None,
    limit: int,
    longest_lease: timedelta | None,
    on_examined: OnExamined | None,
) -> Page:
    now = server_time(timers, topic)
    last = None
    if state == "overdue":
        # It stands before all else.
        last = now
    elif state == "running" and longest_lease is not None:
        # A lease may be a hundredth of a second longer.
        last = now + longest_lease + timedelta(seconds=1)
    highest = score_bound("last", last, b"+inf")
    found: list[Timer] = []
    end, is_cut = after, False
    while len(found) < limit:
        entries, end = _read_entries(timers, topic, end, MOST_READ, highest)
        for timer, cursor in entries:
            if _is_in(timer, state, now):
                found.append(timer)
                if len(found) == limit:
                    end = None if end is None and cursor == entries[-1][1] else cursor
                    break
        if end is None:
            break
        try:
            if on_examined is not None:
                on_examined(MOST_READ)
        except TimeUpError:
            is_cut = True
            break
    return Page(found, end, is_cut=is_cut)


def _is_in(timer: Timer, state: TimerState, now: datetime) -> bool:
    # A paused timer has no due time: it is no waiting one.
    return state_of(timer, now) == state and timer.due_at < _NEVER


def _read_matching(matching: Iterator[Timer], after: Cursor | None, limit: int) -> Page:
    count = 0

    def counted() -> Iterator[Timer]:
        nonlocal count
        for timer in matching:
            count += 1
            yield timer

    begin = None if after is None else (_due(after), encode_known_id(after.timer_id))
    behind = (timer for timer in counted() if begin is None or _rank(timer) > begin)
    # One more tells whether there is a next page.
    first = nsmallest(limit + 1, behind, key=_rank)
    # A timer may come twice while the topic changes its size.
    page = list({timer.timer_id: timer for timer in first[:limit]}.values())
    last = page[-1] if len(first) > limit else None
    end = None if last is None else Cursor(last.due_at.isoformat(), last.timer_id)
    return Page(page, end, count)


def _rank(timer: Timer) -> tuple[datetime, bytes]:
    return timer.due_at, encode_known_id(timer.timer_id)


def _packed(cursor: Cursor) -> tuple[bytes, bytes]:
    # What is no number would be an error of the server's.
    float(cursor.score)
    return cursor.score.encode(), encode_known_id(cursor.timer_id)


def _due(cursor: Cursor) -> datetime:
    due = datetime.fromisoformat(cursor.score)
    if due.utcoffset() is None:
        msg = f"the cursor's time has no time zone: {cursor.score!r}"
        raise ValueError(msg)
    return due
