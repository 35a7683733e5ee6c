"""Checks a server: version, mode, role, memory, persistence, permissions, clock.

All but permissions and clock is read from INFO: CONFIG is often disabled. Each command is sent
once, with the client's timeouts.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.cluster import (
    CLUSTER_INFO,
    CLUSTER_NODES,
    View,
    check_cluster,
    check_failover,
    read_pairs,
)
from faststream_redis_timers_sync.manage.errors import is_unreachable, sentence_of
from faststream_redis_timers_sync.manage.findings import Finding, agreed
from faststream_redis_timers_sync.manage.permissions import acl_rule, refused_purposes
from faststream_redis_timers_sync.manage.server import TIME, internals_of
from faststream_redis_timers_sync.manage.topics import (
    describe_elsewhere,
    listening_topics,
    topics_elsewhere,
)
from faststream_redis_timers_sync.protocol.keys import REMEDY_ELSEWHERE
from faststream_redis_timers_sync.protocol.operation import command
from faststream_redis_timers_sync.protocol.safe_text import text_of

OLDEST = {"Redis": (7, 0), "Valkey": (7, 2)}
"""The oldest supported versions."""

_MEBIBYTE = 1024 * 1024

_LARGEST_CLOCK_DIFFERENCE = timedelta(seconds=1)


def check_server(timers: TimersClient, topic: str = "any") -> Iterator[Finding]:
    """Check a server, or each node of a cluster, and yield good and bad findings.

    Args:
        timers: The client.
        topic: The topic to check permissions for; it need not exist. It is also searched for
            timers in the other layout, as are the topics that workers listen to.

    Raises:
        redis.RedisError: The server can't be reached, or no node of the cluster can.
    """
    reports = _read_reports(timers)
    nodes = [view.node for view in reports.views]
    yield from _check_info(timers, reports)
    if internals_of(timers).runner.is_cluster:
        yield from check_failover(timers, nodes)
    yield from _agreed(nodes, lambda node: _check_permissions(timers, topic, node))
    yield _check_layout(timers, topic)
    yield from _check_clocks(timers, nodes)


def check_info(timers: TimersClient) -> Iterator[Finding]:
    """Check the INFO of a server, or of each node of a cluster, and the cluster itself.

    Args:
        timers: The client.

    Raises:
        redis.RedisError: The server can't be reached, or no node of the cluster can.
    """
    yield from _check_info(timers, _read_reports(timers))


class _Reports(NamedTuple):
    """The replies to INFO and the cluster's commands.

    Args:
        views: The nodes that reply, or the one server.
        silent: The nodes of a cluster that do not reply, and why.
        refused: The findings about nodes that refuse INFO.
    """

    views: list[View]
    silent: list[tuple[Runner, str]]
    refused: list[tuple[str, Finding]]


def _read_reports(timers: TimersClient) -> _Reports:
    reports = _Reports([], [], [])
    is_cluster = internals_of(timers).runner.is_cluster
    for node in internals_of(timers).runner.nodes():
        try:
            info = _read_info(timers, node)
        except RedisError as error:
            if not is_cluster:
                raise
            reports.silent.append((node, str(sentence_of(error, node))))
            continue
        if isinstance(info, Finding):
            reports.refused.append((node.address, info))
        told: dict[str, Any] = {}
        if is_cluster:
            with suppress(RedisError):
                told = {"facts": node.run(CLUSTER_INFO), "known": node.run(CLUSTER_NODES)}
        reports.views.append(View(node, None if isinstance(info, Finding) else info, **told))
    return reports


def _read_info(timers: TimersClient, node: Runner) -> dict[str, str] | Finding:
    try:
        return node.run(_INFO)
    except NoPermissionError:
        return Finding(
            "info",
            "unknown",
            "no permission: this user may not run INFO, so version, cluster mode, role, "
            "eviction policy, memory and persistence are unknown",
            rule=acl_rule(timers, ["INFO"]),
        )
    except ResponseError as error:
        return Finding("info", "unknown", f"the server does not reply to INFO: {text_of(error)}")


_INFO = command(b"INFO", parse=read_pairs)


def _check_info(timers: TimersClient, reports: _Reports) -> Iterator[Finding]:
    nodes = [view.address for view in reports.views]
    infos = {view.address: view.info for view in reports.views if view.info is not None}

    def each(
        check: Callable[[dict[str, str]], Finding],
        extent: Callable[[dict[str, str]], float] | None = None,
    ) -> Iterator[Finding]:
        found = [(address, check(info)) for address, info in infos.items()]
        return agreed(found, nodes, None if extent is None else lambda node: extent(infos[node]))

    yield from agreed(reports.refused, nodes)
    yield from each(check_version)
    if internals_of(timers).runner.is_cluster:
        yield from check_cluster(timers, reports.views, reports.silent)
    else:
        for info in infos.values():
            yield from check_place(info)
    yield from each(check_eviction)
    yield from each(check_memory, _share_used)
    yield from each(check_persistence, _count_unsaved)


def _agreed(
    nodes: Sequence[Runner], check: Callable[[Runner], Iterable[Finding]]
) -> Iterator[Finding]:
    found = [(node.address, one) for node in nodes for one in check(node)]
    return agreed(found, [node.address for node in nodes])


def check_version(info: dict[str, str]) -> Finding:
    """Check whether the server is new enough.

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
            f"the server does not report its version; it must be {wanted} or newer",
        )
    if (int(found[1]), int(found[2])) < oldest:
        return Finding(
            "version",
            "error",
            f"{name} {version} is too old to run the timers' scripts",
            f"use {wanted} or newer",
        )
    return Finding("version", "ok", f"{name} {version}")


