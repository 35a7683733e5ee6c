"""Everything at once, for minutes: ``make soak MINUTES=10``, or on a cluster with ``CLUSTER=1``.

Workers are killed, stopped and terminated, the server is killed, loses its scripts and its
connections, while producers on both front ends schedule, move and cancel, and recurring timers run
beside that, on the one server, which forgets nothing. In a cluster primaries
are killed, paused and replaced, slots move, nodes come and go. At the end a table tells for each
fault what became of the timers that were scheduled from it to the next one.
"""

import argparse
import itertools
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from clusters import KEEPING, Cluster
from fleet import Fleet, Process
from journal import Journal
from ledger import Ledger, Row, table
from series_ledger import SeriesLedger
from servers import START, Server, short_folder
from waiting import wait_until

from examples.embedded_cluster import Node
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.cluster import slot_of

FRONTS = ("blocking", "async")
LEASE = 1.0
WORKERS = 3
SERIES = 10
PAUSE = (0.2, 0.8)
"""Seconds between two faults: some meet what the one before has left."""
STOPPED = 1.5
"""Seconds for which a worker is stopped: longer than its lease."""
PROGRESS = 10.0
"""Seconds between two lines that tell how far it is."""
OPTIONS = [
    {"lease_ttl": LEASE, "max_concurrent": 10},
    {"lease_ttl": LEASE, "max_concurrent": 2, "batch": True},
]
"""Options of workers, in turn: half of them handle batches."""
PRODUCTION = {
    "bodies": ["work 0.02"] * 5 + ["plain"] * 5 + ["work 0.5"],
    "moves": 0.1,
    "cancels": 0.1,
    "pause": 0.02,
}


class OneServer:
    """A server, and what happens to it.

    Args:
        server: It keeps what it has answered.
    """

    topics = ("invoices",)
    options: ClassVar[dict[str, Any]] = {}
    series = SERIES

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self._server = server

    def faults(self, dice: random.Random, _: Journal) -> dict[str, Callable[[], None]]:
        """Give what can happen to it."""

        def kill() -> None:
            self._server.kill()
            time.sleep(dice.uniform(0, 0.5))
            self._server.start()

        def kill_connections() -> None:
            for kind in ("normal", "pubsub"):
                self._server.client.client_kill_filter(_type=kind, skipme=True)

        return {
            "server killed (AOF)": kill,
            "scripts flushed": self._server.client.script_flush,
            "all connections killed": kill_connections,
        }

    def failovers(self) -> list[float]:
        """Give the moments after which something may be forgotten: none."""
        return []


class WholeCluster:
    """A cluster, and what happens to it.

    Args:
        cluster: Each primary has two replicas, so that one confirms what the other one has.
    """

    topics = ("orders", "trials", "invoices")
    options: ClassVar[dict[str, Any]] = {"confirm_replicas": 1, "confirm_timeout": 0.5}
    # A failover may undo the settlement of an occurrence, which is then delivered twice.
    series = 0

    def __init__(self, cluster: Cluster) -> None:
        self.url = cluster.url
        self._cluster = cluster

    def faults(self, dice: random.Random, journal: Journal) -> dict[str, Callable[[], None]]:
        """Give what can happen to it."""
        return ClusterFaults(self._cluster, dice, journal, self.topics).by_name()

    def failovers(self) -> list[float]:
        """Give the moments in which replicas replaced their primaries, asked to or not."""
        return self._cluster.elections()


