"""Renews the leases of running handlers up to `max_lease`, and notices lost leases."""

import logging
import math
from collections import Counter
from collections.abc import Sequence

from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers.delivery.leases import Leases
from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.delivery.outbox import Outbox, Settling
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers_sync.protocol.model import Outcome

_RENEWALS_PER_LEASE = 3
# So two renewals may be lost before the lease expires.


class Renewals:
    """Renews the leases of timers.

    Args:
        sub: The subscriber's options.
        leases: The leased timers.
        outbox: The settlements that wait to be sent.
        log: Writes to the broker's log.
    """

    __slots__ = ("_leases", "_log", "_outbox", "_sub", "next_at")

    def __init__(self, sub: TimerSub, leases: Leases, outbox: Outbox, log: Log) -> None:
        """Start with nothing to renew."""
        self._sub = sub
        self._leases = leases
        self._outbox = outbox
        self._log = log
        self.next_at = math.inf

    def begin(self, now: float) -> None:
        """Note that handlers start.

        Args:
            now: The time on the holder's clock.
        """
        if self._sub.renew_lease and self.next_at == math.inf:
            self.next_at = now + self._sub.lease_ttl / _RENEWALS_PER_LEASE

    def renew(self, now: float) -> None:
        """Renew leases, except those of handlers that exceeded `max_lease`.

        Args:
            now: The time on the holder's clock.
        """
        ttl = self._sub.lease_ttl
        self.next_at = now + ttl / _RENEWALS_PER_LEASE if self._leases else math.inf
        hung: list[LeasedTimer] = []
        others: list[LeasedTimer] = []
        for timer in self._leases.running():
            is_hung = now - timer.claim.received_at >= self._sub.max_lease
            (hung if is_hung else others).append(timer)
        for timer in hung:
            # Forgotten here, it is redelivered by this worker or another.
            self._leases.remove(timer)
        if others:
            self._ask_for(others)
        if hung:
            self._log_hung(hung)

    def _ask_for(self, timers: Sequence[LeasedTimer]) -> None:
        """Ask for the same longer lease for all, since equal leases are settled as a group."""
        lease = timers[0].claim.holder.propose_lease(self._sub.lease_ttl)
        waiting = self._outbox.renewals()
        for timer in timers:
            if (place := waiting.get(id(timer))) is not None:
                self._outbox.extend_renewal(place, lease)
            elif not timer.is_renewing:
                timer.propose(lease)

    def _log_hung(self, hung: list[LeasedTimer]) -> None:
        most = self._sub.max_lease
        if not self._sub.batch:
            for timer in hung:
                self._log(logging.ERROR, words.past_max_lease(timer, most))
            return
        # A batch is all timers of one claim.
        for claim, count in Counter(timer.claim for timer in hung).items():
            self._log(logging.ERROR, words.batch_past_max_lease(claim.topic, count, most))

    def process_outcomes(
        self, items: Sequence[Settling], outcomes: Sequence[int], clock_offset: float
    ) -> None:
        """Process the outcomes of settlements.

        Args:
            items: The settlements.
            outcomes: Their outcomes, see `Outcome`.
            clock_offset: The holder's clock minus the server's, in seconds.
        """
        outlived: list[tuple[Settling, bool]] = []
        for item, outcome in zip(items, outcomes, strict=True):
            if outcome != Outcome.DONE and self._leases.was_lost(item, outcome):
                outlived.append((item, outcome == Outcome.GONE))
            if item.answered(outcome, clock_offset):
                # Kept until here, as a claim in flight when its handler ended may have renewed it.
                if not item.timer.holds_slot:
                    self._leases.remove(item.timer)
            elif item.is_renewal:
                self._leases.renewed(item.timer)
        if outlived:
            self._log_outlived(outlived)

    def _log_outlived(self, outlived: list[tuple[Settling, bool]]) -> None:
        if not self._sub.batch:
            for item, gone in outlived:
                why = words.why_outlived(self._sub, is_gone=gone, is_renewal=item.is_renewal)
                self._log(logging.WARNING, words.outlived(item.timer, why))
            return
        alike = Counter((item.timer.claim, gone, item.is_renewal) for item, gone in outlived)
        for (claim, gone, is_renewal), count in alike.items():
            why = words.why_outlived(self._sub, is_gone=gone, is_renewal=is_renewal)
            self._log(logging.WARNING, words.batch_outlived(claim.topic, count, why))

    def renew_overdue(self) -> None:
        """Renew expired leases, with or without `renew_lease`.

        Otherwise the next claim would treat such a timer as a new one.
        """
        overdue = self._leases.overdue()
        if overdue:
            self._ask_for(overdue)
