"""Measures how cost grows, for `docs/scaling.md`: ``python -m benchmarks.scaling``."""

import json
import textwrap
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from redis.exceptions import NoScriptError

from benchmarks.counters import Server
from benchmarks.curves import Curve, Panel, show_bytes, show_number
from benchmarks.environments import OURS, ROOT
from benchmarks.fleet import count_calls, watch_fleet
from benchmarks.page import Table, describe_machine, fill_page, show_progress
from benchmarks.processes import Unfinished, produce, wait_for_all, worker
from benchmarks.server import loopback_server
from benchmarks.systems.measures import MIB, make_body
from faststream_redis_timers_sync.protocol.encoding import encode_message
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.model import Settlement
from faststream_redis_timers_sync.protocol.operations import (
    LEASE_JITTER,
    Operation,
    Operations,
    encode_timer,
)

PROBES = replace(OURS, script="probes.py")

_RATE = "timers/s"
_SERVER_CPU = "server ms/1,000"
_CPU_TITLE = "server CPU, ms per 1,000 timers"
_DRAIN = (Panel("drained timers per second", (_RATE,)), Panel(_CPU_TITLE, (_SERVER_CPU,)))
_SIZES = (100, 1024, 10 * 1024, 100 * 1024, MIB)


@dataclass
class Run:
    """A run of all that is measured here.

    Args:
        server: The server; it is emptied in between.
        quick: Smaller numbers, once, to see that all works.
        tell: Shows what is being done.
    """

    server: Server
    quick: bool
    tell: Callable[[str], None]

    @property
    def turns(self) -> range:
        """The runs of each point."""
        return range(1 if self.quick else 3)

    def sized(self, full: int) -> int:
        """Give a number of timers, smaller in a quick run."""
        return max(20, full // 20) if self.quick else full


# --- delivery


def _drain(
    run: Run, count: int, *, topics: int = 1, workers: int = 1, size: int = 200, **knobs: Any
) -> dict[str, float]:
    """Deliver due timers, spread over topics; the rate counts from the first one handled."""
    server = run.server
    names = [f"topic-{number}" for number in range(topics)]
    for name in names:
        server.fill(name, count // topics, size=size)
    with ExitStack() as stack:
        running = [
            stack.enter_context(worker(PROBES, server.url, topics=names, **knobs))
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
    return {_RATE: count / seconds, _SERVER_CPU: 1e6 * cpu / count}


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
        Panel(_CPU_TITLE, (_SERVER_CPU,), is_log=True),
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


# --- the server

_SCHEDULE = "schedule: server ms/1,000"
_DELIVER = "claim, commit: server ms/1,000"


def primary(run: Run) -> Curve:
    """Weigh what scheduling and delivering cost the server alone, in larger and larger calls."""
    curve = Curve("timers per call", (Panel(_CPU_TITLE, (_SCHEDULE, _DELIVER)),))
    count = run.sized(20_000)
    for turn in run.turns:
        for size in (1, 5, 20, 100):
            run.tell(f"primary: calls of {size}, run {turn + 1}")
            run.server.empty()
            figures = {}
            for name, work in ((_SCHEDULE, _schedule), (_DELIVER, _deliver)):
                before = run.server.cpu()
                work(run.server, count, size)
                figures[name] = 1e6 * (run.server.cpu() - before) / count
            curve.add(size, figures)
    rows = []
    for scheduled in (1, 100):
        for claimed in (5, 100):
            cost = curve.median(scheduled, _SCHEDULE) + curve.median(claimed, _DELIVER)
            rows.append(
                (
                    "one at a time" if scheduled == 1 else f"in batches of {scheduled}",
                    f"in claims of {claimed}",
                    show_number(cost),
                    show_number(1e6 / cost),
                    show_number(0.5e6 / cost),
                )
            )
    headers = ("scheduled", "delivered", _SERVER_CPU, "timers/s on a core", "half a core")
    curve.more.append(Table(headers, rows))
    return curve


_OPERATIONS = Operations(KeySpace())


def _ask(server: Server, operation: Operation[Any]) -> Any:
    try:
        reply = server.client.execute_command(*operation.words(by_text=False))
    except NoScriptError:
        reply = server.client.execute_command(*operation.words(by_text=True))
    return operation.parse(reply)


def _schedule(server: Server, count: int, size: int) -> None:
    body, content_type = encode_message(make_body(200, 0, time.time()))
    for _ in range(count // size):
        timers = [encode_timer(body, content_type) for _ in range(size)]
        (operation,) = _OPERATIONS.schedule_batch("primary", timers)
        _ask(server, operation)


def _deliver(server: Server, count: int, size: int) -> None:
    settlements: list[Settlement] = []
    # One call more: it commits what the last one has claimed.
    for number in range(count // size + 1):
        operation = _OPERATIONS.settle_and_claim(
            "primary", settlements, limit=size, lease_ttl=30.0, jitter=number % LEASE_JITTER
        )
        step = _ask(server, operation)
        settlements = [
            Settlement(b"commit", claimed.timer_id, step.lease, b"") for claimed in step.claimed
        ]


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


# --- a fleet

_FLEET_TOPICS = (1, 10, 50)


def fleet(run: Run) -> Curve:
    """Count what idle workers ask the server: by simulation, and of twenty real ones."""
    lines = tuple(f"{topics} topics" if topics > 1 else "1 topic" for topics in _FLEET_TOPICS)
    real = "1 topic, real workers"
    curve = Curve("workers", (Panel("calls per second when idle", (*lines, real), is_log=True),))
    for count in (1, 5, 20, 100):
        run.tell(f"fleet: simulating {count}")
        for line, topics in zip(lines, _FLEET_TOPICS, strict=True):
            curve.add(count, {line: count_calls(count, topics)})
    seen = watch_fleet(run.server, PROBES, 4 if run.quick else 20, 6 if run.quick else 60, run.tell)
    curve.add(seen.workers, {real: seen.calls})
    rows = [
        ("calls/s, nothing to do", seen.calls, count_calls(seen.workers, 1)),
        (
            "calls/s, one timer per second",
            seen.calls_with_timers,
            count_calls(seen.workers, 1, timers=1.0),
        ),
        ("reads/s of the server, nothing to do", seen.reads),
        ("connections", seen.clients),
        ("server CPU, nothing to do, % of a core", 100 * seen.cpu),
        ("server CPU without workers, % of a core", 100 * seen.cpu_alone),
    ]
    headers = (f"{seen.workers} workers, 1 topic", "real", "simulated")
    curve.more.append(Table(headers, [(what, *map(show_number, told)) for what, *told in rows]))
    cost = _cost_of_an_empty_claim(run, seen.cpu_alone)
    asked = [
        *((f"{line}, nothing to do", curve.median(100, line)) for line in lines),
        *(
            (f"1 topic, {timers} timers/s", count_calls(100, 1, timers=timers))
            for timers in (1, 10)
        ),
    ]
    headers = ("100 workers", "calls/s", "server CPU, % of a core")
    rows = [(what, show_number(calls), show_number(100 * calls * cost)) for what, calls in asked]
    curve.more.append(Table(headers, rows))
    return curve


def _cost_of_an_empty_claim(run: Run, cpu_alone: float) -> float:
    """Give the server's CPU time for a claim, in seconds, where it slept before."""
    run.tell("fleet: empty claims")
    run.server.empty()
    count = run.sized(2000)
    started, before = time.monotonic(), run.server.cpu()
    for number in range(count):
        operation = _OPERATIONS.settle_and_claim("x", [], limit=5, lease_ttl=30.0, jitter=number)
        _ask(run.server, operation)
        time.sleep(0.002)
    spent = run.server.cpu() - before
    return (spent - cpu_alone * (time.monotonic() - started)) / count


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
    with show_progress() as tell, loopback_server() as url:
        run = Run(Server(url), quick, tell)
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
    click.echo(textwrap.fill(blocks["machine"], 80))


if __name__ == "__main__":
    main()
