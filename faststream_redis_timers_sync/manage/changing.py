"""Cancels, reschedules, pauses, resumes and redrives the chosen timers.

Changes go in calls of up to 200 timers; pausing or resuming takes one call per timer.

A front end that must respond in time passes a deadline and asks again for the rest.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Literal, NamedTuple

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.chosen import Chosen
from faststream_redis_timers_sync.manage.deadline import Deadline, TimeUpError
from faststream_redis_timers_sync.manage.errors import if_allowed
from faststream_redis_timers_sync.manage.pages import read_timers
from faststream_redis_timers_sync.manage.selection import (
    OnExamined,
    cancel_each,
    list_timers,
    matching_ids,
    redrive_each,
    reschedule_each,
)
from faststream_redis_timers_sync.manage.series import definitions_of, owners_of
from faststream_redis_timers_sync.manage.server import internals_of, server_time
from faststream_redis_timers_sync.manage.states import state_of
from faststream_redis_timers_sync.manage.walking import Position, Walk
from faststream_redis_timers_sync.protocol.management import State, pause_one
from faststream_redis_timers_sync.protocol.model import Timer
from faststream_redis_timers_sync.protocol.operation import MOST_CHANGED, in_chunks

_FIRST = datetime.min.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_SAME_TIME = timedelta(milliseconds=1)
"""Far in the future scores are coarser than microseconds."""

Reason = Literal[
    "waiting",
    "running",
    "other slot",
    "no dead letter",
    "paused",
    "not recurring",
    "already paused",
    "not paused",
    "no next time",
    "changed",
]
"""Why a timer is left unchanged."""

REASONS: dict[Reason, str] = {
    "waiting": "a timer with its old ID is waiting or recurring",
    "running": "a handler is running with it",
    "other slot": "the topic it came from is in another hash slot",
    "no dead letter": "not a dead letter",
    "paused": "paused; resume it, or name it by its ID",
    "not recurring": "not recurring",
    "already paused": "already paused",
    "not paused": "not paused",
    "no next time": "its next time can't be computed here",
    "changed": "changed since you were asked",
}
"""The reasons in English."""

AS_WANTED: frozenset[Reason] = frozenset({"already paused", "not paused"})
"""Reasons that are not failures: the timer is already in the wanted state."""


class Outcome(NamedTuple):
    """The outcome for one timer.

    Args:
        timer_id: Its id.
        result: It was changed, it is unknown, or the reason why it is unchanged.
        was_running: Whether it was changed while a handler ran with it.
        was_recurring: Whether its cancelling ended a series.
        detail: Details of the reason.
        owner: The owner that declares the series and creates it again; empty if it has none.
    """

    timer_id: str
    result: Literal["done", "unknown"] | Reason
    was_running: bool = False
    was_recurring: bool = False
    detail: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel the timers and end series; running handlers finish."""


@dataclass(frozen=True, slots=True)
class Reschedule:
    """Reschedule the timers; a running timer runs again at the new time.

    Args:
        activate_in: Delay from each call, by the server's clock.
        activate_at: Aware datetime. Neither means now.
        moved_to: The time to which an earlier, cut call has rescheduled some of them: these are
            left alone.
        after: Where that call ended. It counts once `moved_to` has come: a timer that has run
            since, and waits for its next occurrence or its retry, looks like one that was not
            rescheduled.
        resumes: Whether named paused timers are rescheduled too, which resumes them. Otherwise
            they stay paused; paused timers that were not named always do.
    """

    activate_in: timedelta | None = None
    activate_at: datetime | None = None
    moved_to: datetime | None = None
    after: Position | None = None
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Pause the recurring timers until they are resumed; running handlers finish."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Make the paused recurring timers due again, at their next time."""


@dataclass(frozen=True, slots=True)
class Redrive:
    """Redrive the dead letters to the topics they came from, due at once."""


Change = Cancel | Reschedule | Pause | Resume | Redrive


