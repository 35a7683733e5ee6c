"""What every front end promises about every operation, on a real server, fakeredis, in memory.

The suite knows `FrontEnd` alone; which front ends there are stands in `front_ends.py`.
"""

import math
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from front_ends import FRONT_ENDS_AND_HOMES

from faststream_redis_timers_sync import (
    Cron,
    Every,
    TimerExistsError,
    TimerPublishMessage,
    next_times,
)
from faststream_redis_timers_sync.protocol.envelope import MAGIC, write_envelope
from faststream_redis_timers_sync.protocol.model import Outcome, Settlement
from faststream_redis_timers_sync.protocol.recurrence import UnknownRepeat

TOPIC = "invoices"
HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


pytestmark = pytest.mark.parametrize(
    ("make_front_end", "home"), FRONT_ENDS_AND_HOMES, indirect=True
)


def commit(step):
    """Say that the handlers of all timers of a claim have returned."""
    return [Settlement(b"commit", timer.timer_id, step.lease) for timer in step.claimed]


async def listed(front_end, **kwargs):
    async with aclosing(front_end.iter_timers(TOPIC, **kwargs)) as timers:
        return [timer async for timer in timers]


# --- scheduling --------------------------------------------------------------------------


async def test_a_scheduled_timer_can_be_looked_at(front_end):
    timer_id = await front_end.schedule(
        {"number": 1},
        TOPIC,
        timer_id="42",
        activate_at=YEAR_2050,
        headers={"customer": "José"},
        correlation_id="order-7",
        reply_to="replies",
    )

    assert timer_id == "42"
    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.topic, timer.timer_id) == (TOPIC, "42")
    assert timer.due_at == YEAR_2050
    assert timer.running is False
    assert timer.body == b'{"number":1}'
    assert timer.decode() == {"number": 1}
    assert timer.content_type == "application/json"
    assert timer.correlation_id == "order-7"
    assert timer.headers == {
        "correlation_id": "order-7",
        "content-type": "application/json",
        "reply_to": "replies",
        "customer": "José",
    }


async def test_a_timer_without_an_id_gets_one_of_its_own(front_end):
    ids = {await front_end.schedule("x", TOPIC) for _ in range(3)}

    assert {len(timer_id) for timer_id in ids} == {22}
    assert set(await front_end.get_pending_timers(TOPIC)) == ids


async def test_the_correlation_id_is_the_timer_id_unless_given(front_end):
    timer_id = await front_end.schedule("x", TOPIC)

    timer = await front_end.get_timer(TOPIC, timer_id)

    assert timer.correlation_id == timer_id
    assert "correlation_id" not in timer.headers


@dataclass
class Invoice:
    number: UUID


@pytest.mark.parametrize(
    ("message", "decoded", "content_type"),
    [
        ("José", "José", "text/plain"),
        ("", "", "text/plain"),
        (b"\xff\x00", b"\xff\x00", None),
        (None, b"", None),
        ([1, {"a": None}], [1, {"a": None}], "application/json"),
        (0, 0, "application/json"),
        (False, False, "application/json"),
        (Invoice(UUID(int=1)), {"number": str(UUID(int=1))}, "application/json"),
    ],
    ids=repr,
)
async def test_messages_arrive_as_faststream_encodes_them(
    front_end, message, decoded, content_type
):
    timer = await front_end.get_timer(TOPIC, await front_end.schedule(message, TOPIC))

    assert timer.decode() == decoded
    assert timer.content_type == content_type


@pytest.mark.parametrize(
    "time",
    [
        {},
        {"activate_in": timedelta(0)},
        {"activate_in": -HOUR},
        {"activate_in": timedelta.min},
        {"activate_at": datetime(2001, 1, 1, tzinfo=UTC)},
        {"activate_at": datetime(1, 1, 1, tzinfo=UTC)},
    ],
    ids=repr,
)
async def test_without_a_time_or_with_one_in_the_past_it_is_due_now(front_end, home, time):
    before = home.now()
    await front_end.schedule("x", TOPIC, timer_id="42", **time)
    after = home.now()

    assert before <= (await front_end.get_timer(TOPIC, "42")).due_at <= after
    assert home.claim_due(TOPIC) == [b"42"]


async def test_a_delay_counts_from_the_servers_now(front_end, home):
    before = home.now()
    await front_end.schedule("x", TOPIC, timer_id="42", activate_in=HOUR)
    after = home.now()

    assert before + HOUR <= (await front_end.get_timer(TOPIC, "42")).due_at <= after + HOUR
    assert home.claim_due(TOPIC) == []


@pytest.mark.parametrize(
    "time",
    [
        YEAR_2050 + MICROSECOND,
        datetime(2099, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
    ],
)
async def test_a_time_is_exact(front_end, time):
    await front_end.schedule("x", TOPIC, timer_id="42", activate_at=time)

    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.due_at, timer.running) == (time, False)


async def test_a_prefix_stands_before_every_topic(make_front_end, home):
    async with (
        make_front_end(home, prefix="my-service:") as prefixed,
        make_front_end(home) as plain,
    ):
        await prefixed.schedule("x", TOPIC, timer_id="1", reply_to="replies", activate_in=HOUR)
        await prefixed.schedule_batch(["y"], TOPIC, reply_to="replies")

        assert await plain.count_pending(TOPIC) == 0
        assert await plain.count_pending(f"my-service:{TOPIC}") == 2
        timer = await prefixed.get_timer(TOPIC, "1")
        assert timer.topic == f"my-service:{TOPIC}"
        assert {timer.headers["reply_to"] for timer in [timer, *await listed(prefixed)]} == {
            "my-service:replies"
        }
        assert await prefixed.has_pending(TOPIC, "1")
        assert await prefixed.reschedule_timer(TOPIC, "1", activate_at=YEAR_2050)
        assert (await prefixed.get_pending_timers(TOPIC))[-1] == "1"
        await prefixed.schedule("z", TOPIC, timer_id="2", repeat=Every(days=1, spread=True))
        series = await prefixed.get_timer(TOPIC, "2")
        assert series.repeat == series.repeat.bound_to(f"my-service:{TOPIC}", "2")
        assert series.due_at == series.repeat.after(series.due_at - MICROSECOND)
        assert await prefixed.pause_timer(TOPIC, "2")
        assert await prefixed.resume_timer(TOPIC, "2")
        assert await prefixed.cancel_timer(TOPIC, "2")
        assert await prefixed.cancel_timer(TOPIC, "1")
        assert await prefixed.cancel_timers(TOPIC, ["1"]) == 0
        assert await prefixed.cancel_all(TOPIC) == 1


# --- an id that is taken -----------------------------------------------------------------


async def given(state, front_end, home):
    """Put the timer 42 into a state."""
    if state == "orphaned":
        home.plant(TOPIC, "42", YEAR_2050.timestamp(), None)
    if state in {"waiting", "running"}:
        due_at = YEAR_2050 if state == "waiting" else None
        await front_end.schedule("old", TOPIC, timer_id="42", activate_at=due_at)
    if state == "running":
        return home.claim(TOPIC)
    return None


@pytest.mark.parametrize("state", ["absent", "waiting", "running", "orphaned"])
async def test_replace_lets_the_new_timer_stand(front_end, home, state):
    await given(state, front_end, home)

    await front_end.schedule("new", TOPIC, timer_id="42", activate_at=YEAR_2050 + HOUR)

    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.decode(), timer.due_at, timer.running) == ("new", YEAR_2050 + HOUR, False)
    assert await front_end.count_pending(TOPIC) == 1


@pytest.mark.parametrize("state", ["absent", "running", "orphaned"])
@pytest.mark.parametrize("if_exists", ["keep", "error"])
async def test_only_a_waiting_timer_stands_in_the_way(front_end, home, state, if_exists):
    await given(state, front_end, home)

    await front_end.schedule("new", TOPIC, timer_id="42", activate_in=HOUR, if_exists=if_exists)

    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.decode(), timer.running) == ("new", False)


