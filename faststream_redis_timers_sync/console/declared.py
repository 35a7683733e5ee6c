"""Declared series: created, updated, compared and reported."""

from redis.exceptions import OutOfMemoryError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console.errors import DONE, FAILED, MISUSED, CommandError
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.console.tables import Cell, Column
from faststream_redis_timers_sync.manage.series import definition_text
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.manage.text import escape, quoted
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.model import EnsuredSeries, Series

CHECK_HELP = "Change nothing; print what would change. Exit code 1 if anything would."
OWNER_HELP = "Owner of the series, such as the application's name."
PRUNE_HELP = "Cancel series that this owner declared before and no longer declares."

_STATES = ("created", "changed", "updated", "unchanged", "removed")
_STYLES = {
    "created": "green",
    "changed": "yellow",
    "updated": "yellow",
    "unchanged": "dim",
    "undeclared": "red",
    "pruned": "red",
}
_WIDEST_TOPIC = 30


def ensure_declared(
    timers: TimersClient,
    output: Output,
    *,
    series: list[Series],
    owner: str,
    check: bool = False,
    prune: bool = False,
) -> int:
    """Create and update the series that a project declares, and print the result for each.

    Args:
        timers: The client.
        output: Where to.
        series: The series.
        owner: Who declares them.
        check: Whether to change nothing. The exit code is then 1 if something would change.
        prune: Whether to cancel series that are no longer declared.

    Raises:
        CommandError: A series can't be declared.
    """
    ensured = _ensure(timers, series, owner, check=check, prune=prune)
    gone = "pruned" if prune else "undeclared"
    rows = [(gone if state == "removed" else state, name) for state, name in _rows_of(ensured)]
    if output.as_json:
        for state, (topic, timer_id) in rows:
            skips = (topic, timer_id) in ensured.skipping
            record = {"series": state, "topic": topic, "timer_id": timer_id}
            output.record({**record, "skips_occurrences": skips})
    elif rows:
        widest = max(len(escape(topic)) for _, (topic, _) in rows)
        columns = [
            Column("SERIES", len("undeclared")),
            Column("TOPIC", min(widest, _WIDEST_TOPIC)),
            Column("ID"),
        ]
        output.table(columns, ([_state(s), _name(t), _name(i)] for s, (t, i) in rows))
    else:
        output.note(f"{quoted(owner)} declares no series")
    for name in ensured.skipping:
        output.note(_skipping(*name))
    if ensured.removed and not prune:
        output.note(
            f"series that are no longer declared still run ({len(ensured.removed)}): "
            "--prune cancels them"
        )
    is_done = not (ensured.created or ensured.changed or ensured.updated or ensured.removed)
    return DONE if is_done or not check else FAILED


def ensure_before_worker(
    timers: TimersClient, output: Output, *, series: list[Series], owner: str
) -> int:
    """Create and update series before a worker starts, and print what changed.

    Args:
        timers: The client.
        output: Where to; unchanged series have no line.
        series: The series.
        owner: Who declares them.

    Raises:
        CommandError: A series can't be declared.
    """
    try:
        ensured = _ensure(timers, series, owner, check=False, prune=False)
    except (OutOfMemoryError, TimersError) as error:
        # As when a broker starts: delivery is what frees memory.
        output.note(f"declared series were not all ensured, the next start tries again: {error}")
        return DONE
    full = internals_of(timers).full
    repeats = {
        (topic, one.timer_id): definition_text(one.repeat.bound_to(topic, one.timer_id))
        for one in series
        for topic in [full(one.topic)]
    }
    for state, (topic, timer_id) in _rows_of(ensured):
        told = f"series {quoted(timer_id)} of topic {quoted(topic)}"
        if state == "removed":
            output.note(
                f"{told} is no longer declared by {quoted(owner)} but still runs: "
                "manage.py timers_series --prune cancels it"
            )
        elif state != "unchanged":
            output.note(f"{told} was {state}: {repeats[topic, timer_id]}")
    for name in ensured.skipping:
        output.note(_skipping(*name))
    return DONE


def _ensure(
    timers: TimersClient, series: list[Series], owner: str, *, check: bool, prune: bool
) -> EnsuredSeries:
    try:
        if check:
            return timers.compare_series(series, owner=owner)
        return timers.ensure_series(series, owner=owner, prune=prune)
    except TypeError as error:
        # A message or header that can't be encoded.
        msg = f"series can't be declared: {error}"
        raise CommandError(msg, MISUSED) from error


def _rows_of(ensured: EnsuredSeries) -> list[tuple[str, tuple[str, str]]]:
    return [(state, name) for state in _STATES for name in getattr(ensured, state)]


def _state(state: str) -> Cell:
    return Cell(state, _STYLES[state])


def _name(name: str) -> Cell:
    return Cell(escape(name), "bold")


def _skipping(topic: str, timer_id: str) -> str:
    return (
        f"WARNING: series {quoted(timer_id)} of topic {quoted(topic)} skips occurrences: it is due "
        "later than its next time. If nobody rescheduled it, the server's clock was ahead: pause "
        "and resume it."
    )
