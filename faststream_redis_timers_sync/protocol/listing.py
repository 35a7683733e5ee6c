"""Lists and reads timers, page by page."""

from collections.abc import Generator
from typing import Any

from faststream_redis_timers_sync.protocol.envelope import Envelope, read_envelope
from faststream_redis_timers_sync.protocol.errors import EnvelopeError
from faststream_redis_timers_sync.protocol.keys import KeySpace, decode_id
from faststream_redis_timers_sync.protocol.model import PAUSED, Timer
from faststream_redis_timers_sync.protocol.operation import (
    BUDGET_WORD,
    MOST_READ,
    Operation,
    Steps,
    TimerPages,
    reading,
    split_reply,
)
from faststream_redis_timers_sync.protocol.recurrence import REPEAT, read_repeat
from faststream_redis_timers_sync.protocol.times import is_lease, time_of

SCAN_STEP = 1000
"""Timers that one step of a scan looks at (ZSCAN's COUNT) where few match: 0.2 ms."""

DENSE_STEP = 200
"""The same where many match: each of these takes 3 microseconds more."""


def step_after(found: int, examined: int) -> int:
    """Return how many timers the next step of a scan looks at.

    Args:
        found: How many have matched.
        examined: Of how many.
    """
    return SCAN_STEP if 10 * found < examined else DENSE_STEP


Entries = Generator[Operation[Any] | list[tuple[bytes, bytes]], Any, None]
"""Calls, and in between lists of timers as (id, score)."""


def parse_entries(reply: bytes) -> tuple[bytes, list[tuple[bytes, bytes, bool]]]:
    """Read the reply of `page` or `scan`.

    Args:
        reply: The reply.

    Returns:
        Its first word, and (id, score, whether there is a payload) of each entry.
    """
    words, ids = split_reply(reply)
    entries = []
    position = 0
    for score, length in zip(words[1::2], words[2::2], strict=True):
        end = position + abs(int(length))
        entries.append((ids[position:end], score, int(length) > 0))
        position = end
    return words[0], entries


def pages_in_order(keys: KeySpace, topic: str, lowest: bytes, highest: bytes) -> Entries:
    """List timers in order of due time.

    Args:
        keys: The names of the keys.
        topic: The full topic.
        lowest: The lowest score, exclusive, or ``-inf``.
        highest: The highest score, or ``+inf``.

    Returns:
        Calls, and in between lists of timers as (id, score).
    """
    score = timer_id = b""
    more = b"1"
    while more == b"1":
        args = (b"%d" % MOST_READ, highest, lowest, score, timer_id)
        more, entries = yield reading("page", keys, topic, args, parse_entries)
        yield [(found, at) for found, at, has_payload in entries if has_payload]
        if entries:
            timer_id, score, _ = entries[-1]


def pages_of_matches(
    keys: KeySpace, topic: str, pattern: bytes, lowest: float, highest: float
) -> Entries:
    """List timers whose ids match a pattern, in no order.

    Args:
        keys: The names of the keys.
        topic: The full topic.
        pattern: A glob pattern, as in Redis.
        lowest: Only scores above this one.
        highest: Only scores up to this one.

    Returns:
        Calls, and in between lists of timers as (id, score).
    """
    cursor = b""
    count = DENSE_STEP
    while cursor != b"0":
        args = (cursor or b"0", pattern, b"%d" % count)
        cursor, entries = yield reading("scan", keys, topic, args, parse_entries)
        count = step_after(len(entries), count)
        yield [
            (timer_id, score) for timer_id, score, _ in entries if lowest < float(score) <= highest
        ]


def next_page(pages: Entries) -> Steps[list[tuple[bytes, bytes]] | None]:
    """Make the calls that bring the next list of timers.

    Args:
        pages: A result of `pages_in_order` or `pages_of_matches`.

    Returns:
        Steps that give the list, or None after the last one.
    """
    reply = None
    while True:
        try:
            page = pages.send(reply)
        except StopIteration:
            return None
        if not isinstance(page, Operation):
            return page
        reply = yield page


