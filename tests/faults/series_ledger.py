"""Recurring timers beside faults: which run followed which is checked to the microsecond."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from faststream_redis_timers_sync import Every, TimersClient
from faststream_redis_timers_sync.protocol.times import is_lease, time_of

Fact = dict[str, Any]

PREFIX = "series-"
"""What the ids of recurring timers begin with."""


class Planned(NamedTuple):
    """A recurring timer as it was scheduled."""

    repeat: Every
    first: datetime


class Run(NamedTuple):
    """A handler that has begun, and what it noted last: None if it died before."""

    begun: Fact
    end: str | None

    @property
    def claimed_at(self) -> datetime:
        return time_of(self.begun["claimed_at"])

    @property
    def score(self) -> float:
        return self.begun["score"]


def _has_moved_on(run: Fact, runs: Sequence[Fact]) -> bool:
    """Return whether the series was due again after a run, which a batch notes no commit of."""
    return any(not is_lease(one["score"]) and one["score"] > run["claimed_at"] for one in runs)


class SeriesLedger:
    """The recurring timers of a run with faults.

    Args:
        client: Schedules them.
        topic: Their topic.
        count: How many.
    """

    def __init__(self, client: TimersClient, topic: str, count: int) -> None:
        """Schedule them, each first due at another time."""
        self._client = client
        self._topic = topic
        self.planned: dict[str, Planned] = {}
        begin = datetime.now(UTC) + timedelta(seconds=2)
        for number in range(count):
            first = begin + number * timedelta(milliseconds=37)
            planned = Planned(Every(seconds=2, start=first), first)
            timer_id = f"{PREFIX}{number}"
            client.schedule("work 0.2", topic, timer_id=timer_id, repeat=planned.repeat)
            self.planned[timer_id] = planned

    def have_run_since(self, facts: Sequence[Fact], moment: float) -> bool:
        """Return whether each has been claimed after a Unix time, and settled.

        Args:
            facts: The journal's.
            moment: The time.
        """
        committed = {(one["id"], one["lease"]) for one in facts if one["what"] == "committed"}
        begun: dict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            if fact["what"] == "begun" and fact["claimed_at"] >= moment:
                begun[fact["id"]].append(fact)
        return all(
            any(
                (run["id"], run["lease"]) in committed or _has_moved_on(run, begun[timer_id])
                for run in begun[timer_id]
            )
            for timer_id in self.planned
        )

    def check(self, facts: Sequence[Fact]) -> dict[str, list[Run]]:
        """Check what has run, and give it by timer.

        Args:
            facts: The journal's.
        """
        ends: dict[tuple[str, str], str] = {}
        begun: dict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            if fact["what"] == "begun":
                begun[fact["id"]].append(fact)
            elif fact["what"] in {"done", "committed", "fenced", "cancelled"}:
                ends[fact["id"], fact["lease"]] = fact["what"]
        runs = {
            timer_id: [
                Run(fact, ends.get((timer_id, fact["lease"])))
                for fact in sorted(begun[timer_id], key=lambda fact: fact["claimed_at"])
            ]
            for timer_id in self.planned
        }
        for timer_id, planned in self.planned.items():
            self._check(planned, runs[timer_id])
        return runs

    @staticmethod
    def _check(planned: Planned, runs: Sequence[Run]) -> None:
        """Check that each run follows one before it, or is its redelivery."""
        due, since = planned.first, list[Run]()
        for run in runs:
            if is_lease(run.score):
                # Some worker had it and did not settle it, whether its handler began or not.
                assert run.begun["redelivered"]
                assert time_of(run.score) > due
            else:
                expected = [planned.repeat.after(one.claimed_at) for one in since]
                if not since or any(one.end == "cancelled" for one in since):
                    # The first one, or it was released.
                    expected.append(due)
                assert time_of(run.score) in expected
                due, since = time_of(run.score), []
            assert run.claimed_at >= time_of(run.score)
            occurrence = time_of(run.begun["occurrence"])
            assert occurrence == planned.repeat.at_or_before(run.claimed_at) >= due
            since.append(run)
        settled = [run.begun["occurrence"] for run in runs if run.end == "committed"]
        assert all(one < other for one, other in pairwise(settled))

    def cancel(self) -> None:
        """Cancel all of them."""
        self._client.cancel_timers(self._topic, self.planned)
