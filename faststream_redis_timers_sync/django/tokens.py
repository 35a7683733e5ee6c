"""Names of topics and timers in URLs, in forms and in the admin's log."""

from typing import NamedTuple

from faststream_redis_timers_sync.manage.tokens import from_token, to_token


class Place(NamedTuple):
    """The address of a topic of an alias, or of a timer in it.

    Args:
        alias: The alias of `TIMERS`.
        topic: The topic, without the client's prefix.
        timer_id: The timer's id; empty if the topic is meant.
    """

    alias: str
    topic: str
    timer_id: str = ""

    @property
    def key(self) -> str:
        """The place as one word of letters, digits, ``-``, ``_`` and ``.``."""
        parts = (self.alias, self.topic, self.timer_id)
        return ".".join(to_token(part) for part in parts if part)

    @property
    def whole_topic(self) -> "Place":
        """The topic that a timer is in."""
        return self._replace(timer_id="")


def read_place(key: str) -> Place:
    """Read a `Place.key`.

    Args:
        key: The word.

    Raises:
        ValueError: It is not one.
    """
    parts = [from_token(part) for part in key.split(".")]
    if len(parts) not in {2, 3} or not all(parts):
        msg = f"{key!r} names neither a topic nor a timer"
        raise ValueError(msg)
    # Only ids may hold bytes that are not UTF-8.
    for part in parts[:2]:
        part.encode()
    return Place(*parts)
