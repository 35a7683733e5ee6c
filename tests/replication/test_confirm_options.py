"""What `confirm_replicas` and `confirm_timeout` may be, and where there are no replicas to ask."""

import math
from datetime import timedelta

import fakeredis
import pytest
import redis
import redis.asyncio

import faststream_redis_timers
import faststream_redis_timers_sync
from faststream_redis_timers import TestTimersBroker, TimerNotReplicatedError, TimersBroker
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol import management
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operation import command
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.timers import encode_timer
from faststream_redis_timers_sync.testing import FakeTimersClient

URL = "redis://localhost:1"
TOPIC = "invoices"
HOUR = timedelta(hours=1)

MAKERS = {
    "client": lambda **options: TimersClient(URL, **options),
    "broker": lambda **options: TimersBroker(URL, **options),
    "fake client": FakeTimersClient,
}


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"confirm_replicas": 0}, ValueError, "confirm_replicas must be at least 1, got 0: None"),
        ({"confirm_replicas": -1}, ValueError, "confirm_replicas must be at least 1, got -1"),
        ({"confirm_replicas": True}, TypeError, "confirm_replicas must be a number of replicas or"),
        ({"confirm_replicas": 1.0}, TypeError, "a number of replicas or None, got 1.0"),
        ({"confirm_replicas": "1"}, TypeError, "a number of replicas or None, got '1'"),
        (
            {"confirm_timeout": 0},
            ValueError,
            "confirm_timeout must be more than 0 and at most 3600",
        ),
        ({"confirm_timeout": -1.5}, ValueError, "at most 3600 seconds, got -1.5"),
        ({"confirm_timeout": math.nan}, ValueError, "at most 3600 seconds, got nan"),
        ({"confirm_timeout": math.inf}, ValueError, "at most 3600 seconds, got inf"),
        ({"confirm_timeout": None}, TypeError, "must be a number of seconds, got None"),
        ({"confirm_timeout": HOUR}, TypeError, "must be a number of seconds, got datetime.timedel"),
        ({"confirm_timeout": True}, TypeError, "must be a number of seconds, got True"),
    ],
)
def test_what_can_not_be_is_refused_with_its_name_and_value(maker, options, error, sentence):
    with pytest.raises(error) as caught:
        maker(**options)

    assert sentence in str(caught.value)


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("timeout", [0.0001, 1, 3600])
def test_what_can_be_is_taken(maker, timeout):
    maker(confirm_replicas=1, confirm_timeout=timeout)
    maker(confirm_replicas=None, confirm_timeout=timeout)


def test_a_timeout_shorter_than_a_millisecond_is_one():
    # 0 would mean forever.
    confirmation = TimersClient(
        URL, confirm_replicas=1, confirm_timeout=0.0001
    )._runner.confirmation
    operation = Operations(KeySpace()).cancel(TOPIC, "1")

    assert confirmation.question(operation, b"w")[0] == [
        b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n1\r\n"
    ]


def test_the_error_is_the_same_in_both_packages():
    error = faststream_redis_timers.TimerNotReplicatedError

    assert error is faststream_redis_timers_sync.TimerNotReplicatedError
    assert issubclass(error, faststream_redis_timers_sync.TimersError)
    assert not issubclass(error, faststream_redis_timers_sync.TimerOutcomeUnknownError)


def test_which_operations_wait_is_decided_once():
    operations = Operations(KeySpace())
    timer = encode_timer(b"x", None)
    keys = KeySpace()
    step = {"limit": 1, "lease_ttl": 30.0, "jitter": 0}

    changes = [
        operations.schedule(TOPIC, timer),
        *operations.schedule_calls(TOPIC, [timer]),
        operations.reschedule(TOPIC, "1", activate_in=HOUR, activate_at=None),
        operations.cancel(TOPIC, "1"),
        next(operations.cancel_many(TOPIC, ["1"])),
        operations.cancel_all(TOPIC),
        management.cancel_some(keys, TOPIC, ["1"]),
        management.move_some(keys, TOPIC, ["1"], activate_in=HOUR, activate_at=None),
    ]
    others = [
        operations.has_pending(TOPIC, "1"),
        operations.count(TOPIC),
        operations.get(TOPIC, "1"),
        next(operations.iterate(TOPIC)),
        next(operations.iterate(TOPIC, match="*")),
        operations.settle_and_claim(TOPIC, [], **step),
        operations.settle_and_claim(TOPIC, [(b"1", b"1", b"commit", b"")], **step),
        operations.settle_and_claim(TOPIC, [(b"1", b"1", b"commit", b"")], **step | {"limit": 0}),
        command(b"TIME", parse=bytes),
    ]

    assert all(operation.has_written is not None for operation in changes)
    assert all(operation.has_written is None for operation in others)


