"""What the commands show while they measure, and the Markdown page that they keep up to date."""

import os
import platform
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import click
import tabulate
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.measured import Server

# A column need not be wider than its head.
tabulate.MIN_PADDING = 0

_BLOCK = re.compile(
    r"(<!-- figures: (?P<name>[\w-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL
)


@dataclass(frozen=True)
class Table:
    """A table of what was measured.

    Args:
        headers: Its head.
        rows: Its rows, as they are shown.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]

    def in_markdown(self) -> str:
        """Write it for a page."""
        return tabulate.tabulate(self.rows, self.headers, tablefmt="github", disable_numparse=True)

    def on_terminal(self, widths: Sequence[int | None] | None = None) -> str:
        """Write it for a terminal.

        Args:
            widths: Characters of each column, where its texts are to be wrapped.
        """
        return tabulate.tabulate(
            self.rows,
            self.headers,
            tablefmt="simple" if widths is None else "simple_grid",
            disable_numparse=True,
            maxcolwidths=widths,
        )


@dataclass(frozen=True)
class Limit:
    """A limit, and what was reached.

    Args:
        name: What must hold.
        reached: What was measured.
        holds: Whether it does.
    """

    name: str
    reached: str
    holds: bool


def table_of(limits: Sequence[Limit]) -> Table:
    """Show limits.

    Args:
        limits: The limits.
    """
    rows = [(limit.name, limit.reached, "yes" if limit.holds else "NO") for limit in limits]
    return Table(("limit", "reached", "holds"), rows)


@contextmanager
def show_progress() -> Iterator[Callable[[str], None]]:
    """Give a function that shows what is being done: in one place on a terminal, else in lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: click.echo(text, err=True)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Starting", total=None)
        yield lambda text: progress.update(task, description=text)


def server_name(server: Server) -> str:
    """Name a server and its version.

    Args:
        server: The server.
    """
    info = server.client.info("server")
    name = "Valkey" if "valkey_version" in info else "Redis"
    return f"{name} {info.get('valkey_version', info['redis_version'])}"


def describe_machine(server: Server) -> str:
    """Tell on what was measured, in lines of 80 characters at most.

    Args:
        server: The server.
    """
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    busy = f"of which {load:.1f} were in use" if load <= cores else f"under a load of {load:.1f}"
    told = (
        f"{platform.system()} {platform.machine()}, {cores} cores for server, workers and "
        f"producers together, {busy} at the start; "
        f"Python {platform.python_version()}, FastStream {version('faststream')}, redis-py "
        f"{version('redis')} without hiredis; {server_name(server)} ({server.allocator}) on "
        f"{'a Unix socket' if server.url.startswith('unix') else 'loopback'}, without persistence."
    )
    return textwrap.fill(told, 80, break_on_hyphens=False)


def fill_page(page: Path, blocks: Mapping[str, str]) -> None:
    """Put figures into a Markdown page, between ``<!-- figures: NAME -->`` and their end.

    Args:
        page: The page; nothing happens where there is none.
        blocks: Markdown by name.

    Raises:
        LookupError: The page has no block of a name.
    """
    if not page.exists():
        return
    text = page.read_text()
    if missing := blocks.keys() - {match["name"] for match in _BLOCK.finditer(text)}:
        msg = f"{page} has no block <!-- figures: {min(missing)} --> ... <!-- end of figures -->"
        raise LookupError(msg)

    def replaced(match: re.Match[str]) -> str:
        markdown = blocks.get(match["name"])
        return match[0] if markdown is None else f"{match[1]}\n{markdown}\n\n{match[3]}"

    page.write_text(_BLOCK.sub(replaced, text))
