"""The names of a topic's keys, and the bytes of topics and timer ids."""

from dataclasses import dataclass, field
from typing import NamedTuple

DEFAULT_TIMELINE_KEY = "timers_timeline"
DEFAULT_PAYLOADS_KEY = "timers_payloads"
DEFAULT_ATTEMPTS_KEY = "timers_attempts"


class TopicKeys(NamedTuple):
    """The keys of one topic.

    Args:
        timeline: Sorted set, timer id -> due time or end of the lease.
        payloads: Hash, timer id -> envelope.
        attempts: Hash, timer id -> attempts so far.
    """

    timeline: bytes
    payloads: bytes
    attempts: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpace:
    """Where timers live: the names that their keys begin with.

    Args:
        timeline_key: Name that the timelines' keys begin with.
        payloads_key: Name that the payloads' keys begin with.
        attempts_key: Name that the attempts' keys begin with.
        database: Number of the server's database, 0 by default.

    Raises:
        TypeError: A name is not a string.
        ValueError: A name is empty, or two are the same.
    """

    timeline_key: str = DEFAULT_TIMELINE_KEY
    payloads_key: str = DEFAULT_PAYLOADS_KEY
    attempts_key: str = DEFAULT_ATTEMPTS_KEY
    database: int = 0
    _topics: dict[str, TopicKeys] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Check the names."""
        names = {}
        for argument in ("timeline_key", "payloads_key", "attempts_key"):
            names[argument] = plain_text(argument, getattr(self, argument))
            object.__setattr__(self, argument, names[argument])
        if len(set(names.values())) < len(names):
            msg = f"timeline_key, payloads_key and attempts_key must differ, got {names}"
            raise ValueError(msg)

    def of(self, topic: str) -> TopicKeys:
        """Name the keys of a topic.

        Args:
            topic: The topic with all prefixes in front of it.

        Raises:
            TypeError: It is not a string.
            ValueError: It is empty or can't be written as UTF-8.
        """
        encoded = encode_text("topic", topic)
        topic = plain(topic)
        keys = self._topics.get(topic)
        if keys is None:
            keys = TopicKeys(
                *(
                    b"%b:%b" % (name.encode(), encoded)
                    for name in (self.timeline_key, self.payloads_key, self.attempts_key)
                )
            )
            # Topics made from data (one per user, say) must not fill the memory.
            if len(self._topics) >= _REMEMBERED_TOPICS:
                self._topics.clear()
            self._topics[topic] = keys
        return keys

    @property
    def channel_prefix(self) -> str:
        """What the channels for wake-ups begin with: pub/sub knows no databases."""
        return f"db{self.database}:" if self.database else ""

    def channel_of(self, topic: str) -> bytes:
        """Give the name of a topic's pub/sub channel for wake-ups.

        Args:
            topic: The full topic.

        Raises:
            TypeError: The topic is not a string.
            ValueError: It is empty or can't be written as UTF-8.
        """
        return self.channel_prefix.encode() + self.of(topic).timeline


_REMEMBERED_TOPICS = 1000


def prefixed(prefix: str, topic: str, argument: str = "topic") -> str:
    """Put a front end's prefix before a topic.

    Args:
        prefix: The prefix, often empty, as `plain_prefix` gives it.
        topic: The topic as its user names it.
        argument: Name of the argument, for the error.

    Raises:
        TypeError: The topic is not a string.
        ValueError: The topic is empty or can't be written as UTF-8.
    """
    return prefix + plain_text(argument, topic)


def plain_prefix(prefix: str, argument: str = "prefix") -> str:
    """Check what a front end is to put before topics.

    Args:
        prefix: The prefix, often empty.
        argument: Name of the argument, for the error.

    Returns:
        It, as a plain str.

    Raises:
        TypeError: It is not a string.
        ValueError: It can't be written as UTF-8.
    """
    # Not `not prefix`: that would let None pass.
    return "" if prefix == "" else plain_text(argument, prefix)


def plain_text(argument: str, text: str) -> str:
    """Check a topic, a timer id, or the name of keys.

    Args:
        argument: Name of the argument, for the error.
        text: What was given.

    Returns:
        It, as a plain str.

    Raises:
        TypeError: It is not a string.
        ValueError: It is empty, or has lone surrogates.
    """
    encode_text(argument, text)
    return plain(text)


def plain(text: str) -> str:
    """Make a plain str of a member of ``class Topic(str, Enum)``, or of another subclass's.

    Such a member is its value to most of str's methods, and its name (``Topic.INVOICES``) to
    f-strings and `str`, so none of them may ever meet one.

    Args:
        text: The text.
    """
    return str.__str__(text)


def encode_text(argument: str, text: str) -> bytes:
    """Write a topic or timer id as UTF-8.

    Args:
        argument: Name of the argument, for the error.
        text: What to write.

    Raises:
        TypeError: It is not a string.
        ValueError: It is empty, or has lone surrogates.
    """
    if not isinstance(text, str):
        # Where arguments were swapped it is a message, which may be secret.
        is_plain = text is None or isinstance(text, (int, float))
        shown = repr(text) if is_plain else f"a value of type {type(text).__name__}"
        msg = f"{argument} must be a str, got {shown}"
        raise TypeError(msg)
    if not text:
        msg = f"{argument} must not be empty"
        raise ValueError(msg)
    try:
        # As str does it, whatever a subclass does.
        return str.encode(text)
    except UnicodeEncodeError as error:
        msg = f"{argument} can't be written as UTF-8: {plain(text)!r}"
        raise ValueError(msg) from error


def encode_known_id(timer_id: str) -> bytes:
    """Write the id of a timer that may be pending already.

    Other clients may have used bytes that are no UTF-8 as ids. Listing shows
    them with Python's surrogate escapes; written back they find their timer.

    Args:
        timer_id: The id, as given to or shown by this library.
    """
    try:
        return str.encode(timer_id, "utf-8", "surrogateescape")
    except (TypeError, UnicodeEncodeError):
        return encode_text("timer_id", timer_id)


def decode_id(timer_id: bytes) -> str:
    """Show an id; bytes that are no UTF-8 become surrogate escapes.

    Args:
        timer_id: The id as it stands in the keys.
    """
    return timer_id.decode("utf-8", "surrogateescape")


def show_id(timer_id: bytes) -> str:
    """Show an id in a text for people: quoted, and with all escaped that does not print.

    Args:
        timer_id: The id as it stands in the keys.
    """
    return repr(timer_id.decode("utf-8", "backslashreplace"))