def concerns(change: Change) -> Callable[[Timer], bool] | None:
    """Return a test for timers, not named one by one, that a change applies to.

    Args:
        change: The change.

    Returns:
        A function of a timer with its definition; None if the change applies to all timers.
    """
    if isinstance(change, Pause):
        return lambda timer: timer.repeat is not None and not timer.paused
    return (lambda timer: timer.paused) if isinstance(change, Resume) else None


@dataclass(slots=True)
class Tally:
    """Counts of outcomes so far.

    Args:
        done: How many timers were changed.
        running: How many of these were running; None if unknown.
        gone: How many were pending when they were counted or found, but no longer: they were
            delivered, or cancelled by somebody else.
        recurring: How many of the cancelled ones were recurring; None if unknown.
        stayed: How many are unchanged, by reason.
        named: The outcome of each named timer, in the order given.
        more: How many more were changed than the user had confirmed.
        is_cut: Whether time ran out before all were examined.
        walk: The walk that found the timers to reschedule if they were not named; a later call
            can continue at its position, see `Reschedule.after`.
    """

    done: int = 0
    running: int | None = 0
    gone: int = 0
    recurring: int | None = 0
    stayed: Counter[Reason] = field(default_factory=Counter)
    named: list[Outcome] = field(default_factory=list)
    more: int = 0
    is_cut: bool = False
    walk: Walk | None = None

    @property
    def unknown(self) -> list[str]:
        """The named ids that are not pending."""
        return [outcome.timer_id for outcome in self.named if outcome.result == "unknown"]

    def add(self, outcome: Outcome, *, is_named: bool) -> None:
        """Count one outcome.

        Args:
            outcome: The outcome.
            is_named: Whether the timer was named.
        """
        if is_named:
            self.named.append(outcome)
        if outcome.result == "done":
            self.done += 1
        elif outcome.result != "unknown":
            self.stayed[outcome.result] += 1
        elif not is_named:
            self.gone += 1
        if outcome.was_running:
            self.running = (self.running or 0) + 1
        if outcome.was_recurring:
            self.recurring = (self.recurring or 0) + 1


def walks(change: Change, chosen: Chosen) -> bool:
    """Return whether a change has to walk through the topic to find the chosen timers.

    Args:
        change: The change.
        chosen: The timers to act on.
    """
    return not chosen.timer_ids and not _is_of_a_whole_topic(change, chosen)


def carry_out(  # noqa: PLR0913  what to do to which timers, and how long it may take
    timers: TimersClient,
    change: Change,
    chosen: Chosen,
    tally: Tally,
    *,
    expected: int | None = None,
    seen: Mapping[str, str] | None = None,
    deadline: Deadline | None = None,
    on_examined: OnExamined | None = None,
) -> None:
    """Change the chosen timers, or as many as a deadline allows.

    With `seen`, named timers that changed since the user was asked are left alone. They are read
    just before the change, in a separate call: changes in between are not noticed. Nor is a new
    timer with the same id and due time.

    Args:
        timers: The client.
        change: The change.
        chosen: The timers to act on.
        tally: Counts each outcome; after a failure it holds the changes made before.
        expected: How many there were when the user confirmed; None if they were not counted, or
            if this continues an earlier call.
        seen: `mark_of` each named timer when the user was asked, by id; empty for one that was
            not pending. None means that nobody was asked.
        deadline: Ends the change of timers that were not named, after one call at the earliest.
        on_examined: Called with the number of timers examined to find those. If it raises
            `TimeUpError`, the search ends.

    Raises:
        TypeError: A time has the wrong type.
        ValueError: The topic, an id or the pattern is empty, or a time can't be used.
        TimerOutcomeUnknownError: The server's reply to a call was lost.
        redis.RedisError: The server or the connection failed.
    """
    if expected == 0:
        # Timers that are scheduled from now on were not confirmed.
        return
    if _is_of_a_whole_topic(change, chosen):
        tally.done = timers.cancel_all(chosen.topic)
        tally.running = tally.recurring = None
    else:
        is_named = bool(chosen.timer_ids)
        places = {timer_id: n for n, timer_id in enumerate(dict.fromkeys(chosen.timer_ids))}
        timer_ids: Iterable[str] = places
        if not is_named:
            timer_ids = _in_time(
                _find(timers, change, chosen, expected, tally, on_examined), deadline, tally
            )
            if isinstance(change, Reschedule):
                change = replace(change, resumes=False)
        elif seen is not None:
            changed = _changed(timers, chosen, seen)
            for timer_id in changed:
                tally.add(Outcome(timer_id, "changed"), is_named=True)
            timer_ids = [timer_id for timer_id in places if timer_id not in changed]
        for outcome in _change_each(timers, change, chosen.topic, timer_ids):
            tally.add(outcome, is_named=is_named)
        # The changed timers were reported first.
        tally.named.sort(key=lambda outcome: places[outcome.timer_id])
    if expected is not None:
        tally.more = max(0, tally.done - expected)
    if expected is not None and not tally.is_cut:
        # Also counts timers that were gone by the second search.
        counted = tally.done + tally.stayed.total() + len(tally.unknown)
        tally.gone = max(tally.gone, expected - counted)


