"""Schedules and cancels when the database transaction commits, and not before."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from django.db import transaction

from faststream_redis_timers_sync.django.clients import as_aware, get_client, new_pipeline
from faststream_redis_timers_sync.django.conf import DEFAULT_ALIAS
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.protocol.envelope import HeaderValue
from faststream_redis_timers_sync.protocol.model import IfExists
from faststream_redis_timers_sync.protocol.recurrence import Repeat


def schedule_on_commit(  # noqa: PLR0913  a timer has that many properties
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
    alias: str = DEFAULT_ALIAS,
    using: str | None = None,
    robust: bool = False,
) -> str:
    """Schedule a timer when the transaction commits; at once without a transaction.

    Arguments are checked and encoded now, so a mistake rolls the transaction back, and later
    changes to the message have no effect. Nothing is scheduled if the transaction, or an inner
    `atomic()` around the call, is rolled back. Rolling back a manual savepoint
    (`transaction.savepoint_rollback`) does not drop the call, as with all functions of
    `transaction.on_commit`. The calls of one transaction, those of `cancel_on_commit` included,
    reach Redis in order and in one round trip, when Django runs the first of them. With
    ``CONFIRM_REPLICAS`` each waits for its replicas.

    If the process dies between the commit and the call to Redis, the timer is lost. If that
    matters, schedule before the commit with `get_client`, and let the handler read the row to find
    out whether there is something to do.

    Django's transactions block. In an asynchronous view, put the transaction and this call into a
    function, and call it through `sync_to_async`.

    Args:
        message: As in `TimersClient.schedule`.
        topic: As in `TimersClient.schedule`.
        timer_id: As in `TimersClient.schedule`.
        activate_in: Delay until it is due, counted by the server's clock from when the
            timer reaches the server, after the commit.
        activate_at: Time at which it is due. With ``USE_TZ = False`` a naive one is read in
            `TIME_ZONE`, otherwise refused.
        repeat: As in `TimersClient.schedule`. The server is asked for its time now, before the
            commit; if the first time is past when the timer reaches it, it is due at once.
        correlation_id: As in `TimersClient.schedule`.
        headers: As in `TimersClient.schedule`.
        reply_to: As in `TimersClient.schedule`.
        if_exists: ``"replace"``, ``"keep"`` or ``"update"``, judged after the commit; None as
            in `TimersClient.schedule`.
        alias: The alias of `TIMERS`.
        using: The alias of `DATABASES` with the transaction, as in `transaction.on_commit`.
        robust: Whether Django logs errors of Redis, and runs the other functions that wait for
            the commit. Otherwise the error is raised by the commit, though the transaction is
            already committed. The call may have succeeded or not.

    Returns:
        The timer's id.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument can't be used; its name and value are named.
        ImproperlyConfigured: `TIMERS` is invalid, or has no such alias.
        TimerNotReplicatedError: Too few replicas have it; also raised by the commit.
        redis.RedisError: The server or the connection failed; raised by the commit, or by this
            call without a transaction.
    """
    if if_exists == "error":
        msg = (
            'if_exists="error" can\'t be used with schedule_on_commit: the reply comes after '
            'the commit. Use "replace" or "keep", or get_client()'
        )
        raise ValueError(msg)
    client = get_client(alias)
    pipeline = new_pipeline(client)
    timer_id = client.schedule(
        message,
        topic,
        timer_id=timer_id,
        activate_in=activate_in,
        activate_at=as_aware(activate_at),
        repeat=repeat,
        correlation_id=correlation_id,
        headers=headers,
        reply_to=reply_to,
        if_exists=if_exists,
        pipeline=pipeline,
    )
    what = f"schedule {timer_id!r} in topic {topic!r}"
    _on_commit(client, pipeline, what, using=using, robust=robust)
    return timer_id


def cancel_on_commit(
    topic: str,
    timer_id: str,
    *,
    alias: str = DEFAULT_ALIAS,
    using: str | None = None,
    robust: bool = False,
) -> None:
    """Cancel a timer when the transaction commits; at once without a transaction.

    See `schedule_on_commit` for its behaviour.

    Args:
        topic: Its topic.
        timer_id: Its id.
        alias: As in `schedule_on_commit`.
        using: As in `schedule_on_commit`.
        robust: As in `schedule_on_commit`.

    Raises:
        TypeError: Topic or id is not a str.
        ValueError: Topic or id is empty.
        ImproperlyConfigured: `TIMERS` is invalid, or has no such alias.
        redis.RedisError: As in `schedule_on_commit`.
    """
    client = get_client(alias)
    pipeline = new_pipeline(client)
    client.cancel_timer(topic, timer_id, pipeline=pipeline)
    what = f"cancel {timer_id!r} in topic {topic!r}"
    _on_commit(client, pipeline, what, using=using, robust=robust)


@dataclass(eq=False, slots=True)
class _Shared:
    """The state that the calls of one transaction for one client share.

    Args:
        client: The client.
        hooks: Django's list of waiting functions when the last call was made.
        savepoints: The savepoints that were open then.
    """

    client: Any
    hooks: Sequence[Any] = ()
    savepoints: frozenset[str] = frozenset()


@dataclass(eq=False, slots=True)
class OnCommit:
    """One call that waits for the commit.

    Each waits by itself, so that a savepoint's rollback drops those inside, and tests that capture
    waiting functions find one function per call. The first that runs also sends those that are
    sure to run after it.

    Args:
        shared: The state shared with other calls.
        pipeline: Holds its command.
        what: Its description, for an error.
        using: The alias of its database.
        savepoints: The savepoints around it.
        is_sent: Whether it was sent, or sending it failed.
        error: The error, if it failed.
    """

    shared: _Shared
    pipeline: Any
    what: str
    using: str | None
    savepoints: frozenset[str]
    is_sent: bool = False
    error: Exception | None = None

    def send(self) -> None:
        """Send it, unless it was sent with an earlier call.

        Raises:
            redis.RedisError: Sending failed, now or with an earlier call.
        """
        if not self.is_sent:
            _send([self, *self._sure_to_follow()])
        if self.error is not None:
            raise self.error

    def _sure_to_follow(self) -> "list[OnCommit]":
        calls = [call for call in _calls_in(self.shared.hooks) if call.shared is self.shared]
        if self in calls:
            if transaction.get_connection(self.using).in_atomic_block:
                # No commit: a test runs the functions it captured, one by one.
                return []
            # A savepoint was rolled back after the last call: Django made a new list then.
            # It dropped only calls inside savepoints that were still open, and none of the
            # savepoints around this call, since it still exists.
            at_risk = self.shared.savepoints - self.savepoints
            following = calls[calls.index(self) + 1 :]
            calls = list(takewhile(lambda call: not call.savepoints & at_risk, following))
        # Otherwise Django runs one after the other from this list: the rest will run.
        return [call for call in calls if not call.is_sent]


def _on_commit(client: Any, pipeline: Any, what: str, *, using: str | None, robust: bool) -> None:
    connection = transaction.get_connection(using)
    # Shared state is found through the waiting calls, so a rollback leaves none of it behind.
    waiting = _calls_in(reversed(connection.run_on_commit))
    shared = next((c.shared for c in waiting if c.shared.client is client), _Shared(client))
    # A block without its own savepoint rolls back with the one around it.
    savepoints = frozenset(connection.savepoint_ids) - {None}
    call = OnCommit(shared, pipeline, what, using, savepoints)
    transaction.on_commit(call.send, using=using, robust=robust)
    shared.hooks, shared.savepoints = connection.run_on_commit, savepoints


def _calls_in(hooks: Iterable[Any]) -> Iterator[OnCommit]:
    for _, function, *_ in hooks:
        if isinstance(call := getattr(function, "__self__", None), OnCommit):
            yield call


def _send(calls: "list[OnCommit]") -> None:
    pipeline = calls[0].pipeline
    for call in calls:
        call.is_sent = True
        if call.pipeline is not pipeline:
            pipeline.command_stack.extend(call.pipeline.command_stack)
    try:
        replies = internals_of(calls[0].shared.client).runner.execute(pipeline)
    except Exception as error:  # noqa: BLE001  each call raises it in its turn
        more = f" and {len(calls) - 1:,} more" if len(calls) > 1 else ""
        error.add_note(f"on commit: {calls[0].what}{more}")
        replies = [error] * len(calls)
    for call, reply in zip(calls, replies, strict=True):
        if isinstance(reply, Exception):
            call.error = reply
