"""`TestTimersBroker`: prepares brokers for a test, and restores them afterwards.

`immediate` and `virtual_time` deliver the timers.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Protocol, overload
from unittest.mock import patch

from faststream.exceptions import IncorrectState

from faststream_redis_timers._faststream import EnterType, TestBroker
from faststream_redis_timers.broker import TimersBroker
from faststream_redis_timers.publisher.usecase import TimersPublisher
from faststream_redis_timers.subscriber.usecase import TimersSubscriber
from faststream_redis_timers.testing.immediate import (
    EmptyRunner,
    ImmediateProducer,
    subscribers_of,
)
from faststream_redis_timers.testing.memory import MemoryPipeline, MemoryRedis, MemoryRunner
from faststream_redis_timers.testing.scheduled import ScheduledTimer, as_scheduled
from faststream_redis_timers.testing.virtual_time import VirtualTimeDelivery, VirtualTimeProducer
from faststream_redis_timers_sync.protocol.memory import timers as memory
from faststream_redis_timers_sync.protocol.memory.timers import TimersMemory


class HasMemory(Protocol):
    """A `FakeTimersClient`, which this package must not import."""

    memory: TimersMemory


_is_beside_a_worker = ContextVar("_is_beside_a_worker", default=False)


class _Beside:
    """Part of a running worker whose handlers are tested: the test's inside its block, else real.

    So a timer that another handler or a request schedules meanwhile is not lost.
    """

    def __init__(self, test: Any, real: Any) -> None:
        self._test = test
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._test if _is_beside_a_worker.get() else self._real, name)


class TestTimersBroker(TestBroker[TimersBroker, EnterType], broker=TimersBroker):
    """Runs brokers without a server; commands on their Redis client are refused.

    Timers are delivered as soon as they are scheduled, so nothing is ever pending except
    declared series (`TimersBroker.add_series`), which are recorded but not run. A handler that
    schedules its own timer again is called again, at most ten times; further timers are only
    recorded, as this would never end. `publish` raises the exceptions of handlers.

    With `hold` timers wait until the test moves time with `advance`. All operations return
    what they return with a server, and timers are settled as in production.

    Args:
        *brokers: The brokers to test.
        with_real: Whether to use their real server, with mocks; nothing is recorded.
        connect_only: Whether to only connect them, since FastStream's `TestApp` starts them.
        hold: Whether timers wait until the test moves time.
        client: A `FakeTimersClient` of the blocking package, which then shares its timers with
            the brokers, as on one server. It needs `hold`.

    Raises:
        ValueError: `hold` is combined with `with_real`, or `client` lacks `hold`.
    """

    scheduled_timers: list[ScheduledTimer]
    """All scheduled timers, in order. With `hold`, each is as it was when scheduled, even if it
    was rescheduled, replaced or cancelled since; those that ``if_exists="keep"`` dropped are
    left out."""

    @overload
    def __init__(
        self: "TestTimersBroker[TimersBroker]",
        broker: TimersBroker,
        /,
        *,
        with_real: bool = False,
        connect_only: bool | None = None,
        hold: bool = False,
        client: HasMemory | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: "TestTimersBroker[tuple[TimersBroker, ...]]",
        *brokers: TimersBroker,
        with_real: bool = False,
        connect_only: bool | None = None,
        hold: bool = False,
        client: HasMemory | None = None,
    ) -> None: ...

    def __init__(
        self,
        *brokers: TimersBroker,
        with_real: bool = False,
        connect_only: bool | None = None,
        hold: bool = False,
        client: HasMemory | None = None,
    ) -> None:
        """Start with nothing scheduled."""
        super().__init__(*brokers, with_real=with_real, connect_only=connect_only)
        if hold and with_real:
            msg = "hold=True can't be used with with_real=True: a real server's time can't be moved"
            raise ValueError(msg)
        if client is not None and not hold:
            msg = "client= needs hold=True: its timers wait until time is moved"
            raise ValueError(msg)
        self.scheduled_timers = []
        self._memory = TimersMemory() if client is None else client.memory
        self._memory.on_scheduled.append(self._record)
        self._virtual_time = VirtualTimeDelivery(self._memory, brokers) if hold else None
        self._is_entered = False

    def now(self) -> datetime:
        """Return the test's time, in UTC: that of this machine, moved by `advance`."""
        return self._memory.clock.now()

    async def advance(self, by: timedelta = timedelta(0), *, raise_errors: bool = True) -> None:
        """Move time forward, and deliver timers that become due, in order of due time.

        Handlers run one after another. While one runs, the clock stands at the due time of its
        timer: what it schedules counts from there, and also fires if it is due before the end.
        If a topic has several subscribers, one of them gets each timer, as on a server. Tasks
        that a handler starts get a few turns of the event loop, and are not awaited.

        An error of a handler ends the move, after its timer is settled by its policy. Time
        then stands where the error happened. By default the timer is due again after the
        lease (30 seconds): move time by that to test the retry.

        Args:
            by: How far; by default time does not move, and timers that are due now are delivered.
            raise_errors: Whether to raise the errors of handlers. If False they are
                ignored, and all retries up to the end take place.

        Raises:
            IncorrectState: It was called without `hold`, outside the block, or
                by a handler.
            TypeError: `by` is not a timedelta.
            ValueError: `by` is negative.
            RuntimeError: 10,000 timers have fired in this move (recurring ones: within a second of
                it), so it would not end.
            Exception: The error of a handler.
        """
        if self._virtual_time is None:
            msg = (
                "advance() needs TestTimersBroker(..., hold=True): without it, timers fire at once"
            )
            raise IncorrectState(msg)
        if not self._is_entered:
            msg = "advance() works only inside the `async with` block"
            raise IncorrectState(msg)
        await self._virtual_time.advance(by, raise_errors=raise_errors)

    def pipeline(self) -> MemoryPipeline:
        """Return a pipeline for ``pipeline=``; its calls take effect when it is executed.

        With `hold` no other pipeline is accepted, since its server does not have these timers.
        """
        return MemoryRedis(self._memory).pipeline()

    def _record(self, timer: memory.ScheduledTimer) -> None:
        self.scheduled_timers.append(as_scheduled(timer))

    # --- FastStream's

    async def __aenter__(self) -> EnterType:
        self._were_running = {
            subscriber
            for broker in self.brokers
            for subscriber in broker.subscribers
            if subscriber.running
        }
        _is_beside_a_worker.set(bool(self._were_running))
        entered = await super().__aenter__()
        self._is_entered = True
        return entered

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        self._is_entered = False
        await super().__aexit__(exc_type, exc_val, exc_tb)
        _is_beside_a_worker.set(False)

    @contextmanager
    def _patch_broker(self, broker: TimersBroker) -> Generator[None, None, None]:
        is_started = False

        async def start() -> None:
            nonlocal is_started
            broker._check_owner()  # noqa: SLF001  as the real start
            self._fake_start(broker)
            # FastStream starts it twice.
            if not is_started:
                is_started = True
                await broker._ensure_declared()  # noqa: SLF001  as the real start

        # Its own start in a test can't await.
        with super()._patch_broker(broker), patch.object(broker, "start", wraps=start):
            yield

    def _fake_start(self, broker: TimersBroker, *args: Any, **kwargs: Any) -> None:
        for subscriber in broker.subscribers:
            # Otherwise what keeps it from starting would only show in production.
            if isinstance(subscriber, TimersSubscriber):
                subscriber.check_setup()
        before = {subscriber: subscriber.running for subscriber in broker.subscribers}
        super()._fake_start(broker, *args, **kwargs)
        if self.with_real:
            # The real start comes later, and skips subscribers that are running: also those
            # created for a publisher, where a caller waits for the timers.
            for_callers = self._topics_for_callers()
            for subscriber in broker.subscribers:
                competes = isinstance(subscriber, TimersSubscriber) and (
                    subscriber.topic in for_callers
                )
                subscriber.running = before.get(subscriber, competes)

    def _topics_for_callers(self) -> set[str]:
        return {
            subscriber.topic
            for broker in self.brokers
            for subscriber in broker.subscribers
            if isinstance(subscriber, TimersSubscriber) and not subscriber.calls
        }

    def _fake_close(self, broker: TimersBroker, *args: Any, **kwargs: Any) -> None:
        # FastStream removes those that it created from the first broker only.
        for subscriber in self._fake_subscribers:
            for one in self.brokers:
                one._subscribers.discard(subscriber)  # noqa: SLF001  as FastStream does
        super()._fake_close(broker, *args, **kwargs)
        for subscriber in broker.subscribers:
            # FastStream leaves all of them stopped, also those of a worker whose handlers
            # somebody tries out on its page.
            subscriber.running = subscriber in self._were_running

    def create_publisher_fake_subscriber(
        self, broker: TimersBroker, publisher: TimersPublisher
    ) -> tuple[TimersSubscriber, bool]:
        """Return the subscriber of a publisher's topic, or create one.

        Args:
            broker: The publisher's broker.
            publisher: The publisher.

        Returns:
            The subscriber, and whether it is the application's.
        """
        for subscriber in subscribers_of(self.brokers, publisher.topic):
            return subscriber, True
        # Also beside a subscriber without handlers: FastStream would add a permanent one.
        topic = publisher.topic.removeprefix(broker.config.prefix)
        return broker.subscriber(topic, persistent=False), False

    @contextmanager
    def _patch_producer(self, broker: TimersBroker) -> Generator[None, None, None]:
        config = broker.config.broker_config
        producer: Any
        runner: Any
        if self._virtual_time is not None:
            producer = VirtualTimeProducer(config.producer, self._memory)
            runner = MemoryRunner(self._memory, config.connection.confirmation)
        else:
            producer = ImmediateProducer(
                config.producer, self.brokers, self.scheduled_timers, self._memory
            )
            runner = EmptyRunner(self._memory, config.connection.confirmation)
        if self._were_running:
            producer = _Beside(producer, config.producer)
            runner = _Beside(runner, config.connection.runner)
        with (
            # FastStream's own change_producer leaves it in place after an exception.
            patch.object(config, "producer", producer),
            patch.object(config.connection, "_runner", runner),
            patch.object(config.connection, "_loop", None),
        ):
            yield

    async def _fake_connect(self, broker: TimersBroker, *args: Any, **kwargs: Any) -> Any:
        config = broker.config.broker_config
        config.producer.connect(config.fd_config._serializer)  # noqa: SLF001  as the broker does
        return config.connection.runner.client