async def test_keep_lets_the_waiting_timer_stand(front_end, home):
    await given("waiting", front_end, home)

    assert await front_end.schedule("new", TOPIC, timer_id="42", if_exists="keep") == "42"

    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.decode(), timer.due_at) == ("old", YEAR_2050)


async def test_error_names_the_waiting_timer_and_lets_it_stand(front_end, home):
    await given("waiting", front_end, home)

    with pytest.raises(TimerExistsError, match="'42' is already waiting") as caught:
        await front_end.schedule("new", TOPIC, timer_id="42", if_exists="error")

    assert (caught.value.topic, caught.value.timer_id) == (TOPIC, "42")
    assert (await front_end.get_timer(TOPIC, "42")).decode() == "old"


async def test_a_due_timer_that_no_worker_claimed_still_waits(front_end):
    await front_end.schedule("old", TOPIC, timer_id="42")

    with pytest.raises(TimerExistsError):
        await front_end.schedule("new", TOPIC, timer_id="42", if_exists="error")


@pytest.mark.parametrize("if_exists", ["replace", "keep", "error"])
async def test_the_old_handlers_commit_leaves_a_timer_scheduled_meanwhile(
    front_end, home, if_exists
):
    claim = await given("running", front_end, home)

    await front_end.schedule("new", TOPIC, timer_id="42", if_exists=if_exists)

    assert home.step(TOPIC, *commit(claim)).outcomes == bytes([Outcome.DUE_AGAIN])
    assert (await front_end.get_timer(TOPIC, "42")).decode() == "new"


# --- batches -----------------------------------------------------------------------------


async def test_a_batch_gives_ids_in_the_order_of_its_messages(front_end):
    messages = (f"message {n}" for n in range(1100))

    ids = await front_end.schedule_batch(messages, TOPIC, activate_at=YEAR_2050)

    assert await front_end.count_pending(TOPIC) == 1100
    decoded = {timer.timer_id: timer.decode() for timer in await listed(front_end)}
    assert [decoded[timer_id] for timer_id in ids] == [f"message {n}" for n in range(1100)]


async def test_an_empty_batch_schedules_nothing(front_end):
    assert await front_end.schedule_batch([], TOPIC) == []
    assert await front_end.count_pending(TOPIC) == 0


async def test_a_batchs_settings_hold_for_each_message(front_end):
    ids = await front_end.schedule_batch(
        ["a", "b"],
        TOPIC,
        activate_at=YEAR_2050,
        headers={"shared": "yes"},
        correlation_id="order-7",
        reply_to="replies",
    )

    timers = [await front_end.get_timer(TOPIC, timer_id) for timer_id in ids]
    assert [timer.decode() for timer in timers] == ["a", "b"]
    for timer in timers:
        assert timer.due_at == YEAR_2050
        assert timer.correlation_id == "order-7"
        assert timer.headers["shared"] == "yes"
        assert timer.headers["reply_to"] == "replies"


async def test_a_messages_own_settings_win_over_the_batchs(front_end, home):
    before = home.now()
    ids = await front_end.schedule_batch(
        [
            TimerPublishMessage(
                {"n": 1},
                timer_id="own",
                activate_at=YEAR_2050 + HOUR,
                headers={"who": "message", "more": "1"},
                correlation_id="own-correlation",
            ),
            TimerPublishMessage("b", timer_id="own-delay", activate_in=HOUR),
            TimerPublishMessage("c"),
        ],
        TOPIC,
        activate_at=YEAR_2050,
        headers={"who": "batch", "shared": "yes"},
        correlation_id="order-7",
    )

    own, own_delay, plain = [await front_end.get_timer(TOPIC, timer_id) for timer_id in ids]
    assert own.timer_id == "own"
    assert own.decode() == {"n": 1}
    assert own.due_at == YEAR_2050 + HOUR
    assert own.correlation_id == "own-correlation"
    assert own.headers["who"] == "message"
    assert own.headers["more"] == "1"
    assert own.headers["shared"] == "yes"
    assert before + HOUR <= own_delay.due_at <= home.now() + HOUR
    assert plain.due_at == YEAR_2050
    assert plain.headers["who"] == "batch"
    assert plain.correlation_id == "order-7"


def of_ids(*ids):
    return [TimerPublishMessage("new", timer_id=timer_id) for timer_id in ids]


async def test_error_schedules_nothing_of_a_batch(front_end, home):
    await given("waiting", front_end, home)

    with pytest.raises(TimerExistsError) as caught:
        await front_end.schedule_batch(of_ids("1", "42", "2"), TOPIC, if_exists="error")

    assert caught.value.timer_id == "42"
    assert await front_end.get_pending_timers(TOPIC) == ["42"]


async def test_keep_schedules_the_others_of_a_batch(front_end, home):
    await given("waiting", front_end, home)

    ids = await front_end.schedule_batch(of_ids("1", "42", "2"), TOPIC, if_exists="keep")

    assert ids == ["1", "42", "2"]
    decoded = {timer.timer_id: timer.decode() for timer in await listed(front_end)}
    assert decoded == {"1": "new", "42": "old", "2": "new"}


async def test_two_hundred_timers_are_one_call_and_the_next_ones_another(front_end):
    await front_end.schedule("old", TOPIC, timer_id="201")

    with pytest.raises(TimerExistsError, match="'201'"):
        await front_end.schedule_batch(of_ids(*map(str, range(1200))), TOPIC, if_exists="error")

    assert await front_end.count_pending(TOPIC) == 201


async def test_an_id_that_occurs_twice_is_refused_before_anything_is_written(front_end, home):
    ids = [*map(str, range(600)), "599"]

    with pytest.raises(ValueError, match="timer_id '599' occurs twice"):
        await front_end.schedule_batch(of_ids(*ids), TOPIC)

    assert home.written() == []


async def test_a_message_that_json_has_no_place_for_spoils_the_batch(front_end, home):
    with pytest.raises(Exception, match="serialize") as caught:
        await front_end.schedule_batch(["x", object()], TOPIC)

    assert any("messages[1]" in note and TOPIC in note for note in caught.value.__notes__)
    assert home.written() == []


# --- moving ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["waiting", "running"])
async def test_a_timer_can_be_moved_while_it_waits_and_while_it_runs(front_end, home, state):
    await given(state, front_end, home)

    assert await front_end.reschedule_timer(TOPIC, "42", activate_at=YEAR_2050 + HOUR) is True

    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.decode(), timer.due_at, timer.running) == ("old", YEAR_2050 + HOUR, False)


async def test_a_move_by_a_delay_counts_from_the_servers_now(front_end, home):
    await given("waiting", front_end, home)

    before = home.now()
    assert await front_end.reschedule_timer(TOPIC, "42", activate_in=HOUR)
    after = home.now()

    assert before + HOUR <= (await front_end.get_timer(TOPIC, "42")).due_at <= after + HOUR


async def test_a_move_into_the_past_makes_it_due_now(front_end, home):
    await given("waiting", front_end, home)

    assert await front_end.reschedule_timer(
        TOPIC, "42", activate_at=datetime(2001, 1, 1, tzinfo=UTC)
    )

    assert home.claim_due(TOPIC) == [b"42"]


@pytest.mark.parametrize("state", ["absent", "orphaned"])
@pytest.mark.leaks_keys
async def test_a_timer_that_is_not_there_is_not_moved(front_end, home, state):
    await given(state, front_end, home)

    assert await front_end.reschedule_timer(TOPIC, "42", activate_in=-HOUR) is False

    assert await front_end.has_pending(TOPIC, "42") is False
    assert home.redis.zscore(home.keys_of(TOPIC).timeline, "42") in {None, YEAR_2050.timestamp()}


async def test_the_old_handlers_commit_leaves_a_timer_moved_meanwhile(front_end, home):
    claim = await given("running", front_end, home)

    await front_end.reschedule_timer(TOPIC, "42", activate_in=HOUR)

    assert home.step(TOPIC, *commit(claim)).outcomes == bytes([Outcome.DUE_AGAIN])
    assert await front_end.has_pending(TOPIC, "42")


