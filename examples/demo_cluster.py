"""The demo behind `make demo CLUSTER=1`: topics on three primaries, one of which dies.

It starts a cluster of six nodes and a worker, schedules timers in three topics, kills the
primary of one topic, and prints what the worker received, and from which node.
Its exit code is 0 if everything worked as expected.
"""

import json
import queue
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

import redis

from examples.demo import DemoError, clock, delivery_of, running_worker, say
from examples.embedded_cluster import EmbeddedCluster, Node, wait_until
from faststream_redis_timers_sync import TimersClient

if TYPE_CHECKING:
    import subprocess

LONGEST = 30.0
"""Seconds after which the demo gives up; it takes about 9."""

WORKER = ("faststream", "run", "examples.demo_cluster_worker:app")

TIMERS = {
    "orders": ("parcel", "refund"),
    "trials": ("welcome", "goodbye"),
    "invoices": ("bill", "reminder"),
}
"""Topics that the worker uses too, each with a timer that is due soon and one for later."""

DOOMED = "trials"
"""The topic whose primary is killed."""

SOON = timedelta(seconds=1)
LATER = timedelta(seconds=5)


@dataclass
class Row:
    """A timer of the demo, and the worker's note about it."""

    topic: str
    timer_id: str
    due_at: datetime
    note: dict[str, Any] | None = None
    node: Node | None = None


def main() -> int:
    """Run the demo and return the exit code."""
    try:
        with EmbeddedCluster() as cluster:
            run(cluster)
    # Failures of the cluster are RuntimeErrors.
    except (DemoError, redis.RedisError, RuntimeError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(cluster: EmbeddedCluster) -> None:
    """Schedule, kill, wait, and show what happened."""
    show_cluster(cluster)
    # Each scheduled timer has reached a replica, so the failover does not lose it.
    with (
        running_worker(WORKER, {"TIMERS_URL": cluster.url}, is_read=True) as worker,
        TimersClient(cluster.url, confirm_replicas=1) as client,
    ):
        notes = Notes(worker)
        notes.wait_until_ready()
        soon = [schedule(cluster, client, topic, ids[0], SOON) for topic, ids in TIMERS.items()]
        later = [schedule(cluster, client, topic, ids[1], LATER) for topic, ids in TIMERS.items()]
        notes.collect(cluster, soon)
        # A timer is removed when its handler has returned, a moment after its note.
        wait_until(lambda: count_pending(client) == len(later), "the timers to be removed")
        kill_primary(cluster)
        notes.collect(cluster, later)
        wait_until(lambda: count_pending(client) == 0, "the timers to be removed")
        show_table(soon + later)
        check(soon + later)
    print("\nAll went as it should.")


# --- as in your own code


def schedule(
    cluster: EmbeddedCluster, client: TimersClient, topic: str, timer_id: str, delay: timedelta
) -> Row:
    """Schedule a timer; the client finds the primary of its topic."""
    client.schedule(f"This is {timer_id}", topic, timer_id=timer_id, activate_in=delay)
    where = primary_of(cluster, topic)
    say(
        "TimersClient", f"schedules  {timer_id:8}  {topic:8}  {delay.seconds} s  on {where.address}"
    )
    timer = client.get_timer(topic, timer_id)
    if timer is None:
        msg = f"timer {timer_id} is not pending"
        raise DemoError(msg)
    return Row(topic, timer_id, timer.due_at)


def count_pending(client: TimersClient) -> int:
    """Return the number of pending timers."""
    return sum(client.count_pending(topic) for topic in TIMERS)


# --- the cluster


def primary_of(cluster: EmbeddedCluster, topic: str) -> Node:
    """Return the primary of a topic: all keys of a topic are in the slot of its name."""
    node = next(node for node in cluster.nodes if node.is_up)
    slot = node.ask("CLUSTER", "KEYSLOT", topic)
    for start, end, primary, *_ in node.ask("CLUSTER", "SLOTS"):
        if start <= slot <= end:
            return next(node for node in cluster.nodes if node.port == primary[1])
    msg = f"no primary serves slot {slot}"
    raise DemoError(msg)


def kill_primary(cluster: EmbeddedCluster) -> None:
    """Kill a primary, and wait until its replica has taken its place."""
    primary = primary_of(cluster, DOOMED)
    print(f"\nPrimary {primary.address} is killed (process {primary.pid}): it has {DOOMED}")
    primary.kill()
    began = time.monotonic()
    wait_until(lambda: primary_of(cluster, DOOMED) is not primary, "a replica to take its place")
    passed = time.monotonic() - began
    print(f"Replica {primary_of(cluster, DOOMED).address} takes its place after {passed:.1f} s")


# --- the worker


class Notes:
    """Notes that the worker prints, read until the demo's time is over."""

    def __init__(self, worker: "subprocess.Popen[str]") -> None:
        """Start the clock."""
        self._start = time.monotonic()
        self._notes: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, args=(worker.stdout,), daemon=True).start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            if line.startswith("{"):
                self._notes.put(json.loads(line))

    def _next(self) -> dict[str, Any]:
        left = self._start + LONGEST - time.monotonic()
        try:
            return self._notes.get(timeout=max(left, 0))
        except queue.Empty:
            msg = f"it took more than {LONGEST:g} s"
            raise DemoError(msg) from None

    def wait_until_ready(self) -> None:
        """Return when the worker has started."""
        self._next()
        print(f"         ready after {time.monotonic() - self._start:.1f} s\n")

    def collect(self, cluster: EmbeddedCluster, rows: list[Row]) -> None:
        """Wait until all of these timers have fired."""
        by_id = {row.timer_id: row for row in rows}
        print(f"\nWaiting for {len(rows)} timers")
        while any(row.note is None for row in rows):
            note = self._next()
            row = by_id.get(note["timer_id"])
            if row is None or row.note is not None:
                msg = f"{note['timer_id']} fired again"
                raise DemoError(msg)
            row.note, row.node = note, primary_of(cluster, row.topic)
            print(f"  {note['topic']:8}  {note['timer_id']} fired: {note['text']}", flush=True)


