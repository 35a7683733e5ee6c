"""`timers_pause`: pauses recurring timers."""

from faststream_redis_timers_sync.console import changes
from faststream_redis_timers_sync.django.management.base import ChangeCommand


class Command(ChangeCommand):
    """Pauses recurring timers."""

    help = (
        "Pause recurring timers: by ID, by pattern, or all timers of a topic. Running handlers "
        "finish. Paused timers are not due until timers_resume, and occurrences that they miss are "
        "not made up for. Exit code 1 if a named timer is not recurring."
    )

    change = staticmethod(changes.pause)
