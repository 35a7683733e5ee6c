"""What can be done with timers, and the words around it."""

from collections.abc import Mapping
from dataclasses import dataclass

from faststream_redis_timers_sync.manage.asked import ActionName
from faststream_redis_timers_sync.manage.changing import REASONS, Outcome, Tally
from faststream_redis_timers_sync.manage.chosen import Chosen, Preview
from faststream_redis_timers_sync.manage.pages import Page
from faststream_redis_timers_sync.manage.scanning import MOST_TOPICS, Remark, Scan
from faststream_redis_timers_sync.manage.text import escape, plural
from faststream_redis_timers_sync.web.access import Right


@dataclass(frozen=True, slots=True)
class Action:
    """What can be done with timers.

    Args:
        name: Its name in forms and addresses.
        right: The right that it needs.
        button: Asks for it.
        title: Heads the page that asks whether to do it.
        verb: Begins the question, in the imperative.
        done: Says that it was done to a timer.
        of_running: What follows for those that run.
        explanation: What else is to be known before, if anything.
        of_recurring: What follows for those that are recurring, if anything.
        of_paused: What follows for those that are paused and were named, if anything.
    """

    name: ActionName
    right: Right
    button: str
    title: str
    verb: str
    done: str
    of_running: str
    explanation: str = ""
    of_recurring: str = ""
    of_paused: str = ""


CANCEL = Action(
    name="cancel",
    right="cancel",
    button="Cancel",
    title="Cancel timers",
    verb="Cancel",
    done="cancelled",
    of_running="They are removed, but their handlers finish.",
    of_recurring=(
        "Series end. A series that an application declares is created again by its next start: "
        "pause it instead."
    ),
)
RESCHEDULE = Action(
    name="reschedule",
    right="reschedule",
    button="Reschedule",
    title="Reschedule timers",
    verb="Reschedule",
    done="rescheduled",
    of_running="They run again at the new time.",
    of_recurring="Only the next occurrence of a series moves.",
    of_paused="Rescheduling a paused timer resumes it.",
)
RUN_NOW = Action(
    name="run_now",
    right="run",
    button="Run now",
    title="Run timers now",
    verb="Run",
    done="made due",
    of_running="A second run starts while the first goes on.",
    of_recurring="Series go on at their next times.",
    of_paused="Running a paused timer resumes it.",
)
PAUSE = Action(
    name="pause",
    right="reschedule",
    button="Pause",
    title="Pause recurring timers",
    verb="Pause",
    done="paused",
    of_running="Their handlers finish.",
    explanation=(
        "Paused timers are not due until you resume them, and occurrences that they miss are not "
        "made up for. Only recurring timers can be paused."
    ),
)
RESUME = Action(
    name="resume",
    right="reschedule",
    button="Resume",
    title="Resume recurring timers",
    verb="Resume",
    done="resumed",
    of_running="",
    explanation="Each is due again at its next time.",
)
REDRIVE = Action(
    name="redrive",
    right="redrive",
    button="Redrive",
    title="Redrive dead letters",
    verb="Redrive",
    done="redriven",
    of_running="They stay dead letters.",
    explanation=(
        "Each returns to the topic it came from, under its old ID, due at once, with its attempts "
        "reset. It stays a dead letter if a timer with that ID is pending there, or if that topic "
        "is in another hash slot."
    ),
)

ACTIONS: Mapping[str, Action] = {
    action.name: action for action in (RUN_NOW, RESCHEDULE, PAUSE, RESUME, REDRIVE, CANCEL)
}

TOO_LARGE = (
    "The topic is too large to look at all of its timers in time. Search for a whole ID, or use "
    "the command line: faststream-redis-timers list, cancel, reschedule, pause, resume, redrive."
)


def looked_through(page: Page, pending: int) -> str:
    """Say how far a page got where there was no time for all timers.

    Args:
        page: The page.
        pending: How many timers the topic has.
    """
    examined = min(page.examined, pending)
    return f"Looked through {examined:,} of {plural(pending)}: go on for the rest."


REMARKS: Mapping[Remark, str] = {
    "no pubsub": "The server does not allow PUBSUB, so listening workers are not counted.",
    "no scan": "The server does not allow SCAN or DBSIZE: open topics by name.",
    "too many": f"There are more than {MOST_TOPICS:,} topics: open the others by name.",
    "dropped": "Some topics that were found before are not listed any longer: note them before you "
    "go on looking, or open them by name.",
    "gaps": "Topics may be missing, because slots of the cluster moved during the search: search "
    "again.",
}


NOT_COUNTED = "There was no time to count the running timers of all topics."


def scan_text(scan: Scan) -> str:
    """Say how far a scan is.

    Args:
        scan: The scan, a step further.
    """
    total = scan.total or 0
    if scan.is_done and not scan.cursor:
        return f"Looked at all {total:,} keys of the database."
    return f"Looked at about {min(scan.examined, total):,} of {total:,} keys."


def question_of(action: Action, chosen: Chosen, seen: Preview) -> str:
    """Word the question before an action.

    Args:
        action: The action.
        chosen: What was chosen.
        seen: What that is at this moment.
    """
    count = plural(seen.count)
    if seen.is_cut:
        count = f"at least {count}"
    if chosen.everything:
        which = f"all timers ({count})"
    elif chosen.match is not None:
        which = f"all timers that match “{escape(chosen.match)}” ({count})"
    else:
        which = count
    now = " now" if action is RUN_NOW else ""
    return f"{action.verb} {which} of topic “{escape(chosen.topic)}”{now}?"


def consequences(action: Action, chosen: Chosen, seen: Preview) -> list[str]:
    """Say what else is to be known before an action.

    Args:
        action: The action.
        chosen: What was chosen.
        seen: What that is at this moment.
    """
    texts = [action.explanation] if action.explanation else []
    if seen.running is None:
        texts.append("Timers that are running are included.")
    elif seen.running:
        texts.append(f"Running: {plural(seen.running)}. {action.of_running}".strip())
    if action is CANCEL and seen.recurring is None:
        texts.append(f"Recurring timers may be among them. {action.of_recurring}")
    elif action.of_recurring and seen.recurring:
        texts.append(f"Recurring: {plural(seen.recurring)}. {action.of_recurring}")
    if action.of_paused and seen.paused:
        more = action.of_paused if chosen.timer_ids else "They stay paused."
        texts.append(f"Paused: {plural(seen.paused)}. {more}")
    if seen.gone:
        texts.append(f"No longer pending: {plural(seen.gone)}.")
    return texts


def outcome_of(action: Action, outcome: Outcome) -> str:
    """Say what became of one timer.

    Args:
        action: What was done.
        outcome: What became of it.
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
    return f"{action.done} ({'; '.join(more)})" if more else action.done


def summary(action: Action, tally: Tally) -> str:
    """Say what became of the timers.

    Args:
        action: What was done.
        tally: What became of them.
    """
    parts = [f"{action.done} {tally.done:,}"]
    stayed = ((REASONS[reason], count) for reason, count in tally.stayed.items() if count)
    parts += [f"unchanged {count:,} ({why})" for why, count in stayed]
    if gone := tally.gone + len(tally.unknown):
        parts.append(f"no longer pending {gone:,}")
    if tally.running:
        parts.append(f"of these running {tally.running:,}")
    if tally.recurring:
        parts.append(f"series ended {tally.recurring:,}")
    return ", ".join(parts)
