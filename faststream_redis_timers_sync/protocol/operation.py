"""Operations: a call of a script or a command that is not sent yet, or several of them."""

import hashlib
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from faststream_redis_timers_sync.protocol.errors import (
    TimerOutcomeUnknownError,
    TimersError,
    TopicTornError,
)
from faststream_redis_timers_sync.protocol.keys import Dialect, KeySpace
from faststream_redis_timers_sync.protocol.model import Timer

MOST_READ = 500
"""Timers that one script call reads: Lua's unpack fails at 8,000, and 1,000 take 4 to 10 ms."""

MOST_CHANGED = 200
"""Timers that one script call schedules, reschedules, cancels or settles: among a million timers,
500 take up to 9 ms, in which the server serves nobody else."""

PAYLOAD_BUDGET = 512 * 1024
"""Bytes of payloads in one reply, or one call; a single larger payload still fits. A mebibyte
takes Redis 8.0 up to 8 ms, in which it serves nobody else."""

BUDGET_WORD = b"%d" % PAYLOAD_BUDGET
"""The same, as an argument of scripts."""

_PLAIN = Dialect()

_T = TypeVar("_T")


class Script(NamedTuple):
    """A Lua script.

    Args:
        name: Its file's name, without the ending.
        text: The text sent with EVAL.
        sha: SHA-1 of the text, sent with EVALSHA.
    """

    name: str
    text: bytes
    sha: bytes


@cache
def load_script(name: str, dialect: Dialect = _PLAIN) -> Script:
    """Read a script from the package, once.

    Args:
        name: Its file's name, without the ending.
        dialect: The dialect, for scripts that depend on it.
    """
    folder = files(__package__) / "lua"
    names = ("_shared", "_hash_tags", name) if dialect.fits_cluster else ("_shared", name)
    *shared, own = ((folder / f"{each}.lua").read_bytes() for each in names)
    if dialect.fits_cluster:
        *shared, own = (text.replace(_ONLY_WITH_HASH_TAGS, b"") for text in (*shared, own))
    text = b"\n\n".join((*_definitions_for(own, b"\n".join(shared).rstrip()), own))
    if dialect.database:
        prefix = b"db%d:" % dialect.database
        text = text.replace(_CHANNEL_PREFIX % b"", _CHANNEL_PREFIX % prefix, 1)
    if dialect.hash_tags:
        text = text.replace(_PUBLISH, _SHARDED_PUBLISH).replace(_COUNT, _SHARDED_COUNT)
    sha = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    return Script(name, text, sha)


def _definitions_for(script: bytes, shared: bytes) -> list[bytes]:
    # A script makes all functions that stand in its text at each call, used or not.
    names = _names_in(script)
    chosen: list[bytes] = []
    # One uses only those above it.
    for paragraph in reversed(_PARAGRAPHS.split(shared)):
        definition = _DEFINITION.search(paragraph)
        if definition is not None and definition[1] in names:
            names |= _names_in(paragraph)
            chosen.insert(0, paragraph)
    return chosen


def _names_in(code: bytes) -> set[bytes]:
    return set(re.findall(rb"\w+", _NO_CODE.sub(b"", code)))


_NO_CODE = re.compile(rb"--.*|'[^']*'")
_PARAGRAPHS = re.compile(rb"\n\n(?=--|local )")
_DEFINITION = re.compile(rb"^local (?:function )?(\w+)", re.MULTILINE)

_CHANNEL_PREFIX = b"local channel_prefix = '%b'"
_ONLY_WITH_HASH_TAGS = b"--@ "
_PUBLISH, _SHARDED_PUBLISH = b"redis.pcall('PUBLISH', ", b"redis.pcall('SPUBLISH', "
_COUNT, _SHARDED_COUNT = b"'NUMSUB'", b"'SHARDNUMSUB'"
# As they stand in _shared.lua, and what `KeySpace.channel_prefix` says.


