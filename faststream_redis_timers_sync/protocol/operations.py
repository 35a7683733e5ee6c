"""Every operation on timers, defined once: the command to send and the meaning of its reply.

An `Operation` is a value that has not been sent yet. What needs several calls
is a generator: it yields operations and is sent their results. One that lists
timers yields lists of them in between; any other returns its result.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Literal, TypeVar

from faststream_redis_timers_sync.protocol.cluster import slot_of
from faststream_redis_timers_sync.protocol.dead_letters import Origin, read_dead_letter
from faststream_redis_timers_sync.protocol.errors import TimerExistsError
from faststream_redis_timers_sync.protocol.keys import (
    KeySpace,
    decode_id,
    encode_known_id,
    encode_pattern,
    encode_text,
    plain,
)
from faststream_redis_timers_sync.protocol.listing import (
    get_entries,
    next_page,
    pages_in_order,
    pages_of_matches,
    pages_of_timers,
    parse_timers,
)
from faststream_redis_timers_sync.protocol.model import (
    CommitGroup,
    EncodedTimer,
    IfExists,
    Settlement,
    Step,
    Timer,
)
from faststream_redis_timers_sync.protocol.operation import (
    BUDGET_WORD,
    MOST_CHANGED,
    PAYLOAD_BUDGET,
    Operation,
    Steps,
    TimerPages,
    command,
    in_chunks,
    load_script,
    reading,
)
from faststream_redis_timers_sync.protocol.recurrence import REPEAT
from faststream_redis_timers_sync.protocol.steps import MOST_CLAIMED, step_parser
from faststream_redis_timers_sync.protocol.timers import ask_first, first_due
from faststream_redis_timers_sync.protocol.times import (
    ask_due,
    score_bound,
    seconds_text,
    time_of,
)

RedriveOutcome = Literal["moved", "waiting", "running", "other slot", "no dead letter", "unknown"]
"""The outcome of redriving a dead letter. It stays if a timer with its old id is waiting, if a
handler is running with it, or if it came from a topic in another slot, whose keys no script can
touch together with its own; unknown means that it did not exist."""


_REDRIVE_OUTCOMES: dict[str, RedriveOutcome] = {
    "1": "moved",
    "w": "waiting",
    "r": "running",
    "0": "unknown",
}


_T = TypeVar("_T")

# A generator would take as long for each timer as all else that is asked about series.
_due_of = attrgetter("due")
_repeat_of = attrgetter("repeat")


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations on the timers of one key space.

    All topics are full ones, prefixes included.

    Args:
        keys: The names of the keys.
    """

    keys: KeySpace

    def schedule(
        self, topic: str, timer: EncodedTimer, if_exists: IfExists | None = None
    ) -> Operation[bytes]:
        """Schedule a timer that is due once, or whose first due time is known.

        Args:
            topic: The full topic.
            timer: The timer.
            if_exists: What to do if a timer with that id is waiting; None replaces it, or
                updates the timers of a series.

        Returns:
            An operation that returns a character per timer, see `schedule.lua`.

        Raises:
            ValueError: `if_exists` is not one of its words, or can't be used.
            TimerExistsError: From the reply, with ``if_exists="error"``.
        """
        return self._schedule(topic, (timer,), if_exists)

    def server_time(self, topic: str) -> Operation[datetime]:
        """Ask for the time of the server that has a topic.

        Args:
            topic: The full topic.
        """
        keys = self.keys.of(topic)[:1]
        return command(b"TIME", parse=_parse_time, keys=keys, may_repeat=True)

    def find_first_times(
        self, topic: str, timers: Sequence[EncodedTimer]
    ) -> Steps[list[EncodedTimer]]:
        """Return when recurring timers are due first; that takes the server's time.

        Args:
            topic: The full topic.
            timers: The timers.

        Returns:
            Steps that give them, each with its due time.

        Raises:
            ValueError: From the reply: a series has no next time.
        """
        if all(map(_due_of, timers)):
            return list(timers)
        now = yield self.server_time(topic)
        return [timer if timer.due else first_due(timer, now) for timer in timers]

    def schedule_batch(
        self, topic: str, timers: Sequence[EncodedTimer], if_exists: IfExists | None = None
    ) -> Steps[bytes]:
        """Schedule any number of timers; each call is atomic.

        A call holds up to `MOST_CHANGED` of them and up to `PAYLOAD_BUDGET` bytes.

        Args:
            topic: The full topic.
            timers: The timers; recurring ones may be among them.
            if_exists: What to do if timers with those ids are waiting; see `schedule`.

        Returns:
            Steps that return a character per timer, see `schedule.lua`.

        Raises:
            ValueError: An id occurs twice, or `if_exists` is not one of its words, or can't be
                used.
            TimerExistsError: From a reply, with ``if_exists="error"``; the timers
                of that call are not scheduled, nor those after them.
        """
        if all(map(_due_of, timers)):
            return _join(self.schedule_calls(topic, timers, if_exists))
        _check_ids(timers)
        _check_if_exists(if_exists, timers)
        self.keys.of(topic)
        return self._schedule_recurring(topic, timers, if_exists)

    def _schedule_recurring(
        self, topic: str, timers: Sequence[EncodedTimer], if_exists: IfExists | None
    ) -> Steps[bytes]:
        timers = yield from self.find_first_times(topic, timers)
        return (yield from _join(self.schedule_calls(topic, timers, if_exists)))

    def schedule_calls(
        self, topic: str, timers: Sequence[EncodedTimer], if_exists: IfExists | None = None
    ) -> list[Operation[bytes]]:
        """Make the calls of `schedule_batch`, for timers whose due times are known.

        Args:
            topic: The full topic.
            timers: The timers, see `find_first_times`.
            if_exists: As in `schedule_batch`.

        Raises:
            ValueError: As `schedule_batch`.
        """
        _check_ids(timers)
        return [self._schedule(topic, some, if_exists) for some in _in_calls(timers)]

    def _schedule(
        self, topic: str, timers: Sequence[EncodedTimer], if_exists: IfExists | None
    ) -> Operation[bytes]:
        _check_if_exists(if_exists, timers)
        keys = self.keys.of(topic)
        updates = if_exists in {None, "update"} and any(map(_repeat_of, timers))
        args = [keys.attempts, b"update" if updates else (if_exists or "replace").encode()]
        for timer in timers:
            due = b"u" + timer.due if updates and timer.repeat else timer.due
            args += (timer.timer_id.encode(), timer.payload, due)
        timer_ids = tuple(timer.timer_id for timer in timers)

        def parse(reply: bytes) -> bytes:
            if reply.startswith(b"E"):
                raise TimerExistsError(topic, timer_ids[int(reply[1:]) - 1])
            return reply

        return Operation(
            load_script("schedule", self.keys.dialect),
            keys[:2],
            args,
            parse,
            action="schedule",
            has_written=_has_scheduled,
            topic=topic,
            timer_ids=timer_ids,
        )

    def reschedule(
        self,
        topic: str,
        timer_id: str,
        *,
        activate_in: timedelta | None,
        activate_at: datetime | None,
    ) -> Operation[bool]:
        """Reschedule a timer to another due time.

        Args:
            topic: The full topic.
            timer_id: Its id.
            activate_in: Delay until it is due, by the server's clock.
            activate_at: Due time, an aware datetime.

        Returns:
            An operation that returns whether the timer existed, running or not.

        Raises:
            TypeError: Neither time was given, or one of a wrong type.
            ValueError: Both were given, or one can't be used.
        """
        if activate_in is None and activate_at is None:
            msg = "rescheduling needs activate_in or activate_at"
            raise TypeError(msg)
        keys = self.keys.of(topic)
        return Operation(
            load_script("reschedule", self.keys.dialect),
            keys[:2],
            (keys.attempts, _known(timer_id), ask_due(activate_in, activate_at)),
            _has_one,
            action="reschedule",
            has_written=_has_one,
            topic=topic,
            timer_ids=(plain(timer_id),),
        )

    def pause(self, topic: str, timer_id: str) -> Operation[bool]:
        """Pause a recurring timer, waiting or running.

        Args:
            topic: The full topic.
            timer_id: Its id.

        Returns:
            An operation that returns whether the timer exists, and so is paused now.

        Raises:
            ValueError: From the reply: the timer is due once.
        """
        keys = self.keys.of(topic)

        def parse(reply: bytes) -> bool:
            if reply == b"n":
                msg = (
                    f"timer_id must be that of a recurring timer, got {timer_id!r} of topic "
                    f"{topic!r}, which is due once: reschedule it instead"
                )
                raise ValueError(msg)
            return reply != b"0"

        return Operation(
            load_script("pause", self.keys.dialect),
            keys[:2],
            (keys.attempts, _known(timer_id)),
            parse,
            action="pause",
            has_written=_has_one,
            topic=topic,
            timer_ids=(plain(timer_id),),
        )

    def resume(self, topic: str, timer_id: str) -> Steps[bool]:
        """Make a recurring timer that is paused due again, at its next time.

        Args:
            topic: The full topic.
            timer_id: Its id.

        Returns:
            Steps that return whether it was paused.

        Raises:
            ValueError: From a reply: its definition has no next time, or can't be computed
                on this machine.
            ModuleNotFoundError: It is a `Cron`, and cronsim is not installed.
        """
        keys = self.keys.of(topic)
        encoded = _known(timer_id)
        while True:
            timer: Timer | None = yield self.get(topic, timer_id)
            if timer is None or timer.repeat is None or not timer.paused:
                return False
            due = ask_first(timer.repeat, (yield self.server_time(topic)))
            reply = yield Operation(
                load_script("resume", self.keys.dialect),
                keys[:2],
                (keys.attempts, encoded, timer.headers[REPEAT].encode(), due),
                _as_it_is,
                action="resume",
                has_written=_has_one,
                topic=topic,
                timer_ids=(plain(timer_id),),
            )
            # Its definition may have been changed in between.
            if reply != b"c":
                return bool(reply == b"1")

    def prune(self, topic: str, timer_id: str, owner: str) -> Operation[bool]:
        """Cancel a recurring timer, waiting or running, if it is still declared by an owner.

        Args:
            topic: The full topic.
            timer_id: Its id.
            owner: The name of the owner.

        Returns:
            An operation that returns whether it was cancelled.
        """
        keys = self.keys.of(topic)
        return Operation(
            load_script("prune", self.keys.dialect),
            keys[:2],
            (keys.attempts, _known(timer_id), encode_text("owner", owner)),
            _has_one,
            action="cancel",
            has_written=_has_one,
            topic=topic,
            timer_ids=(plain(timer_id),),
        )

    def cancel(self, topic: str, timer_id: str) -> Operation[bool]:
        """Cancel a timer.

        Args:
            topic: The full topic.
            timer_id: Its id.

        Returns:
            An operation that returns whether the timer was waiting. False means that it was
            running, or is unknown.
        """
        keys = self.keys.of(topic)
        return Operation(
            load_script("cancel", self.keys.dialect),
            keys[:2],
            (keys.attempts, _known(timer_id)),
            _was_waiting,
            action="cancel",
            has_written=was_there,
            topic=topic,
            timer_ids=(plain(timer_id),),
        )

    def cancel_many(self, topic: str, timer_ids: Iterable[str]) -> Steps[int]:
        """Cancel timers by id, up to `MOST_CHANGED` in one call.

        Args:
            topic: The full topic.
            timer_ids: Their ids.

        Returns:
            Steps that count those that were waiting.
        """
        # An id that is given twice counts once.
        known = ((_known(timer_id), timer_id) for timer_id in _several(timer_ids))
        unique = {plain(timer_id): encoded for encoded, timer_id in known}
        keys = self.keys.of(topic)
        calls = [
            Operation(
                load_script("cancel", self.keys.dialect),
                keys[:2],
                [keys.attempts, *(unique[timer_id] for timer_id in some)],
                _count_waiting,
                action="cancel",
                has_written=was_there,
                topic=topic,
                timer_ids=tuple(some),
            )
            for some in in_chunks(unique, MOST_CHANGED)
        ]
        return _add_up(calls)

    def cancel_all(self, topic: str) -> Operation[int]:
        """Cancel all timers of a topic, running ones included.

        Args:
            topic: The full topic.

        Returns:
            An operation that counts them.
        """
        keys = self.keys.of(topic)
        return Operation(
            load_script("cancel_all", self.keys.dialect),
            keys[:2],
            (keys.attempts,),
            int,
            action="cancel all",
            has_written=bool,
            topic=topic,
        )

    def redrive(self, dead_topic: str, timer_ids: Iterable[str] | None = None) -> Steps[int]:
        """Redrive dead letters to the topics they came from, due now.

        A dead letter stays if a timer with its old id is waiting, if a handler is running with it,
        or if it came from a topic in another slot. Timers that are not dead letters stay too.

        Args:
            dead_topic: The full dead-letter topic.
            timer_ids: Their ids there; None means all that exist now.

        Returns:
            Steps that count the redriven ones.
        """
        if timer_ids is None:
            return self._redrive_all(dead_topic)
        ids = dict.fromkeys(_known(timer_id) for timer_id in _several(timer_ids))
        return self._redrive_some(dead_topic, list(ids))

    def _redrive_all(self, dead_topic: str) -> Steps[int]:
        # Dead letters that arrive meanwhile, maybe the same again, are left for the next call.
        left = yield self.count(dead_topic)
        count = 0
        pages = pages_in_order(self.keys, dead_topic, b"-inf", b"+inf")
        while left > 0 and (page := (yield from next_page(pages))) is not None:
            ids = [timer_id for timer_id, _ in page[:left]]
            left -= len(ids)
            count += yield from self._redrive_some(dead_topic, ids)
        return count

    def _redrive_some(self, dead_topic: str, ids: list[bytes]) -> Steps[int]:
        count = 0
        while ids:
            outcomes, moved = yield from self._redrive_first(dead_topic, ids, _count_ones)
            count += sum(each for _, each in moved)
            ids = ids[len(outcomes) :]
        return count

    def redrive_first(self, dead_topic: str, ids: list[bytes]) -> Steps[list[RedriveOutcome]]:
        """Redrive the first of some dead letters, as many as fit the limits of a call.

        Args:
            dead_topic: The full dead-letter topic.
            ids: Their ids there, as they stand in the keys, each once.

        Returns:
            Steps that return the outcomes of the first ids, of at least one.
        """
        outcomes, answers = yield from self._redrive_first(dead_topic, ids, _parse_redrive_outcomes)
        for some, answer in answers:
            outcomes.update(zip(some, answer, strict=True))
        return list(outcomes.values())

    def _redrive_first(
        self, dead_topic: str, ids: list[bytes], parse: Callable[[bytes], _T]
    ) -> Steps[tuple[dict[bytes, RedriveOutcome], list[tuple[list[bytes], _T]]]]:
        """Yield the outcomes of ids known beforehand, then each call's ids with its result."""
        keys = self.keys.of(dead_topic)
        entries = yield get_entries(self.keys, dead_topic, ids[:MOST_CHANGED])
        outcomes: dict[bytes, RedriveOutcome] = {}
        dead_letters: dict[str, list[bytes]] = {}
        for dead_id, entry in zip(ids, entries, strict=False):
            outcomes[dead_id] = "unknown" if entry is None else "no dead letter"
            origin = entry and self._read_origin(dead_id, entry[1])
            if entry and origin and (origin.topic, origin.timer_id) != (dead_topic, dead_id):
                if not self.keys.share_slot(dead_topic, origin.topic):
                    outcomes[dead_id] = "other slot"
                    continue
                words = dead_letters.setdefault(origin.topic, [])
                words += (dead_id, entry[0], origin.timer_id, origin.payload)
        results = []
        for topic, words in dead_letters.items():
            home = self.keys.of(topic)
            result = yield Operation(
                load_script("redrive", self.keys.dialect),
                (*keys[:2], *home[:2]),
                (keys.attempts, home.attempts, *words),
                parse,
                action="redrive",
                has_written=_has_one,
                topic=dead_topic,
                timer_ids=tuple(map(decode_id, words[::4])),
                home=topic,
            )
            results.append((words[::4], result))
        return outcomes, results

    def _read_origin(self, dead_id: bytes, dead_letter: bytes) -> Origin | None:
        origin = read_dead_letter(dead_id, dead_letter)
        try:
            if origin:
                self.keys.of(origin.topic)
        except ValueError:
            # Somebody has copied it here from keys that topics of such a name can have.
            return None
        return origin

    def has_pending(self, topic: str, timer_id: str) -> Operation[bool]:
        """Return whether a timer is pending, waiting or running.

        Args:
            topic: The full topic.
            timer_id: Its id.
        """
        return reading("exists", self.keys, topic, (_known(timer_id),), bool)

    def find_elsewhere(self, topics: Iterable[str]) -> Steps[list[str]]:
        """Find topics that also have timers under their keys in the other layout.

        Args:
            topics: The full topics.

        Returns:
            Steps that give them.
        """
        keys = {topic: key for topic in topics if (key := self.keys.timeline_elsewhere(topic))}
        found = []
        for some in self._by_slot_elsewhere(keys):
            # All at once, and one by one only where there are some.
            if (yield _exist(*(keys[topic] for topic in some))):
                for topic in some:
                    is_there = len(some) == 1 or (yield _exist(keys[topic]))
                    if is_there:
                        found.append(topic)
        return found

    def _by_slot_elsewhere(self, keys: Mapping[str, bytes]) -> Iterable[list[str]]:
        groups: dict[int, list[str]] = {}
        for topic, key in keys.items():
            # Only clients without hash tags, so without a cluster, ask for keys with hash tags.
            groups.setdefault(slot_of(key) if self.keys.hash_tags else 0, []).append(topic)
        return groups.values()

    def count(self, topic: str) -> Operation[int]:
        """Count the pending timers of a topic, running ones included.

        Args:
            topic: The full topic.
        """
        return reading("count", self.keys, topic, (), int)

    def get(self, topic: str, timer_id: str) -> Operation[Timer | None]:
        """Read a timer.

        Args:
            topic: The full topic.
            timer_id: Its id.
        """
        encoded = _known(timer_id)

        def parse(reply: bytes) -> Timer | None:
            return parse_timers(topic, [encoded], reply)[0]

        return reading("get", self.keys, topic, (BUDGET_WORD, encoded), parse)

    def iterate(
        self,
        topic: str,
        *,
        match: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        bodies: bool = True,
    ) -> TimerPages:
        """Read the pending timers of a topic, running ones included, page by page.

        Args:
            topic: The full topic.
            match: Glob pattern (as in Redis) for ids. With it timers come in no order, and maybe
                twice while the topic grows or shrinks.
            after: Only timers due after this time.
            before: Only timers due at this time or before.
            bodies: Whether to read bodies and headers.

        Returns:
            Pages of timers in order of due time.
        """
        lowest = score_bound("after", after, b"-inf")
        highest = score_bound("before", before, b"+inf")
        self.keys.of(topic)
        if match is None:
            pages = pages_in_order(self.keys, topic, lowest, highest)
        else:
            # Ids that other programs have scheduled may not be UTF-8.
            pattern = encode_pattern(match)
            pages = pages_of_matches(self.keys, topic, pattern, float(lowest), float(highest))
        return pages_of_timers(self.keys, topic, pages, bodies=bodies)

    def settle_and_claim(  # noqa: PLR0913  the parts of a step
        self,
        topic: str,
        settlements: Sequence[Settlement],
        groups: Sequence[CommitGroup] = (),
        *,
        limit: int,
        lease_ttl: float,
        jitter: int,
        suspect_from: int | None = None,
        most_suspects: int = MOST_CLAIMED,
        dead_topic: str | None = None,
        call: bytes = b"",
    ) -> Operation[Step]:
        """Make a worker's step: settle finished timers, claim due ones.

        Args:
            topic: The full topic.
            settlements: The outcomes of timers claimed before.
            groups: Commits of such timers; their outcomes follow those of the settlements.
                Both together up to `MOST_CHANGED`.
            limit: How many timers to claim at most, from 0 to 100.
            lease_ttl: How long the lease lasts, in seconds.
            jitter: Microseconds to add to it, random and below `LEASE_JITTER`.
            suspect_from: Count attempts; from this one on a timer whose lease expired is suspected
                of killing its workers. None does not count, and suspects each timer whose lease
                expired.
            most_suspects: How many suspects to claim at most; if negative, that many and no other
                timer if a suspect is due first, otherwise none.
            dead_topic: The full dead-letter topic, where a settlement makes one.
            call: When to call workers of the reserve, as the script defines it: then the step
                returns how many workers there are. Empty: neither.
        """
        keys = self.keys.of(topic)
        args = [keys.attempts, b"%d" % limit, seconds_text(lease_ttl), b"%d" % jitter, BUDGET_WORD]
        args += (b"" if suspect_from is None else b"%d" % suspect_from, b"%d" % most_suspects, call)
        for settlement in settlements:
            args += settlement
        for leases, timer_ids in groups:
            args += (b"commits", b"%d" % len(timer_ids), leases, *timer_ids)
        touched: tuple[bytes, ...] = keys[:2]
        if dead_topic is not None and any(each.has_dead_letter for each in settlements):
            touched += self.keys.of(dead_topic)[:2]
        return Operation(
            load_script("settle_and_claim", self.keys.dialect),
            # Keys that are not counted may be missing: a slot may be migrating, key by key.
            touched if suspect_from is None else (*touched, keys.attempts),
            args,
            step_parser(is_counted=suspect_from is not None, has_roster=call != b""),
            # A claim that is repeated leases a second batch. Settlements may be
            # repeated, but their outcome then means something else.
            may_repeat=not limit and not settlements and not groups,
            action="claim" if limit else "settle" if settlements or groups else None,
            topic=topic,
        )


