"""A fleet of workers in virtual time.

When a worker claims is decided by what decides in real ones (`Agenda`), and which of them are on
duty by the rule that is to be judged. Server and network are as fast as on one machine.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

from benchmarks.simulated_topic import GROUPS, Channel, Counts, Timeline, Timer, Topic, Work
from faststream_redis_timers.delivery.agenda import Agenda
from faststream_redis_timers.delivery.core import RIDE
from faststream_redis_timers.delivery.duty import (
    NEVER,
    Call,
    ClaimResult,
    Duty,
    Missing,
    Post,
    Roster,
)
from faststream_redis_timers_sync.protocol.model import Step

POLLING_INTERVAL = 0.05
MAX_POLLING_INTERVAL = 5.0
"""The defaults of a subscriber, in seconds."""

GONE = 0.05
"""Seconds after which the server knows that a killed worker is gone."""

MOST_AHEAD = 2.0
"""Seconds from the scheduling of a timer until it is due, at most."""


class Rule(Protocol):
    """Decides for a worker whether it is on duty; see `Duty`."""

    post: Post

    def call(self, now: float) -> Call:
        """Say when a claim that is sent now is to call for help."""
        ...

    def claimed(self, look: ClaimResult, roster: Roster, now: float) -> None:
        """Take the reply to a claim."""

    def turned(self, seconds: float, free: int) -> None:
        """Note that the event loop turns again."""

    def ended(self, free: int) -> None:
        """Note that a handler has ended."""

    def called(self, share: float, missing: Missing, now: float) -> None:
        """Take a call for help."""

    def leaving(self) -> Call:
        """Say what to call for when it leaves for good."""
        ...


class AllOnDuty:
    """Whoever waits answers each wake-up, and is not counted: workers that know no duty."""

    post = Post.ON_DUTY

    def call(self, now: float) -> Call:
        """Never call."""
        return NEVER

    def claimed(self, look: ClaimResult, roster: Roster, now: float) -> None:
        """Ignore it."""

    def turned(self, seconds: float, free: int) -> None:
        """Ignore it."""

    def ended(self, free: int) -> None:
        """Ignore it."""

    def called(self, share: float, missing: Missing, now: float) -> None:
        """Ignore it."""

    def leaving(self) -> Call:
        """Never call."""
        return NEVER


MakeRule = Callable[[int, Callable[[], float]], Rule]
"""Makes a worker's rule of the number of its slots and of random numbers from 0 to 1."""

DrawWork = Callable[[random.Random], Work]
"""Draws what a handler does."""


def all_on_duty(_slots: int, _draw: Callable[[], float]) -> Rule:
    """Make the rule of workers that know no duty."""
    return AllOnDuty()


def duty_of(holders: int, kind: type[Duty] = Duty) -> MakeRule:
    """Give what makes the rule under which some workers are on duty.

    Args:
        holders: How many.
        kind: The rule, or what differs from it.
    """
    return lambda slots, draw: kind(holders, slots, draw)


