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

_LAYOUT_CHECK_TIMEOUT = 1.0
"""Seconds that `start` waits at most for the check of the other layout of keys."""


class TimersBroker(
    TimersRegistrator, BrokerUsecase[TimerDelivery, "Redis | RedisCluster", TimersBrokerConfig]
):
    """A FastStream broker of timers on Redis or Valkey.

    Args:
        client: A `redis.asyncio.Redis`, a `redis.asyncio.RedisCluster` (with `hash_tags`), or a
            URL. The broker never closes a client that you pass, and you may share it. From a URL
            it creates a client with timeouts of 2 seconds and without redis-py's retries, and
            closes it on `stop`; the URL's query options override both.
            ``redis+cluster://node-1,node-2`` names nodes of a Redis Cluster. All connect at the
            first use. Without a client the broker can be documented and tested, but not started.
        timeline_key: First part of the keys of timelines.
        payloads_key: First part of the keys of payloads.
        attempts_key: First part of the keys of attempts.
        series_key: First part of the keys that list declared series, one key per owner.
        hash_tags: Whether keys have hash tags, which Redis Cluster needs; see
            docs/how-to/hash-tags.md. All programs that share topics need the same value. A
            cluster's URL implies True.
        prefix: Prepended to all topics, including those of routers.
        series_owner: Owner of the series that `add_series` declares, for example the
            application's name. It must be unique per application: `start` uses it to find series
            that are no longer declared. The prefix is prepended to it, as to topics.
        prune_series: Whether `start` also cancels series that the same owner declared before and
            does not declare now. Only for applications with a single worker: in a rolling deploy
            a restarted worker of the old version would cancel what the new version added. With
            more workers, call `ensure_series(prune=True)` in a step of the deploy. If False,
            such series go on, and each start logs a warning about them.
        start_timeout: Seconds within which the server must reply to `start`; 0 tries once.
        graceful_timeout: Seconds that running handlers have to finish on `stop`;
            None waits without limit.
        confirm_replicas: How many replicas must have each timer that is scheduled, rescheduled or
            cancelled before the call returns; see docs/replication.md. None waits for no replica.
        confirm_timeout: Seconds that the replicas have for it.
        ack_policy: What happens to a timer whose handler raises; by default it is retried, see
            `retry_policy`.
        retry_policy: What follows a failed attempt, see `subscriber`; by default
            timers are retried without limit, each time when the lease would have ended.
        dead_letter_topic: Dead-letter topic, for example ``"{topic}:dead"``, see `subscriber`; by
            default timers that would go there are removed.
        duty: How many workers of a topic claim when a timer is due, see `subscriber`.
        codec: Encodes and decodes bodies.
        parser: Makes messages of deliveries.
        decoder: Decodes bodies, in FastStream's older way.
        dependencies: FastStream dependencies of all handlers.
        middlewares: Middlewares of all subscribers and publishers.
        routers: Routers to include.
        logger: The logger. None disables logging; by default each line names topic and id.
        log_level: Level of the two lines that each message writes, or its name in any case.
        apply_types: Whether FastDepends converts handlers' arguments.
        serializer: Serializer that FastDepends uses, by default pydantic.
        provider: FastDepends provider, which holds dependency overrides.
        context: FastStream's context.
        id_generator: Creates the ids, and so the correlation ids, of timers scheduled without
            an id. It must never return the same id twice.
        underlying_driver_annotations: Types of arguments that FastStream refuses
            to inject, and what to annotate with instead; added to the built-in ones.
        security: User, password and TLS of a client created from a URL; they override the URL's.
            With a client that you pass, it only appears in AsyncAPI documents, never with user
            or password.
        specification_url: The server's URL in AsyncAPI documents; by default
            taken from the client, without user and password.
        protocol: The server's protocol there; by default ``rediss`` if the URL says so,
            otherwise ``redis``.
        protocol_version: The server's protocol version there.
        description: The server's description there.
        tags: The server's tags there.

    Raises:
        TypeError: An argument has the wrong type: for example `client` is a blocking client,
            or a cluster's without `hash_tags`, or Redis does not support this `security`.
        ValueError: An argument can't be used: for example a key's name is empty or used
            twice, `graceful_timeout` is negative, `prune_series` has no `series_owner`, redis-py
            does not understand the URL, or `security` requires TLS on a Unix socket.
    """

    config: Any

    _load_companions: ClassVar[Callable[[], Mapping[Any, Any]]]
    """Loads modules that FastStream expects beside a broker, and that import this module: the
    test broker, which AsgiFastStream uses for its page, and the annotations of handlers'
    arguments, which it returns. The package sets it."""

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
        """Check the arguments; send nothing yet."""
        if not start_timeout >= 0:
            msg = f"start_timeout must be at least 0 seconds, got {start_timeout!r}"
            raise ValueError(msg)
        self._start_timeout = start_timeout
        if prune_series and series_owner is None:
            msg = "prune_series=True needs series_owner=: pruning cancels series of that owner only"
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

    # --- starting and stopping

    async def connect(self) -> "Redis | RedisCluster":
        """Connect. The first call that needs the server also connects, except after `stop`.

        Returns:
            The client.

        Raises:
            IncorrectState: The broker has no client, or another event loop uses it.
        """
        # It may belong to an event loop that is closed by now.
        self._connection = None
        return await super().connect()

    async def _connect(self) -> "Redis | RedisCluster":
        client: Redis | RedisCluster = self.config.connection.open()
        # The application may have set another serializer since the first use.
        self._prepare(client)
        return client

    def _prepare(self, client: "Redis | RedisCluster") -> None:
        config: TimersBrokerConfig = self.config.broker_config
        producer: Any = config.producer
        producer.connect(config.fd_config._serializer)  # noqa: SLF001  as FastStream's own
        self._connection = client
        self._setup_logger()

    async def start(self) -> None:
        """Connect, ensure the declared series, and start delivery; do nothing if it is running.

        Raises:
            SetupError: Series are declared, but the broker has no `series_owner`.
            IncorrectState: The broker has no client, or another event loop uses it.
            TimeoutError: The server did not reply within `start_timeout`.
            Exception: The series could not be ensured, see `ensure_series`; delivery does not
                start. If the server is out of memory, a topic is torn or a replica is missing,
                nothing is raised: an ERROR is logged, and delivery starts.
        """
        if self.running:
            return
        self._check_owner()
        await self.connect()
        try:
            await self.config.connection.wait_for_server(self._start_timeout)
            await self._check_other_layout()
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
                f"series {first.timer_id!r} of topic {first.topic!r} is declared, but the broker "
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
            # Delivery frees memory, and one torn topic or a missing replica is no reason to
            # deliver nothing at all.
            self._write_log(logging.ERROR, words.series_not_ensured(text_of(error)))

    async def ensure_series(self, *, prune: bool = False) -> EnsuredSeries:
        """Create and update the series of `add_series`, as `start` does, without delivering.

        Call it in a step of a deploy, after `connect`. Several processes may call it at once, and
        you may repeat it after an error. It logs what it did.

        Args:
            prune: Whether to cancel series that the same owner declared before and does not
                declare now. Do so only when the last worker of the old version is gone.

        Returns:
            What happened to each series. `removed` lists series that are no longer declared;
            they go on unless `prune` is True.

        Raises:
            SetupError: The broker has no `series_owner`.
            TypeError: A message, header or `prune` has the wrong type.
            ValueError: A series is declared twice, or a message or header can't be encoded;
                nothing was written.
            TimerNotReplicatedError: Too few replicas confirmed it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
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
                log(logging.WARNING, words.series_undeclared(*name, owner), name[0])
        for name in ensured.skipping:
            log(logging.WARNING, words.series_skipping(*name), name[0])
        return ensured

    async def _check_other_layout(self) -> None:
        """Warn about subscribers whose topics have timers in the other layout of keys."""
        subscribers = [each for each in self.subscribers if isinstance(each, TimersSubscriber)]
        steps = self._operations.find_elsewhere(each.topic for each in subscribers)
        try:
            found = await self._runner.run_steps(steps, _LAYOUT_CHECK_TIMEOUT)
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
        """Stop delivery and disconnect; `start` starts it again.

        A client that you passed can be used as before. A client created from a URL is closed, and
        only `connect` and `start` create another: until then all other calls raise
        `IncorrectState`.

        Running handlers have `graceful_timeout` seconds to finish; then they are cancelled and
        their timers are released.
        """
        try:
            # FastStream 0.7.6 stops one after another, and each has the whole timeout.
            stops = (subscriber.stop() for subscriber in self.subscribers)
            await asyncio.gather(*stops, return_exceptions=True)
            await super().stop(exc_type, exc_val, exc_tb)
        finally:
            self._connection = None
            await self.config.connection.close()

    async def __aenter__(self) -> Self:
        """Start."""
        # A test may replace either of the two.
        await self.connect()
        await self.start()
        return self

    async def ping(self, timeout: float | None = None) -> bool:
        """Return whether the server replies and delivery works for all subscribers.

        It returns False after `stop`, until `connect` or `start`.

        Args:
            timeout: Seconds to wait for the reply; None means 5.
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
        """Schedule a timer, by default due now.

        Args:
            message: str, bytes, None, or anything that the serializer encodes as JSON.
            topic: The topic that its subscriber listens to.
            timer_id: An id, unique in the topic; None creates one.
            activate_in: Delay until it is due, by the server's clock; negative means now.
            activate_at: Time at which it is due, with a time zone; a past time means now.
            repeat: Makes it a recurring timer, instead of a time:
                ``Every(minutes=5)`` or ``Cron("0 9 * * *", tz="Europe/Berlin")``.
                It needs a `timer_id`. The first occurrence is the next one by the server's
                clock, which the call reads.
            correlation_id: Passed to the handler; by default the timer id, with
                `repeat` followed by the time of the occurrence.
            headers: Passed to the handler as text.
            reply_to: Topic on which the handler's result is scheduled as a timer.
            if_exists: What to do if a timer with this id is waiting: ``"replace"`` it,
                ``"keep"`` it (and drop this one), or raise (``"error"``). A running timer
                does not count. None means ``"replace"``, and with `repeat` ``"update"``: if
                the `repeat` is the same, the message changes and the due time stays.
            pipeline: Add the call to this pipeline instead of sending it.

        Returns:
            The timer's id.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument can't be used; the message names it and its value.
            TimerExistsError: The timer exists, with ``if_exists="error"``.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas confirmed it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
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
            *messages: Messages; wrap one in a `TimerPublishMessage` to give it its own id, time,
                `repeat`, headers or correlation id.
            topic: The topic that their subscriber listens to.
            activate_in: As in `publish`, for messages without their own time.
            activate_at: As in `publish`, for messages without their own time.
            repeat: As in `publish`, for messages without their own time or `repeat`; each of
                them needs a `timer_id`.
            correlation_id: For messages without their own.
            headers: For all messages; a message's own headers override them.
            reply_to: As in `publish`.
            if_exists: As in `publish`.
            pipeline: As in `publish`.

        Returns:
            Their ids, in the order of the messages.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument can't be used, or an id occurs twice.
            TimerExistsError: A timer exists, with ``if_exists="error"``. That call scheduled
                nothing; earlier calls did.
            TimerOutcomeUnknownError: The server's reply to a call was lost.
            TimerNotReplicatedError: Too few replicas confirmed it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
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
        """Not supported: timers have no response to wait for.

        In a `TestTimersBroker` it calls the handler. "Try it out" on FastStream's AsyncAPI
        page uses it.

        Args:
            message: As in `publish`.
            topic: As in `publish`.
            correlation_id: As in `publish`.
            headers: As in `publish`.
            timeout: Seconds that the handler may take.

        Raises:
            FeatureNotSupportedException: Always, except in a `TestTimersBroker`.
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
        """Change the due time of a timer; a running one fires again then.

        For a recurring timer this changes only the next occurrence, and resumes it if it is
        paused.

        Args:
            topic: Its topic.
            timer_id: Its id.
            activate_in: Delay from now, counted by the server's clock.
            activate_at: Time, with a time zone. Pass one of the two.
            pipeline: Add the call to this pipeline instead of sending it.

        Returns:
            Whether the timer existed, waiting or running; None in a pipeline.

        Raises:
            TypeError: No time was given, or an argument has the wrong type.
            ValueError: An argument can't be used; the message names it and its value.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas confirmed it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
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
        """Cancel a timer. Afterwards it is gone, whatever is returned.

        A recurring timer ends, even if it is running and False is returned.

        Args:
            topic: Its topic.
            timer_id: Its id.
            pipeline: Add the call to this pipeline instead of sending it.

        Returns:
            True if it was waiting, so no worker will claim it. False if it was running or does
            not exist. None in a pipeline.

        Raises:
            ValueError: Topic or id is empty.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas confirmed it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
        """
        operation = self._operations.cancel(self._full(topic), timer_id)
        return await self._runner.run_or_queue(operation, pipeline)

    async def pause_timer(self, topic: str, timer_id: str) -> bool:
        """Pause a recurring timer: nothing is due until it is resumed.

        A running handler goes on, but its outcome has no effect: no occurrence follows, and a
        failure is not retried. `reschedule_timer` also resumes a paused timer, at the given
        time; `cancel_timer` ends the series.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Returns:
            Whether it is paused now, including if it was before. False if it does not exist.

        Raises:
            ValueError: It is not a recurring timer, or topic or id is empty.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas confirmed it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
        """
        return await self._runner.run(self._operations.pause(self._full(topic), timer_id))

    async def resume_timer(self, topic: str, timer_id: str) -> bool:
        """Resume a paused timer: it is due at its next time by the server's clock.

        Occurrences that it missed while paused are not made up.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Returns:
            Whether it was paused. False if it was not or does not exist; nothing changes then.

        Raises:
            ValueError: This machine does not know the time zone, the definition has no further
                time, or topic or id is empty.
            ModuleNotFoundError: It is a `Cron`, and cronsim is not installed.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas confirmed it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
        """
        return await self._runner.run_steps(self._operations.resume(self._full(topic), timer_id))

    async def cancel_timers(self, topic: str, timer_ids: Iterable[str]) -> int:
        """Cancel several timers, up to 200 per call to the server.

        Args:
            topic: Their topic.
            timer_ids: Their ids.

        Returns:
            How many of them were waiting.

        Raises:
            ValueError: Topic or an id is empty.
            TimerOutcomeUnknownError: The server's reply to a call was lost.
            TimerNotReplicatedError: Too few replicas confirmed it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
        """
        steps = self._operations.cancel_many(self._full(topic), timer_ids)
        return await self._runner.run_steps(steps)

    async def cancel_all(self, topic: str) -> int:
        """Cancel all timers of a topic, including running ones.

        Args:
            topic: The topic.

        Returns:
            How many were cancelled, including running ones.

        Raises:
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas confirmed it, see `confirm_replicas`.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
        """
        return await self._runner.run(self._operations.cancel_all(self._full(topic)))

    async def redrive(self, dead_topic: str, timer_ids: Iterable[str] | None = None) -> int:
        """Redrive dead letters: schedule them on their original topics, due now.

        Each has its original id again, its attempts at zero, and loses the headers that say why it
        was dead-lettered. A dead letter stays where it is if a timer with that id is waiting, if a
        handler is running it, or with hash tags if its original topic is in another slot. Timers
        in the topic that are not dead letters stay too.

        A dead letter of a recurring timer is one occurrence: it runs once under its own id, and
        keeps the headers that name its series, even while that series is running. Any dead letter
        also stays while a recurring timer with its original id is running.

        Args:
            dead_topic: The dead-letter topic, for example ``"invoices:dead"``.
            timer_ids: Their ids there; None means all that are there now.

        Returns:
            How many were redriven.

        Raises:
            TypeError: `timer_ids` is a single id, not a list.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas confirmed it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
        """
        steps = self._operations.redrive(self._full(dead_topic, "dead_topic"), timer_ids)
        return await self._runner.run_steps(steps)

    # --- inspecting

    async def has_pending(self, topic: str, timer_id: str) -> bool:
        """Return whether a timer is pending: scheduled, and not settled or cancelled yet.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Raises:
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
        """
        return await self._runner.run(self._operations.has_pending(self._full(topic), timer_id))

    async def get_timer(self, topic: str, timer_id: str) -> Timer | None:
        """Read a pending timer.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Returns:
            The timer; None if it is not pending.

        Raises:
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
        """
        return await self._runner.run(self._operations.get(self._full(topic), timer_id))

    async def get_pending_timers(self, topic: str, before: datetime | None = None) -> list[str]:
        """Return the ids of pending timers in order of due time, including running ones.

        Args:
            topic: The topic.
            before: Only timers due at or before this time.

        Raises:
            ValueError: `before` has no time zone.
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
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
        """Iterate over pending timers in order of due time, including running ones, in pages.

        A timer that is scheduled, rescheduled or fires meanwhile may be left out or occur
        twice. Every other timer occurs once, but with `match` it may occur twice while the
        topic's size changes.

        Args:
            topic: The topic.
            match: Only timers whose ids match this glob pattern (``user:42:*``), in no
                particular order.
            after: Only timers due after this time.
            before: Only timers due at or before this time.
            bodies: Whether to also read bodies and headers.

        Raises:
            ValueError: A time has no time zone, or `match` is empty.
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
        """
        pages = self._operations.iterate(
            self._full(topic), match=match, after=after, before=before, bodies=bodies
        )
        return self._runner.iterate(pages)

    async def count_pending(self, topic: str) -> int:
        """Return the number of pending timers of a topic, including running ones.

        Args:
            topic: The topic.

        Raises:
            TopicTornError: With hash tags: the topic's payloads are gone.
            IncorrectState: The broker has no client, `stop` has closed it, or another event loop
                uses it.
            redis.RedisError: The server or the connection failed.
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
            # Computing it takes as long as encoding a small message.
            known[plain(topic)] = full
        return full

    def _write_log(self, level: int, message: str, topic: str = "") -> None:
        self.config.logger.log(message, level, extra={"topic": topic})
