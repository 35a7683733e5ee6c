"""One connection that listens to channels, and comes back whatever becomes of it."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from redis.exceptions import NoPermissionError, RedisError

from faststream_redis_timers.clock import monotonic
from faststream_redis_timers.delivery.schedule import Backoff
from faststream_redis_timers.tasks import check_cancelled, end_task
from faststream_redis_timers_sync.protocol.shown import text_of

if TYPE_CHECKING:
    from faststream_redis_timers.calls.primaries import Primaries

PING_INTERVAL = 30.0
"""Seconds of silence after which the connection is pinged: on one that is half
open every timer would be late, unnoticed."""

ANSWER_TIMEOUT = 5.0
"""Seconds within which it must connect, subscribe and answer a ping."""


class PubSub(NamedTuple):
    """The words of one kind of pub/sub.

    Args:
        subscribe: The command that begins to listen to a channel.
        unsubscribe: The command that ends it.
        subscribed: The first word of the reply to the former.
        message: The first word of a message.
    """

    subscribe: str
    unsubscribe: str
    subscribed: bytes
    message: bytes


PLAIN = PubSub("SUBSCRIBE", "UNSUBSCRIBE", b"subscribe", b"message")
"""What PUBLISH sends."""

SHARDED = PubSub("SSUBSCRIBE", "SUNSUBSCRIBE", b"ssubscribe", b"smessage")
"""What SPUBLISH sends."""


class Hearer(Protocol):
    """Who is told what a listener hears."""

    def hear(self, channel: bytes, message: bytes) -> None:
        """Take a message."""

    def note_gap(self, channel: bytes) -> None:
        """Note that messages of a channel may have been missed: it is listened to from now on."""


class Listener:
    """Listens to channels on a connection of its own, as long as there are any.

    Args:
        primaries: Tells how to connect.
        pub_sub: The kind of pub/sub.
        hearer: Is told what is heard.
        log: Writes a line of a `logging` level to the broker's log.

    Attributes:
        may_read: While it is not set, nothing is read.
    """

    def __init__(
        self,
        primaries: "Primaries",
        pub_sub: PubSub,
        hearer: Hearer,
        log: Callable[[int, str], None],
    ) -> None:
        """Prepare; the first `add` begins."""
        self._primaries = primaries
        self._pub_sub = pub_sub
        self._hearer = hearer
        self._log = log
        self.may_read = asyncio.Event()
        # In the order in which they were added.
        self._wanted: dict[bytes, None] = {}
        self._confirmed: set[bytes] = set()
        self._refused = False
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether it listens to what was wanted when it connected."""
        return self._connection is not None

    async def add(self, channel: bytes) -> None:
        """Listen to one more channel.

        Args:
            channel: The channel.
        """
        self._wanted[channel] = None
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="wake-ups of timers")
        elif self._connection is not None:
            await self._send(self._pub_sub.subscribe, channel)

    async def remove(self, channel: bytes) -> None:
        """Stop listening to a channel; after the last one the connection is closed.

        Args:
            channel: The channel.
        """
        self._wanted.pop(channel, None)
        self._confirmed.discard(channel)
        if not self._wanted:
            await self._stop()
        elif self._connection is not None:
            await self._send(self._pub_sub.unsubscribe, channel)

    async def _send(self, command: str, channel: bytes) -> None:
        # The last `remove` or an error may close the connection meanwhile, where
        # redis-py misses its writer. What comes after it subscribes anew.
        with suppress(RedisError, OSError, AttributeError):
            # A health check would read, as the listener does at this moment.
            await self._connection.send_command(command, channel, check_health=False)

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await end_task(task)

    async def _run(self) -> None:
        backoff = Backoff(random.random, ceiling=5.0)
        while True:
            # An outage is told by the delivery loops; whatever it is, wake-ups go on.
            with suppress(Exception):
                await self._connect_and_listen(backoff)
            check_cancelled()
            await asyncio.sleep(backoff.next_pause())

    async def _connect_and_listen(self, backoff: Backoff) -> None:
        connection = self._primaries.new_connection(None)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                await connection.connect()
                channels = list(self._wanted)
                self._confirmed.clear()
                # One by one: a refused channel must not take the others with it.
                for channel in channels:
                    await connection.send_command(self._pub_sub.subscribe, channel)
                for _ in channels:
                    self._note_confirmed(await self._read(connection))
                # `add` and `remove` could not send those that came and went meanwhile.
                self._connection = connection
                for channel in self._wanted.keys() - channels:
                    await connection.send_command(self._pub_sub.subscribe, channel)
                for channel in channels:
                    # Not looked for beforehand: while one is sent others come back.
                    if channel not in self._wanted:
                        await connection.send_command(self._pub_sub.unsubscribe, channel)
            backoff.reset()
            # What was sent before is lost, the first time too.
            for channel in list(self._wanted):
                self._hearer.note_gap(channel)
            await self._listen(connection)
        finally:
            self._connection = None
            with suppress(Exception):
                await connection.disconnect(nowait=True)

    async def _read(self, connection: Any, timeout: float | None = None) -> Any:
        try:
            # Under RESP3 pub/sub messages are pushes.
            return await connection.read_response(
                disable_decoding=True, timeout=timeout, push_request=True
            )
        except NoPermissionError as error:
            if not self._refused:
                self._refused = True
                self._log(
                    logging.WARNING,
                    "wake-ups are refused, timers scheduled at short notice will be up to a poll "
                    f"delay late; the ACL must allow the channels {self._channels()}: "
                    f"{text_of(error)}",
                )
            return error

    def _channels(self) -> str:
        return ", ".join(repr(c.decode("utf-8", "backslashreplace")) for c in self._wanted)

    async def _listen(self, connection: Any) -> None:
        heard_at = monotonic()
        pinged = False
        while True:
            check_cancelled()
            await self.may_read.wait()
            message = await self._read(connection, ANSWER_TIMEOUT if pinged else PING_INTERVAL)
            now = monotonic()
            if message is not None:
                heard_at = now
                pinged = False
                self._pass_on(message)
            elif pinged:
                raise TimeoutError
            elif now - heard_at >= PING_INTERVAL:
                # What was refused may be allowed by now.
                for channel in self._wanted.keys() - self._confirmed:
                    await self._send(self._pub_sub.subscribe, channel)
                await connection.send_command("PING", check_health=False)
                pinged = True

    def _note_confirmed(self, message: Any) -> None:
        match message:
            case [self._pub_sub.subscribed, channel, _] if channel in self._wanted:
                self._confirmed.add(channel)
                if self._refused and self._confirmed.issuperset(self._wanted):
                    self._refused = False
                    self._log(logging.INFO, "wake-ups are allowed again")

    def _pass_on(self, message: Any) -> None:
        self._note_confirmed(message)
        match message:
            case [self._pub_sub.subscribed, channel, _]:
                self._hearer.note_gap(channel)
            case [self._pub_sub.message, channel, text]:
                self._hearer.hear(channel, text)
