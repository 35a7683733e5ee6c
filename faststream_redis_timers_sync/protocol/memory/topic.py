"""The timers of one topic in memory, with the replies that the Lua scripts would give.

`timers` has the operations that use it.
"""

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from faststream_redis_timers_sync.protocol.envelope import read_envelope
from faststream_redis_timers_sync.protocol.errors import EnvelopeError
from faststream_redis_timers_sync.protocol.model import PAUSED
from faststream_redis_timers_sync.protocol.recurrence import REPEAT, REPEAT_OWNER
from faststream_redis_timers_sync.protocol.times import is_lease

_MICROSECONDS = 1_000_000


class Entry(NamedTuple):
    """A timer as it is held in memory.

    Args:
        score: As in a timeline: Unix time in seconds, as text. Its due time, or the end of its
            lease.
        payload: Its envelope.
    """

    score: bytes
    payload: bytes

    def __repr__(self) -> str:
        """Show score and size; the payload may be secret."""
        return f"{type(self).__name__}(score={self.score!r}, {len(self.payload)} bytes)"

    @property
    def is_running(self) -> bool:
        """Whether it is leased, or was and has not been settled."""
        return is_lease(float(self.score))

    @property
    def definition(self) -> str | None:
        """The definition of its series; None if it is due once."""
        return self._headers().get(REPEAT)

    @property
    def owner(self) -> str | None:
        """Who declares its series, if somebody does."""
        return self._headers().get(REPEAT_OWNER)

    @property
    def is_paused(self) -> bool:
        """Whether it is one of a series that is paused."""
        return float(self.score) == PAUSED and self.definition is not None

    def _headers(self) -> dict[str, str]:
        try:
            return read_envelope(self.payload).headers
        except EnvelopeError:
            return {}


class Attempts(NamedTuple):
    """How often a timer was claimed.

    Args:
        times: How often.
        first_due: The score that it had before the first time.
        score: The timer's score for which this holds.
    """

    times: int
    first_due: bytes
    score: bytes


class Rules(NamedTuple):
    """How timers are claimed.

    Args:
        limit: How many at most.
        budget: Bytes of payloads, which a single timer may exceed.
        suspect_from: From which attempt on a timer whose lease was lost is suspect; None
            where attempts are not counted, and each of them is.
        most_suspects: How many suspects at most; if negative, that many and no other timer if a
            suspect is due first, otherwise none.
    """

    limit: int
    budget: int
    suspect_from: int | None
    most_suspects: int


