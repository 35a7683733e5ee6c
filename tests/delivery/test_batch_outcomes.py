"""What becomes of the timers of a batch: policies, ways in which handlers end, and marks."""

import asyncio
import logging
from collections import Counter
from datetime import timedelta
from typing import Annotated

import pytest
from bench import HOUR, NO_POLLS, PanicException, delivering
from faststream import AckPolicy, BaseMiddleware, Depends
from faststream.exceptions import (
    AckMessage,
    NackMessage,
    RejectMessage,
    SetupError,
    SkipMessage,
    StopConsume,
)
from inside import kill_loop, leases_of
from pydantic import BaseModel
from waiting import wait_until_async

from faststream_redis_timers import Every, RetryPolicy
from faststream_redis_timers.annotations import TimerBatchMessage
from faststream_redis_timers.delivery import words
from faststream_redis_timers_sync import TimerPublishMessage
from faststream_redis_timers_sync.protocol.times import is_lease

DEAD = "{topic}:dead"
GONE, DEAD_LETTER, RELEASED = "gone", "a dead letter", "due as before the claim"
DUE, LATER, LEASED = "due when the lease would have ended", "due in an hour", "leased"
IDS = "abcd"

MARKS = {
    "no marks": {},
    "three marks": {0: ("ack", {}), 1: ("nack", {"delay": HOUR}), 2: ("reject", {})},
}
MARKED = {"a": GONE, "b": LATER, "c": DEAD_LETTER}

FAILED = {
    AckPolicy.ACK: GONE,
    AckPolicy.ACK_FIRST: GONE,
    AckPolicy.REJECT_ON_ERROR: DEAD_LETTER,
    AckPolicy.NACK_ON_ERROR: DUE,
    AckPolicy.MANUAL: LEASED,
}


OUTCOMES = {
    "returns": (None, dict.fromkeys(AckPolicy, GONE) | {AckPolicy.MANUAL: LEASED}),
    "raises": (ValueError, FAILED),
    "raises no Exception": (PanicException, FAILED),
    "AckMessage": (AckMessage, dict.fromkeys(AckPolicy, GONE)),
    "SkipMessage": (SkipMessage, dict.fromkeys(AckPolicy, GONE)),
    "RejectMessage": (
        RejectMessage,
        dict.fromkeys(AckPolicy, DEAD_LETTER) | {AckPolicy.ACK_FIRST: GONE},
    ),
    "NackMessage": (NackMessage, dict.fromkeys(AckPolicy, DUE) | {AckPolicy.ACK_FIRST: GONE}),
    "NackMessage with a delay": (
        NackMessage(delay=HOUR),
        dict.fromkeys(AckPolicy, LATER) | {AckPolicy.ACK_FIRST: GONE},
    ),
    "StopConsume": (StopConsume, dict.fromkeys(AckPolicy, RELEASED) | {AckPolicy.ACK_FIRST: GONE}),
    "SystemExit": (SystemExit, dict.fromkeys(AckPolicy, RELEASED) | {AckPolicy.ACK_FIRST: GONE}),
}
STOPS = {"StopConsume", "SystemExit"}


class Batches:
    """The batches that a handler was called with."""

    def __init__(self):
        self.messages = []

    def note(self, message):
        self.messages.append(message)

    @property
    def ids(self):
        """The ids of each call."""
        return [ids_of(message) for message in self.messages]

    @property
    def counts(self):
        return Counter(timer_id for ids in self.ids for timer_id in ids)

    async def until(self, count, timeout=10.0):
        await wait_until_async(lambda: len(self.messages) >= count, timeout)


def at_once(attempts):
    """Give a policy that keeps timers together which failed together."""
    return RetryPolicy(max_attempts=attempts, delay=timedelta(milliseconds=1), jitter=0.0)


def ids_of(message):
    return [timer.timer_id for timer in message.timers]


def schedule(bench, ids, **options):
    bench.client.schedule_batch(
        [TimerPublishMessage("first", timer_id=one, **options) for one in ids], bench.topic
    )


def dead_letters(bench):
    """Give the attempts of dead letters by their ids, and remove them."""
    topic = DEAD.format(topic=bench.topic)
    found = {
        one.headers["dead-letter-timer-id"]: int(one.headers["dead-letter-attempts"])
        for one in bench.client.iter_timers(topic)
    }
    bench.client.cancel_all(topic)
    return found


def states_of(bench, ids, before, lease, dead):
    return {one: state_of(bench, one, before, lease, dead) for one in ids}


def state_of(bench, timer_id, before, lease, dead):
    score = bench.score(timer_id)
    if score is None:
        return DEAD_LETTER if timer_id in dead else GONE
    if score == before[timer_id]:
        return RELEASED
    if score == lease:
        return LEASED
    assert not is_lease(score)
    if score > lease:
        assert 0 <= bench.home.now().timestamp() + 3600 - score < 30
        return LATER
    assert 0 < lease - score < 1e-6
    return DUE


