"""How the commands get their client, and how they run."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import click

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console.actions import perform
from faststream_redis_timers_sync.console.errors import MISUSED
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.manage.topics import listening_topics


class BadServerError(click.ClickException):
    """The URL or options that name the server can't be used."""

    exit_code = MISUSED


@dataclass(frozen=True, slots=True)
class Source:
    """What a group passes to its commands, as the object of click's context.

    Flask's group has it in its ``context_settings``; the command line's group makes one from its
    options.

    Args:
        open: Opens a client for a ``with`` block. It raises `BadServerError` if it can't.
        topics: Returns the topics that the application names.
    """

    open: Callable[[], AbstractContextManager[TimersClient]]
    topics: Callable[[], Iterable[str]] = tuple


def run(action: Callable[..., int], *, as_json: bool, **arguments: Any) -> None:
    """Run an action with the client of click's context, and exit with its code.

    Args:
        action: A function of `console`.
        as_json: Whether its results are JSON.
        arguments: Its arguments.
    """
    context = click.get_current_context()
    output = Output(as_json=as_json)
    with source_of(context).open() as timers:
        code = perform(output, timers, action, **arguments)
    # Here click handles a pipe that was closed. At its exit Python would complain.
    output.flush()
    context.exit(code)


def known_topics() -> Iterable[str]:
    """Return the topics that the application names, from click's context."""
    return source_of(click.get_current_context()).topics()


def source_of(context: click.Context) -> Source:
    """Return the `Source` of the group.

    Args:
        context: click's context.

    Raises:
        RuntimeError: The group has no `Source`.
    """
    source = context.find_object(Source)
    if source is None:
        msg = "the group of these commands has no Source: give it context_settings={'obj': ...}"
        raise RuntimeError(msg)
    return source


def complete_topic(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete a topic from those that the application names or that workers listen to.

    Args:
        context: click's context.
        incomplete: The text typed so far.
    """
    # Completion shows no errors, whatever they are, and never scans.
    with suppress(Exception):
        source = source_of(context)
        topics = set(source.topics())
        with suppress(Exception), source.open() as timers:
            topics.update(listening_topics(timers))
        return sorted(t for t in topics if t.startswith(incomplete) and t.isprintable())
    return []
