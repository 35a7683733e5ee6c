"""Wake-ups where keys have hash tags: sharded pub/sub."""

import logging

import pytest
import redis.asyncio
from bench import NO_POLLS, bench_at, delivering, until_idle, until_listening
from waiting import wait_until_async

from faststream_redis_timers.annotations import TimerMessage

PASSWORD = "opens nothing"  # noqa: S105


def listening(bench, calls, client=None, *topics, **options):
    """Make a broker whose worker notes its calls and does not poll."""
    broker = bench.broker(client, **options)
    for topic in topics or (bench.topic,):

        @broker.subscriber(topic, **NO_POLLS)
        async def handle(message: TimerMessage):
            calls.note(message)

    return broker


def plant_and_wake(bench, timer_id):
    """Schedule a timer for now behind the workers' backs, and send its wake-up."""
    now = bench.home.now().timestamp()
    bench.home.plant(bench.topic, timer_id, now, b"payload")
    bench.redis.execute_command("SPUBLISH", bench.channel, f"{now:.6f} {now:.6f}")


@pytest.fixture
async def tagged(server_url, key_names):
    """A topic whose keys have hash tags, on one primary."""
    async with bench_at(server_url, {**key_names, "hash_tags": True}) as bench:
        yield bench


# --- one primary -------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
async def test_one_primary_s_worker_is_woken(tagged, relay, open_calls, protocol):
    client = redis.asyncio.Redis.from_url(relay.url, protocol=protocol)
    async with delivering(listening(tagged, open_calls, client)):
        await until_idle(tagged, relay)
        plant_and_wake(tagged, "1")
        await tagged.until_gone("1")
    await client.aclose()

    assert open_calls.ids == ["1"]
    assert relay.count("SSUBSCRIBE") == 1
    assert relay.count("SUBSCRIBE", "UNSUBSCRIBE") == 0


async def test_a_topic_that_is_left_is_listened_to_no_more(tagged, relay, open_calls):
    broker = listening(tagged, open_calls, relay.url, tagged.topic, "another")
    async with delivering(broker):
        await until_idle(tagged, relay)
        await until_listening(tagged, 1, "another")
        (another,) = (one for one in broker.subscribers if one.topic == "another")
        await another.stop()
        await until_listening(tagged, 0, "another")
        plant_and_wake(tagged, "1")
        await tagged.until_gone("1")

    assert relay.count("SUNSUBSCRIBE") == 1


async def test_where_the_acl_refuses_a_channel_one_line_names_it(tagged, open_calls):
    user = tagged.timeline.decode()
    tagged.redis.acl_setuser(
        user, enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], commands=["+@all"], reset=True
    )
    tagged.redis.execute_command("ACL", "SETUSER", user, "resetchannels")
    options = tagged.redis.connection_pool.connection_kwargs
    client = redis.asyncio.Redis(unix_socket_path=options["path"], username=user, password=PASSWORD)
    try:
        async with delivering(listening(tagged, open_calls, client)):
            await wait_until_async(lambda: tagged.log.at(logging.WARNING))
        await client.aclose()
    finally:
        tagged.redis.acl_deluser(user)

    (line,) = tagged.log.complaints
    assert f"the ACL must allow the channels {user!r}: " in line
