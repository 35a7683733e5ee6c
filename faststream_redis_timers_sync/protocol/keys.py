"""The names of a topic's keys, and the bytes of topics and timer ids.

There are two layouts. The plain one appends the topic to the names. With hash tags a part of it is
in braces, by which Redis Cluster places all keys of the topic in one slot.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from faststream_redis_timers_sync.protocol.cluster import hash_tag_of, share_slot, slot_of

DEFAULT_TIMELINE_KEY = "timers_timeline"
DEFAULT_PAYLOADS_KEY = "timers_payloads"
DEFAULT_ATTEMPTS_KEY = "timers_attempts"
DEFAULT_SERIES_KEY = "timers_series"

RESERVE_GROUPS = 64
"""Groups in which workers in reserve listen for calls for help."""

REMEDY_ELSEWHERE = (
    "give all programs that share the topic the same hash_tags, and let workers of the other "
    "layout deliver what is left there"
)
"""The remedy if a topic has timers in both layouts."""


class Dialect(NamedTuple):
    """The parameters of the scripts' texts, which a script can't ask the server for.

    Args:
        database: Number of the server's database, since pub/sub ignores databases.
        hash_tags: Whether topics have hash tags: then wake-ups are sharded.
        fits_cluster: Whether they may be on a cluster, by hash tags or by one tag in all names:
            then a topic may be torn, and scripts check for it.
    """

    database: int = 0
    hash_tags: bool = False
    fits_cluster: bool = False


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
    """The names of all keys.

    Args:
        timeline_key: Beginning of the timelines' keys.
        payloads_key: Beginning of the payloads' keys.
        attempts_key: Beginning of the attempts' keys.
        series_key: Beginning of the keys that list declared series, one per owner.
        hash_tags: Whether keys have hash tags: the topic in braces, or its part before ``:dead``,
            or the braces that the topic itself has.
        database: Number of the server's database, 0 by default.

    Attributes:
        dialect: The dialect of its scripts.

    Raises:
        TypeError: A name is not a string, or `hash_tags` is neither True nor False.
        ValueError: A name is empty, two are the same, or one has a brace beside `hash_tags`.
    """

    timeline_key: str = DEFAULT_TIMELINE_KEY
    payloads_key: str = DEFAULT_PAYLOADS_KEY
    attempts_key: str = DEFAULT_ATTEMPTS_KEY
    series_key: str = DEFAULT_SERIES_KEY
    hash_tags: bool = False
    database: int = 0
    dialect: Dialect = field(init=False, repr=False, compare=False)
    _topics: dict[str, TopicKeys] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Check the names."""
        names = {}
        for argument in ("timeline_key", "payloads_key", "attempts_key", "series_key"):
            names[argument] = plain_text(argument, getattr(self, argument))
            object.__setattr__(self, argument, names[argument])
        if len(set(names.values())) < len(names):
            msg = (
                f"timeline_key, payloads_key, attempts_key and series_key must differ, got {names}"
            )
            raise ValueError(msg)
        # No topic's key begins with it, so a brace does no harm there.
        del names["series_key"]
        if not isinstance(self.hash_tags, bool):
            msg = f"hash_tags must be True or False, got {self.hash_tags!r}"
            raise TypeError(msg)
        for argument, name in names.items():
            if self.hash_tags and _has_brace(name):
                msg = (
                    f"{argument} must have no brace with hash_tags=True, since the topic has the "
                    f"hash tag, got {name!r}: write the name without braces"
                )
                raise ValueError(msg)
        object.__setattr__(
            self, "dialect", Dialect(self.database, self.hash_tags, self.fits_cluster)
        )

    def of(self, topic: str, argument: str = "topic") -> TopicKeys:
        """Return the keys of a topic.

        Args:
            topic: The topic with all prefixes in front of it.
            argument: Name of the argument, for the error.

        Raises:
            TypeError: It is not a string.
            ValueError: It is empty, can't be written as UTF-8, or can't have a hash tag.
        """
        topic = plain_text(argument, topic)
        keys = self._topics.get(topic)
        if keys is None:
            end = (_with_tag(topic, argument) if self.hash_tags else topic).encode()
            keys = TopicKeys(
                *(
                    b"%b:%b" % (name.encode(), end)
                    for name in (self.timeline_key, self.payloads_key, self.attempts_key)
                )
            )
            # Topics made from data (one per user, say) must not fill the memory.
            if len(self._topics) >= REMEMBERED_TOPICS:
                self._topics.clear()
            self._topics[topic] = keys
        return keys

    def series_of(self, owner: str) -> bytes:
        """Return the key that lists the series that an owner has declared.

        It is not a topic's key: in a cluster it is in its own slot.

        Args:
            owner: The name of the owner.

        Raises:
            TypeError: It is not a string.
            ValueError: It is empty, or can't be written as UTF-8.
        """
        return b"%b:%b" % (self.series_key.encode(), encode_text("owner", owner))

    def checked(self, topic: str, argument: str) -> str:
        """Check that a topic can have keys.

        Args:
            topic: The full topic.
            argument: Name of the argument, for the error.

        Returns:
            It.

        Raises:
            TypeError: As `of`.
            ValueError: As `of`.
        """
        self.of(topic, argument)
        return topic

    def mistake_of(self, topic: str) -> str:
        """Return why a topic can't have keys; empty if it can.

        Args:
            topic: The full topic.
        """
        try:
            self.of(topic)
        except ValueError as error:
            return str(error)
        return ""

    def topic_of(self, timeline: bytes) -> str | None:
        """Return whose timeline a key is; this undoes `of`.

        Args:
            timeline: The key.

        Returns:
            The full topic; None if this library names no topic's timeline so.
        """
        name, _, end = timeline.partition(f"{self.timeline_key}:".encode())
        if name or not end:
            return None
        try:
            topic = end.decode()
            if not self.hash_tags:
                return topic
            if in_tag := _IN_TAG.fullmatch(topic):
                topic = in_tag[1] + in_tag[2]
            return topic if _with_tag(topic, "topic").encode() == end else None
        except ValueError:
            # It is not UTF-8, or not a topic with a hash tag.
            return None

    def timeline_elsewhere(self, topic: str) -> bytes | None:
        """Return the timeline that a topic has in the other layout, with or without hash tags.

        Args:
            topic: The full topic.

        Returns:
            None if it has the same one there, or none.
        """
        try:
            end = topic if self.hash_tags else _with_tag(topic, "topic")
        except ValueError:
            return None
        timeline = f"{self.timeline_key}:{end}".encode()
        return None if _has_brace(self.timeline_key) or timeline == self.of(topic)[0] else timeline

    def describe_elsewhere(self, topic: str) -> str:
        """Return the sentence that a topic has timers in the other layout.

        `REMEDY_ELSEWHERE` is to follow.

        Args:
            topic: The full topic, one for which `timeline_elsewhere` names a key.
        """
        timeline = self.timeline_elsewhere(topic)
        shown = None if timeline is None else timeline.decode()
        mine, theirs = ("with", "without") if self.hash_tags else ("without", "with")
        return (
            f"topic {topic!r} also has timers under {shown!r}, the key {theirs} hash tags: "
            f"programs {mine} hash tags don't see or deliver them"
        )

    def beginnings(self, prefix: str) -> list[str]:
        """Return how the keys of all topics with a prefix begin, after the name and the colon.

        Args:
            prefix: The prefix, often empty.

        Returns:
            Texts; each of these keys continues with one of them.
        """
        return _beginnings(prefix) if self.hash_tags else [prefix]

    def beginnings_elsewhere(self, prefix: str) -> list[str]:
        """Return likewise how timelines begin in the other layout, if it differs.

        Args:
            prefix: The prefix, often empty.
        """
        if self.hash_tags or _has_brace(self.timeline_key):
            return []
        return [text for text in _beginnings(prefix) if not text.startswith(prefix)]

    def common_beginning(self, prefix: str) -> str:
        """Return the common beginning of all `beginnings`.

        Args:
            prefix: The prefix, often empty.
        """
        return prefix if len(self.beginnings(prefix)) == 1 else ""

    @property
    def fits_cluster(self) -> bool:
        """Whether all keys of a topic share a slot: with hash tags, or by one tag in all names."""
        names = (self.timeline_key, self.payloads_key, self.attempts_key)
        tags = {hash_tag_of(name.encode()) for name in names}
        return self.hash_tags or (len(tags) == 1 and tags != {b""})

    def share_slot(self, topic: str, other: str, argument: str = "topic") -> bool:
        """Return whether one script may touch the keys of two topics.

        Args:
            topic: A full topic.
            other: The other.
            argument: Name of the argument that is the other, for the error.

        Raises:
            TypeError: As `of`.
            ValueError: As `of`.
        """
        timelines = self.of(topic).timeline, self.of(other, argument).timeline
        return not self.hash_tags or share_slot(*timelines)

    def by_slot(self, topics: Iterable[str]) -> list[list[str]]:
        """Group topics so that one script may touch the keys of all topics of a group.

        Args:
            topics: The full topics.

        Returns:
            The groups; a single one if keys have no hash tags.

        Raises:
            TypeError: As `of`.
            ValueError: As `of`.
        """
        groups: dict[int, list[str]] = {}
        for topic in topics:
            timeline = self.of(topic).timeline
            groups.setdefault(slot_of(timeline) if self.hash_tags else 0, []).append(topic)
        return list(groups.values())

    @property
    def channel_prefix(self) -> str:
        """The beginning of the channels for wake-ups, with the database, which pub/sub ignores."""
        return f"db{self.database}:" if self.database else ""

    def channel_of(self, topic: str) -> bytes:
        """Return the name of a topic's pub/sub channel for wake-ups.

        Args:
            topic: The full topic.

        Raises:
            TypeError: The topic is not a string.
            ValueError: It is empty or can't be written as UTF-8.
        """
        return self.channel_prefix.encode() + self.of(topic).timeline

    def reserve_channel_of(self, topic: str, group: int) -> bytes:
        """Return the name of the channel on which a group of the reserve is called for help.

        Scripts write this name too, see ``lua/_shared.lua``.

        Args:
            topic: The full topic.
            group: The group, from 0 to below `RESERVE_GROUPS`.

        Raises:
            TypeError: As `channel_of`.
            ValueError: As `channel_of`.
        """
        return b"%b%b%c" % (self.channel_of(topic), _NO_TOPIC, _FIRST_GROUP + group)

    def workers_channel_of(self, topic: str) -> bytes:
        """Return the name of the channel to which all workers of a topic subscribe.

        Nothing is published there: its subscribers are counted. Scripts write this name too.

        Args:
            topic: The full topic.

        Raises:
            TypeError: As `channel_of`.
            ValueError: As `channel_of`.
        """
        return self.channel_of(topic) + _WORKERS

    def timeline_of(self, channel: bytes) -> bytes:
        """Return the timeline of a topic to which workers listen by a channel.

        This undoes `channel_of` and `workers_channel_of`.

        Args:
            channel: The channel.

        Returns:
            For other channels, something that is not a topic's timeline.
        """
        return channel.removeprefix(self.channel_prefix.encode()).removesuffix(_WORKERS)


