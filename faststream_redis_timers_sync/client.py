"""The blocking client: schedules, reschedules, cancels and reads timers; workers deliver them."""

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

    Threads may share a client, and both processes may use it after a fork. A redis-py client that
    you pass can hang in a process that is forked while another thread takes a connection (redis-py
    8.1): create it in that process, or pass a URL.

    A client from a URL suits web requests: if the server refuses connections, calls raise at once;
    if it accepts but does not reply, after 2 seconds. A call is sent once; only a read is sent
    again, once, if its connection broke.

    A redis-py client that you pass may have a `retry`: every ``redis.Redis(...)`` has one from
    redis-py 6 on, unless you pass another (``Retry(NoBackoff(), 0)``). It acts while a connection
    is being made, which changes no reply, but a silent server takes longer to become an error,
    about a minute with redis-py's default. It also executes your pipeline again if the reply was
    lost. A successful cancel in it then replies ``b"0"``, as for a timer that was not pending;
    a timer scheduled with ``if_exists="keep"`` replies ``b"0"``, since it is already waiting; a
    recurring timer replies ``b"s"``, since it exists with the same `repeat`; and a timer that was
    delivered in between is scheduled again. Calls without `pipeline` are not repeated.

    Args:
        client: A `redis.Redis` or, with `hash_tags`, a `redis.RedisCluster`, which is never closed;
            or a URL, from which a client with timeouts of 2 seconds and without redis-py's retries
            is made, and closed by `close`. ``redis+cluster://node-1,node-2`` names nodes of a Redis
            Cluster.
        timeline_key: Beginning of the timelines' keys.
        payloads_key: Beginning of the payloads' keys.
        attempts_key: Beginning of the attempts' keys.
        series_key: Beginning of the keys that list declared series, one per owner.
        hash_tags: Whether keys have hash tags, as a Redis Cluster needs them; see
            docs/how-to/hash-tags.md. All programs that share topics need the same value. The URL of
            a cluster implies them.
        prefix: Put before every topic; workers whose broker or router has the same prefix see the
            same topics.
        options: Further or other arguments for the `redis.Redis` that is made from a URL
            (``{"socket_timeout": 5, "max_connections": 20}``). Query options of the URL
            (``redis://host/0?socket_timeout=5``) win over them.
        confirm_replicas: How many replicas must have each timer that is scheduled, rescheduled or
            cancelled before the call returns; see docs/replication.md. None waits for none.
        confirm_timeout: Seconds to wait for them.

    Raises:
        TypeError: `client` is an asyncio or single-connection client, a cluster client without
            `hash_tags`, or not a client; or another argument has the wrong type.
        ValueError: A key's name is empty or used twice, or has a brace beside `hash_tags`;
            `confirm_timeout` is not above 0; `confirm_replicas` is below 1; the URL can't be read;
            or it or `options` has an argument that redis-py does not know.
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
        # Connections to a cluster are ours even if the client is yours.
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
            topic: The topic that its subscriber listens to.
            timer_id: Your own id, unique in the topic; None makes one.
            activate_in: Delay until it is due, counted by the server's clock; a negative delay
                means now.
            activate_at: Due time, an aware datetime; a past time means now.
            repeat: Makes the timer recurring, in place of a time: ``Every(minutes=5)`` or
                ``Cron("0 9 * * *", tz="Europe/Berlin")``. It needs a `timer_id`. The first
                occurrence is the next one after the server's present time, which is asked for.
            correlation_id: Passed to the handler; by default the timer id, with `repeat` followed
                by the time of the occurrence.
            headers: Passed to the handler as text.
            reply_to: Topic on which the handler's result becomes a timer.
            if_exists: What to do if a timer with this id is waiting: ``"replace"`` it, ``"keep"``
                it (and drop the new one), or raise (``"error"``). A running timer does not count.
                None replaces it; a recurring timer updates it instead (``"update"``): with the
                same `repeat` it gets the new message and keeps its due time.
            pipeline: Your pipeline, to which the command is added instead of being sent.

        Returns:
            The timer's id.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument can't be used; the message has its name and value.
            TimerExistsError: A timer with this id is waiting, and ``if_exists="error"``.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
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
            messages: Messages, or `TimerPublishMessage` for one with its own id, time, `repeat`,
                headers or correlation id.
            topic: The topic that their subscriber listens to.
            activate_in: As in `schedule`, for messages without their own time.
            activate_at: As in `schedule`, for messages without their own time.
            repeat: As in `schedule`, for messages without their own time or `repeat`; each of them
                needs a `timer_id`.
            correlation_id: For messages without their own.
            headers: For all messages; a message's own headers win.
            reply_to: As in `schedule`.
            if_exists: As in `schedule`.
            pipeline: As in `schedule`.

        Returns:
            Their ids, in the order of the messages.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: An argument can't be used, or an id occurs twice.
            TimerExistsError: A timer with one of the ids is waiting, and ``if_exists="error"``.
                Nothing of that call was scheduled; the timers of earlier calls were.
            TimerOutcomeUnknownError: The server's reply to a call was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            redis.RedisError: The server or the connection failed.
        """
        if isinstance(messages, (str, bytes, Mapping)):
            kind = type(messages).__name__
            msg = f"messages must be several messages, got a single {kind}: put it in a list"
            raise TypeError(msg)
        if not isinstance(messages, Iterable):
            msg = f"messages must be several messages, got {type(messages).__name__}"
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
        # A pipeline has no replies yet, so the server's time is asked for outside it.
        timers = self._runner.run_steps(self._operations.find_first_times(topic, timers))
        calls = self._operations.schedule_calls(topic, timers, if_exists)
        self._note(messages, timers)
        for operation in calls:
            self._runner.queue(pipeline, operation, if_exists)

    def _note(self, messages: Sequence[Any], timers: Sequence[EncodedTimer]) -> None:
        """Let `FakeTimersClient` see the messages of timers."""

    def ensure_series(
        self, series: Iterable[Series], *, owner: str, prune: bool = False
    ) -> EnsuredSeries:
        """Create and update the recurring timers that an application declares.

        Call it at each deploy, with all series of the application. A series whose `repeat` is
        unchanged keeps its next due time and gets the new message; with a changed `repeat` its due
        time follows the new one. A paused series stays paused. A series that was cancelled by hand
        is created again: pause it instead. Several processes may call it at once, and you may
        repeat it if it failed.

        Args:
            series: All series of the application.
            owner: The owner that declares them, for example the application's name. Each set of
                declarations needs its own. The client's prefix comes before it.
            prune: Whether to cancel series that the same owner declared before and no longer
                declares. A series that another owner has declared since stays. Prune only in a
                step of the deploy, not in each process that starts: a restarted process of the old
                version would cancel series that the new version added.

        Returns:
            The outcome for each series. `removed` are series that are no longer declared; they
            continue, unless `prune` is True.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: The owner is empty, a series is declared twice, or a message or header
                can't be encoded. Nothing is written then.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
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
        """Return what `ensure_series` would do; nothing is written.

        Args:
            series: As in `ensure_series`.
            owner: As in `ensure_series`.

        Returns:
            The outcome that each series would have.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: As `ensure_series`.
            TopicTornError: With hash tags: the topic's payloads are gone.
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
        """Reschedule a timer to another due time; a running timer runs again at that time.

        Only the next occurrence of a recurring timer moves. A paused timer is resumed.

        Args:
            topic: Its topic.
            timer_id: Its id.
            activate_in: Delay from now, counted by the server's clock.
            activate_at: Due time, an aware datetime. One of the two must be given.
            pipeline: Your pipeline, to which the command is added instead of being sent.

        Returns:
            Whether the timer existed, waiting or running; None in a pipeline.

        Raises:
            TypeError: No time was given, or an argument has the wrong type.
            ValueError: An argument can't be used; the message has its name and value.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
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
        """Cancel a timer. Afterwards it is gone, whatever is returned.

        A recurring timer ends, even if it is running and False is returned.

        Args:
            topic: Its topic.
            timer_id: Its id.
            pipeline: Your pipeline, to which the command is added instead of being sent.

        Returns:
            True if it was waiting: no worker will claim it. False if it was running, so its
            handler finishes, or is unknown. None in a pipeline.

        Raises:
            ValueError: Topic or id is empty.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            redis.RedisError: The server or the connection failed.
        """
        operation = self._operations.cancel(prefixed(self._prefix, topic), timer_id)
        return self._run_or_queue(operation, pipeline)

    def pause_timer(self, topic: str, timer_id: str) -> bool:
        """Pause a recurring timer: it is not due until it is resumed.

        A running handler finishes, but its outcome has no effect: no occurrence follows, and a
        failure is not retried. `reschedule_timer` also resumes a paused timer, at the given time;
        `cancel_timer` ends the series.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Returns:
            Whether it is paused now, even if it was before. False if it is unknown.

        Raises:
            ValueError: It is not a recurring timer, or topic or id is empty.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            redis.RedisError: The server or the connection failed.
        """
        return self._runner.run(self._operations.pause(prefixed(self._prefix, topic), timer_id))

    def resume_timer(self, topic: str, timer_id: str) -> bool:
        """Resume a paused timer: it is due at its next time after the server's present time.

        Occurrences that it missed while paused are not made up for.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Returns:
            Whether it was paused. False if it was not, or is unknown; then nothing changes.

        Raises:
            ValueError: This machine does not know its time zone, it has no next time, or topic or
                id is empty.
            ModuleNotFoundError: Its `repeat` is a `Cron`, and cronsim is not installed.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
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
            TopicTornError: With hash tags: the topic's payloads are gone.
            redis.RedisError: The server or the connection failed.
        """
        steps = self._operations.cancel_many(prefixed(self._prefix, topic), timer_ids)
        return self._runner.run_steps(steps)

    def cancel_all(self, topic: str) -> int:
        """Cancel all timers of a topic, running ones included.

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
        """Redrive dead letters to the topics they came from, due now.

        Each returns under its old id with its attempts at zero, and without the headers that say
        why it was dead-lettered. A dead letter stays if a timer with its old id is waiting, if a
        handler is running with it, or if (with hash tags) it came from a topic in another slot.
        Timers of the topic that are not dead letters stay too.

        A dead letter of a recurring timer is one occurrence: it runs once under its own id, and
        keeps the headers that name its series. If a recurring timer has its old id, it stays even
        while that timer is running.

        Args:
            dead_topic: The dead-letter topic, for example ``"invoices:dead"``.
            timer_ids: Their ids there; None redrives all that exist now.

        Returns:
            How many were redriven.

        Raises:
            TypeError: `timer_ids` is a single id.
            TimerOutcomeUnknownError: The server's reply was lost.
            TimerNotReplicatedError: Too few replicas have it, see `confirm_replicas`.
            TopicTornError: With hash tags: the topic's payloads are gone.
            redis.RedisError: The server or the connection failed.
        """
        full = prefixed(self._prefix, dead_topic, "dead_topic")
        return self._runner.run_steps(self._operations.redrive(full, timer_ids))

    def has_pending(self, topic: str, timer_id: str) -> bool:
        """Return whether a timer is pending: scheduled, and neither committed nor cancelled.

        Args:
            topic: Its topic.
            timer_id: Its id.

        Returns:
            Whether it is waiting or running.

        Raises:
            TopicTornError: With hash tags: the topic's payloads are gone.
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
            TopicTornError: With hash tags: the topic's payloads are gone.
            redis.RedisError: The server or the connection failed.
        """
        return self._runner.run(self._operations.get(prefixed(self._prefix, topic), timer_id))

    def get_pending_timers(self, topic: str, before: datetime | None = None) -> list[str]:
        """Return the ids of pending timers in order of due time, running ones included.

        Args:
            topic: The topic.
            before: Only timers due at this time or before; an aware datetime.

        Returns:
            The ids.

        Raises:
            ValueError: `before` is naive.
            TopicTornError: With hash tags: the topic's payloads are gone.
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
        """Read pending timers in order of due time, running ones included, page by page.

        A timer that is scheduled, rescheduled or delivered meanwhile may be left out or appear
        twice; any other appears once (with `match`, maybe twice while the topic grows or shrinks).

        Args:
            topic: The topic.
            match: Only ids that match this glob pattern (``user:42:*``); they come in no order.
            after: Only timers due after this time; an aware datetime.
            before: Only timers due at this time or before; an aware datetime.
            bodies: Whether to read bodies and headers too.

        Returns:
            An iterator of timers.

        Raises:
            ValueError: A time is naive, or `match` is empty.
            TopicTornError: With hash tags: the topic's payloads are gone.
            redis.RedisError: The server or the connection failed.
        """
        pages = self._operations.iterate(
            prefixed(self._prefix, topic), match=match, after=after, before=before, bodies=bodies
        )
        return self._runner.iterate(pages)

    def count_pending(self, topic: str) -> int:
        """Return how many timers of a topic are pending, running ones included.

        Args:
            topic: The topic.

        Returns:
            Their number.

        Raises:
            TopicTornError: With hash tags: the topic's payloads are gone.
            redis.RedisError: The server or the connection failed.
        """
        return self._runner.run(self._operations.count(prefixed(self._prefix, topic)))

    def ping(self) -> bool:
        """Return whether the server replies.

        Returns:
            False if it refuses, or does not reply for as long as the client waits: 2 seconds if
            it was made from a URL; a redis-py client that you passed may retry.
        """
        with suppress(redis.RedisError, OSError):
            self._runner.ping()
            return True
        return False

    def close(self) -> None:
        """Close the connections, except those of a redis-py client that you passed."""
        if self._closes_runner:
            self._runner.close()

    def __enter__(self) -> Self:
        """Return the client itself."""
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
