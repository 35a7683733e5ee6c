"""Counts what a server delivers to a topic's workers over pub/sub: no command of it tells."""

import ast
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.measured import Server
from benchmarks.server import connect

_COMMAND = re.compile(
    rb'\] "(publish|subscribe|unsubscribe)"((?: "(?:[^"\\]|\\.)*")+)', re.IGNORECASE
)
_WORD = re.compile(rb'"(?:[^"\\]|\\.)*"')
_ENDS = "all was watched"


def count_listeners(server: Server, channel: bytes) -> int:
    """Count the subscribers of a channel, by a message that says nothing.

    Valkey 9.1 answers PUBSUB NUMSUB with an address while its table of subscribers grows.

    Args:
        server: The server.
        channel: The channel.
    """
    return server.client.publish(channel, "")


class Monitored:
    """What a server did while it was watched.

    Attributes:
        messages: Messages that were delivered.
    """

    messages = 0


@contextmanager
def monitored(server: Server, channels: list[bytes]) -> Iterator[Monitored]:
    """Count messages while the block runs; they are known after it.

    Only what is sent and heard on these channels counts. Who loses its connection meanwhile is
    counted on as a listener.

    Args:
        server: The server.
        channels: The channels.
    """
    monitored = Monitored()
    with connect(server.url) as watching:
        watching.sendall(b"MONITOR\r\n")
        # From here on it is told of all that changes these numbers.
        watching.recv(len(b"+OK\r\n"), socket.MSG_WAITALL)
        pieces: list[bytes] = []
        reader = threading.Thread(target=_read, args=(watching, pieces))
        reader.start()
        try:
            listeners = {channel: count_listeners(server, channel) for channel in channels}
            yield monitored
        finally:
            server.client.echo(_ENDS)
            reader.join()
    monitored.messages = _count(b"".join(pieces), listeners)


def _read(watching: socket.socket, pieces: list[bytes]) -> None:
    # What is read costs as little as can be: the processors are for those who are measured.
    end, tail = _ENDS.encode(), b""
    while piece := watching.recv(1 << 20):
        pieces.append(piece)
        # Workers go on: more may follow the end in the same piece.
        if end in tail + piece:
            return
        tail = (tail + piece)[-len(end) :]


def _count(log: bytes, listeners: dict[bytes, int]) -> int:
    messages = 0
    counted = set()
    for command, words in _COMMAND.findall(log):
        # It writes words as Python does bytes.
        named = [ast.literal_eval("b" + word.decode()) for word in _WORD.findall(words)]
        if named[-1] == b"":
            counted.add(named[0])
            continue
        channels = [word for word in named if word in counted]
        match command.lower():
            case b"publish":
                messages += sum(map(listeners.__getitem__, channels[:1]))
            case b"subscribe":
                for channel in channels:
                    listeners[channel] += 1
            case b"unsubscribe":
                for channel in channels:
                    listeners[channel] -= 1
    return messages
