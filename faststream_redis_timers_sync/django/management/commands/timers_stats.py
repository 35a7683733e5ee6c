"""`timers_stats`: counts the timers of topics."""

from typing import Any

from faststream_redis_timers_sync.console import actions
from faststream_redis_timers_sync.django.conf import read_alias
from faststream_redis_timers_sync.django.management.base import TimersCommand, add_scan


class Command(TimersCommand):
    """Counts timers."""

    help = (
        "Count timers by topic: pending, overdue, paused, due soon. Without a topic, counts all "
        "topics that can be found."
    )

    def add_arguments(self, parser: Any) -> None:
        """Add its arguments.

        Args:
            parser: The parser.
        """
        parser.add_argument("topics", nargs="*", metavar="topic")
        add_scan(parser)

    def handle(self, **options: Any) -> None:
        """Run it.

        Args:
            options: The arguments.
        """
        self.perform(
            actions.show_stats,
            options,
            topics=options["topics"],
            known=read_alias(options["alias"]).topics,
            scan=options["scan"],
        )
