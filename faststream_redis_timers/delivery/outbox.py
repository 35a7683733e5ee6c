"""Settlements on their way to the server."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers_sync.protocol.model import CommitGroup, Outcome, Settlement
from faststream_redis_timers_sync.protocol.operation import MOST_CHANGED, PAYLOAD_BUDGET


class Settling(NamedTuple):
    """A settlement that waits to be sent, or for its outcome.

    Args:
        timer: The timer that it is for.
        action: See `Settlement`.
        detail: See `Settlement`.
        is_repeated: Whether the server may have carried it out before.
    """

    timer: LeasedTimer
    action: bytes
    detail: bytes
    is_repeated: bool = False

    def __repr__(self) -> str:
        """Name timer and action; the detail of a dead letter holds its payload."""
        return f"{type(self).__name__}({self.timer!r}, {self.action!r})"

    @property
    def is_renewal(self) -> bool:
        """Whether it asks for a longer lease."""
        return self.action == b"renew"

    @property
    def is_correction(self) -> bool:
        """Whether it only corrects a count, and nobody waits for it."""
        return self.action == b"recount"

    def settlement(self) -> Settlement:
        """Make what is sent, under the leases that the timer may have by now."""
        timer = self.timer
        return Settlement(self.action, timer.key, timer.leases_word, self.detail)

    def answered(self, outcome: int, clock_offset: float) -> bool:
        """Let the timer know the outcome.

        Args:
            outcome: One of `Outcome`.
            clock_offset: Seconds from the server's Unix time to the clock by which leases
                end here.

        Returns:
            Whether that is the end of the timer here.
        """
        action = self.action
        if action == b"renew":
            lease = self.detail if outcome == Outcome.DONE else None
            self.timer.renewed(lease, float(self.detail) + clock_offset)
            return False
        if action == b"recount":
            return False
        done = outcome == Outcome.DONE or (
            # The first try was carried out, and only its reply lost: while the lease
            # lasts nobody else commits.
            outcome == (Outcome.REPEATED if action == b"repeat" else Outcome.GONE)
            and self.is_repeated
            and not self.timer.lease_ended
        )
        self.timer.settled(outcome=done)
        return True

    def given_up(self) -> None:
        """Let the timer know that it will not be sent."""
        if self.is_renewal:
            self.timer.renewed(None)
        elif not self.is_correction:
            self.timer.settled(outcome=False)


class Parcel(NamedTuple):
    """What one call carries.

    Args:
        items: All settlements, in the order of their outcomes.
        settlements: What is sent of those that travel alone, which come first.
        groups: What is sent of the others.
    """

    items: list[Settling]
    settlements: list[Settlement]
    groups: list[CommitGroup]


LEAST_OF_A_GROUP = 3
"""Commits under the same leases, from which on they travel as a group."""


def pack(items: list[Settling]) -> Parcel:
    """Put settlements together for a call.

    Args:
        items: The settlements. Commits may go behind all others: of what a call does to a timer
            its removal is the last.
    """
    groups: list[CommitGroup] = []
    if len(items) < LEAST_OF_A_GROUP:
        return Parcel(items, [item.settlement() for item in items], groups)
    alone: list[Settling] = []
    grouped: list[Settling] = []
    commits: dict[bytes, list[Settling]] = {}
    for item in items:
        if item.action == b"commit":
            leases = item.timer.leases_word
            if leases not in commits:
                commits[leases] = []
            commits[leases].append(item)
        else:
            alone.append(item)
    for leases, some in commits.items():
        if len(some) < LEAST_OF_A_GROUP:
            alone += some
        else:
            grouped += some
            groups.append(CommitGroup(leases, [item.timer.key for item in some]))
    return Parcel(alone + grouped, [item.settlement() for item in alone], groups)


class Outbox:
    """What is to be sent, in order."""

    __slots__ = ("_waiting", "is_urgent")

    def __init__(self) -> None:
        """Begin empty."""
        self._waiting: deque[Settling] = deque()
        self.is_urgent = False

    def __len__(self) -> int:
        """Count what waits to be sent."""
        return len(self._waiting)

    def put(self, items: Iterable[Settling], *, is_urgent: bool) -> None:
        """Add some.

        Args:
            items: The settlements.
            is_urgent: Whether one may not wait for a claim to ride with.
        """
        self._waiting.extend(items)
        self.is_urgent |= is_urgent

    def next_parcel(self) -> Parcel:
        """Take what one call carries."""
        waiting = self._waiting
        items: list[Settling] = []
        size = 0
        while waiting and len(items) < MOST_CHANGED:
            item = waiting.popleft()
            # Dead letters bring their payloads.
            size += len(item.detail)
            if items and size > PAYLOAD_BUDGET:
                waiting.appendleft(item)
                break
            items.append(item)
        self.is_urgent = bool(waiting)
        return pack(items)

    def put_back(self, items: Sequence[Settling], *, is_repeated: bool) -> None:
        """Add what a call carried that has failed, before all others.

        Args:
            items: What it carried.
            is_repeated: Whether it may have been carried out. What was not sent, or was
                refused, is not repeated: "gone" is not this worker's doing then.
        """
        self.is_urgent = True
        self._waiting.extendleft(
            item._replace(is_repeated=item.is_repeated or is_repeated) for item in reversed(items)
        )

    def renewals(self) -> dict[int, int]:
        """Return the places of renewals that wait, by the `id()` of their timers."""
        return {id(item.timer): n for n, item in enumerate(self._waiting) if item.is_renewal}

    def extend_renewal(self, place: int, lease: bytes) -> None:
        """Let a renewal that waits ask for a lease that begins now.

        While the server is away they would pile up.

        Args:
            place: Its place, as `renewals` gives it.
            lease: The lease, as the holder has proposed it.
        """
        item = self._waiting[place]
        if float(lease) > float(item.detail):
            item.timer.extend(item.detail, lease, may_be_known=item.is_repeated)
            self._waiting[place] = item._replace(detail=lease, is_repeated=False)

    def give_up(self) -> int:
        """Send nothing more, and let all timers know.

        Returns:
            How many timers stay as they are though their handlers have settled them.
        """
        items = list(self._waiting)
        self._waiting.clear()
        for item in items:
            item.given_up()
        return sum(not (item.is_renewal or item.is_correction) for item in items)