class Worker:
    """A worker: its delivery loop, its handlers, and its connection for messages.

    Args:
        topic: The topic.
        rule: Decides whether it is on duty.
        slots: How many handlers run at once.
        start_at: When it starts.
    """

    def __init__(self, topic: Topic, rule: Rule, slots: int, start_at: float) -> None:
        """Prepare."""
        self.is_alive = True
        self.rule = rule
        self._topic, self._timeline, self._slots = topic, topic.timeline, slots
        draws = self._timeline.draws
        self._agenda = Agenda(POLLING_INTERVAL, MAX_POLLING_INTERVAL, draws.random)
        self._channels: dict[Post, Channel] = {
            Post.ON_DUTY: topic.on_duty,
            Post.IN_RESERVE: draws.choice(topic.groups),
        }
        self._channel: Channel | None = None
        self._messages: deque[Callable[[], None]] = deque()
        self._is_stopping = self._is_paused = self._is_blocked = self._in_flight = False
        # What has come for it while it was paused or blocked.
        self._deferred: list[Callable[[], None]] = []
        self._running = self._settled = self._plan = 0
        self._sent_at = -math.inf
        self._timeline.at(start_at, self._start)

    # --- what befalls it

    def kill(self) -> None:
        """End it at once."""
        self.is_alive = False
        self._timeline.at(self._timeline.now + GONE, self._topic.drop, self)

    def pause(self) -> None:
        """Let it do nothing, with its connections open."""
        self._is_paused = True

    def resume(self) -> None:
        """Let it go on."""
        self._is_paused = False
        self._go_on()

    def stop(self) -> None:
        """Let it claim nothing more; its handlers may end."""
        self._is_stopping = True
        self._channels = {}
        self._send(self._topic.drop, self)
        farewell = self.rule.leaving()
        if farewell is not NEVER:
            self._send(self._topic.call_for_help, farewell.least, farewell.missing)

    def block(self, seconds: float) -> None:
        """Keep its event loop, as a handler of any of its topics may.

        Args:
            seconds: For how long.
        """
        self._is_blocked = True
        self._timeline.at(self._timeline.now + seconds, self._unblock, seconds)

    def _unblock(self, seconds: float) -> None:
        self._is_blocked = False
        was = self.rule.post
        self.rule.turned(seconds, self._free())
        if seconds > Duty.STALL:
            self._catch_up(was)
        self._go_on()

    def _catch_up(self, was: Post) -> None:
        """Poll, if it comes back from being away: what was scheduled meanwhile is not known."""
        if was is Post.AWAY and self.rule.post is not Post.AWAY:
            self._agenda.poll_again()

    def _is_deaf(self) -> bool:
        return self._is_paused or self._is_blocked or not self.is_alive

    def _go_on(self) -> None:
        if not self._is_deaf():
            deferred, self._deferred = self._deferred, []
            for call in deferred:
                call()
            self._follow_rule()
            self._turn()

    # --- its connection for messages

    def _start(self) -> None:
        if not isinstance(self.rule, AllOnDuty):
            self._send(self._topic.listen, self, self._topic.workers)
        self._follow_rule()
        self._turn()

    def _send(self, request: Callable[..., None], *arguments: object) -> None:
        self._timeline.at(self._timeline.now + self._timeline.draw_way(), request, *arguments)

    def _follow_rule(self) -> None:
        channel = self._channels.get(self.rule.post)
        if channel is not self._channel:
            if self._channel is not None:
                self._send(self._topic.leave, self, self._channel)
            if channel is not None:
                self._send(self._topic.listen, self, channel)
            self._channel = channel
        self._agenda.heeds_alarms = self.rule.post is Post.ON_DUTY

    def be_confirmed(self) -> None:
        """Poll: what was sent before it listened is lost."""
        if self._is_deaf():
            self._deferred.append(self.be_confirmed)
        else:
            self._agenda.poll_now()
            self._turn()

    def hear_wake_up(self, sent_at: float, due_at: float) -> None:
        """Take a wake-up when it reads next."""
        self._messages.append(lambda: self._be_woken(sent_at, due_at))
        self._turn()

    def hear_call(self, share: float, missing: Missing) -> None:
        """Take a call for help when it reads next."""
        self._messages.append(lambda: self._be_called(share, missing))
        self._turn()

    def _be_woken(self, sent_at: float, due_at: float) -> None:
        self._agenda.wake(sent_at, due_at)

    def _be_called(self, share: float, missing: Missing) -> None:
        self.rule.called(share, missing, self._timeline.now)
        self._follow_rule()

    # --- its delivery loop

    def _free(self) -> int:
        return 0 if self._is_stopping else self._slots - self._running

    def _turn(self) -> None:
        if self._in_flight or self._is_deaf():
            return
        now, free = self._timeline.now, self._free()
        while free > 0 and self._messages:
            self._messages.popleft()()
        next_at = self._agenda.next_at
        limit = free if free > 0 and next_at <= now else 0
        may_ride = free > 0 and next_at - now <= RIDE
        if limit or (self._settled and not may_ride):
            self._claim(limit, now)
        elif free > 0:
            self._plan += 1
            self._timeline.at(max(next_at, now), self._follow_plan, self._plan)

    def _follow_plan(self, plan: int) -> None:
        if plan == self._plan:
            self._turn()

    def _claim(self, limit: int, now: float) -> None:
        self._agenda.calling(is_claim=limit > 0)
        self._settled = 0
        self._in_flight = True
        self._sent_at = now
        self._send(self._topic.claim, self, limit, self.rule.call(now))

    def take_reply(self, step: Step, found: list[Timer], limit: int, roster: Roster) -> None:
        """Take the reply to a claim: begin handlers, and let the rule decide."""
        if self._is_deaf():
            self._deferred.append(lambda: self.take_reply(step, found, limit, roster))
            return
        now = self._timeline.now
        self._in_flight = False
        self._agenda.answered(self._sent_at, now, step.now)
        if limit:
            self._running += len(found)
            self.rule.claimed(self._look(step, found), roster, now)
            self._follow_rule()
            self._agenda.claimed(step, limit, now)
            self._begin(found, now)
        self._turn()

    def _look(self, step: Step, found: list[Timer]) -> ClaimResult:
        waited = self._timeline.now - self._sent_at
        return ClaimResult(
            found=len(found),
            free=self._free(),
            overdue=step.now - found[0].due_at - waited if found else 0.0,
            is_outrun=self._agenda.is_outrun(step),
            is_more_due=step.head is not None and step.head <= step.now,
        )

    # --- its handlers

    def _begin(self, found: list[Timer], now: float) -> None:
        counts, begins_at = self._topic.counts, now
        for due_at, _, work in found:
            counts.begun_at.append(begins_at)
            counts.late.append(begins_at - due_at)
            self._timeline.at(begins_at + sum(work), self._end)
            if work.waits_before:
                self._timeline.at(begins_at + work.waits_before, self.block, work.blocks)
            else:
                # The next one begins when this one lets the event loop turn.
                begins_at += work.blocks
        if begins_at > now:
            self.block(begins_at - now)
        elif found:
            self.rule.turned(0.0, self._free())
            self._follow_rule()

    def _end(self) -> None:
        if self._is_deaf():
            self._deferred.append(self._end)
            return
        self._running -= 1
        self._settled += 1
        was = self.rule.post
        self.rule.ended(self._free())
        self._catch_up(was)
        self._follow_rule()
        self._turn()


