"""Keeps a delivery loop at the post that the rule of its fleet gives it."""

import logging
from typing import NamedTuple, Protocol

from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.agenda import Agenda
from faststream_redis_timers.delivery.duty import NEVER, Duty, Look, Missing, Post, Roster
from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.delivery.slots import Slots
from faststream_redis_timers_sync.protocol.model import Step


class Channels(NamedTuple):
    """The channels of a delivery loop.

    Args:
        wake_ups: Where wake-ups come.
        help_calls: Where workers of the reserve are called for help; empty where the loop is
            always on duty.
        workers: By which workers are counted; likewise.
    """

    wake_ups: bytes
    help_calls: bytes = b""
    workers: bytes = b""

    def at(self, post: Post) -> tuple[bytes, ...]:
        """Give those that are listened to at a post.

        Args:
            post: The post.
        """
        if not self.workers:
            return (self.wake_ups,)
        if post is Post.ON_DUTY:
            return self.workers, self.wake_ups
        return (self.workers, self.help_calls) if post is Post.IN_RESERVE else (self.workers,)


class Posted(Protocol):
    """Who listens as its post says."""

    def stir(self) -> None:
        """Ask again when to claim next."""

    def follow_post(self, post: Post) -> None:
        """Listen to the channels of a post, and leave all others at once."""


def _overdue(step: Step) -> float:
    # What was leased may have been passed over, by those on duty, since its lease ended.
    for timer in step.claimed:
        if not timer.was_leased:
            return step.now - float(timer.previous_score)
    return 0.0


class Attendance:
    """Tells the rule what happens, and carries out what it decides.

    Args:
        topic: The full topic.
        duty: The rule; None where the loop is always on duty.
        agenda: Gets to know whether alarms are heeded.
        slots: Knows how many handlers may begin.
        posted: Listens as the post says.
        log: Writes to the broker's log.

    Attributes:
        farewell: What a call is to ask for that claims nothing, since the loop ends.
        post: What the loop listens to.
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
        """Begin where the rule does."""
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
        """Say what a call that is sent now asks for, as the script takes it: see `Call`.

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
        # Where they are batched, one timer takes as many slots as a hundred.
        free_if_some, free_if_full = slots.free_after(1), slots.free_after(slots.claim_limit)
        return self._duty.call(now, free_if_some, free_if_full).packed()

    def claimed(self, step: Step, sent_at: float, now: float) -> None:
        """Take the reply to a claim, before anything else is made of it.

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
        look = Look(
            found=found,
            free=self._slots.free_after(found),
            # A server that did nothing for a while is nobody's absence.
            overdue=_overdue(step) - (now - sent_at),
            is_outrun=self._agenda.is_outrun(step),
            is_more_due=step.head is not None and step.head <= step.now,
        )
        self._duty.claimed(look, Roster(step.on_duty, step.workers), now)
        if found:
            self._began_at = now
        self._follow(self._duty.post)

    def turned(self, now: float) -> None:
        """Note that the event loop turns: handlers that were to begin have begun."""
        if self._began_at is not None:
            seconds, self._began_at = now - self._began_at, None
            self.stalled(seconds)

    def stalled(self, seconds: float) -> None:
        """Note that the event loop has not turned for some seconds."""
        if self._duty is not None:
            self._duty.turned(seconds, self._slots.free)
            self._follow(self._duty.post, was_deaf=seconds > Duty.STALL)

    def ended(self) -> None:
        """Note that a handler has ended: its slot is free."""
        if self._duty is not None:
            self._duty.ended(self._slots.free)
            self._follow(self._duty.post, was_deaf=True)

    def called(self, share: float, missing: Missing, now: float) -> None:
        """Take a call for help, see `Duty.called`."""
        if self._duty is not None:
            self._duty.called(share, missing, now)
            self._follow(self._duty.post)

    def be_always_on_duty(self) -> None:
        """Count on no other worker: nobody can be counted, or called."""
        self._duty = None
        self._follow(Post.ON_DUTY)

    def leave(self) -> None:
        """Note that it claims no more: who is on duty calls another one."""
        if self._duty is not None:
            self.farewell = self._duty.leaving()

    def _follow(self, post: Post, *, was_deaf: bool = False) -> None:
        if post is self.post:
            return
        if was_deaf and self.post is Post.AWAY:
            # What was scheduled meanwhile may have had nobody who heard of it.
            self._agenda.poll_again()
        self.post = post
        self._agenda.heeds_alarms = post is Post.ON_DUTY
        self._posted.follow_post(post)
        self._posted.stir()
