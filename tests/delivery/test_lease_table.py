"""The design's table of leases, row by row: what becomes of a timer in each event.

The rows about killed processes stand in test_processes.py, those about stopping
in test_stop.py.
"""

import logging
from datetime import timedelta

import pytest
import redis
from bench import HOUR, INTERRUPTED, NO_POLLS, Bench, delivering, until_idle
from faststream.exceptions import AckMessage, NackMessage, RejectMessage, SkipMessage
from front_ends import Home
from waiting import wait_until_async

from examples.embedded_server import embedded_server
from faststream_redis_timers import RetryPolicy
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.delivery.schedule import SpinBudget
from faststream_redis_timers_sync.protocol.envelope import MAGIC
from faststream_redis_timers_sync.protocol.keys import decode_id
from faststream_redis_timers_sync.protocol.times import is_lease

SHORT = 0.5
"""Seconds of a lease that is to end within a test."""


# --- a handler ends ----------------------------------------------------------------------


@pytest.mark.parametrize("instruction", [None, AckMessage, SkipMessage, RejectMessage])
async def test_a_timer_whose_handler_has_finished_is_gone(bench, open_calls, instruction):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        if instruction is not None:
            raise instruction

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert open_calls.ids == ["1"]
    assert not open_calls.messages[0].redelivered
    # One that is rejected is gone for good, and that is told.
    assert len(bench.log.complaints) == (instruction is RejectMessage)


@pytest.mark.parametrize("error", [ValueError, NackMessage])
async def test_a_timer_whose_handler_fails_waits_until_its_lease_would_have_ended(
    bench, open_calls, error
):
    broker = bench.broker()
    leases = []

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        leases.append(bench.score("1"))
        raise error

    bench.schedule("1")
    async with delivering(broker):
        await wait_until_async(lambda: leases and not bench.is_leased("1"))
        due = bench.score("1")

    assert is_lease(leases[0])
    # Half a microsecond less: the whole one. Scores are doubles, 0.24 microseconds apart.
    assert 0.2e-6 < leases[0] - due < 0.8e-6
    assert len(leases) == 1
    assert bench.client.get_timer(bench.topic, "1").decode() == "first"


async def test_a_failed_timer_is_retried_then_and_not_as_a_lost_one(bench, open_calls):
    broker = bench.broker()
    dues = []

    @broker.subscriber(bench.topic, lease_ttl=SHORT)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        if len(open_calls.ids) == 1:
            dues.append(bench.score("1"))
            raise ValueError

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert open_calls.ids == ["1", "1"]
    again = open_calls.messages[1]
    assert again.raw_message.claimed_at >= dues[0] - 1e-6
    assert abs(again.due_at.timestamp() - dues[0]) < 2e-6
    assert not again.redelivered


