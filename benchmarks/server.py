"""A server for the benchmark: on loopback, without persistence, gone afterwards."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.connection import parse_url

from examples.embedded_server import embedded_server

_TRIES = 5


def other_servers() -> list[str]:
    """Name the servers of this machine beside the embedded one."""
    return [name for name in ("valkey-server", "redis-server") if shutil.which(name)]


@contextmanager
def loopback_server(binary: str | None = None) -> Iterator[str]:
    """Give the URL of a server on loopback, without persistence.

    Args:
        binary: Name or path of its binary; None takes the embedded one.

    Raises:
        RuntimeError: There is no server to start.
    """
    with embedded_server(config={}, binary=binary) as socket_url:
        with redis.Redis.from_url(socket_url) as server:
            server.config_set("bind", "127.0.0.1")
            port = _open_port(server)
        yield f"redis://127.0.0.1:{port}"


def connect(url: str) -> socket.socket:
    """Open a connection of which all bytes are the caller's.

    Args:
        url: The server's, without a user.
    """
    target = parse_url(url)
    if "path" not in target:
        return socket.create_connection((target["host"], target["port"]))
    found = socket.socket(socket.AF_UNIX)
    found.connect(target["path"])
    return found


def _open_port(server: redis.Redis) -> int:
    for attempt in range(_TRIES):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        try:
            server.config_set("port", port)
            break
        except redis.ResponseError:
            # Somebody was faster to take it.
            if attempt == _TRIES - 1:
                raise
    return port
