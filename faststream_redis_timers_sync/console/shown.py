"""How timers, counts and findings look: rows of tables, lines of text, objects of JSON."""

import base64
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from faststream_redis_timers_sync.console.tables import Cell, Column
from faststream_redis_timers_sync.manage.contents import header_texts
from faststream_redis_timers_sync.manage.endings import REASONS, told_of
from faststream_redis_timers_sync.manage.findings import Finding
from faststream_redis_timers_sync.manage.states import state_of
from faststream_redis_timers_sync.manage.stats import TopicStats
from faststream_redis_timers_sync.manage.text import escape, exact_time, in_zone, local_time
from faststream_redis_timers_sync.manage.times import in_words
from faststream_redis_timers_sync.protocol.model import Timer

TIMER_COLUMNS = [
    Column("DUE", 19),
    Column("", 14),
    Column("STATE", 7),
    Column("ID"),
]
TOPIC_COLUMNS = [
    Column("TOPIC"),
    Column("PENDING", 11, is_number=True),
    Column("WORKERS", 7, is_number=True),
]
STATS_COLUMNS = [
    Column("TOPIC"),
    Column("PENDING", 9, is_number=True),
    Column("OVERDUE", 7, is_number=True),
    Column("< 1 H", 7, is_number=True),
    Column("< 1 DAY", 7, is_number=True),
    Column("NEXT", 14),
]
WATCH_COLUMNS = [
    Column("TOPIC"),
    Column("PENDING", 9, is_number=True),
    Column("OVERDUE", 7, is_number=True),
    Column("NEXT", 14),
    Column("WORKERS", 7, is_number=True),
]

WATCH_LINES = [
    Column("TIME", 19),
    Column("PENDING", 9, is_number=True),
    Column("OVERDUE", 7, is_number=True),
    Column("NEXT", 14),
    Column("WORKERS", 7, is_number=True),
    Column("TOPIC"),
]
FINDING_COLUMNS = [Column("LEVEL", 7), Column("CHECK", 11), Column("FINDING")]

_LEVEL_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "unknown": "magenta"}
_STYLES = {"waiting": "", "running": "green", "overdue": "red"}
_NOTHING = "-"


def timer_row(timer: Timer, now: datetime, zone: tzinfo | None) -> list[Cell]:
    """Make a table's row of a timer.

    Args:
        timer: The timer.
        now: The server's time.
        zone: The time zone to show times in.
    """
    state = state_of(timer, now)
    return [
        Cell(local_time(timer.due_at, zone)),
        Cell(in_words(timer.due_at - now), "dim"),
        Cell(state, _STYLES[state]),
        Cell(escape(timer.timer_id), "bold"),
    ]


def timer_record(topic: str, timer: Timer, now: datetime) -> dict[str, Any]:
    """Make an object of a timer, without its body.

    Args:
        topic: Its topic, as its user names it.
        timer: The timer.
        now: The server's time.
    """
    at = exact_time(timer.due_at)
    return {
        "topic": topic,
        "timer_id": timer.timer_id,
        "state": state_of(timer, now),
        "due_at": None if timer.running else at,
        "lease_ends_at": at if timer.running else None,
    }


def timer_details(topic: str, timer: Timer, now: datetime) -> dict[str, Any]:
    """Make an object of a timer with all that it has.

    Args:
        topic: Its topic, as its user names it.
        timer: The timer.
        now: The server's time.
    """
    record = timer_record(topic, timer, now)
    record |= {
        "correlation_id": timer.correlation_id,
        "content_type": timer.content_type,
        "headers": dict(timer.headers),
    }
    try:
        body = timer.decode()
        # What JSON has no place for (bytes, NaN) goes the other way.
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return record | {"body": None, "body_base64": base64.b64encode(timer.body).decode()}
    return record | {"body": body, "body_base64": None}


def timer_facts(
    topic: str, timer: Timer, now: datetime, zone: tzinfo | None
) -> list[tuple[str, str]]:
    """Describe a timer: names and values; a value may have several lines.

    Args:
        topic: Its topic, as its user names it.
        timer: The timer.
        now: The server's time.
        zone: The time zone to show times in.
    """
    due = (
        in_words(timer.due_at - now),
        in_zone(timer.due_at, zone).isoformat(" ", "milliseconds"),
        in_zone(timer.due_at, UTC).isoformat(" ", "milliseconds").replace("+00:00", " UTC"),
    )
    headers = [f"{name}: {value}" for name, value in header_texts(timer)]
    kind = escape(timer.content_type) if timer.content_type else "no content type"
    ending = ending_lines(timer)
    return [
        ("Timer", escape(timer.timer_id)),
        ("Topic", escape(topic)),
        *([("Dead letter", "\n".join(ending))] if ending else []),
        ("State", state_of(timer, now)),
        ("Lease ends" if timer.running else "Due", "\n".join(due)),
        ("Correlation", escape(timer.correlation_id)),
        ("Headers", "\n".join(headers) or _NOTHING),
        ("Body", f"{len(timer.body):,} bytes, {kind}"),
    ]


