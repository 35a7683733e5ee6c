"""The subscriber: a delivery loop on one side, FastStream's handlers on the other."""

import inspect
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from faststream.exceptions import FeatureNotSupportedException
from faststream.response import Response

from faststream_redis_timers._faststream import (
    CallsCollection,
    PublisherProto,
    SubscriberUsecase,
)
from faststream_redis_timers.configs import TimersBrokerConfig
from faststream_redis_timers.parser import TimersParser
from faststream_redis_timers.publisher.fake import TimersReplyPublisher
from faststream_redis_timers.subscriber.acknowledgement import handle_and_settle
from faststream_redis_timers.subscriber.config import TimersSubscriberConfig
from faststream_redis_timers.subscriber.delivery import TimerDelivery
from faststream_redis_timers.subscriber.loop import DeliveryLoop
from faststream_redis_timers.subscriber.specification import TimersSubscriberSpecification

if TYPE_CHECKING:
    from faststream.message import StreamMessage

    from faststream_redis_timers.subscriber.wakeups import WakeUps


class TimersSubscriber(SubscriberUsecase[TimerDelivery]):
    """Hands the due timers of a topic to its handlers."""

    _outer_config: TimersBrokerConfig

    def __init__(
        self,
        config: TimersSubscriberConfig,
        specification: TimersSubscriberSpecification,
        calls: CallsCollection[TimerDelivery],
    ) -> None:
        """Prepare; `start` begins."""
        parser = TimersParser()
        config.parser = parser.parse_message
        config.decoder = parser.decode_message
        super().__init__(config, cast("Any", specification), calls)
        self.sub = config.sub
        self._config = config
        self._delivery: DeliveryLoop | None = None
        self._wake_ups: WakeUps | None = None

    @property
    def topic(self) -> str:
        """The full topic, prefixes included."""
        return f"{self._outer_config.prefix}{self.sub.topic}"

    @property
    def alive(self) -> bool:
        """Whether it delivers; one that was not started, or was stopped, is not dead."""
        return self._delivery is None or not self.running or self._delivery.healthy

    async def start(self) -> None:
        """Begin to deliver; nothing if it does already."""
        if self.running:
            return
        await super().start()
        if self.calls:
            outer = self._outer_config
            self._wake_ups = wake_ups = outer.connection.wake_ups
            self._delivery = delivery = DeliveryLoop(
                self.sub,
                topic=self.topic,
                runner=outer.connection.runner,
                operations=outer.operations,
                handle=self.consume,
                log=self._write_log,
                spin_budget=outer.connection.spin_budget,
                alarm_clock=outer.connection.alarm_clock,
                interruptible=all(_is_async(call.handler) for call in self.calls),
            )
            delivery.on_wait = wake_ups.waiting_setter(delivery)
            delivery.on_end = partial(outer.connection.close_again, outer.connection.runner)
            self._post_start()
            delivery.start()
            await wake_ups.add(self._channel, delivery)
        else:
            self._post_start()

    async def stop(self) -> None:
        """Stop: running handlers may finish within the broker's graceful timeout.

        Then they are cancelled, and their timers given back.
        """
        # The base class would wait for the handler from which this may be called.
        self.running = False
        # Kept from the start: a handler may have stopped the broker, and then its
        # connection is no more.
        delivery, wake_ups = self._delivery, self._wake_ups
        if delivery is None or wake_ups is None:
            return
        delivery.begin_stop()
        try:
            await wake_ups.remove(self._channel, delivery)
        finally:
            await delivery.stop(self._outer_config.graceful_timeout)
        if self._delivery is delivery and not delivery.alive:
            self._delivery = None

    async def process_message(self, msg: TimerDelivery) -> Response:
        """Run the handler for a timer and settle it.

        Args:
            msg: The timer.

        Returns:
            The handler's response.
        """
        return await handle_and_settle(
            msg,
            # Not what it was when the subscriber was made: a router's subscribers
            # learn of the broker's policy when it includes the router.
            self._config.ack_policy,
            super().process_message,
            on_end=self._free_slot,
            on_stop=self._begin_stop,
            log=self._write_log,
        )

    async def get_one(self, *, timeout: float = 5) -> "StreamMessage[TimerDelivery] | None":
        """Not supported: timers are delivered to handlers."""
        msg = "get_one() is not supported: register a handler for the subscriber"
        raise FeatureNotSupportedException(msg)

    def __aiter__(self) -> "AsyncIterator[StreamMessage[TimerDelivery]]":
        """Not supported: timers are delivered to handlers."""
        msg = "iterating a subscriber is not supported: register a handler for it"
        raise FeatureNotSupportedException(msg)

    def get_log_context(self, message: "StreamMessage[TimerDelivery] | None") -> dict[str, str]:
        """Give what each line of the log names: the topic and the timer's id.

        Args:
            message: The message, None outside of one.
        """
        return {
            "topic": printable(self.topic),
            "message_id": printable(message.message_id) if message else "",
        }

    @property
    def _channel(self) -> bytes:
        return self._outer_config.operations.keys.of(self.topic).timeline

    def _make_response_publisher(
        self, message: "StreamMessage[TimerDelivery]"
    ) -> Iterable[PublisherProto[Any]]:
        return (TimersReplyPublisher(self._outer_config.producer, message.reply_to),)

    def _free_slot(self, delivery: TimerDelivery) -> None:
        if self._delivery is not None:
            self._delivery.free_slot(delivery)

    def _begin_stop(self) -> None:
        if self._delivery is not None:
            self._delivery.begin_stop()

    def _write_log(self, level: int, message: str, error: BaseException | None = None) -> None:
        # A logger of the user's that raises must not end the delivery.
        with suppress(Exception):
            self._outer_config.logger.log(
                message, level, extra=self.get_log_context(None), exc_info=error
            )


def _is_async(handler: Any) -> bool:
    # What the user wrote: FastStream 0.7.8 keeps it apart from what it made of it.
    call = getattr(handler, "_declared_call", handler._original_call)  # noqa: SLF001
    return inspect.iscoroutinefunction(inspect.unwrap(call))


def printable(text: str) -> str:
    """Escape what could forge a line of the log or drive a terminal.

    Args:
        text: A topic or an id.
    """
    if text.isprintable():
        return text
    return text.encode("unicode_escape", "backslashreplace").decode("ascii")