def mark_of(timer: Timer, now: datetime) -> str:
    """Return a mark of a timer's state, its due time or that it is running, to detect changes.

    Args:
        timer: The timer.
        now: The server's time.
    """
    # While a handler runs, its lease is extended repeatedly. After an expired lease a worker may
    # claim the timer, which is a change.
    is_running = state_of(timer, now) == "running"
    return "r" if is_running else f"{(timer.due_at - _FIRST) // _MICROSECOND:x}"


def _changed(timers: TimersClient, chosen: Chosen, seen: Mapping[str, str]) -> set[str]:
    """Return the named timers that changed since they were seen, without those that are gone."""
    now = server_time(timers, chosen.topic)
    return {
        timer.timer_id
        for timer in read_timers(timers, chosen.topic, dict.fromkeys(chosen.timer_ids))
        if mark_of(timer, now) != seen.get(timer.timer_id)
    }


def _is_of_a_whole_topic(change: Change, chosen: Chosen) -> bool:
    return chosen.everything and isinstance(change, Cancel)


def _find(
    timers: TimersClient,
    change: Change,
    chosen: Chosen,
    expected: int | None,
    tally: Tally,
    on_examined: OnExamined | None,
) -> Iterator[str]:
    """Find the ids of timers that were not named one by one."""
    if isinstance(change, Reschedule):
        return _left(timers, chosen, change, tally, on_examined)
    if isinstance(change, Redrive) and chosen.everything:
        # In order: of several dead letters with the same old id the first is redriven. Timers
        # that are dead-lettered meanwhile, maybe the same again, are left for the next call.
        count = timers.count_pending(chosen.topic) if expected is None else expected
        every = list_timers(timers, chosen.topic, on_examined=on_examined)
        return (timer.timer_id for timer in islice(every, count))
    if (is_concerned := concerns(change)) is not None:
        pattern = "*" if chosen.match is None else chosen.match
        series = list_timers(
            timers, chosen.topic, match=pattern, recurring=True, on_examined=on_examined
        )
        return (timer.timer_id for timer in series if is_concerned(timer))
    return matching_ids(timers, chosen.topic, chosen.match, on_examined)


def _left(
    timers: TimersClient,
    chosen: Chosen,
    change: Reschedule,
    tally: Tally,
    on_examined: OnExamined | None,
) -> Iterator[str]:
    """Find the timers that an earlier call has not rescheduled, and keep the walk."""
    moved_to, after, now = change.moved_to, change.after, None
    if moved_to is not None:
        now = server_time(timers, chosen.topic)
        if moved_to > now:
            # Those that were rescheduled have this time, even if the server failed over since.
            after = None
    # In no order, for the reason given in `matching_ids`.
    tally.walk = Walk(timers, chosen.topic, chosen.match, after, on_examined)
    for timer in tally.walk:
        if moved_to is None or now is None or not _is_moved(timer, now, moved_to):
            yield timer.timer_id


