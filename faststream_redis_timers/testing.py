"""Test handlers without a server: `TestTimersBroker` delivers at once."""

import math
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar
from unittest.mock import patch

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from faststream_redis_timers._faststream import TestBroker
from faststream_redis_timers._run import Runner
from faststream_redis_timers.broker import TimersBroker
from faststream_redis_timers.publisher.producer import TimersProducer
from faststream_redis_timers.publisher.usecase import TimersPublisher
from faststream_redis_timers.response import TimerPublishCommand
from faststream_redis_timers.subscriber.delivery import TimerDelivery
from faststream_redis_timers.subscriber.usecase import TimersSubscriber
from faststream_redis_timers_sync.protocol.clients import check_pipeline
from faststream_redis_timers_sync.protocol.envelope import read_envelope
from faststream_redis_timers_sync.protocol.model import (
    Claimed,
    EncodedTimer,
    TimerPublishMessage,
)
from faststream_redis_timers_sync.protocol.operations import Operation, as_publish_message

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ScheduledTimer:
    """What a test has scheduled.

    Args:
        topic: The full topic.
        timer_id: The timer's id.
        activate_at: When it would be due, in UTC, by this machine's clock.
        body: The message, not encoded.
        correlation_id: Its correlation id.
        headers: Its headers, as they were given.
    """

    topic: str
    timer_id: str
    activate_at: datetime
    body: Any
    correlation_id: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)


class TestTimersBroker(TestBroker[TimersBroker, Any], broker=TimersBroker):
    """Runs brokers without a server: what is scheduled is delivered at once.

    Nothing is ever pending. A handler that schedules its own timer again is called
    again, ten times at most: what comes then is recorded only, or it would never
    end. An exception of a handler comes out of `publish`.

    Args:
        *brokers: The brokers to test.
        with_real: Run on their real server instead.
        connect_only: Do not start them; FastStream's `TestApp` will.
    """

    scheduled_timers: list[ScheduledTimer]
    """All that was scheduled, in order."""

    def __init__(
        self, *brokers: TimersBroker, with_real: bool = False, connect_only: bool | None = None
    ) -> None:
        """Begin with nothing scheduled."""
        super().__init__(*brokers, with_real=with_real, connect_only=connect_only)
        self.scheduled_timers = []

    def _fake_start(self, broker: TimersBroker, *args: Any, **kwargs: Any) -> None:
        before = {subscriber: subscriber.running for subscriber in broker.subscribers}
        super()._fake_start(broker, *args, **kwargs)
        if self.with_real:
            # The real start is yet to come, and passes over those that are running.
            for subscriber in broker.subscribers:
                subscriber.running = before.get(subscriber, False)

    def create_publisher_fake_subscriber(
        self, broker: TimersBroker, publisher: TimersPublisher
    ) -> tuple[TimersSubscriber, bool]:
        """Find the subscriber of a publisher's topic, or make one.

        Args:
            broker: The publisher's broker.
            publisher: The publisher.

        Returns:
            The subscriber, and whether it is a real one.
        """
        for subscriber in _subscribers(self.brokers, publisher.topic):
            return subscriber, True
        topic = publisher.topic.removeprefix(broker.config.prefix)
        return broker.subscriber(topic, persistent=False), False

    @contextmanager
    def _patch_producer(self, broker: TimersBroker) -> Generator[None, None, None]:
        config = broker.config.broker_config
        producer = _DeliveringProducer(config.producer, self.brokers, self.scheduled_timers)
        with (
            # FastStream's own change_producer leaves it in place after an exception.
            patch.object(config, "producer", producer),
            patch.object(config.connection, "_runner", _EmptyServer()),
        ):
            yield

    async def _fake_connect(self, broker: TimersBroker, *args: Any, **kwargs: Any) -> Any:
        config = broker.config.broker_config
        config.producer.connect(config.fd_config._serializer)  # noqa: SLF001  as the broker does
        return config.connection.runner.client


def _subscribers(brokers: tuple[TimersBroker, ...], topic: str) -> Iterator[TimersSubscriber]:
    for broker in brokers:
        for subscriber in broker.subscribers:
            if isinstance(subscriber, TimersSubscriber) and subscriber.topic == topic:
                yield subscriber


_MOST_NESTED = 10


class _DeliveringProducer(TimersProducer):
    """Encodes like the broker's producer, and delivers instead of scheduling."""

    def __init__(
        self,
        real: TimersProducer,
        brokers: tuple[TimersBroker, ...],
        scheduled: list[ScheduledTimer],
    ) -> None:
        self.__dict__.update(real.__dict__)
        self._brokers = brokers
        self._scheduled = scheduled
        self._in_hand: Counter[tuple[str, str]] = Counter()

    async def publish(self, cmd: TimerPublishCommand) -> str:
        timer = await self.encode(cmd)
        self._check(cmd, [timer])
        message = TimerPublishMessage(cmd.body)
        await self._deliver(cmd, message, timer)
        return timer.timer_id

    async def publish_batch(self, cmd: TimerPublishCommand) -> list[str]:
        timers = await self.encode_batch(cmd)
        self._check(cmd, timers)
        for message, timer in zip(map(as_publish_message, cmd.batch_bodies), timers, strict=True):
            await self._deliver(cmd, message, timer)
        return [timer.timer_id for timer in timers]

    def _check(self, cmd: TimerPublishCommand, timers: list[EncodedTimer]) -> None:
        """Refuse what the broker's producer refuses."""
        self._operations.schedule_batch(cmd.destination, timers, cmd.if_exists)
        if cmd.pipeline is not None:
            check_pipeline(cmd.pipeline, Pipeline, if_exists=cmd.if_exists)

    async def _deliver(
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
            )
        )
        in_hand = (cmd.destination, timer.timer_id)
        if self._in_hand[in_hand] >= _MOST_NESTED:
            return
        now = time.time()
        delivery = TimerDelivery(
            cmd.destination,
            Claimed(timer.timer_id.encode(), timer.payload, b"%.6f" % now),
            read_envelope(timer.payload),
            lease=b"",
            lease_ends_at=math.inf,
            claimed_at=now,
            settle=None,
        )
        self._in_hand[in_hand] += 1
        try:
            for subscriber in _subscribers(self._brokers, cmd.destination):
                await subscriber.process_message(delivery)
        finally:
            self._in_hand[in_hand] -= 1


def _due_at(asked: bytes) -> datetime:
    delta = timedelta(microseconds=int(asked[1:].replace(b".", b"")))
    since = datetime.now(UTC) if asked.startswith(b"+") else datetime(1970, 1, 1, tzinfo=UTC)
    return since + delta


class _EmptyServer(Runner):
    """Answers every operation as a server without timers does."""

    _ANSWERS: ClassVar[dict[str, bytes | int]] = {
        "cancel": b"0",
        "cancel_all": 0,
        "count": 0,
        "exists": 0,
        "get": b"- 0\n",
        "page": b"0\n",
        "reschedule": b"0",
        "scan": b"0\n",
    }

    def __init__(self) -> None:
        super().__init__(Redis())

    async def run(self, operation: Operation[_T], timeout: float | None = None) -> _T:
        return operation.parse(self._ANSWERS[operation.script.name])
