"""Simulates what a cluster carries, for `docs/scaling.md`: ``python -m benchmarks.spread``.

Topics are placed as Redis Cluster places them, by CRC16 of their hash tags. What one primary
carries is what `benchmarks.scaling` has measured; no server is asked here.
"""

import json
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.curves import show_number
from benchmarks.environments import ROOT
from benchmarks.page import Table, fill_page
from benchmarks.primary import DELIVER, SCHEDULE
from faststream_redis_timers_sync.protocol.cluster import SLOTS, slot_of
from faststream_redis_timers_sync.protocol.keys import KeySpace

PRIMARIES = (3, 10, 100)
TOPICS = (10, 100, 1000, 10_000)
PARTS = (8, 16, 64)

_HEADERS = tuple(f"{primaries} primaries" for primaries in PRIMARIES)
_SPACE = KeySpace(hash_tags=True)
_UNLUCKY = 0.05
"""Share of namings that carry less than what is shown as unlucky."""


@dataclass(frozen=True)
class Load:
    """How the timers of a system are spread over its topics.

    Args:
        name: What tables call it.
        exponent: The topic of rank ``r`` has a load of ``1 / r ** exponent``.
    """

    name: str
    exponent: float

    def of(self, topics: int) -> list[float]:
        """Give the share of each topic, the busiest first.

        Args:
            topics: How many there are.
        """
        weights = [(rank + 1) ** -self.exponent for rank in range(topics)]
        total = sum(weights)
        return [weight / total for weight in weights]


EQUAL, ZIPF = Load("equal", 0.0), Load("Zipf", 1.0)


def slot_of_topic(topic: str) -> int:
    """Tell the slot that all keys of a topic are in.

    Args:
        topic: The topic.
    """
    return slot_of(_SPACE.of(topic).timeline)


def carried(slots: Sequence[int], shares: Sequence[float], primaries: int) -> float:
    """Tell how many times the load of a single primary a cluster carries.

    It carries no more than what keeps its busiest primary as busy as the single one. Each primary
    has one range of slots, all equally long.

    Args:
        slots: The slot of each topic.
        shares: The share that each topic has of the load; 1 together.
        primaries: How many there are.
    """
    busy = [0.0] * primaries
    for slot, share in zip(slots, shares, strict=True):
        busy[slot * primaries // SLOTS] += share
    return 1 / max(busy)


def parts_of(topic: str, count: int) -> list[str]:
    """Name the parts of a topic so that their slots lie evenly; docs/scaling.md shows the same.

    Args:
        topic: The topic.
        count: How many parts.
    """
    names = [f"{topic}-{number}" for number in range(1000)]
    middles = [(2 * part + 1) * SLOTS // (2 * count) for part in range(count)]
    return [min(names, key=lambda name: abs(slot_of_topic(name) - middle)) for middle in middles]


def spread_table(namings: int) -> Table:
    """Tell what clusters carry, in loads of one primary, with more and more topics.

    Args:
        namings: How many sets of names are drawn.
    """
    rows = []
    for topics in TOPICS:
        drawn = [_draw_slots(topics, seed) for seed in range(namings)]
        for load in (EQUAL, ZIPF):
            shares = load.of(topics)
            cells = [
                _typical_and_unlucky([carried(slots, shares, primaries) for slots in drawn])
                for primaries in PRIMARIES
            ]
            rows.append((f"{topics:,}", load.name, *cells))
    return Table(("topics", "load", *_HEADERS), rows)


def _draw_slots(topics: int, seed: int) -> list[int]:
    generator = random.Random(seed)  # noqa: S311  no secret
    return [slot_of_topic(f"{generator.getrandbits(64):016x}") for _ in range(topics)]


def _typical_and_unlucky(carries: Sequence[float]) -> str:
    unlucky = sorted(carries)[int(_UNLUCKY * len(carries))]
    return f"{statistics.median(carries):.1f} ({unlucky:.1f})"


def rates_table(costs: Mapping[str, Mapping[str, Sequence[float]]], namings: int) -> Table:
    """Tell how many timers per second clusters carry with 1,000 topics of equal load.

    Args:
        costs: Server milliseconds for 1,000 timers: runs by step, by timers per call.
        namings: How many sets of names are drawn.
    """
    shares = EQUAL.of(1000)
    drawn = [_draw_slots(len(shares), seed) for seed in range(namings)]
    times = [
        statistics.median(carried(slots, shares, primaries) for slots in drawn)
        for primaries in (1, *PRIMARIES)
    ]
    rows = []
    for scheduled in (1, 100):
        for claimed in (5, 100):
            cost = sum(
                statistics.median(costs[str(size)][step])
                for size, step in ((scheduled, SCHEDULE), (claimed, DELIVER))
            )
            rows.append(
                (
                    "one at a time" if scheduled == 1 else f"in batches of {scheduled}",
                    f"in claims of {claimed}",
                    *(show_number(0.5e6 / cost * each) for each in times),
                )
            )
    return Table(("scheduled", "delivered", "1 primary", *_HEADERS), rows)


def hot_table(topic: str) -> Table:
    """Tell what clusters carry of one topic, in loads of one primary, when it is split.

    Args:
        topic: The topic, after which its parts are named.
    """
    rows = [("1", "", *("1.0" for _ in PRIMARIES))]
    for count in PARTS:
        numbered = [f"{topic}-{number}" for number in range(count)]
        for how, names in (("numbers", numbered), ("`parts_of`", parts_of(topic, count))):
            slots, shares = [slot_of_topic(name) for name in names], EQUAL.of(count)
            cells = (f"{carried(slots, shares, primaries):.1f}" for primaries in PRIMARIES)
            rows.append((str(count), how, *cells))
    return Table(("parts", "named by", *_HEADERS), rows)


@click.command()
@click.option("--namings", default=200, show_default=True, help="Sets of names that are drawn.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "docs" / "scaling",
    show_default=True,
    help="Folder with figures.json of benchmarks.scaling. Blocks of OUT.md beside it are filled.",
)
def main(*, namings: int, out: Path) -> None:
    """Simulate what 3, 10 and 100 primaries carry, from what one was measured to carry."""
    costs = json.loads((out / "figures.json").read_text())["primary"]
    tables = {
        "spread": spread_table(namings),
        "spread-rates": rates_table(costs, namings),
        "spread-hot": hot_table("invoices"),
    }
    for table in tables.values():
        click.echo(f"{table.on_terminal()}\n")
    fill_page(out.with_suffix(".md"), {name: table.in_markdown() for name, table in tables.items()})


if __name__ == "__main__":
    main()