@pytest.mark.parametrize("policy", AckPolicy)
@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("marks", MARKS)
async def test_policy_outcome_and_marks_decide_about_each_timer(bench, policy, outcome, marks):
    error, expected = OUTCOMES[outcome]
    batches = Batches()
    broker = bench.broker()

    @broker.subscriber(bench.topic, ack_policy=policy, dead_letter_topic=DEAD, batch=True)
    async def handle(message: TimerBatchMessage):
        if ids_of(message) == ["last"]:
            await message.ack()
            return
        batches.note(message)
        if not message.is_split:
            for place, (mark, options) in MARKS[marks].items():
                await getattr(message.timers[place], mark)(**options)
        if error is not None:
            raise error

    schedule(bench, IDS)
    before = {one: bench.score(one) for one in IDS}
    async with delivering(broker):
        await batches.until(1)
        if outcome in STOPS:
            await wait_until_async(lambda: not broker.subscribers[0].running)
        else:
            await bench.until_settled(broker)
    lease = float(batches.messages[0].raw_message.deliveries[0].claim.lease)
    dead = dead_letters(bench)
    found = states_of(bench, IDS, before, lease, dead)

    assert batches.ids[0] == list(IDS)
    is_first = policy is AckPolicy.ACK_FIRST
    marked = MARKED if MARKS[marks] and not is_first else {}
    assert found == {one: marked.get(one, expected[policy]) for one in IDS}
    assert set(dead.values()) <= {1}
    # The timer 'last' is acked too.
    refused = (len(MARKS[marks]) + (outcome not in STOPS)) * is_first
    assert sum("had no effect" in line for line in bench.log.complaints) == refused


@pytest.mark.parametrize("policy", [AckPolicy.NACK_ON_ERROR, AckPolicy.MANUAL])
async def test_the_first_mark_of_a_timer_counts(bench, policy):
    batches = Batches()
    broker = bench.broker()

    @broker.subscriber(bench.topic, ack_policy=policy, batch=True)
    async def handle(message: TimerBatchMessage):
        if ids_of(message) != ["last"]:
            batches.note(message)
            await message.timers[0].nack(delay=HOUR)
            await message.timers[0].ack()
            await message.timers[0].reject()
        await message.ack()

    schedule(bench, "ab")
    async with delivering(broker):
        await batches.until(1)
        await bench.until_settled(broker)

    assert bench.score("a") > bench.home.now().timestamp() + 3500
    assert bench.score("b") is None


async def test_marks_are_sent_at_once_under_manual_and_else_with_the_settlement(bench):
    seen = {}
    done = asyncio.Event()
    broker = bench.broker()

    def subscribe(topic, policy):
        @broker.subscriber(topic, ack_policy=policy, batch=True)
        async def handle(message: TimerBatchMessage):
            await message.timers[0].ack()
            seen[policy] = bench.client.has_pending(topic, "a")
            if len(seen) == 2:
                done.set()
            await done.wait()
            await message.ack()

    topics = {AckPolicy.MANUAL: "manual", AckPolicy.ACK: "automatic"}
    for policy, topic in topics.items():
        subscribe(topic, policy)
        bench.client.schedule("x", topic, timer_id="a")
        bench.client.schedule("x", topic, timer_id="b")
    async with delivering(broker):
        await asyncio.wait_for(done.wait(), 10)
        await wait_until_async(lambda: not any(map(bench.client.count_pending, topics.values())))

    assert seen == {AckPolicy.MANUAL: False, AckPolicy.ACK: True}


async def test_a_delay_of_a_mark_that_is_no_timedelta_is_refused_at_once(bench):
    errors = []
    broker = bench.broker()

    @broker.subscriber(bench.topic, batch=True)
    async def handle(message: TimerBatchMessage):
        with pytest.raises(TypeError, match=r"delay must be a timedelta.*5") as error:
            await message.timers[0].nack(delay=5)
        errors.append(error)

    bench.schedule("a")
    async with delivering(broker):
        await bench.until_gone("a")

    assert len(errors) == 1


async def test_where_a_commit_comes_first_those_whose_commit_fails_leave_the_list(bench, relay):
    batches = Batches()
    broker = bench.broker(relay.url, graceful_timeout=2.0)

    @broker.subscriber(bench.topic, ack_policy=AckPolicy.ACK_FIRST, batch=True, **NO_POLLS)
    async def handle(message: TimerBatchMessage):
        batches.note(message)

    async with delivering(broker):
        await bench.hold_a_claim(relay, "a", "b", "c")
        bench.client.cancel_timer(bench.topic, "b")
        relay.resume()
        await batches.until(1)
        await bench.until_gone("a", "c")
        await bench.until_settled(broker)
        # None of them is leased any longer, and the slot is free again.
        await wait_until_async(lambda: leases_of(broker.subscribers[0]) == 0)

    assert batches.ids == [["a", "c"], ["last"]]
    assert not batches.messages[0].is_split
    (line,) = bench.log.complaints
    assert line == words.not_committed_first("invoices", 1)


