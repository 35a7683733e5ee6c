"""What redriving dead letters promises on every front end, on each server and in memory."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from struct import pack

import pytest
import redis
from dead import dead_letter_all
from front_ends import FRONT_ENDS_AND_HOMES, Home, async_front_end, blocking_front_end

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync import TimerOutcomeUnknownError
from faststream_redis_timers_sync.protocol.envelope import MAGIC, write_envelope
from faststream_redis_timers_sync.protocol.model import Settlement
from faststream_redis_timers_sync.protocol.operation import PAYLOAD_BUDGET

TOPIC = "invoices"
DEAD = "invoices:dead"
HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)

on_every_front_end = pytest.mark.parametrize(
    ("make_front_end", "home"), FRONT_ENDS_AND_HOMES, indirect=True
)


def step_counted(home, topic, *settlements, limit=0):
    """Settle and claim as a worker does that counts attempts."""
    operation = home.operations.settle_and_claim(
        topic, settlements, limit=limit, lease_ttl=30.0, jitter=1, suspect_from=3, most_suspects=1
    )
    return home.run(operation)


def fail_once(home, topic):
    """Claim what is due, let its handler fail, and tell which attempt that was."""
    step = step_counted(home, topic, limit=1)
    (timer,) = step.claimed
    step_counted(home, topic, Settlement(b"nack", timer.timer_id, step.lease, b"+0.000000"))
    return timer.attempt


async def dead_letter_some(front_end, home, *timer_ids):
    for timer_id in timer_ids:
        await front_end.schedule(f"dead {timer_id}", TOPIC, timer_id=timer_id)
    return [dead_id.decode() for dead_id in dead_letter_all(home)]


# --- what is redriven --------------------------------------------------------------------


@on_every_front_end
async def test_a_dead_letter_is_redriven_under_its_own_id_due_now(front_end, home):
    await front_end.schedule(
        {"number": 1},
        TOPIC,
        timer_id="42",
        headers={"customer": "José"},
        correlation_id="order-7",
        reply_to="replies",
    )
    before = await front_end.get_timer(TOPIC, "42")
    (dead_id,) = dead_letter_all(home)
    dead = await front_end.get_timer(DEAD, dead_id.decode())
    assert (dead.body, dead.correlation_id) == (before.body, "order-7")
    assert dead.headers["dead-letter-reason"] == "attempts"
    earliest = home.now()

    assert await front_end.redrive(DEAD) == 1

    timer = await front_end.get_timer(TOPIC, "42")
    assert earliest <= timer.due_at <= home.now()
    assert (timer.running, timer.body, timer.headers) == (False, before.body, before.headers)
    assert await front_end.count_pending(DEAD) == 0
    assert await front_end.count_pending(TOPIC) == 1
    assert home.claim_due(TOPIC) == [b"42"]


@on_every_front_end
async def test_its_attempts_start_over(front_end, home):
    await front_end.schedule("x", TOPIC, timer_id="42")
    assert [fail_once(home, TOPIC) for _ in range(3)] == [1, 2, 3]
    dead_letter_all(home)
    # A handler of dead letters has failed too.
    assert [fail_once(home, DEAD) for _ in range(2)] == [1, 2]

    assert await front_end.redrive(DEAD) == 1

    assert fail_once(home, TOPIC) == 1


def by_characters(body, headers):
    """Write an envelope whose lengths count characters, as FastStream's own writer does."""
    region = pack(">H", len(headers))
    for text in (text for pair in headers.items() for text in pair):
        region += pack(">H", len(text)) + text.encode()
    return pack(">8sHII", MAGIC, 1, 18, 18 + len(region)) + region + body


PAYLOADS = {
    "binary": write_envelope(b"\xff\x00", headers={"customer": "José"}),
    "correlated": write_envelope(b"x", correlation_id="order-7"),
    "raw": b"hello \xff",
    "raw json": b'{"number": 1}',
    "empty": b"",
    "json envelope": b'{ "data": "hello", "headers": {"customer": "Jos\\u00e9"} }',
    "hex": b'{"b": "ff00", "ct": "text/plain"}',
    "by characters": by_characters(b"\xff", {"customer": "José", "correlation_id": "order-7"}),
    "broken": MAGIC + b"\xff" * 30,
    "a dead letter's": write_envelope(
        b"x", headers={"dead-letter-reason": "rejected", "dead-letter-error": "KeyError"}
    ),
}


