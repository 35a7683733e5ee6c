"""Who did what: a line before and one after each action, in a log of its own.

Of each line the beginning is stable. Ids, topics and names are escaped, so that none can look like
a line of its own.
"""

import logging

from faststream_redis_timers_sync.manage.chosen import Chosen
from faststream_redis_timers_sync.manage.text import escape

_log = logging.getLogger("faststream_redis_timers_sync.web.audit")

MOST_IDS = 20
"""Ids that a line names."""


def log_begun(user: str, action: str, chosen: Chosen) -> None:
    """Log that an action begins.

    Args:
        user: Who does it.
        action: What it is.
        chosen: What it is done to.
    """
    who, topic = escape(user), escape(chosen.topic)
    _log.info("action begun by %s: %s in topic %s: %s", who, action, topic, _which(chosen))


def log_ended(user: str, action: str, chosen: Chosen, outcome: str) -> None:
    """Log how an action has ended.

    Args:
        user: Who did it.
        action: What it was.
        chosen: What it was done to.
        outcome: What became of it.
    """
    which = _which(chosen)
    who, topic = escape(user), escape(chosen.topic)
    _log.info("action ended by %s: %s in topic %s: %s: %s", who, action, topic, which, outcome)


def log_failed(user: str, action: str, chosen: Chosen, outcome: str) -> None:
    """Log that an action has failed, and what was done before.

    Args:
        user: Who did it.
        action: What it was.
        chosen: What it was done to.
        outcome: What was done before, and what went wrong.
    """
    which = _which(chosen)
    who, topic = escape(user), escape(chosen.topic)
    _log.error("action failed by %s: %s in topic %s: %s: %s", who, action, topic, which, outcome)


def log_refused(user: str, action: str, topic: str) -> None:
    """Log that somebody lacks the right to an action.

    Args:
        user: Who asked for it.
        action: What it was.
        topic: The topic.
    """
    _log.warning("action refused to %s: %s in topic %s", escape(user), action, escape(topic))


def _which(chosen: Chosen) -> str:
    if chosen.everything:
        return "all timers"
    if chosen.match is not None:
        return f"all that match {escape(chosen.match)}"
    some = " ".join(map(escape, chosen.timer_ids[:MOST_IDS]))
    more = " ..." if len(chosen.timer_ids) > MOST_IDS else ""
    count = len(chosen.timer_ids)
    return f"{count} timer{'' if count == 1 else 's'} ({some}{more})"
