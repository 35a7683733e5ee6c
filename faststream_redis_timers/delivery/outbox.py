"""Settlements to be sent to the server."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers_sync.protocol.model import CommitGroup, Outcome, Settlement
from faststream_redis_timers_sync.protocol.operation import MOST_CHANGED, PAYLOAD_BUDGET


class Settling(NamedTuple):
    """A settlement that waits to be sent, or for its outcome.

    Args:
        timer: The timer.
        action: See `Settlement`.
        detail: See `Settlement`.
        is_repeated: Whether the server may have carried it out before.
    """

    timer: LeasedTimer
    action: bytes
    detail: bytes
    is_repeated: bool = False

    def __repr__(self) -> str:
        """Return timer and action; the detail of a dead letter contains its payload."""
        return f"{type(self).__name__}({self.timer!r}, {self.action!r})"

    @property
    def is_renewal(self) -> bool:
        """Whether it asks for a longer lease."""
        return self.action == b"renew"

    @property
    def is_correction(self) -> bool:
        """Whether it only corrects a count, and nothing waits for it."""
        return self.action == b"recount"

    def settlement(self) -> Settlement:
        """Return the settlement to send, under the leases that the timer may have by now."""
        timer = self.timer
        return Settlement(self.action, timer.key, timer.leases_word, self.detail)

    def answered(self, outcome: int, clock_offset: float) -> bool:
        """Pass the outcome to the timer.

        Args:
            outcome: One of `Outcome`.
            clock_offset: Seconds from the server's Unix time to the clock by which leases
                expire here.

        Returns:
            Whether the timer is settled, so that this worker is done with it.
        """
        action = self.action
        if action == b"renew":
            lease = self.detail if outcome == Outcome.DONE else None
            self.timer.renewed(lease, float(self.detail) + clock_offset)
            return False
        if action == b"recount":
            return False
        done = outcome == Outcome.DONE or (
            # The first call was carried out, and only its reply lost: nobody else
            # commits while the lease lasts.
            outcome == (Outcome.REPEATED if action == b"repeat" else Outcome.GONE)
            and self.is_repeated
            and not self.timer.lease_ended
        )
        self.timer.settled(outcome=done)
        return True

    def given_up(self) -> None:
        """Tell the timer that it will not be sent."""
        if self.is_renewal:
            self.timer.renewed(None)
        elif not self.is_correction:
            self.timer.settled(outcome=False)


class Parcel(NamedTuple):
    """The settlements of one call.

    Args:
        items: All settlements, in the order of their outcomes.
        settlements: Those that are sent singly, which come first.
        groups: The others, which are sent in groups.
    """

    items: list[Settling]
    settlements: list[Settlement]
    groups: list[CommitGroup]


LEAST_OF_A_GROUP = 3
"""How many commits under the same leases are sent as a group."""


def pack(items: list[Settling]) -> Parcel:
    """Pack settlements for a call.

    Args:
        items: The settlements. Commits may move behind all others, since removing a timer is the
            last thing that a call does to it.
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
    """The settlements to be sent, in order."""

    __slots__ = ("_waiting", "is_urgent")

    def __init__(self) -> None:
        """Start empty."""
        self._waiting: deque[Settling] = deque()
        self.is_urgent = False

    def __len__(self) -> int:
        """Return the number of settlements that wait."""
        return len(self._waiting)

    def put(self, items: Iterable[Settling], *, is_urgent: bool) -> None:
        """Add settlements.

        Args:
            items: The settlements.
            is_urgent: Whether one of them must not wait for the next claim.
        """
        self._waiting.extend(items)
        self.is_urgent |= is_urgent

    def next_parcel(self) -> Parcel:
        """Remove and return the settlements for one call."""
        waiting = self._waiting
        items: list[Settling] = []
        size = 0
        while waiting and len(items) < MOST_CHANGED:
            item = waiting.popleft()
            # Dead letters contain their payloads.
            size += len(item.detail)
            if items and size > PAYLOAD_BUDGET:
                waiting.appendleft(item)
                break
            items.append(item)
        self.is_urgent = bool(waiting)
        return pack(items)

    def requeue(self, items: Sequence[Settling], *, is_repeated: bool) -> None:
        """Queue the settlements of a failed call again, before all others.

        Args:
            items: The settlements.
            is_repeated: Whether they may have been carried out. If they were not sent, or were
                refused, they are not repeated: "gone" is not their result then.
        """
        self.is_urgent = True
        self._waiting.extendleft(
            item._replace(is_repeated=item.is_repeated or is_repeated) for item in reversed(items)
        )

    def renewals(self) -> dict[int, int]:
        """Return the indexes of waiting renewals, by the `id()` of their timers."""
        return {id(item.timer): n for n, item in enumerate(self._waiting) if item.is_renewal}

    def extend_renewal(self, place: int, lease: bytes) -> None:
        """Change a waiting renewal to ask for a later lease.

        Otherwise renewals would pile up during an outage.

        Args:
            place: Its index, from `renewals`.
            lease: The later lease, from the holder's `propose_lease`.
        """
        item = self._waiting[place]
        if float(lease) > float(item.detail):
            item.timer.extend(item.detail, lease, may_be_known=item.is_repeated)
            self._waiting[place] = item._replace(detail=lease, is_repeated=False)

    def give_up(self) -> int:
        """Give all settlements up, and tell their timers.

        Returns:
            How many settled timers stay unchanged on the server.
        """
        items = list(self._waiting)
        self._waiting.clear()
        for item in items:
            item.given_up()
        return sum(not (item.is_renewal or item.is_correction) for item in items)
