"""Limits of a worker: what it holds, how many handlers it runs, what wake-ups cost it."""

import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from benchmarks.measured import PROBES, Run, Server
from benchmarks.page import Limit, Table
from benchmarks.processes import produce, worker
from benchmarks.systems.measures import MIB


def _seconds(run: Run) -> int:
    return 2 if run.quick else 5


def check_large_bodies(run: Run) -> tuple[list[Limit], Table | None]:
    """Large bodies drain while server and worker hold a few of them at a time."""
    count = run.sized(1000)
    server = run.server
    server.empty()
    run.tell(f"{count:,} due timers of 1 MiB")
    server.fill("large", count, size=MIB)
    with worker(PROBES, server.url, topics=["large"]) as running:
        running.ask("reset")
        server.peak_memory(anew=True)
        before = server.peak_memory()
        with _watched_clients(server) as most:
            running.ask("go")
            running.wait_for(count, 120)
        report = running.ask("report")
    at_server = server.peak_memory() - before
    return [
        Limit(
            f"{count:,} due timers of 1 MiB drain, the worker holds up to 16 MiB of them",
            f"{report['different']:,} drained, {report['memory'] / MIB:.1f} MiB",
            report["different"] == count and report["memory"] <= 16 * MIB,
        ),
        Limit(
            "and the server up to 16 MiB beside the timers",
            f"{at_server / MIB:.1f} MiB more than at the start; "
            f"clients' buffers {most[0] / MIB:.1f} MiB",
            max(at_server, most[0]) <= 16 * MIB,
        ),
    ], None


