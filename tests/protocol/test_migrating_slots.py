"""Scripts in a slot that moves key by key: each does all of its work, or nothing.

Whatever part of a topic's keys has moved, a call goes as a client sends it: to the source, and to
the target where that says ASK. Compared are reply and keys with those of a slot that stays.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from clusters import Cluster
from redis.exceptions import ResponseError
from replicated import binaries
from series import DAILY, HOURLY

from faststream_redis_timers_sync import protocol
from faststream_redis_timers_sync.protocol import management
from faststream_redis_timers_sync.protocol.dead_letters import Ending, write_dead_letter
from faststream_redis_timers_sync.protocol.envelope import write_envelope
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.listing import make_timer
from faststream_redis_timers_sync.protocol.model import PAUSED, EncodedTimer, Settlement
from faststream_redis_timers_sync.protocol.operation import Operation, Script, load_script
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.timers import encode_timer

KEYS = KeySpace(hash_tags=True)
TOPIC, DEAD = "t", "t:dead"
NAMES = (*KEYS.of(TOPIC), *KEYS.of(DEAD))
TIMELINE, PAYLOADS, ATTEMPTS, DEAD_TIMELINE, DEAD_PAYLOADS, DEAD_ATTEMPTS = NAMES
OPERATIONS = Operations(KEYS)

NOW = 1_800_000_000
DUE, LATER = b"%d.000000" % (NOW - 5), b"%d.000000" % (NOW + 500)
PAUSED_SCORE = b"%d" % PAUSED
LEASE, LOST = b"%d.0000005" % (NOW + 30), b"%d.0000005" % (NOW - 1)
COUNTED = b"2 %b %b" % (DUE, LEASE)
BODY = write_envelope(b"x")
HOUR = timedelta(hours=1)


def dead_letter_of(timer_id: bytes) -> tuple[bytes, bytes]:
    """Give the id and the payload of a dead letter."""
    ending = Ending(reason="attempts", topic=TOPIC, timer_id=timer_id, first_due=DUE)
    length, _, rest = write_dead_letter(BODY, ending).partition(b":")
    return rest[: int(length)], rest[int(length) :]


DEAD_LETTERS = dict(map(dead_letter_of, (b"a", b"b", b"c")))
SERIES, OTHERS_SERIES = (
    encode_timer(b"x", None, timer_id="a", repeat=repeat, repeat_owner="shop").payload
    for repeat in (HOURLY, DAILY)
)


# --- what a topic may hold ---------------------------------------------------------------


def topic_of(attempts: dict[bytes, bytes] | None = None, **scores: bytes) -> dict[bytes, Any]:
    """Give the keys of a topic with timers; those that begin with o have no payload."""
    ids = [name.encode() for name in scores]
    payloads = {one: BODY for one in ids if not one.startswith(b"o")}
    return {
        TIMELINE: dict(zip(ids, scores.values(), strict=True)),
        PAYLOADS: payloads,
        ATTEMPTS: attempts or {},
    }


def series_of(attempts: dict[bytes, bytes] | None = None, **scores: bytes) -> dict[bytes, Any]:
    """Give the keys of a topic with timers, of which that with the id "a" is a series."""
    held = topic_of(attempts, **scores)
    return {**held, PAYLOADS: {**held[PAYLOADS], b"a": SERIES}}


def dead_of(*dead_letters: bytes, attempts: dict[bytes, bytes] | None = None) -> dict[bytes, Any]:
    """Give the keys of a topic with dead letters."""
    return {
        DEAD_TIMELINE: dict.fromkeys(dead_letters, DUE),
        DEAD_PAYLOADS: {one: DEAD_LETTERS[one] for one in dead_letters},
        DEAD_ATTEMPTS: attempts or {},
    }


A, B, C = DEAD_LETTERS
CONTENTS = {
    "nothing": {},
    "the last one waits": topic_of(a=DUE),
    "the last one is due later": topic_of(a=LATER),
    "the last one is leased": topic_of(a=LEASE),
    "the last one is leased and counted": topic_of({b"a": COUNTED}, a=LEASE),
    "the last one is leased for the first time": topic_of(
        {b"a": b"1 %b %b" % (DUE, LEASE)}, a=LEASE
    ),
    "the last one had a lease": topic_of({b"a": b"2 %b %b" % (DUE, LOST)}, a=LOST),
    "some": topic_of(a=LEASE, b=DUE, c=LATER, d=LOST),
    "some counted": topic_of({b"a": COUNTED}, a=LEASE, b=DUE, c=LATER, d=LOST),
    "others counted": topic_of({b"z": COUNTED}, a=LEASE, b=DUE),
    "without payloads beside": topic_of({b"a": COUNTED}, a=LEASE, o=DUE, oo=DUE),
    "a single one without payload beside": topic_of(a=LEASE, o=DUE),
    "without payloads alone": {TIMELINE: {b"o": DUE}, PAYLOADS: {b"z": BODY}, ATTEMPTS: {}},
    "a dead letter": {**topic_of(b=DUE), **dead_of(A)},
    "the last dead letter, counted": {
        **topic_of({b"a": COUNTED}, a=LEASE),
        **dead_of(A, attempts={A: b"1 %b %b" % (DUE, LOST)}),
    },
    "dead letters": {**topic_of(b=DUE), **dead_of(A, B, C)},
    "dead letters alone": dead_of(A, B),
    "a series that waits": series_of(a=LATER),
    "a series that is overdue": series_of(a=DUE),
    "a series that runs": series_of({b"a": COUNTED}, a=LEASE),
    "a series that is paused": series_of(a=PAUSED_SCORE),
    "a series that is paused beside others": series_of({b"z": COUNTED}, a=PAUSED_SCORE, b=LATER),
    "a series that waits for its next attempt": series_of(
        {b"a": b"2 %b %b" % (DUE, LATER)}, a=LATER
    ),
    "a series that waits beside attempts": series_of({b"z": COUNTED}, a=LATER),
}


# --- what is called ----------------------------------------------------------------------


def first_of(steps: Any) -> Operation[Any]:
    return next(iter(steps))


def redrive(*dead_letters: bytes) -> Operation[Any]:
    """Make the call that redrives dead letters, as if all had been read."""
    steps = OPERATIONS.redrive_first(DEAD, list(dead_letters))
    next(steps)
    return steps.send([(DUE, DEAD_LETTERS[one]) for one in dead_letters])


def resume() -> Operation[Any]:
    """Make the call that resumes a series, as if it had been read."""
    steps = OPERATIONS.resume(TOPIC, "a")
    next(steps)
    steps.send(make_timer(TOPIC, b"a", PAUSED_SCORE, SERIES))
    return steps.send(datetime.fromtimestamp(NOW, UTC))


def step(*settlements: Settlement, limit: int = 0, **options: Any) -> Operation[Any]:
    return OPERATIONS.settle_and_claim(
        TOPIC, settlements, limit=limit, lease_ttl=30.0, jitter=1, **options
    )


def settled(action: bytes, detail: bytes = b"", timer_id: bytes = b"a") -> Settlement:
    return Settlement(action, timer_id, LEASE, detail)


DEAD_DETAIL = b"6:a:dead" + DEAD_LETTERS[A]
COMMIT = settled(b"commit")
SETTLEMENTS = {
    "claim": [],
    "commit": [COMMIT],
    "commit what is gone too": [COMMIT, settled(b"commit", timer_id=b"gone")],
    "nack": [settled(b"nack")],
    "nack with a delay": [settled(b"nack", b"+2.000000")],
    "release": [settled(b"release", DUE)],
    "renew": [settled(b"renew", b"%d.0000005" % (NOW + 60))],
    "renew and commit": [settled(b"renew", b"%d.0000005" % (NOW + 60)), COMMIT],
    "recount and nack": [settled(b"recount", b"1"), settled(b"nack", b"+2.000000")],
    "repeat": [settled(b"repeat", LATER)],
    "repeat what is due again": [settled(b"repeat", DUE)],
    "recount, renew and repeat": [
        settled(b"recount", b"1"),
        settled(b"renew", b"%d.0000005" % (NOW + 60)),
        settled(b"repeat", LATER),
    ],
    "repeat and commit what is gone": [
        settled(b"repeat", LATER),
        settled(b"commit", timer_id=b"gone"),
    ],
}


def calls() -> Iterator[tuple[str, Operation[Any]]]:
    """Give what the library calls, by what it is."""
    for if_exists in ("replace", "keep", "error"):
        for timer_id in ("a", "n"):
            timer = EncodedTimer(timer_id, BODY, b"+5.000000")
            yield (
                f"schedule {timer_id} {if_exists}",
                OPERATIONS.schedule(TOPIC, timer, if_exists),
            )
    timers = [EncodedTimer(one, BODY, b"+5.000000") for one in "abn"]
    yield "schedule several", OPERATIONS.schedule_calls(TOPIC, timers)[0]
    later = {"activate_in": HOUR, "activate_at": None}
    yield "reschedule", OPERATIONS.reschedule(TOPIC, "a", **later)
    yield "move", management.move_some(KEYS, TOPIC, ["a", "b", "n"], **later)
    yield "cancel", OPERATIONS.cancel(TOPIC, "a")
    yield "cancel several", management.cancel_some(KEYS, TOPIC, ["a", "b", "o", "z"])
    yield "cancel all", OPERATIONS.cancel_all(TOPIC)
    yield "redrive one", redrive(A)
    yield "redrive several", redrive(A, B)
    yield "redrive all and more", redrive(*DEAD_LETTERS)
    for name, settlements in SETTLEMENTS.items():
        for limit in (0, 10) if settlements else (10,):
            end = " and claim" if limit and settlements else ""
            yield f"{name}{end}", step(*settlements, limit=limit)
            yield f"{name}{end}, counted", step(*settlements, limit=limit, suspect_from=3)
    for name in ("claim", "commit"):
        # It leaves some, for which it would call.
        calling = {"limit": 1, "call": b"3 3 1 0 0.0"}
        yield f"{name}, calling", step(*SETTLEMENTS[name], **calling)
        yield f"{name}, calling, counted", step(*SETTLEMENTS[name], **calling, suspect_from=3)
    for name, ending in (
        ("dead-letter", settled(b"dead", DEAD_DETAIL)),
        ("dead-letter and repeat", settled(b"repeat", LATER + b" " + DEAD_DETAIL)),
    ):
        for limit, end in ((0, ""), (10, " and claim")):
            options = {"limit": limit, "dead_topic": DEAD}
            yield f"{name}{end}", step(ending, **options)
            yield f"{name}{end}, counted", step(ending, **options, suspect_from=3)
    due = b"@%d.000000" % (NOW + 3600)
    for name, payload in (("the same series", SERIES), ("another series", OTHERS_SERIES)):
        timer = EncodedTimer("a", payload, due, HOURLY)
        yield f"update to {name}", OPERATIONS.schedule(TOPIC, timer)
        once = EncodedTimer("b", BODY, due)
        yield f"update to {name} and replace", OPERATIONS.schedule_calls(TOPIC, [timer, once])[0]
    yield "pause", OPERATIONS.pause(TOPIC, "a")
    yield "resume", resume()
    yield "prune", OPERATIONS.prune(TOPIC, "a", "shop")
    yield "exists", OPERATIONS.has_pending(TOPIC, "a")
    yield "count", OPERATIONS.count(TOPIC)
    yield "get", OPERATIONS.get(TOPIC, "a")
    yield "page", first_of(OPERATIONS.iterate(TOPIC))
    yield "scan", first_of(OPERATIONS.iterate(TOPIC, match="*"))
    yield "definitions", management.read_definitions(KEYS, TOPIC, ["a", "b", "n"])
    yield "overview", management.overview(KEYS, [TOPIC, DEAD])
    yield "forecast", management.forecast(KEYS, [TOPIC, DEAD], [datetime(2040, 1, 1, tzinfo=UTC)])
    yield "running", management.count_running(KEYS, TOPIC, HOUR)
    yield "touch", Operation(load_script("touch"), (PAYLOADS,), (), bool)


CALLS = dict(calls())


def test_every_script_is_called():
    folder = files(protocol) / "lua"
    scripts = {file.name.removesuffix(".lua") for file in folder.iterdir()}
    scripts = {name for name in scripts if not name.startswith("_")}

    # That one touches no key.
    assert {call.name for call in CALLS.values()} == scripts - {"permissions"}


# --- a slot on its way -------------------------------------------------------------------


class Outcome(NamedTuple):
    """What a call has done.

    Args:
        reply: The reply, or the first word of the refusal.
        data: The keys' values on the source, and on the target.
        is_refused: Whether it was refused.
    """

    reply: Any
    data: tuple[dict[bytes, Any], dict[bytes, Any]]
    is_refused: bool = False

    @property
    def together(self) -> dict[bytes, Any]:
        """The values of all keys, wherever they are."""
        source, target = self.data
        return {key: {**source[key], **target[key]} for key in NAMES}


def text_at_that_time(script: Script) -> bytes:
    assert script.text.count(b"redis.call('TIME')") <= 1
    return script.text.replace(b"redis.call('TIME')", b"{'%d', '0'}" % NOW)


def words_of(operation: Operation[Any]) -> tuple[Any, ...]:
    assert operation.script is not None
    return (
        *("EVAL", text_at_that_time(operation.script), len(operation.keys)),
        *(*operation.keys, *operation.args),
    )


class MovingSlot:
    """A slot between two nodes of a cluster, with the keys on either as a test wants them.

    Args:
        cluster: The cluster.
        stack: Closes what is opened.
    """

    def __init__(self, cluster: Cluster, stack: ExitStack) -> None:
        self._slot = cluster.key_slot(TIMELINE)
        source = cluster.owner_of(self._slot)
        target = next(node for node in cluster.primaries() if node is not source)
        self._target_id, source_id = target.id, source.id
        self._source = stack.enter_context(source.client())
        self._target = stack.enter_context(target.client())
        self._target.execute_command("CLUSTER", "SETSLOT", self._slot, "IMPORTING", source_id)

    def run(self, operation: Operation[Any], held: dict[bytes, Any], moved: set[bytes]) -> Outcome:
        """Run a call as a client does, while these of the keys have moved."""
        self._put(held, moved)
        words = words_of(operation)
        try:
            reply = self._source.execute_command(*words, NEVER_DECODE=True)
        except ResponseError as error:
            refusal = _first_word(error)
            if refusal != "ASK":
                return Outcome(refusal, self.data(), is_refused=True)
            try:
                reply = self._ask_target(words)
            except ResponseError as again:
                return Outcome(_first_word(again), self.data(), is_refused=True)
        return Outcome(reply, self.data())

    def run_in_peace(self, operation: Operation[Any], held: dict[bytes, Any]) -> Outcome:
        """Run a call where nothing moves."""
        self._put(held, set(), moves=False)
        reply = self._source.execute_command(*words_of(operation), NEVER_DECODE=True)
        return Outcome(reply, self.data())

    def _ask_target(self, words: tuple[Any, ...]) -> Any:
        pipeline = self._target.pipeline(transaction=False)
        pipeline.execute_command("ASKING")
        pipeline.execute_command(*words, NEVER_DECODE=True)
        _, reply = pipeline.execute(raise_on_error=False)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _put(self, held: dict[bytes, Any], moved: set[bytes], *, moves: bool = True) -> None:
        here = self._source.pipeline(transaction=False)
        there = self._target.pipeline(transaction=False)
        here.execute_command("CLUSTER", "SETSLOT", self._slot, "STABLE")
        here.flushall()
        there.flushall()
        for key, values in held.items():
            if values:
                pipeline = there if key in moved else here
                if key in moved:
                    pipeline.execute_command("ASKING")
                if key in {TIMELINE, DEAD_TIMELINE}:
                    pipeline.zadd(key, values)
                else:
                    pipeline.hset(key, mapping=values)
        if moves:
            here.execute_command("CLUSTER", "SETSLOT", self._slot, "MIGRATING", self._target_id)
        here.execute()
        there.execute()

    def data(self) -> tuple[dict[bytes, Any], dict[bytes, Any]]:
        """Give the values of all keys on the source, and on the target."""
        here = self._source.pipeline(transaction=False)
        there = self._target.pipeline(transaction=False)
        here.execute_command("CLUSTER", "SETSLOT", self._slot, "STABLE")
        for key in NAMES:
            there.execute_command("ASKING")
            for pipeline in (here, there):
                if key in {TIMELINE, DEAD_TIMELINE}:
                    pipeline.zrange(key, 0, -1, withscores=True)
                else:
                    pipeline.hgetall(key)
        found_here, found_there = here.execute()[1:], there.execute()[1::2]
        return dict(zip(NAMES, map(dict, found_here), strict=True)), dict(
            zip(NAMES, map(dict, found_there), strict=True)
        )


def _first_word(error: ResponseError) -> str:
    # redis-py reads MOVED and ASK as classes of their own, which keep the rest alone.
    name = type(error).__name__
    return {"AskError": "ASK", "TryAgainError": "TRYAGAIN"}.get(name) or str(error).split()[0]


@pytest.fixture(scope="module", params=binaries(), ids=lambda binary: Path(binary).name)
def slot(request) -> Iterator[MovingSlot]:
    """A slot on its way, on each kind of server that this machine has."""
    config = {"cluster-node-timeout": "10000"}
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(request.param, replicas=0, config=config))
        yield MovingSlot(cluster, stack)


def contents_for(operation: Operation[Any]) -> dict[str, dict[bytes, Any]]:
    """Give all contents, without the keys that a call knows nothing of, each once."""
    known = {*operation.keys, *operation.args}
    contents: dict[str, dict[bytes, Any]] = {}
    for name, held in CONTENTS.items():
        mine = {key: values for key, values in held.items() if key in known}
        if mine not in contents.values():
            contents[name] = mine
    return contents


def parts_of(held: dict[bytes, Any]) -> Iterator[set[bytes]]:
    """Give all parts of the keys that hold something."""
    there = [key for key, values in held.items() if values]
    for count in range(len(there) + 1):
        yield from map(set, combinations(there, count))


def counts_of(data: dict[bytes, Any], timeline: bytes, attempts: bytes) -> dict[bytes, bytes]:
    """Give the counts of attempts that count: those for the score that the timer has."""
    scores = data[timeline]
    return {
        timer_id: count
        for timer_id, count in data[attempts].items()
        if timer_id in scores and float(count.split()[2]) == scores[timer_id]
    }


def asks_for_attempts(name: str, held: dict[bytes, Any]) -> bool:
    """Return whether a call has to know of attempts, though it does not declare them.

    It updates a series of another definition that waits, maybe for its next attempt.
    """
    if not name.startswith("update to another") or held.get(TIMELINE, {}).get(b"a") != LATER:
        return False
    return bool(held[PAYLOADS][b"a"] == SERIES)


@pytest.mark.parametrize("name", CALLS)
def test_a_script_does_all_of_its_work_or_nothing(name, slot):
    operation = CALLS[name]
    worked = refused = 0
    for content, held in contents_for(operation).items():
        expected = slot.run_in_peace(operation, held)
        for moved in parts_of(held):
            outcome = slot.run(operation, held, moved)
            case = (content, sorted(moved), outcome)
            there = {key for key, values in held.items() if values}
            declared = set(operation.keys)
            if asks_for_attempts(name, held):
                declared.add(ATTEMPTS)
            if declared <= there - moved or declared <= moved or len(declared) == 1:
                worked += 1
                assert outcome.reply == expected.reply, case
                for key in (TIMELINE, PAYLOADS, DEAD_TIMELINE, DEAD_PAYLOADS):
                    assert outcome.together[key] == expected.together[key], case
                for keys in ((TIMELINE, ATTEMPTS), (DEAD_TIMELINE, DEAD_ATTEMPTS)):
                    found, wanted = (
                        counts_of(data.together, *keys) for data in (outcome, expected)
                    )
                    assert found == wanted, case
                source, target = outcome.data
                assert not any(source[key] and target[key] for key in NAMES), case
            else:
                refused += 1
                assert outcome.is_refused, case
                assert outcome.reply == "TRYAGAIN", case
                before = slot_before(held, moved)
                assert outcome.data == before, case
    assert worked
    assert refused or len(operation.keys) == 1


def slot_before(
    held: dict[bytes, Any], moved: set[bytes]
) -> tuple[dict[bytes, Any], dict[bytes, Any]]:
    """Give what the two nodes hold before a call."""

    def values(key: bytes, *, is_there: bool) -> dict[bytes, Any]:
        if (key in moved) is not is_there:
            return {}
        found = held.get(key, {})
        if key in {TIMELINE, DEAD_TIMELINE}:
            return {timer_id: float(score) for timer_id, score in found.items()}
        return dict(found)

    return (
        {key: values(key, is_there=False) for key in NAMES},
        {key: values(key, is_there=True) for key in NAMES},
    )
