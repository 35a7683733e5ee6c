"""The arguments of commands and their help texts, shared by click and argparse."""

from datetime import timedelta
from typing import Any

from faststream_redis_timers_sync.console.errors import MISUSED, CommandError
from faststream_redis_timers_sync.manage.chosen import Chosen
from faststream_redis_timers_sync.protocol.recurrence import SHORTEST_PERIOD, Cron, Every
from faststream_redis_timers_sync.protocol.times import LONGEST_DELAY, duration_text

JSON_HELP = "Print one JSON object per line."
SCAN_HELP = "Find topics by scanning all keys, or only through listening workers."
LIST_MATCH_HELP = "Only IDs that match: 'user:42:*'."
SERIES_HELP = "Only recurring timers."
LIMIT_HELP = "Only the earliest N."
MATCH_HELP = "All timers whose ID matches: 'user:42:*'."
ALL_HELP = "All timers of the topic."
SURE_HELP = "Do not ask: answer yes to every question."
IN_HELP = "Due after this delay: 3d, 1h30m, 45s."
AT_HELP = "Due at this time: 2026-06-01T09:00+02:00."
RAW_HELP = "Print only the body, byte for byte."
RANGE_HELP = "One hour by minutes, one day by hours, or 30 days by days."
TOPIC_HELP = "Topic to list even if no worker listens to it. Repeatable."
LEASE_HELP = "Longest lease_ttl of your subscribers: 30s. Needed to count running timers."
CHECK_TOPIC_HELP = "Topic to check permissions for; need not exist."
ROLE_HELP = "Ask the server nothing; print the ACL rule that a user with this role needs."

EVERY_HELP = "Due repeatedly, after each such period: 5m, 1h30m, 2w."
CRON_HELP = "Due repeatedly, by a cron expression: '0 9 * * MON-FRI'."
TZ_HELP = "Time zone of --cron: Europe/Berlin. Default: UTC."

TIME_NEEDED = "give the new time: --in 3d, or --at 2026-06-01T09:00+02:00"


def choose(**ways: Any) -> Chosen:
    """Read which timers to act on.

    Args:
        ways: Arguments of `Chosen`.

    Raises:
        CommandError: Not exactly one of ids, pattern and all was given.
    """
    try:
        return Chosen(**ways)
    except ValueError:
        msg = "name one or more IDs, or give --match PATTERN, or --all"
        raise CommandError(msg, MISUSED) from None


def read_repeat(every: timedelta | None, cron: str | None, tz: str | None) -> Every | Cron | None:
    """Read the definition of a recurring timer.

    Args:
        every: The value of ``--every``.
        cron: The value of ``--cron``.
        tz: The value of ``--tz``.

    Returns:
        None if the timer is due once.

    Raises:
        CommandError: They exclude each other, are out of range or can't be read.
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
