"""`timers_pause`: recurring timers that shall not fire for a while."""

from faststream_redis_timers_sync.console import changes
from faststream_redis_timers_sync.django.management.base import ChangeCommand


class Command(ChangeCommand):
    """Pauses recurring timers."""

    help = (
        "Pauses recurring timers: by id, by pattern, or all of a topic. A handler that runs "
        "finishes. Nothing is due until timers_resume; what falls due meanwhile is not made up "
        "for. Exit code 1 if one that was named is not recurring."
    )

    change = staticmethod(changes.pause)
