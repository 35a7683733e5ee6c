"""Findings of checks, and how the findings of several nodes become one list."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Level = Literal["ok", "warning", "error", "unknown"]
"""The severity of a finding; unknown if the server does not allow the check."""

_WORST_FIRST: tuple[Level, ...] = ("error", "warning", "unknown", "ok")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Args:
        check: What was checked: ``version``, ``cluster``, ``role``, ``eviction``,
            ``memory``, ``persistence``, ``permissions``, ``layout``, ``clock``, or ``info`` where
            INFO is refused; on a cluster also ``nodes``, ``replicas`` and ``failover``.
        level: How bad it is.
        message: A sentence. If it is only about some nodes of a cluster, it names them.
        remedy: What to do; empty if nothing.
        rule: The command that grants missing rights, as redis-cli takes it, or empty.
        nodes: The addresses of the nodes of a cluster that it is about; empty if it is about all of
            them, or the only server.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""
    rule: str = ""
    nodes: tuple[str, ...] = ()


def agreed(
    found: Sequence[tuple[str, Finding]],
    nodes: Sequence[str],
    extent: Callable[[str], float] | None = None,
) -> Iterator[Finding]:
    """Merge equal findings of several nodes, the worst first.

    Args:
        found: The findings, each with the address of its node.
        nodes: The addresses of all nodes that were asked.
        extent: The amount at a node, if the finding is about an amount. Of findings that differ
            only in it, the one with the most is kept.
    """
    groups: dict[tuple[Level, str, str, str], list[tuple[str, Finding]]] = {}
    for node, one in found:
        kind = (one.level, one.message if extent is None else "", one.remedy, one.rule)
        groups.setdefault(kind, []).append((node, one))
    for pairs in sorted(groups.values(), key=lambda pairs: _WORST_FIRST.index(pairs[0][1].level)):
        at = tuple(node for node, _ in pairs)
        _, one = max(pairs, key=lambda pair: extent(pair[0])) if extent else pairs[0]
        message = one.message
        if len({other.message for _, other in pairs}) > 1:
            message += f", the most of {len(at)} nodes"
        rest = [node for node in nodes if node not in at]
        if not rest:
            yield replace(one, message=message)
            continue
        who = ", ".join(at) if len(at) <= len(rest) else f"all but {', '.join(rest)}"
        yield replace(one, message=f"{who}: {message}", nodes=at)
