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
    "A series that an application declares is created again by its next start: pause it instead"
)

_NAMED = 3
"""Ids that a question names."""


@dataclass(frozen=True, slots=True)
class _Words:
    """The words for a change.

    Args:
        key: Its name in JSON.
        question: Asks whether to make it.
        answer: Says that it was made.
        of_running: What happens to one running timer.
        of_some_running: What happens to several.
        reasons: Why timers may be left unchanged.
        kind: The kind of timer that it applies to.
        none: Says that there was none.
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
    "it is removed, but its handler finishes",
    "they are removed, but their handlers finish",
)
_MOVE = _Words(
    "moved",
    "Reschedule {} {}?",
    "{} rescheduled",
    "it will run again at the new time",
    "they will run again at the new time",
    reasons=("paused",),
)
_RUN_NOW = _Words(
    "moved",
    "Make {} {} due now?",
    "{} made due",
    "a second run starts beside the first",
    "a second run of each starts beside the first",
    reasons=("paused",),
)
_PAUSE = _Words(
    "paused",
    "Pause {} {}?",
    "{} paused",
    reasons=("not recurring", "already paused"),
    kind="recurring timer",
    none="no recurring timer{} is left to pause in topic {}",
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
    "Redrive {} {}?",
    "{} redriven",
    reasons=("waiting", "running", "other slot", "no dead letter"),
)


def cancel(timers: TimersClient, output: Output, *, chosen: Chosen, is_sure: bool = False) -> int:
    """Cancel timers, which ends series.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones.
        is_sure: Whether to change timers that were not named without asking first.
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
    """Reschedule timers. Paused timers are rescheduled only if they were named.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones.
        is_sure: As in `cancel`; also resumes named paused timers without asking first.
        activate_in: Delay from now, counted by the server's clock.
        activate_at: Aware datetime. Neither means now.
    """
    words = _RUN_NOW if activate_in is None and activate_at is None else _MOVE
    resumes = bool(chosen.timer_ids) and is_sure
    if chosen.timer_ids and not is_sure and (paused := _paused_ones(timers, chosen)):
        them = "it" if len(paused) == 1 else "them"
        if not output.ask(f"{_named(paused)} paused; this resumes {them}. Continue?"):
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
    # A user without the right to read can still reschedule timers that are not paused.
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
        The exit code: 3 if a named timer is unknown, 1 if a named timer is due once.
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
        The exit code: 3 if a named timer is unknown, 1 if a named timer is due once or its next
        time can't be computed here.
    """
    return _apply(timers, output, chosen, Resume(), _RESUME, is_sure=is_sure)


def redrive(timers: TimersClient, output: Output, *, chosen: Chosen, is_sure: bool = False) -> int:
    """Redrive dead letters to the topics they came from.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones, of a dead-letter topic.
        is_sure: As in `cancel`.

    Returns:
        The exit code: 3 if a named dead letter is unknown, 1 if a named dead letter stays.
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
    if seen and not is_sure and seen.count and not _asks_about(words, seen):
        # Nobody was asked, so timers that were scheduled since were not confirmed.
        tally.stayed["paused"] = seen.paused
        expected = 0
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
    """Count timers that were not named, if that costs nothing or a question follows."""
    is_concerned = concerns(change)
    if chosen.timer_ids or (is_sure and not (chosen.everything and is_concerned is None)):
        return None
    walk = chosen.match is not None or is_concerned is not None
    with examining(timers, output, chosen.topic, if_=walk) as advance:
        return preview(timers, chosen, concerns=is_concerned, on_examined=advance)


def _is_wanted(output: Output, chosen: Chosen, words: _Words, seen: Preview) -> bool:
    count = _asks_about(words, seen)
    if count < seen.count:
        output.note(f"{plural(seen.paused)} paused: left out")
    if not count:
        return True
    if words is _CANCEL and seen.recurring is None:
        output.note(f"recurring timers among them end. {_DECLARED}")
    elif words is _CANCEL and seen.recurring:
        is_one = seen.recurring == 1
        more = "is recurring: its series ends" if is_one else "are recurring: their series end"
        output.note(f"{seen.recurring:,} of them {more}. {_DECLARED}")
    return output.ask(words.question.format(plural(count, words.kind), _described(chosen)))


def _asks_about(words: _Words, seen: Preview) -> int:
    """Return how many of the counted timers the change applies to."""
    return seen.count - (seen.paused if "paused" in words.reasons else 0)


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
    return f", but the next start of '{owner}' creates it again: to stop it, pause it"


def _report_found(output: Output, words: _Words, tally: Tally) -> None:
    if tally.running:
        output.note(f"{tally.running:,} of them were running: {words.of_some_running}")
    if tally.recurring:
        output.note(f"{tally.recurring:,} of them were recurring: their series have ended")
    for reason in words.reasons:
        if count := tally.stayed[reason]:
            output.note(f"{plural(count)} unchanged: {REASONS[reason]}")


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
        more = f", {stayed:,} unchanged" if stayed else ""
        more += f", {tally.gone:,} no longer pending" if tally.gone else ""
        output.line(words.answer.format(plural(tally.done, words.kind)) + more)
    if not (tally.done or tally.gone or stayed or tally.unknown):
        note_none(output, chosen.topic, chosen.match, words.none)
