"""`confirm_replicas`: written means that replicas have it. With real replicas, paused or not."""

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import redis
from front_ends import FrontEnd
from replicated import Group

from faststream_redis_timers import TimerNotReplicatedError
from faststream_redis_timers_sync import TimerExistsError, TimersClient
from faststream_redis_timers_sync.manage.selection import cancel_each, reschedule_each
from faststream_redis_timers_sync.protocol.dead_letters import Ending, write_dead_letter
from faststream_redis_timers_sync.protocol.envelope import write_envelope

TOPIC = "invoices"
HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)

SOON = 0.2
"""Seconds for replicas that are paused, and so never confirm."""

Call = Callable[[FrontEnd], Awaitable[object]]

CHANGES: dict[str, tuple[Call, str, tuple[str, ...]]] = {
    "schedule": (
        lambda front_end: front_end.schedule("x", TOPIC, timer_id="new", activate_in=HOUR),
        "schedule",
        ("new",),
    ),
    "schedule_batch": (
        lambda front_end: front_end.schedule_batch(["x"], TOPIC, activate_in=HOUR),
        "schedule",
        (),
    ),
    "reschedule_timer": (
        lambda front_end: front_end.reschedule_timer(TOPIC, "old", activate_at=YEAR_2050),
        "reschedule",
        ("old",),
    ),
    "cancel_timer": (lambda front_end: front_end.cancel_timer(TOPIC, "old"), "cancel", ("old",)),
    "cancel_timers": (
        lambda front_end: front_end.cancel_timers(TOPIC, ["old"]),
        "cancel",
        ("old",),
    ),
    "cancel_all": (lambda front_end: front_end.cancel_all(TOPIC), "cancel all", ()),
}
"""What changes timers; the action and the ids that an error names (none: not looked at)."""

IDLE: dict[str, Call] = {
    "keep": lambda front_end: front_end.schedule(
        "y", TOPIC, timer_id="old", activate_in=HOUR, if_exists="keep"
    ),
    "reschedule_timer": lambda front_end: front_end.reschedule_timer(
        TOPIC, "gone", activate_in=HOUR
    ),
    "cancel_timer": lambda front_end: front_end.cancel_timer(TOPIC, "gone"),
    "cancel_timers": lambda front_end: front_end.cancel_timers(TOPIC, ["gone"]),
    "cancel_all": lambda front_end: front_end.cancel_all("gone"),
}
"""Calls that find nothing to change, where what they find may be another's work."""


def snapshot(client: redis.Redis) -> dict[bytes, object]:
    """Read all keys of timers."""
    found: dict[bytes, object] = {}
    for key in client.scan_iter("timers_*"):
        is_hash = client.type(key) == b"hash"
        found[key] = client.hgetall(key) if is_hash else client.zrange(key, 0, -1, withscores=True)
    return found


@pytest.fixture
def old_timer(group: Group) -> TimersClient:
    """A timer that waits, on all servers."""
    client = TimersClient(group.primary.url, confirm_replicas=2)
    client.schedule("x", TOPIC, timer_id="old", activate_in=HOUR)
    yield client
    client.close()


# --- when it is confirmed


@pytest.mark.parametrize("name", CHANGES)
async def test_what_returns_is_on_all_replicas(group, old_timer, open_front_end, name):
    call, _, _ = CHANGES[name]
    async with open_front_end(
        group.primary.url, confirm_replicas=2, confirm_timeout=20
    ) as front_end:
        before = snapshot(group.primary.redis)

        await call(front_end)

        on_replicas = [snapshot(replica.redis) for replica in group.replicas]
    assert on_replicas == [snapshot(group.primary.redis)] * 2
    assert on_replicas[0] != before


async def test_it_returns_when_as_many_have_it_as_were_asked_for(group, open_front_end):
    with group.pause_replicas(1):
        async with open_front_end(
            group.primary.url, confirm_replicas=1, confirm_timeout=20
        ) as front_end:
            await front_end.schedule("x", TOPIC, timer_id="1", activate_in=HOUR)

        assert snapshot(group.replicas[1].redis) == snapshot(group.primary.redis)


