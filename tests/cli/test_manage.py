"""The module without a framework: finds topics, lists, matches, cancels, moves and counts."""

import traceback
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import fakeredis
import pytest
import redis
from relay import Relay

from faststream_redis_timers_sync import TimerPublishMessage, TimersClient
from faststream_redis_timers_sync.manage.selection import (
    cancel_each,
    list_timers,
    matching_ids,
    reschedule_each,
)
from faststream_redis_timers_sync.manage.server import (
    count_keys,
    escape_glob,
    internals_of,
    open_client,
    server_time,
)
from faststream_redis_timers_sync.manage.stats import count_topics
from faststream_redis_timers_sync.manage.topics import (
    count_workers,
    listening_topics,
    scan_topics,
)
from faststream_redis_timers_sync.protocol.model import Settlement
from faststream_redis_timers_sync.protocol.operation import in_chunks

HOUR = timedelta(hours=1)
NASTY = ["plain", "with:colon", "a*b?c[d]\\e^", "line\nbreak\0", "日本 🎉", " "]


def schedule_many(timers, topic, count, name="t{}"):
    """Schedule timers an hour from now and later, a second apart."""
    timers.schedule_batch(
        [
            TimerPublishMessage("x", timer_id=name.format(n), activate_in=HOUR + n * HOUR / 3600)
            for n in range(count)
        ],
        topic,
    )


def ids(found):
    return [timer.timer_id for timer in found]


# --- topics


def test_a_scan_finds_topics_of_any_name(timers):
    for topic in NASTY:
        timers.schedule("x", topic)

    found = scan_topics(timers)

    assert found.topics == set(NASTY)
    assert found.cursor == ""


@pytest.mark.parametrize("prefix", ["a*", "[ab]", "a?", "a\\", "plain:", "a^[!"])
def test_a_prefix_is_taken_literally_and_left_out_of_names(prefix, key_names, server_url, timers):
    with TimersClient(server_url, prefix=prefix, **key_names) as mine:
        mine.schedule("x", "mine")
        for other in ("a", "ab", "abc:mine", "aX", "plain", "[ab", prefix[:-1] + "Zmine", "amine"):
            timers.schedule("x", other)

        assert scan_topics(mine).topics == {"mine"}
        assert mine.count_pending("mine") == 1


def test_a_scan_leaves_out_what_is_no_topic(timers, here, key_names):
    timers.schedule("x", "real")
    name = key_names["timeline_key"]
    here.redis.set(f"{name}:text", "x")
    here.redis.zadd(f"{name}:", {"no topic at all": 1})
    here.redis.zadd(name.encode() + b":\xff", {"no client can name it": 1})
    here.redis.zadd(f"{name}-more:other", {"x": 1})

    assert scan_topics(timers).topics == {"real"}

    here.redis.delete(f"{name}:text", f"{name}:", name.encode() + b":\xff", f"{name}-more:other")


def test_a_scan_of_no_time_at_all_can_be_gone_on_with(own_server, own_url):
    own_server.mset({f"foreign:{n}": "x" for n in range(20_000)})
    with TimersClient(own_url) as timers:
        wanted = {f"topic-{n}" for n in range(50)}
        for topic in wanted:
            timers.schedule("x", topic)
        found, parts, examined, cursor = set(), 0, 0, None
        while cursor != "":
            part = scan_topics(timers, cursor or "", seconds=0.0)
            parts, examined, cursor = parts + 1, examined + part.examined, part.cursor
            found |= part.topics

        assert found == wanted
        assert 20 <= parts <= 30
        assert examined == parts * 1000
        assert count_keys(timers) == 20_000 + 2 * len(wanted)
        assert scan_topics(timers, seconds=60).topics == wanted


