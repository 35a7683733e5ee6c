"""Keeps a delivery loop at the post that `Duty` decides."""

import logging
from typing import NamedTuple, Protocol

from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.agenda import Agenda
from faststream_redis_timers.delivery.duty import NEVER, ClaimResult, Duty, Missing, Post, Roster
from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.delivery.slots import Slots
from faststream_redis_timers_sync.protocol.model import Step


class Channels(NamedTuple):
    """The channels of a delivery loop.

    Args:
        wake_ups: The channel for wake-ups.
        help_calls: The channel on which workers in reserve are called for help; empty if the
            loop is always on duty.
        workers: The channel by which workers are counted; likewise.
    """

    wake_ups: bytes
    help_calls: bytes = b""
    workers: bytes = b""

    def at(self, post: Post) -> tuple[bytes, ...]:
        """Return the channels that a loop listens to at a post.

        Args:
            post: The post.
        """
        if not self.workers:
            return (self.wake_ups,)
        if post is Post.ON_DUTY:
            return self.workers, self.wake_ups
        return (self.workers, self.help_calls) if post is Post.IN_RESERVE else (self.workers,)


class Posted(Protocol):
    """Listens to the channels of its post."""

    def stir(self) -> None:
        """Wake up and ask when to claim next."""

    def follow_post(self, post: Post) -> None:
        """Listen to the channels of a post only."""


def _overdue(step: Step) -> float:
    # Workers on duty may have passed over a timer whose lease had expired.
    for timer in step.claimed:
        if not timer.was_leased:
            return step.now - float(timer.previous_score)
    return 0.0


class Attendance:
    """Reports events to `Duty`, and carries out its decisions.

    Args:
        topic: The full topic.
        duty: Decides; None if the loop is always on duty.
        agenda: Is told whether to heed alarms.
        slots: Knows how many handlers may start.
        posted: Listens to the channels of the post.
        log: Writes to the broker's log.

    Attributes:
        farewell: The call for help of a last call, which claims nothing, as the loop ends.
        post: The current post.
    """

    __slots__ = (
        "_agenda",
        "_began_at",
        "_duty",
        "_log",
        "_posted",
        "_slots",
        "_topic",
        "farewell",
        "post",
    )

    def __init__(
        self, topic: str, duty: Duty | None, agenda: Agenda, slots: Slots, posted: Posted, log: Log
    ) -> None:
        """Start at the first post of `Duty`."""
        self._topic = topic
        self._duty = duty
        self._agenda = agenda
        self._slots = slots
        self._posted = posted
        self._log = log
        self._began_at: float | None = None
        self.farewell = NEVER
        self.post = Post.ON_DUTY if duty is None else duty.post
        agenda.heeds_alarms = self.post is Post.ON_DUTY

    def call(self, now: float, *, is_claim: bool) -> bytes:
        """Return the call for help of a call that is sent now, in the script's form, see `Call`.

        Args:
            now: The time.
            is_claim: Whether it claims.
        """
        if not is_claim:
            farewell, self.farewell = self.farewell, NEVER
            return b"" if farewell is NEVER else farewell.packed()
        if self._duty is None:
            return b""
        slots = self._slots
        # With batches, one timer takes as many slots as a hundred.
        free_if_some, free_if_full = slots.free_after(1), slots.free_after(slots.claim_limit)
        return self._duty.call(now, free_if_some, free_if_full).packed()

    def claimed(self, step: Step, sent_at: float, now: float) -> None:
        """Process the reply to a claim, before anything else does.

        Args:
            step: The reply.
            sent_at: When the claim was sent.
            now: When its reply came.
        """
        if self._duty is None:
            return
        if not step.may_count:
            self._log(logging.WARNING, words.not_counted(self._topic, words.NOT_ALLOWED))
            self.be_always_on_duty()
            return
        found = len(step.claimed)
        result = ClaimResult(
            found=found,
            free=self._slots.free_after(found),
            # If the server was slow, no worker was missing.
            overdue=_overdue(step) - (now - sent_at),
            is_outrun=self._agenda.is_outrun(step),
            is_more_due=step.head is not None and step.head <= step.now,
        )
        self._duty.claimed(result, Roster(step.on_duty, step.workers), now)
        if found:
            self._began_at = now
        self._follow(self._duty.post)

    def turned(self, now: float) -> None:
        """Note that the event loop turns: handlers have started."""
        if self._began_at is not None:
            seconds, self._began_at = now - self._began_at, None
            self.stalled(seconds)

    def stalled(self, seconds: float) -> None:
        """Note that the event loop was blocked for some seconds."""
        if self._duty is not None:
            self._duty.turned(seconds, self._slots.free)
            self._follow(self._duty.post, was_deaf=seconds > Duty.STALL)

    def ended(self) -> None:
        """Note that a handler has ended: its slot is free."""
        if self._duty is not None:
            self._duty.ended(self._slots.free)
            self._follow(self._duty.post, was_deaf=True)

    def called(self, share: float, missing: Missing, now: float) -> None:
        """Process a call for help, see `Duty.called`."""
        if self._duty is not None:
            self._duty.called(share, missing, now)
            self._follow(self._duty.post)

    def be_always_on_duty(self) -> None:
        """Stay on duty: workers can't be counted, or called."""
        self._duty = None
        self._follow(Post.ON_DUTY)

    def leave(self) -> None:
        """Note that the loop stops claiming: if it is on duty, it calls another worker."""
        if self._duty is not None:
            self.farewell = self._duty.leaving()

    def _follow(self, post: Post, *, was_deaf: bool = False) -> None:
        if post is self.post:
            return
        if was_deaf and self.post is Post.AWAY:
            # Perhaps no worker heard the wake-ups of timers scheduled meanwhile.
            self._agenda.poll_again()
        self.post = post
        self._agenda.heeds_alarms = post is Post.ON_DUTY
        self._posted.follow_post(post)
        self._posted.stir()
