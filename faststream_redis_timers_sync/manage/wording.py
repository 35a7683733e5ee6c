"""The English words for actions on timers, for all pages.

The pages fill in each ``%(name)s``; Django's pages translate the sentence first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from faststream_redis_timers_sync.manage.chosen import Chosen
from faststream_redis_timers_sync.manage.forms import ActionName
from faststream_redis_timers_sync.manage.scanning import Remark


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionWords:
    """The words for an action on timers.

    Args:
        label: Entry in a list of actions on selected timers.
        button: Text of the button.
        title: Title of the page that asks for confirmation.
        question: The question there, about ``%(timers)s`` of topic ``%(topic)s``.
        confirm: Text of the button there.
        done: Past participle, for the result.
        of_running: The effect on running timers.
        explanation: Further explanation, if any.
        of_recurring: The effect on recurring timers, if any.
        of_paused: The effect on named paused timers, if any.
    """

    label: str
    button: str
    title: str
    question: str
    confirm: str
    done: str
    of_running: str
    explanation: str = ""
    of_recurring: str = ""
    of_paused: str = ""

    @property
    def done_to(self) -> str:
        """The result for a count of timers, without a full stop."""
        return f"{self.done.capitalize()}: %s"

    @property
    def done_once(self) -> str:
        """The result for one timer, as a sentence."""
        return f"{self.done.capitalize()}."


ACTION_WORDS: Mapping[ActionName, ActionWords] = {
    "run_now": ActionWords(
        label="Run selected timers now",
        button="Run now",
        title="Run timers now",
        question="Run %(timers)s of topic “%(topic)s” now?",
        confirm="Run now",
        done="made due",
        of_running="A second run starts beside the first.",
        of_recurring="Series continue at their next times.",
        of_paused="Running a paused timer resumes it.",
    ),
    "reschedule": ActionWords(
        label="Reschedule selected timers",
        button="Reschedule",
        title="Reschedule timers",
        question="Reschedule %(timers)s of topic “%(topic)s”?",
        confirm="Reschedule",
        done="rescheduled",
        of_running="They run again at the new time.",
        of_recurring="Only the next occurrence of a series moves.",
        of_paused="Rescheduling a paused timer resumes it.",
    ),
    "pause": ActionWords(
        label="Pause selected recurring timers",
        button="Pause",
        title="Pause recurring timers",
        question="Pause %(timers)s of topic “%(topic)s”?",
        confirm="Pause",
        done="paused",
        of_running="Their handlers finish.",
        explanation=(
            "Paused timers are not due until you resume them, and occurrences that they miss are "
            "not made up for. Only recurring timers can be paused."
        ),
    ),
    "resume": ActionWords(
        label="Resume selected recurring timers",
        button="Resume",
        title="Resume recurring timers",
        question="Resume %(timers)s of topic “%(topic)s”?",
        confirm="Resume",
        done="resumed",
        of_running="",
        explanation="Each is due again at its next time.",
    ),
    "redrive": ActionWords(
        label="Redrive selected dead letters",
        button="Redrive",
        title="Redrive dead letters",
        question="Redrive %(timers)s of topic “%(topic)s”?",
        confirm="Redrive",
        done="redriven",
        of_running="They stay dead letters.",
        explanation=(
            "Each returns to the topic it came from, under its old ID, due at once, with its "
            "attempts reset. It stays a dead letter if a timer with that ID is waiting or "
            "recurring there, or if that topic is in another hash slot."
        ),
    ),
    "cancel": ActionWords(
        label="Cancel selected timers",
        button="Cancel",
        title="Cancel timers",
        question="Cancel %(timers)s of topic “%(topic)s”?",
        confirm="Yes, cancel",
        done="cancelled",
        of_running="They are removed, but their handlers finish.",
        of_recurring=(
            "Series end. A series that an application declares is created again by its next "
            "start: pause it instead."
        ),
    ),
}
"""The words of each action, in the order in which pages offer them."""

AT_LEAST = "at least %s"
RUNNING = "Running: %s."
RUNNING_INCLUDED = "Timers that are running are included."
RECURRING = "Recurring: %s."
RECURRING_INCLUDED = "Recurring timers may be among them."
PAUSED = "Paused: %s."
STAY_PAUSED = "They stay paused."
GONE = "No longer pending: %s."
MORE = "%s more than shown when you confirmed"
UNCHANGED = "Unchanged: %s."
NONE_PENDING = "None of these timers is still pending."
SELECT_FIRST = "Select timers first, then choose what to do with them."

TIMES_UNKNOWN = "The next times can't be computed here: %s"
NO_NEXT_TIME = "There is no next time: the series ends."

LOOKED_THROUGH = "Examined %(examined)s of %(timers)s: continue for the rest."
"""The note on a page that had no time for all timers."""

NONE_YET = "None found yet."
NO_MORE = "There are no more timers."
NO_MATCH = "No timer matches."
NONE_HERE = "No timer is pending here."

TOO_LARGE = (
    "The topic is too large to examine all of its timers in time. Search for a whole ID, or use "
    "the command line: %(commands)s."
)

REMARKS: Mapping[Remark, str] = {
    "no pubsub": "The server does not allow PUBSUB, so listening workers are not counted.",
    "no scan": "The server does not allow SCAN or DBSIZE: open topics by name.",
    "too many": "There are more than %(most)s topics: open the others by name.",
    "dropped": "Some topics found earlier are no longer listed, because a page can't carry more "
    "names: open them by name.",
    "gaps": "Topics may be missing, because slots of the cluster moved during the search: search "
    "again.",
}

SCANNED_ALL = "Scanned all %(total)s keys of the database."
SCANNED = "Scanned about %(examined)s of %(total)s keys."


def none_of(chosen: Chosen) -> str:
    """Return the sentence that there is no timer to act on.

    Args:
        chosen: The timers to act on.
    """
    return NONE_PENDING if chosen.match is None else NO_MATCH
