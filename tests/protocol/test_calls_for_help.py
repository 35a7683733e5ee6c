"""Who is called from the reserve, by claims and by wake-ups that nobody hears."""

from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
from front_ends import Home

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.keys import RESERVE_GROUPS
from faststream_redis_timers_sync.protocol.model import Settlement

TOPIC = "invoices"
HOUR = timedelta(hours=1)


@pytest.fixture(params=["plain", "database 3", "hash tags", "fakeredis"])
def home(request, key_names, server_url):
    """Where the topic is: each has names of its own for the channels, and fakeredis its own Lua."""
    names = {**key_names, "hash_tags": True} if request.param == "hash tags" else key_names
    url = f"{server_url}?db=3" if request.param == "database 3" else server_url
    home = Home(names, None if request.param == "fakeredis" else url)
    yield home
    assert home.leave() == []


@pytest.fixture
def client(home):
    return TimersClient(home.redis, **home.key_names)


class Listener:
    """Subscribes to channels of a topic, and tells what was published there.

    Args:
        home: Where the topic is.
        channels: The channels.
    """

    def __init__(self, home, *channels):
        self._sharded = "s" if home.operations.keys.hash_tags else ""
        self._pubsub = home.redis.pubsub(ignore_subscribe_messages=True)
        self._channels = channels

    def __enter__(self):
        # One command each: in a cluster a command may name no channels of two slots.
        for channel in self._channels:
            getattr(self._pubsub, f"{self._sharded}subscribe")(channel)
        self.heard()
        return self

    def __exit__(self, *_):
        self._pubsub.close()

    def leave(self):
        """Subscribe to nothing any longer."""
        getattr(self._pubsub, f"{self._sharded}unsubscribe")()
        while self._pubsub.subscribed:
            self._pubsub.get_message(timeout=10)

    def heard(self):
        """Give what was published before this call, by channel."""
        self._pubsub.ping()
        found = []
        while True:
            message = self._pubsub.get_message(timeout=10)
            if message and message["type"] == "pong":
                return found
            if message:
                found.append((message["channel"], message["data"]))


@contextmanager
def fleet(home, *, on_duty=0, groups=(), topic=TOPIC):
    """Let workers listen: some on duty, and one in reserve for each of these groups."""
    keys = home.operations.keys
    workers, reserve = [], []
    try:
        for _ in range(on_duty):
            channels = keys.channel_of(topic), keys.workers_channel_of(topic)
            workers.append(Listener(home, *channels).__enter__())
        for group in groups:
            channels = keys.reserve_channel_of(topic, group), keys.workers_channel_of(topic)
            reserve.append(Listener(home, *channels).__enter__())
        yield reserve
    finally:
        for listener in (*workers, *reserve):
            listener.__exit__()


def heard(reserve):
    """Give the messages that those in reserve have heard."""
    return [message for listener in reserve for _, message in listener.heard()]


def plant_due(home, *timer_ids):
    for n, timer_id in enumerate(timer_ids):
        home.plant(TOPIC, timer_id, 1000.0 + n, b"x")


def step(home, *settlements, limit=10, call=b"3 3 5 0 0.0", **options):
    return home.run(
        home.operations.settle_and_claim(
            TOPIC, settlements, limit=limit, lease_ttl=30.0, jitter=1, call=call, **options
        )
    )


# --- the roster ---------------------------------------------------------------------------


def test_a_step_returns_who_is_there_where_it_is_asked(home):
    with fleet(home, on_duty=2, groups=[5, 5, 6]):
        found = step(home)
        assert (found.on_duty, found.workers, found.claimed) == (2, 5, [])
        plant_due(home, "a")
        found = step(home, suspect_from=3)
        assert (found.on_duty, found.workers) == (2, 5)
        assert [timer.timer_id for timer in found.claimed] == [b"a"]
        assert found.claimed[0].attempt == 1
        assert home.step(TOPIC, limit=10)[-2:] == (None, None)
    assert step(home)[-2:] == (0, 0)