async def test_an_instruction_that_is_not_understood_is_told_of_once(bench):
    broker = bench.broker()

    @broker.subscriber(bench.topic, batch=True, **NO_POLLS)
    async def handle(message: TimerBatchMessage):
        raise NackMessage(delay=5)

    schedule(bench, IDS)
    before = {one: bench.score(one) for one in IDS}
    async with delivering(broker):
        await wait_until_async(lambda: bench.log.complaints)
        await wait_until_async(
            lambda: all(bench.score(one) > before[one] and not bench.is_leased(one) for one in IDS)
        )

    (line,) = [line for line in bench.log.complaints if "NackMessage" in line]
    assert line.startswith("invalid NackMessage for timer 'a' and 3 others of topic 'invoices', ")


# --- failed batches


async def failing(bench, ids, bad, *, policy=AckPolicy.NACK_ON_ERROR, attempts=3, **options):
    """Deliver timers of which some are bad until all have ended; give the calls."""
    batches = Batches()
    broker = bench.broker()

    @broker.subscriber(
        bench.topic,
        batch=True,
        ack_policy=policy,
        retry_policy=at_once(attempts),
        dead_letter_topic=DEAD,
        **options,
    )
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if any(one in bad for one in ids_of(message)):
            raise ValueError

    schedule(bench, ids)
    async with delivering(broker):
        await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0, 60)
    return batches


def handled(batches, bad):
    """Count how often each timer was handled in a call that did not fail."""
    return Counter(
        one for ids in batches.ids for one in ids if not any(each in bad for each in ids)
    )


@pytest.mark.parametrize("share", [1, 30])
@pytest.mark.parametrize("policy", [AckPolicy.NACK_ON_ERROR, AckPolicy.REJECT_ON_ERROR])
async def test_each_good_timer_is_handled_once_and_each_bad_one_dead_lettered(bench, policy, share):
    ids = [f"{n}" for n in range(1000)]
    bad = {one for n, one in enumerate(ids) if n % 100 < share}

    batches = await failing(bench, ids, bad, policy=policy)

    assert handled(batches, bad) == Counter(set(ids) - bad)
    attempts = 3 if policy is AckPolicy.NACK_ON_ERROR else 1
    assert dead_letters(bench) == dict.fromkeys(bad, attempts)


async def test_in_an_outage_a_round_takes_few_calls_but_for_last_attempts(bench):
    ids = [f"{n:02}" for n in range(100)]

    batches = await failing(bench, ids, set(ids), attempts=4)

    calls = Counter()
    for message in batches.messages:
        attempts = {timer.attempt for timer in message.timers}
        calls[max(attempts)] += 1
    assert all(calls[attempt] <= 12 for attempt in (1, 2, 3))
    # Nobody is dead-lettered for others: each has failed alone.
    assert dead_letters(bench) == dict.fromkeys(ids, 4)
    alone = Counter(ids[0] for ids in batches.ids if len(ids) == 1)
    assert set(alone) == set(ids)


async def test_none_is_dead_lettered_for_others_when_an_outage_ends_at_the_last_attempt(bench):
    ids = [f"{n:02}" for n in range(50)]
    batches = Batches()
    broker = bench.broker()
    bad = "07"

    @broker.subscriber(
        bench.topic,
        batch=True,
        retry_policy=at_once(2),
        dead_letter_topic=DEAD,
    )
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        is_away = max(timer.attempt for timer in message.timers) == 1
        if is_away or bad in ids_of(message):
            raise ConnectionError

    schedule(bench, ids)
    async with delivering(broker):
        await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0, 30)

    assert dead_letters(bench) == {bad: 2}
    assert any("so 48 others count as failed" in line for line in bench.log.complaints)


async def test_marks_stand_and_only_others_are_tried_alone(bench):
    batches = Batches()
    broker = bench.broker()

    @broker.subscriber(bench.topic, batch=True)
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if not message.is_split:
            for timer in message.timers[:3]:
                await timer.ack()
            raise ValueError

    schedule(bench, "abcdef")
    async with delivering(broker):
        await bench.until_gone(*"abcdef")

    first, *others = batches.messages
    assert ids_of(first) == list("abcdef")
    assert (first.is_split, first.redelivered) == (False, False)
    assert sorted(map(ids_of, others)) == [["d"], ["e"], ["f"]]
    assert all(message.is_split and message.redelivered for message in others)


async def test_one_that_is_left_unmarked_is_tried_alone(bench):
    batches = Batches()
    broker = bench.broker()

    @broker.subscriber(bench.topic, batch=True, ack_policy=AckPolicy.REJECT_ON_ERROR)
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if not message.is_split:
            await message.timers[0].ack()
            raise ValueError

    schedule(bench, "ab")
    async with delivering(broker):
        await bench.until_gone("a", "b")

    assert batches.ids == [["a", "b"], ["b"]]
    assert not any("removed" in line for line in bench.log.complaints)


async def test_a_timer_that_is_tried_alone_can_be_given_an_instruction(bench):
    batches = Batches()
    broker = bench.broker()
    instructions = {"a": NackMessage(delay=HOUR), "b": RejectMessage(), "c": AckMessage()}

    @broker.subscriber(bench.topic, batch=True, dead_letter_topic=DEAD)
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if not message.is_split:
            raise ValueError
        raise instructions[ids_of(message)[0]]

    schedule(bench, "abc")
    async with delivering(broker):
        await bench.until_gone("b", "c")
        await wait_until_async(lambda: not bench.is_leased("a"))

    assert sorted(batches.ids) == [["a"], ["a", "b", "c"], ["b"], ["c"]]
    assert bench.score("a") > bench.home.now().timestamp() + 3500
    assert dead_letters(bench) == {"b": 1}