def _in_calls(timers: Iterable[EncodedTimer]) -> Iterator[list[EncodedTimer]]:
    for some in in_chunks(timers, MOST_CHANGED):
        call: list[EncodedTimer] = []
        size = 0
        for timer in some:
            size += len(timer.payload)
            if call and size > PAYLOAD_BUDGET:
                yield call
                call, size = [], len(timer.payload)
            call.append(timer)
        yield call


def _join(calls: list[Operation[bytes]]) -> Steps[bytes]:
    reply = b""
    for call in calls:
        reply += yield call
    return reply


def _check_ids(timers: Iterable[EncodedTimer]) -> None:
    seen = set()
    for timer in timers:
        if timer.timer_id in seen:
            msg = f"timer_id {timer.timer_id!r} occurs twice in one batch"
            raise ValueError(msg)
        seen.add(timer.timer_id)


def _check_if_exists(if_exists: IfExists | None, timers: Sequence[EncodedTimer]) -> None:
    # A set would fail at a value without a hash, such as a list.
    if if_exists not in (None, "replace", "keep", "error", "update"):
        msg = f'if_exists must be "replace", "keep", "error" or "update", got {if_exists!r}'
        raise ValueError(msg)
    if if_exists == "update" and not all(timer.repeat for timer in timers):
        msg = f"if_exists={if_exists!r} is for recurring timers: pass repeat=, or use 'replace'"
        raise ValueError(msg)


