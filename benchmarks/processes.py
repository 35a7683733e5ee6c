"""Runs a system's worker and producer, and talks with them in lines of JSON."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.environments import ROOT, System

_SYSTEMS = ROOT / "benchmarks" / "systems"


class Unfinished(Exception):  # noqa: N818  it is a result, shown in the table
    """A system did not deliver all in time."""


def _start(system: System, role: str, url: str, options: dict[str, Any]) -> Any:
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    if system.is_ours:
        environment["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen(
        [system.python, _SYSTEMS / system.script, role, url, json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def produce(system: System, url: str, script: str | None = None, **options: Any) -> dict[str, Any]:
    """Run a system's producer to its end.

    Args:
        system: The system.
        url: The server.
        script: Another script in its environment.
        **options: What to produce.
    """
    if script is not None:
        system = System(system.name, script, system.requirements, system.is_ours)
    process = _start(system, "produce", url, options)
    answer, _ = process.communicate()
    if process.returncode or not answer:
        msg = f"{system.name} could not {options}: exit code {process.returncode}"
        raise RuntimeError(msg)
    return json.loads(answer)  # type: ignore[no-any-return]


class Worker:
    """A running worker.

    Args:
        process: Its process.
    """

    def __init__(self, process: Any) -> None:
        self._process = process
        self._answer()

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command and wait for the answer."""
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self._answer()

    def wait_for(self, count: int, seconds: float) -> None:
        """Wait until so many messages have been handled.

        Raises:
            Unfinished: It took longer.
        """
        end = time.time() + seconds
        while (done := self.ask("count")["count"]) < count:
            if time.time() > end:
                msg = f"{done:,} of {count:,} after {seconds:g} s"
                raise Unfinished(msg)
            time.sleep(0.1)

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            msg = f"the worker ended with code {self._process.wait()}"
            raise RuntimeError(msg)
        return json.loads(line)  # type: ignore[no-any-return]


@contextmanager
def worker(system: System, url: str, **options: Any) -> Iterator[Worker]:
    """Run a system's worker; it consumes when told to ``go``.

    Args:
        system: The system.
        url: The server.
        **options: Its topics and concurrency.
    """
    process = _start(system, "worker", url, options)
    try:
        yield Worker(process)
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
