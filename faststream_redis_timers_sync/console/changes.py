"""The commands that change timers, by id, by pattern, or all of a topic."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from redis.exceptions import RedisError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console.actions import (
    NONE_PENDING,
    examining,
    note_none,
    note_past,
    unknown,
)
from faststream_redis_timers_sync.console.errors import (
    DONE,
    FAILED,
    UNKNOWN_ID,
)
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.manage.changing import (
    AS_WANTED,
    REASONS,
    Cancel,
    Change,
    Pause,
    Reason,
    Redrive,
    Reschedule,
    Resume,
    Tally,
    carry_out,
    concerns,
    walks,
)
from faststream_redis_timers_sync.manage.chosen import Chosen, Preview, preview
from faststream_redis_timers_sync.manage.errors import if_allowed
from faststream_redis_timers_sync.manage.text import escape, plural, quoted
from faststream_redis_timers_sync.protocol.errors import TimersError

_DECLARED = (
    "One that an application declares is created again by its next start: pause it to stop it"
)

_NAMED = 3
"""Ids that a question names."""


@dataclass(frozen=True, slots=True)
class _Words:
    """How a change is spoken of.

    Args:
        key: What it is called in JSON.
        question: Asks for it.
        answer: Tells that it was done.
        of_running: What follows for one that runs.
        of_some_running: What follows for several.
        reasons: Why some may stay as they are.
        kind: What it can be made to.
        none: Tells that there was none.
    """

    key: str
    question: str
    answer: str
    of_running: str = ""
    of_some_running: str = ""
    reasons: tuple[Reason, ...] = ()
    kind: str = "timer"
    none: str = NONE_PENDING


_CANCEL = _Words(
    "cancelled",
    "Cancel {} {}?",
    "{} cancelled",
    "it is removed, its handler finishes",
    "they are removed, their handlers finish",
)
_MOVE = _Words(
    "moved",
    "Move {} {}?",
    "{} moved",
    "it will run again at the new time",
    "they will run again at the new time",
    reasons=("paused",),
)
_RUN_NOW = _Words(
    "moved",
    "Make {} {} due now?",
    "{} made due",
    "it will run again, beside the run that goes on",
    "they will run again, beside the runs that go on",
    reasons=("paused",),
)
_PAUSE = _Words(
    "paused",
    "Pause {} {}?",
    "{} paused",
    reasons=("not recurring", "already paused"),
    kind="recurring timer",
    none="no recurring timer{} is left to be paused in topic {}",
)
_RESUME = _Words(
    "resumed",
    "Resume {} {}?",
    "{} resumed",
    reasons=("not recurring", "not paused", "no next time"),
    kind="paused timer",
    none="no timer{} is paused in topic {}",
)
_REDRIVE = _Words(
    "redriven",
    "Put back {} {}?",
    "{} put back",
    reasons=("waiting", "running", "other slot", "no dead letter"),
)


def cancel(timers: TimersClient, output: Output, *, chosen: Chosen, is_sure: bool = False) -> int:
    """Cancel timers; series end by it.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones.
        is_sure: Whether no question is asked before timers that nobody named are changed.
    """
    return _apply(timers, output, chosen, Cancel(), _CANCEL, is_sure=is_sure)


def move(
    timers: TimersClient,
    output: Output,
    *,
    chosen: Chosen,
    is_sure: bool = False,
    activate_in: timedelta | None = None,
    activate_at: datetime | None = None,
) -> int:
    """Move timers to another due time. Paused ones are moved only if they were named.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones.
        is_sure: As in `cancel`; nor is it asked before named ones that are paused are resumed
            by it.
        activate_in: Delay from now, counted by the server's clock.
        activate_at: Time with a time zone. Neither means now.
    """
    words = _RUN_NOW if activate_in is None and activate_at is None else _MOVE
    resumes = bool(chosen.timer_ids) and is_sure
    if chosen.timer_ids and not is_sure and (paused := _paused_ones(timers, chosen)):
        them = "it" if len(paused) == 1 else "them"
        if not output.ask(f"{_named(paused)} paused; this resumes {them}. Go on?"):
            output.note("nothing was done")
            return FAILED
        resumes = True
    change = Reschedule(activate_in, activate_at, resumes=resumes)
    code = _apply(timers, output, chosen, change, words, is_sure=is_sure)
    if code == DONE:
        note_past(timers, output, chosen.topic, activate_at)
    return code


def _named(timer_ids: list[str]) -> str:
    names = ", ".join(map(quoted, timer_ids[:_NAMED]))
    if len(timer_ids) == 1:
        return f"timer {names} is"
    return f"{plural(len(timer_ids))} ({names}{', ...' if timer_ids[_NAMED:] else ''}) are"


def _paused_ones(timers: TimersClient, chosen: Chosen) -> list[str]:
    # Who may not look can move those that are not paused.
    with if_allowed():
        return [timer.timer_id for timer in preview(timers, chosen).timers if timer.paused]
    return []


def pause(timers: TimersClient, output: Output, *, chosen: Chosen, is_sure: bool = False) -> int:
    """Pause recurring timers.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones.
        is_sure: As in `cancel`.

    Returns:
        The exit code: 3 where a named one is unknown, 1 where a named one is due once.
    """
    return _apply(timers, output, chosen, Pause(), _PAUSE, is_sure=is_sure)


def resume(timers: TimersClient, output: Output, *, chosen: Chosen, is_sure: bool = False) -> int:
    """Resume recurring timers that are paused.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones.
        is_sure: As in `cancel`.

    Returns:
        The exit code: 3 where a named one is unknown, 1 where a named one is due once, or its
        next time can't be computed here.
    """
    return _apply(timers, output, chosen, Resume(), _RESUME, is_sure=is_sure)


def redrive(timers: TimersClient, output: Output, *, chosen: Chosen, is_sure: bool = False) -> int:
    """Put dead letters back where they come from.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones, of a topic for dead letters.
        is_sure: As in `cancel`.

    Returns:
        The exit code: 3 where a named one is unknown, 1 where a named one stays.
    """
    return _apply(timers, output, chosen, Redrive(), _REDRIVE, is_sure=is_sure)


def _apply(
    timers: TimersClient,
    output: Output,
    chosen: Chosen,
    change: Change,
    words: _Words,
    *,
    is_sure: bool,
) -> int:
    seen = _preview(timers, output, chosen, change, is_sure=is_sure)
    expected = None if seen is None else seen.count
    if seen and not is_sure and not _is_wanted(output, chosen, words, seen):
        output.note("nothing was done")
        return FAILED
    tally = Tally()
    shows = expected != 0 and walks(change, chosen)
    try:
        with examining(timers, output, chosen.topic, if_=shows) as advance:
            carry_out(timers, change, chosen, tally, expected=expected, on_examined=advance)
    except (KeyboardInterrupt, TimersError, RedisError):
        _report_named(output, chosen, words, tally)
        if tally.done:
            output.note(f"{words.answer.format(plural(tally.done, words.kind))} before this:")
        raise
    if chosen.timer_ids:
        _report_named(output, chosen, words, tally)
    else:
        _report_found(output, words, tally)
    _report(output, chosen, words, tally)
    if tally.unknown:
        return UNKNOWN_ID
    has_failed = chosen.timer_ids and tally.stayed.keys() - AS_WANTED
    return FAILED if has_failed else DONE


def _preview(
    timers: TimersClient, output: Output, chosen: Chosen, change: Change, *, is_sure: bool
) -> Preview | None:
    """Count those that nobody named, where it costs nothing or somebody is to be asked."""
    is_concerned = concerns(change)
    if chosen.timer_ids or (is_sure and not (chosen.everything and is_concerned is None)):
        return None
    walk = chosen.match is not None or is_concerned is not None
    with examining(timers, output, chosen.topic, if_=walk) as advance:
        return preview(timers, chosen, concerns=is_concerned, on_examined=advance)


def _is_wanted(output: Output, chosen: Chosen, words: _Words, seen: Preview) -> bool:
    count = seen.count
    if "paused" in words.reasons and seen.paused:
        count -= seen.paused
        output.note(f"{plural(seen.paused)} paused: left out")
    if not count:
        return True
    if words is _CANCEL and seen.recurring is None:
        output.note(f"recurring ones among them end. {_DECLARED}")
    elif words is _CANCEL and seen.recurring:
        is_one = seen.recurring == 1
        more = "is recurring: its series ends" if is_one else "are recurring: their series end"
        output.note(f"{seen.recurring:,} of them {more}. {_DECLARED}")
    return output.ask(words.question.format(plural(count, words.kind), _described(chosen)))


def _described(chosen: Chosen) -> str:
    which = "" if chosen.match is None else f" matching {quoted(chosen.match)}"
    return f"in topic {quoted(chosen.topic)}{which}"


def _report_named(output: Output, chosen: Chosen, words: _Words, tally: Tally) -> None:
    for outcome in tally.named:
        name, result = quoted(outcome.timer_id), outcome.result
        if result == "unknown":
            output.error(unknown(chosen.topic, outcome.timer_id))
        elif result in AS_WANTED:
            output.note(f"timer {name} is {REASONS[result]}")
        elif result == "not recurring":
            output.error(f"timer {name} is not recurring: it was not {words.key}")
        elif result != "done":
            detail = f": {escape(outcome.detail)}" if outcome.detail else ""
            output.error(f"{name} stays in topic {quoted(chosen.topic)}: {REASONS[result]}{detail}")
        if outcome.was_running:
            output.note(f"timer {name} was running: {words.of_running}")
        if outcome.was_recurring:
            output.note(f"timer {name} was recurring: its series has ended{_again(outcome.owner)}")


def _again(owner: str) -> str:
    if not owner:
        return ""
    return f", and the next start of '{owner}' creates it again: pause it to stop it"


def _report_found(output: Output, words: _Words, tally: Tally) -> None:
    if tally.running:
        output.note(f"{tally.running:,} of them were running: {words.of_some_running}")
    if tally.recurring:
        output.note(f"{tally.recurring:,} of them were recurring: their series have ended")
    for reason in words.reasons:
        if count := tally.stayed[reason]:
            output.note(f"{plural(count)} stayed: {REASONS[reason]}")


def _report(output: Output, chosen: Chosen, words: _Words, tally: Tally) -> None:
    stayed = tally.stayed.total()
    if output.as_json:
        of_some: dict[str, Any] = {"running": tally.running} if words.of_running else {}
        if words is _CANCEL:
            of_some["recurring"] = tally.recurring
        if words.reasons:
            of_some["stayed"] = {
                reason.replace(" ", "_"): tally.stayed[reason] for reason in words.reasons
            }
        output.record(
            {
                "topic": chosen.topic,
                words.key: tally.done,
                **of_some,
                "gone": tally.gone,
                "unknown": tally.unknown,
            }
        )
    elif tally.done or tally.gone or stayed:
        more = f", {stayed:,} stayed" if stayed else ""
        more += f", {tally.gone:,} gone meanwhile" if tally.gone else ""
        output.line(words.answer.format(plural(tally.done, words.kind)) + more)
    if not (tally.done or tally.gone or stayed or tally.unknown):
        note_none(output, chosen.topic, chosen.match, words.none)
