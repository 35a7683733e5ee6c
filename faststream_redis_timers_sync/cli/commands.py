"""The commands, for any group that hands a `Source` to them."""

import math
from datetime import datetime, timedelta
from typing import Any

import click

from faststream_redis_timers_sync.cli.parameters import (
    check_times,
    chosen_options,
    headers_option,
    json_option,
    read_message,
    repeat_options,
    scan_option,
    time_options,
    topic_argument,
    topics_argument,
)
from faststream_redis_timers_sync.cli.source import known_topics, run
from faststream_redis_timers_sync.console import actions, arguments, changes, watch as watching
from faststream_redis_timers_sync.console.errors import CommandError
from faststream_redis_timers_sync.manage.forecast import Range
from faststream_redis_timers_sync.manage.roles import ROLES
from faststream_redis_timers_sync.protocol.recurrence import Cron, Every


@click.command()
@scan_option
@json_option
def topics(**options: Any) -> None:
    """List topics, with their pending timers and listening workers.

    Finds topics through their workers, and by scanning all keys of the database.
    """
    run(actions.show_topics, known=known_topics(), **options)


@click.command("list")
@topic_argument
@click.option("--match", metavar="PATTERN", help=arguments.LIST_MATCH_HELP)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help=arguments.LIMIT_HELP)
@click.option("--series", "recurring", is_flag=True, help=arguments.SERIES_HELP)
@json_option
def list_(**options: Any) -> None:
    """List the timers of a topic, in order of due time.

    With --match but no --limit, they come in no order. The time of a running timer is the end
    of its lease; a paused timer has none. Bodies are not shown: use "show".
    """
    run(actions.list_timers, **options)


@click.command()
@topic_argument
@click.argument("timer_id", metavar="ID")
@click.option("--raw", is_flag=True, help=arguments.RAW_HELP)
@json_option
def show(**options: Any) -> None:
    """Show a timer: its body, headers and times.

    Also shows the definition of a recurring timer, and its next three times, in its time zone
    and in UTC.
    """
    run(actions.show_timer, **options)


@click.command()
@topic_argument
@click.argument("message")
@time_options
@repeat_options
@click.option("--id", "timer_id", metavar="ID", help="ID of the timer. Default: a new one.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["text", "json", "bytes"]),
    default="text",
    show_default=True,
    help="Type of the message.",
)
@headers_option
@click.option("--correlation-id", metavar="ID", help="Default: the timer's ID.")
@click.option("--reply-to", default="", metavar="TOPIC", help="Topic for the handler's result.")
@click.option(
    "--if-exists",
    type=click.Choice(["update", "replace", "keep", "error"]),
    help="What to do if a timer with this ID is waiting. Default: replace it; update a recurring "
    "timer, which keeps its next time if its definition is unchanged.",
)
@json_option
def schedule(  # noqa: PLR0913  a timer has that many options
    *,
    message: str,
    kind: str,
    headers: list[tuple[str, str]],
    activate_in: timedelta | None,
    activate_at: datetime | None,
    every: timedelta | None,
    cron: str | None,
    tz: str | None,
    timer_id: str | None,
    **options: Any,
) -> None:
    """Schedule a timer and print its ID.

    MESSAGE is the body; - reads it from standard input. Without --in or --at, the timer is due
    at once. With --every or --cron it is recurring and needs an --id; standard error then says
    when it is due next.
    """
    check_times(activate_in, activate_at, needed=False)
    repeat = _repeat(every, cron, tz)
    if repeat is not None and (activate_in is not None or activate_at is not None):
        msg = "give --in or --at, or --every or --cron: a recurring timer has its own times"
        raise click.UsageError(msg)
    if repeat is not None and timer_id is None:
        msg = "a recurring timer needs an --id"
        raise click.UsageError(msg)
    run(
        actions.schedule,
        message=read_message(message, kind),
        headers=dict(headers) or None,
        activate_in=activate_in,
        activate_at=activate_at,
        repeat=repeat,
        timer_id=timer_id,
        **options,
    )


@click.command()
@chosen_options
@json_option
def cancel(*, as_json: bool, **chosen: Any) -> None:
    """Cancel timers, and end the series of recurring timers.

    By ID, by pattern, or all timers of a topic. Running timers are cancelled too, but their
    handlers finish. To stop a series for a while, use "pause". Exit code 3 if an ID is unknown.
    """
    run(changes.cancel, as_json=as_json, **_chosen(**chosen))


