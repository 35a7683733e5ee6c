"""Which timers may run: free slots, running handlers, and suspects that may kill their worker."""

import math
from collections.abc import Callable

from faststream_redis_timers.delivery.leased import Unit
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers_sync.protocol.steps import MOST_CLAIMED


class Suspects:
    """The single suspect that a broker runs at a time if attempts are counted.

    All subscribers of a broker share it: a timer that kills its worker also kills the
    handlers of other topics.
    """

    __slots__ = ("_denied", "is_running")

    def __init__(self) -> None:
        """Start without a suspect."""
        self.is_running = False
        self._denied: set[Callable[[], None]] = set()

    def deny(self, call: Callable[[], None]) -> None:
        """Note that a suspect may have been passed over for the running one.

        Args:
            call: Called once, when the running one has ended.
        """
        self._denied.add(call)

    def end(self) -> None:
        """Note that the running suspect has ended."""
        self.is_running = False
        denied, self._denied = self._denied, set()
        for call in denied:
            call()


class Slots:
    """How many handlers of a subscriber may run, and how many suspects among them.

    Timers that run beside one that kills its worker lose their leases too. So if attempts are
    counted, suspects run one at a time, and no single suspect uses up the attempts of a good
    timer. Several suspects may: each costs attempts until both timers are suspected. If attempts
    are not counted, each timer with a lost lease is a suspect: a new process starts with one, and
    allows twice as many each time one has ended.

    Args:
        most: How many handlers run at once.
        suspects: The broker's suspect; None if attempts are not counted.
        poll_now: Polls for suspects that were passed over.
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
        """Start with one suspect at most."""
        self.free = most
        self.running: set[Unit] = set()
        self._most = most
        self._suspects = suspects
        self._poll_now = poll_now
        self._allowed = 1
        # The running suspects, and until when they delay others.
        self._watched: dict[Unit, float] = {}

    @property
    def claim_limit(self) -> int:
        """How many timers a claim may ask for now."""
        return min(self.free, MOST_CLAIMED)

    def free_after(self, found: int) -> int:
        """Return how many slots are free once the timers of a claim have started.

        Args:
            found: How many timers.
        """
        return self.free - found

    def suspects_of(self, limit: int) -> int:
        """Return how many suspects a claim may lease.

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

    def begin(self, unit: Unit, watch_until: float | None = None) -> bool:
        """Assign a slot to a timer or batch.

        Args:
            unit: The timer, or the batch.
            watch_until: For a suspect, until when it delays others, on the holder's clock:
                one that hangs must not do so forever.

        Returns:
            Whether it may run: another subscriber's suspect may have started while this
            one was claimed.
        """
        if watch_until is not None:
            if self._suspects is not None:
                if self._suspects.is_running:
                    self._suspects.deny(self._poll_now)
                    return False
                self._suspects.is_running = True
            self._watched[unit] = watch_until
        self.free -= 1
        self.running.add(unit)
        return True

    def add(self) -> None:
        """Add a slot."""
        self.free += 1

    def remove(self) -> None:
        """Remove a slot; if a claim for it is in flight, -1 are free."""
        self.free -= 1

    def free_slot(self, unit: Unit) -> bool:
        """Free the slot of a timer or batch, if it holds one.

        Args:
            unit: The timer, or the batch. Its task may still be running.

        Returns:
            Whether it held one.
        """
        if not unit.holds_slot:
            return False
        unit.holds_slot = False
        self.free += 1
        if self._watched:
            self.end_suspicion(unit)
        return True

    def hand_over(self, unit: Unit) -> None:
        """Remove a timer or batch with its slot: it was passed to the caller that was the slot.

        Args:
            unit: The timer, or the batch.
        """
        unit.holds_slot = False
        self.running.discard(unit)
        self.end_suspicion(unit)

    def end_suspicion(self, unit: Unit) -> None:
        """Note that a suspect has not killed this process; do nothing for other timers.

        Others may have been passed over for it, even in a claim in flight.

        Args:
            unit: The timer, or the batch.
        """
        if self._watched.pop(unit, None) is None:
            return
        if self._suspects is not None:
            self._suspects.end()
            self._poll_now()
        elif self._allowed < self._most:
            self._allowed = min(self._most, 2 * self._allowed)
            self._poll_now()

    @property
    def watches_until(self) -> float:
        """When the first suspect no longer delays others; infinite without suspects."""
        return min(self._watched.values(), default=math.inf) if self._watched else math.inf

    def expire(self, now: float) -> None:
        """Stop delaying others for suspects that have run for too long.

        Args:
            now: The time on the holder's clock.
        """
        for unit in [one for one, until in self._watched.items() if until <= now]:
            self.end_suspicion(unit)

    def close(self) -> None:
        """Note that the subscriber has stopped: its suspects no longer delay others."""
        if self._suspects is not None and self._watched:
            self._suspects.end()
        self._watched.clear()


