"""Runs processes for the length of a ``with`` block, also when Ctrl+C ends it."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager


@contextmanager
def running(
    *command: str, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process, and terminate it afterwards.

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
            ends.callback(process.terminate)
        yield process


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Start processes that Ctrl+C does not reach.

    A terminal interrupts all the processes of a program at once: the server would be gone
    before its workers, and a worker that is still importing would print a traceback. These
    processes inherit that SIGINT is blocked, so this one stops them, in its own order. Have
    their ends ready within the block: at its end a Ctrl+C that came meanwhile is raised.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
