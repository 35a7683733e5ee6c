"""Every operation on timers, once: what is sent, and what the reply means.

An `Operation` is a value that has not been sent yet. What needs several calls
is a generator: it yields operations and is sent their results. One that lists
timers yields lists of them in between; any other returns its result.
"""

import hashlib
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from faststream_redis_timers_sync.protocol.dead_letters import read_dead_letter
from faststream_redis_timers_sync.protocol.envelope import (
    Envelope,
    HeaderValue,
    read_envelope,
    write_envelope,
)
from faststream_redis_timers_sync.protocol.errors import (
    EnvelopeError,
    TimerExistsError,
    TimerOutcomeUnknownError,
)
from faststream_redis_timers_sync.protocol.keys import (
    KeySpace,
    decode_id,
    encode_known_id,
    encode_text,
)
from faststream_redis_timers_sync.protocol.model import (
    Claimed,
    EncodedTimer,
    IfExists,
    Settlement,
    Step,
    Timer,
    TimerPublishMessage,
)
from faststream_redis_timers_sync.protocol.times import (
    ask_due,
    is_lease,
    score_bound,
    seconds_text,
    time_of,
)

MOST_READ = 500
"""Timers that one script call reads: Lua's unpack fails at 8,000, and 1,000 take 4 to 10 ms."""

MOST_CHANGED = 200
"""Timers that one script call schedules, moves, cancels or settles: where a million wait, 500
take up to 9 ms, in which the server serves nobody else."""

SCAN_STEP = 1000
"""Timers that one step of a scan looks at (ZSCAN's COUNT) where few match: 0.2 ms."""

DENSE_STEP = 200
"""The same where many match: each of these takes 3 microseconds more."""

MOST_CLAIMED = 100
"""Timers in one claim, so that its reply stays small."""

PAYLOAD_BUDGET = 512 * 1024
"""Bytes of payloads in one reply, or one call; a single larger payload still fits. A mebibyte
takes Redis 8.0 up to 8 ms, in which it serves nobody else."""

LEASE_JITTER = 10_000
"""Microseconds, exclusive: what is added to a lease lies below it."""

Fate = Literal["moved", "waiting", "running", "no dead letter", "unknown"]
"""What became of a dead letter that was to be put back: it stays where a timer of its old id
waits, or where a handler runs with it; unknown means that it wasn't there."""

_FATES: dict[str, Fate] = {"1": "moved", "w": "waiting", "r": "running", "0": "unknown"}

_T = TypeVar("_T")


class Script(NamedTuple):
    """A Lua script.

    Args:
        name: Its file's name, without the ending.
        text: What is sent with EVAL.
        sha: SHA-1 of the text, sent with EVALSHA.
    """

    name: str
    text: bytes
    sha: bytes


@cache
def load_script(name: str) -> Script:
    """Read a script from the package, once.

    Args:
        name: Its file's name, without the ending.
    """
    folder = files(__package__) / "lua"
    text = b"\n".join((folder / f"{part}.lua").read_bytes() for part in ("_shared", name))
    sha = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    return Script(name, text, sha)


