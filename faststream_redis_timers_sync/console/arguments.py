"""What the arguments of commands mean, said once for click and for argparse."""

from datetime import timedelta
from typing import Any

from faststream_redis_timers_sync.console.errors import MISUSED, CommandError
from faststream_redis_timers_sync.manage.chosen import Chosen
from faststream_redis_timers_sync.protocol.recurrence import SHORTEST_PERIOD, Cron, Every
from faststream_redis_timers_sync.protocol.times import LONGEST_DELAY, duration_text

JSON_HELP = "One JSON object per line."
SCAN_HELP = "Whether to look for topics among all keys, or for listening workers alone."
LIST_MATCH_HELP = "Only ids that match: 'user:42:*'."
SERIES_HELP = "Only recurring timers."
LIMIT_HELP = "Only the earliest N."
MATCH_HELP = "Those whose id matches: 'user:42:*'."
ALL_HELP = "All timers of the topic."
SURE_HELP = "Do not ask; the answer is yes."
IN_HELP = "After this time: 3d, 1h30m, 45s."
AT_HELP = "At this time: 2026-06-01T09:00+02:00."
RAW_HELP = "The body alone, byte by byte."
RANGE_HELP = "An hour by minutes, a day by hours, or 30 days by days."
TOPIC_HELP = "A topic to list though no worker listens to it; may be given again."
LEASE_HELP = "The longest lease_ttl of your subscribers: 30s. With it running timers are counted."
CHECK_TOPIC_HELP = "Look for the right to use this topic."
ROLE_HELP = "Ask nothing, and write the ACL rule that a user of this role needs."

EVERY_HELP = "Again and again, after each such time: 5m, 1h30m, 2w."
CRON_HELP = "Again and again, as a cron expression says: '0 9 * * MON-FRI'."
TZ_HELP = "The time zone of --cron: Europe/Berlin. By default UTC."

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


def read_repeat(every: timedelta | None, cron: str | None, tz: str | None) -> Every | Cron | None:
    """Read when a timer is due again and again.

    Args:
        every: What ``--every`` says.
        cron: What ``--cron`` says.
        tz: What ``--tz`` says.

    Returns:
        None where it is due once.

    Raises:
        CommandError: They don't go together, are out of range or can't be read.
    """
    if every is not None and cron is not None:
        msg = "give --every or --cron, not both"
        raise CommandError(msg, MISUSED)
    if tz is not None and cron is None:
        msg = "--tz is the time zone of --cron: give both"
        raise CommandError(msg, MISUSED)
    if every is not None and not SHORTEST_PERIOD <= every <= LONGEST_DELAY:
        msg = f"--every must be from 1s to {LONGEST_DELAY.days}d, got {duration_text(every)}"
        raise CommandError(msg, MISUSED)
    try:
        if cron is not None:
            return Cron(cron, tz="UTC" if tz is None else tz)
    except (ValueError, ModuleNotFoundError) as error:
        raise CommandError(str(error), MISUSED) from None
    return None if every is None else Every(every)
