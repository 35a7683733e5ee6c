"""Runs the benchmark: ``python -m benchmarks``."""

import signal
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.environments import OTHERS, ROOT
from benchmarks.plots import draw
from benchmarks.report import verdicts, write_table
from benchmarks.results import Report
from benchmarks.run import choose_steps, run
from benchmarks.server import other_servers


@click.command()
@click.option(
    "--repeat", type=click.IntRange(min=1), default=5, show_default=True, help="Turns to measure."
)
@click.option("--everyone", is_flag=True, help="Also arq, saq, taskiq, ... on the first server.")
@click.option("--quick", is_flag=True, help="Small numbers, one turn: to see that all works.")
@click.option("--only", default="", help="Only scenarios with this text in their names.")
@click.option("--server", "servers", multiple=True, help="Binaries; default all there are.")
@click.option("--redraw", is_flag=True, help="Measure nothing: write the last figures again.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for table.md, figures.json and the plots. By default benchmarks/results, "
    "with --quick or --only build/benchmarks.",
)
def main(  # noqa: PLR0913  what there is to choose
    *,
    repeat: int,
    everyone: bool,
    quick: bool,
    only: str,
    servers: tuple[str, ...],
    redraw: bool,
    out: Path,
) -> None:
    """Measure this library beside its version 0.5.4, FastStream's list, and others."""
    if out is None:
        out = ROOT / ("build/benchmarks" if quick or only else "benchmarks/results")
    _check(out)
    if redraw:
        # The first server's are drawn.
        files = [out / "figures.json", *sorted(out.glob("figures-*.json"))]
        reports = [_read(figures) for figures in files]
    else:
        others = OTHERS if everyone else ()
        binaries = servers or (None, *other_servers())
        steps = list(choose_steps(1 if quick else repeat, others, only, len(binaries)))
        if not steps:
            msg = f"--only {only!r}: no scenario has this in its name"
            raise click.ClickException(msg)
        # Ended from outside, it ends what it has started as it does after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        reports = run(steps, others, binaries, quick=quick, console=Console(stderr=True))
        for old in out.glob("figures-*.json"):
            old.unlink()
        for number, report in enumerate(reports):
            name = report.server.lower().replace(" ", "-")
            report.write(out / (f"figures-{name}.json" if number else "figures.json"))
    if not reports:
        sys.exit(130)
    write_table(reports, out / "table.md")
    draw(reports[0], out)
    _print(reports)
    click.echo(f"All figures: {out / 'table.md'}; the plots lie beside it.")
    if not all(report.is_complete for report in reports):
        sys.exit(130)


def _check(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as problem:
        msg = f"--out {out} must be a folder that can be written to: {problem.strerror}"
        raise click.ClickException(msg) from problem


def _read(figures: Path) -> Report:
    try:
        return Report.read(figures)
    except FileNotFoundError:
        msg = f"there is no {figures}: measure without --redraw first"
    except (KeyError, TypeError, ValueError) as problem:
        msg = f"{figures} is not what is written now: measure without --redraw ({problem!r})"
    raise click.ClickException(msg)


def _print(reports: list[Report]) -> None:
    servers = [column for report in reports for column in (report.server, "met")]
    table = Table("what", "to reach", *servers, box=None, padding=(0, 2, 0, 0))
    marks = {True: "yes", False: "NO", None: "-"}
    for what, checks in verdicts(reports):
        for row, (wanted, on_servers) in enumerate(checks):
            if all(each.is_met is None for each in on_servers):
                continue
            cells = [cell for each in on_servers for cell in (each.reached, marks[each.is_met])]
            table.add_row("" if row else what, wanted, *cells)
    if table.rows:
        Console(width=None if sys.stdout.isatty() else 80).print(table)


if __name__ == "__main__":
    main()
