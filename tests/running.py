"""How tests run a program that starts others, and stop it as a terminal does."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from command_line import LONGEST, ROOT, environment
from waiting import wait_until


def environment_of_an_example() -> dict[str, str]:
    """Give an environment in which an example starts a server of its own, the one to test on."""
    named = {name: os.environ[name] for name in ("TIMERS_TEST_SERVER",) if name in os.environ}
    # An empty one is none.
    return environment(REDIS_URL="", PYTHONUNBUFFERED="1", **named)


def interrupt(group: int) -> None:
    """Do as a terminal does on Ctrl+C: signal all processes of the group."""
    os.killpg(group, signal.SIGINT)


def run_python(*words: str | Path, folder: Path, env: Mapping[str, str]) -> str:
    """Run Python to its end, which must be a good one.

    Args:
        words: Its arguments.
        folder: Where it runs.
        env: Its environment.

    Returns:
        All that it writes.
    """
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def wait_until_listening(port: int) -> None:
    """Wait until somebody listens; uvicorn says that its start is complete just before it does."""

    def is_listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(is_listening, timeout=LONGEST)


@contextmanager
def running(
    command: Sequence[str | Path],
    output: Path,
    until: str,
    env: Mapping[str, str],
    stop: Callable[[int], None] = interrupt,
) -> Iterator[None]:
    """Run a program in a process group of its own, for the length of a ``with`` block.

    Args:
        command: The program and its arguments.
        output: The file for all that it writes.
        until: The text that it writes when it is ready.
        env: Its environment.
        stop: Stops the program, given its process id, which is that of its group too.
    """
    with (
        output.open("wb") as file,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            wait_until(
                lambda: until in output.read_text() or process.poll() is not None, timeout=LONGEST
            )
            assert process.poll() is None, output.read_text()
            yield
            stop(process.pid)
            assert process.wait(timeout=LONGEST) == 0, output.read_text()
            assert "Traceback" not in output.read_text(), output.read_text()
            # Processes of a worker, such as those of Celery's pool, end a moment after it.
            wait_until(lambda: not _is_there(process.pid))
        finally:
            if _is_there(process.pid):
                os.killpg(process.pid, signal.SIGKILL)


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
