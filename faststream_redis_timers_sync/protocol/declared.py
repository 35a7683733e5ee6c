"""Declared series: an application declares its series, and they are created, updated and removed.

An index per owner lists them, to find those that are no longer declared. It is a separate key, so
each step is a separate call. It is written before the timers and cleared after them: it may name
a series that does not exist, but names each that exists.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from faststream_redis_timers_sync.protocol.errors import TimersError
from faststream_redis_timers_sync.protocol.keys import encode_known_id, plain_text
from faststream_redis_timers_sync.protocol.listing import make_timer, read_timers
from faststream_redis_timers_sync.protocol.model import EncodedTimer, EnsuredSeries, Series, Timer
from faststream_redis_timers_sync.protocol.operation import (
    MOST_CHANGED,
    Operation,
    Steps,
    command,
    in_chunks,
)
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.recurrence import BEGIN, REPEAT_OWNER, Repeat
from faststream_redis_timers_sync.protocol.timers import first_due

_T = TypeVar("_T")

Name = tuple[str, str]
"""Full topic and timer id of a series."""

Declared = Sequence[tuple[str, EncodedTimer]]
"""Series ready to be scheduled, each with its full topic."""


def check_series(series: Iterable[Series]) -> list[Series]:
    """Refuse a value that is not a list of series.

    Args:
        series: The value.

    Returns:
        The series.

    Raises:
        TypeError: It is not.
    """
    if isinstance(series, (str, bytes, Series)) or not isinstance(series, Iterable):
        msg = f"series must be a list of Series, got a value of type {type(series).__name__}"
        raise TypeError(msg)
    several = list(series)
    for position, one in enumerate(several):
        if not isinstance(one, Series):
            # The value may be a message, and secret.
            msg = f"series[{position}] must be a Series, got a value of type {type(one).__name__}"
            raise TypeError(msg)
    return several


def ensure_series(
    operations: Operations, declared: Declared, *, owner: str, prefix: str, prune: bool
) -> Steps[EnsuredSeries]:
    """Create and update the series that an owner declares; find, or cancel, its former ones.

    Args:
        operations: Makes the calls.
        declared: The series, with the owner's name in their payloads.
        owner: The name of the owner, its prefix included.
        prefix: The prefix of its topics and of its name.
        prune: Whether to cancel the owner's series that are not among them.

    Returns:
        Steps that return what was done. They may be repeated as a whole, wherever they ended.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The owner is empty, a series is declared twice, or a topic can't have keys.
    """
    index = operations.keys.series_of(owner)
    if not isinstance(prune, bool):
        msg = f"prune must be True or False, got {prune!r}"
        raise TypeError(msg)
    return _ensure(
        operations, index, _by_topic(operations, declared), owner=owner, prefix=prefix, prune=prune
    )


def compare_series(
    operations: Operations, declared: Declared, *, owner: str, prefix: str
) -> Steps[EnsuredSeries]:
    """Return what `ensure_series` would do; nothing is changed.

    Args:
        operations: Makes the calls.
        declared: The series.
        owner: As in `ensure_series`.
        prefix: As in `ensure_series`.

    Returns:
        Steps that return it.

    Raises:
        TypeError: As `ensure_series`.
        ValueError: As `ensure_series`.
    """
    index = operations.keys.series_of(owner)
    return _compare(operations, index, _by_topic(operations, declared), owner=owner, prefix=prefix)


def _by_topic(operations: Operations, declared: Declared) -> dict[str, dict[str, EncodedTimer]]:
    by_topic: dict[str, dict[str, EncodedTimer]] = {}
    for topic, timer in declared:
        operations.keys.of(topic)
        timers = by_topic.setdefault(topic, {})
        if timer.timer_id in timers:
            msg = f"series declare timer_id {timer.timer_id!r} of topic {topic!r} twice"
            raise ValueError(msg)
        if timer.repeat is not None:
            # What this machine can't compute is refused before anything is written.
            timer.repeat.after(BEGIN)
        timers[timer.timer_id] = timer
    return by_topic


def _ensure(
    operations: Operations,
    index: bytes,
    by_topic: dict[str, dict[str, EncodedTimer]],
    *,
    owner: str,
    prefix: str,
    prune: bool,
) -> Steps[EnsuredSeries]:
    names = [(topic, timer_id) for topic, timers in by_topic.items() for timer_id in timers]
    yield from _add(index, names)
    result = EnsuredSeries()
    errors = []
    for topic, timers in by_topic.items():
        try:
            yield from _ensure_topic(operations, topic, timers, result)
        except TimersError as error:
            # A topic may be torn, and those behind it are to have their series nevertheless.
            errors.append(error)
    indexed = yield _list(operations, index)
    # Another process that prunes may have cleared them before their timers existed.
    yield from _add(index, [name for name in names if name not in indexed])
    if errors:
        raise errors[0]
    stale = _not_declared(indexed, names, prefix)
    removed = yield from _still_owned(operations, stale, owner)
    result.removed.extend(removed)
    if prune:
        yield from _cancel(operations, removed, owner)
        yield from _drop(index, list(stale.values()))
        # Another process may declare one again meanwhile. Series that it has scheduled by now are
        # in no index; later ones it adds there.
        yield from _cancel(operations, stale, owner)
    return result


def _ensure_topic(
    operations: Operations, topic: str, timers: dict[str, EncodedTimer], result: EnsuredSeries
) -> Steps[None]:
    now = yield operations.server_time(topic)
    several = [first_due(timer, now) for timer in timers.values()]
    reply = b""
    for call in operations.schedule_calls(topic, several, "update"):
        reply += yield _repeatable(call)
    for timer_id, outcome in zip(timers, reply, strict=True):
        lists = {ord("1"): result.created, ord("c"): result.changed}
        lists.get(outcome, result.unchanged).append((topic, timer_id))
    found = yield from _read(operations, topic, timers)
    result.skipping.extend(
        (yield from _find_skipping(operations, topic, timers.values(), found, now))
    )


def _not_declared(
    indexed: dict[Name, bytes], names: Iterable[Name], prefix: str
) -> dict[Name, bytes]:
    # Prefix "a-" with owner "b-c" has the index of prefix "a-b-" with owner "c".
    declared = set(names)
    return {
        name: field
        for name, field in indexed.items()
        if name not in declared and name[0].startswith(prefix)
    }


def _compare(
    operations: Operations,
    index: bytes,
    by_topic: dict[str, dict[str, EncodedTimer]],
    *,
    owner: str,
    prefix: str,
) -> Steps[EnsuredSeries]:
    result = EnsuredSeries()
    for topic, timers in by_topic.items():
        found = yield from _read(operations, topic, timers)
        for timer_id, timer in timers.items():
            present = found[timer_id]
            if present is None:
                result.created.append((topic, timer_id))
            elif present.repeat != timer.repeat:
                result.changed.append((topic, timer_id))
            elif _contents(present) != _contents(_as_read(topic, timer)):
                result.updated.append((topic, timer_id))
            else:
                result.unchanged.append((topic, timer_id))
        result.skipping.extend(
            (yield from _find_skipping(operations, topic, timers.values(), found, None))
        )
    indexed = yield _list(operations, index)
    names = [(topic, timer_id) for topic, timers in by_topic.items() for timer_id in timers]
    stale = _not_declared(indexed, names, prefix)
    result.removed.extend((yield from _still_owned(operations, stale, owner)))
    return result


def _as_read(topic: str, timer: EncodedTimer) -> Timer:
    return make_timer(topic, encode_known_id(timer.timer_id), b"0", timer.payload)


def _contents(timer: Timer) -> tuple[bytes, Mapping[str, str]]:
    return timer.body, timer.headers


def _read(
    operations: Operations, topic: str, timer_ids: Iterable[str]
) -> Steps[dict[str, Timer | None]]:
    ids = {timer_id: encode_known_id(timer_id) for timer_id in timer_ids}
    found = yield from read_timers(operations.keys, topic, list(ids.values()))
    return dict(zip(ids, found, strict=True))


def _find_skipping(
    operations: Operations,
    topic: str,
    timers: Iterable[EncodedTimer],
    found: dict[str, Timer | None],
    now: datetime | None,
) -> Steps[list[Name]]:
    """Find series that skip occurrences, as after the server's clock was ahead.

    A series that was rescheduled, or waits for a retry, is due at a time that its definition does
    not have; so these have a due time of the definition that is not the next one.
    """
    suspects = [
        (present, timer.repeat)
        for timer in timers
        if (present := found[timer.timer_id]) is not None
        and timer.repeat is not None
        and present.repeat == timer.repeat
        and not present.running
        and not present.paused
        and (now is None or _skips(present, timer.repeat, now))
    ]
    if not suspects:
        return []
    # The time before they were read may be that before an occurrence.
    now = yield operations.server_time(topic)
    return [
        (topic, present.timer_id) for present, repeat in suspects if _skips(present, repeat, now)
    ]


def _skips(timer: Timer, repeat: Repeat, now: datetime) -> bool:
    following = repeat.after(now)
    return (
        following is not None
        and timer.due_at > following
        and repeat.at_or_before(timer.due_at) == timer.due_at
    )


def _still_owned(operations: Operations, names: Iterable[Name], owner: str) -> Steps[list[Name]]:
    by_topic: dict[str, list[str]] = {}
    for topic, timer_id in sorted(names):
        by_topic.setdefault(topic, []).append(timer_id)
    owned = []
    for topic, timer_ids in by_topic.items():
        found = yield from _read(operations, topic, timer_ids)
        owned += [
            (topic, timer_id)
            for timer_id, timer in found.items()
            if timer is not None
            and timer.repeat is not None
            and timer.headers.get(REPEAT_OWNER) == owner
        ]
    return owned


def _cancel(operations: Operations, names: Iterable[Name], owner: str) -> Steps[None]:
    for topic, timer_id in names:
        yield _repeatable(operations.prune(topic, timer_id, owner))


def _repeatable(operation: Operation[_T]) -> Operation[_T]:
    # A second time it finds what the first one has left, and changes nothing.
    return operation._replace(may_repeat=True)


# --- the index: field = topic and id as a JSON list, value = nothing yet


def _add(index: bytes, names: Sequence[Name]) -> Steps[None]:
    for some in in_chunks(names, MOST_CHANGED):
        words = [word for name in some for word in (_write_name(name), b"")]
        yield _call(b"HSET", index, *words, parse=bool)


def _drop(index: bytes, fields: Sequence[bytes]) -> Steps[None]:
    for some in in_chunks(fields, MOST_CHANGED):
        yield _call(b"HDEL", index, *some, parse=bool)


def _list(operations: Operations, index: bytes) -> Operation[dict[Name, bytes]]:
    def parse(fields: Iterable[bytes]) -> dict[Name, bytes]:
        names = {}
        for field in fields:
            # This version can't remove a series that was written by hand or by a later version.
            with suppress(TypeError, ValueError):
                topic, timer_id = json.loads(field)
                operations.keys.of(topic)
                names[topic, plain_text("timer_id", timer_id)] = field
        return names

    return _call(b"HKEYS", index, parse=parse)


def _call(*words: bytes, parse: Callable[[Any], _T]) -> Operation[_T]:
    # Each of them may be repeated: it changes nothing a second time. No replica is waited for: a
    # field that a failover loses is written again by the next start that declares it.
    return command(*words, parse=parse, keys=words[1:2], may_repeat=True)


def _write_name(name: Name) -> bytes:
    return json.dumps(name, ensure_ascii=False, separators=(",", ":")).encode()