def test_listening_topics_are_found_without_any_key(timers, here, key_names, server_url):
    with redis.Redis.from_url(server_url) as client, client.pubsub() as first:
        name = here.operations.keys.channel_prefix + key_names["timeline_key"]
        first.subscribe(f"{name}:invoices", f"{name}:line\nbreak", f"{name}-more:other")
        for _ in range(3):
            first.get_message(timeout=10)
        with client.pubsub() as second:
            second.subscribe(f"{name}:invoices")
            second.get_message(timeout=10)

            assert listening_topics(timers) == {"invoices": 2, "line\nbreak": 1}
            assert count_workers(timers, ["invoices", "unknown"]) == {"invoices": 2, "unknown": 0}
            with TimersClient(server_url, prefix="inv", **key_names) as mine:
                assert listening_topics(mine) == {"oices": 2}
            with TimersClient(server_url, prefix="[i]n*", **key_names) as mine:
                assert listening_topics(mine) == {}


def test_workers_are_counted_or_the_server_gives_no_number(timers, here, server_url):
    """Valkey 9.1 tells an address of its memory in place of some numbers."""
    channel, found = here.operations.keys.workers_channel_of("a"), {}
    with ExitStack() as stack:
        client = stack.enter_context(redis.Redis.from_url(server_url))
        for number in range(1, 34):
            pubsub = stack.enter_context(client.pubsub())
            pubsub.subscribe(channel)
            assert pubsub.get_message(timeout=10)["type"] == "subscribe"
            found[number] = count_workers(timers, ["a"])["a"]

    assert all(told in {number, None} for number, told in found.items()), found
    assert found[7] == 7


def test_workers_of_a_fleet_are_found_and_counted_whatever_they_hear(
    timers, here, key_names, server_url
):
    keys = here.operations.keys
    with ExitStack() as stack:

        def listen(*channels):
            client = stack.enter_context(redis.Redis.from_url(server_url))
            pubsub = stack.enter_context(client.pubsub())
            pubsub.subscribe(*channels)
            for _ in channels:
                assert pubsub.get_message(timeout=10)["type"] == "subscribe"

        # One on duty, two in reserve, one that is away; all of another topic are away.
        listen(keys.channel_of("a"), keys.workers_channel_of("a"))
        for group in (0, 63):
            listen(keys.reserve_channel_of("a", group), keys.workers_channel_of("a"))
        listen(keys.workers_channel_of("a"))
        listen(keys.workers_channel_of("b"))
        # Of the last release: more of them hear all wake-ups than there are others.
        listen(keys.channel_of("c"), keys.workers_channel_of("c"))
        listen(keys.channel_of("c"))

        assert listening_topics(timers) == {"a": 4, "b": 1, "c": 2}
        assert count_workers(timers, ["a", "b", "c", "d"]) == {"a": 4, "b": 1, "c": 2, "d": 0}
        assert [one.workers for one in count_topics(timers, ["a", "b"]).topics] == [4, 1]
        with TimersClient(server_url, prefix="b", **key_names) as mine:
            assert listening_topics(mine) == {}


# --- listing and matching


def test_a_list_comes_in_order_of_due_time_without_bodies(timers):
    schedule_many(timers, "topic", 1200)

    found = list(list_timers(timers, "topic"))

    assert ids(found) == [f"t{n}" for n in range(1200)]
    assert {timer.body for timer in found} == {b""}


def test_a_limit_gives_the_earliest(timers):
    schedule_many(timers, "topic", 30)

    assert ids(list_timers(timers, "topic", limit=3)) == ["t0", "t1", "t2"]


def test_a_pattern_with_a_limit_gives_the_earliest_that_match_in_order(timers):
    schedule_many(timers, "topic", 1500)

    found = list_timers(timers, "topic", match="t*9", limit=4)

    assert ids(found) == ["t9", "t19", "t29", "t39"]


def test_a_pattern_alone_gives_all_that_match(timers):
    schedule_many(timers, "topic", 1500)

    assert set(ids(list_timers(timers, "topic", match="t*9"))) == {
        f"t{n}" for n in range(9, 1500, 10)
    }


def test_timers_that_fire_meanwhile_hide_no_other(timers, here):
    schedule_many(timers, "topic", 1200)
    found = list_timers(timers, "topic")
    first = [next(found).timer_id for _ in range(500)]

    timers.cancel_timers("topic", first)

    assert first + ids(found) == [f"t{n}" for n in range(1200)]


