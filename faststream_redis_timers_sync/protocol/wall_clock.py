"""The local clock of a time zone: the moments that its readings stand for.

Readings are naive datetimes, moments are datetimes in UTC. When the clock is put forward it skips
readings; when it is put back it repeats some, and each of these has two moments.
"""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

_NOTHING = timedelta(0)
_SECOND = timedelta(seconds=1)


class Offsets(NamedTuple):
    """The offset from UTC at a reading.

    Args:
        before: Before the clock change at this reading.
        after: After it; the same if there is no change.
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
        """Return the reading at a moment; its ``fold`` is 1 in the second pass of a repeated hour.

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
        """Return when the clock first shows a reading; if it skips it, when it has done so.

        Args:
            reading: The reading.
        """
        offsets = self._offsets(reading)
        if offsets.before < offsets.after:
            return self._change(reading, offsets)
        return _moment(reading, offsets.before)

    def repeated(self, reading: datetime) -> tuple[datetime, datetime] | None:
        """Return the readings that are repeated together with one: the first, and the next after.

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
        """Find the clock change at a reading, on a whole second like all known changes."""
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