class Operation(NamedTuple, Generic[_T]):
    """A script call that has not been sent yet.

    Args:
        script: The script.
        keys: Its keys.
        args: Its other arguments.
        parse: Makes the result of the reply: undecoded bytes, or an int.
        action: What the caller asked for, for the error when a reply is lost.
            None for a read, which may simply be repeated.
        topic: The full topic.
        timer_ids: The ids concerned; empty where it is the whole topic.
    """

    script: Script
    keys: tuple[bytes, ...]
    args: Sequence[bytes]
    parse: Callable[[Any], _T]
    action: str | None = None
    topic: str = ""
    timer_ids: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Name script and keys; the arguments hold payloads, which may be secret."""
        return (
            f"{type(self).__name__}(script={self.script.name!r}, keys={self.keys!r}, "
            f"{len(self.args)} arguments)"
        )

    def pack(self, *, by_text: bool = False) -> list[bytes]:
        """Write the command as it goes over the wire, for redis-py's `send_packed_command`.

        redis-py would ask each argument for its type, which takes as long as all
        else that it does for a call; here all of them are bytes.

        Args:
            by_text: Bring the script's text (EVAL) instead of its name
                (EVALSHA), to which the server may answer NOSCRIPT.
        """
        words = self.words(by_text=by_text)
        parts = [b"*%d\r\n" % len(words)]
        parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
        return [b"".join(parts)]

    def words(self, *, by_text: bool) -> tuple[bytes, ...]:
        """Give the command word by word, for a pipeline.

        Args:
            by_text: As in `pack`.
        """
        script = self.script
        name, what = (b"EVAL", script.text) if by_text else (b"EVALSHA", script.sha)
        return (name, what, b"%d" % len(self.keys), *self.keys, *self.args)

    @property
    def is_confirmed(self) -> bool:
        """Whether replicas are waited for, where a front end asks for that.

        What changes timers for a caller is; what only reads is not, nor a worker's step: one
        that is lost in a failover delivers again, as after any lease.
        """
        return self.action is not None and self.action not in _UNCONFIRMED

    def outcome_unknown(self, error: BaseException) -> TimerOutcomeUnknownError | None:
        """Give the error that the caller must know of after a lost reply.

        Args:
            error: What sending or reading raised.

        Returns:
            None where the call may be repeated, or was refused for certain.
        """
        # A Sentinel's connection turns a replica's refusal into a lost reply, and
        # redis-py counts some answers of the server as errors of the connection.
        refused = (
            type(error.__context__).__name__ == "ReadOnlyError" or type(error).__name__ in _REFUSALS
        )
        if self.action is None or refused:
            return None
        return TimerOutcomeUnknownError(self.action, self.topic, self.timer_ids)


_UNCONFIRMED = frozenset({"claim", "settle", "read"})

_REFUSALS = {"AuthenticationError", "AuthorizationError", "BusyLoadingError"}

Steps = Generator[Operation[Any], Any, _T]
"""Several calls that together give one result."""

TimerPages = Generator[Operation[Any] | list[Timer], Any, None]
"""Several calls that give timers page by page."""


def new_timer_id() -> str:
    """Make an id: 22 characters, 128 random bits.

    It never begins with a dash, so that it can stand on a command line.
    """
    while (timer_id := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return timer_id


def encode_timer(  # noqa: PLR0913  a timer has that many properties
    body: bytes,
    content_type: str | None,
    *,
    timer_id: str | None = None,
    activate_in: timedelta | None = None,
    activate_at: datetime | None = None,
    default_delay: timedelta | None = None,
    correlation_id: str | None = None,
    headers: Mapping[str, HeaderValue] | None = None,
    reply_to: str = "",
) -> EncodedTimer:
    """Make a timer ready to be scheduled.

    Args:
        body: The encoded message.
        content_type: Its MIME type, None for bytes as they stand.
        timer_id: Its id; None makes a new one.
        activate_in: Delay until it is due, by the server's clock.
        activate_at: Time at which it is due, with a time zone.
        default_delay: Delay where neither is given; None means now.
        correlation_id: Its correlation id. The timer id is the default, and is
            not written twice.
        headers: Its headers.
        reply_to: Full topic for the handler's result.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The id is empty, a time can't be used, a header can't be written.
    """
    if timer_id is None:
        timer_id = new_timer_id()
    else:
        encode_text("timer_id", timer_id)
    due = ask_due(activate_in, activate_at, default_delay)
    payload = write_envelope(
        body,
        content_type=content_type,
        correlation_id=None if correlation_id in (None, "", timer_id) else correlation_id,
        reply_to=reply_to,
        headers=headers,
    )
    return EncodedTimer(timer_id, payload, due)


def encode_batch_item(  # noqa: PLR0913  a timer has that many properties
    message: TimerPublishMessage,
    body: bytes,
    content_type: str | None,
    *,
    activate_in: timedelta | None,
    activate_at: datetime | None,
    default_delay: timedelta | None,
    correlation_id: str | None,
    headers: Mapping[str, HeaderValue] | None,
    reply_to: str,
) -> EncodedTimer:
    """Make one timer of a batch: its own settings win over the batch's.

    Args:
        message: The message and its settings.
        body: The message, encoded.
        content_type: Its MIME type.
        activate_in: The batch's.
        activate_at: The batch's.
        default_delay: The batch's.
        correlation_id: The batch's.
        headers: The batch's.
        reply_to: The batch's.
    """
    if message.activate_in is not None or message.activate_at is not None:
        activate_in, activate_at = message.activate_in, message.activate_at
    return encode_timer(
        body,
        content_type,
        timer_id=message.timer_id,
        activate_in=activate_in,
        activate_at=activate_at,
        default_delay=default_delay,
        correlation_id=message.correlation_id or correlation_id,
        headers={**headers, **message.headers}
        if headers and message.headers
        else message.headers or headers,
        reply_to=reply_to,
    )


def as_publish_message(message: Any) -> TimerPublishMessage:
    """Give a message of a batch its settings, if it has none.

    Args:
        message: A message, or a `TimerPublishMessage`.
    """
    return message if isinstance(message, TimerPublishMessage) else TimerPublishMessage(message)


def refuse_publish_message(message: Any) -> None:
    """Refuse a message with settings of its own where only a batch looks at them.

    Args:
        message: The message.

    Raises:
        TypeError: It is a `TimerPublishMessage`: its time would be ignored.
    """
    if isinstance(message, TimerPublishMessage):
        msg = (
            "a TimerPublishMessage is for batches: give its body as the message, "
            "and its settings as arguments"
        )
        raise TypeError(msg)


def name_topic(error: Exception, topic: str) -> None:
    """Note on an encoder's error which topic the message was for.

    Args:
        error: The error.
        topic: The full topic.
    """
    error.add_note(f"while encoding a message for topic {topic!r}")


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations on the timers of one key space.

    Topics are full ones everywhere: prefixes are in front of them already.

    Args:
        keys: The names of the keys.
    """

    keys: KeySpace

    def schedule(
        self, topic: str, timer: EncodedTimer, if_exists: IfExists = "replace"
    ) -> Operation[None]:
        """Schedule a timer.

        Args:
            topic: The full topic.
            timer: The timer.
            if_exists: What to do where a timer of that id waits already.

        Raises:
            ValueError: `if_exists` is none of its three words.
            TimerExistsError: From the reply, with ``if_exists="error"``.
        """
        return self._schedule(topic, (timer,), if_exists)

    def schedule_batch(
        self, topic: str, timers: Sequence[EncodedTimer], if_exists: IfExists = "replace"
    ) -> Steps[None]:
        """Schedule any number of timers; each call is atomic.

        A call holds up to `MOST_CHANGED` of them and up to `PAYLOAD_BUDGET` bytes.

        Args:
            topic: The full topic.
            timers: The timers.
            if_exists: What to do where timers of those ids wait already.

        Raises:
            ValueError: An id occurs twice, or `if_exists` is none of its words.
            TimerExistsError: From a reply, with ``if_exists="error"``; the timers
                of that call are not scheduled, nor those after them.
        """
        seen = set()
        for timer in timers:
            if timer.timer_id in seen:
                msg = f"timer_id {timer.timer_id!r} occurs twice in one batch"
                raise ValueError(msg)
            seen.add(timer.timer_id)
        return _run_each([self._schedule(topic, some, if_exists) for some in _in_calls(timers)])

    def _schedule(
        self, topic: str, timers: Sequence[EncodedTimer], if_exists: IfExists
    ) -> Operation[None]:
        if if_exists not in {"replace", "keep", "error"}:
            msg = f'if_exists must be "replace", "keep" or "error", got {if_exists!r}'
            raise ValueError(msg)
        args = [if_exists.encode()]
        for timer in timers:
            args += (timer.timer_id.encode(), timer.payload, timer.due)
        timer_ids = tuple(timer.timer_id for timer in timers)

        def parse(reply: bytes) -> None:
            if reply.startswith(b"E"):
                raise TimerExistsError(topic, timer_ids[int(reply[1:]) - 1])

        return Operation(
            load_script("schedule"),
            self.keys.of(topic),
            args,
            parse,
            "schedule",
            topic,
            timer_ids,
        )

    def reschedule(
        self,
        topic: str,
        timer_id: str,
        *,
        activate_in: timedelta | None,
        activate_at: datetime | None,
    ) -> Operation[bool]:
        """Move a timer to another due time.

        Args:
            topic: The full topic.
            timer_id: Its id.
            activate_in: Delay until it is due, by the server's clock.
            activate_at: Time at which it is due, with a time zone.

        Returns:
            An operation that tells whether the timer existed, running or not.

        Raises:
            TypeError: Neither time was given, or one of a wrong type.
            ValueError: Both were given, or one can't be used.
        """
        if activate_in is None and activate_at is None:
            msg = "rescheduling needs activate_in or activate_at"
            raise TypeError(msg)
        return Operation(
            load_script("reschedule"),
            self.keys.of(topic),
            (_known(timer_id), ask_due(activate_in, activate_at)),
            _is_one,
            "reschedule",
            topic,
            (timer_id,),
        )

    def cancel(self, topic: str, timer_id: str) -> Operation[bool]:
        """Cancel a timer.

        Args:
            topic: The full topic.
            timer_id: Its id.

        Returns:
            An operation that tells whether the timer was waiting. False means
            that it ran at this moment, or is unknown.
        """
        return Operation(
            load_script("cancel"),
            self.keys.of(topic),
            (_known(timer_id),),
            _was_waiting,
            "cancel",
            topic,
            (timer_id,),
        )

    def cancel_many(self, topic: str, timer_ids: Iterable[str]) -> Steps[int]:
        """Cancel timers by id, up to `MOST_CHANGED` in one call.

        Args:
            topic: The full topic.
            timer_ids: Their ids.

        Returns:
            Steps that count those that were waiting.
        """
        # An id that is given twice counts once.
        unique = {timer_id: _known(timer_id) for timer_id in _several(timer_ids)}
        calls = [
            Operation(
                load_script("cancel"),
                self.keys.of(topic),
                [unique[timer_id] for timer_id in some],
                _count_waiting,
                "cancel",
                topic,
                tuple(some),
            )
            for some in in_chunks(unique, MOST_CHANGED)
        ]
        return _add_up(calls)

    def cancel_all(self, topic: str) -> Operation[int]:
        """Cancel all timers of a topic, running ones too.

        Args:
            topic: The full topic.

        Returns:
            An operation that counts them.
        """
        return Operation(
            load_script("cancel_all"), self.keys.of(topic), (), int, "cancel all", topic
        )

    def redrive(self, dead_topic: str, timer_ids: Iterable[str] | None = None) -> Steps[int]:
        """Put dead letters back into the topics that they come from, due now.

        A dead letter stays where a timer of its old id waits, and so do those that a
        handler holds, and timers that are no dead letters.

        Args:
            dead_topic: The full topic for dead letters.
            timer_ids: Their ids there; None means all that there are now.

        Returns:
            Steps that count those that were put back.
        """
        if timer_ids is None:
            return self._redrive_all(dead_topic)
        ids = dict.fromkeys(_known(timer_id) for timer_id in _several(timer_ids))
        return self._redrive_some(dead_topic, list(ids))

    def _redrive_all(self, dead_topic: str) -> Steps[int]:
        keys = self.keys.of(dead_topic)[:2]
        # What comes meanwhile, maybe the very same again, is left for the next time.
        left = yield self.count(dead_topic)
        count = 0
        pages = _pages(keys, b"-inf", b"+inf")
        reply = None
        while left > 0:
            try:
                page = pages.send(reply)
            except StopIteration:
                break
            if isinstance(page, Operation):
                reply = yield page
                continue
            reply = None
            ids = [timer_id for timer_id, _ in page[:left]]
            left -= len(ids)
            count += yield from self._redrive_some(dead_topic, ids)
        return count

    def _redrive_some(self, dead_topic: str, ids: list[bytes]) -> Steps[int]:
        count = 0
        while ids:
            fates, moved = yield from self._redrive_first(dead_topic, ids, _count_ones)
            count += sum(each for _, each in moved)
            ids = ids[len(fates) :]
        return count

    def redrive_first(self, dead_topic: str, ids: list[bytes]) -> Steps[list[Fate]]:
        """Put the first of some dead letters back, as many as fit the limits of a call.

        Args:
            dead_topic: The full topic for dead letters.
            ids: Their ids there, as they stand in the keys, each once.

        Returns:
            Steps that tell what became of the first ids, of one at least.
        """
        fates, answers = yield from self._redrive_first(dead_topic, ids, _parse_fates)
        for some, answer in answers:
            fates.update(zip(some, answer, strict=True))
        return list(fates.values())

    def _redrive_first(
        self, dead_topic: str, ids: list[bytes], parse: Callable[[bytes], _T]
    ) -> Steps[tuple[dict[bytes, Fate], list[tuple[list[bytes], _T]]]]:
        """Give what is known before of the first ids, and each call's ids with its result."""
        keys = self.keys.of(dead_topic)
        entries = yield _get_entries(keys[:2], ids[:MOST_CHANGED])
        fates: dict[bytes, Fate] = {}
        letters: dict[str, list[bytes]] = {}
        for dead_id, entry in zip(ids, entries, strict=False):
            fates[dead_id] = "unknown" if entry is None else "no dead letter"
            origin = entry and read_dead_letter(dead_id, entry[1])
            if entry and origin and (origin.topic, origin.timer_id) != (dead_topic, dead_id):
                words = letters.setdefault(origin.topic, [])
                words += (dead_id, entry[0], origin.timer_id, origin.payload)
        results = []
        for topic, words in letters.items():
            result = yield Operation(
                load_script("redrive"),
                (*keys, *self.keys.of(topic)),
                words,
                parse,
                "redrive",
                dead_topic,
                tuple(map(decode_id, words[::4])),
            )
            results.append((words[::4], result))
        return fates, results

    def has_pending(self, topic: str, timer_id: str) -> Operation[bool]:
        """Tell whether a timer is pending, waiting or running.

        Args:
            topic: The full topic.
            timer_id: Its id.
        """
        return Operation(load_script("exists"), self.keys.of(topic)[:2], (_known(timer_id),), bool)

    def count(self, topic: str) -> Operation[int]:
        """Count the pending timers of a topic, running ones too.

        Args:
            topic: The full topic.
        """
        return Operation(load_script("count"), self.keys.of(topic)[:2], (), int)

    def get(self, topic: str, timer_id: str) -> Operation[Timer | None]:
        """Read a timer.

        Args:
            topic: The full topic.
            timer_id: Its id.
        """
        encoded = _known(timer_id)

        def parse(reply: bytes) -> Timer | None:
            return _parse_timers(topic, [encoded], reply)[0]

        return Operation(load_script("get"), self.keys.of(topic)[:2], (_BUDGET, encoded), parse)

    def iterate(
        self,
        topic: str,
        *,
        match: str | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
        bodies: bool = True,
    ) -> TimerPages:
        """Read the pending timers of a topic, running ones too, page by page.

        Args:
            topic: The full topic.
            match: Glob pattern (as Redis') for ids. With it the order is none,
                and a timer may come twice while the topic changes its size.
            after: Only timers due after this time.
            before: Only timers due at this time or before it.
            bodies: Whether to read bodies and headers.

        Returns:
            Pages of timers in order of due time.
        """
        lowest = score_bound("after", after, b"-inf")
        highest = score_bound("before", before, b"+inf")
        keys = self.keys.of(topic)[:2]
        if match is None:
            pages = _pages(keys, lowest, highest)
        else:
            pages = _scans(keys, encode_text("match", match), float(lowest), float(highest))
        return _timers(topic, keys, pages, bodies=bodies)

    def settle_and_claim(  # noqa: PLR0913  the parts of a step
        self,
        topic: str,
        settlements: Sequence[Settlement],
        *,
        limit: int,
        lease_ttl: float,
        jitter: int,
        suspect_from: int | None = None,
        most_suspects: int = MOST_CLAIMED,
        dead_topic: str | None = None,
    ) -> Operation[Step]:
        """Make a worker's step: settle what has ended, claim what is due.

        Args:
            topic: The full topic.
            settlements: What becomes of timers claimed before, up to
                `MOST_CHANGED`.
            limit: How many timers to claim at most, from 0 to 100.
            lease_ttl: How long the lease lasts, in seconds.
            jitter: Microseconds to add to it, random and below `LEASE_JITTER`.
            suspect_from: Count attempts; from this one on a timer whose lease was
                lost is suspected of killing its workers. None does not count, and
                suspects each timer whose lease was lost.
            most_suspects: How many suspects to claim at most.
            dead_topic: The full topic for dead letters, where a settlement makes one.
        """
        args = [b"%d" % limit, seconds_text(lease_ttl), b"%d" % jitter, _BUDGET]
        args += (b"" if suspect_from is None else b"%d" % suspect_from, b"%d" % most_suspects)
        for settlement in settlements:
            args += settlement
        keys = self.keys.of(topic)
        return Operation(
            load_script("settle_and_claim"),
            keys if dead_topic is None else (*keys, *self.keys.of(dead_topic)[:2]),
            args,
            _parse_step if suspect_from is None else _parse_counted_step,
            # A claim that is repeated leases a second batch. Settlements may be
            # repeated, but their outcome then means something else.
            "claim" if limit else "settle" if settlements else None,
            topic,
        )


