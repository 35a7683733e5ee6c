"""A relay before a server that makes the connections for wake-ups half open."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from benchmarks.server import connect

_CHUNK = 65_536


class HalfOpen:
    """Forwards connections, and on demand nothing more of those that listen to channels.

    Use it as a context manager.

    Args:
        server_url: The server.

    Attributes:
        url: What workers connect to.
    """

    def __init__(self, server_url: str) -> None:
        """Take a port."""
        self._server_url = server_url
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._links: list[_Link] = []

    def __enter__(self) -> Self:
        """Begin to forward."""
        _run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Cut all connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in self._links:
            link.cut()

    def half_open(self) -> int:
        """Forward nothing more on connections that listen now, and give how many they are."""
        listening = [link for link in self._links if link.listens]
        for link in listening:
            link.is_silent = True
        return len(listening)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._links.append(_Link(client, connect(self._server_url)))


class _Link:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._ends = (client, server)
        self.listens = self.is_silent = False
        for end in self._ends:
            if end.family == socket.AF_INET:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _run(self._carry, client, server)
        _run(self._carry, server, client)

    def cut(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self.listens = self.listens or b"SUBSCRIBE" in data
                if not self.is_silent:
                    target.sendall(data)
        # The server is not to know that a silent one has been given up.
        if not self.is_silent:
            self.cut()


def _run(target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, daemon=True).start()
