"""`timers_resume`: paused timers that shall fire again."""

from faststream_redis_timers_sync.console import changes
from faststream_redis_timers_sync.django.management.base import ChangeCommand


class Command(ChangeCommand):
    """Resumes recurring timers."""

    help = (
        "Resumes recurring timers that are paused: by id, by pattern, or all of a topic. Each is "
        "due at its next time. Exit code 1 if one that was named is not recurring, or its next "
        "time can't be computed here."
    )

    change = staticmethod(changes.resume)