@click.command()
@chosen_options
@time_options
@json_option
def reschedule(
    *,
    activate_in: timedelta | None,
    activate_at: datetime | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Reschedule timers to another time.

    By ID, by pattern, or all timers of a topic. A running timer runs again at the new time. Only
    the next occurrence of a recurring timer moves. Rescheduling a paused timer by ID resumes it,
    after a question; other paused timers are left out. Exit code 3 if an ID is unknown.
    """
    check_times(activate_in, activate_at, needed=True)
    run(
        changes.move,
        as_json=as_json,
        **_chosen(**chosen),
        activate_in=activate_in,
        activate_at=activate_at,
    )


@click.command("run-now")
@chosen_options
@json_option
def run_now(*, as_json: bool, **chosen: Any) -> None:
    """Make timers due at once.

    By ID, by pattern, or all timers of a topic. A running timer starts a second run beside the
    first. A recurring timer continues at its next time. Running a paused timer by ID resumes it,
    after a question; other paused timers are left out. Exit code 3 if an ID is unknown.
    """
    run(changes.move, as_json=as_json, **_chosen(**chosen))


@click.command()
@chosen_options
@json_option
def pause(*, as_json: bool, **chosen: Any) -> None:
    """Pause recurring timers.

    By ID, by pattern, or all timers of a topic. Running handlers finish. Paused timers are not
    due until "resume", and occurrences that they miss are not made up for. Exit code 3 if an ID
    is unknown, 1 if a named timer is not recurring.
    """
    run(changes.pause, as_json=as_json, **_chosen(**chosen))


@click.command()
@chosen_options
@json_option
def resume(*, as_json: bool, **chosen: Any) -> None:
    """Resume paused recurring timers.

    By ID, by pattern, or all timers of a topic. Each is due at its next time. Exit code 3 if an
    ID is unknown, 1 if a named timer is not recurring, or its next time can't be computed here.
    """
    run(changes.resume, as_json=as_json, **_chosen(**chosen))


@click.command()
@chosen_options
@json_option
def redrive(*, as_json: bool, **chosen: Any) -> None:
    """Redrive dead letters to the topics they came from.

    TOPIC is the dead-letter topic, such as "invoices:dead". By ID there, by pattern, or all of
    it. Each returns under its old ID, due at once. A dead letter stays if a timer with its old ID
    is waiting or recurring, if a handler is running with it, or if (with hash tags) it came from
    a topic in another slot. Exit code 3 if an ID is unknown, 1 if a named dead letter stays.
    """
    run(changes.redrive, as_json=as_json, **_chosen(**chosen))


@click.command()
@topics_argument
@scan_option
@json_option
def stats(**options: Any) -> None:
    """Count timers by topic: pending, overdue, paused, due soon.

    Without a TOPIC, counts all topics that can be found.
    """
    run(actions.show_stats, known=known_topics(), **options)


@click.command()
@topics_argument
@click.option(
    "--range",
    "reach",
    type=click.Choice([each.value for each in Range]),
    default=Range.DAY.value,
    show_default=True,
    help=arguments.RANGE_HELP,
)
@scan_option
@json_option
def forecast(**options: Any) -> None:
    """Count how many timers are due when.

    Counts all named topics together; without a TOPIC, all that can be found. Times are in this
    machine's time zone, whose offset from UTC is in the heading. Overdue, later and paused timers
    are counted below. Dead letters are counted apart.
    """
    run(actions.show_forecast, known=known_topics(), **options)


def _check_number(_: click.Context, __: click.Parameter, value: float) -> float:
    # NaN is in every range.
    if math.isnan(value):
        msg = f"{value} is not a number"
        raise click.BadParameter(msg)
    return value


@click.command()
@topics_argument
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=86_400),
    callback=_check_number,
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds between updates.",
)
@scan_option
@json_option
def watch(**options: Any) -> None:
    """Watch the counts of topics, until Ctrl-C.

    Without a TOPIC, watches all that can be found. If the output is not a terminal, or is narrow,
    prints each update as new lines.
    """
    run(watching.watch, known=known_topics(), **options)


@click.command()
@click.option("--topic", default="any", help=arguments.CHECK_TOPIC_HELP)
@click.option(
    "--role",
    type=click.Choice(list(ROLES)),
    help=arguments.ROLE_HELP,
)
@json_option
def check(**options: Any) -> None:
    """Check the server for problems.

    Checks version, mode, role, eviction policy, memory, persistence, permissions, layout of keys
    and clock; in a cluster, those of each node, and slots and replicas. Exit code 1 if a finding
    is an error.
    """
    run(actions.check, **options)


def _repeat(every: timedelta | None, cron: str | None, tz: str | None) -> Every | Cron | None:
    try:
        return arguments.read_repeat(every, cron, tz)
    except CommandError as error:
        raise click.UsageError(str(error)) from None


def _chosen(*, is_sure: bool, **options: Any) -> dict[str, Any]:
    try:
        return {"chosen": arguments.choose(**options), "is_sure": is_sure}
    except CommandError as error:
        raise click.UsageError(str(error)) from None


COMMANDS = (
    topics,
    list_,
    show,
    schedule,
    cancel,
    reschedule,
    run_now,
    pause,
    resume,
    redrive,
    stats,
    forecast,
    watch,
    check,
)
"""All commands."""
