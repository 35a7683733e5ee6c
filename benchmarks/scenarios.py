"""How throughput and lateness are measured."""

import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from benchmarks import names
from benchmarks.bench import TOPIC, Bench
from benchmarks.environments import LIST, OURS, System
from benchmarks.processes import Worker, produce, worker
from benchmarks.results import Result, quantile

RATE_PER_S = "messages/s"
_LONGEST_DRAIN = 180.0
_LONGEST_DELAY = 90.0

# --- throughput


def drain(  # noqa: PLR0913  what there is to vary
    bench: Bench,
    scenario: str,
    system: System,
    count: int,
    concurrency: int | None = None,
    *,
    workers: int = 1,
    others: int = 0,
) -> None:
    """Deliver timers that are due already; the clock runs from when the first worker begins."""
    count, others = bench.sized(count), bench.sized(others) if others else 0
    with bench.run(scenario, system, RATE_PER_S) as result, ExitStack() as stack:
        if others:
            produce(system, bench.url, action="preload", count=others, topics=TOPIC, delay=86_400)
        produce(system, bench.url, action="preload", count=count, topics=TOPIC)
        running = [
            stack.enter_context(worker(system, bench.url, topics=TOPIC, concurrency=concurrency))
            for _ in range(workers)
        ]
        _tell_all(running, "reset")
        server_before = bench.server_cpu()
        started = min(answer["going"] for answer in _tell_all(running, "go"))
        bench.wait(result, running, count, _LONGEST_DRAIN)
        server = bench.server_cpu() - server_before
        reports = _tell_all(running, "report")
        twice = bench.check(result, reports, count)
        if workers > 1:
            bench.add(names.TWICE, system.label, "timers", twice)
        delivered = sum(report["count"] for report in reports)
        if delivered:
            last = max(report["last"] for report in reports)
            result.values[bench.turn] = delivered / (last - started)
            bench.add_cpu(result, delivered, sum(report["cpu"] for report in reports), server)


def drain_in_batches(
    bench: Bench, system: System, label: str, count: int, concurrency: int | None, batch: str | None
) -> None:
    """Deliver timers that are due already; tell what worker and server spend on each.

    Args:
        bench: The run.
        system: The system.
        label: What tables call it, and how it hands messages over.
        count: How many messages.
        concurrency: How many handlers run at once; None leaves it to the system.
        batch: What batches are made of, "dicts" or "models"; None hands over one by one.
    """
    count = bench.sized(count)
    with bench.run(names.BATCHES, system, RATE_PER_S, label) as result:
        produce(system, bench.url, action="preload", count=count, topics=TOPIC)
        options = {"topics": TOPIC, "concurrency": concurrency, "batch": batch}
        with worker(system, bench.url, **options) as running:
            running.ask("reset")
            before = _cpu_of(bench)
            started = running.ask("go")["going"]
            bench.wait(result, [running], count, _LONGEST_DRAIN)
            at_server = _cpu_of(bench) - before
            report = running.ask("report")
        bench.check(result, [report], count)
        if done := report["count"]:
            result.values[bench.turn] = done / (report["last"] - started)
            bench.add(names.BATCHES_WORKER, label, "us", 1e6 * report["cpu"] / done)
            bench.add(names.BATCHES_SERVER, label, "us", 1e6 * at_server / done)


def _cpu_of(bench: Bench) -> float:
    info = bench.server.info("cpu")
    return float(info["used_cpu_sys"] + info["used_cpu_user"])


def batches_at_a_rate(bench: Bench, system: System) -> None:
    """Schedule 1,000 timers a second for handlers of batches, which may wait 50 ms for more."""
    rate, count = 1000, bench.sized(10_000)
    with (
        bench.run(names.BATCHES_LATE, system, "ms", names.OF_DICTS) as result,
        worker(system, bench.url, topics=TOPIC, batch="dicts", max_wait=0.05) as running,
    ):
        running.ask("go")
        time.sleep(1)
        options = {"topics": TOPIC, "delay": 1.0, "count": count, "rate": rate}
        report = _pace(bench, system, running, result, options)
        if report["batches"]:
            size = report["count"] / report["batches"]
            bench.add(names.BATCHES_SIZE, names.OF_DICTS, "timers", size)


