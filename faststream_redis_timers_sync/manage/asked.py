"""What a form of a page asks for, and doing as much of it as one request has time for."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.changing import (
    Cancel,
    Change,
    Pause,
    Redrive,
    Reschedule,
    Resume,
    Tally,
    carry_out,
    concerns,
    mark_of,
)
from faststream_redis_timers_sync.manage.chosen import Chosen, Preview, preview
from faststream_redis_timers_sync.manage.deadline import (
    CHANGE_SECONDS,
    COUNT_SECONDS,
    FIND_SECONDS,
    Deadline,
)
from faststream_redis_timers_sync.manage.selection import pattern_of
from faststream_redis_timers_sync.manage.tokens import from_token, to_token

ActionName = Literal["cancel", "reschedule", "run_now", "pause", "resume", "redrive"]
"""What can be done with timers, as forms and addresses name it."""

MOVES: frozenset[ActionName] = frozenset({"reschedule", "run_now"})
"""Those that give timers another due time."""


def change_named(
    name: ActionName,
    activate_at: datetime | None = None,
    moved_to: datetime | None = None,
    *,
    resumes: bool = False,
) -> Change:
    """Make the change that an action's name stands for.

    Args:
        name: The action.
        activate_at: The new due time of a move; None means now.
        moved_to: Where an earlier request that was cut has moved a part of them.
        resumes: Whether paused ones that were named are moved too.
    """
    if name in MOVES:
        return Reschedule(activate_at=activate_at, moved_to=moved_to, resumes=resumes)
    if name == "cancel":
        return Cancel()
    if name == "pause":
        return Pause()
    return Resume() if name == "resume" else Redrive()


def token_of_search(search: str) -> str:
    """Write for a form what was searched for.

    Args:
        search: The search; empty means everything. That has a word of its own, so that a form
            that has lost this field does not mean everything.
    """
    return to_token(search) or _EVERYTHING


_EVERYTHING = "."
"""No token."""


def read_chosen(
    topic: str, named: Iterable[str], search: str | None, *, most: int
) -> Chosen | None:
    """Read from a form which timers are meant.

    Args:
        topic: Their topic.
        named: The tokens of those that were selected one by one.
        search: What `token_of_search` gave, where all that match are meant. None means those
            that were selected.
        most: How many may be selected one by one.

    Returns:
        None where none was selected.

    Raises:
        ValueError: It is no form of ours.
    """
    if search is not None:
        if search == _EVERYTHING:
            return Chosen(topic=topic, everything=True)
        if not search:
            msg = "the form does not say which timers are meant"
            raise ValueError(msg)
        return Chosen(topic=topic, match=pattern_of(from_token(search)))
    timer_ids = tuple(dict.fromkeys(map(from_token, named)))
    if len(timer_ids) > most or not all(timer_ids):
        msg = f"named are {len(timer_ids)} timers, expected 1 to {most}"
        raise ValueError(msg)
    return Chosen(topic=topic, timer_ids=timer_ids) if timer_ids else None


def marks_text(timer_ids: Iterable[str], seen: Preview) -> str:
    """Write for a form how timers stand that somebody is asked about.

    Args:
        timer_ids: Their ids, as the form names them.
        seen: What they are at this moment.

    Returns:
        One word of all; empty where none is named.
    """
    marks = {timer.timer_id: mark_of(timer) for timer in seen.timers}
    return ".".join(marks.get(timer_id, "") for timer_id in timer_ids)


def read_marks(chosen: Chosen, text: str) -> Mapping[str, str] | None:
    """Read what `marks_text` gives.

    Args:
        chosen: Which timers are meant.
        text: The word; empty where the form has none, which means that nobody was asked.

    Raises:
        ValueError: It is of other timers.
    """
    if not text:
        return None
    marks = text.split(".")
    if len(marks) != len(chosen.timer_ids):
        msg = "the form was made for other timers"
        raise ValueError(msg)
    return dict(zip(chosen.timer_ids, marks, strict=True))


def preview_in_time(timers: TimersClient, name: ActionName, chosen: Chosen) -> Preview:
    """Count what an action would be done to, as far as a request has time for it.

    Args:
        timers: The client.
        name: The action.
        chosen: Which timers are meant.

    Raises:
        redis.RedisError: What the server or the connection says.
    """
    is_concerned = concerns(change_named(name))
    return preview(timers, chosen, concerns=is_concerned, on_examined=Deadline(COUNT_SECONDS))


def carry_out_in_time(
    timers: TimersClient,
    change: Change,
    chosen: Chosen,
    tally: Tally,
    expected: str,
    *,
    seen: Mapping[str, str] | None = None,
) -> None:
    """Change what was chosen, as much of it as a request has time for.

    Args:
        timers: The client.
        change: The change.
        chosen: Which timers are meant.
        tally: Told of each; where this fails midway, it has what was done before.
        expected: How many there were when somebody said yes, as a form says it. No number, or 0,
            is what is left of a part.
        seen: What `read_marks` gave.

    Raises:
        As `carry_out` does.
    """
    carry_out(
        timers,
        change,
        chosen,
        tally,
        expected=_read_count(expected) or None,
        seen=seen,
        deadline=Deadline(CHANGE_SECONDS),
        on_examined=Deadline(FIND_SECONDS),
    )


def _read_count(text: str) -> int:
    """Read a count of a form; 0 where it is none, or more than there can be."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else 0


_MOST_DIGITS = 18
