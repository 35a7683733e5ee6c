"""`timers_topics`: lists topics."""

from typing import Any

from faststream_redis_timers_sync.console import actions
from faststream_redis_timers_sync.django.conf import read_alias
from faststream_redis_timers_sync.django.management.base import TimersCommand, add_scan


class Command(TimersCommand):
    """Lists topics."""

    help = (
        "List topics, with their pending timers and listening workers. Finds topics through the "
        "setting TOPICS, through workers, and by scanning all keys of the database."
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
