"""The delivery loop of a subscriber: it carries out the core's decisions and reports results.

One coroutine sends all calls of a subscriber, one at a time. The next call carries all
settlements since the last one, and a claim with them.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from faststream_redis_timers.clock import monotonic
from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.attendance import Channels
from faststream_redis_timers.delivery.core import Call, DeliveryCore, Draws, Driver, Wait
from faststream_redis_timers.delivery.duty import Missing, Post
from faststream_redis_timers.delivery.leased import Unit
from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.delivery.outage import failure_of
from faststream_redis_timers.delivery.schedule import AlarmClock, SpinBudget
from faststream_redis_timers.subscriber.sleeping import Sleeper
from faststream_redis_timers.tasks import check_cancelled, end_task
from faststream_redis_timers_sync.protocol.steps import LEASE_JITTER

if TYPE_CHECKING:
    from faststream_redis_timers.calls.runner import Runner
    from faststream_redis_timers.calls.wakeups import WakeUps
    from faststream_redis_timers.delivery.leased import LeasedTimer

CALL_TIMEOUT = 5.0
"""Seconds after which a call of the loop counts as lost."""

LAST_CALLS = 1.0
"""Seconds that a stop grants settlements after the graceful timeout."""


_U = TypeVar("_U", bound=Unit)
_Taken_contra = TypeVar("_Taken_contra", bound=Unit, contravariant=True)


class Receiver(Protocol[_Taken_contra]):
    """Receives deliveries: handlers, or waiting callers."""

    def start(self) -> None:
        """Start."""

    def begin(self, delivery: _Taken_contra) -> None:
        """Receive a delivery."""

    async def finish(self, graceful_timeout: float | None) -> bool:
        """Receive no more; return whether nothing is running."""
        ...

    def close(self) -> None:
        """End."""


class DeliveryLoop(Generic[_U]):
    """Delivers the due timers of one topic.

    Args:
        topic: The full topic.
        channels: The channels to listen to.
        runner: Sends the calls.
        wake_ups: Hears wake-ups for all loops of the broker.
        always_listens: Whether to read wake-ups even if the loop is not waiting for a timer.
        make_core: Creates the delivery core.
        log: Writes to the broker's log.
        spin_budget: Limits active waiting, for all loops of the broker.
        alarm_clock: Knows how late sleeps end, from all loops of the broker.
        on_end: Called when a stopped loop has nothing left to do.
    """

    def __init__(  # noqa: PLR0913  its collaborators
        self,
        topic: str,
        *,
        channels: Channels,
        runner: "Runner",
        wake_ups: "WakeUps",
        always_listens: bool,
        make_core: Callable[[Driver], DeliveryCore[_U]],
        log: Log,
        spin_budget: SpinBudget,
        alarm_clock: AlarmClock,
        on_end: Callable[[], Awaitable[None]],
    ) -> None:
        """Prepare; `start` starts delivery."""
        self.topic = topic
        self.channels = channels
        self._runner = runner
        self._wake_ups = wake_ups
        self._always_listens = always_listens
        self._log = log
        self.draws = RANDOM_DRAWS
        self.sleeper = Sleeper(
            partial(runner.warm, channels.wake_ups),
            self._note_waiting,
            self._note_stall,
            spin_budget,
            alarm_clock,
        )
        self.core = make_core(self)
        self._receiver: Receiver[_U] | None = None
        self._claiming = False
        self._task: asyncio.Task[None] | None = None
        self._on_end = on_end

    # --- what others call

    async def start(self, receiver: Receiver[_U]) -> None:
        """Start delivery.

        Args:
            receiver: Receives the deliveries.
        """
        self._receiver = receiver
        receiver.start()
        self._task = asyncio.create_task(self._run(receiver), name=f"timers of {self.topic!r}")
        self._task.add_done_callback(self._end)
        self._wake_ups.follow_post(self, self.core.attendance.post)

    @property
    def alive(self) -> bool:
        """Whether the loop is running, including while it stops."""
        return self._task is not None and not self._task.done()

    @property
    def healthy(self) -> bool:
        """Whether the loop is running and the server replies."""
        return self.alive and not self.core.is_away

    @property
    def polling_interval(self) -> float:
        """Seconds between polls right after a timer was due."""
        return self.core.polling_interval

    def wake(self, sent_at: float, due_at: float) -> None:
        """Process a wake-up: a timer was scheduled that is due before all others.

        Args:
            sent_at: The server's Unix time when it was sent, in seconds.
            due_at: When the timer is due, likewise.
        """
        self.core.wake(sent_at, due_at)

    def poll_now(self) -> None:
        """Claim as soon as possible: wake-ups may have been missed."""
        self.core.poll_now()

    def call_for_help(self, share: float, missing: Missing) -> None:
        """Process a call for help: workers in reserve may go on duty.

        Args:
            share: The fraction, 0 to 1, of the workers that hear it that should come.
            missing: Which workers count as on duty but are missing.
        """
        self.core.attendance.called(share, missing, monotonic())

    def be_always_on_duty(self) -> None:
        """Stay on duty: a channel is refused, so other workers can't be called."""
        self.core.attendance.be_always_on_duty()

    def begin_stop(self) -> None:
        """Stop claiming and listening."""
        self.core.drain()
        self._wake_ups.leave(self)

    async def stop(self, graceful_timeout: float | None) -> None:
        """Stop: handlers may finish within the timeout, then they are cancelled.

        Their timers are released, and so are claimed timers whose handlers have not
        started. If a handler calls this, it waits neither for that handler nor for
        the loop, which ends by itself after the handler.

        Args:
            graceful_timeout: Seconds; None waits without limit.
        """
        if self._task is None or self._receiver is None:
            return
        self.begin_stop()
        try:
            await self._wake_ups.remove(self)
        finally:
            await self._finish(self._task, self._receiver, graceful_timeout)

    async def _finish(
        self, task: "asyncio.Task[None]", receiver: Receiver[_U], graceful_timeout: float | None
    ) -> None:
        self.core.close()
        started_at = monotonic()
        if not await receiver.finish(graceful_timeout):
            return
        remaining = None
        if graceful_timeout is not None:
            # Wait for a claim in flight, or nothing would handle the timers that it leases.
            least = LAST_CALLS + (CALL_TIMEOUT if self._claiming else 0.0)
            remaining = max(least, started_at + graceful_timeout - monotonic())
        await asyncio.wait({task}, timeout=remaining)
        await end_task(task)

    # --- the loop

    async def _run(self, receiver: Receiver[_U]) -> None:
        while True:
            # Handlers that end in the same turn of the event loop settle together. And a
            # fake server replies without yielding to the event loop.
            await asyncio.sleep(0)
            check_cancelled()
            turn = self.core.next(monotonic())
            if isinstance(turn, Call):
                await self._send(turn, receiver)
            elif isinstance(turn, Wait):
                await self.sleeper.sleep(turn)
            else:
                await self._on_end()
                return

    async def _send(self, call: Call, receiver: Receiver[_U]) -> None:
        self._claiming = call.limit > 0
        sent_at = monotonic()
        try:
            step = await self._runner.run(call.operation, CALL_TIMEOUT)
        except Exception as error:  # noqa: BLE001
            # Not only redis-py's errors: it raises AttributeError if the client is closed
            # meanwhile. Only a stop ends the loop.
            await asyncio.sleep(self.core.failed(call, failure_of(error)))
            return
        except BaseException:
            self.core.cancelled(call)
            raise
        finally:
            self._claiming = False
        for delivery in self.core.answered(call, step, sent_at, monotonic()):
            receiver.begin(delivery)

    def _end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log(logging.CRITICAL, words.died(self.topic), error)
        # If it still listened, it would count as a worker.
        self._wake_ups.leave(self)
        self.core.end()
        if self._receiver is not None:
            self._receiver.close()

    def _note_waiting(self, waits: bool) -> None:  # noqa: FBT001
        # Not while it stops: nothing listens then.
        always = self._always_listens and self.core.claims
        self._wake_ups.set_waiting(self, waits=waits or always)

    def _note_stall(self, seconds: float) -> None:
        self.core.attendance.stalled(seconds)

    # --- what the core and its timers ask for

    def follow_post(self, post: Post) -> None:
        """Listen to the channels of a post only.

        Args:
            post: The post.
        """
        # While it stops it does not listen.
        if self.core.claims:
            self._wake_ups.follow_post(self, post)

    def stir(self) -> None:
        """Wake the loop so that it asks the core again."""
        self.sleeper.stir()

    now = staticmethod(monotonic)

    def settle(self, timers: "Sequence[LeasedTimer]", action: bytes, detail: bytes, /) -> None:
        """Send a settlement with one of the next calls.

        Args:
            timers: The settled timers, which get the outcomes.
            action: See `Settlement`.
            detail: See `Settlement`.
        """
        self.core.settle(timers, action, detail, monotonic())

    def propose_lease(self, lease_ttl: float, /) -> bytes:
        """Return a lease that begins now, as a score.

        Args:
            lease_ttl: Its length in seconds.
        """
        return self.core.propose_lease(lease_ttl, monotonic())

    def free_slot(self, unit: Unit, /) -> None:
        """Count a slot as free: the handler of its timer, or of its batch, has ended.

        Args:
            unit: The timer, or the batch.
        """
        self.core.free_slot(unit)


def _draw_lease() -> int:
    return random.randrange(LEASE_JITTER)  # noqa: S311  it keeps leases apart, no secret


RANDOM_DRAWS = Draws(random.random, _draw_lease)
