"""`timers_check`: checks the server."""

from typing import Any

from faststream_redis_timers_sync.console import actions, arguments
from faststream_redis_timers_sync.django.management.base import TimersCommand
from faststream_redis_timers_sync.manage.roles import ROLES


class Command(TimersCommand):
    """Checks the server."""

    help = (
        "Check the server for problems: version, mode, role, eviction policy, memory, "
        "persistence, permissions, layout of keys and clock; in a cluster, those of each node, and "
        "slots and replicas. Exit code 1 if a finding is an error."
    )

    def add_arguments(self, parser: Any) -> None:
        """Add its arguments.

        Args:
            parser: The parser.
        """
        parser.add_argument("--topic", default="any", help=arguments.CHECK_TOPIC_HELP)
        parser.add_argument(
            "--role",
            choices=list(ROLES),
            help=arguments.ROLE_HELP,
        )

    def handle(self, **options: Any) -> None:
        """Run it.

        Args:
            options: The arguments.
        """
        self.perform(actions.check, options, topic=options["topic"], role=options["role"])
