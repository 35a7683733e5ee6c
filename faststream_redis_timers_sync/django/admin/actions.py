"""What can be done with timers in the admin, and the words around it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, gettext_lazy as _

from faststream_redis_timers_sync.django.admin.shown import number, timers_text
from faststream_redis_timers_sync.manage.asked import ActionName
from faststream_redis_timers_sync.manage.changing import Reason, Tally
from faststream_redis_timers_sync.manage.chosen import Chosen, Preview
from faststream_redis_timers_sync.manage.text import escape


@dataclass(frozen=True, slots=True)
class Action:
    """What can be done with timers.

    Args:
        name: Its name in forms.
        permission: What Django's permission for it is called.
        label: Asks for it, in the list of actions.
        button: Asks for it, on the page of a timer.
        title: Heads the page that asks whether to do it.
        question: Asks whether to do it.
        confirm: Says yes to it.
        done: Tells how many it was done to.
        of_running: What follows for those that run.
        explanation: What else is to be known before, if anything.
        of_recurring: What follows for those that are recurring, if anything.
        of_paused: What follows for those that are paused and were named, if anything.
    """

    name: ActionName
    permission: str
    label: Any
    button: Any
    title: Any
    question: Any
    confirm: Any
    done: Any
    of_running: Any
    explanation: Any = ""
    of_recurring: Any = ""
    of_paused: Any = ""


CANCEL = Action(
    name="cancel",
    permission="delete",
    label=_("Cancel selected timers"),
    button=_("Cancel this timer"),
    title=_("Cancel timers"),
    question=_("Cancel %(timers)s of topic “%(topic)s”?"),
    confirm=_("Yes, cancel"),
    done=_("Cancelled: %s"),
    of_running=_("They are removed, but their handlers finish."),
    of_recurring=_(
        "Series end. One that an application declares is created again by its next start: "
        "pause it to stop it."
    ),
)
RESCHEDULE = Action(
    name="reschedule",
    permission="change",
    label=_("Reschedule selected timers"),
    button=_("Reschedule"),
    title=_("Reschedule timers"),
    question=_("Reschedule %(timers)s of topic “%(topic)s”? To when?"),
    confirm=_("Reschedule"),
    done=_("Rescheduled: %s"),
    of_running=_("They will run again at the new time."),
    of_recurring=_("Of a series the next time alone is moved."),
    of_paused=_("Rescheduling a paused timer resumes it."),
)
RUN_NOW = Action(
    name="run_now",
    permission="change",
    label=_("Run selected timers now"),
    button=_("Run now"),
    title=_("Run timers now"),
    question=_("Run %(timers)s of topic “%(topic)s” now?"),
    confirm=_("Yes, run now"),
    done=_("Made due: %s"),
    of_running=_("A second run starts beside the one that goes on."),
    of_recurring=_("A series goes on at its next time."),
    of_paused=_("Running a paused timer now resumes it."),
)
PAUSE = Action(
    name="pause",
    permission="change",
    label=_("Pause selected recurring timers"),
    button=_("Pause"),
    title=_("Pause recurring timers"),
    question=_("Pause %(timers)s of topic “%(topic)s”?"),
    confirm=_("Yes, pause"),
    done=_("Paused: %s"),
    of_running=_("Their handlers finish."),
    explanation=_(
        "They are not due until somebody resumes them, and what falls due meanwhile is not made "
        "up for. Only recurring timers can be paused."
    ),
)
RESUME = Action(
    name="resume",
    permission="change",
    label=_("Resume selected recurring timers"),
    button=_("Resume"),
    title=_("Resume recurring timers"),
    question=_("Resume %(timers)s of topic “%(topic)s”?"),
    confirm=_("Yes, resume"),
    done=_("Resumed: %s"),
    of_running="",
    explanation=_("Each is due again at its next time."),
)
REDRIVE = Action(
    name="redrive",
    permission="change",
    label=_("Put back selected dead letters"),
    button=_("Put back"),
    title=_("Put dead letters back"),
    question=_("Put back %(timers)s of topic “%(topic)s”?"),
    confirm=_("Yes, put back"),
    done=_("Put back: %s"),
    of_running=_("They stay where they are."),
    explanation=_(
        "Each comes back under its old id to the topic that it comes from, due at once, its "
        "attempts at zero. One stays where a timer of that id waits, where it comes from a topic "
        "of another slot, or where it is no dead letter."
    ),
)
_GO_ON = _("Go on with the rest of topic “%(topic)s”?")
_GO_ON_MATCHING = _("Go on with the rest of those that match “%(pattern)s” in topic “%(topic)s”?")

ACTIONS: dict[str, Action] = {
    action.name: action for action in (CANCEL, RESCHEDULE, RUN_NOW, PAUSE, RESUME, REDRIVE)
}

MOVES = (RESCHEDULE, RUN_NOW)
"""Those that give timers another due time."""

_STAYS: dict[Reason, Any] = {
    "waiting": _("%s: a timer of the old id waits, or is recurring"),
    "running": _("%s: a handler runs with it"),
    "other slot": _("%s: the topic that it comes from is in another slot"),
    "no dead letter": _("%s: no dead letter"),
    "paused": _("%s: paused"),
    "not recurring": _("%s: not recurring"),
    "already paused": _("%s: paused already"),
    "not paused": _("%s: not paused"),
    "no next time": _("%s: the next time is unknown here"),
}


THE_REST = Preview(0, 0)
"""What is left where time was up: it is not counted, that would take time too."""


def too_large() -> str:
    """Say that a topic is too large to look for timers in it here."""
    return gettext(  # type: ignore[no-any-return]
        "There was no time to look at all timers of this topic. Search for a whole id, "
        "or use the command line (timers_list, timers_cancel, timers_reschedule, timers_pause, "
        "timers_resume, timers_redrive)."
    )


def confirmation(action: Action, chosen: Chosen, seen: Preview) -> Mapping[str, Any]:
    """Word what a page asks before an action.

    Args:
        action: The action.
        chosen: What was chosen.
        seen: What that is at this moment; `THE_REST` where a part of it is done already.
    """
    if seen is THE_REST:
        question = _go_on(chosen)
    else:
        count = timers_text(seen.count)
        if seen.is_cut:
            count = gettext("at least %s") % count
        question = action.question % {"timers": count, "topic": escape(chosen.topic)}
        question += _which(chosen)
    if seen.running is None:
        running = gettext("Those that run at that moment are among them.")
    else:
        running = gettext("Running: %s.") % timers_text(seen.running) if seen.running else ""
    return {
        "question": question,
        "running_text": running,
        "series_texts": _series_texts(action, chosen, seen),
        "gone_text": gettext("Gone meanwhile: %s.") % timers_text(seen.gone),
    }


def _series_texts(action: Action, chosen: Chosen, seen: Preview) -> list[str]:
    """Say what recurring and paused timers are to know before."""
    texts = []
    if action is CANCEL and seen.recurring is None:
        texts.append(gettext("Recurring timers may be among them.") + f" {action.of_recurring}")
    elif action.of_recurring and seen.recurring:
        count = gettext("Recurring: %s.") % timers_text(seen.recurring)
        texts.append(f"{count} {action.of_recurring}")
    if action.of_paused and seen.paused:
        count = gettext("Paused: %s.") % timers_text(seen.paused)
        more = action.of_paused if chosen.timer_ids else gettext("They are left out.")
        texts.append(f"{count} {more}")
    return texts


def _go_on(chosen: Chosen) -> str:
    names = {"topic": escape(chosen.topic)}
    if chosen.match is None:
        return _GO_ON % names  # type: ignore[no-any-return]
    return _GO_ON_MATCHING % {**names, "pattern": escape(chosen.match)}  # type: ignore[no-any-return]


def _which(chosen: Chosen) -> str:
    if chosen.match is not None:
        return " " + gettext("These are all that match “%s”.") % escape(chosen.match)  # type: ignore[no-any-return]
    return " " + gettext("These are all that there are.") if chosen.everything else ""


def outcome_text(action: Action, tally: Tally) -> str:
    """Tell what became of the timers.

    Args:
        action: What was done.
        tally: What became of them.
    """
    sentences = [f"{action.done % timers_text(tally.done)}."]
    if tally.stayed:
        reasons = [
            why % timers_text(tally.stayed[reason])
            for reason, why in _STAYS.items()
            if tally.stayed[reason]
        ]
        sentences.append(gettext("These stay: %s.") % "; ".join(reasons))
    if gone := tally.gone + len(tally.unknown):
        sentences.append(gettext("Gone meanwhile: %s.") % timers_text(gone))
    if tally.running:
        sentences.append(
            gettext("Running: %s.") % timers_text(tally.running) + f" {action.of_running}"
        )
    if tally.recurring:
        sentences.append(gettext("Series that have ended: %s.") % number(tally.recurring))
    return " ".join(sentences)
