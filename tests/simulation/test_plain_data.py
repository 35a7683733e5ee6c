"""The server that is plain data against a real one: the same replies and data, byte by byte.

Scripts that the real one gets have the time written into them; all else is as it is sent.
"""

import random
import re
from collections import Counter
from datetime import timedelta
from importlib.resources import files

import pytest
from operation_histories import IDS, START, TOPICS, History
from redis.exceptions import ResponseError
from simulation.cores.plain_data import PlainData

from faststream_redis_timers_sync import TimersError, protocol
from faststream_redis_timers_sync.protocol.management import check_permissions
from faststream_redis_timers_sync.protocol.operation import Operation, Script, load_script


class Clock:
    """Stands still, but for `tick`."""

    def __init__(self):
        self.now = round(START.timestamp() * 1_000_000)

    def tick(self, length):
        self.now += length // timedelta(microseconds=1)


class RealAndPlain(History):
    """The two who must agree."""

    def __init__(self, client, key_names, ids, *, hash_tags):
        super().__init__(Clock(), ids, **key_names, hash_tags=hash_tags)
        self._client = client
        self._plain = PlainData(
            writes_17_digits=writes_17_digits(client, key_names),
            count_listeners=self._count_listeners,
        )
        self._channels = client.pubsub()
        topics = [f"{topic}{suffix}" for topic in TOPICS for suffix in ("", ":dead")]
        self._keys_of_topics = [self.keys.of(topic) for topic in topics]
        sharded = "s" if hash_tags else ""
        subscribe = getattr(self._channels, f"{sharded}subscribe")
        self._listened = self._channels_of(topics)
        subscribe(*self._listened)
        self._publish = getattr(client, f"{sharded}publish")
        self._kind = f"{sharded}message"
        self._read_published()
        self.counts = dict.fromkeys(("operations", "published", "called", "timers at most"), 0)

    def _channels_of(self, topics):
        """Give those that are listened to: all topics have a reserve, one has workers on duty."""
        channels = {self.keys.channel_of(topics[0])}
        for topic in topics:
            channels.add(self.keys.workers_channel_of(topic))
            channels |= {self.keys.reserve_channel_of(topic, n) for n in range(0, 64, 3)}
        return channels

    def _count_listeners(self, channel):
        return int(channel in self._listened)

    def ask(self, operation):
        if operation.script is None:
            assert operation.args == (b"TIME",)
            return operation.parse(list(divmod(self.clock.now, 1_000_000)))
        text = text_at(operation.script, self.clock.now)
        reply = self._client.execute_command(
            "EVAL", text, len(operation.keys), *operation.keys, *operation.args, NEVER_DECODE=True
        )
        name = operation.script.name
        plain, published = self._plain.run(
            operation.script, operation.keys, operation.args, self.clock.now
        )
        assert plain == reply, name
        heard = [one for one in published_words(published) if self._count_listeners(one[0])]
        assert heard == self._read_published(), name
        self.compare_data(name)
        self.counts["operations"] += 1
        self.counts["published"] += len(heard)
        self.counts["called"] += sum(b"\xff" in channel for channel, _ in heard)
        try:
            return operation.parse(plain)
        except (TimersError, ValueError):
            return None

    def compare_data(self, name):
        pipeline = self._client.pipeline(transaction=False)
        for keys in self._keys_of_topics:
            pipeline.execute_command("ZRANGE", keys[0], 0, -1, "WITHSCORES", NEVER_DECODE=True)
            for key in keys[1:]:
                pipeline.execute_command("HGETALL", key, NEVER_DECODE=True)
        found = iter(pipeline.execute())
        held = set()
        for keys in self._keys_of_topics:
            timeline = next(found)
            assert [word for word, _ in timeline] == list(self._plain.read_set(keys[0])), name
            assert dict(timeline) == self._plain.read_set(keys[0]), name
            held |= {keys[0]} if timeline else set()
            self.counts["timers at most"] = max(self.counts["timers at most"], len(timeline))
            for key in keys[1:]:
                values = next(found)
                assert values == self._plain.read_hash(key), name
                held |= {key} if values else set()
        assert held == set(self._plain.read_keys()), name

    def _read_published(self):
        """Read what was published until now, by a message that comes after all of it."""
        channel = self._keys_of_topics[0].timeline
        self._publish(channel, b"that was all")
        found = []
        while (message := self._channels.get_message(timeout=10))["data"] != b"that was all":
            if message["type"] == self._kind:
                found.append((message["channel"], message["data"]))
        return found


