"""A topic on a server in virtual time: timers, claims, wake-ups, calls for help."""

import heapq
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from faststream_redis_timers.delivery.duty import NEVER, Call, Missing, Roster
from faststream_redis_timers_sync.protocol.model import Claimed, Step

CALL = 25e-6
"""Seconds that the server is busy with a call of a script."""

COMMAND = 2e-6
"""The same of a command to listen to a channel, or to no longer do so."""

MESSAGE = 1e-6
"""The same of a message, for each who hears it."""

WAY = 0.1e-3
"""Seconds from a worker to the server, or back; each time up to a fifth more or less."""

GROUPS = 64
"""Groups in which the reserve listens."""


class Timeline:
    """Virtual time, and what happens in it.

    Args:
        seed: Gives the same history each time, in every process.
    """

    def __init__(self, seed: int) -> None:
        """Begin at 0."""
        self.draws = random.Random(seed)  # noqa: S311  no secret
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0

    def at(self, moment: float, call: Callable[..., None], *arguments: object) -> None:
        """Let something happen.

        Args:
            moment: When.
            call: What.
            arguments: Its arguments.
        """
        self._count += 1
        heapq.heappush(self._events, (moment, self._count, call, arguments))

    def draw_way(self) -> float:
        """Draw the seconds that something is on its way."""
        return WAY * (0.8 + 0.4 * self.draws.random())

    def run(self, until: float) -> None:
        """Let all happen that does until a moment.

        Args:
            until: The moment.
        """
        events = self._events
        while events and events[0][0] <= until:
            self.now, _, call, arguments = heapq.heappop(events)
            call(*arguments)
        self.now = until


class Work(NamedTuple):
    """What a handler does: it waits, keeps the event loop, and waits again.

    Args:
        waits: Seconds that it waits at last, while others run.
        blocks: Seconds for which its event loop does not turn.
        waits_before: Seconds that it waits before that.
    """

    waits: float = 0.0
    blocks: float = 0.0
    waits_before: float = 0.0


class Timer(NamedTuple):
    """A timer.

    Args:
        due_at: When it is due.
        number: It tells timers apart that are due at the same time.
        work: What its handler does.
    """

    due_at: float
    number: int
    work: Work


@dataclass
class Counts:
    """What happened during some time.

    Attributes:
        calls: Calls of scripts by workers.
        commands: Commands of workers to listen to a channel, or to no longer do so.
        messages: Messages that left the server: one for each who heard it.
        timers: Timers that were scheduled.
        busy: Seconds that the server worked.
        begun_at: When handlers began, in this order.
        late: How many seconds after their due times.
    """

    calls: int = 0
    commands: int = 0
    messages: int = 0
    timers: int = 0
    busy: float = 0.0
    begun_at: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


class Caller(Protocol):
    """A worker, as the server sees it."""

    is_alive: bool

    def be_confirmed(self) -> None:
        """Take the reply to a command to listen to wake-ups."""

    def hear_wake_up(self, sent_at: float, due_at: float) -> None:
        """Take a wake-up."""

    def hear_call(self, share: float, missing: Missing) -> None:
        """Take a call for help."""

    def take_reply(self, step: Step, found: list[Timer], limit: int, roster: Roster) -> None:
        """Take the reply to a claim."""


Channel = dict[Caller, None]
"""Who listens to it."""