def test_a_step_that_only_settles_returns_it_too_and_calls_as_many_as_it_says(home):
    plant_due(home, "a", "b")
    claimed = home.step(TOPIC, limit=1)
    commit = Settlement(b"commit", b"a", claimed.lease)

    with fleet(home, on_duty=1, groups=[0]) as reserve:
        found = step(home, commit, limit=0, call=b"1 1 0 0 0.0")

        assert (found.outcomes, found.on_duty, found.workers) == (b"1", 1, 2)
        assert heard(reserve) == [b"1.000000 0 0.0"]
        # A worker on duty may leave at the same moment.
        step(home, limit=0, call=b"1 1 0 0 0.0")
        assert heard(reserve) == [b"1.000000 0 0.0"]
        step(home, limit=0, call=b"0 0 0 0 0.0")
        assert heard(reserve) == []


def test_a_roster_does_not_hide_orphans(home):
    # If it were alone, a topic with a hash tag might be torn.
    home.plant(TOPIC, "later", 9e9, b"x")
    home.plant(TOPIC, "orphan", 999.0, None)

    found = step(home)

    assert (found.orphans, found.on_duty) == ([b"orphan"], 0)


@pytest.mark.parametrize("workers", [7, 8, 9, 15, 16, 17, 30, 33])
def test_a_group_that_a_server_cannot_count_is_called_as_a_whole(home, workers):
    """Valkey 9.1 does not, at some sizes of a channel's table of subscribers."""
    with fleet(home, groups=[5] * workers) as reserve:
        plant_due(home, "a")
        found = step(home, call=b"1 9 5 0 0.0")
        assert (found.on_duty, found.may_count) == (0, True)
        assert found.workers in {workers, None}
        # A group may be counted where all workers are not.
        called = heard(reserve)
        assert called in ([b"%.6f 0 0.0" % (2 / workers)] * workers, [b"1.000000 0 0.0"] * workers)


def test_groups_that_are_counted_are_called_before_others(home):
    with fleet(home, groups=[5] * 8 + [37]) as reserve:
        plant_due(home, "a")
        step(home, call=b"1 9 5 0 0.0")
        called = heard(reserve)
        # Where the group of eight is counted too, either is called.
        assert called in ([b"1.000000 0 0.0"], [b"0.250000 0 0.0"] * 8)


@pytest.mark.parametrize("most", [16, 30, 40])
def test_while_workers_leave_they_are_counted_or_called_for_as_if_one_were_left(home, most):
    """Valkey 9.1 cannot count the last ones, as long as the channel's table shrinks."""
    keys = home.operations.keys
    wrong = []
    with fleet(home, groups=range(32)) as reserve, ExitStack() as stack:
        leave = [
            stack.enter_context(Listener(home, keys.channel_of(TOPIC))).leave for _ in range(most)
        ]
        for left in reversed(range(most)):
            leave.pop()()
            plant_due(home, "a")
            found = step(home, call=b"6 9 5 0 0.0")
            called = len(heard(reserve))
            if (found.on_duty, called) not in {(left, max(0, 6 - left)), (None, 5)}:
                wrong.append((left, found.on_duty, called))
    assert wrong == []


# --- who is called by claims ---------------------------------------------------------------


def test_who_finds_nothing_calls_nobody(home):
    with fleet(home, groups=[0, 1]) as reserve:
        step(home)
        assert heard(reserve) == []


def test_as_many_are_called_as_are_missing_on_duty(home):
    with fleet(home, on_duty=1, groups=range(0, RESERVE_GROUPS, 2)) as reserve:
        plant_due(home, "a")
        step(home, call=b"3 9 5 2 298.5")
        assert heard(reserve) == [b"1.000000 2 298.5"] * 2
        # Enough are there.
        plant_due(home, "a")
        step(home, call=b"1 9 5 0 0.0")
        assert heard(reserve) == []


def test_who_finds_as_many_as_it_asks_for_calls_those_who_are_missing_then(home):
    with fleet(home, on_duty=1, groups=range(16)) as reserve:
        plant_due(home, "a", "b")
        step(home, limit=2, call=b"1 4 5 0 0.0")
        assert len(heard(reserve)) == 3


def test_for_what_is_left_as_many_are_called_as_take_it(home):
    with fleet(home, on_duty=3, groups=range(16)) as reserve:
        plant_due(home, *map(str, range(13)))
        # Eleven are left.
        step(home, limit=2, call=b"3 4 5 0 0.0")
        assert len(heard(reserve)) == 3
        # The same, while it does not call for them.
        step(home, limit=2, call=b"3 4 0 0 0.0")
        assert len(heard(reserve)) == 1


