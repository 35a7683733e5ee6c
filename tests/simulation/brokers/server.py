"""A server on fakeredis: it carries out commands as they go over the wire."""

import hashlib

import fakeredis
from redis.exceptions import RedisError
from simulation.network import Request, Server


class FakeredisServer(Server):
    """Carries out commands on fakeredis, by a clock that can be set.

    Args:
        *parts: See `Server`.
    """

    def __init__(self, *parts):
        super().__init__(*parts)
        # fakeredis asks for the time, as the code of clients does.
        self.is_at_work = False
        self._redis = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        self._wakeups = self._redis.pubsub()
        self._wakeups.psubscribe("*")
        self._wakeups.get_message()
        # So that scripts count who listens.
        self._counted = {}

    def subscribe(self, link, channel):
        super().subscribe(link, channel)
        if (link, channel) not in self._counted:
            self._counted[link, channel] = one = self._redis.pubsub()
            one.subscribe(channel)

    def forget(self, link, channel=None):
        super().forget(link, channel)
        for listener, name in list(self._counted):
            if listener is link and channel in {None, name}:
                self._counted.pop((listener, name)).close()

    def forget_scripts(self):
        self._redis.script_flush()

    def carry_out(self, link, request):
        words = request.what
        if words[0] == b"SUBSCRIBE":
            self.subscribe(link, words[1])
            return [b"subscribe", words[1], 1], ()
        if words[0] == b"UNSUBSCRIBE":
            self.forget(link, words[1])
            return [b"unsubscribe", words[1], 0], ()
        if words[0] == b"PING":
            return [b"pong", b""] if self.listens(link) else b"PONG", ()
        self.is_at_work = True
        try:
            reply = self._redis.execute_command(*words, NEVER_DECODE=True)
        except RedisError as error:
            reply = error
        finally:
            self.is_at_work = False
        return reply, self._read_wakeups()

    def _read_wakeups(self):
        wakeups = []
        while (message := self._wakeups.get_message()) is not None:
            wakeups.append((message["channel"], message["data"]))
        return wakeups

    # --- its keys

    def read_set(self, key):
        return dict(self._redis.zrange(key, 0, -1, withscores=True))

    def read_hash(self, key):
        return self._redis.hgetall(key)

    def read_fields(self, key):
        return self._redis.hkeys(key)

    def read_keys(self):
        return self._redis.keys("*")


def read_request(data):
    """Read a command as it goes over the wire."""
    words = []
    position = data.index(b"\r\n") + 2
    while position < len(data):
        end = data.index(b"\r\n", position)
        length = int(data[position + 1 : end])
        words.append(data[end + 2 : end + 2 + length])
        position = end + 2 + length + 2
    name = words[0].decode()
    if name not in {"EVALSHA", "EVAL"}:
        return Request(name, None, (), (), words)
    sha = words[1]
    if name == "EVAL":
        sha = hashlib.sha1(sha, usedforsecurity=False).hexdigest().encode()
    first = 3 + int(words[2])
    return Request(name, sha, words[3:first], words[first:], words)
