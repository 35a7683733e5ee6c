"""The frame of every measurement: an empty server, a result to add to, notes of what went wrong."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from benchmarks.environments import System
from benchmarks.processes import Unfinished, Worker, wait_for_all
from benchmarks.results import Result

TOPIC = ["bench"]
MANY_TOPICS = [f"bench-{number}" for number in range(100)]
"""Each gets one timer of a run, so that its subscriber has been idle until then."""


@dataclass
class Bench:
    """One run of the benchmark.

    Args:
        url: The server; it is emptied before each measurement.
        binary: Name of its binary, for further ones of its kind; None takes the embedded one.
        quick: Smaller numbers, to see that all works.
        turn: The turn that is being measured, from 1.
        results: What was measured.
    """

    url: str
    binary: str | None = None
    quick: bool = False
    turn: int = 1
    results: dict[tuple[str, str], Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = redis.Redis.from_url(self.url)

    def result(self, scenario: str, label: str, unit: str) -> Result:
        """Give the result to add this turn's value to."""
        return self.results.setdefault((scenario, label), Result(scenario, label, unit))

    def server_cpu(self) -> float:
        """Give the seconds of CPU time that the server has used."""
        info = self.server.info("cpu")
        return float(info["used_cpu_sys"] + info["used_cpu_user"])

    def add_cpu(self, result: Result, messages: int, client: float, server: float) -> None:
        """Add what this turn's messages cost.

        Args:
            result: The result.
            messages: How many there were.
            client: Seconds of CPU time of worker or producer.
            server: The same of the server.
        """
        result.client_cpu[self.turn] = 1e6 * client / messages
        result.server_cpu[self.turn] = 1e6 * server / messages

    def add(self, scenario: str, label: str, unit: str, value: float) -> None:
        """Add this turn's value."""
        self.result(scenario, label, unit).values[self.turn] = value

    def sized(self, full: int) -> int:
        """Give a number of messages, smaller in a quick run."""
        return max(20, full // 20) if self.quick else full

    def seconds(self, full: float) -> float:
        """Give a length of time, shorter in a quick run."""
        return min(full, 3.0) if self.quick else full

    @contextmanager
    def run(self, scenario: str, system: System, unit: str, label: str = "") -> Iterator[Result]:
        """Begin a measurement on an empty server; a failure becomes a note of the result.

        Args:
            scenario: Its name.
            system: The system.
            unit: Unit of its values.
            label: What tables call it, if not by the system.
        """
        result = self.result(scenario, label or system.label, unit)
        try:
            # SYNC: freed in the background, the timers of before would cost this one.
            self.server.execute_command("FLUSHALL", "SYNC")
            yield result
        except Unfinished as problem:
            self.note(result, str(problem))

    def note(self, result: Result, text: str) -> None:
        """Add a note to a result, with the turn it is of."""
        result.notes.append(f"turn {self.turn}: {text}")

    def wait(self, result: Result, workers: list[Worker], count: int, seconds: float) -> None:
        """Wait for all messages, or note that they did not come."""
        try:
            wait_for_all(workers, count, seconds)
        except Unfinished as problem:
            self.note(result, str(problem))

    def check(self, result: Result, reports: Sequence[dict[str, Any]], count: int) -> int:
        """Note what was lost, delivered twice, or early.

        Returns:
            How many were delivered more than once.
        """
        numbers = [number for report in reports for number in report["numbers"]]
        twice = len(numbers) - len(set(numbers))
        lost = count - len(set(numbers))
        early = sum(late < 0 for report in reports for late in report["lateness"])
        for number, text in ((twice, "delivered twice"), (lost, "missing"), (early, "early")):
            if number:
                self.note(result, f"{number:,} of {count:,} {text}")
        return twice