def test_what_the_bound_of_bytes_leaves_is_called_for_too(home):
    for n, timer_id in enumerate("abc"):
        home.plant(TOPIC, timer_id, 1000.0 + n, b"x" * 400_000)

    with fleet(home, on_duty=3, groups=range(16)) as reserve:
        found = step(home, call=b"0 0 1 0 0.0")
        assert len(found.claimed) == 1
        assert len(heard(reserve)) == 2


def test_those_whose_leases_run_are_not_left(home):
    plant_due(home, "a", "b", "c")
    home.step(TOPIC, limit=2)

    with fleet(home, on_duty=3, groups=range(16)) as reserve:
        step(home, limit=1, call=b"3 3 1 0 0.0")
        assert heard(reserve) == []


def test_suspects_that_are_passed_over_are_not_left(home):
    for n, timer_id in enumerate("abc"):
        home.plant(TOPIC, timer_id, 1000.0000005 + n, b"x")
    plant_due(home, "d")

    with fleet(home, on_duty=3, groups=range(16)) as reserve:
        found = step(home, limit=5, most_suspects=1, call=b"3 3 1 0 0.0")
        assert len(found.claimed) == 2
        assert heard(reserve) == []


def test_entries_without_payload_call_nobody(home):
    # If it were alone, a topic with a hash tag might be torn.
    home.plant(TOPIC, "later", 9e9, b"x")
    home.plant(TOPIC, "orphan", 999.0, None)

    with fleet(home, groups=range(16)) as reserve:
        assert step(home, limit=1, call=b"3 3 1 0 0.0").orphans == [b"orphan"]
        assert heard(reserve) == []


# --- how ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "least", "share"),
    [
        # As many as are wanted, or fewer: all are to come.
        (1, 1, b"1.000000"),
        (3, 4, b"1.000000"),
        (3, 2, b"1.000000"),
        # One more than is wanted, not to have none too often.
        (4, 1, b"0.500000"),
        (12, 2, b"0.250000"),
    ],
)
def test_of_a_group_some_are_to_come(home, workers, least, share):
    with fleet(home, groups=[63] * workers) as reserve:
        plant_due(home, "a")
        step(home, call=b"%d 9 5 0 0.0" % least)
        assert heard(reserve) == [b"%b 0 0.0" % share] * workers


def test_no_more_groups_are_called_than_it_takes(home):
    with fleet(home, groups=[*range(0, 64, 2), *range(0, 64, 2)]) as reserve:
        plant_due(home, "a")
        step(home, call=b"3 9 5 0 0.0")
        # Two groups of two.
        assert heard(reserve) == [b"1.000000 0 0.0"] * 4


def test_a_claim_calls_whoever_is_there_if_they_are_fewer(home):
    with fleet(home, groups=[0, 30, 60]) as reserve:
        plant_due(home, "a")
        step(home, call=b"9 9 5 0 0.0")
        assert heard(reserve) == [b"1.000000 0 0.0"] * 3


# --- wake-ups that nobody hears -----------------------------------------------------------


def test_a_wake_up_that_nobody_hears_calls_one_by_the_names_that_python_gives(home, client):
    for group in range(RESERVE_GROUPS):
        with fleet(home, groups=[group]) as reserve:
            client.schedule("x", TOPIC, timer_id="a", activate_in=HOUR)
            assert heard(reserve) == [b"1.000000 0 0.0"]
            client.cancel_timer(TOPIC, "a")


def test_a_wake_up_that_is_heard_calls_nobody(home, client):
    with fleet(home, on_duty=1, groups=[0]) as reserve:
        client.schedule("x", TOPIC, activate_in=HOUR)
        assert heard(reserve) == []
    client.cancel_all(TOPIC)


def test_where_no_wake_up_is_due_nobody_is_called(home, client):
    client.schedule("x", TOPIC, activate_in=HOUR)

    with fleet(home, groups=[0]) as reserve:
        client.schedule("x", TOPIC, activate_in=2 * HOUR)
        assert heard(reserve) == []
    client.cancel_all(TOPIC)


def test_a_timer_that_a_worker_releases_calls_one_if_nobody_is_on_duty(home):
    plant_due(home, "a")
    claimed = home.step(TOPIC, limit=1)

    with fleet(home, groups=[7, 8]) as reserve:
        home.step(TOPIC, Settlement(b"release", b"a", claimed.lease, b"1000"))
        assert heard(reserve) == [b"1.000000 0 0.0"]
