"""Writes what was measured: a table in Markdown, and plots as SVG."""

import platform
import statistics
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from tabulate import tabulate

from benchmarks.scenarios import Result

mpl.use("svg")

_INK = "#6b7280"
"""A grey that can be read on white and on black."""

_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d")


def write_table(results: list[Result], path: Path, versions: str) -> None:
    """Write all results, a line each with all its runs.

    Args:
        results: The results.
        path: The Markdown file.
        versions: What was measured against what.
    """
    rows = [_row(result) for result in results]
    headers = ("what", "system", "median", "from", "to", "99% of all", "all runs", "failures")
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    path.write_text(
        f"# Results\n\n{platform.platform()}, Python {platform.python_version()}. {versions}\n\n"
        f"{table}\n".replace("\\\n", "\n")
    )


def _row(result: Result) -> tuple[str, ...]:
    values = result.values
    shown = [_number(value) for value in values]
    tail = ""
    if result.samples:
        ordered = sorted(result.samples)
        tail = f"{_number(1000 * ordered[int(0.99 * len(ordered))])} ms of {len(ordered):,}"
    return (
        result.scenario,
        result.system,
        f"{_number(statistics.median(values))} {result.unit}" if values else "-",
        _number(min(values)) if values else "-",
        _number(max(values)) if values else "-",
        tail,
        " ".join(shown),
        "; ".join(result.failures),
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def plot_throughput(results: list[Result], path: Path) -> None:
    """Draw a bar per system for each drain.

    Args:
        results: The results.
        path: The SVG file.
    """
    wanted = ("drain, default knobs", "drain, 100 at once")
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        if result.scenario in wanted and result.values:
            groups[result.scenario].append(result)
    figure, axes = plt.subplots(
        len(groups), 1, figsize=(8, 0.6 + 0.45 * sum(map(len, groups.values()))), squeeze=False
    )
    for axis, (scenario, bars) in zip(axes[:, 0], groups.items(), strict=True):
        bars.sort(key=lambda bar: statistics.median(bar.values))
        medians = [statistics.median(bar.values) for bar in bars]
        errors = [
            [median - min(bar.values) for bar, median in zip(bars, medians, strict=True)],
            [max(bar.values) - median for bar, median in zip(bars, medians, strict=True)],
        ]
        colours = [_COLOURS[0] if bar.system == "ours" else _INK for bar in bars]
        names = [bar.system for bar in bars]
        axis.barh(names, medians, xerr=errors, color=colours, ecolor=_INK)
        for name, median in zip(names, medians, strict=True):
            axis.text(median, name, f"  {median:,.0f}", va="bottom", color=_INK, fontsize=8)
        axis.set_title(f"{scenario}: messages per second", color=_INK, fontsize=10, loc="left")
        _plain(axis)
    _save(figure, path)


def plot_lateness(results: list[Result], scenario: str, path: Path) -> None:
    """Draw how late the timers of a scenario were, as a share of all.

    Args:
        results: The results.
        scenario: The scenario.
        path: The SVG file.
    """
    figure, axis = plt.subplots(figsize=(8, 3.6))
    lines = [result for result in results if result.scenario == scenario and result.samples]
    for result, colour in zip(lines, _COLOURS, strict=False):
        ordered = sorted(max(1e-5, sample) * 1000 for sample in result.samples)
        shares = [100 * (rank + 1) / len(ordered) for rank in range(len(ordered))]
        axis.plot(ordered, shares, label=result.system, color=colour, linewidth=2)
    axis.set_xscale("log")
    axis.set_xlabel("milliseconds late (logarithmic)", color=_INK)
    axis.set_ylabel("% of timers", color=_INK)
    axis.set_title(scenario, color=_INK, fontsize=10, loc="left")
    axis.legend(frameon=False, labelcolor=_INK)
    axis.grid(visible=True, color=_INK, alpha=0.2)
    _plain(axis)
    _save(figure, path)


def _plain(axis: plt.Axes) -> None:
    axis.tick_params(colors=_INK)
    for side, spine in axis.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(_INK)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    # No background: it is to be read on a light page and on a dark one.
    figure.savefig(path, transparent=True)
    plt.close(figure)
