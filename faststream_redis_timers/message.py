"""The messages that handlers get: one timer, or a batch of timers."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, overload

from faststream.message import StreamMessage

from faststream_redis_timers.delivered import TimerBatchDelivery, TimerDelivery
from faststream_redis_timers_sync.protocol.recurrence import Repeat


class TimerMessage(StreamMessage[TimerDelivery]):
    """A delivered timer; its `message_id` is the timer's id."""

    @property
    def timer_id(self) -> str:
        """The timer's id."""
        return self.raw_message.timer_id

    @property
    def topic(self) -> str:
        """The full topic, prefixes included."""
        return self.raw_message.topic

    @property
    def due_at(self) -> datetime:
        """When it was due, in UTC.

        If attempts are counted, this is the first due time. Otherwise, for a redelivery it is
        the time at which its last lease ended, or to which a ``NackMessage`` delayed it.

        For a recurring timer it is `occurrence`, or the due time above if that is later and not
        the end of a lease.
        """
        return self.raw_message.due_at

    @property
    def lateness(self) -> float:
        """Seconds from `due_at` to its claim, both by the server's clock."""
        return self.raw_message.lateness

    @property
    def repeat(self) -> Repeat | None:
        """The definition of a recurring timer; None for others."""
        return self.raw_message.repeat

    @property
    def occurrence(self) -> datetime | None:
        """The latest time of its series when it was claimed, in UTC, however many were missed.

        None if it is not a recurring timer, or its first time has not come yet. For a redriven
        occurrence it is the time of the one that was dead-lettered.
        """
        return self.raw_message.occurrence

    @property
    def redelivered(self) -> bool:
        """Whether the lease of an earlier delivery expired, or an earlier attempt failed.

        If attempts are not counted, it is False after a handler raised.
        """
        return self.raw_message.redelivered

    @property
    def attempt(self) -> int | None:
        """Which attempt this is, from 1.

        None if attempts are not counted: the subscriber has neither a `retry_policy`
        nor a `dead_letter_topic`.
        """
        return self.raw_message.attempt

    @property
    def lease_lost(self) -> bool:
        """Whether this worker has lost the timer: stop if that matters.

        The lease has expired or could not be renewed. If another worker has claimed the timer,
        or it was cancelled, rescheduled or replaced, a commit has no effect. If the lease has only
        expired, and no other worker has claimed the timer yet, a commit still removes it.
        """
        return self.raw_message.lease_lost

    async def renew(self, lease_ttl: float | None = None) -> bool:
        """Renew the lease, unless it already lasts that long.

        Args:
            lease_ttl: Seconds from now; None means the subscriber's `lease_ttl`.

        Returns:
            Whether this worker still has the lease.

        Raises:
            TypeError: `lease_ttl` is not a number.
            ValueError: It is out of range.
        """
        return await self.raw_message.renew(lease_ttl)

    async def ack(self) -> None:
        """Commit the timer, which removes it from Redis if it still has this lease.

        A recurring timer stays, and is due at its next time.
        """
        if self.committed is None:
            await self.raw_message.commit()
        await super().ack()

    async def nack(self, delay: timedelta | None = None) -> None:
        """Fail this attempt: the timer is retried, if it has attempts left.

        Args:
            delay: Delay until the retry. None means that of the retry policy or, without one,
                until its lease would have ended.

        Raises:
            TypeError: `delay` is not a timedelta.
        """
        if self.committed is None:
            await self.raw_message.nack(delay)
        await super().nack()

    async def reject(self) -> None:
        """Reject the timer: it is dead-lettered or, without a dead-letter topic, removed.

        A recurring timer also stays, and is due at its next time.
        """
        if self.committed is None:
            await self.raw_message.reject()
        await super().reject()

    def __repr__(self) -> str:
        """Return topic and ids; body and headers may be secret."""
        return (
            f"{type(self).__name__}(topic={self.topic!r}, timer_id={self.timer_id!r}, "
            f"correlation_id={self.correlation_id!r})"
        )


