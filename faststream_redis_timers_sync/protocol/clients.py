"""Checks of the redis-py clients, pools and pipelines that both front ends are given."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from faststream_redis_timers_sync.protocol.cluster import Address
from faststream_redis_timers_sync.protocol.keys import KeySpace

URL_OPTIONS: dict[str, Any] = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
"""Seconds; for clients made from a URL. redis-py's default is to wait forever."""

NO_CLUSTER_PIPELINE = (
    "pipeline is that of a cluster, which can't be used: redis-py resends its commands if a reply "
    "was lost, so a timer could be delivered and then scheduled again. Leave pipeline out"
)

CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
"""Schemes of the URLs that name nodes of a cluster."""

_LONGEST_WAIT_FOR_POOL = 30.0
_SHORTEST_PAUSE = 0.001
_LONGEST_PAUSE = 0.02


BAD_URL = (
    "the URL of the server can't be read: write redis://USER:PASSWORD@HOST:PORT/DATABASE "
    "(rediss:// for TLS), redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT for some nodes of a "
    "cluster (rediss+cluster:// for TLS), or unix:///PATH; in a password / ? # @ : % are %2F %3F "
    "%23 %40 %3A %25. Options of redis-py follow a ?, as in redis://localhost?socket_timeout=5"
)


def check_url(url: str) -> None:
    """Refuse a URL whose password is not percent-encoded, without repeating any part of the URL.

    A ``/``, ``?`` or ``#`` in a password ends the host too early: the text before it would be
    looked up as a host or port, and shown.

    Args:
        url: The URL.

    Raises:
        ValueError: It can't be read.
    """
    if is_cluster_url(url):
        url = read_cluster_url(url).first
    try:
        parts = urlsplit(url)
        is_torn = "@" in f"{parts.path}{parts.query}{parts.fragment}"
        # A port that is not a number is refused when it is read.
        _ = parts.port
    except ValueError:
        raise ValueError(BAD_URL) from None
    if is_torn and parts.scheme != "unix":
        raise ValueError(BAD_URL)


class ClusterUrl(NamedTuple):
    """A URL that names nodes of a cluster.

    Args:
        first: The URL of the first one, as redis-py reads it: with user, password and options.
        seeds: All of them.
    """

    first: str
    seeds: tuple[Address, ...]


def is_cluster_url(client: object) -> bool:
    """Return whether a client argument is the URL of a cluster.

    Args:
        client: The argument.
    """
    return isinstance(client, str) and client.partition("://")[0].lower() in CLUSTER_SCHEMES


def read_cluster_url(url: str) -> ClusterUrl:
    """Read a URL such as ``redis+cluster://user:password@node-1:6379,node-2:6379?socket_timeout=5``.

    Args:
        url: The URL.

    Raises:
        ValueError: It names no node, or a database other than 0; nothing of it is repeated.
    """
    scheme, _, rest = url.partition("://")
    end = next((place for place, mark in enumerate(rest) if mark in "/?#"), len(rest))
    place, behind = rest[:end], rest[end:]
    user, at, hosts = place.rpartition("@")
    try:
        nodes = [urlsplit(f"//{host}") for host in hosts.split(",")]
        seeds = tuple(Address(node.hostname or "", node.port or 6379) for node in nodes)
    except ValueError:
        raise ValueError(BAD_URL) from None
    if not all(seed.host for seed in seeds) or "@" in behind:
        raise ValueError(BAD_URL)
    first = f"{scheme.lower().removesuffix('+cluster')}://{user}{at}{seeds[0]}{behind}"
    try:
        parts = urlsplit(first)
    except ValueError:
        # It quotes a password with a bracket, or with a character that looks like a separator.
        raise ValueError(BAD_URL) from None
    databases = [parts.path.strip("/"), *parse_qs(parts.query).get("db", [])]
    if any(database not in {"", "0"} for database in databases):
        msg = (
            "the URL of a cluster names a database, but a cluster has only database 0: leave the "
            "number out, and separate applications by prefix or by timeline_key, "
            "payloads_key, attempts_key and series_key"
        )
        raise ValueError(msg)
    return ClusterUrl(first, seeds)


def fitted_keys(keys: KeySpace, client: object) -> KeySpace:
    """Return the keys that a client can use: those of a cluster must have hash tags.

    Args:
        keys: The keys by the front end's names and `hash_tags`.
        client: The client or URL that it was given.

    Returns:
        The same keys; with hash tags for the URL of a cluster.

    Raises:
        TypeError: It is a cluster client, and the keys have no hash tags.
    """
    if keys.fits_cluster:
        return keys
    if is_cluster_url(client):
        return replace(keys, hash_tags=True)
    if is_cluster(client):
        msg = (
            "client is a RedisCluster, but the keys have no hash tags, so those of one topic would "
            "be on several nodes: pass hash_tags=True, here and wherever the topics are used"
        )
        raise TypeError(msg)
    return keys


