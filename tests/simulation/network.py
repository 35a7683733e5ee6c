"""A server on fakeredis, and the network before it, which delays, loses and breaks.

Requests are the bytes that the real runners write, and are carried out one after the other
when they arrive, which may be after who sent them has given up. Replies travel back likewise.
"""

from collections import deque
from random import Random

import fakeredis
from redis.exceptions import ConnectionError as RedisConnectionError, RedisError

MOST_OF_A_SOUND_DELAY = 0.002
"""Seconds; what takes longer counts as a fault."""


class Weather:
    """How bad the network is: chances per request, delays in seconds."""

    def __init__(self, draws: Random):
        self.loses_request = draws.choice([0, 0, 0.01, 0.04])
        self.loses_reply = draws.choice([0, 0, 0.01, 0.04])
        # Neither side is told: who waits does so until its own deadline.
        self.silent = draws.choice([0, 0.3])
        self.slow = draws.choice([0, 0, 0.02])
        self.arrives_late = draws.choice([0, 0.5, 1])
        self.forgets_scripts = draws.choice([0, 0, 0.01])

    def clear_up(self):
        self.loses_request = self.loses_reply = self.slow = self.forgets_scripts = 0


class Server:
    """Carries out commands on fakeredis, by a clock that can be set.

    Args:
        loop: Whose time passes here too.
        watch: Called after each command: who sent it, when, the words, the reply.
    """

    def __init__(self, loop, watch):
        self._loop = loop
        self._offset = 1_900_000_000.0 - loop.time()
        self._watch = watch
        # A blocking client has its command carried out while its own code runs.
        self.is_at_work = False
        self.redis = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        self._hints = self.redis.pubsub()
        self._hints.psubscribe("*")
        self._hints.get_message()
        self._listeners = {}

    @property
    def now(self):
        return self._loop.time() + self._offset

    def set_clock(self, seconds):
        """Set the clock by some seconds, forward or back."""
        self._offset += seconds

    def forget_scripts(self):
        self.redis.script_flush()

    def execute(self, link, words):
        """Carry out a command; give its replies."""
        if words[0] == b"SUBSCRIBE":
            self._listeners.setdefault(words[1], []).append(link)
            return [b"subscribe", words[1], 1]
        if words[0] == b"UNSUBSCRIBE":
            self.forget(link, words[1])
            return [b"unsubscribe", words[1], 0]
        if words[0] == b"PING":
            return [b"pong", b""] if self._listens(link) else b"PONG"
        self.is_at_work = True
        try:
            reply = self.redis.execute_command(*words, NEVER_DECODE=True)
        except RedisError as error:
            reply = error
        finally:
            self.is_at_work = False
        self._watch(link, words, reply)
        self._pass_on_hints()
        return reply

    def forget(self, link, channel=None):
        """Send a connection no more hints: of a channel, or none at all."""
        for name, links in self._listeners.items():
            if link in links and channel in {None, name}:
                links.remove(link)

    def _listens(self, link):
        return any(link in links for links in self._listeners.values())

    def _pass_on_hints(self):
        while (message := self._hints.get_message()) is not None:
            for link in list(self._listeners.get(message["channel"], ())):
                link.push([b"message", message["channel"], message["data"]])


class Network:
    """Makes connections, and draws what happens to what travels on them."""

    def __init__(self, loop, server, weather, draws: Random, note):
        self.loop = loop
        self.server = server
        self.weather = weather
        self.draws = draws
        self.note = note
        self.links = []
        self.faults = {}
        self.on_send = None

    def delay(self):
        if self.draws.random() < self.weather.slow:
            return self.draws.uniform(0.01, 3.0)
        return self.draws.uniform(0.0001, MOST_OF_A_SOUND_DELAY)

    def connect(self, actor):
        link = Link(self, actor)
        self.links.append(link)
        return link

    def cut(self, actor):
        """Break all connections of an actor."""
        for link in [link for link in self.links if link.actor is actor]:
            link.break_off("all connections were cut")


