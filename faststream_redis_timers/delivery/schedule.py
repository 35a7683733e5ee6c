"""When a delivery loop polls for due timers: only arithmetic, without clock and I/O."""

import math
from collections.abc import Callable


class PollSchedule:
    """When to claim next.

    All times are seconds of one monotonic clock.

    Args:
        base: Poll delay right after a timer was found.
        ceiling: The delay to which it doubles while none is found.
        jitter: Returns a number from 0 to 1, which varies each delay by +-50%, so
            that workers which started together do not poll together.

    Attributes:
        heeds_alarms: Whether to claim when a timer is due. If not, others do, and it polls as
            rarely as possible.
    """

    __slots__ = (
        "_base",
        "_ceiling",
        "_delay",
        "_jitter",
        "_not_before",
        "alarm_at",
        "heeds_alarms",
        "poll_at",
    )

    def __init__(self, base: float, ceiling: float, jitter: Callable[[], float]) -> None:
        """Start with an immediate claim."""
        self._base = base
        self._ceiling = ceiling
        self._jitter = jitter
        self._delay = base
        self._not_before = -math.inf
        self.poll_at = -math.inf
        self.alarm_at = math.inf
        self.heeds_alarms = True

    @property
    def next_at(self) -> float:
        """When to claim next."""
        planned_at = min(self.poll_at, self.alarm_at) if self.heeds_alarms else self.poll_at
        return max(self._not_before, planned_at)

    @property
    def is_for_alarm(self) -> bool:
        """Whether the next claim is for a timer's due time, and not a poll."""
        return self.heeds_alarms and self._not_before <= self.alarm_at <= self.poll_at

    def found_more(self) -> None:
        """Note a claim that found as many timers as it asked for: more may be due now."""
        self._delay = self._base
        self.poll_at = self._not_before = -math.inf

    def found(self, now: float, head_at: float, gap: float = 0.0) -> None:
        """Note a claim that found timers and left none due.

        Args:
            now: When its reply came.
            head_at: When the next timer is due; infinite if there is none.
            gap: Seconds to leave before the next claim, see `FloodGap`.
        """
        self._delay = self._base
        self._not_before = now + gap if gap else -math.inf
        self._plan_poll(now, head_at)

    def found_nothing(self, now: float, head_at: float) -> None:
        """Note a claim that found nothing due.

        Args:
            now: When its reply came.
            head_at: When the next timer is due; infinite if there is none.
        """
        self._plan_poll(now, head_at)
        self._delay = min(2 * self._delay, self._ceiling)

    def ring_at(self, due_at: float) -> None:
        """Set the alarm earlier, for a timer that another client scheduled.

        Args:
            due_at: When it is due.
        """
        self.alarm_at = min(self.alarm_at, due_at)

    def poll_now(self) -> None:
        """Poll as soon as possible: a wake-up may have been missed."""
        self.poll_at = -math.inf

    def end_gap(self) -> None:
        """End the gap."""
        self._not_before = -math.inf

    def _plan_poll(self, now: float, head_at: float) -> None:
        self.alarm_at = head_at
        delay = self._delay if self.heeds_alarms else self._ceiling
        self.poll_at = now + delay * (0.5 + self._jitter())


class FloodGap:
    """The gap between claims while thousands of timers are due per second.

    A claim for each timer would cost more than handling it. During a gap timers gather, like
    packets while a network card delays its interrupt. The gap grows as long as timers become
    due until its very end. If all of them came at its beginning, it would only delay them (for
    example if each handler schedules the next timer): then it shrinks to the time they took.
    """

    __slots__ = ("_claimed", "_claimed_at", "_gap", "_polled_at")

    FLOOD = 1000.0
    """Timers claimed per second from which claims keep a gap."""

    MEMORY = 0.05
    """Seconds after which a claim counts for 1/e in that rate."""

    MOST = 0.015
    """Longest gap in seconds; a timer is late by half of it on average."""

    LEAST = 0.0003
    """Shortest gap in seconds, about the duration of a call."""

    def __init__(self) -> None:
        """Start without a flood."""
        self._claimed = 0.0
        self._claimed_at = -math.inf
        self._polled_at = -math.inf
        self._gap = self.LEAST

    def claimed(self, now: float, count: int) -> float:
        """Note a claim.

        Args:
            now: When its reply came, on the monotonic clock.
            count: How many timers it found.

        Returns:
            How many were found recently, without this claim.
        """
        before = self._claimed * math.exp((self._claimed_at - now) / self.MEMORY)
        self._claimed, self._claimed_at = before + count, now
        return before

    def after(self, now: float, count: int, *, polled_at: float, last_due: float) -> float:
        """Note a claim that left nothing due; return the seconds to wait before the next one.

        Args:
            now: When its reply came, on the monotonic clock.
            count: How many timers it found.
            polled_at: When the server ran the claim, as its Unix time.
            last_due: When the last of these timers was due, likewise.
        """
        polled_before, self._polled_at = self._polled_at, polled_at
        # A burst in a single claim is not a flood, so only earlier claims count.
        if self.claimed(now, count) < self.FLOOD * self.MEMORY:
            self._gap = self.LEAST
            return 0.0
        if polled_at - last_due < max(self.LEAST, self._gap / 8):
            self._gap = min(self.MOST, 1.5 * self._gap)
        else:
            taken = last_due - polled_before + self.LEAST
            self._gap = min(self.MOST, max(self.LEAST, taken))
        return self._gap


