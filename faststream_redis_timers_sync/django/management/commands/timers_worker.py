"""`timers_worker`: runs `faststream run` with Django set up."""

import runpy
import sys
from argparse import REMAINDER
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from faststream_redis_timers_sync._settings import load_series
from faststream_redis_timers_sync.console import declared
from faststream_redis_timers_sync.console.actions import perform
from faststream_redis_timers_sync.console.errors import MISUSED
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.django.clients import get_client
from faststream_redis_timers_sync.django.conf import read_alias, read_aliases

_RUNNER = "faststream_redis_timers.django.worker"
"""The module to run; by name, since the blocking package never imports FastStream."""


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """Runs a worker."""

    help = (
        "Run a FastStream app as 'faststream run' does, with Django set up, also in child "
        "processes. Put its options after the app: --reload, --workers 4, --log-level debug; "
        "'timers_worker module:app --help' lists them. First creates and updates the series of the "
        "setting SERIES."
    )

    def add_arguments(self, parser: Any) -> None:
        """Add its arguments.

        Args:
            parser: The parser.
        """
        parser.add_argument(
            "app", metavar="module:app", help="Module and name of the FastStream app."
        )
        parser.add_argument(
            "words",
            nargs=REMAINDER,
            metavar="...",
            help="Options of 'faststream run' and of the app itself.",
        )

    def handle(self, *, app: str, words: list[str], **_: Any) -> None:
        """Become the worker: signals and exit code are FastStream's.

        Args:
            app: Module and name of the app.
            words: The options after the app.

        Raises:
            CommandError: FastStream's command line is not installed, or the settings are invalid.
            SystemExit: The project's series could not be ensured; the reason is printed.
        """
        if find_spec("typer") is None:
            msg = (
                "timers_worker needs FastStream's command line, which is not installed: "
                "pip install 'faststream[cli]'"
            )
            raise CommandError(msg)
        if "--help" not in words:
            self._ensure_series()
        sys.argv[1:] = [app, *words]
        # As the main module: child processes first import that of their parent.
        runpy.run_module(_RUNNER, run_name="__main__", alter_sys=True)

    def _ensure_series(self) -> None:
        # A worker whose broker has its own URL needs no TIMERS.
        aliases = read_aliases() if hasattr(settings, "TIMERS") else {}
        for alias, found in aliases.items():
            if not isinstance(found, dict) or "SERIES" not in found:
                continue
            try:
                config = read_alias(alias)
                series = load_series(config)
                timers = get_client(alias)
            except ImproperlyConfigured as error:
                raise CommandError(str(error), returncode=MISUSED) from error
            code = perform(
                Output(),
                timers,
                declared.ensure_before_worker,
                series=series,
                owner=config.series_owner,
            )
            if code:
                sys.exit(code)
