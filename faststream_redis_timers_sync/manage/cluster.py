"""Checks a cluster by what its nodes report: slots, slots on the move, replicas."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from redis.exceptions import RedisError, ResponseError

from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.findings import Finding, Level, agreed
from faststream_redis_timers_sync.manage.permissions import acl_rule
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.manage.text import plural
from faststream_redis_timers_sync.protocol.cluster import SLOTS
from faststream_redis_timers_sync.protocol.operation import command
from faststream_redis_timers_sync.protocol.routing import window_of

_FEW = 3
"""The most slots that are named one by one."""

_ELECTION = 2.0
"""Seconds from when a primary counts as failed until a replica serves its slots: 0.3 to 1.8 mostly,
and up to 3 on a machine that is busy with other things (docs/scaling.md)."""

_SHORTEST_NODE_TIMEOUT = 0.5
"""Seconds; with less, a busy primary is soon taken for a dead one."""


class Known(NamedTuple):
    """A node as another node describes it: a line of ``CLUSTER NODES``.

    Args:
        id: Its name in the cluster.
        address: Its IP address and port.
        hostname_address: Its host name and port; the same as ``address`` where it announces none.
        flags: What it is: ``myself``, ``master``, ``slave``, ``fail``, ...
        primary_id: The name of the primary that it follows; ``-`` for a primary.
        has_slots: Whether it serves slots.
        leaving: Slots on their way from it, and the names of the nodes that they go to.
        coming: Slots on their way to it, and the names of the nodes that they come from.
    """

    id: str
    address: str
    hostname_address: str
    flags: frozenset[str]
    primary_id: str
    has_slots: bool
    leaving: Mapping[int, str]
    coming: Mapping[int, str]

    @property
    def is_primary(self) -> bool:
        """Whether it serves slots, or did until it failed."""
        return "master" in self.flags and self.has_slots

    @property
    def is_down(self) -> bool:
        """Whether it is known to have failed."""
        return not self.flags.isdisjoint({"fail", "fail?", "noaddr"})


_MOVING = re.compile(r"\[(\d+)-([<>])-(\w+)\]")


def read_nodes(text: str) -> list[Known]:
    """Read a reply to ``CLUSTER NODES``.

    Args:
        text: The reply.
    """
    return [_read_line(*line.split()) for line in text.splitlines()]


def _read_line(name: str, places: str, flags: str, primary_id: str, *more: str) -> Known:
    # The port of the cluster's bus follows, and often a host name.
    ip_and_bus, _, hostname = places.partition(",")
    address, _, _ = ip_and_bus.partition("@")
    _, _, port = address.rpartition(":")
    # Pings, epoch and link come before the slots.
    slots = more[4:]
    moving = [found.groups() for slot in slots if (found := _MOVING.fullmatch(slot))]
    return Known(
        name,
        address,
        f"{hostname}:{port}" if hostname else address,
        frozenset(flags.split(",")),
        primary_id,
        len(slots) > len(moving),
        {int(slot): other for slot, way, other in moving if way == ">"},
        {int(slot): other for slot, way, other in moving if way == "<"},
    )


@dataclass(frozen=True, slots=True)
class View:
    """The reports of a node that replies.

    Args:
        node: The runner that asks it.
        info: Its INFO; None if that is refused.
        facts: Its ``CLUSTER INFO``; empty if that is refused.
        known: Its ``CLUSTER NODES``; likewise.
    """

    node: Runner
    info: dict[str, str] | None
    facts: Mapping[str, str] = field(default_factory=dict)
    known: Sequence[Known] = ()

    @property
    def address(self) -> str:
        """Its address."""
        return self.node.address


def read_pairs(reply: Any) -> dict[str, str]:
    """Read a reply of lines ``name:value``, as those to INFO and ``CLUSTER INFO`` are.

    Args:
        reply: The reply, not decoded.
    """
    pairs = (line.partition(":") for line in _text(reply).splitlines())
    return {name: value for name, colon, value in pairs if colon}


def _text(reply: Any) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)


CLUSTER_INFO = command(b"CLUSTER", b"INFO", parse=read_pairs)
"""Asks a node for the state of the cluster."""

CLUSTER_NODES = command(b"CLUSTER", b"NODES", parse=lambda reply: read_nodes(_text(reply)))
"""Asks a node which nodes it knows."""

NODES_AND_STATE = ("CLUSTER INFO", "CLUSTER NODES")
"""Both commands, as ACL rules are made of them."""


def check_cluster(
    timers: TimersClient, views: Sequence[View], silent: Sequence[tuple[Runner, str]]
) -> Iterator[Finding]:
    """Check a cluster as a whole.

    Args:
        timers: The client.
        views: The nodes that reply.
        silent: The nodes that do not reply, and why.
    """
    yield from _check_nodes(views, silent)
    yield from _check_state(timers, views)
    yield from _check_moves(views)
    yield from _check_replicas(views)


def _check_nodes(views: Sequence[View], silent: Sequence[tuple[Runner, str]]) -> Iterator[Finding]:
    remedy = "start it, or remove it from the cluster"
    for node, sentence in silent:
        level: Level = "error" if node.is_primary else "warning"
        yield Finding("nodes", level, sentence, remedy, nodes=(node.address,))
    told = {node.address for node, _ in silent}
    failed = {
        one.address: one
        for view in views
        for one in view.known
        if "fail" in one.flags and told.isdisjoint({one.address, one.hostname_address})
    }
    for address in sorted(failed):
        level = "error" if failed[address].is_primary else "warning"
        message = f"the node {address} has failed, as other nodes report"
        yield Finding("nodes", level, message, remedy, nodes=(address,))


def _check_state(timers: TimersClient, views: Sequence[View]) -> Iterator[Finding]:
    found = [(view.address, _state_of(timers, view)) for view in views]
    yield from agreed(found, [view.address for view in views])


def _state_of(timers: TimersClient, view: View) -> Finding:
    facts = view.facts
    if not facts:
        return Finding(
            "cluster",
            "unknown",
            "no permission: this user may not run CLUSTER INFO and CLUSTER NODES, so failed "
            "nodes, moving slots and replicas are unknown",
            rule=acl_rule(timers, NODES_AND_STATE),
        )
    state = facts.get("cluster_state", "ok")
    told = "" if state == "ok" else f"; cluster_state is {state}"
    if missing := SLOTS - int(facts.get("cluster_slots_assigned", SLOTS)):
        return Finding(
            "cluster",
            "error",
            f"no primary serves {missing:,} of {SLOTS:,} slots: topics there can't be used{told}",
            "assign them to primaries (redis-cli --cluster fix HOST:PORT)",
        )
    if failed := int(facts.get("cluster_slots_fail", 0)):
        return Finding(
            "cluster",
            "error",
            f"the primary of {failed:,} slots has failed: topics there can't be used{told}",
            "start it, or let its replica take over (CLUSTER FAILOVER TAKEOVER)",
        )
    if told:
        return Finding(
            "cluster", "error", f"cluster_state is {state}", "check CLUSTER INFO and the log"
        )
    primaries = int(facts.get("cluster_size", 0))
    told = "1 primary serves" if primaries == 1 else f"{primaries} primaries serve"
    return Finding("cluster", "ok", f"{told} all slots")


def _check_moves(views: Sequence[View]) -> Iterator[Finding]:
    names = _names_of(views)
    ways: dict[tuple[str, str], set[int]] = {}
    for one in _own(view for view in views if view.node.is_primary):
        for slot, other in one.leaving.items():
            ways.setdefault((one.id, other), set()).add(slot)
        for slot, other in one.coming.items():
            ways.setdefault((other, one.id), set()).add(slot)
    if not ways:
        return
    told = []
    for (source, target), slots in ways.items():
        which = ", ".join(f"slot {slot}" for slot in sorted(slots))
        if len(slots) > _FEW:
            which = f"{len(slots):,} slots"
        told.append(f"{which} from {names.get(source, source)} to {names.get(target, target)}")
    yield Finding(
        "cluster",
        "warning",
        f"slots are moving: {'; '.join(told)}. Until they arrive, calls for topics there may be "
        "refused",
        "if nobody moves them now, finish it (redis-cli --cluster fix HOST:PORT)",
    )


def are_slots_moving(primaries: Iterable[Runner]) -> bool:
    """Return whether slots are moving between primaries; False if the primaries don't report it.

    Args:
        primaries: All primaries of a cluster.
    """
    for primary in primaries:
        with suppress(ResponseError):
            known = primary.run(CLUSTER_NODES)
            if any(one.leaving or one.coming for one in _own([View(primary, None, known=known)])):
                return True
    return False


def _own(views: Iterable[View]) -> Iterator[Known]:
    """Return the nodes' descriptions of themselves; only these are complete."""
    return (one for view in views for one in view.known if "myself" in one.flags)


