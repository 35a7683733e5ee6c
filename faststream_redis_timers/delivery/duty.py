"""Which workers of a fleet react to alarms and wake-ups: only arithmetic, without clock and I/O.

If all idle workers claimed whenever a timer is due, calls would grow with the fleet. So a few
workers are on duty, and the others in reserve. Nothing assigns them: the reply to a claim has the
number of subscribers of the topic's channel for wake-ups, and each worker decides by that number.
It is an upper bound, since workers that hang count for minutes. Events are better evidence: a
worker that loses a race leaves, since another worker is alive; and a timer that nobody claimed
shows that the counted workers are missing.
"""

import math
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple


class Post(Enum):
    """What a worker listens to, and when it claims.

    Attributes:
        ON_DUTY: It hears wake-ups, and claims when a timer is due.
        IN_RESERVE: It hears calls for help, and polls.
        AWAY: It hears nothing: it has no free slot, or its handlers may block the event loop.
    """

    ON_DUTY = auto()
    IN_RESERVE = auto()
    AWAY = auto()


class Roster(NamedTuple):
    """How many workers there are, as the server counts them at a claim.

    Args:
        on_duty: Workers that are subscribed to wake-ups; None if the server does not know, but
            there is at least one.
        workers: All workers of the topic, including those that are away; likewise.
    """

    on_duty: int | None
    workers: int | None


class ClaimResult(NamedTuple):
    """What a claim found out.

    Args:
        found: How many timers it found.
        free: How many slots are left.
        overdue: For how many seconds the first never-leased timer had been due; 0 without one.
        is_outrun: Whether another worker already has the timer that it came for.
        is_more_due: Whether it left due timers.
    """

    found: int
    free: int
    overdue: float
    is_outrun: bool
    is_more_due: bool


class Missing(NamedTuple):
    """What a worker knows about workers that count as on duty but are missing.

    Args:
        workers: How many.
        seconds: For how long this is valid.
    """

    workers: int
    seconds: float


class Call(NamedTuple):
    """When a claim should call workers in reserve.

    A claim that finds timers calls as many as are missing on duty, or as can take the timers that
    it leaves, whichever is more.

    Args:
        least: How many workers should be on duty, including this one if it is.
        least_if_full: The same if it finds as many timers as it asks for.
        slots: How many of the remaining timers each called worker takes; 0 to call nobody for
            them.
        missing: What the called workers should know.
    """

    least: int
    least_if_full: int
    slots: int
    missing: Missing

    def packed(self) -> bytes:
        """Return it in the form of scripts."""
        workers, seconds = self.missing
        numbers = (self.least, self.least_if_full, self.slots, workers, seconds)
        return b"%d %d %d %d %.1f" % numbers


NEVER = Call(0, 0, 0, Missing(0, 0.0))
"""Call nobody."""


