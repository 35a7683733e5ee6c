"""The way of a call through a cluster, turn by turn: no network, no clock but the test's."""

from itertools import pairwise

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError as RedisConnectionError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
    TimeoutError as RedisTimeoutError,
    TryAgainError,
)

from faststream_redis_timers_sync.protocol.cluster import Address, SlotMap, slot_of
from faststream_redis_timers_sync.protocol.errors import (
    TimerExistsError,
    TimerNotReplicatedError,
    TimerOutcomeUnknownError,
    TopicTornError,
)
from faststream_redis_timers_sync.protocol.operation import Operation, command
from faststream_redis_timers_sync.protocol.routing import (
    Ask,
    NotSentError,
    NotServedError,
    Pause,
    Refresh,
    fresh,
    refusal_of,
    way_of,
)

KEY = b"timers_timeline:{invoices}"
SLOT = slot_of(KEY)
A, B, C = Address("10.0.0.1", 7001), Address("10.0.0.2", 7002), Address("10.0.0.3", 7003)
ONE_EACH = [
    [0, 8191, [b"10.0.0.1", 7001, b"a", []], [b"10.0.0.3", 7003, b"c", []]],
    [8192, 16383, [b"10.0.0.2", 7002, b"b", []]],
]
OWNER, OTHER = (A, B) if SLOT <= 8191 else (B, A)

WRITE = Operation(None, (KEY,), (b"X",), bool, action="schedule", topic="invoices")
READ = Operation(None, (KEY,), (b"X",), bool, may_repeat=True)
REFUSED = RedisConnectionError("Connection refused.")


class Walk:
    """Walks a way, by a clock of its own that only pauses move."""

    def __init__(self, operation, slots=None, window=4.0):
        self.now = 100.0
        self.slots = known() if slots is None else slots
        self._way = way_of(operation, self.slots, window, lambda: self.now, lambda: 0.5)
        self.turn = next(self._way)

    def take(self, error=None, seconds=0.0):
        self.now += seconds
        if isinstance(self.turn, Pause):
            self.now += self.turn.seconds
        self.turn = self._way.send(None) if error is None else self._way.throw(error)
        return self.turn

    def end(self, reply):
        with pytest.raises(StopIteration) as stop:
            self._way.send(reply)
        return stop.value.value

    def fail_on(self, kind, error, reading=0.0):
        """Go on until it raises, with this error in each turn of a kind."""
        while True:
            seconds = reading if isinstance(self.turn, Refresh) else 0.0
            self.take(error if isinstance(self.turn, kind) else None, seconds)


def reads_map(turn, version, without):
    return isinstance(turn, Refresh) and turn[:2] == (version, without)


def known():
    slots = SlotMap([A])
    slots.replace(ONE_EACH, A)
    return slots


def not_sent(cause):
    error = NotSentError()
    error.__cause__ = cause
    return error


def moved(address=OTHER):
    return ResponseError(f"MOVED {SLOT} {address}")


def ask():
    return ResponseError(f"ASK {SLOT} {OTHER}")


def test_a_call_goes_to_the_primary_of_its_slot_at_once():
    walk = Walk(WRITE)
    assert walk.turn == Ask(OWNER, asking=False)
    assert walk.end(b"1") == b"1"


def test_the_first_call_reads_the_map():
    walk = Walk(WRITE, SlotMap([A]))
    assert reads_map(walk.turn, 0, None)
    walk.slots.replace(ONE_EACH, A)
    assert walk.take() == Ask(OWNER, asking=False)


def test_moved_corrects_the_slot_and_repeats_at_once():
    walk = Walk(WRITE)
    assert walk.take(moved()) == Ask(OTHER, asking=False)
    assert walk.end(b"1") == b"1"
    assert Walk(WRITE, walk.slots).turn == Ask(OTHER, asking=False)


def test_from_the_second_moved_on_it_pauses():
    walk = Walk(WRITE)
    walk.take(moved())
    pauses = []
    for _ in range(4):
        turn = walk.take(moved(OWNER if walk.turn.primary == OTHER else OTHER))
        pauses.append(turn.seconds)
        walk.take()
    assert pauses == [0.01, 0.02, 0.04, 0.08]


def test_ask_sends_asking_once_and_leaves_the_map():
    walk = Walk(WRITE)
    assert walk.take(ask()) == Ask(OTHER, asking=True)
    walk.end(b"1")
    assert walk.slots.primary_of(SLOT) == OWNER


