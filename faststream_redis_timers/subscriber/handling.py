"""Runs handlers, each in its own task, and ends them when their subscriber stops."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Generic, TypeVar

from anyio import to_thread

from faststream_redis_timers.clock import monotonic
from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.core import DeliveryCore
from faststream_redis_timers.delivery.leased import Unit
from faststream_redis_timers.delivery.log import Log
from faststream_redis_timers.subscriber.timeouts import CANCELLED_AGAIN
from faststream_redis_timers.tasks import cancel_for_stop, is_cancelled_for_stop

if TYPE_CHECKING:
    from anyio import CapacityLimiter

CANCELLED_HANDLERS = 5.0
"""Seconds that a stop waits for handlers after cancelling them."""

_handler: ContextVar["asyncio.Task[None] | None"] = ContextVar("_handler", default=None)
# The handler that runs this code. A broker stops its subscribers in separate tasks, so the
# current task may be another.

_stoppers: set["asyncio.Task[None]"] = set()
# Handlers that have stopped any subscriber and are still running: only one waits at a time.


_U = TypeVar("_U", bound=Unit)


class Handling(Generic[_U]):
    """The running handlers of a subscriber.

    Args:
        core: Decides what happens to their timers.
        topic: The full topic.
        handle: Runs the handler for a delivery; it never raises an Exception.
        log: Writes to the broker's log.
        threads: How many threads its blocking handlers need; None if none blocks. Blocking
            handlers can't be cancelled, so their timers stay leased and do not run twice.
    """

    def __init__(
        self,
        core: DeliveryCore[_U],
        topic: str,
        handle: Callable[[_U], Awaitable[None]],
        log: Log,
        threads: int | None,
    ) -> None:
        """Start without handlers."""
        self._core = core
        self._topic = topic
        self._handle = handle
        self._log = log
        self._is_interruptible = threads is None
        self._running: dict[asyncio.Task[None], _U] = {}
        self._threads: CapacityLimiter | None = None
        self._more_threads = threads or 0

    def start(self) -> None:
        """Add threads: one for each slot.

        All blocking code of an event loop shares 40 threads, including dependencies of
        other subscribers' asynchronous handlers.
        """
        if self._more_threads:
            self._threads = to_thread.current_default_thread_limiter()
            self._threads.total_tokens += self._more_threads

    def begin(self, delivery: _U) -> None:
        """Run the handler for a delivery.

        Args:
            delivery: The delivery.
        """
        task = asyncio.create_task(self._run(delivery))
        self._running[task] = delivery
        task.add_done_callback(self._end)

    async def _run(self, delivery: _U) -> None:
        _handler.set(asyncio.current_task())
        if self._core.is_stopping:
            delivery.release()
        elif not delivery.lease_ended:
            await self._handle(delivery)
        if delivery.lease_ended and self._core.claims:
            # `_end` comes a turn later: a claim before it would renew leases of timers that nothing
            # handles.
            self._core.ended(delivery)

    def _end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._note_error(error)
        if (delivery := self._running.pop(task, None)) is None:
            return
        # A handler may turn its cancellation into another exception.
        if (
            self._is_interruptible
            and self._core.is_stopping
            and (task.cancelled() or is_cancelled_for_stop(task))
        ):
            delivery.release()
        self._core.ended(delivery)

    def _note_error(self, error: BaseException) -> None:
        # FastStream has logged what a handler raises, also what is no Exception. What else ends
        # the task, such as an error of a stop, asyncio would log as never retrieved.
        if isinstance(error, Exception):
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"handling a timer of topic {self._topic!r} failed", "exception": error}
            )

    async def finish(self, graceful_timeout: float | None) -> bool:
        """Wait for the handlers, then cancel them.

        If a handler calls this, it does not wait for that handler, and not at all while
        another handler calls it too: the two would wait for each other.

        Args:
            graceful_timeout: Seconds; None waits without limit.

        Returns:
            Whether all have ended.
        """
        this = _handler.get()
        if this is not None and this.done():
            # It started this stop in another task.
            this = None
        if this is not None:
            if _stoppers - {this}:
                return False
            _stoppers.add(this)
            this.add_done_callback(_stoppers.discard)
        others = {handler for handler in self._running if handler is not this}
        if others:
            _, running = await asyncio.wait(others, timeout=graceful_timeout)
            await self._cancel(running)
        return this not in self._running

    async def _cancel(self, running: "set[asyncio.Task[None]]") -> None:
        if not running:
            return
        hung = running
        end = monotonic() + CANCELLED_HANDLERS
        while hung and monotonic() < end:
            # Once may not be enough: some code swallows cancellations.
            for task in hung:
                cancel_for_stop(task)
            _, hung = await asyncio.wait(hung, timeout=CANCELLED_AGAIN)
        # Another stop may have given up on some of them at the same time.
        given_up = [one for task in hung if (one := self._running.pop(task, None)) is not None]
        for delivery in given_up:
            self._core.ended(delivery)
        if given_up:
            self._log(logging.ERROR, words.hung(self._topic, len(given_up)))

    def close(self) -> None:
        """Remove the added threads."""
        if self._threads is not None:
            self._threads.total_tokens -= self._more_threads
