"""`web`: the pages for one person at one machine."""

import getpass
import logging
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import get_args

import click

from faststream_redis_timers_sync.cli.parameters import lease_option, topics_option
from faststream_redis_timers_sync.cli.source import BadServerError, known_topics, run
from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.console.errors import DONE, MISUSED, CommandError
from faststream_redis_timers_sync.console.output import Output


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    metavar="PORT",
    help="Port on 127.0.0.1; 0 picks a free one.",
)
@click.option(
    "--allow-changes",
    is_flag=True,
    help="Allow changes: run, reschedule, pause, resume, redrive and cancel.",
)
@click.option(
    "--show-bodies", is_flag=True, help="Show the bodies of timers, not only their sizes."
)
@topics_option
@lease_option
@click.option("--open", "opens", is_flag=True, help="Open a browser.")
def web(
    *,
    port: int,
    allow_changes: bool,
    show_bodies: bool,
    topics: Sequence[str],
    longest_lease: timedelta | None,
    opens: bool,
) -> None:
    """Serve web pages that show timers, until Ctrl-C.

    Only this machine can reach them, at the printed address. It has a token, without which the
    pages are refused. Changes need --allow-changes; each is logged to standard error.
    """
    run(
        _serve,
        as_json=False,
        port=port,
        allow_changes=allow_changes,
        show_bodies=show_bodies,
        topics=[*known_topics(), *topics],
        longest_lease=longest_lease,
        opens=opens,
    )


def _serve(  # noqa: PLR0913  as above
    timers: TimersClient,
    output: Output,
    *,
    port: int,
    allow_changes: bool,
    show_bodies: bool,
    topics: Sequence[str],
    longest_lease: timedelta | None,
    opens: bool,
) -> int:
    try:
        # Jinja is needed here alone.
        from faststream_redis_timers_sync.web.access import Access, Right  # noqa: PLC0415
        from faststream_redis_timers_sync.web.local import LocalServer  # noqa: PLC0415
        from faststream_redis_timers_sync.web.pages import TimerPages  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BadServerError(str(error)) from None
    access = Access(_user(), may=get_args(Right) if allow_changes else ())
    try:
        pages = TimerPages(
            timers,
            allow=lambda _: access,
            topics=dict.fromkeys(topics),
            longest_lease=longest_lease,
            show_body=(lambda _, timer: timer.body) if show_bodies else None,
        )
    except ValueError as error:
        raise CommandError(str(error), MISUSED) from None
    try:
        server = LocalServer(pages, port)
    except OSError as error:
        msg = f"port {port} can't be used: {error.strerror}. Choose another, or 0 for a free one"
        raise CommandError(msg, MISUSED) from None
    with server, _logging_to_stderr(), suppress(KeyboardInterrupt):
        output.line(server.url)
        output.flush()
        if opens:
            # `open` waits for a browser in a terminal, while the server must answer it.
            opening = partial(webbrowser.open, server.url_for_one_use)
            threading.Thread(target=opening, daemon=True).start()
        server.serve_forever()
    return DONE


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Write what the pages log to standard error, with the time in UTC."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    log = logging.getLogger("faststream_redis_timers_sync.web")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a user without a name.
        return "this machine"
