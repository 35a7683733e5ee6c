"""What becomes of timers that were just claimed."""

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.agenda import Agenda
from faststream_redis_timers.delivery.endings import Endings
from faststream_redis_timers.delivery.leased import Claim, LeasedTimer, Unit
from faststream_redis_timers.delivery.leases import Leases
from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.delivery.occurrences import Occurrence
from faststream_redis_timers.delivery.slots import Slots
from faststream_redis_timers_sync.protocol.envelope import Envelope
from faststream_redis_timers_sync.protocol.model import Claimed, Step

_U = TypeVar("_U", bound=Unit)


class Intake(Generic[_U]):
    """Takes claimed timers: most begin, some have ended, and some run here already.

    Args:
        make_timer: Makes a timer under its lease.
        endings: Knows which have ended.
        leases: Knows which run here already, and gets those that begin.
        slots: Gives them slots.
        agenda: Gets to know where the claim may not have found all that is due.
        max_lease: Seconds after which a suspect that runs no longer keeps others back.
        log: Writes to the broker's log.
    """

    __slots__ = (
        "_agenda",
        "_endings",
        "_is_torn",
        "_leases",
        "_log",
        "_make_timer",
        "_max_lease",
        "_slots",
    )

    def __init__(  # noqa: PLR0913, PLR0917  its collaborators
        self,
        make_timer: Callable[[Claim, Claimed, Envelope, Occurrence | None], LeasedTimer],
        endings: Endings,
        leases: Leases,
        slots: Slots,
        agenda: Agenda,
        max_lease: float,
        log: Log,
    ) -> None:
        """Keep them."""
        self._make_timer = make_timer
        self._endings = endings
        self._leases = leases
        self._slots = slots
        self._max_lease = max_lease
        self._agenda = agenda
        self._log = log
        self._is_torn = False

    def take(self, claim: Claim, step: Step) -> list[_U]:
        """Take the timers of a claim.

        Args:
            claim: What they have in common.
            step: The claim's reply.

        Returns:
            What handlers are to begin with.
        """
        if step.is_torn is not self._is_torn:
            self._is_torn = step.is_torn
            if step.is_torn:
                self._log(logging.ERROR, words.torn(claim.topic))
            else:
                self._log(logging.INFO, words.whole_again(claim.topic))
        for timer_id in step.orphans:
            self._log(logging.ERROR, words.orphan(claim.topic, timer_id))
        begun: list[LeasedTimer] = []
        holds_some = len(self._leases) > 0
        for claimed in step.claimed:
            # A handler that outlives its lease is not run twice here.
            if holds_some and (held := self._leases.find(claimed)) is not None:
                _take_again(held, claim)
                continue
            try:
                if (timer := self._read(claim, claimed)) is not None:
                    begun.append(timer)
            except Exception as error:  # noqa: BLE001
                # Whatever it is, it must not end the delivery of all others.
                line = words.not_begun(claim.topic, claimed.timer_id)
                self._log(logging.ERROR, line, error)
        return self._begin(claim, begun)

    def _read(self, claim: Claim, claimed: Claimed) -> LeasedTimer | None:
        envelope, occurrence, begins, ending = self._endings.read(claimed, claim.claimed_at)
        timer = self._make_timer(claim, claimed, envelope, occurrence)
        if begins:
            return timer
        timer.holds_slot = False
        if ending is not None:
            timer.decide(*ending)
        # The server may have passed over others for it.
        self._agenda.poll_again()
        return None

    def _begin(self, claim: Claim, timers: list[LeasedTimer]) -> list[_U]:
        """Give slots to timers, and return those that have got one."""
        begun = []
        is_suspect, watch_until = self._endings.is_suspect, claim.received_at + self._max_lease
        for timer in timers:
            if self._slots.begin(timer, watch_until if is_suspect(timer.claimed) else None):
                self._leases.hold(timer)
                begun.append(timer)
            else:
                timer.holds_slot = False
                timer.release()
        return cast("list[_U]", begun)


class BatchIntake(Intake[_U]):
    """Takes claimed timers: those that begin make a batch.

    Args:
        make_batch: Makes a batch of them.
        *parts: See `Intake`.
    """

    __slots__ = ("_make_batch",)

    def __init__(self, make_batch: Callable[[list[Any]], _U], *parts: Any) -> None:
        """Keep them."""
        super().__init__(*parts)
        self._make_batch = make_batch

    def _begin(self, claim: Claim, timers: list[LeasedTimer]) -> list[_U]:
        if not timers:
            return []
        batch = self._make_batch(timers)
        # A suspect is claimed apart from others.
        is_suspect = self._endings.is_suspect(timers[0].claimed)
        watch_until = claim.received_at + self._max_lease if is_suspect else None
        if not self._slots.begin(batch, watch_until):
            batch.holds_slot = False
            for timer in timers:
                timer.release()
            return []
        for timer in timers:
            self._leases.hold(timer)
        return [batch]


def _take_again(held: LeasedTimer, claim: Claim) -> None:
    held.claimed_again(claim.lease, claim.lease_ends_at)
    if held.attempt is not None:
        # That was no attempt. It stays as it is, but for the count, which may be
        # set again where the reply is lost.
        claim.holder.settle((held,), b"recount", b"%d" % held.attempt)