REMEMBERED_TOPICS = 1000
"""Topics whose keys are cached: topics made from data must not fill the memory."""

_NO_TOPIC = b"\xff"
# Never part of UTF-8: no topic's channel continues like this. The hash tag comes before it, and ACL
# rules that allow the topic's channel by its beginning allow these too.
_WORKERS = _NO_TOPIC + b"w"
_FIRST_GROUP = ord("0")

_DEAD = ":dead"
_TAGGED = re.compile(r"(.+?)((?::dead)*)", re.DOTALL)
_IN_TAG = re.compile(r"\{([^{}]+)\}((?::dead)*)")
# A prefix that ends with the beginning of `:dead`, or with some of them before it.
_CUT_DEAD = re.compile(r"(.+?)((?::dead)*(?::(?:d(?:ea?)?)?)?)", re.DOTALL)


def _has_brace(text: str) -> bool:
    return "{" in text or "}" in text


def _with_tag(topic: str, argument: str) -> str:
    """Put a topic's hash tag into braces, unless it has one already.

    Args:
        topic: The full topic, a plain str that is not empty.
        argument: Name of the argument, for the error.

    Raises:
        ValueError: It can't have one, or it would have that of another topic.
    """
    if not _has_brace(topic):
        tag, dead = cast("re.Match[str]", _TAGGED.fullmatch(topic)).groups()
        if tag == _DEAD:
            msg = _refusal(argument, topic, "has no name before ':dead'", "write one before it")
            raise ValueError(msg)
        return f"{{{tag}}}{dead}"
    if in_tag := _IN_TAG.fullmatch(topic):
        name = in_tag[1] + in_tag[2]
        reason = f"has its own braces where those of {name!r} are"
        msg = _refusal(argument, topic, reason, f"write {name!r}")
        raise ValueError(msg)
    if not _is_paired(topic):
        msg = _refusal(
            argument, topic, "has a brace without its pair", "write both around a name, or neither"
        )
        raise ValueError(msg)
    if "{}" in topic:
        msg = _refusal(
            argument, topic, "has braces with nothing between", "write a name there, or no braces"
        )
        raise ValueError(msg)
    return topic


