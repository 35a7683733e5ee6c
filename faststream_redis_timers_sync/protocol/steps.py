"""The steps of workers: what their replies mean, and their bounds."""

from faststream_redis_timers_sync.protocol.model import Claimed, Step
from faststream_redis_timers_sync.protocol.operation import split_reply

MOST_CLAIMED = 100
"""Timers in one claim, so that its reply stays small."""

LEASE_JITTER = 10_000
"""Microseconds, exclusive: what is added to a lease lies below it."""


def parse_step(reply: bytes) -> Step:
    """Read the reply of `settle_and_claim` where attempts are not counted.

    Args:
        reply: The reply.
    """
    words, data = split_reply(reply)
    return _read_step(words, data, words_each=3)


def parse_counted_step(reply: bytes) -> Step:
    """Read the reply of `settle_and_claim` where attempts are counted.

    Args:
        reply: The reply.
    """
    words, data = split_reply(reply)
    return _read_step(words, data, words_each=5)


def _read_step(words: list[bytes], data: bytes, words_each: int) -> Step:
    now, lease, head, outcomes, count = words[:5]
    claimed = []
    position = 0
    stop = 5 + words_each * int(count)
    for i in range(5, stop, words_each):
        middle = position + int(words[i])
        end = middle + int(words[i + 1])
        timer = Claimed(data[position:middle], data[middle:end], words[i + 2])
        if words_each > 3:  # noqa: PLR2004  without count and first due time
            timer = timer._replace(attempt=int(words[i + 3]), first_due=words[i + 4])
        claimed.append(timer)
        position = end
    orphans = []
    for length in words[stop:]:
        end = position + int(length)
        orphans.append(data[position:end])
        position = end
    return Step(
        float(now),
        lease,
        None if head == b"-" else float(head),
        b"" if outcomes == b"-" else outcomes,
        claimed,
        orphans,
        is_torn=lease == b"torn",
    )
