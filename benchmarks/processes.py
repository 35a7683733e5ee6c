"""Runs a system's worker and producer, and talks with them in lines of JSON."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import IO, Any, cast

from benchmarks.environments import ROOT, System

_SYSTEMS = ROOT / "benchmarks" / "systems"
_LONGEST_STOP = 20.0
"""Seconds that a worker may take to end by itself."""

_BETWEEN_LOOKS = 0.3
"""Seconds between two questions to a worker how far it is: each costs it some 100 us."""


class Unfinished(Exception):  # noqa: N818  it is a result, shown in the table
    """A system did not deliver all in time, or its process ended."""


class _Process:
    """A process of a system, its pipes, and what it prints.

    Args:
        system: The system.
        role: ``worker`` or ``produce``.
        url: The server.
        options: What its script is to do.
    """

    def __init__(self, system: System, role: str, url: str, options: dict[str, Any]) -> None:
        environment = dict(os.environ)
        environment.pop("PYTHONPATH", None)
        if system.is_ours:
            environment["PYTHONPATH"] = str(system.packages)
        options = {"tuned": system.is_tuned, **options}
        self._role = role
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  kill closes it
        try:
            self._process = subprocess.Popen(
                [system.python, _SYSTEMS / system.script, role, url, json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env=environment,
                # A group of its own: Ctrl-C reaches the benchmark alone, which ends the others.
                start_new_session=True,
            )
        except FileNotFoundError as problem:
            self._log.close()
            msg = "it is not installed"
            raise Unfinished(msg) from problem

    def tell(self, line: str) -> None:
        """Write a line to it."""
        with suppress(BrokenPipeError):  # an answer will be missing, which tells enough
            self._stdin.write(f"{line}\n")
            self._stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Read a line of JSON.

        Raises:
            Unfinished: It ended without one.
        """
        line = self._stdout.readline()
        if line:
            return json.loads(line)  # type: ignore[no-any-return]
        code = self._process.wait()
        self._log.seek(0)
        told = self._log.read().strip().splitlines()
        msg = f"the {self._role} ended with code {code}: {told[-1] if told else 'without a word'}"
        raise Unfinished(msg)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        with suppress(BrokenPipeError):
            self._stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_LONGEST_STOP)

    def signal(self, number: int) -> None:
        """Send a signal to it and its children, such as a pool of forks."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it and its children."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()
        self._log.close()

    @property
    def _stdin(self) -> IO[str]:
        return cast("IO[str]", self._process.stdin)

    @property
    def _stdout(self) -> IO[str]:
        return cast("IO[str]", self._process.stdout)


def produce(system: System, url: str, script: str | None = None, **options: Any) -> dict[str, Any]:
    """Run a system's producer to its end.

    Args:
        system: The system.
        url: The server.
        script: Another script in its environment.
        **options: What to produce.

    Raises:
        Unfinished: It failed.
    """
    with producing(system, url, script, **options) as wait:
        return wait()


@contextmanager
def producing(
    system: System, url: str, script: str | None = None, **options: Any
) -> Iterator[Callable[[], dict[str, Any]]]:
    """Run a system's producer beside the block, which is given what waits for its end.

    Args:
        system: The system.
        url: The server.
        script: Another script in its environment.
        **options: What to produce.
    """
    if script is not None:
        system = replace(system, script=script)
    process = _Process(system, "produce", url, options)
    try:
        yield process.answer
    finally:
        process.kill()


class Worker:
    """A running worker.

    Args:
        process: Its process.
    """

    def __init__(self, process: _Process) -> None:
        self.signal = process.signal
        self.tell = process.tell
        self.answer = process.answer
        self.answer()

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command and wait for the answer."""
        self.tell(command)
        return self.answer()

    def wait_for(self, count: int, seconds: float) -> None:
        """Wait until so many messages have been handled.

        Raises:
            Unfinished: It took longer.
        """
        wait_for_all([self], count, seconds)


def wait_for_all(workers: list[Worker], count: int, seconds: float) -> None:
    """Wait until workers together have handled so many messages.

    Args:
        workers: The workers.
        count: Messages.
        seconds: The longest to wait.

    Raises:
        Unfinished: It took longer.
    """
    end = time.monotonic() + seconds
    while (done := sum(each.ask("count")["count"] for each in workers)) < count:
        if time.monotonic() > end:
            msg = f"{done:,} of {count:,} after {seconds:g} s"
            raise Unfinished(msg)
        time.sleep(_BETWEEN_LOOKS)


@contextmanager
def worker(system: System, url: str, **options: Any) -> Iterator[Worker]:
    """Run a system's worker; it consumes when told to ``go``.

    Args:
        system: The system.
        url: The server.
        **options: Its topics and concurrency.
    """
    process = _Process(system, "worker", url, options)
    try:
        yield Worker(process)
        process.stop()
    finally:
        process.kill()
