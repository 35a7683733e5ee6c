"""Declared series: what is declared is there, and what is declared no longer is found."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import combinations
from unittest.mock import patch

import pytest
import redis
from front_ends import Home, MemoryHome

from faststream_redis_timers_sync import (
    Cron,
    EnsuredSeries,
    Every,
    Series,
    TimerPublishMessage,
    TimersClient,
    TopicTornError,
)
from faststream_redis_timers_sync._memory import MemoryRunner
from faststream_redis_timers_sync.protocol.declared import ensure_series
from faststream_redis_timers_sync.protocol.recurrence import read_repeat
from faststream_redis_timers_sync.testing import FakeTimersClient

OWNER = "shop"
HOURLY = Every(hours=1)
DAILY = Cron("0 9 * * *", tz="Europe/Berlin")
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)

TICK = Series("tick", "ticks", timer_id="tick", repeat=HOURLY)
REPORT = Series({"kind": "daily"}, "reports", timer_id="daily", repeat=DAILY, headers={"x-a": "b"})


def name(series: Series) -> tuple[str, str]:
    return (series.topic, series.timer_id)


everywhere = pytest.mark.parametrize("home", ["real", "cluster", "memory"], indirect=True)


@pytest.fixture
def timers(home: Home) -> Iterator[TimersClient]:
    if isinstance(home, MemoryHome):
        yield home.fake
        return
    with home.blocking() as client, TimersClient(client, **home.key_names) as timers:
        yield timers


def index_of(timers: TimersClient, home: Home, owner: str = OWNER) -> set[tuple[str, str]]:
    key = timers._operations.keys.series_of(owner)
    if isinstance(home, MemoryHome):
        return {tuple(json.loads(field)) for field in home.fake.memory._hashes.get(key, ())}
    return {tuple(json.loads(field)) for field in home.redis.hkeys(key)}


# --- what is created, updated, left alone --------------------------------------------------


@everywhere
def test_a_declared_series_is_there_with_its_next_time(timers, home):
    before = home.now("reports")
    ensured = timers.ensure_series([TICK, REPORT], owner=OWNER)

    assert ensured == EnsuredSeries(created=[name(TICK), name(REPORT)])
    timer = timers.get_timer("reports", "daily")
    assert timer.repeat == DAILY
    assert timer.due_at in {DAILY.after(before), DAILY.after(home.now("reports"))}
    assert timer.decode() == {"kind": "daily"}
    assert timer.headers["x-a"] == "b"
    assert timer.headers["timer-repeat-owner"] == OWNER
    assert index_of(timers, home) == {name(TICK), name(REPORT)}


@everywhere
def test_declared_again_it_keeps_its_time_and_has_the_new_message(timers, home):
    timers.ensure_series([TICK, REPORT], owner=OWNER)
    timers.reschedule_timer("ticks", "tick", activate_at=YEAR_2050)

    new = Series("tock", "ticks", timer_id="tick", repeat=HOURLY)
    ensured = timers.ensure_series([new, REPORT], owner=OWNER)

    assert ensured.unchanged == [name(TICK), name(REPORT)]
    assert (ensured.created, ensured.changed, ensured.removed) == ([], [], [])
    timer = timers.get_timer("ticks", "tick")
    assert (timer.decode(), timer.due_at) == ("tock", YEAR_2050)


@everywhere
def test_with_another_definition_it_is_due_as_that_says(timers, home):
    timers.ensure_series([TICK, REPORT], owner=OWNER)
    yearly = Every(days=365, start=YEAR_2050)

    changed = Series("tick", "ticks", timer_id="tick", repeat=yearly)
    ensured = timers.ensure_series([changed, REPORT], owner=OWNER)

    assert (ensured.changed, ensured.unchanged) == ([name(TICK)], [name(REPORT)])
    assert timers.get_timer("ticks", "tick").due_at == YEAR_2050


@everywhere
def test_a_timer_that_is_due_once_becomes_the_series(timers, home):
    timers.schedule("x", "ticks", timer_id="tick", activate_at=YEAR_2050)

    assert timers.ensure_series([TICK], owner=OWNER).changed == [name(TICK)]
    assert timers.get_timer("ticks", "tick").repeat == HOURLY


@everywhere
def test_a_paused_one_stays_paused_and_a_cancelled_one_is_created_again(timers, home):
    timers.ensure_series([TICK, REPORT], owner=OWNER)
    timers.pause_timer("ticks", "tick")
    timers.cancel_timer("reports", "daily")

    ensured = timers.ensure_series([TICK, REPORT], owner=OWNER)

    assert (ensured.created, ensured.unchanged) == ([name(REPORT)], [name(TICK)])
    assert ensured.skipping == []
    assert timers.get_timer("ticks", "tick").paused
    assert timers.has_pending("reports", "daily")


@everywhere
def test_more_than_fit_into_one_call(timers, home):
    many = [Series(n, f"t{n % 3}", timer_id=f"id-{n}", repeat=HOURLY) for n in range(1000)]

    assert len(timers.ensure_series(many, owner=OWNER).created) == 1000
    assert len(timers.ensure_series(many, owner=OWNER).unchanged) == 1000
    assert len(timers.ensure_series([], owner=OWNER, prune=True).removed) == 1000
    assert [timers.count_pending(f"t{n}") for n in range(3)] == [0, 0, 0]


@everywhere
def test_the_shift_of_spread_is_the_same_each_time(timers, home):
    spread = [
        Series(n, "ticks", timer_id=str(n), repeat=Every(hours=1, spread=True)) for n in (1, 2)
    ]

    timers.ensure_series(spread, owner=OWNER)
    assert len({timer.due_at for timer in timers.iter_timers("ticks")}) == 2
    assert len(timers.ensure_series(spread, owner=OWNER).unchanged) == 2
    assert len(timers.compare_series(spread, owner=OWNER).unchanged) == 2


# --- what is declared no longer --------------------------------------------------------------


@everywhere
def test_what_is_declared_no_longer_is_told_until_it_is_pruned(timers, home):
    timers.ensure_series([TICK, REPORT], owner=OWNER)

    for _ in range(2):
        ensured = timers.ensure_series([REPORT], owner=OWNER)
        assert (ensured.removed, ensured.unchanged) == ([name(TICK)], [name(REPORT)])
        assert timers.has_pending("ticks", "tick")
    ensured = timers.ensure_series([REPORT], owner=OWNER, prune=True)

    assert ensured.removed == [name(TICK)]
    assert not timers.has_pending("ticks", "tick")
    assert index_of(timers, home) == {name(REPORT)}
    assert timers.ensure_series([REPORT], owner=OWNER).removed == []


@everywhere
def test_an_owner_without_series_leaves_no_key(timers, home):
    timers.ensure_series([TICK], owner=OWNER)
    timers.ensure_series([], owner=OWNER, prune=True)

    assert home.written() == []


@everywhere
def test_two_owners_know_nothing_of_each_other(timers, home):
    timers.ensure_series([TICK], owner=OWNER)
    timers.ensure_series([REPORT], owner="billing", prune=True)

    assert timers.ensure_series([TICK], owner=OWNER, prune=True).removed == []
    assert timers.ensure_series([], owner="billing", prune=True).removed == [name(REPORT)]
    assert timers.has_pending("ticks", "tick")


@everywhere
def test_a_series_that_another_owner_has_by_now_is_not_pruned(timers, home):
    timers.ensure_series([TICK, REPORT], owner=OWNER)
    timers.ensure_series([TICK], owner="billing")

    assert timers.compare_series([REPORT], owner=OWNER).removed == []
    ensured = timers.ensure_series([REPORT], owner=OWNER, prune=True)

    assert ensured.removed == []
    assert timers.has_pending("ticks", "tick")
    assert index_of(timers, home) == {name(REPORT)}
    assert index_of(timers, home, "billing") == {name(TICK)}


@everywhere
@pytest.mark.parametrize("repeat", [None, HOURLY])
def test_what_somebody_has_scheduled_in_its_place_is_not_pruned(timers, home, repeat):
    timers.ensure_series([TICK], owner=OWNER)
    time = YEAR_2050 if repeat is None else None
    timers.schedule(
        "x", "ticks", timer_id="tick", activate_at=time, repeat=repeat, if_exists="replace"
    )

    assert timers.ensure_series([], owner=OWNER).removed == []
    assert timers.ensure_series([], owner=OWNER, prune=True).removed == []
    assert timers.has_pending("ticks", "tick")
    assert index_of(timers, home) == set()


@everywhere
def test_one_that_was_cancelled_is_no_longer_told(timers, home):
    timers.ensure_series([TICK], owner=OWNER)
    timers.cancel_timer("ticks", "tick")

    assert timers.ensure_series([], owner=OWNER).removed == []
    assert timers.ensure_series([], owner=OWNER, prune=True).removed == []
    assert index_of(timers, home) == set()


@everywhere
def test_topics_and_ids_with_separators_are_told_apart(timers, home):
    odd = [
        Series("a", "x:y", timer_id="z", repeat=HOURLY),
        Series("b", "x", timer_id='y:z","', repeat=HOURLY),
        Series("c", "é", timer_id="\x00\n", repeat=HOURLY),
    ]
    timers.ensure_series(odd, owner="é:{x}")

    assert timers.ensure_series(odd[:1], owner="é:{x}", prune=True).removed == [
        name(odd[1]),
        name(odd[2]),
    ]
    assert timers.has_pending("x:y", "z")


@pytest.mark.parametrize("home", ["real"], indirect=True)
def test_what_somebodys_hand_wrote_into_the_index_is_passed_over(timers, home):
    key = timers._operations.keys.series_of(OWNER)
    fields = ["x", "5", "[1, 2]", '["ticks"]', '["", "x"]', '["x", "\\ud800"]', "\xff"]
    home.redis.hset(key, mapping=dict.fromkeys(fields, ""))
    home.redis.hset(key, b"\xff", "")
    timers.ensure_series([TICK], owner=OWNER)

    assert timers.ensure_series([], owner=OWNER, prune=True).removed == [name(TICK)]
    assert home.redis.hlen(key) == len(fields) + 1


@everywhere
def test_a_prefix_stands_before_the_topics(home, timers):
    with home.blocking() if not isinstance(home, MemoryHome) else home.fake as client:
        if isinstance(home, MemoryHome):
            prefixed = FakeTimersClient(**home.key_names, prefix="my:")
            prefixed.memory, prefixed._runner = home.fake.memory, home.fake._runner
        else:
            prefixed = TimersClient(client, **home.key_names, prefix="my:")
        assert prefixed.ensure_series([TICK], owner=OWNER).created == [("my:ticks", "tick")]
        assert timers.has_pending("my:ticks", "tick")
        # And before the owner: the same application beside it, with another prefix, has its own.
        assert timers.ensure_series([TICK], owner=OWNER, prune=True).removed == []
        assert prefixed.ensure_series([], owner=OWNER, prune=True).removed == [("my:ticks", "tick")]
        assert timers.has_pending("ticks", "tick")
        assert timers.ensure_series([], owner="my:shop").removed == []


# --- what would be done ----------------------------------------------------------------------


@pytest.mark.parametrize("home", ["real", "cluster"], indirect=True)
def test_what_has_the_same_index_with_another_prefix_is_not_pruned(home, timers):
    with home.blocking() as client:
        # Both have the index of "dev-shop-api".
        one = TimersClient(client, **home.key_names, prefix="dev-")
        other = TimersClient(client, **home.key_names, prefix="dev-shop-")
        one.ensure_series([TICK], owner="shop-api")
        other.ensure_series([REPORT], owner="api", prune=True)

        assert timers.has_pending("dev-ticks", "tick")
        assert other.compare_series([], owner="api").removed == [("dev-shop-reports", "daily")]


@pytest.mark.parametrize("home", ["cluster"], indirect=True)
def test_a_torn_topic_keeps_no_other_series_from_being_created(home, timers):
    timers.schedule_batch(["x", "y"], REPORT.topic)
    home.redis.delete(home.keys_of(REPORT.topic).payloads)

    with pytest.raises(TopicTornError, match=REPORT.topic):
        timers.ensure_series([REPORT, TICK], owner=OWNER)

    assert timers.has_pending("ticks", "tick")
    home.redis.delete(home.keys_of(REPORT.topic).timeline)


@everywhere
def test_what_this_machine_can_not_compute_is_refused_before_anything_is_written(home, timers):
    unknown = Series("x", "z", timer_id="x", repeat=read_repeat("cron Mars/Phobos 0 9 * * *"))

    with pytest.raises(ValueError, match="Mars/Phobos"):
        timers.ensure_series([TICK, unknown], owner=OWNER)

    assert index_of(timers, home) == set()
    assert not timers.has_pending("ticks", "tick")


@everywhere
def test_comparing_returns_what_would_be_done_and_does_nothing(timers, home):
    timers.ensure_series([TICK, REPORT], owner=OWNER)
    written = home.written()
    index = index_of(timers, home)
    changed = Series("tick", "ticks", timer_id="tick", repeat=Every(minutes=5))
    new = Series("new", "ticks", timer_id="new", repeat=HOURLY)

    compared = timers.compare_series([changed, new], owner=OWNER)

    assert compared == EnsuredSeries(
        created=[name(new)], changed=[name(TICK)], removed=[name(REPORT)]
    )
    assert timers.compare_series([TICK, REPORT], owner=OWNER).unchanged == [
        name(TICK),
        name(REPORT),
    ]
    assert home.written() == written
    assert index_of(timers, home) == index
    assert timers.get_timer("ticks", "tick").repeat == HOURLY


@everywhere
def test_comparing_returns_another_message_other_headers_and_another_owner(timers, home):
    timers.ensure_series([TICK, REPORT], owner=OWNER)
    message = replace(TICK, message="tock")
    headers = replace(REPORT, headers={"x-a": "c"})

    assert timers.compare_series([message, headers], owner=OWNER) == EnsuredSeries(
        updated=[name(TICK), name(REPORT)]
    )
    assert timers.compare_series([TICK], owner="billing").updated == [name(TICK)]
    timers.ensure_series([message, headers], owner=OWNER)
    assert timers.compare_series([message, headers], owner=OWNER).updated == []


# --- a due time that leaves out times --------------------------------------------------------


@everywhere
def test_a_due_time_that_leaves_out_times_is_told(timers, home):
    timers.ensure_series([TICK, REPORT], owner=OWNER)
    # As it is where the server's clock was ahead when it was scheduled.
    timers.reschedule_timer("ticks", "tick", activate_at=HOURLY.after(YEAR_2050))

    for ensured in (
        timers.ensure_series([TICK, REPORT], owner=OWNER),
        timers.compare_series([TICK, REPORT], owner=OWNER),
    ):
        assert (ensured.unchanged, ensured.skipping) == ([name(TICK), name(REPORT)], [name(TICK)])
    # What the docstring says to do.
    timers.pause_timer("ticks", "tick")
    timers.resume_timer("ticks", "tick")
    assert timers.ensure_series([TICK, REPORT], owner=OWNER).skipping == []


@everywhere
def test_one_that_was_rescheduled_is_not_told(timers, home):
    timers.ensure_series([TICK, REPORT], owner=OWNER)
    timers.reschedule_timer("ticks", "tick", activate_at=YEAR_2050 + timedelta(minutes=7))

    assert timers.ensure_series([TICK, REPORT], owner=OWNER).skipping == []


@pytest.mark.parametrize("home", ["real", "cluster"], indirect=True)
def test_one_that_runs_is_not_told(timers, home):
    timers.ensure_series([REPORT], owner=OWNER)
    timers.reschedule_timer("reports", "daily", activate_in=timedelta(0))
    home.claim("reports", lease_ttl=1_000_000.0)

    assert timers.ensure_series([REPORT], owner=OWNER).skipping == []


def test_an_occurrence_while_it_looks_is_no_time_left_out():
    fake = FakeTimersClient()
    every = Series("x", "ticks", timer_id="tick", repeat=Every(seconds=1))
    _, declared = fake._declare([every], OWNER)
    steps = ensure_series(fake._operations, declared, owner=OWNER, prefix="", prune=False)
    asked = []

    def run(runner, operation):
        asked.append(operation.name)
        if operation.name == "get":
            # A worker is through with several occurrences, and the next is due.
            fake.advance(timedelta(seconds=10))
            fake.reschedule_timer("ticks", "tick", activate_at=every.repeat.after(fake.now()))
        return fake.memory.run(operation)

    with patch.object(MemoryRunner, "run", run):
        ensured = fake._runner.run_steps(steps)

    assert ensured.skipping == []
    assert asked == ["HSET", "TIME", "schedule", "get", "reschedule", "TIME", "HKEYS"]


# --- crashes, and several at once -------------------------------------------------------------


def run_until(steps, runner, stop_at: int) -> int | None:
    """Run steps, and crash before one of them; None where they end before that."""
    result = None
    try:
        for position in range(1000):
            operation = steps.send(result)
            if position == stop_at:
                return position
            result = runner.run(operation)
    except StopIteration:
        return None


@everywhere
def test_after_a_crash_at_any_step_the_next_start_leaves_all_in_order(timers, home):
    before = [TICK, REPORT]
    after = [
        REPORT,
        Series("new", "ticks", timer_id="new", repeat=HOURLY),
        Series("more", "more", timer_id="new", repeat=DAILY),
    ]
    crashed = True
    step = 0
    while crashed:
        timers.ensure_series(before, owner=OWNER, prune=True)
        _, declared = timers._declare(after, OWNER)
        steps = ensure_series(timers._operations, declared, owner=OWNER, prefix="", prune=True)
        crashed = run_until(steps, timers._runner, step) is not None
        # A series that is there is in the index, whenever it ended.
        there = {
            (timer.topic, timer.timer_id)
            for topic in ("ticks", "reports", "more")
            for timer in timers.iter_timers(topic)
        }
        assert there <= index_of(timers, home), step
        timers.ensure_series(after, owner=OWNER, prune=True)
        assert index_of(timers, home) == {name(one) for one in after}
        assert timers.get_pending_timers("ticks") == ["new"]
        step += 1
    assert step > 8


@everywhere
def test_two_versions_at_once_leave_no_series_out_of_the_index(timers, home):
    """Each order of the calls of one that prunes and one that declares it again."""
    _, old = timers._declare([TICK], OWNER)
    calls = 5
    # In which of the turns the one that prunes makes its calls.
    for turns in combinations(range(2 * calls), calls):
        timers.ensure_series([TICK], owner=OWNER)
        steps = {
            "prunes": ensure_series(timers._operations, [], owner=OWNER, prefix="", prune=True),
            "declares": ensure_series(timers._operations, old, owner=OWNER, prefix="", prune=False),
        }
        results = dict.fromkeys(steps)
        order = ["prunes" if turn in turns else "declares" for turn in range(2 * calls)]
        for who in [*order, *("prunes", "declares") * calls]:
            with suppress(StopIteration):
                results[who] = timers._runner.run(steps[who].send(results[who]))
            # A generator that has ended takes nothing but None.
            results[who] = results[who] if steps[who].gi_frame else None
        assert not any(one.gi_frame for one in steps.values())
        there = {("ticks", timer_id) for timer_id in timers.get_pending_timers("ticks")}
        assert there <= index_of(timers, home), turns


@pytest.mark.parametrize("lost", ["HSET", "TIME", "EVALSHA", "HKEYS", "HDEL"])
def test_a_call_whose_reply_is_lost_is_made_again(relay, redis_client, key_names, lost):
    with redis.Redis.from_url(relay.url) as client:
        timers = TimersClient(client, **key_names)
        timers.ensure_series([TICK, REPORT], owner=OWNER)

        relay.lose_reply(lost)
        ensured = timers.ensure_series([REPORT], owner=OWNER, prune=True)

    assert relay.all_lost
    assert (ensured.unchanged, ensured.removed) == ([name(REPORT)], [name(TICK)])
    index = timers._operations.keys.series_of(OWNER)
    assert redis_client.hkeys(index) == [b'["reports","daily"]']


# --- mistakes ---------------------------------------------------------------------------------


class Owner(str, Enum):  # noqa: UP042  as applications still write them
    SHOP = "shop"


@everywhere
def test_a_member_of_an_enum_is_its_value(timers, home):
    class Topic(str, Enum):  # noqa: UP042  as applications still write them
        TICKS = "ticks"

    series = Series("x", Topic.TICKS, timer_id=Topic.TICKS, repeat=HOURLY)

    assert (type(series.topic), type(series.timer_id)) == (str, str)
    assert timers.ensure_series([series], owner=Owner.SHOP).created == [("ticks", "ticks")]
    assert timers.get_timer("ticks", "ticks").headers["timer-repeat-owner"] == "shop"
    assert timers.ensure_series([], owner="shop", prune=True).removed == [("ticks", "ticks")]


@everywhere
@pytest.mark.parametrize(
    ("series", "options", "error", "sentence"),
    [
        ([TICK], {"owner": ""}, ValueError, "owner must not be empty"),
        ([TICK], {"owner": None}, TypeError, "owner must be a str, got None"),
        ([TICK], {"owner": 5}, TypeError, "owner must be a str, got 5"),
        ([TICK], {"owner": "\ud800"}, ValueError, "owner can't be written as UTF-8"),
        ([TICK], {"owner": "x" * 70_000}, ValueError, "65,535"),
        ([TICK, TICK], {}, ValueError, "declare timer_id 'tick' of topic 'ticks' twice"),
        (TICK, {}, TypeError, "series must be a list of Series, got a value of type Series"),
        (None, {}, TypeError, "series must be a list of Series, got a value of type NoneType"),
        ("abc", {}, TypeError, "series must be a list of Series, got a value of type str"),
        ([TICK, "secret"], {}, TypeError, "series[1] must be a Series, got a value of type str"),
        (
            [TICK, Series("\ud800", "ticks", timer_id="2", repeat=HOURLY)],
            {},
            ValueError,
            "surrogates not allowed",
        ),
        (
            [TICK, Series(TimerPublishMessage("x"), "ticks", timer_id="2", repeat=HOURLY)],
            {},
            TypeError,
            "a TimerPublishMessage is for batches",
        ),
        (
            [TICK, Series("x", "ticks", timer_id="2", repeat=HOURLY, headers={"a": object()})],
            {},
            TypeError,
            "",
        ),
        ([TICK], {"prune": "yes"}, TypeError, "prune must be True or False, got 'yes'"),
    ],
)
def test_a_mistake_is_refused_and_nothing_is_written(
    timers, home, series, options, error, sentence
):
    with pytest.raises(error) as caught:
        timers.ensure_series(series, **{"owner": OWNER, **options})

    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)
    assert home.written() == []
    assert index_of(timers, home) == set()


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"topic": ""}, ValueError, "topic must not be empty"),
        ({"topic": 5}, TypeError, "topic must be a str, got 5"),
        ({"timer_id": ""}, ValueError, "timer_id must not be empty"),
        ({"timer_id": None}, TypeError, "timer_id must be a str, got None"),
        ({"repeat": None}, TypeError, "repeat must be Every(...) or Cron(...), got None"),
        ({"repeat": timedelta(hours=1)}, TypeError, "repeat must be Every(...) or Cron(...)"),
        ({"headers": [("a", "b")]}, TypeError, "headers must be a mapping, got a value of type"),
    ],
)
def test_a_series_that_can_not_be_is_refused_where_it_is_made(arguments, error, sentence):
    right = {"message": "x", "topic": "ticks", "timer_id": "tick", "repeat": HOURLY}

    with pytest.raises(error) as caught:
        Series(**{**right, **arguments})

    assert sentence in str(caught.value)


def test_a_series_shows_no_message():
    series = Series("secret", "ticks", timer_id="tick", repeat=HOURLY, headers={"a": "secret"})

    assert "secret" not in repr(series)


def test_a_topic_that_can_have_no_hash_tag_is_refused_before_anything_is_written():
    fake = FakeTimersClient(hash_tags=True)
    wrong = Series("x", "{ticks}", timer_id="tick", repeat=HOURLY)

    with pytest.raises(ValueError, match="hash_tags=True"):
        fake.ensure_series([TICK, wrong], owner=OWNER)
    assert fake.scheduled == []


# --- tests of one's own -----------------------------------------------------------------------


def test_a_fake_client_shows_what_was_declared():
    fake = FakeTimersClient()
    fake.ensure_series([REPORT], owner=OWNER)

    (timer,) = fake.scheduled
    assert (timer.message, timer.repeat) == ({"kind": "daily"}, DAILY)
    fake.clear()
    assert fake.ensure_series([], owner=OWNER).removed == []