class Order(BaseModel):
    number: int


@pytest.mark.parametrize("policy", [AckPolicy.NACK_ON_ERROR, AckPolicy.REJECT_ON_ERROR])
@pytest.mark.parametrize("is_async", [True, False])
async def test_bodies_that_are_found_to_be_wrong_fail_alone(bench, policy, is_async):
    calls = []
    broker = bench.broker()
    subscriber = broker.subscriber(
        bench.topic,
        batch=True,
        ack_policy=policy,
        dead_letter_topic=DEAD,
        retry_policy=RetryPolicy(max_attempts=1),
    )

    def note(orders, message):
        calls.append([order.number for order in orders])
        assert message.is_split

    if is_async:

        @subscriber
        async def handle(orders: list[Order], message: TimerBatchMessage):
            note(orders, message)
    else:

        @subscriber
        def handle(orders: list[Order], message: TimerBatchMessage):
            note(orders, message)

    bodies = [{"number": "wrong" if n in {0, 4, 5} else n} for n in range(7)]
    bench.client.schedule_batch(
        [TimerPublishMessage(body, timer_id=f"{n}") for n, body in enumerate(bodies)], bench.topic
    )
    async with delivering(broker):
        await bench.until_gone(*"0123456")

    assert calls == [[1, 2, 3, 6]]
    assert dead_letters(bench) == {"0": 1, "4": 1, "5": 1}


async def test_what_a_handler_itself_finds_wrong_names_no_timer(bench):
    """The places in a list of the handler's own are not those of timers."""
    batches = Batches()
    broker = bench.broker()

    class Lines(BaseModel):
        lines: list[int]

    @broker.subscriber(bench.topic, batch=True, ack_policy=AckPolicy.REJECT_ON_ERROR)
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if "c" in ids_of(message):
            Lines(lines=["wrong"])

    schedule(bench, "abc")
    async with delivering(broker):
        await bench.until_gone(*"abc")

    assert sorted(batches.ids) == [["a"], ["a", "b", "c"], ["b"], ["c"]]
    assert sum("was removed" in line for line in bench.log.complaints) == 1


class ProblemError(Exception):
    """The details of a failed call, under names that pydantic's error has too."""

    title = "Upstream failed"
    errors = ("quota",)


async def test_an_error_that_looks_like_pydantic_s_names_no_timer(bench):
    broker = bench.broker()

    def dependency():
        raise ProblemError

    @broker.subscriber(
        bench.topic, batch=True, ack_policy=AckPolicy.REJECT_ON_ERROR, dead_letter_topic=DEAD
    )
    async def handle(orders: list[str], _: Annotated[None, Depends(dependency)]): ...

    schedule(bench, IDS)
    async with delivering(broker):
        await bench.until_gone(*IDS)

    assert dead_letters(bench) == dict.fromkeys(IDS, 1)


async def test_what_is_wrong_in_another_list_names_no_timer(bench):
    """A dependency may give a list as well."""
    calls = []
    broker = bench.broker()

    def dependency():
        calls.append("tried")
        return ["wrong"] if len(calls) == 1 else [1]

    @broker.subscriber(bench.topic, batch=True, ack_policy=AckPolicy.REJECT_ON_ERROR)
    async def handle(orders: list[Order], numbers: Annotated[list[int], Depends(dependency)]):
        calls.append([order.number for order in orders])

    bodies = [TimerPublishMessage({"number": n}, timer_id=f"{n}") for n in range(3)]
    bench.client.schedule_batch(bodies, bench.topic)
    async with delivering(broker):
        await bench.until_gone(*"012")

    assert sorted(one for one in calls if one != "tried") == [[0], [1], [2]]
    assert not any("was removed" in line for line in bench.log.complaints)


async def test_places_are_not_trusted_where_a_decoder_has_left_bodies_out(bench):
    calls = []
    broker = bench.broker()

    async def without_skipped(message, original):
        return [body for body in await original(message) if body["number"] != "skip"]

    @broker.subscriber(
        bench.topic,
        batch=True,
        ack_policy=AckPolicy.REJECT_ON_ERROR,
        dead_letter_topic=DEAD,
        decoder=without_skipped,
    )
    async def handle(orders: list[Order]):
        calls.append([order.number for order in orders])

    bodies = ["skip", 1, "wrong", 3]
    bench.client.schedule_batch(
        [TimerPublishMessage({"number": n}, timer_id=f"{n}") for n in bodies], bench.topic
    )
    async with delivering(broker):
        await bench.until_gone(*map(str, bodies))

    assert sorted(calls) == [[], [1], [3]]
    assert dead_letters(bench) == {"wrong": 1}