@pytest.mark.parametrize("argument", ["topic", "match"])
def test_an_empty_topic_or_pattern_is_an_error(timers, argument):
    arguments = {"topic": "topic", "match": "*", argument: ""}

    with pytest.raises(ValueError, match=f"{argument} must not be empty"):
        list(list_timers(timers, **arguments))


def test_it_is_told_how_many_were_looked_at(timers):
    schedule_many(timers, "topic", 3000)
    told = []

    list(list_timers(timers, "topic", match="none", on_examined=told.append))

    assert 3000 <= sum(told) <= 6000


# --- cancelling and moving


def test_cancelling_returns_what_each_did(timers, here):
    timers.schedule("x", "topic", timer_id="running")
    here.claim("topic")
    timers.schedule("x", "topic", timer_id="waiting", activate_in=HOUR)

    outcomes = list(cancel_each(timers, "topic", ["running", "nobody", "waiting", "waiting"]))

    assert outcomes == [("running", "running"), ("nobody", "unknown"), ("waiting", "waiting")]
    assert timers.count_pending("topic") == 0


def test_rescheduling_returns_what_each_did(timers, here):
    timers.schedule("x", "topic", timer_id="running")
    here.claim("topic")
    timers.schedule("x", "topic", timer_id="waiting", activate_in=HOUR)
    at = datetime(2099, 1, 1, tzinfo=UTC)

    outcomes = list(
        reschedule_each(timers, "topic", ["running", "nobody", "waiting"], activate_at=at)
    )

    assert outcomes == [("running", "running"), ("nobody", "unknown"), ("waiting", "waiting")]
    assert [(t.timer_id, t.due_at, t.running) for t in timers.iter_timers("topic")] == [
        ("running", at, False),
        ("waiting", at, False),
    ]
    assert not timers.has_pending("topic", "nobody")


def test_a_timer_that_was_moved_is_not_committed_by_its_old_handler(timers, here):
    timers.schedule("x", "topic", timer_id="one")
    step = here.claim("topic")
    list(reschedule_each(timers, "topic", ["one"], activate_in=HOUR))

    here.step("topic", Settlement(b"commit", b"one", step.lease))

    assert timers.has_pending("topic", "one")


def test_moving_before_the_head_wakes_workers(timers, here):
    schedule_many(timers, "topic", 3)
    with here.redis.pubsub() as listener:
        listener.subscribe(here.operations.keys.channel_of("topic"))
        listener.get_message(timeout=10)

        list(reschedule_each(timers, "topic", ["t2"], activate_in=timedelta(minutes=1)))
        message = listener.get_message(timeout=10)
        list(reschedule_each(timers, "topic", ["t1"], activate_in=timedelta(hours=9)))

        sent, due = map(float, message["data"].split())
        assert due - sent == pytest.approx(60)
        assert listener.get_message(timeout=0.05) is None


def test_an_entry_without_payload_counts_as_absent(timers, here):
    here.plant("topic", "orphan", 4_000_000_000, None)

    assert list(reschedule_each(timers, "topic", ["orphan"])) == [("orphan", "unknown")]
    assert list(cancel_each(timers, "topic", ["orphan"])) == [("orphan", "unknown")]


def test_ids_go_in_calls_of_200_and_only_as_they_are_consumed(timers, key_names, server_url):
    schedule_many(timers, "topic", 1200)
    with Relay(server_url) as relay, TimersClient(relay.url, **key_names) as client:
        outcomes = cancel_each(client, "topic", (f"t{n}" for n in range(1200)))
        next(outcomes)

        assert timers.count_pending("topic") == 1000
        assert sum(state == "waiting" for _, state in outcomes) == 1199
        sizes = [len(command) - 6 for command in relay.commands if command[0].startswith(b"EVAL")]
        # The first may be there twice, by its name and by its text.
        assert sizes[-6:] == [200] * 6


def test_all_can_be_moved_once_though_they_move_ahead(timers):
    schedule_many(timers, "topic", 3000)

    outcomes = list(
        reschedule_each(timers, "topic", matching_ids(timers, "topic", None), activate_in=2 * HOUR)
    )

    assert sorted(timer_id for timer_id, _ in outcomes) == sorted(f"t{n}" for n in range(3000))
    assert {state for _, state in outcomes} == {"waiting"}


