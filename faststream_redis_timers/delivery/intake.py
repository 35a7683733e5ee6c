"""Sorts timers that were just claimed."""

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.agenda import Agenda
from faststream_redis_timers.delivery.leased import Claim, LeasedTimer, Unit
from faststream_redis_timers.delivery.leases import Leases
from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.delivery.occurrences import Occurrence
from faststream_redis_timers.delivery.settlement_policy import SettlementPolicy
from faststream_redis_timers.delivery.slots import Slots
from faststream_redis_timers_sync.protocol.envelope import Envelope
from faststream_redis_timers_sync.protocol.model import Claimed, Step

_U = TypeVar("_U", bound=Unit)


class Intake(Generic[_U]):
    """Sorts claimed timers: most start a handler, some are settled, some already run here.

    Args:
        make_timer: Creates a leased timer.
        settlement_policy: Decides which timers are settled without a handler.
        leases: Knows which timers already run here, and stores those that start.
        slots: Assigns slots.
        agenda: Is told if the claim may not have found all due timers.
        max_lease: Seconds after which a running suspect no longer delays other suspects.
        log: Writes to the broker's log.
    """

    __slots__ = (
        "_agenda",
        "_is_torn",
        "_leases",
        "_log",
        "_make_timer",
        "_max_lease",
        "_settlement_policy",
        "_slots",
    )

    def __init__(  # noqa: PLR0913, PLR0917  its collaborators
        self,
        make_timer: Callable[[Claim, Claimed, Envelope, Occurrence | None], LeasedTimer],
        settlement_policy: SettlementPolicy,
        leases: Leases,
        slots: Slots,
        agenda: Agenda,
        max_lease: float,
        log: Log,
    ) -> None:
        """Store the arguments."""
        self._make_timer = make_timer
        self._settlement_policy = settlement_policy
        self._leases = leases
        self._slots = slots
        self._max_lease = max_lease
        self._agenda = agenda
        self._log = log
        self._is_torn = False

    def sort(self, claim: Claim, step: Step) -> list[_U]:
        """Sort the timers of a claim.

        Args:
            claim: What the timers share.
            step: The claim's reply.

        Returns:
            The timers, or batches, to start handlers for.
        """
        if step.is_torn is not self._is_torn:
            self._is_torn = step.is_torn
            if step.is_torn:
                self._log(logging.ERROR, words.torn(claim.topic))
            else:
                self._log(logging.INFO, words.no_longer_torn(claim.topic))
        for timer_id in step.orphans:
            self._log(logging.ERROR, words.orphan(claim.topic, timer_id))
        begun: list[LeasedTimer] = []
        holds_some = len(self._leases) > 0
        for claimed in step.claimed:
            # A timer whose handler outlives its lease does not run twice here.
            if holds_some and (held := self._leases.find(claimed)) is not None:
                _renew_by_claim(held, claim)
                continue
            try:
                if (timer := self._read(claim, claimed)) is not None:
                    begun.append(timer)
            except Exception as error:  # noqa: BLE001
                # No error may stop the delivery of other timers.
                line = words.not_begun(claim.topic, claimed.timer_id)
                self._log(logging.ERROR, line, error)
        return self._begin(claim, begun)

    def _read(self, claim: Claim, claimed: Claimed) -> LeasedTimer | None:
        envelope, occurrence, begins, settlement = self._settlement_policy.read(
            claimed, claim.claimed_at
        )
        timer = self._make_timer(claim, claimed, envelope, occurrence)
        if begins:
            return timer
        timer.holds_slot = False
        if settlement is not None:
            timer.decide(*settlement)
        # The server may have passed over others for this timer.
        self._agenda.poll_again()
        return None

    def _begin(self, claim: Claim, timers: list[LeasedTimer]) -> list[_U]:
        """Assign slots to timers, and return those that got one."""
        begun = []
        is_suspect = self._settlement_policy.is_suspect
        watch_until = claim.received_at + self._max_lease
        for timer in timers:
            if self._slots.begin(timer, watch_until if is_suspect(timer.claimed) else None):
                self._leases.add(timer)
                begun.append(timer)
            else:
                timer.holds_slot = False
                timer.release()
        return cast("list[_U]", begun)


class BatchIntake(Intake[_U]):
    """Sorts claimed timers: those that start a handler form a batch.

    Args:
        make_batch: Creates a batch of timers.
        *parts: See `Intake`.
    """

    __slots__ = ("_make_batch",)

    def __init__(self, make_batch: Callable[[list[Any]], _U], *parts: Any) -> None:
        """Store the arguments."""
        super().__init__(*parts)
        self._make_batch = make_batch

    def _begin(self, claim: Claim, timers: list[LeasedTimer]) -> list[_U]:
        if not timers:
            return []
        batch = self._make_batch(timers)
        # Suspects are claimed separately.
        is_suspect = self._settlement_policy.is_suspect(timers[0].claimed)
        watch_until = claim.received_at + self._max_lease if is_suspect else None
        if not self._slots.begin(batch, watch_until):
            batch.holds_slot = False
            for timer in timers:
                timer.release()
            return []
        for timer in timers:
            self._leases.add(timer)
        return [batch]


def _renew_by_claim(held: LeasedTimer, claim: Claim) -> None:
    held.claimed_again(claim.lease, claim.lease_ends_at)
    if held.attempt is not None:
        # That was not an attempt. Only the count is corrected, which may be repeated if the
        # reply is lost.
        claim.holder.settle((held,), b"recount", b"%d" % held.attempt)
