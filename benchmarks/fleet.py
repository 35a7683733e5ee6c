"""What a fleet of workers costs while there is little to do: by simulation, and of real ones.

``python -m benchmarks.fleet`` simulates fleets of which a few workers are on duty, beside those of
which all are, and with each part of that rule left out. No server is asked there.
"""

import heapq
import math
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass

import click

from benchmarks.curves import Curve, Panel, show_number
from benchmarks.duties import GOALS, PART_COLUMNS, PARTS, goals_table, parts_table
from benchmarks.measured import PROBES, Run
from benchmarks.page import Table
from benchmarks.primary import cost_of_an_empty_claim
from benchmarks.processes import produce, worker
from faststream_redis_timers.delivery.schedule import PollSchedule

POLLING_INTERVAL = 0.05
MAX_POLLING_INTERVAL = 5.0
"""The defaults of a subscriber, in seconds."""

_WARM_UP = 60.0
"""Seconds that are not counted: all begin with short pauses."""


def count_calls(
    workers: int, subscribers: int, *, seconds: float = 120.0, timers: float = 0.0, seed: int = 0
) -> float:
    """Count the calls of idle workers, with the schedule that real ones follow.

    A timer is due at once, and wakes the loops of its topic in all workers: each
    claims, one of them gets it and commits.

    Args:
        workers: Processes.
        subscribers: Topics; each process subscribes to all of them.
        seconds: How long to count.
        timers: Timers per second over all topics.
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
    # When each loop looks next; what a timer has moved is found to be outdated.
    looks = [(generator.uniform(0, MAX_POLLING_INTERVAL), number) for number in range(len(loops))]
    for at, number in looks:
        loops[number].poll_at = at
    heapq.heapify(looks)
    next_timer, sent = (1 / timers if timers else math.inf), 0
    calls = 0
    while True:
        at, number = looks[0]
        if min(at, next_timer) >= end:
            return calls / seconds
        counts = min(at, next_timer) >= _WARM_UP
        if next_timer <= at:
            topic = sent % subscribers
            woken = list(range(topic, len(loops), subscribers))
            generator.shuffle(woken)
            for rank, each in enumerate(woken):
                loops[each].ring_at(next_timer)
                look = loops[each].found if rank == 0 else loops[each].found_nothing
                look(next_timer, math.inf)
                heapq.heappush(looks, (loops[each].next_at, each))
            calls += counts * (len(woken) + 1)
            sent += 1
            next_timer = (sent + 1) / timers
        elif at != loops[number].next_at:
            heapq.heappop(looks)
        else:
            loops[number].found_nothing(at, math.inf)
            heapq.heapreplace(looks, (loops[number].next_at, number))
            calls += counts


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
            running.append(stack.enter_context(worker(PROBES, server.url, topics=["fleet"])))
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


def fleet(run: Run) -> Curve:
    """Count what idle workers ask the server: by simulation, and of twenty real ones."""
    lines = tuple(f"{topics} topics" if topics > 1 else "1 topic" for topics in _FLEET_TOPICS)
    real = "1 topic, real workers"
    curve = Curve("workers", (Panel("calls per second when idle", (*lines, real), is_log=True),))
    for count in (1, 5, 20, 100):
        run.tell(f"fleet: simulating {count}")
        for line, topics in zip(lines, _FLEET_TOPICS, strict=True):
            curve.add(count, {line: count_calls(count, topics)})
    seen = _watch(run, 4 if run.quick else 20, 6 if run.quick else 60)
    curve.add(seen.workers, {real: seen.calls})
    rows = [
        ("calls/s, nothing to do", seen.calls, count_calls(seen.workers, 1)),
        ("calls/s, 1 timer/s", seen.calls_with_timers, count_calls(seen.workers, 1, timers=1)),
        ("reads/s of the server, nothing to do", seen.reads),
        ("connections", seen.clients),
        ("server CPU, nothing to do, % of a core", 100 * seen.cpu),
        ("server CPU without workers, % of a core", 100 * seen.cpu_alone),
    ]
    headers = (f"{seen.workers} workers, 1 topic", "real", "simulated")
    curve.more.append(Table(headers, [(what, *map(show_number, told)) for what, *told in rows]))
    cost = cost_of_an_empty_claim(run, seen.cpu_alone)
    asked = [
        *((f"{line}, nothing to do", curve.median(100, line)) for line in lines),
        ("1 topic, 1 timer/s", count_calls(100, 1, timers=1)),
        ("1 topic, 10 timers/s", count_calls(100, 1, timers=10)),
    ]
    headers = ("100 workers", "calls/s", "server CPU, % of a core")
    rows = [(what, show_number(calls), show_number(100 * calls * cost)) for what, calls in asked]
    curve.more.append(Table(headers, rows))
    return curve


@click.command()
@click.option("--only", default="", help="Only goals and parts with this text in their names.")
def main(*, only: str) -> None:
    """Show what fleets are to reach, what they do, and what each part of the rule is worth."""

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


if __name__ == "__main__":
    main()
