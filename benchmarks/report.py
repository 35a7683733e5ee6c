"""Writes what was measured as Markdown: what is reached of the targets, then all figures."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.results import Report, Result, number, quantile
from benchmarks.targets import TARGETS, Verdict

MARKS = {True: "yes", False: "**no**", None: "not measured"}


def write_table(report: Report, path: Path) -> None:
    """Write the verdicts and all results.

    Args:
        report: What was measured.
        path: The Markdown file.
    """
    turns = f"{report.turns} turn{'s' if report.turns > 1 else ''}"
    systems = [f"- {label}: {versions}" for label, versions in report.systems.items()]
    lines = [
        "# Results",
        "",
        f"{report.machine} {turns}.",
        *_warnings(report),
        "",
        *systems,
        "",
        "## Targets",
        "",
        "Each is judged by the median over the turns; the range is in parentheses. A ratio is",
        "that of two figures from the same turn.",
        "",
        *_table(("what", "to reach", "reached", "met"), _verdict_rows(report)),
        "",
        "## All figures",
        "",
        "The median, the least and the greatest of the turns, then each turn. Latenesses are the",
        "medians of a turn; 99% and most are those of the timers of all turns.",
        "",
        *_table(
            ("what", "system", "median", "from - to", "99%, most", "each turn", "notes"),
            _figure_rows(report.results.values()),
        ),
        "",
    ]
    path.write_text("\n".join(lines))


def _warnings(report: Report) -> Iterator[str]:
    if not report.is_complete:
        yield "**Interrupted: not all was measured.**"
    if report.is_quick:
        yield "**A quick run: it shows that all works, the figures show nothing.**"


def verdicts(report: Report) -> list[tuple[str, list[Verdict]]]:
    """Judge all targets.

    Args:
        report: What was measured.

    Returns:
        What is measured, and how each of its checks came out.
    """
    return [
        (target.what, [check.judge(report.results) for check in target.checks])
        for target in TARGETS
    ]


def _verdict_rows(report: Report) -> Iterable[Sequence[str]]:
    for what, checks in verdicts(report):
        yield (
            what,
            "<br>".join(each.wanted for each in checks),
            "<br>".join(each.reached for each in checks),
            "<br>".join(MARKS[each.is_met] for each in checks),
        )


def _figure_rows(results: Iterable[Result]) -> Iterable[Sequence[str]]:
    for result in sorted(results, key=lambda result: result.scenario):
        yield result.scenario, *_figures(result)


def _figures(result: Result) -> Sequence[str]:
    notes = "; ".join(result.notes)
    if not result.values:
        return result.system, "-", "", "", "", notes
    values = list(result.values.values())
    tail = ""
    if ordered := sorted(result.samples):
        tail = f"{number(quantile(ordered, 0.99))}, {number(ordered[-1])} of {result.count:,}"
    return (
        result.system,
        f"{number(result.median)} {result.unit}",
        f"{number(min(values))} - {number(max(values))}",
        tail,
        " ".join(number(value) for value in values),
        notes,
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]
