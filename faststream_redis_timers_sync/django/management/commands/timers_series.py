"""`timers_series`: creates and updates the series that the project declares."""

from typing import Any

from django.core.management.base import CommandError

from faststream_redis_timers_sync._settings import load_series
from faststream_redis_timers_sync.console import declared
from faststream_redis_timers_sync.console.errors import MISUSED
from faststream_redis_timers_sync.django.conf import read_alias
from faststream_redis_timers_sync.django.management.base import TimersCommand


class Command(TimersCommand):
    """Creates and updates declared series."""

    help = (
        "Create and update the recurring timers that the setting SERIES declares, and print the "
        "result for each. A series whose definition is unchanged keeps its next due time."
    )

    def add_arguments(self, parser: Any) -> None:
        """Add its arguments.

        Args:
            parser: The parser.
        """
        ways = parser.add_mutually_exclusive_group()
        ways.add_argument("--check", action="store_true", help=declared.CHECK_HELP)
        ways.add_argument("--prune", action="store_true", help=declared.PRUNE_HELP)

    def handle(self, **options: Any) -> None:
        """Run it.

        Args:
            options: The arguments.

        Raises:
            CommandError: The alias declares no series; or see `perform`.
        """
        config = read_alias(options["alias"])
        if config.series_owner is None:
            msg = f'{config.where} has no SERIES: add "SERIES": "PATH.TO.A.LIST"'
            raise CommandError(msg, returncode=MISUSED)
        self.perform(
            declared.ensure_declared,
            options,
            series=load_series(config),
            owner=config.series_owner,
            check=options["check"],
            prune=options["prune"],
        )