async def test_marks_of_a_dependency_stand_where_bodies_are_found_to_be_wrong(bench):
    calls = []
    broker = bench.broker()

    async def reject_two(message: TimerBatchMessage):
        if not message.is_split:
            await message.timers[0].reject()
            await message.timers[1].reject()

    @broker.subscriber(bench.topic, batch=True, dead_letter_topic=DEAD)
    async def handle(orders: list[Order], marked: Annotated[None, Depends(reject_two)]):
        calls.append([order.number for order in orders])

    bodies = zip(IDS, ["wrong", 1, 2, 3], strict=True)
    bench.client.schedule_batch(
        [TimerPublishMessage({"number": n}, timer_id=one) for one, n in bodies], bench.topic
    )
    async with delivering(broker):
        await bench.until_gone(*IDS)

    assert calls == [[2, 3]]
    assert dead_letters(bench) == {"a": 1, "b": 1}


async def test_none_is_dead_lettered_for_the_headers_of_the_first_one(bench):
    batches = Batches()
    broker = bench.broker()
    subscriber = broker.subscriber(
        bench.topic, batch=True, lease_ttl=1.0, retry_policy=at_once(2), dead_letter_topic=DEAD
    )

    @subscriber(filter=lambda message: message.headers.get("kind") == "known")
    async def handle(message: TimerBatchMessage):
        batches.note(message)

    schedule(bench, ["a"])
    known = [f"b{n}" for n in range(5)]
    schedule(bench, known, headers={"kind": "known"})
    async with delivering(broker):
        await bench.until_gone("a", *known)

    assert batches.counts == Counter(known)
    assert dead_letters(bench) == {"a": 2}


async def test_what_no_filter_accepts_is_kept_under_each_policy(bench):
    broker = bench.broker()
    subscriber = broker.subscriber(
        bench.topic, batch=True, ack_policy=AckPolicy.REJECT_ON_ERROR, dead_letter_topic=DEAD
    )
    filtered = []

    @subscriber(filter=filtered.append)
    async def handle(message: TimerBatchMessage):
        raise AssertionError

    schedule(bench, IDS)
    async with delivering(broker):
        await wait_until_async(lambda: filtered)
        await wait_until_async(lambda: not any(map(bench.is_leased, IDS)))

    assert len(filtered) == 1
    assert all(bench.score(one) is not None for one in IDS)
    assert dead_letters(bench) == {}


async def test_what_no_filter_accepts_alone_says_nothing_about_others_of_its_batch(bench):
    batches = Batches()
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic, batch=True, ack_policy=AckPolicy.NACK_ON_ERROR)

    @subscriber(filter=lambda message: message.headers.get("kind") == "known")
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if not message.is_split:
            raise ValueError

    known = [f"a{n}" for n in range(3)]
    schedule(bench, known, headers={"kind": "known"})
    # The filter sees the headers of the first one.
    schedule(bench, [f"b{n}" for n in range(30)])
    async with delivering(broker):
        await bench.until_gone(*known)
        await wait_until_async(lambda: not any(bench.is_leased(f"b{n}") for n in range(30)))

    assert sorted(batches.ids[1:]) == [[one] for one in known]
    assert bench.client.count_pending(bench.topic) == 30
    assert not any("a common cause" in line for line in bench.log.complaints)


@pytest.mark.parametrize("attempts", [1, 2])
async def test_none_is_dead_lettered_whose_worker_died_with_a_batch_on_its_last_attempt(
    bench, attempts
):
    begun = asyncio.Event()
    done = []

    def subscriber_of(broker):
        return broker.subscriber(
            bench.topic,
            batch=True,
            lease_ttl=2.0,
            retry_policy=at_once(attempts),
            dead_letter_topic=DEAD,
        )

    first = bench.broker(graceful_timeout=0.1)

    @subscriber_of(first)
    async def die(message: TimerBatchMessage):
        if message.timers[0].attempt < attempts:
            raise ConnectionError
        begun.set()
        await asyncio.sleep(60)

    schedule(bench, IDS)
    async with delivering(first):
        await asyncio.wait_for(begun.wait(), 10)
        await kill_loop(first.subscribers[0])
        second = bench.broker()

        @subscriber_of(second)
        async def handle(message: TimerBatchMessage):
            done.append([(timer.timer_id, timer.attempt) for timer in message.timers])

        async with delivering(second):
            await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0, 20)

    assert dead_letters(bench) == {}
    # Alone, since any of them may be what has killed the worker.
    assert sorted(done) == [[(one, attempts + 1)] for one in IDS]


# --- time


@pytest.mark.parametrize("counted", [True, False])
async def test_a_batch_that_hangs_leaves_no_time_and_its_timers_are_redelivered_alone(
    bench, counted
):
    """The last attempt of a good one is not used up by the one that hangs."""
    batches = Batches()
    broker = bench.broker()
    options = {
        "retry_policy": at_once(2),
        "dead_letter_topic": DEAD,
    }

    @broker.subscriber(
        bench.topic,
        batch=True,
        lease_ttl=3.0,
        handler_timeout=2.0,
        **(options if counted else {}),
    )
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if "b" in ids_of(message):
            await asyncio.sleep(60)

    schedule(bench, "abc")
    async with delivering(broker):
        await bench.until_gone("a", "c")
        if counted:
            await bench.until_gone("b")

    if counted:
        # As a batch, as a batch whose last attempt is taken back, and alone.
        assert dead_letters(bench) == {"b": 2}
        assert [sorted(ids) for ids in batches.ids[:2]] == [["a", "b", "c"]] * 2
        assert sorted(batches.ids[2:]) == [["a"], ["b"], ["c"]]
        attempts = [one.attempt for message in batches.messages[2:] for one in message.timers]
        assert attempts == [2, 2, 2]
    else:
        # One alone goes well, so two come together, and after an error again one alone.
        assert batches.ids[:3] == [["a", "b", "c"], ["a"], ["b", "c"]]
        assert ["c"] in batches.ids
    late = "failed too late to try its timers alone"
    assert sum(late in line for line in bench.log.complaints) == 2


