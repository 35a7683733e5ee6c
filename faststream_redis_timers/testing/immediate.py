"""Immediate delivery: timers go straight to their handlers, and nothing is pending."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from faststream.exceptions import SubscriberNotFound
from redis.asyncio.client import Pipeline

from faststream_redis_timers.broker import TimersBroker
from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.delivery.core import Call
from faststream_redis_timers.publisher.producer import TimersProducer
from faststream_redis_timers.response import TimerPublishCommand
from faststream_redis_timers.subscriber.usecase import TimersSubscriber
from faststream_redis_timers.testing.driver import OneByOne
from faststream_redis_timers.testing.memory import MemoryRunner
from faststream_redis_timers.testing.scheduled import ScheduledTimer
from faststream_redis_timers_sync.protocol.clients import check_pipeline
from faststream_redis_timers_sync.protocol.memory.timers import TimersMemory
from faststream_redis_timers_sync.protocol.model import (
    Claimed,
    EncodedTimer,
    Outcome,
    Step,
    TimerPublishMessage,
)
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.timers import as_publish_message
from faststream_redis_timers_sync.protocol.times import lease_text

_T = TypeVar("_T")
_MOST_NESTED = 10


def subscribers_of(brokers: tuple[TimersBroker, ...], topic: str) -> Iterator[TimersSubscriber]:
    """Yield the subscribers of a topic that have handlers; others wait for callers.

    Args:
        brokers: The brokers to search.
        topic: The full topic.
    """
    for broker in brokers:
        for subscriber in broker.subscribers:
            if (
                isinstance(subscriber, TimersSubscriber)
                and subscriber.calls
                and subscriber.topic == topic
            ):
                yield subscriber


class EmptyRunner(MemoryRunner):
    """Replies like a server without timers, except for declared series; takes any pipeline."""

    def queue(
        self, pipeline: Pipeline, operation: Operation[Any], if_exists: str | None = None
    ) -> None:
        """Check the pipeline; do nothing else, as there is nothing to cancel or reschedule.

        Args:
            pipeline: Any pipeline.
            operation: The operation.
            if_exists: The caller's `if_exists`.

        Raises:
            TypeError: It is not an asyncio pipeline.
            ValueError: It would run the command immediately, `if_exists` is ``"error"``, or
                replicas must confirm.
        """
        confirms = self.confirmation is not None
        check_pipeline(pipeline, Pipeline, if_exists=if_exists, confirms=confirms)


class ImmediateProducer(TimersProducer):
    """Encodes like the broker's producer, and delivers instead of scheduling.

    Args:
        real: The broker's producer.
        brokers: The brokers whose subscribers get the timers.
        scheduled: The list that records the timers.
        memory: The memory with declared series, which wait.
    """

    def __init__(
        self,
        real: TimersProducer,
        brokers: tuple[TimersBroker, ...],
        scheduled: list[ScheduledTimer],
        memory: TimersMemory,
    ) -> None:
        """Copy the attributes of the broker's producer."""
        self.__dict__.update(real.__dict__)
        self._brokers = brokers
        self._scheduled = scheduled
        self._memory = memory
        self._in_hand: Counter[tuple[str, str]] = Counter()

    async def encode(self, cmd: TimerPublishCommand) -> EncodedTimer:
        """Encode a command's message as a timer.

        Args:
            cmd: The message and its options.
        """
        timer = await super().encode(cmd)
        if cmd.repeat_owner is not None:
            # Memory records declared series, as waiting timers.
            self._memory.remember([cmd.body], [timer])
        return timer

    async def publish(self, cmd: TimerPublishCommand) -> str:
        """Deliver one message.

        Args:
            cmd: The message and its options.

        Returns:
            The timer's id.
        """
        (timer,) = await self._check(cmd, [await self.encode(cmd)])
        await self._deliver(cmd, [(TimerPublishMessage(cmd.body), timer)])
        return timer.timer_id

    async def publish_batch(self, cmd: TimerPublishCommand) -> list[str]:
        """Deliver several messages.

        Args:
            cmd: The messages and their common options.

        Returns:
            The timers' ids, in order.
        """
        timers = await self._check(cmd, await self.encode_batch(cmd))
        messages = map(as_publish_message, cmd.batch_bodies)
        subscribers = subscribers_of(self._brokers, cmd.destination)
        most = max(map(_most_records, subscribers), default=1)
        for part in _parts(list(zip(messages, timers, strict=True)), most):
            await self._deliver(cmd, part)
        return [timer.timer_id for timer in timers]

    async def request(self, cmd: TimerPublishCommand) -> TimerDelivery:
        """Call a handler and return its result, for "Try it out" on FastStream's page.

        Args:
            cmd: The message and its options.

        Returns:
            The result as a delivery.

        Raises:
            SubscriberNotFound: The topic has no handler.
            ValueError: A batch handler got no body, or more than it takes.
        """
        subscriber = self._find_tried_out(cmd.destination)
        # Documents say that a batch handler takes a list.
        is_list = subscriber.sub.batch and isinstance(cmd.body, list)
        if is_list and not 1 <= len(cmd.body) <= subscriber.sub.max_records:
            msg = (
                f"got a list of {len(cmd.body)} bodies, but the handler of topic "
                f"{subscriber.topic!r} takes 1 to {subscriber.sub.max_records}"
            )
            raise ValueError(msg)
        timers = []
        for body in cmd.body if is_list else [cmd.body]:
            one = copy(cmd)
            one.body = body
            timers.append(await self.encode(one))
        response = await subscriber.process_message(_claim(subscriber, timers))
        answer = TimerPublishCommand.from_cmd(response.as_publish_command())
        result: TimerDelivery = _claim(subscriber, [await self.encode(answer)]).deliveries[0]
        return result

    def _find_tried_out(self, topic: str) -> TimersSubscriber:
        for subscriber in subscribers_of(self._brokers, topic):
            return subscriber
        # The page uses the part of the channel's key before the first colon as the topic, and
        # the broker has prepended its prefix.
        for broker in self._brokers:
            key = topic.removeprefix(broker.config.prefix)
            for each in broker.subscribers:
                if isinstance(each, TimersSubscriber) and _page_topic(each) == key:
                    return each
        raise SubscriberNotFound

    async def _check(
        self, cmd: TimerPublishCommand, timers: list[EncodedTimer]
    ) -> list[EncodedTimer]:
        """Check what the broker's producer checks, and find the first times of recurring timers."""
        self._operations.schedule_batch(cmd.destination, timers, cmd.if_exists)
        if cmd.pipeline is not None:
            confirms = self._connection.confirmation is not None
            check_pipeline(cmd.pipeline, Pipeline, if_exists=cmd.if_exists, confirms=confirms)
        steps = self._operations.find_first_times(cmd.destination, timers)
        return await self._connection.runner.run_steps(steps)

    async def _deliver(
        self, cmd: TimerPublishCommand, part: Sequence[tuple[TimerPublishMessage, EncodedTimer]]
    ) -> None:
        for message, timer in part:
            self._record(cmd, message, timer)
        topic = cmd.destination
        timers = [timer for _, timer in part if self._in_hand[topic, timer.timer_id] < _MOST_NESTED]
        in_hand = [(topic, timer.timer_id) for timer in timers]
        self._in_hand.update(in_hand)
        try:
            for subscriber in subscribers_of(self._brokers, topic):
                for several in _parts(timers, _most_records(subscriber)):
                    await subscriber.process_message(_claim(subscriber, several))
        finally:
            self._in_hand.subtract(in_hand)

    def _record(
        self, cmd: TimerPublishCommand, message: TimerPublishMessage, timer: EncodedTimer
    ) -> None:
        correlation_id = message.correlation_id or cmd.correlation_id or timer.timer_id
        self._scheduled.append(
            ScheduledTimer(
                topic=cmd.destination,
                timer_id=timer.timer_id,
                activate_at=_due_at(timer.due),
                body=message.body,
                correlation_id=correlation_id,
                headers={**cmd.headers, **(message.headers or {})},
                repeat=timer.repeat,
            )
        )


