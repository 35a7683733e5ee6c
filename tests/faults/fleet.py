"""Starts the processes of a run with faults: workers and producers, killed and started again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from journal import Journal
from ledger import Ledger
from series_ledger import PREFIX
from servers import START
from waiting import wait_until

from faststream_redis_timers_sync import TimersClient

FOLDER = Path(__file__).parent
TESTS = FOLDER.parent

Process: TypeAlias = "subprocess.Popen[bytes]"


class Fleet:
    """Workers and producers, and the journal that they write.

    Args:
        folder: For the journal and what the processes print.
        target: A URL, or the addresses of Sentinels.
        topics: Workers subscribe to all of them, producers choose by chance for each timer.
    """

    def __init__(self, folder: Path, target: Any, topics: Sequence[str] = ("invoices",)) -> None:
        self.folder = folder
        self.target = target
        self.topics = topics
        self.journal = Journal(folder / "journal")
        self.processes: list[Process] = []
        self._outputs: dict[int, Path] = {}

    # --- processes

    def worker(
        self, *, env: Mapping[str, str] | None = None, wait: bool = True, **settings: Any
    ) -> Process:
        """Start a worker.

        Args:
            env: Environment variables of its own.
            wait: Whether to wait until it delivers.
            settings: See fault_worker.py; ``options`` are the subscriber's.
        """
        process = self._start("fault_worker.py", env, settings)
        if wait:
            self.until_noted(process, "started")
        return process

    def producer(
        self, name: str, *, env: Mapping[str, str] | None = None, **settings: Any
    ) -> Process:
        """Start a producer.

        Args:
            name: What the ids of its timers begin with.
            env: Environment variables of its own.
            settings: See fault_producer.py.
        """
        return self._start("fault_producer.py", env, {"name": name, **settings})

    def _start(
        self, program: str, env: Mapping[str, str] | None, settings: Mapping[str, Any]
    ) -> Process:
        settings = {
            "target": self.target,
            "topics": self.topics,
            "journal": str(self.journal.path),
            **settings,
        }
        output = self.folder / f"output-{len(self.processes)}"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, str(FOLDER / program)],
                env={
                    **os.environ,
                    "FAULT_SETTINGS": json.dumps(settings),
                    "PYTHONPATH": os.pathsep.join(map(str, (TESTS.parent, TESTS, FOLDER))),
                    **(env or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        self._outputs[process.pid] = output
        return process

    def output_of(self, process: Process) -> str:
        """Give all that a process has printed."""
        return self._outputs[process.pid].read_text()

    def kill(self, process: Process) -> None:
        """Kill a process on the spot."""
        process.kill()
        process.wait()

    def terminate(self, process: Process) -> None:
        """Ask a process to end, and wait until it has, without an error."""
        process.send_signal(signal.SIGTERM)
        self.until_ended(process)

    def until_ended(self, process: Process) -> None:
        """Wait until a process has ended by itself, without an error."""
        assert process.wait(START) == 0, self.output_of(process)
        # FastStream logs handlers that are cancelled as errors.
        errors = self.output_of(process).replace("CancelledError: \nTraceback", "")
        assert "Traceback" not in errors, errors

    def until_said(self, process: Process, text: str) -> None:
        """Wait until a process has printed this."""
        wait_until(lambda: text in self.output_of(process), START)

    def open_gate(self) -> None:
        """Let all handlers go on that wait at the gate."""
        (self.folder / "gate").touch()

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            if process.poll() is None:
                self.kill(process)
        self.journal.close()

    # --- what they have noted

    def noted(self, what: str, **facts: Any) -> list[dict[str, Any]]:
        """Give facts of a kind, with these details."""
        return [fact for fact in self.journal.read(what) if facts.items() <= fact.items()]

    def until_noted(self, process: Process, what: str, timeout: float = START) -> None:
        """Wait until a process has noted something."""

        def has_noted() -> bool:
            if self.noted(what, pid=process.pid):
                return True
            assert process.poll() is None, self.output_of(process)
            return False

        wait_until(has_noted, timeout)

    def until_begun(self, *timer_ids: str, timeout: float = START) -> None:
        """Wait until these timers' handlers have begun, however often."""
        wait_until(lambda: {fact["id"] for fact in self.noted("begun")} >= set(timer_ids), timeout)

    def until_produced(self, *producers: Process) -> None:
        """Wait until producers have scheduled their shares."""
        for producer in producers:
            self.until_ended(producer)

    def until_empty(self, client: TimersClient, timeout: float = START) -> None:
        """Wait until nothing is pending."""
        wait_until(lambda: self.count_pending(client) == 0, timeout)

    def count_pending(self, client: TimersClient) -> int:
        """Tell how many timers are pending."""
        return sum(map(client.count_pending, self.topics))

    def schedule(self, client: TimersClient, timer_id: str, body: str = "", **when: Any) -> None:
        """Schedule a timer, and note it as a producer does."""
        client.schedule(body, self.topics[0], timer_id=timer_id, **when)
        self.journal.note("accepted", id=timer_id)

    def ledger(self) -> Ledger:
        """Compare what was scheduled with what was delivered, but for recurring timers."""
        facts = self.journal.read()
        return Ledger([fact for fact in facts if not fact.get("id", "").startswith(PREFIX)])
