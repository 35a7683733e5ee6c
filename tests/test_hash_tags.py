"""Keys with hash tags on a single primary: workers, clients, tests in memory, and two layouts."""

import logging
from datetime import timedelta
from unittest import mock

import pytest
from bench import bench_at, delivering
from faststream.exceptions import SetupError
from waiting import wait_until_async

from faststream_redis_timers import RetryPolicy, TestTimersBroker, TimersBroker, TimersRouter
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.manage.changing import Redrive, Tally, carry_out
from faststream_redis_timers_sync.manage.check import check_server
from faststream_redis_timers_sync.manage.chosen import Chosen
from faststream_redis_timers_sync.manage.selection import redrive_each
from faststream_redis_timers_sync.manage.stats import count_topics
from faststream_redis_timers_sync.manage.topics import (
    listening_topics,
    scan_topics,
    topics_elsewhere,
)
from faststream_redis_timers_sync.protocol.cluster import share_slot, slot_of
from faststream_redis_timers_sync.testing import FakeTimersClient

HOUR = timedelta(hours=1)
POLICY = RetryPolicy(max_attempts=2, delay=timedelta(0))
ELSEWHERE = (
    "two layouts of keys: topic 'invoices' also has timers under '{key}', the key {theirs} hash "
    "tags: programs {mine} hash tags don't see or deliver them: give all programs that share the "
    "topic the same hash_tags, and let workers of the other layout deliver what is left there"
)


@pytest.fixture
async def tagged(server_url, key_names):
    """A bench whose keys have hash tags."""
    async with bench_at(server_url, {**key_names, "hash_tags": True}) as bench:
        yield bench


@pytest.fixture
def tags(server_url, key_names):
    """A client with hash tags."""
    with TimersClient(server_url, **key_names, hash_tags=True) as timers:
        yield timers


@pytest.fixture
def plain(server_url, key_names):
    """A client of the same names without hash tags."""
    with TimersClient(server_url, **key_names) as timers:
        yield timers


# --- at work -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "end"), [("invoices", "{invoices}"), ("{eu}:invoices", "{eu}:invoices")]
)
async def test_retries_dead_letters_and_redrive(tagged, open_calls, key_names, topic, end):
    broker = tagged.broker(dead_letter_topic="{topic}:dead", retry_policy=POLICY)
    fails = True

    @broker.subscriber(topic)
    async def handle(message: TimerMessage):
        open_calls.note(message)
        if fails:
            raise LookupError

    tagged.client.schedule("INV-001", topic, timer_id="1")
    dead = f"{topic}:dead"
    async with delivering(broker):
        await wait_until_async(lambda: tagged.client.count_pending(dead) == 1)
        (dead_letter,) = tagged.client.iter_timers(dead)
        left = tagged.home.written()
        fails = False
        assert await broker.redrive(dead) == 1
        await open_calls.until(3)
        await wait_until_async(lambda: not tagged.home.written())

    assert dead_letter.headers["dead-letter-topic"] == topic
    assert [message.attempt for message in open_calls.messages] == [1, 2, 1]
    assert sorted(left) == sorted(
        f"{key_names[name]}:{end}:dead".encode() for name in ("timeline_key", "payloads_key")
    )
    assert share_slot(*left, tagged.timeline if topic == "invoices" else left[0])


async def test_a_worker_is_woken_and_listed(tagged, tags, open_calls):
    broker = tagged.broker()

    @broker.subscriber(tagged.topic, polling_interval=3600.0, max_polling_interval=3600.0)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    async with delivering(broker):
        await wait_until_async(lambda: listening_topics(tags) == {"invoices": 1})
        tags.schedule("x", "invoices", timer_id="1")
        await open_calls.until(1)
        await tagged.until_gone("1")
        (stats,) = count_topics(tags, ["invoices"]).topics

    assert (stats.pending, stats.workers) == (0, 1)


async def test_a_caller_gets_one(tagged, tags):
    broker = tagged.broker()
    subscriber = broker.subscriber(tagged.topic)
    tags.schedule("x", tagged.topic, timer_id="1")
    async with delivering(broker):
        message = await subscriber.get_one()
        await message.ack()
        await tagged.until_gone("1")

    assert message.timer_id == "1"


