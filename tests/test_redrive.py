"""What putting dead letters back promises on every front end, on each server and in memory."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from struct import pack

import pytest
import redis
from dead import set_aside
from faces import FACES_AND_HOMES, Home, async_face, blocking_face

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync import TimerOutcomeUnknownError
from faststream_redis_timers_sync.protocol.envelope import MAGIC, write_envelope
from faststream_redis_timers_sync.protocol.model import Settlement
from faststream_redis_timers_sync.protocol.operation import PAYLOAD_BUDGET

TOPIC = "invoices"
DEAD = "invoices:dead"
HOUR = timedelta(hours=1)
YEAR_2050 = datetime(2050, 1, 1, tzinfo=UTC)

on_every_face = pytest.mark.parametrize(("make_face", "home"), FACES_AND_HOMES, indirect=True)


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


async def bury_some(face, home, *timer_ids):
    for timer_id in timer_ids:
        await face.schedule(f"dead {timer_id}", TOPIC, timer_id=timer_id)
    return [dead_id.decode() for dead_id in set_aside(home)]


# --- what comes back ---------------------------------------------------------------------


@on_every_face
async def test_a_dead_letter_comes_back_under_its_own_id_due_now(face, home):
    await face.schedule(
        {"number": 1},
        TOPIC,
        timer_id="42",
        headers={"customer": "José"},
        correlation_id="order-7",
        reply_to="replies",
    )
    before = await face.get_timer(TOPIC, "42")
    (dead_id,) = set_aside(home)
    dead = await face.get_timer(DEAD, dead_id.decode())
    assert (dead.body, dead.correlation_id) == (before.body, "order-7")
    assert dead.headers["dead-letter-reason"] == "attempts"
    earliest = home.now()

    assert await face.redrive(DEAD) == 1

    timer = await face.get_timer(TOPIC, "42")
    assert earliest <= timer.due_at <= home.now()
    assert (timer.running, timer.body, timer.headers) == (False, before.body, before.headers)
    assert await face.count_pending(DEAD) == 0
    assert await face.count_pending(TOPIC) == 1
    assert home.take_due(TOPIC) == [b"42"]


@on_every_face
async def test_its_attempts_begin_anew(face, home):
    await face.schedule("x", TOPIC, timer_id="42")
    assert [fail_once(home, TOPIC) for _ in range(3)] == [1, 2, 3]
    set_aside(home)
    # A handler of dead letters has failed too.
    assert [fail_once(home, DEAD) for _ in range(2)] == [1, 2]

    assert await face.redrive(DEAD) == 1

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


@on_every_face
@pytest.mark.parametrize("reason", ["attempts", "unreadable"])
async def test_payloads_come_back_byte_for_byte(face, home, reason):
    for name, payload in PAYLOADS.items():
        home.plant(TOPIC, name, 1.0, payload)
    set_aside(home, reason=reason)
    assert await face.count_pending(TOPIC) == 0

    assert await face.redrive(DEAD) == len(PAYLOADS)

    claimed = home.claim(TOPIC).claimed
    assert {timer.timer_id.decode(): timer.payload for timer in claimed} == PAYLOADS


@on_every_face
@pytest.mark.parametrize(
    "timer_id", [b"\xff\x00 no UTF-8", b"x" * 65_536, b"line\nbreak:\xe6\x97\xa5", b":"]
)
async def test_ids_come_back_whatever_they_are(face, home, timer_id):
    home.plant(TOPIC, timer_id, 1.0, write_envelope(b"x"))
    (dead_id,) = set_aside(home)
    assert await face.get_pending_timers(DEAD) == [dead_id.decode()]

    assert await face.redrive(DEAD, [dead_id.decode()]) == 1

    assert home.take_due(TOPIC) == [timer_id]


@on_every_face
async def test_it_goes_home_to_the_topic_that_it_comes_from(face, home):
    # In one slot, if there are slots.
    topics = [f"{{all}}:{name}" for name in "abc"]
    for topic in topics:
        await face.schedule(topic, topic, timer_id="42")
        set_aside(home, topic, "{all}:failed")

    assert await face.redrive("{all}:failed") == 3

    for topic in topics:
        assert (await face.get_timer(topic, "42")).decode() == topic
    assert await face.count_pending("{all}:failed") == 0


@on_every_face
async def test_a_prefix_stands_before_the_topic_once(make_face, home):
    async with make_face(home, prefix="my-service:") as face:
        await face.schedule("x", TOPIC, timer_id="42")
        set_aside(home, f"my-service:{TOPIC}")
        assert await face.count_pending(DEAD) == 1

        assert await face.redrive(DEAD) == 1

        assert (await face.get_timer(TOPIC, "42")).topic == f"my-service:{TOPIC}"


@on_every_face
async def test_the_letter_of_a_dead_letter_comes_back_step_by_step(face, home):
    await face.schedule("x", TOPIC, timer_id="42")
    before = await face.get_timer(TOPIC, "42")
    (dead_id,) = set_aside(home)
    first = await face.get_timer(DEAD, dead_id.decode())
    set_aside(home, DEAD, reason="rejected", attempts=None, error=None)

    assert await face.redrive(f"{DEAD}:dead") == 1
    letter = await face.get_timer(DEAD, dead_id.decode())
    assert (letter.body, letter.headers) == (first.body, first.headers)
    assert await face.redrive(DEAD) == 1
    timer = await face.get_timer(TOPIC, "42")
    assert (timer.body, timer.headers) == (before.body, before.headers)


@on_every_face
async def test_workers_are_woken(face, home):
    await bury_some(face, home, "42", "43")
    await face.schedule("later", TOPIC, timer_id="99", activate_in=HOUR)
    with home.server_of(TOPIC).pubsub() as listener:
        home.listen(listener, TOPIC)

        await face.redrive(DEAD)

        sent, due = listener.get_message(timeout=10)["data"].split()
        assert sent == due
        # Two at once wake once.
        assert listener.get_message(timeout=0.05) is None


# --- what stays --------------------------------------------------------------------------


@on_every_face
@pytest.mark.parametrize("due_at", [None, YEAR_2050], ids=["due", "later"])
async def test_a_waiting_timer_of_that_id_stands_and_the_dead_letter_stays(face, home, due_at):
    stays, _ = await bury_some(face, home, "42", "43")
    await face.schedule("new", TOPIC, timer_id="42", activate_at=due_at)
    before = await face.get_timer(TOPIC, "42")

    assert await face.redrive(DEAD) == 1

    assert await face.get_timer(TOPIC, "42") == before
    assert await face.get_pending_timers(DEAD) == [stays]
    assert (await face.get_timer(TOPIC, "43")).decode() == "dead 43"
    await face.cancel_timer(TOPIC, "42")
    assert await face.redrive(DEAD) == 1
    assert (await face.get_timer(TOPIC, "42")).decode() == "dead 42"


@on_every_face
async def test_a_running_timer_of_that_id_does_not_stand_in_the_way(face, home):
    await bury_some(face, home, "42")
    await face.schedule("new", TOPIC, timer_id="42")
    step = home.claim(TOPIC)

    assert await face.redrive(DEAD) == 1

    home.step(TOPIC, Settlement(b"commit", b"42", step.lease))
    timer = await face.get_timer(TOPIC, "42")
    assert (timer.decode(), timer.running) == ("dead 42", False)


@on_every_face
async def test_an_entry_without_payload_does_not_stand_in_the_way(face, home):
    await bury_some(face, home, "42")
    home.plant(TOPIC, "42", YEAR_2050.timestamp(), None)

    assert await face.redrive(DEAD) == 1

    assert (await face.get_timer(TOPIC, "42")).decode() == "dead 42"


@on_every_face
async def test_of_several_with_one_id_the_first_comes_back(face, home):
    await face.schedule("first", TOPIC, timer_id="42")
    set_aside(home)
    await face.schedule("second", TOPIC, timer_id="42")
    (second,) = set_aside(home)

    assert await face.redrive(DEAD) == 1

    assert (await face.get_timer(TOPIC, "42")).decode() == "first"
    assert await face.get_pending_timers(TOPIC) == ["42"]
    assert await face.get_pending_timers(DEAD) == [second.decode()]


@on_every_face
async def test_one_that_a_handler_holds_stays(face, home):
    (dead_id,) = await bury_some(face, home, "42")
    step = home.claim(DEAD)

    assert await face.redrive(DEAD) == 0
    assert await face.redrive(DEAD, [dead_id]) == 0

    home.step(DEAD, Settlement(b"nack", dead_id.encode(), step.lease, b"+9.000000"))
    assert await face.redrive(DEAD) == 1


@on_every_face
async def test_one_whose_handler_has_lost_its_lease_comes_back(face, home):
    (dead_id,) = await bury_some(face, home, "42")
    payload = home.claim(DEAD).claimed[0].payload
    home.plant(DEAD, dead_id, 1_000_000_000.000_000_5, payload)
    assert (await face.get_timer(DEAD, dead_id)).running

    assert await face.redrive(DEAD) == 1


@on_every_face
async def test_timers_that_are_no_dead_letters_stay(face, home):
    await face.schedule("x", DEAD, timer_id="plain")
    await face.schedule("x", DEAD, timer_id="odd", headers={"dead-letter-topic": TOPIC})
    await face.schedule("x", DEAD, timer_id="lost", headers={"dead-letter-reason": "rejected"})
    itself = {
        "dead-letter-reason": "rejected",
        "dead-letter-topic": DEAD,
        "dead-letter-timer-id": "itself",
    }
    await face.schedule("x", DEAD, timer_id="itself", headers=itself)
    home.plant(DEAD, "raw", 1.0, b"raw")
    home.plant(DEAD, "broken", 1.0, MAGIC + b"\xff" * 30)
    before = sorted(await face.get_pending_timers(DEAD))
    await bury_some(face, home, "42")

    assert await face.redrive(DEAD) == 1

    assert sorted(await face.get_pending_timers(DEAD)) == before
    assert await face.get_pending_timers(TOPIC) == ["42"]


@on_every_face
async def test_in_an_empty_topic_there_is_nothing_to_put_back(face):
    assert await face.redrive("nowhere:dead") == 0


# --- by id -------------------------------------------------------------------------------


@on_every_face
async def test_only_those_that_are_named_come_back(face, home):
    one, two, three = await bury_some(face, home, "1", "2", "3")

    assert await face.redrive(DEAD, [three, "unknown", one, three]) == 2

    assert await face.get_pending_timers(DEAD) == [two]
    assert sorted(await face.get_pending_timers(TOPIC)) == ["1", "3"]
    assert await face.redrive(DEAD, iter([one, two])) == 1
    assert await face.redrive(DEAD, []) == 0


@on_every_face
@pytest.mark.parametrize("single", ["42:abcdefgh", b"42:abcdefgh"])
async def test_a_single_id_is_refused(face, single):
    with pytest.raises(TypeError, match="timer_ids must be several ids, got the single"):
        await face.redrive(DEAD, single)


@on_every_face
async def test_what_cannot_be_a_topic_or_an_id_is_refused(face):
    with pytest.raises(ValueError, match="dead_topic must not be empty"):
        await face.redrive("")
    with pytest.raises(TypeError, match="dead_topic must be a str, got 1"):
        await face.redrive(1)
    with pytest.raises(ValueError, match="timer_id must not be empty"):
        await face.redrive(DEAD, ["a", ""])
    with pytest.raises(TypeError, match="timer_id must be a str, got 1"):
        await face.redrive(DEAD, [1])


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


@on_every_face
async def test_what_dies_meanwhile_is_left_for_the_next_time(face, home):
    await bury_some(face, home, "1", "2")
    home.plant(TOPIC, "3", 1.0, write_envelope(b"x"))

    # All steps of it, as both front ends take them.
    moved = run_steps(home, home.operations.redrive(DEAD), {"page": lambda: set_aside(home)})

    assert moved == 2
    assert await face.count_pending(DEAD) == 1
    assert await face.redrive(DEAD) == 1


@on_every_face
async def test_one_that_was_cancelled_moved_or_claimed_meanwhile_stays_so(face, home):
    cancelled, moved, claimed = await bury_some(face, home, "1", "2", "3")

    def meanwhile():
        operations = home.operations
        home.run(operations.cancel(DEAD, cancelled))
        home.run(operations.reschedule(DEAD, moved, activate_in=None, activate_at=YEAR_2050))
        assert home.take_due(DEAD) == [claimed.encode()]

    assert run_steps(home, home.operations.redrive(DEAD), {"redrive": meanwhile}) == 0

    assert await face.get_pending_timers(TOPIC) == []
    assert not await face.has_pending(DEAD, cancelled)
    assert (await face.get_timer(DEAD, moved)).due_at == YEAR_2050
    assert (await face.get_timer(DEAD, claimed)).running


# --- many, and large ones ----------------------------------------------------------------


@asynccontextmanager
async def relayed_face(make_face, home, relay):
    """A front end whose calls go through a relay, and what it has sent."""
    other = type(home)(home.key_names, relay.url)
    async with make_face(other) as face:
        # From now on the server knows the scripts, so that each call is one command.
        home.plant("warm:dead", "1", 1.0, write_envelope(b"x"))
        await face.redrive("warm:dead")
        letters = await bury_some(face, home, "warm")
        await face.redrive(DEAD, letters)
        await face.cancel_all(TOPIC)
        await face.cancel_all("warm:dead")
        relay.commands.clear()
        yield face


with_relay = pytest.mark.parametrize(
    ("make_face", "home"),
    [
        pytest.param(blocking_face, "real", id="blocking"),
        pytest.param(async_face, "real", id="async"),
    ],
    indirect=True,
)


def scripts_of(relay):
    """List script calls: how many keys, and all the bytes of arguments."""
    calls = [command for command in relay.commands if command[0] in {b"EVALSHA", b"EVAL"}]
    return [(int(command[2]), sum(map(len, command[3:]))) for command in calls]


@with_relay
async def test_a_thousand_come_back_in_15_calls(make_face, home, relay):
    async with relayed_face(make_face, home, relay) as face:
        await face.schedule_batch([str(n) for n in range(1000)], TOPIC)
        dead = set_aside(home)
        assert len(dead) == 1000
        ids = set(dead)
        relay.commands.clear()

        assert await face.redrive(DEAD) == 1000

        # One counts, two list ids; then 200 at a time are read and put back.
        assert len(scripts_of(relay)) == 1 + 2 + 2 * 6
        assert await face.count_pending(DEAD) == 0
        timers = [timer.payload for timer in take_all(home)]
        assert len(timers) == len(ids)
        assert len(set(timers)) == len(ids)


def take_all(home):
    while claimed := home.claim(TOPIC).claimed:
        yield from claimed


@with_relay
async def test_large_ones_go_in_calls_of_a_limited_size(make_face, home, relay):
    async with relayed_face(make_face, home, relay) as face:
        sizes = [PAYLOAD_BUDGET // 5] * 12 + [3 * PAYLOAD_BUDGET]
        for n, size in enumerate(sizes):
            home.plant(TOPIC, str(n), 1.0 + n, write_envelope(b"x" * size))
        set_aside(home)
        relay.commands.clear()

        assert await face.redrive(DEAD) == len(sizes)

        sent = [size for keys, size in scripts_of(relay) if keys == 4]
        assert len(sent) == 4
        assert max(sent[:-1]) <= PAYLOAD_BUDGET + 1000
        assert sorted(len(timer.payload) for timer in take_all(home)) == [n + 20 for n in sizes]


@with_relay
async def test_a_lost_reply_is_an_unknown_outcome(make_face, home, relay):
    async with relayed_face(make_face, home, relay) as face:
        ids = await bury_some(face, home, "1", "2")
        relay.commands.clear()
        relay.lose_reply_of_script("redrive")
        with pytest.raises(TimerOutcomeUnknownError, match="answer to redrive") as caught:
            await face.redrive(DEAD)

        assert (caught.value.topic, caught.value.timer_ids) == (DEAD, tuple(ids))
        assert sum(keys == 4 for keys, _ in scripts_of(relay)) == 1
        # It was executed, once; asking again does no harm.
        assert sorted(await face.get_pending_timers(TOPIC)) == ["1", "2"]
        assert await face.redrive(DEAD) == 0


@with_relay
async def test_a_lost_reply_to_reading_is_asked_for_again(make_face, home, relay):
    async with relayed_face(make_face, home, relay) as face:
        await bury_some(face, home, "1", "2")
        relay.lose_reply()

        assert await face.redrive(DEAD) == 2


# --- a server that is full ---------------------------------------------------------------


@pytest.mark.parametrize("make_face", [blocking_face, async_face], indirect=True)
async def test_a_full_server_refuses_and_nothing_is_moved(make_face, key_names):
    with embedded_server(config={"maxmemory-policy": "noeviction"}) as url:
        home = Home(key_names, url)
        async with make_face(home) as face:
            await bury_some(face, home, "1", "2")
            before = [await face.get_pending_timers(topic) for topic in (TOPIC, DEAD)]
            home.redis.config_set("maxmemory", "1")
            with pytest.raises(redis.ResponseError, match="maxmemory"):
                await face.redrive(DEAD)

            assert [await face.get_pending_timers(topic) for topic in (TOPIC, DEAD)] == before
            home.redis.config_set("maxmemory", "0")
            assert await face.redrive(DEAD) == 2
        home.redis.close()
