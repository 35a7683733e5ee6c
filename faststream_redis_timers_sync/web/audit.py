"""The audit log: a line before and one after each action, with the user's name.

Forms from other sites are logged too. The beginning of each line is stable. Ids, topics, names and
headers are escaped, so that none can look like another line.
"""

import logging

from faststream_redis_timers_sync.manage.chosen import Chosen
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.web.messages import Request

_log = logging.getLogger("faststream_redis_timers_sync.web.audit")

MOST_IDS = 20
"""Ids that a line names."""

_MOST_OF_HEADER = 200
"""The most characters of a header that are shown: a client may send more."""


def log_begun(user: str, action: str, chosen: Chosen) -> None:
    """Log that an action begins.

    Args:
        user: The user.
        action: The action.
        chosen: The timers to act on.
    """
    who, topic = escape(user), escape(chosen.topic)
    _log.info("action begun by %s: %s in topic %s: %s", who, action, topic, _which(chosen))


def log_ended(user: str, action: str, chosen: Chosen, outcome: str) -> None:
    """Log the outcome of an action.

    Args:
        user: The user.
        action: The action.
        chosen: The timers to act on.
        outcome: The outcome.
    """
    which = _which(chosen)
    who, topic = escape(user), escape(chosen.topic)
    _log.info("action ended by %s: %s in topic %s: %s: %s", who, action, topic, which, outcome)


def log_failed(user: str, action: str, chosen: Chosen, outcome: str) -> None:
    """Log that an action failed, and the changes made before.

    Args:
        user: The user.
        action: The action.
        chosen: The timers to act on.
        outcome: The changes made before, and the error.
    """
    which = _which(chosen)
    who, topic = escape(user), escape(chosen.topic)
    _log.error("action failed by %s: %s in topic %s: %s: %s", who, action, topic, which, outcome)


def log_refused(user: str, action: str, topic: str) -> None:
    """Log that a user lacks the right to an action.

    Args:
        user: The user.
        action: The action.
        topic: The topic.
    """
    _log.warning("action refused to %s: %s in topic %s", escape(user), action, escape(topic))


def log_form_refused(request: Request) -> None:
    """Log that a form came from another site; its sender is unknown.

    Args:
        request: The request.
    """
    site, origin, host = (
        header_text(request, name) for name in ("sec-fetch-site", "origin", "host")
    )
    _log.warning("form refused: Sec-Fetch-Site %s, Origin %s, Host %s", site, origin, host)


def header_text(request: Request, name: str) -> str:
    """Return an untrusted header, escaped and shortened.

    Args:
        request: The request.
        name: The header's name, in lower case.
    """
    value = request.headers.get(name)
    if value is None:
        return "(none)"
    shown = escape(value[:_MOST_OF_HEADER])
    return f"{shown}..." if len(value) > _MOST_OF_HEADER else shown


def _which(chosen: Chosen) -> str:
    if chosen.everything:
        return "all timers"
    if chosen.match is not None:
        return f"all that match {escape(chosen.match)}"
    some = " ".join(map(escape, chosen.timer_ids[:MOST_IDS]))
    more = " ..." if len(chosen.timer_ids) > MOST_IDS else ""
    count = len(chosen.timer_ids)
    return f"{count} timer{'' if count == 1 else 's'} ({some}{more})"