def test_those_that_match_can_be_cancelled_while_they_are_looked_for(timers):
    schedule_many(timers, "topic", 3000)

    outcomes = list(cancel_each(timers, "topic", matching_ids(timers, "topic", "t*5")))

    assert sum(state == "waiting" for _, state in outcomes) == 300
    assert timers.count_pending("topic") == 2700


def test_those_that_fire_between_are_told_apart(timers):
    schedule_many(timers, "topic", 10)

    def found():
        for timer_id in matching_ids(timers, "topic", "t*"):
            if timer_id == "t5":
                timers.cancel_timer("topic", "t5")
            yield timer_id

    assert dict(cancel_each(timers, "topic", found()))["t5"] == "unknown"


def test_an_id_that_is_no_utf8_can_be_cancelled_and_moved(timers, here):
    here.plant("topic", b"\xff\x00", 4_000_000_000, b"x")
    (timer_id,) = matching_ids(timers, "topic", None)

    assert list(reschedule_each(timers, "topic", [timer_id], activate_in=HOUR)) == [
        (timer_id, "waiting")
    ]
    assert list(cancel_each(timers, "topic", [timer_id])) == [(timer_id, "waiting")]


@pytest.mark.parametrize("change", [cancel_each, reschedule_each])
def test_an_empty_id_is_an_error_and_changes_nothing(timers, change):
    schedule_many(timers, "topic", 2)

    with pytest.raises(ValueError, match="timer_id must not be empty"):
        list(change(timers, "topic", ["t0", ""]))

    assert timers.count_pending("topic") == 2


# --- counting


def test_a_topic_is_counted(timers, here):
    timers.schedule("x", "topic", timer_id="held")
    here.claim("topic", lease_ttl=50_000)
    here.plant("topic", "died", here.now().timestamp() // 1 - 9 + 0.000_000_5, b"x")
    timers.schedule("x", "topic", timer_id="late")
    timers.schedule("x", "topic", timer_id="soon", activate_in=HOUR / 2)
    timers.schedule("x", "topic", timer_id="today", activate_in=20 * HOUR)
    timers.schedule("x", "topic", timer_id="far", activate_at=datetime(2099, 1, 1, tzinfo=UTC))

    snapshot = count_topics(timers, ["topic", "unknown"])
    topic, unknown = snapshot.topics

    assert abs(snapshot.at - here.now()) < timedelta(minutes=1)
    assert (topic.topic, topic.pending, topic.overdue) == ("topic", 6, 2)
    assert (topic.within_hour, topic.within_day) == (1, 3)
    assert topic.next_at < snapshot.at
    assert topic.last_at == datetime(2099, 1, 1, tzinfo=UTC)
    assert topic.workers == 0
    assert (unknown.pending, unknown.overdue, unknown.within_day) == (0, 0, 0)
    assert (unknown.next_at, unknown.last_at) == (None, None)


@pytest.mark.parametrize("leased", [1, 30, 600])
def test_the_next_delivery_is_that_of_a_timer_which_is_not_leased(timers, here, leased):
    timers.schedule_batch(["x"] * leased, "topic")
    while here.claim("topic", lease_ttl=600).claimed:
        pass
    timers.schedule("x", "topic", timer_id="next", activate_in=HOUR)

    (topic,) = count_topics(timers, ["topic"]).topics

    expected = "next" if leased < 500 else timers.get_pending_timers("topic")[0]
    assert topic.next_at == timers.get_timer("topic", expected).due_at
    assert topic.overdue == 0


def test_a_timer_whose_worker_died_is_the_next_to_be_delivered(timers, here):
    lease = here.now().timestamp() // 1 - 9 + 0.000_000_5
    here.plant("topic", "died", lease, b"x")
    timers.schedule("x", "topic", activate_in=HOUR)

    (topic,) = count_topics(timers, ["topic"]).topics

    assert topic.next_at.timestamp() == pytest.approx(lease, abs=1e-5)


def test_many_topics_are_counted_in_their_order_20_in_a_call(timers, key_names, server_url):
    topics = [f"topic-{n}" for n in range(41)]
    for n, topic in enumerate(topics):
        timers.schedule_batch(["x"] * (n % 3), topic, activate_in=HOUR)
    with Relay(server_url) as relay, TimersClient(relay.url, **key_names) as client:
        snapshot = count_topics(client, topics)

        assert [(s.topic, s.pending) for s in snapshot.topics] == [
            (topic, n % 3) for n, topic in enumerate(topics)
        ]
        assert relay.count("EVALSHA") == 3


def test_counting_no_topics_returns_the_time(timers, here):
    snapshot = count_topics(timers, [])

    assert snapshot.topics == []
    assert abs(snapshot.at - here.now()) < timedelta(minutes=1)


# --- the server


def test_the_time_is_the_servers(timers, here):
    before = here.now()

    assert before <= server_time(timers) <= here.now()


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}])
def test_all_of_it_works_with_any_client_of_a_caller(options, key_names, server_url, here):
    with redis.Redis.from_url(server_url, **options) as client:
        timers = TimersClient(client, **key_names)
        timers.schedule("x", "topic é", timer_id="one", activate_in=HOUR)

        assert scan_topics(timers).topics == {"topic é"}
        assert listening_topics(timers) == {}
        assert count_topics(timers, ["topic é"]).topics[0].pending == 1
        assert ids(list_timers(timers, "topic é", match="o*", limit=1)) == ["one"]
        assert list(reschedule_each(timers, "topic é", ["one"])) == [("one", "waiting")]
        assert list(cancel_each(timers, "topic é", ["one"])) == [("one", "waiting")]


