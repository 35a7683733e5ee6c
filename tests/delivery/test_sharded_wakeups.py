"""Wake-ups where keys have hash tags: sharded pub/sub."""

import asyncio
import logging
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import redis.asyncio
from bench import HOUR, NO_POLLS, LogLines, bench_at, delivering, until_idle, until_listening
from clusters import LONGEST
from inside import loops_of, polls_planned, sleeps_for
from waiting import wait_until_async

from examples.embedded_cluster import HOST
from faststream_redis_timers import TimersBroker
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers.calls import listener
from faststream_redis_timers.calls.cluster import ClusterPrimaries
from faststream_redis_timers.calls.wakeups import WakeUps
from faststream_redis_timers.delivery.attendance import Channels
from faststream_redis_timers.delivery.duty import Post
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.cluster import Address, SlotMap, slot_of
from faststream_redis_timers_sync.protocol.keys import KeySpace

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
    # To wake-ups, and to the channel of all workers.
    assert relay.count("SSUBSCRIBE") == 2
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
        # Wake-ups, and the channel of all workers.
        assert relay.count("SUNSUBSCRIBE") == 2


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
    assert f"The ACL must allow channels that begin with {user!r}: " in line


# --- a cluster ---------------------------------------------------------------------------


class Ear:
    """What stands for a delivery loop: it counts what it is told."""

    polling_interval = 0.05

    def __init__(self, channel, channels=None):
        self.channels = channels or Channels(channel)
        self.woken = []
        self.polls = self.refusals = 0

    def wake(self, sent_at, due_at):
        self.woken.append(due_at)

    def poll_now(self):
        self.polls += 1

    def be_always_on_duty(self):
        self.refusals += 1


class Listening:
    """Wake-ups of a cluster, and an ear for each channel.

    Args:
        cluster: The cluster.
        are_sharded: Whether SPUBLISH sends them.
        options: What connections are made with.
    """

    def __init__(self, cluster, *, are_sharded=True, **options):
        self.cluster = cluster
        client = redis.asyncio.RedisCluster(HOST, cluster.nodes[0].port, **options)
        self.primaries = ClusterPrimaries(client)
        self.log = []
        self.wake_ups = WakeUps(
            self.primaries, lambda _, line: self.log.append(line), are_sharded=are_sharded
        )
        self.wake_ups.follow(self.primaries.slots)
        self.ears = {}

    def add(self, *channels):
        for channel in channels:
            self.ears[channel] = ear = Ear(channel)
            self.wake_ups.follow_post(ear, Post.ON_DUTY)
            self.wake_ups.set_waiting(ear, waits=True)

    async def remove(self, *channels):
        for channel in channels:
            await self.wake_ups.remove(self.ears.pop(channel))

    async def until_heard(self):
        await wait_until_async(lambda: self.wake_ups.are_heard, LONGEST)

    async def until_heard_again(self, *channels, polls=2):
        """Wait until channels are listened to for that many times: each time there is a poll."""
        ears = [self.ears[channel] for channel in channels]
        await wait_until_async(lambda: {ear.polls for ear in ears} == {polls}, LONGEST)

    async def until_at(self, *nodes):
        """Wait until these nodes are listened to, each on one connection, and no others."""
        expected = sorted(nodes, key=self.cluster.nodes.index)
        await wait_until_async(lambda: self.connections() == expected)

    async def check(self, *channels):
        """Send a wake-up to each channel where its primary is, and wait until it is heard."""
        for channel in channels or self.ears:
            owner = self.cluster.owner_of(slot_of(channel))
            woken = self.ears[channel].woken
            before = len(woken)
            assert owner.ask("SPUBLISH", channel, f"1 {before}") >= 1
            await wait_until_async(lambda woken=woken, n=before: woken[n:] == [n])

    def connections(self):
        """Give the nodes that are listened to, once for each connection."""
        return [
            node
            for node in self.cluster.nodes
            if node.is_up
            for line in node.ask("CLIENT", "LIST", "TYPE", "PUBSUB").splitlines()
            if " sub=0 psub=0 ssub=0 " not in line
        ]


