"""What calls cost inside the server: ``python -m benchmarks.calls``.

Beside the library's calls stand scripts that do no more than their commands. Calls are pipelined,
and the CPU time of the server's main thread alone is counted. All take turns, so that what else
the machine does favours none. With ``--before COMMIT`` the calls of that commit take turns too.
"""

import io
import os
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.environments import OURS, ROOT, System
from benchmarks.measured import Server
from benchmarks.page import Table, fill_page, server_name, show_progress
from benchmarks.processes import Worker, worker
from benchmarks.server import loopback_server, other_servers

_CALLS = replace(OURS, script="calls.py")

CALLS = (
    "EVALSHA: return 1",
    "EVALSHA: ZADD, HSET",
    "EVALSHA: ZADD, HSET, HDEL, head, TIME",
    "MULTI: ZADD, HSET, EXEC",
    "schedule",
    "schedule of 100",
    "reschedule",
    "cancel",
    "claim of 1",
    "claim of 100",
    "commit of 1",
    "commit of 100",
    "claim of 1, attempts counted",
    "claim of 100, attempts counted",
    "commit of 1, attempts counted",
    "commit of 100, attempts counted",
)
"""What is measured, see `systems/calls.py`."""

Figures = dict[tuple[str, str], list[float]]
"""Microseconds of all runs, by call and column."""


@contextmanager
def _packages_of(commit: str) -> Iterator[System]:
    """Give the packages as they were in a commit."""
    command = ["git", "-C", str(ROOT), "archive", commit, "faststream_redis_timers_sync"]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        yield replace(_CALLS, packages=Path(folder))


def measure(columns: dict[str, Worker], calls: Sequence[str], turns: int) -> Figures:
    """Measure calls in turns.

    Args:
        columns: Who measures, by column.
        calls: Which calls.
        turns: How often each.
    """
    figures: Figures = {}
    with show_progress() as tell:
        for turn in range(turns):
            for call in calls:
                tell(f"{call}, run {turn + 1} of {turns}")
                # Who comes first changes, as does what else the machine does.
                for column, measuring in list(columns.items())[:: 1 if turn % 2 else -1]:
                    runs = figures.setdefault((call, column), [])
                    runs.append(measuring.ask(call)["microseconds"])
    return figures


def table_of(figures: Figures, columns: Sequence[str]) -> Table:
    """Show the median of each call, and in parentheses its least run.

    Args:
        figures: All runs.
        columns: The columns, in order.
    """
    rows = [
        (call, *(_shown(figures[call, column]) for column in columns))
        for call in dict.fromkeys(call for call, _ in figures)
    ]
    return Table(("microseconds of a call", *columns), rows)


def _shown(runs: Sequence[float]) -> str:
    return f"{statistics.median(runs):.1f} ({min(runs):.1f})"


@click.command()
@click.option("--turns", default=11, show_default=True, help="Runs of each call.")
@click.option("--count", default=5000, show_default=True, help="Calls of a run.")
@click.option("--only", multiple=True, help="Only calls with this text in their names.")
@click.option("--server", "servers", multiple=True, help="Binaries; default all there are.")
@click.option("--before", multiple=True, help="Commits whose calls are measured too.")
@click.option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A page whose block of figures is filled.",
)
def main(
    turns: int,
    count: int,
    only: tuple[str, ...],
    servers: tuple[str, ...],
    before: tuple[str, ...],
    page: Path | None,
) -> None:
    """Measure what calls cost inside the server."""
    OURS.install()
    calls = [name for name in CALLS if not only or any(text in name for text in only)]
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        commits = {commit: stack.enter_context(_packages_of(commit)) for commit in before}
        columns: dict[str, Worker] = {}
        for binary in servers or (None, *other_servers()):
            url = stack.enter_context(loopback_server(binary))
            name = server_name(Server(url))
            for commit, system in {**commits, "": _CALLS}.items():
                column = f"{name}, {commit}" if commit else name
                columns[column] = stack.enter_context(worker(system, url, count=count))
        figures = measure(columns, calls, turns)
    for (call, column), runs in figures.items():
        click.echo(f"{call}, {column}: {' '.join(f'{value:.2f}' for value in runs)}")
    table = table_of(figures, list(columns))
    click.echo(f"\n{table.on_terminal()}\nMedians of {turns} runs, in parentheses the least; ")
    click.echo(f"{count:,} calls a run; load at the start {load:.1f}")
    if page is not None:
        fill_page(page, {"calls": table.in_markdown()})


if __name__ == "__main__":
    main()