@pytest.mark.parametrize("prefix", ["", "svc:", "svc", "{eu}:", "a*:"])
def test_a_scan_finds_all_topics_and_no_others(server_url, key_names, prefix):
    names = {**key_names, "hash_tags": True}
    topics = {"invoices", "invoices:dead", "dead", ":dead", "é", "{own}:x", "x-{own}"}
    refused = {"": {":dead"}, "{eu}:": {"dead"}}
    topics -= refused.get(prefix, set())
    with (
        TimersClient(server_url, prefix=prefix, **names) as mine,
        TimersClient(server_url, prefix="other-", **names) as others,
    ):
        for topic in topics:
            mine.schedule("x", topic, activate_in=HOUR)
        if prefix:
            others.schedule("x", "topic", activate_in=HOUR)

        assert scan_topics(mine) == (topics, "", 1000, set(), False)


# --- what is refused ---------------------------------------------------------------------


@pytest.mark.parametrize("dead_letter_topic", ["failed", "dead:{topic}", "{{topic}}-failed"])
async def test_dead_letters_of_another_slot_are_refused_at_the_start(tagged, dead_letter_topic):
    broker = tagged.broker()
    broker.subscriber("invoices", dead_letter_topic=dead_letter_topic)(print)
    dead = dead_letter_topic.replace("{topic}", "invoices")

    if share_slot(*(tagged.home.keys_of(topic).timeline for topic in ("invoices", dead))):
        await broker.start()
        return
    with pytest.raises(SetupError) as caught:
        await broker.start()

    assert str(caught.value) == (
        f"dead_letter_topic of topic 'invoices' can't be {dead!r} where hash_tags=True: one "
        'script moves a timer there, so both need the same hash tag; write "{topic}:dead"'
    )


async def test_dead_letters_need_no_slot_without_hash_tags(bench):
    broker = bench.broker(dead_letter_topic="failed")
    broker.subscriber("invoices")(print)

    await broker.start()


async def test_a_router_counts_with_its_prefix(tagged):
    broker = tagged.broker(prefix="{eu}:")
    router = TimersRouter(prefix="svc:")
    router.subscriber("invoices", dead_letter_topic="failed")(print)
    broker.include_router(router)

    # Both are {eu}.
    await broker.start()


@pytest.mark.parametrize("argument", ["topic", "dead_letter_topic"])
async def test_a_topic_without_a_tag_is_refused_at_the_start(tagged, argument):
    broker = tagged.broker()
    broker.subscriber(**{"topic": "invoices", argument: "{invoices}"})(print)

    with pytest.raises(ValueError, match=rf"^{argument} can't be '{{invoices}}' where hash_tags="):
        await broker.start()


async def test_it_is_refused_in_tests_too(key_names):
    broker = TimersBroker(**key_names, hash_tags=True)
    broker.subscriber("invoices", dead_letter_topic="failed")(print)

    with pytest.raises(SetupError, match="dead_letter_topic of topic 'invoices'"):
        async with TestTimersBroker(broker):
            pass


async def test_both_front_ends_name_the_argument(tagged, tags):
    broker = tagged.broker()
    publisher = broker.publisher("invoices", reply_to="{y}")
    await broker.connect()

    for topic, reply_to in (("{x}", ""), ("x", "{x}")):
        name = "reply_to" if reply_to else "topic"
        with pytest.raises(ValueError, match=rf"^{name} can't be '{{x}}'.* write 'x'$"):
            await broker.publish("x", topic, reply_to=reply_to)
        with pytest.raises(ValueError, match=rf"^{name} can't be '{{x}}'.* write 'x'$"):
            tags.schedule("x", topic, reply_to=reply_to)
    with pytest.raises(ValueError, match=r"^reply_to can't be '{y}'"):
        await publisher.publish("x")
    with pytest.raises(ValueError, match=r"^dead_topic can't be '{x}'"):
        await broker.redrive("{x}")


