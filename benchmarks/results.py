"""What a run of the benchmark found, and its form in ``figures.json``; nothing here measures."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

_KEPT_SAMPLES = 201
"""Samples of a distribution in the file: one every half percent, so its quantiles stay exact."""


@dataclass
class Result:
    """All runs of one scenario by one system.

    Args:
        scenario: Name of the scenario.
        system: Label of the system.
        unit: Unit of the values.
        values: A value per turn, by the number of the turn; bad ones too.
        client_cpu: Of rates the CPU time that worker or producer spent on a message in each turn,
            in microseconds.
        server_cpu: The same of the server.
        notes: What went wrong or was lost, a sentence each.
        samples: For latenesses those of all turns, in milliseconds.
        count: How many samples there were.
    """

    scenario: str
    system: str
    unit: str
    values: dict[int, float] = field(default_factory=dict)
    client_cpu: dict[int, float] = field(default_factory=dict)
    server_cpu: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    samples: list[float] = field(default_factory=list)
    count: int = 0

    @property
    def median(self) -> float:
        """Median of the values."""
        return statistics.median(self.values.values())

    def add_samples(self, samples: Sequence[float]) -> None:
        """Add the latenesses of a turn, in milliseconds."""
        self.samples += samples
        self.count += len(samples)


Results = Mapping[tuple[str, str], Result]
"""Results by scenario and system."""


@dataclass
class Report:
    """Everything that the table and the plots show of one server.

    Args:
        machine: What it ran on.
        systems: Versions per system, by label.
        turns: How often each scenario was to be measured.
        is_quick: Whether the numbers are small, which shows nothing but that all works.
        is_complete: Whether it came to its end.
        results: What was measured.
    """

    machine: str
    systems: dict[str, str]
    turns: int
    is_quick: bool = False
    is_complete: bool = False
    results: dict[tuple[str, str], Result] = field(default_factory=dict)

    @property
    def server(self) -> str:
        """The server and its version."""
        return self.systems.get("server", "a server")

    def write(self, path: Path) -> None:
        """Write it as JSON, with thinned samples."""
        head = {each.name: getattr(self, each.name) for each in fields(self)}
        lines = ",\n".join(
            json.dumps(asdict(result) | {"samples": thin(result.samples)})
            for result in head.pop("results").values()
        )
        path.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "results": [\n{lines}\n]}}\n')

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Read what `write` has written."""
        document = json.loads(path.read_text())
        results = [_result(each) for each in document.pop("results")]
        return cls(**document, results={(each.scenario, each.system): each for each in results})


def _result(given: dict[str, Any]) -> Result:
    for name in ("values", "client_cpu", "server_cpu"):
        given[name] = {int(turn): value for turn, value in given.get(name, {}).items()}
    return Result(**given)


def thin(samples: Sequence[float]) -> list[float]:
    """Sort and round samples, and of many keep some, evenly by rank, also least and greatest.

    Args:
        samples: The samples, in any order.
    """
    ordered = sorted(round(sample, 4) for sample in samples)
    if len(ordered) <= _KEPT_SAMPLES:
        return ordered
    return [quantile(ordered, rank / (_KEPT_SAMPLES - 1)) for rank in range(_KEPT_SAMPLES)]


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the least sample that a share of all is not above.

    Args:
        ordered: At least one sample, in order.
        share: The share, from 0 to 1: of 100 samples, 0.99 gives the second greatest.
    """
    # Rounded first: 0.29 * 100 is a little less than 29, others are a little more.
    return ordered[max(0, math.ceil(round(share * len(ordered), 6)) - 1)]


def number(value: float) -> str:
    """Write a number with three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
