"""Compares what was scheduled with what was delivered, and explains each second delivery."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from faststream_redis_timers_sync.protocol.times import is_lease

Fact = dict[str, Any]


@dataclass
class Delivery:
    """One run of a handler.

    Args:
        begun: What the handler noted when it began.
        end: What it noted last: "done", "committed", "fenced" or "cancelled"; None if it
            died before.
    """

    begun: Fact
    end: str | None = None
    ended_at: float | None = None

    @property
    def at(self) -> float:
        return self.begun["at"]

    @property
    def is_fresh(self) -> bool:
        """Whether no worker had a lease on it before."""
        return not is_lease(self.begun["score"])

    @property
    def lateness(self) -> float:
        """Seconds from its due time, or the end of the lease before, to its claim."""
        return self.begun["claimed_at"] - self.begun["score"]


class Row(NamedTuple):
    """A line of the table of faults."""

    fault: str
    tried: int
    scheduled: int
    cancelled: int
    delivered: int
    lost: int
    again: Counter[str]
    halted: float | None = None
    """Seconds for which work stood still, where that was measured."""


def kept_row(row: Row) -> Fact:
    """Write a row in plain types, which reach pytest from the processes that share its tests."""
    return {**row._asdict(), "again": dict(row.again)}


def read_row(kept: Fact) -> Row:
    """Read such a row."""
    return Row(**{**kept, "again": Counter(kept["again"])})


@dataclass
class Ledger:
    """All that is known of the timers of one run.

    Args:
        facts: The journal's.
    """

    facts: Sequence[Fact]
    deliveries: dict[str, list[Delivery]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        runs: dict[tuple[str, int, str], Delivery] = {}
        for fact in self.facts:
            if fact["what"] == "begun":
                run = Delivery(fact)
                runs[fact["id"], fact["pid"], fact["lease"]] = run
                self.deliveries.setdefault(fact["id"], []).append(run)
            elif fact["what"] in {"done", "committed", "fenced", "cancelled"}:
                run = runs[fact["id"], fact["pid"], fact["lease"]]
                run.end, run.ended_at = fact["what"], fact["at"]
        self._failovers = [fact["at"] for fact in self.facts if fact["what"] == "failover"]
        self._by_id: dict[str, list[Fact]] = {}
        for fact in self.facts:
            if fact["what"] not in {"begun", "done", "committed", "fenced"} and "id" in fact:
                self._by_id.setdefault(fact["id"], []).append(fact)

    # --- what was asked for

    @property
    def accepted(self) -> dict[str, Fact]:
        """The timers whose scheduling was answered, by id."""
        return {fact["id"]: fact for fact in self.facts if fact["what"] == "accepted"}

    def told(self, timer_id: str, *kinds: str) -> list[Fact]:
        """Give what producers noted of a timer."""
        return [fact for fact in self._by_id.get(timer_id, ()) if fact["what"] in kinds]

    # --- what came of it

    def lost(self) -> list[str]:
        """Give the timers that were accepted, not cancelled, and never handled to the end.

        One that was moved must be handled after that, also where it had been before. To be
        asked when nothing is pending any longer.
        """
        return [
            timer_id
            for timer_id in self.accepted
            # Whether a cancel answered or not: the timer may have gone with it.
            if not self.told(timer_id, "cancelling")
            and not any(
                run.end in _HANDLED and run.at >= self._moved_at(timer_id)
                for run in self.deliveries.get(timer_id, ())
            )
        ]

    def _moved_at(self, timer_id: str) -> float:
        """Tell when the last move was asked for that was done."""
        at = asked_at = float("-inf")
        for fact in self.told(timer_id, "moving", "moved"):
            if fact["what"] == "moving":
                asked_at = fact["at"]
            else:
                at = asked_at
        return at

    def cancelled(self) -> set[str]:
        """Give the timers that somebody wanted to cancel, and that were not delivered before."""
        return {
            timer_id for timer_id in self.accepted if self.told(timer_id, "cancelling")
        } - self.delivered()

    def delivered(self) -> set[str]:
        """Give the timers that were handled to the end, at least once."""
        return {
            timer_id
            for timer_id, runs in self.deliveries.items()
            if any(run.end in _HANDLED for run in runs)
        }

    def again(self) -> list[tuple[Delivery, str]]:
        """Give each delivery but a timer's first, with its reason; "unexplained" is a defect."""
        return [
            (run, self._reason(timer_id, before, run))
            for timer_id, runs in self.deliveries.items()
            for before, run in pairwise(runs)
        ]

    def _reason(self, timer_id: str, before: Delivery, run: Delivery) -> str:
        if not run.is_fresh:
            # A worker does not run a timer twice whose lease it lets end while it runs.
            same = next((d for d in self.deliveries[timer_id] if _lease(d) == _score(run)), None)
            still_runs = same is not None and (same.ended_at or float("inf")) > run.at
            if run.lateness < 0 or (still_runs and same.begun["pid"] == run.begun["pid"]):
                return "unexplained"
            return "lease ended"
        if before.end == "cancelled":
            return "released"
        between = [f for f in self._by_id.get(timer_id, ()) if f["at"] <= run.at]
        asked = Counter(fact["what"] for fact in between)
        fresh = sum(d.is_fresh for d in self.deliveries[timer_id] if d.at <= run.at)
        released = sum(d.end == "cancelled" for d in self.deliveries[timer_id])
        # Each claim that no lease went before needs something that made the timer due.
        spare = fresh - released - 1
        if spare <= asked["unknown"]:
            return "reply lost"
        if spare <= asked["unknown"] + asked["moving"]:
            return "moved"
        if self._count_failovers(before.at, run.at):
            return "failover"
        return "unexplained"

    def _count_failovers(self, start: float, end: float) -> int:
        """Tell how many failovers may have lost what happened since the start, or just before."""
        return sum(start - 1 <= at <= end for at in self._failovers)

    def unexplained(self) -> list[Delivery]:
        """Give the second deliveries that nothing explains."""
        return [run for run, reason in self.again() if reason == "unexplained"]

    def committed_twice(self) -> list[str]:
        """Give the timers that were committed more often than scheduled or moved."""
        return [
            timer_id
            for timer_id, runs in self.deliveries.items()
            if sum(run.end == "committed" for run in runs)
            > len(self.told(timer_id, "accepted", "unknown", "moving"))
            + self._count_failovers(runs[0].at, runs[-1].ended_at or runs[-1].at)
        ]

    def begun_after_a_cancel(self) -> list[str]:
        """Give the timers that a handler began after a cancel had said that none will."""
        return [
            fact["id"]
            for fact in self.facts
            if fact["what"] == "cancelled_waiting"
            for run in self.deliveries.get(fact["id"], ())
            # What a failover loses may be a cancel.
            if run.at > fact["at"] and not self._count_failovers(fact["at"], run.at)
        ]

    def begun_early(self) -> list[Delivery]:
        """Give the deliveries that were claimed before they were due, by the server's clock."""
        return [run for runs in self.deliveries.values() for run in runs if run.lateness < 0]

    def halted(self, topic: str) -> float:
        """Give the longest time since the first fault without a delivery, or a schedule."""
        start = min(fact["at"] for fact in self.facts if fact["what"] == "fault")
        moments: dict[str, list[float]] = {"begun": [start], "accepted": [start]}
        for fact in self.facts:
            if fact["at"] > start and fact.get("topic") == topic and fact["what"] in moments:
                moments[fact["what"]].append(fact["at"])
        return max(b - a for kind in moments.values() for a, b in pairwise(kind))

    def row(self, fault: str, tried: int, ids: Iterable[str] | None = None) -> Row:
        """Make a line of the table.

        Args:
            fault: What was done.
            tried: How often.
            ids: The timers concerned; by default all.
        """
        chosen = set(self.accepted if ids is None else ids)
        return Row(
            fault,
            tried,
            scheduled=len(chosen & set(self.accepted)),
            cancelled=len(chosen & self.cancelled()),
            delivered=len(chosen & self.delivered()),
            lost=len(chosen & set(self.lost())),
            again=Counter(reason for run, reason in self.again() if run.begun["id"] in chosen),
        )

    def check(self) -> None:
        """Fail where something happened that never may."""
        assert self.lost() == []
        assert self.unexplained() == []
        assert self.committed_twice() == []
        assert self.begun_after_a_cancel() == []
        assert self.begun_early() == []