async def test_a_nack_with_a_delay_makes_it_due_then(bench, calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        calls.note(message)
        raise NackMessage(delay=timedelta(hours=1))

    bench.schedule("1")
    before = bench.home.now()
    async with delivering(broker):
        await wait_until_async(lambda: calls.ids and not bench.is_leased("1"))

    due_at = bench.client.get_timer(bench.topic, "1").due_at
    assert before + HOUR <= due_at <= bench.home.now() + HOUR
    assert calls.ids == ["1"]


async def test_a_nack_with_no_delay_at_all_is_retried_at_once(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        if len(open_calls.ids) < 4:
            await message.nack(delay=timedelta(0))

    bench.schedule("1")
    async with delivering(broker):
        await bench.until_gone("1")

    assert open_calls.ids == ["1"] * 4


async def test_a_nack_whose_option_is_not_understood_keeps_the_timer_and_says_so(bench, calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        calls.note(message)
        raise NackMessage(delay=5)

    bench.schedule("1")
    async with delivering(broker):
        await wait_until_async(lambda: calls.ids and not bench.is_leased("1"))

    (line,) = bench.log.at(logging.ERROR)
    assert "'1'" in line
    assert "timedelta(seconds=5)" in line
    assert not bench.is_gone("1")


async def test_a_timer_that_no_filter_accepts_is_kept_and_retried(bench, open_calls):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic, lease_ttl=SHORT)
    knows_it = []

    @subscriber(filter=lambda message: message.timer_id == "last" or knows_it)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    bench.schedule("1")
    async with delivering(broker):
        await wait_until_async(lambda: bench.log.at(logging.ERROR))
        await bench.until_settled(broker)
        assert open_calls.ids == ["last"]
        assert not bench.is_gone("1")
        knows_it.append(True)
        await bench.until_gone("1")

    assert open_calls.ids == ["last", "1"]


# --- somebody changes the timer while its handler runs -----------------------------------


async def test_scheduled_again_while_its_handler_runs_the_new_one_stands_and_fires(bench, calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(body: str, message: TimerMessage):
        if message.timer_id == "1":
            await calls.hold(message, body)

    bench.schedule("1", "first")
    async with delivering(broker):
        await calls.until(1)
        bench.schedule("1", "second", activate_in=HOUR)
        due = bench.score("1")
        calls.gate.set()
        await bench.until_settled(broker)
        assert bench.score("1") == due
        assert bench.client.get_timer(bench.topic, "1").decode() == "second"

        bench.client.reschedule_timer(bench.topic, "1", activate_in=timedelta(0))
        await bench.until_gone("1")

    assert calls.bodies == [("1", "first"), ("1", "second")]
    assert not calls.messages[1].redelivered
    assert bench.log.complaints == []


async def test_moved_while_its_handler_runs_it_fires_again_then(bench, calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(body: str, message: TimerMessage):
        if message.timer_id == "1":
            await calls.hold(message, body)

    bench.schedule("1", "first")
    async with delivering(broker):
        await calls.until(1)
        assert bench.client.reschedule_timer(bench.topic, "1", activate_in=HOUR)
        due = bench.score("1")
        calls.gate.set()
        await bench.until_settled(broker)
        assert bench.score("1") == due

        bench.client.reschedule_timer(bench.topic, "1", activate_in=timedelta(0))
        await bench.until_gone("1")

    assert calls.bodies == [("1", "first"), ("1", "first")]
    assert bench.log.complaints == []


async def test_cancelled_while_its_handler_runs_it_is_gone_and_nobody_is_warned(bench, calls):
    broker = bench.broker()
    ended = []

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        if message.timer_id == "1":
            await calls.hold(message)
            ended.append(message.timer_id)

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        assert bench.client.cancel_timer(bench.topic, "1") is False
        assert bench.is_gone("1")
        assert ended == []
        calls.gate.set()
        await bench.until_settled(broker)

    assert ended == ["1"]
    assert bench.is_gone("1")
    assert bench.log.complaints == []


async def test_cancelled_and_nacked_it_is_not_retried(bench, calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        if message.timer_id == "1":
            await calls.hold(message)
            raise NackMessage(delay=timedelta(0))

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        bench.client.cancel_timer(bench.topic, "1")
        calls.gate.set()
        await bench.until_settled(broker)

    assert calls.ids == ["1"]
    assert bench.is_gone("1")


# --- a handler outlives its lease --------------------------------------------------------


async def test_a_handler_that_outlives_its_lease_is_not_run_twice_by_its_worker(bench, calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic, lease_ttl=SHORT, max_concurrent=2)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        first_lease = bench.score("1")
        await wait_until_async(lambda: bench.score("1") > first_lease + SHORT)
        assert bench.is_leased("1")
        calls.gate.set()
        await bench.until_gone("1")

    assert calls.ids == ["1"]
    assert bench.log.complaints == []


async def test_a_handler_that_ends_while_its_lease_is_renewed_is_not_run_twice(bench, calls, relay):
    broker = bench.broker(relay.url)
    # Neither a ping nor a poll goes before the claim that renews.
    broker.config.connection.spin_budget = SpinBudget(share=0.0, cap=0.0)

    @broker.subscriber(bench.topic, lease_ttl=SHORT, max_concurrent=2, **NO_POLLS)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    async with delivering(broker):
        await until_idle(bench, relay)
        bench.schedule("1")
        await calls.until(1)
        first_lease = bench.score("1")
        relay.hold_replies()
        await wait_until_async(lambda: bench.score("1") > first_lease)
        calls.gate.set()
        await wait_until_async(lambda: calls.running == 0)
        relay.resume()
        await bench.until_gone("1")

    assert calls.ids == ["1"]


async def test_one_scheduled_again_beside_a_handler_that_outlives_its_lease_is_a_new_delivery(
    bench, calls
):
    broker = bench.broker()
    ended = []

    @broker.subscriber(bench.topic, lease_ttl=SHORT, max_concurrent=3)
    async def handle(body: str, message: TimerMessage):
        await calls.hold(message, body)
        ended.append(body)

    bench.schedule("1", "first")
    async with delivering(broker):
        await calls.until(1)
        await wait_until_async(lambda: bench.score("1") > first_lease(calls))
        bench.schedule("1", "second")
        await calls.until(2)
        assert ended == []
        assert calls.running == 2
        calls.gate.set()
        await bench.until_gone("1")
        await wait_until_async(lambda: len(ended) == 2)

    assert calls.bodies == [("1", "first"), ("1", "second")]
    assert not calls.messages[1].redelivered
    assert bench.log.complaints == []


def first_lease(calls):
    return calls.messages[0].raw_message.claimed_at + SHORT


async def test_the_old_handler_does_not_commit_what_was_scheduled_again_beside_it(bench, calls):
    broker = bench.broker()
    ended = []

    @broker.subscriber(bench.topic)
    async def handle(body: str, message: TimerMessage):
        if body == "old":
            await calls.hold(message, body)
            ended.append(await message.raw_message.commit())
        elif body == "new":
            calls.note(message, body)
            await wait_until_async(lambda: ended)
            assert bench.is_leased("1")

    bench.schedule("1", "old")
    async with delivering(broker):
        await calls.until(1)
        bench.schedule("1", "new")
        await calls.until(2)
        calls.gate.set()
        await bench.until_gone("1")

    assert ended == [False]
    assert calls.bodies == [("1", "old"), ("1", "new")]


async def test_another_worker_claims_what_outlived_its_lease_and_the_late_commit_does_nothing(
    bench, calls
):
    slow = bench.broker()
    other_log = Bench(bench.home).log
    other = bench.broker(logger=other_log.logger)
    late = []

    # Without a free slot it does not claim, and so does not renew.
    @slow.subscriber(bench.topic, lease_ttl=SHORT, max_concurrent=1)
    async def handle_slowly(message: TimerMessage):
        await wait_until_async(lambda: calls.running)
        late.append(await message.raw_message.commit())

    @other.subscriber(bench.topic, lease_ttl=HOUR.total_seconds())
    async def handle(message: TimerMessage):
        await calls.hold(message)

    bench.schedule("1")
    async with delivering(slow):
        await wait_until_async(lambda: bench.is_leased("1"))
        async with delivering(other):
            await calls.until(1)
            await wait_until_async(lambda: late)
            assert bench.is_leased("1")
            calls.gate.set()
            await bench.until_gone("1")

    assert late == [False]
    assert calls.messages[0].redelivered
    (warning,) = bench.log.complaints
    assert "'1'" in warning
    assert f"'{bench.topic}'" in warning
    assert f"lease_ttl ({SHORT:g} s)" in warning
    assert other_log.complaints == []


async def test_a_commit_after_another_worker_has_finished_it_does_nothing_but_warn(
    bench, open_calls
):
    slow = bench.broker()
    other = bench.broker()
    late = []

    @slow.subscriber(bench.topic, lease_ttl=SHORT, max_concurrent=1)
    async def handle_slowly(message: TimerMessage):
        await wait_until_async(lambda: bench.is_gone("1"))
        late.append(await message.raw_message.commit())

    @other.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    bench.schedule("1")
    async with delivering(slow):
        await wait_until_async(lambda: bench.is_leased("1"))
        async with delivering(other):
            await wait_until_async(lambda: late)

    assert late == [False]
    assert open_calls.messages[0].redelivered
    (warning,) = bench.log.complaints
    assert "outlived its lease and is gone: another worker has run it too" in warning


# --- entries that can't be delivered -----------------------------------------------------

BROKEN = {
    "no payload": (b"br\x1boken", None),
    "id no UTF-8": (b"br\xffoken", b"payload"),
    "id no UTF-8, no payload": (b"br\xffoken", None),
    "broken envelope": (b"br\x1boken", MAGIC + b"nonsense"),
    "magic alone": (b"br\x1boken", MAGIC),
}


@pytest.mark.leaks_keys
@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_entry_is_removed_and_logged_once_and_its_neighbours_are_delivered(
    bench, open_calls, kind
):
    broken_id, payload = BROKEN[kind]
    broker = bench.broker()

    @broker.subscriber(bench.topic, lease_ttl=SHORT, max_concurrent=1)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    now = bench.home.now().timestamp()
    bench.schedule("before", activate_at=bench.home.now() - HOUR)
    bench.home.plant(bench.topic, broken_id, now - 1, payload)
    bench.schedule("after")
    async with delivering(broker):
        await bench.until_gone("before", "after", decode_id(broken_id))
        # Longer than its lease: it must not be redelivered.
        bench.schedule("later", activate_in=timedelta(seconds=SHORT))
        await bench.until_gone("later")

    assert sorted(open_calls.ids) == ["after", "before", "later"]
    assert bench.score(broken_id) is None
    assert not bench.redis.exists(*bench.home.keys_of(bench.topic))
    (line,) = bench.log.complaints
    assert bench.log.at(logging.ERROR) == [line]
    assert f"'{bench.topic}'" in line
    # Escaped, so that it can neither forge a line nor drive a terminal.
    assert ascii(decode_id(broken_id)).strip("'").replace(r"\udc", r"\x") in line.replace(
        r"\\x", r"\x"
    )
    assert "\x1b" not in line
    if payload is not None:
        assert f"{len(payload)} bytes" in line


async def test_many_broken_entries_do_not_stall_the_good_ones(bench, open_calls):
    broker = bench.broker()

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    now = bench.home.now().timestamp()
    for n in range(120):
        bench.home.plant(bench.topic, f"empty-{n}", now - 10 + n / 100, None)
        bench.home.plant(bench.topic, f"broken-{n}", now - 10 + n / 100, MAGIC)
    bench.schedule("good")
    async with delivering(broker):
        await bench.until_gone("good")
        await wait_until_async(lambda: not bench.redis.exists(bench.timeline))

    assert open_calls.ids == ["good"]
    assert len(bench.log.at(logging.ERROR)) == 240


# --- the server is full, or the connection is lost ---------------------------------------


@pytest.fixture(scope="module")
def full_url():
    """URL of a server that can be made full."""
    with embedded_server(config={"maxmemory-policy": "noeviction"}) as url:
        yield url


@pytest.fixture
def full_bench(full_url, key_names):
    """A topic on it; `fill` makes it refuse what needs memory."""
    bench = Bench(Home(key_names, full_url))
    bench.fill = lambda: bench.redis.config_set("maxmemory", "1")
    yield bench
    bench.redis.config_set("maxmemory", "0")
    bench.redis.flushall()
    bench.redis.close()


async def test_a_full_server_refuses_to_schedule_loudly(full_bench):
    broker = full_bench.broker()
    full_bench.fill()
    async with delivering(broker):
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            await broker.publish("x", full_bench.topic, timer_id="1")
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        full_bench.schedule("2")

    assert not full_bench.redis.exists(*full_bench.home.keys_of(full_bench.topic))


async def test_claims_and_commits_go_on_while_the_server_is_full(full_bench, open_calls):
    broker = full_bench.broker()

    @broker.subscriber(full_bench.topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    ids = [str(n) for n in range(30)]
    for timer_id in ids:
        full_bench.schedule(timer_id)
    full_bench.fill()
    async with delivering(broker):
        await full_bench.until_gone(*ids)

    assert open_calls.counts == dict.fromkeys(ids, 1)
    assert full_bench.log.complaints == []


@pytest.mark.parametrize("delay", [None, HOUR])
async def test_a_failed_timer_is_kept_while_the_server_is_full(full_bench, calls, delay):
    broker = full_bench.broker()

    @broker.subscriber(full_bench.topic)
    async def handle(message: TimerMessage):
        calls.note(message)
        await message.nack(delay)

    full_bench.schedule("1")
    full_bench.fill()
    async with delivering(broker):
        await wait_until_async(lambda: calls.ids and not full_bench.is_leased("1"))

    assert not full_bench.is_gone("1")
    assert full_bench.log.complaints == []


async def test_retries_renewals_and_dead_letters_go_on_while_the_server_is_full(
    full_bench, open_calls
):
    broker = full_bench.broker(dead_letter_topic="{topic}:dead")
    policy = RetryPolicy(max_attempts=2, delay=timedelta(milliseconds=1))
    renewed = []

    @broker.subscriber(full_bench.topic, retry_policy=policy)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        renewed.append(await message.renew(300.0))
        raise ValueError

    full_bench.schedule("1")
    full_bench.schedule("2")
    full_bench.fill()
    async with delivering(broker):
        await full_bench.until_gone("1", "2")

    assert open_calls.counts == {"1": 2, "2": 2}
    assert {message.attempt for message in open_calls.messages} == {1, 2}
    assert renewed == [True] * 4
    assert full_bench.client.count_pending(f"{full_bench.topic}:dead") == 2
    assert not [line for line in full_bench.log.complaints if INTERRUPTED in line]


async def test_a_stopping_worker_releases_timers_on_a_full_server(full_bench, calls):
    broker = full_bench.broker(graceful_timeout=0.0)

    @broker.subscriber(full_bench.topic)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    full_bench.schedule("1")
    due = full_bench.score("1")
    full_bench.fill()
    async with delivering(broker):
        await calls.until(1)

    assert full_bench.score("1") == due


async def test_cancelling_goes_on_while_the_server_is_full(full_bench):
    for timer_id in ("1", "2", "3"):
        full_bench.schedule(timer_id, activate_in=HOUR)
    full_bench.fill()

    assert full_bench.client.cancel_timer(full_bench.topic, "1") is True
    assert full_bench.client.cancel_all(full_bench.topic) == 2


async def test_a_commit_whose_reply_is_lost_is_repeated_and_its_handler_is_not(bench, relay, calls):
    broker = bench.broker(relay.url)

    @broker.subscriber(bench.topic, max_concurrent=1)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        relay.lose_reply()
        calls.gate.set()
        await wait_until_async(lambda: commits(relay, "1") == 2)
        assert bench.is_gone("1")
        await bench.until_settled(broker)

    assert calls.ids == ["1", "last"]


def commits(relay, timer_id):
    return sum(
        command[n : n + 2] == (b"commit", timer_id.encode())
        for command in list(relay.commands)
        for n in range(len(command))
    )


async def test_a_commit_that_meets_an_outage_goes_through_after_it(bench, relay, calls):
    broker = bench.broker(relay.url)

    @broker.subscriber(bench.topic)
    async def handle(message: TimerMessage):
        await calls.hold(message)

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        relay.refuse()
        calls.gate.set()
        await wait_until_async(lambda: bench.log.at(logging.ERROR))
        assert bench.is_leased("1")
        before = len(relay.commands)
        relay.accept()
        await bench.until_gone("1")

    assert calls.ids == ["1"]
    # The commit went before any claim: the first script call settles and claims nothing.
    first = next(c for c in relay.commands[before:] if c[0] in {b"EVALSHA", b"EVAL"})
    assert first[6] == b"0"
    assert first[13:15] == (b"commit", b"1")
    assert len(bench.log.complaints) == 1


async def test_a_nack_whose_reply_is_lost_is_no_warning(bench, relay, calls):
    broker = bench.broker(relay.url)

    @broker.subscriber(bench.topic, max_concurrent=1)
    async def handle(message: TimerMessage):
        if message.timer_id == "1":
            await calls.hold(message)
            await message.nack(delay=HOUR)

    bench.schedule("1")
    async with delivering(broker):
        await calls.until(1)
        relay.lose_reply()
        calls.gate.set()
        await bench.until_settled(broker)

    assert calls.ids == ["1"]
    assert not bench.is_gone("1")
    assert bench.log.at(logging.WARNING) == []