@on_every_front_end
@pytest.mark.parametrize("reason", ["attempts", "unreadable"])
async def test_payloads_are_redriven_byte_for_byte(front_end, home, reason):
    for name, payload in PAYLOADS.items():
        home.plant(TOPIC, name, 1.0, payload)
    dead_letter_all(home, reason=reason)
    assert await front_end.count_pending(TOPIC) == 0

    assert await front_end.redrive(DEAD) == len(PAYLOADS)

    claimed = home.claim(TOPIC).claimed
    assert {timer.timer_id.decode(): timer.payload for timer in claimed} == PAYLOADS


@on_every_front_end
@pytest.mark.parametrize(
    "timer_id", [b"\xff\x00 no UTF-8", b"x" * 65_536, b"line\nbreak:\xe6\x97\xa5", b":"]
)
async def test_timers_are_redriven_whatever_their_ids(front_end, home, timer_id):
    home.plant(TOPIC, timer_id, 1.0, write_envelope(b"x"))
    (dead_id,) = dead_letter_all(home)
    assert await front_end.get_pending_timers(DEAD) == [dead_id.decode()]

    assert await front_end.redrive(DEAD, [dead_id.decode()]) == 1

    assert home.claim_due(TOPIC) == [timer_id]


@on_every_front_end
async def test_it_is_redriven_to_the_topic_that_it_comes_from(front_end, home):
    # In one slot, if there are slots.
    topics = [f"{{all}}:{name}" for name in "abc"]
    for topic in topics:
        await front_end.schedule(topic, topic, timer_id="42")
        dead_letter_all(home, topic, "{all}:failed")

    assert await front_end.redrive("{all}:failed") == 3

    for topic in topics:
        assert (await front_end.get_timer(topic, "42")).decode() == topic
    assert await front_end.count_pending("{all}:failed") == 0


@on_every_front_end
async def test_a_prefix_stands_before_the_topic_once(make_front_end, home):
    async with make_front_end(home, prefix="my-service:") as front_end:
        await front_end.schedule("x", TOPIC, timer_id="42")
        dead_letter_all(home, f"my-service:{TOPIC}")
        assert await front_end.count_pending(DEAD) == 1

        assert await front_end.redrive(DEAD) == 1

        assert (await front_end.get_timer(TOPIC, "42")).topic == f"my-service:{TOPIC}"


@on_every_front_end
async def test_the_dead_letter_of_a_dead_letter_is_redriven_step_by_step(front_end, home):
    await front_end.schedule("x", TOPIC, timer_id="42")
    before = await front_end.get_timer(TOPIC, "42")
    (dead_id,) = dead_letter_all(home)
    first = await front_end.get_timer(DEAD, dead_id.decode())
    dead_letter_all(home, DEAD, reason="rejected", attempts=None, error=None)

    assert await front_end.redrive(f"{DEAD}:dead") == 1
    dead_letter = await front_end.get_timer(DEAD, dead_id.decode())
    assert (dead_letter.body, dead_letter.headers) == (first.body, first.headers)
    assert await front_end.redrive(DEAD) == 1
    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.body, timer.headers) == (before.body, before.headers)


@on_every_front_end
async def test_workers_are_woken(front_end, home):
    await dead_letter_some(front_end, home, "42", "43")
    await front_end.schedule("later", TOPIC, timer_id="99", activate_in=HOUR)
    with home.server_of(TOPIC).pubsub() as listener:
        home.listen(listener, TOPIC)

        await front_end.redrive(DEAD)

        sent, due = listener.get_message(timeout=10)["data"].split()
        assert sent == due
        # Two at once wake once.
        assert listener.get_message(timeout=0.05) is None


# --- what stays --------------------------------------------------------------------------


