"""What is measured, and how. Every figure of a run comes from here."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from benchmarks.environments import LIST, OURS, PACKAGE, ROOT, System
from benchmarks.processes import Unfinished, Worker, produce, worker

TOPIC = ["bench"]
MANY_TOPICS = [f"bench-{number}" for number in range(50)]


@dataclass
class Result:
    """All runs of one scenario by one system.

    Args:
        scenario: Name of the scenario.
        system: Name of the system.
        unit: Unit of the values.
        values: A value per run, bad ones too.
        failures: What went wrong, a sentence per failed run.
        samples: For latenesses all of them, in seconds.
    """

    scenario: str
    system: str
    unit: str
    values: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    samples: list[float] = field(default_factory=list)


@dataclass
class Bench:
    """One run of the benchmark.

    Args:
        url: The server; it is emptied between scenarios.
        repeat: How often each scenario is run, in turns of the systems.
        quick: Smaller numbers, to see that all works.
        tell: Shows what is being done.
    """

    url: str
    repeat: int
    quick: bool
    tell: Callable[[str], None]
    results: dict[tuple[str, str], Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = redis.Redis.from_url(self.url)

    def result(self, scenario: str, system: str, unit: str) -> Result:
        """Give the result to add runs to."""
        return self.results.setdefault((scenario, system), Result(scenario, system, unit))

    def sized(self, full: int) -> int:
        """Give a number of messages, smaller in a quick run."""
        return max(10, full // 20) if self.quick else full

    @contextmanager
    def run(self, scenario: str, system: str, unit: str) -> Iterator[Result]:
        """Begin a run on an empty server; a failure becomes part of the result."""
        self.tell(f"{scenario}: {system}")
        self.server.flushall()
        result = self.result(scenario, system, unit)
        try:
            yield result
        except Unfinished as problem:
            result.failures.append(str(problem))


def drain(  # noqa: PLR0913  what there is to vary
    bench: Bench,
    scenario: str,
    system: System,
    count: int,
    concurrency: int | None,
    *,
    workers: int = 1,
    others: int = 0,
) -> None:
    """Deliver timers that are due already; the rate counts from the start of the worker."""
    with bench.run(scenario, system.name, "messages/s") as result, ExitStack() as stack:
        if others:
            produce(system, bench.url, action="preload", count=others, topics=TOPIC, delay=86_400)
        produce(system, bench.url, action="preload", count=count, topics=TOPIC)
        running = [
            stack.enter_context(worker(system, bench.url, topics=TOPIC, concurrency=concurrency))
            for _ in range(workers)
        ]
        started = time.time()
        for each in running:
            each.ask("go")
        _wait_for_all(running, count)
        reports = [each.ask("report") for each in running]
        delivered = sum(report["count"] for report in reports)
        if delivered != count:
            result.failures.append(f"{delivered:,} deliveries of {count:,} timers")
        result.values.append(count / (max(report["last"] for report in reports) - started))


def _wait_for_all(running: list[Worker], count: int) -> None:
    end = time.time() + 180
    while (done := sum(each.ask("count")["count"] for each in running)) < count:
        if time.time() > end:
            msg = f"{done:,} of {count:,} after 180 s"
            raise Unfinished(msg)
        time.sleep(0.1)


def lateness_when_idle(
    bench: Bench, scenario: str, system: System, delay: float, *, many_topics: bool = True
) -> None:
    """Schedule 100 timers for a worker that has been idle for 15 s."""
    topics = MANY_TOPICS if many_topics else TOPIC
    with (
        bench.run(scenario, system.name, "ms") as result,
        worker(system, bench.url, topics=topics) as running,
    ):
        running.ask("go")
        time.sleep(2 if bench.quick else 15)
        _pace(bench, system, running, result, topics=topics, delay=delay, count=100, rate=15)


def lateness_under_load(bench: Bench, scenario: str, system: System, delay: float) -> None:
    """Schedule 200 timers a second."""
    count = bench.sized(4000)
    with (
        bench.run(scenario, system.name, "ms") as result,
        worker(system, bench.url, topics=TOPIC) as running,
    ):
        running.ask("go")
        time.sleep(2)
        report = _pace(
            bench, system, running, result, topics=TOPIC, delay=delay, count=count, rate=200
        )
        cpu = bench.result("CPU at 200/s", system.name, "% of a core")
        cpu.values.append(100 * report["cpu"] / (count / 200))


def _pace(
    bench: Bench, system: System, running: Worker, result: Result, **options: Any
) -> dict[str, Any]:
    running.ask("reset")
    produce(system, bench.url, action="paced", **options)
    running.wait_for(options["count"], 60 + options["delay"])
    report = running.ask("report")
    latenesses = sorted(report["lateness"])
    result.samples += latenesses
    result.values.append(1000 * latenesses[len(latenesses) // 2])
    return report


def idle(bench: Bench, scenario: str, system: System, subscribers: int) -> None:
    """Watch a worker without work: its CPU time, and its round trips to the server."""
    seconds = 10 if bench.quick else 120
    with (
        bench.run(scenario, system.name, "round trips/s") as result,
        worker(system, bench.url, topics=MANY_TOPICS[:subscribers]) as running,
    ):
        running.ask("go")
        time.sleep(15 if not bench.quick else 5)
        running.ask("reset")
        before = bench.server.info("stats")["total_reads_processed"]
        time.sleep(seconds)
        # The second INFO is a read of its own.
        reads = bench.server.info("stats")["total_reads_processed"] - before - 1
        report = running.ask("report")
        result.values.append(reads / seconds)
        cpu = bench.result("CPU when idle", system.name, "% of a core")
        if subscribers == 1:
            cpu.values.append(100 * report["cpu"] / report["elapsed"])


def publish_speed(
    bench: Bench, scenario: str, system: System, at_once: int, *, batch: bool = False
) -> None:
    """Schedule timers as fast as one process can."""
    with bench.run(scenario, system.name, "messages/s") as result:
        count = bench.sized(100_000 if batch else 10_000)
        answer = produce(
            system, bench.url, action="speed", count=count, at_once=at_once, batch=batch
        )
        result.values.append(answer["rate"])


def blocking_speed(bench: Bench) -> None:
    """Schedule from blocking code, beside bare EVALSHA."""
    with bench.run("blocking schedule", "ours", "messages/s") as result:
        answer = produce(
            OURS, bench.url, script="blocking.py", count=bench.sized(4000), turns=bench.repeat
        )
        result.values += answer["schedule"]
        bench.result("blocking schedule", "bare EVALSHA", "messages/s").values += answer["bare"]
        batch = bench.result("blocking schedule_batch of 100", "ours", "messages/s")
        batch.values += answer["batch"]


def consume_alone(bench: Bench, scenario: str) -> None:
    """Run FastStream's consume() without a network."""
    with bench.run(scenario, "consume() alone", "messages/s") as result:
        answer = produce(LIST, bench.url, action="consume alone", count=bench.sized(20_000))
        result.values.append(answer["rate"])


