"""Operations as values: what they say of themselves, and what those do that need several."""

from datetime import UTC, datetime

import pytest
from redis.connection import Connection
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError as RedisConnectionError,
)

from faststream_redis_timers_sync import TimerPublishMessage, TimersClient
from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.model import EncodedTimer, Settlement
from faststream_redis_timers_sync.protocol.operation import PING, command, pack_words
from faststream_redis_timers_sync.protocol.operations import Operations

TOPIC = "invoices"
KIB = 1024
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)


def test_a_timer_that_vanishes_between_its_page_and_its_body_is_left_out(home):
    client = TimersClient(home.redis, **home.key_names)
    messages = [TimerPublishMessage(timer_id, timer_id=timer_id) for timer_id in "abc"]
    client.schedule_batch(messages, TOPIC, activate_at=YEAR_2050)
    steps = home.operations.iterate(TOPIC)

    read_ids = next(steps)
    read_bodies = steps.send(Runner(home.redis).run(read_ids))
    client.cancel_timer(TOPIC, "b")
    page = steps.send(Runner(home.redis).run(read_bodies))

    assert [timer.timer_id for timer in page] == ["a", "c"]


def test_an_operation_on_many_is_one_call_for_each_two_hundred(home):
    steps = home.operations.cancel_many(TOPIC, map(str, range(401)))

    # Beside the ids there is the name of a key.
    assert len(next(steps).args) == 200 + 1
    assert len(steps.send(0).args) == 200 + 1
    assert len(steps.send(0).args) == 1 + 1


@pytest.mark.parametrize(
    ("sizes", "calls"),
    [
        ([10] * 401, [200, 200, 1]),
        ([100 * KIB] * 11, [5, 5, 1]),
        ([3000 * KIB, 10, 3000 * KIB, 10, 10], [1, 1, 1, 2]),
        ([512 * KIB] * 2, [1, 1]),
        ([], []),
    ],
)
def test_a_batch_is_bounded_by_bytes_too(home, sizes, calls):
    timers = [EncodedTimer(f"{n}", b"x" * size, b"+1.000000") for n, size in enumerate(sizes)]
    operations = home.operations.schedule_calls(TOPIC, timers)
    sent = [operation.timer_ids for operation in operations]

    assert [len(ids) for ids in sent] == calls
    assert [timer_id for ids in sent for timer_id in ids] == [t.timer_id for t in timers]


def test_the_operations_that_change_something_may_not_be_repeated_and_reads_may(home):
    operations = home.operations
    changes = [
        operations.cancel(TOPIC, "42"),
        next(operations.cancel_many(TOPIC, ["42"])),
        operations.cancel_all(TOPIC),
        operations.reschedule(TOPIC, "42", activate_in=None, activate_at=YEAR_2050),
    ]
    reads = [
        operations.has_pending(TOPIC, "42"),
        operations.get(TOPIC, "42"),
        operations.count(TOPIC),
        next(operations.iterate(TOPIC)),
        next(operations.iterate(TOPIC, match="*")),
    ]

    assert all(change.outcome_unknown(ConnectionError()) is not None for change in changes)
    assert not any(change.may_repeat for change in changes)
    assert all(read.outcome_unknown(ConnectionError()) is None for read in reads)
    assert all(read.may_repeat for read in reads)


def test_a_plain_command_is_sent_once_and_names_its_keys():
    scores = command(b"ZMSCORE", b"timeline", b"id", parse=list, keys=(b"timeline",))

    assert scores.words(by_text=True) == scores.words(by_text=False) == scores.args
    assert (scores.name, scores.keys, scores.may_repeat) == ("ZMSCORE", (b"timeline",), False)
    assert (PING.name, PING.keys, PING.may_repeat) == ("PING", (), False)
    assert scores.outcome_unknown(ConnectionError()) is None


@pytest.mark.parametrize(
    ("reply", "has_written"),
    [
        *((b"1", True), (b"0", False), (b"01", True), (b"w", False), (b"r", False)),
        *((b"s", True), (b"c", True), (b"00", False), (b"E1", False)),
    ],
)
def test_a_reply_says_whether_a_schedule_wrote(reply, has_written):
    operation = Operations(KeySpace()).schedule(TOPIC, EncodedTimer("1", b"", b"+1.000000"))

    assert operation.has_written(reply) is has_written


@pytest.mark.parametrize(
    ("reply", "has_written"), [(b"w", True), (b"r", True), (b"0", False), (b"00r", True)]
)
def test_a_reply_says_whether_a_cancel_removed_anything(reply, has_written):
    operations = Operations(KeySpace())

    assert operations.cancel(TOPIC, "1").has_written(reply) is has_written
    assert next(operations.cancel_many(TOPIC, ["1"])).has_written(reply) is has_written
    assert operations.cancel_all(TOPIC).has_written(len(reply.strip(b"0"))) is has_written


@pytest.mark.parametrize(
    "refusal", [BusyLoadingError, AuthenticationError, AuthorizationError], ids=lambda e: e.__name__
)
def test_what_the_server_refuses_for_certain_is_no_lost_reply(refusal):
    operation = Operations(KeySpace()).cancel("invoices", "1")

    assert operation.outcome_unknown(refusal("no")) is None
    assert operation.outcome_unknown(RedisConnectionError("lost")) is not None


@pytest.mark.parametrize(("action", "count"), [(b"commit", 2), (b"dead", 4)])
def test_keys_for_dead_letters_are_declared_where_one_is_made(action, count):
    settlements = [Settlement(action, b"42", b"1.5", b"1:x")]
    step = Operations(KeySpace(hash_tags=True)).settle_and_claim(
        "invoices", settlements, limit=1, lease_ttl=30.0, jitter=0, dead_topic="invoices:dead"
    )
    assert len(step.keys) == count


@pytest.mark.parametrize("size", [0, 1, 9, 10, 511, 512, 513, 70_000])
def test_words_of_any_size_go_over_the_wire_as_redis_py_sends_them(size):
    words = [b"SET", b"x" * size, b"\r\n\xff"]

    packed = Connection().pack_command(*words)

    assert pack_words(words) == b"".join(packed)