@asynccontextmanager
async def listening_at(cluster, *channels, **options):
    """Listen to channels of a cluster; at the end nothing is left of it."""
    before = asyncio.all_tasks()
    listening = Listening(cluster, **options)
    listening.add(*channels)
    try:
        await wait_until_async(lambda: listening.wake_ups.are_heard or not channels, LONGEST)
        yield listening
    finally:
        await listening.remove(*listening.ears)
        left = asyncio.all_tasks() - before
        # Calls would wait for the map too, so reading it ends with their connections.
        assert {task.get_name() for task in left} <= {"map of the slots"}
        await listening.primaries.close()
        await wait_until_async(lambda: listening.connections() == [])


def channels_on(cluster, count=1):
    """Give that many channels for each primary of a cluster."""
    found = {node.address: [] for node in cluster.primaries()}
    owners = {slot: node.address for node in cluster.primaries() for slot in cluster.slots_of(node)}
    for n in range(1000):
        channel = b"timers_timeline:{%d}" % n
        some = found[owners[slot_of(channel)]]
        if len(some) < count:
            some.append(channel)
    return list(found.values())


def elsewhere(cluster, channel):
    """Give a primary that does not serve a channel."""
    owner = cluster.owner_of(slot_of(channel))
    return next(node for node in cluster.primaries() if node is not owner)


def move_back(cluster, slot, source):
    """Let a primary serve a slot again that a test has moved, unless the test failed before."""
    if cluster.owner_of(slot) is not source:
        cluster.move_slot(slot, source)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_each_primary_is_listened_to_on_one_connection(cluster, protocol):
    of_each = channels_on(cluster, 3)
    channels = [channel for some in of_each for channel in some]
    async with listening_at(cluster, *channels, protocol=protocol) as listening:
        await listening.check()
        assert listening.connections() == sorted(cluster.primaries(), key=cluster.nodes.index)
        assert {ear.polls for ear in listening.ears.values()} == {1}

        await listening.remove(*of_each[0], *of_each[1][:2])
        await listening.check()
        await wait_until_async(lambda: len(listening.connections()) == 2)
        for channel in of_each[1][:2]:
            owner = cluster.owner_of(slot_of(channel))
            await wait_until_async(
                lambda channel=channel, owner=owner: owner.ask("SPUBLISH", channel, "1 1") == 0
            )


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_slot_that_moves_key_by_key_is_followed(cluster, protocol):
    (moving, staying), *_ = channels_on(cluster, 2)
    source, target = cluster.owner_of(slot_of(moving)), elsewhere(cluster, moving)
    async with listening_at(cluster, moving, staying, protocol=protocol) as listening:
        try:
            cluster.begin_move(slot_of(moving), target)
            # Until it has moved, the source is the one to listen to.
            await listening.check()
            assert listening.ears[moving].polls == 1
            cluster.finish_move(slot_of(moving), target)
            await listening.until_heard_again(moving)
            await listening.until_at(source, target)
            await listening.check()
        finally:
            move_back(cluster, slot_of(moving), source)
        await listening.until_heard_again(moving, polls=3)
        await listening.until_at(source)
        await listening.check()
        assert listening.ears[staying].polls == 1


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_worker_s_channels_follow_their_slot_while_it_goes_on_and_off_duty(
    cluster, protocol
):
    ((channel, *_), *_) = channels_on(cluster)
    slot = slot_of(channel)
    source, target = cluster.owner_of(slot), elsewhere(cluster, channel)
    channels = Channels(channel, channel + b"\xff0", channel + b"\xffw")
    async with listening_at(cluster, protocol=protocol) as listening:
        ear, wake_ups = Ear(channel, channels), listening.wake_ups

        async def until_at(node, *expected):
            def ask():
                # Their names are not text, and would be in the reply.
                script = "return redis.call('PUBSUB', 'SHARDNUMSUB', ARGV[1])[2]"
                return [node.ask("EVAL", script, 0, each) for each in channels]

            await wait_until_async(lambda: ask() == list(expected), LONGEST)

        wake_ups.set_waiting(ear, waits=True)
        wake_ups.follow_post(ear, Post.IN_RESERVE)
        try:
            await until_at(source, 0, 1, 1)
            cluster.move_slot(slot, target)
            # The news that the channels have moved are on their way.
            wake_ups.follow_post(ear, Post.ON_DUTY)
            wake_ups.follow_post(ear, Post.AWAY)
            wake_ups.follow_post(ear, Post.IN_RESERVE)
            await until_at(target, 0, 1, 1)
            wake_ups.follow_post(ear, Post.ON_DUTY)
            move_back(cluster, slot, source)
            await until_at(source, 1, 0, 1)
            await listening.until_heard()
            assert source.ask("SPUBLISH", channel, "1 2") == 1
            await wait_until_async(lambda: ear.woken == [2])
            assert ear.polls > 0
            wake_ups.follow_post(ear, Post.AWAY)
            await until_at(source, 0, 0, 1)
        finally:
            move_back(cluster, slot, source)
            await wake_ups.remove(ear)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_slots_that_move_as_a_whole_are_followed(cluster, protocol):
    if not cluster.moves_atomically:
        pytest.skip("this server moves slots key by key alone")
    channels = channels_on(cluster, 3)[0]
    source, target = cluster.owner_of(slot_of(channels[0])), elsewhere(cluster, channels[0])
    async with listening_at(cluster, *channels, protocol=protocol) as listening:
        try:
            cluster.move_slots_atomically(map(slot_of, channels), target)
            await listening.until_heard_again(*channels)
            await listening.until_at(target)
            await listening.check()
        finally:
            cluster.move_slots_atomically(map(slot_of, channels), source)
        await listening.until_heard_again(*channels, polls=3)
        await listening.until_at(source)
        await listening.check()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_replica_that_takes_over_is_followed(own_cluster, protocol):
    of_each = channels_on(own_cluster, 2)
    channels = [channel for some in of_each for channel in some]
    async with listening_at(own_cluster, *channels, protocol=protocol) as listening:
        own_cluster.fail_over(own_cluster.owner_of(slot_of(channels[0])))
        await listening.until_heard_again(*channels[:2])
        await listening.until_at(*own_cluster.primaries())
        await listening.check()
        assert [listening.ears[channel].polls for channel in channels] == [2, 2, 1, 1, 1, 1]


