"""Calls of callers whose connection is cut: told, never repeated by us, executed once or not."""

import pytest
import redis
import redis.asyncio
from bench import HOUR, delivering
from front_ends import async_front_end, blocking_front_end
from lost import Cut
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from states import balance, noting, numbers

from faststream_redis_timers_sync import TimerOutcomeUnknownError, TimerPublishMessage

TOPIC = "invoices"


@pytest.fixture(params=Cut.PLACES)
def cut(request, relay):
    return Cut(relay, request.param)


def retries(kind):
    """Give options that let redis-py repeat what fails, as its own defaults do from 6 on."""
    retry = AsyncRetry(NoBackoff(), 3) if kind is async_front_end else Retry(NoBackoff(), 3)
    return {"retry": retry, "retry_on_error": [redis.ConnectionError, redis.TimeoutError]}


@pytest.fixture(params=["by default", "retrying"])
def options(request):
    return retries if request.param == "retrying" else lambda kind: {}


@pytest.fixture(params=[blocking_front_end, async_front_end], ids=["blocking", "asyncio"])
async def relayed(request, bench, relay, options):
    """Give a front end that speaks through the relay, to a server that knows the scripts."""
    home = type(bench.home)(bench.home.key_names, relay.url)
    async with request.param(home, **options(request.param)) as front_end:
        await front_end.schedule("x", "warm-up", timer_id="1", activate_in=HOUR)
        await front_end.reschedule_timer("warm-up", "1", activate_in=HOUR)
        await front_end.cancel_timers("warm-up", ["1"])
        await front_end.cancel_all("warm-up")
        yield front_end


NEW = [TimerPublishMessage("new", timer_id=timer_id) for timer_id in ("42", "43")]

# For each: the call, what it is called, the ids that the error names, and those that are
# pending when it was executed; "1" and "2" were before.
CALLS = {
    "publish": (lambda f: f.schedule("new", TOPIC, timer_id="42"), "schedule", ["42"], "1 2 42"),
    "replace": (lambda f: f.schedule("new", TOPIC, timer_id="1"), "schedule", ["1"], "1 2"),
    "keep": (
        lambda f: f.schedule("new", TOPIC, timer_id="42", if_exists="keep"),
        "schedule",
        ["42"],
        "1 2 42",
    ),
    "batch": (lambda f: f.schedule_batch(NEW, TOPIC), "schedule", ["42", "43"], "1 2 42 43"),
    "reschedule": (
        lambda f: f.reschedule_timer(TOPIC, "1", activate_in=HOUR / 2),
        "reschedule",
        ["1"],
        "1 2",
    ),
    "cancel": (lambda f: f.cancel_timer(TOPIC, "1"), "cancel", ["1"], "2"),
    "cancel several": (lambda f: f.cancel_timers(TOPIC, ["1", "2"]), "cancel", ["1", "2"], ""),
    "cancel all": (lambda f: f.cancel_all(TOPIC), "cancel all", [], ""),
}


@pytest.mark.parametrize("name", CALLS)
async def test_the_caller_learns_that_the_outcome_is_unknown_and_nothing_is_sent_twice(
    bench, relay, relayed, cut, name
):
    call, action, ids, pending = CALLS[name]
    for timer_id in ("1", "2"):
        bench.schedule(timer_id, "old", activate_in=HOUR)
    before = looks(bench)
    relay.commands.clear()
    cut()

    with pytest.raises(TimerOutcomeUnknownError) as caught:
        await call(relayed)

    assert (caught.value.action, caught.value.topic) == (action, TOPIC)
    assert list(caught.value.timer_ids) == ids
    assert isinstance(caught.value.__cause__, (redis.RedisError, OSError))
    assert relay.all_lost
    after = looks(bench)
    assert relay.count("EVALSHA", "EVAL") == 1
    if cut.executes:
        assert sorted(after) == pending.split()
        assert after != before
    else:
        assert after == before
    # The front end goes on with another connection, and what it asks for it gets.
    assert await relayed.count_pending(TOPIC) == len(after)
    bench.client.cancel_all(TOPIC)


def looks(bench):
    """Give what is pending: due times and bodies by id."""
    timers = bench.client.iter_timers(TOPIC)
    return {timer.timer_id: (timer.due_at, timer.body) for timer in timers}


async def test_what_is_scheduled_again_after_an_unknown_outcome_is_pending_once(
    bench, relayed, cut
):
    cut()
    with pytest.raises(TimerOutcomeUnknownError):
        await relayed.schedule("first", TOPIC, timer_id="42", activate_in=HOUR)

    await relayed.schedule("second", TOPIC, timer_id="42", activate_in=HOUR)

    assert [timer.decode() for timer in bench.client.iter_timers(TOPIC)] == ["second"]
    bench.client.cancel_all(TOPIC)


async def schedule_while_handling(error, front_end):
    try:
        raise error
    except redis.RedisError:
        await front_end.schedule("x", TOPIC, timer_id="1", activate_in=HOUR)


async def test_the_outcome_is_unknown_also_to_a_caller_that_handles_a_refusal(bench, relayed, cut):
    # Python makes the error that is being handled the context of all that are raised meanwhile.
    cut()
    with pytest.raises(TimerOutcomeUnknownError):
        await schedule_while_handling(redis.ReadOnlyError("of another server"), relayed)

    bench.client.cancel_all(TOPIC)


async def test_a_timer_whose_reply_was_lost_is_delivered_once_however_soon(
    bench, relayed, cut, open_calls, request
):
    # The worker may have delivered it before the caller learns of anything.
    ids = numbers(10)
    unknown = 0
    async with delivering(noting(bench, open_calls)):
        for timer_id in ids:
            cut()
            try:
                await relayed.schedule("x", TOPIC, timer_id=timer_id)
            except TimerOutcomeUnknownError:
                unknown += 1
        await bench.until_gone(*ids)
        await bench.until_settled(bench.brokers[0])

    # Without the caller's doing nothing is sent a second time.
    found = balance(open_calls, ids if cut.executes else [], tried=len(ids))
    found.report(request, f"reply lost after publish, {cut.place}")
    assert unknown == len(ids)
    assert (found.lost, found.again) == (0, 0)
    assert cut.executes or set(ids).isdisjoint(open_calls.ids)


async def test_whatever_arrives_in_pieces_is_read_as_a_whole(bench, relay, relayed, open_calls):
    relay.split(3)
    ids = await relayed.schedule_batch([f"body {n}" for n in range(5)], TOPIC, activate_in=HOUR)

    timers = {timer.timer_id: timer async for timer in relayed.iter_timers(TOPIC)}

    assert [timers[timer_id].decode() for timer_id in ids] == [f"body {n}" for n in range(5)]
    assert await relayed.reschedule_timer(TOPIC, ids[0], activate_in=2 * HOUR)
    assert await relayed.cancel_timer(TOPIC, ids[0])
    assert await relayed.cancel_all(TOPIC) == 4
