"""`TestTimersBroker`: puts brokers into a test, and back out of it.

How timers are delivered stands in `at_once` and `held`.
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
from faststream_redis_timers.testing.at_once import (
    DeliveringProducer,
    EmptyRunner,
    subscribers_of,
)
from faststream_redis_timers.testing.held import HeldDelivery, HoldingProducer
from faststream_redis_timers.testing.memory import MemoryPipeline, MemoryRedis, MemoryRunner
from faststream_redis_timers.testing.scheduled import ScheduledTimer, as_scheduled
from faststream_redis_timers_sync.protocol.memory import timers as memory
from faststream_redis_timers_sync.protocol.memory.timers import TimersMemory


class HasMemory(Protocol):
    """A `FakeTimersClient`, of which this package must know nothing."""

    memory: TimersMemory


_is_beside_a_worker = ContextVar("_is_beside_a_worker", default=False)


class _Beside:
    """A part of a worker whose handlers are tried out: the test's in its block, real elsewhere.

    So a timer that another handler or a request schedules meanwhile is not lost.
    """

    def __init__(self, test: Any, real: Any) -> None:
        self._test = test
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._test if _is_beside_a_worker.get() else self._real, name)


class TestTimersBroker(TestBroker[TimersBroker, EnterType], broker=TimersBroker):
    """Runs brokers without a server; commands of their Redis client are refused.

    What is scheduled is delivered at once, and nothing is ever pending but declared series
    (`TimersBroker.add_series`), which are recorded and not run. A handler that
    schedules its own timer again is called again, ten times at most: what comes then is
    recorded only, or it would never end. An exception of a handler comes out of `publish`.

    With `hold` timers wait until the test moves time with `advance`. All operations answer
    as a server's do, and what becomes of a timer whose handler has ended is what becomes
    of it in production.

    Args:
        *brokers: The brokers to test.
        with_real: Run on their real server instead, with mocks; nothing is recorded.
        connect_only: Do not start them; FastStream's `TestApp` will.
        hold: Keep timers until the test moves time.
        client: A `FakeTimersClient` of the blocking package. Its timers and those of
            the brokers are then the same ones, as on one server. It needs `hold`.

    Raises:
        ValueError: `hold` was given with `with_real`, or `client` without `hold`.
    """

    scheduled_timers: list[ScheduledTimer]
    """All that was scheduled, in order. With `hold`: as it was then, though it was moved,
    replaced or cancelled since; and not what ``if_exists="keep"`` dropped."""

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
        """Begin with nothing scheduled."""
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
        self._held = HeldDelivery(self._memory, brokers) if hold else None
        self._is_entered = False

    def now(self) -> datetime:
        """Tell the time by which timers are due, in UTC: this machine's, moved by `advance`."""
        return self._memory.clock.now()

    async def advance(self, by: timedelta = timedelta(0), *, raise_errors: bool = True) -> None:
        """Move time on, and deliver what is due on the way, in the order of due times.

        One handler runs after the other. While it runs the clock stands at the time at which
        its timer is due, so what it schedules counts from there, and fires too if it is due
        before the end. Of several subscribers of a topic one gets a timer, as on a server.
        Tasks that it starts get a few turns of the event loop, and are not waited for.

        An error of a handler ends the move, once its timer is settled as its policy
        demands. Time then stands where the error happened; by default the timer is due
        again after the lease (30 seconds): move time by that to test the next try.

        Args:
            by: How far; nothing moves no time and delivers what is due now.
            raise_errors: Whether errors of handlers come out of this. If not they are
                dropped, and all tries take place up to the end.

        Raises:
            IncorrectState: It was called without `hold`, outside of the block, or
                by a handler.
            TypeError: `by` is no timedelta.
            ValueError: `by` is negative.
            RuntimeError: 10,000 timers have fired within a second, so this would not end.
            Exception: What a handler raised.
        """
        if self._held is None:
            msg = (
                "advance() needs TestTimersBroker(..., hold=True): without it, timers fire at once"
            )
            raise IncorrectState(msg)
        if not self._is_entered:
            msg = "advance() works only inside the `async with` block"
            raise IncorrectState(msg)
        await self._held.advance(by, raise_errors=raise_errors)

    def pipeline(self) -> MemoryPipeline:
        """Make a pipeline for ``pipeline=``: what goes into it happens when it is executed.

        With `hold` no other is taken, since its server knows nothing of these timers.
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
            # What keeps it from starting would else be found out in production.
            if isinstance(subscriber, TimersSubscriber):
                subscriber.check_setup()
        before = {subscriber: subscriber.running for subscriber in broker.subscribers}
        super()._fake_start(broker, *args, **kwargs)
        if self.with_real:
            # The real start is yet to come, and passes over those that are running: also
            # over what was made for a publisher, where a caller waits for the timers.
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
        # FastStream takes those that it has made out of the first broker alone.
        for subscriber in self._fake_subscribers:
            for one in self.brokers:
                one._subscribers.discard(subscriber)  # noqa: SLF001  as FastStream does
        super()._fake_close(broker, *args, **kwargs)
        for subscriber in broker.subscribers:
            # FastStream leaves all of them stopped, also those of a worker whose handlers
            # somebody has tried out on its page.
            subscriber.running = subscriber in self._were_running

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
        for subscriber in subscribers_of(self.brokers, publisher.topic):
            return subscriber, True
        # Also beside a subscriber without handlers: FastStream would give it one that stays.
        topic = publisher.topic.removeprefix(broker.config.prefix)
        return broker.subscriber(topic, persistent=False), False

    @contextmanager
    def _patch_producer(self, broker: TimersBroker) -> Generator[None, None, None]:
        config = broker.config.broker_config
        producer: Any
        runner: Any
        if self._held is not None:
            producer = HoldingProducer(config.producer, self._memory)
            runner = MemoryRunner(self._memory, config.connection.confirmation)
        else:
            producer = DeliveringProducer(
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