async def test_a_dead_letter_of_a_topic_that_can_have_no_tag_stays(tagged, tags):
    # As another client may have written it, or somebody who copied it from other keys.
    for timer_id, origin in (("1:12345678", "{x}"), ("2:12345678", "invoices")):
        headers = {"dead-letter-reason": "attempts", "dead-letter-topic": origin}
        tags.schedule("x", "invoices:dead", timer_id=timer_id, headers=headers)

    assert tags.redrive("invoices:dead") == 1
    assert tags.get_pending_timers("invoices") == ["2"]
    assert tags.get_pending_timers("invoices:dead") == ["1:12345678"]


def dead_letter_by_hand(timers, dead_topic, **origins):
    """Schedule dead letters by the topics that they come from."""
    for timer_id, origin in origins.items():
        headers = {"dead-letter-reason": "attempts", "dead-letter-topic": origin}
        timers.schedule("x", dead_topic, timer_id=f"{timer_id}:12345678", headers=headers)


def test_a_dead_letter_of_another_slot_stays_and_the_others_are_redriven(tags):
    dead_letter_by_hand(tags, "{eu}:failed", a="{eu}:invoices", b="others", c="{eu}:trials")

    assert tags.redrive("{eu}:failed") == 2
    assert tags.get_pending_timers("{eu}:failed") == ["b:12345678"]
    assert tags.get_pending_timers("{eu}:invoices") == ["a"]
    assert tags.redrive("{eu}:failed", ["b:12345678"]) == 0


def test_its_outcome_is_told_with_the_reason(tags):
    dead_letter_by_hand(tags, "failed", a="others", b="failed:dead")
    tally = Tally()

    carry_out(tags, Redrive(), Chosen(topic="failed", everything=True), tally)

    assert (tally.done, tally.stayed) == (1, {"other slot": 1})
    assert dict(redrive_each(tags, "failed", ["a:12345678", "n"])) == {
        "a:12345678": "other slot",
        "n": "unknown",
    }


def test_without_hash_tags_there_are_no_slots(plain):
    dead_letter_by_hand(plain, "failed", a="others")

    assert plain.redrive("failed") == 1


# --- one call per slot ---------------------------------------------------------------------


def slots_asked_for(timers, ask):
    """Give how many slots each call touched, and how many calls there were."""
    slots = []
    run = timers._runner.run

    def note(operation):
        slots.append(len({slot_of(key) for key in operation.keys}))
        return run(operation)

    with mock.patch.object(type(timers._runner), "run", lambda _, operation: note(operation)):
        return ask(), slots


TOPICS = ["c", "a", "{eu}:x", "a:dead", "b", "{eu}:y"]


def test_topics_are_counted_by_slot(tags):
    for n, topic in enumerate(TOPICS, 1):
        tags.schedule_batch(["x"] * n, topic, activate_in=HOUR)

    snapshot, slots = slots_asked_for(tags, lambda: count_topics(tags, TOPICS))

    assert [(one.topic, one.pending) for one in snapshot.topics] == [
        (topic, n) for n, topic in enumerate(TOPICS, 1)
    ]
    # The last counts workers, and touches no key.
    assert slots == [1, 1, 1, 1, 0]


def test_topics_are_counted_at_once_without_hash_tags(plain):
    _, slots = slots_asked_for(plain, lambda: count_topics(plain, TOPICS))

    assert len(slots) == 2


def test_timers_in_the_other_layout_are_looked_for_by_slot(tags, plain):
    for topic in ("a", "b"):
        plain.schedule("x", topic, activate_in=HOUR)
        tags.schedule("x", f"{topic}2", activate_in=HOUR)

    mine, slots = slots_asked_for(tags, lambda: topics_elsewhere(tags, [*TOPICS, "a2"]))
    others, together = slots_asked_for(
        plain, lambda: topics_elsewhere(plain, ["a2", "a", "b2", "c"])
    )

    assert (mine, slots) == (["a", "b"], [1] * 5)
    assert (others, len(together)) == (["a2", "b2"], 5)


