"""One connection that listens to channels of one primary."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from faststream_redis_timers.calls.exchange import writer_of
from faststream_redis_timers.clock import monotonic
from faststream_redis_timers.tasks import check_cancelled, end_task

if TYPE_CHECKING:
    from faststream_redis_timers.calls.primaries import Primaries
    from faststream_redis_timers_sync.protocol.cluster import Address

PING_INTERVAL = 30.0
"""Seconds of silence after which the connection is pinged: on a half-open one
every timer would be late without notice."""

ANSWER_TIMEOUT = 5.0
"""Seconds within which it must connect, subscribe and reply to a ping."""

MOST_UNREAD = 16
"""Unread replies that may pile up while nothing waits for messages."""


class PubSub(NamedTuple):
    """The commands and replies of one kind of pub/sub.

    Args:
        subscribe: The command to listen to a channel.
        unsubscribe: The command to stop.
        subscribed: The first word of the reply to the former.
        unsubscribed: That of the reply to the latter, or of the notice that the channel has moved.
        message: The first word of a message.
    """

    subscribe: str
    unsubscribe: str
    subscribed: bytes
    unsubscribed: bytes
    message: bytes


PLAIN = PubSub("SUBSCRIBE", "UNSUBSCRIBE", b"subscribe", b"unsubscribe", b"message")
"""For messages of PUBLISH."""

SHARDED = PubSub("SSUBSCRIBE", "SUNSUBSCRIBE", b"ssubscribe", b"sunsubscribe", b"smessage")
"""For messages of SPUBLISH."""


class Keeper(Protocol):
    """Is told what happens to a listener and its channels."""

    def hear(self, channel: bytes, message: bytes) -> None:
        """Receive a message."""

    def note_heard(self, channel: bytes) -> None:
        """Note that a channel is listened to from now on."""

    def note_refused(self, channel: bytes, error: Exception) -> None:
        """Note that the user may not listen to a channel, which stays with the listener."""

    def note_lost(self, channel: bytes) -> None:
        """Note that the listener has lost a channel: another primary may serve it."""

    def note_end(self, listener: "Listener") -> None:
        """Note that a listener has ended, and listens to none of its channels."""


class Listener:
    """Listens to channels on its own connection, until that ends or no channel is left.

    Args:
        primaries: Creates connections.
        primary: The primary.
        pub_sub: The kind of pub/sub.
        keeper: Is told what happens to it.
        may_read: Messages are read only while it is set.

    Attributes:
        primary: The primary.
        channels: The channels to listen to, in the order in which they were added.
    """

    def __init__(
        self,
        primaries: "Primaries",
        primary: "Address | None",
        pub_sub: PubSub,
        keeper: Keeper,
        may_read: asyncio.Event,
    ) -> None:
        """Start connecting."""
        self.primary = primary
        self.channels: dict[bytes, None] = {}
        self._primaries = primaries
        self._connection: Any = None
        self._pub_sub = pub_sub
        self._keeper = keeper
        self._may_read = may_read
        self._is_connected = False
        self._confirmed: set[bytes] = set()
        # Commands without a reply yet, since errors do not name theirs.
        self._asked: deque[tuple[str | bytes, ...]] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._task = asyncio.create_task(self._run(), name="wake-ups of timers")

    def add(self, channel: bytes) -> None:
        """Listen to another channel.

        Args:
            channel: The channel.
        """
        self.channels[channel] = None
        self._ask_if_connected(self._pub_sub.subscribe, channel)

    def remove(self, channel: bytes) -> None:
        """Stop listening to a channel, and tell the server immediately.

        Args:
            channel: The channel.
        """
        self._forget(channel)
        self._ask_if_connected(self._pub_sub.unsubscribe, channel)

    def hang_up(self) -> None:
        """Cut the connection, which ends the listener as if the server had closed it."""
        if self._is_connected and (writer := writer_of(self._connection)) is not None:
            writer.transport.abort()

    async def close(self) -> None:
        """End without telling the keeper."""
        self.channels.clear()
        await end_task(self._task)

    def _forget(self, channel: bytes) -> None:
        self.channels.pop(channel, None)
        self._confirmed.discard(channel)

    def _ask_if_connected(self, command: str, channel: bytes) -> None:
        if self._is_connected:
            # If the connection fails, another one listens to the channels.
            with suppress(Exception):
                self._ask(command, channel)

    def _ask(self, *words: str | bytes) -> None:
        packed = self._connection.pack_command(*words)
        # redis-py may create a task to write. A handler can block the event loop until that runs,
        # and two commands could change places.
        writer = writer_of(self._connection)
        if writer is None:
            self._sending = asyncio.create_task(self._send(packed, self._sending))
        elif writer.is_closing():
            return
        else:
            writer.writelines(packed)
        self._asked.append(words)
        if len(self._asked) > MOST_UNREAD:
            # A loop that always has something to claim waits for no messages, but subscribes and
            # unsubscribes with each claim, so replies would pile up.
            self._may_read.set()

    async def _send(self, packed: Any, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before})
        # The reader notices that the connection has failed.
        with suppress(Exception):
            # A health check would read at the same time as the listener.
            await self._connection.send_packed_command(packed, check_health=False)

    async def _run(self) -> None:
        try:
            # Delivery loops log outages; whatever the error is, wake-ups go on.
            with suppress(Exception):
                await self._connect()
                await self._listen()
            check_cancelled()
        finally:
            self._is_connected = False
            with suppress(Exception):
                await self._connection.disconnect(nowait=True)
        self._keeper.note_end(self)

    async def _connect(self) -> None:
        self._connection = self._primaries.new_connection(self.primary)
        may_be_replica = self._primaries.is_cluster
        async with asyncio.timeout(ANSWER_TIMEOUT):
            await self._connection.connect()
            if may_be_replica:
                await self._connection.send_command("HELLO", check_health=False)
            self._is_connected = True
            for channel in self.channels:
                self._ask(self._pub_sub.subscribe, channel)
            # A replica accepts channels, but gets few messages. So the role is requested together
            # with the first channels; a primary that becomes a replica later tells us.
            if may_be_replica and _role_in(await self._read()) == b"replica":
                raise ReadOnlyError
            while self._asked:
                self._process(await self._read())

    async def _listen(self) -> None:
        heard_at = asked_at = monotonic()
        pinged = False
        while self.channels:
            check_cancelled()
            await self._may_read.wait()
            reply = await self._read(ANSWER_TIMEOUT if pinged else PING_INTERVAL)
            now = monotonic()
            if now - asked_at >= PING_INTERVAL:
                # Refused channels may be allowed by now.
                asked_at = now
                self._ask_again()
            if reply is not None:
                heard_at = now
                pinged = False
                self._process(reply)
            elif pinged:
                raise TimeoutError
            elif now - heard_at >= PING_INTERVAL:
                self._ask("PING")
                pinged = True

    def _ask_again(self) -> None:
        for channel in self.channels.keys() - self._confirmed:
            if (self._pub_sub.subscribe, channel) not in self._asked:
                self._ask(self._pub_sub.subscribe, channel)

    async def _read(self, timeout: float | None = None) -> Any:
        try:
            # Under RESP3 pub/sub messages are pushes.
            return await self._connection.read_response(
                disable_decoding=True, timeout=timeout, push_request=True
            )
        except ResponseError as error:
            return error

    def _process(self, reply: Any) -> None:
        match reply:
            case [self._pub_sub.message, channel, text]:
                self._keeper.hear(channel, text)
            case [self._pub_sub.subscribed, channel, _]:
                words = (self._pub_sub.subscribe, channel)
                self._is_reply_to(*words)
                # It may have been removed meanwhile, and added again.
                if channel in self.channels and words not in self._asked:
                    self._confirmed.add(channel)
                    self._keeper.note_heard(channel)
            case [self._pub_sub.unsubscribed, channel, _]:
                # It was not requested if the channel moves to another primary, or this one
                # becomes a replica.
                if not self._is_reply_to(self._pub_sub.unsubscribe, channel):
                    self._lose(channel)
            case ResponseError() if self._asked:
                self._process_refusal(self._asked.popleft(), reply)
            case _:
                self._is_reply_to("PING")

    def _is_reply_to(self, *words: str | bytes) -> bool:
        if is_asked := words in self._asked:
            self._asked.remove(words)
        return is_asked

    def _process_refusal(self, words: tuple[str | bytes, ...], error: ResponseError) -> None:
        match words:
            case [self._pub_sub.subscribe, bytes(channel)] if channel in self.channels:
                if isinstance(error, NoPermissionError):
                    self._keeper.note_refused(channel, error)
                else:
                    self._lose(channel)
            case [self._pub_sub.unsubscribe, bytes(channel)]:
                if isinstance(error, NoPermissionError):
                    self._keeper.note_refused(channel, error)

    def _lose(self, channel: bytes) -> None:
        if channel in self.channels:
            self._forget(channel)
            self._keeper.note_lost(channel)


def _role_in(reply: Any) -> Any:
    """Return the role in a node's reply to HELLO; None if it has none."""
    match reply:
        case list():
            return dict(zip(reply[::2], reply[1::2], strict=False)).get(b"role")
        case dict():
            return reply.get(b"role")
    return None