class Duty:
    """Whether a worker is on duty for a topic.

    Times are seconds of one monotonic clock.

    Args:
        holders: How many workers should be on duty.
        slots: How many timers an idle worker takes.
        draw: Returns a random number from 0 to 1.
        max_wait: Seconds for which workers on duty may leave due timers, to claim more at once.

    Attributes:
        post: The current post.
    """

    __slots__ = (
        "_draw",
        "_holders",
        "_is_small",
        "_left",
        "_missing",
        "_missing_until",
        "_next",
        "_quiet_until",
        "_slots",
        "_to_be_trusted",
        "_was_idle",
        "post",
    )

    SMALL = 8
    """Workers up to which all are on duty."""

    STALL = 0.005
    """Seconds for which a handler may block the event loop before its worker counts as deaf."""

    LEFT = 0.05
    """Seconds: if a worker in reserve finds a timer that was due for longer, and for longer than
    workers on duty wait for others, nobody on duty was there, or there is a backlog. It is longer
    than `STALL`, since workers that share too few processors may be later than that: then all of
    them would go on duty, and be later still."""

    MEMORY = 300.0
    """Seconds for which missing workers are ignored. If the server counts them for longer, they are
    found missing again."""

    PROBATION = 100
    """How many handlers must end without blocking the event loop after one that blocked it."""

    PATIENCE = 8
    """Number of races after which one of too many workers on duty leaves, on average. All losers of
    a race draw at the same time, and the winner may leave for its handler: with a lower number,
    too often nobody would stay."""

    QUIET = 0.01
    """Seconds after a claim that left due timers, or after being called, until it calls for the
    remaining timers."""

    def __init__(
        self, holders: int, slots: int, draw: Callable[[], float], max_wait: float = 0.0
    ) -> None:
        """Start away: nothing is known before the first reply."""
        self._holders = holders
        self._left = self.LEFT + max_wait
        self._slots = slots
        self._draw = draw
        self.post = Post.AWAY
        self._next = Post.IN_RESERVE
        self._is_small = False
        self._missing = 0
        self._missing_until = -math.inf
        # How many handlers must end before the event loop is trusted to turn while they run.
        self._to_be_trusted = 1
        self._quiet_until = -math.inf
        # Whether its last claim found no timer.
        self._was_idle = True

    # --- what to ask the server for

    def call(self, now: float, free_if_some: int = 1, free_if_full: int = 0) -> Call:
        """Return when a claim should call for help.

        Args:
            now: The time when it is sent.
            free_if_some: How many slots are left if it finds fewer timers than it asks for.
            free_if_full: How many slots are left if it finds as many.
        """
        if self._is_small:
            return NEVER
        missing = self._missing_at(now)
        on_duty = self.post is Post.ON_DUTY
        is_quiet = now < self._quiet_until
        if is_quiet and not on_duty:
            # If all workers are busy there is nobody to call, and the search takes longer than a
            # claim. A worker that leaves its post calls anyway.
            return Call(0, 0, 0, missing)
        holders = self._holders + missing.workers
        return Call(
            holders + (on_duty and not self._may_stay(free_if_some)),
            holders + (on_duty and not self._may_stay(free_if_full)),
            0 if is_quiet else self._slots,
            missing,
        )

    def leaving(self) -> Call:
        """Return what to call for when it leaves for good: another worker, if it is on duty.

        All other counted workers may leave at the same moment.
        """
        is_holder = self._next is Post.ON_DUTY and not self._is_small
        return Call(1, 1, 0, Missing(0, 0.0)) if is_holder else NEVER

    def _missing_at(self, now: float) -> Missing:
        seconds = self._missing_until - now
        return Missing(self._missing, seconds) if seconds > 0 else Missing(0, 0.0)

    # --- results

    def claimed(self, result: ClaimResult, roster: Roster, now: float) -> None:
        """Process the reply to a claim; if it found timers, call `turned` next."""
        enough = self._holders + self._missing_at(now).workers
        # Without a count, a worker neither leaves nor comes.
        on_duty = enough if roster.on_duty is None else roster.on_duty
        spare = on_duty - enough
        if roster.workers is not None:
            self._is_small = roster.workers <= self.SMALL
        if self._is_small:
            self.post = self._next = Post.ON_DUTY
        elif result.found:
            self._found_timers(result, roster, now)
        elif self.post is not Post.ON_DUTY:
            self.post = self._next = Post.ON_DUTY if spare < 0 else Post.IN_RESERVE
        elif result.is_outrun and self._draw() * self.PATIENCE * on_duty < spare:
            self.post = self._next = Post.IN_RESERVE
        self._was_idle = not result.found

    def _found_timers(self, result: ClaimResult, roster: Roster, now: float) -> None:
        stays = self._may_stay(result.free)
        self._next = Post.ON_DUTY if stays and self.post is Post.ON_DUTY else Post.IN_RESERVE
        if result.is_more_due:
            self._be_quiet(now)
        was_left = self.post is Post.IN_RESERVE and result.overdue > self._left
        if was_left and not self._is_backlog(result, roster):
            if roster.on_duty is not None:
                self._missing, self._missing_until = roster.on_duty, now + self.MEMORY
            self._next = Post.ON_DUTY
        self.post = self._next if stays else Post.AWAY

    def _is_backlog(self, result: ClaimResult, roster: Roster) -> bool:
        """Return whether there may be more timers than those on duty can take, who are there.

        A worker that has just had timers itself knows of the backlog. Others recognize one by the
        many workers that have a free slot at the moment, and so are counted.
        """
        few = 2 * self._holders
        is_few = roster.on_duty is not None and roster.on_duty <= few
        return result.is_more_due and not (self._was_idle and is_few)

    def _may_stay(self, free: int) -> bool:
        """Return whether it can hear wake-ups while handlers run."""
        return free > 0 and not self._to_be_trusted

    def _be_quiet(self, now: float) -> None:
        self._quiet_until = max(self._quiet_until, now + self.QUIET)

    # --- its handlers

    def turned(self, seconds: float, free: int) -> None:
        """Note that the event loop turns again, after handlers have started or one blocked it.

        Args:
            seconds: For how long it did not turn, and nothing was heard.
            free: How many slots are left.
        """
        if seconds > self.STALL:
            self._to_be_trusted = self.PROBATION
        self._return(free)

    def ended(self, free: int) -> None:
        """Note that a handler has ended.

        Args:
            free: How many slots are left.
        """
        self._to_be_trusted = max(0, self._to_be_trusted - 1)
        self._return(free)

    def _return(self, free: int) -> None:
        if self.post is Post.AWAY and free > 0:
            self.post = self._next

    # --- calls for help

    def called(self, share: float, missing: Missing, now: float) -> None:
        """Process a call for help.

        Args:
            share: The fraction, 0 to 1, of the workers that hear it that should come.
            missing: What the caller knows about missing workers.
            now: The time.
        """
        if self.post is not Post.IN_RESERVE or self._draw() >= share:
            return
        self.post = self._next = Post.ON_DUTY
        self._be_quiet(now)
        if now + missing.seconds > self._missing_until:
            self._missing, self._missing_until = missing.workers, now + missing.seconds
