"""`timers_resume`: resumes paused timers."""

from faststream_redis_timers_sync.console import changes
from faststream_redis_timers_sync.django.management.base import ChangeCommand


class Command(ChangeCommand):
    """Resumes recurring timers."""

    help = (
        "Resume paused recurring timers: by ID, by pattern, or all timers of a topic. Each is due "
        "at its next time. Exit code 1 if a named timer is not recurring, or its next time can't "
        "be computed here."
    )

    change = staticmethod(changes.resume)
