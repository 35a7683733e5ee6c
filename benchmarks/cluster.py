"""Measures a cluster beside a single primary: ``python -m benchmarks.cluster``.

Both have the same layout of keys, and take turns. With ``TIMERS_TEST_SERVER=redis-server`` it is
that server; what was measured on others stays in the figures.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

import click
from redis.exceptions import RedisError

from benchmarks.curves import show_number, show_runs
from benchmarks.environments import OURS, ROOT
from benchmarks.measured import NONE, PROBES, Server, commits_of
from benchmarks.page import (
    Limit,
    Table,
    describe_machine,
    fill_page,
    server_name,
    show_progress,
    table_of,
)
from benchmarks.processes import produce, worker
from benchmarks.server import loopback_server
from benchmarks.systems.harness import make_body
from examples.embedded_cluster import EmbeddedCluster, wait_until
from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient, TimersError
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.protocol.cluster import SLOTS, slot_of
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.steps import LEASE_JITTER

SINGLE, CLUSTER = "one primary", "cluster"
PUBLISHED_AFTER, DELIVERED_AFTER = "publishing resumed after, s", "delivery resumed after, s"
LATEST = "latest delivery after, s"
ERRORS, LOST, TWICE = "errors", "lost", "delivered twice"
TOPICS = [f"topic-{number}" for number in range(30)]
_SPACE = KeySpace(hash_tags=True)
_NODES = 3
_MOST_CPU = 1.05
_TRIPS = "round trips/call"
CALLS = 2000
"""Calls of each kind whose round trips are counted."""

_SLICES = 40
"""How many times sides take turns when costs are weighed."""


def topics_of(node: int) -> list[str]:
    """Name as many topics as `TOPICS` that are all on one node of a new cluster.

    Args:
        node: Its number, from 0.
    """
    names = (f"topic-{number}" for number in count())
    of_node = (
        name for name in names if slot_of(_SPACE.of(name).timeline) * _NODES // SLOTS == node
    )
    return list(islice(of_node, len(TOPICS)))


Figures = dict[str, dict[str, list[float]]]
"""All runs: by what was measured, by side; of failovers by what was done, by figure."""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Args:
        name: What tables call it.
        url: Where clients find it.
        nodes: Its servers.
    """

    name: str
    url: str
    nodes: Sequence[Server]

    def cpu(self) -> float:
        """Give the seconds of CPU time that all of its servers have used."""
        return sum(node.cpu() for node in self.nodes)

    def reads(self) -> int:
        """Give how often its servers have read from a connection: the round trips."""
        return sum(node.reads() for node in self.nodes)

    def empty(self) -> None:
        """Remove all keys."""
        for node in self.nodes:
            node.empty()

    def fill(self, number: int) -> None:
        """Schedule timers that are due, spread over the topics.

        Args:
            number: How many.
        """
        with TimersClient(self.url, hash_tags=True) as client:
            for start in range(0, number, 100):
                bodies = [make_body(time.time(), each) for each in range(start, start + 100)]
                client.schedule_batch(bodies, TOPICS[start // 100 % len(TOPICS)])


@dataclass
class Comparison:
    """A run of all that is compared.

    Args:
        sides: The two.
        quick: Smaller numbers, once, to see that all works.
        tell: Shows what is being done.
        figures: All runs.
    """

    sides: Sequence[Side]
    quick: bool
    tell: Callable[[str], None]
    figures: Figures = field(default_factory=dict)

    def sized(self, full: int) -> int:
        """Give a number of timers, smaller in a quick run."""
        return full // 20 if self.quick else full

    @property
    def turns(self) -> range:
        """How often each figure is measured."""
        return range(1 if self.quick else 3)

    def compare(self, what: str, measure: Callable[[Side], dict[str, float]]) -> None:
        """Measure both sides in turns, each time in the other order.

        Args:
            what: What is done, for whoever waits.
            measure: Gives figures by name.
        """
        for turn in self.turns:
            for side in self.sides[:: -1 if turn % 2 else 1]:
                self.tell(f"{what}: {side.name}, turn {turn + 1}")
                side.empty()
                for name, figure in measure(side).items():
                    self.figures.setdefault(name, {}).setdefault(side.name, []).append(figure)


@contextmanager
def sides() -> Iterator[list[Side]]:
    """Run a single primary and a cluster of three, without replicas and persistence."""
    with loopback_server() as url, EmbeddedCluster(replicas=0) as cluster:
        nodes = [Server(node.url) for node in cluster.nodes]
        yield [Side(SINGLE, url, [Server(url)]), Side(CLUSTER, cluster.url, nodes)]


# --- what calls cost


def cost(run: Comparison) -> None:
    """Weigh what timers cost the servers, and count the round trips of calls.

    With a topic on one node that node is as busy as the single primary. Where nodes take turns each
    sleeps between its calls and finds its caches cold, on a machine that they share.
    """
    one_node, all_nodes = topics_of(0)[:1], [topics_of(node)[0] for node in range(_NODES)]
    for turn in run.turns:
        for topics, where in ((one_node, "one node"), (all_nodes, "all nodes")):
            for size in (1, 100):
                run.tell(f"cost: calls of {size} to {where}, turn {turn + 1}")
                weigh(run, topics, where, size)
    run.compare("round trips", count_round_trips)
    run.compare("idle", _idle)


def weigh(run: Comparison, topics: Sequence[str], where: str, size: int) -> None:
    """Note the CPU time that scheduling and delivering takes of the servers of both sides.

    They take turns after each few hundred timers, so that what else the machine does strikes both.

    Args:
        run: The run.
        topics: The topics of the timers. With a single one its node alone is weighed.
        where: What tables say of these.
        size: Timers per call.
    """
    calls = run.sized(600 if size == 1 else 60) or 1
    slices: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        clients = {
            side.name: stack.enter_context(TimersClient(side.url, hash_tags=True))
            for side in run.sides
        }
        # The first slice knows no scripts and has no connections.
        for number in range(1 + run.sized(_SLICES)):
            for side in run.sides[:: -1 if number % 2 else 1]:
                nodes = side.nodes[: len(topics)]
                for step, work in (("schedule", _schedule), ("claim, commit", _deliver)):
                    before = sum(node.cpu() for node in nodes)
                    work(clients[side.name], topics, calls, size)
                    cpu = sum(node.cpu() for node in nodes) - before
                    if number:
                        by_side = slices.setdefault(step, {})
                        by_side.setdefault(side.name, []).append(1e6 * cpu / (calls * size))
    for step, by_side in slices.items():
        name = f"{step} by {size}; on {where}: server us/timer"
        for side_name, costs in by_side.items():
            figures = run.figures.setdefault(name, {}).setdefault(side_name, [])
            figures.append(statistics.median(costs))


def _schedule(client: TimersClient, topics: Sequence[str], calls: int, size: int) -> None:
    bodies = [make_body(time.time(), number) for number in range(size)]
    for number in range(calls):
        topic = topics[number % len(topics)]
        if size == 1:
            client.schedule(bodies[0], topic)
        else:
            client.schedule_batch(bodies, topic)


def _deliver(client: TimersClient, topics: Sequence[str], calls: int, size: int) -> None:
    """Claim all that `_schedule` has scheduled, each claim with the commits of the one before."""
    runner, keys, _ = internals_of(client)
    operations = Operations(keys)
    commits = dict.fromkeys(topics, NONE)
    # One call more for each topic: it commits what the last one has claimed.
    for number in range(calls + len(topics)):
        topic = topics[number % len(topics)]
        step = runner.run(
            operations.settle_and_claim(
                topic,
                *commits[topic],
                limit=size,
                lease_ttl=30.0,
                jitter=number % LEASE_JITTER,
            )
        )
        commits[topic] = commits_of(step)


def count_round_trips(side: Side) -> dict[str, float]:
    """Give the round trips of calls of the blocking client.

    Args:
        side: The side.
    """
    calls: dict[str, Callable[[TimersClient, str, str], Any]] = {
        "schedule": lambda client, topic, id_: client.schedule(
            "x", topic, timer_id=id_, activate_in=timedelta(days=30)
        ),
        "get_timer": lambda client, topic, id_: client.get_timer(topic, id_),
        "reschedule_timer": lambda client, topic, id_: client.reschedule_timer(
            topic, id_, activate_in=timedelta(days=9)
        ),
        "cancel_timer": lambda client, topic, id_: client.cancel_timer(topic, id_),
    }
    figures = {}
    with TimersClient(side.url, hash_tags=True) as client:
        # So that connections are there, and scripts are known on every node.
        for call in calls.values():
            for topic in TOPICS:
                call(client, topic, "0")
        for name, call in calls.items():
            before = side.reads()
            for number in range(CALLS):
                call(client, TOPICS[number % len(TOPICS)], f"{number}")
            # One question to each node lies between the two counts.
            reads = side.reads() - before - len(side.nodes)
            figures[f"{name}: {_TRIPS}"] = reads / CALLS
    return figures


def _idle(side: Side) -> dict[str, float]:
    before, started = side.cpu(), time.monotonic()
    time.sleep(3)
    return {"idle: % of a core": 100 * (side.cpu() - before) / (time.monotonic() - started)}


# --- how fast it is


def speed(run: Comparison) -> None:
    """Measure rates of scheduling and delivery, and how late timers are."""
    run.compare("publish", lambda side: _publish(run, side))
    run.compare("drain", lambda side: _drain(run, side))
    run.compare("lateness", lambda side: _lateness(run, side))


def _publish(run: Comparison, side: Side) -> dict[str, float]:
    options = {"size": 200, "count": run.sized(5000), "batch": 100, "hash_tags": True}
    told = produce(PROBES, side.url, action="speed", **options)
    ways = ("publish", "publish_batch", "schedule", "schedule_batch")
    return {f"{way}: timers/s": told[way] for way in ways}


def _drain(run: Comparison, side: Side) -> dict[str, float]:
    total = run.sized(30_000)
    side.fill(total)
    options = {"topics": TOPICS, "max_concurrent": 100, "hash_tags": True}
    with worker(PROBES, side.url, **options) as running:
        running.ask("go")
        running.wait_for(total, 120)
        report = running.ask("report")
    return {"drain: timers/s": total / (report["last"] - report["first"])}


def _lateness(run: Comparison, side: Side) -> dict[str, float]:
    total = run.sized(2000)
    with worker(PROBES, side.url, topics=TOPICS, hash_tags=True) as running:
        running.ask("go")
        time.sleep(1)
        options = {"topics": TOPICS, "count": total, "rate": 200.0, "delay": 1.0}
        produce(PROBES, side.url, action="schedule", **options)
        running.wait_for(total, 30)
        late = sorted(1000 * each for each in running.ask("report")["lateness"])
    return {
        "lateness, median: ms": late[total // 2],
        "lateness, 99%: ms": late[int(0.99 * total)],
    }


# --- failing over


@dataclass
class Recovery:
    """What a publisher and a worker saw of a failover, in seconds and counts.

    Args:
        published: When each timer was accepted, by number.
        delivered: When each delivery began, and of which number.
        failed: Names of the errors that publishing raised.
    """

    published: dict[int, float] = field(default_factory=dict)
    delivered: list[tuple[float, int]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def figures(self, broken_at: float) -> dict[str, float]:
        """Tell how long nothing was accepted, and nothing delivered, and what became of timers.

        Args:
            broken_at: When the failover began.
        """
        numbers = [number for _, number in self.delivered]
        # One whose claim was never answered comes when its lease ends, long after the others.
        in_time = [at for at, _ in self.delivered if at <= max(self.published.values())]
        delivered_at = {number: at for at, number in reversed(self.delivered)}
        return {
            PUBLISHED_AFTER: _longest_gap(self.published.values(), broken_at),
            DELIVERED_AFTER: _longest_gap(in_time, broken_at),
            LATEST: max(
                delivered_at[number] - at
                for number, at in self.published.items()
                if number in delivered_at
            ),
            ERRORS: len(self.failed),
            LOST: len(self.published.keys() - set(numbers)),
            TWICE: len(numbers) - len(set(numbers)),
        }


def _longest_gap(times: Iterable[float], broken_at: float) -> float:
    ordered = sorted(times)
    gaps = [b - a for a, b in pairwise(ordered) if b >= broken_at]
    return max(gaps, default=float("nan"))


async def _watch(cluster: EmbeddedCluster, break_it: Callable[[], Any]) -> dict[str, float]:
    broker = TimersBroker(cluster.url, logger=None)
    seen = Recovery()
    topic = topics_of(0)[0]

    @broker.subscriber(topic)
    async def note(number: int) -> None:
        seen.delivered.append((time.monotonic(), number))

    async def publish() -> None:
        for number in range(1_000_000):
            try:
                await broker.publish(number, topic)
                seen.published[number] = time.monotonic()
            except (RedisError, TimersError, OSError) as error:
                seen.failed.append(type(error).__name__)
            await asyncio.sleep(0.01)

    async with broker:
        publishing = asyncio.create_task(publish())
        await asyncio.sleep(2)
        broken_at = time.monotonic()
        await asyncio.to_thread(break_it)
        await _until(lambda: any(at > broken_at + 0.1 for at in seen.published.values()), 60)
        # What comes after a failover may fail again.
        await asyncio.sleep(3)
        publishing.cancel()
        with suppress(asyncio.CancelledError):
            await publishing
        with suppress(TimeoutError):
            await _until(lambda: seen.published.keys() <= {n for _, n in seen.delivered}, 45)
    return seen.figures(broken_at)


async def _until(holds: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  what is waited for is counted elsewhere
            await asyncio.sleep(0.01)


def failover(run: Comparison) -> None:
    """Kill a primary, and let its replica take over by hand, while timers come and go."""
    for timeout in (500, 2000):
        for what, break_it in (("kill -9", _kill), ("CLUSTER FAILOVER", _fail_over)):
            name = f"{what}, node timeout {timeout / 1000:g} s"
            for turn in run.turns:
                run.tell(f"{name}, turn {turn + 1}")
                with EmbeddedCluster(config={"cluster-node-timeout": f"{timeout}"}) as cluster:
                    figures = asyncio.run(_watch(cluster, partial(break_it, cluster)))
                for figure, value in figures.items():
                    run.figures.setdefault(name, {}).setdefault(figure, []).append(value)


def _kill(cluster: EmbeddedCluster) -> None:
    cluster.nodes[0].kill()


def _fail_over(cluster: EmbeddedCluster) -> None:
    """Let the replica of the first primary take its place, while both are up."""
    replica = cluster.nodes[3]
    replica.ask("CLUSTER", "FAILOVER")
    wait_until(lambda: replica.ask("ROLE")[0] == "master", "the replica to take over")


# --- what is shown


def comparison_table(by_server: dict[str, Figures]) -> Table:
    """Show what was measured of both, and what a cluster has of what one primary has.

    Args:
        by_server: Figures by server.
    """
    rows = []
    for server, figures in by_server.items():
        for name, runs in figures.items():
            ratios = ratios_of(runs)
            shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            rows.append((name, server, show_runs(runs[SINGLE]), show_runs(runs[CLUSTER]), shown))
    names = list(dict.fromkeys(name for figures in by_server.values() for name in figures))
    rows.sort(key=lambda row: names.index(row[0]))
    return Table(("", "server", SINGLE, CLUSTER, "ratio"), rows)


def ratios_of(runs: dict[str, list[float]]) -> list[float]:
    """Give what a cluster has of what one primary has, in each turn.

    Args:
        runs: The runs of both.
    """
    return [b / a for a, b in zip(runs[SINGLE], runs[CLUSTER], strict=True)]


def failover_table(by_server: dict[str, Figures]) -> Table:
    """Show what was seen of failovers: medians and longest times, and sums of counts.

    Args:
        by_server: Figures by server.
    """
    rows = [
        (
            what,
            server,
            *(
                f"{statistics.median(runs[name]):.2f} ({max(runs[name]):.2f})"
                for name in (PUBLISHED_AFTER, DELIVERED_AFTER, LATEST)
            ),
            *(f"{sum(runs[name]):.0f}" for name in (ERRORS, LOST, TWICE)),
        )
        for server, figures in by_server.items()
        for what, runs in figures.items()
    ]
    times = (PUBLISHED_AFTER, DELIVERED_AFTER, LATEST)
    headers = ("failover", "server", *times, ERRORS, LOST, TWICE)
    return Table(headers, rows)


def limits_of(server: str, figures: Figures) -> list[Limit]:
    """Judge what calls cost through a cluster.

    Args:
        server: The server.
        figures: What was measured as `cost`.
    """
    limits = []
    for name, runs in figures.items():
        ratio = statistics.median(ratios_of(runs))
        if "; on one node" in name:
            holds = ratio <= _MOST_CPU
            limits.append(
                Limit(f"{server}, {name}: at most {_MOST_CPU} times", f"{ratio:.3f}", holds)
            )
        elif name.endswith(_TRIPS):
            limits.append(
                Limit(f"{server}, {name}: the same", f"{ratio:.3f}", f"{ratio:.2f}" == "1.00")
            )
    return limits


TABLES = {"cost": comparison_table, "speed": comparison_table, "failover": failover_table}
PARTS: dict[str, Callable[[Comparison], None]] = {
    function.__name__: function for function in (cost, speed, failover)
}


def blocks_of(kept: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Write what docs/scaling.md shows: of costs those of timers, and failovers.

    Rates and lateness can be compared only where nothing else runs, so they are printed alone.

    Args:
        kept: All figures, by server.
    """
    blocks = {"cluster-machine": "\n\n".join(told["machine"] for told in kept.values())}
    for name in ("cost", "failover"):
        if by_server := {one: told[name] for one, told in kept.items() if name in told}:
            shown = {
                server: {what: runs for what, runs in figures.items() if not what.endswith(_TRIPS)}
                for server, figures in by_server.items()
            }
            blocks[f"cluster-{name}"] = TABLES[name](shown).in_markdown()
    return blocks


@click.command()
@click.option("--quick", is_flag=True, help="Small numbers, once: to see that all works.")
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Not all of them.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "build" / "scaling",
    show_default=True,
    help="Folder for cluster.json. Where OUT.md stands beside it, its blocks are filled.",
)
def main(*, quick: bool, only: tuple[str, ...], out: Path) -> None:
    """Measure a cluster beside a single primary; the exit code is 1 if a limit does not hold."""
    OURS.install()
    out.mkdir(parents=True, exist_ok=True)
    path = out / "cluster.json"
    kept: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    with show_progress() as tell, sides() as both:
        machine = describe_machine(both[0].nodes[0])
        server = server_name(both[0].nodes[0])
        mine = kept.setdefault(server, {})
        mine["machine"] = machine
        for name in only or PARTS:
            run = Comparison(both, quick, tell)
            PARTS[name](run)
            mine[name] = run.figures
            path.write_text(json.dumps(kept, indent=1) + "\n")
            for what, runs in run.figures.items():
                for side, figures in runs.items():
                    shown = " ".join(map(show_number, figures))
                    click.echo(f"{what} | {side}: {shown}")
    for name, table_of_all in TABLES.items():
        if by_server := {one: told[name] for one, told in kept.items() if name in told}:
            click.echo(f"\n{table_of_all(by_server).on_terminal()}")
    fill_page(out.with_suffix(".md"), blocks_of(kept))
    limits = limits_of(server, mine["cost"]) if "cost" in (only or PARTS) else []
    click.echo(f"\n{table_of(limits).on_terminal()}\n{machine}")
    sys.exit(not all(limit.holds for limit in limits))


if __name__ == "__main__":
    main()
