"""What a fleet of workers costs while there is little to do: by simulation, and of real ones.

``python -m benchmarks.fleet`` simulates fleets of which a few workers are on duty, beside those of
which all are, and with each part of that rule left out; no server is asked there. With ``--real``
it starts such fleets as processes.
"""

import heapq
import math
import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks import real_fleet
from benchmarks.curves import Curve, Panel, show_number
from benchmarks.duties import (
    ALL,
    GOALS,
    HOLDERS,
    PART_COLUMNS,
    PARTS,
    SOME,
    Load,
    goals_table,
    parts_table,
    short,
)
from benchmarks.environments import OURS
from benchmarks.measured import PROBES, Run, measured_server
from benchmarks.page import Table, describe_machine, fill_page, show_progress, table_of
from benchmarks.primary import cost_of_an_empty_claim
from benchmarks.processes import produce, worker
from faststream_redis_timers.delivery.schedule import PollSchedule

POLLING_INTERVAL = 0.05
MAX_POLLING_INTERVAL = 5.0
"""The defaults of a subscriber, in seconds."""

_WARM_UP = 60.0
"""Seconds that are not counted: all begin with short pauses."""


def count_calls(workers: int, subscribers: int, *, seconds: float = 120.0, seed: int = 0) -> float:
    """Count the calls of idle workers, with the schedule that real ones follow.

    Args:
        workers: Processes.
        subscribers: Topics; each process subscribes to all of them.
        seconds: How long to count.
        seed: For the jitter of the pauses.

    Returns:
        Calls per second.
    """
    generator = random.Random(seed)  # noqa: S311  no secret
    loops = [
        PollSchedule(POLLING_INTERVAL, MAX_POLLING_INTERVAL, generator.random)
        for _ in range(workers * subscribers)
    ]
    end = _WARM_UP + seconds
    looks = [(generator.uniform(0, MAX_POLLING_INTERVAL), number) for number in range(len(loops))]
    for at, number in looks:
        loops[number].poll_at = at
    heapq.heapify(looks)
    calls = 0
    while True:
        at, number = looks[0]
        if at >= end:
            return calls / seconds
        loops[number].found_nothing(at, math.inf)
        heapq.heapreplace(looks, (loops[number].next_at, number))
        calls += at >= _WARM_UP


@dataclass(frozen=True)
class _Fleet:
    """What real idle workers cost the server.

    Args:
        workers: How many there were, each with one subscriber.
        calls: Their calls per second.
        reads: What the server read per second: also the pings of the connections for wake-ups.
        cpu: Share of a core that the server took, 0 to 1.
        cpu_alone: The same without any worker.
        clients: Connections that they held.
        calls_with_timers: Calls per second while one timer per second was due.
    """

    workers: int
    calls: float
    reads: float
    cpu: float
    cpu_alone: float
    clients: int
    calls_with_timers: float


def _watch(run: Run, workers: int, seconds: int) -> _Fleet:
    server, tell = run.server, run.tell
    server.empty()
    tell("fleet: the server alone")
    before = server.cpu()
    time.sleep(seconds / 6)
    cpu_alone = (server.cpu() - before) / (seconds / 6)
    with ExitStack() as stack:
        running = []
        for number in range(workers):
            tell(f"fleet: starting worker {number + 1} of {workers}")
            running.append(
                stack.enter_context(worker(PROBES, server.url, topics=["fleet"], duty=HOLDERS))
            )
            running[-1].ask("go")
        tell(f"fleet: {workers} workers until their pauses have grown")
        time.sleep(min(seconds, 20))
        tell(f"fleet: {workers} workers with nothing to do")
        calls, reads, cpu = server.script_calls(), server.reads(), server.cpu()
        time.sleep(seconds)
        calls, reads = server.script_calls() - calls, server.reads() - reads
        cpu = server.cpu() - cpu
        clients = len(server.client.client_list()) - 1
        tell(f"fleet: {workers} workers, one timer per second")
        with_timers = server.script_calls()
        produce(
            PROBES, server.url, action="paced", topic="fleet", count=seconds, rate=1.0, delay=0.0
        )
        with_timers = server.script_calls() - with_timers - seconds
    return _Fleet(
        workers,
        calls / seconds,
        # Three questions that were asked here are among them.
        (reads - 3) / seconds,
        cpu / seconds,
        cpu_alone,
        clients,
        with_timers / seconds,
    )


_FLEET_TOPICS = (1, 10, 50)
_RULES = {"all on duty": ALL, f"{HOLDERS} on duty": SOME}


