"""The message that a handler gets."""

from datetime import datetime, timedelta

from faststream.message import StreamMessage

from faststream_redis_timers.delivered import TimerDelivery
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

        Where attempts are counted it is the first due time. Else for a redelivery it is
        when its last lease ended, or the delay that a ``NackMessage`` asked for.

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
        """When it is due again and again, for a recurring timer; else None."""
        return self.raw_message.repeat

    @property
    def occurrence(self) -> datetime | None:
        """The last time of its series at its claim, in UTC, however many have passed.

        None where it is no recurring timer, or its first time has not come yet. For an occurrence
        that was redriven it is the one which was dead-lettered.
        """
        return self.raw_message.occurrence

    @property
    def redelivered(self) -> bool:
        """Whether a worker held it before and did not finish.

        Where attempts are not counted a ``NackMessage`` with a delay makes it False again.
        """
        return self.raw_message.redelivered

    @property
    def attempt(self) -> int | None:
        """Which attempt this is, from 1.

        None where attempts are not counted: the subscriber has neither a `retry_policy`
        nor a topic for dead letters.
        """
        return self.raw_message.attempt

    @property
    def lease_lost(self) -> bool:
        """Whether the timer is no longer this worker's: stop where that matters.

        Its lease has ended, or could not be renewed: another worker has claimed it, or
        it was cancelled, moved or scheduled anew. Its commit will do nothing.
        """
        return self.raw_message.lease_lost

    async def renew(self, lease_ttl: float | None = None) -> bool:
        """Extend the lease, unless it lasts that long anyhow.

        Args:
            lease_ttl: Seconds from now; None means the subscriber's `lease_ttl`.

        Returns:
            Whether the timer still is this worker's.

        Raises:
            TypeError: `lease_ttl` is no number.
            ValueError: It is out of range.
        """
        return await self.raw_message.renew(lease_ttl)

    async def ack(self) -> None:
        """Commit the timer, if it still has this lease: it leaves Redis.

        A recurring one stays, and is due at its next time.
        """
        if self.committed is None:
            await self.raw_message.commit()
        await super().ack()

    async def nack(self, delay: timedelta | None = None) -> None:
        """Keep the timer for another try, if it has any left.

        Args:
            delay: When; None means after the delay of the retry policy, and without
                one when its lease would have ended.

        Raises:
            TypeError: `delay` is not a timedelta.
        """
        if self.committed is None:
            await self.raw_message.nack(delay)
        await super().nack()

    async def reject(self) -> None:
        """Never try it again: it becomes a dead letter, or is removed without a topic for them.

        A recurring one stays beside that, and is due at its next time.
        """
        if self.committed is None:
            await self.raw_message.reject()
        await super().reject()

    def __repr__(self) -> str:
        """Name topic and ids; body and headers may be secret."""
        return (
            f"{type(self).__name__}(topic={self.topic!r}, timer_id={self.timer_id!r}, "
            f"correlation_id={self.correlation_id!r})"
        )
