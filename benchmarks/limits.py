"""Tells whether the limits hold that must hold: ``python -m benchmarks.limits``."""

import json
import statistics
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from benchmarks.commands import MOST_SECONDS, Calls, measure_commands
from benchmarks.counters import Server
from benchmarks.environments import OURS
from benchmarks.page import Table, describe_machine, fill_page, show_progress
from benchmarks.processes import produce, worker
from benchmarks.server import loopback_server
from benchmarks.systems.measures import MIB
from faststream_redis_timers_sync import TimersClient

PROBES = replace(OURS, script="probes.py")


@dataclass(frozen=True)
class Limit:
    """A limit, and what was reached.

    Args:
        name: What must hold.
        reached: What was measured.
        holds: Whether it does.
    """

    name: str
    reached: str
    holds: bool


@dataclass
class Run:
    """A run of all that is measured here.

    Args:
        server: The server; it is emptied in between.
        quick: Smaller numbers, to see that all works.
        tell: Shows what is being done.
    """

    server: Server
    quick: bool
    tell: Callable[[str], None]

    def sized(self, full: int) -> int:
        """Give a number of timers, smaller in a quick run."""
        return full // 20 if self.quick else full

    @property
    def turns(self) -> int:
        """How often what is compared takes turns."""
        return 1 if self.quick else 3

    @property
    def seconds(self) -> float:
        """How long a turn lasts."""
        return 2.0 if self.quick else 5.0


# --- commands


def check_commands(run: Run) -> tuple[list[Limit], Table | None]:
    """No command keeps the server busy for long while a million timers are pending."""
    count = run.sized(1_000_000)
    calls = measure_commands(run.server, count, run.tell)
    worst = max(calls, key=lambda what: calls[what].worst[1])
    missed = [what for what, these in calls.items() if not these.holds]
    limit = Limit(
        f"{count:,} timers: no command takes more than {1000 * MOST_SECONDS:g} ms of the server",
        f"{1000 * calls[worst].worst[1]:.1f} ms ({worst})"
        + (f"; missed by: {', '.join(missed)}" if missed else ""),
        not missed,
    )
    return [limit], _table_of(calls)


def _table_of(calls: dict[str, Calls]) -> Table:
    rows = []
    for what, these in calls.items():
        first, second = these.worst
        slowest = max((clock for clock, _ in these.slow), default=0.0)
        busy = sum(cpu > MOST_SECONDS for _, cpu in these.slow)
        rows.append(
            (
                what,
                f"{len(these.cpu):,}",
                *(f"{1000 * value:.2f}" for value in (statistics.median(these.cpu), second, first)),
                f"{len(these.slow)} ({busy})" if these.slow else "",
                f"{1000 * slowest:.1f}" if slowest else "",
            )
        )
    headers = ("command", "calls", "median", "2nd worst", "worst", "slow (busy)", "longest")
    return Table(headers, rows)


# --- memory


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


# --- the worker


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


def check_wake_ups(run: Run) -> tuple[list[Limit], Table | None]:
    """Wake-ups in thousands cost a worker little beside polling alone."""
    # One that may not listen to any channel polls alone: its ACL refuses SUBSCRIBE. The
    # producer is another user, so the server publishes the same in both.
    run.server.client.execute_command("ACL SETUSER polls on nopass ~* +@all resetchannels")
    polls = run.server.url.replace("://", "://polls:x@")
    rows, limits = [], []
    for concurrency in (5, 100):
        ratios = []
        for turn in range(run.turns):
            costs = []
            for how, url in (("wake-ups", run.server.url), ("polling alone", polls)):
                run.tell(f"{_RATE:,}/s, {how}, max_concurrent={concurrency}, turn {turn + 1}")
                cost, kept_up, figures = _cost_at_a_rate(run, url, concurrency)
                costs += [cost] if kept_up else []
                rows.append((str(concurrency), how, *figures, "yes" if kept_up else "NO"))
            if len(costs) == 2:
                ratios.append(costs[0] / costs[1])
        limits.append(
            Limit(
                f"{_RATE:,} immediate publishes/s, max_concurrent={concurrency}: with wake-ups "
                f"a worker takes up to {_MOST_MORE:.2f} times the CPU time of polling alone",
                f"{statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
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
    count = int(_RATE * (run.seconds + 2))
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
        time.sleep(run.seconds)
        report = running.ask("report")
        calls, cpu = server.script_calls() - calls, server.cpu() - cpu
        rate = sent.result()["rate"]
    done = report["count"]
    late = sorted(report["lateness"])
    figures = (
        f"{1e6 * report['cpu'] / done:.0f}",
        f"{1e6 * cpu / done:.0f}",
        # Each publish is a script too.
        f"{(calls - rate * run.seconds) / done:.2f}",
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
    for turn in range(run.turns):
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
    count = int(100 * run.seconds)
    for topic in beside:
        # More than they can handle meanwhile.
        server.fill(topic, int(_MANY * (run.seconds + 10) / 0.2))
    with worker(PROBES, server.url, topics=["quick"], seconds=0.2, **beside) as running:
        running.ask("go")
        time.sleep(1)
        options = {"topic": "quick", "count": count, "rate": 100.0, "delay": 0.5}
        produce(PROBES, server.url, action="paced", **options)
        running.wait_for(count, 30)
        return list(running.ask("report")["lateness"])


# --- the command

CHECKS: dict[str, Callable[[Run], tuple[list[Limit], Table | None]]] = {
    "commands": check_commands,
    "reading": check_reading,
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
    with show_progress() as tell, loopback_server() as url:
        run = Run(Server(url), quick, tell)
        machine = describe_machine(run.server)
        for name in only or CHECKS:
            found[name] = CHECKS[name](run)
    limits = [limit for some, _ in found.values() for limit in some]
    for _, details in found.values():
        if details is not None:
            click.echo(f"{details.on_terminal()}\n")
    click.echo(_as_table(limits).on_terminal([33, 32, None]))
    click.echo(textwrap.fill(machine, 80))
    if out is not None:
        _write(out, found, machine)
    sys.exit(not all(limit.holds for limit in limits))


def _as_table(limits: list[Limit]) -> Table:
    rows = [(limit.name, limit.reached, "yes" if limit.holds else "NO") for limit in limits]
    return Table(("limit", "reached", "holds"), rows)


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
    blocks["limits"] = f"{_as_table(all_of_them).in_markdown()}\n\n{machine}"
    fill_page(out.with_suffix(".md"), blocks)


if __name__ == "__main__":
    main()