class Topic:
    """The topic; the server does one thing at a time, in the order in which requests come.

    Args:
        timeline: The time.
        groups: Groups in which the reserve listens.
    """

    def __init__(self, timeline: Timeline, groups: int = GROUPS) -> None:
        """Begin without timers and workers."""
        self.timeline = timeline
        self.counts = Counts()
        self.on_duty: Channel = {}
        self.groups: list[Channel] = [{} for _ in range(groups)]
        self.workers: Channel = {}
        self._waiting: list[Timer] = []
        self._free_at = 0.0

    def _serve(self, seconds: float) -> float:
        """Work on a request; give when that began."""
        begun_at = max(self.timeline.now, self._free_at)
        self._free_at = begun_at + seconds
        self.counts.busy += seconds
        return begun_at

    def pause(self, seconds: float) -> None:
        """Let the server do nothing for a while, as while it forks.

        Args:
            seconds: For how long.
        """
        self._serve(seconds)

    def _reply(self, call: Callable[..., None], *arguments: object) -> None:
        self.timeline.at(self._free_at + self.timeline.draw_way(), call, *arguments)

    # --- what workers listen to

    def listen(self, caller: Caller, channel: Channel) -> None:
        """Listen to a channel.

        Args:
            caller: Who listens.
            channel: The channel.
        """
        if not caller.is_alive:
            return
        self.counts.commands += 1
        self._serve(COMMAND)
        channel[caller] = None
        if channel is self.on_duty:
            self._reply(caller.be_confirmed)

    def leave(self, caller: Caller, channel: Channel) -> None:
        """No longer listen to a channel.

        Args:
            caller: Who listened.
            channel: The channel.
        """
        self.counts.commands += 1
        self._serve(COMMAND)
        channel.pop(caller, None)

    def drop(self, caller: Caller) -> None:
        """Lose a worker's connection.

        Args:
            caller: The worker.
        """
        for channel in (self.on_duty, self.workers, *self.groups):
            channel.pop(caller, None)

    # --- messages

    def _wake(self, sent_at: float, due_at: float) -> None:
        self._send(list(self.on_duty), lambda caller: caller.hear_wake_up, sent_at, due_at)
        if not self.on_duty:
            self.call_for_help(1, NEVER.missing)

    def call_for_help(self, wanted: int, missing: Missing) -> None:
        """Call workers of the reserve, group by group from any on.

        Args:
            wanted: How many are to come.
            missing: What they are to know.
        """
        first = self.timeline.draws.randrange(len(self.groups))
        called: list[Caller] = []
        for group in self.groups[first:] + self.groups[:first]:
            called += group
            if len(called) >= wanted:
                break
        # Each draws for itself: one more is wanted, not to have none too often.
        share = min(1.0, (wanted + 1) / len(called)) if len(called) > wanted else 1.0
        self._send(called, lambda caller: caller.hear_call, share, missing)

    def _send(
        self,
        callers: list[Caller],
        ear: Callable[[Caller], Callable[..., None]],
        *arguments: object,
    ) -> None:
        self._serve(MESSAGE * len(callers))
        self.counts.messages += len(callers)
        for caller in callers:
            self._reply(ear(caller), *arguments)

    # --- scripts

    def schedule(self, timers: Sequence[Timer]) -> None:
        """Schedule timers.

        Args:
            timers: The timers, all due at the same time.
        """
        now = self._serve(CALL)
        head = self._waiting[0].due_at if self._waiting else math.inf
        self.counts.timers += len(timers)
        for timer in timers:
            heapq.heappush(self._waiting, timer)
        if timers[0].due_at < head:
            self._wake(now, timers[0].due_at)

    def claim(self, caller: Caller, limit: int, call: Call) -> None:
        """Claim timers, and settle others.

        Args:
            caller: Who claims.
            limit: How many timers at most.
            call: When to call for help.
        """
        if not caller.is_alive:
            return
        now = self._serve(CALL)
        self.counts.calls += 1
        waiting, found = self._waiting, []
        while len(found) < limit and waiting and waiting[0].due_at <= now:
            found.append(heapq.heappop(waiting))
        head = waiting[0].due_at if waiting else None
        if found and (wanted := self._wanted(call, now, is_full=len(found) == limit)) > 0:
            self.call_for_help(wanted, call.missing)
        claimed = [Claimed(b"", b"", str(timer.due_at).encode()) for timer in found]
        roster = Roster(len(self.on_duty), len(self.workers))
        self._reply(caller.take_reply, Step(now, b"", head, b"", claimed, []), found, limit, roster)

    def _wanted(self, call: Call, now: float, *, is_full: bool) -> int:
        wanted = (call.least_if_full if is_full else call.least) - len(self.on_duty)
        if is_full and call.slots:
            rest = sum(timer.due_at <= now for timer in self._waiting)
            wanted = max(wanted, math.ceil(rest / call.slots))
        return wanted