@on_every_front_end
@pytest.mark.parametrize("due_at", [None, YEAR_2050], ids=["due", "later"])
async def test_a_waiting_timer_of_that_id_stands_and_the_dead_letter_stays(front_end, home, due_at):
    stays, _ = await dead_letter_some(front_end, home, "42", "43")
    await front_end.schedule("new", TOPIC, timer_id="42", activate_at=due_at)
    before = await front_end.get_timer(TOPIC, "42")

    assert await front_end.redrive(DEAD) == 1

    assert await front_end.get_timer(TOPIC, "42") == before
    assert await front_end.get_pending_timers(DEAD) == [stays]
    assert (await front_end.get_timer(TOPIC, "43")).decode() == "dead 43"
    await front_end.cancel_timer(TOPIC, "42")
    assert await front_end.redrive(DEAD) == 1
    assert (await front_end.get_timer(TOPIC, "42")).decode() == "dead 42"


@on_every_front_end
async def test_a_running_timer_of_that_id_does_not_stand_in_the_way(front_end, home):
    await dead_letter_some(front_end, home, "42")
    await front_end.schedule("new", TOPIC, timer_id="42")
    step = home.claim(TOPIC)

    assert await front_end.redrive(DEAD) == 1

    home.step(TOPIC, Settlement(b"commit", b"42", step.lease))
    timer = await front_end.get_timer(TOPIC, "42")
    assert (timer.decode(), timer.running) == ("dead 42", False)


@on_every_front_end
async def test_an_entry_without_payload_does_not_stand_in_the_way(front_end, home):
    await dead_letter_some(front_end, home, "42")
    home.plant(TOPIC, "42", YEAR_2050.timestamp(), None)

    assert await front_end.redrive(DEAD) == 1

    assert (await front_end.get_timer(TOPIC, "42")).decode() == "dead 42"


@on_every_front_end
async def test_of_several_with_one_id_the_first_is_redriven(front_end, home):
    await front_end.schedule("first", TOPIC, timer_id="42")
    dead_letter_all(home)
    await front_end.schedule("second", TOPIC, timer_id="42")
    (second,) = dead_letter_all(home)

    assert await front_end.redrive(DEAD) == 1

    assert (await front_end.get_timer(TOPIC, "42")).decode() == "first"
    assert await front_end.get_pending_timers(TOPIC) == ["42"]
    assert await front_end.get_pending_timers(DEAD) == [second.decode()]


@on_every_front_end
async def test_one_that_is_leased_stays(front_end, home):
    (dead_id,) = await dead_letter_some(front_end, home, "42")
    step = home.claim(DEAD)

    assert await front_end.redrive(DEAD) == 0
    assert await front_end.redrive(DEAD, [dead_id]) == 0

    home.step(DEAD, Settlement(b"nack", dead_id.encode(), step.lease, b"+9.000000"))
    assert await front_end.redrive(DEAD) == 1


@on_every_front_end
async def test_one_whose_handler_has_lost_its_lease_is_redriven(front_end, home):
    (dead_id,) = await dead_letter_some(front_end, home, "42")
    payload = home.claim(DEAD).claimed[0].payload
    home.plant(DEAD, dead_id, 1_000_000_000.000_000_5, payload)
    assert (await front_end.get_timer(DEAD, dead_id)).running

    assert await front_end.redrive(DEAD) == 1


@on_every_front_end
async def test_timers_that_are_no_dead_letters_stay(front_end, home):
    await front_end.schedule("x", DEAD, timer_id="plain")
    await front_end.schedule("x", DEAD, timer_id="odd", headers={"dead-letter-topic": TOPIC})
    await front_end.schedule("x", DEAD, timer_id="lost", headers={"dead-letter-reason": "rejected"})
    itself = {
        "dead-letter-reason": "rejected",
        "dead-letter-topic": DEAD,
        "dead-letter-timer-id": "itself",
    }
    await front_end.schedule("x", DEAD, timer_id="itself", headers=itself)
    home.plant(DEAD, "raw", 1.0, b"raw")
    home.plant(DEAD, "broken", 1.0, MAGIC + b"\xff" * 30)
    before = sorted(await front_end.get_pending_timers(DEAD))
    await dead_letter_some(front_end, home, "42")

    assert await front_end.redrive(DEAD) == 1

    assert sorted(await front_end.get_pending_timers(DEAD)) == before
    assert await front_end.get_pending_timers(TOPIC) == ["42"]


@on_every_front_end
async def test_in_an_empty_topic_there_is_nothing_to_redrive(front_end):
    assert await front_end.redrive("nowhere:dead") == 0


# --- by id -------------------------------------------------------------------------------


