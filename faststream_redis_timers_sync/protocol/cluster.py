"""Where Redis Cluster places keys."""

import binascii

SLOTS = 16384
"""Slots of a cluster."""


def slot_of(key: bytes) -> int:
    """Tell the slot of a key: CRC16 of its hash tag, or of all of it where it has none.

    The tag is what stands between the first ``{`` and the next ``}``, unless that is nothing.

    Args:
        key: The key.
    """
    _, opening, behind = key.partition(b"{")
    tag, closing, _ = behind.partition(b"}")
    return binascii.crc_hqx(tag if opening and closing and tag else key, 0) % SLOTS


def share_slot(*keys: bytes) -> bool:
    """Tell whether all keys are in one slot, so that one script may touch them.

    Args:
        keys: The keys.
    """
    return len(set(map(slot_of, keys))) <= 1
