"""The group of the command line: where the server is, and which key names and prefix count."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import click

from faststream_redis_timers_sync.cli import PROGRAM
from faststream_redis_timers_sync.cli.commands import COMMANDS
from faststream_redis_timers_sync.cli.series import series
from faststream_redis_timers_sync.cli.source import BadServerError, Source
from faststream_redis_timers_sync.cli.web import web
from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console.errors import EXIT_CODES
from faststream_redis_timers_sync.manage.server import open_client
from faststream_redis_timers_sync.protocol.keys import (
    DEFAULT_ATTEMPTS_KEY,
    DEFAULT_PAYLOADS_KEY,
    DEFAULT_SERIES_KEY,
    DEFAULT_TIMELINE_KEY,
)

_DEFAULT_URL = "redis://localhost:6379"


class _Group(click.Group):
    """A group that makes a `Source` of its options, also while a shell completes."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        context = super().make_context(info_name, args, parent, **extra)
        context.obj = Source(lambda: _open(**context.params))
        return context

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            ours = {name for parameter in self.get_params(ctx) for name in parameter.opts}
            if error.ctx and error.ctx is not ctx and error.option_name in ours:
                _, _, command = error.ctx.command_path.partition(" ")
                msg = (
                    f"{error.option_name} goes before the command: "
                    f"{PROGRAM} {error.option_name} ... {command}"
                )
                raise click.UsageError(msg, error.ctx) from None
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        # Commands that only read come first: the order is not alphabetical.
        return list(self.commands)


@contextmanager
def _open(redis_url: str, **options: Any) -> Iterator[TimersClient]:
    try:
        timers = open_client(redis_url, **options)
    except ValueError as error:
        raise BadServerError(str(error)) from None
    with timers:
        yield timers


@click.group(
    cls=_Group,
    commands=[*COMMANDS, series, web],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=EXIT_CODES,
)
@click.option(
    "--redis-url",
    envvar="TIMERS_REDIS_URL",
    default=_DEFAULT_URL,
    show_default=True,
    show_envvar=True,
    metavar="URL",
    help="URL of the server, or of cluster nodes: redis+cluster://HOST:PORT,HOST:PORT.",
)
@click.option(
    "--prefix",
    envvar="TIMERS_PREFIX",
    default="",
    show_envvar=True,
    metavar="TEXT",
    help="Prefix of all topics, as in TimersClient.",
)
@click.option("--timeline-key", default=DEFAULT_TIMELINE_KEY, show_default=True, metavar="NAME")
@click.option("--payloads-key", default=DEFAULT_PAYLOADS_KEY, show_default=True, metavar="NAME")
@click.option("--attempts-key", default=DEFAULT_ATTEMPTS_KEY, show_default=True, metavar="NAME")
@click.option("--series-key", default=DEFAULT_SERIES_KEY, show_default=True, metavar="NAME")
@click.option(
    "--hash-tags",
    envvar="TIMERS_HASH_TAGS",
    is_flag=True,
    default=False,
    show_envvar=True,
    help="Use keys with hash tags, as with hash_tags=True.",
)
@click.version_option(version("faststream-redis-timers"), message="%(version)s")
def group(**_: Any) -> None:
    """Inspect and change timers on a Redis or Valkey server.

    Put the options below before the command.
    """
