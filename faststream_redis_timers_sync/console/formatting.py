"""Formats timers, counts and findings as rows of tables, lines of text and objects of JSON."""

import base64
import json
import math
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from faststream_redis_timers_sync.console.tables import Cell, Column
from faststream_redis_timers_sync.manage.contents import header_texts
from faststream_redis_timers_sync.manage.dead_letter_info import REASONS, read_dead_letter_info
from faststream_redis_timers_sync.manage.findings import Finding
from faststream_redis_timers_sync.manage.forecast import Forecast
from faststream_redis_timers_sync.manage.forecast_picture import part_text
from faststream_redis_timers_sync.manage.series import (
    coming_times,
    series_facts,
    short_text,
    zoned,
)
from faststream_redis_timers_sync.manage.states import (
    COUNT_WORDS,
    STATE_WORDS,
    CountName,
    display_state,
    state_of,
)
from faststream_redis_timers_sync.manage.stats import TopicStats
from faststream_redis_timers_sync.manage.text import escape, exact_time, in_zone, local_time
from faststream_redis_timers_sync.manage.times import in_words
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.recurrence import REPEAT_OWNER

TIMER_COLUMNS = [
    Column("DUE", 19),
    Column("", 14),
    Column("STATE", 7),
    Column("ID"),
]
SERIES_COLUMNS = [*TIMER_COLUMNS[:3], Column("REPEATS", 15, wraps=True), TIMER_COLUMNS[3]]
TOPIC_COLUMNS = [
    Column("TOPIC"),
    Column("PENDING", 11, is_number=True),
    Column("PAUSED", 6, is_number=True),
    Column("WORKERS", 7, is_number=True),
]
STATS_COLUMNS = [
    Column("TOPIC"),
    Column("PENDING", 9, is_number=True),
    Column("OVERDUE", 7, is_number=True),
    Column("PAUSED", 6, is_number=True),
    Column("< 1 H", 7, is_number=True),
    Column("< 1 DAY", 7, is_number=True),
    Column("NEXT", 14),
]
WATCH_COLUMNS = [
    Column("TOPIC"),
    Column("PENDING", 9, is_number=True),
    Column("OVERDUE", 7, is_number=True),
    Column("PAUSED", 6, is_number=True),
    Column("NEXT", 14),
    Column("WORKERS", 7, is_number=True),
]

WATCH_LINES = [
    Column("TIME", 19),
    Column("PENDING", 9, is_number=True),
    Column("OVERDUE", 7, is_number=True),
    Column("PAUSED", 6, is_number=True),
    Column("NEXT", 14),
    Column("WORKERS", 7, is_number=True),
    Column("TOPIC"),
]
FORECAST_COLUMNS = [
    Column("DUE", 14),
    Column("TIMERS", 13, is_number=True),
    Column("", 30),
]
FINDING_COLUMNS = [Column("LEVEL", 7), Column("CHECK", 11), Column("FINDING")]

_LEVEL_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "unknown": "magenta"}
_STYLES = {"waiting": "", "running": "green", "overdue": "red", "paused": "yellow"}
_NOTHING = "-"


def timer_row(timer: Timer, now: datetime, zone: tzinfo | None) -> list[Cell]:
    """Return a timer as a row of `TIMER_COLUMNS`.

    Args:
        timer: The timer.
        now: The server's time.
        zone: The time zone to show times in.
    """
    state = state_of(timer, now)
    is_due = state != "paused"
    return [
        Cell(local_time(timer.due_at, zone) if is_due else _NOTHING),
        Cell(in_words(timer.due_at - now) if is_due else "", "dim"),
        Cell(STATE_WORDS[state], _STYLES[state]),
        Cell(escape(timer.timer_id), "bold"),
    ]


def series_row(timer: Timer, now: datetime, zone: tzinfo | None) -> list[Cell]:
    """Return a timer as a row of `SERIES_COLUMNS`.

    Args:
        timer: The timer, with its definition if it is recurring.
        now: The server's time.
        zone: The time zone to show times in.
    """
    *rest, name = timer_row(timer, now, zone)
    return [*rest, Cell("" if timer.repeat is None else short_text(timer.repeat)), name]


def timer_record(topic: str, timer: Timer, now: datetime) -> dict[str, Any]:
    """Return a timer as an object for JSON, without its body.

    Args:
        topic: Its topic, as its user names it.
        timer: The timer.
        now: The server's time.
    """
    return {
        "topic": topic,
        "timer_id": timer.timer_id,
        "state": state_of(timer, now),
        "due_at": due_at(timer),
        "lease_ends_at": exact_time(timer.due_at) if timer.running else None,
        "repeat": None if timer.repeat is None else timer.repeat.definition,
    }


