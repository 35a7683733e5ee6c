"""`timers_cancel`: timers that shall not fire."""

from typing import Any

from faststream_redis_timers_sync.console import changes
from faststream_redis_timers_sync.django.management.base import TimersCommand, add_chosen, chosen_of


class Command(TimersCommand):
    """Cancels timers."""

    help = (
        "Cancels timers: by id, by pattern, or all of a topic. Afterwards none of them is there, "
        "also one that runs: its handler finishes."
    )

    def add_arguments(self, parser: Any) -> None:
        """Add its arguments.

        Args:
            parser: The parser.
        """
        add_chosen(parser)

    def handle(self, **options: Any) -> None:
        """Run it.

        Args:
            options: The arguments.
        """
        self.perform(changes.cancel, options, **chosen_of(options))
