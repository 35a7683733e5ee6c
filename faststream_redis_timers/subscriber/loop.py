"""The delivery loop of a subscriber: it claims due timers and settles handled ones.

One coroutine sends all calls of a subscriber, one at a time. What handlers have
settled meanwhile travels together in the next call, and a claim rides with it.
"""

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Protocol

from anyio import to_thread

from faststream_redis_timers.delivery.caution import Caution, Suspects
from faststream_redis_timers.delivery.retries import Retries
from faststream_redis_timers.delivery.schedule import (
    AlarmClock,
    Backoff,
    FloodGap,
    PollSchedule,
    ServerClock,
    SpinBudget,
    monotonic,
)
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers.subscriber.delivery import TimerDelivery
from faststream_redis_timers.subscriber.tasks import check_cancelled, end_task
from faststream_redis_timers.subscriber.timeouts import CANCELLED_AGAIN
from faststream_redis_timers_sync.protocol.clients import is_pool_full
from faststream_redis_timers_sync.protocol.envelope import Envelope, read_envelope
from faststream_redis_timers_sync.protocol.errors import (
    EnvelopeError,
    TimerOutcomeUnknownError,
)
from faststream_redis_timers_sync.protocol.keys import show_id
from faststream_redis_timers_sync.protocol.model import Claimed, Outcome, Step
from faststream_redis_timers_sync.protocol.operation import MOST_CHANGED, PAYLOAD_BUDGET
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.shown import text_of
from faststream_redis_timers_sync.protocol.steps import LEASE_JITTER, MOST_CLAIMED
from faststream_redis_timers_sync.protocol.times import lease_text

if TYPE_CHECKING:
    from anyio import CapacityLimiter

    from faststream_redis_timers.calls.runner import Runner

CALL_TIMEOUT = 5.0
"""Seconds after which a call of the loop counts as lost."""

WARMING = 0.1
"""Seconds that the ping which warms a connection may take."""

RIDE = FloodGap.MOST
"""Seconds that a commit waits for the next claim, if that comes so soon: a call of its
own costs more than a handler that only records. No handler waits for it."""

_LAST_OF_A_LEASE = 10 * RIDE

_RENEWALS_PER_LEASE = 3
# So two may be lost, before the lease ends.

SHORTEST_SPIN = 0.001
"""Seconds; where the budget allows less, sleeping alone is as good."""

LAST_CALLS = 1.0
"""Seconds that a stop still gives to settlements when the graceful timeout is over."""

CANCELLED_HANDLERS = 5.0
"""Seconds that a stop waits for handlers after cancelling them."""


_handler: ContextVar["asyncio.Task[None] | None"] = ContextVar("_handler", default=None)
# The handler that this code runs in. A broker stops its subscribers in tasks of
# their own, so the current task does not tell.

_stoppers: set["asyncio.Task[None]"] = set()
# Handlers that have stopped a subscriber, whichever, and go on: one at a time waits.


_NO_HINT = (-math.inf, math.inf)
_NOTHING = Envelope(b"", {})
# What stands for an envelope that can't be read.


class Log(Protocol):
    """Writes a line to the broker's log."""

    def __call__(self, level: int, message: str, error: BaseException | None = None, /) -> None:
        """Log a message of a `logging` level, with an error's traceback if given."""
        ...


class _Settling(NamedTuple):
    delivery: TimerDelivery
    action: bytes
    detail: bytes
    is_repeated: bool = False
    # Whether it is no more than a count that is put right.
    is_correction: bool = False

    def __repr__(self) -> str:
        # The detail of a dead letter holds its payload.
        return f"{type(self).__name__}({self.delivery!r}, {self.action!r})"


