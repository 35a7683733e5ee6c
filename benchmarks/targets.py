"""What is to be reached, and whether it is: ratios and quantiles of what one run has found."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import environments, names
from benchmarks.results import Result, Results, number, quantile

OURS = environments.OURS.label
PACKAGE = environments.PACKAGE.label
LIST = environments.LIST.label

Figure = tuple[str, str]
"""A measured figure: scenario and system."""


@dataclass(frozen=True)
class Verdict:
    """How one check came out.

    Args:
        wanted: What is to be reached.
        reached: What is, with the range over the turns.
        is_met: Whether that is enough; None if it was not measured.
    """

    wanted: str
    reached: str
    is_met: bool | None


@dataclass(frozen=True)
class Check:
    """A figure that is made of measured ones, and its bound.

    Args:
        wanted: The bound in words.
        bound: The bound.
        is_floor: Whether it is the least that will do, else the most.
        values: Makes the values of the figure, usually one per turn.
        reduce: Makes of these the one that is judged.
        show: Writes a value.
        unit: Stands behind it.
    """

    wanted: str
    bound: float
    is_floor: bool
    values: Callable[[Results], Sequence[float]]
    reduce: Callable[[Sequence[float]], float] = statistics.median
    show: Callable[[float], str] = number
    unit: str = ""

    def judge(self, results: Results) -> Verdict:
        """Compare what was measured with the bound."""
        values = self.values(results)
        if not values:
            return Verdict(self.wanted, "not measured", None)
        reached = self.reduce(values)
        text = f"{self.show(reached)}{self.unit}"
        if len(values) > 1:
            text += f" ({self.show(min(values))} to {self.show(max(values))})"
        is_met = reached >= self.bound if self.is_floor else reached <= self.bound
        return Verdict(self.wanted, text, is_met)


@dataclass(frozen=True)
class Target:
    """A row of the table of targets.

    Args:
        what: What is measured.
        checks: What it must reach.
    """

    what: str
    checks: tuple[Check, ...]


def _pairs(results: Results, one: Figure, other: Figure) -> list[tuple[float, float]]:
    """Give the values of two figures from the same turns, so from about the same time."""
    nothing = Result("", "", "")
    left, right = (results.get(figure, nothing).values for figure in (one, other))
    return [(left[turn], right[turn]) for turn in sorted(left.keys() & right.keys())]


def _ratio(one: Figure, other: Figure, words: str, bound: float, *, is_floor: bool = True) -> Check:
    return Check(
        wanted=f"{'at least' if is_floor else 'at most'} {bound:g} x {words}",
        bound=bound,
        is_floor=is_floor,
        values=lambda results: [left / right for left, right in _pairs(results, one, other)],
        unit=" x",
    )


def _difference(one: Figure, other: Figure, bound: float) -> Check:
    return Check(
        wanted=f"`import {other[1]}` + at most {bound:g} ms",
        bound=bound,
        is_floor=False,
        values=lambda results: [left - right for left, right in _pairs(results, one, other)],
        show="{:+.1f}".format,
        unit=" ms",
    )


def _level(
    figure: Figure, bound: float, unit: str, *, who: str = "", is_floor: bool = False
) -> Check:
    return Check(
        wanted=f"{who}{'at least' if is_floor else 'at most'} {bound:,.6g}{unit}",
        bound=bound,
        is_floor=is_floor,
        values=lambda results: _values(results, figure),
        unit=unit,
    )


def _never(figure: Figure, words: str) -> Check:
    # A sum: a median would hide the one turn in which it happened.
    return Check(words, 0, False, lambda results: _values(results, figure), reduce=sum)


def _values(results: Results, figure: Figure) -> list[float]:
    result = results.get(figure)
    return list(result.values.values()) if result else []


def _late(scenario: str, median: float | None, most: float, who: str = OURS) -> tuple[Check, ...]:
    def check(words: str, share: float, bound: float) -> Check:
        def values(results: Results) -> list[float]:
            result = results.get((scenario, who))
            return [quantile(sorted(result.samples), share)] if result and result.samples else []

        return Check(f"{words} at most {bound:g} ms", bound, False, values, unit=" ms")

    middle = () if median is None else (check("median", 0.5, median),)
    return *middle, check("99%", 0.99, most)


def _batched(scenario: str, label: str, share: float, who: str) -> Check:
    one_by_one = (scenario, names.ONE_BY_ONE)
    return _ratio((scenario, label), one_by_one, f"one by one: {who}", share, is_floor=False)


TARGETS = (
    Target(
        "drain of due timers, default options",
        (
            _ratio((names.DRAIN, OURS), (names.DRAIN, PACKAGE), PACKAGE, 80),
            _ratio((names.DRAIN, OURS), (names.DRAIN, LIST), "the list subscriber", 2),
        ),
    ),
    Target(
        "drain, `max_concurrent=100`",
        (
            _ratio((names.DRAIN_100, OURS), (names.DRAIN_100, PACKAGE), PACKAGE, 4),
            _ratio(
                (names.DRAIN_100, OURS), (names.DRAIN_100, names.ALONE), "`consume()` alone", 0.75
            ),
        ),
    ),
    Target(
        "drain by two worker processes",
        (
            _ratio((names.DRAIN_TWO, OURS), (names.DRAIN_ONE, OURS), "one", 1.5),
            _never((names.TWICE, OURS), "no timer twice"),
        ),
    ),
    Target(
        "drain with 1,000,000 other timers pending in the topic",
        (_ratio((names.DRAIN_MILLION, OURS), (names.DRAIN_ONE, OURS), "without them", 0.95),),
    ),
    Target(
        "CPU time of a timer in batches of `list[dict]`",
        (
            _batched(names.BATCHES_WORKER, names.OF_DICTS, 0.125, "worker"),
            _batched(names.BATCHES_SERVER, names.OF_DICTS, 0.65, "server"),
        ),
    ),
    Target(
        "CPU time of a timer in batches of `list[Model]`",
        (_batched(names.BATCHES_WORKER, names.OF_MODELS, 0.143, "worker"),),
    ),
    Target(
        "drain in batches, two in hand",
        (_level((names.BATCHES, names.TWO_IN_HAND), 50_000, "/s", is_floor=True),),
    ),
    Target(
        "1,000 timers/s in batches, `max_wait=0.05`",
        (
            _level((names.BATCHES_SIZE, names.OF_DICTS), 45, " a batch", is_floor=True),
            *_late(names.BATCHES_LATE, None, 70, names.OF_DICTS),
        ),
    ),
    Target("lateness, due in 1 s, worker idle for 15 s", _late(names.LATE_IDLE, 1, 5)),
    Target("lateness, due at once, idle worker", _late(names.LATE_NOW, 2, 8)),
    Target("lateness under 200 timers/s", _late(names.LATE_LOAD, 1.2, 3)),
    Target(
        "CPU of a worker",
        (
            _level((names.CPU_IDLE, OURS), 0.3, " %", who="idle: "),
            _level((names.CPU_LOAD, OURS), 15, " %", who="200 timers/s: "),
        ),
    ),
    Target(
        "idle cost of subscribers, over 120 s",
        (
            _level((names.IDLE, OURS), 0.25, " round trips/s", who="1: "),
            _level((names.IDLE_TEN, OURS), 2.5, " round trips/s", who="10: "),
        ),
    ),
    Target(
        "publish, one at a time",
        (_ratio((names.PUBLISH, OURS), (names.PUBLISH, PACKAGE), PACKAGE, 1.4),),
    ),
    Target(
        "publish, 50 at a time (`gather`)",
        (_ratio((names.PUBLISH_50, OURS), (names.PUBLISH_50, PACKAGE), PACKAGE, 1.7),),
    ),
    Target("`publish_batch` of 100", (_level((names.BATCH, OURS), 60_000, "/s", is_floor=True),)),
    Target(
        "blocking `schedule`, one at a time",
        (_ratio((names.BLOCKING, OURS), (names.BLOCKING, names.BARE), "bare EVALSHA", 0.9),),
    ),
    Target(
        "blocking `schedule_batch` of 100",
        (_level((names.BLOCKING_BATCH, OURS), 80_000, "/s", is_floor=True),),
    ),
    Target(
        "server memory of a pending timer",
        (_ratio((names.MEMORY, OURS), (names.MEMORY, PACKAGE), PACKAGE, 0.85, is_floor=False),),
    ),
    Target(
        "import, blocking and asynchronous",
        (
            _difference((names.IMPORT, names.BLOCKING_CLIENT), (names.IMPORT, names.REDIS), 10),
            _difference((names.IMPORT, names.BROKER), (names.IMPORT, names.FASTSTREAM), 30),
        ),
    ),
)
"""All targets; each check is judged over the turns of one run."""