def check_place(info: dict[str, str]) -> Iterator[Finding]:
    """Check whether a client of one server can write there: not to a cluster's node or a replica.

    Args:
        info: Its INFO.
    """
    if info.get("cluster_enabled") == "1" or info.get("redis_mode") == "cluster":
        yield Finding(
            "cluster",
            "error",
            "the server is a node of a cluster, but this client uses no other node: topics on "
            "other nodes can't be used",
            "connect to the cluster: use a URL that begins with redis+cluster://, or a "
            "RedisCluster client with hash_tags=True",
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
    """Check whether timers could be evicted when memory is full.

    Args:
        info: The server's INFO.
    """
    policy = info.get("maxmemory_policy")
    has_limit = info.get("maxmemory", "0") != "0"
    remedy = "set maxmemory-policy noeviction"
    if policy is None:
        return Finding(
            "eviction", "unknown", "the server does not report its eviction policy", remedy
        )
    if policy == "noeviction":
        return Finding("eviction", "ok", "maxmemory-policy is noeviction")
    if policy.startswith("volatile-"):
        message = (
            f"maxmemory-policy is {policy}: it evicts only keys that expire. Timers don't expire "
            "and are safe, but other keys are evicted"
        )
        return Finding("eviction", "warning", message, remedy)
    if has_limit:
        message = f"maxmemory-policy is {policy}: timers could be evicted when memory is full"
        return Finding("eviction", "error", message, remedy)
    message = f"maxmemory-policy is {policy}: timers could be evicted as soon as maxmemory is set"
    return Finding("eviction", "warning", message, remedy)


FULL = 0.9
"""Share of maxmemory from which on `check` warns."""


def check_memory(info: dict[str, str]) -> Finding:
    """Check whether there is room for more timers.

    Args:
        info: The server's INFO.
    """
    try:
        used, most = int(info["used_memory"]), int(info["maxmemory"])
    except (KeyError, ValueError):
        return Finding("memory", "unknown", "the server does not report how much memory it uses")
    if most == 0:
        return Finding("memory", "ok", f"{used / _MEBIBYTE:,.1f} MiB are used, without a limit")
    told = f"{used / _MEBIBYTE:,.1f} of {most / _MEBIBYTE:,.1f} MiB are used"
    remedy = "raise maxmemory, or find growing topics with `stats`"
    if used >= most:
        # The effect of an eviction policy is a separate finding.
        return Finding("memory", "error", f"{told}: new timers may be refused (OOM)", remedy)
    if used >= FULL * most:
        return Finding("memory", "warning", told, remedy)
    return Finding("memory", "ok", told)


def _share_used(info: dict[str, str]) -> float:
    used, most = (float(info.get(name, 0)) for name in ("used_memory", "maxmemory"))
    return used / (most or 1)


def check_persistence(info: dict[str, str]) -> Finding:
    """Check what a restart of the server would lose.

    Args:
        info: Its INFO.
    """
    if "aof_enabled" not in info:
        return Finding("persistence", "unknown", "the server does not report its persistence")
    for name, what in (("aof_last_write_status", "AOF"), ("rdb_last_bgsave_status", "snapshot")):
        if info.get(name, "ok") != "ok":
            return Finding(
                "persistence",
                "error",
                f"the last write of the {what} failed: a restart loses later changes, and the "
                "server may refuse writes",
                "check its disk and its log",
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
        "AOF is off: a restart loses changes since the last snapshot "
        f"({int(info.get('rdb_changes_since_last_save', '0')):,} changes at present)"
    )
    return Finding("persistence", "warning", message, remedy)


def _count_unsaved(info: dict[str, str]) -> float:
    return float(info.get("rdb_changes_since_last_save", 0))


def _check_permissions(timers: TimersClient, topic: str, node: Runner) -> Iterator[Finding]:
    try:
        refused = refused_purposes(timers, topic, node)
    except RedisError as error:
        yield Finding(
            "permissions", "unknown", f"the server does not report this user's rights: {error}"
        )
        return
    if not refused:
        yield Finding("permissions", "ok", "this user has all permissions that timers need")
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
    try:
        with suppress(NoPermissionError):
            topics.update(listening_topics(timers))
        found = topics_elsewhere(timers, sorted(topics))
    except NoPermissionError:
        message = (
            "no permission: this user may not run EXISTS on the keys that topics have "
            f"{'without' if internals_of(timers).keys.hash_tags else 'with'} hash tags"
        )
        return Finding("layout", "unknown", message)
    except RedisError as error:
        if is_unreachable(error) and not internals_of(timers).runner.is_cluster:
            raise
        message = f"the server does not report its keys: {text_of(error)}"
        return Finding("layout", "unknown", message)
    if found:
        return Finding("layout", "warning", describe_elsewhere(timers, found), REMEDY_ELSEWHERE)
    return Finding(
        "layout",
        "ok",
        f"keys have {'' if internals_of(timers).keys.hash_tags else 'no '}hash tags, and topics "
        "with listening workers have no timers in the other layout",
    )


class Reading(NamedTuple):
    """A reading of a server's clock.

    Args:
        ahead: How far it is ahead of this machine's clock.
        doubt: The possible error, in both directions.
    """

    ahead: timedelta
    doubt: timedelta


def _check_clocks(timers: TimersClient, nodes: Sequence[Runner]) -> Iterator[Finding]:
    readings: dict[str, Reading] = {}
    refused: list[tuple[str, Finding]] = []
    for node in nodes:
        try:
            readings[node.address] = _read_clock(node)
        except NoPermissionError:
            message = "no permission: this user may not run TIME"
            rule = acl_rule(timers, ["TIME"])
            refused.append((node.address, Finding("clock", "unknown", message, rule=rule)))
        except RedisError as error:
            message = f"the server does not report its time: {text_of(error)}"
            refused.append((node.address, Finding("clock", "unknown", message)))
    yield from agreed(refused, [node.address for node in nodes])
    if readings:
        yield compare_clocks(readings)


def _read_clock(node: Runner) -> Reading:
    node.run(TIME)
    # The second reading has an open connection, so less time lies between the clocks.
    before = datetime.now(UTC)
    theirs = node.run(TIME)
    after = datetime.now(UTC)
    doubt = (after - before) / 2
    return Reading(theirs - (before + doubt), doubt)


def compare_clocks(readings: Mapping[str, Reading]) -> Finding:
    """Check whether the clocks of nodes agree, with each other and with this machine's.

    Args:
        readings: A reading of each node's clock, by its address.
    """
    first, last = (pick(readings, key=readings.__getitem__) for pick in (max, min))
    apart = readings[first].ahead - readings[last].ahead
    if apart - readings[first].doubt - readings[last].doubt > _LARGEST_CLOCK_DIFFERENCE:
        return Finding(
            "clock",
            "warning",
            f"the clock of {first} is {_s(apart)} ahead of that of {last}: due times and leases "
            "shift by as much after a failover, or once a slot has moved",
            "synchronise all clocks by NTP",
            nodes=(first, last),
        )
    worst = max(readings, key=lambda node: abs(readings[node].ahead))
    ahead, doubt = readings[worst]
    whose = "the server's clock" if len(readings) == 1 else "the nodes' clocks"
    if abs(ahead) - doubt <= _LARGEST_CLOCK_DIFFERENCE:
        return Finding("clock", "ok", f"{whose} and this machine's agree to {_s(abs(ahead))}")
    direction = "ahead of" if ahead > timedelta(0) else "behind"
    return Finding(
        "clock",
        "warning",
        f"{whose} {'is' if len(readings) == 1 else 'are'} {_s(abs(ahead))} {direction} this "
        "machine's: delays go by the server's, but a time of day computed here is that much off",
        "synchronise both clocks by NTP",
    )


def _s(length: timedelta) -> str:
    return f"{length.total_seconds():,.3f} s"
