"""The command that watches topics: a live table on a terminal, lines elsewhere."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import tzinfo
from typing import TYPE_CHECKING

from redis.exceptions import ClusterDownError, NoPermissionError, RedisError, TryAgainError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console import formatting
from faststream_redis_timers_sync.console.actions import find_topics
from faststream_redis_timers_sync.console.errors import DONE
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.console.tables import Cell, narrowest, rich_table
from faststream_redis_timers_sync.manage.errors import is_unreachable
from faststream_redis_timers_sync.manage.stats import Snapshot, TopicStats, count_topics
from faststream_redis_timers_sync.manage.text import local_time, plural
from faststream_redis_timers_sync.manage.topics import listening_topics

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_NARROWEST = narrowest(formatting.WATCH_COLUMNS)
"""Columns of a terminal below which the live table would drop names."""

_LINES_AROUND = 7
"""Lines of the terminal that are not topics."""


@dataclass(frozen=True, slots=True)
class _Update:
    """One query of the server.

    Args:
        snapshot: The counts; without a reply, the last ones received.
        silent: Seconds since the server's last reply; 0 if it replied now.
    """

    snapshot: Snapshot
    silent: float = 0.0


def watch(
    timers: TimersClient,
    output: Output,
    *,
    topics: Sequence[str] = (),
    known: Iterable[str] = (),
    interval: float = 2.0,
    scan: bool = True,
) -> int:
    """Show counts of topics repeatedly, until Ctrl-C.

    If results do not go to a terminal, or it is narrow, each update is written as lines of one
    endless table or of JSON. A server that stops replying is asked again until it replies; a
    refusal ends the command.

    Args:
        timers: The client.
        output: Where to.
        topics: The topics; none means all that can be found, by a scan only at the start.
            Topics that workers begin to listen to are added later.
        known: Topics that the application names.
        interval: Seconds between updates.
        scan: Whether finding topics scans all keys of the database.
    """
    chosen = list(dict.fromkeys(topics)) or find_topics(timers, output, known, scan=scan)
    updates = _updates(timers, output, chosen, interval, finds_more=not topics)
    with suppress(KeyboardInterrupt):
        if output.as_json:
            for update in updates:
                for stats in () if update.silent else update.snapshot.topics:
                    output.record(formatting.stats_record(stats))
        elif (console := output.console()) is not None and console.width >= _NARROWEST:
            _draw(console, updates, interval, output.zone)
        else:
            output.table(formatting.WATCH_LINES, _rows(output, updates))
    return DONE


def _updates(
    timers: TimersClient, output: Output, topics: list[str], interval: float, *, finds_more: bool
) -> Iterator[_Update]:
    snapshot: Snapshot | None = None
    answered = time.monotonic()
    while True:
        try:
            if finds_more:
                with suppress(NoPermissionError):
                    topics = sorted({*topics, *listening_topics(timers)})
            snapshot = count_topics(timers, topics)
            answered = time.monotonic()
            yield _Update(snapshot)
        except RedisError as error:
            if snapshot is None or not _may_recover(error):
                raise
            yield _Update(snapshot, time.monotonic() - answered)
        output.flush()
        time.sleep(interval)


def _may_recover(error: RedisError) -> bool:
    """Return whether a server, or a part of a cluster, may reply again."""
    return is_unreachable(error) or isinstance(error, (ClusterDownError, TryAgainError))


def _rows(output: Output, updates: Iterator[_Update]) -> Iterator[list[Cell]]:
    was_silent = False
    for update in updates:
        if update.silent:
            if not was_silent:
                output.note("the server does not reply: still trying")
        else:
            for stats in update.snapshot.topics:
                yield formatting.watch_line(stats, output.zone)
        was_silent = bool(update.silent)


def _draw(
    console: "Console", updates: Iterator[_Update], interval: float, zone: tzinfo | None
) -> None:
    from rich.live import Live  # noqa: PLC0415  only on a terminal

    with Live(console=console, auto_refresh=False) as live:
        for update in updates:
            room = console.height - _LINES_AROUND
            live.update(_picture(update, interval, zone, room), refresh=True)


def _picture(update: _Update, interval: float, zone: tzinfo | None, room: int) -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415  only on a terminal
    from rich.text import Text  # noqa: PLC0415

    topics, now = update.snapshot.topics, update.snapshot.at
    overdue = sum(stats.overdue for stats in topics)
    paused = sum(stats.paused for stats in topics)
    head = Text.assemble(
        (local_time(now, zone), "bold"),
        f"  {plural(len(topics), 'topic')}, ",
        f"{sum(stats.pending for stats in topics):,} pending, ",
        (f"{overdue:,} overdue", "red" if overdue else ""),
        f", {paused:,} paused" if paused else "",
    )
    foot = Text(f"every {interval:g} s, Ctrl-C to stop", "dim")
    if update.silent:
        foot = Text(f"no reply from the server for {update.silent:.0f} s: still trying", "bold red")
    some = topics
    if len(topics) > max(room, 1):
        some = sorted(topics, key=_urgency)[: max(room, 1)]
        foot = Text(f"and {plural(len(topics) - len(some), 'more topic')}, ", "dim") + foot
    table = rich_table(formatting.WATCH_COLUMNS, map(formatting.watch_row, some))
    return Group(head, Text(), table if some else Text("no topics found"), Text(), foot)


def _urgency(stats: TopicStats) -> tuple[int, float]:
    return -stats.overdue, stats.next_at.timestamp() if stats.next_at else float("inf")