def test_a_batch_stays_within_a_slot(tags):
    calls, slots = slots_asked_for(
        tags,
        lambda: (
            tags.schedule_batch(["x"] * 450, "{eu}:x", activate_in=HOUR),
            tags.cancel_timers("{eu}:x", map(str, range(450))),
        ),
    )

    assert len(calls[0]) == 450
    assert slots == [1] * 6


# --- in memory ---------------------------------------------------------------------------


async def test_timers_in_memory_have_the_layout_of_their_broker():
    timers = FakeTimersClient(hash_tags=True)
    broker = TimersBroker(hash_tags=True)
    seen = []

    @broker.subscriber("invoices", dead_letter_topic="{topic}:dead", retry_policy=POLICY)
    async def handle(body: str):
        seen.append(body)
        raise LookupError

    testing = TestTimersBroker(broker, hold=True, client=timers)
    async with testing:
        timers.schedule("x", "invoices", activate_in=HOUR)
        await testing.advance(2 * HOUR, raise_errors=False)

        assert seen == ["x", "x"]
        assert scan_topics(timers).topics == {"invoices:dead"}
        assert timers.redrive("invoices:dead") == 1
        assert scan_topics(timers).topics == {"invoices"}
    with pytest.raises(ValueError, match="write 'x'"):
        timers.schedule("x", "{x}")


# --- two layouts on one server -----------------------------------------------------------


@pytest.mark.parametrize("hash_tags", [False, True])
async def test_a_worker_warns_of_timers_in_the_other_layout(
    bench, tagged, hash_tags, plain, tags, key_names
):
    mine, other = (tagged, plain) if hash_tags else (bench, tags)
    other.schedule("x", "invoices", activate_in=HOUR)
    broker = mine.broker()
    broker.subscriber("invoices")(print)
    broker.subscriber("others")(print)
    async with delivering(broker):
        await wait_until_async(lambda: mine.log.at(logging.WARNING))

    key = key_names["timeline_key"] + (":invoices" if hash_tags else ":{invoices}")
    layouts = ("with", "without") if hash_tags else ("without", "with")
    told = ELSEWHERE.format(key=key, mine=layouts[0], theirs=layouts[1])
    assert mine.log.at(logging.WARNING) == [told]
    assert topics_elsewhere(tags if hash_tags else plain, ["others", "invoices"]) == ["invoices"]


async def test_a_worker_whose_topics_are_in_one_layout_alone_warns_of_nothing(tagged, tags):
    for topic in ("invoices", "{eu}:invoices"):
        tags.schedule("x", topic, activate_in=HOUR)
    broker = tagged.broker()
    for topic in ("invoices", "{eu}:invoices"):
        broker.subscriber(topic)(print)
    async with delivering(broker):
        for topic in ("invoices", "{eu}:invoices"):
            # What is due now is delivered after the look.
            tags.schedule("x", topic, timer_id="1")
            await wait_until_async(lambda topic=topic: not tags.has_pending(topic, "1"))

    assert tagged.log.complaints == []


def test_a_scan_with_hash_tags_sees_timers_that_have_none(plain, tags):
    plain.schedule("x", "invoices", activate_in=HOUR)
    tags.schedule("x", "others", activate_in=HOUR)

    assert scan_topics(tags) == ({"others"}, "", 1000, {"invoices"}, False)
    assert scan_topics(plain) == ({"invoices", "{others}"}, "", 1000, set(), False)


def layout_finding(timers, topic="any"):
    (found,) = [finding for finding in check_server(timers, topic) if finding.check == "layout"]
    return found


async def test_check_looks_at_the_named_topic_and_at_those_of_workers(plain, tagged, tags):
    assert layout_finding(tags).level == layout_finding(plain).level == "ok"
    plain.schedule("x", "invoices", activate_in=HOUR)

    assert layout_finding(tags).level == "ok"
    assert layout_finding(tags, "invoices").level == "warning"
    broker = tagged.broker()
    broker.subscriber("invoices")(print)
    async with delivering(broker):
        await wait_until_async(lambda: listening_topics(tags) == {"invoices": 1})
        found = layout_finding(tags)

    assert found.level == "warning"
    assert found.message.startswith("topic 'invoices' also has timers under ")
    assert found.remedy.startswith("give all programs that share the topic the same hash_tags")