def test_after_ask_try_again_begins_at_the_owner():
    walk = Walk(WRITE)
    walk.take(ask())
    assert isinstance(walk.take(TryAgainError("")), Pause)
    assert walk.take() == Ask(OWNER, asking=False)


def test_each_call_that_is_sent_on_is_told_of():
    told = []
    slots = known()
    slots.on_asked = told.append
    for answer in (ask(), ask(), moved()):
        walk = Walk(WRITE, slots)
        walk.take(answer)
        walk.end(b"1")

    assert told == [KEY, KEY]


@pytest.mark.parametrize(
    ("error", "refreshes"),
    [
        (TryAgainError("Multiple keys request during rehashing of slot"), False),
        (ResponseError("TRYAGAIN Multiple keys request during rehashing of slot"), False),
        (ClusterDownError("The cluster is down"), True),
        (ResponseError("CLUSTERDOWN Hash slot not served"), True),
        (MasterDownError("Link with MASTER is down"), True),
        (BusyLoadingError("Redis is loading the dataset in memory"), True),
        (ReadOnlyError("You can't write against a read only replica."), True),
    ],
    ids=lambda value: getattr(value, "args", [value])[0] if value else "",
)
def test_other_refusals_are_repeated_with_growing_pauses_until_the_window_ends(error, refreshes):
    walk = Walk(WRITE)
    pauses = []

    reads = []

    def turns():
        while True:
            turn = walk.take(error)
            if isinstance(turn, Refresh):
                reads.append(walk.now)
                turn = walk.take()
            pauses.append(turn.seconds)
            walk.take()

    with pytest.raises(type(error)) as raised:
        turns()
    assert raised.value is error
    assert pauses[:5] == [0.01, 0.02, 0.04, 0.08, 0.16]
    assert max(pauses) == 0.25
    assert sum(pauses) == pytest.approx(4.0)
    assert bool(reads) == refreshes
    # However often it is refused, the map is read ten times a second at most.
    assert all(later - earlier >= 0.1 for earlier, later in pairwise(reads))


def test_where_no_connection_comes_about_the_map_is_read_again():
    walk = Walk(WRITE)
    assert reads_map(walk.take(not_sent(REFUSED)), 1, OWNER)
    walk.slots.assign(SLOT, C)
    assert walk.take() == Ask(C, asking=False)
    assert walk.end(b"1") == b"1"


def test_errors_are_those_of_the_node_that_was_asked_whoever_serves_the_slot_by_then():
    for call, error in ((WRITE, not_sent(REFUSED)), (READ, REFUSED)):
        walk = Walk(call)
        walk.slots.assign(SLOT, C)
        assert reads_map(walk.take(error), 1, OWNER)
    for kind in ("MOVED", "ASK"):
        walk = Walk(WRITE)
        walk.slots.assign(SLOT, C)
        turn = walk.take(ResponseError(f"{kind} {SLOT} :7005"))
        assert turn == Ask(Address(OWNER.host, 7005), asking=kind == "ASK")


def test_where_nobody_takes_over_the_last_refusal_is_raised_as_it_is():
    walk = Walk(WRITE)
    with pytest.raises(RedisConnectionError) as raised:
        walk.fail_on(Ask, not_sent(REFUSED))
    assert raised.value is REFUSED
    assert walk.now == pytest.approx(104.0)


@pytest.mark.parametrize(
    "error", [not_sent(AuthenticationError("no")), NoPermissionError("no")], ids=["login", "rights"]
)
def test_what_no_other_try_changes_is_raised_at_once(error):
    walk = Walk(WRITE)
    with pytest.raises(type(error.__cause__ or error)):
        walk.take(error)


def test_after_an_unknown_outcome_the_next_call_reads_the_map_again():
    walk = Walk(WRITE)
    with pytest.raises(TimerOutcomeUnknownError):
        walk.take(TimerOutcomeUnknownError("schedule", "invoices", ("a",)))
    again = Walk(WRITE, walk.slots)
    assert reads_map(again.turn, 1, None)
    assert again.take() == Ask(OWNER, asking=False)


def test_a_look_whose_reply_was_lost_is_repeated_once():
    lost = RedisConnectionError("Connection closed by server.")
    walk = Walk(READ)
    assert reads_map(walk.take(lost), 1, OWNER)
    assert walk.take() == Ask(OWNER, asking=False)
    with pytest.raises(RedisConnectionError):
        walk.take(lost)


@pytest.mark.parametrize("error", [RedisTimeoutError("Timeout"), TimeoutError()], ids=type)
def test_a_silent_server_is_not_waited_for_twice(error):
    walk = Walk(READ)
    with pytest.raises(type(error)):
        walk.take(error)