# --- recurring timers --------------------------------------------------------------------

HOURLY = Every(hours=1)
DAILY = Cron("0 9 * * *", tz="Europe/Berlin")


def first_times(repeat, before, after):
    """Give the times at which a series is due first that was scheduled in between."""
    return {repeat.after(before), repeat.after(after)}


@pytest.mark.parametrize(
    "repeat",
    [
        HOURLY,
        Every(timedelta(days=1), start=YEAR_2050 + MICROSECOND),
        DAILY,
        Cron("@hourly"),
    ],
    ids=str,
)
async def test_a_recurring_timer_is_due_at_its_next_time(front_end, home, repeat):
    before = home.now()
    timer_id = await front_end.schedule({"n": 1}, TOPIC, timer_id="42", repeat=repeat)
    after = home.now()

    assert timer_id == "42"
    timer = await front_end.get_timer(TOPIC, "42")
    assert timer.due_at in first_times(repeat, before, after)
    assert (timer.repeat, timer.paused, timer.running) == (repeat, False, False)
    assert timer.headers["timer-repeat"] == repeat.definition
    assert timer.decode() == {"n": 1}
    assert [timer] == await listed(front_end)
    assert home.claim_due(TOPIC) == []


async def test_a_series_can_be_spread_by_topic_and_id(front_end):
    every_day = Every(days=1, spread=True)
    await front_end.schedule_batch(of_ids(*"abc"), TOPIC, repeat=every_day)

    times = [(timer.timer_id, timer.due_at) for timer in await listed(front_end)]
    assert len({due_at for _, due_at in times}) == 3
    for timer_id, due_at in times:
        assert due_at in set(next_times(every_day.bound_to(TOPIC, timer_id), 2))


async def test_times_and_repeat_are_one_setting_of_a_batch_and_a_messages_own_wins(front_end, home):
    before = home.now()
    recurring = [
        TimerPublishMessage("b", timer_id="b"),
        TimerPublishMessage("d", timer_id="d", repeat=DAILY),
        TimerPublishMessage("o", timer_id="o", activate_at=YEAR_2050),
        TimerPublishMessage("n", activate_in=HOUR),
    ]
    ids = await front_end.schedule_batch(recurring, TOPIC, repeat=HOURLY, headers={"of": "all"})
    once = [
        TimerPublishMessage("1", timer_id="1"),
        TimerPublishMessage("2", timer_id="2", repeat=HOURLY),
    ]
    ids += await front_end.schedule_batch(once, TOPIC, activate_at=YEAR_2050)
    after = home.now()

    timers = {timer_id: await front_end.get_timer(TOPIC, timer_id) for timer_id in ids}
    b, d, o, n, one, two = timers.values()
    assert [timer and timer.repeat for timer in timers.values()] == [
        *(HOURLY, DAILY, None, None),
        *(None, HOURLY),
    ]
    assert b.due_at in first_times(HOURLY, before, after)
    assert d.due_at in first_times(DAILY, before, after)
    assert (o.due_at, one.due_at) == (YEAR_2050, YEAR_2050)
    assert before + HOUR <= n.due_at <= after + HOUR
    assert two.due_at in first_times(HOURLY, before, after)
    assert (b.headers["of"], n.headers["of"]) == ("all", "all")


async def test_hundreds_of_series_are_scheduled_in_several_calls(front_end):
    messages = of_ids(*map(str, range(450)))

    assert len(await front_end.schedule_batch(messages, TOPIC, repeat=Every(days=400))) == 450
    assert await front_end.count_pending(TOPIC) == 450
    assert {timer.repeat for timer in await listed(front_end)} == {Every(days=400)}


async def test_a_series_has_headers_of_its_own_but_none_of_a_series_or_trace(front_end):
    headers = {
        "x-mine": "1",
        "timer-repeat": "every 1.000000 0.000000",
        "timer-repeat-owner": "me",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=b",
    }

    await front_end.schedule("x", TOPIC, timer_id="42", repeat=HOURLY, headers=headers)
    await front_end.schedule("x", TOPIC, timer_id="43", activate_at=YEAR_2050, headers=headers)

    series, once = [await front_end.get_timer(TOPIC, timer_id) for timer_id in ("42", "43")]
    assert series.headers == {
        "timer-repeat": HOURLY.definition,
        "content-type": "text/plain",
        "x-mine": "1",
    }
    # A timer with forwarded headers founds no series, but goes on with the trace.
    assert once.repeat is None
    assert set(once.headers) == {"content-type", "x-mine", "traceparent", "tracestate"}


async def given_series(state, front_end, home):
    """Put the recurring timer 42 into a state, which it is not in by chance."""
    await front_end.schedule("old", TOPIC, timer_id="42", repeat=HOURLY)
    match state:
        case "waiting":
            await front_end.reschedule_timer(TOPIC, "42", activate_at=YEAR_2050)
        case "overdue":
            await front_end.reschedule_timer(TOPIC, "42", activate_in=timedelta(0))
        case "running":
            await front_end.reschedule_timer(TOPIC, "42", activate_in=timedelta(0))
            return home.claim(TOPIC)
        case "paused":
            await front_end.pause_timer(TOPIC, "42")
    return None


@pytest.mark.parametrize("if_exists", [None, "update"])
@pytest.mark.parametrize("state", ["waiting", "overdue", "running", "paused"])
async def test_scheduled_again_a_series_gets_the_message_and_keeps_its_time(
    front_end, home, state, if_exists
):
    step = await given_series(state, front_end, home)
    old = await front_end.get_timer(TOPIC, "42")

    await front_end.schedule("new", TOPIC, timer_id="42", repeat=HOURLY, if_exists=if_exists)

    new = await front_end.get_timer(TOPIC, "42")
    assert new.decode() == "new"
    assert (new.due_at, new.running, new.paused) == (old.due_at, old.running, old.paused)
    if step is not None:
        # The lease is still that of the handler, whose end moves the series on.
        settlement = Settlement(b"repeat", b"42", step.lease, b"2524608000.000000")
        assert home.step(TOPIC, settlement).outcomes == bytes([Outcome.DONE])
        assert (await front_end.get_timer(TOPIC, "42")).due_at == YEAR_2050


@pytest.mark.parametrize("state", ["waiting", "overdue", "running", "paused"])
async def test_scheduled_again_by_another_definition_a_series_follows_that(front_end, home, state):
    step = await given_series(state, front_end, home)
    before = home.now()

    await front_end.schedule("new", TOPIC, timer_id="42", repeat=DAILY)

    after = home.now()
    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.decode(), timer.repeat) == ("new", DAILY)
    assert (timer.paused, timer.running) == (state == "paused", False)
    if state == "overdue":
        assert before <= timer.due_at <= after
    elif state != "paused":
        assert timer.due_at in first_times(DAILY, before, after)
    if step is not None:
        settlement = Settlement(b"repeat", b"42", step.lease, b"2524608000.000000")
        assert home.step(TOPIC, settlement).outcomes == bytes([Outcome.DUE_AGAIN])


@pytest.mark.parametrize("state", ["absent", "waiting", "running"])
async def test_a_timer_that_is_due_once_becomes_a_recurring_one(front_end, home, state):
    await given(state, front_end, home)
    before = home.now()

    await front_end.schedule("new", TOPIC, timer_id="42", repeat=HOURLY)

    timer = await front_end.get_timer(TOPIC, "42")
    assert timer.due_at in first_times(HOURLY, before, home.now())
    assert (timer.decode(), timer.repeat, timer.running) == ("new", HOURLY, False)


@pytest.mark.parametrize("state", ["waiting", "overdue", "running", "paused"])
async def test_replace_starts_a_series_over(front_end, home, state):
    await given_series(state, front_end, home)
    before = home.now()

    await front_end.schedule("new", TOPIC, timer_id="42", repeat=HOURLY, if_exists="replace")

    timer = await front_end.get_timer(TOPIC, "42")
    assert timer.due_at in first_times(HOURLY, before, home.now())
    assert (timer.decode(), timer.running, timer.paused) == ("new", False, False)


