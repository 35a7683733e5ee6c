"""Which timers a change is about, and how many they are before it is made."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.deadline import TimeUpError
from faststream_redis_timers_sync.manage.pages import look_at
from faststream_redis_timers_sync.manage.selection import OnExamined, list_timers
from faststream_redis_timers_sync.manage.server import server_time
from faststream_redis_timers_sync.manage.states import state_of
from faststream_redis_timers_sync.manage.stats import count_topics
from faststream_redis_timers_sync.protocol.errors import TopicTornError
from faststream_redis_timers_sync.protocol.model import Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which timers of a topic are meant.

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
        """Check that one way was chosen."""
        if [bool(self.timer_ids), self.match is not None, self.everything].count(True) != 1:
            msg = (
                "expected exactly one of timer_ids, match and everything, got "
                f"timer_ids={self.timer_ids!r}, match={self.match!r}, everything={self.everything}"
            )
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would be made to.

    Args:
        count: How many timers.
        running: How many of these are running; None where nobody counted.
        gone: How many of the named ones are not pending any more.
        timers: The named ones that are, without their bodies.
        at: The server's time when they were looked at; None where none was named.
        is_cut: Whether there was no time to count all: there are at least so many.
    """

    count: int
    running: int | None = None
    gone: int = 0
    timers: list[Timer] = field(default_factory=list)
    at: datetime | None = None
    is_cut: bool = False


def preview(
    timers: TimersClient, chosen: Chosen, *, on_examined: OnExamined | None = None
) -> Preview:
    """Count what was chosen; nothing is changed.

    Args:
        timers: The client.
        chosen: What was chosen.
        on_examined: With a pattern, told how many timers were looked at. Where it raises
            `TimeUpError`, what was counted until then is given.

    Raises:
        ValueError: The topic, an id or the pattern is empty.
        redis.RedisError: What the server or the connection says.
    """
    if chosen.everything:
        return Preview(_count(timers, chosen.topic))
    now = server_time(timers, chosen.topic)
    if named := dict.fromkeys(chosen.timer_ids):
        found = look_at(timers, chosen.topic, named)
        running = sum(state_of(timer, now) == "running" for timer in found)
        return Preview(len(found), running, len(named) - len(found), found, now)
    count = running = 0
    try:
        for timer in list_timers(timers, chosen.topic, match=chosen.match, on_examined=on_examined):
            count += 1
            running += state_of(timer, now) == "running"
    except TimeUpError:
        return Preview(count, is_cut=True)
    return Preview(count, running)


def _count(timers: TimersClient, topic: str) -> int:
    try:
        return timers.count_pending(topic)
    except TopicTornError:
        # They can be given up, and nothing else: so many they are.
        (stats,) = count_topics(timers, [topic]).topics
        return stats.pending
