"""The errors of this library.

TimersError
├── TimerExistsError           if_exists="error" met a timer that waits
├── TimerOutcomeUnknownError   the reply was lost: it may or may not have happened
└── EnvelopeError              a payload that can't be read (also a ValueError)

Wrong arguments raise ``TypeError`` and ``ValueError``; what the server or the
connection says comes through as redis-py's own errors.
"""


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
        timer_ids: The ids concerned; empty where it was the whole topic.
    """

    def __init__(self, action: str, topic: str, timer_ids: tuple[str, ...]) -> None:
        """Keep action, topic and ids."""
        super().__init__(action, topic, timer_ids)
        self.action = action
        self.topic = topic
        self.timer_ids = timer_ids

    @property
    def timer_id(self) -> str | None:
        """The id concerned, None where it is not exactly one."""
        return self.timer_ids[0] if len(self.timer_ids) == 1 else None

    def __str__(self) -> str:
        """Name action, topic and ids."""
        if not self.timer_ids:
            whom = "all timers"
        elif len(self.timer_ids) == 1:
            whom = f"timer {self.timer_ids[0]!r}"
        else:
            whom = f"{len(self.timer_ids)} timers, from {self.timer_ids[0]!r}"
        return (
            f"the server's answer to {self.action} ({whom} in topic {self.topic!r}) was lost: "
            "it may have happened or not, look before you rely on either"
        )


class EnvelopeError(TimersError, ValueError):
    """A payload that begins like an envelope but can't be read as one."""
