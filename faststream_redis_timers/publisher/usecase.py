"""The publisher of one topic, as a decorator of handlers and as an object."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, cast, overload
from warnings import warn

from faststream.exceptions import FeatureNotSupportedException, SetupError
from faststream.response import PublishCommand, PublishType

from faststream_redis_timers._faststream import (
    HandlerCallWrapper,
    PublisherMiddleware,
    PublisherUsecase,
    PublisherUsecaseConfig,
)
from faststream_redis_timers.configs import TimersBrokerConfig
from faststream_redis_timers.publisher.producer import NO_REQUEST
from faststream_redis_timers.publisher.specification import TimersPublisherSpecification
from faststream_redis_timers.response import TimerPublishCommand
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers_sync.protocol.envelope import HeaderValue, check_headers
from faststream_redis_timers_sync.protocol.keys import prefixed
from faststream_redis_timers_sync.protocol.model import IfExists
from faststream_redis_timers_sync.protocol.recurrence import Repeat

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


@dataclass(kw_only=True)
class TimersPublisherConfig(PublisherUsecaseConfig):
    """How a publisher works.

    Args:
        topic: The topic, without prefixes.
        headers: Headers of all its timers.
        reply_to: Topic for handlers' results, without prefixes.
        activate_in: Delay of timers that have no own time.
    """

    _outer_config: TimersBrokerConfig
    topic: str
    headers: Mapping[str, HeaderValue]
    reply_to: str
    activate_in: timedelta | None


class TimersPublisher(PublisherUsecase):
    """Schedules timers on one topic."""

    _outer_config: TimersBrokerConfig

    def __init__(
        self, config: TimersPublisherConfig, specification: TimersPublisherSpecification
    ) -> None:
        """Store the configuration."""
        super().__init__(config, cast("Any", specification))
        self.config = config

    @property
    def topic(self) -> str:
        """The full topic, prefixes included."""
        return prefixed(self._outer_config.prefix, self.config.topic)

    def __call__(self, func: Callable[_Params, _Result]) -> HandlerCallWrapper[_Params, _Result]:
        """Publish the results of a handler.

        Args:
            func: The handler.

        Raises:
            SetupError: It handles batches.
        """
        if isinstance(func, HandlerCallWrapper):
            # FastStream offers no other way to find this out.
            for subscriber in func._subscribers:  # noqa: SLF001
                sub = getattr(subscriber, "sub", None)
                if isinstance(sub, TimerSub) and sub.batch:
                    raise no_replies(sub.topic)
        return super().__call__(func)

    async def publish(  # noqa: PLR0913  a timer has that many properties
        self,
        message: Any = None,
        topic: str | None = None,
        *,
        timer_id: str | None = None,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        repeat: Repeat | None = None,
        correlation_id: str | None = None,
        headers: Mapping[str, HeaderValue] | None = None,
        reply_to: str = "",
        if_exists: IfExists | None = None,
        pipeline: "Pipeline | None" = None,
    ) -> str:
        """Schedule a timer, by default due after the publisher's delay.

        Args:
            message: See `TimersBroker.publish`.
            topic: A topic other than the publisher's; its prefix is prepended.
            timer_id: See `TimersBroker.publish`.
            activate_in: See `TimersBroker.publish`.
            activate_at: See `TimersBroker.publish`.
            repeat: See `TimersBroker.publish`. It overrides the publisher's delay.
            correlation_id: See `TimersBroker.publish`.
            headers: Added to the publisher's headers, which they override.
            reply_to: See `TimersBroker.publish`; by default the publisher's.
            if_exists: See `TimersBroker.publish`.
            pipeline: See `TimersBroker.publish`.

        Returns:
            The timer's id.

        Raises:
            Exception: See `TimersBroker.publish`.
        """
        check_headers(headers)
        command = TimerPublishCommand(
            message,
            topic=self.topic if topic is None else prefixed(self._outer_config.prefix, topic),
            timer_id=timer_id,
            activate_in=activate_in,
            activate_at=activate_at,
            default_delay=self.config.activate_in,
            repeat=repeat,
            if_exists=if_exists,
            pipeline=pipeline,
            headers={**self.config.headers, **(headers or {})},
            correlation_id=correlation_id,
            reply_to=self._full_reply_to(reply_to),
            _publish_type=PublishType.PUBLISH,
        )
        return await self._basic_publish(  # type: ignore[no-any-return]
            command, producer=self._outer_config.producer, _extra_middlewares=()
        )

    async def _publish(
        self, cmd: PublishCommand, *, _extra_middlewares: Iterable[PublisherMiddleware]
    ) -> None:
        """Schedule a handler's result as a timer."""
        command = TimerPublishCommand.from_cmd(cmd)
        command.destination = self.topic
        command.default_delay = self.config.activate_in
        command.add_headers(dict(self.config.headers), override=False)
        command.reply_to = command.reply_to or self._full_reply_to("")
        await self._basic_publish(
            command,
            producer=self._outer_config.producer,
            _extra_middlewares=_extra_middlewares,
        )

    @overload
    async def reschedule_timer(
        self,
        timer_id: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        pipeline: None = None,
    ) -> bool: ...

    @overload
    async def reschedule_timer(
        self,
        timer_id: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        pipeline: "Pipeline",
    ) -> None: ...

    async def reschedule_timer(
        self,
        timer_id: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        pipeline: "Pipeline | None" = None,
    ) -> bool | None:
        """Change the due time of a timer of this topic, see `TimersBroker.reschedule_timer`.

        Args:
            timer_id: Its id.
            activate_in: Delay from now, by the server's clock.
            activate_at: Time, with a time zone. Pass one of the two.
            pipeline: Add the call to this pipeline instead of sending it.

        Returns:
            Whether the timer existed, waiting or running; None in a pipeline.
        """
        operation = self._outer_config.operations.reschedule(
            self.topic, timer_id, activate_in=activate_in, activate_at=activate_at
        )
        return await self._outer_config.connection.runner.run_or_queue(operation, pipeline)

    @overload
    async def cancel_timer(self, timer_id: str, *, pipeline: None = None) -> bool: ...

    @overload
    async def cancel_timer(self, timer_id: str, *, pipeline: "Pipeline") -> None: ...

    async def cancel_timer(
        self, timer_id: str, *, pipeline: "Pipeline | None" = None
    ) -> bool | None:
        """Cancel a timer of this topic, see `TimersBroker.cancel_timer`.

        Args:
            timer_id: Its id.
            pipeline: Add the call to this pipeline instead of sending it.

        Returns:
            Whether it was waiting; None in a pipeline.
        """
        operation = self._outer_config.operations.cancel(self.topic, timer_id)
        return await self._outer_config.connection.runner.run_or_queue(operation, pipeline)

    async def pause_timer(self, timer_id: str) -> bool:
        """Pause a recurring timer of this topic, see `TimersBroker.pause_timer`.

        Args:
            timer_id: Its id.

        Returns:
            Whether it is paused now. False if it does not exist.
        """
        operation = self._outer_config.operations.pause(self.topic, timer_id)
        return await self._outer_config.connection.runner.run(operation)

    async def resume_timer(self, timer_id: str) -> bool:
        """Resume a paused timer of this topic, see `TimersBroker.resume_timer`.

        Args:
            timer_id: Its id.

        Returns:
            Whether it was paused.
        """
        steps = self._outer_config.operations.resume(self.topic, timer_id)
        return await self._outer_config.connection.runner.run_steps(steps)

    async def cancel(self, timer_id: str) -> None:
        """Cancel a timer, as version 0.5 did.

        Args:
            timer_id: Its id.
        """
        warn(
            "publisher.cancel() is deprecated, use publisher.cancel_timer()",
            DeprecationWarning,
            stacklevel=2,
        )
        await self.cancel_timer(timer_id)

    async def fetch_redis_timers(self, dt: datetime) -> list[tuple[str, str]]:
        """Return the timers due by a time, as version 0.5 did.

        Args:
            dt: The time, with a time zone.

        Returns:
            Pairs of the topic, without prefixes, and timer id.
        """
        warn(
            "publisher.fetch_redis_timers() is deprecated, use broker.get_pending_timers()",
            DeprecationWarning,
            stacklevel=2,
        )
        pages = self._outer_config.operations.iterate(self.topic, before=dt, bodies=False)
        timers = self._outer_config.connection.runner.iterate(pages)
        return [(self.config.topic, timer.timer_id) async for timer in timers]

    async def request(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not supported.

        Raises:
            FeatureNotSupportedException: Always.
        """
        raise FeatureNotSupportedException(NO_REQUEST)

    def _full_reply_to(self, reply_to: str) -> str:
        if not (reply_to := reply_to or self.config.reply_to):
            return ""
        full = prefixed(self._outer_config.prefix, reply_to, "reply_to")
        return self._outer_config.operations.keys.checked(full, "reply_to")


def no_replies(topic: str) -> SetupError:
    """Return the error for a batch handler whose results would be published.

    Args:
        topic: The topic of its subscriber.
    """
    return SetupError(
        f"a publisher can't decorate a handler with batch=True (topic {topic!r}): a batch has no "
        "result. Call publish() or publish_batch() in the handler"
    )
