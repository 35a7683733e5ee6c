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
    """What brokers and routers have in common."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Declare no series yet."""
        self._series: list[DeclaredSeries] = []
        super().__init__(*args, **kwargs)

    @property
    def declared_series(self) -> list[DeclaredSeries]:
        """All series that are declared here and by included routers."""
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
        """Declare a recurring timer: it is there once the broker has started.

        Each start of a worker updates it. With the same `repeat` it keeps its next due time and
        has the new message; with another one it is due as that says. A paused one stays paused.
        One that somebody has cancelled is created again: pause it instead.

        The broker needs a `series_owner`. One that only publishes, after `connect`, creates
        nothing.

        Args:
            message: As in `publish`; the broker encodes it when it starts.
            topic: Where its subscriber listens, prefixes left out.
            timer_id: Its id, unique in the topic.
            repeat: When it is due again and again: `Every` or `Cron`.
            headers: Its headers.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: Topic or id is empty, or can't be written as UTF-8.
            SetupError: The broker is running.
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
        """Include a router: its subscribers and publishers become this one's too.

        Args:
            router: The router.
            prefix: Put before the router's own prefix.
            dependencies: FastStream dependencies of its handlers, before its own.
            middlewares: Middlewares of its subscribers and publishers, before its own.
            include_in_schema: Whether its endpoints stand in AsyncAPI documents.

        Raises:
            TypeError: The prefix is no str.
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
            topic: The topic, prefixes left out; or a `TimerSub` with the knobs.
            lease_ttl: Seconds that a claimed timer stays leased to its worker; a
                handler should end well within.
            polling_interval: Seconds between polls right after a timer was due.
            max_polling_interval: Seconds to which that grows while nothing is due.
            batch: Whether a handler gets a list: all timers that were claimed together.
            max_records: With `batch`: how many timers a list holds at most, from 1 to 100.
            max_wait: With `batch`: seconds to pause after a claim that found timers, but
                not as many as it asked for, so that the next list is longer. It delays no
                timer after a quiet time, and nothing is leased meanwhile.
            max_concurrent: How many handlers may run at once; None means 5, with `batch` 1.
            renew_lease: Whether the worker extends the leases of handlers that run,
                every third of `lease_ttl`.
            max_lease: Seconds after which it no longer does.
            handler_timeout: Seconds after which a handler is cancelled and has failed;
                None never. It needs asynchronous handlers.
            retry_policy: What follows a failed attempt: a `RetryPolicy`, or a function of
                attempt and error that gives the delay until the next one, or None for
                no more. None tries again without end; by default the router's or
                broker's.
            dead_letter_topic: The topic to which timers are set aside that have used up their
                attempts, were rejected, or can't be read; prefixes left out, and
                ``{topic}`` stands for the subscriber's. None removes such timers; by
                default the router's or broker's.
            duty: How many workers of the topic claim when a timer is due, and are woken when
                one is scheduled. The others poll, and are called when they are needed. In
                fleets of up to 8 workers, and with None, all do. All workers of a topic
                should have the same; by default the router's or broker's.
            dependencies: FastStream dependencies of its handlers.
            parser: Makes messages of deliveries.
            decoder: Decodes bodies.
            codec: Decodes bodies too, in FastStream's newer way.
            ack_policy: What an error means; by default another try after the lease.
            no_reply: Ignore `reply_to` of messages.
            persistent: Whether the broker keeps it alive.
            title: Its name in AsyncAPI documents.
            description: Its description there.
            include_in_schema: Whether it stands there.

        Returns:
            The subscriber, a decorator for handlers. Without any it gives its
            timers to who asks: `get_one`, ``async for``.

        Raises:
            TypeError: An option has the wrong type.
            ValueError: The topic is empty, or an option can't work.
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
        """Make a publisher: a decorator over a handler, or an object to publish with.

        Args:
            topic: The topic, prefixes left out.
            activate_in: Delay of its timers that have no time of their own.
            headers: Headers of all its timers.
            reply_to: Topic for the results of their handlers.
            persistent: Whether the broker keeps it alive.
            title: Its name in AsyncAPI documents.
            description: Its description there.
            schema: The type of its messages there.
            include_in_schema: Whether it stands there.

        Raises:
            TypeError: An option has the wrong type.
            ValueError: The topic is empty, or an option can't work.
        """
        # A TimerSub is none.
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