def published_words(published):
    return list(zip(published[::2], published[1::2], strict=True))


def writes_17_digits(client, key_names):
    client.zadd(key_names["timeline_key"], {"a": 0.1})
    written = client.execute_command("ZSCORE", key_names["timeline_key"], "a", NEVER_DECODE=True)
    client.delete(key_names["timeline_key"])
    return written == b"0.10000000000000001"


def text_at(script, now):
    seconds, microseconds = divmod(now, 1_000_000)
    text = script.text.decode()
    assert text.count("redis.call('TIME')") <= 1
    return text.replace("redis.call('TIME')", f"{{'{seconds}', '{microseconds}'}}")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ids", [IDS, [f"t{number}" for number in range(60)]], ids=["few", "many"])
@pytest.mark.parametrize("hash_tags", [False, True], ids=["plain", "tagged"])
def test_the_same_history_has_the_same_replies_and_data(
    seed, ids, hash_tags, redis_client, key_names
):
    choice = random.Random(seed)
    history = RealAndPlain(redis_client, key_names, ids, hash_tags=hash_tags)
    for _ in range(5):
        history.go_on(choice, 80)
        for topic in dict.fromkeys(TOPICS):
            history.list_all(topic, match=f"*[a-c{choice.randrange(10)}]")
            history.ask(touch(history.keys.of(topic)))
        history.ask(check_permissions([[b"ZADD", b"k", b"1", b"a"], [b"NO-SUCH-COMMAND"]]))
    assert history.counts["timers at most"] >= (3 if ids is IDS else 12)
    assert history.counts["published"] >= 15
    assert history.counts["called"] >= 5


def touch(keys):
    return Operation(load_script("touch"), (keys.payloads,), (), bytes)


# --- command by command

SHOW = b"""
local function show(value)
  if type(value) ~= 'table' then
    return type(value) .. ' ' .. tostring(value)
  elseif value.err then
    return 'an error'
  end
  local parts = {}
  for n, part in ipairs(value) do
    parts[n] = show(part)
  end
  return '{' .. table.concat(parts, ', ') .. '}'
end
return show(redis.pcall(unpack(ARGV)))
"""
"""Tells what a command gives to a script, types included."""

COMMANDS = {
    "EXISTS": ["key", "hash", "key key hash"],
    "UNLINK": ["key key", "key"],
    "ZADD": [
        "key score id",
        "key score id score id",
        "key XX score id",
        "key score id score",
        "key XX",
    ],
    "ZREM": ["key id", "key id id id", "key"],
    "ZCARD": ["key"],
    "ZCOUNT": ["key bound bound"],
    "ZSCORE": ["key id"],
    "ZMSCORE": ["key id id id", "key"],
    "ZRANGE": [
        "key rank rank",
        "key rank rank WITHSCORES",
        "key bound bound BYSCORE",
        "key bound bound BYSCORE LIMIT count count WITHSCORES",
        "key bound bound BYSCORE REV LIMIT count count WITHSCORES",
        "key bound bound BYSCORE REV WITHSCORES",
        "key rank rank LIMIT count count",
    ],
    "ZSCAN": ["key 0", "key 0 MATCH pattern COUNT 100", "key 0 COUNT 100"],
    "HSET": ["hash id value", "hash id value id value", "hash id", "hash"],
    "HDEL": ["hash id", "hash id id id", "hash"],
    "HGET": ["hash id"],
    "HMGET": ["hash id id id", "hash"],
    "HEXISTS": ["hash id"],
    "HLEN": ["hash"],
    "HSTRLEN": ["hash id"],
    # Where nobody listens; histories have those who do.
    "PUBSUB": ["NUMSUB id id", "NUMSUB", "SHARDNUMSUB id", "x"],
}
"""Each with its forms, those among them that are refused."""