async def test_what_was_confirmed_by_all_outlives_the_primary(group, open_front_end):
    async with open_front_end(
        group.primary.url, confirm_replicas=2, confirm_timeout=20
    ) as front_end:
        await front_end.schedule("x", TOPIC, timer_id="1", activate_in=HOUR)
    with group.primary.paused():
        for replica in group.replicas:
            replica.redis.replicaof("NO", "ONE")
            async with open_front_end(replica.url) as front_end:
                assert await front_end.has_pending(TOPIC, "1")


# --- when it is not


@pytest.mark.parametrize("name", CHANGES)
async def test_what_too_few_replicas_have_is_an_error_and_done(
    group, old_timer, open_front_end, name
):
    call, action, timer_ids = CHANGES[name]
    before = snapshot(group.primary.redis)
    with group.pause_replicas(1):
        async with open_front_end(
            group.primary.url, confirm_replicas=2, confirm_timeout=SOON
        ) as front_end:
            with pytest.raises(TimerNotReplicatedError) as caught:
                await call(front_end)

        assert snapshot(group.primary.redis) != before
    error = caught.value
    assert (error.action, error.topic, error.requested, error.confirmed) == (action, TOPIC, 2, 1)
    assert timer_ids in {(), error.timer_ids}
    assert "was carried out on the primary, but" in str(error)
    assert "only 1 of 2 replicas confirmed it within 0.2 s" in str(error)


async def test_the_error_says_all_that_a_caller_needs(group, old_timer, open_front_end):
    with group.pause_replicas(2):
        async with open_front_end(
            group.primary.url, confirm_replicas=1, confirm_timeout=SOON
        ) as front_end:
            with pytest.raises(TimerNotReplicatedError) as caught:
                await front_end.cancel_timer(TOPIC, "old")

    assert str(caught.value) == (
        "cancel (timer 'old' in topic 'invoices') was carried out on the primary, but only 0 of 1 "
        "replicas confirmed it within 0.2 s: it is lost if the primary fails now and a replica "
        "without it is promoted. Repeat the call under the same id to wait again; INFO "
        "replication shows which replicas lag"
    )
    assert caught.value.timer_id == "old"
    # It was waiting: a second cancel could no longer say that.
    assert caught.value.result is True
    copied = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  ours
    assert (str(copied), copied.result) == (str(caught.value), True)


async def test_the_id_that_was_made_is_in_the_error(group, open_front_end):
    with group.pause_replicas(2):
        async with open_front_end(
            group.primary.url, confirm_replicas=1, confirm_timeout=SOON
        ) as front_end:
            with pytest.raises(TimerNotReplicatedError) as caught:
                await front_end.schedule("x", TOPIC, activate_in=HOUR)

            assert await front_end.get_pending_timers(TOPIC) == [caught.value.timer_id]


async def test_doing_it_again_confirms_it(group, open_front_end):
    async with open_front_end(
        group.primary.url, confirm_replicas=2, confirm_timeout=SOON
    ) as front_end:
        with group.pause_replicas(1), pytest.raises(TimerNotReplicatedError):
            await front_end.schedule("x", TOPIC, timer_id="1", activate_in=HOUR)
    async with open_front_end(
        group.primary.url, confirm_replicas=2, confirm_timeout=20
    ) as front_end:
        await front_end.schedule("x", TOPIC, timer_id="1", activate_in=HOUR, if_exists="keep")

    assert all(snapshot(replica.redis) for replica in group.replicas)


@pytest.mark.parametrize("name", IDLE)
async def test_what_another_connection_wrote_is_waited_for(group, old_timer, open_front_end, name):
    with group.pause_replicas(1):
        # The replica lacks what the call finds.
        group.primary.redis.set("written-by-another", "1")
        before = snapshot(group.primary.redis)
        async with open_front_end(
            group.primary.url, confirm_replicas=2, confirm_timeout=SOON
        ) as front_end:
            with pytest.raises(TimerNotReplicatedError) as caught:
                await IDLE[name](front_end)

        assert snapshot(group.primary.redis) == before
    assert caught.value.confirmed == 1


