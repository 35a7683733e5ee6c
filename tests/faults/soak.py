"""Everything at once, for minutes: ``make soak MINUTES=10``.

Workers are killed, stopped and terminated, the server is killed, loses its scripts and its
connections, while producers on both front ends schedule, move and cancel. At the end a table
tells for each fault what became of the timers that were scheduled from it to the next one.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from fleet import Fleet, Process
from ledger import Ledger, Row, table
from servers import Server, short_folder

from faststream_redis_timers_sync import TimersClient

FRONTS = ("blocking", "async")
LEASE = 1.0
WORKERS = 3
PAUSE = (0.2, 0.8)
"""Seconds between two faults: some meet what the one before has left."""
STOPPED = 1.5
"""Seconds for which a worker is stopped: longer than its lease."""
PROGRESS = 10.0
"""Seconds between two lines that tell how far it is."""
KNOBS = {"lease_ttl": LEASE, "max_concurrent": 10}
PRODUCTION = {
    "bodies": ["work 0.02"] * 5 + ["plain"] * 5 + ["work 0.5"],
    "moves": 0.1,
    "cancels": 0.1,
    "pause": 0.02,
}


class Soak:
    """A run with faults.

    Args:
        folder: For what it writes.
        server: Is killed now and then.
        seed: Decides which fault comes when.
        say: Takes lines that tell how far it is.
    """

    def __init__(
        self, folder: Path, server: Server, seed: int, say: Callable[[str], object]
    ) -> None:
        self._dice = random.Random(seed)
        self._server = server
        self._say = say
        self._fleet = Fleet(folder, server.url)
        self._workers: list[Process] = []
        self._stopped: list[tuple[float, Process]] = []
        self._blocks = 0
        self._client = TimersClient(server.url)
        self._faults: dict[str, Callable[[], None]] = {
            "worker killed (SIGKILL)": self._kill_worker,
            "worker stopped past its lease (SIGSTOP)": self._stop_worker,
            "worker terminated (SIGTERM)": self._terminate_worker,
            "event loop blocked past the lease": self._block_loop,
            "server killed (AOF)": self._kill_server,
            "scripts flushed": self._flush_scripts,
            "all connections killed": self._kill_connections,
        }

    # --- the faults

    def _a_worker(self) -> Process:
        return self._workers.pop(self._dice.randrange(len(self._workers)))

    def _start_worker(self) -> None:
        self._workers.append(self._fleet.worker(knobs=KNOBS, wait=False))

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

    def _kill_server(self) -> None:
        self._server.kill()
        time.sleep(self._dice.uniform(0, 0.5))
        self._server.start()

    def _flush_scripts(self) -> None:
        self._server.client.script_flush()

    def _kill_connections(self) -> None:
        for kind in ("normal", "pubsub"):
            self._server.client.client_kill_filter(_type=kind, skipme=True)

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
        producers = [self._fleet.producer(front, front=front, **PRODUCTION) for front in FRONTS]
        started_at = told_at = time.monotonic()
        while (now := time.monotonic()) < started_at + seconds:
            self._do_a_fault()
            self._continue_stopped(now)
            if now >= told_at + PROGRESS:
                told_at = now
                self._tell(now - started_at)
            time.sleep(self._dice.uniform(*PAUSE))
        for producer in producers:
            self._fleet.terminate(producer)
        self._continue_stopped(float("inf"))
        self._fleet.until_empty(self._client)
        for worker in self._workers:
            self._fleet.terminate(worker)
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

    def _tell(self, seconds: float) -> None:
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


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--seed", type=int, default=None, help="which fault comes when")
    given = parser.parse_args()
    seed = random.randrange(2**32) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="timers-soak-"))
    say(f"seed {seed}; what happens is noted in {folder}")
    with short_folder() as servers_folder:
        server = Server(servers_folder).start()
        try:
            soak = Soak(folder, server, seed, say)
            ledger = soak.run(given.minutes * 60)
        finally:
            server.close()
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
