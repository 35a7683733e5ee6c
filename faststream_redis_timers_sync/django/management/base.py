"""What the commands share: the alias, common options, exit codes.

Their work and output is in `console`. On a terminal, output has tables and colours if rich is
installed (``pip install 'faststream-redis-timers[cli,django]'``); otherwise it is plain text.
"""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from faststream_redis_timers_sync.console import arguments
from faststream_redis_timers_sync.console.actions import perform
from faststream_redis_timers_sync.console.arguments import choose
from faststream_redis_timers_sync.console.errors import (
    EXIT_CODES,
    FAILED,
    MISUSED,
    CommandError as MisusedError,
)
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.django.clients import get_client
from faststream_redis_timers_sync.django.conf import DEFAULT_ALIAS
from faststream_redis_timers_sync.manage.times import parse_duration, parse_time

_T = TypeVar("_T")


class TimersCommand(BaseCommand):  # type: ignore[misc]  # Django has no types
    """A command that runs an action of `console` with the client of an alias."""

    # The commands must work in a project that has mistakes elsewhere.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> Any:
        """Make the parser, with the options that all commands have.

        Args:
            prog_name: The program, ``manage.py``.
            subcommand: The command.
            options: Further arguments of argparse's parser.
        """
        parser = super().create_parser(prog_name, subcommand, epilog=EXIT_CODES, **options)
        parser.add_argument(
            "--alias",
            default=DEFAULT_ALIAS,
            help="Alias of the setting TIMERS. Default: 'default'.",
        )
        parser.add_argument("--json", action="store_true", dest="as_json", help=arguments.JSON_HELP)
        plain = parser.parse_args

        def parse_args(args: Sequence[str] | None = None, namespace: Any = None) -> Any:
            words = sys.argv[1:] if args is None else args
            # Intermixed, so that ids may also follow options. But Python before 3.13 would lose
            # a leading --, behind which no options follow anyway.
            is_plain = _leads(parser, words)
            return (plain if is_plain else parser.parse_intermixed_args)(words, namespace)

        parser.parse_args = parse_args
        return parser

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run it; mistakes in the settings are a sentence and an exit code.

        Args:
            args: Django's arguments.
            options: Django's options.

        Raises:
            CommandError: `TIMERS` is invalid, or has no such alias; or see `perform`.
        """
        try:
            return super().execute(*args, **options)
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=MISUSED) from error

    def perform(
        self, action: Callable[..., int], options: dict[str, Any], **arguments: Any
    ) -> None:
        """Perform an action with the client of the alias.

        Args:
            action: A function of `console`.
            options: The options of `handle`.
            arguments: The action's arguments.

        Raises:
            CommandError: The action failed: the error, and the exit code.
            SystemExit: The exit code, if the action has already printed why.
        """
        output = _Output(options, out=self.stdout, err=self.stderr)
        timers = get_client(options["alias"])
        try:
            code = perform(output, timers, action, **arguments)
            output.flush()
        except BrokenPipeError:
            if not self._called_from_command_line:
                raise
            _leave_closed_pipe()
        if output.errors:
            raise CommandError("\n".join(output.errors), returncode=code)
        if code:
            sys.exit(code)


class ChangeCommand(TimersCommand):
    """A command that changes the chosen timers."""

    change: Callable[..., int]
    """A function of `changes`."""

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments that choose timers.

        Args:
            parser: The parser.
        """
        add_chosen(parser)

    def handle(self, **options: Any) -> None:
        """Run it.

        Args:
            options: The arguments.
        """
        self.perform(type(self).change, options, **chosen_of(options))


class _Output(Output):
    """Output to Django's streams that leaves errors to Django, which raises or prints them."""

    def __init__(self, options: dict[str, Any], *, out: Any, err: Any) -> None:
        super().__init__(
            as_json=options["as_json"],
            has_colours=not options["no_color"],
            # Django's wrappers would end each piece of text with a line break.
            out=out._out,  # noqa: SLF001  it has no other name
            err=err._out,  # noqa: SLF001
            zone=timezone.get_default_timezone(),
        )
        self.errors: list[str] = []

    def error(self, text: str) -> None:
        self.errors.append(text)


def _leads(parser: ArgumentParser, words: Sequence[str]) -> bool:
    """Return whether -- is among the words, with only options before it."""
    left = iter(words)
    for word in left:
        if word == "--":
            return True
        if not word.startswith("-"):
            return False
        option = parser._option_string_actions.get(word)  # noqa: SLF001  it has no other name
        if option is not None and option.nargs is None:
            next(left, None)
    return False


def _leave_closed_pipe() -> NoReturn:
    # As Python's manual says for programs that write to `head`: the output left at exit is
    # discarded.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(FAILED)


def reader(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Turn a function into argparse's ``type=``, so that its errors are shown.

    Args:
        parse: Reads a text; raises `ValueError`.
    """

    def read(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return read


def add_scan(parser: ArgumentParser) -> None:
    """Add the option of commands that find topics.

    Args:
        parser: The parser.
    """
    parser.add_argument(
        "--scan",
        action=BooleanOptionalAction,
        default=True,
        help=arguments.SCAN_HELP,
    )


def add_chosen(parser: ArgumentParser) -> None:
    """Add the arguments that choose timers: those of `choose`.

    Args:
        parser: The parser.
    """
    parser.add_argument("topic")
    parser.add_argument("timer_ids", nargs="*", metavar="id")
    parser.add_argument("--match", metavar="PATTERN", help=arguments.MATCH_HELP)
    parser.add_argument("--all", action="store_true", dest="everything", help=arguments.ALL_HELP)
    parser.add_argument(
        *("-y", "--yes", "--no-input", "--noinput"),
        action="store_false",
        dest="interactive",
        help=arguments.SURE_HELP,
    )


def chosen_of(options: dict[str, Any]) -> dict[str, Any]:
    """Read the chosen timers, and whether to ask first: arguments of all of `changes`.

    Args:
        options: The options of `handle`, from a parser with `add_chosen`.

    Raises:
        CommandError: Not exactly one of ids, ``--match`` and ``--all`` was given.
    """
    ways = {name: options[name] for name in ("topic", "timer_ids", "match", "everything")}
    try:
        return {"chosen": choose(**ways), "is_sure": not options["interactive"]}
    except MisusedError as error:
        raise CommandError(str(error), returncode=error.exit_code) from None


def add_times(parser: ArgumentParser) -> None:
    """Add the options for a new time.

    Args:
        parser: The parser.
    """
    times = parser.add_mutually_exclusive_group()
    times.add_argument(
        "--in",
        type=reader(parse_duration),
        dest="activate_in",
        metavar="DURATION",
        help=arguments.IN_HELP,
    )
    times.add_argument(
        "--at",
        type=reader(parse_time),
        dest="activate_at",
        metavar="TIME",
        help=arguments.AT_HELP,
    )
