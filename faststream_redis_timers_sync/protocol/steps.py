"""The steps of workers: their bounds, and the meaning of their replies."""

from collections.abc import Callable
from functools import partial

from faststream_redis_timers_sync.protocol.model import Claimed, Step
from faststream_redis_timers_sync.protocol.operation import split_reply

MOST_CLAIMED = 100
"""Timers in one claim, so that its reply stays small."""

LEASE_JITTER = 10_000
"""Microseconds, exclusive: the jitter added to a lease is below it."""


def step_parser(*, is_counted: bool, has_roster: bool) -> Callable[[bytes], Step]:
    """Return the parser of a reply of `settle_and_claim`.

    Args:
        is_counted: Whether attempts are counted.
        has_roster: Whether it says how many workers there are.
    """
    return partial(_read_step, is_counted=is_counted, has_roster=has_roster)


def _read_step(reply: bytes, *, is_counted: bool, has_roster: bool) -> Step:
    words_each = 5 if is_counted else 3
    words, data = split_reply(reply)
    now, lease, head, outcomes = words[:4]
    roster = words[4:6] if has_roster else []
    on_duty, workers = map(_read_count, roster) if has_roster else (None, None)
    start = 7 if has_roster else 5
    claimed = []
    position = 0
    stop = start + words_each * int(words[start - 1])
    for i in range(start, stop, words_each):
        middle = position + int(words[i])
        end = middle + int(words[i + 1])
        timer_id, payload, score = data[position:middle], data[middle:end], words[i + 2]
        if is_counted:
            attempt = int(words[i + 3])
            claimed.append(Claimed(timer_id, payload, score, attempt, words[i + 4]))
        else:
            claimed.append(Claimed(timer_id, payload, score))
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
        may_count=b"-" not in roster,
        on_duty=on_duty,
        workers=workers,
    )


def _read_count(word: bytes) -> int | None:
    return int(word) if word.isdigit() else None
