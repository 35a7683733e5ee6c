"""`FakeTimersClient`: test code that schedules and cancels timers, without a server.

The pytest fixture `timers` returns one (`pytest_plugin`).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import redis
from redis.client import Pipeline

from faststream_redis_timers_sync._memory import MemoryRunner
from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.protocol.keys import (
    DEFAULT_ATTEMPTS_KEY,
    DEFAULT_PAYLOADS_KEY,
    DEFAULT_SERIES_KEY,
    DEFAULT_TIMELINE_KEY,
    prefixed,
)
from faststream_redis_timers_sync.protocol.memory.timers import (
    ScheduledTimer,
    TimersMemory,
    no_server_for,
)
from faststream_redis_timers_sync.protocol.model import EncodedTimer, Timer
from faststream_redis_timers_sync.protocol.replication import DEFAULT_CONFIRM_TIMEOUT

__all__ = ("FakePipeline", "FakeTimersClient", "ScheduledTimer")


class FakeTimersClient(TimersClient):
    """A `TimersClient` that keeps its timers in memory, for tests.

    It checks and encodes arguments, assigns ids and resolves times like `TimersClient`. Nothing is
    delivered: a timer waits until it is cancelled, or a test removes it with `pop_due`.

    Its clock is this machine's, which freezegun can freeze and `advance` moves forward.

    It refuses redis-py pipelines, whose server does not have these timers; test code that uses one
    with a `TimersClient` on that server. `pipeline` returns its own kind of pipeline.

    `faststream_redis_timers.TestTimersBroker` can deliver its timers:
    ``TestTimersBroker(broker, hold=True, client=timers)``.

    Args:
        timeline_key: As in `TimersClient`.
        payloads_key: As in `TimersClient`.
        attempts_key: As in `TimersClient`.
        series_key: As in `TimersClient`.
        hash_tags: As in `TimersClient`.
        prefix: As in `TimersClient`.
        confirm_replicas: As in `TimersClient`; here all replicas confirm.
        confirm_timeout: As in `TimersClient`.

    Attributes:
        memory: Holds its timers.
        scheduled: All timers that were scheduled, in order, including those replaced, rescheduled
            or cancelled since, but without those that ``if_exists="keep"`` dropped.
        cancelled: All waiting timers that were cancelled, in order. Ids that were not waiting are
            not included.
    """

    memory: TimersMemory
    scheduled: list[ScheduledTimer]
    cancelled: list[ScheduledTimer]

    def __init__(  # noqa: PLR0913  as `TimersClient`
        self,
        *,
        timeline_key: str = DEFAULT_TIMELINE_KEY,
        payloads_key: str = DEFAULT_PAYLOADS_KEY,
        attempts_key: str = DEFAULT_ATTEMPTS_KEY,
        series_key: str = DEFAULT_SERIES_KEY,
        hash_tags: bool = False,
        prefix: str = "",
        confirm_replicas: int | None = None,
        confirm_timeout: float = DEFAULT_CONFIRM_TIMEOUT,
    ) -> None:
        """Start without timers."""
        super().__init__(
            # Nothing connects to it.
            "redis://in-memory.invalid",
            timeline_key=timeline_key,
            payloads_key=payloads_key,
            attempts_key=attempts_key,
            series_key=series_key,
            hash_tags=hash_tags,
            prefix=prefix,
            confirm_replicas=confirm_replicas,
            confirm_timeout=confirm_timeout,
        )
        self.memory = TimersMemory()
        self._runner = MemoryRunner(self._runner.client, self.memory, self._runner.confirmation)
        self.scheduled = self.memory.scheduled
        self.cancelled = self.memory.cancelled

    def now(self) -> datetime:
        """Return the time by which timers are due, in UTC."""
        return self.memory.clock.now()

    def advance(self, by: timedelta) -> None:
        """Move the clock forward.

        Args:
            by: How far.

        Raises:
            TypeError: It is not a timedelta.
            ValueError: It is negative, or longer than a thousand years.
        """
        with self.memory.lock:
            self.memory.clock.advance(by)

    def pop_due(self, topic: str) -> list[Timer]:
        """Remove and return the due timers, like workers whose handlers return.

        Recurring timers stay, due at the next time after now. Occurrences that passed meanwhile
        share one delivery, so move the clock by less than the period to see each.

        Args:
            topic: The topic.

        Returns:
            The timers, in order of due time.

        Raises:
            ValueError: The topic is empty.
        """
        keys = self._operations.keys.of(prefixed(self._prefix, topic))
        with self.memory.lock:
            due = list(self.iter_timers(topic, before=self.now()))
            self.memory.finish(keys, due)
        return due

    def clear(self) -> None:
        """Remove all timers, empty `scheduled` and `cancelled`, and reset the clock."""
        self.memory.clear()

    def pipeline(self) -> "FakePipeline":
        """Return a pipeline for ``pipeline=``, whose calls take effect when it is executed."""
        return FakePipeline(self.memory)

    def ping(self) -> bool:
        """Return True: the memory always replies."""
        return True

    def _note(self, messages: Sequence[Any], timers: Sequence[EncodedTimer]) -> None:
        self.memory.remember(messages, timers)


class FakePipeline(Pipeline):
    """A pipeline for calls of one `FakeTimersClient`, and no other commands.

    Args:
        memory: The memory on which `execute` runs the calls in order.
    """

    def __init__(self, memory: TimersMemory) -> None:
        """Start empty, with a pool that is never asked for a connection."""
        super().__init__(redis.ConnectionPool(), {}, None, None)
        self.memory = memory

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Refuse a command of a server.

        Raises:
            NotImplementedError: Always.
        """
        raise no_server_for(args[0])

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002  as redis-py
        """Run the calls of the pipeline.

        Args:
            raise_on_error: Has no effect: nothing fails.

        Returns:
            The replies, as a server would send them.
        """
        operations, self.command_stack = self.command_stack, []
        return self.memory.answer_all(operations)
