"""The actions on timers in the admin, in the words of `manage.wording`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, gettext_lazy as _

from faststream_redis_timers_sync.django.admin.formatting import number, timers_text
from faststream_redis_timers_sync.manage import wording
from faststream_redis_timers_sync.manage.changing import REASONS, Tally
from faststream_redis_timers_sync.manage.chosen import Chosen, Preview
from faststream_redis_timers_sync.manage.forms import ActionName
from faststream_redis_timers_sync.manage.text import escape
from faststream_redis_timers_sync.manage.wording import ACTION_WORDS, ActionWords


@dataclass(frozen=True, slots=True)
class Action:
    """An action on timers.

    Args:
        name: Its name in forms.
        permission: The name of Django's permission for it.
    """

    name: ActionName
    permission: str

    @property
    def words(self) -> ActionWords:
        """Its words, to be translated when they are shown."""
        return ACTION_WORDS[self.name]


CANCEL = Action("cancel", "delete")
RESCHEDULE = Action("reschedule", "change")
RUN_NOW = Action("run_now", "change")
PAUSE = Action("pause", "change")
RESUME = Action("resume", "change")
REDRIVE = Action("redrive", "change")

_GO_ON = _("Continue with the rest of topic “%(topic)s”?")
_GO_ON_MATCHING = _("Continue with the rest that match “%(pattern)s” in topic “%(topic)s”?")

ACTIONS: dict[str, Action] = {
    action.name: action for action in (CANCEL, RESCHEDULE, RUN_NOW, PAUSE, RESUME, REDRIVE)
}

MOVES = (RESCHEDULE, RUN_NOW)
"""Those that give timers another due time."""


THE_REST = Preview(0, 0)
"""Stands for the timers left when time ran out. Counting them would take time too."""


def too_large() -> str:
    """Return the sentence that a topic is too large to examine here."""
    return gettext(wording.TOO_LARGE) % {  # type: ignore[no-any-return]
        "commands": "timers_list, timers_cancel, timers_reschedule, timers_pause, timers_resume, "
        "timers_redrive"
    }


def confirmation(action: Action, chosen: Chosen, seen: Preview) -> Mapping[str, Any]:
    """Return the context of the page that asks for confirmation of an action.

    Args:
        action: The action.
        chosen: The timers to act on.
        seen: Their present state; `THE_REST` if some of them are done already.
    """
    if seen is THE_REST:
        question = _go_on(chosen)
    else:
        count = timers_text(seen.count)
        if seen.is_cut:
            count = gettext(wording.AT_LEAST) % count
        question = gettext(action.words.question) % {"timers": count, "topic": escape(chosen.topic)}
        question += _which(chosen)
    if seen.running is None:
        running = gettext(wording.RUNNING_INCLUDED)
    else:
        running = gettext(wording.RUNNING) % timers_text(seen.running) if seen.running else ""
    return {
        "question": question,
        "running_text": running,
        "series_texts": _series_texts(action, chosen, seen),
        "gone_text": gettext(wording.GONE) % timers_text(seen.gone),
    }


def _series_texts(action: Action, chosen: Chosen, seen: Preview) -> list[str]:
    """Return the consequences for recurring and paused timers."""
    texts, words = [], action.words
    if action is CANCEL and seen.recurring is None:
        texts.append(f"{gettext(wording.RECURRING_INCLUDED)} {gettext(words.of_recurring)}")
    elif words.of_recurring and seen.recurring:
        count = gettext(wording.RECURRING) % timers_text(seen.recurring)
        texts.append(f"{count} {gettext(words.of_recurring)}")
    if words.of_paused and seen.paused:
        count = gettext(wording.PAUSED) % timers_text(seen.paused)
        more = words.of_paused if chosen.timer_ids else wording.STAY_PAUSED
        texts.append(f"{count} {gettext(more)}")
    return texts


def _go_on(chosen: Chosen) -> str:
    names = {"topic": escape(chosen.topic)}
    if chosen.match is None:
        return _GO_ON % names  # type: ignore[no-any-return]
    return _GO_ON_MATCHING % {**names, "pattern": escape(chosen.match)}  # type: ignore[no-any-return]


def _which(chosen: Chosen) -> str:
    if chosen.match is not None:
        return " " + gettext("These are all timers that match “%s”.") % escape(chosen.match)  # type: ignore[no-any-return]
    return " " + gettext("These are all timers of the topic.") if chosen.everything else ""


def outcome_text(action: Action, tally: Tally) -> str:
    """Return the outcomes for all timers, in words.

    Args:
        action: The action.
        tally: The outcomes.
    """
    sentences = [f"{gettext(action.words.done_to) % timers_text(tally.done)}."]
    if tally.stayed:
        reasons = [
            f"{timers_text(tally.stayed[reason])} ({gettext(why)})"
            for reason, why in REASONS.items()
            if tally.stayed[reason]
        ]
        sentences.append(gettext(wording.UNCHANGED) % ", ".join(reasons))
    if gone := tally.gone + len(tally.unknown):
        sentences.append(gettext(wording.GONE) % timers_text(gone))
    if tally.more:
        sentences.append(gettext(wording.MORE) % number(tally.more) + ".")
    if tally.running:
        count = gettext(wording.RUNNING) % timers_text(tally.running)
        sentences.append(f"{count} {gettext(action.words.of_running)}")
    if tally.recurring:
        sentences.append(gettext("Series ended: %s.") % number(tally.recurring))
    return " ".join(sentences)