SCORES = [
    b"-1.5",
    b"0",
    b"1",
    b"1",
    b"2.25",
    b"1893499200.123456",
    b"1893499200.1234565",
    b"1e3",
    b"inf",
]
WORDS = {
    "id": [b"", b"a", b"b", b"b\x00", b"\xc3\xa9", b"\xff", b"a" * 60],
    "score": [*SCORES, b"-inf", b"nan", b"x"],
    "bound": [*SCORES, b"-inf", b"+inf", b"(1", b"(1893499200.123456", b"(2.25", b"(x"],
    "rank": [b"0", b"1", b"3", b"-1", b"-2", b"100", b"-100"],
    "count": [b"0", b"1", b"2", b"-1", b"100"],
    "pattern": [b"*", b"a*", b"[^a]*", b"??"],
    "value": [b"", b"1", b"\x00\r\n", b"x" * 100],
}


def test_each_command_of_the_scripts_is_compared():
    called = {
        name
        for file in (files(protocol) / "lua").iterdir()
        for name in re.findall(r"redis\.p?call\('(\w+)'", file.read_text())
    }
    # Time is set, and what was published is looked at in histories.
    assert called == COMMANDS.keys() | {"TIME", "PUBLISH"}


@pytest.mark.parametrize("seed", range(3))
def test_each_command_gives_the_same_to_a_script(seed, redis_client, key_names):
    choice = random.Random(seed)
    timeline, payloads = key_names["timeline_key"].encode(), key_names["payloads_key"].encode()
    words = {
        **WORDS,
        "key": [timeline + b":invoices", timeline + b":other"],
        "hash": [payloads + b":invoices", payloads + b":other"],
    }
    plain = PlainData(writes_17_digits=writes_17_digits(redis_client, key_names))
    script = Script("show", SHOW, b"of SHOW")
    shown = Counter()
    for _ in range(1500):
        name = choice.choice([*COMMANDS, "ZADD", "ZADD", "HSET", "HSET"])
        form = choice.choice(COMMANDS[name]).split()
        command = [name.encode()]
        command += [choice.choice(words.get(word, [word.encode()])) for word in form]
        told = redis_client.execute_command("EVAL", SHOW, 0, *command, NEVER_DECODE=True)
        assert plain.run(script, (), command, 0)[0] == told, command
        shown[name, told == b"an error"] += 1
    redis_client.delete(*words["key"], *words["hash"])
    # Those that are refused, and those that can't be.
    assert shown.keys() >= {(name, False) for name in COMMANDS}


def test_a_script_that_fails_leaves_what_it_had_done(redis_client, key_names):
    key = key_names["payloads_key"].encode()
    plain = PlainData()
    for text in (
        b"redis.call('HSET', KEYS[1], 'a', '1'); redis.call('ZADD', KEYS[1], 'x', 'a')",
        b"redis.call('HSET', KEYS[1], 'b', '1'); redis.call('NO-SUCH-COMMAND')",
        b"redis.call('HSET', KEYS[1], 'c', '1'); a_global = 1",
        b"redis.call('HSET', KEYS[1], 'd', '1'); return a_global.field",
    ):
        with pytest.raises(ResponseError):
            redis_client.execute_command("EVAL", text, 1, key)
        with pytest.raises(ResponseError):
            plain.run(Script("fails", text, text), (key,), (), 0)
    found = redis_client.hgetall(key)
    redis_client.delete(key)
    assert plain.read_hash(key) == found
    assert len(found) == 4
