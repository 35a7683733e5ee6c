"""The arguments and options that several commands share."""

import json
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from faststream_redis_timers_sync.cli.source import complete_topic
from faststream_redis_timers_sync.console import arguments
from faststream_redis_timers_sync.manage.times import parse_duration, parse_time

_T = TypeVar("_T")


def _reader(parse: Callable[[str], _T]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Turn a function that parses one text into a click callback, for one value or several."""

    def read(_: click.Context, __: click.Parameter, value: str | tuple[str, ...] | None) -> Any:
        try:
            if isinstance(value, tuple):
                return [parse(text) for text in value]
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return read


def _parse_header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        msg = f"{text!r} is not a header: write NAME=VALUE"
        raise ValueError(msg)
    return name, value


def together(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Combine several decorators into one, in the order in which `--help` lists them.

    Args:
        decorators: The decorators.
    """

    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


topic_argument = click.argument("topic", shell_complete=complete_topic)
topics_argument = click.argument(
    "topics", nargs=-1, metavar="[TOPIC]...", shell_complete=complete_topic
)
json_option = click.option("--json", "as_json", is_flag=True, help=arguments.JSON_HELP)
scan_option = click.option(
    "--scan/--no-scan",
    default=True,
    help=arguments.SCAN_HELP,
)
topics_option = click.option(
    "--topic",
    "topics",
    multiple=True,
    shell_complete=complete_topic,
    metavar="NAME",
    help=arguments.TOPIC_HELP,
)
lease_option = click.option(
    "--longest-lease",
    callback=_reader(parse_duration),
    metavar="DURATION",
    help=arguments.LEASE_HELP,
)
headers_option = click.option(
    "--header",
    "headers",
    callback=_reader(_parse_header),
    multiple=True,
    metavar="NAME=VALUE",
    help="Header of the timer. Repeatable.",
)
time_options = together(
    click.option(
        "--in",
        "activate_in",
        callback=_reader(parse_duration),
        metavar="DURATION",
        help=arguments.IN_HELP,
    ),
    click.option(
        "--at",
        "activate_at",
        callback=_reader(parse_time),
        metavar="TIME",
        help=arguments.AT_HELP,
    ),
)
repeat_options = together(
    click.option(
        "--every",
        callback=_reader(parse_duration),
        metavar="DURATION",
        help=arguments.EVERY_HELP,
    ),
    click.option("--cron", metavar="EXPRESSION", help=arguments.CRON_HELP),
    click.option("--tz", metavar="ZONE", help=arguments.TZ_HELP),
)
chosen_options = together(
    topic_argument,
    click.argument("timer_ids", nargs=-1, metavar="[ID]..."),
    click.option("--match", metavar="PATTERN", help=arguments.MATCH_HELP),
    click.option("--all", "everything", is_flag=True, help=arguments.ALL_HELP),
    click.option("-y", "--yes", "--no-input", "is_sure", is_flag=True, help=arguments.SURE_HELP),
)


def check_times(
    activate_in: timedelta | None, activate_at: datetime | None, *, needed: bool
) -> None:
    """Check that at most one time was given.

    Args:
        activate_in: The value of ``--in``.
        activate_at: The value of ``--at``.
        needed: Whether one of them is required.

    Raises:
        click.UsageError: Both were given, or none though it is needed.
    """
    if activate_in is not None and activate_at is not None:
        msg = "give --in or --at, not both"
        raise click.UsageError(msg)
    if needed and activate_in is None and activate_at is None:
        raise click.UsageError(arguments.TIME_NEEDED)


def read_message(text: str, kind: str) -> Any:
    """Read the message of a new timer.

    Args:
        text: The argument; ``-`` reads standard input.
        kind: ``text``, ``json`` or ``bytes``.

    Raises:
        click.UsageError: It is not JSON, or not UTF-8.
    """
    data = sys.stdin.buffer.read() if text == "-" else text.encode(errors="surrogateescape")
    if kind == "bytes":
        return data
    try:
        return json.loads(data) if kind == "json" else data.decode()
    except ValueError as error:
        msg = f"the message is not {kind if kind == 'json' else 'UTF-8 text'}: {error}"
        raise click.UsageError(msg) from None
