"""Delivery when a test moves time: timers wait in memory, and fire in order of due time."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from faststream.exceptions import IncorrectState, StopConsume

from faststream_redis_timers.broker import TimersBroker
from faststream_redis_timers.delivered import TimerBatchDelivery, TimerDelivery
from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers.publisher.producer import TimersProducer
from faststream_redis_timers.response import TimerPublishCommand
from faststream_redis_timers.subscriber.acknowledgement import is_interrupted
from faststream_redis_timers.subscriber.usecase import TimersSubscriber
from faststream_redis_timers.tasks import count_cancellations
from faststream_redis_timers.testing.driver import OneByOne
from faststream_redis_timers_sync.protocol.memory.timers import TimersMemory
from faststream_redis_timers_sync.protocol.model import EncodedTimer
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.timers import as_publish_message
from faststream_redis_timers_sync.protocol.times import is_lease, time_of

MOST_DELIVERIES = 10_000
"""Most deliveries in a move; more mean that timers fire without end. First attempts of recurring
timers count per second of moved time: a move may span years, and each of them is due at most once
a second."""

_TURNS_OF_TASKS = 10
# Turns of the event loop after each delivery: enough for a handler's task to publish.

_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)


class _Turn(NamedTuple):
    """The next timer's due time and subscriber."""

    time: datetime
    subscriber: TimersSubscriber


class VirtualTimeDelivery:
    """Delivers the timers of a memory, one after another.

    Args:
        memory: The memory.
        brokers: The brokers whose subscribers get the timers.
    """

    def __init__(self, memory: TimersMemory, brokers: tuple[TimersBroker, ...]) -> None:
        """Store both."""
        self._memory = memory
        self._brokers = brokers
        self._drivers: dict[TimersSubscriber, OneByOne] = {}
        self._is_moving = False
        self._occurrences: dict[tuple[str, str], datetime | None] = {}
        # The last occurrence of each recurring timer, since attempts may not be counted.

    async def advance(self, by: timedelta, *, raise_errors: bool) -> None:
        """Move time forward, and deliver timers that become due.

        Args:
            by: How far.
            raise_errors: Whether an error of a handler ends the move.

        Raises:
            IncorrectState: `advance` is already running.
            RuntimeError: Timers fire without end.
            Exception: The error of a handler.
        """
        if self._is_moving:
            msg = "advance() is already running: await it outside handlers, one call at a time"
            raise IncorrectState(msg)
        clock = self._memory.clock
        self._is_moving = True
        try:
            # First, stop the clock: otherwise timers that are due now would be handled slightly
            # after the start of the move, and what counts from there would be due after its end.
            clock.stand_at(clock.now())
            end = clock.after(by)
            await self._deliver_until(end, raise_errors=raise_errors)
            clock.stand_at(end)
        finally:
            clock.run_on()
            self._is_moving = False

    async def _deliver_until(self, end: datetime, *, raise_errors: bool) -> None:
        deliveries = of_series = 0
        counted_from = None
        while (turn := self._next_turn()) is not None and turn.time <= end:
            if counted_from is None or turn.time >= counted_from + _SECOND:
                of_series, counted_from = 0, turn.time
            if max(deliveries, of_series) >= MOST_DELIVERIES:
                span = "in this move" if deliveries >= MOST_DELIVERIES else "within a second"
                msg = (
                    f"{MOST_DELIVERIES} timers have fired {span}, and the next one, of topic "
                    f"{turn.subscriber.topic!r}, is due at {turn.time}: does a timer schedule "
                    "itself again, or is it nacked each time? Make it end"
                )
                raise RuntimeError(msg)
            self._memory.clock.stand_at(turn.time)
            delivery = self._driver_of(turn.subscriber).claim()
            if delivery is None:
                # Its attempts are used up, or another thread cancelled it meanwhile.
                deliveries += 1
            else:
                new = sum(map(self._is_new_occurrence, delivery.deliveries))
                of_series += new
                deliveries += len(delivery.deliveries) - new
                await self._handle(turn.subscriber, delivery, raise_errors=raise_errors)
            # Timers that handlers' tasks schedule may be due before the end.
            for _ in range(_TURNS_OF_TASKS):
                await asyncio.sleep(0)

    def _next_turn(self) -> _Turn | None:
        # Timers due at the same time are ordered by topic, so that tests are deterministic.
        return min(self._turns(), key=lambda turn: (turn.time, turn.subscriber.topic), default=None)

    def _turns(self) -> Iterator[_Turn]:
        for broker in self._brokers:
            operations = broker.config.operations
            for subscriber in broker.subscribers:
                if (
                    isinstance(subscriber, TimersSubscriber)
                    and subscriber.running
                    and subscriber.calls
                    and (head := self._head(operations, subscriber.topic)) is not None
                ):
                    yield _Turn(_claimable_at(head), subscriber)

    def _head(self, operations: Operations, topic: str) -> float | None:
        # A step that claims and settles nothing.
        step = operations.settle_and_claim(topic, (), limit=0, lease_ttl=1.0, jitter=0)
        return self._memory.run(step).head

    def _driver_of(self, subscriber: TimersSubscriber) -> OneByOne:
        if subscriber not in self._drivers:
            self._drivers[subscriber] = OneByOne(
                subscriber,
                lambda call: self._memory.run(call.operation),
                lambda: self._memory.clock.now().timestamp(),
            )
        return self._drivers[subscriber]

    def _is_new_occurrence(self, timer: LeasedTimer) -> bool:
        if timer.repeat is None:
            return False
        name = (timer.topic, timer.timer_id)
        is_new = self._occurrences.get(name) != timer.occurrence
        self._occurrences[name] = timer.occurrence
        return is_new

    async def _handle(
        self,
        subscriber: TimersSubscriber,
        delivery: TimerDelivery | TimerBatchDelivery,
        *,
        raise_errors: bool,
    ) -> None:
        cancelled_before = count_cancellations()
        try:
            # A subscriber with `batch` gets batches.
            await subscriber.process_message(cast("Any", delivery))
        except StopConsume:
            await subscriber.stop()
        except SystemExit:
            await subscriber.stop()
            raise
        except (Exception, asyncio.CancelledError) as error:
            if is_interrupted(error, delivery, cancelled_before):
                delivery.release()
                raise
            if raise_errors:
                raise


def _claimable_at(score: float) -> datetime:
    # A lease ends half a microsecond past a whole one, which clocks can't show.
    return time_of(score) + _MICROSECOND if is_lease(score) else time_of(score)


class VirtualTimeProducer(TimersProducer):
    """Schedules like the broker's producer, and remembers the messages before encoding.

    Args:
        real: The broker's producer.
        memory: The memory that remembers them.
    """

    def __init__(self, real: TimersProducer, memory: TimersMemory) -> None:
        """Copy the attributes of the broker's producer."""
        self.__dict__.update(real.__dict__)
        self._memory = memory

    async def encode(self, cmd: TimerPublishCommand) -> EncodedTimer:
        """Encode a command's message as a timer.

        Args:
            cmd: The message and its options.
        """
        timer = await super().encode(cmd)
        self._memory.remember([cmd.body], [timer])
        return timer

    async def encode_batch(self, cmd: TimerPublishCommand) -> list[EncodedTimer]:
        """Encode a command's messages as timers.

        Args:
            cmd: The messages and their common options.
        """
        timers = await super().encode_batch(cmd)
        messages = map(as_publish_message, cmd.batch_bodies)
        self._memory.remember([message.body for message in messages], timers)
        return timers
