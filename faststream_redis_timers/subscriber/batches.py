"""Settles the timers of a batch when its handler has ended, and splits failed batches.

One timer can make the handler of a hundred fail. So timers of a failed batch are tried alone,
immediately and under the same lease: see `Splitting` for which, and `_Run` for how long.
"""

import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from faststream import AckPolicy
from faststream.exceptions import (
    AckMessage,
    NackMessage,
    RejectMessage,
    SkipMessage,
    StopConsume,
    SubscriberNotFound,
)
from faststream.response import Response, ensure_response
from pydantic import ValidationError

from faststream_redis_timers.delivered import Marking, TimerBatchDelivery, TimerDelivery
from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.delivery.splitting import Splitting
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers.subscriber.acknowledgement import is_interrupted, nack_as_told
from faststream_redis_timers.subscriber.starting import LeaseEndedError, expect_start
from faststream_redis_timers.tasks import count_cancellations

RELEASING = 1.0
"""Seconds of a lease reserved for releasing timers that were not tried; at most a tenth of it."""

_SPLITTING = {AckPolicy.NACK_ON_ERROR, AckPolicy.REJECT_ON_ERROR}


class Terms(NamedTuple):
    """How a subscriber handles its batches.

    Args:
        sub: Its options.
        bodies: Pairs of a handler's name and the name of its argument for the bodies.
        policy: What happens to the timers if the handler raises.
        handle: Parses the message, and runs the handler and its middlewares.
        on_stop: Called with the exception that a handler raised to stop the subscriber or process.
        is_stopping: Returns whether the subscriber that claimed a batch is stopping.
        log: Writes to the broker's log.
    """

    sub: TimerSub
    bodies: set[tuple[str, str]]
    policy: AckPolicy
    handle: Callable[[TimerBatchDelivery], Awaitable[Response]]
    on_stop: Callable[[TimerBatchDelivery, BaseException], None]
    is_stopping: Callable[[TimerBatchDelivery], bool]
    log: Log


async def handle_and_settle_batch(batch: TimerBatchDelivery, terms: Terms) -> Response:
    """Run a handler for a batch, and settle its timers.

    Args:
        batch: The batch.
        terms: How the subscriber handles batches.

    Returns:
        The handler's response; an empty one if timers were tried alone.

    Raises:
        BaseException: The error of the handler; if timers were tried alone, for one of them.
    """
    batch.marking = _MARKING.get(terms.policy, Marking.LATER)
    batch.on_refusal = partial(_log_refused_mark, batch.topic, terms.log)
    first = batch
    if terms.policy is AckPolicy.ACK_FIRST:
        first = await _commit_first(batch, terms.log)
    return await _Run(batch, terms).run(first)


_MARKING = {AckPolicy.MANUAL: Marking.AT_ONCE, AckPolicy.ACK_FIRST: Marking.REFUSED}


def _log_refused_mark(topic: str, log: Log) -> None:
    log(logging.WARNING, words.mark_refused(topic))


async def _commit_first(batch: TimerBatchDelivery, log: Log) -> TimerBatchDelivery:
    """Commit all timers, and return the batch without those that could not be committed."""
    TimerDelivery.commit_all_soon(batch.deliveries)
    committed = [timer for timer in batch.deliveries if await timer.wait_for_outcome()]
    missing = len(batch.deliveries) - len(committed)
    if not missing:
        return batch
    log(logging.WARNING, words.not_committed_first(batch.topic, missing))
    return TimerBatchDelivery(committed, batch)


