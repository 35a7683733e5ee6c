"""A leased timer: the leases that it may have by now, and its outcome."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from faststream_redis_timers.delivery.occurrences import Occurrence
from faststream_redis_timers.delivery.settlement_policy import SettlementPolicy
from faststream_redis_timers_sync.protocol.dead_letters import read_occurrence
from faststream_redis_timers_sync.protocol.envelope import Envelope
from faststream_redis_timers_sync.protocol.keys import decode_id
from faststream_redis_timers_sync.protocol.model import Claimed
from faststream_redis_timers_sync.protocol.recurrence import Repeat
from faststream_redis_timers_sync.protocol.timers import occurrence_id
from faststream_redis_timers_sync.protocol.times import is_lease, time_of


class Unit(Protocol):
    """Something that holds a slot: a timer, or a batch of timers that are handled together."""

    holds_slot: bool

    @property
    def deliveries(self) -> Sequence["LeasedTimer"]:
        """Its timers."""
        ...

    @property
    def lease_ended(self) -> bool:
        """Whether a lease has expired by the holder's clock."""
        ...

    @property
    def has_failed(self) -> bool:
        """Whether it is a batch whose handler has raised an error."""
        ...

    def release(self) -> None:
        """Release timers without an outcome: they are due as before the claim."""
        ...


class Holder(Protocol):
    """Holds leases: the driver of a `DeliveryCore`, which knows the time."""

    def now(self) -> float:
        """Return the time of the clock by which leases expire here, in seconds."""
        ...

    def settle(self, timers: Sequence["LeasedTimer"], action: bytes, detail: bytes, /) -> None:
        """Settle timers in the same way; call their `settled` or `renewed` with the outcomes."""
        ...

    def propose_lease(self, lease_ttl: float, /) -> bytes:
        """Return a lease of `lease_ttl` seconds from now, as a score."""
        ...

    def free_slot(self, unit: Unit, /) -> None:
        """Free the slot of a timer, or of a batch: its handler has ended."""
        ...


class Claim(NamedTuple):
    """What the timers of one claim share.

    Args:
        topic: The full topic.
        lease: Their score while leased, as text.
        lease_ends_at: When the lease expires, on the holder's clock, in seconds.
        claimed_at: The server's Unix time of the claim, in seconds.
        received_at: When the reply came, on the holder's clock, in seconds.
        lease_ttl: Seconds for which they were leased.
        settlement_policy: Decides outcomes.
        holder: Carries out settlements.
    """

    topic: str
    lease: bytes
    lease_ends_at: float
    claimed_at: float
    received_at: float
    lease_ttl: float
    settlement_policy: SettlementPolicy
    holder: Holder