_HANDLED = {"done", "committed", "fenced"}


def _lease(run: Delivery) -> float:
    return float(run.begun["lease"])


def _score(run: Delivery) -> float:
    return float(run.begun["score"])


def told_rows(told: Iterable[Fact]) -> list[Row]:
    """Make lines of the table of what tests have told, one for each fault.

    Args:
        told: A `Balance` each, as facts, and the fault.
    """
    by_fault: dict[str, Counter[str]] = {}
    for facts in told:
        sums = by_fault.setdefault(facts["fault"], Counter())
        sums.update({name: facts[name] for name in _SUMMED})
    return [
        Row(
            fault,
            sums["tried"],
            scheduled=sums["scheduled"],
            cancelled=0,
            delivered=sums["delivered"],
            lost=sums["lost"],
            # These tests explain none.
            again=+Counter(unexplained=sums["again"]),
        )
        for fault, sums in by_fault.items()
    ]


_SUMMED = ("tried", "scheduled", "delivered", "lost", "again")


def table(rows: Iterable[Row]) -> list[str]:
    """Write rows as the lines of a table."""
    names = (*Row._fields[:-1], "because", "halted")
    cells = [names]
    for row in rows:
        *counts, again, halted = row
        reasons = ", ".join(f"{reason}: {n}" for reason, n in sorted(again.items()))
        time = "" if halted is None else f"{halted:.1f} s"
        cells.append((*map(str, counts), str(again.total()), reasons, time))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if name in {"fault", "because"} else cell.rjust(width)
            for name, cell, width in zip(names, line, widths, strict=True)
        ).rstrip()
        for line in cells
    ]
