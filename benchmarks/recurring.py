"""Measures recurring timers: ``python -m benchmarks.recurring``.

`cost` is what they cost a server. Both sides of a comparison take turns, since other programs load
the machine too, and the CPU time of the server alone is counted. What timers that are due once cost
beside another commit is told by `benchmarks.calls --before`. `lateness` is how late one worker
delivers 10,000 series of one minute. With ``TIMERS_TEST_SERVER=redis-server`` the server is that
one.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count as count_from
from typing import Any

import click

from benchmarks.measured import Server, measured_server
from benchmarks.page import server_name
from benchmarks.systems.harness import make_body
from faststream_redis_timers import TimerPublishMessage, TimersBroker
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync.protocol.encoding import encode_message
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.model import EncodedTimer, Settlement
from faststream_redis_timers_sync.protocol.operation import Operation, in_chunks
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.recurrence import Every
from faststream_redis_timers_sync.protocol.steps import LEASE_JITTER, MOST_CLAIMED
from faststream_redis_timers_sync.protocol.timers import encode_timer

MOVING_ON = 1.3
"""How many times what a commit costs it may cost to move on."""

_OPERATIONS = Operations(KeySpace())
_TOPIC = "recurring"
_PIPELINED = 50
_NEVER = b"4000000000.000000"
_MINUTELY = Every(minutes=1)


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Args:
        name: What it is.
        prepare: Fills the server, and gives the calls that are measured.
    """

    name: str
    prepare: Callable[[Server, int, int], list[Operation[Any]]]


@dataclass(frozen=True)
class Comparison:
    """Two sides, the second of which may cost so many times the first.

    Args:
        sides: They.
        limit: How many times.
    """

    sides: tuple[Side, Side]
    limit: float


def _timers(count: int, *, repeat: Every | None = None) -> list[EncodedTimer]:
    body, content_type = encode_message(make_body(time.time(), 0))
    timers = [
        encode_timer(body, content_type, timer_id=f"timer-{n:06}", repeat=repeat)
        for n in range(count)
    ]
    return [timer._replace(due=b"+0.000000") for timer in timers]


def _fill(server: Server, timers: Sequence[EncodedTimer]) -> None:
    for some in in_chunks(timers, 200):
        (operation,) = _OPERATIONS.schedule_calls(_TOPIC, some, "replace")
        _send(server, [operation])
    # Others wait, so that no key is emptied.
    server.fill(_TOPIC, 1000, delay=3600)


def settle(
    action: bytes, *, counts: bool, repeat: Every | None = None
) -> Callable[[Server, int, int], list[Operation[Any]]]:
    """Give the calls that settle timers in some way, once they have been claimed."""

    def prepare(server: Server, count: int, size: int) -> list[Operation[Any]]:
        _fill(server, _timers(count, repeat=repeat))
        settlements: list[Settlement] = []
        numbers = count_from()
        while len(settlements) < count:
            operation = _step([], next(numbers), MOST_CLAIMED, counts=counts)
            (reply,) = _send(server, [operation])
            step = operation.parse(reply)
            settlements += [
                Settlement(action, one.timer_id, step.lease, _NEVER if action == b"repeat" else b"")
                for one in step.claimed
            ]
        return [_step(some, 0, 0, counts=counts) for some in in_chunks(settlements, size)]

    return prepare


def _step(
    settlements: Sequence[Settlement], number: int, limit: int, *, counts: bool
) -> Operation[Any]:
    return _OPERATIONS.settle_and_claim(
        _TOPIC,
        settlements,
        limit=limit,
        lease_ttl=3600.0,
        jitter=number % LEASE_JITTER,
        suspect_from=3 if counts else None,
    )


def _send(server: Server, operations: Sequence[Operation[Any]]) -> list[Any]:
    for script in {operation.script for operation in operations}:
        if script is not None:
            server.client.script_load(script.text)
    words = [operation.words(by_text=False) for operation in operations]
    replies: list[Any] = []
    for some in in_chunks(words, _PIPELINED):
        pipeline = server.client.pipeline(transaction=False)
        for one in some:
            pipeline.execute_command(*one)  # type: ignore[no-untyped-call]
        replies += pipeline.execute()
    return replies


def comparisons() -> list[Comparison]:
    """Give all that is compared."""
    found = []
    for counts in (False, True):
        end = ", attempts counted" if counts else ""
        commit = Side(f"commit{end}", settle(b"commit", counts=counts))
        moving = settle(b"repeat", counts=counts, repeat=_MINUTELY)
        found.append(Comparison((commit, Side(f"move on{end}", moving)), MOVING_ON))
    return found


