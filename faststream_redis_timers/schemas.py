"""A subscriber's topic and options."""

import math
from dataclasses import dataclass
from typing import Any, cast

from faststream_redis_timers_sync.protocol.checks import check_count, check_number
from faststream_redis_timers_sync.protocol.keys import plain_text

LEASE_TTL = 30.0
POLLING_INTERVAL = 0.05
MAX_POLLING_INTERVAL = 5.0
MAX_CONCURRENT = 5
MAX_CONCURRENT_BATCHES = 1
MAX_LEASE = 3600.0
MAX_RECORDS = 100
MAX_WAIT = 0.0
DUTY: int | None = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerSub:
    """A topic to subscribe to, with its options.

    Args:
        topic: The topic, without the prefixes of broker and routers.
        lease_ttl: Seconds that a claimed timer stays leased to its worker. Handlers should
            end well within them: afterwards the timer may be redelivered.
        polling_interval: Seconds between polls right after a timer was due.
        max_polling_interval: Seconds to which the interval grows, doubling, while nothing
            is due. Each pause varies by up to half, so a timer whose wake-up was lost is late
            by at most one and a half times this.
        batch: Whether a handler gets a list of all timers that were claimed together.
        max_records: With `batch`: how many timers a list has at most, from 1 to 100.
        max_wait: With `batch`: seconds to pause after a claim that found fewer timers than
            it asked for, so that the next list is longer. It does not delay the first timers
            after a quiet time, and nothing is leased meanwhile.
        max_concurrent: How many handlers of this subscriber may run at once; None means
            5, or 1 with `batch`.
        renew_lease: Whether the worker renews the leases of running handlers.
        max_lease: With `renew_lease`: seconds after which it stops renewing them, so that a
            handler that hangs does not keep its timer forever. From then on the timer also no
            longer delays others that are suspected of killing their workers. Without it only
            other workers run a timer whose lease has expired while its handler runs.
        handler_timeout: Seconds after which a handler is cancelled and counts as failed;
            None means never. It needs asynchronous handlers.

    Raises:
        TypeError: An option has the wrong type.
        ValueError: The topic is empty, or an option is out of range.
    """

    topic: str
    lease_ttl: float = LEASE_TTL
    polling_interval: float = POLLING_INTERVAL
    max_polling_interval: float = MAX_POLLING_INTERVAL
    batch: bool = False
    max_records: int = MAX_RECORDS
    max_wait: float = MAX_WAIT
    max_concurrent: int | None = None
    renew_lease: bool = False
    max_lease: float = MAX_LEASE
    handler_timeout: float | None = None

    def __post_init__(self) -> None:
        """Check the options."""
        object.__setattr__(self, "topic", plain_text("topic", self.topic))
        check_seconds("lease_ttl", self.lease_ttl)
        check_seconds("polling_interval", self.polling_interval)
        check_seconds("max_polling_interval", self.max_polling_interval)
        if self.polling_interval > self.max_polling_interval:
            msg = (
                f"polling_interval must be at most max_polling_interval "
                f"({self.max_polling_interval!r}), got {self.polling_interval!r}"
            )
            raise ValueError(msg)
        self._check_batch()
        if self.max_concurrent is None:
            most = MAX_CONCURRENT_BATCHES if self.batch else MAX_CONCURRENT
            object.__setattr__(self, "max_concurrent", most)
        check_count("max_concurrent", self.slots)
        if not isinstance(self.renew_lease, bool):
            msg = f"renew_lease must be True or False, got {self.renew_lease!r}"
            raise TypeError(msg)
        check_seconds("max_lease", self.max_lease)
        if self.renew_lease and self.max_lease < self.lease_ttl:
            msg = (
                f"max_lease must be at least lease_ttl ({self.lease_ttl!r}) with "
                f"renew_lease=True, got {self.max_lease!r}"
            )
            raise ValueError(msg)
        if self.handler_timeout is not None:
            check_seconds("handler_timeout", self.handler_timeout)

    def _check_batch(self) -> None:
        if not isinstance(self.batch, bool):
            msg = f"batch must be True or False, got {self.batch!r}"
            raise TypeError(msg)
        check_count("max_records", self.max_records)
        if self.max_records > MAX_RECORDS:
            msg = f"max_records must be from 1 to {MAX_RECORDS}, got {self.max_records!r}"
            raise ValueError(msg)
        check_number("max_wait", self.max_wait)
        # Not `max_wait < 0`: that would let NaN pass.
        if not 0 <= self.max_wait < math.inf:
            msg = f"max_wait must be a finite number of seconds from 0, got {self.max_wait!r}"
            raise ValueError(msg)
        if self.batch:
            return
        for name, value, default in (
            ("max_records", self.max_records, MAX_RECORDS),
            ("max_wait", self.max_wait, MAX_WAIT),
        ):
            if value != default:
                msg = f"{name} works only with batch=True, got {value!r} without it"
                raise ValueError(msg)

    @property
    def slots(self) -> int:
        """`max_concurrent`, which is never None after the check."""
        return cast("int", self.max_concurrent)

    @property
    def most_running(self) -> int:
        """How many timers can be handled at once."""
        return self.slots * self.max_records if self.batch else self.slots


_SHORTEST_SECONDS = 0.001
_LONGEST_SECONDS = 10.0 * 365 * 86_400


def check_seconds(name: str, value: float) -> None:
    """Raise unless a value is a number of seconds that an option accepts.

    Args:
        name: Name of the argument, for the error.
        value: The seconds.

    Raises:
        TypeError: It is not a number.
        ValueError: It is below a millisecond or above ten years.
    """
    check_number(name, value)
    if not _SHORTEST_SECONDS <= value <= _LONGEST_SECONDS:
        msg = f"{name} must be from {_SHORTEST_SECONDS} s to ten years in seconds, got {value!r}"
        raise ValueError(msg)


def as_timer_sub(topic: "str | TimerSub", **options: Any) -> TimerSub:
    """Return a `TimerSub` of a subscriber's arguments.

    Args:
        topic: The topic, or a `TimerSub` that already has the options.
        **options: See `TimerSub`.

    Raises:
        ValueError: Both a `TimerSub` and options were given.
    """
    sub = TimerSub(topic=topic.topic if isinstance(topic, TimerSub) else topic, **options)
    if not isinstance(topic, TimerSub):
        return sub
    if sub != TimerSub(topic=topic.topic):
        msg = f"give the options in the TimerSub of topic {topic.topic!r}, not beside it"
        raise ValueError(msg)
    return topic


def check_dead_letter_topic(dead_letter_topic: str | None, topic: str) -> None:
    """Raise if the dead-letter topic is the subscriber's own.

    Args:
        dead_letter_topic: The subscriber's option; None and `EMPTY` mean no topic.
        topic: Its topic.

    Raises:
        ValueError: They are the same.
    """
    if dead_letter_topic and topic_for_dead_letters(dead_letter_topic, topic) == topic:
        msg = (
            f"dead_letter_topic must be another topic than the subscriber's own, {topic!r}, "
            f"got {dead_letter_topic!r}"
        )
        raise ValueError(msg)


def topic_for_dead_letters(dead_letter_topic: str, topic: str) -> str:
    """Return the dead-letter topic of a topic.

    Args:
        dead_letter_topic: The name, in which ``{topic}`` stands for the topic.
        topic: The topic, without prefixes.
    """
    return dead_letter_topic.replace("{topic}", topic)
