"""`timers_cancel`: timers that shall not fire."""

from faststream_redis_timers_sync.console import changes
from faststream_redis_timers_sync.django.management.base import ChangeCommand


class Command(ChangeCommand):
    """Cancels timers."""

    help = (
        "Cancels timers, and ends the series of recurring ones: by id, by pattern, or all of a "
        "topic. Afterwards none of them is there, also one that runs: its handler finishes. "
        "timers_pause stops a series for a while."
    )

    change = staticmethod(changes.cancel)
