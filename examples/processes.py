"""Runs processes for the length of a ``with`` block, also when Ctrl+C ends it."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from examples.embedded_server import deaf_to_interrupts


@contextmanager
def running(
    *command: str, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process that Ctrl+C does not reach, and end it afterwards.

    Args:
        command: The program and its arguments.
        env: Variables added to those of this process.

    Yields:
        The process.
    """
    with ExitStack() as ends:
        with deaf_to_interrupts():
            process = subprocess.Popen(command, env={**os.environ, **(env or {})})
            ends.enter_context(process)
            ends.callback(end, process)
        yield process


def end(process: "subprocess.Popen[Any]", seconds: float = 10.0) -> None:
    """Let a process finish what it has begun, then kill it.

    Args:
        process: The process.
        seconds: How long it may take.
    """
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    finally:
        # Also after another Ctrl+C, or it would go on without its server.
        process.kill()