def _names_of(views: Sequence[View]) -> dict[str, str]:
    """Return the addresses of nodes by name, preferring those at which a node replied."""
    names = {one.id: one.address for view in views for one in view.known}
    return names | {one.id: view.address for view in views for one in _own([view])}


def _check_replicas(views: Sequence[View]) -> Iterator[Finding]:
    for view in views:
        link = (view.info or {}).get("master_link_status")
        if not view.node.is_primary and link == "down":
            message = f"{view.address}: the link to its primary is down, so it falls behind"
            remedy = "check the logs of both"
            yield Finding("replicas", "warning", message, remedy, nodes=(view.address,))
    # A primary knows its replicas best: a replica may have been away.
    known = next(
        (v.known for v in sorted(views, key=lambda view: not view.node.is_primary) if v.known), ()
    )
    names = _names_of(views)
    following = Counter(one.primary_id for one in known if not one.is_down)
    counts = {names[one.id]: following[one.id] for one in known if one.is_primary}
    if not counts:
        return
    most = max(counts.values())
    if most == 0:
        yield Finding(
            "replicas",
            "warning",
            "no primary has a replica: while a primary is down its topics stop, and if its data "
            "is lost, so are their timers",
            "give each primary a replica",
        )
        return
    for address, count in sorted(counts.items()):
        if count < most:
            message = f"{address}: {plural(count, 'replica')}, where others have {most}"
            remedy = "give each primary the same number of replicas"
            yield Finding("replicas", "warning", message, remedy, nodes=(address,))
    if min(counts.values()) == most:
        yield Finding("replicas", "ok", f"each primary has {plural(most, 'replica')}")


