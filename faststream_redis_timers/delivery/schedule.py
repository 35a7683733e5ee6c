"""When a delivery loop looks for due timers: arithmetic alone, no clock and no I/O."""

import math
from collections.abc import Callable


class PollSchedule:
    """When to claim next.

    All times are seconds of one monotonic clock.

    Args:
        base: Poll delay right after a timer was found.
        ceiling: The delay to which it doubles while none is found.
        jitter: Gives a number from 0 to 1; it spreads each delay by +-50%, so
            that workers which started together do not poll together.

    Attributes:
        heeds_alarms: Whether to claim when a timer is due. If not, others do, and it polls as
            seldom as it may.
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
        """Begin with a claim at once."""
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
        look_at = min(self.poll_at, self.alarm_at) if self.heeds_alarms else self.poll_at
        return max(self._not_before, look_at)

    @property
    def is_for_alarm(self) -> bool:
        """Whether the next claim is for a timer's due time, and not a look by chance."""
        return self.heeds_alarms and self._not_before <= self.alarm_at <= self.poll_at

    def found_more(self) -> None:
        """Note a claim that took all it asked for: there may be more at once."""
        self._delay = self._base
        self.poll_at = self._not_before = -math.inf

    def found(self, now: float, head_at: float, gap: float = 0.0) -> None:
        """Note a claim that found timers, and no more are due.

        Args:
            now: When it was answered.
            head_at: When the next timer is due; infinite if there is none.
            gap: Seconds to leave before the next claim, see `FloodGap`.
        """
        self._delay = self._base
        self._not_before = now + gap if gap else -math.inf
        self._look_again(now, head_at)

    def found_nothing(self, now: float, head_at: float) -> None:
        """Note a claim that found nothing due.

        Args:
            now: When it was answered.
            head_at: When the next timer is due; infinite if there is none.
        """
        self._look_again(now, head_at)
        self._delay = min(2 * self._delay, self._ceiling)

    def ring_at(self, due_at: float) -> None:
        """Set the alarm earlier, for a timer that another client has scheduled.

        Args:
            due_at: When it is due.
        """
        self.alarm_at = min(self.alarm_at, due_at)

    def poll_now(self) -> None:
        """Look at the next chance: a wake-up may have been missed."""
        self.poll_at = -math.inf

    def end_gap(self) -> None:
        """Leave no gap any longer."""
        self._not_before = -math.inf

    def _look_again(self, now: float, head_at: float) -> None:
        self.alarm_at = head_at
        delay = self._delay if self.heeds_alarms else self._ceiling
        self.poll_at = now + delay * (0.5 + self._jitter())


class FloodGap:
    """How long to leave between claims while timers are due by the thousand a second.

    A claim for each of them would cost more than handling it. In a gap they gather, as
    packets do while a network card holds its interrupt back. The gap grows as long as timers
    are due to its very end. Where they all came at its beginning it only makes them wait (say
    each handler schedules the next timer): then it shrinks to what they took to come.
    """

    __slots__ = ("_claimed", "_claimed_at", "_gap", "_looked_at")

    FLOOD = 1000.0
    """Timers claimed per second, from which on claims keep a gap."""

    MEMORY = 0.05
    """Seconds after which a claim counts for 1/e in that rate."""

    MOST = 0.015
    """Seconds of a gap at most: half of it is how late a timer is for that."""

    LEAST = 0.0003
    """Seconds of a gap at least, about what a call takes."""

    def __init__(self) -> None:
        """Begin without a flood."""
        self._claimed = 0.0
        self._claimed_at = -math.inf
        self._looked_at = -math.inf
        self._gap = self.LEAST

    def claimed(self, now: float, count: int) -> float:
        """Note a claim.

        Args:
            now: When it was answered, on the monotonic clock.
            count: How many timers it found.

        Returns:
            How many were found lately, those of this claim left out.
        """
        before = self._claimed * math.exp((self._claimed_at - now) / self.MEMORY)
        self._claimed, self._claimed_at = before + count, now
        return before

    def after(self, now: float, count: int, *, looked_at: float, last_due: float) -> float:
        """Note a claim that left nothing due, and give the seconds to leave before the next.

        Args:
            now: When it was answered, on the monotonic clock.
            count: How many timers it found.
            looked_at: When the server looked, as its Unix time.
            last_due: When the last of these timers was due, likewise.
        """
        looked_before, self._looked_at = self._looked_at, looked_at
        # A burst in a single claim is no flood: those before it tell.
        if self.claimed(now, count) < self.FLOOD * self.MEMORY:
            self._gap = self.LEAST
            return 0.0
        if looked_at - last_due < max(self.LEAST, self._gap / 8):
            self._gap = min(self.MOST, 1.5 * self._gap)
        else:
            taken = last_due - looked_before + self.LEAST
            self._gap = min(self.MOST, max(self.LEAST, taken))
        return self._gap