@pytest.mark.parametrize("state", ["waiting", "overdue", "paused"])
async def test_keep_and_error_let_a_series_stand(front_end, home, state):
    await given_series(state, front_end, home)
    old = await front_end.get_timer(TOPIC, "42")

    await front_end.schedule("new", TOPIC, timer_id="42", repeat=DAILY, if_exists="keep")
    with pytest.raises(TimerExistsError, match="'42'"):
        await front_end.schedule("new", TOPIC, timer_id="42", repeat=DAILY, if_exists="error")

    assert await front_end.get_timer(TOPIC, "42") == old


async def test_a_timer_that_is_due_once_ends_the_series_of_its_id(front_end, home):
    await given_series("paused", front_end, home)

    await front_end.schedule("once", TOPIC, timer_id="42", activate_at=YEAR_2050)

    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.repeat, timer.paused, timer.due_at) == (None, False, YEAR_2050)


async def test_a_batch_updates_its_series_and_replaces_the_rest(front_end, home):
    await given_series("waiting", front_end, home)
    await front_end.schedule("old", TOPIC, timer_id="43", activate_at=YEAR_2050)

    messages = [
        TimerPublishMessage("new", timer_id="43", activate_at=YEAR_2050 + HOUR),
        TimerPublishMessage("new", timer_id="42", repeat=HOURLY),
    ]
    await front_end.schedule_batch(messages, TOPIC)

    assert [
        (timer.timer_id, timer.due_at, timer.decode()) for timer in await listed(front_end)
    ] == [
        ("42", YEAR_2050, "new"),
        ("43", YEAR_2050 + HOUR, "new"),
    ]


@pytest.mark.parametrize("state", ["waiting", "overdue", "running", "paused"])
async def test_a_paused_timer_is_claimed_by_nobody_until_it_is_resumed(front_end, home, state):
    step = await given_series(state, front_end, home)

    assert await front_end.pause_timer(TOPIC, "42") is True

    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.paused, timer.running, timer.repeat) == (True, False, HOURLY)
    assert timer.decode() == "old"
    assert home.claim_due(TOPIC) == []
    assert await front_end.has_pending(TOPIC, "42") is True
    assert await front_end.count_pending(TOPIC) == 1
    if step is not None:
        settlement = Settlement(b"repeat", b"42", step.lease, b"2524608000.000000")
        assert home.step(TOPIC, settlement).outcomes == bytes([Outcome.DUE_AGAIN])

    before = home.now()
    assert await front_end.resume_timer(TOPIC, "42") is True

    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.paused, timer.repeat, timer.decode()) == (False, HOURLY, "old")
    assert timer.due_at in first_times(HOURLY, before, home.now())


@pytest.mark.parametrize("state", ["waiting", "overdue", "running"])
async def test_only_what_is_paused_is_resumed(front_end, home, state):
    await given_series(state, front_end, home)
    old = await front_end.get_timer(TOPIC, "42")

    assert await front_end.resume_timer(TOPIC, "42") is False

    assert await front_end.get_timer(TOPIC, "42") == old


@pytest.mark.parametrize("state", ["absent", "orphaned"])
@pytest.mark.leaks_keys
async def test_an_unknown_timer_is_neither_paused_nor_resumed(front_end, home, state):
    await given(state, front_end, home)

    assert await front_end.pause_timer(TOPIC, "42") is False
    assert await front_end.resume_timer(TOPIC, "42") is False


@pytest.mark.parametrize("state", ["waiting", "running"])
async def test_a_timer_that_is_due_once_is_neither_paused_nor_resumed(front_end, home, state):
    await given(state, front_end, home)
    old = await front_end.get_timer(TOPIC, "42")

    with pytest.raises(ValueError, match="timer_id must be that of a recurring timer, got '42'"):
        await front_end.pause_timer(TOPIC, "42")
    assert await front_end.resume_timer(TOPIC, "42") is False

    assert await front_end.get_timer(TOPIC, "42") == old


async def test_a_time_far_away_does_not_count_as_a_pause(front_end):
    last_day = datetime(9999, 12, 31, tzinfo=UTC)
    await front_end.schedule("x", TOPIC, timer_id="42", activate_at=last_day)

    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.due_at, timer.paused) == (last_day, False)
    assert await front_end.resume_timer(TOPIC, "42") is False


async def test_rescheduling_moves_the_next_occurrence_of_a_series_and_resumes_it(front_end, home):
    await given_series("paused", front_end, home)

    assert await front_end.reschedule_timer(TOPIC, "42", activate_at=YEAR_2050) is True

    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.due_at, timer.paused, timer.repeat) == (YEAR_2050, False, HOURLY)


@pytest.mark.parametrize(
    ("state", "answer"),
    [("waiting", True), ("overdue", True), ("running", False), ("paused", True)],
)
async def test_cancelling_ends_a_series(front_end, home, state, answer):
    step = await given_series(state, front_end, home)

    assert await front_end.cancel_timer(TOPIC, "42") is answer

    assert await front_end.get_timer(TOPIC, "42") is None
    if step is not None:
        settlement = Settlement(b"repeat", b"42", step.lease, b"2524608000.000000")
        assert home.step(TOPIC, settlement).outcomes == bytes([Outcome.GONE])
    assert await front_end.count_pending(TOPIC) == 0


# --- cancelling --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "answer"),
    [("waiting", True), ("running", False), ("absent", False), ("orphaned", False)],
)
async def test_cancel_returns_whether_the_timer_waited_and_it_is_gone(
    front_end, home, state, answer
):
    await given(state, front_end, home)

    assert await front_end.cancel_timer(TOPIC, "42") is answer

    assert home.written() == []


async def test_a_second_cancel_finds_nothing(front_end, home):
    await given("waiting", front_end, home)

    assert await front_end.cancel_timer(TOPIC, "42") is True
    assert await front_end.cancel_timer(TOPIC, "42") is False


async def test_the_commit_of_a_cancelled_timer_does_nothing(front_end, home):
    claim = await given("running", front_end, home)
    await front_end.schedule("other", TOPIC, timer_id="43")

    await front_end.cancel_timer(TOPIC, "42")

    assert home.step(TOPIC, *commit(claim)).outcomes == bytes([Outcome.GONE])
    assert await front_end.get_pending_timers(TOPIC) == ["43"]


async def test_cancelling_several_counts_those_that_waited(front_end, home):
    await given("running", front_end, home)
    await front_end.schedule_batch(of_ids("1", "2", "3"), TOPIC)

    # An id that is given twice is one timer.
    count = await front_end.cancel_timers(TOPIC, iter(["1", "42", "unknown", "2", "1"]))

    assert count == 2
    assert await front_end.get_pending_timers(TOPIC) == ["3"]


async def test_more_than_five_hundred_are_cancelled(front_end):
    ids = await front_end.schedule_batch(range(1100), TOPIC)

    assert await front_end.cancel_timers(TOPIC, ids) == 1100
    assert await front_end.count_pending(TOPIC) == 0


async def test_cancelling_no_ids_counts_none(front_end):
    assert await front_end.cancel_timers(TOPIC, []) == 0


async def test_cancelling_all_counts_all_and_leaves_other_topics(front_end, home):
    await given("running", front_end, home)
    await front_end.schedule_batch(["a", "b"], TOPIC)
    await front_end.schedule("x", "other")

    assert await front_end.cancel_all(TOPIC) == 3

    assert await front_end.count_pending(TOPIC) == 0
    assert await front_end.count_pending("other") == 1
    assert await front_end.cancel_all(TOPIC) == 0