class _Run:
    """A batch on its way through its handler, as a whole or in parts."""

    def __init__(self, batch: TimerBatchDelivery, terms: Terms) -> None:
        self._batch = batch
        self._terms = terms
        self._now = batch.claim.holder.now
        self._error: BaseException | None = None
        # The error of the last timer that failed alone.

    async def run(self, first: TimerBatchDelivery) -> Response:
        """Run the handler for the batch, or for those of its timers that were committed first."""
        response = await self._handle(first) if first.deliveries else None
        if self._error is not None:
            raise self._error
        return ensure_response(None) if response is None else response

    async def _handle(self, part: TimerBatchDelivery) -> Response | None:
        """Run the handler for some timers and settle them; return its response, if any."""
        started_at = self._now()
        cancelled_before = count_cancellations()
        try:
            response = await self._call(part)
        except (AckMessage, SkipMessage):
            self._commit(part)
        except RejectMessage as instruction:
            self._settle(part, partial(TimerDelivery.reject_soon, error=instruction))
        except NackMessage as instruction:
            nack_as_told(self._carry_marks_out(part), instruction, self._terms.log)
        except (StopConsume, SystemExit, KeyboardInterrupt) as reason:
            # Stop claiming first, or this worker would claim the timers again at once.
            self._terms.on_stop(part, reason)
            self._batch.release()
            raise
        except GeneratorExit:
            # Its event loop has gone: nothing can be sent.
            raise
        except BaseException as error:
            # Not only an Exception: extensions in Rust, for example, raise a PanicException.
            if is_interrupted(error, part, cancelled_before):
                self._leave(part)
                raise
            await self._fail(part, error, self._now() - started_at)
        else:
            if self._terms.policy is AckPolicy.MANUAL:
                self._settle(part, None)
            else:
                self._commit(part)
            return response
        return None

    async def _call(self, part: TimerBatchDelivery) -> Response:
        # Timers that are committed first can't be claimed again, however late the handler starts.
        expect_start(None if self._terms.policy is AckPolicy.ACK_FIRST else part)
        try:
            return await self._terms.handle(part)
        finally:
            # As for single timers.
            expect_start(None)

    def _settle(
        self, part: TimerBatchDelivery, decide: Callable[[TimerDelivery], None] | None
    ) -> None:
        """Carry out the marks, and apply `decide` to unmarked timers."""
        unmarked = self._carry_marks_out(part)
        if decide is not None:
            for timer in unmarked:
                decide(timer)

    def _commit(self, part: TimerBatchDelivery) -> None:
        """Carry out the marks, and commit unmarked timers."""
        TimerDelivery.commit_all_soon(self._carry_marks_out(part))

    def _carry_marks_out(self, part: TimerBatchDelivery) -> list[TimerDelivery]:
        """Carry out the marks, and return unmarked timers."""
        if not part.is_split:
            self._batch.free_slot()
        unmarked = part.unmarked
        part.settle_marks()
        return unmarked

    def _leave(self, part: TimerBatchDelivery) -> None:
        """Release the timers outside this part; the loop releases the part when it has ended."""
        self._batch.settle_marks()
        for timer in self._batch.deliveries:
            if timer not in part.deliveries:
                timer.release()

    # --- failures

    async def _fail(self, part: TimerBatchDelivery, error: BaseException, seconds: float) -> None:
        policy = self._terms.policy
        self._batch.has_failed = True
        if isinstance(error, LeaseEndedError):
            # The handler has not started, and this worker no longer has the leases.
            self._settle(part, None)
        # No policy drops messages that no filter accepts: a newer worker may handle them.
        elif isinstance(error, SubscriberNotFound):
            self._settle(part, partial(_keep_unfiltered, error, len(part.deliveries)))
        elif policy in _SPLITTING and len(part.deliveries) > 1:
            await self._split(part, error, seconds)
            return
        elif policy is AckPolicy.NACK_ON_ERROR:
            self._settle(part, partial(TimerDelivery.nack_soon, error=error))
        elif policy is AckPolicy.REJECT_ON_ERROR:
            self._settle(part, partial(TimerDelivery.reject_soon, error=error))
        elif policy is AckPolicy.ACK:
            self._commit(part)
        else:
            self._settle(part, None)
        self._error = error

    async def _split(self, part: TimerBatchDelivery, error: BaseException, seconds: float) -> None:
        if not part.has_begun and (places := _named_places(error, part, self._terms.bodies)):
            await self._leave_out(part, places, error)
            return
        unmarked = _still_leased(part.unmarked)
        part.settle_marks()
        timeout = self._terms.sub.handler_timeout
        # A timer that hangs may be among those to try.
        longest = timeout if timeout is not None and seconds >= timeout else 0.0
        splitting = Splitting(unmarked, random.sample, longest)
        while (timer := self._next_of(splitting)) is not None:
            if timer.is_lost:
                # It was cancelled or rescheduled meanwhile.
                continue
            error_before, self._error = self._error, None
            started_at = self._now()
            await self._handle(TimerBatchDelivery([timer], self._batch, is_split=True))
            if isinstance(self._error, LeaseEndedError):
                # It was not handled: too little of the lease was left.
                timer.uncount_attempt()
                self._error = error_before or self._error
                continue
            # A timer that no filter accepts says nothing about others.
            failure = None if isinstance(self._error, SubscriberNotFound) else self._error
            was_common = splitting.has_common_cause
            splitting.tried(self._now() - started_at, has_failed=failure is not None)
            if failure is not None and splitting.has_common_cause and not was_common:
                self._assume_failed(splitting, failure)
            self._error = self._error or error_before
        if not splitting.has_tried:
            # No timer was tried alone whose error could be raised.
            self._error = error
        self._give_up(splitting, error)

    async def _leave_out(
        self, part: TimerBatchDelivery, places: set[int], error: BaseException
    ) -> None:
        """Fail the timers with invalid bodies, and handle the others as a batch again."""
        self._error = error
        # A dependency or a middleware may have marked some.
        unmarked = set(part.unmarked)
        part.settle_marks()
        others = []
        for place, timer in enumerate(part.deliveries):
            if timer not in unmarked or timer.is_lost:
                continue
            if place not in places:
                others.append(timer)
            elif self._terms.policy is AckPolicy.REJECT_ON_ERROR:
                timer.reject_soon(error)
            else:
                timer.nack_soon(error)
        if self._terms.is_stopping(self._batch):
            for timer in others:
                timer.release()
        elif others:
            await self._handle(TimerBatchDelivery(others, self._batch, is_split=True))

    def _next_of(self, splitting: Splitting[TimerDelivery]) -> TimerDelivery | None:
        rest = _still_leased(splitting.rest)
        if not rest or self._terms.is_stopping(self._batch):
            return None
        return splitting.next(self._seconds_left(rest))

    def _seconds_left(self, timers: list[TimerDelivery]) -> float:
        """Return for how long leases last, less the time to release timers that were not tried."""
        sub, now = self._terms.sub, self._now()
        ends_at = min(timer.lease_ends_at for timer in timers)
        if sub.renew_lease and now < ends_at:
            ends_at = self._batch.claim.received_at + sub.max_lease
        return ends_at - now - min(RELEASING, sub.lease_ttl / 10)

    def _assume_failed(self, splitting: Splitting[TimerDelivery], error: BaseException) -> None:
        """Fail the rest like the probes, except timers that would have no attempt left."""
        if self._terms.policy is AckPolicy.REJECT_ON_ERROR:
            return
        count = len(splitting.rest)
        splitting.rest = [timer for timer in splitting.rest if not timer.nack_assumed(error)]
        if failed := count - len(splitting.rest):
            line = words.common_cause(self._batch.topic, failed, type(error).__name__)
            self._terms.log(logging.WARNING, line)

    def _give_up(self, splitting: Splitting[TimerDelivery], error: BaseException) -> None:
        """Settle the timers that were not tried."""
        splitting.rest = _still_leased(splitting.rest)
        if not splitting.rest:
            return
        if self._terms.is_stopping(self._batch) or not splitting.rest_has_failed:
            for timer in splitting.rest:
                timer.release()
            return
        self._error = error
        alone = 0
        for timer in splitting.rest:
            counts = self._terms.policy is AckPolicy.NACK_ON_ERROR and timer.attempt is not None
            if counts and timer.nack_assumed(error):
                continue
            # It is redelivered alone when its lease expires: like any timer without a reported
            # outcome it is then a suspect.
            timer.uncount_attempt()
            alone += 1
        line = words.no_time_to_split(self._batch.topic, len(splitting.rest), alone)
        self._terms.log(logging.WARNING, line)