async def test_a_primary_that_is_killed_is_replaced_by_its_replica(own_cluster):
    channels = [channel for some in channels_on(own_cluster) for channel in some]
    async with listening_at(own_cluster, *channels) as listening:
        killed = own_cluster.owner_of(slot_of(channels[0]))
        own_cluster.kill(killed)
        # The others are heard meanwhile.
        await listening.check(*channels[1:])
        own_cluster.wait_until_replaced(killed)
        await listening.until_heard_again(channels[0])
        await listening.check()

        own_cluster.restart(killed)
        own_cluster.wait_until_ok()
        await listening.check()
        assert killed not in listening.connections()


async def test_a_primary_that_falls_silent_is_replaced_too(own_cluster, monkeypatch):
    monkeypatch.setattr(listener, "PING_INTERVAL", 0.1)
    monkeypatch.setattr(listener, "ANSWER_TIMEOUT", 1.0)
    ((channel,), *_) = channels_on(own_cluster)
    async with listening_at(own_cluster, channel) as listening:
        silent = own_cluster.owner_of(slot_of(channel))
        own_cluster.pause(silent)
        own_cluster.wait_until_replaced(silent)
        await listening.until_heard_again(channel)
        own_cluster.resume(silent)
        own_cluster.wait_until_ok()
        await listening.until_at(own_cluster.owner_of(slot_of(channel)))
        await listening.check()


async def test_while_no_node_answers_it_is_tried_on_until_the_channel_is_left(cluster):
    ((channel,), (other,), *_) = channels_on(cluster)
    async with listening_at(cluster) as listening:
        # Nobody listens there.
        listening.primaries.slots = SlotMap([Address(HOST, 1)])
        asked = []
        read = listening.primaries.refresh

        async def refresh():
            asked.append(None)
            await read()

        listening.primaries.refresh = refresh
        listening.add(channel, other)
        await wait_until_async(lambda: len(asked) > 3)
        assert not listening.wake_ups.are_heard


async def test_a_channel_that_moves_while_it_is_left_takes_no_other_with_it(cluster):
    """Nothing is read meanwhile, and the server refuses to end what it has ended already."""
    (leaving, coming, staying), *_ = channels_on(cluster, 3)
    source, target = cluster.owner_of(slot_of(leaving)), elsewhere(cluster, leaving)
    async with listening_at(cluster, leaving, staying) as listening:
        ears = list(listening.ears.values())
        for ear in ears:
            listening.wake_ups.set_waiting(ear, waits=False)
        try:
            cluster.move_slot(slot_of(leaving), target)
            await listening.remove(leaving)
            listening.add(coming)
            await listening.until_heard()
            await listening.until_at(source)
            await listening.check()
        finally:
            move_back(cluster, slot_of(leaving), source)


