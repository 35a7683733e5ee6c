"""Routers: groups of subscribers and publishers with a common prefix."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from faststream import AckPolicy

from faststream_redis_timers._faststream import (
    EMPTY,
    ArgsContainer,
    BrokerMiddleware,
    BrokerRouter,
    CodecProto,
    CustomCallable,
    SubscriberRoute,
)
from faststream_redis_timers._renamed import renamed_arguments
from faststream_redis_timers.arguments import read_arguments
from faststream_redis_timers.configs import TimersRouterConfig
from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.publisher.usecase import no_replies
from faststream_redis_timers.registrator import TimersRegistrator
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
from faststream_redis_timers_sync.protocol.envelope import HeaderValue
from faststream_redis_timers_sync.protocol.keys import plain_text

if TYPE_CHECKING:
    from fast_depends.dependencies import Dependant


class TimersRoutePublisher(ArgsContainer):
    """A publisher of a `TimersRoute`; its arguments are those of `TimersBroker.publisher`."""

    @renamed_arguments(title_="title", description_="description", schema_="schema")
    @read_arguments
    def __init__(  # noqa: PLR0913  the arguments of a decorator with many options
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
    ) -> None:
        """Store the arguments until a router uses them."""
        super().__init__(
            # A TimerSub is not allowed here.
            topic=plain_text("topic", topic),
            activate_in=activate_in,
            headers=headers,
            reply_to=reply_to,
            persistent=persistent,
            title=title,
            description=description,
            schema=schema,
            include_in_schema=include_in_schema,
        )


class TimersRoute(SubscriberRoute):
    """A handler of a `TimersRouter`; its arguments are those of `TimersBroker.subscriber`."""

    @renamed_arguments(title_="title", description_="description")
    @read_arguments
    def __init__(  # noqa: PLR0913  the arguments of a decorator with many options
        self,
        call: Callable[..., Any] | Callable[..., Awaitable[Any]],
        topic: str | TimerSub,
        *,
        publishers: Iterable[TimersRoutePublisher] = (),
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
    ) -> None:
        """Store the arguments until a router uses them."""
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
        if sub.batch and publishers:
            raise no_replies(sub.topic)
        super().__init__(
            call,
            topic=sub,
            publishers=publishers,
            retry_policy=retry_policy,
            dead_letter_topic=dead_letter_topic,
            duty=duty,
            dependencies=dependencies,
            parser=parser,
            decoder=decoder,
            codec=codec,
            ack_policy=ack_policy,
            no_reply=no_reply,
            persistent=persistent,
            title=title,
            description=description,
            include_in_schema=include_in_schema,
        )


class TimersRouter(TimersRegistrator, BrokerRouter[TimerDelivery, TimersRouterConfig]):
    """A group of subscribers and publishers that a broker or router includes.

    Args:
        prefix: Prepended to the topics of all its subscribers and publishers.
        handlers: Its handlers, in addition to decorated ones.
        dependencies: FastStream dependencies of its handlers.
        middlewares: Middlewares of its subscribers and publishers.
        routers: Routers to include.
        parser: Makes messages of deliveries.
        decoder: Decodes bodies.
        include_in_schema: Whether AsyncAPI documents include its endpoints.
        ack_policy: What happens to a timer whose handler raises.
        retry_policy: What follows a failed attempt, see `subscriber`; by default the
            broker's.
        dead_letter_topic: Its dead-letter topic, see `subscriber`; by default the broker's.
        duty: How many workers are on duty, see `subscriber`; by default the broker's.
        underlying_driver_annotations: See `TimersBroker`; added to the broker's.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument can't be used.
    """

    @read_arguments
    def __init__(  # noqa: PLR0913  FastStream's arguments
        self,
        prefix: str = "",
        handlers: Iterable[TimersRoute] = (),
        *,
        dependencies: "Sequence[Dependant]" = (),
        middlewares: Sequence[BrokerMiddleware[Any, Any]] = (),
        routers: Iterable[TimersRegistrator] = (),
        parser: CustomCallable | None = None,
        decoder: CustomCallable | None = None,
        include_in_schema: bool | None = None,
        ack_policy: AckPolicy = EMPTY,
        retry_policy: RetryDecision | None = EMPTY,
        dead_letter_topic: str | None = EMPTY,
        duty: int | None = EMPTY,
        underlying_driver_annotations: Mapping[Any, Any] | None = None,
    ) -> None:
        """Register the handlers."""
        super().__init__(
            handlers=handlers,
            config=TimersRouterConfig(
                prefix=prefix,
                ack_policy=ack_policy,
                retry_policy=retry_policy,
                dead_letter_topic=dead_letter_topic,
                duty=duty,
                broker_dependencies=dependencies,
                broker_middlewares=middlewares,
                broker_parser=parser,
                broker_decoder=decoder,
                include_in_schema=include_in_schema,
                underlying_driver_annotations=underlying_driver_annotations or {},
            ),
            routers=routers,
        )