def _beginnings(prefix: str) -> list[str]:
    if not prefix or _has_brace(prefix):
        return [prefix]
    beginnings = ["{" + prefix, prefix]
    # With the prefix "a:" the topic "dead" is "a:dead", and its tag "a".
    if (cut := _CUT_DEAD.fullmatch(prefix)) and cut[2]:
        count = -(-len(cut[2]) // len(_DEAD))
        beginnings.append(f"{{{cut[1]}}}{_DEAD * count}")
    return beginnings


def _refusal(argument: str, topic: str, reason: str, remedy: str) -> str:
    return f"{argument} can't be {topic!r} where hash_tags=True: it {reason}; {remedy}"


def _is_paired(topic: str) -> bool:
    depth = 0
    for character in topic:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


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
        text: The value.

    Returns:
        The value as a plain str.

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


def encode_known_id(timer_id: str, argument: str = "timer_id") -> bytes:
    """Write the id of a timer that may be pending already.

    Other clients may have used bytes that are no UTF-8 as ids. Listing shows
    them with Python's surrogate escapes; written back they find their timer.

    Args:
        timer_id: The id, as given to or shown by this library; or a pattern for such ids.
        argument: Name of the argument, for the error.
    """
    try:
        return str.encode(timer_id, "utf-8", "surrogateescape")
    except (TypeError, UnicodeEncodeError):
        return encode_text(argument, timer_id)


def encode_pattern(match: str) -> bytes:
    """Write a pattern for ids, see `encode_known_id`.

    Args:
        match: The argument of that name.

    Raises:
        TypeError: It is not a string.
        ValueError: It is empty, or has lone surrogates.
    """
    return encode_known_id(match, "match") if match else encode_text("match", match)


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