async def test_a_primary_that_a_call_found_to_be_replaced_is_left_at_once(own_cluster):
    channels = [channel for some in channels_on(own_cluster) for channel in some]
    async with listening_at(own_cluster, *channels) as listening:
        silent = own_cluster.owner_of(slot_of(channels[0]))
        with own_cluster.paused(silent):
            own_cluster.wait_until_replaced(silent)
            # Nobody has noticed so far: it does not close its connections.
            assert listening.wake_ups.are_heard
            await listening.primaries.refresh()
            await listening.until_heard_again(channels[0])
            await listening.check()
            assert {listening.ears[channel].polls for channel in channels[1:]} == {1}
        own_cluster.wait_until_ok()
        await listening.until_at(*own_cluster.primaries())


async def test_a_replica_is_not_listened_to(cluster):
    ((channel,), *_) = channels_on(cluster)
    primary = cluster.owner_of(slot_of(channel))
    replica = cluster.replica_of(primary)
    async with listening_at(cluster) as listening:
        await listening.primaries.refresh()
        listening.primaries.slots.assign(slot_of(channel), Address(HOST, replica.port))
        listening.add(channel)
        await listening.until_heard()

        assert listening.connections() == [primary]
        assert listening.primaries.slots.version == 2
        await listening.check()


async def test_while_the_map_is_wrong_pauses_get_longer(cluster):
    """The map names a primary that refuses the channel, and goes on to name it."""
    ((channel, *_), others, *_) = channels_on(cluster, 6)
    wrong = cluster.owner_of(slot_of(others[0]))
    async with listening_at(cluster, others.pop()) as listening:
        slots, told = listening.primaries.slots, []
        replace = slots.replace

        def misled(*answer):
            told.append(asyncio.get_running_loop().time())
            replace(*answer)
            if others:
                # That one more of them is heard meanwhile says nothing about the channel.
                listening.add(others.pop())
                slots.assign(slot_of(channel), Address(HOST, wrong.port))

        slots.replace = misled
        slots.assign(slot_of(channel), Address(HOST, wrong.port))
        listening.add(channel)
        await listening.until_heard()

        pauses = [after - before for before, after in pairwise(told)]
        # Each is twice the one before, from 0.05 s on, and half of that to half more.
        assert [pause >= 0.05 * 2**n for n, pause in enumerate(pauses)] == [True] * 5
        await listening.check()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_channel_that_one_node_s_acl_refuses_is_heard_once_it_is_allowed(
    cluster, monkeypatch, protocol
):
    monkeypatch.setattr(listener, "PING_INTERVAL", 0.1)
    ((one, refused), (other,), *_) = (channels_on(cluster, 2)[0], *channels_on(cluster)[1:])
    user = "no-channels"
    rights = ("+ssubscribe", "+sunsubscribe", "+ping", "+cluster|slots")
    for node in cluster.nodes:
        node.ask("ACL", "SETUSER", user, "on", f">{PASSWORD}", "resetchannels", *rights)
        for channel in (one, other):
            node.ask("ACL", "SETUSER", user, b"&" + channel)
    login = {"username": user, "password": PASSWORD, "protocol": protocol}
    try:
        async with listening_at(cluster, one, refused, other, **login) as listening:
            await listening.check(one, other)
            assert [listening.ears[channel].refusals for channel in (one, other)] == [0, 0]
            assert listening.ears[refused].refusals > 0
            (line,) = listening.log
            assert line.startswith("wake-ups are refused: ")
            assert repr(refused.decode()) in line
            cluster.owner_of(slot_of(refused)).ask("ACL", "SETUSER", user, b"&" + refused)
            await wait_until_async(lambda: listening.ears[refused].polls == 1)
            await listening.check()
            assert listening.log[1:] == ["wake-ups are allowed again"]
    finally:
        for node in cluster.nodes:
            node.ask("ACL", "DELUSER", user)


async def test_without_hash_tags_the_channel_s_primary_is_listened_to(cluster):
    channel = b"{timers}:timeline:invoices"
    async with listening_at(cluster, channel, are_sharded=False) as listening:
        assert listening.connections() == [cluster.owner_of(slot_of(channel))]
        for node in cluster.primaries():
            node.ask("PUBLISH", channel, f"1 {node.port}")
        ports = [node.port for node in cluster.primaries()]
        await wait_until_async(lambda: sorted(listening.ears[channel].woken) == sorted(ports))


