"""Tells the delivery loops of a broker that wait what their channels say.

A wake-up says that a timer was scheduled before all others of its topic. It is a
hint: one that is lost costs a poll delay at most.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from faststream_redis_timers.calls.listener import PLAIN, SHARDED
from faststream_redis_timers.calls.listeners import Listeners
from faststream_redis_timers_sync.protocol.cluster import slot_of

if TYPE_CHECKING:
    from faststream_redis_timers.calls.primaries import Primaries
    from faststream_redis_timers_sync.protocol.cluster import SlotMap


class Wakeable(Protocol):
    """A delivery loop, as wake-ups see it."""

    @property
    def polling_interval(self) -> float:
        """Seconds between polls right after a timer was due."""
        ...

    def wake(self, sent_at: float, due_at: float) -> None:
        """Take a hint: server's time when sent, and the due time, in Unix seconds."""

    def poll_now(self) -> None:
        """Claim at the next chance: wake-ups may have been missed."""


class WakeUps:
    """Passes wake-ups on to the delivery loops that wait.

    Args:
        primaries: Tells which primary serves a channel, and how to connect to it.
        log: Writes a line of a `logging` level to the broker's log.
        are_sharded: Whether they are sent with SPUBLISH, as keys with hash tags have it.
    """

    def __init__(
        self, primaries: "Primaries", log: Callable[[int, str], None], *, are_sharded: bool
    ) -> None:
        """Prepare; the first `add` begins."""
        self._listeners = Listeners(primaries, SHARDED if are_sharded else PLAIN, self, log)
        self._loops: dict[bytes, set[Wakeable]] = {}
        self._waiting: set[Wakeable] = set()
        self._polls: dict[Wakeable, asyncio.TimerHandle] = {}

    def follow(self, slots: "SlotMap") -> None:
        """Have calls through a cluster tell of what they learn of its primaries.

        Args:
            slots: The map that the calls keep.
        """
        slots.on_asked = self.note_asked
        slots.on_replaced = lambda: self._listeners.keep_to(slots.primaries)

    @property
    def are_heard(self) -> bool:
        """Whether all channels are listened to; asked by tests alone."""
        return self._listeners.hear_all

    def add(self, channel: bytes, loop: Wakeable) -> None:
        """Listen to a channel for a delivery loop.

        Args:
            channel: The topic's channel.
            loop: The loop.
        """
        loops = self._loops.setdefault(channel, set())
        loops.add(loop)
        if len(loops) == 1:
            self._listeners.add(channel)

    async def remove(self, channel: bytes, loop: Wakeable) -> None:
        """Stop listening for a delivery loop; after the last ones connections are closed.

        Args:
            channel: The topic's channel.
            loop: The loop.
        """
        self.set_waiting(loop, waits=False)
        if (poll := self._polls.pop(loop, None)) is not None:
            poll.cancel()
        loops = self._loops.get(channel, set())
        loops.discard(loop)
        if not loops:
            self._loops.pop(channel, None)
            await self._listeners.remove(channel)

    def set_waiting(self, loop: Wakeable, *, waits: bool) -> None:
        """Note whether a loop waits: while none does, nothing is read.

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
        """Wake the loops of a channel.

        Args:
            channel: The channel.
            message: What came there.
        """
        sent_at, _, due_at = message.partition(b" ")
        with suppress(ValueError):
            times = float(sent_at), float(due_at)
            for loop in self._loops.get(channel, ()):
                loop.wake(*times)

    def note_gap(self, channel: bytes) -> None:
        """Let the loops of a channel look: wake-ups may have been missed.

        Args:
            channel: The channel.
        """
        for loop in self._loops.get(channel, ()):
            loop.poll_now()

    def note_asked(self, key: bytes) -> None:
        """Note that a call was sent on with ASK: the slot of its key moves to another primary.

        Scripts that run there already wake nobody, so the loops of the slot poll after their
        `polling_interval`. A poll that is sent on too is noted again, and so on until the slot has
        moved.

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
