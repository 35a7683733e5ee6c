"""What is wrong with a server: version, mode, role, memory, persistence, rights, clock.

All but rights and clock is read from INFO: CONFIG is often disabled. Each question is sent
once and waited for no longer than the client's timeouts say.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from redis.exceptions import NoPermissionError, ResponseError

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.permissions import acl_rule, refused_purposes
from faststream_redis_timers_sync.manage.server import ask, inside, server_time
from faststream_redis_timers_sync.manage.topics import (
    listening_topics,
    tell_elsewhere,
    topics_elsewhere,
)
from faststream_redis_timers_sync.protocol.keys import REMEDY_ELSEWHERE

Level = Literal["ok", "warning", "error", "unknown"]
"""How bad a finding is; unknown where the server does not allow to look."""

OLDEST = {"Redis": (7, 0), "Valkey": (7, 2)}
"""The oldest versions that do."""

_MEBIBYTE = 1024 * 1024

_LARGEST_CLOCK_DIFFERENCE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at the server found.

    Args:
        check: What was looked at: ``version``, ``cluster``, ``role``, ``eviction``,
            ``memory``, ``persistence``, ``permissions``, ``layout``, ``clock``, or ``info`` where
            INFO is refused.
        level: How bad it is.
        message: A sentence.
        remedy: What to do, empty where there is nothing.
        rule: The command that gives missing rights, as redis-cli takes it, or empty.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""
    rule: str = ""


def check_server(timers: TimersClient, topic: str = "any") -> Iterator[Finding]:
    """Look at a server, and tell what is wrong and what is not.

    Args:
        timers: The client.
        topic: The topic that rights are looked at for, which need not exist. Timers in the
            other layout are looked for there, and in topics that workers listen to.

    Raises:
        redis.RedisError: The server can't be reached.
    """
    try:
        info = read_info(timers)
    except NoPermissionError:
        yield Finding(
            "info",
            "unknown",
            "no permission to look: this user may not run INFO, so version, cluster mode, "
            "role, eviction policy, memory and persistence stay unknown",
            rule=acl_rule(timers, ["INFO"]),
        )
    except ResponseError as error:
        yield Finding("info", "unknown", f"the server does not answer INFO: {error}")
    else:
        yield check_version(info)
        yield from check_place(info)
        yield check_eviction(info)
        yield check_memory(info)
        yield check_persistence(info)
    yield from _check_permissions(timers, topic)
    yield _check_layout(timers, topic)
    yield _check_clock(timers)


def read_info(timers: TimersClient) -> dict[str, str]:
    """Read the server's INFO.

    Args:
        timers: The client.

    Raises:
        redis.exceptions.NoPermissionError: The user may not run INFO.
        redis.RedisError: What the server or the connection says.
    """
    return ask(timers, b"INFO", parse=_parse_info)


def _parse_info(reply: Any) -> dict[str, str]:
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value for name, colon, value in pairs if colon}


def check_version(info: dict[str, str]) -> Finding:
    """Tell whether the server is new enough.

    Args:
        info: Its INFO.
    """
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "")
    found = re.match(r"(\d+)\.(\d+)", version)
    oldest = OLDEST[name]
    wanted = f"{name} {oldest[0]}.{oldest[1]}"
    if found is None:
        return Finding(
            "version",
            "unknown",
            f"the server does not tell its version; it must be {wanted} or newer",
        )
    if (int(found[1]), int(found[2])) < oldest:
        return Finding(
            "version",
            "error",
            f"{name} {version} is too old: its scripts can't do what the timers' need",
            f"use {wanted} or newer",
        )
    return Finding("version", "ok", f"{name} {version}")


def check_place(info: dict[str, str]) -> Iterator[Finding]:
    """Tell whether the server is what may be written to: no cluster's node, no replica.

    Args:
        info: Its INFO.
    """
    if info.get("cluster_enabled") == "1" or info.get("redis_mode") == "cluster":
        yield Finding(
            "cluster",
            "error",
            "the server runs in cluster mode, which spreads the keys of a topic over nodes",
            "use a single primary, or one that Sentinel manages",
        )
    else:
        yield Finding("cluster", "ok", "not in cluster mode")
    if info.get("role", "master") != "master":
        yield Finding(
            "role",
            "error",
            "this is a replica: nothing can be scheduled or delivered here",
            "connect to its primary "
            f"({info.get('master_host', 'unknown')}:{info.get('master_port', 'unknown')})",
        )
    else:
        yield Finding("role", "ok", "a primary")


def check_eviction(info: dict[str, str]) -> Finding:
    """Tell whether timers could vanish when the memory is full.

    Args:
        info: The server's INFO.
    """
    policy = info.get("maxmemory_policy")
    has_limit = info.get("maxmemory", "0") != "0"
    remedy = "set maxmemory-policy noeviction"
    if policy is None:
        return Finding(
            "eviction", "unknown", "the server does not tell its eviction policy", remedy
        )
    if policy == "noeviction":
        return Finding("eviction", "ok", "maxmemory-policy is noeviction")
    if policy.startswith("volatile-"):
        message = (
            f"maxmemory-policy is {policy}: it evicts keys that expire, which timers don't, "
            "so none vanish, but others' keys do"
        )
        return Finding("eviction", "warning", message, remedy)
    if has_limit:
        message = f"maxmemory-policy is {policy}: timers could vanish when the memory is full"
        return Finding("eviction", "error", message, remedy)
    message = (
        f"maxmemory-policy is {policy}: timers could vanish as soon as somebody sets maxmemory"
    )
    return Finding("eviction", "warning", message, remedy)


FULL = 0.9
"""Share of maxmemory from which on `check` warns."""


def check_memory(info: dict[str, str]) -> Finding:
    """Tell whether there is room for more timers.

    Args:
        info: The server's INFO.
    """
    try:
        used, most = int(info["used_memory"]), int(info["maxmemory"])
    except (KeyError, ValueError):
        return Finding("memory", "unknown", "the server does not tell how much memory it uses")
    if most == 0:
        return Finding("memory", "ok", f"{used / _MEBIBYTE:,.1f} MiB are used, without a limit")
    told = f"{used / _MEBIBYTE:,.1f} of {most / _MEBIBYTE:,.1f} MiB are used"
    remedy = "raise maxmemory, or see with `stats` which topics grow"
    if used >= most:
        # What an eviction policy does about it stands in its own finding.
        return Finding("memory", "error", f"{told}: new timers may be refused (OOM)", remedy)
    if used >= FULL * most:
        return Finding("memory", "warning", told, remedy)
    return Finding("memory", "ok", told)


def check_persistence(info: dict[str, str]) -> Finding:
    """Tell what a restart of the server would lose.

    Args:
        info: Its INFO.
    """
    if "aof_enabled" not in info:
        return Finding("persistence", "unknown", "the server does not tell how it persists")
    for name, what in (("aof_last_write_status", "AOF"), ("rdb_last_bgsave_status", "snapshot")):
        if info.get(name, "ok") != "ok":
            return Finding(
                "persistence",
                "error",
                f"the last write of the {what} failed: a restart loses what came since, and "
                "the server may refuse writes",
                "look at its disk and its log",
            )
    if info["aof_enabled"] == "1":
        return Finding("persistence", "ok", "AOF is on")
    remedy = "set appendonly yes"
    if info.get("rdb_saves", "0") == "0":
        message = (
            "AOF is off, and no snapshot was written since the server started: a restart "
            "may lose all timers"
        )
        return Finding("persistence", "warning", message, remedy)
    message = (
        "AOF is off: a restart loses what was written since the last snapshot "
        f"({int(info.get('rdb_changes_since_last_save', '0')):,} changes at present)"
    )
    return Finding("persistence", "warning", message, remedy)


def _check_permissions(timers: TimersClient, topic: str) -> Iterator[Finding]:
    try:
        refused = refused_purposes(timers, topic)
    except ResponseError as error:
        yield Finding(
            "permissions", "unknown", f"the server does not tell what this user may do: {error}"
        )
        return
    if not refused:
        yield Finding("permissions", "ok", "this user may do all that timers need")
    for one in refused:
        yield Finding(
            "permissions",
            "error" if one.purpose.is_vital else "warning",
            f"this user may not {one.purpose.name}: {one.purpose.consequence} "
            f"(refused: {', '.join(one.commands)})",
            rule=one.rule,
        )


def _check_layout(timers: TimersClient, topic: str) -> Finding:
    topics = {topic}
    with suppress(NoPermissionError):
        topics.update(listening_topics(timers))
    try:
        found = topics_elsewhere(timers, sorted(topics))
    except NoPermissionError:
        message = (
            "no permission to look: this user may not run EXISTS on the keys that topics have "
            f"{'without' if inside(timers).keys.hash_tags else 'with'} hash tags"
        )
        return Finding("layout", "unknown", message)
    except ResponseError as error:
        return Finding("layout", "unknown", f"the server does not tell what keys it has: {error}")
    if found:
        return Finding("layout", "warning", tell_elsewhere(timers, found), REMEDY_ELSEWHERE)
    return Finding(
        "layout",
        "ok",
        f"keys have {'' if inside(timers).keys.hash_tags else 'no '}hash tags, and no timers of "
        "listening workers' topics stand elsewhere",
    )


def _check_clock(timers: TimersClient) -> Finding:
    try:
        server_time(timers)
        # The second time the connection stands already, so that less lies between the clocks.
        before = datetime.now(UTC)
        theirs = server_time(timers)
        after = datetime.now(UTC)
    except NoPermissionError:
        return Finding(
            "clock",
            "unknown",
            "no permission to look: this user may not run TIME",
            rule=acl_rule(timers, ["TIME"]),
        )
    ahead = theirs - (before + (after - before) / 2)
    if abs(ahead) - (after - before) / 2 <= _LARGEST_CLOCK_DIFFERENCE:
        return Finding(
            "clock", "ok", f"the server's clock and this machine's agree to {_s(abs(ahead))}"
        )
    direction = "ahead of" if ahead > timedelta(0) else "behind"
    return Finding(
        "clock",
        "warning",
        f"the server's clock is {_s(abs(ahead))} {direction} this machine's: delays go by the "
        "server's, but a time of day computed here is that much off",
        "synchronise both by NTP",
    )


def _s(length: timedelta) -> str:
    return f"{length.total_seconds():,.3f} s"