def pages_of_timers(keys: KeySpace, topic: str, pages: Entries, *, bodies: bool) -> TimerPages:
    """Read the timers of a list.

    Args:
        keys: The names of the keys.
        topic: The full topic.
        pages: The list.
        bodies: Whether to read bodies and headers.

    Returns:
        Calls, and in between lists of timers.
    """
    while (page := (yield from next_page(pages))) is not None:
        if not bodies:
            yield [make_timer(topic, timer_id, score) for timer_id, score in page]
            continue
        ids = [timer_id for timer_id, _ in page]
        while ids:
            timers = yield _get_some(keys, topic, ids)
            yield [timer for timer in timers if timer is not None]
            ids = ids[len(timers) :]


def read_timers(keys: KeySpace, topic: str, ids: list[bytes]) -> Steps[list[Timer | None]]:
    """Read timers by id.

    Args:
        keys: The names of the keys.
        topic: The full topic.
        ids: Ids as they stand in the keys, as many as there are.

    Returns:
        Steps that give them in this order, None if there is none.
    """
    found: list[Timer | None] = []
    while len(found) < len(ids):
        found += yield _get_some(keys, topic, ids[len(found) :])
    return found


def _get_some(keys: KeySpace, topic: str, ids: list[bytes]) -> Operation[list[Timer | None]]:
    ids = ids[:MOST_READ]

    def parse(reply: bytes) -> list[Timer | None]:
        return parse_timers(topic, ids, reply)

    return reading("get", keys, topic, [BUDGET_WORD, *ids], parse)


def get_entries(
    keys: KeySpace, topic: str, ids: list[bytes]
) -> Operation[list[tuple[bytes, bytes] | None]]:
    """Read scores and payloads.

    Args:
        keys: The names of the keys.
        topic: The full topic.
        ids: Ids as they stand in the keys, up to `MOST_READ`.

    Returns:
        An operation that gives (score, payload) of each, None if there is no timer; of
        the first ones only where payloads are large.
    """
    return reading("get", keys, topic, [BUDGET_WORD, *ids], _parse_entries)


def parse_timers(topic: str, ids: list[bytes], reply: bytes) -> list[Timer | None]:
    """Read the reply of `get`.

    Args:
        topic: The full topic.
        ids: The requested ids.
        reply: The reply.

    Returns:
        The timers, None if there is none; of the first ids only where payloads are large.
    """
    # The reply may stop early, at the byte budget.
    entries = zip(ids, _parse_entries(reply), strict=False)
    return [entry and make_timer(topic, timer_id, *entry) for timer_id, entry in entries]


def _parse_entries(reply: bytes) -> list[tuple[bytes, bytes] | None]:
    """Read the reply of `get`: score and payload of each timer, None for one that is absent."""
    words, payloads = split_reply(reply)
    entries: list[tuple[bytes, bytes] | None] = []
    position = 0
    for score, length in zip(words[::2], words[1::2], strict=True):
        if score == b"-":
            entries.append(None)
            continue
        end = position + int(length)
        entries.append((score, payloads[position:end]))
        position = end
    return entries


def make_timer(topic: str, timer_id: bytes, score: bytes, payload: bytes | None = None) -> Timer:
    """Make a timer of what Redis holds.

    Args:
        topic: The full topic.
        timer_id: The id.
        score: The score, as text.
        payload: The payload; None if it was not requested.
    """
    if payload is None:
        envelope = Envelope(b"", {})
    else:
        try:
            envelope = read_envelope(payload)
        except EnvelopeError:
            # Whoever inspects a broken timer wants to see its raw payload.
            envelope = Envelope(payload, {})
    shown_id = decode_id(timer_id)
    definition = envelope.headers.get(REPEAT)
    return Timer(
        topic=topic,
        timer_id=shown_id,
        due_at=time_of(float(score)),
        running=is_lease(float(score)),
        body=envelope.body,
        content_type=envelope.headers.get("content-type"),
        headers=envelope.headers,
        correlation_id=envelope.headers.get("correlation_id", shown_id),
        repeat=None if definition is None else read_repeat(definition),
        paused=definition is not None and float(score) == PAUSED,
    )
