"""A TCP relay before a Redis server, which loses replies, stalls and refuses on demand."""

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from redis.connection import parse_url

from faststream_redis_timers_sync.protocol.operation import load_script

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 65_536
_BETWEEN_PIECES = 0.0003


class _Loss(NamedTuple):
    names: frozenset[bytes]
    word: bytes | None
    kept: int | None
    among: int = 1

    def concerns(self, command: tuple[bytes, ...]) -> bool:
        """Return whether a command is one whose connection is to be cut."""
        return command[0].upper() in self.names and (self.word is None or self.word in command)


class Relay:
    """A server's stand-in, for blocking and asyncio tests alike: it runs in threads.

    It listens on a port that the kernel chose, and keeps that port while it
    refuses. Use it as a context manager.

    Args:
        server_url: The server that it forwards to.

    Attributes:
        url: The URL that clients connect to.
        commands: The commands that have been forwarded, in order of arrival,
            each with its arguments.
        connected: How many connections have been accepted in all.
        on_loss: Called, in another thread, when a call has been executed or lost and its
            sender does not know yet.
    """

    def __init__(self, server_url: str) -> None:
        """Take the port; nothing listens before the block begins."""
        target = parse_url(server_url)
        self._path = target.get("path")
        self._address = (target.get("host", "localhost"), int(target.get("port", 6379)))
        # It never listens: it only keeps the port while no other socket does.
        self._keeper = _bind(0)
        self.port = self._keeper.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/{target.get('db', 0)}"
        self.commands: list[tuple[bytes, ...]] = []
        self.connected = 0
        self._listener: socket.socket | None = None
        self._links: list[_Link] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._to_lose: list[_Loss] = []
        self._piece: int | None = None
        self._pause = _BETWEEN_PIECES
        self.on_loss: Callable[[], Any] | None = None
        # How a script is called whose reply is lost, and which of these calls it is.
        self._script_to_lose: tuple[set[bytes], int] | None = None
        self.requests_flow = threading.Event()
        self.replies_flow = threading.Event()

    def __enter__(self) -> Self:
        """Begin to listen."""
        self.resume()
        self.accept()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cut all connections and end all threads."""
        self.refuse()
        self.resume()
        self._keeper.close()
        for thread in self._threads:
            thread.join(timeout=10)
            assert not thread.is_alive()

    def count(self, *names: str) -> int:
        """Count the commands of these names that have been forwarded."""
        wanted = {name.encode() for name in names}
        with self._lock:
            return sum(command[0].upper() in wanted for command in self.commands)

    def lose_reply(
        self,
        *names: str,
        word: bytes | None = None,
        kept: int = 0,
        times: int = 1,
        among: int = 1,
    ) -> None:
        """Let the next command be executed, then cut its connection instead of answering.

        Args:
            names: Names of the commands concerned; by default script calls.
            word: Only commands that have this argument.
            kept: How many bytes of the reply still arrive.
            times: How many of them, one after the other.
            among: How many of them the client sends before it reads: a pipeline has
                arrived whole before the connection is cut.
        """
        self._lose(names, word, kept, times, among)

    def lose_request(self, *names: str, word: bytes | None = None, times: int = 1) -> None:
        """Let only half of the next command arrive, so that it is not executed, and cut.

        Args:
            names: Names of the commands concerned; by default script calls.
            word: Only commands that have this argument.
            times: How many of them, one after the other.
        """
        self._lose(names, word, None, times)

    def lose_reply_of_script(self, name: str, nth: int = 1) -> None:
        """Let a script call be executed, then cut its connection instead of answering.

        Args:
            name: The script.
            nth: Which of its calls it is, from 1, in all of `commands`.
        """
        script = load_script(name)
        self._script_to_lose = ({script.sha, script.text}, nth)

    def _lose(
        self,
        names: tuple[str, ...],
        word: bytes | None,
        kept: int | None,
        times: int,
        among: int = 1,
    ) -> None:
        wanted = frozenset(name.encode() for name in names or ("EVALSHA", "EVAL"))
        with self._lock:
            self._to_lose += [_Loss(wanted, word, kept, among)] * times

    @property
    def all_lost(self) -> bool:
        """Whether all that was to be lost has been."""
        return not self._to_lose

    def split(self, piece: int | None, pause: float = _BETWEEN_PIECES) -> None:
        """Let everything arrive in pieces, either way, each some time after the one before.

        Args:
            piece: Bytes in one; None for no more pieces.
            pause: Seconds in between; by default so few that they just are not read as one.
        """
        self._piece, self._pause = piece, pause

    def swallow(self, name: str) -> None:
        """Make connections half open: what comes on them from here on arrives nowhere.

        Args:
            name: The name of a command that has been sent on these connections, and on
                no others.
        """
        with self._lock:
            for link in self._links:
                link.swallows |= name.encode() in link.names

    def stall(self) -> None:
        """Accept connections and stay silent: no request goes on from here to the server."""
        self.requests_flow.clear()
        self.replies_flow.clear()

    def hold_replies(self) -> None:
        """Let the server execute what it is asked, and keep its replies."""
        self.replies_flow.clear()

    def resume(self) -> None:
        """Let through what was held back, and whatever comes."""
        self.requests_flow.set()
        self.replies_flow.set()

    def refuse(self) -> None:
        """Cut all connections and refuse new ones, as a server that is down."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def accept(self) -> None:
        """Listen again, as a server that came back."""
        listener = _bind(self.port)
        listener.listen(100)
        with self._lock:
            assert self._listener is None
            self._listener = listener
        self._run(self._accept_from, listener)

    def cut(self) -> None:
        """Cut the connections that there are; new ones are welcome."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.cut()

    def loses(self, commands: list[tuple[bytes, ...]]) -> _Loss | None:
        """Note commands on their way to the server; tell which reply is to be lost."""
        with self._lock:
            self.commands += commands
            for loss in self._to_lose:
                if any(loss.concerns(command) for command in commands):
                    self._to_lose.remove(loss)
                    return loss
            if self._is_script_to_lose(commands):
                return _Loss(frozenset(), None, 0, among=0)
            return None

    def _is_script_to_lose(self, commands: list[tuple[bytes, ...]]) -> bool:
        if self._script_to_lose is None:
            return False
        names, nth = self._script_to_lose
        so_far = sum(not names.isdisjoint(command[1:2]) for command in self.commands)
        return so_far == nth and any(not names.isdisjoint(command[1:2]) for command in commands)

    def call_on_loss(self) -> None:
        """Call `on_loss`, once."""
        on_loss, self.on_loss = self.on_loss, None
        if on_loss is not None:
            on_loss()

    def pass_on(self, data: bytes, end: socket.socket) -> None:
        """Send bytes to one end."""
        while data:
            piece = self._piece or len(data)
            end.sendall(data[:piece])
            if data := data[piece:]:
                time.sleep(self._pause)

    def _accept_from(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            for end in (client, server):
                with suppress(OSError):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(self, client, server)
            with self._lock:
                is_wanted = self._listener is listener
                if is_wanted:
                    self.connected += 1
                    self._links.append(link)
            if not is_wanted:
                link.cut()
            self._run(link.carry_requests)
            self._run(link.carry_replies)

    def _connect(self) -> socket.socket:
        if self._path is None:
            return socket.create_connection(self._address)
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._path)
        return server

    def _run(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()


class _Link:
    """One client's connection and its counterpart to the server."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self._relay = relay
        self._client = client
        self._server = server
        self._loss: _Loss | None = None
        self._unread = 0
        self._all_arrived = threading.Event()
        self._running = 2
        self._lock = threading.Lock()
        self.names: set[bytes] = set()
        self.swallows = False

    def cut(self) -> None:
        """Wake both threads; the second to end closes the sockets."""
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def carry_requests(self) -> None:
        parser = _RequestParser()
        with suppress(OSError):
            while data := self._client.recv(_CHUNK):
                self._relay.requests_flow.wait()
                if self.swallows:
                    continue
                commands = parser.feed(data)
                self.names |= {command[0].upper() for command in commands}
                loss = self._relay.loses(commands)
                if loss is not None and loss.kept is None:
                    self._server.sendall(data[: len(data) // 2])
                    self._relay.call_on_loss()
                    break
                self._note_loss(loss, commands)
                self._relay.pass_on(data, self._server)
        self._end()

    def _note_loss(self, loss: _Loss | None, commands: list[tuple[bytes, ...]]) -> None:
        if self._loss is None and loss is not None:
            self._unread, self._loss = loss.among, loss
        if self._loss is not None:
            self._unread -= sum(self._loss.concerns(command) for command in commands)
            if self._unread <= 0:
                self._all_arrived.set()

    def carry_replies(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(_CHUNK):
                self._relay.replies_flow.wait()
                if self.swallows:
                    continue
                if self._loss is not None:
                    self._all_arrived.wait()
                    self._relay.call_on_loss()
                    self._client.sendall(data[: self._loss.kept])
                    break
                self._relay.pass_on(data, self._client)
        self._end()

    def _end(self) -> None:
        self.cut()
        self._all_arrived.set()
        with self._lock:
            self._running -= 1
            if self._running == 0:
                self._client.close()
                self._server.close()


class _RequestParser:
    """Finds commands, arrays of bulk strings, in what a client sends."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[tuple[bytes, ...]]:
        """Give the commands that these bytes complete."""
        self._data += data
        commands = []
        with suppress(IndexError, ValueError):
            while self._data:
                words, self._data = _read_command(self._data)
                commands.append(words)
        return commands


def _read_command(data: bytes) -> tuple[tuple[bytes, ...], bytes]:
    line, data = _read_line(data)
    words = []
    for _ in range(int(line[1:])):
        line, data = _read_line(data)
        length = int(line[1:])
        if len(data) < length + 2:
            raise IndexError
        words.append(data[:length])
        data = data[length + 2 :]
    return tuple(words), data


def _read_line(data: bytes) -> tuple[bytes, bytes]:
    line, end, rest = data.partition(b"\r\n")
    if not end:
        raise IndexError
    return line, rest


def _bind(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound
