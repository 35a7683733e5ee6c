"""What looks at a server find, and how what several nodes of a cluster say becomes one list."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Level = Literal["ok", "warning", "error", "unknown"]
"""How bad a finding is; unknown where the server does not allow to look."""

_WORST_FIRST: tuple[Level, ...] = ("error", "warning", "unknown", "ok")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at the server found.

    Args:
        check: What was looked at: ``version``, ``cluster``, ``role``, ``eviction``,
            ``memory``, ``persistence``, ``permissions``, ``layout``, ``clock``, or ``info`` where
            INFO is refused; on a cluster also ``nodes``, ``replicas`` and ``failover``.
        level: How bad it is.
        message: A sentence. Where it is about some nodes of a cluster alone, it names them.
        remedy: What to do, empty where there is nothing.
        rule: The command that gives missing rights, as redis-cli takes it, or empty.
        nodes: The addresses of those nodes of a cluster that it is about; empty where it is all of
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
    """Tell what nodes say about one thing, the worst first, and once what several say alike.

    Args:
        found: What was found: the address of a node, and a finding.
        nodes: The addresses of all nodes that were asked.
        extent: How much of it there is at a node, where it is about an amount. Of findings that
            differ in it alone, that with the most is told.
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
