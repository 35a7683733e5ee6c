"""The subscriber: a delivery loop on one side, FastStream's handlers or callers on the other."""

import logging
import math
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from fast_depends.utils import is_coroutine_callable
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
from faststream_redis_timers.arguments import read_seconds_or_none
from faststream_redis_timers.configs import TimersBrokerConfig
from faststream_redis_timers.delivered import TimerBatchDelivery, TimerDelivery
from faststream_redis_timers.delivery import words
from faststream_redis_timers.delivery.attendance import Channels
from faststream_redis_timers.delivery.core import DeliveryCore, Driver
from faststream_redis_timers.delivery.duty import Duty
from faststream_redis_timers.delivery.settlement_policy import SettlementPolicy
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
    """Delivers the due timers of a topic to its handlers."""

    _outer_config: TimersBrokerConfig
    _make_batch: type[TimerBatchDelivery] | None = None
    # Makes a batch of timers; None if each is handled alone.

    def __init__(
        self,
        config: TimersSubscriberConfig,
        specification: TimersSubscriberSpecification,
        calls: CallsCollection[TimerDelivery],
    ) -> None:
        """Prepare; `start` starts delivery."""
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
        """Whether delivery works; a subscriber that is not started, or stopped, counts as alive.

        One whose handler raised `SystemExit` in a process that lives on does not, until it is
        started again: a supervisor is expected to restart the process.
        """
        if self._ended_by is not None and not issubclass(self._ended_by, StopConsume):
            return False
        return self._loop is None or not self.running or self._loop.healthy

    async def start(self) -> None:
        """Start delivery; do nothing if it is running."""
        if self.running:
            return
        self.check_setup()
        await super().start()
        self._ended_by = None
        # A test's runner delivers timers to handlers itself, and has none for callers.
        delivers = self._outer_config.connection.runner.delivers
        # A cancelled stop leaves them behind.
        self._loop = self._callers = None
        loop = None
        if delivers and self.calls:
            loop = self._make_loop()
        self._post_start()
        self._is_started = delivers
        if loop is not None:
            threads = self.sub.slots if self._has_blocking_handlers else None
            handling = Handling(loop.core, self.topic, self.consume, self._write_log, threads)
            self._loop = loop
            await loop.start(handling)

    async def stop(self) -> None:
        """Stop delivery: running handlers have the broker's `graceful_timeout` to finish.

        Then they are cancelled, and their timers are released.
        """
        # The base class would wait for the handler that may be calling this.
        self.running = self._is_started = False
        if (loop := self._loop) is None:
            return
        if self._callers is not None:
            self._callers.dismiss()
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
            # Not the policy at creation: a router's subscribers get the broker's policy
            # when it includes the router.
            self._config.ack_policy,
            super().process_message,
            on_stop=self._begin_stop,
            log=self._write_log,
        )

    async def get_one(self, *, timeout: float = 5) -> TimerMessage | None:
        """Claim the next due timer for the caller instead of a handler.

        The caller must settle it within `lease_ttl`, and before the broker stops, with
        ``await message.ack()``, ``nack()`` or ``reject()``, whatever the subscriber's
        policy. A timer that is not settled is redelivered when its lease expires; only
        ``await message.renew()`` extends the lease. `handler_timeout` does not apply.

        Args:
            timeout: Seconds to wait for a due timer, including the call to the server.

        Returns:
            The timer's message; None after the timeout, or when the subscriber stops.

        Raises:
            TypeError: `timeout` is not a number.
            ValueError: It is below 0, or NaN.
            AssertionError: The subscriber has handlers, which get all its timers.
            IncorrectState: The subscriber was not started, or its delivery died.
            Exception: The error of a parser or middleware; the timer is kept, as
                when a handler fails.
        """
        read_seconds_or_none("timeout", timeout)
        callers = await self._have_callers()
        delivery = await callers.claim_one(timeout)
        return None if delivery is None else await self._as_message(delivery)

    async def __aiter__(self) -> AsyncIterator[TimerMessage]:
        """Iterate over due timers until the subscriber stops; see `get_one`.

        Each timer is claimed when the iterator asks for it.
        """
        callers = await self._have_callers()
        while (delivery := await callers.claim_one(None)) is not None:
            yield await self._as_message(delivery)

    def check_setup(self) -> None:
        """Check that the subscriber can work.

        Raises:
            SetupError: It has `handler_timeout` and a blocking handler, or keys have hash tags and
                the dead-letter topic is in another slot: one script uses the keys of both topics.
            ValueError: A topic can't have a hash tag.
        """
        if self.sub.handler_timeout is not None and self._has_blocking_handlers:
            msg = (
                f"handler_timeout of topic {self.topic!r} needs asynchronous handlers: a thread "
                "can't be cancelled. Write `async def`, or remove handler_timeout"
            )
            raise SetupError(msg)
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

    @property
    def _has_blocking_handlers(self) -> bool:
        return not all(_is_async(call.handler) for call in self.calls)

    def warn_of_other_layout(self) -> None:
        """Warn that the topic has timers in the other layout of keys, which are not delivered."""
        sentence = self._outer_config.operations.keys.describe_elsewhere(self.topic)
        self._write_log(logging.WARNING, f"two layouts of keys: {sentence}: {REMEDY_ELSEWHERE}")

    def make_core(
        self, driver: Driver, slots: int | None = None, holders: int | None = None
    ) -> DeliveryCore[Any]:
        """Create the delivery core, with the subscriber's current options.

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
            settlement_policy=self._make_settlement_policy(),
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
        """Whether attempts are counted: they have a limit, or timers can be dead-lettered."""
        return self._make_settlement_policy().suspect_from is not None

    def _make_settlement_policy(self) -> SettlementPolicy:
        config = self._config
        policy = config.retry_policy
        most = policy.max_attempts if isinstance(policy, RetryPolicy) else math.inf
        return SettlementPolicy(
            self.topic,
            policy,
            config.dead_topic,
            self._write_log,
            most,
            is_batched=self.sub.batch,
        )

    def get_log_context(self, message: "StreamMessage[TimerDelivery] | None") -> dict[str, str]:
        """Return the topic and the timer's id, which each log line names.

        Args:
            message: The message; None for lines that concern no message.
        """
        return {
            "topic": printable(self.topic),
            "message_id": printable(message.message_id) if message else "",
        }

    def _make_loop(
        self, slots: int | None = None, *, always_listens: bool = False
    ) -> DeliveryLoop[Any]:
        connection = self._outer_config.connection
        # Waiting callers claim timers at once.
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
            # A handler may stop the broker and go on; its connection is closed when it ends.
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
            # FastStream's own subscribers raise the same.
            msg = f"the subscriber of topic {self.topic!r} has handlers, which get all its timers"
            raise AssertionError(msg)
        if not self._is_started:
            msg = (
                f"the subscriber of topic {self.topic!r} was not started: start the broker, or "
                "call `await subscriber.start()`; a TestTimersBroker starts it only if it has "
                "with_real=True"
            )
            raise IncorrectState(msg)
        if self._callers is None:
            # If these raise, nothing has been claimed yet.
            parsing = self._get_parser_and_decoder()
            self._parser_for_callers, self._decoder_for_callers = parsing
            # Wake-ups are read even without callers, so that they don't pile up on the server.
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
        # It is the innermost, so the others see a failure.
        return [*middlewares, partial(HandlerTimeout, self.sub.handler_timeout)]

    def _make_response_publisher(
        self, message: "StreamMessage[TimerDelivery]"
    ) -> Iterable[PublisherProto[Any]]:
        return (TimersReplyPublisher(self._outer_config.producer, message.reply_to),)

    def _begin_stop(
        self, delivery: TimerDelivery | TimerBatchDelivery, reason: BaseException
    ) -> None:
        # A handler may have restarted its subscriber, or be tested beside a running worker:
        # then this loop is not the timer's.
        if self._loop is None or delivery.claim.holder is not self._loop:
            return
        self._loop.begin_stop()
        if self._ended_by is None:
            timers = delivery.deliveries
            line = words.stopped_by_handler(self.topic, timers[0].timer_id, len(timers), reason)
            self._write_log(logging.WARNING, line)
        if self._ended_by is None or issubclass(self._ended_by, StopConsume):
            self._ended_by = type(reason)

    def _write_log(self, level: int, message: str, error: BaseException | None = None) -> None:
        # A user's logger that raises must not stop delivery.
        with suppress(Exception):
            self._outer_config.logger.log(
                message, level, extra=self.get_log_context(None), exc_info=error
            )


def _is_async(handler: Any) -> bool:
    # The user's function: FastStream 0.7.8 stores it apart from its wrapper.
    call = getattr(handler, "_declared_call", handler._original_call)  # noqa: SLF001
    # Each layer must be: one that blocks runs in a thread, and one that is asynchronous may send
    # what it wraps to a thread, as sync_to_async does.
    while is_coroutine_callable(call):
        if (inner := getattr(call, "__wrapped__", None)) is None:
            return True
        call = inner
    return False