def _most_records(subscriber: TimersSubscriber) -> int:
    return subscriber.sub.max_records if subscriber.sub.batch else 1


def _parts(items: Sequence[_T], most: int) -> Iterator[Sequence[_T]]:
    return (items[start : start + most] for start in range(0, len(items), most))


def _page_topic(subscriber: TimersSubscriber) -> str:
    # Documents of AsyncAPI 3.0 have no slashes in the keys of channels.
    return subscriber.specification.name.split(":")[0].replace("/", ".")


def _claim(subscriber: TimersSubscriber, timers: Sequence[EncodedTimer]) -> Any:
    now = time.time()
    score = b"%.6f" % now

    def answer(call: Call) -> Step:
        # Nothing is ever pending: scheduled timers are claimed, and settled ones are done.
        claimed = [Claimed(one.timer_id.encode(), one.payload, score) for one in timers]
        if driver.counts_attempts:
            claimed = [one._replace(attempt=1, first_due=score) for one in claimed]
        outcomes = bytes([Outcome.DONE]) * len(call.settlements)
        return Step(now, lease_text(now, 0), None, outcomes, claimed if call.limit else [], [])

    driver = OneByOne(subscriber, answer, lambda: now)
    # They are due, and have all attempts left.
    return driver.claim()


def _due_at(asked: bytes) -> datetime:
    delta = timedelta(microseconds=int(asked[1:].replace(b".", b"")))
    since = datetime.now(UTC) if asked.startswith(b"+") else datetime(1970, 1, 1, tzinfo=UTC)
    return since + delta