_BUDGET = b"%d" % PAYLOAD_BUDGET


def in_chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Give items in lists of a size, as they come.

    Args:
        items: The items.
        size: How many a list holds; the last may be shorter.
    """
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk


def _in_calls(timers: Iterable[EncodedTimer]) -> Iterator[list[EncodedTimer]]:
    for some in in_chunks(timers, MOST_CHANGED):
        call: list[EncodedTimer] = []
        size = 0
        for timer in some:
            size += len(timer.payload)
            if call and size > PAYLOAD_BUDGET:
                yield call
                call, size = [], len(timer.payload)
            call.append(timer)
        yield call


def _run_each(calls: list[Operation[None]]) -> Steps[None]:
    yield from calls


def _add_up(calls: list[Operation[int]]) -> Steps[int]:
    total = 0
    for call in calls:
        total += yield call
    return total


def _several(timer_ids: Iterable[str]) -> Iterable[str]:
    if isinstance(timer_ids, (str, bytes)):
        msg = f"timer_ids must be several ids, got the single {timer_ids!r}"
        raise TypeError(msg)
    return timer_ids


def _known(timer_id: str) -> bytes:
    if not timer_id:
        encode_text("timer_id", timer_id)
    return encode_known_id(timer_id)


def _is_one(reply: bytes) -> bool:
    return reply == b"1"


def _was_waiting(reply: bytes) -> bool:
    return reply == b"w"


def _count_waiting(reply: bytes) -> int:
    return reply.count(b"w")


def _count_ones(reply: bytes) -> int:
    return reply.count(b"1")


def _parse_fates(reply: bytes) -> list[Fate]:
    return [_FATES[character] for character in reply.decode()]


_Entries = Generator[Operation[Any] | list[tuple[bytes, bytes]], Any, None]
"""Calls, and in between lists of timers as (id, score)."""


def _split(reply: bytes) -> tuple[list[bytes], bytes]:
    line, _, rest = reply.partition(b"\n")
    return line.split(b" "), rest


def parse_entries(reply: bytes) -> tuple[bytes, list[tuple[bytes, bytes, bool]]]:
    """Read the reply of `page` or `scan`.

    Args:
        reply: The reply.

    Returns:
        Its first word, and (id, score, whether there is a payload) of each entry.
    """
    words, ids = _split(reply)
    entries = []
    position = 0
    for score, length in zip(words[1::2], words[2::2], strict=True):
        end = position + abs(int(length))
        entries.append((ids[position:end], score, int(length) > 0))
        position = end
    return words[0], entries


def _pages(keys: tuple[bytes, ...], lowest: bytes, highest: bytes) -> _Entries:
    script = load_script("page")
    score = timer_id = b""
    more = b"1"
    while more == b"1":
        args = (b"%d" % MOST_READ, highest, lowest, score, timer_id)
        more, entries = yield Operation(script, keys, args, parse_entries)
        yield [(found, at) for found, at, has_payload in entries if has_payload]
        if entries:
            timer_id, score, _ = entries[-1]


def _scans(keys: tuple[bytes, ...], pattern: bytes, lowest: float, highest: float) -> _Entries:
    script = load_script("scan")
    cursor = b""
    count = DENSE_STEP
    while cursor != b"0":
        args = (cursor or b"0", pattern, b"%d" % count)
        cursor, entries = yield Operation(script, keys, args, parse_entries)
        count = SCAN_STEP if 10 * len(entries) < count else DENSE_STEP
        yield [
            (timer_id, score) for timer_id, score, _ in entries if lowest < float(score) <= highest
        ]


def _timers(topic: str, keys: tuple[bytes, ...], pages: _Entries, *, bodies: bool) -> TimerPages:
    reply = None
    while True:
        try:
            page = pages.send(reply)
        except StopIteration:
            return
        if isinstance(page, Operation):
            reply = yield page
            continue
        reply = None
        if not bodies:
            yield [make_timer(topic, timer_id, score) for timer_id, score in page]
            continue
        ids = [timer_id for timer_id, _ in page]
        while ids:
            timers = yield _get_some(topic, keys, ids)
            yield [timer for timer in timers if timer is not None]
            ids = ids[len(timers) :]


def _get_some(
    topic: str, keys: tuple[bytes, ...], ids: list[bytes]
) -> Operation[list[Timer | None]]:
    ids = ids[:MOST_READ]

    def parse(reply: bytes) -> list[Timer | None]:
        return _parse_timers(topic, ids, reply)

    return Operation(load_script("get"), keys, [_BUDGET, *ids], parse)


def _get_entries(
    keys: tuple[bytes, ...], ids: list[bytes]
) -> Operation[list[tuple[bytes, bytes] | None]]:
    return Operation(load_script("get"), keys, [_BUDGET, *ids], _parse_entries)


def _parse_timers(topic: str, ids: list[bytes], reply: bytes) -> list[Timer | None]:
    # The reply may stop early, at the byte budget.
    entries = zip(ids, _parse_entries(reply), strict=False)
    return [entry and make_timer(topic, timer_id, *entry) for timer_id, entry in entries]


def _parse_entries(reply: bytes) -> list[tuple[bytes, bytes] | None]:
    """Read the reply of `get`: score and payload of each timer, None for one that is absent."""
    words, payloads = _split(reply)
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
        payload: The payload; None where it was not asked for.
    """
    if payload is None:
        envelope = Envelope(b"", {})
    else:
        try:
            envelope = read_envelope(payload)
        except EnvelopeError:
            # Who looks at a broken timer wants to see what is there.
            envelope = Envelope(payload, {})
    shown_id = decode_id(timer_id)
    return Timer(
        topic=topic,
        timer_id=shown_id,
        due_at=time_of(float(score)),
        running=is_lease(float(score)),
        body=envelope.body,
        content_type=envelope.headers.get("content-type"),
        headers=envelope.headers,
        correlation_id=envelope.headers.get("correlation_id", shown_id),
    )


def _parse_step(reply: bytes) -> Step:
    words, data = _split(reply)
    return _read_step(words, data, words_each=3)


def _parse_counted_step(reply: bytes) -> Step:
    words, data = _split(reply)
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
    )
