"""Who may run: free slots, running handlers, and timers that may have killed their workers."""

import math
from collections.abc import Callable

from faststream_redis_timers.delivery.leased import LeasedTimer


class Suspects:
    """The single suspect that a broker runs at a time where attempts are counted.

    It is one for all subscribers of a broker: a timer that kills its worker takes the
    handlers of other topics with it too.
    """

    __slots__ = ("_denied", "is_running")

    def __init__(self) -> None:
        """Begin with none."""
        self.is_running = False
        self._denied: set[Callable[[], None]] = set()

    def deny(self, call: Callable[[], None]) -> None:
        """Note who may have passed over a suspect for the one that runs.

        Args:
            call: Called once, when that one has ended.
        """
        self._denied.add(call)

    def end(self) -> None:
        """Note that the one has ended."""
        self.is_running = False
        denied, self._denied = self._denied, set()
        for call in denied:
            call()


class Slots:
    """How many handlers of a subscriber may run, and how many suspects among them.

    Whoever runs beside a timer that kills its worker loses its lease too. So where attempts
    are counted, such suspects run one at a time, and no such timer alone uses up the attempts
    of a good one. Several may: each takes its share while one of the two is not suspected.
    Where they are not, each timer whose lease was lost is suspect: a fresh process begins
    with one, and takes twice as many each time one has ended.

    Args:
        most: How many handlers run at once.
        suspects: Those of the broker; None where attempts are not counted.
        poll_now: Looks for suspects that were passed over.
    """

    __slots__ = (
        "_allowed",
        "_most",
        "_poll_now",
        "_suspects",
        "_watched",
        "free",
        "running",
    )

    def __init__(self, most: int, suspects: Suspects | None, poll_now: Callable[[], None]) -> None:
        """Begin cautiously."""
        self.free = most
        self.running: set[LeasedTimer] = set()
        self._most = most
        self._suspects = suspects
        self._poll_now = poll_now
        self._allowed = 1
        # The suspects that run, and when they no longer keep others back.
        self._watched: dict[LeasedTimer, float] = {}

    def suspects_of(self, limit: int) -> int:
        """Return how many suspects a claim may take.

        Args:
            limit: How many timers it asks for.
        """
        if self._suspects is None:
            if self._allowed >= self._most:
                return limit
            return max(0, min(limit, self._allowed - len(self._watched)))
        if limit and self._suspects.is_running:
            self._suspects.deny(self._poll_now)
            return 0
        return min(limit, 1)

    def begin(self, timer: LeasedTimer, watch_until: float | None = None) -> bool:
        """Give a slot to a timer.

        Args:
            timer: The timer.
            watch_until: For a suspect, when it no longer keeps others back, on the
                holder's clock: one that hangs must not do so without end.

        Returns:
            Whether it may run: another subscriber's suspect can have begun while this
            one was claimed.
        """
        if watch_until is not None:
            if self._suspects is not None:
                if self._suspects.is_running:
                    self._suspects.deny(self._poll_now)
                    return False
                self._suspects.is_running = True
            self._watched[timer] = watch_until
        self.free -= 1
        self.running.add(timer)
        return True

    def add(self) -> None:
        """Have a slot more."""
        self.free += 1

    def remove(self) -> None:
        """Have a slot less, also while a claim for it is in flight: then there are -1."""
        self.free -= 1

    def free_slot(self, timer: LeasedTimer) -> bool:
        """Take the slot back from a timer, if it holds one.

        Args:
            timer: The timer. Its task may still be running.

        Returns:
            Whether it held one.
        """
        if not timer.holds_slot:
            return False
        timer.holds_slot = False
        self.free += 1
        if self._watched:
            self.end_suspicion(timer)
        return True

    def hand_over(self, timer: LeasedTimer) -> None:
        """Let a timer go with its slot: a caller, who was the slot, has got it.

        Args:
            timer: The timer.
        """
        timer.holds_slot = False
        self.running.discard(timer)
        self.end_suspicion(timer)

    def end_suspicion(self, timer: LeasedTimer) -> None:
        """Note that a suspect, if it is one, has not killed this process.

        Others may have been passed over for it, also in a claim in flight.

        Args:
            timer: The timer.
        """
        if self._watched.pop(timer, None) is None:
            return
        if self._suspects is not None:
            self._suspects.end()
            self._poll_now()
        elif self._allowed < self._most:
            self._allowed = min(self._most, 2 * self._allowed)
            self._poll_now()

    @property
    def watches_until(self) -> float:
        """When the first suspect no longer keeps others back; infinite without any."""
        return min(self._watched.values(), default=math.inf) if self._watched else math.inf

    def expire(self, now: float) -> None:
        """Let suspects that have run for too long keep nobody back any longer.

        Args:
            now: The time on the holder's clock.
        """
        for timer in [one for one, until in self._watched.items() if until <= now]:
            self.end_suspicion(timer)

    def close(self) -> None:
        """Note that the subscriber has stopped: what still runs holds up no other one."""
        if self._suspects is not None and self._watched:
            self._suspects.end()
        self._watched.clear()
