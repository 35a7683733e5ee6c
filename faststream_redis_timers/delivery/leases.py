"""The leased timers of a subscriber: to renew leases, and to recognize repeated claims."""

from collections.abc import Iterator, Sequence

from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers.delivery.outbox import Settling
from faststream_redis_timers_sync.protocol.model import Claimed, Outcome


class Leases:
    """The leased timers, roughly in the order in which their leases expire."""

    __slots__ = ("_others", "_timers")

    def __init__(self) -> None:
        """Start without timers."""
        self._timers: dict[bytes, LeasedTimer] = {}
        # A timer that is scheduled again while its handler runs can be leased twice.
        self._others: dict[bytes, list[LeasedTimer]] = {}

    def __len__(self) -> int:
        """Return the number of leased ids."""
        return len(self._timers)

    def add(self, timer: LeasedTimer) -> None:
        """Add a timer.

        Args:
            timer: The timer.
        """
        if timer.key in self._timers:
            self._others.setdefault(timer.key, []).append(timer)
        else:
            self._timers[timer.key] = timer

    def remove(self, timer: LeasedTimer) -> None:
        """Remove a timer, if it is known.

        Args:
            timer: The timer. Its lease is no longer renewed, and repeated claims of it are not
                recognized.
        """
        key = timer.key
        others = self._others.get(key)
        if others is None:
            if self._timers.get(key) is timer:
                del self._timers[key]
            return
        if timer in others:
            others.remove(timer)
        elif self._timers[key] is timer:
            self._timers[key] = others.pop(0)
        if not others:
            del self._others[key]

    def find(self, claimed: Claimed) -> LeasedTimer | None:
        """Return the timer whose lease a claim has replaced; None if there is none.

        Args:
            claimed: The claimed timer.
        """
        for timer in self._of(claimed.timer_id):
            if float(claimed.previous_score) in map(float, timer.leases):
                return timer
        return None

    def _of(self, key: bytes) -> Sequence[LeasedTimer]:
        first = self._timers.get(key)
        return () if first is None else (first, *self._others.get(key, ()))

    def running(self) -> Iterator[LeasedTimer]:
        """Yield timers without an outcome."""
        for key in list(self._timers):
            for timer in self._of(key):
                if not timer.is_decided:
                    yield timer

    def overdue(self) -> Sequence[LeasedTimer]:
        """Return those of `running` whose leases have expired, if the first one's has.

        The next claim would claim them. A missed one is recognized when it is claimed.
        """
        first = next(iter(self._timers.values()), None)
        if first is None or not first.lease_ended:
            return ()
        return [timer for timer in self.running() if timer.lease_ended]

    def renewed(self, timer: LeasedTimer) -> None:
        """Move a timer behind all others: its lease now expires last.

        Args:
            timer: The timer.
        """
        if timer.key in self._timers:
            self._timers[timer.key] = self._timers.pop(timer.key)

    def was_lost(self, item: Settling, outcome: int) -> bool:
        """Return whether another worker took a timer over, instead of it being scheduled again.

        Args:
            item: A settlement.
            outcome: Its outcome, one of `Outcome`.
        """
        timer = item.timer
        if item.action == b"release":
            # Its handler did not finish, or did not run.
            return False
        # This very settlement may have removed it, or made it due at its next time.
        is_over = outcome in {Outcome.GONE, Outcome.REPEATED}
        if outcome != Outcome.LEASED_AGAIN and (not is_over or item.is_repeated):
            return False
        # While its lease lasts nobody claims it: either it was scheduled again and claimed,
        # or this settlement is repeated and was carried out before.
        if timer.is_lost or not timer.lease_ended:
            return False
        return all(one is timer for one in self._of(timer.key))
