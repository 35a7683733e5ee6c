"""Draws what was measured, as SVG: readable on a light page and on a dark one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks import names
from benchmarks.environments import OTHERS, OURS
from benchmarks.results import Report, Result, number, quantile

mpl.use("svg")
mpl.rcParams.update(
    {
        "svg.hashsalt": "benchmarks",  # the same figures give the same file
        "svg.fonttype": "none",  # text as text: a tenth of the size
        "font.size": 10,
    }
)

INK = "#7a7f87"
"""A grey whose contrast is about 4 on white as well as on a dark page."""

ACCENT = "#2f81f7"
"""What is ours; all the others are `INK`."""

_WIDTH = 8.0
_ROW = 0.36
"""Inches."""

BARS: dict[str, tuple[str, Mapping[str, Mapping[str, str]]]] = {
    "drain": (
        "Due timers delivered by one worker, per second",
        {"default options": {names.DRAIN: ""}, "100 at once": {names.DRAIN_100: ""}},
    ),
    "batches": (
        "Due timers delivered by one worker, per second",
        {"in batches of up to 100, and one by one": {names.BATCHES: ""}},
    ),
    "publish": (
        "Timers scheduled by one process, per second",
        {
            "one at a time": {names.PUBLISH: "", names.BLOCKING: ", blocking"},
            "50 at a time": {names.PUBLISH_50: ""},
            "in batches of 100": {names.BATCH: "", names.BLOCKING_BATCH: ", blocking"},
        },
    ),
}
"""File -> title, panels: panel -> scenarios, with what distinguishes their systems."""

LATENESSES = {
    "lateness-idle": (names.LATE_IDLE, "Lateness of timers due in 1 s, worker idle for 15 s"),
    "lateness-at-once": (names.LATE_NOW, "Lateness of timers due at once, worker idle for 15 s"),
    "lateness-load": (names.LATE_LOAD, "Lateness under 200 timers per second"),
}

_LIBRARY = "faststream-redis-timers"


def draw(report: Report, folder: Path) -> None:
    """Draw all plots for which there are figures.

    Args:
        report: What was measured.
        folder: Where the SVG files go.
    """
    for name, (title, panels) in BARS.items():
        filled = {
            panel: rows
            for panel, scenarios in panels.items()
            if (rows := _labelled(report, scenarios))
        }
        if filled:
            _save(_bars(title, filled), folder / f"{name}.svg")
    for name, (scenario, title) in LATENESSES.items():
        if rows := {label: row for label, row in _of(report, scenario) if row.samples}:
            _save(_lateness(title, rows), folder / f"{name}.svg")
    _draw_alternatives(report, folder)


def _draw_alternatives(report: Report, folder: Path) -> None:
    """Draw this library beside what users would pick instead."""
    results = report.results
    if not any((names.DRAIN_100, other.tune().label) in results for other in OTHERS):
        return
    throughput = {
        f"{_LIBRARY}, in batches": (names.BATCHES, names.OF_DICTS),
        _LIBRARY: (names.DRAIN_100, OURS.label),
        **{other.name: (names.DRAIN_100, other.tune().label) for other in OTHERS},
    }
    lateness = {
        _LIBRARY: (names.LATE_IDLE, OURS.label),
        **{other.name: (names.LATE_IDLE, other.label) for other in OTHERS},
    }

    def measured(wanted: Mapping[str, tuple[str, str]]) -> dict[str, Result]:
        found = {label: results.get(key) for label, key in wanted.items()}
        return {label: result for label, result in found.items() if result and result.values}

    figure = _bars(
        "Due timers or jobs delivered by one worker, per second",
        {"up to 100 at once, options tuned for throughput": measured(throughput)},
    )
    _save(figure, folder / "alternatives-throughput.svg")
    title = "Lateness of timers or jobs due in 1 s, with default options"
    _save(_lateness(title, measured(lateness)), folder / "alternatives-lateness.svg")


def _of(report: Report, scenario: str) -> list[tuple[str, Result]]:
    return [
        (label, result)
        for (name, label), result in report.results.items()
        if name == scenario and result.values
    ]


def _labelled(report: Report, scenarios: Mapping[str, str]) -> dict[str, Result]:
    return {
        f"{label}{suffix if label == OURS.label else ''}": result
        for scenario, suffix in scenarios.items()
        for label, result in _of(report, scenario)
    }


def _colour(result: Result) -> str:
    return ACCENT if result.system.partition(",")[0] == OURS.label else INK


def _bars(title: str, panels: Mapping[str, Mapping[str, Result]]) -> Figure:
    """Draw a panel per way of doing it, in it a bar per system."""
    heights = [len(panel) for panel in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(_WIDTH, 0.5 + 0.5 * len(panels) + _ROW * sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout=ConstrainedLayoutEngine(hspace=0.08, w_pad=0.1),
    )
    figure.suptitle(
        f"{title}\nbar: median of the turns, line: their range", color=INK, x=0.01, ha="left"
    )
    for axis, (panel, results) in zip(axes[:, 0], panels.items(), strict=True):
        rows = sorted(results.items(), key=lambda row: row[1].median)
        for place, (_, row) in enumerate(rows):
            low, high = min(row.values.values()), max(row.values.values())
            look: dict[str, Any] = {"color": _colour(row)}
            axis.barh(place, row.median, height=0.66, alpha=0.7, lw=0, **look)
            axis.plot([low, high], [place, place], lw=1.5, **look)
            axis.annotate(
                number(row.median),
                (max(high, row.median), place),
                (6, 0),
                textcoords="offset points",
                va="center",
                **look,
            )
        axis.set_yticks(range(len(rows)), [label for label, _ in rows])
        axis.set_ylim(-0.5, len(rows) - 0.5)
        axis.set_xlim(0, 1.13 * max(max(row.values.values()) for _, row in rows))
        axis.set_title(panel, color=INK, loc="left", fontsize=10, fontweight="bold")
        _plain(axis)
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_visible(False)
        axis.spines["bottom"].set_visible(False)
    return figure


def _lateness(title: str, results: Mapping[str, Result]) -> Figure:
    """Draw a row per system: how its timers spread over a logarithmic axis."""
    rows = sorted(results.items(), key=lambda row: row[1].median, reverse=True)
    figure, axis = plt.subplots(
        figsize=(_WIDTH, 1.3 + 1.4 * _ROW * len(rows)), layout=ConstrainedLayoutEngine(w_pad=0.1)
    )
    columns = {"median": 1.10, "99%": 1.24}
    for column, place in columns.items():
        _beside(axis, column, place, len(rows) + 0.05, INK)
    for place, (_, row) in enumerate(rows):
        colour = _colour(row)
        ordered = sorted(max(sample, 0.01) for sample in row.samples)
        low, middle, high = (quantile(ordered, share) for share in (0.01, 0.5, 0.99))
        grid, density = _density(np.log10(ordered))
        axis.fill(10**grid, place + 0.8 * density, color=colour, alpha=0.45, lw=0)
        axis.plot([low, high], [place, place], color=colour, lw=2, solid_capstyle="butt")
        axis.plot([middle], [place], marker="|", ms=11, mew=2.5, color=colour)
        for value, beside in zip((middle, high), columns.values(), strict=True):
            _beside(axis, _milliseconds(value), beside, place + 0.1, colour)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(numticks=12))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _milliseconds(value)))
    axis.set_yticks(range(len(rows)), [label for label, _ in rows], va="bottom")
    axis.set_ylim(-0.25, len(rows) + 0.1)
    axis.grid(visible=True, axis="x", color=INK, alpha=0.25)
    axis.set_xlabel("late by, on a logarithmic axis; line: 1% to 99%, mark: median", color=INK)
    axis.set_title(title, color=INK, loc="left")
    _plain(axis)
    axis.tick_params(axis="y", length=0)
    return figure


def _beside(axis: Axes, text: str, x: float, y: float, colour: str) -> None:
    """Write right of the axis, in a column that ends at a share of its width."""
    where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
    axis.annotate(text, (x, y), color=colour, annotation_clip=False, **where)


def _density(values: Any) -> tuple[Any, Any]:
    """Smooth samples into a curve whose highest point is 1."""
    width = max(0.04, 0.9 * values.std() * len(values) ** -0.2)
    grid = np.linspace(values.min() - 3 * width, values.max() + 3 * width, 80)
    curve = np.exp(-0.5 * ((grid[:, None] - values[None, :]) / width) ** 2).sum(axis=1)
    curve[[0, -1]] = 0  # it is filled down to here
    return grid, curve / curve.max()


def _milliseconds(value: float) -> str:
    return f"{number(value / 1000)} s" if value >= 1000 else f"{number(value)} ms"


def _plain(axis: Axes) -> None:
    axis.tick_params(colors=INK)
    for side, spine in axis.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(INK)


def _save(figure: Figure, path: Path) -> None:
    # No background: that of the page is as good as any.
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)
