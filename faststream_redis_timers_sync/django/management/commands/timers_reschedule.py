"""`timers_reschedule`: reschedules timers."""

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
    """Reschedules timers."""

    help = (
        "Reschedule timers to another time: by ID, by pattern, or all timers of a topic. A running "
        "timer runs again at the new time; with --in 0s, beside the first run. Only the next "
        "occurrence of a recurring timer moves. Rescheduling a paused timer by ID resumes it, "
        "after a question; other paused timers are left out."
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
