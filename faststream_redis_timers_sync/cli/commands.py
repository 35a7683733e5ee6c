"""The commands, for any group that hands a `Source` to them."""

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
    """List topics.

    Each with how many timers are pending and how many workers listen. Topics are found by their
    workers, and by a look through all keys of the database.
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

    With --match alone the order is none. While a timer runs, its time is the end of its
    lease. A paused one has none. Bodies are not shown: see "show".
    """
    run(actions.list_timers, **options)


@click.command()
@topic_argument
@click.argument("timer_id", metavar="ID")
@click.option("--raw", is_flag=True, help=arguments.RAW_HELP)
@json_option
def show(**options: Any) -> None:
    """Show a timer: its body, headers and times.

    Of a recurring one the definition too, and the next three times, in its time zone and in UTC.
    """
    run(actions.show_timer, **options)


@click.command()
@topic_argument
@click.argument("message")
@time_options
@repeat_options
@click.option("--id", "timer_id", metavar="ID", help="Its id; by default a new one.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["text", "json", "bytes"]),
    default="text",
    show_default=True,
    help="What the message is.",
)
@headers_option
@click.option("--correlation-id", metavar="ID", help="By default the timer's id.")
@click.option("--reply-to", default="", metavar="TOPIC", help="Topic for the handler's result.")
@click.option(
    "--if-exists",
    type=click.Choice(["update", "replace", "keep", "error"]),
    help="Where a timer of this id waits already. By default a recurring timer is updated, and "
    "keeps its next time if its definition is the same; another is replaced.",
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
    """Schedule a timer and print its id.

    MESSAGE is its body; - reads it from standard input. Without --in and --at it is due
    at once. With --every or --cron it is recurring and needs an --id; standard error then says
    when it is due next.
    """
    check_times(activate_in, activate_at, needed=False)
    repeat = _repeat(every, cron, tz)
    if repeat is not None and (activate_in is not None or activate_at is not None):
        msg = "give --in or --at, or --every or --cron: a recurring timer has its own times"
        raise click.UsageError(msg)
    if repeat is not None and timer_id is None:
        msg = "a recurring timer needs an --id, by which it is known"
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
    """Cancel timers, and end the series of recurring ones.

    By id, by pattern, or all of a topic. Exit code 3 if an ID is unknown. Afterwards none of
    them is there, also one that runs: its handler finishes. "pause" stops a series for a while.
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
    """Move timers to another time.

    By id, by pattern, or all of a topic. Exit code 3 if an ID is unknown. One that runs at this
    moment runs again then. Of a recurring timer the next time alone is moved. One that is paused
    is resumed by it: that is asked first for an ID, others are left out.
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

    By id, by pattern, or all of a topic. Exit code 3 if an ID is unknown. Of one that runs at this
    moment a second run starts beside it. A recurring timer goes on at its next time. One that is
    paused is resumed by it: that is asked first for an ID, others are left out.
    """
    run(changes.move, as_json=as_json, **_chosen(**chosen))


@click.command()
@chosen_options
@json_option
def pause(*, as_json: bool, **chosen: Any) -> None:
    """Pause recurring timers.

    By id, by pattern, or all of a topic. A handler that runs finishes. Nothing is due until
    "resume"; what falls due meanwhile is not made up for. Exit code 3 if an ID is unknown, 1 if
    one is not recurring.
    """
    run(changes.pause, as_json=as_json, **_chosen(**chosen))


@click.command()
@chosen_options
@json_option
def resume(*, as_json: bool, **chosen: Any) -> None:
    """Resume recurring timers that are paused.

    By id, by pattern, or all of a topic. Each is due at its next time. Exit code 3 if an ID is
    unknown, 1 if one is not recurring, or its next time can't be computed here.
    """
    run(changes.resume, as_json=as_json, **_chosen(**chosen))


@click.command()
@chosen_options
@json_option
def redrive(*, as_json: bool, **chosen: Any) -> None:
    """Put dead letters back where they come from.

    TOPIC is the topic for dead letters, as "invoices:dead". By id there, by pattern, or all of
    it. Each comes back under its old id, due at once. One stays where a timer of that id waits,
    where a handler runs with it, where it comes from a topic of another slot (with hash tags), or
    where it is no dead letter. Exit code 3 if an ID is unknown, 1 if one that was named stays.
    """
    run(changes.redrive, as_json=as_json, **_chosen(**chosen))


@click.command()
@topics_argument
@scan_option
@json_option
def stats(**options: Any) -> None:
    """Count what is pending, overdue, paused and due soon, by topic.

    Without a TOPIC all that can be found.
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

    Of several topics together; without a TOPIC of all that can be found. Times are this machine's,
    and the heading has their offset from UTC. What is overdue or due later follows, and how many
    are paused. Dead letters count for nothing else.
    """
    run(actions.show_forecast, known=known_topics(), **options)


@click.command()
@topics_argument
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks.",
)
@scan_option
@json_option
def watch(**options: Any) -> None:
    """Watch topics, until Ctrl-C.

    Without a TOPIC all that can be found. Where the output is no terminal, each look is
    written as lines.
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
    """Tell what is wrong with the server.

    Looks at version, mode, role, eviction policy, memory, persistence, permissions, layout of
    keys and clock; at those of each node of a cluster, and at its slots and replicas.
    Exit code 1 if timers can't do with something.
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
