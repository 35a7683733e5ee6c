"""Makes the environments and measures all steps, whatever goes wrong on the way."""

import os
import platform
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from benchmarks.bench import Bench
from benchmarks.environments import LIST, OURS, PACKAGE, System
from benchmarks.measured import Server
from benchmarks.page import server_name
from benchmarks.plan import Step, plan
from benchmarks.progress import minutes, shown_progress
from benchmarks.results import Report
from benchmarks.server import loopback_server

_QUIET = 0.3
"""Average number of processes that run before anything is measured."""


class Planned(NamedTuple):
    """A step, and where it is measured.

    Args:
        turn: The turn, from 1.
        server: Which of the servers, from 0.
        step: The step.
    """

    turn: int
    server: int
    step: Step


def choose_steps(
    turns: int, others: tuple[System, ...], only: str, servers: int
) -> Iterator[Planned]:
    """Give all steps in order: each is measured on all servers before the next.

    Args:
        turns: How often each scenario is measured.
        others: Systems to measure beside this library's own yardsticks. They are measured on the
            first server alone: they take long, and a server is not what tells them apart.
        only: A text that the names of the scenarios must have in them.
        servers: How many servers there are.
    """
    for turn in range(1, turns + 1):
        on_all = {(step.scenario, step.label): step for step in plan(turn, ())}
        for step in plan(turn, others):
            if only not in step.scenario:
                continue
            yield Planned(turn, 0, step)
            if same := on_all.get((step.scenario, step.label)):
                yield from (Planned(turn, server, same) for server in range(1, servers))


def run(
    steps: Sequence[Planned],
    others: tuple[System, ...],
    binaries: Sequence[str | None],
    *,
    quick: bool,
    console: Console,
) -> list[Report]:
    """Measure; after Ctrl-C give what has been measured until then.

    Args:
        steps: What to measure, in order.
        others: Systems to install beside this library's own yardsticks.
        binaries: Names of the servers' binaries, None for the embedded one.
        quick: Smaller numbers, to see that all works.
        console: Where progress is shown.

    Returns:
        A report for each server.
    """
    load = os.getloadavg()[0]
    if load > _QUIET:
        console.print(f"Others are using this machine (load {load:.1f}): the figures will be off.")
    turns = steps[-1].turn
    machine = f"{_machine()}, load at the start {load:.1f}"
    reports: list[Report] = []
    started = time.monotonic()
    try:
        systems = _install((OURS, PACKAGE, LIST, *others), console)
        with (
            ExitStack() as stack,
            shown_progress(console, [planned.step for planned in steps]) as shown,
        ):
            benches = []
            for binary in binaries:
                url = stack.enter_context(loopback_server(binary))
                server = server_name(Server(url))
                reports.append(Report(machine, {**systems, "server": server}, turns, quick))
                benches.append(Bench(url, binary, quick, results=reports[-1].results))
            for turn, server, step in steps:
                bench = benches[server]
                bench.turn = turn
                shown.begin(f"{step.scenario}: {step.label}, {reports[server].server}")
                _measure(bench, step)
                shown.end()
        for report in reports:
            report.is_complete = True
    except KeyboardInterrupt:
        console.print("Interrupted: what was measured until now is written.")
    for report in reports:
        report.machine += f", {minutes(time.monotonic() - started)} minutes"
    return reports


def _measure(bench: Bench, step: Step) -> None:
    try:
        step.measure(bench)
    except Exception as problem:  # noqa: BLE001  one measurement must not cost all the others
        bench.note(bench.result(step.scenario, step.label, ""), repr(problem))


def _install(systems: Iterable[System], console: Console) -> dict[str, str]:
    versions = {}
    for system in systems:
        if not system.is_installed:
            console.print(f"Installing {system.name} (only the first time)")
        try:
            system.install()
            versions[system.name] = system.versions()
        except RuntimeError as problem:
            versions[system.name] = str(problem)
            console.print(f"{system.name} {problem}", markup=False, soft_wrap=True)
    return versions


def _machine() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    processor = found[1] if found else platform.machine()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} x {processor}, {platform.platform()}, "
        f"Python {platform.python_version()}"
    )