def _still_leased(timers: list[TimerDelivery]) -> list[TimerDelivery]:
    """Leave out timers that were cancelled or rescheduled meanwhile: their renewals fail."""
    return [timer for timer in timers if not timer.is_lost]


def _keep_unfiltered(error: BaseException, count: int, timer: TimerDelivery) -> None:
    """Keep a timer of `count` that no filter accepted together: it saw the first one's headers."""
    if count == 1:
        timer.nack_soon(error)
    elif not timer.nack_assumed(error):
        # In its last attempt filters must see its own headers.
        timer.uncount_attempt()


def _named_places(
    error: BaseException, part: TimerBatchDelivery, bodies: set[tuple[str, str]]
) -> set[int]:
    """Return the indexes of bodies that pydantic found invalid.

    FastDepends validates a handler's arguments, and can wrap pydantic's error.

    Args:
        error: The error raised before the handler started.
        part: The batch.
        bodies: See `Terms`. Other arguments may be lists too, such as results of `Depends`.
    """
    cause = getattr(error, "original_error", error)
    if not isinstance(cause, ValidationError):
        return set()
    # Errors of pydantic 1 have no title.
    handler = getattr(cause, "title", None)
    places = set()
    for wrong in cause.errors():
        # The argument, the place in its list, and what is wrong there.
        match wrong["loc"]:
            case (str(argument), int(place), *_) if (handler, argument) in bodies:
                places.add(place)
            case _:
                return set()
    # A user's decoder may have returned more or fewer bodies than there are timers.
    return places if part.count_of_bodies == len(part.deliveries) else set()
