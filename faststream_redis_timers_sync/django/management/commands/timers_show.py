"""`timers_show`: shows one timer."""

from typing import Any

from faststream_redis_timers_sync.console import actions, arguments
from faststream_redis_timers_sync.django.management.base import TimersCommand


class Command(TimersCommand):
    """Shows a timer."""

    help = (
        "Show a timer: its body, headers and times. Also shows the definition of a recurring "
        "timer, and its next three times, in its time zone and in UTC."
    )

    def add_arguments(self, parser: Any) -> None:
        """Add its arguments.

        Args:
            parser: The parser.
        """
        parser.add_argument("topic")
        parser.add_argument("timer_id", metavar="id")
        parser.add_argument("--raw", action="store_true", help=arguments.RAW_HELP)

    def handle(self, **options: Any) -> None:
        """Run it.

        Args:
            options: The arguments.
        """
        self.perform(
            actions.show_timer,
            options,
            topic=options["topic"],
            timer_id=options["timer_id"],
            raw=options["raw"],
        )