class Fleet:
    """Workers of one topic, and who schedules timers.

    Args:
        make_rule: Makes the rule of a worker.
        slots: How many handlers a worker runs at once.
        seed: Gives the same history each time, in every process.
        groups: Groups in which the reserve listens.
    """

    def __init__(
        self, make_rule: MakeRule, *, slots: int = 5, seed: int = 0, groups: int = GROUPS
    ) -> None:
        """Begin without workers."""
        self.timeline = Timeline(seed)
        self.topic = Topic(self.timeline, groups)
        self.workers: list[Worker] = []
        self._make_rule, self._slots = make_rule, slots
        # Apart from all else that is drawn, so that each rule meets the same timers.
        self._load = random.Random(f"{seed} load")  # noqa: S311  no secret
        self._numbers = count()

    def start(
        self, workers: int, within: float = 0.0, make_rule: MakeRule | None = None
    ) -> list[Worker]:
        """Start workers, and give them.

        Args:
            workers: How many.
            within: Seconds over which they start, at any time.
            make_rule: Makes their rule, if not the fleet's.
        """
        make_rule = make_rule or self._make_rule
        draws, now = self.timeline.draws, self.timeline.now
        started = [
            Worker(
                self.topic,
                make_rule(self._slots, draws.random),
                self._slots,
                now + draws.uniform(0, within),
            )
            for _ in range(workers)
        ]
        self.workers += started
        return started

    def feed(self, rate: float, seconds: float, draw_work: DrawWork, *, together: int = 1) -> None:
        """Schedule timers at random times; every other one is due at once, the others later.

        Args:
            rate: How many per second.
            seconds: For how long, from now on.
            draw_work: Draws what their handlers do.
            together: How many are scheduled at once, for the same time.
        """
        load, now = self._load, self.timeline.now
        for _ in range(round(rate * seconds / together)):
            moment = now + load.uniform(0, seconds)
            ahead = load.choice((0.0, load.uniform(0, MOST_AHEAD)))
            self.schedule(moment, ahead, [draw_work(load) for _ in range(together)])

    def schedule(self, moment: float, ahead: float, works: Sequence[Work]) -> None:
        """Schedule timers.

        Args:
            moment: When the server is asked to.
            ahead: Seconds from then until they are due.
            works: What their handlers do.
        """
        timers = [Timer(moment + ahead, next(self._numbers), work) for work in works]
        self.timeline.at(moment, self.topic.schedule, timers)

    def run(self, seconds: float) -> Counts:
        """Let time pass, and give what happened meanwhile.

        Args:
            seconds: How much time.
        """
        self.topic.counts = counts = Counts()
        self.timeline.run(self.timeline.now + seconds)
        return counts
