"""Formats times, states and numbers for the admin, in its user's language and time zone."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.timesince import timeuntil
from django.utils.translation import gettext, ngettext

from faststream_redis_timers_sync.django.tokens import Place
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
from faststream_redis_timers_sync.manage.states import (
    COUNT_WORDS,
    STATE_WORDS,
    CountName,
    display_state,
)
from faststream_redis_timers_sync.manage.text import escape, in_zone, local_time
from faststream_redis_timers_sync.manage.tokens import to_token
from faststream_redis_timers_sync.protocol.model import Timer


class Moment(NamedTuple):
    """A time for a template.

    Args:
        date: The day in the user's time zone.
        clock: The time of that day, to the second.
        distance: How far away it is, in words.
    """

    date: str
    clock: str
    distance: str


class Row(NamedTuple):
    """A timer for a template.

    Args:
        token: Its id, for a form.
        key: Its key, for a URL.
        name: Its id, safe to show.
        state: ``waiting``, ``running``, ``overdue``, ``paused`` or ``dead``.
        state_name: The same in the user's language.
        is_leased: Whether its time is the end of a lease.
        at: When it is due, or when its lease ends; None if it is paused.
        repeats: Its definition, short; empty if it is due once.
    """

    token: str
    key: str
    name: str
    state: str
    state_name: Any
    is_leased: bool
    at: Moment | None
    repeats: str


def rows_of(
    timers: Iterable[Timer], place: Place, now: datetime, *, are_dead: bool = False
) -> list[Row]:
    """Format timers for a template.

    Args:
        timers: The timers.
        place: Their topic.
        now: The server's time.
        are_dead: Whether the topic holds dead letters.
    """
    return [
        row_of(timer, place._replace(timer_id=timer.timer_id).key, now, is_dead=are_dead)
        for timer in timers
    ]


def row_of(timer: Timer, key: str, now: datetime, *, is_dead: bool) -> Row:
    """Format a timer for a template.

    Args:
        timer: The timer.
        key: Its key.
        now: The server's time.
        is_dead: Whether it is a dead letter.
    """
    state = display_state(timer, now, is_dead_letter=is_dead)
    return Row(
        token=to_token(timer.timer_id),
        key=key,
        name=escape(timer.timer_id),
        state=state,
        state_name=gettext(STATE_WORDS[state]),
        is_leased=timer.running,
        at=None if timer.paused else moment(timer.due_at, now),
        repeats="" if timer.repeat is None else short_text(timer.repeat),
    )


class Times(NamedTuple):
    """The next times of a recurring timer for a template.

    Args:
        title: The title.
        zone: The name of its definition's time zone, else of the user's.
        rows: For each, day and clock in that zone and in UTC, and how far away it is.
        problem: Why there are none.
    """

    title: str
    zone: str
    rows: list[tuple[tuple[str, str], tuple[str, str], str]]
    problem: str


def times_of(timer: Timer, now: datetime) -> Times | None:
    """Return when a recurring timer is due next; None if it is due once.

    Args:
        timer: The timer.
        now: The server's time.
    """
    if timer.repeat is None:
        return None
    coming = coming_times(timer, now)
    zone = coming.zone or timezone.get_current_timezone()
    problem = ""
    if coming.problem:
        problem = gettext(wording.TIMES_UNKNOWN) % coming.problem
    elif not coming.times:
        problem = gettext(wording.NO_NEXT_TIME)
    return Times(
        gettext("Next times, if resumed now") if timer.paused else gettext("Next times"),
        getattr(zone, "key", None) or zone_name(now),
        [
            (_day_and_clock(at, zone), _day_and_clock(at, UTC), distance(at, now))
            for at in coming.times
        ],
        problem,
    )


def _day_and_clock(time: datetime, zone: tzinfo) -> tuple[str, str]:
    day, date, clock = zoned(time, zone).split(" ", 2)
    return f"{day} {date}", clock


def dead_letter_facts(timer: Timer, now: datetime) -> list[tuple[str, str]]:
    """Return names and values that say why a timer is a dead letter; empty if it is not one.

    Args:
        timer: The timer, with its headers.
        now: The server's time.
    """
    info = read_dead_letter_info(timer)
    if info is None:
        return []
    facts = [
        (gettext("Dead-lettered because"), _why(info)),
        (gettext("From topic"), info.topic),
    ]
    if info.timer_id:
        facts.append((gettext("Timer ID there"), info.timer_id))
    if info.due_at is not None:
        when = f"{local_text(info.due_at)} ({distance(info.due_at, now)})"
        facts.append((gettext("First due"), when))
    if info.repeats:
        facts.append((gettext("From series"), f"{info.series_id} ({info.repeats})".strip()))
    if info.occurrence is not None:
        facts.append((gettext("Occurrence"), local_text(info.occurrence)))
    return facts


def _why(info: DeadLetterInfo) -> str:
    reason = gettext(REASONS[info.reason]) if info.reason in REASONS else info.reason
    more = []
    if info.attempts:
        more.append(gettext("attempts: %s") % info.attempts)
    if info.error:
        more.append(gettext("last error: %s") % info.error)
    return f"{reason} ({', '.join(more)})" if more else reason


def moment(time: datetime, now: datetime) -> Moment:
    """Format a time for a template.

    Args:
        time: The time.
        now: The server's time.
    """
    date, clock = local_time(time, timezone.get_current_timezone()).split(" ")
    return Moment(date, clock, distance(time, now))


def local_text(time: datetime) -> str:
    """Return a time with its time zone, that of the user.

    Args:
        time: The time.
    """
    zone = timezone.get_current_timezone()
    return f"{local_time(time, zone)} {zone_name(time)}"


def zone_name(now: datetime) -> str:
    """Return the name of the user's time zone.

    Args:
        now: The server's time: the name may depend on the season.
    """
    zone = timezone.get_current_timezone()
    return getattr(zone, "key", None) or in_zone(now, zone).tzname() or ""


def distance(time: datetime, now: datetime) -> str:
    """Return how far away a time is, in words.

    Args:
        time: The time.
        now: The server's time.
    """
    length = abs(time - now)
    if length < timedelta(seconds=1):
        return gettext("now")  # type: ignore[no-any-return]
    if length < timedelta(minutes=1):
        seconds = int(length.total_seconds())
        words = ngettext("%(count)d second", "%(count)d seconds", seconds) % {"count": seconds}
    else:
        words = timeuntil(now + length, now)
    return (gettext("in %s") if time > now else gettext("%s ago")) % words  # type: ignore[no-any-return]


def number(count: int) -> str:
    """Return a number with the digit grouping of the user's language.

    Args:
        count: The number.
    """
    return number_format(count, force_grouping=True)  # type: ignore[no-any-return]


def count_text(name: CountName, count: int) -> str:
    """Return a count with its name: ``Overdue: 3``.

    Args:
        name: The name of the count.
        count: The count.
    """
    return f"{gettext(COUNT_WORDS[name])}: {number(count)}"


def timers_text(count: int) -> str:
    """Return a count of timers: ``3 timers``.

    Args:
        count: The count.
    """
    return ngettext("%(count)s timer", "%(count)s timers", count) % {"count": number(count)}  # type: ignore[no-any-return]
