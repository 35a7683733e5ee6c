"""Reads and checks the setting `TIMERS`. Nothing here opens a connection."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from faststream_redis_timers_sync._settings import (
    ClientSettings,
    Place,
    a,
    listed,
    nearest,
    read_settings,
)

DEFAULT_ALIAS = "default"

_EXAMPLE = 'TIMERS = {"default": {"URL": "redis://localhost:6379/1"}}'


def read_aliases() -> dict[str, Any]:
    """Read the setting, unchecked: alias -> its settings.

    Raises:
        ImproperlyConfigured: It is missing, not a dict, or has no ``"default"``.
    """
    aliases = getattr(settings, "TIMERS", None)
    if aliases is None:
        msg = f"the setting TIMERS is missing: write {_EXAMPLE}"
        raise ImproperlyConfigured(msg)
    if not isinstance(aliases, dict):
        msg = f"TIMERS must be a dict of aliases, got {a(aliases)}: write {_EXAMPLE}"
        raise ImproperlyConfigured(msg)
    if DEFAULT_ALIAS not in aliases:
        msg = f'TIMERS must have the alias "{DEFAULT_ALIAS}", it has {listed(aliases)}'
        raise ImproperlyConfigured(msg)
    return aliases


def read_alias(alias: str) -> ClientSettings:
    """Read the settings of one alias.

    Args:
        alias: Its name.

    Raises:
        ImproperlyConfigured: `TIMERS` or the alias in it is invalid, or the alias is unknown.
    """
    aliases = read_aliases()
    if alias not in aliases:
        msg = f"TIMERS has no alias {alias!r}{nearest(alias, aliases)}; it has {listed(aliases)}"
        raise ImproperlyConfigured(msg)
    place = Place(f"TIMERS[{alias!r}]", ImproperlyConfigured)
    found = aliases[alias]
    if not isinstance(found, dict):
        msg = f'{place.where} must be a dict such as {{"URL": "redis://..."}}, got {a(found)}'
        raise ImproperlyConfigured(msg)
    return read_settings(place, found)