async def test_while_calls_are_sent_on_their_slot_is_polled(cluster):
    ((one, other), *_) = channels_on(cluster, 2)
    async with listening_at(cluster, one, other) as listening:
        ear = listening.ears[one]
        for polls in (2, 3):
            # Several calls may be, and one poll is enough.
            listening.wake_ups.note_asked(one)
            listening.wake_ups.note_asked(one)
            await wait_until_async(lambda polls=polls: ear.polls == polls)
        await asyncio.sleep(2 * ear.polling_interval)
        assert ear.polls == 3
        assert listening.ears[other].polls == 1
        # One that has left is not polled for.
        listening.wake_ups.note_asked(one)
        await listening.remove(one)
        await asyncio.sleep(2 * ear.polling_interval)
        assert ear.polls == 3


@pytest.mark.parametrize("protocol", [2, 3])
async def test_workers_of_a_cluster_are_woken(cluster, key_names, open_calls, protocol):
    names = {**key_names, "hash_tags": True}
    log = LogLines()
    client = redis.asyncio.RedisCluster(HOST, cluster.nodes[0].port, protocol=protocol)
    broker = TimersBroker(client, **names, logger=log.logger)
    topics = [f"topic-{n}" for n in range(12)]
    keys = KeySpace(**names)
    owners = {topic: cluster.owner_of(slot_of(keys.channel_of(topic))) for topic in topics}
    assert len(set(owners.values())) == 3
    for topic in topics:

        @broker.subscriber(topic, **NO_POLLS)
        async def handle(message: TimerMessage):
            open_calls.note(message)

    def are_listened_to(count):
        return all(
            owner.ask("PUBSUB", "SHARDNUMSUB", keys.channel_of(topic))[1] == count
            for topic, owner in owners.items()
        )

    with TimersClient(cluster.url, **names) as timers:
        async with delivering(broker):
            await wait_until_async(lambda: are_listened_to(1))
            await wait_until_async(lambda: all(sleeps_for(loop, 60) for loop in loops_of(broker)))
            for topic in topics:
                timers.schedule("x", topic, timer_id=topic)
            await open_calls.until(len(topics))
        assert are_listened_to(0)
        assert [timers.count_pending(topic) for topic in topics] == [0] * len(topics)

    assert sorted(open_calls.ids) == sorted(topics)
    assert log.complaints == []


async def test_a_worker_gets_what_is_scheduled_while_its_slot_moves(cluster, key_names, open_calls):
    names = {**key_names, "hash_tags": True}
    keys = KeySpace(**names)
    channel = keys.channel_of("invoices")
    slot = slot_of(channel)
    source, target = cluster.owner_of(slot), elsewhere(cluster, channel)
    log = LogLines()
    broker = TimersBroker(cluster.url, **names, logger=log.logger)

    @broker.subscriber("invoices", polling_interval=0.05, max_polling_interval=3600.0)
    async def handle(message: TimerMessage):
        open_calls.note(message)

    def listeners_at(node):
        return node.ask("PUBSUB", "SHARDNUMSUB", channel)[1]

    def claims_at_target():
        with target.client() as client:
            return client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]

    with TimersClient(cluster.url, **names) as timers:
        timers.schedule("x", "invoices", timer_id="late", activate_in=HOUR)
        # Without any of its keys a topic would take no claims meanwhile.
        source.ask("HSET", keys.of("invoices").attempts, "late", 1)
        async with delivering(broker):
            await wait_until_async(lambda: listeners_at(source) == 1)
            cluster.begin_move(slot, target)
            cluster.move_keys(slot, target)
            # It learns of the move when it claims next.
            before = claims_at_target()
            loops_of(broker)[0].poll_now()
            # By itself it would leave twice as much time before each of them.
            await wait_until_async(lambda: claims_at_target() >= before + 20)
            timers.schedule("x", "invoices", timer_id="1")
            await open_calls.until(1)
            cluster.finish_move(slot, target)
            await wait_until_async(lambda: listeners_at(target) == 1)
            await wait_until_async(lambda: polls_planned(broker) == 0)
            timers.schedule("x", "invoices", timer_id="2")
            await open_calls.until(2)
        assert timers.cancel_all("invoices") == 1
    move_back(cluster, slot, source)

    assert open_calls.ids == ["1", "2"]
    assert log.complaints == []
