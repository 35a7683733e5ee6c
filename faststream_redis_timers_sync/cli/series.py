"""`series`: the series that an application declares, for the command line and for Flask."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from faststream_redis_timers_sync.cli.parameters import json_option, together
from faststream_redis_timers_sync.cli.source import run
from faststream_redis_timers_sync.console import declared
from faststream_redis_timers_sync.protocol.declared import check_series
from faststream_redis_timers_sync.protocol.model import Series

series_options = together(
    click.option("--check", is_flag=True, help=declared.CHECK_HELP),
    click.option("--prune", is_flag=True, help=declared.PRUNE_HELP),
    json_option,
)


def run_series(
    load: Callable[[], tuple[list[Series], str]], *, as_json: bool, check: bool, prune: bool
) -> None:
    """Create and update series with the client of click's context.

    Args:
        load: Returns the series and their owner.
        as_json: Whether results are JSON.
        check: Whether to change nothing.
        prune: Whether to cancel series that are no longer declared.

    Raises:
        click.UsageError: Both were given.
    """
    if check and prune:
        msg = "give --check or --prune, not both"
        raise click.UsageError(msg)
    series, owner = load()
    run(
        declared.ensure_declared,
        as_json=as_json,
        series=series,
        owner=owner,
        check=check,
        prune=prune,
    )


@click.command()
@click.argument("declaration", metavar="MODULE:NAME")
@click.option("--owner", required=True, metavar="NAME", help=declared.OWNER_HELP)
@series_options
def series(*, declaration: str, owner: str, **options: Any) -> None:
    """Create and update the series that an application declares.

    MODULE:NAME is a list of Series in one of your modules, or a function that returns one. A
    series whose definition is unchanged keeps its next due time. A FastStream broker with
    add_series does this when it starts.
    """
    run_series(lambda: (_load(declaration), owner), **options)


def _load(declaration: str) -> list[Series]:
    # As `python -m` does, and FastStream's own command.
    sys.path.insert(0, "")
    module, _, name = declaration.partition(":")
    if not (module and name):
        msg = f"{declaration!r} can't be imported: write MODULE:NAME"
        raise click.BadParameter(msg)
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        msg = f"{declaration!r} can't be imported: {error}. Write MODULE:NAME"
        raise click.BadParameter(msg) from error
    except Exception as error:  # it is the application's
        raise click.BadParameter(_raised(declaration, error)) from error
    try:
        found = found() if callable(found) else found
    except Exception as error:  # it is the application's
        raise click.BadParameter(_raised(declaration, error)) from error
    try:
        return check_series(found)
    except TypeError as error:
        msg = f"{declaration!r}: {error}"
        raise click.BadParameter(msg) from error


def _raised(declaration: str, error: Exception) -> str:
    return f"{declaration} raised {type(error).__name__}: {error}"