@pytest.mark.parametrize("name", IDLE)
async def test_what_finds_nothing_to_change_is_confirmed_too(
    group, old_timer, open_front_end, name
):
    before = snapshot(group.primary.redis)
    async with open_front_end(
        group.primary.url, confirm_replicas=2, confirm_timeout=20
    ) as front_end:
        await IDLE[name](front_end)

    assert [snapshot(server.redis) for server in group.servers] == [before] * 3


async def test_it_is_so_on_a_server_whose_memory_is_full(group, old_timer, open_front_end):
    group.primary.redis.config_set("maxmemory", "1")
    try:
        async with open_front_end(
            group.primary.url, confirm_replicas=2, confirm_timeout=20
        ) as front_end:
            assert await front_end.cancel_timer(TOPIC, "gone") is False
            assert await front_end.cancel_timer(TOPIC, "old") is True
    finally:
        group.primary.redis.config_set("maxmemory", "0")


async def test_more_replicas_than_there_are_never_confirm(group, open_front_end):
    async with open_front_end(
        group.primary.url, confirm_replicas=3, confirm_timeout=SOON
    ) as front_end:
        with pytest.raises(TimerNotReplicatedError) as caught:
            await front_end.schedule("x", TOPIC, activate_in=HOUR)

    assert (caught.value.requested, caught.value.confirmed) == (3, 2)


async def test_a_batch_stops_at_the_call_that_is_not_confirmed(group, open_front_end):
    with group.pause_replicas(2):
        async with open_front_end(
            group.primary.url, confirm_replicas=1, confirm_timeout=SOON
        ) as front_end:
            with pytest.raises(TimerNotReplicatedError) as caught:
                await front_end.schedule_batch(range(450), TOPIC, activate_in=HOUR)

            assert sorted(await front_end.get_pending_timers(TOPIC)) == sorted(
                caught.value.timer_ids
            )
    assert len(caught.value.timer_ids) == 200
    first = caught.value.timer_ids[0]
    assert f"200 timers of topic {TOPIC!r}, the first {first!r}" in str(caught.value)


@pytest.mark.parametrize("change", ["cancel", "move"])
def test_managing_waits_too(group, old_timer, change):
    with (
        group.pause_replicas(1),
        TimersClient(group.primary.url, confirm_replicas=2, confirm_timeout=SOON) as client,
    ):
        if change == "cancel":
            steps = cancel_each(client, TOPIC, ["old"])
        else:
            steps = reschedule_each(client, TOPIC, ["old"], activate_at=YEAR_2050)
        with pytest.raises(TimerNotReplicatedError):
            list(steps)


@pytest.fixture
def dead_letter(group: Group) -> str:
    """A dead letter of the timer "back", on all servers."""
    ending = Ending(reason="rejected", topic=TOPIC, timer_id=b"back", first_due=b"1.000000")
    length, _, rest = write_dead_letter(write_envelope(b"x"), ending).partition(b":")
    dead_id, payload = rest[: int(length)], rest[int(length) :]
    group.primary.redis.zadd("timers_timeline:dead", {dead_id: 1.0})
    group.primary.redis.hset("timers_payloads:dead", dead_id, payload)
    assert group.count_in_step() == 2
    return dead_id.decode()


async def test_redriving_dead_letters_waits(group, dead_letter, open_front_end):
    async with open_front_end(
        group.primary.url, confirm_replicas=2, confirm_timeout=20
    ) as front_end:
        assert await front_end.redrive("dead") == 1

    assert snapshot(group.replicas[1].redis) == snapshot(group.primary.redis)


@pytest.mark.parametrize("stands", [False, True], ids=["moved", "a timer of that id waits"])
async def test_redriving_dead_letters_may_not_be_confirmed(
    group, dead_letter, open_front_end, stands
):
    if stands:
        with TimersClient(group.primary.url, confirm_replicas=2) as client:
            client.schedule("x", TOPIC, timer_id="back", activate_in=HOUR)
    with group.pause_replicas(1):
        group.primary.redis.set("written-by-another", "1")
        async with open_front_end(
            group.primary.url, confirm_replicas=2, confirm_timeout=SOON
        ) as front_end:
            with pytest.raises(TimerNotReplicatedError) as caught:
                await front_end.redrive("dead")
    error = caught.value
    assert (error.action, error.topic, error.timer_id) == ("redrive", "dead", dead_letter)
    assert error.result == (0 if stands else 1)
    assert "under the same id" not in str(error)


