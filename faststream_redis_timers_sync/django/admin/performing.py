"""Cancelling, moving and redriving from the admin: which timers were chosen, and doing it to them.

What is asked and answered over HTTP is in `changing`.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console.changes import Chosen
from faststream_redis_timers_sync.django.admin.actions import (
    CANCEL,
    REDRIVE,
    Action,
    Preview,
    Tally,
)
from faststream_redis_timers_sync.django.admin.shown import row_of, zone_name
from faststream_redis_timers_sync.django.admin.timers import pattern_of
from faststream_redis_timers_sync.django.tokens import Place, from_token
from faststream_redis_timers_sync.manage.deadline import Deadline, TimeUpError
from faststream_redis_timers_sync.manage.pages import look_at
from faststream_redis_timers_sync.manage.selection import (
    cancel_each,
    list_timers,
    move_each,
    redrive_each,
)
from faststream_redis_timers_sync.manage.server import server_time
from faststream_redis_timers_sync.manage.states import state_of
from faststream_redis_timers_sync.protocol.management import State
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.operation import MOST_CHANGED

MOST_NAMED = 500
"""Timers that one request may name; a page has fewer."""

SECONDS = 10.0
"""How long one request changes timers, as many as fit in a call at least; for the rest somebody
is asked again."""

WALK_SECONDS = 20.0
"""How long one request looks for as many as that."""

COUNT_SECONDS = 5.0
"""How long one request counts what it would be done to."""

_SAME_TIME = timedelta(milliseconds=1)
"""Far in the future scores are coarser than microseconds."""


def read_chosen(place: Place, form: Mapping[str, Any], named: Iterable[str]) -> Chosen | None:
    """Read from a form which timers are meant.

    Args:
        place: Their topic.
        form: The form.
        named: The tokens of those that were selected one by one.

    Returns:
        None where none was selected.

    Raises:
        ValueError: It is no form of ours.
    """
    if form.get("select_across") == "1":
        pattern = pattern_of(from_token(form.get("search", "")))
        return Chosen(topic=place.topic, match=pattern, everything=pattern is None)
    timer_ids = tuple(dict.fromkeys(map(from_token, named)))
    if len(timer_ids) > MOST_NAMED or not all(timer_ids):
        msg = f"named are {len(timer_ids)} timers, expected 1 to {MOST_NAMED}"
        raise ValueError(msg)
    return Chosen(topic=place.topic, timer_ids=timer_ids) if timer_ids else None


def preview(timers: TimersClient, place: Place, chosen: Chosen) -> Preview:
    """Count what was chosen, or as much of it as `COUNT_SECONDS` allow; nothing is changed.

    Args:
        timers: The client.
        place: The topic.
        chosen: What was chosen.
    """
    if chosen.everything:
        return Preview(timers.count_pending(place.topic))
    now = server_time(timers)
    if not chosen.timer_ids:
        return _count_matching(timers, chosen, now)
    rows = [
        row_of(timer, place._replace(timer_id=timer.timer_id).key, now)
        for timer in look_at(timers, place.topic, chosen.timer_ids)
    ]
    running = sum(row.state == "running" for row in rows)
    return Preview(len(rows), running, len(chosen.timer_ids) - len(rows), rows, zone_name(now))


def _count_matching(timers: TimersClient, chosen: Chosen, now: datetime) -> Preview:
    count = running = 0
    try:
        for timer in list_timers(
            timers, chosen.topic, match=chosen.match, on_examined=Deadline(COUNT_SECONDS)
        ):
            count += 1
            running += state_of(timer, now) == "running"
    except TimeUpError:
        return Preview(count, None, is_cut=True)
    return Preview(count, running)


class Due(NamedTuple):
    """When timers that are moved are to be due.

    Args:
        at: The new due time; None where it is not moved.
        moved_to: Where requests before have moved a part of them to, which is left alone.
    """

    at: datetime | None = None
    moved_to: datetime | None = None


def perform(
    timers: TimersClient, action: Action, chosen: Chosen, due: Due, tally: Tally, expected: int
) -> None:
    """Cancel, move or put back what was chosen, or as much of it as `SECONDS` allow.

    Args:
        timers: The client.
        action: What to do.
        chosen: What to do it to.
        due: To when, for moving.
        tally: Told of each; where this fails midway, it has what was done before.
        expected: How many there were when somebody said yes.

    Raises:
        TimerOutcomeUnknownError: The server's answer to a call was lost.
        redis.RedisError: What the server or the connection says.
    """
    if chosen.everything and action is CANCEL:
        tally.done, tally.running = timers.cancel_all(chosen.topic), None
    else:
        found = (
            _dead_letters(timers, chosen)
            if action is REDRIVE
            else _left(timers, chosen, due.moved_to)
        )
        ids: Iterable[str] = chosen.timer_ids or _in_time(found, tally)
        each: Iterator[tuple[str, State]]
        if action is CANCEL:
            each = cancel_each(timers, chosen.topic, ids)
        elif action is REDRIVE:
            each = _put_back(timers, chosen.topic, ids, tally)
        else:
            each = move_each(timers, chosen.topic, ids, activate_at=due.at)
        for timer_id, state in each:
            _count(tally, chosen, timer_id, state)
    if not tally.is_cut:
        # Those count too that were gone already when they were looked for a second time.
        seen = tally.done + tally.stayed.total()
        tally.missing = max(tally.missing, expected - seen)


def _put_back(
    timers: TimersClient, topic: str, timer_ids: Iterable[str], tally: Tally
) -> Iterator[tuple[str, State]]:
    """Put dead letters back; those that stay are counted and given no state."""
    for timer_id, fate in redrive_each(timers, topic, timer_ids):
        if fate == "moved":
            yield timer_id, "waiting"
        elif fate == "unknown":
            yield timer_id, "unknown"
        else:
            tally.stayed[fate] += 1


def _dead_letters(timers: TimersClient, chosen: Chosen) -> Iterator[str]:
    """Look for dead letters that were not named; of a whole topic in order, and no later ones."""
    count = timers.count_pending(chosen.topic) if chosen.everything else None
    every = list_timers(
        timers, chosen.topic, match=chosen.match, on_examined=Deadline(WALK_SECONDS)
    )
    return (timer.timer_id for timer in islice(every, count))


def _in_time(found: Iterator[str], tally: Tally) -> Iterator[str]:
    """Give timers that were not named, until time is up."""
    deadline = Deadline(SECONDS)
    try:
        for count, timer_id in enumerate(found):
            # Not before: here it is known that there are more than those of the last call.
            if count and count % MOST_CHANGED == 0:
                deadline.check()
            yield timer_id
    except TimeUpError:
        tally.is_cut = True


def _left(timers: TimersClient, chosen: Chosen, moved_to: datetime | None) -> Iterator[str]:
    """Look for timers that were not named, without those that were moved already."""
    now = server_time(timers)
    for timer in list_timers(
        timers, chosen.topic, match=chosen.match or "*", on_examined=Deadline(WALK_SECONDS)
    ):
        if moved_to is None or not _is_moved(timer, now, moved_to):
            yield timer.timer_id


def _is_moved(timer: Timer, now: datetime, moved_to: datetime) -> bool:
    if moved_to <= now:
        # To a past time nothing can be moved: it was due at once, so a worker may run it already.
        return timer.running or timer.due_at <= now
    if timer.running:
        # One that was moved can run only if its time has come since `now`.
        return timer.due_at > moved_to
    return abs(timer.due_at - moved_to) < _SAME_TIME


def _count(tally: Tally, chosen: Chosen, timer_id: str, state: State) -> None:
    if state == "unknown":
        tally.missing += 1
        return
    tally.done += 1
    if state == "running":
        tally.running = (tally.running or 0) + 1
    if chosen.timer_ids:
        tally.timer_ids.append(timer_id)