@pytest.mark.parametrize("operation", ["schedule", "batch", "move", "cancel", "cancel several"])
async def test_what_schedules_moves_or_removes_a_timer_forgets_its_attempts(
    front_end, home, operation
):
    await given("waiting", front_end, home)
    attempts = home.keys_of(TOPIC).attempts
    home.redis.hset(attempts, mapping={"42": 3, "43": 1})
    home.plant(TOPIC, "43", YEAR_2050.timestamp(), b"another")

    match operation:
        case "schedule":
            await front_end.schedule("new", TOPIC, timer_id="42")
        case "batch":
            await front_end.schedule_batch(of_ids("42"), TOPIC)
        case "move":
            await front_end.reschedule_timer(TOPIC, "42", activate_in=HOUR)
        case "cancel":
            await front_end.cancel_timer(TOPIC, "42")
        case "cancel several":
            await front_end.cancel_timers(TOPIC, ["42"])

    assert home.redis.hgetall(attempts) == {b"43": b"1"}
    await front_end.cancel_all(TOPIC)
    assert home.redis.exists(attempts) == 0


async def test_a_kept_timer_keeps_its_attempts(front_end, home):
    await given("waiting", front_end, home)
    home.redis.hset(home.keys_of(TOPIC).attempts, "42", 3)

    await front_end.schedule("new", TOPIC, timer_id="42", if_exists="keep")

    assert home.redis.hget(home.keys_of(TOPIC).attempts, "42") == b"3"


# --- looking -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "pending"),
    [("waiting", True), ("running", True), ("absent", False), ("orphaned", False)],
)
@pytest.mark.leaks_keys
async def test_every_look_agrees_on_what_is_pending(front_end, home, state, pending):
    await given(state, front_end, home)

    assert await front_end.has_pending(TOPIC, "42") is pending
    assert (await front_end.get_timer(TOPIC, "42") is not None) is pending
    assert await front_end.count_pending(TOPIC) == int(pending)
    assert await front_end.get_pending_timers(TOPIC) == (["42"] if pending else [])
    assert len(await listed(front_end)) == int(pending)
    assert len(await listed(front_end, bodies=False)) == int(pending)
    assert len(await listed(front_end, match="4*")) == int(pending)
    assert len(await listed(front_end, match="4*", bodies=False)) == int(pending)
    assert await front_end.cancel_all(TOPIC) == int(pending)


async def test_a_running_timer_is_due_when_its_lease_ends(front_end, home):
    await given("running", front_end, home)

    timer = await front_end.get_timer(TOPIC, "42")

    assert timer.running is True
    now = home.now()
    assert now + timedelta(seconds=29) < timer.due_at < now + timedelta(seconds=31)
    assert await listed(front_end) == [timer]


async def test_a_redriven_timer_waits_again(front_end, home):
    claim = await given("running", front_end, home)
    released = Settlement(b"release", b"42", claim.lease, claim.claimed[0].previous_score)

    home.step(TOPIC, released)

    assert (await front_end.get_timer(TOPIC, "42")).running is False
    assert await front_end.cancel_timer(TOPIC, "42") is True


async def test_timers_of_other_topics_are_not_seen(front_end):
    await front_end.schedule("x", "other", timer_id="42")

    assert await front_end.get_timer(TOPIC, "42") is None
    assert await front_end.has_pending(TOPIC, "42") is False
    assert await front_end.cancel_timer(TOPIC, "42") is False
    assert await front_end.cancel_all(TOPIC) == 0
    assert await front_end.has_pending("other", "42") is True


async def test_timers_are_listed_in_order_of_due_time_and_then_of_id(front_end, home):
    for timer_id, due_at in [
        ("c", YEAR_2050),
        ("b", YEAR_2050 + MICROSECOND),
        ("a", YEAR_2050 - MICROSECOND),
        ("Z", YEAR_2050),
        ("é", YEAR_2050),
    ]:
        await front_end.schedule("x", TOPIC, timer_id=timer_id, activate_at=due_at)
    await given("running", front_end, home)

    assert await front_end.get_pending_timers(TOPIC) == ["42", "a", "Z", "c", "é", "b"]
    assert [timer.timer_id for timer in await listed(front_end)] == ["42", "a", "Z", "c", "é", "b"]


async def three_in_a_row(front_end):
    """Schedule the timers 1, 2 and 3, a microsecond apart, 2 at the beginning of 2050."""
    await front_end.schedule_batch(
        [
            TimerPublishMessage(n, timer_id=str(n), activate_at=YEAR_2050 + (n - 2) * MICROSECOND)
            for n in (1, 2, 3)
        ],
        TOPIC,
    )


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, "123"),
        ({"before": YEAR_2050}, "12"),
        ({"after": YEAR_2050}, "3"),
        ({"after": YEAR_2050 - MICROSECOND, "before": YEAR_2050}, "2"),
        ({"after": YEAR_2050, "before": YEAR_2050}, ""),
        ({"after": YEAR_2050 + HOUR, "before": YEAR_2050 - HOUR}, ""),
        ({"before": YEAR_2050.astimezone()}, "12"),
        ({"before": datetime(1, 1, 1, tzinfo=UTC)}, ""),
        ({"after": datetime(1, 1, 1, tzinfo=UTC)}, "123"),
        ({"before": datetime.max.replace(tzinfo=UTC)}, "123"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("match", [None, "*"])
async def test_before_is_inclusive_and_after_is_exclusive(front_end, bounds, expected, match):
    await three_in_a_row(front_end)

    assert {timer.timer_id for timer in await listed(front_end, match=match, **bounds)} == set(
        expected
    )
    if match is None and "after" not in bounds:
        assert await front_end.get_pending_timers(TOPIC, **bounds) == list(expected)


async def test_what_is_due_so_far_can_be_listed(front_end, home):
    await front_end.schedule("x", TOPIC, timer_id="due")
    await front_end.schedule("x", TOPIC, timer_id="later", activate_in=HOUR)

    assert await front_end.get_pending_timers(TOPIC, before=home.now()) == ["due"]


async def test_a_pattern_picks_ids(front_end):
    ids = ["user:42:a", "user:42:b", "user:43:a", "user[42]", "user*"]
    await front_end.schedule_batch(of_ids(*ids), TOPIC)

    async def matching(pattern):
        return sorted([timer.timer_id for timer in await listed(front_end, match=pattern)])

    assert await matching("user:42:*") == ["user:42:a", "user:42:b"]
    assert await matching("user:4?:a") == ["user:42:a", "user:43:a"]
    assert await matching(r"user\[42\]") == ["user[42]"]
    assert await matching(r"user\*") == ["user*"]
    assert await matching("nobody") == []
    assert [timer.decode() for timer in await listed(front_end, match="user:43:*")] == ["new"]


async def test_without_bodies_ids_and_times_are_left(front_end):
    await front_end.schedule("x", TOPIC, timer_id="42", activate_at=YEAR_2050, headers={"a": "b"})

    (timer,) = await listed(front_end, bodies=False)

    assert (timer.topic, timer.timer_id, timer.due_at) == (TOPIC, "42", YEAR_2050)
    assert (timer.body, timer.headers, timer.content_type) == (b"", {}, None)


async def test_more_than_a_thousand_timers_of_one_due_time_come_once_each_in_order(front_end):
    ids = [f"{n:04}" for n in range(1250)]
    await front_end.schedule_batch(of_ids(*reversed(ids)), TOPIC, activate_at=YEAR_2050)
    await three_in_a_row(front_end)

    expected = ["1", *ids, "2", "3"]
    assert await front_end.get_pending_timers(TOPIC) == expected
    assert [timer.timer_id for timer in await listed(front_end)] == expected
    matching = [timer.timer_id for timer in await listed(front_end, match="0*")]
    assert sorted(matching) == ids[:1000]


async def test_a_full_last_page_ends_the_list(front_end):
    ids = [f"{n:03}" for n in range(500)]
    await front_end.schedule_batch(of_ids(*ids), TOPIC, activate_at=YEAR_2050)

    assert await front_end.get_pending_timers(TOPIC) == ids


async def test_large_bodies_are_read_in_several_calls(front_end):
    # Several fit the byte budget of a call only in part; one is larger than it.
    sizes = [200_000, 200_000, 200_000, 1_000_000, 0, 200_000]
    bodies = [bytes([n]) * size for n, size in enumerate(sizes)]
    for n, body in enumerate(bodies):
        await front_end.schedule(body, TOPIC, timer_id=str(n), activate_at=YEAR_2050)

    assert [timer.body for timer in await listed(front_end)] == bodies


async def test_timers_that_vanish_between_pages_hide_no_other(front_end):
    ids = [f"{n:04}" for n in range(1300)]
    await front_end.schedule_batch(of_ids(*ids), TOPIC, activate_at=YEAR_2050)
    # Some that were listed, the cursor itself, and some yet to come.
    vanishing = [*ids[100:300], *ids[450:650], *ids[900:1100]]

    seen = []
    async with aclosing(front_end.iter_timers(TOPIC)) as timers:
        async for timer in timers:
            if not seen:
                assert await front_end.cancel_timers(TOPIC, vanishing) == 600
            seen.append(timer.timer_id)

    assert len(set(seen)) == len(seen)
    assert set(ids) - set(seen) <= set(vanishing)
    assert seen == sorted(seen)


@pytest.mark.leaks_keys
async def test_entries_without_payload_hide_no_other(front_end, home):
    keys = home.keys_of(TOPIC)
    ids = [f"{n:04}" for n in range(1200)]
    await front_end.schedule_batch(of_ids(*ids), TOPIC, activate_at=YEAR_2050)
    home.redis.hdel(keys.payloads, *ids[:1100])

    assert await front_end.get_pending_timers(TOPIC) == ids[1100:]
    assert await front_end.count_pending(TOPIC) == 100
    assert len(await listed(front_end)) == 100
    assert len(await listed(front_end, match="*")) == 100


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        (b"by hand", b"by hand"),
        (b'{"data": "x", "headers": {"content-type": "text/plain"}}', b"x"),
        (b'{"b": "78", "ct": "text/plain"}', b"x"),
        (MAGIC + b"broken", MAGIC + b"broken"),
    ],
)
async def test_payloads_of_other_hands_can_be_looked_at(front_end, home, payload, body):
    home.plant(TOPIC, "42", YEAR_2050.timestamp(), payload)

    assert (await front_end.get_timer(TOPIC, "42")).body == body
    assert [timer.body for timer in await listed(front_end)] == [body]


