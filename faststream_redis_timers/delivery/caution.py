"""How many timers may run at once that may have killed their workers."""

from collections.abc import Callable


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


class Caution:
    """How many suspects a subscriber may run at once.

    Whoever runs beside a timer that kills its worker loses its lease too. So where attempts
    are counted, such suspects run one at a time, and no such timer alone uses up the attempts
    of a good one. Several may: each takes its share while one of the two is not suspected.
    Where they are not, each timer whose lease was lost is suspect: a fresh process begins
    with one, and takes twice as many each time one has ended.

    Args:
        most: How many handlers run at once.
        suspects: Those of the broker; None where attempts are not counted.
        look: Looks for suspects that were passed over.
    """

    __slots__ = ("_allowed", "_look", "_most", "_running", "_suspects")

    def __init__(self, most: int, suspects: Suspects | None, look: Callable[[], None]) -> None:
        """Begin cautiously."""
        self._most = most
        self._suspects = suspects
        self._look = look
        self._allowed = 1
        self._running = 0

    def most(self, limit: int) -> int:
        """Give how many suspects to claim at most.

        Args:
            limit: How many timers are claimed at most.
        """
        if self._suspects is None:
            return limit if self._allowed >= self._most else self._left(limit)
        if limit and self._suspects.is_running:
            self._suspects.deny(self._look)
            return 0
        return min(limit, 1)

    def _left(self, limit: int) -> int:
        return max(0, min(limit, self._allowed - self._running))

    def begin(self) -> bool:
        """Note that a suspect is about to begin.

        Returns:
            Whether it may: another subscriber's can have begun while it was claimed.
        """
        if self._suspects is not None:
            if self._suspects.is_running:
                self._suspects.deny(self._look)
                return False
            self._suspects.is_running = True
        self._running += 1
        return True

    def end(self) -> None:
        """Note that a suspect has ended, and so has not killed this process.

        Others may have been passed over for it, also in a claim in flight.
        """
        if not self._running:
            # The subscriber has stopped meanwhile.
            return
        self._running -= 1
        if self._suspects is not None:
            self._suspects.end()
            self._look()
        elif self._allowed < self._most:
            self._allowed = min(self._most, 2 * self._allowed)
            self._look()

    def close(self) -> None:
        """Note that the subscriber has stopped: what still runs does not hold up the next one."""
        if self._suspects is not None and self._running:
            self._running = 0
            self._suspects.end()
