"""What timers are, in plain Python: a topic is a dict, and an operation a few lines.

The server decides what time it is, so each operation is told what the server made of it: a due
time that it gave, or the time at which it claimed. Whether that can be is checked first.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from faststream_redis_timers_sync.protocol.times import is_lease


class Count(NamedTuple):
    """How often a timer was claimed, since which due time, and at which score that holds."""

    times: int
    first_due: float
    score: float


@dataclass
class Entry:
    """A timer: its score, its payload, and the count that lies beside it, valid or not."""

    score: float
    payload: bytes
    count: Count | None = None

    @property
    def waits(self) -> bool:
        return not is_lease(self.score)

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

    def stands_in_the_way(self, timer_id: str) -> bool:
        return timer_id in self.timers and self.timers[timer_id].waits

    def reschedule(self, timer_id: str, due: float) -> bool:
        if timer_id not in self.timers:
            return False
        self.timers[timer_id] = Entry(due, self.timers[timer_id].payload)
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
        for timer_id in self.in_order():
            entry = self.timers[timer_id]
            if entry.score > now or len(claimed) == limit:
                break
            before = entry.valid_count
            attempt = before.times + 1
            if not entry.waits and (suspect_from is None or attempt >= suspect_from):
                if suspects == most_suspects:
                    continue
                suspects += 1
            claimed.append((timer_id, entry.score, None if suspect_from is None else attempt))
        for timer_id, _, attempt in claimed:
            entry = self.timers[timer_id]
            first_due = entry.valid_count.first_due
            entry.score = lease
            if attempt is not None:
                entry.count = Count(attempt, first_due, lease)
        return claimed

    def settle(self, timer_id: str, leases: list[float]) -> str:
        """Tell what a settlement under these leases meets."""
        entry = self.timers.get(timer_id)
        if entry is None:
            return "0"
        if entry.score not in leases:
            return "d" if entry.waits else "l"
        return "1"

    def move(self, timer_id: str, score: float, *, counts: bool, change: int = 0) -> None:
        """Give a claimed timer another score, and carry its count."""
        entry = self.timers[timer_id]
        times, first_due, _ = entry.valid_count
        entry.score = score
        if counts:
            times += change
            entry.count = Count(times, first_due, score) if times > 0 else None
