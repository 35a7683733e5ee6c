"""What a handler may return, and what publishers send."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from faststream.response import BatchPublishCommand, PublishCommand, PublishType, Response

from faststream_redis_timers_sync.protocol.envelope import HeaderValue, check_headers
from faststream_redis_timers_sync.protocol.model import IfExists
from faststream_redis_timers_sync.protocol.recurrence import Repeat

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline


class TimerResponse(Response):
    """A handler's result that sets the time and id of the timer it becomes.

    Args:
        body: The result.
        activate_in: Delay until its timer is due, by the server's clock.
        activate_at: Time at which its timer is due, with a time zone.
        repeat: Makes its timer recurring, see `TimersBroker.publish`.
        timer_id: The timer's id; None creates one. `repeat` needs it.
        if_exists: What to do if a timer with this id is waiting, see `TimersBroker.publish`.
        headers: Headers of the timer.
        correlation_id: By default that of the handled message; with `repeat` each occurrence has
            its own.
    """

    def __init__(  # noqa: PLR0913  a timer has that many properties
        self,
        body: Any = None,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        repeat: Repeat | None = None,
        timer_id: str | None = None,
        if_exists: IfExists | None = None,
        headers: Mapping[str, HeaderValue] | None = None,
        correlation_id: str | None = None,
    ) -> None:
        """Store the arguments."""
        check_headers(headers)
        super().__init__(body, headers=dict(headers or {}), correlation_id=correlation_id)
        self.activate_in = activate_in
        self.activate_at = activate_at
        self.repeat = repeat
        self.timer_id = timer_id
        self.if_exists = if_exists
        # FastStream sets that of the handled message, which all occurrences would share.
        self._given_correlation_id = correlation_id

    def as_publish_command(self) -> "TimerPublishCommand":
        """Return the command that a publisher sends."""
        return TimerPublishCommand(
            self.body,
            topic="",  # the publisher names it
            timer_id=self.timer_id,
            activate_in=self.activate_in,
            activate_at=self.activate_at,
            repeat=self.repeat,
            if_exists=self.if_exists,
            headers=self.headers,
            correlation_id=(
                self.correlation_id if self.repeat is None else self._given_correlation_id
            ),
            _publish_type=PublishType.PUBLISH,
        )


class TimerPublishCommand(BatchPublishCommand):
    """One or more messages on their way to becoming timers, as middlewares see them.

    Args:
        message: The message.
        *messages: Further messages, of a batch.
        topic: The full topic.
        timer_id: Id of a single timer; None creates one.
        activate_in: Delay until they are due, by the server's clock.
        activate_at: Time at which they are due, with a time zone.
        repeat: Makes them recurring, instead of a time.
        repeat_owner: Owner of a declared series, see `TimersBroker.add_series`.
        default_delay: The publisher's delay, used if none of these is given.
        if_exists: What to do if a timer with the same id is waiting; None replaces it, or
            updates a recurring one.
        pipeline: The caller's pipeline to add the call to.
        headers: Their headers.
        correlation_id: Their correlation id; by default each one's timer id.
        reply_to: Full topic on which the handler's result is scheduled.
    """

    def __init__(  # noqa: PLR0913  a timer has that many properties
        self,
        message: Any,
        /,
        *messages: Any,
        topic: str,
        timer_id: str | None = None,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        repeat: Repeat | None = None,
        repeat_owner: str | None = None,
        default_delay: timedelta | None = None,
        if_exists: IfExists | None = None,
        pipeline: "Pipeline | None" = None,
        headers: Mapping[str, HeaderValue] | None = None,
        correlation_id: str | None = None,
        reply_to: str = "",
        _publish_type: PublishType,
    ) -> None:
        """Store the arguments."""
        check_headers(headers)
        super().__init__(
            message,
            *messages,
            _publish_type=_publish_type,
            destination=topic,
            headers=dict(headers or {}),
            correlation_id=correlation_id,
            reply_to=reply_to,
        )
        self.timer_id = timer_id
        self.activate_in = activate_in
        self.activate_at = activate_at
        self.repeat = repeat
        self.repeat_owner = repeat_owner
        self.default_delay = default_delay
        self.if_exists = if_exists
        self.pipeline = pipeline
        self._is_empty = False

    @property
    def batch_bodies(self) -> tuple[Any, ...]:
        """All messages; None counts as a message."""
        return () if self._is_empty else (self.body, *self.extra_bodies)

    @batch_bodies.setter
    def batch_bodies(self, bodies: Sequence[Any]) -> None:
        self._is_empty = not bodies
        self.body, *more = bodies or (None,)
        self.extra_bodies = tuple(more)

    @classmethod
    def from_cmd(cls, cmd: PublishCommand, *, batch: bool = False) -> "TimerPublishCommand":
        """Return a command as one of this class.

        Args:
            cmd: The command.
            batch: Whether its body is a sequence of messages.
        """
        if isinstance(cmd, TimerPublishCommand):
            return cmd
        body, more = cls._parse_bodies(cmd.body, batch=batch)
        return cls(
            body,
            *more,
            topic=cmd.destination,
            headers=cmd.headers,
            correlation_id=cmd.correlation_id,
            reply_to=cmd.reply_to,
            _publish_type=cmd.publish_type,
        )
