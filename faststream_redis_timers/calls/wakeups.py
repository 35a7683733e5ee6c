"""Tells the delivery loops of a broker that wait what their channels say.

A wake-up says that a timer was scheduled before all others of its topic. It is a
hint: one that is lost costs a poll delay at most.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from faststream_redis_timers.calls.listener import Listener

if TYPE_CHECKING:
    from redis.asyncio import Redis


class Sleeper(Protocol):
    """A delivery loop, as wake-ups see it."""

    def wake(self, sent_at: float, due_at: float) -> None:
        """Take a hint: server's time when sent, and the due time, in Unix seconds."""

    def poll_now(self) -> None:
        """Claim at the next chance: wake-ups may have been missed."""


class WakeUps:
    """Passes wake-ups on to the delivery loops that wait.

    Args:
        client: Whose pool tells how to connect; none of its connections is used.
        log: Writes a line of a `logging` level to the broker's log.
    """

    def __init__(self, client: "Redis", log: Callable[[int, str], None]) -> None:
        """Prepare; the first `add` begins."""
        self._listener = Listener(client, self, log)
        self._sleepers: dict[bytes, set[Sleeper]] = {}
        self._waiting: set[Sleeper] = set()

    @property
    def are_heard(self) -> bool:
        """Whether the listening connection is there."""
        return self._listener.is_connected

    async def add(self, channel: bytes, sleeper: Sleeper) -> None:
        """Listen to a channel for a delivery loop.

        Args:
            channel: The topic's channel.
            sleeper: The loop.
        """
        sleepers = self._sleepers.setdefault(channel, set())
        sleepers.add(sleeper)
        if len(sleepers) == 1:
            await self._listener.add(channel)

    async def remove(self, channel: bytes, sleeper: Sleeper) -> None:
        """Stop listening for a delivery loop; after the last one the connection is closed.

        Args:
            channel: The topic's channel.
            sleeper: The loop.
        """
        self.set_waiting(sleeper, waits=False)
        sleepers = self._sleepers.get(channel, set())
        sleepers.discard(sleeper)
        if not sleepers:
            self._sleepers.pop(channel, None)
            await self._listener.remove(channel)

    def set_waiting(self, sleeper: Sleeper, *, waits: bool) -> None:
        """Note whether a loop waits: while none does, nothing is read.

        Args:
            sleeper: The loop.
            waits: Whether it waits.
        """
        if waits:
            self._waiting.add(sleeper)
            self._listener.may_read.set()
        else:
            self._waiting.discard(sleeper)
            if not self._waiting:
                self._listener.may_read.clear()

    def hear(self, channel: bytes, message: bytes) -> None:
        """Wake the loops of a channel.

        Args:
            channel: The channel.
            message: What came there.
        """
        sent_at, _, due_at = message.partition(b" ")
        with suppress(ValueError):
            times = float(sent_at), float(due_at)
            for sleeper in self._sleepers.get(channel, ()):
                sleeper.wake(*times)

    def note_gap(self, channel: bytes) -> None:
        """Let the loops of a channel look: wake-ups may have been missed.

        Args:
            channel: The channel.
        """
        for sleeper in self._sleepers.get(channel, ()):
            sleeper.poll_now()
