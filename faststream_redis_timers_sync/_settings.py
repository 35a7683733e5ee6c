"""Reads and checks a project's settings, and makes the client. Independent of any framework.

Django's `TIMERS` has such settings under each alias, Flask's `app.config` with ``TIMERS_`` before
each key.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from redis.exceptions import RedisClusterException

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.server import open_client
from faststream_redis_timers_sync.protocol.declared import check_series
from faststream_redis_timers_sync.protocol.keys import KeySpace, plain
from faststream_redis_timers_sync.protocol.model import Series

_NAMES = {
    "PREFIX": "prefix",
    "TIMELINE_KEY": "timeline_key",
    "PAYLOADS_KEY": "payloads_key",
    "ATTEMPTS_KEY": "attempts_key",
    "SERIES_KEY": "series_key",
}
"""Keys whose value is a name, and the argument of `TimersClient` that it becomes."""

_CONFIRMATION = {"CONFIRM_REPLICAS": "confirm_replicas", "CONFIRM_TIMEOUT": "confirm_timeout"}
"""Keys whose value is a number, and the argument of `TimersClient` that it becomes."""

_SERIES = "SERIES"
_SERIES_OWNER = "SERIES_OWNER"

_FLAGS = {"HASH_TAGS": "hash_tags"}
"""Keys whose value is True or False, and the argument of `TimersClient` that it becomes."""

_ARGUMENTS = {**_NAMES, **_FLAGS, **_CONFIRMATION}

_KEYS = ("URL", "CLIENT", "TOPICS", "OPTIONS", _SERIES, _SERIES_OWNER, *_ARGUMENTS)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of settings, and the error for mistakes in them.

    Args:
        where: Its name in errors.
        error: The exception for a mistake.
        prefix: The prefix of each key there.
    """

    where: str
    error: type[Exception]
    prefix: str = ""

    def key(self, name: str) -> str:
        """Return a key as it is written there.

        Args:
            name: The key without prefix.
        """
        return f"{self.prefix}{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Settings of one client, checked as far as is possible without it.

    Args:
        place: Their place.
        url: The server's URL, or None.
        client: The callable that returns a client, or its dotted path; None if there is a URL.
        topics: The topics that the project names, without prefix.
        options: Options of the redis-py client that is made from the URL.
        arguments: The prefix, the keys' names and layout, and the replicas that must confirm,
            as arguments of `TimersClient`.
        series: The series that the project declares, or where they are; see `load_series`.
        series_owner: Who declares them; None if there are none.
    """

    place: Place
    # Both may hold a password.
    url: str | None = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    client: str | Callable[[], Any] | None
    topics: tuple[str, ...]
    arguments: dict[str, Any]
    # It may hold messages.
    series: Any = field(default=None, repr=False)
    series_owner: str | None = None

    @property
    def where(self) -> str:
        """The name of their place, for errors."""
        return self.place.where


def read_settings(place: Place, found: Mapping[str, Any]) -> ClientSettings:
    """Read the settings of one client.

    Args:
        place: Their place.
        found: The settings: keys, with the place's prefix, and values.

    Raises:
        Exception: The place's error: they are invalid.
    """
    url, client, options = map(place.key, ("URL", "CLIENT", "OPTIONS"))
    keys = tuple(map(place.key, _KEYS))
    for key, value in found.items():
        if key not in keys:
            msg = (
                f"{place.where} has the unknown key {key!r}"
                f"{nearest(str(key).removeprefix(place.prefix), _KEYS, place.prefix)}; "
                f"it may have {listed(keys)}"
            )
            raise place.error(msg)
        # Never the value: it may hold a password.
        if expected := _mistake(key.removeprefix(place.prefix), value):
            msg = f"{place.where}[{key!r}] must be {expected}, got {a(value)}"
            raise place.error(msg)
    if url in found and client in found:
        msg = f"{place.where} has both {url} and {client}: remove one of them"
        raise place.error(msg)
    if url not in found and client not in found:
        msg = (
            f'{place.where} has neither {url} nor {client}: add "{url}": "redis://localhost:6379/1"'
        )
        raise place.error(msg)
    if client in found and options in found:
        msg = (
            f"{place.where} has {options}, which are for a URL: pass them to the client of {client}"
        )
        raise place.error(msg)
    _check_topics(place, found)
    series, owner = map(place.key, (_SERIES, _SERIES_OWNER))
    if series in found and owner not in found:
        msg = (
            f"{place.where} has {series} but no {owner}, which finds series that are no longer "
            f'declared: add "{owner}": "NAME-OF-PROJECT"'
        )
        raise place.error(msg)
    if owner in found and series not in found:
        msg = f'{place.where} has {owner} but no {series}: add "{series}": [], or remove {owner}'
        raise place.error(msg)
    return ClientSettings(
        place=place,
        url=found.get(url),
        client=found.get(client),
        topics=tuple(map(plain, found.get(place.key("TOPICS"), ()))),
        options=found.get(options, {}),
        arguments={
            argument: found[place.key(key)]
            for key, argument in _ARGUMENTS.items()
            if place.key(key) in found
        },
        series=found.get(series),
        series_owner=plain(found[owner]) if owner in found else None,
    )


def _check_topics(place: Place, found: Mapping[str, Any]) -> None:
    if not found.get(place.key("HASH_TAGS")):
        return
    keys = KeySpace(hash_tags=True)
    for topic in found.get(place.key("TOPICS"), ()):
        try:
            keys.of(found.get(place.key("PREFIX"), "") + topic)
        except ValueError as error:
            msg = f"{place.where}[{place.key('TOPICS')!r}]: {error}"
            raise place.error(msg) from error


def make_client(settings: ClientSettings, kind: type[TimersClient] = TimersClient) -> TimersClient:
    """Make the client that settings describe; nothing is sent.

    Args:
        settings: The settings.
        kind: Its class, unless CLIENT makes a `TimersClient`.

    Raises:
        Exception: The place's error: no client can be made from them.
    """
    place = settings.place
    if settings.url is not None:
        try:
            return open_client(settings.url, kind, options=settings.options, **settings.arguments)
        except (TypeError, ValueError) as error:
            msg = f"{place.where}: {error}"
            raise place.error(msg) from None
    client = place.key("CLIENT")
    try:
        made = load_factory(settings)()
    except RedisClusterException as error:
        # A RedisCluster connects when it is made, and its error then is not a RedisError.
        msg = f"{place.where}: {client} made no client of its cluster: {error}"
        raise place.error(msg) from error
    if isinstance(made, TimersClient):
        if settings.arguments:
            keys = ", ".join(place.key(name.upper()) for name in settings.arguments)
            msg = (
                f"{place.where} has {keys}, but {client} made a {type(made).__name__}, "
                "which has its own: remove them"
            )
            raise place.error(msg)
        return made
    if isinstance(made, str):
        msg = (
            f"{place.where}: {client} must return a redis.Redis, got a str: "
            f"a URL goes into {place.key('URL')}"
        )
        raise place.error(msg)
    try:
        return kind(made, **settings.arguments)
    except (TypeError, ValueError) as error:
        msg = f"{place.where}: what {client} returned can't be used: {error}"
        raise place.error(msg) from error


def load_factory(settings: ClientSettings) -> Any:
    """Import the callable that CLIENT names.

    Args:
        settings: Settings with CLIENT.

    Raises:
        Exception: The place's error: it can't be imported, or called.
    """
    if not isinstance(settings.client, str):
        return settings.client
    place = settings.place
    factory = _import(place, "CLIENT", settings.client)
    if not callable(factory):
        msg = (
            f"{place.where}: {place.key('CLIENT')} {settings.client!r} is a "
            f"{type(factory).__name__}: name a function that returns a client"
        )
        raise place.error(msg)
    return factory


def load_series(settings: ClientSettings, *, calls: bool = True) -> list[Series]:
    """Return the series that a project declares.

    Args:
        settings: Settings with SERIES.
        calls: Whether to call a function that returns them, which may query a database; if not,
            an empty list is returned for a function.

    Raises:
        Exception: The place's error: they can't be imported, or are not series.
    """
    place = settings.place
    found = settings.series
    stated = f"{place.where}: {place.key(_SERIES)}"
    if isinstance(found, str):
        stated += f" {found!r}"
        found = _import(place, _SERIES, found)
    if callable(found):
        if not calls:
            return []
        try:
            found = found()
        except Exception as error:
            msg = f"{stated} raised {type(error).__name__}: {error}"
            raise place.error(msg) from error
    try:
        several = check_series(found)
    except TypeError as error:
        msg = f"{stated}: {error}"
        raise place.error(msg) from None
    names = set()
    for one in several:
        if (one.topic, one.timer_id) in names:
            msg = f"{stated} declares timer_id {one.timer_id!r} of topic {one.topic!r} twice"
            raise place.error(msg)
        names.add((one.topic, one.timer_id))
    return several


def _import(place: Place, key: str, path: str) -> Any:
    module, _, name = path.rpartition(".")
    if not module:
        msg = f"{place.where}: {place.key(key)} {path!r} can't be imported: there is no dot in it"
        raise place.error(msg)
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        msg = f"{place.where}: {place.key(key)} {path!r} can't be imported: {error}"
        raise place.error(msg) from error
    except Exception as error:
        msg = f"{place.where}: {place.key(key)} {path!r} raised {type(error).__name__}: {error}"
        raise place.error(msg) from error


def _mistake(key: str, value: Any) -> str | None:
    """Return what a value should have been; None if it is right."""
    if key == "CLIENT":
        is_right = isinstance(value, str) or callable(value)
        return None if is_right else "the dotted path of a callable, or a callable"
    if key == "TOPICS":
        is_right = isinstance(value, (list, tuple)) and all(
            isinstance(topic, str) and topic for topic in value
        )
        return None if is_right else "a list of topics"
    if key == "OPTIONS":
        is_right = isinstance(value, dict) and all(isinstance(name, str) for name in value)
        return None if is_right else "a dict of options of redis.Redis"
    if key == _SERIES:
        is_right = (isinstance(value, (str, list, tuple)) and value != "") or callable(value)
        return None if is_right else "a list of Series, a function that returns one, or its path"
    if key in _FLAGS:
        return None if isinstance(value, bool) else "True or False"
    if key in _CONFIRMATION:
        return _mistake_in_number(key, value)
    if not isinstance(value, str):
        return "a str"
    return None if value or key == "PREFIX" else "a non-empty str"


def _mistake_in_number(key: str, value: Any) -> str | None:
    is_count = key == "CONFIRM_REPLICAS"
    # None asks for no replica.
    if is_count and value is None:
        return None
    numbers = int if is_count else (int, float)
    if isinstance(value, numbers) and not isinstance(value, bool):
        return None
    return "a number of replicas or None" if is_count else "a number of seconds"


def nearest(name: Any, known: Iterable[Any], prefix: str = "") -> str:
    """Suggest a known name that is similar.

    Args:
        name: The unknown name.
        known: The known names.
        prefix: The prefix of names, which does not count for similarity.

    Returns:
        The end of a sentence; empty if no name is similar.
    """
    by_upper = {str(other).upper(): other for other in known}
    found = difflib.get_close_matches(str(name).upper(), by_upper, 1)
    return f": did you mean {prefix + by_upper[found[0]]!r}?" if found else ""


def listed(names: Iterable[Any]) -> str:
    """Return names as text.

    Args:
        names: The names.
    """
    return ", ".join(map(repr, names)) or "none"


def a(value: object) -> str:
    """Return the type of a value as text, without the value.

    Args:
        value: The value.
    """
    if value is None or value == "":
        return repr(value)
    return f"a {type(value).__name__}"
