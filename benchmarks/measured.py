"""The server that `limits` and `scaling` measure, what runs on it, and a run of either."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import redis

from benchmarks.environments import OURS
from benchmarks.server import loopback_server
from benchmarks.systems.harness import make_body
from benchmarks.systems.measures import MIB, peak_memory
from examples.embedded_server import embedded_server
from faststream_redis_timers.delivery.outbox import LEAST_OF_A_GROUP
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.model import CommitGroup, Settlement, Step

PROBES = replace(OURS, script="probes.py")
"""Workers and producers of this library that tell more than others do."""

_FILL_BATCH = 500


class Server:
    """A server that is measured.

    Args:
        url: Where it is.

    Attributes:
        url: Where it is.
        client: A client of it.
        allocator: The allocator that it was built with.
    """

    def __init__(self, url: str) -> None:
        """Connect."""
        self.url = url
        self.client = redis.Redis.from_url(url)
        info = self.client.info()
        self._process = info["process_id"]
        self.allocator = info["mem_allocator"]

    def empty(self) -> None:
        """Remove all keys, and wait until their memory is free."""
        self.client.flushall()
        before, now = math.inf, self._allocated()
        while now < before:
            time.sleep(0.1)
            before, now = now, self._allocated()

    def fill(self, topic: str, count: int, *, size: int = 200, delay: float = 0.0) -> None:
        """Schedule timers, in batches of a mebibyte at most.

        Args:
            topic: Their topic.
            count: How many.
            size: Bytes of each JSON body.
            delay: Seconds until they are due.
        """
        due = time.time() + delay
        length = max(1, min(_FILL_BATCH, MIB // size))
        with TimersClient(self.url) as client:
            for start in range(0, count, length):
                numbers = range(start, min(start + length, count))
                bodies = [make_body(due, number, size) for number in numbers]
                client.schedule_batch(bodies, topic, activate_in=timedelta(seconds=delay))

    def cpu(self) -> float:
        """Give the seconds of CPU time that it has used."""
        info = self.client.info("cpu")
        return float(info["used_cpu_sys"] + info["used_cpu_user"])

    def weigh(self) -> int:
        """Give the bytes that its keys take, all elements counted."""
        return sum(self.client.memory_usage(key, samples=0) or 0 for key in self.client.scan_iter())

    def peak_memory(self, *, anew: bool = False) -> int:
        """Give the most bytes of memory that its process held.

        Args:
            anew: Count from here.
        """
        return peak_memory(self._process, anew=anew)

    def _allocated(self) -> int:
        return int(self.client.info("memory")["used_memory"])

    def script_calls(self) -> int:
        """Give how many scripts it was asked to run."""
        stats = self.client.info("commandstats")
        return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in _SCRIPTS)

    def reads(self) -> int:
        """Give how often it has read from a connection: about the round trips."""
        return int(self.client.info("stats")["total_reads_processed"])


_SCRIPTS = ("evalsha", "eval")


Commits = tuple[list[Settlement], list[CommitGroup]]
"""Commits that travel alone, and in groups."""

NONE: Commits = ([], [])


def commits_of(step: Step) -> Commits:
    """Commit what a claim has brought, as a worker does.

    Args:
        step: The claim's reply.
    """
    ids = [claimed.timer_id for claimed in step.claimed]
    if len(ids) < LEAST_OF_A_GROUP:
        return [Settlement(b"commit", timer_id, step.lease) for timer_id in ids], []
    return [], [CommitGroup(step.lease, ids)]


@contextmanager
def measured_server() -> Iterator[Server]:
    """Run a server without persistence.

    It is the embedded one, on loopback; or the binary that ``TIMERS_TEST_SERVER``
    names, on a Unix socket.
    """
    is_named = "TIMERS_TEST_SERVER" in os.environ
    with embedded_server(config={}) if is_named else loopback_server() as url:
        yield Server(url)


@dataclass(frozen=True)
class Run:
    """A run of all that is measured.

    Args:
        server: The server; it is emptied in between.
        quick: Smaller numbers, once, to see that all works.
        tell: Shows what is being done.
    """

    server: Server
    quick: bool
    tell: Callable[[str], None]

    def sized(self, full: int) -> int:
        """Give a number of timers, smaller in a quick run."""
        return max(20, full // 20) if self.quick else full

    @property
    def turns(self) -> range:
        """How often each figure is measured."""
        return range(1 if self.quick else 3)
