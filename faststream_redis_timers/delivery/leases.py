"""Which timers a subscriber holds: to renew their leases, and to know them when claimed again."""

from collections.abc import Iterator, Sequence

from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers.delivery.outbox import Settling
from faststream_redis_timers_sync.protocol.model import Claimed, Outcome


class Leases:
    """The timers that are held, roughly in the order in which their leases end."""

    __slots__ = ("_held", "_others")

    def __init__(self) -> None:
        """Begin with none."""
        self._held: dict[bytes, LeasedTimer] = {}
        # A timer that is scheduled again while its handler runs can be held twice.
        self._others: dict[bytes, list[LeasedTimer]] = {}

    def __len__(self) -> int:
        """Count the ids that are held."""
        return len(self._held)

    def hold(self, timer: LeasedTimer) -> None:
        """Add one.

        Args:
            timer: The timer.
        """
        if timer.key in self._held:
            self._others.setdefault(timer.key, []).append(timer)
        else:
            self._held[timer.key] = timer

    def let_go(self, timer: LeasedTimer) -> None:
        """Take one out, if it is in.

        Args:
            timer: The timer. It is no longer renewed, and not known when it is claimed again.
        """
        key = timer.key
        others = self._others.get(key)
        if others is None:
            if self._held.get(key) is timer:
                del self._held[key]
            return
        if timer in others:
            others.remove(timer)
        elif self._held[key] is timer:
            self._held[key] = others.pop(0)
        if not others:
            del self._others[key]

    def find(self, claimed: Claimed) -> LeasedTimer | None:
        """Find the timer that was held under the very lease which a claim has replaced.

        Args:
            claimed: What was claimed.
        """
        for timer in self._of(claimed.timer_id):
            if float(claimed.previous_score) in map(float, timer.leases):
                return timer
        return None

    def _of(self, key: bytes) -> Sequence[LeasedTimer]:
        first = self._held.get(key)
        return () if first is None else (first, *self._others.get(key, ()))

    def running(self) -> Iterator[LeasedTimer]:
        """Return those whose handlers have not decided yet."""
        for key in list(self._held):
            for timer in self._of(key):
                if not timer.is_decided:
                    yield timer

    def overdue(self) -> Sequence[LeasedTimer]:
        """Return those of `running` whose leases have ended, if the first one's has.

        The next claim would take them. One that is missed is known again when it is claimed.
        """
        first = next(iter(self._held.values()), None)
        if first is None or not first.lease_ended:
            return ()
        return [timer for timer in self.running() if timer.lease_ended]

    def renewed(self, timer: LeasedTimer) -> None:
        """Put one behind all others: its lease now ends last.

        Args:
            timer: The timer.
        """
        if timer.key in self._held:
            self._held[timer.key] = self._held.pop(timer.key)

    def was_lost(self, item: Settling, outcome: int) -> bool:
        """Tell a timer that another worker took over from one that was scheduled again.

        Args:
            item: A settlement.
            outcome: Its outcome, one of `Outcome`.
        """
        timer = item.timer
        if item.action == b"release":
            # Its handler was not run to its end, or at all.
            return False
        # One that is gone, or is due next already, may owe that to this very settlement.
        is_over = outcome in {Outcome.GONE, Outcome.REPEATED}
        if outcome != Outcome.LEASED_ANEW and (not is_over or item.is_repeated):
            return False
        # While its lease lasts no one takes it: either it was scheduled again and
        # claimed, or this settlement is repeated and has been carried out before.
        if timer.is_lost or not timer.lease_ended:
            return False
        return all(held is timer for held in self._of(timer.key))