def measure(server: Server, side: Side, count: int, size: int) -> float:
    """Give the CPU time of the server for a timer, in microseconds.

    Args:
        server: The server.
        side: What is done.
        count: With how many timers.
        size: How many of them share a call.
    """
    server.empty()
    operations = side.prepare(server, count, size)
    before = server.cpu()
    _send(server, operations)
    return 1e6 * (server.cpu() - before) / count


def compare(server: Server, comparison: Comparison, *, count: int, size: int, turns: int) -> None:
    """Measure both sides in turns, and print all runs.

    Args:
        server: The server.
        comparison: The sides.
        count: How many timers each run has.
        size: How many of them share a call.
        turns: How many runs each side has.
    """
    runs: dict[str, list[float]] = {side.name: [] for side in comparison.sides}
    for turn in range(turns):
        # Who comes first changes, as does what else the machine does.
        for side in comparison.sides[:: 1 if turn % 2 else -1]:
            runs[side.name].append(measure(server, side, count, size))
    first, second = runs.values()
    for name, values in runs.items():
        shown = " ".join(f"{value:.2f}" for value in values)
        click.echo(f"  {name}: median {statistics.median(values):.2f} us, all {shown}")
    ratios = sorted(b / a for a, b in zip(first, second, strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4)
    of_medians = statistics.median(second) / statistics.median(first)
    verdict = "met" if middle <= comparison.limit else "NOT MET"
    click.echo(
        f"  ratio of turns: median {middle:.3f} (quartiles {low:.3f} to {high:.3f}), least runs "
        f"{min(second) / min(first):.3f}, medians {of_medians:.3f}; at most {comparison.limit}: "
        f"{verdict}"
    )


def cost(*, count: int, turns: int) -> None:
    """Compare moving on with a commit.

    Args:
        count: How many timers each run has.
        turns: How many runs each side has.
    """
    with measured_server() as server:
        click.echo(f"{server_name(server)}, {count:,} timers a run, {turns} turns")
        for comparison in comparisons():
            for size in (1, 5, 100):
                names = " beside ".join(side.name for side in reversed(comparison.sides))
                click.echo(f"{names}: {size} a call")
                compare(server, comparison, count=count, size=size, turns=turns)


SERIES = 10_000
"""Recurring timers that one worker delivers each minute."""

_LONGEST_MINUTE = 90.0
# Seconds until all of them must have been delivered once more.


def lateness(*, minutes: int) -> None:
    """Let one worker deliver series of one minute, all at the same moment and spread over it.

    Args:
        minutes: For how many minutes each.
    """
    with measured_server() as server:
        for name, repeat in (("at once", _MINUTELY), ("spread", Every(minutes=1, spread=True))):
            server.empty()
            before = time.process_time()
            seconds = asyncio.run(_deliver(server.url, repeat, minutes))
            cpu = time.process_time() - before
            cuts = statistics.quantiles(seconds, n=100)
            late = {"median": statistics.median(seconds), "99%": cuts[98], "most": max(seconds)}
            told = ", ".join(f"{what} {1000 * value:.1f} ms" for what, value in late.items())
            click.echo(f"{server_name(server)}, {SERIES:,} series of one minute, {name}")
            click.echo(f"  {len(seconds):,} occurrences, lateness: {told}")
            click.echo(f"  CPU of the worker: {1e6 * cpu / len(seconds):.0f} us each")


async def _deliver(url: str, repeat: Every, minutes: int) -> list[float]:
    broker = TimersBroker(url, logger=None)
    seconds: list[float] = []
    are_done = asyncio.Event()

    @broker.subscriber(_TOPIC, max_concurrent=100)
    async def handle(message: TimerMessage) -> None:
        seconds.append(message.lateness)
        if len(seconds) == minutes * SERIES:
            are_done.set()

    await broker.connect()
    messages = [TimerPublishMessage("x", timer_id=f"{n}") for n in range(SERIES)]
    await broker.publish_batch(*messages, topic=_TOPIC, repeat=repeat)
    async with broker, asyncio.timeout(minutes * _LONGEST_MINUTE):
        await are_done.wait()
    return seconds


PARTS = ("cost", "lateness")


@click.command()
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Parts; default all.")
@click.option("--count", default=20_000, show_default=True, help="Timers of a run.")
@click.option("--turns", default=11, show_default=True, help="Runs of each side.")
@click.option("--minutes", default=3, show_default=True, help="Minutes of each run of lateness.")
def main(only: tuple[str, ...], count: int, turns: int, minutes: int) -> None:
    """Measure recurring timers."""
    if not only or "cost" in only:
        cost(count=count, turns=turns)
    if not only or "lateness" in only:
        lateness(minutes=minutes)


if __name__ == "__main__":
    main()