async def test_what_is_confirmed_later_confirms_an_earlier_redrive(
    group, dead_letter, open_front_end
):
    async with open_front_end(
        group.primary.url, confirm_replicas=2, confirm_timeout=SOON
    ) as front_end:
        with group.pause_replicas(1), pytest.raises(TimerNotReplicatedError) as caught:
            await front_end.redrive("dead")
    assert "any later confirmed call on this primary confirms this one too" in str(caught.value)
    async with open_front_end(
        group.primary.url, confirm_replicas=2, confirm_timeout=20
    ) as front_end:
        assert await front_end.redrive("dead") == 0
        assert await front_end.cancel_timer("other", "nobody") is False

    on_replicas = [snapshot(replica.redis) for replica in group.replicas]
    assert on_replicas == [snapshot(group.primary.redis)] * 2


def test_what_to_do_fits_what_was_done():
    for action, words in {
        "schedule": "Repeat the call under the same id to wait again;",
        "cancel all": "Repeat the call to wait again;",
    }.items():
        assert words in str(TimerNotReplicatedError(action, TOPIC, (), 1, 0, 1.0))


# --- who waits, and where


async def test_reads_and_refusals_do_not_wait(group, old_timer, before_primary, open_front_end):
    async with open_front_end(before_primary.url, confirm_replicas=2) as front_end:
        await front_end.has_pending(TOPIC, "old")
        await front_end.get_timer(TOPIC, "old")
        await front_end.get_pending_timers(TOPIC)
        await front_end.count_pending(TOPIC)
        assert [timer.timer_id async for timer in front_end.iter_timers(TOPIC)] == ["old"]
        with pytest.raises(TimerExistsError):
            await front_end.schedule("x", TOPIC, timer_id="old", if_exists="error")

    assert before_primary.count("WAIT") == 0


async def test_each_call_of_a_batch_waits_once(group, before_primary, open_front_end):
    async with open_front_end(
        before_primary.url, confirm_replicas=2, confirm_timeout=20
    ) as front_end:
        await front_end.schedule_batch(range(450), TOPIC, activate_in=HOUR)

    assert before_primary.count("WAIT") == 3
    asked = {command for command in before_primary.commands if command[0] == b"WAIT"}
    assert asked == {(b"WAIT", b"2", b"20000")}


async def test_without_the_option_nobody_waits(group, before_primary, open_front_end):
    async with open_front_end(before_primary.url) as front_end:
        await front_end.schedule("x", TOPIC, activate_in=HOUR)

    assert before_primary.count("WAIT") == 0


async def test_write_and_wait_go_through_one_connection(group, open_front_end):
    calls = 20
    with group.primary.redis.monitor() as monitor:
        async with open_front_end(
            group.primary.url, confirm_replicas=2, confirm_timeout=20
        ) as front_end:
            await asyncio.gather(
                *(front_end.schedule(n, TOPIC, activate_in=HOUR) for n in range(calls))
            )
        group.primary.redis.echo("end")
        by_connection: dict[str, list[str]] = {}
        for seen in monitor.listen():
            name = seen["command"].split(" ")[0].upper()
            if name == "ECHO":
                break
            if name in {"EVALSHA", "EVAL", "WAIT"}:
                key = f"{seen['client_address']}:{seen['client_port']}"
                by_connection.setdefault(key, []).append(name)
    for names in by_connection.values():
        # An EVALSHA, maybe with an EVAL because of NOSCRIPT, then its WAIT; and so on.
        assert names[-1] == "WAIT"
        assert ("WAIT", "WAIT") not in pairwise(names)
        assert ("EVALSHA", "EVALSHA") not in pairwise(names)
    assert sum(names.count("WAIT") for names in by_connection.values()) == calls