def due_at(timer: Timer) -> str | None:
    """Return a timer's due time in ISO 8601; None while it is running or paused.

    Args:
        timer: The timer.
    """
    return None if timer.running or timer.paused else exact_time(timer.due_at)


def timer_details(topic: str, timer: Timer, now: datetime) -> dict[str, Any]:
    """Return a timer as an object for JSON, with body, headers and definition.

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
    if timer.repeat is not None:
        coming = coming_times(timer, now)
        record |= {
            "repeat_owner": timer.headers.get(REPEAT_OWNER),
            "next_times": None if coming.problem else list(map(exact_time, coming.times)),
        }
    try:
        body = timer.decode()
        # A body that JSON can't hold (bytes, NaN) is given in base64.
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return record | {"body": None, "body_base64": base64.b64encode(timer.body).decode()}
    return record | {"body": body, "body_base64": None}


def timer_facts(
    topic: str, timer: Timer, now: datetime, zone: tzinfo | None
) -> list[tuple[str, str]]:
    """Return the names and values that describe a timer; a value may have several lines.

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
    when = ("Lease ends" if timer.running else "Due", "\n".join(due))
    headers = [f"{name}: {value}" for name, value in header_texts(timer)]
    kind = escape(timer.content_type) if timer.content_type else "no content type"
    lines = dead_letter_lines(timer)
    return [
        ("Timer", escape(timer.timer_id)),
        ("Topic", escape(topic)),
        *([("Dead letter", "\n".join(lines))] if lines else []),
        ("State", STATE_WORDS[display_state(timer, now, is_dead_letter=bool(lines))]),
        *([] if timer.paused else [when]),
        *_series_facts(timer, now, zone),
        ("Correlation", escape(timer.correlation_id)),
        ("Headers", "\n".join(headers) or _NOTHING),
        ("Body", f"{len(timer.body):,} bytes, {kind}"),
    ]


def next_text(timer: Timer, now: datetime, zone: tzinfo | None) -> str:
    """Return a sentence that says when a recurring timer is due next.

    Args:
        timer: The timer.
        now: The server's time.
        zone: The time zone to show times in, unless the definition has its own.
    """
    if timer.paused:
        return "it is paused"
    if timer.running:
        return "it is running"
    zone = coming_times(timer, now).zone or zone
    return f"due {in_words(timer.due_at - now)}: {zoned(timer.due_at, zone)}"


def _series_facts(timer: Timer, now: datetime, zone: tzinfo | None) -> list[tuple[str, str]]:
    if timer.repeat is None:
        return []
    coming = coming_times(timer, now)
    lines = [_coming_line(time, coming.zone or zone) for time in coming.times]
    if coming.problem:
        lines = [f"unknown here: {coming.problem}"]
    title = "If resumed" if timer.paused else "Next times"
    return [*series_facts(timer), (title, "\n".join(lines) or "none: the series ends")]


def _coming_line(time: datetime, zone: tzinfo | None) -> str:
    utc = zoned(time, UTC)
    local = zoned(time, zone)
    return utc if local == utc else f"{local} = {utc}"


def dead_letter_lines(timer: Timer) -> list[str]:
    """Return lines that say why a timer is a dead letter.

    Args:
        timer: The timer, with its headers.

    Returns:
        Why, from which topic, when it was first due, and which occurrence of a recurring timer it
        was; empty if it is not a dead letter.
    """
    info = read_dead_letter_info(timer)
    if info is None:
        return []
    why = REASONS.get(info.reason, info.reason)
    if info.attempts:
        why += f", after {info.attempts} " + ("attempt" if info.attempts == "1" else "attempts")
    if info.error:
        why += f", with {info.error}"
    origin = f"topic '{info.topic}'" + (f", timer '{info.timer_id}'" if info.timer_id else "")
    due = [f"first due {info.due_at.isoformat(' ')}"] if info.due_at else []
    name = f"recurring timer '{info.series_id}'" if info.series_id else "a recurring timer"
    series = [f"of {name} ({info.repeats})"] if info.repeats else []
    if info.occurrence:
        series.append(f"occurrence {info.occurrence.isoformat(' ')}")
    return [why, origin, *due, *series]


def topic_row(stats: TopicStats) -> list[Cell]:
    """Return a row of `TOPIC_COLUMNS`.

    Args:
        stats: The topic's counts.
    """
    return [_name(stats), Cell(f"{stats.pending:,}"), _paused(stats), _workers(stats)]


def topic_record(stats: TopicStats) -> dict[str, Any]:
    """Return a topic as an object for JSON.

    Args:
        stats: Its counts.
    """
    return {
        "topic": stats.topic,
        "pending": stats.pending,
        "paused": stats.paused,
        "workers": stats.workers,
    }


