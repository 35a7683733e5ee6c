"""The commands that cancel and move timers, by id, by pattern, or all of a topic."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from redis.exceptions import RedisError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console.actions import examining, note_none, note_past, unknown
from faststream_redis_timers_sync.console.errors import (
    DONE,
    FAILED,
    MISUSED,
    UNKNOWN_ID,
    CommandError,
)
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.manage.selection import cancel_each, matching_ids, move_each
from faststream_redis_timers_sync.manage.text import plural, quoted
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.management import State

_Each = Callable[[Iterable[str]], Iterator[tuple[str, State]]]
"""Cancels or moves timers by id, as they are given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which timers of a topic are meant.

    Args:
        topic: The topic.
        timer_ids: Ids named by hand; or
        match: a glob pattern for ids; or
        everything: all of them.
        is_sure: Whether no question is asked before timers that nobody named are changed.

    Raises:
        CommandError: Not exactly one of the three was given.
    """

    topic: str
    timer_ids: Sequence[str] = ()
    match: str | None = None
    everything: bool = False
    is_sure: bool = False

    def __post_init__(self) -> None:
        """Check that one way was chosen."""
        if [bool(self.timer_ids), self.match is not None, self.everything].count(True) != 1:
            msg = "name one or more ids, or give --match PATTERN, or --all"
            raise CommandError(msg, MISUSED)

    def __str__(self) -> str:
        """Name them in a sentence, after their number."""
        which = "" if self.match is None else f" matching {quoted(self.match)}"
        return f"in topic {quoted(self.topic)}{which}"


@dataclass(slots=True)
class _Tally:
    """What became of timers so far.

    Args:
        done: How many were cancelled or moved.
        running: How many of these were running; None where nobody looked.
        missing: How many were there when they were found, but not any more.
        unknown: Ids named by hand that are not there.
    """

    done: int = 0
    running: int | None = 0
    missing: int = 0
    unknown: list[str] = field(default_factory=list)

    def add(self, state: State) -> None:
        """Count one.

        Args:
            state: What it did.
        """
        if state == "unknown":
            self.missing += 1
        else:
            self.done += 1
        if state == "running":
            self.running = (self.running or 0) + 1


@dataclass(frozen=True, slots=True)
class _Change:
    """How a change is spoken of.

    Args:
        key: What it is called in JSON.
        question: Asks for it.
        answer: Tells that it was done.
        of_running: What follows for one that runs.
        of_some_running: What follows for several.
    """

    key: str
    question: str
    answer: str
    of_running: str
    of_some_running: str


_CANCEL = _Change(
    "cancelled",
    "Cancel {} {}?",
    "{} cancelled",
    "it is removed, its handler finishes",
    "they are removed, their handlers finish",
)
_MOVE = _Change(
    "moved",
    "Move {} {}?",
    "{} moved",
    "it will run again at the new time",
    "they will run again at the new time",
)
_RUN_NOW = _Change(
    "moved", "Make {} {} due now?", "{} made due", "it will run again", "they will run again"
)


def cancel(timers: TimersClient, output: Output, *, chosen: Chosen) -> int:
    """Cancel timers.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones.
    """

    def cancel_these(timer_ids: Iterable[str]) -> Iterator[tuple[str, State]]:
        return cancel_each(timers, chosen.topic, timer_ids)

    return _apply(timers, output, chosen, _CANCEL, cancel_these)


def move(
    timers: TimersClient,
    output: Output,
    *,
    chosen: Chosen,
    activate_in: timedelta | None = None,
    activate_at: datetime | None = None,
) -> int:
    """Move timers to another due time.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones.
        activate_in: Delay from now, counted by the server's clock.
        activate_at: Time with a time zone. Neither means now.
    """

    def move_these(timer_ids: Iterable[str]) -> Iterator[tuple[str, State]]:
        return move_each(
            timers, chosen.topic, timer_ids, activate_in=activate_in, activate_at=activate_at
        )

    is_now = activate_in is None and activate_at is None
    code = _apply(timers, output, chosen, _RUN_NOW if is_now else _MOVE, move_these)
    if code == DONE:
        note_past(timers, output, activate_at)
    return code


def _apply(
    timers: TimersClient,
    output: Output,
    chosen: Chosen,
    change: _Change,
    each: _Each,
) -> int:
    expected = count_chosen(timers, output, chosen)
    question = change.question.format(plural(expected or 0), chosen)
    if expected and not chosen.is_sure and not output.ask(question):
        output.note("nothing was done")
        return FAILED
    tally = _Tally()
    if expected == 0:
        # What is scheduled from now on was not asked for.
        pass
    elif chosen.everything and change is _CANCEL:
        tally.done, tally.running = timers.cancel_all(chosen.topic), None
    elif chosen.timer_ids:
        _tally_named(output, chosen, change, each(chosen.timer_ids), tally)
    else:
        _tally_found(timers, output, chosen, change, each, tally)
    # Those count too that were gone already when they were looked for a second time.
    tally.missing = max(tally.missing, (expected or 0) - tally.done)
    _report(output, chosen, change, tally)
    return UNKNOWN_ID if tally.unknown else DONE


def count_chosen(timers: TimersClient, output: Output, chosen: Chosen) -> int | None:
    """Count those that nobody named, where it costs nothing or somebody is to be asked.

    Args:
        timers: The client.
        output: Where progress goes.
        chosen: Which ones.

    Returns:
        None where they were not counted.
    """
    if chosen.everything:
        return timers.count_pending(chosen.topic)
    if chosen.match is None or chosen.is_sure:
        return None
    with examining(timers, output, chosen.topic) as advance:
        return sum(1 for _ in matching_ids(timers, chosen.topic, chosen.match, advance))


def _tally_named(
    output: Output,
    chosen: Chosen,
    change: _Change,
    outcomes: Iterator[tuple[str, State]],
    tally: _Tally,
) -> None:
    for timer_id, state in outcomes:
        if state == "unknown":
            output.error(unknown(chosen.topic, timer_id))
            tally.unknown.append(timer_id)
        else:
            tally.add(state)
        if state == "running":
            output.note(f"timer {quoted(timer_id)} was running: {change.of_running}")


def _tally_found(
    timers: TimersClient,
    output: Output,
    chosen: Chosen,
    change: _Change,
    each: _Each,
    tally: _Tally,
) -> None:
    try:
        with examining(timers, output, chosen.topic) as advance:
            found = matching_ids(timers, chosen.topic, chosen.match, advance)
            for _, state in each(found):
                tally.add(state)
    except (KeyboardInterrupt, TimersError, RedisError):
        if tally.done:
            output.note(f"{change.answer.format(plural(tally.done))} before this:")
        raise
    if tally.running:
        output.note(f"{tally.running:,} of them were running: {change.of_some_running}")


def _report(output: Output, chosen: Chosen, change: _Change, tally: _Tally) -> None:
    if output.as_json:
        output.record(
            {
                "topic": chosen.topic,
                change.key: tally.done,
                "running": tally.running,
                "fired_meanwhile": tally.missing,
                "unknown": tally.unknown,
            }
        )
    elif tally.done or tally.missing:
        fired = f", {tally.missing:,} had fired meanwhile" if tally.missing else ""
        output.line(change.answer.format(plural(tally.done)) + fired)
    if not (tally.done or tally.missing or tally.unknown):
        note_none(output, chosen.topic, chosen.match)