@contextmanager
def _watched_clients(server: Server) -> Iterator[list[int]]:
    """Give what will be the most bytes that the server held for its clients."""
    most = [0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            most[0] = max(most[0], server.client.info("memory")["mem_clients_normal"])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def check_waiting_handlers(run: Run) -> tuple[list[Limit], Table | None]:
    """Ten thousand handlers of one subscriber wait at the same time."""
    count = run.sized(10_000)
    server = run.server
    server.empty()
    run.tell(f"{count:,} handlers that wait for each other")
    server.fill("gather", count)
    with worker(PROBES, server.url, topics=[], gather=count) as running:
        running.ask("reset")
        running.ask("go")
        running.wait_for(count, 60)
        report = running.ask("report")
    left = server.client.dbsize()
    return [
        Limit(
            f"max_concurrent={count:,}: as many handlers wait at once",
            f"{report['most_running']:,} at once, {report['different']:,} timers delivered "
            f"{report['count']:,} times, {report['memory'] / MIB:.0f} MiB, "
            f"{'nothing' if not left else 'something'} left",
            report["most_running"] == report["count"] == report["different"] == count and not left,
        )
    ], None


_RATE = 3000
_MOST_MORE = 1.10
_TURNS = 5
"""Single ones scatter by a sixth on a virtual machine, which is more than what is looked for."""


def check_wake_ups(run: Run) -> tuple[list[Limit], Table | None]:
    """Wake-ups in thousands cost a worker little beside polling alone."""
    # One that may not listen to any channel polls alone: its ACL refuses SUBSCRIBE. The
    # producer is another user, so the server publishes the same in both.
    run.server.client.execute_command("ACL SETUSER polls on nopass ~* +@all resetchannels")
    polls = run.server.url.replace("://", "://polls:x@")
    rows, limits = [], []
    turns = run.turns if run.quick else range(_TURNS)
    for concurrency in (5, 100):
        ratios = []
        for turn in turns:
            costs = {}
            kinds = [("wake-ups", run.server.url), ("polling alone", polls)]
            # What comes first has no advantage of it.
            for how, url in kinds if turn % 2 else reversed(kinds):
                run.tell(f"{_RATE:,}/s, {how}, max_concurrent={concurrency}, turn {turn + 1}")
                cost, kept_up, figures = _cost_at_a_rate(run, url, concurrency)
                if kept_up:
                    costs[how] = cost
                rows.append((str(concurrency), how, *figures, "yes" if kept_up else "NO"))
            if len(costs) == 2:
                ratios.append(costs["wake-ups"] / costs["polling alone"])
        limits.append(
            Limit(
                f"{_RATE:,} immediate publishes/s, max_concurrent={concurrency}: with wake-ups "
                f"a worker takes up to {_MOST_MORE:.2f} times the CPU time of polling alone",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                if ratios
                else "this machine is too slow to tell",
                bool(ratios) and statistics.median(ratios) <= _MOST_MORE,
            )
        )
    headers = ("at once", "by", "worker us", "server us", "calls", "median", "99%", "kept up")
    return limits, Table(headers, rows)


def _cost_at_a_rate(run: Run, url: str, concurrency: int) -> tuple[float, bool, tuple[str, ...]]:
    """Give the worker's CPU time per timer while timers arrive, and whether it kept up."""
    server = run.server
    server.empty()
    count = int(_RATE * (_seconds(run) + 2))
    sending = {"topic": "rate", "count": count, "rate": _RATE, "delay": 0.0}
    # Polling alone, the first timer may wait for as long as the longest pause. Later all
    # pauses are short, since each of them finds timers.
    options = {"topics": ["rate"], "max_concurrent": concurrency, "max_polling_interval": 0.2}
    with worker(PROBES, url, **options) as running, ThreadPoolExecutor() as pool:
        running.ask("go")
        sent = pool.submit(produce, PROBES, server.url, action="paced", **sending)
        while not running.ask("count")["count"]:
            time.sleep(0.1)
        time.sleep(1)
        running.ask("reset")
        calls, cpu = server.script_calls(), server.cpu()
        time.sleep(_seconds(run))
        report = running.ask("report")
        calls, cpu = server.script_calls() - calls, server.cpu() - cpu
        rate = sent.result()["rate"]
    done = report["count"]
    late = sorted(report["lateness"])
    figures = (
        f"{1e6 * report['cpu'] / done:.0f}",
        f"{1e6 * cpu / done:.0f}",
        # Each publish is a script too.
        f"{(calls - rate * _seconds(run)) / done:.2f}",
        f"{1000 * _at(late, 0.5):.1f} ms",
        f"{1000 * _at(late, 0.99):.1f} ms",
    )
    return report["cpu"] / done, rate > 0.95 * _RATE and _at(late, 0.5) < 0.1, figures


_MANY = 40
_BESIDE = {
    "alone": {},
    f"beside {_MANY} asynchronous ones": {"sleep": _MANY},
    f"beside {_MANY} blocking ones": {"block": _MANY},
}


def check_blocking_handlers(run: Run) -> tuple[list[Limit], Table | None]:
    """Blocking handlers of one topic do not delay asynchronous ones of another."""
    turns: dict[str, list[list[float]]] = {name: [] for name in _BESIDE}
    for turn in run.turns:
        for name, options in _BESIDE.items():
            run.tell(f"asynchronous handlers {name}, turn {turn + 1}")
            turns[name].append(sorted(_lateness_beside(run, options)))
    medians, tails = (
        {name: [1000 * _at(these, share) for these in turns[name]] for name in turns}
        for share in (0.5, 0.99)
    )
    rows = [
        (name, *(" ".join(f"{ms:.2f}" for ms in told[name]) for told in (medians, tails)))
        for name in _BESIDE
    ]
    alone, _, beside = _BESIDE
    later = [
        statistics.median(b - a for a, b in zip(told[alone], told[beside], strict=True))
        for told in (medians, tails)
    ]
    limit = Limit(
        f"{_MANY} blocking handlers of a topic: another's asynchronous ones run up to 1 ms "
        "later (median), 5 ms (99%)",
        f"{later[0]:+.2f} ms, {later[1]:+.2f} ms",
        later[0] <= 1 and later[1] <= 5,
    )
    headers = ("asynchronous handlers", "median of each turn, ms", "99% of each turn, ms")
    return [limit], Table(headers, rows)


def _at(ordered: list[float], share: float) -> float:
    return ordered[int(share * len(ordered))]


def _lateness_beside(run: Run, beside: dict[str, int]) -> list[float]:
    server = run.server
    server.empty()
    count = int(100 * _seconds(run))
    for topic in beside:
        # More than they can handle meanwhile.
        server.fill(topic, int(_MANY * (_seconds(run) + 10) / 0.2))
    with worker(PROBES, server.url, topics=["quick"], seconds=0.2, **beside) as running:
        running.ask("go")
        time.sleep(1)
        options = {"topic": "quick", "count": count, "rate": 100.0, "delay": 0.5}
        produce(PROBES, server.url, action="paced", **options)
        running.wait_for(count, 30)
        return list(running.ask("report")["lateness"])
