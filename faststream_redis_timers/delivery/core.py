"""The decisions of a subscriber: what to do next, and what replies mean.

The core uses neither server nor event loop; its driver provides time and random numbers. The
driver calls `next`, does what it returns, and reports the result.
"""

import logging
import math
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.agenda import Agenda
from faststream_redis_timers.delivery.attendance import Attendance, Posted
from faststream_redis_timers.delivery.duty import NEVER, Duty
from faststream_redis_timers.delivery.intake import BatchIntake, Intake
from faststream_redis_timers.delivery.leased import Claim, Holder, LeasedTimer, Unit
from faststream_redis_timers.delivery.leases import Leases
from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.delivery.occurrences import Occurrence
from faststream_redis_timers.delivery.outage import Failure, FailureKind, Outage
from faststream_redis_timers.delivery.outbox import Outbox, Settling
from faststream_redis_timers.delivery.renewals import Renewals
from faststream_redis_timers.delivery.schedule import FloodGap
from faststream_redis_timers.delivery.settlement_policy import SettlementPolicy
from faststream_redis_timers.delivery.slots import Suspects, make_slots
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers_sync.protocol.envelope import Envelope
from faststream_redis_timers_sync.protocol.model import Claimed, Outcome, Step
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.times import lease_text

RIDE = FloodGap.MOST
"""Seconds for which a commit waits to travel with the next claim: a separate call costs more
than a small handler. No handler waits for it."""

_LAST_OF_A_LEASE = 10 * RIDE

_U = TypeVar("_U", bound=Unit)


class Call(NamedTuple):
    """Send this, then report `answered` or `failed`.

    Args:
        operation: The operation to send.
        settlements: The settlements in it.
        limit: How many timers it claims at most.
    """

    operation: Operation[Step]
    settlements: list[Settling]
    limit: int


class Wait(NamedTuple):
    """Sleep until a time, or until `stir` is called.

    Args:
        until: The time; infinite if only `stir` ends the sleep.
        is_precise: Whether a timer is due at exactly that time.
        listens: Whether wake-ups are useful meanwhile, since a slot is free.
    """

    until: float
    is_precise: bool
    listens: bool


class Done(NamedTuple):
    """End: nothing is left to do."""


class Draws(NamedTuple):
    """Sources of random numbers.

    Args:
        spread: Returns a number from 0 to 1, for the jitter of pauses.
        lease: Returns a whole number below `LEASE_JITTER`, which makes leases distinct.
    """

    spread: Callable[[], float]
    lease: Callable[[], int]


class Driver(Holder, Posted, Protocol):
    """Drives the core: calls `next` and does what it returns."""

    @property
    def draws(self) -> Draws:
        """Sources of random numbers."""
        ...


class _Phase(Enum):
    CLAIMING = auto()
    DRAINING = auto()
    CLOSING = auto()
    ENDED = auto()


