"""Cancelling, rescheduling, pausing, resuming and redriving the timers that were chosen.

Many are changed in calls of up to 200; each that is paused or resumed is a call of its own.

A front end that has to answer in time gives a deadline and asks again for the rest.
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
from faststream_redis_timers_sync.manage.pages import look_at
from faststream_redis_timers_sync.manage.selection import (
    OnExamined,
    cancel_each,
    list_timers,
    matching_ids,
    move_each,
    redrive_each,
)
from faststream_redis_timers_sync.manage.series import definitions_of, owners_of
from faststream_redis_timers_sync.manage.server import inside, server_time
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
"""Why a timer stays as it is."""

REASONS: dict[Reason, str] = {
    "waiting": "a timer of the old id waits, or is recurring",
    "running": "a handler runs with it",
    "other slot": "the topic that it comes from is in another slot",
    "no dead letter": "no dead letter",
    "paused": "paused; resume it, or name it by its id",
    "not recurring": "not recurring",
    "already paused": "paused already",
    "not paused": "not paused",
    "no next time": "its next time can't be computed here",
    "changed": "changed since you were asked",
}
"""What they mean, in English."""

AS_WANTED: frozenset[Reason] = frozenset({"already paused", "not paused"})
"""Those that are no failure: the timer is as it was to become."""


class Outcome(NamedTuple):
    """What became of one timer.

    Args:
        timer_id: Its id.
        result: It was changed, it is unknown, or the reason why it stays.
        was_running: Whether it was changed while a handler ran with it.
        was_recurring: Whether it was cancelled, and a series has ended so.
        detail: What more there is to say of the reason.
        owner: Who declares that series, and creates it again; empty where nobody does.
    """

    timer_id: str
    result: Literal["done", "unknown"] | Reason
    was_running: bool = False
    was_recurring: bool = False
    detail: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """The timers shall not fire, and series end; handlers that run finish."""


@dataclass(frozen=True, slots=True)
class Reschedule:
    """The timers shall be due at another time; one that runs fires again then.

    Args:
        activate_in: Delay from each call, by the server's clock.
        activate_at: Time with a time zone. Neither means now.
        moved_to: Where an earlier call that was cut has moved a part of them: that is left alone.
        resumes: Whether paused ones that were named are moved too, which resumes them. They
            stay paused otherwise, and those that were not named always do.
    """

    activate_in: timedelta | None = None
    activate_at: datetime | None = None
    moved_to: datetime | None = None
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """The recurring timers shall not fire until they are resumed; handlers that run finish."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The recurring timers that are paused shall be due again, at their next time."""


@dataclass(frozen=True, slots=True)
class Redrive:
    """The dead letters shall be timers again, where they come from, due at once."""


Change = Cancel | Reschedule | Pause | Resume | Redrive


def concerns(change: Change) -> Callable[[Timer], bool] | None:
    """Tell what a change can be made to, of timers that nobody named.

    Args:
        change: The change.

    Returns:
        Says it of a timer with its definition; None where it can be made to any.
    """
    if isinstance(change, Pause):
        return lambda timer: timer.repeat is not None and not timer.paused
    return (lambda timer: timer.paused) if isinstance(change, Resume) else None


