"""The server behind a client: plain commands, its clock, a client from a URL."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.protocol.clients import BAD_URL, check_url, is_cluster_url
from faststream_redis_timers_sync.protocol.keys import KeySpace, prefixed
from faststream_redis_timers_sync.protocol.operation import command
from faststream_redis_timers_sync.protocol.times import time_of

_T = TypeVar("_T")


class Internals(NamedTuple):
    """The internals of a client.

    Args:
        runner: Sends operations.
        keys: The names of the keys.
        prefix: The client's prefix of topics.
    """

    runner: Runner
    keys: KeySpace
    prefix: str

    def full(self, topic: str) -> str:
        """Put the prefix before a topic.

        Args:
            topic: The topic as the client's user names it.

        Raises:
            ValueError: It is empty or can't be written as UTF-8.
        """
        return prefixed(self.prefix, topic)


def internals_of(timers: TimersClient) -> Internals:
    """Return the internals of a client: managing needs more commands than scheduling.

    Args:
        timers: The client.
    """
    return Internals(timers._runner, timers._operations.keys, timers._prefix)  # noqa: SLF001  one package


def ask(
    timers: TimersClient, *words: bytes, parse: Callable[[Any], _T], keys: tuple[bytes, ...] = ()
) -> _T:
    """Send a plain command that reads, once, and return its result.

    Args:
        timers: The client.
        words: The command.
        parse: Turns the raw reply into the result.
        keys: In a cluster, the keys whose primary is asked; without keys, any primary is.

    Raises:
        redis.RedisError: The server or the connection failed.
    """
    return internals_of(timers).runner.run(command(*words, parse=parse, keys=keys))


def ask_primaries(timers: TimersClient, *words: bytes, parse: Callable[[Any], _T]) -> list[_T]:
    """Send such a command to each primary of a cluster, or to the one server there is.

    Args:
        timers: The client.
        words: The command.
        parse: Turns a raw reply into the result.

    Returns:
        The results, one per primary.

    Raises:
        redis.RedisError: The server or the connection failed.
    """
    question = command(*words, parse=parse)
    return [primary.run(question) for primary in internals_of(timers).runner.primaries()]


def server_time(timers: TimersClient, topic: str | None = None) -> datetime:
    """Ask for the server's time, by which timers are due.

    Args:
        timers: The client.
        topic: In a cluster, the topic whose primary is asked; None asks any primary.
    """
    reach = internals_of(timers)
    keys = () if topic is None else reach.keys.of(reach.full(topic))[:1]
    return internals_of(timers).runner.run(TIME._replace(keys=keys))


def _parse_time(reply: list[bytes]) -> datetime:
    seconds, microseconds = reply
    return time_of(float(b"%b.%06d" % (seconds, int(microseconds))))


TIME = command(b"TIME", parse=_parse_time)
"""Asks a server for its time."""


def count_keys(timers: TimersClient) -> int:
    """Count the keys of the database, timers' and others', on all primaries.

    Args:
        timers: The client.
    """
    return sum(ask_primaries(timers, b"DBSIZE", parse=int))


def open_client(
    url: str, kind: type[TimersClient] = TimersClient, /, **arguments: Any
) -> TimersClient:
    """Make a client from a URL. Errors never repeat the URL, which may hold a password.

    Args:
        url: As `redis.Redis.from_url` reads it.
        kind: The class of the client.
        arguments: Further arguments of `TimersClient`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The URL can't be used, or an argument.
    """
    check_url(url)
    try:
        return kind(url, **arguments)
    except ValueError:
        # A wrong argument fails with any URL. Otherwise the URL is wrong, and the error may quote
        # any of its parts.
        if is_cluster_url(url):
            arguments["hash_tags"] = True
        kind("redis://localhost", **arguments).close()
        raise ValueError(BAD_URL) from None


def escape_glob(text: str) -> bytes:
    r"""Escape text so that a glob pattern of Redis matches it literally.

    Args:
        text: The text, for example ``what?`` (which becomes ``what\?``).
    """
    escaped = "".join(f"\\{c}" if c in _GLOB else c for c in text)
    # An id may be no UTF-8.
    return escaped.encode(errors="surrogateescape")


_GLOB = frozenset("*?[]\\^")