def check_failover(timers: TimersClient, nodes: Sequence[Runner]) -> Iterator[Finding]:
    """Check whether calls outlast a failover, if the server allows reading its CONFIG.

    Args:
        timers: The client.
        nodes: The nodes that reply.
    """
    timeouts: list[float] = []
    for node in nodes:
        try:
            found = node.run(_NODE_TIMEOUT)
        except RedisError:
            # CONFIG also holds secrets, so few users may read it; or the node is away by now.
            return
        timeouts += found
    if not timeouts:
        return
    longest = max(timeouts)
    window = window_of(internals_of(timers).runner.connection_options)
    told = f"cluster-node-timeout is {longest:g} s"
    if longest + _ELECTION < window:
        yield Finding(
            "failover",
            "ok",
            f"{told}: calls, which retry for {window:g} s, mostly outlast a failover",
        )
        return
    advised = window - _ELECTION - 0.5
    remedy = f"set cluster-node-timeout to {advised * 1000:g} ms, or let callers retry"
    if advised < _SHORTEST_NODE_TIMEOUT:
        remedy = (
            "let calls retry for longer, by socket_connect_timeout and socket_timeout of 2 s each, "
            "or let callers retry"
        )
    yield Finding(
        "failover",
        "warning",
        f"{told}: a failover takes longer than the {window:g} s for which calls retry, so calls "
        "for topics of that primary fail meanwhile",
        remedy,
    )


def _read_timeout(reply: Any) -> list[float]:
    # RESP3 has a map, RESP2 a list.
    values = list(reply.values()) if isinstance(reply, dict) else reply[1::2]
    return [int(value) / 1000 for value in values]


_NODE_TIMEOUT = command(b"CONFIG", b"GET", b"cluster-node-timeout", parse=_read_timeout)
