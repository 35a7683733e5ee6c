"""Where Redis Cluster places keys, and the map of its slots."""

import pytest
from hypothesis import given, strategies as st

from faststream_redis_timers_sync.protocol.cluster import (
    SLOTS,
    Address,
    SlotMap,
    share_slot,
    slot_of,
)


# What CLUSTER KEYSLOT answers.
@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"123456789", 0x31C3),
        (b"foo", 12182),
        (b"bar", 5061),
        (b"{foo}:bar", 12182),
        (b"x{foo}{bar}", 12182),
        (b"foo{}{bar}", 8363),
        (b"", 0),
    ],
)
def test_the_slot_of_a_key(key, slot):
    assert slot_of(key) == slot


@given(st.binary())
def test_a_tag_alone_decides(key):
    assert 0 <= slot_of(key) < SLOTS
    assert slot_of(b"{tag}" + key) == slot_of(b"tag")


def test_keys_share_a_slot_by_their_tag():
    assert share_slot()
    assert share_slot(b"a:{x}", b"b:{x}:dead", b"x")
    assert not share_slot(b"a:{x}", b"a:{y}")


A, B, C = Address("10.0.0.1", 7001), Address("10.0.0.2", 7002), Address("10.0.0.3", 7003)


def all_at(address):
    return [[0, SLOTS - 1, [address.host.encode(), address.port, b"id", []]]]


def test_primaries_are_those_of_the_last_change():
    slots = SlotMap([A])
    assert slots.primaries == []
    slots.replace(all_at(A), A)
    assert slots.primaries == [A]
    slots.assign(7, B)
    assert slots.primaries == [A, B]
    slots.assign(7, A)
    assert slots.primaries == [A]
    slots.replace(all_at(C), A)
    assert slots.primaries == [C]


class SlotThatWaits:
    """A slot that lets another thread run while it is being assigned."""

    def __init__(self, other):
        self._other = other

    def __index__(self):
        self._other()
        return 7


def test_no_change_of_another_thread_is_lost_to_an_assignment():
    slots = SlotMap([A])
    slots.replace(all_at(A), A)
    slots.assign(SlotThatWaits(lambda: slots.assign(8, C)), B)
    assert [slots.primary_of(slot) for slot in (6, 7, 8)] == [A, B, C]
    assert slots.primaries == [A, B, C]

    slots.assign(SlotThatWaits(lambda: slots.replace(all_at(C), C)), B)
    assert slots.primary_of(6) == C
    assert C in slots.primaries
    assert A not in slots.primaries