def stats_row(stats: TopicStats) -> list[Cell]:
    """Return a row of `STATS_COLUMNS`.

    Args:
        stats: The topic's counts.
    """
    return [
        _name(stats),
        Cell(f"{stats.pending:,}"),
        _overdue(stats),
        _paused(stats),
        Cell(f"{stats.within_hour:,}"),
        Cell(f"{stats.within_day:,}"),
        _when(stats.next_at, stats.at),
    ]


def watch_row(stats: TopicStats) -> list[Cell]:
    """Return a row of `WATCH_COLUMNS`.

    Args:
        stats: The topic's counts.
    """
    return [
        _name(stats),
        Cell(f"{stats.pending:,}"),
        _overdue(stats),
        _paused(stats),
        _when(stats.next_at, stats.at),
        _workers(stats),
    ]


def watch_line(stats: TopicStats, zone: tzinfo | None) -> list[Cell]:
    """Return a row of `WATCH_LINES`.

    Args:
        stats: The topic's counts.
        zone: The time zone to show times in.
    """
    topic, *counts = watch_row(stats)
    return [Cell(local_time(stats.at, zone)), *counts, topic]


def stats_record(stats: TopicStats) -> dict[str, Any]:
    """Return a topic's counts as an object for JSON.

    Args:
        stats: The counts.
    """
    return {
        "at": exact_time(stats.at),
        "topic": stats.topic,
        "pending": stats.pending,
        "overdue": stats.overdue,
        "paused": stats.paused,
        "within_hour": stats.within_hour,
        "within_day": stats.within_day,
        "next_at": exact_time(stats.next_at),
        "last_at": exact_time(stats.last_at),
        "workers": stats.workers,
    }


def forecast_columns(forecast: Forecast) -> list[Column]:
    """Return the columns of a forecast; the title of the first has the offset from UTC.

    Args:
        forecast: The forecast.
    """
    first, *others = FORECAST_COLUMNS
    offset = in_zone(forecast.at, forecast.zone).isoformat()[-len("+00:00") :]
    zone = "UTC" if offset == "+00:00" else offset
    return [replace(first, title=f"{first.title} ({zone})"), *others]


def forecast_rows(forecast: Forecast) -> list[list[Cell]]:
    """Return rows of `FORECAST_COLUMNS`: a bar per part, and the timers outside all parts.

    Args:
        forecast: The forecast.
    """
    _, _, bar = FORECAST_COLUMNS
    most = max(forecast.counts)
    rows = []
    for part in forecast.parts:
        length = math.ceil((bar.width or 0) * part.count / most) if most else 0
        when = Cell(part_text(forecast, part))
        rows.append([when, Cell(f"{part.count:,}"), Cell("#" * length, "green")])
    others: list[tuple[CountName, int, str]] = [
        ("later", forecast.later, ""),
        ("overdue", forecast.overdue, "red"),
        ("paused", forecast.paused, "yellow"),
        ("dead", forecast.dead, "yellow"),
    ]
    return rows + [
        [Cell(COUNT_WORDS[name].lower()), Cell(f"{count:,}", style), Cell("")]
        for name, count, style in others
        if count
    ]


def forecast_record(forecast: Forecast) -> dict[str, Any]:
    """Return a forecast as an object for JSON.

    Args:
        forecast: The forecast.
    """
    return {
        "at": exact_time(forecast.at),
        "topics": list(forecast.topics),
        "range": forecast.range.value,
        "overdue": forecast.overdue,
        "due": [
            {"start": exact_time(p.start), "end": exact_time(p.end), "count": p.count}
            for p in forecast.parts
        ],
        "later": forecast.later,
        "paused": forecast.paused,
        "dead": forecast.dead,
    }


def finding_row(finding: Finding) -> list[Cell]:
    """Return a row of `FINDING_COLUMNS`.

    Args:
        finding: A finding of `check`.
    """
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return [
        Cell(finding.level, _LEVEL_STYLES[finding.level]),
        Cell(finding.check),
        Cell(escape(finding.message + remedy)),
    ]


def finding_record(finding: Finding) -> dict[str, Any]:
    """Return a finding as an object for JSON.

    Args:
        finding: A finding of `check`.
    """
    return asdict(finding)


def _name(stats: TopicStats) -> Cell:
    return Cell(escape(stats.topic), "bold")


def _overdue(stats: TopicStats) -> Cell:
    return Cell(f"{stats.overdue:,}", "red" if stats.overdue else "dim")


def _paused(stats: TopicStats) -> Cell:
    return Cell(f"{stats.paused:,}", "yellow" if stats.paused else "dim")


def _workers(stats: TopicStats) -> Cell:
    if stats.workers is None:
        return Cell("?")
    return Cell(f"{stats.workers:,}", "green" if stats.workers else "dim")


def _when(time: datetime | None, now: datetime) -> Cell:
    if time is None:
        return Cell(_NOTHING, "dim")
    return Cell(in_words(time - now), "red" if time < now - timedelta(seconds=1) else "")