class DeliveryLoop:
    """Delivers the due timers of one topic.

    Args:
        sub: The topic, without prefixes, and the knobs.
        topic: The full topic.
        runner: Makes the calls.
        operations: What can be called.
        handle: Runs the handler for a delivery; it raises no Exception.
        retries: Decides what follows failures.
        log: Writes to the broker's log.
        spin_budget: Bounds active waiting, for all loops of the broker.
        alarm_clock: Knows how late sleeps end, from those of all loops of the broker.
        suspects: The suspect that all loops of the broker run one at a time.
        interruptible: Whether cancelling ends the handlers. Blocking ones go on in
            their threads, so their timers stay leased and do not run twice.
    """

    def __init__(  # noqa: PLR0913  its collaborators
        self,
        sub: TimerSub,
        *,
        topic: str,
        runner: "Runner",
        operations: Operations,
        handle: Callable[[TimerDelivery], Awaitable[None]],
        retries: Retries,
        log: Log,
        spin_budget: SpinBudget,
        alarm_clock: AlarmClock,
        suspects: Suspects,
        interruptible: bool = True,
    ) -> None:
        """Prepare; `start` begins."""
        self._sub = sub
        self._topic = topic
        self._runner = runner
        self._operations = operations
        self._handle = handle
        self._retries = retries
        self._log = log
        self._spin_budget = spin_budget
        self._alarm_clock = alarm_clock
        self._interruptible = interruptible

        self._schedule = PollSchedule(sub.polling_interval, sub.max_polling_interval)
        self._flood_gap = FloodGap()
        self._clock = ServerClock()
        self._backoff = Backoff()
        self._free_slots = sub.max_concurrent
        self._settling: deque[_Settling] = deque()
        self._answer_awaited = False
        # By id, those claimed first in front. A timer that is scheduled anew while its
        # handler runs can have two deliveries at once.
        self._held: dict[bytes, list[TimerDelivery]] = {}
        counts = retries.suspect_from is not None
        self._caution = Caution(sub.max_concurrent, suspects if counts else None, self.look_now)
        self._handlers: set[asyncio.Task[None]] = set()
        self._nothing_due_since = -math.inf
        self._last_hint = _NO_HINT
        self._look_asked = False
        self._away = False
        self._unanswered = False
        self._lost_reply = False
        self._pool_was_full = False
        self._claiming = False
        self._stopping = False
        self._closing = False
        self._interrupted = False
        self._waiter: asyncio.Future[bool] | None = None
        self._threads: CapacityLimiter | None = None
        self._renewing: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.on_wait: Callable[[bool], None] = _ignore
        self.on_end: Callable[[], Awaitable[None]] = _do_nothing

    # --- what others call

    def start(self) -> None:
        """Begin to deliver."""
        if not self._interruptible:
            # Each slot brings a thread. All blocking code of an event loop shares 40 of
            # them, also what FastDepends calls for the asynchronous handlers of others.
            self._threads = to_thread.current_default_thread_limiter()
            self._threads.total_tokens += self._sub.max_concurrent
        self._task = asyncio.create_task(self._run(), name=f"timers of {self._topic!r}")
        self._task.add_done_callback(self._end)
        if self._sub.renew_lease:
            self._renew_regularly()

    @property
    def alive(self) -> bool:
        """Whether it is at work (also while it is stopping)."""
        return self._task is not None and not self._task.done()

    @property
    def healthy(self) -> bool:
        """Whether it is at work and its last call was answered."""
        return self.alive and not self._away

    def wake(self, sent_at: float, due_at: float) -> None:
        """Take a hint that a timer was scheduled before all others.

        Args:
            sent_at: The server's Unix time when it was sent, in seconds.
            due_at: When the timer is due, likewise.
        """
        # What was sent before a look at the timeline is in that look. At the very
        # same time it may not be: the clock of a test may stand still.
        if self._clock.is_set and sent_at >= self._nothing_due_since:
            # Behind a lease that was lost each is announced, not only what comes earlier.
            self._last_hint = (sent_at, min(due_at, self._last_hint[1]))
            self._schedule.ring_at(self._clock.here(due_at))
            self._interrupt()

    def look_now(self) -> None:
        """Look at the next chance: hints may have been missed."""
        self._look_asked = True
        self._schedule.poll_now()
        self._interrupt()

    def begin_stop(self) -> None:
        """Claim nothing more."""
        self._stopping = True
        self._interrupt()

    async def stop(self, graceful_timeout: float | None) -> None:
        """Stop: handlers may finish within the timeout, then are cancelled.

        Their timers are given back, and so are those that were claimed and not
        begun. Called from inside a handler it does not wait for that handler, nor
        at all while another handler does the same: the two would wait for each
        other. The loop then ends by itself.

        Args:
            graceful_timeout: Seconds; None waits without limit.
        """
        if self._task is None:
            return
        self._closing = True
        self.begin_stop()
        started_at = monotonic()
        this = _handler.get()
        if this is not None and this.done():
            # It has begun this stop in a task of its own.
            this = None
        if this is not None:
            if _stoppers - {this}:
                return
            _stoppers.add(this)
            this.add_done_callback(_stoppers.discard)
        others = {handler for handler in self._handlers if handler is not this}
        if others:
            _, running = await asyncio.wait(others, timeout=graceful_timeout)
            await self._cancel_handlers(running)
            self._interrupt()
        if this in self._handlers:
            # The loop ends by itself after this handler.
            return
        remaining = None
        if graceful_timeout is not None:
            # A claim in flight is awaited, or it would lease timers to nobody.
            least = LAST_CALLS + (CALL_TIMEOUT if self._claiming else 0.0)
            remaining = max(least, started_at + graceful_timeout - monotonic())
        await asyncio.wait({self._task}, timeout=remaining)
        await end_task(self._task)

    # --- the loop

    async def _run(self) -> None:
        while True:
            # Handlers that end in the same turn of the event loop settle together. And a
            # fake server answers without letting others run at all.
            await asyncio.sleep(0)
            check_cancelled()
            self._interrupted = False
            limit = self._claim_limit()
            if limit or (self._settling and not self._can_ride()):
                await self._step(limit)
            elif self._closing and not self._handlers:
                await self.on_end()
                return
            elif self._unanswered and not self._stopping:
                # Asks for nothing, and so may be lost: a claim whose reply is
                # lost leases timers to nobody.
                await self._step(0)
            else:
                await self._wait()

    def _claim_limit(self) -> int:
        if self._stopping or self._unanswered or self._free_slots <= 0:
            return 0
        if self._schedule.next_at > monotonic():
            return 0
        return min(self._free_slots, MOST_CLAIMED)

    def _can_ride(self) -> bool:
        """Tell whether all that is settled may wait for the next claim."""
        if self._stopping or self._away or self._free_slots <= 0:
            return False
        return not self._answer_awaited and self._schedule.next_at - monotonic() <= RIDE

    async def _step(self, limit: int) -> None:
        if limit:
            self._renew_overdue()
        batch = self._next_batch()
        self._answer_awaited = bool(self._settling)
        operation = self._operations.settle_and_claim(
            self._topic,
            [item.delivery.settlement(item.action, item.detail) for item in batch],
            limit=limit,
            lease_ttl=self._sub.lease_ttl,
            jitter=_random_jitter(),
            suspect_from=self._retries.suspect_from,
            most_suspects=self._caution.most(limit),
            dead_topic=self._retries.dead_topic,
        )
        self._last_hint = _NO_HINT
        self._claiming = limit > 0
        if limit:
            self._look_asked = False
        sent_at = monotonic()
        try:
            step = await self._runner.run(operation, CALL_TIMEOUT)
        except Exception as error:  # noqa: BLE001
            # Not redis-py's errors alone: it raises AttributeError where somebody
            # closes the client meanwhile. Nothing but a stop ends the loop.
            lost_reply = isinstance(error, TimerOutcomeUnknownError)
            self._settle_again(batch, is_repeated=lost_reply)
            if lost_reply and not limit and not self._lost_reply:
                # A connection that was closed meanwhile is no outage yet.
                self._lost_reply = True
            else:
                await self._pause_after(error)
            return
        except BaseException:
            self._settle_again(batch, is_repeated=True)
            raise
        finally:
            self._claiming = False
        answered_at = monotonic()
        self._clock.observe(sent_at, answered_at, step.now)
        self._note_answer(is_claim=limit > 0)
        self._tell_outcomes(batch, step.outcomes, sent_at - step.now)
        if limit:
            self._plan_next_claim(step, limit, answered_at)
            self._take(step, lease_ends_at=sent_at + self._sub.lease_ttl)

    def _next_batch(self) -> list[_Settling]:
        batch: list[_Settling] = []
        size = 0
        while self._settling and len(batch) < MOST_CHANGED:
            # Dead letters bring their payloads.
            size += len(self._settling[0].detail)
            if batch and size > PAYLOAD_BUDGET:
                break
            batch.append(self._settling.popleft())
        return batch

    def _plan_next_claim(self, step: Step, limit: int, answered_at: float) -> None:
        head_at = math.inf if step.head is None else self._clock.here(step.head)
        found = len(step.claimed) + len(step.orphans)
        if found == limit or (step.head is not None and found and step.head <= step.now):
            self._flood_gap.claimed(answered_at, found)
            self._schedule.found_more()
            return
        self._nothing_due_since = step.now
        if step.head is not None and step.head <= step.now:
            # It was passed over, with more before it than one claim looks through.
            head_at = math.inf
        if found:
            self._schedule.found(answered_at, head_at, self._gap_after(step, found, answered_at))
        else:
            self._schedule.found_nothing(answered_at, head_at)
        # Asked while the claim was on its way, maybe after the server had looked.
        if self._look_asked:
            self._schedule.poll_now()
        # A hint can overtake the answer of a claim that was made before it. The
        # last one's stamp goes with the earliest: at worst that is one claim too many.
        # It is used once: under a clock that stands still it would ring for ever.
        sent_at, due_at = self._last_hint
        if sent_at >= step.now:
            self._schedule.ring_at(self._clock.here(due_at))

    def _gap_after(self, step: Step, found: int, answered_at: float) -> float:
        # Claimed in order of due time; what came back from a lease was due before.
        last_due = float(step.claimed[-1].previous_score) if step.claimed else -math.inf
        return self._flood_gap.after(answered_at, found, looked_at=step.now, last_due=last_due)

    # --- handlers

    def _take(self, step: Step, lease_ends_at: float) -> None:
        for orphan in step.orphans:
            self._log(
                logging.ERROR,
                f"timer {show_id(orphan)} of topic {self._topic!r} had no payload and was removed: "
                "was it evicted? See the server's maxmemory-policy",
            )
        for claimed in step.claimed:
            # A handler that outlives its lease is not run twice here.
            running = self._find_held(claimed) if self._held else None
            if running is not None:
                running.tell_claimed(step.lease, lease_ends_at)
                if running.attempt is not None:
                    # That was no attempt. It stays as it is, but for the count, which may be
                    # set again where the answer is lost.
                    count = b"%d" % running.attempt
                    self._put(_Settling(running, b"recount", count, is_correction=True))
                continue
            try:
                self._begin(claimed, step, lease_ends_at)
            except Exception as error:  # noqa: BLE001
                # Whatever it is, it must not end the delivery of all others.
                self._log(
                    logging.ERROR,
                    f"timer {show_id(claimed.timer_id)} of topic {self._topic!r} could not be "
                    "begun, it is delivered again when its lease ends",
                    error,
                )

    def _find_held(self, claimed: Claimed) -> TimerDelivery | None:
        for delivery in self._held.get(claimed.timer_id, ()):
            if float(claimed.previous_score) in map(float, delivery.leases):
                return delivery
        return None

    def _begin(self, claimed: Claimed, step: Step, lease_ends_at: float) -> None:
        problem = None
        envelope = _NOTHING
        try:
            claimed.timer_id.decode()
            envelope = read_envelope(claimed.payload)
        except UnicodeDecodeError:
            problem = "its id is no UTF-8"
        except EnvelopeError as error:
            problem = str(error)
        delivery = TimerDelivery(
            self._topic,
            claimed,
            envelope,
            step.lease,
            lease_ends_at,
            step.now,
            self._retries,
            self,
            self._sub.lease_ttl,
        )
        ending = (
            self._retries.ending_of(claimed)
            if problem is None
            else self._retries.set_aside(claimed, "unreadable", None, problem)
        )
        if ending is not None:
            delivery.holds_slot = False
            delivery.decide(*ending)
            # The server may have passed over others for it.
            self._schedule.poll_now()
            return
        if self._retries.suspects(claimed):
            if not self._caution.begin():
                delivery.holds_slot = False
                delivery.release()
                return
            # Nor may one that hangs hold up all others for ever.
            delivery.caution_ends = asyncio.get_running_loop().call_later(
                self._sub.max_lease, self._end_caution, delivery
            )
        self._free_slots -= 1
        self._held.setdefault(delivery.key, []).append(delivery)
        task = asyncio.create_task(self._deliver(delivery))
        self._handlers.add(task)
        task.add_done_callback(self._forget)

    async def _deliver(self, delivery: TimerDelivery) -> None:
        _handler.set(asyncio.current_task())
        try:
            if self._stopping:
                delivery.release()
            elif not delivery.lease_ended:
                await self._handle(delivery)
        except asyncio.CancelledError:
            if self._stopping and self._interruptible:
                delivery.release()
            raise
        finally:
            self.free_slot(delivery)
            if not delivery.is_settling:
                self._let_go(delivery)

    def _let_go(self, delivery: TimerDelivery) -> None:
        deliveries = self._held.get(delivery.key, [])
        if delivery in deliveries:
            deliveries.remove(delivery)
            if not deliveries:
                del self._held[delivery.key]

    def _forget(self, handler: "asyncio.Task[None]") -> None:
        self._handlers.discard(handler)
        if self._closing:
            self._interrupt()

    def free_slot(self, delivery: TimerDelivery) -> None:
        """Count a delivery's slot as free: its handler has ended.

        Args:
            delivery: The delivery.
        """
        # A handler can stop its broker and start it anew: its slot is the old loop's.
        if delivery.holds_slot and delivery.holder is self:
            delivery.holds_slot = False
            self._free_slots += 1
            self._end_caution(delivery)
            if self._free_slots == 1:
                self._interrupt()

    def _end_caution(self, delivery: TimerDelivery) -> None:
        if delivery.caution_ends is not None:
            delivery.caution_ends.cancel()
            delivery.caution_ends = None
            self._caution.end()

    async def _cancel_handlers(self, running: "set[asyncio.Task[None]]") -> None:
        if not running:
            return
        hung = running
        end = monotonic() + CANCELLED_HANDLERS
        while hung and monotonic() < end:
            # Once may not be enough: some code swallows it.
            for task in hung:
                task.cancel()
            _, hung = await asyncio.wait(hung, timeout=CANCELLED_AGAIN)
        if hung:
            self._handlers -= hung
            self._log(
                logging.ERROR,
                f"{len(hung)} handlers of topic {self._topic!r} did not end when they were "
                "cancelled; their timers stay leased until their leases end",
            )

    # --- settlements

    def settle(self, delivery: TimerDelivery, action: bytes, detail: bytes, /) -> None:
        """Send a settlement with the next call.

        Args:
            delivery: The delivery that it is for, which gets the answer.
            action: See `Settlement`.
            detail: See `Settlement`.
        """
        self._put(_Settling(delivery, action, detail))

    def _put(self, item: _Settling) -> None:
        if not self.alive:
            self._tell_unsettled(item)
            return
        self._settling.append(item)
        # As long as a handler holds its slot it waits for the answer. And no commit waits
        # until its lease has ended.
        delivery = item.delivery
        ends_soon = delivery.lease_ends_at - monotonic() < _LAST_OF_A_LEASE
        self._answer_awaited |= delivery.holds_slot or ends_soon
        if not self._can_ride():
            self._interrupt()

    def _settle_again(self, batch: list[_Settling], *, is_repeated: bool) -> None:
        # What was not sent, or was refused, is not repeated: "gone" is not our work then.
        self._answer_awaited = True
        self._settling.extendleft(
            item._replace(is_repeated=item.is_repeated or is_repeated) for item in reversed(batch)
        )

    def _tell_outcomes(self, batch: list[_Settling], outcomes: bytes, clock_offset: float) -> None:
        for item, outcome in zip(batch, outcomes, strict=True):
            if self._was_lost(item, outcome):
                self._warn_of_loss(item, outcome)
            if item.is_correction:
                continue
            if item.action == b"renew":
                done = outcome == Outcome.DONE
                item.delivery.tell_renewed(
                    item.detail if done else None, float(item.detail) + clock_offset
                )
                if item.delivery.key in self._held:
                    # Those whose leases end first stay in front.
                    self._held[item.delivery.key] = self._held.pop(item.delivery.key)
                continue
            done = outcome == Outcome.DONE or (
                # The first try was carried out, and only its answer lost: while the
                # lease lasts nobody else commits.
                outcome == Outcome.GONE and item.is_repeated and not item.delivery.lease_ended
            )
            item.delivery.tell(outcome=done)
            # Held until here: a claim in flight when its handler ended may have renewed it.
            if not item.delivery.holds_slot:
                self._let_go(item.delivery)

    def _warn_of_loss(self, item: _Settling, outcome: int) -> None:
        if outcome == Outcome.GONE:
            runs = "is gone: another worker has run it too, or it was cancelled"
        elif item.action == b"renew":
            runs = "was claimed by another worker and is run there too"
        else:
            runs = "was claimed by another worker and run twice"
        remedy = (
            "something kept this worker from renewing it in time: a blocked event loop, a "
            "stalled machine or a lost connection"
            if self._sub.renew_lease
            else f"lease_ttl ({self._sub.lease_ttl:g} s) must be longer than the handler takes, or "
            "renew_lease=True extends it"
        )
        self._log(
            logging.WARNING,
            f"timer {item.delivery.timer_id!r} of topic {self._topic!r} outlived its lease and "
            f"{runs}: {remedy}",
        )

    def _tell_unsettled(self, item: _Settling) -> None:
        if item.action == b"renew":
            item.delivery.tell_renewed(None)
        elif not item.is_correction:
            item.delivery.tell(outcome=False)

    def _was_lost(self, item: _Settling, outcome: int) -> bool:
        """Tell a timer that another worker took over from one that was scheduled anew."""
        delivery = item.delivery
        # One that is gone may have been removed by this very settlement before.
        if outcome != Outcome.LEASED_ANEW and (outcome != Outcome.GONE or item.is_repeated):
            return False
        # While its lease lasts no one takes it: either it was scheduled anew and
        # claimed, or this settlement is repeated and has been carried out before.
        if not delivery.lease_ended or delivery.is_lost:
            return False
        return all(held is delivery for held in self._held.get(delivery.key, ()))

    def _give_up_settling(self) -> None:
        if not self._settling:
            return
        count = len({id(item.delivery) for item in self._settling})
        self._log(
            logging.ERROR,
            f"{count} timers of topic {self._topic!r} could not be settled "
            "before the delivery ended. They will be delivered again when their leases end",
        )
        for item in self._settling:
            self._tell_unsettled(item)
        self._settling.clear()

    # --- renewals

    def propose_lease(self, lease_ttl: float, /) -> bytes:
        """Give a lease that begins now and lasts for some seconds.

        The worker proposes it: were it the server's, it would be unknown where the
        answer is lost.

        Args:
            lease_ttl: Its length in seconds.
        """
        now = self._clock.there(monotonic())
        return lease_text(now + lease_ttl, _random_jitter())

    def _renew_regularly(self) -> None:
        period = self._sub.lease_ttl / _RENEWALS_PER_LEASE
        self._renewing = asyncio.get_running_loop().call_later(period, self._renew_regularly)
        waiting = {
            id(item.delivery): n for n, item in enumerate(self._settling) if item.action == b"renew"
        }
        for delivery in self._running():
            if monotonic() - delivery.begun_at < self._sub.max_lease:
                if (place := waiting.get(id(delivery))) is not None:
                    # While the server is away they would pile up.
                    self._settling[place] = self._prolong(self._settling[place])
                elif not delivery.is_renewing:
                    delivery.renew_soon(self._sub.lease_ttl)
                continue
            # Not to be found held, it is delivered anew, by this worker or another.
            self._let_go(delivery)
            self._log(
                logging.ERROR,
                f"the handler of timer {delivery.timer_id!r} of topic {self._topic!r} has run "
                f"for longer than max_lease ({self._sub.max_lease:g} s), so its lease is no "
                "longer renewed and the timer will be delivered again: does the handler hang? "
                "handler_timeout= ends it",
            )

    def _prolong(self, item: _Settling) -> _Settling:
        lease = item.delivery.prolong(
            item.detail, self._sub.lease_ttl, may_be_known=item.is_repeated
        )
        return item if lease == item.detail else item._replace(detail=lease, is_repeated=False)

    def _renew_overdue(self) -> None:
        """Renew leases that have ended before the next claim takes such a timer anew."""
        first = next(iter(self._held.values()), None)
        if first is None or not first[0].lease_ended:
            return
        for delivery in self._running():
            if delivery.lease_ended:
                delivery.renew_soon(self._sub.lease_ttl)

    def _running(self) -> list[TimerDelivery]:
        return [one for some in self._held.values() for one in some if not one.is_decided]

    # --- waiting

    async def _wait(self) -> None:
        """Wait until something is to be done, or the next claim is due."""
        claims = not self._stopping and self._free_slots > 0
        until = self._schedule.next_at if claims else math.inf
        self.on_wait(claims)
        try:
            if claims and self._schedule.is_for_alarm:
                await self._wait_precisely(until)
            else:
                await self._sleep(until)
        finally:
            self.on_wait(False)

    async def _wait_precisely(self, until: float) -> None:
        early = min(self._alarm_clock.early, self._spin_budget.left(monotonic()))
        if early < SHORTEST_SPIN:
            await self._sleep(until)
            return
        alarm_at = max(until - early, monotonic())
        if await self._sleep(alarm_at):
            return
        self._alarm_clock.overslept(monotonic() - alarm_at)
        with suppress(Exception):
            async with asyncio.timeout(WARMING):
                await self._runner.ping()
        started_at = monotonic()
        while monotonic() < until and not self._interrupted:  # noqa: ASYNC110  an event is late
            await asyncio.sleep(0)
        self._spin_budget.spend(monotonic() - started_at)

    async def _sleep(self, until: float) -> bool:
        """Sleep until a moment of the monotonic clock; tell whether interrupted before."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        alarm = None
        if until < math.inf:
            alarm = loop.call_later(max(0.0, until - monotonic()), _finish, waiter, False)
        try:
            return await waiter
        finally:
            self._waiter = None
            if alarm is not None:
                alarm.cancel()

    def _interrupt(self) -> None:
        self._interrupted = True
        if self._waiter is not None:
            _finish(self._waiter, True)

    # --- outages

    async def _pause_after(self, error: BaseException) -> None:
        if is_pool_full(error):
            # That is no outage, but it makes timers late.
            if not self._pool_was_full:
                self._pool_was_full = True
                self._log(
                    logging.WARNING,
                    f"topic {self._topic!r} waits for a connection: all of the client's pool are "
                    "in use, max_connections is too low",
                )
        else:
            self._unanswered = True
            self._tell_outage(error)
        await asyncio.sleep(self._backoff.next_pause())

    def _tell_outage(self, error: BaseException) -> None:
        if self._away:
            return
        self._away = True
        if isinstance(error, TimerOutcomeUnknownError):
            # What was claimed comes again after its lease; the reason is of use.
            error = error.__cause__ or error
        self._log(
            logging.ERROR,
            f"topic {self._topic!r} can't be delivered, trying again until it can: "
            f"{type(error).__name__}: {text_of(error)}".rstrip(": "),
        )

    def _note_answer(self, *, is_claim: bool) -> None:
        self._lost_reply = self._pool_was_full = False
        if self._unanswered:
            self._unanswered = False
            self._schedule.poll_now()
        # A server can answer questions and yet refuse to write, or cut long answers: where
        # a claim can be made, only an answered one shows that timers are delivered.
        if self._away and not is_claim and self._free_slots > 0 and not self._stopping:
            return
        self._backoff.reset()
        if self._away:
            self._away = False
            self._log(logging.INFO, f"topic {self._topic!r} is delivered again")

    def _end(self, task: "asyncio.Task[None]") -> None:
        if self._renewing is not None:
            self._renewing.cancel()
        self._caution.close()
        if self._threads is not None:
            self._threads.total_tokens -= self._sub.max_concurrent
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log(logging.CRITICAL, f"the delivery of topic {self._topic!r} has died", error)
        self._give_up_settling()


def _random_jitter() -> int:
    return random.randrange(LEASE_JITTER)  # noqa: S311  it keeps leases apart, no secret


def _finish(waiter: "asyncio.Future[bool]", interrupted: bool) -> None:  # noqa: FBT001
    if not waiter.done():
        waiter.set_result(interrupted)


def _ignore(_waits: bool, /) -> None:  # noqa: FBT001
    pass


async def _do_nothing() -> None:
    pass