def _has_scheduled(reply: bytes) -> bool:
    # "0" kept an existing timer; a reply that begins with "E" scheduled none.
    return not reply.startswith(b"E") and not {*b"1sc"}.isdisjoint(reply)


def _as_it_is(reply: bytes) -> bytes:
    return reply


def _parse_time(reply: Sequence[bytes]) -> datetime:
    seconds, microseconds = map(int, reply)
    return time_of(seconds) + timedelta(microseconds=microseconds)


def _add_up(calls: list[Operation[int]]) -> Steps[int]:
    total = 0
    for call in calls:
        total += yield call
    return total


def _several(timer_ids: Iterable[str]) -> Iterable[str]:
    if isinstance(timer_ids, (str, bytes)):
        msg = f"timer_ids must be several ids, got the single {timer_ids!r}"
        raise TypeError(msg)
    if not isinstance(timer_ids, Iterable):
        msg = f"timer_ids must be several ids, got {timer_ids!r}"
        raise TypeError(msg)
    return timer_ids


def _exist(*keys: bytes) -> Operation[bool]:
    return command(b"EXISTS", *keys, parse=bool, keys=keys)


def _known(timer_id: str) -> bytes:
    if not timer_id:
        encode_text("timer_id", timer_id)
    return encode_known_id(timer_id)


def _has_one(reply: bytes) -> bool:
    return b"1" in reply


def _was_waiting(reply: bytes) -> bool:
    return reply == b"w"


def was_there(reply: bytes) -> bool:
    """Return from the reply of `cancel` or `move` whether any of the timers existed.

    Args:
        reply: The reply.
    """
    return b"w" in reply or b"r" in reply


def _count_waiting(reply: bytes) -> int:
    return reply.count(b"w")


def _count_ones(reply: bytes) -> int:
    return reply.count(b"1")


def _parse_redrive_outcomes(reply: bytes) -> list[RedriveOutcome]:
    return [_REDRIVE_OUTCOMES[character] for character in reply.decode()]