class ServerClock:
    """Translates the server's time into this process's monotonic clock.

    Each reply has the server's time at some moment between sending and receiving.
    After a quick reply the middle is the estimate; a slow reply, whose middle may
    be far off, only corrects an estimate that it disproves.
    """

    __slots__ = ("_offset",)

    QUICK = 0.01
    """Seconds from sending to receiving up to which a reply is quick."""

    def __init__(self) -> None:
        """Start without an estimate."""
        self._offset = math.nan

    @property
    def is_set(self) -> bool:
        """Whether a reply has come."""
        return not math.isnan(self._offset)

    def observe(self, sent_at: float, answered_at: float, server_now: float) -> None:
        """Note a reply.

        Args:
            sent_at: When the call was sent, on the monotonic clock.
            answered_at: When its reply came.
            server_now: The server's Unix time in the reply, in seconds.
        """
        earliest, latest = sent_at - server_now, answered_at - server_now
        if latest - earliest <= self.QUICK:
            self._offset = (earliest + latest) / 2
        elif not self.is_set:
            # Better early than late: an early claim only costs a call.
            self._offset = earliest
        else:
            self._offset = min(max(self._offset, earliest), latest)

    def here(self, server_time: float) -> float:
        """Return a moment on the monotonic clock.

        Args:
            server_time: Unix time of the server, in seconds.
        """
        return server_time + self._offset

    def there(self, moment: float) -> float:
        """Return the server's Unix time at a moment of the monotonic clock, in seconds.

        Args:
            moment: The moment.
        """
        return moment - self._offset


class SpinBudget:
    """Limits the time spent on active waiting (spinning) for a due time.

    A sleep ends some milliseconds late; yielding in a loop until the due time is
    precise, but uses a whole core. It may use a fraction of the elapsed time,
    saved up to a cap. All subscribers of a broker share one budget.

    Args:
        share: Fraction of all time, 0 to 1.
        cap: Seconds that can be saved up.
    """

    __slots__ = ("_cap", "_saved", "_share", "_since")

    def __init__(self, share: float = 0.05, cap: float = 0.02) -> None:
        """Start with a full budget."""
        self._share = share
        self._cap = cap
        self._saved = cap
        self._since = -math.inf

    def left(self, now: float) -> float:
        """Return the seconds that may be spent now.

        Args:
            now: The time on the monotonic clock.
        """
        earned = self._share * (now - self._since)
        self._saved = min(self._cap, self._saved + earned)
        self._since = now
        return self._saved

    def spend(self, seconds: float) -> None:
        """Note spent time.

        Args:
            seconds: How long.
        """
        self._saved -= seconds


class AlarmClock:
    """How much earlier to set an alarm so that it does not ring late.

    Sleeps end late: event loops round up to a millisecond, and an idle processor
    takes time to wake. By how much depends on the machine and its load, so it is
    learned from previous sleeps.

    Args:
        most: Most seconds to be early, also used at the start.
        ping: Seconds reserved for a ping, which warms the connection.
    """

    __slots__ = ("_most", "_oversleep", "_ping")

    def __init__(self, most: float = 0.004, ping: float = 0.0008) -> None:
        """Start without measured sleeps."""
        self._most = most
        self._ping = ping
        self._oversleep = most

    @property
    def early(self) -> float:
        """Seconds to wake before a due time."""
        return min(self._most, self._oversleep + self._ping)

    def overslept(self, seconds: float) -> None:
        """Note by how much a sleep was too long; recent long ones count most.

        Args:
            seconds: How much.
        """
        seconds = min(seconds, self._most)
        self._oversleep = max(seconds, 0.9 * self._oversleep + 0.1 * seconds)


class Backoff:
    """How long to pause between tries during an outage.

    Args:
        jitter: Returns a number from 0 to 1, which varies each pause by +-50%.
        base: Seconds of the first pause.
        ceiling: Seconds to which it doubles.
    """

    __slots__ = ("_base", "_ceiling", "_jitter", "_pause")

    def __init__(
        self, jitter: Callable[[], float], *, base: float = 0.05, ceiling: float = 1.0
    ) -> None:
        """Start with the first pause."""
        self._base = base
        self._ceiling = ceiling
        self._jitter = jitter
        self._pause = base

    def next_pause(self) -> float:
        """Return the next pause in seconds."""
        pause = self._pause * (0.5 + self._jitter())
        self._pause = min(2 * self._pause, self._ceiling)
        return pause

    def reset(self) -> None:
        """Start again with the first pause: the server has replied."""
        self._pause = self._base
