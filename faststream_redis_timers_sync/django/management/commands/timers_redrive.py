"""`timers_redrive`: redrives dead letters."""

from faststream_redis_timers_sync.console import changes
from faststream_redis_timers_sync.django.management.base import ChangeCommand


class Command(ChangeCommand):
    """Redrives dead letters."""

    help = (
        "Redrive the dead letters of a dead-letter topic, such as 'invoices:dead', to the topics "
        "they came from: by ID there, by pattern, or all of it. Each returns under its old ID, due "
        "at once. A dead letter stays if a timer with its old ID is waiting or recurring, if a "
        "handler is running with it, or if (with hash tags) it came from a topic in another slot. "
        "Exit code 1 if a named dead letter stays."
    )

    change = staticmethod(changes.redrive)
