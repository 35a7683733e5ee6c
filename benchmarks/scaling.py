"""Measures how cost grows, for `docs/scaling.md`: ``python -m benchmarks.scaling``."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from benchmarks.curves import Curve, Panel, show_bytes
from benchmarks.environments import OURS, ROOT
from benchmarks.fleet import fleet
from benchmarks.measured import PROBES, Run, measured_server
from benchmarks.page import describe_machine, fill_page, show_progress
from benchmarks.primary import CPU_TITLE, SERVER_CPU, primary
from benchmarks.processes import Unfinished, produce, wait_for_all, worker
from benchmarks.systems.measures import MIB

_RATE = "timers/s"
_DRAIN = (Panel("drained timers per second", (_RATE,)), Panel(CPU_TITLE, (SERVER_CPU,)))
_SIZES = (100, 1024, 10 * 1024, 100 * 1024, MIB)


# --- delivery


def _drain(
    run: Run, count: int, *, topics: int = 1, workers: int = 1, size: int = 200, **options: Any
) -> dict[str, float]:
    """Deliver due timers, spread over topics; the rate counts from the first one handled."""
    server = run.server
    names = [f"topic-{number}" for number in range(topics)]
    for name in names:
        server.fill(name, count // topics, size=size)
    with ExitStack() as stack:
        running = [
            stack.enter_context(worker(PROBES, server.url, topics=names, **options))
            for _ in range(workers)
        ]
        before = server.cpu()
        for each in running:
            each.tell("go")
        for each in running:
            each.answer()
        wait_for_all(running, count, 180)
        cpu = server.cpu() - before
        reports = [each.ask("report") for each in running]
    delivered = sum(report["count"] for report in reports)
    if delivered != count:
        msg = f"{delivered:,} deliveries of {count:,} timers"
        raise Unfinished(msg)
    # One that came late has none.
    first = min(report["first"] for report in reports if report["count"])
    seconds = max(report["last"] for report in reports) - first
    return {_RATE: count / seconds, SERVER_CPU: 1e6 * cpu / count}


def pending(run: Run) -> Curve:
    """Drain beside timers of the same topic that are not due."""
    curve = Curve("pending timers", _DRAIN)
    run.server.empty()
    there = 0
    for others in map(run.sized, (1000, 10_000, 100_000, 1_000_000)):
        run.tell(f"pending: scheduling {others:,} timers")
        run.server.fill("topic-0", others - there, delay=86_400)
        there = others
        for turn in run.turns:
            run.tell(f"pending: drain beside {others:,}, run {turn + 1}")
            curve.add(others, _drain(run, run.sized(20_000), max_concurrent=100))
    return curve


def topics(run: Run) -> Curve:
    """Drain as many timers from more topics."""
    curve = Curve("topics", _DRAIN)
    for turn in run.turns:
        for count in (1, 10, 100, 1000):
            run.tell(f"topics: {count:,}, run {turn + 1}")
            run.server.empty()
            curve.add(count, _drain(run, max(count, run.sized(20_000)), topics=count))
    return curve


def workers(run: Run) -> Curve:
    """Drain as many timers by more worker processes."""
    curve = Curve("workers", _DRAIN)
    for turn in run.turns:
        for count in (1, 2, 4):
            run.tell(f"workers: {count}, run {turn + 1}")
            run.server.empty()
            curve.add(count, _drain(run, run.sized(40_000), workers=count, max_concurrent=100))
    return curve


def payload(run: Run) -> Curve:
    """Drain timers with larger bodies."""
    panels = (
        Panel("drained timers per second", (_RATE,), is_log=True),
        Panel("drained MiB per second", ("MiB/s",)),
        Panel(CPU_TITLE, (SERVER_CPU,), is_log=True),
    )
    curve = Curve("body", panels, show_bytes)
    for turn in run.turns:
        for size in _SIZES:
            run.tell(f"payload: {show_bytes(size)}, run {turn + 1}")
            run.server.empty()
            count = run.sized(min(20_000, 300 * MIB // size))
            figures = _drain(run, count, size=size, max_concurrent=100)
            curve.add(size, {**figures, "MiB/s": figures[_RATE] * size / MIB})
    return curve


# --- scheduling


def publish(run: Run) -> Curve:
    """Schedule timers with larger bodies, by the four ways, as fast as one process can."""
    ways = ("publish", "publish_batch", "schedule", "schedule_batch")
    curve = Curve("body", (Panel("scheduled timers per second", ways, is_log=True),), show_bytes)
    for turn in run.turns:
        for size in _SIZES:
            run.tell(f"publish: {show_bytes(size)}, run {turn + 1}")
            run.server.empty()
            count = run.sized(min(5000, 50 * MIB // size))
            batch = max(1, min(100, MIB // size))
            told = produce(
                PROBES, run.server.url, action="speed", size=size, count=count, batch=batch
            )
            curve.add(size, {way: told[way] for way in ways})
    return curve


# --- memory


def memory(run: Run) -> Curve:
    """Weigh pending timers."""
    total, more = "bytes per timer", "beyond its body"
    panels = (Panel(total, (total,), is_log=True), Panel(f"bytes {more}", (more,)))
    curve = Curve("body", panels, show_bytes)
    for size in _SIZES:
        run.tell(f"memory: {show_bytes(size)}")
        run.server.empty()
        # More than the few that a server packs together.
        count = max(1000, run.sized(min(100_000, 200 * MIB // size)))
        run.server.fill("memory", count, size=size, delay=86_400)
        used = run.server.weigh() / count
        curve.add(size, {total: used, more: used - size})
    return curve


# --- the command

CURVES: dict[str, Callable[[Run], Curve]] = {
    function.__name__: function
    for function in (pending, topics, workers, payload, publish, primary, memory, fleet)
}


@click.command()
@click.option("--quick", is_flag=True, help="Small numbers, once: to see that all works.")
@click.option("--only", multiple=True, type=click.Choice(list(CURVES)), help="Not all of them.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "build" / "scaling",
    show_default=True,
    help="Folder for plots and figures. Where OUT.md stands beside it, its blocks are filled.",
)
def main(*, quick: bool, only: tuple[str, ...], out: Path) -> None:
    """Measure how cost grows with timers, topics, workers and payload size."""
    out.mkdir(parents=True, exist_ok=True)
    OURS.install()
    path = out / "figures.json"
    figures = json.loads(path.read_text()) if path.exists() else {}
    blocks = {}
    with show_progress() as tell, measured_server() as server:
        run = Run(server, quick, tell)
        blocks["machine"] = figures["machine"] = describe_machine(run.server)
        for name in only or CURVES:
            curve = CURVES[name](run)
            curve.plot(out / f"{name}.svg")
            figures[name] = curve.runs
            path.write_text(json.dumps(figures, indent=1) + "\n")
            tables = [curve.table(), *curve.more]
            blocks[name] = "\n\n".join(table.in_markdown() for table in tables)
            for table in tables:
                click.echo(f"{table.on_terminal()}\n")
    fill_page(out.with_suffix(".md"), blocks)
    click.echo(blocks["machine"])


if __name__ == "__main__":
    main()
