"""The subscriber: a delivery loop on one side, FastStream's handlers or callers on the other."""

import inspect
import logging
import math
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from faststream.exceptions import IncorrectState, SetupError, StopConsume
from faststream.response import Response

from faststream_redis_timers._faststream import (
    AsyncCallable,
    BrokerMiddleware,
    CallsCollection,
    PublisherProto,
    SubscriberUsecase,
    process_msg,
)
from faststream_redis_timers.configs import TimersBrokerConfig
from faststream_redis_timers.delivered import TimerBatchDelivery, TimerDelivery
from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.attendance import Channels
from faststream_redis_timers.delivery.core import DeliveryCore, Driver
from faststream_redis_timers.delivery.duty import Duty
from faststream_redis_timers.delivery.endings import Endings
from faststream_redis_timers.message import TimerMessage
from faststream_redis_timers.parser import TimersParser
from faststream_redis_timers.publisher.fake import TimersReplyPublisher
from faststream_redis_timers.retry_policy import RetryPolicy
from faststream_redis_timers.subscriber.acknowledgement import handle_and_settle
from faststream_redis_timers.subscriber.config import TimersSubscriberConfig
from faststream_redis_timers.subscriber.handling import Handling
from faststream_redis_timers.subscriber.loop import DeliveryLoop
from faststream_redis_timers.subscriber.on_demand import Callers
from faststream_redis_timers.subscriber.specification import TimersSubscriberSpecification
from faststream_redis_timers.subscriber.starting import within_lease
from faststream_redis_timers.subscriber.timeouts import HandlerTimeout
from faststream_redis_timers_sync.protocol.keys import REMEDY_ELSEWHERE, RESERVE_GROUPS
from faststream_redis_timers_sync.protocol.safe_text import printable

if TYPE_CHECKING:
    from faststream.message import StreamMessage