async def test_what_no_time_is_left_for_is_released_and_not_counted(bench):
    """Each call alone takes a quarter of the lease."""
    batches = Batches()
    broker = bench.broker()

    @broker.subscriber(bench.topic, batch=True, lease_ttl=3.0, dead_letter_topic=DEAD)
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if not message.is_split and message.timers[0].timer_id == "a":
            raise ValueError
        await asyncio.sleep(0.75)

    schedule(bench, "abcdefgh")
    async with delivering(broker):
        await bench.until_gone(*"abcdefgh")

    # Nobody's lease was lost, and nothing was handled twice.
    assert bench.log.at(logging.WARNING) == []
    assert all(timer.attempt == 1 for message in batches.messages for timer in message.timers)
    done = [ids for message in batches.messages if (ids := ids_of(message))]
    assert Counter(one for ids in done if len(ids) == 1 or "a" not in ids for one in ids) == (
        Counter("abcdefgh")
    )


async def test_a_lease_that_ends_before_a_timer_is_tried_alone_says_nothing_about_others(bench):
    batches = Batches()

    class Slow(BaseMiddleware):
        async def consume_scope(self, call_next, msg):
            if msg.is_split:
                await asyncio.sleep(2.2)
            return await call_next(msg)

    broker = bench.broker(middlewares=[Slow])

    @broker.subscriber(bench.topic, batch=True, lease_ttl=2.0, dead_letter_topic=DEAD)
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if len(message.timers) > 1:
            raise ValueError

    schedule(bench, IDS)
    async with delivering(broker):
        await bench.until_gone(*IDS)

    assert batches.ids[0] == list(IDS)
    assert not any("a common cause" in line for line in bench.log.complaints)
    assert sum("failed too late" in line for line in bench.log.complaints) >= 1
    assert dead_letters(bench) == {}


@pytest.mark.parametrize("policy", [AckPolicy.NACK_ON_ERROR, AckPolicy.REJECT_ON_ERROR])
async def test_a_timer_that_is_cancelled_meanwhile_does_not_keep_others_from_being_tried(
    bench, policy
):
    batches = Batches()
    broker = bench.broker()

    @broker.subscriber(
        bench.topic,
        batch=True,
        ack_policy=policy,
        lease_ttl=1.5,
        renew_lease=True,
        max_lease=60.0,
        dead_letter_topic=DEAD,
    )
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if not message.is_split:
            bench.client.cancel_timer(bench.topic, "b")
            # Its renewal is refused, those of the others are not.
            timers = {timer.timer_id: timer for timer in message.timers}
            await wait_until_async(lambda: timers["b"].lease_lost)
            await asyncio.sleep(2.0)
            raise ValueError

    schedule(bench, IDS)
    async with delivering(broker):
        await bench.until_gone(*IDS)

    assert batches.ids[0] == list(IDS)
    assert sorted(batches.ids[1:]) == [["a"], ["c"], ["d"]]
    assert dead_letters(bench) == {}
    assert not any("failed too late" in line for line in bench.log.complaints)


async def test_a_batch_that_fails_after_its_subscriber_has_stopped_is_not_split(bench):
    batches = Batches()
    broker = bench.broker(graceful_timeout=0.1)
    gate = asyncio.Event()
    ended = asyncio.Event()

    @broker.subscriber(bench.topic, batch=True)
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        ended.set()
        raise ValueError

    schedule(bench, IDS)
    await broker.start()
    await batches.until(1)
    await broker.stop()
    gate.set()
    await ended.wait()
    await wait_until_async(lambda: any("were settled after" in one for one in bench.log.complaints))

    assert batches.ids == [list(IDS)]
    # Once for all of them.
    assert sum("were settled after" in one for one in bench.log.complaints) == 1
    assert all(map(bench.is_leased, IDS))
    bench.client.cancel_all(bench.topic)


async def test_a_stop_while_timers_are_tried_alone_releases_the_others(bench):
    batches = Batches()
    broker = bench.broker(graceful_timeout=5.0)
    gate = asyncio.Event()

    @broker.subscriber(bench.topic, batch=True, dead_letter_topic=DEAD)
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if not message.is_split:
            raise ValueError
        await gate.wait()

    schedule(bench, IDS)
    before = {one: bench.score(one) for one in IDS}
    await broker.start()
    await batches.until(2)
    stopping = asyncio.create_task(broker.stop())
    await wait_until_async(lambda: not broker.subscribers[0].running)
    gate.set()
    await stopping

    (done,) = batches.ids[1]
    assert len(batches.messages) == 2
    assert bench.score(done) is None
    left = set(IDS) - {done}
    assert {one: bench.score(one) for one in left} == {one: before[one] for one in left}
    # Not counted: there is no key of attempts.
    assert not bench.redis.exists(bench.home.keys_of(bench.topic).attempts)


