"""What becomes of timers that were just claimed."""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.agenda import Agenda
from faststream_redis_timers.delivery.endings import Endings
from faststream_redis_timers.delivery.leased import Claim, LeasedTimer
from faststream_redis_timers.delivery.leases import Leases
from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.delivery.occurrences import Occurrence
from faststream_redis_timers.delivery.slots import Slots
from faststream_redis_timers_sync.protocol.envelope import Envelope
from faststream_redis_timers_sync.protocol.model import Claimed, Step

_T = TypeVar("_T", bound=LeasedTimer)


class Intake(Generic[_T]):
    """Takes claimed timers: most begin, some have ended, and some run here already.

    Args:
        make_timer: Makes what handlers get.
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
        make_timer: Callable[[Claim, Claimed, Envelope, Occurrence | None], _T],
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

    def take(self, claim: Claim, step: Step) -> list[_T]:
        """Take the timers of a claim.

        Args:
            claim: What they have in common.
            step: The claim's reply.

        Returns:
            Those whose handlers are to begin.
        """
        if step.is_torn is not self._is_torn:
            self._is_torn = step.is_torn
            if step.is_torn:
                self._log(logging.ERROR, words.torn(claim.topic))
            else:
                self._log(logging.INFO, words.whole_again(claim.topic))
        for timer_id in step.orphans:
            self._log(logging.ERROR, words.orphan(claim.topic, timer_id))
        begun: list[_T] = []
        for claimed in step.claimed:
            # A handler that outlives its lease is not run twice here.
            if self._leases and (held := self._leases.find(claimed)) is not None:
                _take_again(held, claim)
                continue
            try:
                if (timer := self._begin(claim, claimed)) is not None:
                    begun.append(timer)
            except Exception as error:  # noqa: BLE001
                # Whatever it is, it must not end the delivery of all others.
                line = words.not_begun(claim.topic, claimed.timer_id)
                self._log(logging.ERROR, line, error)
        return begun

    def _begin(self, claim: Claim, claimed: Claimed) -> _T | None:
        envelope, occurrence, begins, ending = self._endings.read(claimed, claim.claimed_at)
        timer = self._make_timer(claim, claimed, envelope, occurrence)
        if not begins:
            timer.holds_slot = False
            if ending is not None:
                timer.decide(*ending)
            # The server may have passed over others for it.
            self._agenda.poll_again()
            return None
        is_suspect = self._endings.is_suspect(claimed)
        watch_until = claim.received_at + self._max_lease if is_suspect else None
        if not self._slots.begin(timer, watch_until):
            timer.holds_slot = False
            timer.release()
            return None
        self._leases.hold(timer)
        return timer


def _take_again(held: LeasedTimer, claim: Claim) -> None:
    held.claimed_again(claim.lease, claim.lease_ends_at)
    if held.attempt is not None:
        # That was no attempt. It stays as it is, but for the count, which may be
        # set again where the reply is lost.
        claim.holder.settle(held, b"recount", b"%d" % held.attempt)
