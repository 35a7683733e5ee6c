"""Where Redis Cluster places keys, and which primary serves them."""

import binascii
import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

SLOTS = 16384
"""Slots of a cluster."""

SHORTEST_BETWEEN_READS = 0.1
"""Seconds between two attempts of a process to read the map: while a primary is away, many callers
want it repeatedly."""


def slot_of(key: bytes) -> int:
    """Return the slot of a key: CRC16 of its hash tag, or of the whole key if it has none.

    The tag is the text between the first ``{`` and the next ``}``, unless that is empty.

    Args:
        key: The key.
    """
    return binascii.crc_hqx(hash_tag_of(key) or key, 0) % SLOTS


def hash_tag_of(key: bytes) -> bytes:
    """Return the hash tag of a key, empty if it has none.

    Args:
        key: The key.
    """
    _, _, behind = key.partition(b"{")
    tag, closing, _ = behind.partition(b"}")
    return tag if closing else b""


def share_slot(*keys: bytes) -> bool:
    """Return whether all keys are in one slot, so that one script may touch them.

    Args:
        keys: The keys.
    """
    return len(set(map(slot_of, keys))) <= 1


class Address(NamedTuple):
    """Where a node listens.

    Args:
        host: Its IP address or host name.
        port: Its port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """Return ``host:port``, an IPv6 address in brackets."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


Remap = Callable[[tuple[str, int]], tuple[str, int]]
"""The `address_remap` of a redis-py client: maps an announced address to another."""


class SlotMap:
    """Which primary serves which slot, as far as is known.

    Args:
        seeds: Nodes that were named by the user.
        remap: Maps an announced address to the one to connect to.

    Attributes:
        version: Grows with each `replace`; 0 if no node has returned the map yet.
        nodes: All nodes of the last map, replicas included.
        is_stale: Whether a node of the map has failed to reply since.
        tried_at: The caller's monotonic time, in seconds, of the last attempt to read the map.
        on_asked: Called with a key each time that a call is redirected with ASK, because its slot
            is moving to another primary.
        on_replaced: Called after each `replace`.
    """

    def __init__(self, seeds: Sequence[Address], remap: Remap | None = None) -> None:
        """Start without knowing any slot."""
        self._seeds = tuple(seeds)
        self._remap = remap
        self._owners: list[Address | None] = [None] * SLOTS
        # Another object after each change of the owners; then the primaries as of one.
        self._changed = object()
        self._primaries: tuple[object, list[Address]] = (None, [])
        self.nodes: tuple[Address, ...] = ()
        self.version = 0
        self.is_stale = False
        self.tried_at = -math.inf
        self._turn = 0
        self.on_asked: Callable[[bytes], None] = lambda _key: None
        self.on_replaced: Callable[[], None] = lambda: None

    def is_due(self, now: float) -> bool:
        """Return whether the map may be read again: not if that was tried a moment ago.

        Args:
            now: The caller's monotonic time, as in `tried_at`.
        """
        return self.version == 0 or now - self.tried_at >= SHORTEST_BETWEEN_READS

    def primary_of(self, slot: int) -> Address | None:
        """Return which primary serves a slot.

        Args:
            slot: The slot.

        Returns:
            None if unknown.
        """
        return self._owners[slot]

    def primary_of_key(self, key: bytes) -> Address | None:
        """Return which primary serves a key.

        Args:
            key: The key.
        """
        return self._owners[slot_of(key)]

    @property
    def primaries(self) -> list[Address]:
        """The primaries that serve slots, each once, in order."""
        # Read first: if another thread changes the owners meanwhile, it is outdated.
        changed, known = self._changed, self._primaries
        if known[0] is not changed:
            found = sorted({owner for owner in self._owners if owner is not None})
            self._primaries = known = (changed, found)
        return known[1]

    @property
    def fingerprint(self) -> str:
        """A word that changes when another primary serves a slot."""
        ranges = [(owner, len(list(slots))) for owner, slots in groupby(self._owners)]
        return f"{binascii.crc32(repr(ranges).encode()):08x}"

    @property
    def uncovered(self) -> str:
        """The slots that no primary serves, as in ``0-99, 200``; empty if all are served."""
        ranges: list[list[int]] = []
        for slot, owner in enumerate(self._owners):
            if owner is None and ranges and ranges[-1][1] == slot - 1:
                ranges[-1][1] = slot
            elif owner is None:
                ranges.append([slot, slot])
        return ", ".join(
            f"{first}-{last}" if last > first else f"{first}" for first, last in ranges
        )

    def candidates(self, without: Address | None) -> list[Address]:
        """Return the nodes to ask for the map, the likeliest first.

        Args:
            without: A node that has just failed to reply; it comes last.
        """
        known = dict.fromkeys((*self.primaries, *self.nodes, *self._seeds))
        if not known:
            return []
        # Rotate the first: some may be away, and one that was cut off has an old map.
        addresses = list(known)
        turn = self._turn % len(addresses)
        self._turn += 1
        addresses = addresses[turn:] + addresses[:turn]
        return sorted(addresses, key=lambda address: address == without)

    def assign(self, slot: int, address: Address) -> None:
        """Note that another primary serves a slot.

        Args:
            slot: The slot.
            address: The primary's.
        """
        # In place: a copy could undo what another thread has changed meanwhile.
        self._owners[slot] = address
        self._changed = object()

    def replace(self, reply: Sequence[Any], answered_by: Address) -> None:
        """Replace the map by a node's reply.

        Args:
            reply: Its raw reply to ``CLUSTER SLOTS``.
            answered_by: The node.
        """
        owners: list[Address | None] = [None] * SLOTS
        nodes: dict[Address, None] = {}
        for first, last, *servers in reply:
            addresses = [self.resolve(host, port, answered_by) for host, port, *_ in servers]
            nodes.update(dict.fromkeys(addresses))
            owners[int(first) : int(last) + 1] = addresses[:1] * (int(last) + 1 - int(first))
        self._owners = owners
        self._changed = object()
        self.nodes = tuple(nodes)
        self.is_stale = False
        self.version += 1
        self.on_replaced()

    def resolve(self, host: bytes | str | None, port: int, told_by: Address) -> Address:
        """Return the address of a node that another node announces.

        Args:
            host: Its host; if empty or ``?``, the cluster does not know it, and the announcing
                node's host is used.
            port: Its port.
            told_by: The announcing node.
        """
        name = host.decode() if isinstance(host, bytes) else host
        place = (told_by.host if name in {None, "", "?"} else str(name), int(port))
        return Address(*(place if self._remap is None else self._remap(place)))