def ending_lines(timer: Timer) -> list[str]:
    """Tell how a timer ended, in lines for a terminal.

    Args:
        timer: The timer, with its headers.

    Returns:
        Why, where it comes from, and when it was first due; nothing where it is no dead
        letter.
    """
    told = told_of(timer)
    if told is None:
        return []
    why = REASONS.get(told.reason, told.reason)
    if told.attempts:
        why += f", after {told.attempts} " + ("attempt" if told.attempts == "1" else "attempts")
    if told.error:
        why += f", with {told.error}"
    origin = f"topic '{told.topic}'" + (f", timer '{told.timer_id}'" if told.timer_id else "")
    due = [f"first due {told.due_at.isoformat(' ')}"] if told.due_at else []
    return [why, origin, *due]


def topic_row(stats: TopicStats) -> list[Cell]:
    """Make a row of `TOPIC_COLUMNS`.

    Args:
        stats: The topic's counts.
    """
    return [_name(stats), Cell(f"{stats.pending:,}"), _workers(stats)]


def topic_record(stats: TopicStats) -> dict[str, Any]:
    """Make an object of a topic.

    Args:
        stats: Its counts.
    """
    return {"topic": stats.topic, "pending": stats.pending, "workers": stats.workers}


def stats_row(stats: TopicStats) -> list[Cell]:
    """Make a row of `STATS_COLUMNS`.

    Args:
        stats: The topic's counts.
    """
    return [
        _name(stats),
        Cell(f"{stats.pending:,}"),
        _overdue(stats),
        Cell(f"{stats.within_hour:,}"),
        Cell(f"{stats.within_day:,}"),
        _when(stats.next_at, stats.at),
    ]


def watch_row(stats: TopicStats) -> list[Cell]:
    """Make a row of `WATCH_COLUMNS`.

    Args:
        stats: The topic's counts.
    """
    return [
        _name(stats),
        Cell(f"{stats.pending:,}"),
        _overdue(stats),
        _when(stats.next_at, stats.at),
        _workers(stats),
    ]


def watch_line(stats: TopicStats, zone: tzinfo | None) -> list[Cell]:
    """Make a row of `WATCH_LINES`.

    Args:
        stats: The topic's counts.
        zone: The time zone to show times in.
    """
    topic, *counts = watch_row(stats)
    return [Cell(local_time(stats.at, zone)), *counts, topic]


def stats_record(stats: TopicStats) -> dict[str, Any]:
    """Make an object of a topic's counts.

    Args:
        stats: The counts.
    """
    return {
        "at": exact_time(stats.at),
        "topic": stats.topic,
        "pending": stats.pending,
        "overdue": stats.overdue,
        "within_hour": stats.within_hour,
        "within_day": stats.within_day,
        "next_at": exact_time(stats.next_at),
        "last_at": exact_time(stats.last_at),
        "workers": stats.workers,
    }


def finding_row(finding: Finding) -> list[Cell]:
    """Make a row of `FINDING_COLUMNS`.

    Args:
        finding: What a look at the server found.
    """
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return [
        Cell(finding.level, _LEVEL_STYLES[finding.level]),
        Cell(finding.check),
        Cell(escape(finding.message + remedy)),
    ]


def finding_record(finding: Finding) -> dict[str, Any]:
    """Make an object of a finding.

    Args:
        finding: What a look at the server found.
    """
    return asdict(finding)


def _name(stats: TopicStats) -> Cell:
    return Cell(escape(stats.topic), "bold")


def _overdue(stats: TopicStats) -> Cell:
    return Cell(f"{stats.overdue:,}", "red" if stats.overdue else "dim")


def _workers(stats: TopicStats) -> Cell:
    if stats.workers is None:
        return Cell("?")
    return Cell(f"{stats.workers:,}", "green" if stats.workers else "dim")


def _when(time: datetime | None, now: datetime) -> Cell:
    if time is None:
        return Cell(_NOTHING, "dim")
    return Cell(in_words(time - now), "red" if time < now - timedelta(seconds=1) else "")
