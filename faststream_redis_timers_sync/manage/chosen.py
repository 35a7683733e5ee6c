"""The timers that a change applies to, and their count before it is made."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.deadline import TimeUpError
from faststream_redis_timers_sync.manage.pages import read_timers
from faststream_redis_timers_sync.manage.selection import OnExamined, list_timers
from faststream_redis_timers_sync.manage.series import with_series
from faststream_redis_timers_sync.manage.server import internals_of, server_time
from faststream_redis_timers_sync.manage.states import state_of
from faststream_redis_timers_sync.protocol.management import overview
from faststream_redis_timers_sync.protocol.model import Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The timers of a topic to act on.

    Args:
        topic: The topic.
        timer_ids: Ids named one by one; or
        match: a glob pattern for ids; or
        everything: all of them.

    Raises:
        ValueError: Not exactly one of the three was given.
    """

    topic: str
    timer_ids: Sequence[str] = ()
    match: str | None = None
    everything: bool = False

    def __post_init__(self) -> None:
        """Check that exactly one of the three was given."""
        if [bool(self.timer_ids), self.match is not None, self.everything].count(True) != 1:
            msg = (
                "expected exactly one of timer_ids, match and everything, got "
                f"timer_ids={self.timer_ids!r}, match={self.match!r}, everything={self.everything}"
            )
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Preview:
    """The timers that a change would apply to.

    Args:
        count: How many timers.
        running: How many of these are running; None if not counted.
        recurring: How many are recurring; None if not counted.
        paused: How many are paused.
        gone: How many of the named ones are no longer pending.
        timers: The named ones that are pending, without their bodies.
        at: The server's time when they were read; None if none was named.
        is_cut: Whether time ran out before all were counted: `count` is a minimum.
    """

    count: int
    running: int | None = None
    recurring: int | None = None
    paused: int = 0
    gone: int = 0
    timers: list[Timer] = field(default_factory=list)
    at: datetime | None = None
    is_cut: bool = False


def preview(
    timers: TimersClient,
    chosen: Chosen,
    *,
    concerns: Callable[[Timer], bool] | None = None,
    on_examined: OnExamined | None = None,
) -> Preview:
    """Count the chosen timers; nothing is changed.

    Args:
        timers: The client.
        chosen: The timers to act on.
        concerns: Returns whether a timer that was not named counts; None counts all.
        on_examined: Called with the number of timers examined, if all are. If it raises
            `TimeUpError`, the counts so far are returned.

    Raises:
        ValueError: The topic, an id or the pattern is empty.
        redis.RedisError: The server or the connection failed.
    """
    if chosen.everything and concerns is None:
        return _count(timers, chosen.topic)
    now = server_time(timers, chosen.topic)
    if named := dict.fromkeys(chosen.timer_ids):
        found = list(with_series(timers, chosen.topic, read_timers(timers, chosen.topic, named)))
        counts = _Counts()
        for timer in found:
            counts.add(timer, now)
        return counts.preview(gone=len(named) - len(found), timers=found, at=now)
    counts, is_cut = _Counts(), False

    def matching() -> Iterator[Timer]:
        nonlocal is_cut
        pattern = "*" if chosen.match is None else chosen.match
        try:
            yield from list_timers(timers, chosen.topic, match=pattern, on_examined=on_examined)
        except TimeUpError:
            is_cut = True

    for timer in with_series(timers, chosen.topic, matching()):
        if concerns is None or concerns(timer):
            counts.add(timer, now)
    return Preview(counts.count, is_cut=True) if is_cut else counts.preview()


@dataclass(slots=True)
class _Counts:
    """Counts timers one by one."""

    count: int = 0
    running: int = 0
    recurring: int = 0
    paused: int = 0

    def add(self, timer: Timer, now: datetime) -> None:
        self.count += 1
        self.running += state_of(timer, now) == "running"
        self.recurring += timer.repeat is not None
        self.paused += timer.paused

    def preview(self, **more: Any) -> Preview:
        return Preview(self.count, self.running, self.recurring, self.paused, **more)


def _count(timers: TimersClient, topic: str) -> Preview:
    # Also works on a torn topic, whose timers can only be given up.
    runner, keys, _ = reach = internals_of(timers)
    _, (counts,) = runner.run(overview(keys, [reach.full(topic)]))
    return Preview(counts.pending, paused=counts.paused)