def test_waiting_for_a_free_connection_does_not_count():
    walk = Walk(WRITE)
    assert isinstance(walk.take(TryAgainError(""), seconds=10.0), Pause)
    assert walk.take() == Ask(OWNER, asking=False)


def test_reading_the_map_lasts_no_longer_than_the_window():
    walk = Walk(WRITE)
    assert walk.take(not_sent(REFUSED), seconds=3.0).seconds == pytest.approx(1.0)
    walk = Walk(WRITE)
    with pytest.raises(RedisConnectionError):
        walk.fail_on(Ask, not_sent(REFUSED), reading=2.0)
    assert walk.now <= 100.0 + 4.0 + 2.0


@pytest.mark.parametrize(
    "error",
    [
        TimerNotReplicatedError("schedule", "invoices", ("a",), 1, 0, 1.0, "", None),
        TopicTornError("invoices"),
        TimerExistsError("invoices", "a"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_server_has_answered_says_nothing_of_the_map(error):
    walk = Walk(WRITE)
    with pytest.raises(type(error)):
        walk.take(error)
    assert not walk.slots.is_stale


def test_a_call_without_keys_asks_the_only_primary_again():
    slots = SlotMap([A])
    slots.replace([[0, 16383, [b"10.0.0.1", 7001, b"a"]]], A)
    with pytest.raises(RedisConnectionError, match="refused"):
        Walk(command(b"TIME", parse=list), slots).fail_on(Ask, not_sent(REFUSED))


def test_an_error_for_several_callers_is_made_for_each():
    error = fresh(REFUSED)
    assert error is not REFUSED
    assert (type(error), error.args) == (type(REFUSED), REFUSED.args)


def test_a_slot_that_nobody_serves_is_named():
    slots = SlotMap([A])
    slots.replace([], A)
    with pytest.raises(NotServedError, match=rf"serves slot {SLOT} of topic 'invoices'"):
        Walk(WRITE, slots).fail_on(Ask, REFUSED)


def test_where_no_node_gives_the_map_its_error_is_raised():
    with pytest.raises(RedisConnectionError):
        Walk(WRITE, SlotMap([A])).fail_on(Refresh, not_sent(REFUSED))


def test_a_call_without_keys_asks_any_primary_that_answers():
    walk = Walk(command(b"TIME", parse=list))
    assert walk.turn.primary == A
    assert reads_map(walk.take(not_sent(REFUSED)), 1, A)
    assert walk.take().primary == B


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MovedError("7 10.0.0.2:7002"), ("MOVED", 7, "10.0.0.2", 7002)),
        (ResponseError("MOVED 7 10.0.0.2:7002"), ("MOVED", 7, "10.0.0.2", 7002)),
        (ResponseError("ASK 7 fe80::1:7002"), ("ASK", 7, "fe80::1", 7002)),
        (ResponseError("MOVED 7 :7002"), ("MOVED", 7, "", 7002)),
        (ResponseError("MOVED 7 ?:7002"), ("MOVED", 7, "?", 7002)),
        (ResponseError("ERR MOVED 7 10.0.0.2:7002"), None),
        (RedisConnectionError("MOVED 7 10.0.0.2:7002"), None),
    ],
    ids=lambda value: str(value) if isinstance(value, Exception) else "",
)
def test_refusals_are_read_by_class_or_first_word(error, expected):
    assert refusal_of(error) == expected


@pytest.mark.parametrize("host", [b"", None, b"?"])
def test_an_unknown_host_is_the_one_that_answered(host):
    slots = SlotMap([A])
    slots.replace([[0, 16383, [host, 7009, b"a"]]], B)
    assert slots.primary_of(5) == Address(B.host, 7009)


def test_addresses_are_remapped():
    slots = SlotMap([A], lambda address: ("localhost", address[1] + 1))
    slots.replace(ONE_EACH, A)
    assert slots.primary_of(0) == ("localhost", 7002)
    assert slots.resolve("10.0.0.9", 7, A) == ("localhost", 8)


def test_slots_without_a_primary_are_told_in_ranges():
    slots = SlotMap([A])
    slots.replace([[0, 99, [b"h", 1]], [101, 16000, [b"h", 2]]], A)
    assert slots.uncovered == "100, 16001-16383"
    assert slots.primaries == [Address("h", 1), Address("h", 2)]


def test_a_node_that_did_not_answer_is_asked_for_the_map_last():
    slots = known()
    assert slots.candidates(A)[-1] == A
    assert set(slots.candidates(None)) == {A, B, C}