# --- pipelines


def calls_with(client, pipeline):
    return [
        lambda: client.schedule("x", TOPIC, pipeline=pipeline),
        lambda: client.schedule_batch(["x"], TOPIC, pipeline=pipeline),
        lambda: client.reschedule_timer(TOPIC, "1", activate_in=HOUR, pipeline=pipeline),
        lambda: client.cancel_timer(TOPIC, "1", pipeline=pipeline),
    ]


def test_a_pipeline_is_refused():
    with redis.Redis.from_url(URL) as plain:
        fake = FakeTimersClient(confirm_replicas=1)
        client = TimersClient(plain, confirm_replicas=1)
        calls = [*calls_with(client, plain.pipeline()), *calls_with(fake, fake.pipeline())]
        for call in calls:
            with pytest.raises(ValueError, match="pipeline= can't be used with confirm_replicas"):
                call()


def async_calls_with(broker, pipeline):
    return [
        lambda: broker.publish("x", TOPIC, pipeline=pipeline),
        lambda: broker.publish_batch("x", topic=TOPIC, pipeline=pipeline),
        lambda: broker.reschedule_timer(TOPIC, "1", activate_in=HOUR, pipeline=pipeline),
        lambda: broker.cancel_timer(TOPIC, "1", pipeline=pipeline),
    ]


@pytest.mark.parametrize("hold", [None, False, True], ids=["real", "at once", "virtual time"])
async def test_a_pipeline_is_refused_by_a_broker_too(hold):
    broker = TimersBroker(URL, confirm_replicas=1)
    if hold is None:
        pipeline = (await broker.connect()).pipeline()
        calls = async_calls_with(broker, pipeline)
        for call in calls:
            with pytest.raises(ValueError, match="pipeline= can't be used with confirm_replicas"):
                await call()
        await broker.stop()
        return
    async with TestTimersBroker(broker, hold=hold) as tested:
        pipeline = (await tested.connect()).pipeline()
        for call in async_calls_with(tested, pipeline):
            with pytest.raises(ValueError, match="pipeline= can't be used with confirm_replicas"):
                await call()


# --- without a server


def test_a_fake_client_has_no_replicas_and_all_is_confirmed():
    fake = FakeTimersClient(confirm_replicas=2, confirm_timeout=5)

    fake.schedule("x", TOPIC, timer_id="1", activate_in=HOUR)
    assert fake.reschedule_timer(TOPIC, "1", activate_in=HOUR)
    assert fake.cancel_timer(TOPIC, "1")


@pytest.mark.parametrize("hold", [False, True])
async def test_so_it_is_in_a_test_broker(hold):
    broker = TimersBroker(confirm_replicas=2, confirm_timeout=5)
    got = []

    @broker.subscriber(TOPIC)
    async def handle(message: str) -> None:
        got.append(message)

    async with TestTimersBroker(broker, hold=hold) as tested:
        await tested.publish("x", TOPIC)
        await tested.cancel_timer(TOPIC, "1")


async def test_fakeredis_knows_no_wait_and_confirms_nothing():
    with fakeredis.FakeRedis() as server:
        client = TimersClient(server, confirm_replicas=1)
        with pytest.raises(TimerNotReplicatedError, match="unknown command"):
            client.schedule("x", TOPIC, timer_id="1")
        assert client.has_pending(TOPIC, "1")
    async with fakeredis.FakeAsyncRedis() as server:
        broker = TimersBroker(server, confirm_replicas=1)
        await broker.connect()
        with pytest.raises(TimerNotReplicatedError, match="unknown command"):
            await broker.publish("x", TOPIC, timer_id="1")
        assert await broker.has_pending(TOPIC, "1")
        await broker.stop()