# --- output


def show_cluster(cluster: EmbeddedCluster) -> None:
    """Print the server's name, and the nodes with their slots."""
    with cluster.nodes[0].client() as client:
        facts = client.info("server")
    version = facts.get("valkey_version")
    name = f"Valkey {version}" if version else f"Redis {facts['redis_version']}"
    print(f"Cluster  {name}, six nodes, started for this demo")
    for start, end, primary, replica in cluster.nodes[0].ask("CLUSTER", "SLOTS"):
        slots = f"{start}-{end}"
        print(f"         slots {slots:11}  {address(primary)}, replica {address(replica)}")


def address(node: list[Any]) -> str:
    """Return the address of a node in a reply of CLUSTER SLOTS."""
    return f"{node[0]}:{node[1]}"


def show_table(rows: list[Row]) -> None:
    """Print which timers fired, when, and from which node."""
    line = "{:8}  {:8}  {:15}  {:12}  {:12}  {:>9}"
    print()
    print(line.format("topic", "timer", "delivered from", "due", "delivered", "late"))
    print(line.format("-" * 8, "-" * 8, "-" * 15, "-" * 12, "-" * 12, "-" * 9))
    for row in sorted(rows, key=lambda row: row.due_at):
        if row.note is not None and row.node is not None:
            delivered = clock(delivery_of(row.note))
            late = f"{row.note['lateness'] * 1000:.1f} ms"
            start = (row.topic, row.timer_id, row.node.address)
            print(line.format(*start, clock(row.due_at), delivered, late))


# --- checks


def check(rows: list[Row]) -> None:
    """Compare what happened with what was expected."""
    nodes = {row.node for row in rows if row.topic == DOOMED}
    if len(nodes) == 1:
        msg = f"the timers of {DOOMED} were delivered from one node"
        raise DemoError(msg)
    for row in rows:
        if row.note is None or datetime.fromisoformat(row.note["due_at"]) != row.due_at:
            msg = f"{row.timer_id} fired at another time than asked for: {row.note}"
            raise DemoError(msg)


if __name__ == "__main__":
    sys.exit(main())