@dataclass(slots=True)
class Tally:
    """What became of the timers so far.

    Args:
        done: How many were changed.
        running: How many of these were running; None where that can't be told.
        gone: How many were there when they were counted or found, but not any more: they
            have fired, or somebody else has cancelled them.
        recurring: How many that were cancelled were recurring; None where that can't be told.
        stayed: How many stay as they are, by the reason.
        named: What became of each that was named, in the order given.
        more: How many more were changed than somebody had said yes to.
        is_cut: Whether time was up before all were looked at.
    """

    done: int = 0
    running: int | None = 0
    gone: int = 0
    recurring: int | None = 0
    stayed: Counter[Reason] = field(default_factory=Counter)
    named: list[Outcome] = field(default_factory=list)
    more: int = 0
    is_cut: bool = False

    @property
    def unknown(self) -> list[str]:
        """The ids that were named and are not there."""
        return [outcome.timer_id for outcome in self.named if outcome.result == "unknown"]

    def add(self, outcome: Outcome, *, is_named: bool) -> None:
        """Count one.

        Args:
            outcome: What became of it.
            is_named: Whether it was named.
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
    """Tell whether a change has to look through the topic for what was chosen.

    Args:
        change: The change.
        chosen: What was chosen.
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
    """Change what was chosen, or as much of it as a deadline allows.

    With `seen`, named timers that have changed since somebody was asked about them are left alone.
    They are looked at just before the change, in a call of its own: what happens in between is not
    noticed. Nor is a timer of the same id and due time that has taken the place of another.

    Args:
        timers: The client.
        change: The change.
        chosen: What to change.
        tally: Told of each; where this fails midway, it has what was done before.
        expected: How many there were when somebody said yes; None where nobody counted, or
            where an earlier call has changed a part of them.
        seen: `mark_of` each timer that was named when somebody was asked, by id; of one that was
            not pending, an empty text. None means that nobody was asked.
        deadline: Ends the changing of those that were not named, at the earliest after a call.
        on_examined: Told how many timers were looked at for those. Where it raises
            `TimeUpError`, no more are looked for.

    Raises:
        TypeError: A time has the wrong type.
        ValueError: The topic, an id or the pattern is empty, or a time can't be used.
        TimerOutcomeUnknownError: The server's answer to a call was lost.
        redis.RedisError: What the server or the connection says.
    """
    if expected == 0:
        # What is scheduled from now on was not asked for.
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
                _find(timers, change, chosen, expected, on_examined), deadline, tally
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
        # Those that have changed came first.
        tally.named.sort(key=lambda outcome: places[outcome.timer_id])
    if expected is not None:
        tally.more = max(0, tally.done - expected)
    if expected is not None and not tally.is_cut:
        # Those count too that were gone already when they were looked for a second time.
        counted = tally.done + tally.stayed.total() + len(tally.unknown)
        tally.gone = max(tally.gone, expected - counted)


def mark_of(timer: Timer) -> str:
    """Return what tells whether a timer has changed: its due time, or that it is running.

    Args:
        timer: The timer.
    """
    # While a handler runs its lease is extended again and again.
    return "r" if timer.running else f"{(timer.due_at - _FIRST) // _MICROSECOND:x}"


def _changed(timers: TimersClient, chosen: Chosen, seen: Mapping[str, str]) -> set[str]:
    """Find named timers that are not as they were seen; those that are gone are not among them."""
    return {
        timer.timer_id
        for timer in look_at(timers, chosen.topic, dict.fromkeys(chosen.timer_ids))
        if mark_of(timer) != seen.get(timer.timer_id)
    }


def _is_of_a_whole_topic(change: Change, chosen: Chosen) -> bool:
    return chosen.everything and isinstance(change, Cancel)


def _find(
    timers: TimersClient,
    change: Change,
    chosen: Chosen,
    expected: int | None,
    on_examined: OnExamined | None,
) -> Iterator[str]:
    """Find the ids of those that were not named."""
    if isinstance(change, Reschedule) and change.moved_to is not None:
        return _left(timers, chosen, change.moved_to, on_examined)
    if isinstance(change, Redrive) and chosen.everything:
        # In order, since of those with one old id the first comes back; and what dies
        # meanwhile, maybe the very same again, is left for the next time.
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
    timers: TimersClient, chosen: Chosen, moved_to: datetime, on_examined: OnExamined | None
) -> Iterator[str]:
    """Find those that an earlier call has not moved."""
    now = server_time(timers, chosen.topic)
    # In no order, for the same reason as `matching_ids`.
    pattern = "*" if chosen.match is None else chosen.match
    for timer in list_timers(timers, chosen.topic, match=pattern, on_examined=on_examined):
        if not _is_moved(timer, now, moved_to):
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
                Outcome(timer_id, "done" if fate == "moved" else fate)
                for timer_id, fate in redrive_each(timers, topic, timer_ids)
            )


def _cancel(timers: TimersClient, topic: str, timer_ids: Iterable[str]) -> Iterator[Outcome]:
    for some in in_chunks(timer_ids, MOST_CHANGED):
        recurring: Container[str] = ()
        owners: Mapping[str, str] = {}
        # Who may only write can cancel all the same.
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
    for timer_id, state in move_each(timers, topic, timer_ids, activate_in=delay, activate_at=at):
        if state != "paused" or not change.resumes:
            yield _outcome(timer_id, state)
            continue
        if at is None and delay is None:
            delay = timedelta()
        is_there = timers.reschedule_timer(topic, timer_id, activate_in=delay, activate_at=at)
        yield Outcome(timer_id, "done" if is_there else "unknown")


def _pause(timers: TimersClient, topic: str, timer_id: str) -> Outcome:
    runner, keys, _ = reach = inside(timers)
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
    """Give timers that were not named, until time is up."""
    try:
        for count, timer_id in enumerate(found):
            # Not before: here it is known that there are more than those of the last call.
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