@on_every_front_end
async def test_only_those_that_are_named_are_redriven(front_end, home):
    one, two, three = await dead_letter_some(front_end, home, "1", "2", "3")

    assert await front_end.redrive(DEAD, [three, "unknown", one, three]) == 2

    assert await front_end.get_pending_timers(DEAD) == [two]
    assert sorted(await front_end.get_pending_timers(TOPIC)) == ["1", "3"]
    assert await front_end.redrive(DEAD, iter([one, two])) == 1
    assert await front_end.redrive(DEAD, []) == 0


@on_every_front_end
@pytest.mark.parametrize("single", ["42:abcdefgh", b"42:abcdefgh"])
async def test_a_single_id_is_refused(front_end, single):
    with pytest.raises(TypeError, match="timer_ids must be several ids, got the single"):
        await front_end.redrive(DEAD, single)


@on_every_front_end
async def test_no_ids_at_all_are_refused_by_the_arguments_name(front_end):
    with pytest.raises(TypeError, match="timer_ids must be several ids, got 5"):
        await front_end.redrive(DEAD, 5)
    for odd in (None, 5):
        with pytest.raises(TypeError, match=f"timer_ids must be several ids, got {odd}"):
            await front_end.cancel_timers(TOPIC, odd)


@on_every_front_end
async def test_what_cannot_be_a_topic_or_an_id_is_refused(front_end):
    with pytest.raises(ValueError, match="dead_topic must not be empty"):
        await front_end.redrive("")
    with pytest.raises(TypeError, match="dead_topic must be a str, got 1"):
        await front_end.redrive(1)
    with pytest.raises(ValueError, match="timer_id must not be empty"):
        await front_end.redrive(DEAD, ["a", ""])
    with pytest.raises(TypeError, match="timer_id must be a str, got 1"):
        await front_end.redrive(DEAD, [1])


# --- while others are at work ------------------------------------------------------------


def run_steps(home, steps, meanwhile):
    """Run steps, and let something happen before the calls of some scripts."""
    reply = None
    while True:
        try:
            operation = steps.send(reply)
        except StopIteration as end:
            return end.value
        meanwhile.pop(operation.script.name, lambda: None)()
        reply = home.run(operation)


@on_every_front_end
async def test_what_dies_meanwhile_is_left_for_the_next_time(front_end, home):
    await dead_letter_some(front_end, home, "1", "2")
    home.plant(TOPIC, "3", 1.0, write_envelope(b"x"))

    # All steps of it, as both front ends take them.
    moved = run_steps(home, home.operations.redrive(DEAD), {"page": lambda: dead_letter_all(home)})

    assert moved == 2
    assert await front_end.count_pending(DEAD) == 1
    assert await front_end.redrive(DEAD) == 1


@on_every_front_end
async def test_one_that_was_cancelled_moved_or_claimed_meanwhile_stays_so(front_end, home):
    cancelled, moved, claimed = await dead_letter_some(front_end, home, "1", "2", "3")

    def meanwhile():
        operations = home.operations
        home.run(operations.cancel(DEAD, cancelled))
        home.run(operations.reschedule(DEAD, moved, activate_in=None, activate_at=YEAR_2050))
        assert home.claim_due(DEAD) == [claimed.encode()]

    assert run_steps(home, home.operations.redrive(DEAD), {"redrive": meanwhile}) == 0

    assert await front_end.get_pending_timers(TOPIC) == []
    assert not await front_end.has_pending(DEAD, cancelled)
    assert (await front_end.get_timer(DEAD, moved)).due_at == YEAR_2050
    assert (await front_end.get_timer(DEAD, claimed)).running


# --- many, and large ones ----------------------------------------------------------------


@asynccontextmanager
async def relayed_front_end(make_front_end, home, relay):
    """A front end whose calls go through a relay, and what it has sent."""
    other = type(home)(home.key_names, relay.url)
    async with make_front_end(other) as front_end:
        # From now on the server knows the scripts, so that each call is one command.
        home.plant("warm:dead", "1", 1.0, write_envelope(b"x"))
        await front_end.redrive("warm:dead")
        ids = await dead_letter_some(front_end, home, "warm")
        await front_end.redrive(DEAD, ids)
        await front_end.cancel_all(TOPIC)
        await front_end.cancel_all("warm:dead")
        relay.commands.clear()
        yield front_end


