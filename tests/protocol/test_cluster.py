"""Where Redis Cluster places keys."""

import pytest
from hypothesis import given, strategies as st

from faststream_redis_timers_sync.protocol.cluster import SLOTS, share_slot, slot_of


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