class ClusterFaults:
    """What can happen to a cluster; each leaves it whole.

    Args:
        cluster: The cluster.
        dice: Decides to which node or slot it happens.
        journal: Takes the moments after which something may be forgotten.
        topics: Slots of theirs are moved.
    """

    def __init__(
        self, cluster: Cluster, dice: random.Random, journal: Journal, topics: Sequence[str]
    ) -> None:
        self._cluster = cluster
        self._dice = dice
        self._journal = journal
        self._topics = topics

    def by_name(self) -> dict[str, Callable[[], None]]:
        """Give all that this server can do."""
        atomic = {"slot moved as a whole": self._move_atomically}
        return {
            "primary killed (SIGKILL) until replaced": self._kill_primary,
            "primary killed and restarted at once (AOF)": self._restart_primary,
            "primary stopped (SIGSTOP) until replaced": self._pause_primary,
            "replica promoted (CLUSTER FAILOVER)": self._promote_replica,
            "slot moved key by key": self._move_key_by_key,
            **(atomic if self._cluster.moves_atomically else {}),
            "primary added and removed": self._add_and_remove_primary,
            "scripts flushed": self._flush_scripts,
            "all connections killed": self._kill_connections,
        }

    def _a_primary(self) -> Node:
        return self._dice.choice(self._cluster.primaries())

    def _a_move(self) -> tuple[int, Node]:
        """Choose a slot, and a primary that does not serve it."""
        slot = slot_of(self._dice.choice(self._topics).encode())
        owner = self._cluster.owner_of(slot)
        return slot, self._dice.choice([one for one in self._cluster.primaries() if one != owner])

    def _kill_primary(self) -> None:
        primary = self._a_primary()
        self._cluster.kill(primary)
        self._cluster.wait_until_replaced(primary)
        self._cluster.restart(primary)
        self._cluster.wait_until_ok()

    def _restart_primary(self) -> None:
        primary = self._a_primary()
        self._cluster.kill(primary)
        self._cluster.restart(primary)
        self._cluster.wait_until_ok()

    def _pause_primary(self) -> None:
        primary = self._a_primary()
        with self._cluster.paused(primary):
            self._cluster.wait_until_replaced(primary)
        # What it does now, before it knows better, is forgotten.
        self._journal.note("failover")
        self._cluster.wait_until_ok()

    def _promote_replica(self) -> None:
        self._cluster.fail_over(self._a_primary())

    def _move_key_by_key(self) -> None:
        self._cluster.move_slot(*self._a_move())

    def _move_atomically(self) -> None:
        slot, to = self._a_move()
        self._cluster.move_slots_atomically([slot], to)

    def _add_and_remove_primary(self) -> None:
        slot, _ = self._a_move()
        added = self._cluster.add_node()
        replicas = [self._cluster.add_node(replicates=added) for _ in range(2)]
        self._cluster.move_slots([slot], added)
        self._cluster.remove_node(added)
        for replica in replicas:
            self._cluster.remove_node(replica)

    def _flush_scripts(self) -> None:
        for node in self._cluster.nodes:
            node.ask("SCRIPT", "FLUSH")

    def _kill_connections(self) -> None:
        for node in self._cluster.nodes:
            for kind in ("normal", "pubsub"):
                node.ask("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


class Soak:
    """A run with faults.

    Args:
        folder: For what it writes.
        place: Where the timers are, and what happens there.
        seed: Decides which fault comes when.
        say: Takes lines that tell how far it is.
    """

    def __init__(
        self,
        folder: Path,
        place: OneServer | WholeCluster,
        seed: int,
        say: Callable[[str], object],
    ) -> None:
        self._dice = random.Random(seed)
        self._place = place
        self._say = say
        self._fleet = Fleet(folder, place.url, place.topics)
        self._workers: list[Process] = []
        self._turn = itertools.count()
        self._stopped: list[tuple[float, Process]] = []
        self._blocks = 0
        self._client = TimersClient(place.url)
        self._faults: dict[str, Callable[[], None]] = {
            "worker killed (SIGKILL)": self._kill_worker,
            "worker stopped past its lease (SIGSTOP)": self._stop_worker,
            "worker terminated (SIGTERM)": self._terminate_worker,
            "event loop blocked past the lease": self._block_loop,
            **place.faults(self._dice, self._fleet.journal),
        }

    # --- the faults

    def _a_worker(self) -> Process:
        return self._workers.pop(self._dice.randrange(len(self._workers)))

    def _start_worker(self) -> None:
        options = OPTIONS[next(self._turn) % len(OPTIONS)]
        self._workers.append(self._fleet.worker(options=options, wait=False))

    def _kill_worker(self) -> None:
        self._fleet.kill(self._a_worker())
        self._start_worker()

    def _stop_worker(self) -> None:
        worker = self._a_worker()
        worker.send_signal(signal.SIGSTOP)
        self._stopped.append((time.monotonic() + STOPPED, worker))
        self._start_worker()

    def _terminate_worker(self) -> None:
        worker = self._a_worker()
        self._start_worker()
        worker.send_signal(signal.SIGTERM)

    def _block_loop(self) -> None:
        self._blocks += 1
        timer_id = f"block-{self._blocks}"
        self._fleet.schedule(self._client, timer_id, f"block {STOPPED}")

    # --- the run

    def run(self, seconds: float) -> Ledger:
        """Run for so long, then let all be delivered; give what came of it."""
        try:
            return self._run(seconds)
        finally:
            for _, worker in self._stopped:
                worker.send_signal(signal.SIGCONT)
            self._fleet.close()
            self._client.close()

    def _run(self, seconds: float) -> Ledger:
        for _ in range(WORKERS):
            self._start_worker()
        producers = [
            self._fleet.producer(front, front=front, options=self._place.options, **PRODUCTION)
            for front in FRONTS
        ]
        series = SeriesLedger(self._client, self._place.topics[0], self._place.series)
        started_at = told_at = time.monotonic()
        while (now := time.monotonic()) < started_at + seconds:
            self._do_a_fault()
            self._continue_stopped(now)
            if now >= told_at + PROGRESS:
                told_at = now
                self._report_progress(now - started_at)
            time.sleep(self._dice.uniform(*PAUSE))
        for producer in producers:
            self._fleet.terminate(producer)
        self._continue_stopped(float("inf"))
        over_at = time.time()
        read = self._fleet.journal.read
        wait_until(lambda: series.have_run_since(read(), over_at), START)
        series.cancel()
        self._fleet.until_empty(self._client)
        series.check(read())
        for worker in self._workers:
            self._fleet.terminate(worker)
        for moment in self._place.failovers():
            self._fleet.journal.note("failover", at=moment)
        return self._fleet.ledger()

    def _do_a_fault(self) -> None:
        name = self._dice.choice(list(self._faults))
        self._fleet.journal.note("fault", name=name)
        self._faults[name]()

    def _continue_stopped(self, now: float) -> None:
        for entry in [entry for entry in self._stopped if entry[0] <= now]:
            self._stopped.remove(entry)
            _, worker = entry
            worker.send_signal(signal.SIGCONT)
            # It goes on for a while beside its successor, and ends then.
            worker.send_signal(signal.SIGTERM)

    def _report_progress(self, seconds: float) -> None:
        seen = Counter(fact["what"] for fact in self._fleet.journal.read())
        self._say(
            f"{seconds:5.0f} s: {seen['fault']} faults, {seen['accepted']} timers scheduled, "
            f"{seen['done']} handled, {self._fleet.count_pending(self._client)} pending"
        )

    def rows(self, ledger: Ledger) -> list[Row]:
        """Give the table: each timer counts for the fault before its scheduling."""
        faults = [fact for fact in ledger.facts if fact["what"] == "fault"]
        accepted = ledger.accepted.values()
        tried = Counter(fact["name"] for fact in faults)
        ids: dict[str, list[str]] = {name: [] for name in self._faults}
        last = {"at": float("inf")}
        for fault, following in pairwise([*faults, last]):
            ids[fault["name"]] += [
                fact["id"] for fact in accepted if fault["at"] <= fact["at"] < following["at"]
            ]
        rows = [ledger.row(name, tried[name], ids[name]) for name in self._faults]
        return [*rows, ledger.row("all", len(faults))]


@contextmanager
def a_server() -> Iterator[OneServer]:
    """Start a server that keeps what it has answered."""
    with short_folder() as folder:
        server = Server(folder).start()
        try:
            yield OneServer(server)
        finally:
            server.close()


@contextmanager
def a_cluster() -> Iterator[WholeCluster]:
    """Start a cluster whose nodes keep what they have answered."""
    with Cluster(replicas=2, config=KEEPING) as cluster:
        yield WholeCluster(cluster)


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--cluster", action="store_true", help="on a cluster of nine nodes")
    parser.add_argument("--seed", type=int, default=None, help="which fault comes when")
    given = parser.parse_args()
    seed = random.randrange(2**32) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="timers-soak-"))
    say(f"seed {seed}; what happens is noted in {folder}")
    with a_cluster() if given.cluster else a_server() as place:
        soak = Soak(folder, place, seed, say)
        ledger = soak.run(given.minutes * 60)
    for line in table(soak.rows(ledger)):
        say(line)
    ledger.check()
    shutil.rmtree(folder)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