async def test_numbers_that_json_does_not_know_are_still_read(front_end, home):
    # So did versions before 1.0 write them.
    body = b'{"a":[NaN,-Infinity]}'
    payload = write_envelope(body, content_type="application/json")
    home.plant(TOPIC, "42", YEAR_2050.timestamp(), payload)

    timer = await front_end.get_timer(TOPIC, "42")

    not_a_number, infinity = timer.decode()["a"]
    assert math.isnan(not_a_number)
    assert infinity == -math.inf


# --- the wake-up -------------------------------------------------------------------------


@pytest.fixture
def wake_ups(home):
    """Give the due times published on the topic's channel since the last call."""
    with home.server_of(TOPIC).pubsub() as pubsub:
        home.listen(pubsub, TOPIC)

        def heard():
            home.publish(TOPIC, "end")
            found = []
            while (message := pubsub.get_message(timeout=10)["data"]) != b"end":
                now, due = message.decode().split()
                assert abs(float(now) - home.now().timestamp()) < 60
                found.append(datetime.fromtimestamp(float(due), UTC))
            return found

        yield heard


async def test_a_wake_up_is_sent_when_and_only_when_the_head_gets_lower(front_end, wake_ups):
    await front_end.schedule("x", TOPIC, timer_id="1", activate_at=YEAR_2050)
    assert wake_ups() == [YEAR_2050]

    await front_end.schedule("x", TOPIC, timer_id="2", activate_at=YEAR_2050)
    await front_end.schedule("x", TOPIC, timer_id="3", activate_at=YEAR_2050 + HOUR)
    assert wake_ups() == []

    await front_end.schedule("x", TOPIC, timer_id="4", activate_at=YEAR_2050 - HOUR)
    assert wake_ups() == [YEAR_2050 - HOUR]

    await front_end.schedule("x", TOPIC, timer_id="4", activate_at=YEAR_2050, if_exists="keep")
    await front_end.schedule("x", TOPIC, timer_id="4", activate_at=YEAR_2050)
    assert wake_ups() == []

    await front_end.reschedule_timer(TOPIC, "3", activate_at=YEAR_2050 - HOUR)
    assert wake_ups() == [YEAR_2050 - HOUR]

    await front_end.reschedule_timer(TOPIC, "2", activate_at=YEAR_2050 + HOUR)
    await front_end.reschedule_timer(TOPIC, "unknown", activate_in=HOUR)
    await front_end.cancel_timer(TOPIC, "3")
    await front_end.cancel_timers(TOPIC, ["4"])
    await front_end.cancel_all(TOPIC)
    assert wake_ups() == []


async def test_a_batch_sends_one_wake_up_for_its_earliest_timer(front_end, wake_ups):
    await front_end.schedule_batch(
        [
            TimerPublishMessage("x", activate_at=YEAR_2050),
            TimerPublishMessage("x", activate_at=YEAR_2050 - HOUR),
            TimerPublishMessage("x", activate_at=YEAR_2050 + HOUR),
        ],
        TOPIC,
    )

    assert wake_ups() == [YEAR_2050 - HOUR]


async def test_other_topics_are_not_woken(front_end, wake_ups):
    await front_end.schedule("x", "other")

    assert wake_ups() == []


# --- hostile names -----------------------------------------------------------------------

HOSTILE = [
    " ",
    " leading and trailing ",
    "a:b::c",
    "{tag}",
    "}{",
    "line\nbreak\r\n",
    "\x00",
    "nul\x00inside",
    "*?[a-z]\\",
    "-1",
    "1.5",
    "é",
    "😀👩‍👩‍👧",
    "\u202eright to left",
    "x" * 10_000,
    "🎉" * 10_000,
]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
async def test_any_text_can_be_an_id_and_a_topic(front_end, home, name):
    if home.operations.keys.hash_tags and name in {"{tag}", "}{"}:
        with pytest.raises(ValueError, match=f"topic can't be '{name}' where hash_tags=True"):
            await front_end.schedule("x", name)
        return
    await front_end.schedule(name, name, timer_id=name, activate_at=YEAR_2050)
    await front_end.schedule_batch([TimerPublishMessage("x", timer_id=name + "2")], name)

    timer = await front_end.get_timer(name, name)
    assert (timer.topic, timer.timer_id, timer.correlation_id) == (name, name, name)
    assert timer.decode() == name
    assert await front_end.get_pending_timers(name) == [name + "2", name]
    assert await front_end.has_pending(name, name)
    assert await front_end.reschedule_timer(name, name, activate_in=-HOUR)
    assert await front_end.count_pending(name) == 2
    assert await front_end.cancel_timer(name, name) is True
    assert await front_end.cancel_timers(name, [name, name + "2"]) == 1


@pytest.mark.parametrize("text", ["José", "😀", "\x00\n", "日本語", "ü" * 32_767])
async def test_any_text_can_stand_in_headers_and_correlation_ids(front_end, text):
    await front_end.schedule(
        "x", TOPIC, timer_id="42", headers={text: text}, correlation_id=text, reply_to=text[:100]
    )

    timer = await front_end.get_timer(TOPIC, "42")
    assert timer.headers[text] == text
    assert timer.correlation_id == text
    assert timer.headers["reply_to"] == text[:100]
    assert timer.decode() == "x"