def memory(bench: Bench, scenario: str, system: System) -> None:
    """Weigh pending timers with bodies of 200 bytes."""
    with bench.run(scenario, system.name, "bytes/timer") as result:
        count = bench.sized(20_000)
        before = bench.server.info("memory")["used_memory"]
        produce(system, bench.url, action="preload", count=count, topics=TOPIC, delay=86_400)
        result.values.append((bench.server.info("memory")["used_memory"] - before) / count)


def imports(bench: Bench, system: System, module: str, label: str) -> None:
    """Time an import in fresh processes."""
    bench.tell(f"import: {label}")
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    environment = {"PYTHONPATH": str(ROOT)} if system.is_ours else {}
    result = bench.result("import", label, "ms")
    for _ in range(3 * bench.repeat):
        done = subprocess.run(
            [system.python, "-c", code], env=environment, check=True, capture_output=True
        )
        result.values.append(1000 * float(done.stdout))


def measure(bench: Bench, others: tuple[System, ...]) -> None:
    """Measure all, in turns of the systems."""
    for _ in range(bench.repeat):
        measure_drains(bench, others)
        measure_lateness(bench, others)
        measure_the_rest(bench)
    blocking_speed(bench)
    for system, module, label in (
        (OURS, "redis", "redis"),
        (OURS, "faststream_redis_timers_sync", "faststream_redis_timers_sync"),
        (OURS, "faststream", "faststream"),
        (OURS, "faststream_redis_timers", "faststream_redis_timers"),
        (PACKAGE, "faststream_redis_timers", "faststream_redis_timers 0.5.4"),
    ):
        imports(bench, system, module, label)


def measure_drains(bench: Bench, others: tuple[System, ...]) -> None:
    """Measure how fast due timers are delivered."""
    for system in (OURS, PACKAGE, LIST, *others):
        count = 500 if system is PACKAGE else 10_000
        drain(bench, "drain, default knobs", system, bench.sized(count), None)
    for system in (OURS, PACKAGE, *others):
        drain(bench, "drain, 100 at once", system, bench.sized(10_000), 100)
    consume_alone(bench, "drain, 100 at once")
    many = bench.sized(20_000)
    drain(bench, "drain, one worker", OURS, many, 100)
    drain(bench, "drain, two workers", OURS, many, 100, workers=2)
    million = bench.sized(1_000_000)
    drain(bench, "drain, 1,000,000 others pending", OURS, many, 100, others=million)


def measure_lateness(bench: Bench, others: tuple[System, ...]) -> None:
    """Measure how late timers are delivered."""
    for system in (OURS, PACKAGE, *others):
        lateness_when_idle(bench, "lateness, due in 1 s, idle", system, 1.0)
    for system in (OURS, PACKAGE, LIST, *others):
        lateness_when_idle(bench, "lateness, due at once, idle", system, 0.0)
    for system in (OURS, PACKAGE, *others):
        lateness_under_load(bench, "lateness under 200/s", system, 1.0)


def measure_the_rest(bench: Bench) -> None:
    """Measure what an idle worker costs, how fast one can publish, and memory."""
    for system in (OURS, PACKAGE):
        idle(bench, "idle, 1 subscriber", system, 1)
    idle(bench, "idle, 10 subscribers", OURS, 10)
    for scenario, at_once in (("publish, one at a time", 1), ("publish, 50 at a time", 50)):
        for system in (OURS, PACKAGE, LIST):
            publish_speed(bench, scenario, system, at_once)
    publish_speed(bench, "publish_batch of 100", OURS, 100, batch=True)
    for system in (OURS, PACKAGE):
        memory(bench, "server memory", system)
