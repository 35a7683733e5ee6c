"""Reads a page's form, and makes as much of the change as one request has time for."""

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
from faststream_redis_timers_sync.manage.walking import Position

ActionName = Literal["cancel", "reschedule", "run_now", "pause", "resume", "redrive"]
"""The actions on timers, as forms and addresses name them."""

MOVES: frozenset[ActionName] = frozenset({"reschedule", "run_now"})
"""Those that give timers another due time."""


def change_named(
    name: ActionName,
    activate_at: datetime | None = None,
    moved_to: datetime | None = None,
    *,
    after: Position | None = None,
    resumes: bool = False,
) -> Change:
    """Return the change that an action's name stands for.

    Args:
        name: The action.
        activate_at: The new due time; None means now.
        moved_to: The time to which an earlier, cut request has rescheduled some of the timers.
        after: Where that request ended.
        resumes: Whether named paused timers are rescheduled too.
    """
    if name in MOVES:
        return Reschedule(activate_at=activate_at, moved_to=moved_to, after=after, resumes=resumes)
    if name == "cancel":
        return Cancel()
    if name == "pause":
        return Pause()
    return Resume() if name == "resume" else Redrive()


def token_of_search(search: str) -> str:
    """Return a search as a token for a form.

    Args:
        search: The search; empty means everything. Everything has its own token, so that a form
            that lost this field does not mean everything.
    """
    return to_token(search) or _EVERYTHING


_EVERYTHING = "."
"""No token."""


def read_chosen(
    topic: str, named: Iterable[str], search: str | None, *, most: int
) -> Chosen | None:
    """Read from a form which timers to act on.

    Args:
        topic: Their topic.
        named: The tokens of the timers that were selected one by one.
        search: A token of `token_of_search` to act on all matches; None acts on the selected ones.
        most: How many may be selected one by one.

    Returns:
        None if none was selected.

    Raises:
        ValueError: The form was not made by these pages.
    """
    if search is not None:
        if search == _EVERYTHING:
            return Chosen(topic=topic, everything=True)
        if not search:
            msg = "the form does not say which timers to act on"
            raise ValueError(msg)
        return Chosen(topic=topic, match=pattern_of(from_token(search)))
    timer_ids = tuple(dict.fromkeys(map(from_token, named)))
    if len(timer_ids) > most or not all(timer_ids):
        msg = f"the form names {len(timer_ids)} timers, expected 1 to {most}"
        raise ValueError(msg)
    return Chosen(topic=topic, timer_ids=timer_ids) if timer_ids else None


def marks_text(timer_ids: Iterable[str], seen: Preview) -> str:
    """Return the state of the timers that a form asks about, to detect later changes.

    Args:
        timer_ids: Their ids, as the form names them.
        seen: Their present state.

    Returns:
        One word for all; empty if none is named.
    """
    if seen.at is None:
        return ""
    marks = {timer.timer_id: mark_of(timer, seen.at) for timer in seen.timers}
    return ".".join(marks.get(timer_id, "") for timer_id in timer_ids)


def read_marks(chosen: Chosen, text: str) -> Mapping[str, str] | None:
    """Read a word of `marks_text`.

    Args:
        chosen: The timers to act on.
        text: The word; empty if the form has none, because nobody was asked.

    Raises:
        ValueError: It was made for other timers.
    """
    if not text:
        return None
    marks = text.split(".")
    if len(marks) != len(chosen.timer_ids):
        msg = "the form was made for other timers"
        raise ValueError(msg)
    return dict(zip(chosen.timer_ids, marks, strict=True))


def preview_in_time(timers: TimersClient, name: ActionName, chosen: Chosen) -> Preview:
    """Count the timers that an action would change, as far as a request has time for it.

    Args:
        timers: The client.
        name: The action.
        chosen: The timers to act on.

    Raises:
        redis.RedisError: The server or the connection failed.
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
    """Change the chosen timers, as many as a request has time for.

    Args:
        timers: The client.
        change: The change.
        chosen: The timers to act on.
        tally: Counts each outcome; after a failure it holds the changes made before.
        expected: The form's count of timers when the user confirmed. No number, or 0, if this
            continues an earlier request.
        seen: The result of `read_marks`.

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
    """Read a count from a form; 0 if it is not a count, or is too large."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else 0


_MOST_DIGITS = 18
