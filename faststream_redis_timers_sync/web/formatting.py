"""Formats times, states and timers for the pages."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from faststream_redis_timers_sync.manage import wording
from faststream_redis_timers_sync.manage.dead_letter_info import (
    REASONS,
    DeadLetterInfo,
    read_dead_letter_info,
)
from faststream_redis_timers_sync.manage.series import (
    coming_times,
    short_text,
    zoned,
)
from faststream_redis_timers_sync.manage.states import STATE_WORDS, DisplayState, display_state
from faststream_redis_timers_sync.manage.text import escape, exact_time, local_time
from faststream_redis_timers_sync.manage.times import in_words
from faststream_redis_timers_sync.manage.tokens import to_token
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.web.addresses import Address


class Moment(NamedTuple):
    """A time for a template.

    Args:
        exact: The time for programs, ISO 8601 in UTC.
        text: The time in UTC, to the second.
        distance: How far away it is, in words.
    """

    exact: str
    text: str
    distance: str


class Row(NamedTuple):
    """A timer for a template.

    Args:
        token: Its id, for a form.
        link: The address of its page.
        name: Its id, safe to show.
        state: Its state, or that it is a dead letter.
        state_word: The same in English.
        at: When it is due, or when its lease ends; None if it is paused.
        repeats: Its definition, short; empty if it is due once.
    """

    token: str
    link: Address
    name: str
    state: DisplayState
    state_word: str
    at: Moment | None
    repeats: str


class Times(NamedTuple):
    """The next times of a recurring timer for a template.

    Args:
        rows: Each time in the time zone of the definition, and as a `Moment`.
        problem: Why there are none.
    """

    rows: list[tuple[str, Moment]]
    problem: str


def moment(time: datetime, now: datetime) -> Moment:
    """Format a time for a template.

    Args:
        time: The time.
        now: The server's time.
    """
    return Moment(exact_time(time) or "", f"{local_time(time, UTC)} UTC", in_words(time - now))


def name_of(text: str) -> str:
    """Return an id or topic, safe to show; one of spaces only gets quotes, so that it is visible.

    Args:
        text: The id or topic.
    """
    name = escape(text)
    return name if name.strip() else f"“{name}”"


def row_of(timer: Timer, address: Address, now: datetime, *, is_dead: bool = False) -> Row:
    """Format a timer for a template.

    Args:
        timer: The timer.
        address: The page that it is on.
        now: The server's time.
        is_dead: Whether it is a dead letter.
    """
    state = display_state(timer, now, is_dead_letter=is_dead)
    return Row(
        token=to_token(timer.timer_id),
        link=address.to(topic=address.topic, timer_id=timer.timer_id),
        name=name_of(timer.timer_id),
        state=state,
        state_word=STATE_WORDS[state],
        at=None if timer.paused else moment(timer.due_at, now),
        repeats="" if timer.repeat is None else short_text(timer.repeat),
    )


def rows_of(
    timers: Iterable[Timer], address: Address, now: datetime, *, is_dead: bool = False
) -> list[Row]:
    """Format timers for a template.

    Args:
        timers: The timers.
        address: The page that they are on.
        now: The server's time.
        is_dead: Whether they are dead letters.
    """
    return [row_of(timer, address, now, is_dead=is_dead) for timer in timers]


def times_of(timer: Timer, now: datetime) -> Times | None:
    """Return when a recurring timer is due next; None if it is due once.

    Args:
        timer: The timer.
        now: The server's time.
    """
    if timer.repeat is None:
        return None
    coming = coming_times(timer, now)
    problem = ""
    if coming.problem:
        problem = wording.TIMES_UNKNOWN % coming.problem
    elif not coming.times:
        problem = wording.NO_NEXT_TIME
    return Times([(zoned(at, coming.zone or UTC), moment(at, now)) for at in coming.times], problem)


def dead_letter_facts(timer: Timer, now: datetime) -> list[tuple[str, str]]:
    """Return names and values that say why a timer is a dead letter; empty if it is not one.

    Args:
        timer: The timer, with its headers.
        now: The server's time.
    """
    info = read_dead_letter_info(timer)
    if info is None:
        return []
    facts = [("Dead-lettered because", _why(info)), ("From topic", info.topic)]
    if info.timer_id:
        facts.append(("Timer ID there", info.timer_id))
    if info.due_at is not None:
        first = moment(info.due_at, now)
        facts.append(("First due", f"{first.text} ({first.distance})"))
    if info.repeats:
        facts.append(("From series", f"{info.series_id} ({info.repeats})".strip()))
    if info.occurrence is not None:
        facts.append(("Occurrence", moment(info.occurrence, now).text))
    return facts


def _why(info: DeadLetterInfo) -> str:
    reason = REASONS.get(info.reason, info.reason)
    more = []
    if info.attempts:
        more.append(f"attempts: {info.attempts}")
    if info.error:
        more.append(f"last error: {info.error}")
    return f"{reason} ({', '.join(more)})" if more else reason