async def test_a_timer_whose_id_is_no_utf8_can_be_seen_moved_and_cancelled(front_end, home):
    for raw in (b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80"):
        home.plant(TOPIC, raw, YEAR_2050.timestamp(), b"x")

    ids = await front_end.get_pending_timers(TOPIC)

    assert [timer_id.encode("utf-8", "surrogateescape") for timer_id in ids] == [
        b"caf\xe9",
        b"\xed\xa0\x80",
        b"\xff\xfe",
    ]
    assert (await front_end.get_timer(TOPIC, ids[0])).timer_id == ids[0]
    assert await front_end.has_pending(TOPIC, ids[0])
    assert await front_end.reschedule_timer(TOPIC, ids[0], activate_in=HOUR)
    assert await front_end.cancel_timer(TOPIC, ids[0]) is True
    assert await front_end.cancel_timers(TOPIC, ids) == 2


# --- bad input ---------------------------------------------------------------------------

NAIVE = datetime.fromisoformat("2030-01-01")


@dataclass
class Price:
    amount: float


BAD_INPUT = [
    # Topics
    (lambda front_end: front_end.schedule("x", ""), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.schedule("x", None), TypeError, ["topic", "None"]),
    (lambda front_end: front_end.schedule("x", b"t"), TypeError, ["topic", "type bytes"]),
    (lambda front_end: front_end.schedule("x", "\ud800"), ValueError, ["topic", "'\\ud800'"]),
    (lambda front_end: front_end.schedule_batch(["x"], ""), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.schedule_batch([], ""), ValueError, ["topic", "empty"]),
    (
        lambda front_end: front_end.reschedule_timer("", "1", activate_in=HOUR),
        ValueError,
        ["topic"],
    ),
    (lambda front_end: front_end.cancel_timer("", "1"), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.cancel_timers("", ["1"]), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.cancel_timers("", []), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.cancel_all(""), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.has_pending("", "1"), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.get_timer("", "1"), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.get_pending_timers(""), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.count_pending(""), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.count_pending(5), TypeError, ["topic", "5"]),
    (lambda front_end: front_end.schedule("x", TOPIC, reply_to=5), TypeError, ["reply_to", "5"]),
    # Messages
    (
        lambda front_end: front_end.schedule(TimerPublishMessage("x", activate_in=HOUR), TOPIC),
        TypeError,
        ["TimerPublishMessage", "batches"],
    ),
    (
        lambda front_end: front_end.schedule({"prices": [1.5, math.nan]}, TOPIC),
        ValueError,
        ["message['prices'][1] is NaN", "None"],
    ),
    (
        lambda front_end: front_end.schedule(Price(-math.inf), TOPIC),
        ValueError,
        ["message['amount'] is -Infinity"],
    ),
    (lambda front_end: front_end.schedule(math.inf, TOPIC), ValueError, ["message is Infinity"]),
    (
        lambda front_end: front_end.schedule_batch(["x", TimerPublishMessage([math.nan])], TOPIC),
        ValueError,
        ["messages[1][0] is NaN"],
    ),
    # Ids
    (
        lambda front_end: front_end.schedule("x", TOPIC, timer_id=""),
        ValueError,
        ["timer_id", "empty"],
    ),
    (lambda front_end: front_end.schedule("x", TOPIC, timer_id=5), TypeError, ["timer_id", "5"]),
    (
        lambda front_end: front_end.schedule("x", TOPIC, timer_id=b"1"),
        TypeError,
        ["timer_id", "bytes"],
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, timer_id="\udcff"),
        ValueError,
        ["timer_id", "'\\udcff'"],
    ),
    (lambda front_end: front_end.schedule_batch(of_ids("1", ""), TOPIC), ValueError, ["timer_id"]),
    (
        lambda front_end: front_end.schedule_batch(of_ids("1", 5), TOPIC),
        TypeError,
        ["timer_id", "5"],
    ),
    (
        lambda front_end: front_end.reschedule_timer(TOPIC, "", activate_in=HOUR),
        ValueError,
        ["timer_id"],
    ),
    (
        lambda front_end: front_end.reschedule_timer(TOPIC, 5, activate_in=HOUR),
        TypeError,
        ["timer_id", "5"],
    ),
    (lambda front_end: front_end.cancel_timer(TOPIC, ""), ValueError, ["timer_id", "empty"]),
    (lambda front_end: front_end.cancel_timer(TOPIC, 5), TypeError, ["timer_id", "5"]),
    (lambda front_end: front_end.cancel_timer(TOPIC, None), TypeError, ["timer_id", "None"]),
    (
        lambda front_end: front_end.cancel_timer(TOPIC, "\ud800"),
        ValueError,
        ["timer_id", "'\\ud800'"],
    ),
    (lambda front_end: front_end.cancel_timers(TOPIC, "42"), TypeError, ["timer_ids", "'42'"]),
    (lambda front_end: front_end.cancel_timers(TOPIC, b"42"), TypeError, ["timer_ids", "b'42'"]),
    (
        lambda front_end: front_end.cancel_timers(TOPIC, ["1", ""]),
        ValueError,
        ["timer_id", "empty"],
    ),
    (lambda front_end: front_end.cancel_timers(TOPIC, ["1", 5]), TypeError, ["timer_id", "5"]),
    (
        lambda front_end: front_end.cancel_timers(TOPIC, [["1"]]),
        TypeError,
        ["timer_id", "type list"],
    ),
    (lambda front_end: front_end.has_pending(TOPIC, ""), ValueError, ["timer_id", "empty"]),
    (lambda front_end: front_end.has_pending(TOPIC, 5), TypeError, ["timer_id", "5"]),
    (lambda front_end: front_end.get_timer(TOPIC, ""), ValueError, ["timer_id", "empty"]),
    (lambda front_end: front_end.get_timer(TOPIC, 5), TypeError, ["timer_id", "5"]),
    # Times
    (
        lambda front_end: front_end.schedule("x", TOPIC, activate_in=30),
        TypeError,
        ["activate_in", "30", "timedelta(seconds=30)"],
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, activate_in=float("nan")),
        ValueError,
        ["activate_in", "nan"],
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, activate_in=timedelta.max),
        ValueError,
        ["activate_in", repr(timedelta.max)],
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, activate_at=NAIVE),
        ValueError,
        ["activate_at", repr(NAIVE), "timezone-aware"],
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, activate_at=float("inf")),
        ValueError,
        ["activate_at", "inf"],
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, activate_at=1893456000),
        TypeError,
        ["activate_at", "1893456000"],
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, activate_in=HOUR, activate_at=YEAR_2050),
        ValueError,
        ["activate_in", "activate_at", repr(HOUR), repr(YEAR_2050)],
    ),
    (
        lambda front_end: front_end.schedule_batch(
            ["x"], TOPIC, activate_in=HOUR, activate_at=YEAR_2050
        ),
        ValueError,
        ["activate_in", "activate_at", repr(HOUR), repr(YEAR_2050)],
    ),
    (
        lambda front_end: front_end.schedule_batch(
            ["x", TimerPublishMessage("y", activate_in=HOUR, activate_at=YEAR_2050)], TOPIC
        ),
        ValueError,
        ["activate_in", "activate_at", repr(HOUR), repr(YEAR_2050)],
    ),
    (
        lambda front_end: front_end.schedule_batch(
            ["x", TimerPublishMessage("y", activate_in=5)], TOPIC
        ),
        TypeError,
        ["activate_in", "5"],
    ),
    (
        lambda front_end: front_end.reschedule_timer(TOPIC, "1"),
        TypeError,
        ["activate_in", "activate_at"],
    ),
    (
        lambda front_end: front_end.reschedule_timer(TOPIC, "1", activate_in=30),
        TypeError,
        ["activate_in", "30"],
    ),
    (
        lambda front_end: front_end.reschedule_timer(TOPIC, "1", activate_at=NAIVE),
        ValueError,
        ["activate_at", repr(NAIVE), "timezone-aware"],
    ),
    (
        lambda front_end: front_end.reschedule_timer(
            TOPIC, "1", activate_in=HOUR, activate_at=YEAR_2050
        ),
        ValueError,
        ["activate_in", "activate_at"],
    ),
    # Headers and the rest
    (lambda front_end: front_end.schedule("x", TOPIC, headers={"x-a": None}), TypeError, ["'x-a'"]),
    (
        lambda front_end: front_end.schedule("x", TOPIC, headers={5: "x"}),
        TypeError,
        ["header", "5"],
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, headers={"x-a": "x" * 65_536}),
        ValueError,
        ["'x-a'", "65,535", "65,536"],
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, correlation_id=[1]),
        TypeError,
        ["correlation_id"],
    ),
    (
        lambda front_end: front_end.schedule_batch(
            ["x", TimerPublishMessage("y", headers={"x-a": None})], TOPIC
        ),
        TypeError,
        ["'x-a'"],
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, if_exists="maybe"),
        ValueError,
        ["if_exists", "'maybe'"],
    ),
    (
        lambda front_end: front_end.schedule_batch(["x"], TOPIC, if_exists="update"),
        ValueError,
        ["if_exists", "'update'", "repeat"],
    ),
    # Recurring timers
    (
        lambda front_end: front_end.schedule("x", TOPIC, repeat=HOURLY),
        ValueError,
        ["repeat", repr(HOURLY), "timer_id"],
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, timer_id="", repeat=HOURLY),
        ValueError,
        ["timer_id", "empty"],
    ),
    (
        lambda front_end: front_end.schedule_batch([*of_ids("1"), "y"], TOPIC, repeat=HOURLY),
        ValueError,
        ["repeat", repr(HOURLY), "timer_id", "TimerPublishMessage"],
    ),
    (
        lambda front_end: front_end.schedule_batch(
            ["x", TimerPublishMessage("y", repeat=DAILY)], TOPIC
        ),
        ValueError,
        ["repeat", repr(DAILY), "timer_id"],
    ),
    (
        lambda front_end: front_end.schedule_batch(of_ids("1", "1"), TOPIC, repeat=HOURLY),
        ValueError,
        ["timer_id", "'1'", "twice"],
    ),
    (
        lambda front_end: front_end.schedule(
            "x", TOPIC, timer_id="1", repeat=HOURLY, activate_in=HOUR
        ),
        ValueError,
        ["repeat", repr(HOURLY), "activate_in", repr(HOUR)],
    ),
    (
        lambda front_end: front_end.schedule(
            "x", TOPIC, timer_id="1", repeat=DAILY, activate_at=YEAR_2050
        ),
        ValueError,
        ["repeat", repr(DAILY), "activate_at", repr(YEAR_2050)],
    ),
    (
        lambda front_end: front_end.schedule_batch(
            of_ids("1"), TOPIC, repeat=HOURLY, activate_in=HOUR
        ),
        ValueError,
        ["repeat", repr(HOURLY), "activate_in", repr(HOUR)],
    ),
    (
        lambda front_end: front_end.schedule_batch(
            [
                *of_ids("1"),
                TimerPublishMessage("y", timer_id="2", repeat=DAILY, activate_at=YEAR_2050),
            ],
            TOPIC,
        ),
        ValueError,
        ["repeat", repr(DAILY), "activate_at", repr(YEAR_2050)],
    ),
    *(
        (
            lambda front_end, repeat=repeat: front_end.schedule(
                "x", TOPIC, timer_id="1", repeat=repeat
            ),
            TypeError,
            ["repeat", "Every(...)", "Cron(...)", repr(repeat)],
        )
        for repeat in (HOUR, 300, "0 9 * * *", "", False, Every, UnknownRepeat("yearly 1"))
    ),
    (
        lambda front_end: front_end.schedule_batch(
            [*of_ids("1"), TimerPublishMessage("y", timer_id="2", repeat=HOUR)], TOPIC
        ),
        TypeError,
        ["repeat", "Every(...)", repr(HOUR)],
    ),
    *(
        (
            lambda front_end, if_exists=if_exists: front_end.schedule(
                "x", TOPIC, timer_id="1", repeat=HOURLY, if_exists=if_exists
            ),
            ValueError,
            ["if_exists", repr(if_exists), '"update"'],
        )
        for if_exists in ("maybe", "")
    ),
    (
        lambda front_end: front_end.schedule("x", TOPIC, if_exists="update"),
        ValueError,
        ["if_exists", "'update'", "repeat"],
    ),
    (
        lambda front_end: front_end.schedule_batch(
            [*of_ids("1"), TimerPublishMessage("y", timer_id="2", repeat=HOURLY)],
            TOPIC,
            if_exists="update",
        ),
        ValueError,
        ["if_exists", "'update'", "repeat"],
    ),
    *(
        (
            lambda front_end, make=make: front_end.schedule(
                "x", TOPIC, timer_id="1", repeat=make()
            ),
            error,
            texts,
        )
        for make, error, texts in (
            (lambda: Every(300), TypeError, ["period", "300", "Every(seconds=...)"]),
            (lambda: Every("5m"), TypeError, ["period", "'5m'"]),
            (lambda: Every(minutes="5"), TypeError, ["minutes", "'5'"]),
            (lambda: Every(seconds=math.nan), ValueError, ["seconds=nan"]),
            (lambda: Every(seconds=0.5), ValueError, ["seconds=0.5", "1 second"]),
            (lambda: Every(timedelta(0)), ValueError, ["datetime.timedelta(0)", "1 second"]),
            (lambda: Every(-HOUR), ValueError, [repr(-HOUR), "1 second"]),
            (lambda: Every(days=365_251), ValueError, ["days=365251", "365,250 days"]),
            (Every, ValueError, ["period", "Every(minutes=5)"]),
            (lambda: Every(HOUR, minutes=5), ValueError, ["period", repr(HOUR), "minutes"]),
            (lambda: Every(HOUR, start=NAIVE), ValueError, ["start", repr(NAIVE)]),
            (lambda: Cron("tomorrow"), ValueError, ["'tomorrow'", "five fields"]),
            (lambda: Cron("0 9 * * * *"), ValueError, ["'0 9 * * * *'", "five fields"]),
            (lambda: Cron("60 9 * * *"), ValueError, ["'60 9 * * *'"]),
            (lambda: Cron("0 0 30 2 *"), ValueError, ["'0 0 30 2 *'", "Cron"]),
            (lambda: Cron("0 9 * * *", tz="Europe/Berln"), ValueError, ["tz", "'Europe/Berln'"]),
            (lambda: Cron("0 9 * * *", tz=UTC), TypeError, ["tz", "timezone"]),
            (lambda: Cron(5), TypeError, ["expression", "5"]),
        )
    ),
    (
        lambda front_end: front_end.schedule(
            "x", TOPIC, timer_id="1", repeat=Cron("0 0 29 2 *"), headers={"x-a": None}
        ),
        TypeError,
        ["'x-a'"],
    ),
    (lambda front_end: front_end.pause_timer("", "1"), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.pause_timer(TOPIC, ""), ValueError, ["timer_id", "empty"]),
    (lambda front_end: front_end.pause_timer(TOPIC, 5), TypeError, ["timer_id", "5"]),
    (lambda front_end: front_end.resume_timer("", "1"), ValueError, ["topic", "empty"]),
    (lambda front_end: front_end.resume_timer(TOPIC, ""), ValueError, ["timer_id", "empty"]),
    (lambda front_end: front_end.resume_timer(TOPIC, 5), TypeError, ["timer_id", "5"]),
    # Bounds and patterns
    (
        lambda front_end: front_end.get_pending_timers(TOPIC, before=NAIVE),
        ValueError,
        ["before", repr(NAIVE), "timezone-aware"],
    ),
    (lambda front_end: front_end.get_pending_timers(TOPIC, before=5), TypeError, ["before", "5"]),
    (
        lambda front_end: listed(front_end, after=NAIVE),
        ValueError,
        ["after", repr(NAIVE), "timezone-aware"],
    ),
    (lambda front_end: listed(front_end, before=HOUR), TypeError, ["before", repr(HOUR)]),
    (lambda front_end: listed(front_end, match=""), ValueError, ["match", "empty"]),
    (lambda front_end: listed(front_end, match=b"x"), TypeError, ["match", "bytes"]),
]


@pytest.mark.parametrize("row", range(len(BAD_INPUT)))
async def test_bad_input_is_refused_by_name_and_value_and_writes_nothing(front_end, home, row):
    call, error, texts = BAD_INPUT[row]

    with pytest.raises(error) as caught:
        await call(front_end)

    assert type(caught.value) is error
    assert [text for text in texts if text not in str(caught.value)] == [], caught.value
    assert home.written() == []
