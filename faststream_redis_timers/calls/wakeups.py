"""Passes messages of channels to the waiting delivery loops of a broker.

A wake-up says that a timer was scheduled that is due before all others of its topic.
A lost wake-up delays that timer by one and a half times `max_polling_interval` at most.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from faststream_redis_timers.calls.listener import PLAIN, SHARDED
from faststream_redis_timers.calls.listeners import Listeners
from faststream_redis_timers.delivery.attendance import Channels
from faststream_redis_timers.delivery.duty import Missing, Post
from faststream_redis_timers_sync.protocol.cluster import slot_of

if TYPE_CHECKING:
    from faststream_redis_timers.calls.primaries import Primaries
    from faststream_redis_timers_sync.protocol.cluster import SlotMap


class Wakeable(Protocol):
    """A delivery loop, as wake-ups see it."""

    @property
    def channels(self) -> Channels:
        """Its channels."""
        ...

    @property
    def polling_interval(self) -> float:
        """Seconds between polls right after a timer was due."""
        ...

    def wake(self, sent_at: float, due_at: float) -> None:
        """Process a wake-up: server's time when sent, and the due time, in Unix seconds."""

    def call_for_help(self, share: float, missing: Missing) -> None:
        """Process a call for help: which fraction of hearers should come, and who is missing."""

    def poll_now(self) -> None:
        """Claim as soon as possible: wake-ups may have been missed."""

    def be_always_on_duty(self) -> None:
        """Stay on duty: a channel is refused, so other workers can't be called."""


class WakeUps:
    """Passes wake-ups and calls for help to the waiting delivery loops.

    Args:
        primaries: Knows which primary serves a channel, and connects to it.
        log: Writes a line with a `logging` level to the broker's log.
        are_sharded: Whether they are sent with SPUBLISH, as with hash tags.
    """

    def __init__(
        self, primaries: "Primaries", log: Callable[[int, str], None], *, are_sharded: bool
    ) -> None:
        """Prepare; the first `follow_post` connects."""
        self._listeners = Listeners(primaries, SHARDED if are_sharded else PLAIN, self, log)
        self._loops: dict[bytes, set[Wakeable]] = {}
        self._followed: dict[Wakeable, tuple[bytes, ...]] = {}
        self._waiting: set[Wakeable] = set()
        self._polls: dict[Wakeable, asyncio.TimerHandle] = {}

    def follow(self, slots: "SlotMap") -> None:
        """Follow what calls find out about a cluster's primaries.

        Args:
            slots: The map that the calls update.
        """
        slots.on_asked = self.note_asked
        slots.on_replaced = lambda: self._listeners.keep_to(slots.primaries)

    @property
    def are_heard(self) -> bool:
        """Whether all channels are heard; used only by tests."""
        return self._listeners.hear_all

    def follow_post(self, loop: Wakeable, post: Post) -> None:
        """Listen to the channels of a delivery loop's post only.

        The server is told immediately which channels it leaves.

        Args:
            loop: The loop.
            post: Its post.
        """
        self._listen(loop, loop.channels.at(post))

    async def remove(self, loop: Wakeable) -> None:
        """Stop listening for a delivery loop, and close connections that no loop needs.

        Args:
            loop: The loop.
        """
        self.leave(loop)
        await self._listeners.close_idle()

    def leave(self, loop: Wakeable) -> None:
        """Stop listening for a delivery loop; connections stay until it is removed.

        Args:
            loop: The loop.
        """
        self.set_waiting(loop, waits=False)
        if (poll := self._polls.pop(loop, None)) is not None:
            poll.cancel()
        self._listen(loop, ())

    def _listen(self, loop: Wakeable, channels: tuple[bytes, ...]) -> None:
        followed = self._followed.pop(loop, ())
        if channels:
            self._followed[loop] = channels
        for channel in followed:
            if channel not in channels:
                loops = self._loops[channel]
                loops.discard(loop)
                if not loops:
                    del self._loops[channel]
                    self._listeners.remove(channel)
        for channel in channels:
            if channel not in followed:
                loops = self._loops.setdefault(channel, set())
                loops.add(loop)
                if len(loops) == 1:
                    self._listeners.add(channel)
                elif channel == loop.channels.wake_ups and self._listeners.hears(channel):
                    loop.poll_now()

    def set_waiting(self, loop: Wakeable, *, waits: bool) -> None:
        """Note whether a loop waits; while none waits, nothing is read.

        Args:
            loop: The loop.
            waits: Whether it waits.
        """
        if waits:
            self._waiting.add(loop)
            self._listeners.may_read.set()
        else:
            self._waiting.discard(loop)
            if not self._waiting:
                self._listeners.may_read.clear()

    def hear(self, channel: bytes, message: bytes) -> None:
        """Wake the loops of a channel, or call them for help.

        Args:
            channel: The channel.
            message: The message.
        """
        # A loop that comes to help leaves the channel.
        for loop in tuple(self._loops.get(channel, ())):
            with suppress(ValueError):
                if channel == loop.channels.wake_ups:
                    sent_at, _, due_at = message.partition(b" ")
                    loop.wake(float(sent_at), float(due_at))
                elif channel == loop.channels.help_calls:
                    # Later versions may append values.
                    share, workers, seconds, *_ = message.split(b" ")
                    loop.call_for_help(float(share), Missing(int(workers), float(seconds)))

    def note_gap(self, channel: bytes) -> None:
        """Let the loops of a channel poll: wake-ups may have been missed.

        Args:
            channel: The channel.
        """
        for loop in self._loops.get(channel, ()):
            if channel == loop.channels.wake_ups:
                loop.poll_now()

    def note_refused(self, channel: bytes) -> None:
        """Keep the loops of a channel on duty: it is refused.

        Args:
            channel: The channel.
        """
        for loop in tuple(self._followed):
            if channel in loop.channels:
                loop.be_always_on_duty()

    def note_asked(self, key: bytes) -> None:
        """Note that a call was redirected with ASK: its slot is moving to another primary.

        Scripts that already run there wake nobody, so the loops of the slot poll after their
        `polling_interval`. If such a poll is redirected too, this is called again, until the slot
        has moved.

        Args:
            key: A key of the call.
        """
        slot = slot_of(key)
        for channel, loops in self._loops.items():
            if slot_of(channel) == slot:
                for loop in loops - self._polls.keys():
                    self._polls[loop] = asyncio.get_running_loop().call_later(
                        loop.polling_interval, self._poll, loop
                    )

    def _poll(self, loop: Wakeable) -> None:
        del self._polls[loop]
        loop.poll_now()
