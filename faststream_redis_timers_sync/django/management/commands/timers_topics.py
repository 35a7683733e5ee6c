"""`timers_topics`: which topics there are."""

from typing import Any

from faststream_redis_timers_sync.console import actions
from faststream_redis_timers_sync.django.conf import read_alias
from faststream_redis_timers_sync.django.management.base import TimersCommand, add_scan


class Command(TimersCommand):
    """Lists topics."""

    help = (
        "Lists topics, with how many timers are pending there and how many workers listen. "
        "Topics come from the setting TOPICS, from workers, and from a look through all keys."
    )

    def add_arguments(self, parser: Any) -> None:
        """Add its arguments.

        Args:
            parser: The parser.
        """
        add_scan(parser)

    def handle(self, **options: Any) -> None:
        """Run it.

        Args:
            options: The arguments.
        """
        known = read_alias(options["alias"]).topics
        self.perform(actions.show_topics, options, known=known, scan=options["scan"])
