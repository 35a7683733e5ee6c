"""The broker: schedules timers, and delivers them to its subscribers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, overload

from fast_depends import dependency_provider
from faststream import AckPolicy
from faststream.exceptions import SetupError
from faststream.response import PublishType
from faststream.specification.schema import BrokerSpec, Tag, TagDict

from faststream_redis_timers._faststream import (
    EMPTY,
    BrokerMiddleware,
    BrokerUsecase,
    CodecProto,
    ContextRepo,
    CustomCallable,
    FastDependsConfig,
    IdGenerator,
    LoggerProto,
    Registrator,
    make_logger_state,
)
from faststream_redis_timers.arguments import read_arguments, read_level
from faststream_redis_timers.configs import TimersBrokerConfig
from faststream_redis_timers.delivered import TimerDelivery
from faststream_redis_timers.delivery import words
from faststream_redis_timers.log import TimersLoggerStorage
from faststream_redis_timers.message import TimerMessage
from faststream_redis_timers.publisher.producer import TimersProducer
from faststream_redis_timers.registrator import TimersRegistrator
from faststream_redis_timers.response import TimerPublishCommand
from faststream_redis_timers.retry_policy import RetryDecision
from faststream_redis_timers.schemas import DUTY
from faststream_redis_timers.subscriber.usecase import TimersSubscriber
from faststream_redis_timers_sync.protocol.clients import fitted_keys
from faststream_redis_timers_sync.protocol.declared import ensure_series
from faststream_redis_timers_sync.protocol.envelope import HeaderValue
from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.keys import (
    DEFAULT_ATTEMPTS_KEY,
    DEFAULT_PAYLOADS_KEY,
    DEFAULT_SERIES_KEY,
    DEFAULT_TIMELINE_KEY,
    REMEMBERED_TOPICS,
    KeySpace,
    plain,
    prefixed,
)
from faststream_redis_timers_sync.protocol.model import EnsuredSeries, IfExists, Timer
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.recurrence import Repeat
from faststream_redis_timers_sync.protocol.replication import (
    DEFAULT_CONFIRM_TIMEOUT,
    read_confirmation,
)
from faststream_redis_timers_sync.protocol.safe_text import text_of
from faststream_redis_timers_sync.protocol.timers import new_timer_id

if TYPE_CHECKING:
    from fast_depends import Provider
    from fast_depends.dependencies import Dependant
    from fast_depends.library.serializer import SerializerProto
    from faststream.security import BaseSecurity
    from redis.asyncio import Redis, RedisCluster
    from redis.asyncio.client import Pipeline

    from faststream_redis_timers.calls.runner import Runner

PING_TIMEOUT = 5.0
"""Seconds of `TimersBroker.ping` where none are given."""

_LOOK_TIMEOUT = 1.0
"""Seconds for a look at the other layout of keys, which a start is not to wait for longer."""


class TimersBroker(
    TimersRegistrator, BrokerUsecase[TimerDelivery, "Redis | RedisCluster", TimersBrokerConfig]
):
    """A FastStream broker of timers on Redis or Valkey.

    Args:
        client: A `redis.asyncio.Redis` or, with `hash_tags`, a `redis.asyncio.RedisCluster`, which
            stays the caller's, may be shared, and is never closed; or a URL, of which a client
            with timeouts of 2 seconds and without redis-py's repeats is made, and closed on
            `stop`. Query options of redis-py's URLs win. ``redis+cluster://node-1,node-2``
            names nodes of a Redis Cluster. Each connects at the first use. Without one the
            broker can be described and tested, not started.
        timeline_key: Name that the timelines' keys begin with.
        payloads_key: Name that the payloads' keys begin with.
        attempts_key: Name that the attempts' keys begin with.
        series_key: Name that the keys begin with which list declared series, one per owner.
        hash_tags: Whether keys have hash tags, as a Redis Cluster needs them; see
            docs/how-to/hash-tags.md. All that share topics need the same. The URL of a cluster
            implies them.
        prefix: Put before all topics, those of routers included.
        series_owner: Who declares the series of `add_series`, for example the application's name.
            Each application has one of its own: by it those are found that are declared no
            longer. The prefix comes before it, as before topics.
        prune_series: Whether `start` prunes too: it cancels series that the same owner has declared
            before and does not declare now. Only for an application with a single worker; otherwise
            call `ensure_series(prune=True)` in a step of the deploy: in a rolling deploy a worker
            of the old version that starts again would cancel what the new version has added.
            Without it they go on, and each start warns of them.
        start_timeout: Seconds within which the server must answer `start`; 0 asks it once.
        graceful_timeout: Seconds that running handlers have to finish on `stop`;
            None waits without limit.
        confirm_replicas: How many replicas must have each timer that is scheduled, moved or
            cancelled before the call returns; see docs/replication.md. None asks none.
        confirm_timeout: Seconds that they have for it.
        ack_policy: What an error in a handler means; by default another try
            after the lease.
        retry_policy: What follows a failed attempt, see `subscriber`; by default
            another one, without end.
        dead_letter_topic: Where timers are set aside, for example ``"{topic}:dead"``, see
            `subscriber`; by default they are removed.
        duty: How many workers of a topic claim when a timer is due, see `subscriber`.
        codec: Encodes and decodes bodies.
        parser: Makes messages of deliveries.
        decoder: Decodes bodies, in FastStream's older way.
        dependencies: FastStream dependencies of all handlers.
        middlewares: Middlewares of all subscribers and publishers.
        routers: Routers to include.
        logger: None is silent; by default each line names topic and id.
        log_level: Level of the lines of each message, or its name in any case.
        apply_types: Whether FastDepends converts handlers' arguments.
        serializer: What FastDepends converts with, by default pydantic.
        provider: Overrides of dependencies.
        context: FastStream's context.
        id_generator: Makes the ids of timers that are given none, and so their
            correlation ids; it must never give one twice.
        underlying_driver_annotations: Types of arguments that FastStream refuses
            to inject, and what to annotate with instead; added to our own.
        security: User, password and TLS of a client made from a URL, over whose
            own they win; with a client of yours it only stands in documents,
            where user and password never do.
        specification_url: The server's URL in AsyncAPI documents; by default
            made from the client, without user and password.
        protocol: Its protocol there; by default ``rediss`` where that URL says
            so, else ``redis``.
        protocol_version: Its version there.
        description: Its description there.
        tags: Its tags there.

    Raises:
        TypeError: An argument has the wrong type: for example `client` is a blocking client,
            or one of a cluster without `hash_tags`, or `security` is nothing that Redis knows.
        ValueError: An argument can't be used: for example a key's name is empty or used
            twice, `graceful_timeout` is negative, `prune_series` has no `series_owner`, redis-py
            does not understand the URL, or
            `security` asks for TLS on a Unix socket.
    """

    config: Any

    _load_companions: ClassVar[Callable[[], Mapping[Any, Any]]]
    """Loads what FastStream looks for beside a broker, and what imports this module itself: the
    test broker, with which an AsgiFastStream makes its page, and the annotations of handlers'
    arguments, which it gives. The package sets it."""

    @read_arguments
    def __init__(  # noqa: PLR0913  FastStream's arguments
        self,
        client: "Redis | RedisCluster | str | None" = None,
        *,
        timeline_key: str = DEFAULT_TIMELINE_KEY,
        payloads_key: str = DEFAULT_PAYLOADS_KEY,
        attempts_key: str = DEFAULT_ATTEMPTS_KEY,
        series_key: str = DEFAULT_SERIES_KEY,
        hash_tags: bool = False,
        prefix: str = "",
        series_owner: str | None = None,
        prune_series: bool = False,
        start_timeout: float = 3.0,
        graceful_timeout: float | None = 15.0,
        confirm_replicas: int | None = None,
        confirm_timeout: float = DEFAULT_CONFIRM_TIMEOUT,
        ack_policy: AckPolicy = EMPTY,
        retry_policy: RetryDecision | None = EMPTY,
        dead_letter_topic: str | None = EMPTY,
        duty: int | None = DUTY,
        codec: CodecProto | None = None,
        parser: CustomCallable | None = None,
        decoder: CustomCallable | None = None,
        dependencies: "Sequence[Dependant]" = (),
        middlewares: Sequence[BrokerMiddleware[Any, Any]] = (),
        routers: Iterable[Registrator[Any, Any]] = (),
        logger: LoggerProto | None = EMPTY,
        log_level: int | str = logging.INFO,
        apply_types: bool = True,
        serializer: "SerializerProto | None" = EMPTY,
        provider: "Provider | None" = None,
        context: ContextRepo | None = None,
        id_generator: IdGenerator = new_timer_id,
        underlying_driver_annotations: Mapping[Any, Any] | None = None,
        security: "BaseSecurity | None" = None,
        specification_url: str | None = None,
        protocol: str | None = None,
        protocol_version: str = "custom",
        description: str | None = None,
        tags: Iterable[Tag | TagDict] = (),
    ) -> None:
        """Check the arguments; nothing is sent yet."""
        if not start_timeout >= 0:
            msg = f"start_timeout must be 0 or more seconds, got {start_timeout!r}"
            raise ValueError(msg)
        self._start_timeout = start_timeout
        if prune_series and series_owner is None:
            msg = "prune_series=True needs series_owner=, whose series it is to cancel"
            raise ValueError(msg)
        self._series_owner = series_owner
        self._prune_series = prune_series
        from faststream_redis_timers.connection import (  # noqa: PLC0415  it imports redis-py
            TimersConnection,
        )

        keys = KeySpace(
            timeline_key=timeline_key,
            payloads_key=payloads_key,
            attempts_key=attempts_key,
            series_key=series_key,
            hash_tags=hash_tags,
        )
        keys = fitted_keys(keys, client)
        self._full_topics: dict[str, str] = {}
        confirmation = read_confirmation(confirm_replicas, confirm_timeout)
        connection = TimersConnection(
            client,
            self._prepare,
            self._write_log,
            security,
            confirmation,
            hash_tags=keys.hash_tags,
        )
        operations = Operations(replace(keys, database=connection.database))
        url = specification_url or connection.address
        super().__init__(
            config=TimersBrokerConfig(
                connection=connection,
                operations=operations,
                prefix=prefix,
                producer=TimersProducer(
                    connection,
                    operations,
                    parser=parser,
                    decoder=decoder,
                    codec=codec,
                    id_generator=id_generator,
                ),
                broker_middlewares=middlewares,
                broker_parser=parser,
                broker_decoder=decoder,
                broker_codec=codec,
                logger=make_logger_state(
                    logger=logger,
                    log_level=read_level("log_level", log_level),
                    default_storage_cls=TimersLoggerStorage,
                ),
                fd_config=FastDependsConfig(
                    use_fastdepends=apply_types,
                    serializer=serializer,
                    provider=provider or dependency_provider,
                    context=context or ContextRepo(),
                ),
                broker_dependencies=dependencies,
                graceful_timeout=graceful_timeout,
                ack_policy=ack_policy,
                retry_policy=retry_policy,
                dead_letter_topic=dead_letter_topic,
                duty=duty,
                id_generator=id_generator,
                underlying_driver_annotations=underlying_driver_annotations or {},
                default_driver_annotations=type(self)._load_companions(),  # noqa: SLF001  its own
                extra_context={"broker": self},
            ),
            specification=BrokerSpec(
                url=[url],
                protocol=protocol or ("rediss" if url.startswith("rediss") else "redis"),
                protocol_version=protocol_version,
                description=description,
                tags=tags,
                security=security,
            ),
            routers=routers,
        )

    # --- life

    async def connect(self) -> "Redis | RedisCluster":
        """Connect. The first call that needs the server does it too, but not after `stop`.

        Returns:
            The client.

        Raises:
            IncorrectState: The broker has no client, or another event loop uses it.
        """
        # It may be that of an event loop that is closed by now.
        self._connection = None
        return await super().connect()

    async def _connect(self) -> "Redis | RedisCluster":
        client: Redis | RedisCluster = self.config.connection.open()
        # The application may have brought another serializer since the first use.
        self._prepare(client)
        return client

    def _prepare(self, client: "Redis | RedisCluster") -> None:
        config: TimersBrokerConfig = self.config.broker_config
        producer: Any = config.producer
        producer.connect(config.fd_config._serializer)  # noqa: SLF001  as FastStream's own
        self._connection = client
        self._setup_logger()

    async def start(self) -> None:
        """Connect, ensure the declared series, and begin to deliver; nothing if it is running.

        Raises:
            SetupError: Series are declared, and there is no `series_owner`.
            IncorrectState: The broker has no client, or another event loop uses it.
            TimeoutError: The server did not answer within `start_timeout`.
            Exception: The series could not be ensured: as `ensure_series`. Nothing is delivered.
                But where the server is out of memory, a topic is torn or a replica is missing,
                an ERROR in the log says so, and all is delivered.
        """
        if self.running:
            return
        self._check_owner()
        await self.connect()
        try:
            await self.config.connection.wait_for_server(self._start_timeout)
            await self._look_elsewhere()
            await self._ensure_declared()
            await super().start()
        except BaseException:
            await self.stop()
            raise

    def _check_owner(self) -> None:
        declared = self.declared_series
        if declared and self._series_owner is None:
            first = declared[0].series
            msg = (
                f"series {first.timer_id!r} of topic {first.topic!r} is declared, and the broker "
                "has no series_owner: write TimersBroker(..., series_owner='NAME-OF-APPLICATION')"
            )
            raise SetupError(msg)

    async def _ensure_declared(self) -> None:
        if self._series_owner is None:
            return
        from redis.exceptions import (  # noqa: PLC0415  a broker is made without redis-py
            OutOfMemoryError,
        )

        try:
            await self.ensure_series(prune=self._prune_series)
        except (OutOfMemoryError, TimersError) as error:
            # Delivering is what frees memory; and one topic that is torn, or a replica that is
            # missing, is no reason to deliver nothing at all.
            self._write_log(logging.ERROR, words.series_not_ensured(text_of(error)))

    async def ensure_series(self, *, prune: bool = False) -> EnsuredSeries:
        """Create and update the series of `add_series`, as `start` does, without delivering.

        For a step of a deploy, after `connect`. It may be called by several processes at once,
        and again where it failed. What it did stands in the log.

        Args:
            prune: Whether to cancel series that the same owner has declared before and does not
                declare now. Only when the last worker of the old version is gone.

        Returns:
            What became of them. `removed` are series that are not declared now; they go on,
            unless `prune` is True.

        Raises:
            SetupError: The broker has no `series_owner`.
            TypeError: A message, header or `prune` has the wrong type.
            ValueError: A series is declared twice, or a message or header can't be encoded.
                Nothing is written then.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        if self._series_owner is None:
            msg = (
                "ensure_series() needs an owner: write "
                "TimersBroker(..., series_owner='NAME-OF-APPLICATION')"
            )
            raise SetupError(msg)
        owner = prefixed(self.config.prefix, self._series_owner, "series_owner")
        declared = [await one.encode(owner) for one in self.declared_series]
        steps = ensure_series(
            self._operations, declared, owner=owner, prefix=self.config.prefix, prune=prune
        )
        ensured = await self._runner.run_steps(steps)
        repeats = {(topic, timer.timer_id): timer.repeat for topic, timer in declared}
        log = self._write_log
        for name in ensured.created:
            log(logging.INFO, words.series_created(*name, repeats[name]), name[0])
        for name in ensured.changed:
            log(logging.INFO, words.series_changed(*name, repeats[name]), name[0])
        for name in ensured.removed:
            if prune:
                log(logging.WARNING, words.series_pruned(*name, owner), name[0])
            else:
                log(logging.WARNING, words.series_removed(*name, owner), name[0])
        for name in ensured.skipping:
            log(logging.WARNING, words.series_skipping(*name), name[0])
        return ensured

    async def _look_elsewhere(self) -> None:
        """Warn of subscribers whose topics have timers in the other layout of keys."""
        subscribers = [each for each in self.subscribers if isinstance(each, TimersSubscriber)]
        steps = self._operations.find_elsewhere(each.topic for each in subscribers)
        try:
            found = await self._runner.run_steps(steps, _LOOK_TIMEOUT)
        except Exception:  # noqa: BLE001  what is wrong with the server, the delivery will say
            return
        for each in subscribers:
            if each.topic in found:
                each.warn_of_other_layout()

    async def stop(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """Stop delivering and let go of the client; `start` begins anew.

        A client of yours can be used as before. One made from a URL is closed, and made anew
        by `connect` and `start` alone: until then all else raises `IncorrectState`.

        Running handlers have `graceful_timeout`, then they are cancelled and
        their timers given back.
        """
        try:
            # FastStream 0.7.6 stops one after the other, and each has the whole timeout.
            stops = (subscriber.stop() for subscriber in self.subscribers)
            await asyncio.gather(*stops, return_exceptions=True)
            await super().stop(exc_type, exc_val, exc_tb)
        finally:
            self._connection = None
            await self.config.connection.close()

    async def __aenter__(self) -> Self:
        """Start."""
        # Connecting is apart from starting where a test replaces either.
        await self.connect()
        await self.start()
        return self

    async def ping(self, timeout: float | None = None) -> bool:
        """Tell whether the server answers and all delivery loops are at work.

        False after `stop`, until `connect` or `start`.

        Args:
            timeout: Seconds to wait for the answer; None means 5.
        """
        subscribers: list[Any] = self.subscribers
        if not all(s.alive for s in subscribers if isinstance(s, TimersSubscriber)):
            return False
        timeout = PING_TIMEOUT if timeout is None else timeout
        return await self.config.connection.is_answered(timeout)  # type: ignore[no-any-return]

    # --- scheduling

    async def publish(  # noqa: PLR0913  a timer has many properties
        self,
        message: Any,
        topic: str,
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
        """Schedule a timer. Without a time it is due at once.

        Args:
            message: str, bytes, None, or anything that the serializer makes JSON of.
            topic: Where its subscriber listens.
            timer_id: An id of your own, unique in the topic; None makes one.
            activate_in: Delay until it is due, counted by the server's clock; a
                negative one means now.
            activate_at: Time at which it is due, with a time zone; one in the
                past means now.
            repeat: When it is due again and again, in place of a time:
                ``Every(minutes=5)`` or ``Cron("0 9 * * *", tz="Europe/Berlin")``.
                It needs a `timer_id`. The first time is the next one after the
                server's now, which is asked for.
            correlation_id: Reaches the handler; by default the timer id, with
                `repeat` followed by the time of the occurrence.
            headers: Reach the handler as text.
            reply_to: Topic on which the handler's result becomes a timer.
            if_exists: Where a timer of this id waits already: ``"replace"`` it,
                ``"keep"`` it (and drop this one), or raise (``"error"``). One
                that runs at this moment does not stand in the way. None replaces
                it; a recurring timer updates it instead (``"update"``): with the
                same `repeat` the message is new, and the due time stays.
            pipeline: Put it into this pipeline of yours instead of sending it.

        Returns:
            The timer's id.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument can't be used; its name and value are named.
            TimerExistsError: With ``if_exists="error"``.
            TimerOutcomeUnknownError: The server's answer was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        command = TimerPublishCommand(
            message,
            topic=self._full(topic),
            timer_id=timer_id,
            activate_in=activate_in,
            activate_at=activate_at,
            repeat=repeat,
            if_exists=if_exists,
            pipeline=pipeline,
            headers=headers,
            correlation_id=correlation_id,
            reply_to=reply_to and self._full(reply_to, "reply_to"),
            _publish_type=PublishType.PUBLISH,
        )
        return await self._basic_publish(command, producer=self.config.producer)  # type: ignore[no-any-return]

    async def publish_batch(  # type: ignore[override]  # noqa: PLR0913
        self,
        *messages: Any,
        topic: str,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        repeat: Repeat | None = None,
        correlation_id: str | None = None,
        headers: Mapping[str, HeaderValue] | None = None,
        reply_to: str = "",
        if_exists: IfExists | None = None,
        pipeline: "Pipeline | None" = None,
    ) -> list[str]:
        """Schedule many timers of one topic, in calls of up to 200 timers and 512 KiB.

        Each call is atomic.

        Args:
            *messages: Messages, or `TimerPublishMessage` for one with an id, time,
                `repeat`, headers or correlation id of its own.
            topic: Where their subscriber listens.
            activate_in: As in `publish`, for messages without a time of their own.
            activate_at: As in `publish`, for messages without a time of their own.
            repeat: As in `publish`, for messages without a time or `repeat` of their
                own; each needs a `timer_id` then.
            correlation_id: For messages without one of their own.
            headers: For all messages; a message's own headers win.
            reply_to: As in `publish`.
            if_exists: As in `publish`.
            pipeline: As in `publish`.

        Returns:
            Their ids, in the order of the messages.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument can't be used, or an id occurs twice.
            TimerExistsError: With ``if_exists="error"``. Nothing of that call
                was scheduled; earlier calls were.
            TimerOutcomeUnknownError: The server's answer to a call was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        topic = self._full(topic)
        if not messages:
            return []
        command = TimerPublishCommand(
            *messages,
            topic=topic,
            activate_in=activate_in,
            activate_at=activate_at,
            repeat=repeat,
            if_exists=if_exists,
            pipeline=pipeline,
            headers=headers,
            correlation_id=correlation_id,
            reply_to=reply_to and self._full(reply_to, "reply_to"),
            _publish_type=PublishType.PUBLISH,
        )
        return await self._basic_publish_batch(  # type: ignore[no-any-return]
            command, producer=self.config.producer
        )

    async def request(  # type: ignore[override]
        self,
        message: Any,
        topic: str,
        *,
        correlation_id: str | None = None,
        headers: Mapping[str, HeaderValue] | None = None,
        timeout: float = 0.5,
    ) -> TimerMessage:
        """Not supported: timers have no answer to wait for.

        In a `TestTimersBroker` it calls the handler. "Try it out" on FastStream's AsyncAPI
        page comes in here.

        Args:
            message: As in `publish`.
            topic: As in `publish`.
            correlation_id: As in `publish`.
            headers: As in `publish`.
            timeout: Seconds that the handler may take.

        Raises:
            FeatureNotSupportedException: Always, but in a test.
        """
        command = TimerPublishCommand(
            message,
            topic=self._full(topic),
            headers=headers,
            correlation_id=correlation_id,
            _publish_type=PublishType.REQUEST,
        )
        async with asyncio.timeout(timeout):
            return await self._basic_request(  # type: ignore[no-any-return]
                command, producer=self.config.producer
            )

    @overload
    async def reschedule_timer(
        self,
        topic: str,
        timer_id: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        pipeline: None = None,
    ) -> bool: ...

    @overload
    async def reschedule_timer(
        self,
        topic: str,
        timer_id: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        pipeline: "Pipeline",
    ) -> None: ...

    async def reschedule_timer(
        self,
        topic: str,
        timer_id: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        pipeline: "Pipeline | None" = None,
    ) -> bool | None:
        """Move a timer to another due time; one that runs fires again then.

        Of a recurring timer only the next occurrence is moved. A paused one is resumed.

        Args:
            topic: Its topic.
            timer_id: Its id.
            activate_in: Delay from now, counted by the server's clock.
            activate_at: Time with a time zone. One of the two must be given.
            pipeline: Put it into this pipeline of yours instead of sending it.

        Returns:
            Whether the timer existed, waiting or running; None in a pipeline.

        Raises:
            TypeError: No time was given, or an argument has the wrong type.
            ValueError: An argument can't be used; its name and value are named.
            TimerOutcomeUnknownError: The server's answer was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        operation = self._operations.reschedule(
            self._full(topic), timer_id, activate_in=activate_in, activate_at=activate_at
        )
        return await self._runner.run_or_queue(operation, pipeline)

    @overload
    async def cancel_timer(self, topic: str, timer_id: str, *, pipeline: None = None) -> bool: ...

    @overload
    async def cancel_timer(self, topic: str, timer_id: str, *, pipeline: "Pipeline") -> None: ...

    async def cancel_timer(
        self, topic: str, timer_id: str, *, pipeline: "Pipeline | None" = None
    ) -> bool | None:
        """Cancel a timer. Afterwards it is gone, whatever the answer.

        A recurring timer ends, also where it runs at this moment and False is returned.

        Args:
            topic: Its topic.
            timer_id: Its id.
            pipeline: Put it into this pipeline of yours instead of sending it.

        Returns:
            True if it was waiting: no worker will claim it any more. False if it
            ran at this moment or is unknown. None in a pipeline.

        Raises:
            ValueError: Topic or id is empty.
            TimerOutcomeUnknownError: The server's answer was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        operation = self._operations.cancel(self._full(topic), timer_id)
        return await self._runner.run_or_queue(operation, pipeline)

    async def pause_timer(self, topic: str, timer_id: str) -> bool:
        """Pause a recurring timer: nothing is due until it is resumed.

        Where its handler runs at this moment it goes on, and its end does nothing: no
        occurrence follows, and a failure is not retried. `reschedule_timer` resumes a paused
        timer too, at the time given; `cancel_timer` ends the series.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Returns:
            Whether it is paused now, also where it was before. False if it is unknown.

        Raises:
            ValueError: It is no recurring timer, or topic or id is empty.
            TimerOutcomeUnknownError: The server's answer was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        return await self._runner.run(self._operations.pause(self._full(topic), timer_id))

    async def resume_timer(self, topic: str, timer_id: str) -> bool:
        """Make a paused timer due again, at its next time after the server's now.

        What it missed while it was paused is not made up for.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Returns:
            Whether it was paused. False if it was not, or is unknown; then nothing is changed.

        Raises:
            ValueError: This machine does not know its time zone, it has no further time, or
                topic or id is empty.
            ModuleNotFoundError: It is a `Cron`, and cronsim is not installed.
            TimerOutcomeUnknownError: The server's answer was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        return await self._runner.run_steps(self._operations.resume(self._full(topic), timer_id))

    async def cancel_timers(self, topic: str, timer_ids: Iterable[str]) -> int:
        """Cancel several timers, 200 in a call.

        Args:
            topic: Their topic.
            timer_ids: Their ids.

        Returns:
            How many of them were waiting.

        Raises:
            ValueError: Topic or an id is empty.
            TimerOutcomeUnknownError: The server's answer to a call was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        steps = self._operations.cancel_many(self._full(topic), timer_ids)
        return await self._runner.run_steps(steps)

    async def cancel_all(self, topic: str) -> int:
        """Cancel all timers of a topic, running ones too.

        Args:
            topic: The topic.

        Returns:
            How many there were, running ones included.

        Raises:
            TimerOutcomeUnknownError: The server's answer was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        return await self._runner.run(self._operations.cancel_all(self._full(topic)))

    async def redrive(self, dead_topic: str, timer_ids: Iterable[str] | None = None) -> int:
        """Put dead letters back into the topics that they come from, due now.

        Each comes back under its old id with its attempts at zero, and without the
        headers that told of its end. A dead letter stays where a timer of that id waits,
        where a handler holds it, or with hash tags where it comes from a topic of another
        slot; so do timers of the topic that are no dead letters.

        A dead letter of a recurring timer is one occurrence: it runs once under its own id, and
        keeps the headers that name its series. A recurring timer stands in the way while it runs,
        too.

        Args:
            dead_topic: The topic for dead letters, for example ``"invoices:dead"``.
            timer_ids: Their ids there; None means all that there are now.

        Returns:
            How many were put back.

        Raises:
            TypeError: `timer_ids` is a single id.
            TimerOutcomeUnknownError: The server's answer was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        steps = self._operations.redrive(self._full(dead_topic, "dead_topic"), timer_ids)
        return await self._runner.run_steps(steps)

    # --- looking

    async def has_pending(self, topic: str, timer_id: str) -> bool:
        """Tell whether a timer is pending: scheduled and neither done nor cancelled.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Raises:
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        return await self._runner.run(self._operations.has_pending(self._full(topic), timer_id))

    async def get_timer(self, topic: str, timer_id: str) -> Timer | None:
        """Read a pending timer.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Returns:
            The timer, None if it is not pending.

        Raises:
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        return await self._runner.run(self._operations.get(self._full(topic), timer_id))

    async def get_pending_timers(self, topic: str, before: datetime | None = None) -> list[str]:
        """List the ids of pending timers in order of due time, running ones too.

        Args:
            topic: The topic.
            before: Only those due at this time or before it.

        Raises:
            ValueError: `before` is naive.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        timers = self.iter_timers(topic, before=before, bodies=False)
        return [timer.timer_id async for timer in timers]

    def iter_timers(
        self,
        topic: str,
        *,
        match: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        bodies: bool = True,
    ) -> AsyncIterator[Timer]:
        """Read pending timers in order of due time, running ones too, page by page.

        A timer that is scheduled, moved or fires meanwhile may be left out or
        come twice; any other comes once (with `match` also twice while the topic
        changes its size).

        Args:
            topic: The topic.
            match: Only ids that match this glob pattern (``user:42:*``); the
                order is then none.
            after: Only timers due after this time.
            before: Only timers due at this time or before it.
            bodies: Whether to read bodies and headers too.

        Raises:
            ValueError: A time is naive, or `match` is empty.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        pages = self._operations.iterate(
            self._full(topic), match=match, after=after, before=before, bodies=bodies
        )
        return self._runner.iterate(pages)

    async def count_pending(self, topic: str) -> int:
        """Count the pending timers of a topic, running ones too.

        Args:
            topic: The topic.

        Raises:
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: What the server or the connection says.
        """
        return await self._runner.run(self._operations.count(self._full(topic)))

    @property
    def _operations(self) -> Operations:
        return self.config.operations  # type: ignore[no-any-return]

    @property
    def _runner(self) -> "Runner":
        return self.config.connection.runner  # type: ignore[no-any-return]

    def _full(self, topic: str, argument: str = "topic") -> str:
        known = self._full_topics
        full = known.get(topic) if type(topic) is str else None
        if full is None:
            full = prefixed(self.config.prefix, topic, argument)
            self._operations.keys.checked(full, argument)
            if len(known) >= REMEMBERED_TOPICS:
                known.clear()
            # Finding it takes as long as encoding a small message.
            known[plain(topic)] = full
        return full

    def _write_log(self, level: int, message: str, topic: str = "") -> None:
        self.config.logger.log(message, level, extra={"topic": topic})
