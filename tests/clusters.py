"""A real cluster that tests break: nodes fail, come and go, and slots move between them."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import redis
from waiting import wait_until

from examples.embedded_cluster import HOST, SLOTS, TLS, EmbeddedCluster, Node

LONGEST = 30.0
"""Seconds that nodes may take to agree on a busy machine."""

MOVED_AT_ONCE = 100
"""Keys of a slot that one MIGRATE moves."""

STAYING = {"cluster-allow-replica-migration": "no", "cluster-replica-validity-factor": "0"}
"""Settings with which a replica follows its primary whatever else happens, and takes its place
also where a busy machine lets a first election fail."""

KEEPING = {"appendonly": "yes", "appendfsync": "always"}
"""Settings with which a node that is killed comes back with all that it has answered."""


class Entry(NamedTuple):
    """What one node knows about another."""

    id: str
    address: str
    flags: frozenset[str]
    primary_id: str
    slots: frozenset[int]

    @property
    def is_primary(self) -> bool:
        return "master" in self.flags and "fail" not in self.flags

    @classmethod
    def read(cls, line: str) -> "Entry":
        """Read a line of CLUSTER NODES."""
        name, address, flags, primary, _, _, _, _, *ranges = line.split()
        slots: set[int] = set()
        for part in ranges:
            if not part.startswith("["):
                start, _, end = part.partition("-")
                slots.update(range(int(start), int(end or start) + 1))
        return cls(
            name, address.split("@")[0], frozenset(flags.split(",")), primary, frozenset(slots)
        )


class Cluster(EmbeddedCluster):
    """A cluster of three primaries with a replica each; see `EmbeddedCluster`.

    Args:
        binary: The server; by default the one that other tests have.
        config: Settings of every node.
        tls: Files with which nodes speak TLS alone.
        primaries: How many nodes share the slots.
        replicas: How many each of them has.
    """

    def __init__(
        self,
        binary: str | None = None,
        *,
        config: dict[str, str] | None = None,
        tls: TLS | None = None,
        primaries: int = 3,
        replicas: int = 1,
    ) -> None:
        super().__init__(
            primaries=primaries,
            replicas=replicas,
            binary=binary,
            config={**STAYING, **(config or {})},
            tls=tls,
        )

    @property
    def server(self) -> str:
        """The name of the server, and its version."""
        facts = dict(
            line.split(":", 1)
            for line in self.nodes[-1].ask("INFO", "server").splitlines()
            if ":" in line
        )
        version = facts.get("valkey_version")
        return f"Valkey {version}" if version else f"Redis {facts['redis_version']}"

    # --- who is who

    def _entries(self) -> list[Entry]:
        """Give all nodes, as one that is up knows them."""
        node = next(node for node in self.nodes if node.is_up)
        return [Entry.read(line) for line in node.ask("CLUSTER", "NODES").splitlines()]

    def _node_at(self, address: str) -> Node:
        return next(node for node in self.nodes if node.address == address)

    def _entry_of(self, node: Node) -> Entry:
        return next(entry for entry in self._entries() if entry.address == node.address)

    def primaries(self) -> list[Node]:
        """Give the primaries that serve slots, in the order of their first slots."""
        found = [entry for entry in self._entries() if entry.is_primary and entry.slots]
        return [self._node_at(e.address) for e in sorted(found, key=lambda entry: min(entry.slots))]

    def replicas_of(self, primary: Node) -> list[Node]:
        """Give the replicas of a primary that have not failed."""
        name = self._entry_of(primary).id
        return [
            self._node_at(entry.address)
            for entry in self._entries()
            if entry.primary_id == name and "fail" not in entry.flags
        ]

    def replica_of(self, primary: Node) -> Node:
        """Give the replica of a primary that has one."""
        (replica,) = self.replicas_of(primary)
        return replica

    def owner_of(self, slot: int) -> Node:
        """Give the primary that serves a slot."""
        (found,) = [e for e in self._entries() if e.is_primary and slot in e.slots]
        return self._node_at(found.address)

    def slots_of(self, node: Node) -> set[int]:
        """Give the slots that a node serves."""
        return set(self._entry_of(node).slots)

    def key_slot(self, key: str | bytes) -> int:
        """Give the slot of a key."""
        return int(self.primaries()[0].ask("CLUSTER", "KEYSLOT", key))

    def wait_until_ok(self) -> None:
        """Wait until all nodes that are up agree, and all replicas are in touch."""
        try:
            wait_until(self.is_ok, LONGEST)
        except AssertionError as error:
            up = [node for node in self.nodes if node.is_up]
            views = [f"{node.address}: {_nodes_known_to(node)}" for node in up]
            msg = "\n".join(["the nodes do not agree", *views])
            raise AssertionError(msg) from error

    # --- nodes fail

    def elections(self) -> list[float]:
        """Give the moments, on the monotonic clock, in which replicas replaced their primaries.

        On a busy machine there are some that nobody asked for.
        """
        ahead = time.time() - time.monotonic()
        return sorted(
            _logged_at(line) - ahead
            for node in self.nodes
            for line in node.log.read_text(errors="replace").splitlines()
            if "Failover election won" in line
        )

    def kill(self, node: Node) -> None:
        """Kill a node on the spot."""
        node.kill()

    def restart(self, node: Node) -> None:
        """Start a node that was killed, with what it had; it may come back as a replica."""
        node.start()

    def pause(self, node: Node) -> None:
        """Stop the process of a node: its connections stay, and nothing is read or answered."""
        node.pause()

    def resume(self, node: Node) -> None:
        """Let a node go on after a pause."""
        node.resume()

    @contextmanager
    def paused(self, node: Node) -> Iterator[None]:
        """Pause a node for the length of a ``with`` block."""
        node.pause()
        try:
            yield
        finally:
            node.resume()

    def wait_until_replaced(self, primary: Node) -> None:
        """Wait until others serve all slots of a primary that is killed or paused."""
        wait_until(lambda: self._serve_all(without=primary), LONGEST)
        self.wait_until_ok()

    def _serve_all(self, *, without: Node) -> bool:
        served = [
            entry.slots
            for entry in self._entries()
            if entry.is_primary and entry.address != without.address
        ]
        return sum(map(len, served)) == SLOTS

    def fail_over(self, node: Node) -> Node:
        """Let a replica of a primary take its place, while both are up.

        Returns:
            The new primary.
        """
        replica = self.replicas_of(node)[0]
        # Nodes that hear nothing of each other for half their timeout reconnect.
        wait_until(lambda: _is_done(replica, "Master is down", "CLUSTER", "FAILOVER"), LONGEST)
        wait_until(lambda: "role:master" in replica.ask("INFO", "replication"), LONGEST)
        self.wait_until_ok()
        return replica

    # --- nodes come and go

    def add_node(self, *, replicates: Node | None = None) -> Node:
        """Start a node, and let it join.

        Args:
            replicates: The primary that it follows; None makes it a primary without slots.
        """
        known = self.primaries()[0]
        node = self.start_node()
        node.ask("CLUSTER", "MEET", HOST, known.port)
        self.wait_until_ok()
        wait_until(lambda: self._all_know(node), LONGEST)
        if replicates is not None:
            node.ask("CLUSTER", "REPLICATE", replicates.id)
        self.wait_until_ok()
        return node

    def _all_know(self, node: Node) -> bool:
        return all(
            node.address in other.ask("CLUSTER", "NODES") for other in self.nodes if other.is_up
        )

    def remove_node(self, node: Node) -> None:
        """Take a node out of the cluster: its slots and replicas go to another primary."""
        name = node.id
        heir = next(one for one in self.primaries() if one is not node)
        self.move_slots(self.slots_of(node), heir)
        for replica in self.replicas_of(node):
            replica.ask("CLUSTER", "REPLICATE", heir.id)
        self.wait_until_ok()
        self.nodes.remove(node)
        # It is to tell nobody that it is still there.
        node.kill()
        for other in self.nodes:
            if other.is_up:
                # Another node may have told it already.
                _is_done(other, "Unknown node", "CLUSTER", "FORGET", name)
        self.wait_until_ok()

    # --- slots move

    @property
    def moves_atomically(self) -> bool:
        """Whether this server moves slots as a whole, as Valkey 9 does."""
        return self.nodes[-1].ask("COMMAND", "INFO", "CLUSTER|MIGRATESLOTS") != [None]

    def begin_move(self, slot: int, to: Node) -> None:
        """Begin to move a slot key by key: from now on new keys are made at its target."""
        source = self.owner_of(slot)
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)

    def move_keys(self, slot: int, to: Node, *keys: str) -> None:
        """Move keys of a slot whose move has begun.

        Args:
            slot: The slot.
            to: Its target.
            keys: The keys; by default all, also those that are made meanwhile.
        """
        source = self.owner_of(slot)
        if keys:
            source.ask("MIGRATE", HOST, to.port, "", 0, 5000, "KEYS", *keys)
            return
        while found := source.ask("CLUSTER", "GETKEYSINSLOT", slot, MOVED_AT_ONCE):
            source.ask("MIGRATE", HOST, to.port, "", 0, 5000, "KEYS", *found)

    def finish_move(self, slot: int, to: Node) -> None:
        """End the move of a slot whose keys have all been moved, and wait until all know it."""
        # The target first: otherwise nobody would serve the slot for a moment.
        source = self.owner_of(slot)
        others = [node for node in self.primaries() if node not in {source, to}]
        for node in (to, source, *others):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", to.id)
        self.wait_until_ok()

    def abandon_move(self, slot: int, to: Node) -> None:
        """Give up the move of a slot none of whose keys are at its target."""
        for node in (self.owner_of(slot), to):
            node.ask("CLUSTER", "SETSLOT", slot, "STABLE")

    def move_slot(self, slot: int, to: Node) -> None:
        """Move a slot key by key, all of it."""
        self.begin_move(slot, to)
        self.move_keys(slot, to)
        self.finish_move(slot, to)

    def move_slots_atomically(self, slots: Iterable[int], to: Node) -> None:
        """Move slots of one primary as a whole; only where `moves_atomically`."""
        chosen = sorted(slots)
        source = self.owner_of(chosen[0])
        words: list[str | int] = []
        for start, end in _ranges(chosen):
            words += [start, end]
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *words, "NODE", to.id)
        wait_until(lambda: _has_exported(source), LONGEST)
        self.wait_until_ok()

    def move_slots(self, slots: Iterable[int], to: Node) -> None:
        """Move slots of one primary as a whole where that can be, otherwise one by one."""
        chosen = sorted(slots)
        if not chosen:
            return
        if self.moves_atomically:
            self.move_slots_atomically(chosen, to)
            return
        source = self.owner_of(chosen[0])
        for slot in chosen:
            if source.ask("CLUSTER", "COUNTKEYSINSLOT", slot):
                self.move_slot(slot, to)
        self._hand_over([slot for slot in self.slots_of(source) if slot in set(chosen)], to)

    def _hand_over(self, slots: list[int], to: Node) -> None:
        """Move slots without keys."""
        name = to.id
        # Nobody imports here, so that it does not get a greater epoch by itself. With a lower one
        # than the source's nodes that were not told go on to believe in that.
        to.ask("CLUSTER", "BUMPEPOCH")
        for node in (to, *(one for one in self.primaries() if one is not to)):
            with node.client() as client:
                pipeline = client.pipeline(transaction=False)
                for slot in slots:
                    pipeline.execute_command("CLUSTER", "SETSLOT", slot, "NODE", name)
                pipeline.execute()
        self.wait_until_ok()

    # --- how nodes are set

    def configure(self, name: str, value: str) -> None:
        """Change a setting of all nodes, and of those that are added later."""
        self._config[name] = value
        for node in self.nodes:
            node.ask("CONFIG", "SET", name, value)

    def announce(self, kind: str) -> None:
        """Choose by what clients are told of nodes.

        Args:
            kind: "ip", "hostname" (all are localhost) or "unknown-endpoint", where a client is
                to take the host that it asked.
        """
        self.configure("cluster-announce-hostname", "localhost")
        self.configure("cluster-preferred-endpoint-type", kind)
        expected = {"ip": HOST, "hostname": "localhost", "unknown-endpoint": None}[kind]
        wait_until(lambda: self._announced() == {expected}, LONGEST)

    def _announced(self) -> set[str | None]:
        return {
            host
            for node in self.nodes
            for _, _, *servers in node.ask("CLUSTER", "SLOTS")
            for host, *_ in servers
        }

    # --- keys

    def flush(self) -> None:
        """Remove all keys."""
        for primary in self.primaries():
            primary.ask("FLUSHALL")


def _nodes_known_to(node: Node) -> str:
    try:
        return f"{node.ask('CLUSTER', 'INFO')}{node.ask('CLUSTER', 'NODES')}"
    except (redis.RedisError, OSError) as error:
        return repr(error)


def _logged_at(line: str) -> float:
    """Tell when a server wrote a line of its log."""
    _, *words = line.split()[:5]
    return datetime.strptime(" ".join(words), "%d %b %Y %H:%M:%S.%f").astimezone().timestamp()


def _ranges(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Give the first and the last of numbers that follow each other."""
    start = end = numbers[0]
    for number in numbers[1:]:
        if number != end + 1:
            yield start, end
            start = number
        end = number
    yield start, end


def _has_exported(source: Node) -> bool:
    """Return whether the last slots have left a node; fail where they will not."""
    (last, *_) = source.ask("CLUSTER", "GETSLOTMIGRATIONS")
    facts: dict[str, Any] = dict(zip(last[::2], last[1::2], strict=True))
    assert facts["state"] not in {"failed", "cancelled"}, facts
    return bool(facts["state"] == "success")


def _is_done(node: Node, refusal: str, *words: str) -> bool:
    """Ask a node for something; return whether it did not refuse it with these words."""
    try:
        node.ask(*words)
    except redis.ResponseError as error:
        if refusal not in str(error):
            raise
        return False
    return True
