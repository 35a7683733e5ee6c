"""The values that users and workers handle: timers, messages to publish, claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from faststream_redis_timers_sync.protocol.encoding import decode_body
from faststream_redis_timers_sync.protocol.envelope import HeaderValue, check_headers
from faststream_redis_timers_sync.protocol.keys import plain_text
from faststream_redis_timers_sync.protocol.recurrence import Repeat, check_repeat
from faststream_redis_timers_sync.protocol.times import is_lease

IfExists = Literal["replace", "keep", "error", "update"]
"""What to do if a timer with the same id is waiting; "update" is for recurring timers."""

PAUSED = 253_402_214_400
"""The score of a recurring timer that is paused: 9999-12-31 in UTC, in seconds of Unix time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A pending timer as it was when it was read.

    Args:
        topic: The full topic, prefix included.
        timer_id: Its id.
        due_at: Its due time in UTC; the end of its lease while it is running, and
            9999-12-31T00:00Z while it is paused.
        running: Whether it is leased to a worker. If the worker died, it counts as running until
            it is claimed again.
        body: The encoded body; empty if bodies were not requested.
        content_type: MIME type of the body; None if it has none.
        headers: All headers of its envelope.
        correlation_id: Its correlation id, by default the timer id.
        repeat: Its definition if it is recurring; None if it is due once, or bodies were not
            requested.
        paused: Whether it is a paused recurring timer; always False if bodies were not requested.
    """

    topic: str
    timer_id: str
    due_at: datetime
    running: bool
    body: bytes = field(default=b"", repr=False)
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    correlation_id: str
    repeat: Repeat | None = None
    paused: bool = False

    def decode(self) -> Any:
        """Return the decoded body: text as str, JSON as its types, anything else as bytes.

        Raises:
            ValueError: The body is not what its content type says.
        """
        return decode_body(self.body, self.content_type)


@dataclass(frozen=True, slots=True)
class TimerPublishMessage:
    """A message of a batch with its own options; those left out are the batch's.

    Args:
        body: The message.
        timer_id: Its id; None makes a new one.
        activate_in: Delay until it is due, by the server's clock.
        activate_at: Due time, an aware datetime.
        headers: Its headers, added to the batch's.
        correlation_id: Its correlation id, by default the timer id.
        repeat: Makes it recurring: `Every` or `Cron`; needs a `timer_id`, and excludes
            `activate_in` and `activate_at`.
    """

    body: Any = field(repr=False)
    timer_id: str | None = field(default=None, kw_only=True)
    activate_in: timedelta | None = field(default=None, kw_only=True)
    activate_at: datetime | None = field(default=None, kw_only=True)
    headers: Mapping[str, HeaderValue] | None = field(default=None, kw_only=True, repr=False)
    correlation_id: str | None = field(default=None, kw_only=True)
    repeat: Repeat | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Series:
    """A recurring timer as an application declares it, see `TimersClient.ensure_series`.

    Args:
        message: The message.
        topic: The topic that its subscriber listens to, without prefixes.
        timer_id: Its id, unique in the topic.
        repeat: When it is due: `Every` or `Cron`.
        headers: Its headers.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: Topic or id is empty, or can't be written as UTF-8.
    """

    message: Any = field(repr=False)
    topic: str
    timer_id: str = field(kw_only=True)
    repeat: Repeat = field(kw_only=True)
    headers: Mapping[str, HeaderValue] | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        """Check what no broker or client accepts."""
        for argument in ("topic", "timer_id"):
            object.__setattr__(self, argument, plain_text(argument, getattr(self, argument)))
        check_repeat("repeat", self.repeat)
        check_headers(self.headers)


@dataclass(frozen=True, slots=True)
class EnsuredSeries:
    """The outcome for declared series, each as (full topic, timer id).

    Args:
        created: Series that did not exist.
        changed: Series that had another definition, or none.
        updated: From `compare_series` only: series with the same definition, but another message,
            headers or owner. `ensure_series` writes them too, and counts them as unchanged.
        unchanged: Series that keep their next due time. They have the new message.
        removed: Series of the same owner that are no longer declared. With `prune` they were
            cancelled, without it they continue.
        skipping: Declared series, so none of `removed`, whose due time is one of their times, but
            not the next: somebody rescheduled them to it, or the server's clock was ahead. Pause
            and resume such a series to get the next time back.
    """

    created: list[tuple[str, str]] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    updated: list[tuple[str, str]] = field(default_factory=list)
    unchanged: list[tuple[str, str]] = field(default_factory=list)
    removed: list[tuple[str, str]] = field(default_factory=list)
    skipping: list[tuple[str, str]] = field(default_factory=list)


class EncodedTimer(NamedTuple):
    """A timer ready to be scheduled.

    Args:
        timer_id: Its id, as text.
        payload: Its envelope.
        due: The requested due time, as `ask_due` writes it; empty if it follows from `repeat`
            and the server's time.
        repeat: Its definition if it is recurring.
    """

    timer_id: str
    payload: bytes
    due: bytes
    repeat: Repeat | None = None

    def __repr__(self) -> str:
        """Name the id; the payload may be secret."""
        return (
            f"{type(self).__name__}(timer_id={self.timer_id!r}, {len(self.payload)} bytes, "
            f"due={self.due!r})"
        )


class Settlement(NamedTuple):
    """The outcome of a claimed timer, to be settled.

    Args:
        action: ``b"commit"``, ``b"nack"``, ``b"release"``, ``b"renew"``, ``b"recount"``,
            ``b"dead"`` or ``b"repeat"``.
        timer_id: Its id, as it stands in the keys.
        leases: The lease that it must still have; several, with spaces between, if the reply to
            a renewal was lost.
        detail: For a nack the delay (empty: when the lease would have ended), for a release the
            score before the claim, for a renewal the proposed lease, for a recount the number of
            the attempt, for a dead letter the result of `write_dead_letter`, for a repetition the
            next due time as a score, followed by a space and a dead letter if one is made too.
    """

    action: bytes
    timer_id: bytes
    leases: bytes
    detail: bytes = b""

    @property
    def has_dead_letter(self) -> bool:
        """Whether it makes a dead letter."""
        return self.action == b"dead" or (self.action == b"repeat" and b" " in self.detail)

    def __repr__(self) -> str:
        """Name action and id; the detail of a dead letter holds its payload."""
        return (
            f"{type(self).__name__}(action={self.action!r}, timer_id={self.timer_id!r}, "
            f"leases={self.leases!r}, {len(self.detail)} bytes)"
        )


class CommitGroup(NamedTuple):
    """Claimed timers that are committed under the same leases, in a third of the time.

    Args:
        leases: The lease that each must still have, see `Settlement`.
        timer_ids: Their ids, as they stand in the keys.
    """

    leases: bytes
    timer_ids: Sequence[bytes]


class Claimed(NamedTuple):
    """A timer leased to this worker.

    Args:
        timer_id: Its id, as it stands in the keys.
        payload: Its envelope.
        previous_score: Its score before the claim, as text.
        attempt: Which attempt this is, from 1; None if attempts are not counted.
        first_due: The score of the first attempt's due time, as text; None likewise.
    """

    timer_id: bytes
    payload: bytes
    previous_score: bytes
    attempt: int | None = None
    first_due: bytes | None = None

    @property
    def was_leased(self) -> bool:
        """Whether a worker held it before, and its lease has ended."""
        score = self.previous_score
        # Up to six decimals make a whole microsecond; it takes a third of the time to see that.
        if len(score) - score.find(b".") <= _SIX_DECIMALS:
            return False
        return is_lease(float(score))

    def __repr__(self) -> str:
        """Name the id; the payload may be secret."""
        return (
            f"{type(self).__name__}(timer_id={self.timer_id!r}, {len(self.payload)} bytes, "
            f"previous_score={self.previous_score!r})"
        )


_SIX_DECIMALS = len(".000000")


class Step(NamedTuple):
    """The result of one step of a worker.

    Args:
        now: The server's time in seconds.
        lease: The lease of all timers claimed in this step, as text.
        head: The lowest score of the timeline afterwards, leases included, in
            seconds; None if it is empty.
        outcomes: A character per settlement, see `Outcome`.
        claimed: The timers claimed.
        orphans: Ids of entries that had no payload; they are removed.
        is_torn: Whether the topic has timers but all payloads are gone, see `TopicTornError`.
            Then nothing was claimed, and `head` is None.
        may_count: Whether the server lets workers be counted; False if it refuses.
        on_duty: How many workers listen to the topic's wake-ups. Some of them may be gone: a
            worker that hangs, or whose connection is half open, is counted for minutes. None if
            it was not requested, was refused, or is unknown to the server.
        workers: How many workers the topic has, likewise.
    """

    now: float
    lease: bytes
    head: float | None
    outcomes: bytes
    claimed: list[Claimed]
    orphans: list[bytes]
    is_torn: bool = False
    may_count: bool = True
    on_duty: int | None = None
    workers: int | None = None


class Outcome:
    """The result of a settlement, as in the script's reply."""

    DONE = ord("1")
    GONE = ord("0")
    LEASED_AGAIN = ord("l")
    DUE_AGAIN = ord("d")
    REPEATED = ord("s")
    DEAD_TOPIC_TORN = ord("t")
