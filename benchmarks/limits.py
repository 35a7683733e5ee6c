"""Tells whether the limits hold that must hold: ``python -m benchmarks.limits``."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.commands import check_commands
from benchmarks.environments import OURS
from benchmarks.forecasts import check_forecast
from benchmarks.handlers import (
    check_blocking_handlers,
    check_large_bodies,
    check_waiting_handlers,
    check_wake_ups,
)
from benchmarks.measured import PROBES, Run, measured_server
from benchmarks.page import Limit, Table, describe_machine, fill_page, show_progress, table_of
from benchmarks.processes import produce
from benchmarks.systems.measures import MIB
from benchmarks.web import check_web
from faststream_redis_timers_sync import TimersClient


def check_reading(run: Run) -> tuple[list[Limit], Table | None]:
    """Reading a million timers takes no more memory than the result does."""
    count = run.sized(1_000_000)
    run.server.empty()
    run.tell(f"Scheduling {count:,} timers")
    run.server.fill("read", count, delay=86_400)
    limits = []
    for how in ("iter_timers", "get_pending_timers"):
        run.tell(f"{how} over {count:,} timers")
        told = produce(PROBES, run.server.url, action="read", topic="read", how=how)
        result = f"beside {told['result'] / MIB:.0f} MiB of ids, " if told["result"] else ""
        limits.append(
            Limit(
                f"{how}: all of {count:,} timers, within 16 MiB beside the result",
                f"{told['count']:,} in {told['seconds']:.1f} s, "
                f"{result}{told['memory'] / MIB:.1f} MiB",
                told["count"] == count and told["memory"] <= 16 * MIB,
            )
        )

    with TimersClient(run.server.url) as client:
        started = time.perf_counter()
        cancelled = client.cancel_all("read")
        seconds = time.perf_counter() - started
    limits.append(
        Limit(
            f"cancel_all: {count:,} timers",
            f"{cancelled:,} in {1000 * seconds:.1f} ms",
            cancelled == count and not run.server.client.dbsize(),
        )
    )
    return limits, None


CHECKS: dict[str, Callable[[Run], tuple[list[Limit], Table | None]]] = {
    "commands": check_commands,
    "forecast": check_forecast,
    "reading": check_reading,
    "web": check_web,
    "large-bodies": check_large_bodies,
    "waiting-handlers": check_waiting_handlers,
    "wake-ups": check_wake_ups,
    "blocking-handlers": check_blocking_handlers,
}


@click.command()
@click.option("--quick", is_flag=True, help="Small numbers, once: to see that all works.")
@click.option("--only", multiple=True, type=click.Choice(list(CHECKS)), help="Not all of them.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for limits.json. Where OUT.md stands beside it, its blocks are filled.",
)
def main(*, quick: bool, only: tuple[str, ...], out: Path | None) -> None:
    """Measure the limits that must hold; the exit code is 1 if one does not."""
    OURS.install()
    found: dict[str, tuple[list[Limit], Table | None]] = {}
    with show_progress() as tell, measured_server() as server:
        run = Run(server, quick, tell)
        machine = describe_machine(run.server)
        for name in only or CHECKS:
            found[name] = CHECKS[name](run)
    limits = [limit for some, _ in found.values() for limit in some]
    for _, details in found.values():
        if details is not None:
            click.echo(f"{details.on_terminal()}\n")
    click.echo(table_of(limits).on_terminal([32, 31, None]))
    click.echo(machine)
    if out is not None:
        _write(out, found, machine)
    sys.exit(not all(limit.holds for limit in limits))


def _write(out: Path, found: dict[str, tuple[list[Limit], Table | None]], machine: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / "limits.json"
    told = json.loads(path.read_text()) if path.exists() else {}
    blocks = {}
    for name, (limits, details) in found.items():
        told[name] = [asdict(limit) for limit in limits]
        if details is not None:
            blocks[f"limits-{name}"] = details.in_markdown()
    path.write_text(json.dumps(told, indent=1) + "\n")
    all_of_them = [Limit(**limit) for name in CHECKS for limit in told.get(name, ())]
    blocks["limits"] = f"{table_of(all_of_them).in_markdown()}\n\n{machine}"
    fill_page(out.with_suffix(".md"), blocks)


if __name__ == "__main__":
    main()
