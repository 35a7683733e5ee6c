"""`timers_worker`: FastStream's own run, with Django set up."""

import runpy
import sys
from argparse import REMAINDER
from importlib.util import find_spec
from typing import Any

from django.core.management.base import BaseCommand, CommandError

_RUNNER = "faststream_redis_timers.django.worker"
"""What runs; by name, since the blocking package never imports FastStream."""


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """Runs a worker."""

    help = (
        "Runs a FastStream app as 'faststream run' does, with Django set up, in child processes "
        "too. Its options stand behind the app: --reload, --workers 4, --log-level debug; "
        "'timers_worker module:app --help' lists them."
    )

    def add_arguments(self, parser: Any) -> None:
        """Add its arguments.

        Args:
            parser: The parser.
        """
        parser.add_argument("app", metavar="module:app", help="Where the FastStream app is.")
        parser.add_argument(
            "words",
            nargs=REMAINDER,
            metavar="...",
            help="Options of 'faststream run', and what the app takes itself.",
        )

    def handle(self, *, app: str, words: list[str], **_: Any) -> None:
        """Become the worker: signals and exit code are FastStream's.

        Args:
            app: Module and name of the app.
            words: What follows.

        Raises:
            CommandError: FastStream's command line is not installed.
        """
        if find_spec("typer") is None:
            msg = (
                "timers_worker needs FastStream's command line, which is not installed: "
                "pip install 'faststream[cli]'"
            )
            raise CommandError(msg)
        sys.argv[1:] = [app, *words]
        # As the main module: child processes begin by importing that of their parent.
        runpy.run_module(_RUNNER, run_name="__main__", alter_sys=True)
