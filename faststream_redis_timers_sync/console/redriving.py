"""The command that puts dead letters back, by id, by pattern, or all of a topic."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from redis.exceptions import RedisError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console.actions import examining, note_none, unknown
from faststream_redis_timers_sync.console.changes import Chosen, count_chosen
from faststream_redis_timers_sync.console.errors import DONE, FAILED, UNKNOWN_ID
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.manage.selection import (
    OnExamined,
    list_timers,
    matching_ids,
    redrive_each,
)
from faststream_redis_timers_sync.manage.text import plural, quoted
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.operations import Fate

_STAYS: dict[Fate, str] = {
    "waiting": "a timer of the old id waits",
    "running": "a handler runs with it",
    "no dead letter": "no dead letter",
}
"""Why a timer of a topic for dead letters stays there."""


@dataclass(slots=True)
class _Tally:
    """What became of dead letters so far.

    Args:
        moved: How many were put back.
        missing: How many were there when they were found, but not any more.
        stayed: How many stay, by the reason.
        unknown: Ids named by hand that are not there.
    """

    moved: int = 0
    missing: int = 0
    stayed: Counter[Fate] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)

    def add(self, fate: Fate) -> None:
        """Count one.

        Args:
            fate: What became of it.
        """
        if fate == "moved":
            self.moved += 1
        elif fate == "unknown":
            self.missing += 1
        else:
            self.stayed[fate] += 1


def redrive(timers: TimersClient, output: Output, *, chosen: Chosen) -> int:
    """Put dead letters back where they come from.

    Args:
        timers: The client.
        output: Where to.
        chosen: Which ones, of a topic for dead letters.

    Returns:
        The exit code: 3 where a named one is unknown, 1 where a named one stays.
    """
    expected = count_chosen(timers, output, chosen)
    question = f"Put back {plural(expected or 0)} {chosen}?"
    if expected and not chosen.is_sure and not output.ask(question):
        output.note("nothing was done")
        return FAILED
    tally = _Tally()
    if chosen.timer_ids:
        _redrive_named(timers, output, chosen, tally)
    elif expected != 0:
        _redrive_found(timers, output, chosen, expected, tally)
    # Those count too that were gone already when they were looked for a second time.
    seen = tally.moved + tally.stayed.total()
    tally.missing = max(tally.missing, (expected or 0) - seen)
    _report(output, chosen, tally)
    if tally.unknown:
        return UNKNOWN_ID
    return FAILED if chosen.timer_ids and tally.stayed else DONE


def _redrive_named(timers: TimersClient, output: Output, chosen: Chosen, tally: _Tally) -> None:
    for timer_id, fate in redrive_each(timers, chosen.topic, chosen.timer_ids):
        if fate == "unknown":
            output.error(unknown(chosen.topic, timer_id))
            tally.unknown.append(timer_id)
            continue
        tally.add(fate)
        if fate in _STAYS:
            output.error(
                f"{quoted(timer_id)} stays in topic {quoted(chosen.topic)}: {_STAYS[fate]}"
            )


def _redrive_found(
    timers: TimersClient, output: Output, chosen: Chosen, expected: int | None, tally: _Tally
) -> None:
    try:
        with examining(timers, output, chosen.topic) as advance:
            found = _find(timers, chosen, expected, advance)
            for _, fate in redrive_each(timers, chosen.topic, found):
                tally.add(fate)
    except (KeyboardInterrupt, TimersError, RedisError):
        if tally.moved:
            output.note(f"{plural(tally.moved)} put back before this:")
        raise
    for fate, why in _STAYS.items():
        if count := tally.stayed[fate]:
            output.note(f"{plural(count)} stayed: {why}")


def _find(
    timers: TimersClient, chosen: Chosen, expected: int | None, on_examined: OnExamined | None
) -> Iterator[str]:
    if chosen.match is not None:
        return matching_ids(timers, chosen.topic, chosen.match, on_examined)
    # In order, since of those with one old id the first comes back; and what dies
    # meanwhile, maybe the very same again, is left for the next time.
    every = list_timers(timers, chosen.topic, on_examined=on_examined)
    return (timer.timer_id for timer in islice(every, expected))


def _report(output: Output, chosen: Chosen, tally: _Tally) -> None:
    stayed = tally.stayed.total()
    if output.as_json:
        output.record(
            {
                "topic": chosen.topic,
                "redriven": tally.moved,
                "stayed": {fate.replace(" ", "_"): tally.stayed[fate] for fate in _STAYS},
                "fired_meanwhile": tally.missing,
                "unknown": tally.unknown,
            }
        )
    elif tally.moved or tally.missing or stayed:
        more = f", {stayed:,} stayed" if stayed else ""
        more += f", {tally.missing:,} had fired meanwhile" if tally.missing else ""
        output.line(f"{plural(tally.moved)} put back{more}")
    if not (tally.moved or tally.missing or stayed or tally.unknown):
        note_none(output, chosen.topic, chosen.match)