def test_all_of_it_works_on_fakeredis():
    timers = TimersClient(fakeredis.FakeRedis())
    timers.schedule("x", "topic", timer_id="one", activate_in=HOUR)

    assert scan_topics(timers).topics == {"topic"}
    assert listening_topics(timers) == {}
    assert count_topics(timers, ["topic"]).topics[0].pending == 1
    assert ids(list_timers(timers, "topic", match="o*", limit=1)) == ["one"]
    assert list(reschedule_each(timers, "topic", ["one"])) == [("one", "waiting")]
    assert list(cancel_each(timers, "topic", ["one"])) == [("one", "waiting")]


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://user:secret@example.org:7000/3", "example.org:7000"),
        ("rediss://:secret@example.org", "example.org:6379"),
        ("unix://user:secret@/run/server.sock", "unix socket /run/server.sock"),
    ],
)
def test_an_address_has_no_password(url, address):
    with open_client(url) as timers:
        assert internals_of(timers).runner.address == address


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2/x@localhost",
        "redis://hunter2/x@localhost",
        "redis://hunter2?x@localhost",
        "redis://hunter2#x@localhost",
        "redis://user:hunter2#x@localhost",
        "redis://user:hunter2?x@localhost",
        "redis://:hunter2",
        "redis://hunter2:hunter2",
        "http://user:hunter2@localhost",
        "redis://[hunter2",
        "hunter2",
        "",
        "redis://localhost?socket_timeout=hunter2",
        "redis://localhost?hunter2=1",
        "redis://localhost?protocol=hunter2",
        "redis://user:hunter2@localhost?single_connection_client=1",
    ],
)
def test_a_url_that_cannot_be_used_is_not_repeated(url):
    with pytest.raises(ValueError, match="URL of the server") as caught:
        open_client(url)

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_an_option_that_cannot_be_used_is_named():
    with pytest.raises(ValueError, match="timeline_key must not be empty"):
        open_client("redis://localhost", timeline_key="")


def test_a_glob_is_escaped():
    assert escape_glob("a*b?[c]\\d^é") == r"a\*b\?\[c\]\\d\^é".encode()


def test_chunks_are_given_as_they_come():
    given = []

    def items():
        for n in range(5):
            given.append(n)
            yield n

    chunks = iter(in_chunks(items(), 2))

    assert next(chunks) == [0, 1]
    assert given == [0, 1]
    assert list(chunks) == [[2, 3], [4]]
