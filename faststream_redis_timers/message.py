"""The message that a handler gets."""

from datetime import datetime, timedelta

from faststream.message import StreamMessage

from faststream_redis_timers.subscriber.delivery import TimerDelivery


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
        """When it was due, in UTC; for a redelivery when its last lease ended."""
        return self.raw_message.due_at

    @property
    def lateness(self) -> float:
        """Seconds from `due_at` to its claim, both by the server's clock."""
        return self.raw_message.lateness

    @property
    def redelivered(self) -> bool:
        """Whether a worker held it before and did not finish."""
        return self.raw_message.redelivered

    async def ack(self) -> None:
        """Commit the timer: it leaves Redis, if it still has this lease."""
        if self.committed is None:
            await self.raw_message.commit()
        await super().ack()

    async def nack(self, delay: timedelta | None = None) -> None:
        """Keep the timer for another try.

        Args:
            delay: When; None means when its lease would have ended.

        Raises:
            TypeError: `delay` is not a timedelta.
        """
        if self.committed is None:
            await self.raw_message.nack(delay)
        await super().nack()

    async def reject(self) -> None:
        """Drop the timer for good, if it still has this lease."""
        if self.committed is None:
            await self.raw_message.commit()
        await super().reject()

    def __repr__(self) -> str:
        """Name topic and ids; body and headers may be secret."""
        return (
            f"{type(self).__name__}(topic={self.topic!r}, timer_id={self.timer_id!r}, "
            f"correlation_id={self.correlation_id!r})"
        )
