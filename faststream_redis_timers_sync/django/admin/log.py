"""Logs actions in the log of Django's admin."""

from datetime import datetime
from typing import Any

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.utils.translation import gettext

from faststream_redis_timers_sync.django.admin.actions import (
    CANCEL,
    RESCHEDULE,
    Action,
    outcome_text,
)
from faststream_redis_timers_sync.django.admin.formatting import local_text
from faststream_redis_timers_sync.django.models import Timer
from faststream_redis_timers_sync.django.tokens import Place
from faststream_redis_timers_sync.manage.changing import Tally
from faststream_redis_timers_sync.manage.chosen import Chosen
from faststream_redis_timers_sync.manage.text import escape


def log_done(
    user: Any, place: Place, action: Action, chosen: Chosen, tally: Tally, *, at: datetime | None
) -> None:
    """Log an action: an entry for each named timer, else one for the topic.

    Args:
        user: The user.
        place: The topic.
        action: The action.
        chosen: The timers to act on.
        tally: The outcomes.
        at: The new due time, if rescheduled.
    """
    if not tally.done:
        return
    words = gettext(action.words.done_once)
    if action is RESCHEDULE and at is not None:
        words = gettext("Rescheduled: %s.") % local_text(at)
    if chosen.timer_ids:
        changed = [outcome.timer_id for outcome in tally.named if outcome.result == "done"]
        keys = [place._replace(timer_id=timer_id).key for timer_id in changed]
    else:
        keys = [place.key]
        words = f"{_which(chosen)} {words} {outcome_text(action, tally)}"
    _log(user, action, keys, words)


def log_unknown(user: Any, place: Place, action: Action, error: Exception) -> None:
    """Log an action whose reply was lost, or which replicas did not confirm.

    Args:
        user: The user.
        place: The topic.
        action: The action.
        error: Says what is unknown, or how many replicas have it.
    """
    _log(user, action, [place.key], escape(str(error), keep="\\"))


def _which(chosen: Chosen) -> str:
    if chosen.match is None:
        return gettext("All timers:")  # type: ignore[no-any-return]
    return gettext("All timers that match “%s”:") % escape(chosen.match)  # type: ignore[no-any-return]


def _log(user: Any, action: Action, keys: list[str], words: str) -> None:
    flag = DELETION if action is CANCEL else CHANGE
    LogEntry.objects.log_actions(
        user_id=user.pk,
        queryset=[Timer(key=key) for key in keys],
        action_flag=flag,
        change_message=words,
    )
