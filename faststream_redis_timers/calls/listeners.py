"""Listens to each wanted channel on the primary that serves it."""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from faststream_redis_timers.calls.listener import Listener, PubSub
from faststream_redis_timers.delivery.schedule import Backoff
from faststream_redis_timers.tasks import check_cancelled, end_task
from faststream_redis_timers_sync.protocol.safe_text import text_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from faststream_redis_timers.calls.primaries import Primaries
    from faststream_redis_timers_sync.protocol.cluster import Address

LONGEST_PAUSE = 5.0
"""Longest pause in seconds, 7.5 with jitter, between two tries to listen to a channel."""


class Hearer(Protocol):
    """Receives messages and notices."""

    def hear(self, channel: bytes, message: bytes) -> None:
        """Receive a message."""

    def note_gap(self, channel: bytes) -> None:
        """Note that messages of a channel may have been missed before it is heard from now on."""

    def note_refused(self, channel: bytes) -> None:
        """Note that the user may not listen to a channel, or not leave it."""


class Listeners:
    """One listener for each primary that serves wanted channels.

    Args:
        primaries: Knows which primary serves a channel, and connects to it.
        pub_sub: The kind of pub/sub.
        hearer: Receives messages and notices.
        log: Writes a line with a `logging` level to the broker's log.

    Attributes:
        may_read: Messages are read only while it is set.
    """

    def __init__(
        self,
        primaries: "Primaries",
        pub_sub: PubSub,
        hearer: Hearer,
        log: Callable[[int, str], None],
    ) -> None:
        """Prepare; the first `add` connects."""
        self._primaries = primaries
        self._pub_sub = pub_sub
        self._hearer = hearer
        self._log = log
        self.may_read = asyncio.Event()
        self._listeners: dict[Address | None, Listener] = {}
        # Wanted channels, in the order in which they were added, and their listeners.
        self._wanted: dict[bytes, Listener | None] = {}
        # Channels whose primary is looked up next.
        self._sought: dict[bytes, None] = {}
        self._unheard: set[bytes] = set()
        self._refused: set[bytes] = set()
        self._has_logged = False
        self._backoff = Backoff(random.random, ceiling=LONGEST_PAUSE)
        self._alarm: asyncio.TimerHandle | None = None
        self._may_have_moved = False
        self._search: asyncio.Task[None] | None = None

    @property
    def hear_all(self) -> bool:
        """Whether all channels are heard, except refused ones."""
        return bool(self._wanted) and not self._unheard

    def hears(self, channel: bytes) -> bool:
        """Return whether a channel is heard.

        Args:
            channel: The channel.
        """
        return channel in self._wanted and channel not in self._unheard | self._refused

    def add(self, channel: bytes) -> None:
        """Listen to another channel.

        Args:
            channel: The channel.
        """
        self._wanted[channel] = None
        self._unheard.add(channel)
        self._seek(channel)

    def remove(self, channel: bytes) -> None:
        """Stop listening to a channel, and tell the server immediately.

        Args:
            channel: The channel.
        """
        listener = self._wanted.pop(channel, None)
        self._sought.pop(channel, None)
        self._refused.discard(channel)
        self._note_settled(channel)
        if listener is not None:
            listener.remove(channel)

    async def close_idle(self) -> None:
        """Close connections to primaries that serve no wanted channel."""
        while idle := [one for one in self._listeners.values() if not one.channels]:
            del self._listeners[idle[0].primary]
            await idle[0].close()
        if not self._wanted:
            await self._end_search()

    def keep_to(self, primaries: "Collection[Address]") -> None:
        """Drop connections to nodes that are no longer primaries.

        If a node's machine has died, nothing else would close them before they time out.

        Args:
            primaries: All nodes that serve slots.
        """
        for primary, listener in self._listeners.items():
            if primary not in primaries:
                listener.hang_up()

    async def _end_search(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        search, self._search = self._search, None
        if search is not None:
            await end_task(search)

    # --- finding primaries

    def _seek(self, *channels: bytes) -> None:
        self._sought |= dict.fromkeys(channels)
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._place(), name="primaries of wake-ups")

    async def _place(self) -> None:
        while self._sought:
            if self._may_have_moved:
                self._may_have_moved = False
                # If no node knows, try the old map.
                with suppress(Exception):
                    await self._primaries.refresh()
                check_cancelled()
                continue
            channel = next(iter(self._sought))
            try:
                primary = await self._primaries.primary_of(channel)
            except Exception:  # noqa: BLE001  whatever it is, wake-ups go on
                check_cancelled()
                if channel in self._sought:
                    self._put_off(channel)
                continue
            check_cancelled()
            if channel in self._sought:
                del self._sought[channel]
                self._wanted[channel] = listener = self._listener_at(primary)
                listener.add(channel)

    def _listener_at(self, primary: "Address | None") -> Listener:
        listener = self._listeners.get(primary)
        if listener is None:
            listener = Listener(self._primaries, primary, self._pub_sub, self, self.may_read)
            self._listeners[primary] = listener
        return listener

    def _put_off(self, channel: bytes) -> None:
        self._sought.pop(channel, None)
        self._wanted[channel] = None
        self._unheard.add(channel)
        if self._alarm is None:
            pause = self._backoff.next_pause()
            self._alarm = asyncio.get_running_loop().call_later(pause, self._search_again)

    def _search_again(self) -> None:
        self._alarm = None
        self._may_have_moved = True
        self._seek(*(channel for channel, listener in self._wanted.items() if listener is None))

    # --- what happens to channels

    def hear(self, channel: bytes, message: bytes) -> None:
        """Pass a message on.

        Args:
            channel: Its channel.
            message: The message.
        """
        self._hearer.hear(channel, message)

    def note_heard(self, channel: bytes) -> None:
        """Pass on that a channel is heard from now on.

        Args:
            channel: The channel.
        """
        self._note_settled(channel)
        if channel in self._refused:
            self._refused.discard(channel)
            if not self._refused:
                self._has_logged = False
                self._log(logging.INFO, "wake-ups are allowed again")
        # Messages sent before are lost, also the first time.
        self._hearer.note_gap(channel)

    def note_refused(self, channel: bytes, error: Exception) -> None:
        """Log the first refused channel, and pass it on.

        Args:
            channel: The channel.
            error: The server's error.
        """
        self._note_settled(channel)
        if not self._has_logged:
            self._has_logged = True
            begin = dict.fromkeys(_stem_of(wanted) for wanted in (*self._wanted, channel))
            self._log(
                logging.WARNING,
                "wake-ups are refused: timers scheduled at short notice may be late by up to one "
                "and a half times max_polling_interval, and all workers of a topic claim when a "
                "timer is due. The ACL must allow channels that begin with "
                f"{', '.join(map(repr, begin))}: {text_of(error)}",
            )
        self._refused.add(channel)
        self._hearer.note_refused(channel)

    def note_lost(self, channel: bytes) -> None:
        """Look up the primary that serves a lost channel now.

        Args:
            channel: The channel.
        """
        self._put_off(channel)

    def note_end(self, listener: Listener) -> None:
        """Look up the primaries for the channels of an ended listener.

        Args:
            listener: The listener.
        """
        if self._listeners.get(listener.primary) is listener:
            del self._listeners[listener.primary]
        for channel in listener.channels:
            self._put_off(channel)

    def _note_settled(self, channel: bytes) -> None:
        self._unheard.discard(channel)
        if not self._unheard:
            self._backoff.reset()


def _stem_of(channel: bytes) -> str:
    """Return the common beginning of all channels of a channel's topic.

    Args:
        channel: The channel.
    """
    return channel.partition(b"\xff")[0].decode("utf-8", "backslashreplace")