@pytest.mark.parametrize("alone", [False, True])
async def test_a_cancelled_handler_leaves_its_marks_and_the_rest_is_released(bench, alone):
    batches = Batches()
    broker = bench.broker(graceful_timeout=0.1)

    @broker.subscriber(bench.topic, batch=True)
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if not message.is_split:
            await message.timers[0].ack()
            if alone:
                raise ValueError
        await asyncio.sleep(60)

    schedule(bench, IDS)
    before = {one: bench.score(one) for one in IDS}
    async with delivering(broker):
        await batches.until(2 if alone else 1)

    assert bench.score("a") is None
    assert [bench.score(one) for one in "bcd"] == [before[one] for one in "bcd"]
    assert bench.log.at(logging.WARNING) == []


async def test_a_handler_that_hangs_at_a_stop_keeps_its_timers_leased(bench):
    batches = Batches()
    broker = bench.broker(graceful_timeout=0.1)
    gate = asyncio.Event()

    @broker.subscriber(bench.topic, batch=True)
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    schedule(bench, IDS)
    await broker.start()
    await batches.until(1)
    await broker.stop()
    leased = [bench.is_leased(one) for one in IDS]
    gate.set()

    assert leased == [True] * 4
    assert any("did not end when they were cancelled (1)" in line for line in bench.log.complaints)


# --- what comes into batches


async def test_claims_bring_up_to_max_records_and_each_slot_holds_a_batch(bench):
    running = most_running = 0
    sizes = []
    broker = bench.broker()

    @broker.subscriber(bench.topic, batch=True, max_records=7, max_concurrent=2)
    async def handle(message: TimerBatchMessage):
        nonlocal running, most_running
        sizes.append(len(message.timers))
        running += 1
        most_running = max(most_running, running)
        await asyncio.sleep(0.02)
        running -= 1

    schedule(bench, [f"{n}" for n in range(30)])
    async with delivering(broker):
        await wait_until_async(lambda: bench.client.count_pending(bench.topic) == 0)

    assert sorted(sizes) == [2, 7, 7, 7, 7]
    assert most_running == 2


async def test_bodies_and_timers_come_in_the_order_of_due_times(bench):
    seen = []
    broker = bench.broker()

    @broker.subscriber(bench.topic, batch=True)
    async def handle(bodies: list[int], message: TimerBatchMessage):
        seen.append((bodies, ids_of(message), [timer.attempt for timer in message.timers]))

    now = bench.home.now()
    for n in (3, 1, 2):
        bench.client.schedule(
            n, bench.topic, timer_id=f"{n}", activate_at=now - timedelta(seconds=10 - n)
        )
    async with delivering(broker):
        await bench.until_gone("1", "2", "3")

    assert seen == [([1, 2, 3], ["1", "2", "3"], [None] * 3)] or len(seen[0][0]) == 3


async def test_what_can_t_be_read_is_settled_before_the_batch_is_made(bench):
    batches = Batches()
    broker = bench.broker()

    @broker.subscriber(bench.topic, batch=True, dead_letter_topic=DEAD)
    async def handle(message: TimerBatchMessage):
        batches.note(message)

    schedule(bench, "ab")
    keys = bench.home.keys_of(bench.topic)
    bench.redis.zadd(keys.timeline, {"broken": 1, "orphan": 2})
    bench.redis.hset(keys.payloads, "broken", b"\x89BIN\r\n\x1a\n\x00\x01\x00\x00\x00\xff")
    async with delivering(broker):
        await bench.until_gone("a", "b")

    assert batches.ids == [["a", "b"]]
    assert sum("had no payload" in line for line in bench.log.complaints) == 1
    assert sum("it can't be read" in line for line in bench.log.complaints) == 1
    assert bench.client.cancel_all(DEAD.format(topic=bench.topic)) == 1


async def test_recurring_timers_of_a_batch_are_each_due_at_their_next_time(bench):
    batches = Batches()
    broker = bench.broker()

    @broker.subscriber(bench.topic, batch=True)
    async def handle(message: TimerBatchMessage):
        batches.note(message)

    start = bench.home.now() - timedelta(minutes=90)
    for n in range(3):
        repeat = Every(timedelta(hours=n + 1), start=start)
        bench.client.schedule(n, bench.topic, timer_id=f"{n}", repeat=repeat)
        bench.client.reschedule_timer(bench.topic, f"{n}", activate_in=timedelta())
    bench.schedule("once")
    async with delivering(broker):
        await bench.until_gone("once")
        await wait_until_async(lambda: not any(bench.is_leased(f"{n}") for n in range(3)))

    assert [sorted(ids) for ids in batches.ids] == [["0", "1", "2", "once"]]
    for n in range(3):
        due = bench.client.get_timer(bench.topic, f"{n}").due_at
        expected = start + timedelta(hours=n + 1) * (2 if n == 0 else 1)
        assert abs(due - expected) < timedelta(seconds=1)
    bench.client.cancel_all(bench.topic)


