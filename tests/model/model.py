"""What timers are, in plain Python: a topic is a dict, and an operation a few lines.

The server decides what time it is, so each operation is told what the server made of it: a due
time that it gave, or the time at which it claimed. Whether that can be is checked first.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from faststream_redis_timers_sync.protocol.times import is_lease

PAUSED = 253_402_214_400.0
"""The score of a series that is paused."""


class Count(NamedTuple):
    """How often a timer was claimed, since which due time, and at which score that holds."""

    times: int
    first_due: float
    score: float


@dataclass
class Entry:
    """A timer: its score, its payload, and the count that lies beside it, valid or not.

    One of a series has a definition, and an owner perhaps; a dead letter has the id that it is
    redriven under.
    """

    score: float
    payload: bytes
    count: Count | None = None
    definition: str | None = None
    owner: str | None = None
    home_id: str = ""

    @property
    def waits(self) -> bool:
        return not is_lease(self.score)

    @property
    def is_paused(self) -> bool:
        return self.definition is not None and self.score == PAUSED

    @property
    def valid_count(self) -> Count:
        if self.count is not None and self.count.score == self.score:
            return self.count
        return Count(0, self.score, self.score)


@dataclass
class Topic:
    """The timers of a topic."""

    timers: dict[str, Entry] = field(default_factory=dict)

    def schedule(self, timer_id: str, payload: bytes, due: float, if_exists: str) -> bool:
        old = self.timers.get(timer_id)
        if old is not None and old.waits and if_exists == "keep":
            return False
        self.timers[timer_id] = Entry(due, payload)
        return True

    def update(self, timer_id: str, new: Entry, now: float) -> str:
        """Schedule a timer of a series, which is due first at its score; tell what it did."""
        old = self.timers.get(timer_id)
        self.timers[timer_id] = new
        if old is None:
            return "1"
        if old.definition == new.definition:
            new.score, new.count = old.score, old.count
            return "s"
        is_retry = old.definition is not None and old.waits and old.valid_count.times > 0
        if old.is_paused:
            new.score, new.count = old.score, old.count
        elif old.score <= now:
            new.score = now
        elif is_retry:
            new.score, new.count = old.score, old.count
        return "c"

    def pause(self, timer_id: str) -> bool:
        entry = self.timers.get(timer_id)
        if entry is None or entry.definition is None:
            return False
        if not entry.is_paused:
            entry.score, entry.count = PAUSED, None
        return True

    def resume(self, timer_id: str, first: float) -> bool:
        entry = self.timers.get(timer_id)
        if entry is None or not entry.is_paused:
            return False
        entry.score, entry.count = first, None
        return True

    def prune(self, timer_id: str, owner: str) -> bool:
        entry = self.timers.get(timer_id)
        if entry is None or entry.definition is None or entry.owner != owner:
            return False
        del self.timers[timer_id]
        return True

    def stands_in_the_way(self, timer_id: str, *, recurring: bool = False) -> bool:
        """Return whether a timer waits, or is one of a series where that counts."""
        entry = self.timers.get(timer_id)
        return entry is not None and (entry.waits or (recurring and entry.definition is not None))

    def reschedule(self, timer_id: str, due: float) -> bool:
        if timer_id not in self.timers:
            return False
        entry = self.timers[timer_id]
        entry.score, entry.count = due, None
        return True

    def cancel(self, timer_id: str) -> bool:
        entry = self.timers.pop(timer_id, None)
        return entry is not None and entry.waits

    def in_order(self) -> list[str]:
        """Give the ids as a sorted set orders them."""
        return sorted(self.timers, key=lambda one: (self.timers[one].score, one.encode()))

    def claim(
        self, now: float, lease: float, limit: int, suspect_from: int | None, most_suspects: int
    ) -> list[tuple[str, float, int | None]]:
        """Lease what is due; give ids, scores before, and which attempt it is."""
        claimed: list[tuple[str, float, int | None]] = []
        suspects = 0
        most, comes_alone = abs(most_suspects), most_suspects < 0
        for timer_id in self.in_order():
            entry = self.timers[timer_id]
            if entry.score > now or len(claimed) == limit:
                break
            before = entry.valid_count
            attempt = before.times + 1
            is_suspect = not entry.waits and (suspect_from is None or attempt >= suspect_from)
            if comes_alone and suspects and (suspects == most or not is_suspect):
                break
            if is_suspect and (suspects == most or (comes_alone and suspects < len(claimed))):
                continue
            suspects += is_suspect
            claimed.append((timer_id, entry.score, None if suspect_from is None else attempt))
        for timer_id, _, attempt in claimed:
            entry = self.timers[timer_id]
            first_due = entry.valid_count.first_due
            entry.score = lease
            if attempt is not None:
                entry.count = Count(attempt, first_due, lease)
        return claimed

    def settle(self, timer_id: str, leases: list[float], next_due: float | None = None) -> str:
        """Tell what a settlement under these leases meets."""
        entry = self.timers.get(timer_id)
        if entry is None:
            return "0"
        if entry.score not in leases and not entry.waits:
            return "l"
        if entry.score not in leases:
            return "s" if entry.score == next_due else "d"
        return "1"

    def move(self, timer_id: str, score: float, *, counts: bool, change: int = 0) -> None:
        """Give a claimed timer another score, and carry its count."""
        entry = self.timers[timer_id]
        times, first_due, _ = entry.valid_count
        entry.score = score
        if counts:
            times += change
            entry.count = Count(times, first_due, score) if times > 0 else None
