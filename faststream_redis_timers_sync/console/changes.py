"""The commands that change timers, by id, by pattern, or all of a topic."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from redis.exceptions import RedisError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console.actions import examining, note_none, note_past, unknown
from faststream_redis_timers_sync.console.errors import (
    DONE,
    FAILED,
    UNKNOWN_ID,
)
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.manage.changing import (
    REASONS,
    Cancel,
    Change,
    Reason,
    Redrive,
    Reschedule,
    Tally,
    carry_out,
    walks,
)
from faststream_redis_timers_sync.manage.chosen import Chosen, preview
from faststream_redis_timers_sync.manage.text import plural, quoted
from faststream_redis_timers_sync.protocol.errors import TimersError


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
    """

    key: str
    question: str
    answer: str
    of_running: str = ""
    of_some_running: str = ""
    reasons: tuple[Reason, ...] = ()


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
    "it will run again",
    "they will run again",
    reasons=("paused",),
)
_REDRIVE = _Words(
    "redriven",
    "Put back {} {}?",
    "{} put back",
    reasons=("waiting", "running", "other slot", "no dead letter"),
)


def cancel(timers: TimersClient, output: Output, *, chosen: Chosen, is_sure: bool = False) -> int:
    """Cancel timers.

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
    """Move timers to another due time.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones.
        is_sure: As in `cancel`.
        activate_in: Delay from now, counted by the server's clock.
        activate_at: Time with a time zone. Neither means now.
    """
    words = _RUN_NOW if activate_in is None and activate_at is None else _MOVE
    change = Reschedule(activate_in, activate_at)
    code = _apply(timers, output, chosen, change, words, is_sure=is_sure)
    if code == DONE:
        note_past(timers, output, chosen.topic, activate_at)
    return code


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
    expected = _count(timers, output, chosen, is_sure=is_sure)
    question = words.question.format(plural(expected or 0), _described(chosen))
    if expected and not is_sure and not output.ask(question):
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
            output.note(f"{words.answer.format(plural(tally.done))} before this:")
        raise
    if chosen.timer_ids:
        _report_named(output, chosen, words, tally)
    else:
        _report_found(output, words, tally)
    _report(output, chosen, words, tally)
    if tally.unknown:
        return UNKNOWN_ID
    return FAILED if chosen.timer_ids and tally.stayed else DONE


def _count(timers: TimersClient, output: Output, chosen: Chosen, *, is_sure: bool) -> int | None:
    """Count those that nobody named, where it costs nothing or somebody is to be asked."""
    if chosen.everything:
        return preview(timers, chosen).count
    if chosen.match is None or is_sure:
        return None
    with examining(timers, output, chosen.topic) as advance:
        return preview(timers, chosen, on_examined=advance).count


def _described(chosen: Chosen) -> str:
    which = "" if chosen.match is None else f" matching {quoted(chosen.match)}"
    return f"in topic {quoted(chosen.topic)}{which}"


def _report_named(output: Output, chosen: Chosen, words: _Words, tally: Tally) -> None:
    for timer_id, result, was_running in tally.named:
        if result == "unknown":
            output.error(unknown(chosen.topic, timer_id))
        elif result != "done":
            output.error(
                f"{quoted(timer_id)} stays in topic {quoted(chosen.topic)}: {REASONS[result]}"
            )
        if was_running:
            output.note(f"timer {quoted(timer_id)} was running: {words.of_running}")


def _report_found(output: Output, words: _Words, tally: Tally) -> None:
    if tally.running:
        output.note(f"{tally.running:,} of them were running: {words.of_some_running}")
    for reason, why in REASONS.items():
        if count := tally.stayed[reason]:
            output.note(f"{plural(count)} stayed: {why}")


def _report(output: Output, chosen: Chosen, words: _Words, tally: Tally) -> None:
    stayed = tally.stayed.total()
    if output.as_json:
        of_some: dict[str, Any] = {} if words is _REDRIVE else {"running": tally.running}
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
        output.line(words.answer.format(plural(tally.done)) + more)
    if not (tally.done or tally.gone or stayed or tally.unknown):
        note_none(output, chosen.topic, chosen.match)