async def test_a_recurring_timer_of_a_failed_batch_is_dead_lettered_and_due_next(bench):
    broker = bench.broker()

    @broker.subscriber(
        bench.topic, batch=True, ack_policy=AckPolicy.REJECT_ON_ERROR, dead_letter_topic=DEAD
    )
    async def handle(message: TimerBatchMessage):
        if "1" in ids_of(message):
            raise ValueError

    start = bench.home.now() + timedelta(hours=1)
    for n in range(3):
        repeat = Every(timedelta(hours=1), start=start)
        bench.client.schedule(n, bench.topic, timer_id=f"{n}", repeat=repeat)
        bench.client.reschedule_timer(bench.topic, f"{n}", activate_in=timedelta())
    async with delivering(broker):
        await wait_until_async(
            lambda: all(abs(bench.score(f"{n}") - start.timestamp()) < 1 for n in range(3))
        )

    # Each has an id of its own, of which the timer's is a part.
    assert [one.partition(":")[0] for one in dead_letters(bench)] == ["1"]
    bench.client.cancel_all(bench.topic)


async def test_one_whose_lease_ended_while_its_batch_runs_is_no_new_batch(bench):
    """A claim of the same worker renews it."""
    batches = Batches()
    gate = asyncio.Event()
    broker = bench.broker()

    @broker.subscriber(
        bench.topic,
        batch=True,
        max_concurrent=2,
        lease_ttl=2.0,
        polling_interval=0.01,
        max_polling_interval=0.05,
        dead_letter_topic=DEAD,
    )
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        await gate.wait()

    schedule(bench, IDS)
    async with delivering(broker):
        await batches.until(1)
        lease = float(batches.messages[0].raw_message.claim.lease)
        await wait_until_async(lambda: all(bench.score(one) > lease for one in IDS))
        gate.set()
        await bench.until_gone(*IDS)

    assert batches.ids == [list(IDS)]
    assert bench.log.complaints == []


async def test_leases_of_a_batch_are_renewed_but_not_those_of_decided_timers(bench):
    batches = Batches()
    gate = asyncio.Event()
    broker = bench.broker()

    @broker.subscriber(
        bench.topic, batch=True, lease_ttl=2.0, renew_lease=True, ack_policy=AckPolicy.MANUAL
    )
    async def handle(message: TimerBatchMessage):
        await message.timers[0].nack(delay=HOUR)
        batches.note(message)
        await gate.wait()
        await message.ack()

    schedule(bench, IDS)
    async with delivering(broker):
        await batches.until(1)
        nacked = bench.score("a")
        leases = [bench.score(one) for one in "bcd"]
        await wait_until_async(
            lambda: all(
                bench.score(one) > lease + 0.5 for one, lease in zip("bcd", leases, strict=True)
            )
        )
        assert bench.score("a") == nacked
        gate.set()
        await bench.until_gone(*"bcd")

    assert len(batches.messages) == 1
    assert bench.log.complaints == []


async def test_after_max_lease_a_batch_is_no_longer_renewed_and_said_to_hang_once(bench):
    batches = Batches()
    broker = bench.broker(graceful_timeout=0.1)

    @broker.subscriber(
        bench.topic, batch=True, max_concurrent=2, lease_ttl=2.0, renew_lease=True, max_lease=3.0
    )
    async def handle(message: TimerBatchMessage):
        batches.note(message)
        if len(batches.messages) == 1:
            await asyncio.sleep(60)

    schedule(bench, IDS)
    async with delivering(broker):
        await bench.until_gone(*IDS)

    hung = [line for line in bench.log.at(logging.ERROR) if "max_lease" in line]
    assert len(hung) == 1
    assert "the leases of 4 timers" in hung[0]
    assert Counter(batches.counts) == dict.fromkeys(IDS, 2)


async def test_max_wait_is_a_gap_between_claims_that_a_full_one_ignores(bench):
    batches = Batches()
    times = []
    broker = bench.broker()

    @broker.subscriber(bench.topic, batch=True, max_records=3, max_wait=2.0)
    async def handle(message: TimerBatchMessage):
        times.append(asyncio.get_running_loop().time())
        batches.note(message)

    schedule(bench, [f"{n}" for n in range(7)])
    async with delivering(broker):
        await batches.until(3)
        schedule(bench, "789")
        await batches.until(4)

    assert batches.ids == [["0", "1", "2"], ["3", "4", "5"], ["6"], ["7", "8", "9"]]
    assert times[2] - times[0] < 1.9 < times[3] - times[2]


async def test_timers_are_not_given_one_by_one(bench):
    broker = bench.broker()
    subscriber = broker.subscriber(bench.topic, batch=True)
    await broker.start()

    with pytest.raises(SetupError, match=r"get_one\(\) returns timers one by one.*batch=True"):
        await subscriber.get_one()
    with pytest.raises(SetupError, match=r"`async for` returns timers one by one"):
        await anext(aiter(subscriber))
