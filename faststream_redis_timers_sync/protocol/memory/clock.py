"""The clock of timers in memory, which a test moves forward."""

from datetime import UTC, datetime, timedelta

from faststream_redis_timers_sync.protocol.times import ask_in

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class MemoryClock:
    """This machine's clock, moved forward on request.

    `stand_at` stops it, for callers that go from timer to timer.
    """

    def __init__(self) -> None:
        """Begin with this machine's time."""
        self._ahead = timedelta(0)
        self._stands_at: datetime | None = None

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return self._stands_at or datetime.now(UTC) + self._ahead

    def microseconds(self) -> int:
        """Return the time, in microseconds of Unix time."""
        return (self.now() - _EPOCH) // _MICROSECOND

    def advance(self, by: timedelta) -> None:
        """Move on.

        Args:
            by: How far.

        Raises:
            TypeError: It is not a timedelta.
            ValueError: It is negative, or longer than a thousand years.
        """
        time = self.after(by)
        if self._stands_at is None:
            self._ahead += by
        else:
            self._stands_at = time

    def after(self, by: timedelta) -> datetime:
        """Return the time after a duration.

        Args:
            by: The duration.

        Raises:
            TypeError: It is not a timedelta.
            ValueError: It is negative, or longer than a thousand years.
        """
        ask_in("by", by)
        if by < timedelta(0):
            msg = f"by must not be negative, got {by!r}"
            raise ValueError(msg)
        return self.now() + by

    def stand_at(self, time: datetime) -> None:
        """Move on and stop; it never goes back.

        Args:
            time: The time at which it then stands.
        """
        self._stands_at = max(time, self.now())

    def run_on(self) -> None:
        """Go on from where it stands."""
        self._ahead, self._stands_at = self.now() - datetime.now(UTC), None

    def reset(self) -> None:
        """Take this machine's time again."""
        self._ahead, self._stands_at = timedelta(0), None
