"""Subscribers and publishers of brokers and routers."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from faststream import AckPolicy
from faststream.exceptions import SetupError

from faststream_redis_timers._faststream import (
    EMPTY,
    BrokerMiddleware,
    CallsCollection,
    CodecProto,
    CustomCallable,
    Registrator,
)
from faststream_redis_timers._renamed import renamed_arguments
from faststream_redis_timers.arguments import read_arguments
from faststream_redis_timers.configs import TimersBrokerConfig
from faststream_redis_timers.declared import DeclaredSeries
from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.publisher.specification import (
    TimersPublisherSpecification,
    TimersPublisherSpecificationConfig,
)
from faststream_redis_timers.publisher.usecase import TimersPublisher, TimersPublisherConfig
from faststream_redis_timers.retry_policy import RetryDecision
from faststream_redis_timers.schemas import (
    LEASE_TTL,
    MAX_LEASE,
    MAX_POLLING_INTERVAL,
    MAX_RECORDS,
    MAX_WAIT,
    POLLING_INTERVAL,
    TimerSub,
    as_timer_sub,
    check_dead_letter_topic,
)
from faststream_redis_timers.subscriber.batch_usecase import TimersBatchSubscriber
from faststream_redis_timers.subscriber.config import (
    TimersSubscriberConfig,
    TimersSubscriberSpecificationConfig,
)
from faststream_redis_timers.subscriber.specification import TimersSubscriberSpecification
from faststream_redis_timers.subscriber.usecase import TimersSubscriber
from faststream_redis_timers_sync.protocol.envelope import HeaderValue
from faststream_redis_timers_sync.protocol.keys import plain_text
from faststream_redis_timers_sync.protocol.model import Series
from faststream_redis_timers_sync.protocol.recurrence import Repeat

if TYPE_CHECKING:
    from fast_depends.dependencies import Dependant


class TimersRegistrator(Registrator[TimerDelivery, TimersBrokerConfig]):
    """What brokers and routers share."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Start without series."""
        self._series: list[DeclaredSeries] = []
        super().__init__(*args, **kwargs)

    @property
    def declared_series(self) -> list[DeclaredSeries]:
        """All series that this and its included routers declare."""
        routers = (each for each in self.routers if isinstance(each, TimersRegistrator))
        return [*self._series, *(one for router in routers for one in router.declared_series)]

    def add_series(
        self,
        message: Any,
        topic: str,
        *,
        timer_id: str,
        repeat: Repeat,
        headers: Mapping[str, HeaderValue] | None = None,
    ) -> None:
        """Declare a recurring timer, which exists once the broker has started.

        Each start of a worker updates it. If its `repeat` is the same, it keeps its next due time
        and gets the new message; with another one its due time follows that. A paused timer stays
        paused. A cancelled one is created again, so pause it instead.

        The broker needs a `series_owner`. A broker that only publishes, after `connect`, creates
        no series.

        Args:
            message: As in `publish`; encoded when the broker starts.
            topic: The topic that its subscriber listens to, without prefixes.
            timer_id: Its id, unique in the topic.
            repeat: When it is due: `Every` or `Cron`.
            headers: Its headers.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: Topic or id is empty, or can't be written as UTF-8.
            SetupError: The broker is running already.
        """
        # A router has no such attribute: its broker may start later.
        if getattr(self, "running", False):
            msg = (
                f"series {timer_id!r} of topic {topic!r} is declared too late: the broker is "
                "running. Call add_series() before start(), or publish(..., repeat=...)"
            )
            raise SetupError(msg)
        series = Series(message, topic, timer_id=timer_id, repeat=repeat, headers=headers)
        self._series.append(DeclaredSeries(series, self._shared_config))

    @property
    def _shared_config(self) -> TimersBrokerConfig:
        # A composition of the configs of broker and routers acts as one.
        return cast("TimersBrokerConfig", self.config)

    @read_arguments
    def include_router(
        self,
        router: Registrator[TimerDelivery, Any],
        *,
        prefix: str = "",
        dependencies: "Sequence[Dependant]" = (),
        middlewares: Sequence[BrokerMiddleware[Any, Any]] = (),
        include_in_schema: bool | None = None,
    ) -> None:
        """Include a router with its subscribers and publishers.

        Args:
            router: The router.
            prefix: Prepended to the router's own prefix.
            dependencies: FastStream dependencies of its handlers, which come before its own.
            middlewares: Middlewares of its subscribers and publishers, which come before its own.
            include_in_schema: Whether AsyncAPI documents include its endpoints.

        Raises:
            TypeError: The prefix is not a str.
            ValueError: It can't be written as UTF-8.
        """
        super().include_router(
            router,
            prefix=prefix,
            dependencies=dependencies,
            middlewares=middlewares,
            include_in_schema=include_in_schema,
        )

    @overload  # type: ignore[override]
    def subscriber(
        self,
        topic: str | TimerSub,
        *,
        lease_ttl: float = LEASE_TTL,
        polling_interval: float = POLLING_INTERVAL,
        max_polling_interval: float = MAX_POLLING_INTERVAL,
        batch: Literal[True],
        max_records: int = MAX_RECORDS,
        max_wait: float = MAX_WAIT,
        max_concurrent: int | None = None,
        renew_lease: bool = False,
        max_lease: float = MAX_LEASE,
        handler_timeout: float | None = None,
        retry_policy: RetryDecision | None = EMPTY,
        dead_letter_topic: str | None = EMPTY,
        duty: int | None = EMPTY,
        dependencies: "Sequence[Dependant]" = (),
        parser: CustomCallable | None = None,
        decoder: CustomCallable | None = None,
        codec: CodecProto | None = None,
        ack_policy: AckPolicy = EMPTY,
        no_reply: bool = False,
        persistent: bool = True,
        title: str | None = None,
        description: str | None = None,
        include_in_schema: bool = True,
    ) -> TimersBatchSubscriber: ...

    @overload
    def subscriber(
        self,
        topic: str | TimerSub,
        *,
        lease_ttl: float = LEASE_TTL,
        polling_interval: float = POLLING_INTERVAL,
        max_polling_interval: float = MAX_POLLING_INTERVAL,
        batch: bool = False,
        max_records: int = MAX_RECORDS,
        max_wait: float = MAX_WAIT,
        max_concurrent: int | None = None,
        renew_lease: bool = False,
        max_lease: float = MAX_LEASE,
        handler_timeout: float | None = None,
        retry_policy: RetryDecision | None = EMPTY,
        dead_letter_topic: str | None = EMPTY,
        duty: int | None = EMPTY,
        dependencies: "Sequence[Dependant]" = (),
        parser: CustomCallable | None = None,
        decoder: CustomCallable | None = None,
        codec: CodecProto | None = None,
        ack_policy: AckPolicy = EMPTY,
        no_reply: bool = False,
        persistent: bool = True,
        title: str | None = None,
        description: str | None = None,
        include_in_schema: bool = True,
    ) -> TimersSubscriber: ...

    @renamed_arguments(title_="title", description_="description")
    @read_arguments
    def subscriber(  # noqa: PLR0913  a decorator with many options
        self,
        topic: str | TimerSub,
        *,
        lease_ttl: float = LEASE_TTL,
        polling_interval: float = POLLING_INTERVAL,
        max_polling_interval: float = MAX_POLLING_INTERVAL,
        batch: bool = False,
        max_records: int = MAX_RECORDS,
        max_wait: float = MAX_WAIT,
        max_concurrent: int | None = None,
        renew_lease: bool = False,
        max_lease: float = MAX_LEASE,
        handler_timeout: float | None = None,
        retry_policy: RetryDecision | None = EMPTY,
        dead_letter_topic: str | None = EMPTY,
        duty: int | None = EMPTY,
        dependencies: "Sequence[Dependant]" = (),
        parser: CustomCallable | None = None,
        decoder: CustomCallable | None = None,
        codec: CodecProto | None = None,
        ack_policy: AckPolicy = EMPTY,
        no_reply: bool = False,
        persistent: bool = True,
        title: str | None = None,
        description: str | None = None,
        include_in_schema: bool = True,
    ) -> TimersSubscriber:
        """Subscribe a handler to a topic.

        Args:
            topic: The topic, without prefixes, or a `TimerSub` with the options.
            lease_ttl: Seconds that a claimed timer stays leased to its worker; handlers
                should end well within them.
            polling_interval: Seconds between polls right after a timer was due.
            max_polling_interval: Seconds to which that grows while nothing is due.
            batch: Whether a handler gets a list of all timers that were claimed together.
            max_records: With `batch`: how many timers a list has at most, from 1 to 100.
            max_wait: With `batch`: seconds to pause after a claim that found fewer timers
                than it asked for, so that the next list is longer. It does not delay the
                first timers after a quiet time, and nothing is leased meanwhile.
            max_concurrent: How many handlers may run at once; None means 5, or 1 with `batch`.
            renew_lease: Whether the worker renews the leases of running handlers,
                every third of `lease_ttl`.
            max_lease: Seconds after which it stops renewing them.
            handler_timeout: Seconds after which a handler is cancelled and counts as failed;
                None means never. It needs asynchronous handlers.
            retry_policy: What follows a failed attempt: a `RetryPolicy`, or a function of
                attempt and error that returns the delay until the next attempt, or None
                for no further one. None retries without limit; by default the router's or
                broker's.
            dead_letter_topic: The topic for timers that have used up their attempts, were
                rejected, or can't be read; without prefixes, and ``{topic}`` stands for the
                subscriber's topic. None removes such timers; by default the router's or
                broker's.
            duty: How many workers of the topic claim when a timer is due, and are woken when
                one is scheduled. The others only poll, and are called when they are needed.
                In fleets of up to 8 workers, and with None, all workers claim. All workers of
                a topic should have the same value; by default the router's or broker's.
            dependencies: FastStream dependencies of its handlers.
            parser: Makes messages of deliveries.
            decoder: Decodes bodies.
            codec: Also decodes bodies, in FastStream's newer way.
            ack_policy: What happens to a timer whose handler raises; by default it is retried,
                see `retry_policy`.
            no_reply: Whether to ignore the `reply_to` of messages.
            persistent: Whether the broker keeps it alive.
            title: Its name in AsyncAPI documents.
            description: Its description there.
            include_in_schema: Whether AsyncAPI documents include it.

        Returns:
            The subscriber, a decorator for handlers. Without handlers, claim its timers with
            `get_one` or ``async for``.

        Raises:
            TypeError: An option has the wrong type.
            ValueError: The topic is empty, or an option is out of range.
        """
        sub = as_timer_sub(
            topic,
            lease_ttl=lease_ttl,
            polling_interval=polling_interval,
            max_polling_interval=max_polling_interval,
            batch=batch,
            max_records=max_records,
            max_wait=max_wait,
            max_concurrent=max_concurrent,
            renew_lease=renew_lease,
            max_lease=max_lease,
            handler_timeout=handler_timeout,
        )
        check_dead_letter_topic(dead_letter_topic, sub.topic)
        outer_config = self._shared_config
        calls = CallsCollection[TimerDelivery]()
        specification = TimersSubscriberSpecification(
            outer_config,
            TimersSubscriberSpecificationConfig(
                sub=sub,
                title_=title,
                description_=description,
                include_in_schema=include_in_schema,
            ),
            calls,
        )
        config = TimersSubscriberConfig(
            sub=sub,
            no_reply=no_reply,
            _outer_config=outer_config,
            _ack_policy=ack_policy,
            _retry_policy=retry_policy,
            _dead_letter_topic=dead_letter_topic,
            _duty=duty,
        )
        make = TimersBatchSubscriber if sub.batch else TimersSubscriber
        subscriber = make(config, specification, calls)
        super().subscriber(subscriber, persistent=persistent)
        return subscriber.add_call(
            parser_=parser, decoder_=decoder, dependencies_=dependencies, codec_=codec
        )

    @renamed_arguments(title_="title", description_="description", schema_="schema")
    @read_arguments
    def publisher(  # type: ignore[override]  # noqa: PLR0913  a decorator with many options
        self,
        topic: str,
        *,
        activate_in: timedelta | None = None,
        headers: Mapping[str, HeaderValue] | None = None,
        reply_to: str = "",
        persistent: bool = True,
        title: str | None = None,
        description: str | None = None,
        schema: Any | None = None,
        include_in_schema: bool = True,
    ) -> TimersPublisher:
        """Create a publisher: a decorator for handlers, or an object to publish with.

        Args:
            topic: The topic, without prefixes.
            activate_in: Delay of its timers that have no own time.
            headers: Headers of all its timers.
            reply_to: Topic on which the results of their handlers are scheduled.
            persistent: Whether the broker keeps it alive.
            title: Its name in AsyncAPI documents.
            description: Its description there.
            schema: The type of its messages there.
            include_in_schema: Whether AsyncAPI documents include it.

        Raises:
            TypeError: An option has the wrong type.
            ValueError: The topic is empty, or an option is out of range.
        """
        # A TimerSub is not allowed here.
        plain_text("topic", topic)
        outer_config = self._shared_config
        specification = TimersPublisherSpecification(
            outer_config,
            TimersPublisherSpecificationConfig(
                topic=topic,
                title_=title,
                description_=description,
                schema_=schema,
                include_in_schema=include_in_schema,
            ),
        )
        config = TimersPublisherConfig(
            topic=topic,
            headers=headers or {},
            reply_to=reply_to,
            activate_in=activate_in,
            _outer_config=outer_config,
        )
        publisher = TimersPublisher(config, specification)
        super().publisher(publisher, persistent=persistent)
        return publisher