class MemoryTopic(dict[bytes, Entry]):
    """The timers of a topic by id."""

    def __init__(self) -> None:
        """Start without timers."""
        super().__init__()
        self._attempts: dict[bytes, Attempts] = {}
        # A heap of all scores that timers have had; those they no longer have are passed over.
        self._queue: list[tuple[float, bytes]] = []

    def __setitem__(self, timer_id: bytes, entry: Entry) -> None:
        """Add or replace a timer; its attempts are forgotten."""
        super().__setitem__(timer_id, entry)
        self._attempts.pop(timer_id, None)
        heapq.heappush(self._queue, (float(entry.score), timer_id))

    def state_of(self, timer_id: bytes) -> bytes:
        """Return what a timer does, as `cancel` and `move` reply.

        Args:
            timer_id: Its id.

        Returns:
            ``w`` for waiting, ``r`` for running, ``0`` if there is none.
        """
        entry = self.get(timer_id)
        return b"0" if entry is None else b"r" if entry.is_running else b"w"

    def update_series(self, timer_id: bytes, payload: bytes, first: bytes, now: int) -> bytes:
        """Add or update a timer of a series, as `schedule` does.

        Args:
            timer_id: Its id.
            payload: Its envelope.
            first: The score of its first due time.
            now: The time, in microseconds of Unix time.

        Returns:
            ``1`` if there was none, ``s`` if it had the same definition, ``c`` if another one.
        """
        present = self.get(timer_id)
        new = Entry(first, payload)
        if present is None:
            self[timer_id] = new
            return b"1"
        score = float(present.score)
        definition = present.definition
        is_same = definition == new.definition
        # A timer that is due once has no time that a series could keep.
        is_retry = (
            definition is not None and self._known_attempts(timer_id, present.score) is not None
        )
        if is_same or present.is_paused:
            # Its attempts stay counted.
            super().__setitem__(timer_id, present._replace(payload=payload))
        elif score <= float(score_of(now)):
            self[timer_id] = new._replace(score=score_of(now))
        elif is_retry and not present.is_running:
            super().__setitem__(timer_id, present._replace(payload=payload))
        else:
            self[timer_id] = new
        return b"s" if is_same else b"c"

    def move(self, timer_id: bytes, score: bytes) -> None:
        """Make a timer due at another time.

        Args:
            timer_id: Its id; there is one.
            score: When.
        """
        self[timer_id] = self[timer_id]._replace(score=score)

    def in_order(self) -> list[bytes]:
        """Return all ids in order of score, as a sorted set does."""
        return sorted(self, key=lambda timer_id: (float(self[timer_id].score), timer_id))

    def _first(self) -> tuple[float, bytes] | None:
        while self._queue:
            score, timer_id = self._queue[0]
            if timer_id in self and float(self[timer_id].score) == score:
                return score, timer_id
            heapq.heappop(self._queue)
        return None

    def settle(self, words: Sequence[bytes], now: int, *, counts: bool) -> bytes:
        """Settle claimed timers, as `settle_and_claim` does.

        Dead letters are left to `add_dead_letters`.

        Args:
            words: Action, id, leases and detail of each settlement.
            now: The time, in microseconds of Unix time.
            counts: Whether attempts are counted.

        Returns:
            A character per settlement.
        """
        settlements = zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True)
        scores = {timer_id: self[timer_id].score for timer_id in words[1::4] if timer_id in self}
        outcomes = []
        repeated = set()
        for action, timer_id, leases, detail in settlements:
            score = scores.get(timer_id)
            outcome = self._outcome(action, leases, detail, score)
            outcomes.append(outcome)
            if score is None or outcome != b"1" or timer_id not in self:
                continue
            if action in {b"commit", b"dead"}:
                del self[timer_id]
                self._attempts.pop(timer_id, None)
            elif action == b"repeat":
                repeated.add(timer_id)
                self.move(timer_id, detail.partition(b" ")[0])
            elif timer_id not in repeated:
                self._keep(action, timer_id, detail, score=score, now=now, counts=counts)
        return b"".join(outcomes)

    @staticmethod
    def _outcome(action: bytes, leases: bytes, detail: bytes, score: bytes | None) -> bytes:
        if score is None:
            return b"0"
        if float(score) in map(float, leases.split()):
            return b"1"
        if is_lease(float(score)):
            return b"l"
        is_repeated = action == b"repeat" and float(detail.partition(b" ")[0]) == float(score)
        return b"s" if is_repeated else b"d"

    def _keep(
        self, action: bytes, timer_id: bytes, detail: bytes, *, score: bytes, now: int, counts: bool
    ) -> None:
        # One that was settled in the same call before may have another score by now.
        current = self[timer_id].score
        attempts = self._attempts_of(timer_id, current)
        if action == b"recount":
            if counts:
                self._attempts[timer_id] = attempts._replace(times=int(detail))
            return
        if action == b"renew" and float(detail) <= float(current):
            return
        due = detail
        if action == b"nack":
            # By default the end of the lease, without its half microsecond.
            due = resolve_due(detail, now) if detail else score[:-1]
        times = max(0, attempts.times - (action == b"release"))
        self.move(timer_id, due)
        # A count of 0 keeps the first due time.
        if counts and (times > 0 or float(due) != float(attempts.first_due)):
            self._attempts[timer_id] = Attempts(times, attempts.first_due, due)

    def _attempts_of(self, timer_id: bytes, score: bytes) -> Attempts:
        return self._known_attempts(timer_id, score) or Attempts(0, score, score)

    def _known_attempts(self, timer_id: bytes, score: bytes) -> Attempts | None:
        known = self._attempts.get(timer_id)
        return None if known is None or float(known.score) != float(score) else known

    def add_dead_letters(self, details: Iterable[bytes], now: int) -> None:
        """Add dead letters, due now.

        Args:
            details: Their results of `write_dead_letter`.
            now: The time, in microseconds of Unix time.
        """
        for detail in details:
            length, _, rest = detail.partition(b":")
            self[rest[: int(length)]] = Entry(score_of(now), rest[int(length) :])

    def claim(
        self, rules: Rules, now: int, lease: bytes
    ) -> tuple[list[tuple[bytes, Entry, Attempts]], bytes]:
        """Lease the timers that are due.

        Args:
            rules: Which ones.
            now: The time, in microseconds of Unix time.
            lease: When the lease ends, as a score.

        Returns:
            Ids, timers as they were before, and their attempts with this one; and the
            lowest remaining score, without the timers passed over: ``-`` if there is none.
        """
        moment = float(score_of(now))
        claimed: list[tuple[bytes, Entry, Attempts]] = []
        passed_over: list[tuple[float, bytes]] = []
        size = suspects = 0
        most, comes_alone = abs(rules.most_suspects), -rules.limit < rules.most_suspects < 0
        while len(claimed) < rules.limit and (first := self._first()) is not None:
            score, timer_id = first
            if score > moment:
                break
            entry = self[timer_id]
            before = self._attempts_of(timer_id, entry.score)
            attempts = Attempts(before.times + 1, before.first_due, lease)
            is_suspect = entry.is_running and attempts.times >= (rules.suspect_from or 0)
            if comes_alone and suspects and (suspects == most or not is_suspect):
                break
            if is_suspect and (suspects >= most or (comes_alone and suspects < len(claimed))):
                passed_over.append(heapq.heappop(self._queue))
                continue
            size += len(entry.payload)
            if claimed and size > rules.budget:
                break
            suspects += is_suspect
            claimed.append((timer_id, entry, attempts))
            self.move(timer_id, lease)
            if rules.suspect_from is not None:
                self._attempts[timer_id] = attempts
        left = self._first()
        for one in passed_over:
            heapq.heappush(self._queue, one)
        return claimed, b"-" if left is None else self[left[1]].score

    def read(self, ids: Iterable[bytes]) -> bytes:
        """Write the timers of these ids, as `get` replies.

        Args:
            ids: The ids.
        """
        words, payloads = [], []
        for timer_id in ids:
            entry = self.get(timer_id)
            words.append(b"- 0" if entry is None else b"%b %d" % (entry.score, len(entry.payload)))
            payloads.append(b"" if entry is None else entry.payload)
        return b" ".join(words) + b"\n" + b"".join(payloads)

    def define(self, ids: Iterable[bytes]) -> bytes:
        """Write the definitions of these timers, as `definitions` replies.

        Args:
            ids: The ids.
        """
        words, texts = [], []
        for timer_id in ids:
            entry = self.get(timer_id)
            definition = None if entry is None else entry.definition
            text = b"" if definition is None else definition.encode()
            words.append(b"-1" if definition is None else b"%d" % len(text))
            texts.append(text)
        return b" ".join(words) + b"\n" + b"".join(texts)

    def page(
        self, limit: int, lowest: float, highest: float, after: tuple[float, bytes] | None
    ) -> bytes:
        """Write timers between two scores in order, as `page` replies.

        Args:
            limit: How many at most.
            lowest: Only scores above this one, at the start.
            highest: Only scores up to this one.
            after: Score and id of the cursor; None at the start.
        """
        places = ((float(entry.score), timer_id) for timer_id, entry in self.items())
        found = heapq.nsmallest(
            limit,
            (
                place
                for place in places
                if (lowest < place[0] if after is None else after < place) and place[0] <= highest
            ),
        )
        more = b"1" if len(found) == limit else b"0"
        return self.show((timer_id for _, timer_id in found), more)

    def show(self, ids: Iterable[bytes], more: bytes = b"0") -> bytes:
        """Write ids and scores, as `page` and `scan` reply.

        Args:
            ids: The ids.
            more: The first word of the reply, ``0`` if nothing follows.
        """
        found = list(ids)
        words = [b"%b %d" % (self[one].score, len(one)) for one in found]
        return b" ".join((more, *words)) + b"\n" + b"".join(found)

    def count(self, now: int, within: Iterable[bytes]) -> bytes:
        """Count the timers, as `overview` replies with a line per topic.

        Args:
            now: The time, in microseconds of Unix time.
            within: Lengths of time in whole seconds.
        """
        moment = float(score_of(now))
        scores = [float(self[one].score) for one in self.in_order()]
        paused = scores.count(PAUSED)
        texts = [self[one].score for one in self.in_order() if float(self[one].score) != PAUSED]
        free = (text for text in texts if float(text) <= moment or not is_lease(float(text)))
        words = [
            b"%d" % count for count in (len(self), sum(score <= moment for score in scores), paused)
        ]
        words += (next(free, texts[0]), texts[-1]) if texts else (b"-", b"-")
        for length in within:
            end = float(score_of(now + int(length) * _MICROSECONDS))
            words.append(b"%d" % sum(moment < score <= end for score in scores))
        return b" ".join(words)

    def forecast(self, now: int, edges: Iterable[bytes]) -> bytes:
        """Count the timers due before some times, as `forecast` replies with a line per topic.

        Args:
            now: The time, in microseconds of Unix time.
            edges: The times, in whole seconds of Unix time.
        """
        moment = float(score_of(now))
        scores = [float(entry.score) for entry in self.values()]
        counts = [len(scores), sum(score <= moment for score in scores), scores.count(PAUSED)]
        counts += (sum(score < int(edge) for score in scores) for edge in edges)
        return b" ".join(b"%d" % count for count in counts)

    def count_running(self, now: int, longest: int, most: int) -> int:
        """Count the leased timers, as `running` replies.

        Args:
            now: The time, in microseconds of Unix time.
            longest: The longest lease, in whole seconds.
            most: How many timers to look at.

        Returns:
            Their number; -1 if more timers than `most` are due within such a lease.
        """
        moment, end = float(score_of(now)), float(score_of(now + longest * _MICROSECONDS))
        near = [entry for entry in self.values() if moment < float(entry.score) <= end]
        return -1 if len(near) > most else sum(entry.is_running for entry in near)


def score_of(microseconds: int) -> bytes:
    """Write a time as a score.

    Args:
        microseconds: The time, in microseconds of Unix time.
    """
    return b"%d.%06d" % divmod(microseconds, _MICROSECONDS)


def resolve_due(asked: bytes, now: int) -> bytes:
    """Make a score of a due time as `ask_due` writes it; the past means now.

    Args:
        asked: The due time.
        now: The time, in microseconds of Unix time.
    """
    given = read_seconds(asked[1:])
    return score_of(now + given if asked.startswith(b"+") else max(given, now))


def read_seconds(text: bytes) -> int:
    """Read a length of time like ``30.000000``, in microseconds.

    Args:
        text: The text.
    """
    return int(text.replace(b".", b""))
