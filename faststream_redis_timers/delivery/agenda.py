"""When to claim next, by the results of claims and by wake-ups, on one clock."""

import math
from collections.abc import Callable

from faststream_redis_timers.delivery.schedule import FloodGap, PollSchedule, ServerClock
from faststream_redis_timers_sync.protocol.model import Step

_NO_WAKE_UP = (-math.inf, math.inf)


class Agenda:
    """When a subscriber claims next.

    Args:
        polling_interval: Seconds between polls right after a timer was due.
        max_polling_interval: Seconds to which that grows.
        spread: Returns a number from 0 to 1, for the jitter of polls.
        max_wait: Seconds to wait after a claim that found fewer timers than it asked for.
    """

    __slots__ = (
        "_flood_gap",
        "_last_wake_up",
        "_leaves_no_gap",
        "_max_wait",
        "_nothing_due_since",
        "_poll_asked",
        "_rang_at",
        "_schedule",
        "clock",
    )

    def __init__(
        self,
        polling_interval: float,
        max_polling_interval: float,
        spread: Callable[[], float],
        max_wait: float = 0.0,
    ) -> None:
        """Start with an immediate claim."""
        self.clock = ServerClock()
        self._schedule = PollSchedule(polling_interval, max_polling_interval, spread)
        self._flood_gap = FloodGap()
        self._max_wait = max_wait
        self._nothing_due_since = -math.inf
        self._last_wake_up = _NO_WAKE_UP
        self._poll_asked = False
        self._leaves_no_gap = False
        # The alarm that the last claim was for; infinite if it was for none.
        self._rang_at = math.inf

    @property
    def heeds_alarms(self) -> bool:
        """Whether to claim when a timer is due; see `PollSchedule`."""
        return self._schedule.heeds_alarms

    @heeds_alarms.setter
    def heeds_alarms(self, heeds_alarms: bool) -> None:
        self._schedule.heeds_alarms = heeds_alarms

    @property
    def next_at(self) -> float:
        """When to claim next."""
        return self._schedule.next_at

    @property
    def is_for_alarm(self) -> bool:
        """Whether the next claim is for a timer's due time, and not a poll."""
        return self._schedule.is_for_alarm

    def wake(self, sent_at: float, due_at: float) -> bool:
        """Note a wake-up: a timer was scheduled that is due before all others.

        Args:
            sent_at: The server's Unix time when it was sent, in seconds.
            due_at: When the timer is due, likewise.

        Returns:
            Whether it was new.
        """
        # A claim has seen what was scheduled before it. What was scheduled at the very same
        # time it may have missed: a test's clock may stand still.
        if not self.clock.is_set or sent_at < self._nothing_due_since:
            return False
        # After a lost lease each timer is announced, not only earlier ones.
        self._last_wake_up = (sent_at, min(due_at, self._last_wake_up[1]))
        self._schedule.ring_at(self.clock.here(due_at))
        return True

    def poll_now(self) -> None:
        """Claim as soon as possible: wake-ups may have been missed."""
        self._poll_asked = True
        self._schedule.poll_now()

    def poll_without_gap(self) -> None:
        """Claim as soon as possible: passed-over timers do not wait for others to become due."""
        self._leaves_no_gap = True
        self.end_gap()
        self.poll_now()

    def end_gap(self) -> None:
        """End the gap after the last claim."""
        self._schedule.end_gap()

    def calling(self, *, is_claim: bool) -> None:
        """Note that a call is sent.

        Args:
            is_claim: Whether it claims.
        """
        self._last_wake_up = _NO_WAKE_UP
        if is_claim:
            self._poll_asked = self._leaves_no_gap = False
            self._rang_at = self._schedule.alarm_at if self._schedule.is_for_alarm else math.inf

    def is_outrun(self, step: Step) -> bool:
        """Return whether the last claim came for a timer that another worker already has.

        A claim before the timer was due, by the server's clock, was only early.

        Args:
            step: Its reply.
        """
        if step.claimed or step.orphans:
            return False
        return self._rang_at < math.inf and self.clock.there(self._rang_at) <= step.now

    def answered(self, sent_at: float, now: float, server_now: float) -> None:
        """Note the reply to a call.

        Args:
            sent_at: When the call was sent.
            now: When its reply came.
            server_now: The server's Unix time in the reply, in seconds.
        """
        self.clock.observe(sent_at, now, server_now)

    def poll_again(self) -> None:
        """Claim as soon as possible: the last claim may not have found all due timers."""
        self._schedule.poll_now()

    def claimed(self, step: Step, limit: int, now: float) -> None:
        """Plan the next claim after this one.

        Args:
            step: Its reply.
            limit: How many timers it asked for.
            now: When its reply came.
        """
        head_at = math.inf if step.head is None else self.clock.here(step.head)
        found = len(step.claimed) + len(step.orphans)
        is_more_due = step.head is not None and step.head <= step.now
        if found == limit or (found and is_more_due):
            self._flood_gap.claimed(now, found)
            self._schedule.found_more()
            return
        self._nothing_due_since = step.now
        if is_more_due:
            # It was passed over, behind more timers than one claim examines.
            head_at = math.inf
        if found:
            max_wait = 0.0 if self._leaves_no_gap else self._max_wait
            gap = max(max_wait, self._gap_after(step, found, now))
            self._schedule.found(now, head_at, gap)
        else:
            self._schedule.found_nothing(now, head_at)
        # Requested during the claim, perhaps after the server had run it.
        if self._poll_asked:
            self._schedule.poll_now()
        # A wake-up can overtake the reply to an earlier claim. The last one's stamp is
        # combined with the earliest due time: at worst that costs one extra claim. It is
        # used once: with a clock that stands still it would ring without end.
        sent_at, due_at = self._last_wake_up
        if sent_at >= step.now:
            self._schedule.ring_at(self.clock.here(due_at))

    def _gap_after(self, step: Step, found: int, now: float) -> float:
        # Timers are claimed in order of due time; those with an expired lease were due before.
        last_due = float(step.claimed[-1].previous_score) if step.claimed else -math.inf
        return self._flood_gap.after(now, found, polled_at=step.now, last_due=last_due)