with_relay = pytest.mark.parametrize(
    ("make_front_end", "home"),
    [
        pytest.param(blocking_front_end, "real", id="blocking"),
        pytest.param(async_front_end, "real", id="async"),
    ],
    indirect=True,
)


def scripts_of(relay):
    """List script calls: how many keys, and all the bytes of arguments."""
    calls = [command for command in relay.commands if command[0] in {b"EVALSHA", b"EVAL"}]
    return [(int(command[2]), sum(map(len, command[3:]))) for command in calls]


@with_relay
async def test_a_thousand_are_redriven_in_15_calls(make_front_end, home, relay):
    async with relayed_front_end(make_front_end, home, relay) as front_end:
        await front_end.schedule_batch([str(n) for n in range(1000)], TOPIC)
        dead = dead_letter_all(home)
        assert len(dead) == 1000
        ids = set(dead)
        relay.commands.clear()

        assert await front_end.redrive(DEAD) == 1000

        # One counts, two list ids; then 200 at a time are read and redriven.
        assert len(scripts_of(relay)) == 1 + 2 + 2 * 6
        assert await front_end.count_pending(DEAD) == 0
        timers = [timer.payload for timer in claim_all(home)]
        assert len(timers) == len(ids)
        assert len(set(timers)) == len(ids)


def claim_all(home):
    while claimed := home.claim(TOPIC).claimed:
        yield from claimed


@with_relay
async def test_large_ones_go_in_calls_of_a_limited_size(make_front_end, home, relay):
    async with relayed_front_end(make_front_end, home, relay) as front_end:
        sizes = [PAYLOAD_BUDGET // 5] * 12 + [3 * PAYLOAD_BUDGET]
        for n, size in enumerate(sizes):
            home.plant(TOPIC, str(n), 1.0 + n, write_envelope(b"x" * size))
        dead_letter_all(home)
        relay.commands.clear()

        assert await front_end.redrive(DEAD) == len(sizes)

        sent = [size for keys, size in scripts_of(relay) if keys == 4]
        assert len(sent) == 4
        assert max(sent[:-1]) <= PAYLOAD_BUDGET + 1000
        assert sorted(len(timer.payload) for timer in claim_all(home)) == [n + 20 for n in sizes]


@with_relay
async def test_a_lost_reply_is_an_unknown_outcome(make_front_end, home, relay):
    async with relayed_front_end(make_front_end, home, relay) as front_end:
        ids = await dead_letter_some(front_end, home, "1", "2")
        relay.commands.clear()
        relay.lose_reply_of_script("redrive")
        with pytest.raises(TimerOutcomeUnknownError, match="reply to redrive") as caught:
            await front_end.redrive(DEAD)

        assert (caught.value.topic, caught.value.timer_ids) == (DEAD, tuple(ids))
        assert sum(keys == 4 for keys, _ in scripts_of(relay)) == 1
        # It was executed, once; asking again does no harm.
        assert sorted(await front_end.get_pending_timers(TOPIC)) == ["1", "2"]
        assert await front_end.redrive(DEAD) == 0


@with_relay
async def test_a_lost_reply_to_reading_is_asked_for_again(make_front_end, home, relay):
    async with relayed_front_end(make_front_end, home, relay) as front_end:
        await dead_letter_some(front_end, home, "1", "2")
        relay.lose_reply()

        assert await front_end.redrive(DEAD) == 2


# --- a server that is full ---------------------------------------------------------------


@pytest.mark.parametrize("make_front_end", [blocking_front_end, async_front_end], indirect=True)
async def test_a_full_server_refuses_and_nothing_is_moved(make_front_end, key_names):
    with embedded_server(config={"maxmemory-policy": "noeviction"}) as url:
        home = Home(key_names, url)
        async with make_front_end(home) as front_end:
            await dead_letter_some(front_end, home, "1", "2")
            before = [await front_end.get_pending_timers(topic) for topic in (TOPIC, DEAD)]
            home.redis.config_set("maxmemory", "1")
            with pytest.raises(redis.ResponseError, match="maxmemory"):
                await front_end.redrive(DEAD)

            assert [await front_end.get_pending_timers(topic) for topic in (TOPIC, DEAD)] == before
            home.redis.config_set("maxmemory", "0")
            assert await front_end.redrive(DEAD) == 2
        home.redis.close()
