"""The actions on timers with their rights, and the English sentences of the pages."""

from collections.abc import Mapping
from dataclasses import dataclass

from faststream_redis_timers_sync.manage import wording
from faststream_redis_timers_sync.manage.changing import REASONS, Outcome, Tally
from faststream_redis_timers_sync.manage.chosen import Chosen, Preview
from faststream_redis_timers_sync.manage.forms import ActionName
from faststream_redis_timers_sync.manage.pages import Page
from faststream_redis_timers_sync.manage.scanning import MOST_TOPICS, Remark, Scan
from faststream_redis_timers_sync.manage.text import escape, plural
from faststream_redis_timers_sync.manage.wording import ACTION_WORDS, ActionWords
from faststream_redis_timers_sync.web.access import Right

_RIGHTS: Mapping[ActionName, Right] = {
    "run_now": "run",
    "reschedule": "reschedule",
    "pause": "reschedule",
    "resume": "reschedule",
    "redrive": "redrive",
    "cancel": "cancel",
}


@dataclass(frozen=True, slots=True)
class Action:
    """An action on timers.

    Args:
        name: Its name in forms and addresses.
        right: The right that it needs.
        words: Its words.
    """

    name: ActionName
    right: Right
    words: ActionWords


ACTIONS: Mapping[str, Action] = {
    name: Action(name, _RIGHTS[name], words) for name, words in ACTION_WORDS.items()
}
CANCEL, RESCHEDULE, REDRIVE = (ACTIONS[name] for name in ("cancel", "reschedule", "redrive"))

TOO_LARGE = wording.TOO_LARGE % {
    "commands": "faststream-redis-timers list, cancel, reschedule, pause, resume, redrive"
}


def looked_through(page: Page, pending: int) -> str:
    """Return how far a page got if there was no time for all timers.

    Args:
        page: The page.
        pending: How many timers the topic has.
    """
    examined = f"{min(page.examined, pending):,}"
    return wording.LOOKED_THROUGH % {"examined": examined, "timers": plural(pending)}


def remark_text(remark: Remark) -> str:
    """Return the sentence of a remark about a list of topics.

    Args:
        remark: The remark.
    """
    return wording.REMARKS[remark] % {"most": f"{MOST_TOPICS:,}"}


NOT_COUNTED = "There was no time to count the running timers of all topics."


def scan_text(scan: Scan) -> str:
    """Return how far a scan is.

    Args:
        scan: The scan, a step further.
    """
    total = scan.total or 0
    is_whole = scan.is_done and not scan.cursor
    counts = {"examined": f"{min(scan.examined, total):,}", "total": f"{total:,}"}
    return (wording.SCANNED_ALL if is_whole else wording.SCANNED) % counts


def question_of(action: Action, chosen: Chosen, seen: Preview) -> str:
    """Return the question before an action.

    Args:
        action: The action.
        chosen: The timers to act on.
        seen: Their present state.
    """
    count = plural(seen.count)
    if seen.is_cut:
        count = wording.AT_LEAST % count
    if chosen.everything:
        which = f"all timers ({count})"
    elif chosen.match is not None:
        which = f"all timers that match “{escape(chosen.match)}” ({count})"
    else:
        which = count
    return action.words.question % {"timers": which, "topic": escape(chosen.topic)}


def consequences(action: Action, chosen: Chosen, seen: Preview, *, may_resume: bool) -> list[str]:
    """Return the consequences of an action, to show before it.

    Args:
        action: The action.
        chosen: The timers to act on.
        seen: Their present state.
        may_resume: Whether named paused timers may be changed, which resumes them.
    """
    words = action.words
    texts = [words.explanation] if words.explanation else []
    if seen.running is None:
        texts.append(wording.RUNNING_INCLUDED)
    elif seen.running:
        texts.append(f"{wording.RUNNING % plural(seen.running)} {words.of_running}".strip())
    if action is CANCEL and seen.recurring is None:
        texts.append(f"{wording.RECURRING_INCLUDED} {words.of_recurring}")
    elif words.of_recurring and seen.recurring:
        texts.append(f"{wording.RECURRING % plural(seen.recurring)} {words.of_recurring}")
    if words.of_paused and seen.paused:
        more = words.of_paused if chosen.timer_ids and may_resume else wording.STAY_PAUSED
        texts.append(f"{wording.PAUSED % plural(seen.paused)} {more}")
    if seen.gone:
        texts.append(wording.GONE % plural(seen.gone))
    return texts


def outcome_of(action: Action, outcome: Outcome) -> str:
    """Return the outcome for one timer, in words.

    Args:
        action: The action.
        outcome: The outcome.
    """
    if outcome.result == "unknown":
        return "no longer pending"
    if outcome.result != "done":
        reason = f"unchanged: {REASONS[outcome.result]}"
        return f"{reason} ({escape(outcome.detail)})" if outcome.detail else reason
    more = []
    if outcome.was_running:
        more.append("it was running")
    if outcome.was_recurring:
        more.append("its series has ended")
    if outcome.owner:
        more.append(f"{outcome.owner} declares it and will create it again")
    return f"{action.words.done} ({'; '.join(more)})" if more else action.words.done


def summary(action: Action, tally: Tally) -> str:
    """Return the outcomes for all timers, in words.

    Args:
        action: The action.
        tally: The outcomes.
    """
    parts = [f"{action.words.done} {tally.done:,}"]
    stayed = ((why, tally.stayed[reason]) for reason, why in REASONS.items())
    parts += [f"unchanged {count:,} ({why})" for why, count in stayed if count]
    if gone := tally.gone + len(tally.unknown):
        parts.append(f"no longer pending {gone:,}")
    if tally.more:
        parts.append(wording.MORE % f"{tally.more:,}")
    if tally.running:
        parts.append(f"of these running {tally.running:,}")
    if tally.recurring:
        parts.append(f"series ended {tally.recurring:,}")
    return ", ".join(parts)