class TimerBatchMessage(StreamMessage[TimerBatchDelivery]):
    """Timers that are handled together; a subscriber with `batch` passes them to its handlers.

    `body` is a list of bytes. `headers`, `correlation_id` and `message_id` are those of the
    first timer; `batch_headers` and `timers` have those of each. `reply_to` is empty.
    """

    body: list[bytes]
    _batch_headers: list[dict[str, Any]] | None = None

    @property
    def topic(self) -> str:
        """The full topic, prefixes included."""
        return self.raw_message.topic

    async def decode(self) -> Any:
        """Decode the bodies to a list, unless the application's decoder returns another type."""
        decoded = await super().decode()
        self.raw_message.count_of_bodies = len(decoded) if isinstance(decoded, list) else None
        return decoded

    @property
    def timers(self) -> "BatchedTimers":
        """The timers, in the order of the bodies."""
        return BatchedTimers(self.raw_message)

    @property
    def batch_headers(self) -> list[dict[str, Any]]:
        """The headers of each timer, in the order of the bodies."""
        if self._batch_headers is None:
            self._batch_headers = [
                dict(delivery.envelope.headers) for delivery in self.raw_message.deliveries
            ]
        return self._batch_headers

    @batch_headers.setter
    def batch_headers(self, batch_headers: list[dict[str, Any]]) -> None:
        # FastStream passes an empty list where it got none.
        self._batch_headers = batch_headers or None

    @property
    def is_split(self) -> bool:
        """Whether these timers were part of a batch that has just failed.

        That call may have already done some of their work.
        """
        return self.raw_message.is_split

    @property
    def redelivered(self) -> bool:
        """Whether a handler may have started any of them before: `is_split`, or an attempt.

        It does not know about timers that were released after a failed call.
        """
        return self.raw_message.redelivered

    @property
    def lease_lost(self) -> bool:
        """Whether this worker has lost one of the timers, see `BatchedTimer.lease_lost`."""
        return any(delivery.lease_lost for delivery in self.raw_message.deliveries)

    async def ack(self) -> None:
        """Mark all unmarked timers as done, see `BatchedTimer.ack`."""
        await self.raw_message.mark_ack()
        await super().ack()

    async def nack(self, delay: timedelta | None = None) -> None:
        """Mark all unmarked timers as failed, see `BatchedTimer.nack`.

        Args:
            delay: See `BatchedTimer.nack`.

        Raises:
            TypeError: `delay` is not a timedelta.
            ValueError: It is longer than 365,250 days.
        """
        await self.raw_message.mark_nack(delay=delay)
        await super().nack()

    async def reject(self) -> None:
        """Mark all unmarked timers as rejected, see `BatchedTimer.reject`."""
        await self.raw_message.mark_reject()
        await super().reject()

    def __repr__(self) -> str:
        """Return topic and number; bodies and headers may be secret."""
        return f"{type(self).__name__}(topic={self.topic!r}, {len(self.body)} timers)"


class BatchedTimers(Sequence["BatchedTimer"]):
    """The timers of a batch, each created on access.

    Args:
        batch: The batch.
    """

    __slots__ = ("_batch",)

    def __init__(self, batch: TimerBatchDelivery) -> None:
        """Store the batch."""
        self._batch = batch

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._batch.deliveries)

    @overload
    def __getitem__(self, index: int) -> "BatchedTimer": ...

    @overload
    def __getitem__(self, index: slice) -> "list[BatchedTimer]": ...

    def __getitem__(self, index: int | slice) -> "BatchedTimer | list[BatchedTimer]":
        """Return the timer at an index, or those of a slice."""
        places = range(len(self))[index]
        if isinstance(places, int):
            return BatchedTimer(self._batch, places)
        return [BatchedTimer(self._batch, place) for place in places]

    def __repr__(self) -> str:
        """Return topic and number."""
        return f"{type(self).__name__}(topic={self._batch.topic!r}, {len(self)} timers)"


class BatchedTimer:
    """A timer of a batch, which can have its own outcome.

    A mark decides the outcome: `ack`, `nack` or `reject`; the first one counts. With
    ``AckPolicy.MANUAL`` it is sent immediately and awaited. With other policies it is sent when
    the handler has ended, whether it raises or not. With ``AckPolicy.ACK_FIRST`` the timer was
    committed before, so a mark has no effect.

    Args:
        batch: Its batch.
        index: Its index in the batch.
    """

    __slots__ = ("_batch", "_delivery", "_index")

    def __init__(self, batch: TimerBatchDelivery, index: int) -> None:
        """Store both."""
        self._batch = batch
        self._index = index
        self._delivery: TimerDelivery = batch.deliveries[index]

    @property
    def timer_id(self) -> str:
        """The timer's id."""
        return self._delivery.timer_id

    @property
    def headers(self) -> dict[str, str]:
        """Its headers."""
        return dict(self._delivery.envelope.headers)

    @property
    def attempt(self) -> int | None:
        """See `TimerMessage.attempt`."""
        return self._delivery.attempt

    @property
    def due_at(self) -> datetime:
        """See `TimerMessage.due_at`."""
        return self._delivery.due_at

    @property
    def lateness(self) -> float:
        """See `TimerMessage.lateness`."""
        return self._delivery.lateness

    @property
    def redelivered(self) -> bool:
        """See `TimerMessage.redelivered`."""
        return self._delivery.redelivered

    @property
    def repeat(self) -> Repeat | None:
        """See `TimerMessage.repeat`."""
        return self._delivery.repeat

    @property
    def occurrence(self) -> datetime | None:
        """See `TimerMessage.occurrence`."""
        return self._delivery.occurrence

    @property
    def lease_lost(self) -> bool:
        """See `TimerMessage.lease_lost`."""
        return self._delivery.lease_lost

    async def ack(self) -> None:
        """Mark it as done: it is committed. A recurring timer is due at its next time."""
        await self._batch.mark_ack(self._index)

    async def nack(self, delay: timedelta | None = None) -> None:
        """Mark it as failed: it is retried, if it has attempts left.

        Args:
            delay: Delay until the retry. None means that of the retry policy or, without one,
                until its lease would have ended.

        Raises:
            TypeError: `delay` is not a timedelta.
            ValueError: It is longer than 365,250 days.
        """
        await self._batch.mark_nack(self._index, delay)

    async def reject(self) -> None:
        """Mark it as rejected: it is dead-lettered or, without a dead-letter topic, removed.

        A recurring timer also stays, and is due at its next time.
        """
        await self._batch.mark_reject(self._index)

    def __repr__(self) -> str:
        """Return topic and id; body and headers may be secret."""
        return f"{type(self).__name__}(topic={self._batch.topic!r}, timer_id={self.timer_id!r})"