class LeasedTimer:
    """A timer that is leased to this worker.

    Args:
        claim: The claim that it came with.
        claimed: The timer as it was claimed.
        envelope: Its decoded payload.
        occurrence: The occurrence, for a recurring timer.
    """

    __slots__ = (
        "_is_decided",
        "_is_lost",
        "_occurrence",
        "_outcome",
        "_renewals",
        "_waiters",
        "claim",
        "claimed",
        "envelope",
        "holds_slot",
        "key",
        "lease_ends_at",
        "leases",
    )

    def __init__(
        self,
        claim: Claim,
        claimed: Claimed,
        envelope: Envelope,
        occurrence: Occurrence | None = None,
    ) -> None:
        """Start with the lease of the claim."""
        self.claim = claim
        self.claimed = claimed
        self.key = claimed.timer_id
        self.envelope = envelope
        self._occurrence = occurrence
        # After renewals without a reply it may be any of several.
        self.leases: tuple[bytes, ...] = (claim.lease,)
        self.lease_ends_at = claim.lease_ends_at
        self.holds_slot = True
        self._renewals = 0
        self._is_decided = False
        self._is_lost = False
        self._outcome: bool | None = None
        # Waiters for a reply.
        self._waiters: Sequence[Any] = ()

    def __repr__(self) -> str:
        """Return topic and id; body and headers may be secret."""
        return f"{type(self).__name__}(topic={self.topic!r}, timer_id={self.timer_id!r})"

    # --- facts

    @property
    def deliveries(self) -> "tuple[LeasedTimer]":
        """Only itself: the timers that its slot is for."""
        return (self,)

    @property
    def has_failed(self) -> bool:
        """False: it is not a batch."""
        return False

    @property
    def topic(self) -> str:
        """The full topic."""
        return self.claim.topic

    @property
    def timer_id(self) -> str:
        """Its id."""
        return decode_id(self.key)

    @property
    def claimed_at(self) -> float:
        """The server's Unix time of its claim, in seconds."""
        return self.claim.claimed_at

    @property
    def due_at(self) -> datetime:
        """When it was due, in UTC.

        If attempts are counted, this is the first due time. Otherwise, for a redelivery it is
        the time at which its last lease ended, or to which a ``NackMessage`` delayed it.

        For a recurring timer it is `occurrence`, or the due time above if that is later and not
        the end of a lease.
        """
        return time_of(self._due_score)

    @property
    def lateness(self) -> float:
        """Seconds from `due_at` to its claim, both by the server's clock."""
        return self.claimed_at - self._due_score

    @property
    def _due_score(self) -> float:
        score = float(self.claimed.first_due or self.claimed.previous_score)
        if self._occurrence is None or self._occurrence.time is None:
            return score
        time = self._occurrence.time.timestamp()
        return time if is_lease(score) else max(time, score)

    @property
    def repeat(self) -> Repeat | None:
        """The definition of a recurring timer; None for others."""
        return None if self._occurrence is None else self._occurrence.repeat

    @property
    def occurrence(self) -> datetime | None:
        """The latest time of its series when it was claimed, in UTC, however many were missed.

        None if it is not a recurring timer, or its first time has not come yet. For a redriven
        occurrence it is the time of the one that was dead-lettered.
        """
        if self._occurrence is not None:
            return self._occurrence.time
        return read_occurrence(self.envelope.headers)

    @property
    def correlation_id(self) -> str:
        """Its correlation id: by default its id, for a recurring timer with the occurrence."""
        given = self.envelope.headers.get("correlation_id")
        if given is not None:
            return given
        if self._occurrence is None or self._occurrence.time is None:
            return self.timer_id
        return occurrence_id(self.timer_id, self._occurrence.time)

    @property
    def attempt(self) -> int | None:
        """Which attempt this is, from 1; None if attempts are not counted."""
        return self.claimed.attempt

    @property
    def redelivered(self) -> bool:
        """Whether the lease of an earlier delivery expired or, with attempts counted, it failed."""
        attempt = self.claimed.attempt
        return self.claimed.was_leased or (attempt is not None and attempt > 1)

    @property
    def lease_ended(self) -> bool:
        """Whether its lease has expired by the holder's clock."""
        return self.claim.holder.now() >= self.lease_ends_at

    @property
    def lease_lost(self) -> bool:
        """Whether this worker has lost the timer, as far as it knows.

        Its lease has expired, and perhaps nobody has claimed it yet; or the server has refused to
        renew it: another worker has claimed it, or it was cancelled, rescheduled or replaced.
        """
        if self._outcome is not None:
            return not self._outcome
        return self._is_lost or self.lease_ended

    @property
    def is_renewing(self) -> bool:
        """Whether a renewal waits for its reply."""
        return self._renewals > 0

    @property
    def is_lost(self) -> bool:
        """Whether the server has refused to renew its lease."""
        return self._is_lost

    @property
    def is_decided(self) -> bool:
        """Whether its outcome is decided."""
        return self._is_decided

    @property
    def outcome(self) -> bool | None:
        """Whether its settlement was carried out under its lease; None until that is known."""
        return self._outcome

    @property
    def is_settling(self) -> bool:
        """Whether its outcome is decided, but not yet carried out."""
        return self._is_decided and self._outcome is None

    # --- decisions: they are sent later, and `settled` gets the outcome

    def commit_soon(self) -> None:
        """Commit the timer; a recurring one is due at its next time."""
        if self._occurrence is None:
            self.decide(b"commit", b"")
        elif not self._is_decided:
            self.decide(*self.claim.settlement_policy.after_success(self.claimed, self._occurrence))

    @staticmethod
    def commit_all_soon(timers: Sequence["LeasedTimer"]) -> None:
        """Commit timers of one holder, like `commit_soon`, but faster.

        Args:
            timers: The timers.
        """
        alike = []
        for timer in timers:
            if timer._occurrence is not None:  # noqa: SLF001  its own class
                timer.commit_soon()
            elif not timer._is_decided:  # noqa: SLF001  its own class
                timer._is_decided = True  # noqa: SLF001  its own class
                alike.append(timer)
        if alike:
            alike[0].claim.holder.settle(alike, b"commit", b"")

    def nack_soon(self, error: BaseException, delay: timedelta | None = None) -> None:
        """Fail this attempt: the timer is retried, if it has attempts left.

        Args:
            error: The error of its handler.
            delay: Delay until the retry. None means that of the retry policy or, without one,
                until the lease would have ended.

        Raises:
            TypeError: `delay` is not a timedelta.
        """
        if not self._is_decided:
            settlement = self.claim.settlement_policy.after_failure(
                self.claimed, self._occurrence, error, delay
            )
            self.decide(*settlement)

    def nack_assumed(self, error: BaseException) -> bool:
        """Fail this attempt without trying it alone, if the timer has attempts left.

        Args:
            error: The error of other timers of its batch.

        Returns:
            Whether it has attempts left; if not, nothing is decided.
        """
        if not self._is_decided:
            settlement = self.claim.settlement_policy.after_assumed_failure(self.claimed, error)
            if settlement is None:
                return False
            self.decide(*settlement)
        return True

    def uncount_attempt(self) -> None:
        """Leave the timer leased until its lease expires, without counting this attempt."""
        if self.claimed.attempt is not None:
            self.claim.holder.settle((self,), b"recount", b"%d" % (self.claimed.attempt - 1))

    def reject_soon(self, error: BaseException) -> None:
        """Reject the timer.

        Args:
            error: The error of its handler.
        """
        if not self._is_decided:
            settlement = self.claim.settlement_policy.dead_letter(
                self.claimed, self._occurrence, "rejected", error
            )
            self.decide(*settlement)

    def release(self) -> None:
        """Release the timer: it is due as before the claim."""
        self.decide(b"release", self.claimed.previous_score)

    def decide(self, action: bytes, detail: bytes) -> None:
        """Settle the timer, see `Settlement`; do nothing if its outcome is decided."""
        if not self._is_decided:
            self._is_decided = True
            self.claim.holder.settle((self,), action, detail)

    def free_slot(self) -> None:
        """Free its slot for another timer: its handler has ended."""
        self.claim.holder.free_slot(self)

    @property
    def leases_word(self) -> bytes:
        """The leases that it may have by now, in the form of `Settlement`."""
        return self.leases[0] if len(self.leases) == 1 else b" ".join(self.leases)

    # --- renewals

    def renew_soon(self, lease_ttl: float) -> None:
        """Ask for a longer lease.

        Args:
            lease_ttl: Seconds from now.
        """
        self.propose(self.claim.holder.propose_lease(lease_ttl))

    def propose(self, lease: bytes) -> None:
        """Ask for a longer lease.

        Args:
            lease: The new lease, from the holder's `propose_lease`.
        """
        if self._is_decided or self._is_lost:
            return
        # A lease that expires before the present one never lowers the score. If an earlier
        # renewal was lost on its way, it may still be the longest.
        self.leases += (lease,)
        self._renewals += 1
        self.claim.holder.settle((self,), b"renew", lease)

    def extend(self, waiting: bytes, lease: bytes, *, may_be_known: bool) -> None:
        """Change a renewal without a reply to ask for a later lease.

        Args:
            waiting: The lease that it asks for.
            lease: The later lease, from the holder's `propose_lease`.
            may_be_known: Whether the server may already have the former lease.
        """
        if not may_be_known:
            self.leases = tuple(one for one in self.leases if one != waiting)
        self.leases += (lease,)

    # --- replies

    def settled(self, *, outcome: bool) -> None:
        """Note whether the settlement was carried out under this lease."""
        self._outcome = outcome
        if self._waiters:
            self._notify()

    def renewed(self, lease: bytes | None, lease_ends_at: float = -math.inf) -> None:
        """Note the result of a renewal.

        Args:
            lease: The new lease; None if it was refused.
            lease_ends_at: When it expires, on the holder's clock, in seconds.
        """
        self._renewals -= 1
        if lease is None:
            self._is_lost = True
        else:
            self.leases = tuple(one for one in self.leases if float(one) >= float(lease))
            self.lease_ends_at = max(self.lease_ends_at, lease_ends_at)
        if self._waiters:
            self._notify()

    def claimed_again(self, lease: bytes, lease_ends_at: float) -> None:
        """Treat a claim by this worker, while its handler runs, as a renewal.

        Args:
            lease: The new lease.
            lease_ends_at: When it expires, on the holder's clock, in seconds.
        """
        # A renewal in flight may still arrive after the claim.
        later = [one for one in self.leases if float(one) > float(lease)]
        self.leases = (lease, *later)
        self.lease_ends_at = lease_ends_at

    def _notify(self) -> None:
        """Wake waiters for a reply; this class has none."""
