"""`timers_cancel`: cancels timers."""

from faststream_redis_timers_sync.console import changes
from faststream_redis_timers_sync.django.management.base import ChangeCommand


class Command(ChangeCommand):
    """Cancels timers."""

    help = (
        "Cancel timers, and end the series of recurring timers: by ID, by pattern, or all timers "
        "of a topic. Running timers are cancelled too, but their handlers finish. To stop a series "
        "for a while, use timers_pause."
    )

    change = staticmethod(changes.cancel)
