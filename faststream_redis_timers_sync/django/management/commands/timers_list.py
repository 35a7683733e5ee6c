"""`timers_list`: lists the timers of a topic."""

from typing import Any

from faststream_redis_timers_sync.console import actions, arguments
from faststream_redis_timers_sync.django.management.base import TimersCommand, reader


class Command(TimersCommand):
    """Lists timers."""

    help = (
        "List the timers of a topic, in order of due time; with --match but no --limit, in no "
        "order. The time of a running timer is the end of its lease; a paused timer has none. "
        "Bodies are not shown: use timers_show."
    )

    def add_arguments(self, parser: Any) -> None:
        """Add its arguments.

        Args:
            parser: The parser.
        """
        parser.add_argument("topic")
        parser.add_argument("--match", metavar="PATTERN", help=arguments.LIST_MATCH_HELP)
        parser.add_argument(
            "--limit", type=reader(_above_zero), metavar="N", help=arguments.LIMIT_HELP
        )
        parser.add_argument(
            "--series", action="store_true", dest="recurring", help=arguments.SERIES_HELP
        )

    def handle(self, **options: Any) -> None:
        """Run it.

        Args:
            options: The arguments.
        """
        self.perform(
            actions.list_timers,
            options,
            topic=options["topic"],
            match=options["match"],
            limit=options["limit"],
            recurring=options["recurring"],
        )


def _above_zero(text: str) -> int:
    if text.isdecimal() and int(text):
        return int(text)
    msg = f"{text!r} is not a whole number above 0"
    raise ValueError(msg)
