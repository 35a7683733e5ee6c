"""States of a real server that answers, but not as wanted; each for the length of a block."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
from waiting import wait_until

SETTINGS = {
    "enable-debug-command": "yes",
    "enable-protected-configs": "yes",
    "busy-reply-threshold": "20",
    # So that it serves others while it loads.
    "loading-process-events-interval-bytes": "1024",
}
"""What a server needs that is brought into these states."""

State = Callable[[redis.Redis], AbstractContextManager[None]]


@contextmanager
def read_only(server: redis.Redis) -> Iterator[None]:
    """Make it the replica of a server that is not there."""
    server.execute_command("REPLICAOF", "127.0.0.1", "1")
    yield
    server.execute_command("REPLICAOF", "NO", "ONE")


@contextmanager
def without_replicas(server: redis.Redis) -> Iterator[None]:
    """Let it want a replica before it writes."""
    server.config_set("min-replicas-to-write", "1")
    yield
    server.config_set("min-replicas-to-write", "0")


@contextmanager
def unable_to_save(server: redis.Redis) -> Iterator[None]:
    """Let a snapshot fail, after which it refuses writes."""
    before = server.config_get("dir")["dir"]
    with TemporaryDirectory(prefix="timers-", dir="/tmp") as name:
        folder = Path(name) / "gone"
        folder.mkdir()
        server.config_set("dir", str(folder))
        folder.rmdir()
        server.config_set("save", "3600 1")
        server.bgsave()
        wait_until(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err")
        yield
        server.config_set("save", "")
        server.config_set("dir", before)


@contextmanager
def busy(server: redis.Redis) -> Iterator[None]:
    """Let it run a script without end."""
    with in_background(server, "EVAL", "while true do end", "0"):
        wait_until(lambda: is_refused(server))
        yield
        server.script_kill()


@contextmanager
def loading(server: redis.Redis) -> Iterator[None]:
    """Let it read all that it has from a snapshot, slowly."""
    ballast = {f"ballast-{n}": "x" * 64 for n in range(3000)}
    server.mset(ballast)
    # Microseconds for each key.
    server.config_set("key-load-delay", "3000")
    with in_background(server, "DEBUG", "RELOAD"):
        wait_until(lambda: is_refused(server))
        yield
        server.config_set("key-load-delay", "0")
        wait_until(lambda: not is_refused(server))
    server.delete(*ballast)


STATES: dict[str, State] = {
    "read-only": read_only,
    "without replicas": without_replicas,
    "unable to save": unable_to_save,
    "busy": busy,
    "loading": loading,
}
"""All of them by name."""


def is_refused(server: redis.Redis) -> bool:
    """Return whether it refuses even to look at a key."""
    try:
        server.get("anything")
    except (redis.ResponseError, redis.ConnectionError):
        return True
    return False


@contextmanager
def in_background(server: redis.Redis, *command: str) -> Iterator[None]:
    """Run a command that takes long in a thread, and wait for it at the end of the block."""
    options = server.connection_pool.connection_kwargs

    def run() -> None:
        client = redis.Redis(unix_socket_path=options["path"])
        try:
            client.execute_command(*command)
        except redis.ResponseError as error:
            answers.append(str(error))
        finally:
            client.close()

    answers: list[str] = []
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(timeout=30)
        assert not thread.is_alive()
