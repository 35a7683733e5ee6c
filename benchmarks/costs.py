"""How it is measured what workers cost while idle, what timers weigh, and what imports take."""

import statistics
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import redis

from benchmarks import names
from benchmarks.bench import MANY_TOPICS, TOPIC, Bench
from benchmarks.environments import ROOT, System
from benchmarks.processes import Unfinished, Worker, produce, worker
from benchmarks.server import loopback_server


@dataclass(frozen=True)
class Watched:
    """A worker without work.

    Args:
        scenario: Name of the scenario.
        system: The system.
        subscribers: Topics that it subscribes to.
    """

    scenario: str
    system: System
    subscribers: int = 1


def idle(bench: Bench, watched: Sequence[Watched]) -> None:
    """Watch workers without work: their CPU time, and their round trips to the server.

    All are watched at the same time, each with a server of its own: together they cost
    a few percent of a core, and it takes two minutes.
    """
    with ExitStack() as stack:
        running = [
            (each, each_running)
            for each in watched
            if (each_running := _begin_idling(bench, each, stack))
        ]
        time.sleep(bench.seconds(15))
        before = [(_reads(server), each.ask("reset")) for _, (server, each) in running]
        started = time.monotonic()
        time.sleep(bench.seconds(120))
        for (each, (server, idler)), (reads, _) in zip(running, before, strict=True):
            # Asking counts as a read of its own.
            spent = _reads(server) - reads - 1
            seconds = time.monotonic() - started
            report = idler.ask("report")
            label = each.system.label
            bench.add(each.scenario, label, "round trips/s", spent / seconds)
            if each.subscribers == 1:
                cpu = 100 * report["cpu"] / report["elapsed"]
                bench.add(names.CPU_IDLE, label, "% of a core", cpu)


def _begin_idling(
    bench: Bench, watched: Watched, stack: ExitStack
) -> tuple[redis.Redis, Worker] | None:
    with bench.run(watched.scenario, watched.system, "round trips/s"):
        url = stack.enter_context(loopback_server(bench.binary))
        topics = MANY_TOPICS[: watched.subscribers]
        running = stack.enter_context(worker(watched.system, url, topics=topics))
        running.ask("go")
        return redis.Redis.from_url(url), running
    return None


def _reads(server: redis.Redis) -> int:
    return int(server.info("stats")["total_reads_processed"])


def memory(bench: Bench, system: System) -> None:
    """Weigh pending timers with bodies of 200 bytes: all keys of the server, whole.

    All systems hold as many, so their hash tables are filled to the same degree.
    """
    with bench.run(names.MEMORY, system, "bytes") as result:
        count = bench.sized(20_000)
        produce(system, bench.url, action="preload", count=count, topics=TOPIC, delay=86_400)
        weights = [bench.server.memory_usage(key, samples=0) for key in bench.server.scan_iter()]
        result.values[bench.turn] = sum(weights) / count


@dataclass(frozen=True)
class Imported:
    """An import that is timed.

    Args:
        system: The system in whose environment.
        label: What tables call it.
        statement: What is imported; a name, since modules may be empty until it is asked for.
    """

    system: System
    label: str
    statement: str


def imports(bench: Bench, imported: Sequence[Imported]) -> None:
    """Time imports in fresh processes, in turns, five times each, of which the median counts."""
    taken: dict[str, list[float]] = {each.label: [] for each in imported}
    # One round more: the first compiles what it imports.
    for round_ in range(6):
        for each in imported:
            with bench.run(names.IMPORT, each.system, "ms", each.label):
                seconds = _import(each)
                if round_:
                    taken[each.label].append(1000 * seconds)
    for label, milliseconds in taken.items():
        if milliseconds:
            bench.add(names.IMPORT, label, "ms", statistics.median(milliseconds))


def _import(each: Imported) -> float:
    code = (
        "import time; started = time.perf_counter(); "
        f"{each.statement}; print(time.perf_counter() - started)"
    )
    try:
        done = subprocess.run(
            [each.system.python, "-c", code],
            # Also for what it does not need it for: it lengthens the search for modules.
            env={"PYTHONPATH": str(ROOT)} if each.system.is_ours else {},
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError) as problem:
        msg = f"it can't be imported: {problem}"
        raise Unfinished(msg) from problem
    return float(done.stdout)
