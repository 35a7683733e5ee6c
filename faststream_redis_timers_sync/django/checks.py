"""The system checks of `manage.py check` for `TIMERS`.

By default they check only the settings. Servers are asked only under ``check --deploy``: a check
that always asks would delay every command while a server is away.
"""

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

import redis
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured

from faststream_redis_timers_sync._settings import ClientSettings, load_factory, load_series
from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.django.clients import make_client
from faststream_redis_timers_sync.django.conf import read_alias, read_aliases
from faststream_redis_timers_sync.manage.check import check_info
from faststream_redis_timers_sync.manage.findings import Finding
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.protocol.safe_text import text_of

LONGEST_LOOK = 2.0
"""Seconds that ``check --deploy`` waits for the server of one alias."""

_T = TypeVar("_T")

_IDS = {
    "eviction": "timers.W003",
    "version": "timers.W005",
    "cluster": "timers.W006",
    "role": "timers.W006",
    "nodes": "timers.W002",
}


def check_settings(**_: Any) -> list[CheckMessage]:
    """Check `TIMERS` for mistakes, without network access.

    Args:
        _: The arguments that Django passes to every check.

    Returns:
        ``timers.E001`` for each invalid alias, or for the setting.
    """
    return [
        Error(str(found), id="timers.E001")
        for found in _read_all()
        if isinstance(found, ImproperlyConfigured)
    ]


def check_caches(**_: Any) -> list[CheckMessage]:
    """Check for aliases that share a database with a cache: clearing the cache empties it.

    Args:
        _: The arguments that Django passes to every check.

    Returns:
        ``timers.W001`` for each pair of alias and cache.
    """
    warnings = []
    for config in _aliases_in_order():
        if config.url is not None:
            warnings += _shared_with_caches(config, make_client(config))
    return warnings


def check_servers(**_: Any) -> list[CheckMessage]:
    """Check whether timers are safe on the server of each alias, for 2 seconds at most.

    Args:
        _: The arguments that Django passes to every check.

    Returns:
        ``timers.W002`` if a server or a node of a cluster can't be reached, ``timers.W003`` if it
        may evict timers, ``timers.W004`` if it does not allow the check, ``timers.W005`` if it is
        too old, ``timers.W006`` if it is a replica or a node of a cluster, or if a cluster has
        faults; and ``timers.W001`` for aliases with CLIENT.
    """
    warnings = []
    for config in _aliases_in_order():
        try:
            warnings += _within(LONGEST_LOOK, partial(_check_server, config))
        except Exception as error:  # noqa: BLE001  CLIENT may raise anything
            warnings.append(
                CheckWarning(
                    f"{config.where}: the server can't be reached: {text_of(error)}",
                    hint="nothing can be scheduled until the server can be reached",
                    id="timers.W002",
                )
            )
    return warnings


def _aliases_in_order() -> Iterator[ClientSettings]:
    return (found for found in _read_all() if isinstance(found, ClientSettings))


def _read_all() -> Iterator[ClientSettings | ImproperlyConfigured]:
    try:
        aliases = read_aliases()
    except ImproperlyConfigured as error:
        yield error
        return
    for alias in aliases:
        try:
            config = read_alias(alias)
            # Functions are not called here: they may ask a server.
            make_client(config) if config.client is None else load_factory(config)
            if config.series_owner is not None:
                load_series(config, calls=False)
        except ImproperlyConfigured as error:
            yield error
        else:
            yield config


def _check_server(config: ClientSettings) -> list[CheckMessage]:
    client = make_client(config)
    try:
        warnings = _shared_with_caches(config, client) if config.client is not None else []
        return [*warnings, *_server_warnings(config, client)]
    finally:
        if config.client is None:
            client.close()


def _server_warnings(config: ClientSettings, client: TimersClient) -> Iterator[CheckMessage]:
    for finding in check_info(client):
        if finding.check == "info":
            yield CheckWarning(
                f"{config.where}: {finding.message}",
                hint="check by hand that maxmemory-policy is noeviction"
                + (". To let this user check it, grant +info" if finding.rule else ""),
                id="timers.W004",
            )
        elif finding.check in _IDS and finding.level != "ok":
            yield _warning(config, finding)


def _warning(config: ClientSettings, finding: Finding) -> CheckMessage:
    is_refused = finding.check == "cluster" and finding.level == "unknown"
    return CheckWarning(
        f"{config.where}: {finding.message}",
        hint=finding.remedy or None,
        id="timers.W004" if is_refused else _IDS[finding.check],
    )


def _within(seconds: float, check: Callable[[], _T]) -> _T:
    """Run in a thread that may be abandoned: a client of CLIENT has its own timeouts."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(check())
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        msg = f"no reply within {seconds:g} s"
        raise TimeoutError(msg)
    return results[0]


class _Place(NamedTuple):
    """A database of a server: host and port, or path and None."""

    server: str
    port: int | None
    database: int


def _shared_with_caches(config: ClientSettings, client: TimersClient) -> list[CheckMessage]:
    runner = internals_of(client).runner
    # No Django cache can be on a cluster, which has many places.
    place = None if runner.is_cluster else _place_of(runner.connection_options)
    return [
        CheckWarning(
            f"{config.where} is in the database of the cache CACHES[{cache!r}]: "
            "clearing the cache removes all timers",
            hint="use another database of the server (redis://HOST:PORT/1), or another server",
            id="timers.W001",
        )
        for cache, places in _cache_places()
        if place in places
    ]


def _cache_places() -> Iterator[tuple[str, set[_Place | None]]]:
    for alias, cache in settings.CACHES.items():
        options = cache.get("OPTIONS") or {}
        # Django's own cache has the pool's options there, django-redis one level deeper.
        pool_options = {**options, **(options.get("CONNECTION_POOL_KWARGS") or {})}
        places = {_place_at(url, pool_options) for url in _locations(cache.get("LOCATION"))}
        yield alias, places - {None}


def _locations(location: Any) -> Iterable[str]:
    if isinstance(location, str):
        location = re.split("[;,]", location)
    if not isinstance(location, (list, tuple)):
        return
    for url in location:
        # Whatever the backend, a cache on Redis has a URL like this.
        if isinstance(url, str) and re.match(r"\s*(rediss?|valkeys?|unix)://", url):
            yield re.sub(r"^\s*valkey", "redis", url)


def _place_at(url: str, options: Mapping[str, Any]) -> _Place | None:
    try:
        found = redis.ConnectionPool.from_url(url.strip()).connection_kwargs
    except (TypeError, ValueError):
        return None
    # The URL's own options win, as in redis-py.
    return _place_of({**{name: options.get(name) for name in ("host", "port", "db")}, **found})


def _place_of(options: Mapping[str, Any]) -> _Place | None:
    try:
        database = int(options.get("db") or 0)
        if path := options.get("path"):
            return _Place(path, None, database)
        if "service_name" in options or "connection_pool" in options:
            return None
        host = (options.get("host") or "localhost").lower()
        is_local = host in {"localhost", "127.0.0.1", "::1"}
        return _Place("localhost" if is_local else host, int(options.get("port") or 6379), database)
    except (TypeError, ValueError, AttributeError):
        return None
