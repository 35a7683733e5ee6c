"""The setting `TIMERS`: what it may hold, read and checked. Nothing here opens a connection."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

DEFAULT_ALIAS = "default"

_EXAMPLE = 'TIMERS = {"default": {"URL": "redis://localhost:6379/1"}}'

_NAMES = {
    "PREFIX": "prefix",
    "TIMELINE_KEY": "timeline_key",
    "PAYLOADS_KEY": "payloads_key",
    "ATTEMPTS_KEY": "attempts_key",
}
"""Keys whose value is a name, and the argument of `TimersClient` that it becomes."""

_KEYS = ("URL", "CLIENT", "TOPICS", "OPTIONS", *_NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasConfig:
    """One alias of `TIMERS`, known to be in order as far as that shows without a client.

    Args:
        alias: Its name.
        url: The server's URL, or None.
        client: What makes a client, or its dotted path; None where there is a URL.
        topics: The topics that the project names, without prefix.
        options: Options of the redis-py client that is made from the URL.
        names: The prefix and the keys' names, as arguments of `TimersClient`.
    """

    alias: str
    # Both may hold a password.
    url: str | None = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    client: str | Callable[[], Any] | None
    topics: tuple[str, ...]
    names: dict[str, Any]

    @property
    def where(self) -> str:
        """Where it stands in the settings, for errors."""
        return f"TIMERS[{self.alias!r}]"


def read_aliases() -> dict[str, Any]:
    """Read the setting as it stands: alias -> its settings.

    Raises:
        ImproperlyConfigured: There is none, it is no dict, or it lacks ``"default"``.
    """
    aliases = getattr(settings, "TIMERS", None)
    if aliases is None:
        msg = f"the setting TIMERS is missing: write {_EXAMPLE}"
        raise ImproperlyConfigured(msg)
    if not isinstance(aliases, dict):
        msg = f"TIMERS must be a dict of aliases, got {_a(aliases)}: write {_EXAMPLE}"
        raise ImproperlyConfigured(msg)
    if DEFAULT_ALIAS not in aliases:
        msg = f'TIMERS must have the alias "{DEFAULT_ALIAS}", it has {_listed(aliases)}'
        raise ImproperlyConfigured(msg)
    return aliases


def read_alias(alias: str) -> AliasConfig:
    """Read the settings of one alias.

    Args:
        alias: Its name.

    Raises:
        ImproperlyConfigured: `TIMERS` or what it has under the alias is not in order, or the
            alias is unknown.
    """
    aliases = read_aliases()
    if alias not in aliases:
        msg = f"TIMERS has no alias {alias!r}{_nearest(alias, aliases)}; it has {_listed(aliases)}"
        raise ImproperlyConfigured(msg)
    where = f"TIMERS[{alias!r}]"
    found = _checked(where, aliases[alias])
    if "URL" in found and "CLIENT" in found:
        msg = f"{where} has both URL and CLIENT: leave one of them out"
        raise ImproperlyConfigured(msg)
    if "URL" not in found and "CLIENT" not in found:
        msg = f'{where} has neither URL nor CLIENT: add "URL": "redis://localhost:6379/1"'
        raise ImproperlyConfigured(msg)
    if "CLIENT" in found and "OPTIONS" in found:
        msg = f"{where} has OPTIONS, which are for a URL: give them to the client of CLIENT"
        raise ImproperlyConfigured(msg)
    return AliasConfig(
        alias=alias,
        url=found.get("URL"),
        client=found.get("CLIENT"),
        topics=tuple(found.get("TOPICS", ())),
        options=found.get("OPTIONS", {}),
        names={argument: found[key] for key, argument in _NAMES.items() if key in found},
    )


def _checked(where: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        msg = f'{where} must be a dict such as {{"URL": "redis://..."}}, got {_a(found)}'
        raise ImproperlyConfigured(msg)
    for key, value in found.items():
        if key not in _KEYS:
            msg = (
                f"{where} has the unknown key {key!r}{_nearest(key, _KEYS)}; "
                f"it may have {_listed(_KEYS)}"
            )
            raise ImproperlyConfigured(msg)
        # Never the value: it may hold a password.
        if expected := _mistake(key, value):
            msg = f"{where}[{key!r}] must be {expected}, got {_a(value)}"
            raise ImproperlyConfigured(msg)
    return found


def _mistake(key: str, value: Any) -> str | None:
    """Say what a value should have been, None if it is that."""
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
    if not isinstance(value, str):
        return "a str"
    return None if value or key == "PREFIX" else "a str that is not empty"


def _nearest(name: Any, known: Iterable[Any]) -> str:
    by_upper = {str(other).upper(): other for other in known}
    nearest = difflib.get_close_matches(str(name).upper(), by_upper, 1)
    return f": did you mean {by_upper[nearest[0]]!r}?" if nearest else ""


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _a(value: object) -> str:
    if value is None or value == "":
        return repr(value)
    return f"a {type(value).__name__}"
