"""`timers_redrive`: dead letters that shall be timers again."""

from faststream_redis_timers_sync.console import changes
from faststream_redis_timers_sync.django.management.base import ChangeCommand


class Command(ChangeCommand):
    """Puts dead letters back."""

    help = (
        "Puts dead letters of a topic, as 'invoices:dead', back where they come from: by id "
        "there, by pattern, or all of it. Each comes back under its old id, due at once. One "
        "stays where a timer of that id waits, where a handler runs with it, where it comes from "
        "a topic of another slot (with hash tags), or where it is no dead letter. Exit code 1 if "
        "one that was named stays."
    )

    change = staticmethod(changes.redrive)