class Link:
    """One connection, from the client's socket to the server's.

    Args:
        network: The network.
        actor: Whose it is.
    """

    def __init__(self, network, actor):
        self._network = network
        self.actor = actor
        self.call = None
        self.sent_at = 0.0
        self._is_closed = False
        self._arrives_at = self._answers_at = 0.0
        self._inbox = deque()
        self._reader = None

    @property
    def is_open(self):
        return not self._is_closed

    @property
    def has_data(self):
        return bool(self._inbox)

    def send(self, data, sent_at):
        """Put a request on its way."""
        network, weather = self._network, self._network.weather
        words = split_words(data)
        network.on_send(self.actor, words)
        if network.draws.random() < weather.loses_request:
            network.note("request lost", self.actor, name_of(words))
            self._fail("the request was lost")
            return
        now = network.loop.time()
        self._arrives_at = max(self._arrives_at, now + self._delay())
        network.loop.in_world(self._arrives_at - now, self._arrive, words, sent_at, self.actor.call)

    def push(self, reply):
        """Send something back to the client."""
        network = self._network
        now = network.loop.time()
        self._answers_at = max(self._answers_at, now + self._delay())
        network.loop.in_world(self._answers_at - now, self._receive, reply)

    def close(self):
        """Close it, from the client's side."""
        self._is_closed = True
        self._network.server.forget(self)
        if self in self._network.links:
            self._network.links.remove(self)

    def break_off(self, why):
        """Break it: the client gets an error, if it is there to get one."""
        self.count_fault()
        error = RedisConnectionError(why)
        self._receive(error)
        self.close()

    async def read(self):
        """Wait for the next reply."""
        if not self._inbox:
            if self._is_closed:
                msg = "the connection is closed"
                raise RedisConnectionError(msg)
            self._reader = self._network.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._inbox.popleft()

    def read_now(self):
        """Give the next reply; None if there is none."""
        return self._inbox.popleft() if self._inbox else None

    def execute(self, words, sent_at, call):
        """Carry out a request."""
        network = self._network
        if network.draws.random() < network.weather.forgets_scripts:
            network.server.forget_scripts()
        # For who watches: who has sent it may have gone on to something else.
        self.sent_at, self.call = sent_at, call
        return network.server.execute(self, words)

    def _delay(self):
        delay = self._network.delay()
        if delay > MOST_OF_A_SOUND_DELAY:
            self.count_fault()
        return delay

    def loses_reply(self):
        network = self._network
        return network.draws.random() < network.weather.loses_reply

    def _arrive(self, words, sent_at, call):
        network = self._network
        # What was written before a connection was closed may still be read from it.
        if self._is_closed and network.draws.random() >= network.weather.arrives_late:
            network.note("request lost", self.actor, name_of(words))
            return
        reply = self.execute(words, sent_at, call)
        if self._is_closed:
            return
        if self.loses_reply():
            network.note("reply lost", self.actor, name_of(words))
            self._fail("the reply was lost")
        else:
            self.push(reply)

    def count_fault(self):
        faults = self._network.faults
        faults[self.actor] = faults.get(self.actor, 0) + 1

    def _fail(self, why):
        network = self._network
        self.count_fault()
        if network.draws.random() >= network.weather.silent:
            network.loop.in_world(network.delay(), self.break_off, why)

    def _receive(self, reply):
        if self._is_closed:
            return
        self._inbox.append(reply)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def split_words(data):
    """Read a command as it goes over the wire."""
    words = []
    position = data.index(b"\r\n") + 2
    while position < len(data):
        end = data.index(b"\r\n", position)
        length = int(data[position + 1 : end])
        words.append(data[end + 2 : end + 2 + length])
        position = end + 2 + length + 2
    return words


def name_of(words):
    return words[0].decode()
