"""A curve that was measured: its runs, as a table in Markdown and as a plot."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.page import Table

mpl.use("svg")
mpl.rcParams.update(
    {
        "svg.hashsalt": "scaling",  # the same figures make the same file
        "svg.fonttype": "none",  # text as text: a tenth of the size
    }
)

_INK = "#7a7f87"
"""A grey that can be read on a light page and on a dark one."""

_COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed")


@dataclass(frozen=True)
class Panel:
    """A part of a plot, over the same x.

    Args:
        title: What is drawn, with its unit.
        columns: The columns drawn as lines.
        is_log: Whether the y axis is logarithmic; otherwise it begins at 0.
    """

    title: str
    columns: tuple[str, ...]
    is_log: bool = False


@dataclass
class Curve:
    """Figures that depend on one quantity.

    Args:
        x: Name of the quantity.
        panels: What is drawn.
        show_x: Writes a value of the quantity.
        more: Tables of what follows from it.
        runs: All runs, by value of the quantity and by column.
    """

    x: str
    panels: tuple[Panel, ...]
    show_x: Callable[[float], str] = "{:,}".format
    more: list[Table] = field(default_factory=list)
    runs: dict[float, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, x: float, figures: Mapping[str, float]) -> None:
        """Note the figures of a run.

        Args:
            x: The quantity.
            figures: Figures by column.
        """
        at = self.runs.setdefault(x, {})
        for column, figure in figures.items():
            at.setdefault(column, []).append(figure)

    def median(self, x: float, column: str) -> float:
        """Give the median of the runs.

        Args:
            x: The quantity.
            column: The column.
        """
        return statistics.median(self.runs[x][column])

    def table(self) -> Table:
        """Give the medians, and how far runs lay from them."""
        columns = list(dict.fromkeys(column for at in self.runs.values() for column in at))
        rows = [
            (self.show_x(x), *(show_runs(at.get(column, [])) for column in columns))
            for x, at in sorted(self.runs.items())
        ]
        return Table((self.x, *columns), rows)

    def plot(self, path: Path) -> None:
        """Draw the medians, and the ranges as shades.

        Args:
            path: The SVG file.
        """
        figure, axes = plt.subplots(
            1, len(self.panels), figsize=(4.2 * len(self.panels), 3.2), squeeze=False
        )
        for axis, panel in zip(axes[0], self.panels, strict=True):
            for column, colour in zip(panel.columns, _COLOURS, strict=False):
                points = {x: at[column] for x, at in sorted(self.runs.items()) if column in at}
                xs = list(points)
                axis.plot(
                    xs,
                    [statistics.median(runs) for runs in points.values()],
                    marker="o",
                    # A point alone stands on a line of another column.
                    **({"markersize": 4} if len(xs) > 1 else {"linestyle": "", "zorder": 3}),
                    color=colour,
                    label=column,
                )
                lowest, highest = map(min, points.values()), map(max, points.values())
                axis.fill_between(xs, list(lowest), list(highest), color=colour, alpha=0.2)
            self._finish(axis, panel)
        figure.tight_layout()
        # No background, so that the page's is seen, and no date.
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)

    def _finish(self, axis: plt.Axes, panel: Panel) -> None:
        axis.set_xscale("log")
        xs = sorted(self.runs)
        axis.set_xticks(xs, [self.show_x(x) for x in xs])
        axis.minorticks_off()
        if panel.is_log:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.yaxis.set_major_formatter(
            lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:g}"
        )
        axis.set_title(panel.title, color=_INK, fontsize=10, loc="left")
        axis.set_xlabel(self.x, color=_INK)
        axis.grid(visible=True, color=_INK, alpha=0.2)
        axis.tick_params(colors=_INK, labelsize=8)
        for side, spine in axis.spines.items():
            spine.set_visible(side in {"left", "bottom"})
            spine.set_color(_INK)
        if len(panel.columns) > 1:
            axis.legend(frameon=False, labelcolor=_INK, fontsize=8)


def show_bytes(size: float) -> str:
    """Write a number of bytes.

    Args:
        size: The number.
    """
    for unit, factor in (("MiB", 1024 * 1024), ("KiB", 1024)):
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return f"{size:g} B"


def show_runs(runs: Sequence[float]) -> str:
    """Write the median of runs, and how far the farthest one lay from it.

    Args:
        runs: Their figures; there may be none.
    """
    if not runs:
        return ""
    median = statistics.median(runs)
    if len(runs) == 1:
        return show_number(median)
    spread = max(abs(run - median) for run in runs) / median if median else 0.0
    return f"{show_number(median)} ±{100 * spread:.0f}%"


def show_number(value: float) -> str:
    """Write a figure.

    Args:
        value: The figure.
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