class BatchSlots(Slots):
    """How many batches may run, and how suspects are batched.

    Up to a hundred timers in a batch with one that kills its worker lose their leases too. So a
    claim whose first timer is a suspect leases it alone, and a claim that finds a suspect later
    passes it over. After a suspect the next claim passes over all suspects: other timers must not
    wait until the last suspect has run. One runs at a time even if attempts are not counted. Then a
    batch may have twice as many suspects each time a handler has returned, and one again after an
    error, since no timer can be dead-lettered for others.

    Args:
        most: How many batches run at once.
        max_records: How many timers a batch has at most.
        suspects: The broker's suspect; None if attempts are not counted.
        poll_now: See `Slots`.
    """

    __slots__ = ("_alone", "_is_counted", "_max_records", "_passes_over")

    def __init__(
        self,
        most: int,
        max_records: int,
        suspects: Suspects | None,
        poll_now: Callable[[], None],
    ) -> None:
        """Start with a claim that may lease a suspect."""
        self._is_counted = suspects is not None
        self._alone = Suspects() if suspects is None else suspects
        super().__init__(most, self._alone, poll_now)
        self._max_records = max_records
        self._passes_over = False

    @property
    def claim_limit(self) -> int:
        """How many timers a claim may ask for now."""
        return self._max_records if self.free > 0 else 0

    def free_after(self, found: int) -> int:
        """Return how many slots are free once the timers of a claim have started.

        Args:
            found: How many timers, which form a batch.
        """
        return self.free - (found > 0)

    def suspects_of(self, limit: int) -> int:
        """Return 0 for no suspects in a claim, or -n for n suspects without other timers.

        Args:
            limit: How many timers it asks for.
        """
        if not limit:
            return 0
        passes_over, self._passes_over = self._passes_over, False
        if self._alone.is_running:
            self._alone.deny(self._poll_now)
            return 0
        if passes_over:
            # The next claim looks for them, even if this one finds nothing.
            self._poll_now()
            return 0
        # If all timers of a claim might be suspects, it would lease them with others.
        return -min(self._allowed, max(1, limit - 1))

    def begin(self, unit: Unit, watch_until: float | None = None) -> bool:
        """Assign a slot to a batch; see `Slots`.

        Args:
            unit: The batch.
            watch_until: See `Slots`.
        """
        has_begun = super().begin(unit, watch_until)
        self._passes_over |= has_begun and watch_until is not None
        return has_begun

    def end_suspicion(self, unit: Unit) -> None:
        """Note that a batch of suspects has not killed this process; see `Slots`.

        Args:
            unit: The batch. If it still holds its slot, it hangs.
        """
        if unit in self._watched and not self._is_counted:
            is_well = not unit.holds_slot and not unit.has_failed
            self._allowed = min(2 * self._allowed, self._max_records) if is_well else 1
        super().end_suspicion(unit)


def make_slots(
    sub: TimerSub, slots: int | None, suspects: Suspects | None, poll_now: Callable[[], None]
) -> Slots:
    """Create the slots of a subscriber.

    Args:
        sub: Its options.
        slots: How many handlers may run at once; None means as many as `sub` says.
        suspects: See `Slots`.
        poll_now: See `Slots`.
    """
    most = sub.slots if slots is None else slots
    if sub.batch:
        return BatchSlots(most, sub.max_records, suspects, poll_now)
    return Slots(most, suspects, poll_now)
