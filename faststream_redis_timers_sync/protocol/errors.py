"""The errors of this library.

TimersError
├── TimerExistsError           if_exists="error", and a timer with this id is waiting
├── TimerOutcomeUnknownError   the reply was lost: the call may or may not have had effect
├── TimerNotReplicatedError    fewer replicas have it than confirm_replicas= demands
├── TopicTornError             a node failed while the topic's slot moved: payloads are gone
└── EnvelopeError              a payload can't be read (also a ValueError)

Wrong arguments raise ``TypeError`` and ``ValueError``; errors of the server or the connection are
redis-py's own.
"""

from typing import Any


class TimersError(Exception):
    """The base of this library's errors."""


class TimerExistsError(TimersError):
    """A timer with this id is already waiting, and ``if_exists="error"`` was passed.

    Nothing was scheduled, not even the other timers of the same call (up to 200).

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
        """Return the message, with topic, id and remedy."""
        return (
            f"timer {self.timer_id!r} is already waiting in topic {self.topic!r}; cancel it first, "
            'or schedule with if_exists="replace" or "keep"'
        )


class TimerOutcomeUnknownError(TimersError):
    """The connection was lost before the server's reply: the call may or may not have had effect.

    Repeating it is safe if you chose the timer id: scheduling under the same id never leaves two
    timers pending, though the first may have been delivered meanwhile.

    Args:
        action: The call, for example ``"schedule"``.
        topic: The full topic, prefix included.
        timer_ids: The ids of the call; empty if it was about the whole topic.
    """

    def __init__(self, action: str, topic: str, timer_ids: tuple[str, ...]) -> None:
        """Keep action, topic and ids."""
        super().__init__(action, topic, timer_ids)
        self.action = action
        self.topic = topic
        self.timer_ids = timer_ids

    @property
    def timer_id(self) -> str | None:
        """The id of the call; None unless it has exactly one."""
        return self.timer_ids[0] if len(self.timer_ids) == 1 else None

    def __str__(self) -> str:
        """Return the message, with action, topic and ids."""
        again = "repeat it under the same id" if self.timer_ids else "repeat it"
        return (
            f"the server's reply to {self.action} ({_whom(self.topic, self.timer_ids)}) was lost: "
            "the call may or may not have had effect. Check with get_timer or count_pending, or "
            f"{again}"
        )


class TimerNotReplicatedError(TimersError):
    """The primary made the change, but fewer replicas have it than `confirm_replicas` demands.

    Nothing is undone: late replicas still get it. It is lost only if the primary fails and a
    replica without it is promoted. Repeating the call under the same id waits for the replicas
    again; a timer that was delivered meanwhile is then delivered twice.

    In a batch it is about one call of up to 200 timers: earlier calls are confirmed, later ones
    were not sent.

    Args:
        action: The call, for example ``"schedule"``.
        topic: The full topic, prefix included.
        timer_ids: The ids of the call; empty if it was about the whole topic.
        requested: How many replicas had to confirm.
        confirmed: How many have confirmed. None if unknown: the request was refused, or its reply
            lost.
        timeout: The seconds that they had, `confirm_timeout`.
        reason: Why the number is unknown, else empty.
        result: The result of the call, for example whether a cancelled timer was waiting.
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
        """Keep the arguments."""
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
        """The id of the call; None unless it has exactly one."""
        return self.timer_ids[0] if len(self.timer_ids) == 1 else None

    def __str__(self) -> str:
        """Return the message, with action, topic and ids, replicas and remedy."""
        if self.confirmed is None:
            problem = f"whether {self.requested} of its replicas have it is unknown ({self.reason})"
        else:
            problem = (
                f"only {self.confirmed} of {self.requested} replicas confirmed it within "
                f"{self.timeout:g} s"
            )
        return (
            f"{self.action} ({_whom(self.topic, self.timer_ids)}) was carried out on the primary, "
            f"but {problem}: it is lost if the primary fails now and a replica without it is "
            f"promoted. {_AGAIN.get(self.action, _AGAIN_BY_ID)}; INFO replication shows which "
            "replicas lag"
        )


_AGAIN_BY_ID = "Repeat the call under the same id to wait again"
_AGAIN = {
    "cancel all": "Repeat the call to wait again",
    "redrive": (
        "Repeating the call redrives only dead letters that are still there; any later confirmed "
        "call on this primary confirms this one too"
    ),
}


class TopicTornError(TimersError):
    """A topic has timers, but all of their payloads are gone; nothing was read or changed.

    This happens only to keys with hash tags. While Redis Cluster moves a slot key by key, a node
    can fail when the payloads have moved and the timeline has not. The replica that takes its place
    then has timers that nobody can deliver. Calls that would hide or worsen this are refused, so
    that the parts can still be brought together; `cancel_all` is never refused.

    Args:
        topic: The full topic, prefix included.
    """

    def __init__(self, topic: str) -> None:
        """Keep the topic."""
        super().__init__(topic)
        self.topic = topic

    def __str__(self) -> str:
        """Return the message, with topic and remedy."""
        return (
            f"topic {self.topic!r} is torn: it has timers, and all of their payloads are gone, as "
            f"after a node failed while their slot moved: {TORN_REMEDY}"
        )


TORN_REMEDY = (
    "start the failed node again and bring the keys together with `redis-cli --cluster fix`, or "
    "give the timers up with cancel_all"
)
"""The remedy for a torn topic."""


class EnvelopeError(TimersError, ValueError):
    """A payload that begins like an envelope but can't be read as one."""


def _whom(topic: str, timer_ids: tuple[str, ...]) -> str:
    if not timer_ids:
        return f"all timers in topic {topic!r}"
    if len(timer_ids) == 1:
        return f"timer {timer_ids[0]!r} in topic {topic!r}"
    return f"{len(timer_ids)} timers of topic {topic!r}, the first {timer_ids[0]!r}"
