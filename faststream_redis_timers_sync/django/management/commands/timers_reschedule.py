"""`timers_reschedule`: timers that shall fire at another time."""

from typing import Any

from django.core.management.base import CommandError

from faststream_redis_timers_sync.console import changes
from faststream_redis_timers_sync.console.arguments import TIME_NEEDED
from faststream_redis_timers_sync.console.errors import MISUSED
from faststream_redis_timers_sync.django.management.base import (
    TimersCommand,
    add_chosen,
    add_times,
    chosen_of,
)


class Command(TimersCommand):
    """Moves timers."""

    help = (
        "Moves timers to another time: by id, by pattern, or all of a topic. One that runs at "
        "this moment runs again then, with --in 0s beside the run that goes on. Of a recurring "
        "timer the next time alone is moved. One that is paused is resumed by it: that is asked "
        "first for an id, others are left out."
    )

    def add_arguments(self, parser: Any) -> None:
        """Add its arguments.

        Args:
            parser: The parser.
        """
        add_chosen(parser)
        add_times(parser)

    def handle(self, **options: Any) -> None:
        """Run it.

        Args:
            options: The arguments.
        """
        times = {name: options[name] for name in ("activate_in", "activate_at")}
        if not any(time is not None for time in times.values()):
            raise CommandError(TIME_NEEDED, returncode=MISUSED)
        self.perform(changes.move, options, **chosen_of(options), **times)
