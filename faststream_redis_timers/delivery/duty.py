"""Which workers of a fleet answer alarms and wake-ups: arithmetic alone, no clock and no I/O.

Were all that wait to claim whenever a timer is due, a fleet would cost the more calls the larger
it is. So a few workers are on duty, and the others in reserve. Nobody assigns them. A reply to a
claim tells how many are subscribed to the topic's channel for wake-ups, and with that number each
decides for itself. It is an upper bound: workers that hang are counted for minutes. What happens
is the better evidence. Who loses a race leaves, since another worker lives; and a timer that was
left lying shows that those who are counted are not there.
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
        AWAY: It hears nothing: it has no free slot, or its handlers may keep the event loop.
    """

    ON_DUTY = auto()
    IN_RESERVE = auto()
    AWAY = auto()


class Roster(NamedTuple):
    """How many there are, as the server counts them at a claim.

    Args:
        on_duty: Workers that are subscribed to wake-ups; None where the server does not know
            it: there is one at least.
        workers: All of the topic, those that are away too; likewise.
    """

    on_duty: int | None
    workers: int | None


class Look(NamedTuple):
    """What a claim showed.

    Args:
        found: How many timers it found.
        free: How many slots are left.
        overdue: Seconds for which the first of them had been due that nobody had held before; 0
            without any.
        is_outrun: Whether it came for a timer that another worker has.
        is_more_due: Whether it left timers that are due.
    """

    found: int
    free: int
    overdue: float
    is_outrun: bool
    is_more_due: bool


class Missing(NamedTuple):
    """What a worker knows of those who are counted as on duty, and are not there.

    Args:
        workers: How many they are.
        seconds: For how long this is to be believed.
    """

    workers: int
    seconds: float


class Call(NamedTuple):
    """When a claim is to call workers of the reserve.

    A claim that finds timers calls as many as are missing on duty, or as take what it leaves,
    whichever is more.

    Args:
        least: How many are to be on duty, the worker itself included if it is.
        least_if_full: The same where it finds as many timers as it asks for.
        slots: How many of the timers that it leaves each takes who comes; 0 where it does not
            call for them.
        missing: What those who come are to know.
    """

    least: int
    least_if_full: int
    slots: int
    missing: Missing

    def packed(self) -> bytes:
        """Return it as scripts take it."""
        workers, seconds = self.missing
        numbers = (self.least, self.least_if_full, self.slots, workers, seconds)
        return b"%d %d %d %d %.1f" % numbers


NEVER = Call(0, 0, 0, Missing(0, 0.0))
"""Not to call."""


