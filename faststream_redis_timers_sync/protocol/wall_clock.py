"""The clock on a wall in a time zone: which moments its readings stand for, whatever is changed.

Readings are naive datetimes, moments are datetimes in UTC. Where the clock is put forward it skips
readings; where it is put back it repeats some, and each of these has two moments.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

_NOTHING = timedelta(0)
_SECOND = timedelta(seconds=1)


class Offsets(NamedTuple):
    """What is added to UTC at a reading.

    Args:
        before: Before the clock change at this reading.
        after: After it; the same where there is no change.
    """

    before: timedelta
    after: timedelta


class WallClock:
    """The clock of a time zone.

    Args:
        zone: The time zone.
    """

    __slots__ = ("_zone",)

    def __init__(self, zone: tzinfo) -> None:
        """Keep the time zone."""
        self._zone = zone

    def read(self, moment: datetime) -> datetime:
        """Return what the clock shows; its ``fold`` is 1 in the second pass of what is repeated.

        Args:
            moment: The moment.
        """
        return moment.astimezone(self._zone).replace(tzinfo=None)

    def moments(self, reading: datetime) -> list[datetime]:
        """Return when the clock shows a reading: never, once or twice, in order.

        Args:
            reading: The reading.
        """
        offsets = self._offsets(reading)
        if offsets.before < offsets.after:
            return []
        first = _moment(reading, offsets.before)
        if offsets.before == offsets.after:
            return [first]
        return [first, _moment(reading, offsets.after)]

    def first_moment(self, reading: datetime) -> datetime:
        """Return when the clock shows a reading first; where it skips it, when it has done so.

        Args:
            reading: The reading.
        """
        offsets = self._offsets(reading)
        if offsets.before < offsets.after:
            return self._change(reading, offsets)
        return _moment(reading, offsets.before)

    def repeated(self, reading: datetime) -> tuple[datetime, datetime] | None:
        """Return the readings that are repeated together with one: the first, and what follows.

        Args:
            reading: That one.

        Returns:
            None if it is not repeated.
        """
        offsets = self._offsets(reading)
        if offsets.before <= offsets.after:
            return None
        change = self._change(reading, offsets).replace(tzinfo=None)
        return change + offsets.after, change + offsets.before

    def _offsets(self, reading: datetime) -> Offsets:
        before = self._zone.utcoffset(reading.replace(fold=0))
        after = self._zone.utcoffset(reading.replace(fold=1))
        return Offsets(before or _NOTHING, after or _NOTHING)

    def _change(self, reading: datetime, offsets: Offsets) -> datetime:
        """Find the change of the clock at a reading, on a whole second as all that are known."""
        second = reading.replace(microsecond=0)
        earlier, later = sorted(_moment(second, offset) for offset in offsets)
        earlier -= _SECOND
        while later - earlier > _SECOND:
            middle = earlier + (later - earlier) // _SECOND // 2 * _SECOND
            if middle.astimezone(self._zone).utcoffset() == offsets.before:
                earlier = middle
            else:
                later = middle
        return later


def _moment(reading: datetime, offset: timedelta) -> datetime:
    return (reading - offset).replace(tzinfo=UTC, fold=0)