def _tell_all(workers: Iterable[Worker], command: str) -> list[dict[str, Any]]:
    # All are told before any answers, or the first would begin alone.
    for each in workers:
        each.tell(command)
    return [each.answer() for each in workers]


def consume_alone(bench: Bench) -> None:
    """Run FastStream's consume() without a network."""
    with bench.run(names.DRAIN_100, LIST, RATE_PER_S, names.ALONE) as result:
        answer = produce(LIST, bench.url, action="consume alone", count=bench.sized(20_000))
        result.values[bench.turn] = answer["rate"]


def publish(
    bench: Bench, scenario: str, system: System, at_once: int, *, batch: bool = False
) -> None:
    """Schedule timers as fast as one process can."""
    with bench.run(scenario, system, RATE_PER_S) as result:
        count = bench.sized(100_000 if batch else 10_000)
        options = {"count": count, "at_once": at_once, "batch": batch}
        before = bench.server_cpu()
        answer = produce(system, bench.url, action="speed", **options)
        result.values[bench.turn] = answer["rate"]
        # Before the clock runs it schedules some, which cost the server as much.
        server = (bench.server_cpu() - before) * count / (count + answer["before"])
        bench.add_cpu(result, count, answer["cpu"], server)


def blocking(bench: Bench) -> None:
    """Schedule from blocking code, in turns with bare EVALSHA."""
    with bench.run(names.BLOCKING, OURS, RATE_PER_S):
        options = {"count": bench.sized(5000), "batches": bench.sized(1000)}
        answer = produce(OURS, bench.url, script="blocking.py", **options)
        for scenario, label, told in (
            (names.BLOCKING, OURS.label, answer["schedule"]),
            (names.BLOCKING, names.BARE, answer["bare"]),
            (names.BLOCKING_BATCH, OURS.label, answer["batch"]),
        ):
            one = bench.result(scenario, label, RATE_PER_S)
            one.values[bench.turn] = told["count"] / told["seconds"]
            bench.add_cpu(one, told["count"], told["client"], told["server"])


# --- lateness


def lateness_when_idle(
    bench: Bench, scenario: str, system: System, delay: float, topics: list[str]
) -> None:
    """Schedule 100 timers for a worker that has been idle for 15 s, one after the other."""
    with (
        bench.run(scenario, system, "ms") as result,
        worker(system, bench.url, topics=topics) as running,
    ):
        running.ask("go")
        time.sleep(bench.seconds(15))
        options = {"topics": topics, "delay": delay, "count": bench.sized(100), "rate": 15}
        _pace(bench, system, running, result, options)


def lateness_under_load(bench: Bench, system: System) -> None:
    """Schedule 200 timers a second; what the worker spends on them is a figure too."""
    count = bench.sized(3000)
    with (
        bench.run(names.LATE_LOAD, system, "ms") as result,
        worker(system, bench.url, topics=TOPIC) as running,
    ):
        running.ask("go")
        time.sleep(2)
        options = {"topics": TOPIC, "delay": 1.0, "count": count, "rate": 200}
        report = _pace(bench, system, running, result, options)
        cpu = 100 * report["cpu"] / (count / 200)
        bench.add(names.CPU_LOAD, system.label, "% of a core", cpu)


def _pace(
    bench: Bench, system: System, running: Worker, result: Result, options: dict[str, Any]
) -> dict[str, Any]:
    running.ask("reset")
    produce(system, bench.url, action="paced", **options)
    bench.wait(result, [running], options["count"], options["delay"] + _LONGEST_DELAY)
    report = running.ask("report")
    bench.check(result, [report], options["count"])
    if latenesses := sorted(1000 * late for late in report["lateness"]):
        result.add_samples(latenesses)
        result.values[bench.turn] = quantile(latenesses, 0.5)
    return report
