"""What an operation is: a script call that has not been sent yet, and several of them."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from faststream_redis_timers_sync.protocol.errors import TimerOutcomeUnknownError
from faststream_redis_timers_sync.protocol.model import Timer

MOST_READ = 500
"""Timers that one script call reads: Lua's unpack fails at 8,000, and 1,000 take 4 to 10 ms."""

MOST_CHANGED = 200
"""Timers that one script call schedules, moves, cancels or settles: where a million wait, 500
take up to 9 ms, in which the server serves nobody else."""

PAYLOAD_BUDGET = 512 * 1024
"""Bytes of payloads in one reply, or one call; a single larger payload still fits. A mebibyte
takes Redis 8.0 up to 8 ms, in which it serves nobody else."""

BUDGET_WORD = b"%d" % PAYLOAD_BUDGET
"""The same, as an argument of scripts."""

_T = TypeVar("_T")


class Script(NamedTuple):
    """A Lua script.

    Args:
        name: Its file's name, without the ending.
        text: What is sent with EVAL.
        sha: SHA-1 of the text, sent with EVALSHA.
    """

    name: str
    text: bytes
    sha: bytes


@cache
def load_script(name: str) -> Script:
    """Read a script from the package, once.

    Args:
        name: Its file's name, without the ending.
    """
    folder = files(__package__) / "lua"
    text = b"\n".join((folder / f"{part}.lua").read_bytes() for part in ("_shared", name))
    sha = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    return Script(name, text, sha)


class Operation(NamedTuple, Generic[_T]):
    """A script call that has not been sent yet.

    Args:
        script: The script.
        keys: Its keys.
        args: Its other arguments.
        parse: Makes the result of the reply: undecoded bytes, or an int.
        action: What the caller asked for, for the error when a reply is lost.
            None for a read, which may simply be repeated.
        topic: The full topic.
        timer_ids: The ids concerned; empty where it is the whole topic.
    """

    script: Script
    keys: tuple[bytes, ...]
    args: Sequence[bytes]
    parse: Callable[[Any], _T]
    action: str | None = None
    topic: str = ""
    timer_ids: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Name script and keys; the arguments hold payloads, which may be secret."""
        return (
            f"{type(self).__name__}(script={self.script.name!r}, keys={self.keys!r}, "
            f"{len(self.args)} arguments)"
        )

    def pack(self, *, by_text: bool = False) -> list[bytes]:
        """Write the command as it goes over the wire, for redis-py's `send_packed_command`.

        Args:
            by_text: Bring the script's text (EVAL) instead of its name
                (EVALSHA), to which the server may answer NOSCRIPT.
        """
        return [pack_words(self.words(by_text=by_text))]

    def words(self, *, by_text: bool) -> tuple[bytes, ...]:
        """Give the command word by word, for a pipeline.

        Args:
            by_text: As in `pack`.
        """
        script = self.script
        name, what = (b"EVAL", script.text) if by_text else (b"EVALSHA", script.sha)
        return (name, what, b"%d" % len(self.keys), *self.keys, *self.args)

    @property
    def is_confirmed(self) -> bool:
        """Whether replicas are waited for, where a front end asks for that.

        What changes timers for a caller is; what only reads is not, nor a worker's step: one
        that is lost in a failover delivers again, as after any lease.
        """
        return self.action is not None and self.action not in _UNCONFIRMED

    def outcome_unknown(self, error: BaseException) -> TimerOutcomeUnknownError | None:
        """Give the error that the caller must know of after a lost reply.

        Args:
            error: What sending or reading raised.

        Returns:
            None where the call may be repeated, or was refused for certain.
        """
        # A Sentinel's connection turns a replica's refusal into a lost reply, and
        # redis-py counts some answers of the server as errors of the connection.
        refused = (
            type(error.__context__).__name__ == "ReadOnlyError" or type(error).__name__ in _REFUSALS
        )
        if self.action is None or refused:
            return None
        return TimerOutcomeUnknownError(self.action, self.topic, self.timer_ids)


_UNCONFIRMED = frozenset({"claim", "settle", "read"})


_REFUSALS = {"AuthenticationError", "AuthorizationError", "BusyLoadingError"}


Steps = Generator[Operation[Any], Any, _T]
"""Several calls that together give one result."""


TimerPages = Generator[Operation[Any] | list[Timer], Any, None]
"""Several calls that give timers page by page."""


def in_chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Give items in lists of a size, as they come.

    Args:
        items: The items.
        size: How many a list holds; the last may be shorter.
    """
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


def pack_words(words: Sequence[bytes]) -> bytes:
    """Write a command as it goes over the wire.

    redis-py would ask each word for its type, which takes as long as all else that it
    does for a call; here all of them are bytes.

    Args:
        words: The command and its arguments.
    """
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def split_reply(reply: bytes) -> tuple[list[bytes], bytes]:
    """Split a reply into the words of its first line, and the bytes that follow.

    Args:
        reply: The reply.
    """
    line, _, rest = reply.partition(b"\n")
    return line.split(b" "), rest