class TimersSubscriber(SubscriberUsecase[TimerDelivery]):
    """Hands the due timers of a topic to its handlers."""

    _outer_config: TimersBrokerConfig
    _make_batch: type[TimerBatchDelivery] | None = None
    # What makes a batch of timers; None where each is handled alone.

    def __init__(
        self,
        config: TimersSubscriberConfig,
        specification: TimersSubscriberSpecification,
        calls: CallsCollection[TimerDelivery],
    ) -> None:
        """Prepare; `start` begins."""
        self._set_parser(config)
        super().__init__(config, cast("Any", specification), calls)
        self._call_decorators = (within_lease,)
        self.sub = config.sub
        self._config = config
        self._loop: DeliveryLoop[Any] | None = None
        self._callers: Callers | None = None
        self._is_started = False
        self._ended_by: type[BaseException] | None = None
        self._parser_for_callers: AsyncCallable = config.parser
        self._decoder_for_callers: AsyncCallable = config.decoder

    def _set_parser(self, config: TimersSubscriberConfig) -> None:
        parser = TimersParser()
        config.parser = parser.parse_message
        config.decoder = parser.decode_message

    @property
    def topic(self) -> str:
        """The full topic, prefixes included."""
        return f"{self._outer_config.prefix}{self.sub.topic}"

    @property
    def alive(self) -> bool:
        """Whether it delivers; one that was not started, or was stopped, is not dead.

        One whose handler raised `SystemExit` is, where the process lives on, until it is
        started again: that is what a supervisor is there for.
        """
        if self._ended_by is not None and not issubclass(self._ended_by, StopConsume):
            return False
        return self._loop is None or not self.running or self._loop.healthy

    async def start(self) -> None:
        """Begin to deliver; nothing if it does already."""
        if self.running:
            return
        is_async = all(_is_async(call.handler) for call in self.calls)
        if self.sub.handler_timeout is not None and not is_async:
            msg = (
                f"handler_timeout of topic {self.topic!r} needs asynchronous handlers: a thread "
                "can't be cancelled. Write `async def`, or leave handler_timeout out"
            )
            raise SetupError(msg)
        self.check_setup()
        await super().start()
        self._ended_by = None
        # A test's runner hands timers to handlers by itself, and there are none for callers.
        delivers = self._outer_config.connection.runner.delivers
        # A stop that was cancelled has left them.
        self._loop = self._callers = None
        loop = None
        if delivers and self.calls:
            loop = self._make_loop()
        self._post_start()
        self._is_started = delivers
        if loop is not None:
            threads = None if is_async else self.sub.slots
            handling = Handling(loop.core, self.topic, self.consume, self._write_log, threads)
            self._loop = loop
            await loop.start(handling)

    async def stop(self) -> None:
        """Stop: running handlers may finish within the broker's graceful timeout.

        Then they are cancelled, and their timers given back.
        """
        # The base class would wait for the handler from which this may be called.
        self.running = self._is_started = False
        if (loop := self._loop) is None:
            return
        if self._callers is not None:
            self._callers.send_away()
        await loop.stop(self._outer_config.graceful_timeout)
        if self._loop is loop and not loop.alive:
            self._loop = self._callers = None

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
            on_stop=self._begin_stop,
            log=self._write_log,
        )

    async def get_one(self, *, timeout: float = 5) -> TimerMessage | None:
        """Claim the next timer that is due, for a caller instead of a handler.

        The caller settles it, within `lease_ttl` and before the broker stops:
        ``await message.ack()``, ``nack()`` or ``reject()``, whatever the subscriber's
        policy. One that it does not settle comes again when its lease ends; only
        ``await message.renew()`` extends that. `handler_timeout` does not count here.

        Args:
            timeout: Seconds to wait for a timer to become due, a call to the server
                included.

        Returns:
            Its message; None after the timeout, or when the subscriber stops.

        Raises:
            AssertionError: The subscriber has handlers, which get all its timers.
            IncorrectState: The subscriber was not started, or its delivery has died.
            Exception: What a parser or middleware raises; the timer is kept, as
                where a handler fails.
        """
        callers = await self._have_callers()
        delivery = await callers.take(timeout)
        return None if delivery is None else await self._as_message(delivery)

    async def __aiter__(self) -> AsyncIterator[TimerMessage]:
        """Give due timers one by one, until the subscriber stops; see `get_one`.

        The next one is claimed when it is asked for.
        """
        callers = await self._have_callers()
        while (delivery := await callers.take(None)) is not None:
            yield await self._as_message(delivery)

    def check_setup(self) -> None:
        """Check that its topics can have keys, and that one script may touch those of both.

        Raises:
            SetupError: Keys have hash tags, and timers would be set aside in another slot.
            ValueError: A topic can have no hash tag.
        """
        keys = self._outer_config.operations.keys
        topic, dead_topic = self.topic, self._config.dead_topic
        keys.of(topic)
        if dead_topic is not None and not keys.share_slot(topic, dead_topic, "dead_letter_topic"):
            msg = (
                f"dead_letter_topic of topic {topic!r} can't be {dead_topic!r} where "
                "hash_tags=True: one script moves a timer there, so both need the same hash tag; "
                'write "{topic}:dead"'
            )
            raise SetupError(msg)

    def warn_of_other_layout(self) -> None:
        """Warn that the topic has timers in the other layout of keys, which stay undelivered."""
        told = self._outer_config.operations.keys.describe_elsewhere(self.topic)
        self._write_log(logging.WARNING, f"two layouts of keys: {told}: {REMEDY_ELSEWHERE}")

    def make_core(
        self, driver: Driver, slots: int | None = None, holders: int | None = None
    ) -> DeliveryCore[Any]:
        """Make what decides about timers, of the options that the subscriber has by now.

        Args:
            driver: See `DeliveryCore`.
            slots: See `DeliveryCore`.
            holders: How many workers of the topic are on duty; None means all.
        """
        outer, sub, draw = self._outer_config, self.sub, driver.draws.spread
        duty = None if holders is None else Duty(holders, sub.most_running, draw, sub.max_wait)
        return DeliveryCore(
            self.sub,
            topic=self.topic,
            operations=outer.operations,
            endings=self._make_endings(),
            suspects=outer.connection.suspects,
            driver=driver,
            make_timer=TimerDelivery,
            log=self._write_log,
            slots=slots,
            duty=duty,
            make_batch=self._make_batch,
        )

    @property
    def counts_attempts(self) -> bool:
        """Whether attempts are counted: failures have an end, or a place to go to."""
        return self._make_endings().suspect_from is not None

    def _make_endings(self) -> Endings:
        config = self._config
        policy = config.retry_policy
        most = policy.max_attempts if isinstance(policy, RetryPolicy) else math.inf
        return Endings(
            self.topic,
            policy,
            config.dead_topic,
            self._write_log,
            most,
            is_batched=self.sub.batch,
        )

    def get_log_context(self, message: "StreamMessage[TimerDelivery] | None") -> dict[str, str]:
        """Give what each line of the log names: the topic and the timer's id.

        Args:
            message: The message, None outside of one.
        """
        return {
            "topic": printable(self.topic),
            "message_id": printable(message.message_id) if message else "",
        }

    def _make_loop(
        self, slots: int | None = None, *, always_listens: bool = False
    ) -> DeliveryLoop[Any]:
        connection = self._outer_config.connection
        # Callers who wait take what there is at once.
        holders = self._count_holders() if slots is None else None
        return DeliveryLoop(
            self.topic,
            channels=self._make_channels(has_duty=holders is not None),
            runner=connection.runner,
            wake_ups=connection.wake_ups,
            always_listens=always_listens,
            make_core=partial(self.make_core, slots=slots, holders=holders),
            log=self._write_log,
            spin_budget=connection.spin_budget,
            alarm_clock=connection.alarm_clock,
            # A handler may stop the broker and go on: its connection is closed then.
            on_end=partial(connection.close_again, connection.runner),
        )

    def _count_holders(self) -> int | None:
        holders, outer = self._config.duty, self._outer_config
        is_cluster = outer.connection.runner.primaries.is_cluster
        if holders is None or not is_cluster or outer.operations.keys.hash_tags:
            return holders
        self._write_log(logging.INFO, words.not_counted(self.topic, words.NO_HASH_TAGS))
        return None

    def _make_channels(self, *, has_duty: bool) -> Channels:
        keys = self._outer_config.operations.keys
        wake_ups = keys.channel_of(self.topic)
        if not has_duty:
            return Channels(wake_ups)
        group = random.randrange(RESERVE_GROUPS)  # noqa: S311  no secret
        help_calls = keys.reserve_channel_of(self.topic, group)
        return Channels(wake_ups, help_calls, keys.workers_channel_of(self.topic))

    async def _have_callers(self) -> Callers:
        if self.calls:
            # So do FastStream's own subscribers.
            msg = f"the subscriber of topic {self.topic!r} has handlers: they get all its timers"
            raise AssertionError(msg)
        if not self._is_started:
            msg = (
                f"the subscriber of topic {self.topic!r} was not started: start the broker, or "
                "call `await subscriber.start()`; a TestTimersBroker starts none but with_real=True"
            )
            raise IncorrectState(msg)
        if self._callers is None:
            # An error of these comes before anything is claimed.
            parsing = self._get_parser_and_decoder()
            self._parser_for_callers, self._decoder_for_callers = parsing
            # Wake-ups are read also while nobody asks, lest they pile up on the server.
            self._loop = loop = self._make_loop(slots=0, always_listens=True)
            self._callers = Callers(loop)
            await loop.start(self._callers)
        return self._callers

    async def _as_message(self, delivery: TimerDelivery) -> TimerMessage:
        context = self._outer_config.context
        try:
            message = await process_msg(
                msg=delivery,
                middlewares=(
                    make(delivery, context=context) for make in super()._broker_middlewares
                ),
                parser=self._parser_for_callers,
                decoder=self._decoder_for_callers,
            )
        except Exception as error:
            delivery.nack_soon(error)
            raise
        except BaseException:
            delivery.release()
            raise
        return cast("TimerMessage", message)

    @property
    def _broker_middlewares(self) -> Sequence[BrokerMiddleware[TimerDelivery]]:
        middlewares = super()._broker_middlewares
        if self.sub.handler_timeout is None:
            return middlewares
        # The innermost: the others see a failure.
        return [*middlewares, partial(HandlerTimeout, self.sub.handler_timeout)]

    def _make_response_publisher(
        self, message: "StreamMessage[TimerDelivery]"
    ) -> Iterable[PublisherProto[Any]]:
        return (TimersReplyPublisher(self._outer_config.producer, message.reply_to),)

    def _begin_stop(
        self, delivery: TimerDelivery | TimerBatchDelivery, reason: BaseException
    ) -> None:
        # A handler may have stopped its subscriber and started it again, or be tried out
        # beside a worker: this loop then is another's.
        if self._loop is None or delivery.claim.holder is not self._loop:
            return
        self._loop.begin_stop()
        if self._ended_by is None:
            timers = delivery.deliveries
            line = words.ended(self.topic, timers[0].timer_id, len(timers), reason)
            self._write_log(logging.WARNING, line)
        if self._ended_by is None or issubclass(self._ended_by, StopConsume):
            self._ended_by = type(reason)

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