class Duty:
    """Whether a worker is on duty for a topic.

    Times are seconds of one monotonic clock.

    Args:
        holders: How many workers are to be on duty.
        slots: How many timers a worker that has nothing to do takes.
        draw: Gives a number from 0 to 1.
        max_wait: Seconds for which those on duty may let timers lie, to claim more at once.

    Attributes:
        post: What it listens to.
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
        "post",
    )

    SMALL = 8
    """Workers up to which all are on duty."""

    STALL = 0.005
    """Seconds: a handler that keeps the event loop for longer makes its worker deaf."""

    LEFT = 0.05
    """Seconds: who finds a timer in reserve that has been due for longer, and for longer than those
    on duty wait for others, knows that nobody on duty was there. Workers that share too few
    processors may well be later than `STALL`: such a find would have all of them on duty, and make
    them later still."""

    MEMORY = 300.0
    """Seconds for which those who were not there are not counted on. Should the server count them
    for longer, they are found out again."""

    PROBATION = 100
    """Handlers that must end without keeping the event loop, once one has kept it."""

    PATIENCE = 8
    """Races in which one of those leaves who are too many on duty. All who lose a race draw at the
    same time, and the winner may leave for its handler: none at all would be left too often."""

    QUIET = 0.01
    """Seconds after a claim that has left some, or after it was called, until it calls for what is
    left."""

    def __init__(
        self, holders: int, slots: int, draw: Callable[[], float], max_wait: float = 0.0
    ) -> None:
        """Begin away: nothing is known until a claim was answered."""
        self._holders = holders
        self._left = self.LEFT + max_wait
        self._slots = slots
        self._draw = draw
        self.post = Post.AWAY
        self._next = Post.IN_RESERVE
        self._is_small = False
        self._missing = 0
        self._missing_until = -math.inf
        # So many handlers must end before its event loop is trusted to turn while they run.
        self._to_be_trusted = 1
        self._quiet_until = -math.inf

    # --- what to ask the server for

    def call(self, now: float, free_if_some: int = 1, free_if_full: int = 0) -> Call:
        """Say when a claim is to call for help.

        Args:
            now: The time when it is sent.
            free_if_some: How many slots are left if it finds fewer timers than it asks for.
            free_if_full: How many are left if it finds as many.
        """
        if self._is_small:
            return NEVER
        missing = self._missing_at(now)
        on_duty = self.post is Post.ON_DUTY
        is_quiet = now < self._quiet_until
        if is_quiet and not on_duty:
            # Where all are busy there is nobody to call, and to look for one takes longer than a
            # claim. Who leaves its post calls all the same.
            return Call(0, 0, 0, missing)
        holders = self._holders + missing.workers
        return Call(
            holders + (on_duty and not self._may_stay(free_if_some)),
            holders + (on_duty and not self._may_stay(free_if_full)),
            0 if is_quiet else self._slots,
            missing,
        )

    def leaving(self) -> Call:
        """Say what to call for when it leaves for good: another one, if it is on duty.

        Whoever else is counted may leave at the same moment.
        """
        is_holder = self._next is Post.ON_DUTY and not self._is_small
        return Call(1, 1, 0, Missing(0, 0.0)) if is_holder else NEVER

    def _missing_at(self, now: float) -> Missing:
        seconds = self._missing_until - now
        return Missing(self._missing, seconds) if seconds > 0 else Missing(0, 0.0)

    # --- what came of it

    def claimed(self, look: Look, roster: Roster, now: float) -> None:
        """Take the reply to a claim; if it found timers, `turned` follows."""
        enough = self._holders + self._missing_at(now).workers
        # Who does not know how many there are neither leaves nor comes.
        on_duty = enough if roster.on_duty is None else roster.on_duty
        spare = on_duty - enough
        if roster.workers is not None:
            self._is_small = roster.workers <= self.SMALL
        if self._is_small:
            self.post = self._next = Post.ON_DUTY
        elif look.found:
            self._take(look, roster, now)
        elif self.post is not Post.ON_DUTY:
            self.post = self._next = Post.ON_DUTY if spare < 0 else Post.IN_RESERVE
        elif look.is_outrun and self._draw() * self.PATIENCE * on_duty < spare:
            self.post = self._next = Post.IN_RESERVE

    def _take(self, look: Look, roster: Roster, now: float) -> None:
        stays = self._may_stay(look.free)
        self._next = Post.ON_DUTY if stays and self.post is Post.ON_DUTY else Post.IN_RESERVE
        if look.is_more_due:
            self._be_quiet(now)
        elif self.post is Post.IN_RESERVE and look.overdue > self._left:
            if roster.on_duty is not None:
                self._missing, self._missing_until = roster.on_duty, now + self.MEMORY
            self._next = Post.ON_DUTY
        self.post = self._next if stays else Post.AWAY

    def _may_stay(self, free: int) -> bool:
        """Return whether it hears wake-ups although it has work."""
        return free > 0 and not self._to_be_trusted

    def _be_quiet(self, now: float) -> None:
        self._quiet_until = max(self._quiet_until, now + self.QUIET)

    # --- its handlers

    def turned(self, seconds: float, free: int) -> None:
        """Note that the event loop turns again, after handlers have begun or one has stalled it.

        Args:
            seconds: How long it did not: meanwhile nothing was heard.
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
        """Take a call for help.

        Args:
            share: Of those who hear it, how many are to come, 0 to 1.
            missing: What the caller knows.
            now: The time.
        """
        if self.post is not Post.IN_RESERVE or self._draw() >= share:
            return
        self.post = self._next = Post.ON_DUTY
        self._be_quiet(now)
        if now + missing.seconds > self._missing_until:
            self._missing, self._missing_until = missing.workers, now + missing.seconds
