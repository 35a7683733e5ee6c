"""Writes what was measured as Markdown: what is reached of the targets, then all figures."""

import statistics
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.results import Report, Result, number, quantile
from benchmarks.targets import TARGETS, Verdict

MARKS = {True: "yes", False: "**no**", None: "not measured"}


def write_table(reports: Sequence[Report], path: Path) -> None:
    """Write the verdicts and all results.

    Args:
        reports: What was measured on each server, at least one.
        path: The Markdown file.
    """
    report = reports[0]
    servers = [each.server for each in reports]
    turns = f"{report.turns} turn{'s' if report.turns > 1 else ''}"
    systems = [
        f"- {label}: {versions}" for label, versions in report.systems.items() if label != "server"
    ]
    lines = [
        "# Results",
        "",
        f"{report.machine} {turns}.",
        *_warnings(report),
        "",
        *systems,
        f"- servers: {', '.join(servers)}",
        "",
        "## Targets",
        "",
        "Each is judged by the median over the turns; the range is in parentheses. A ratio is",
        "that of two figures from the same turn.",
        "",
        *_table(
            ("what", "to reach", *(cell for server in servers for cell in (server, "met"))),
            _verdict_rows(reports),
        ),
        "",
        "## All figures",
        "",
        "The median, the least and the greatest of the turns, then each turn. Latenesses are the",
        "medians of a turn; 99% and most are those of the timers of all turns. Beside rates stands",
        "the CPU time of a message, in microseconds: of worker or producer, and of the server.",
    ]
    for each in reports:
        lines += ["", f"### {each.server}", ""]
        lines += _table(_HEADERS, _figure_rows(each.results.values()))
    lines.append("")
    path.write_text("\n".join(lines))


def _warnings(report: Report) -> Iterator[str]:
    if not report.is_complete:
        yield "**Interrupted: not all was measured.**"
    if report.is_quick:
        yield "**A quick run: it shows that all works, the figures show nothing.**"


_HEADERS = (
    *("what", "system", "median", "from - to", "99%, most", "client us", "server us"),
    *("each turn", "notes"),
)


def verdicts(reports: Sequence[Report]) -> list[tuple[str, list[tuple[str, list[Verdict]]]]]:
    """Judge all targets.

    Args:
        reports: What was measured on each server.

    Returns:
        What is measured, and per check what is wanted, and how it came out on each server.
    """
    return [
        (
            target.what,
            [
                (check.wanted, [check.judge(report.results) for report in reports])
                for check in target.checks
            ],
        )
        for target in TARGETS
    ]


def _verdict_rows(reports: Sequence[Report]) -> Iterable[Sequence[str]]:
    for what, checks in verdicts(reports):
        cells = [what, "<br>".join(wanted for wanted, _ in checks)]
        for server in range(len(reports)):
            found = [on_servers[server] for _, on_servers in checks]
            cells.append("<br>".join(each.reached for each in found))
            cells.append("<br>".join(MARKS[each.is_met] for each in found))
        yield cells


def _figure_rows(results: Iterable[Result]) -> Iterable[Sequence[str]]:
    for result in sorted(results, key=lambda result: result.scenario):
        yield result.scenario, *_figures(result)


def _figures(result: Result) -> Sequence[str]:
    notes = "; ".join(result.notes)
    if not result.values:
        return result.system, "-", "", "", "", "", "", notes
    values = list(result.values.values())
    tail = ""
    if ordered := sorted(result.samples):
        tail = f"{number(quantile(ordered, 0.99))}, {number(ordered[-1])} of {result.count:,}"
    return (
        result.system,
        f"{number(result.median)} {result.unit}",
        f"{number(min(values))} - {number(max(values))}",
        tail,
        *(_median(cpu.values()) for cpu in (result.client_cpu, result.server_cpu)),
        " ".join(number(value) for value in values),
        notes,
    )


def _median(values: Collection[float]) -> str:
    return number(statistics.median(values)) if values else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]