def _change_each(
    timers: TimersClient, change: Change, topic: str, timer_ids: Iterable[str]
) -> Iterator[Outcome]:
    match change:
        case Cancel():
            return _cancel(timers, topic, timer_ids)
        case Reschedule():
            return _move(timers, change, topic, timer_ids)
        case Pause():
            return (_pause(timers, topic, timer_id) for timer_id in timer_ids)
        case Resume():
            return (_resume(timers, topic, timer_id) for timer_id in timer_ids)
        case Redrive():
            return (
                Outcome(timer_id, "done" if outcome == "moved" else outcome)
                for timer_id, outcome in redrive_each(timers, topic, timer_ids)
            )


def _cancel(timers: TimersClient, topic: str, timer_ids: Iterable[str]) -> Iterator[Outcome]:
    for some in in_chunks(timer_ids, MOST_CHANGED):
        recurring: Container[str] = ()
        owners: Mapping[str, str] = {}
        # A user with only the right to write can still cancel.
        with if_allowed():
            recurring = found = definitions_of(timers, topic, some)
            owners = owners_of(timers, topic, found)
        for timer_id, state in cancel_each(timers, topic, some):
            outcome = _outcome(timer_id, state)
            is_end = outcome.result == "done" and timer_id in recurring
            owner = owners.get(timer_id, "") if is_end else ""
            yield outcome._replace(was_recurring=is_end, owner=owner)


def _move(
    timers: TimersClient, change: Reschedule, topic: str, timer_ids: Iterable[str]
) -> Iterator[Outcome]:
    at, delay = change.activate_at, change.activate_in
    for timer_id, state in reschedule_each(
        timers, topic, timer_ids, activate_in=delay, activate_at=at
    ):
        if state != "paused" or not change.resumes:
            yield _outcome(timer_id, state)
            continue
        if at is None and delay is None:
            delay = timedelta()
        is_there = timers.reschedule_timer(topic, timer_id, activate_in=delay, activate_at=at)
        yield Outcome(timer_id, "done" if is_there else "unknown")


def _pause(timers: TimersClient, topic: str, timer_id: str) -> Outcome:
    runner, keys, _ = reach = internals_of(timers)
    result = runner.run(pause_one(keys, reach.full(topic), timer_id))
    return Outcome(timer_id, "done" if result == "paused" else result)


def _resume(timers: TimersClient, topic: str, timer_id: str) -> Outcome:
    timer = timers.get_timer(topic, timer_id)
    if timer is None:
        return Outcome(timer_id, "unknown")
    if timer.repeat is None:
        return Outcome(timer_id, "not recurring")
    try:
        was_paused = timers.resume_timer(topic, timer_id)
    except (ValueError, ModuleNotFoundError) as error:
        return Outcome(timer_id, "no next time", detail=str(error))
    return Outcome(timer_id, "done" if was_paused else "not paused")


def _in_time(found: Iterator[str], deadline: Deadline | None, tally: Tally) -> Iterator[str]:
    """Yield timers that were not named, until time is up."""
    try:
        for count, timer_id in enumerate(found):
            # Not earlier: only here it is known that the last call did not have all timers.
            if deadline is not None and count and count % MOST_CHANGED == 0:
                deadline.check()
            yield timer_id
    except TimeUpError:
        tally.is_cut = True


def _outcome(timer_id: str, state: State) -> Outcome:
    if state in {"unknown", "paused"}:
        return Outcome(timer_id, state)
    return Outcome(timer_id, "done", was_running=state == "running")


def _is_moved(timer: Timer, now: datetime, moved_to: datetime) -> bool:
    if moved_to <= now:
        # To a past time nothing can be moved: it was due at once, so a worker may run it already.
        return timer.running or timer.due_at <= now
    if timer.running:
        # One that was moved can run only if its time has come since `now`.
        return timer.due_at > moved_to
    return abs(timer.due_at - moved_to) < _SAME_TIME