_NOT_FOR_NODES = frozenset(
    {
        "cache",
        "connection_class",
        "db",
        "event_dispatcher",
        "himport_registry",
        "host",
        "maint_notifications_config",
        "max_connections",
        "oss_cluster_maint_notifications_handler",
        "parser_class",
        "path",
        "port",
        "redis_connect_func",
        "response_callbacks",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
    }
)
# They name a node, retry, or lead back to a RedisCluster, which our connections must not use.


def options_for_nodes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments for our connections to all nodes of a cluster.

    Args:
        options: The arguments of a client's connections, or of one to a single node.
    """
    return {name: value for name, value in options.items() if name not in _NOT_FOR_NODES}


def is_cluster(client: object) -> bool:
    """Return whether it is a cluster's client or pipeline, by the names of its classes.

    Args:
        client: A redis-py client or pipeline.
    """
    names = {base.__name__ for base in type(client).__mro__}
    return not names.isdisjoint({"RedisCluster", "ClusterPipeline"})


def database_of(options: Mapping[str, Any]) -> int:
    """Read the number of the database from the arguments of a client's connections.

    Args:
        options: The arguments, as redis-py takes them.

    Returns:
        The number; 0 if there is none, or none that a server could take.
    """
    try:
        return int(options.get("db") or 0)
    except (TypeError, ValueError):
        return 0


def check_database(pipeline_options: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuse a pipeline for another database: no worker would see its timers.

    Args:
        pipeline_options: The arguments of its connections.
        options: Those of the client.

    Raises:
        ValueError: The databases differ.
    """
    given, own = database_of(pipeline_options), database_of(options)
    if given != own:
        msg = (
            f"pipeline is for database {given}, but the timers are in database {own}: make it "
            f"from a client for database {own}"
        )
        raise ValueError(msg)


def is_pool_full(error: BaseException) -> bool:
    """Return whether an error means that all connections of a pool are in use.

    Args:
        error: The error that the pool raised.
    """
    return str(error) in {"Too many connections", "No connection available."}


class PoolWait:
    """How long a call waits for a connection of a full pool, from now on.

    Not for a pool that waits by itself (BlockingConnectionPool): it has its own timeout.

    Args:
        clock: Returns the seconds of a monotonic clock.
    """

    __slots__ = ("_clock", "_ends_at", "_pause")

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin."""
        self._clock = clock
        self._ends_at = clock() + _LONGEST_WAIT_FOR_POOL
        self._pause = _SHORTEST_PAUSE

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._ends_at - self._clock())

    def next_pause(self) -> float:
        """Return the seconds until the next attempt, which grow."""
        pause = min(self._pause, self.left)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return pause


def get_connection_args(redis_version: str) -> tuple[str, ...]:
    """Return the arguments for a pool's get_connection.

    Args:
        redis_version: redis-py's version; before 5.3 it needs the name of a command.
    """
    major, minor = redis_version.split(".")[:2]
    return () if (int(major), int(minor)) >= (5, 3) else ("EVALSHA",)


def check_pipeline(
    pipeline: Any,
    pipeline_class: type[Any],
    *,
    if_exists: str | None = None,
    confirms: bool = False,
) -> None:
    """Refuse a pipeline that an operation can't be added to.

    Args:
        pipeline: The caller's pipeline.
        pipeline_class: The class it must have.
        if_exists: The caller's option; ``"error"`` is not possible in a pipeline.
        confirms: Whether the caller waits for replicas, which is not possible there either.

    Raises:
        TypeError: It is not a pipeline of the right kind.
        ValueError: It would run the command at once, or ``if_exists="error"`` or
            `confirm_replicas` was given.
    """
    if is_cluster(pipeline):
        raise TypeError(NO_CLUSTER_PIPELINE)
    if not isinstance(pipeline, pipeline_class):
        msg = (
            f"pipeline must be a {pipeline_class.__module__}.{pipeline_class.__qualname__}, "
            f"got {type(pipeline).__module__}.{type(pipeline).__qualname__}"
        )
        raise TypeError(msg)
    if pipeline.watching and not pipeline.explicit_transaction:
        msg = (
            "the pipeline watches keys and would run the command at once: "
            "call pipeline.multi() first"
        )
        raise ValueError(msg)
    if if_exists == "error":
        msg = (
            'if_exists="error" can\'t be used with pipeline=: the reply comes only when the '
            'pipeline is executed. Use "replace" or "keep"'
        )
        raise ValueError(msg)
    if confirms:
        msg = (
            "pipeline= can't be used with confirm_replicas: inside MULTI the server does not "
            "wait for replicas. Leave pipeline out, or use a client without confirm_replicas and "
            "send WAIT on the pipeline's connection yourself"
        )
        raise ValueError(msg)