class ServerClock:
    """Translates the server's time into this process's monotonic clock.

    Each answer tells the server's time somewhere between sending and receiving.
    After a quick answer the middle is the estimate; a slow one, whose middle may
    be far off, only corrects an estimate that it disproves.
    """

    __slots__ = ("_offset",)

    QUICK = 0.01
    """Seconds from sending to receiving, up to which an answer is quick."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._offset = math.nan

    @property
    def is_set(self) -> bool:
        """Whether the server has answered yet."""
        return not math.isnan(self._offset)

    def observe(self, sent_at: float, answered_at: float, server_now: float) -> None:
        """Note an answer.

        Args:
            sent_at: When the call was sent, on the monotonic clock.
            answered_at: When its answer came.
            server_now: The server's Unix time in the answer, in seconds.
        """
        earliest, latest = sent_at - server_now, answered_at - server_now
        if latest - earliest <= self.QUICK:
            self._offset = (earliest + latest) / 2
        elif not self.is_set:
            # Rather early than late: an early claim costs a call.
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
    """Bounds the time spent on waiting actively for a due time.

    Sleeping alone is some milliseconds late; yielding in a loop until the due
    time is not, but costs a whole core while it lasts. It may cost a share of
    the time that passes, saved up to a cap. One budget serves all subscribers
    of a broker.

    Args:
        share: Share of all time, 0 to 1.
        cap: Seconds that can be saved up.
    """

    __slots__ = ("_cap", "_saved", "_share", "_since")

    def __init__(self, share: float = 0.05, cap: float = 0.02) -> None:
        """Begin with all that can be saved."""
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
        """Note time that was spent.

        Args:
            seconds: How long.
        """
        self._saved -= seconds


class AlarmClock:
    """How early to set an alarm, so that it does not ring late.

    A sleep ends late: event loops round up to a millisecond, and a processor that
    has idled takes its time to wake. By how much depends on the machine and on
    what else it does, so it is learnt from the sleeps before.

    Args:
        most: Seconds to be early at most, and until something is known.
        ping: Seconds that are left for a ping, which warms the connection.
    """

    __slots__ = ("_most", "_oversleep", "_ping")

    def __init__(self, most: float = 0.004, ping: float = 0.0008) -> None:
        """Begin without knowledge."""
        self._most = most
        self._ping = ping
        self._oversleep = most

    @property
    def early(self) -> float:
        """Seconds to wake before a due time."""
        return min(self._most, self._oversleep + self._ping)

    def overslept(self, seconds: float) -> None:
        """Note by how much a sleep was too long; the longest of late counts most.

        Args:
            seconds: How much.
        """
        seconds = min(seconds, self._most)
        self._oversleep = max(seconds, 0.9 * self._oversleep + 0.1 * seconds)


class Backoff:
    """How long to pause between tries while the server is away.

    Args:
        jitter: Gives a number from 0 to 1; it spreads each pause by +-50%.
        base: Seconds of the first pause.
        ceiling: Seconds to which it doubles.
    """

    __slots__ = ("_base", "_ceiling", "_jitter", "_pause")

    def __init__(
        self, jitter: Callable[[], float], *, base: float = 0.05, ceiling: float = 1.0
    ) -> None:
        """Begin with the first pause."""
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
        """Begin anew: the server has answered."""
        self._pause = self._base