def fleet(run: Run) -> Curve:
    """Count what workers with little to do ask the server: by simulation, and of real ones."""
    idle = tuple(f"{topics} topics" if topics > 1 else "1 topic" for topics in _FLEET_TOPICS)
    real = "1 topic, real workers"
    curve = Curve(
        "workers",
        (
            Panel("calls per second, nothing to do", (*idle, real), is_log=True),
            Panel("calls per second, 10 timers/s", tuple(map(_calls, _RULES)), is_log=True),
            Panel("99% lateness, ms, 10 timers/s", tuple(map(_late, _RULES)), is_log=True),
        ),
    )
    for count in (1, 5, 20, 100, 1000):
        run.tell(f"fleet: simulating {count:,}")
        for line, topics in zip(idle, _FLEET_TOPICS, strict=True):
            curve.add(count, {line: count_calls(count, topics)})
        for rule, plan in _RULES.items():
            figures = Load(count, 10, short, seconds=20).measure(plan)
            curve.add(count, {_calls(rule): figures.calls, _late(rule): figures.late})
    seen = _watch(run, 4 if run.quick else 20, 6 if run.quick else 60)
    curve.add(seen.workers, {real: seen.calls})
    with_timers = Load(seen.workers, 1, short).measure(SOME).calls
    rows = [
        ("calls/s, nothing to do", seen.calls, count_calls(seen.workers, 1)),
        ("calls/s, 1 timer/s", seen.calls_with_timers, with_timers),
        ("reads/s of the server, nothing to do", seen.reads),
        ("connections", seen.clients),
        ("server CPU, nothing to do, % of a core", 100 * seen.cpu),
        ("server CPU without workers, % of a core", 100 * seen.cpu_alone),
    ]
    headers = (f"{seen.workers} workers, 1 topic", "real", "simulated")
    curve.more.append(Table(headers, [(what, *map(show_number, told)) for what, *told in rows]))
    cost = cost_of_an_empty_claim(run, seen.cpu_alone)
    asked = [
        *((f"{line}, nothing to do", curve.median(100, line)) for line in idle),
        *(
            (f"1 topic, {rate} timers/s, {rule}", Load(100, rate, short).measure(plan).calls)
            for rate in (1, 10)
            for rule, plan in _RULES.items()
        ),
    ]
    headers = ("100 workers", "calls/s", "server CPU, % of a core")
    rows = [(what, show_number(calls), show_number(100 * calls * cost)) for what, calls in asked]
    curve.more.append(Table(headers, rows))
    return curve


def _calls(rule: str) -> str:
    return f"10/s, {rule}"


def _late(rule: str) -> str:
    return f"10/s, {rule}: 99%, ms"


def _simulate(only: str) -> None:
    def tell(what: str) -> None:
        click.echo(f"  {what}", err=True)

    goals = [goal for goal in GOALS if only in goal.name]
    parts = [name for name in PARTS if only in name]
    if not goals and not parts:
        msg = f"--only {only!r}: no goal and no part has this in its name"
        raise click.ClickException(msg)
    if goals:
        click.echo(goals_table(goals, tell).on_terminal([48, 40, 40, 12, None]))
    if parts:
        click.echo(parts_table(parts, tell).on_terminal([16, *[9] * len(PART_COLUMNS)]))


def _measure(
    only: str,
    workers: int,
    duties: Sequence[int],
    out: Path | None,
    *,
    quick: bool,
) -> None:
    names = [name for name in real_fleet.SCENARIOS if only in name]
    if not names:
        msg = f"--only {only!r}: it must be in one of {', '.join(real_fleet.SCENARIOS)}"
        raise click.ClickException(msg)
    OURS.install()
    # Ended from outside, it ends what it has started as it does after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with show_progress() as tell, measured_server() as server:
        run = Run(server, quick, tell)
        machine = describe_machine(server)
        found = real_fleet.measure(run, names, (None, *duties), workers)
    click.echo(f"{found.table().on_terminal()}\n")
    for duty in duties:
        # What is to be reached is said of a fleet of this size.
        if workers == real_fleet.SIZE and (limits := found.limits(f"{duty}")):
            click.echo(f"{table_of(limits).on_terminal()}\n")
    for note in found.notes:
        click.echo(note)
    machine += f"\nLoad at the end: {os.getloadavg()[0]:.1f}."
    click.echo(machine)
    if out is not None:
        block = f"{found.table().in_markdown()}\n\n{machine}"
        fill_page(out.with_suffix(".md"), {"real-fleet": block})


@click.command()
@click.option("--real", is_flag=True, help="Worker processes on this machine, and no simulation.")
@click.option("--only", default="", help="Only what has this text in its name.")
@click.option("--quick", is_flag=True, help="With --real: short, to see that all works.")
@click.option("--workers", type=click.IntRange(min=1), default=real_fleet.SIZE, show_default=True)
@click.option(
    "--duty",
    "duties",
    type=click.IntRange(min=1),
    multiple=True,
    default=(3,),
    show_default=True,
    help="With --real: how many are to be on duty, in turns with all.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --real: where OUT.md is a page, its block is filled.",
)
def main(
    *,
    real: bool,
    only: str,
    quick: bool,
    workers: int,
    duties: tuple[int, ...],
    out: Path | None,
) -> None:
    """Show what fleets are to reach, what they do, and what each part of the rule is worth."""
    if real:
        _measure(only, workers, duties, out, quick=quick)
    else:
        _simulate(only)


if __name__ == "__main__":
    main()
