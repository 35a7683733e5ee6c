"""The errors of this library.

TimersError
├── TimerExistsError           if_exists="error" met a timer that waits
├── TimerOutcomeUnknownError   the reply was lost: it may or may not have happened
├── TimerNotReplicatedError    confirm_replicas= asked for more replicas than have it
├── TopicTornError             a node failed while the topic's slot moved: payloads are gone
└── EnvelopeError              a payload that can't be read (also a ValueError)

Wrong arguments raise ``TypeError`` and ``ValueError``; what the server or the
connection says comes through as redis-py's own errors.
"""

from typing import Any


class TimersError(Exception):
    """The base of this library's errors."""


class TimerExistsError(TimersError):
    """A timer with this id waits already, and ``if_exists="error"`` was asked for.

    Nothing was scheduled: of a call of up to 200 timers not a single one.

    Args:
        topic: The full topic, prefix included.
        timer_id: The id that is taken.
    """

    def __init__(self, topic: str, timer_id: str) -> None:
        """Keep topic and id."""
        super().__init__(topic, timer_id)
        self.topic = topic
        self.timer_id = timer_id

    def __str__(self) -> str:
        """Name topic and id, and what can be done."""
        return (
            f"a timer {self.timer_id!r} waits in topic {self.topic!r} already; cancel it first, "
            'or schedule with if_exists="replace" or "keep"'
        )


class TimerOutcomeUnknownError(TimersError):
    """The connection was lost before the server's answer came: it may have happened or not.

    Doing it again is safe where it has a timer id of its own: scheduling under
    the same id never leaves two timers pending, though the first may have been
    delivered meanwhile.

    Args:
        action: What was asked for, for example ``"schedule"``.
        topic: The full topic, prefix included.
        timer_ids: The ids concerned; empty if it was the whole topic.
    """

    def __init__(self, action: str, topic: str, timer_ids: tuple[str, ...]) -> None:
        """Keep action, topic and ids."""
        super().__init__(action, topic, timer_ids)
        self.action = action
        self.topic = topic
        self.timer_ids = timer_ids

    @property
    def timer_id(self) -> str | None:
        """The id concerned, None if it is not exactly one."""
        return self.timer_ids[0] if len(self.timer_ids) == 1 else None

    def __str__(self) -> str:
        """Name action, topic and ids."""
        return (
            f"the server's answer to {self.action} ({_whom(self.topic, self.timer_ids)}) was lost: "
            "it may have happened or not, look before you rely on either"
        )


class TimerNotReplicatedError(TimersError):
    """The primary has done it, but not as many replicas have it as `confirm_replicas` asks for.

    Nothing is taken back: replicas that are late get it. It is lost only if the primary fails
    and one that lacks it is promoted. Doing the same again under the same id waits for the
    replicas anew; what was delivered meanwhile is then delivered twice.

    Of a batch it speaks of one call of up to 200 timers: those before are confirmed, those
    after were not sent.

    Args:
        action: What was asked for, for example ``"schedule"``.
        topic: The full topic, prefix included.
        timer_ids: The ids concerned; empty if it was the whole topic.
        requested: How many replicas were asked for.
        confirmed: How many have it for certain. None if that is unknown: the question was
            refused, or its answer lost.
        timeout: The seconds that they had, `confirm_timeout`.
        reason: Why the number is unknown, else empty.
        result: What the call found, for example whether a cancelled timer was waiting.
    """

    def __init__(  # noqa: PLR0913, PLR0917  all that a caller may ask
        self,
        action: str,
        topic: str,
        timer_ids: tuple[str, ...],
        requested: int,
        confirmed: int | None,
        timeout: float,
        reason: str = "",
        result: Any = None,
    ) -> None:
        """Keep what happened."""
        super().__init__(action, topic, timer_ids, requested, confirmed, timeout, reason, result)
        self.action = action
        self.topic = topic
        self.timer_ids = timer_ids
        self.requested = requested
        self.confirmed = confirmed
        self.timeout = timeout
        self.reason = reason
        self.result = result

    @property
    def timer_id(self) -> str | None:
        """The id concerned, None if it is not exactly one."""
        return self.timer_ids[0] if len(self.timer_ids) == 1 else None

    def __str__(self) -> str:
        """Name action, topic and ids, the replicas, and what can be done."""
        if self.confirmed is None:
            problem = f"whether {self.requested} of its replicas have it is unknown ({self.reason})"
        else:
            problem = (
                f"{self.confirmed} of the {self.requested} replicas asked for confirmed it within "
                f"{self.timeout:g} s"
            )
        return (
            f"the primary has it, {self.action} ({_whom(self.topic, self.timer_ids)}), but "
            f"{problem}: it is lost if the primary fails now and a replica without it is promoted. "
            f"{_AGAIN.get(self.action, _AGAIN_BY_ID)}; what lags shows INFO replication"
        )


_AGAIN_BY_ID = "Do it again under the same id to wait anew"
_AGAIN = {
    "cancel all": "Do it again to wait anew",
    "redrive": (
        "Doing it again asks only for dead letters that are still there; any later call on this "
        "primary that is confirmed confirms this one too"
    ),
}


class TopicTornError(TimersError):
    """A topic has timers, and all of their payloads are gone; nothing was read or changed.

    It concerns keys with hash tags alone. While Redis Cluster moves a slot key by key, a node can
    fail when the payloads have moved and the timeline has not. The replica that takes its place
    then has timers that nobody can deliver. What would hide or worsen that is refused. So the parts
    can still be brought together, and `cancel_all` is never refused.

    Args:
        topic: The full topic, prefix included.
    """

    def __init__(self, topic: str) -> None:
        """Keep the topic."""
        super().__init__(topic)
        self.topic = topic

    def __str__(self) -> str:
        """Name the topic, and what can be done."""
        return (
            f"topic {self.topic!r} is torn: it has timers, and all of their payloads are gone, as "
            f"after a node failed while their slot moved: {TORN_REMEDY}"
        )


TORN_REMEDY = (
    "start the failed node again and bring the keys together with `redis-cli --cluster fix`, or "
    "give the timers up with cancel_all"
)
"""What can be done about a torn topic."""


class EnvelopeError(TimersError, ValueError):
    """A payload that begins like an envelope but can't be read as one."""


def _whom(topic: str, timer_ids: tuple[str, ...]) -> str:
    if not timer_ids:
        return f"all timers in topic {topic!r}"
    if len(timer_ids) == 1:
        return f"timer {timer_ids[0]!r} in topic {topic!r}"
    return f"{len(timer_ids)} timers, from {timer_ids[0]!r} in topic {topic!r}"