class DeliveryCore(Generic[_U]):
    """Makes the decisions about the timers of one topic.

    Times are seconds on the driver's clock.

    Args:
        sub: The topic, without prefixes, and its options.
        topic: The full topic.
        operations: Creates the operations to send.
        settlement_policy: Decides outcomes.
        suspects: Lets the broker's subscribers run one suspect at a time.
        driver: Carries out the decisions.
        make_timer: Creates a leased timer.
        log: Writes to the broker's log.
        slots: How many handlers may run at once; None means as many as `sub` says.
        duty: Decides whether it is on duty; None means always.
        make_batch: Creates a batch of timers for a handler; None if handlers get single timers.

    Attributes:
        attendance: Carries out the decisions of `duty`.
    """

    def __init__(  # noqa: PLR0913  its collaborators
        self,
        sub: TimerSub,
        *,
        topic: str,
        operations: Operations,
        settlement_policy: SettlementPolicy,
        suspects: Suspects,
        driver: Driver,
        make_timer: Callable[[Claim, Claimed, Envelope, Occurrence | None], LeasedTimer],
        log: Log,
        slots: int | None = None,
        duty: Duty | None = None,
        make_batch: Callable[[list[Any]], _U] | None = None,
    ) -> None:
        """Start with a claim."""
        self._sub, self._topic, self._operations = sub, topic, operations
        self._settlement_policy, self._driver, self._log = settlement_policy, driver, log
        spread = driver.draws.spread
        # Callers and tests ask for one timer or batch at a time anyway.
        max_wait = sub.max_wait if slots is None else 0.0
        self._agenda = Agenda(sub.polling_interval, sub.max_polling_interval, spread, max_wait)
        self._outage = Outage(topic, log, spread)
        self._outbox = Outbox()
        self._leases = Leases()
        is_alone = slots is not None or settlement_policy.suspect_from is None
        self._slots = make_slots(
            sub, slots, None if is_alone else suspects, self._poll_for_suspects
        )
        self.attendance = Attendance(topic, duty, self._agenda, self._slots, driver, log)
        stores = (self._leases, self._slots, self._agenda)
        parts = (make_timer, settlement_policy, *stores, sub.max_lease, log)
        self._intake: Intake[_U] = (
            Intake(*parts) if make_batch is None else BatchIntake(make_batch, *parts)
        )
        self._renewals = Renewals(sub, self._leases, self._outbox, log)
        self._phase = _Phase.CLAIMING
        self._logged_late: Claim | None = None

    @property
    def polling_interval(self) -> float:
        """Seconds between polls right after a timer was due."""
        return self._sub.polling_interval

    @property
    def is_away(self) -> bool:
        """Whether there is an outage."""
        return self._outage.is_away

    @property
    def claims(self) -> bool:
        """Whether it still claims timers."""
        return self._phase is _Phase.CLAIMING

    @property
    def is_stopping(self) -> bool:
        """Whether it no longer claims timers, but still sends settlements."""
        return self._phase is _Phase.DRAINING or self._phase is _Phase.CLOSING

    # --- what to do

    def next(self, now: float) -> Call | Wait | Done:
        """Return what to do now."""
        self.attendance.turned(now)
        if now >= self._renewals.next_at:
            self._renewals.renew(now)
        if now >= self._slots.watches_until:
            self._slots.expire(now)
        limit = self._claim_limit(now)
        if limit or (self._outbox and not self._may_ride(now)):
            return self._call(limit, now)
        if self.attendance.farewell is not NEVER:
            return self._call(0, now)
        if self._phase is _Phase.CLOSING and not self._slots.running:
            return Done()
        if self._outage.is_unanswered and self.claims:
            return self._call(0, now)
        listens = self.claims and self._slots.free > 0
        next_at = self._agenda.next_at if listens else math.inf
        until = min(next_at, self._renewals.next_at, self._slots.watches_until)
        return Wait(until, listens and until == next_at and self._agenda.is_for_alarm, listens)

    def _claim_limit(self, now: float) -> int:
        if not self.claims or self._outage.is_unanswered or self._slots.free <= 0:
            return 0
        return 0 if self._agenda.next_at > now else self._slots.claim_limit

    def _may_ride(self, now: float) -> bool:
        """Return whether all settlements may wait for the next claim."""
        if self._phase is not _Phase.CLAIMING or self._outbox.is_urgent or self._slots.free <= 0:
            return False
        return not self._outage.is_away and self._agenda.next_at - now <= RIDE

    def _call(self, limit: int, now: float) -> Call:
        if limit:
            self._renewals.renew_overdue()
        parcel = self._outbox.next_parcel()
        self._agenda.calling(is_claim=limit > 0)
        operation = self._operations.settle_and_claim(
            self._topic,
            parcel.settlements,
            parcel.groups,
            limit=limit,
            lease_ttl=self._sub.lease_ttl,
            jitter=self._driver.draws.lease(),
            suspect_from=self._settlement_policy.suspect_from,
            most_suspects=self._slots.suspects_of(limit),
            dead_topic=self._settlement_policy.dead_topic,
            call=self.attendance.call(now, is_claim=limit > 0),
        )
        return Call(operation, parcel.items, limit)

    # --- results

    def answered(self, call: Call, step: Step, sent_at: float, now: float) -> list[_U]:
        """Process the reply to a call that was sent at `sent_at`.

        Returns:
            The timers or batches to start handlers for. Call `ended` for each of them later.
        """
        is_claim = call.limit > 0
        self._agenda.answered(sent_at, now, step.now)
        may_claim = self.claims and self._slots.free > 0
        if self._outage.answered(is_claim=is_claim, may_claim=may_claim):
            self._agenda.poll_again()
        clock_offset = sent_at - step.now
        self._renewals.process_outcomes(call.settlements, step.outcomes, clock_offset)
        dead_topic = self._settlement_policy.dead_topic
        if dead_topic and (kept := step.outcomes.count(Outcome.DEAD_TOPIC_TORN)):
            self._log(logging.ERROR, words.dead_topic_torn(self._topic, dead_topic, kept))
        if not is_claim:
            return []
        # The server may not count workers, and handlers that start now may block the event loop.
        self.attendance.claimed(step, sent_at, now)
        self._agenda.claimed(step, call.limit, now)
        ttl = self._sub.lease_ttl
        claim = Claim(
            self._topic,
            step.lease,
            sent_at + ttl,
            step.now,
            now,
            ttl,
            self._settlement_policy,
            self._driver,
        )
        begun = self._intake.sort(claim, step)
        if begun:
            self._renewals.begin(now)
        return begun

    def failed(self, call: Call, failure: Failure) -> float:
        """Note that a call has failed.

        Returns:
            Seconds to pause before calling `next`.
        """
        is_lost = failure.kind is FailureKind.LOST_REPLY
        self._outbox.requeue(call.settlements, is_repeated=is_lost)
        return self._outage.failed(failure, is_claim=call.limit > 0)

    def cancelled(self, call: Call) -> None:
        """Note that a call was cancelled before its reply."""
        self._outbox.requeue(call.settlements, is_repeated=True)

    # --- events

    def wake(self, sent_at: float, due_at: float) -> None:
        """Process a wake-up: when it was sent, and the due time, as the server's Unix times."""
        if self._agenda.wake(sent_at, due_at):
            self._driver.stir()

    def poll_now(self) -> None:
        """Claim as soon as possible: wake-ups may have been missed."""
        self._agenda.poll_now()
        self._driver.stir()

    def end_gap(self) -> None:
        """End the gap between claims, see `FloodGap`, for a driver whose clock may stand still."""
        self._agenda.end_gap()

    def _poll_for_suspects(self) -> None:
        self._agenda.poll_without_gap()
        self._driver.stir()

    def settle(
        self, timers: Sequence[LeasedTimer], action: bytes, detail: bytes, now: float
    ) -> None:
        """Settle timers in the same way, see `Settlement`, with one of the next calls."""
        items = []
        is_urgent = False
        soon = now + _LAST_OF_A_LEASE
        for timer in timers:
            items.append(Settling(timer, action, detail))
            # A handler with a slot waits for the reply. And no commit may wait past its lease.
            if timer.holds_slot or timer.lease_ends_at < soon:
                is_urgent = True
        if self._phase is _Phase.ENDED:
            self._refuse(items)
            return
        self._outbox.put(items, is_urgent=is_urgent)
        if not self._may_ride(now):
            self._driver.stir()

    def _refuse(self, items: list[Settling]) -> None:
        for item in items:
            timer = item.timer
            if not self._sub.batch and not item.is_renewal:
                self._log(logging.WARNING, words.settled_too_late(timer))
            elif not item.is_renewal and timer.claim is not self._logged_late:
                # Once per batch, which is all timers of one claim.
                self._logged_late = timer.claim
                self._log(logging.WARNING, words.batch_settled_too_late(timer.topic))
            item.given_up()

    def propose_lease(self, lease_ttl: float, now: float) -> bytes:
        """Return a lease of `lease_ttl` seconds from now.

        A lease that the server chose would be unknown if the reply is lost.
        """
        return lease_text(self._agenda.clock.there(now) + lease_ttl, self._driver.draws.lease())

    def free_slot(self, unit: Unit) -> None:
        """Free the slot of a timer or batch: its handler has ended."""
        if self._slots.free_slot(unit):
            self.attendance.ended()
            if self._slots.free == 1:
                self._driver.stir()

    def ended(self, unit: Unit) -> None:
        """Note that a handler has ended, or is no longer waited for."""
        if unit.holds_slot:
            self.free_slot(unit)
        self._slots.running.discard(unit)
        for timer in unit.deliveries:
            if not timer.is_settling:
                self._leases.remove(timer)
        if self._phase is _Phase.CLOSING:
            self._driver.stir()

    # --- callers in place of handlers

    def add_slot(self) -> None:
        """Add a slot for a waiting caller, and poll for due timers."""
        self._slots.add()
        self.poll_now()

    def remove_slot(self) -> None:
        """Remove a slot: a caller has stopped waiting."""
        self._slots.remove()

    def hand_over(self, unit: Unit) -> None:
        """Pass a timer or batch, with its slot, to the caller that added the slot.

        From then on only the caller renews leases.
        """
        self._slots.hand_over(unit)
        for timer in unit.deliveries:
            self._leases.remove(timer)

    # --- the end

    def drain(self) -> None:
        """Stop claiming."""
        if self.claims:
            self._phase = _Phase.DRAINING
            self.attendance.leave()
        self._driver.stir()

    def close(self) -> None:
        """Stop claiming, and end when all handlers have ended and all timers are settled."""
        if self._phase is not _Phase.ENDED:
            self._phase = _Phase.CLOSING
        self._driver.stir()

    def end(self) -> None:
        """Give up remaining settlements: nothing is sent from now on."""
        self._phase = _Phase.ENDED
        self._slots.close()
        if count := self._outbox.give_up():
            self._log(logging.ERROR, words.unsettled(self._topic, count))
