"""The blocking client: schedules, moves, cancels and shows timers; workers deliver them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, overload

import redis
from redis.client import Pipeline

from faststream_redis_timers_sync.calls.opening import open_runner
from faststream_redis_timers_sync.protocol.clients import database_of, fitted_keys, is_cluster
from faststream_redis_timers_sync.protocol.declared import (
    check_series,
    compare_series,
    ensure_series,
)
from faststream_redis_timers_sync.protocol.encoding import check_json, encode_message
from faststream_redis_timers_sync.protocol.envelope import HeaderValue
from faststream_redis_timers_sync.protocol.keys import (
    DEFAULT_ATTEMPTS_KEY,
    DEFAULT_PAYLOADS_KEY,
    DEFAULT_SERIES_KEY,
    DEFAULT_TIMELINE_KEY,
    KeySpace,
    plain_prefix,
    prefixed,
)
from faststream_redis_timers_sync.protocol.model import (
    EncodedTimer,
    EnsuredSeries,
    IfExists,
    Series,
    Timer,
)
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.recurrence import Repeat
from faststream_redis_timers_sync.protocol.replication import (
    DEFAULT_CONFIRM_TIMEOUT,
    read_confirmation,
)
from faststream_redis_timers_sync.protocol.timers import (
    as_publish_message,
    encode_batch_item,
    encode_timer,
    name_topic,
    refuse_publish_message,
)
from faststream_redis_timers_sync.protocol.tracing import add_trace, current_trace


class TimersClient:
    """Schedules timers from blocking code, for FastStream workers to deliver.

    A client may be shared between threads, and used on both sides of a fork. One that you give
    can hang in a process that is forked while another thread takes a connection (redis-py 8.1):
    make it in that process, or give a URL.

    Made from a URL it is fit for a web request: a server that refuses is an error at
    once, one that accepts and stays silent after 2 seconds. A call is sent once; only
    a look at timers is asked again, once, where its connection broke.

    A client that you give may have a `retry`: every ``redis.Redis(...)`` has one from
    redis-py 6 on, unless you pass another (``Retry(NoBackoff(), 0)``). It acts while a
    connection is being made, which changes no answer, but a silent server takes longer
    to become an error, about a minute with redis-py's own. And it executes a pipeline
    of yours again where the reply was lost. A cancel in it that worked then answers
    ``b"0"``, as for a timer that was not pending; one scheduled with
    ``if_exists="keep"`` answers ``b"0"``, since its own timer waits already; a recurring
    one answers ``b"s"``, since it is there with the same `repeat`; and one
    that was delivered in between is scheduled anew. Calls without `pipeline` are not
    repeated by it.

    Args:
        client: A `redis.Redis` or, with `hash_tags`, a `redis.RedisCluster`, which stays the
            caller's and is never closed; or a URL, of which a client with timeouts of 2 seconds
            and without redis-py's repeats is made, and closed by `close`.
            ``redis+cluster://node-1,node-2`` names nodes of a Redis Cluster.
        timeline_key: Name that the timelines' keys begin with.
        payloads_key: Name that the payloads' keys begin with.
        attempts_key: Name that the attempts' keys begin with.
        series_key: Name that the keys begin with which list declared series, one per owner.
        hash_tags: Whether keys have hash tags, as a Redis Cluster needs them; see
            docs/how-to/hash-tags.md. All that share topics need the same. The URL of a cluster
            implies them.
        prefix: Put before every topic; workers whose broker or router has the
            same prefix see the same topics.
        options: Further arguments for the `redis.Redis` that is made from a URL, or
            others than ours (``{"socket_timeout": 5, "max_connections": 20}``). Query
            options of the URL (``redis://host/0?socket_timeout=5``) win over them.
        confirm_replicas: How many replicas must have each timer that is scheduled, moved or
            cancelled before the call returns; see docs/replication.md. None asks none.
        confirm_timeout: Seconds that they have for it.

    Raises:
        TypeError: `client` is an asyncio or single-connection client, one of a cluster without
            `hash_tags`, or none at all; or another argument has the wrong type.
        ValueError: A key's name is empty or used twice, or has a brace beside `hash_tags`,
            `confirm_timeout` is not above 0,
            `confirm_replicas` is below 1, the URL can't be read, or it or `options` has
            something that redis-py does not know.
    """

    def __init__(  # noqa: PLR0913  a client has that many properties
        self,
        client: "redis.Redis | redis.RedisCluster | str",
        *,
        timeline_key: str = DEFAULT_TIMELINE_KEY,
        payloads_key: str = DEFAULT_PAYLOADS_KEY,
        attempts_key: str = DEFAULT_ATTEMPTS_KEY,
        series_key: str = DEFAULT_SERIES_KEY,
        hash_tags: bool = False,
        prefix: str = "",
        options: Mapping[str, Any] | None = None,
        confirm_replicas: int | None = None,
        confirm_timeout: float = DEFAULT_CONFIRM_TIMEOUT,
    ) -> None:
        """Check the arguments; nothing is sent yet."""
        keys = KeySpace(
            timeline_key=timeline_key,
            payloads_key=payloads_key,
            attempts_key=attempts_key,
            series_key=series_key,
            hash_tags=hash_tags,
        )
        keys = fitted_keys(keys, client)
        confirmation = read_confirmation(confirm_replicas, confirm_timeout)
        # Connections to a cluster are ours also where the client is yours.
        self._closes_runner = isinstance(client, str) or is_cluster(client)
        self._runner = open_runner(client, options, confirmation)
        database = database_of(self._runner.connection_options)
        self._operations = Operations(replace(keys, database=database))
        self._prefix = plain_prefix(prefix)

    def schedule(  # noqa: PLR0913  a timer has that many properties
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
        pipeline: Pipeline | None = None,
    ) -> str:
        """Schedule a timer. Without a time it is due at once.

        Args:
            message: str, bytes, None, or anything that JSON can hold: pydantic
                models, dataclasses, datetimes, UUIDs, Decimals and Enums too.
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
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            redis.RedisError: The server or the connection failed.
        """
        topic = prefixed(self._prefix, topic)
        refuse_publish_message(message)
        body, content_type = _encode(message, topic, "message")
        timer = encode_timer(
            body,
            content_type,
            timer_id=timer_id,
            activate_in=activate_in,
            activate_at=activate_at,
            repeat=repeat,
            correlation_id=correlation_id,
            headers=add_trace(current_trace(), headers),
            reply_to=self._full_reply_to(reply_to),
            topic=topic,
        )
        if timer.repeat is not None:
            self._schedule_several([message], topic, [timer], if_exists, pipeline)
            return timer.timer_id
        operation = self._operations.schedule(topic, timer, if_exists)
        self._note([message], [timer])
        if pipeline is None:
            self._runner.run(operation)
        else:
            self._runner.queue(pipeline, operation, if_exists)
        return timer.timer_id

    def schedule_batch(  # noqa: PLR0913  a timer has that many properties
        self,
        messages: Iterable[Any],
        topic: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        repeat: Repeat | None = None,
        correlation_id: str | None = None,
        headers: Mapping[str, HeaderValue] | None = None,
        reply_to: str = "",
        if_exists: IfExists | None = None,
        pipeline: Pipeline | None = None,
    ) -> list[str]:
        """Schedule many timers of one topic, in calls of up to 200 timers and 512 KiB.

        Each call is atomic.

        Args:
            messages: Messages, or `TimerPublishMessage` for one with an id, time,
                `repeat`, headers or correlation id of its own.
            topic: Where their subscriber listens.
            activate_in: As in `schedule`, for messages without a time of their own.
            activate_at: As in `schedule`, for messages without a time of their own.
            repeat: As in `schedule`, for messages without a time or `repeat` of their
                own; each needs a `timer_id` then.
            correlation_id: For messages without one of their own.
            headers: For all messages; a message's own headers win.
            reply_to: As in `schedule`.
            if_exists: As in `schedule`.
            pipeline: As in `schedule`.

        Returns:
            Their ids, in the order of the messages.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument can't be used, or an id occurs twice.
            TimerExistsError: With ``if_exists="error"``. Nothing of that call
                was scheduled; earlier calls were.
            TimerOutcomeUnknownError: The server's reply to a call was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            redis.RedisError: The server or the connection failed.
        """
        if isinstance(messages, (str, bytes)):
            msg = "messages must be several messages, got a single str or bytes: put it in a list"
            raise TypeError(msg)
        topic = prefixed(self._prefix, topic)
        reply_to = self._full_reply_to(reply_to)
        trace = current_trace()
        bodies, timers = [], []
        for position, message in enumerate(map(as_publish_message, messages)):
            body, content_type = _encode(message.body, topic, f"messages[{position}]")
            bodies.append(message.body)
            timers.append(
                encode_batch_item(
                    message,
                    body,
                    content_type,
                    activate_in=activate_in,
                    activate_at=activate_at,
                    default_delay=None,
                    repeat=repeat,
                    correlation_id=correlation_id,
                    headers=add_trace(trace, headers, message.headers),
                    reply_to=reply_to,
                    topic=topic,
                )
            )
        self._schedule_several(bodies, topic, timers, if_exists, pipeline)
        return [timer.timer_id for timer in timers]

    def _schedule_several(
        self,
        messages: Sequence[Any],
        topic: str,
        timers: Sequence[EncodedTimer],
        if_exists: IfExists | None,
        pipeline: Pipeline | None,
    ) -> None:
        if pipeline is None:
            steps = self._operations.schedule_batch(topic, timers, if_exists)
            self._note(messages, timers)
            self._runner.run_steps(steps)
            return
        # A pipeline has no answers yet, so the server's time is asked for beside it.
        timers = self._runner.run_steps(self._operations.find_first_times(topic, timers))
        calls = self._operations.schedule_calls(topic, timers, if_exists)
        self._note(messages, timers)
        for operation in calls:
            self._runner.queue(pipeline, operation, if_exists)

    def _note(self, messages: Sequence[Any], timers: Sequence[EncodedTimer]) -> None:
        """Let `FakeTimersClient` see what timers were made of."""

    def ensure_series(
        self, series: Iterable[Series], *, owner: str, prune: bool = False
    ) -> EnsuredSeries:
        """Create and update the recurring timers that an application declares.

        Call it at each deploy, with all that the application has. A series whose `repeat` is the
        same keeps its next due time and has the new message; one with another `repeat` is due as
        that says. A paused one stays paused. One that somebody has cancelled is created again:
        pause it instead. It may be called by several processes at once, and again where it failed.

        Args:
            series: The series, all of them.
            owner: Who declares them, for example the name of the application. Each set of
                declarations has one of its own. The client's prefix comes before it.
            prune: Whether to cancel series that the same owner has declared before and does not
                declare now. One that another owner has declared since stays. Do so in a step of
                the deploy alone, not in each process that starts: while old processes run, one of
                them that starts again would cancel what the new version has added.

        Returns:
            What became of them. `removed` are series that are not declared now; they go on,
            unless `prune` is True.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: The owner is empty, a series is declared twice, or a message or header
                can't be encoded. Nothing is written then.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            redis.RedisError: The server or the connection failed.
        """
        owner = prefixed(self._prefix, owner, "owner")
        messages, declared = self._declare(series, owner)
        steps = ensure_series(
            self._operations, declared, owner=owner, prefix=self._prefix, prune=prune
        )
        self._note(messages, [timer for _, timer in declared])
        return self._runner.run_steps(steps)

    def compare_series(self, series: Iterable[Series], *, owner: str) -> EnsuredSeries:
        """Tell what `ensure_series` would do; nothing is written.

        Args:
            series: As in `ensure_series`.
            owner: As in `ensure_series`.

        Returns:
            What would become of them.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: As `ensure_series`.
            redis.RedisError: The server or the connection failed.
        """
        owner = prefixed(self._prefix, owner, "owner")
        _, declared = self._declare(series, owner)
        steps = compare_series(self._operations, declared, owner=owner, prefix=self._prefix)
        return self._runner.run_steps(steps)

    def _declare(
        self, series: Iterable[Series], owner: str
    ) -> tuple[list[Any], list[tuple[str, EncodedTimer]]]:
        messages, declared = [], []
        for position, one in enumerate(check_series(series)):
            topic = prefixed(self._prefix, one.topic)
            refuse_publish_message(one.message)
            body, content_type = _encode(one.message, topic, f"series[{position}]")
            timer = encode_timer(
                body,
                content_type,
                timer_id=one.timer_id,
                headers=one.headers,
                repeat=one.repeat,
                repeat_owner=owner,
                topic=topic,
            )
            messages.append(one.message)
            declared.append((topic, timer))
        return messages, declared

    @overload
    def reschedule_timer(
        self,
        topic: str,
        timer_id: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        pipeline: None = None,
    ) -> bool: ...

    @overload
    def reschedule_timer(
        self,
        topic: str,
        timer_id: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        pipeline: Pipeline,
    ) -> None: ...

    def reschedule_timer(
        self,
        topic: str,
        timer_id: str,
        *,
        activate_in: timedelta | None = None,
        activate_at: datetime | None = None,
        pipeline: Pipeline | None = None,
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
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            redis.RedisError: The server or the connection failed.
        """
        operation = self._operations.reschedule(
            prefixed(self._prefix, topic),
            timer_id,
            activate_in=activate_in,
            activate_at=activate_at,
        )
        return self._run_or_queue(operation, pipeline)

    @overload
    def cancel_timer(self, topic: str, timer_id: str, *, pipeline: None = None) -> bool: ...

    @overload
    def cancel_timer(self, topic: str, timer_id: str, *, pipeline: Pipeline) -> None: ...

    def cancel_timer(
        self, topic: str, timer_id: str, *, pipeline: Pipeline | None = None
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
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            redis.RedisError: The server or the connection failed.
        """
        operation = self._operations.cancel(prefixed(self._prefix, topic), timer_id)
        return self._run_or_queue(operation, pipeline)

    def pause_timer(self, topic: str, timer_id: str) -> bool:
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
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            redis.RedisError: The server or the connection failed.
        """
        return self._runner.run(self._operations.pause(prefixed(self._prefix, topic), timer_id))

    def resume_timer(self, topic: str, timer_id: str) -> bool:
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
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            redis.RedisError: The server or the connection failed.
        """
        return self._runner.run_steps(
            self._operations.resume(prefixed(self._prefix, topic), timer_id)
        )

    def cancel_timers(self, topic: str, timer_ids: Iterable[str]) -> int:
        """Cancel several timers, 200 in a call.

        Args:
            topic: Their topic.
            timer_ids: Their ids.

        Returns:
            How many of them were waiting.

        Raises:
            ValueError: Topic or an id is empty.
            TimerOutcomeUnknownError: The server's reply to a call was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            redis.RedisError: The server or the connection failed.
        """
        steps = self._operations.cancel_many(prefixed(self._prefix, topic), timer_ids)
        return self._runner.run_steps(steps)

    def cancel_all(self, topic: str) -> int:
        """Cancel all timers of a topic, running ones too.

        Args:
            topic: The topic.

        Returns:
            How many there were, running ones included.

        Raises:
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            redis.RedisError: The server or the connection failed.
        """
        return self._runner.run(self._operations.cancel_all(prefixed(self._prefix, topic)))

    def redrive(self, dead_topic: str, timer_ids: Iterable[str] | None = None) -> int:
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
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            redis.RedisError: The server or the connection failed.
        """
        full = prefixed(self._prefix, dead_topic, "dead_topic")
        return self._runner.run_steps(self._operations.redrive(full, timer_ids))

    def has_pending(self, topic: str, timer_id: str) -> bool:
        """Return whether a timer is pending: scheduled and neither done nor cancelled.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Raises:
            redis.RedisError: The server or the connection failed.
        """
        operation = self._operations.has_pending(prefixed(self._prefix, topic), timer_id)
        return self._runner.run(operation)

    def get_timer(self, topic: str, timer_id: str) -> Timer | None:
        """Read a pending timer.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Returns:
            The timer, None if it is not pending.

        Raises:
            redis.RedisError: The server or the connection failed.
        """
        return self._runner.run(self._operations.get(prefixed(self._prefix, topic), timer_id))

    def get_pending_timers(self, topic: str, before: datetime | None = None) -> list[str]:
        """List the ids of pending timers in order of due time, running ones too.

        Args:
            topic: The topic.
            before: Only those due at this time or before it.

        Raises:
            ValueError: `before` is naive.
            redis.RedisError: The server or the connection failed.
        """
        timers = self.iter_timers(topic, before=before, bodies=False)
        return [timer.timer_id for timer in timers]

    def iter_timers(
        self,
        topic: str,
        *,
        match: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        bodies: bool = True,
    ) -> Iterator[Timer]:
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
            redis.RedisError: The server or the connection failed.
        """
        pages = self._operations.iterate(
            prefixed(self._prefix, topic), match=match, after=after, before=before, bodies=bodies
        )
        return self._runner.iterate(pages)

    def count_pending(self, topic: str) -> int:
        """Count the pending timers of a topic, running ones too.

        Args:
            topic: The topic.

        Raises:
            redis.RedisError: The server or the connection failed.
        """
        return self._runner.run(self._operations.count(prefixed(self._prefix, topic)))

    def ping(self) -> bool:
        """Return whether the server answers.

        Returns:
            False if it refuses, or stays silent for as long as the client waits:
            2 seconds where it was made from a URL; a client of yours may repeat.
        """
        with suppress(redis.RedisError, OSError):
            self._runner.ping()
            return True
        return False

    def close(self) -> None:
        """Close the connections, except those of a client that you gave."""
        if self._closes_runner:
            self._runner.close()

    def __enter__(self) -> Self:
        """Give the client itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _full_reply_to(self, reply_to: str) -> str:
        if not reply_to:
            return reply_to
        full = prefixed(self._prefix, reply_to, "reply_to")
        return self._operations.keys.checked(full, "reply_to")

    def _run_or_queue(self, operation: Operation[bool], pipeline: Pipeline | None) -> bool | None:
        if pipeline is None:
            return self._runner.run(operation)
        self._runner.queue(pipeline, operation)
        return None


def _encode(message: Any, topic: str, name: str) -> tuple[bytes, str | None]:
    try:
        body, content_type = encode_message(message)
        check_json(body, content_type, name)
    except Exception as error:
        name_topic(error, topic, name)
        raise
    return body, content_type