class Operation(NamedTuple, Generic[_T]):
    """A call of a script, or a plain command, that has not been sent yet.

    Args:
        script: The script; None makes it a plain command.
        keys: The keys that it touches, by which its server is found. Without keys it asks a server
            about itself.
        args: The script's other arguments; all words of a plain command.
        parse: Turns the reply into the result: undecoded bytes, or what the command gives.
        may_repeat: Whether it may be sent again if its reply was lost.
        action: Its name in errors, if a lost reply matters; else None.
        has_written: Returns from the reply whether anything was written, for callers that wait for
            replicas; in doubt False. None if nobody waits for replicas: nothing is written, or it
            is a worker's step. A step that is lost in a failover leads to a redelivery, as any
            expired lease.
        topic: The full topic, for errors.
        timer_ids: Its ids, likewise; empty if it is about the whole topic.
        home: The full topic that dead letters return to, likewise.
    """

    script: Script | None
    keys: tuple[bytes, ...]
    args: Sequence[bytes]
    parse: Callable[[Any], _T]
    may_repeat: bool = False
    action: str | None = None
    has_written: Callable[[Any], bool] | None = None
    topic: str = ""
    timer_ids: tuple[str, ...] = ()
    home: str = ""

    def __repr__(self) -> str:
        """Show its name and keys; the arguments hold payloads, which may be secret."""
        return (
            f"{type(self).__name__}({self.name!r}, keys={self.keys!r}, {len(self.args)} arguments)"
        )

    @property
    def name(self) -> str:
        """The script's name, or that of the command."""
        return self.args[0].decode() if self.script is None else self.script.name

    def pack(self, *, by_text: bool = False, asking: bool = False) -> list[bytes]:
        """Return the command as it goes over the wire, for redis-py's `send_packed_command`.

        Args:
            by_text: Send the script's text (EVAL) instead of its hash (EVALSHA), to which the
                server may reply NOSCRIPT.
            asking: Put ASKING before it, which has its own reply: the node of a cluster is asked
                for a slot that is moving to it.
        """
        packed = pack_words(self.words(by_text=by_text))
        return [ASKING, packed] if asking else [packed]

    def words(self, *, by_text: bool) -> Sequence[bytes]:
        """Return the command word by word, for a pipeline.

        Args:
            by_text: As in `pack`; without a meaning for a plain command.
        """
        script = self.script
        if script is None:
            return self.args
        name, what = (b"EVAL", script.text) if by_text else (b"EVALSHA", script.sha)
        return (name, what, b"%d" % len(self.keys), *self.keys, *self.args)

    def refusal(self, error: BaseException) -> TimersError | None:
        """Return the error to raise if the script has refused.

        Args:
            error: The server's error.

        Returns:
            None if it is not the script's.
        """
        code, _, rest = str(error).partition(" ")
        if code != "TORN":
            return None
        # A script of two topics has their keys in this order.
        is_home = len(self.keys) > _OF_A_TOPIC and rest.encode().startswith(self.keys[2] + b" ")
        return TopicTornError(self.home if is_home else self.topic)

    def outcome_unknown(self, error: BaseException) -> TimerOutcomeUnknownError | None:
        """Return the error to raise after a lost reply.

        Args:
            error: The error of sending or reading.

        Returns:
            None if nothing depends on the reply, or the call was refused for certain.
        """
        # A Sentinel's connection turns a replica's refusal into a lost reply, and
        # redis-py counts some replies of the server as errors of the connection.
        refused = str(error) == _DEMOTED or type(error).__name__ in REFUSALS
        if self.action is None or self.may_repeat or refused:
            return None
        return TimerOutcomeUnknownError(self.action, self.topic, self.timer_ids)


_OF_A_TOPIC = 2
# Keys that scripts of one topic declare.

REFUSALS = {"AuthenticationError", "AuthorizationError", "BusyLoadingError"}
"""Names of redis-py's connection errors that are replies of the server: nothing was changed."""

_DEMOTED = "The previous master is now a slave"
# The text of that error. Its context says nothing: it may be an error that the caller handles.


def reading(
    script: str, keys: KeySpace, topic: str, args: Sequence[bytes], parse: Callable[[Any], _T]
) -> Operation[_T]:
    """Make a call of a script that only reads a topic, and so may be repeated.

    Args:
        script: The name of its file, without the ending.
        keys: The names of the keys.
        topic: The full topic, whose timeline and payloads are read.
        args: The script's other arguments.
        parse: Turns the reply into the result.

    Raises:
        TopicTornError: From the reply.
    """
    return Operation(
        load_script(script, keys.dialect),
        keys.of(topic)[:2],
        args,
        parse,
        may_repeat=True,
        topic=topic,
    )


def command(
    *words: bytes,
    parse: Callable[[Any], _T],
    keys: tuple[bytes, ...] = (),
    may_repeat: bool = False,
) -> Operation[_T]:
    """Make a plain command.

    Args:
        words: Its words.
        parse: Turns the raw reply into the result.
        keys: The keys by which its server is found; those among the words, as a rule.
        may_repeat: Whether it may be sent again if its reply was lost.
    """
    return Operation(None, keys, words, parse, may_repeat=may_repeat)


ASKING = b"*1\r\n$6\r\nASKING\r\n"
"""Lets a node of a cluster take the next command for a slot that is on its way to it."""

PING = command(b"PING", parse=bool)
"""Asks for a sign of life."""


Steps = Generator[Operation[Any], Any, _T]
"""Several calls that together give one result."""


TimerPages = Generator[Operation[Any] | list[Timer], Any, None]
"""Several calls that give timers page by page."""


def in_chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield items in lists of a size, as they come.

    Args:
        items: The items.
        size: How many a list holds; the last may be shorter.
    """
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


def pack_words(words: Sequence[bytes]) -> bytes:
    """Return a command as it goes over the wire.

    redis-py would check the type of each word, which takes as long as the rest of a call; here all
    words are bytes.

    Args:
        words: The command and its arguments.
    """
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        size = len(word)
        parts += (_SIZES[size] if size < _KNOWN_SIZES else b"$%d\r\n" % size, word, b"\r\n")
    return b"".join(parts)


_KNOWN_SIZES = 512
_SIZES = tuple(b"$%d\r\n" % size for size in range(_KNOWN_SIZES))
# Written once: this takes a quarter of the time of packing.


def split_reply(reply: bytes) -> tuple[list[bytes], bytes]:
    """Split a reply into the words of its first line, and the bytes that follow.

    Args:
        reply: The reply.
    """
    line, _, rest = reply.partition(b"\n")
    return line.split(b" "), rest
