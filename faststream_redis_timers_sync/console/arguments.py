"""What the arguments of commands mean, said once for click and for argparse."""

from typing import Any

from faststream_redis_timers_sync.console.errors import MISUSED, CommandError
from faststream_redis_timers_sync.manage.chosen import Chosen

JSON_HELP = "One JSON object per line."
SCAN_HELP = "Whether to look for topics among all keys, or for listening workers alone."
LIST_MATCH_HELP = "Only ids that match: 'user:42:*'."
LIMIT_HELP = "Only the earliest N."
MATCH_HELP = "Those whose id matches: 'user:42:*'."
ALL_HELP = "All timers of the topic."
SURE_HELP = "Do not ask; the answer is yes."
IN_HELP = "After this time: 3d, 1h30m, 45s."
AT_HELP = "At this time: 2026-06-01T09:00+02:00."
RAW_HELP = "The body alone, byte by byte."
CHECK_TOPIC_HELP = "Look for the right to use this topic."
ROLE_HELP = "Ask nothing, and write the ACL rule that a user of this role needs."

TIME_NEEDED = "give the new time: --in 3d, or --at 2026-06-01T09:00+02:00"


def choose(**ways: Any) -> Chosen:
    """Read which timers are meant.

    Args:
        ways: Arguments of `Chosen`.

    Raises:
        CommandError: Not exactly one way to choose was given.
    """
    try:
        return Chosen(**ways)
    except ValueError:
        msg = "name one or more ids, or give --match PATTERN, or --all"
        raise CommandError(msg, MISUSED) from None
