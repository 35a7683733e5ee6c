"""The network before a server, which delays, loses and breaks; and what all servers have.

Requests are carried out one after the other when they arrive, which may be after who sent them
has given up. Replies travel back likewise.
"""

from collections import deque
from random import Random
from typing import Any, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError


class Request(NamedTuple):
    """What travels to a server.

    Args:
        name: The command, for the history.
        sha: Of the script that it runs; None where it runs none.
        keys: The script's keys.
        args: Its other arguments.
        what: For the server: all words, or whatever else it takes.
    """

    name: str
    sha: bytes | None
    keys: tuple[bytes, ...]
    args: Any
    what: Any


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
    """A server with a clock that can be set, and those who listen to its channels.

    Subclasses carry out requests (`carry_out`), forget scripts (`forget_scripts`), and let
    their keys be read: `read_set`, `read_hash`, `read_fields`, `read_keys`.

    Args:
        clock: Whose time passes here too.
        watch: Called after each script: who sent it, the request, the reply.
    """

    def __init__(self, clock, watch):
        self._clock = clock
        self._offset = 1_900_000_000.0 - clock.time()
        self._watch = watch
        self._listeners = {}

    @property
    def now(self):
        return self._clock.time() + self._offset

    def set_clock(self, seconds):
        """Set the clock by some seconds, forward or back."""
        self._offset += seconds

    def execute(self, link, request):
        """Carry out a request; give its reply."""
        reply, published = self.carry_out(link, request)
        if request.sha is not None and not isinstance(reply, Exception):
            self._watch(link, request, reply)
        for channel, message in published:
            for listener in list(self._listeners.get(channel, ())):
                listener.push([b"message", channel, message])
        return reply

    def carry_out(self, link, request):
        """Carry out a request; give its reply, and what was published: channels and messages."""
        raise NotImplementedError

    def subscribe(self, link, channel):
        self._listeners.setdefault(channel, []).append(link)

    def forget(self, link, channel=None):
        """Send a connection no more wake-ups: of a channel, or none at all."""
        for name, links in self._listeners.items():
            if link in links and channel in {None, name}:
                links.remove(link)

    def count_listeners(self, channel):
        return len(self._listeners.get(channel, ()))

    def listens(self, link):
        return any(link in links for links in self._listeners.values())


class Network:
    """Makes connections, and draws what happens to what travels on them."""

    def __init__(self, clock, server, weather, draws: Random, note):
        self.clock = clock
        self.server = server
        self.weather = weather
        self.draws = draws
        self.note = note
        self.links = []
        self.faults = {}
        self.on_send = None

    def delay(self, actor):
        """Give the seconds that something takes which an actor sends, gets or opens."""
        if self.draws.random() < self.weather.slow:
            self.count_fault(actor)
            return self.draws.uniform(0.01, 3.0)
        return self.draws.uniform(0.0001, 0.002)

    def count_fault(self, actor):
        """Note that an actor has met a fault of the network."""
        self.faults[actor] = self.faults.get(actor, 0) + 1

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
        self.on_arrival = None
        self._is_closed = False
        self._arrives_at = self._answers_at = 0.0
        self._inbox = deque()

    @property
    def is_open(self):
        return not self._is_closed

    @property
    def has_data(self):
        return bool(self._inbox)

    def send(self, request):
        """Put a request on its way."""
        network, weather = self._network, self._network.weather
        network.on_send(self.actor, request)
        if network.draws.random() < weather.loses_request:
            network.note("request lost", self.actor, request.name)
            self._fail("the request was lost")
            return
        now = network.clock.time()
        self._arrives_at = max(self._arrives_at, now + network.delay(self.actor))
        network.clock.in_world(self._arrives_at - now, self._arrive, request, now, self.actor.call)

    def push(self, reply):
        """Send something back to the client."""
        network = self._network
        now = network.clock.time()
        self._answers_at = max(self._answers_at, now + network.delay(self.actor))
        network.clock.in_world(self._answers_at - now, self._receive, reply)

    def close(self):
        """Close it, from the client's side."""
        self._is_closed = True
        self._network.server.forget(self)
        if self in self._network.links:
            self._network.links.remove(self)

    def break_off(self, why):
        """Break it: the client gets an error, if it is there to get one."""
        self._network.count_fault(self.actor)
        error = RedisConnectionError(why)
        self._receive(error)
        self.close()

    def read_now(self):
        """Give the next reply; None if there is none."""
        return self._inbox.popleft() if self._inbox else None

    def execute(self, request, sent_at, call):
        """Carry out a request."""
        network = self._network
        if network.draws.random() < network.weather.forgets_scripts:
            network.server.forget_scripts()
        # For observers: the sender may have gone on to something else.
        self.sent_at, self.call = sent_at, call
        return network.server.execute(self, request)

    def execute_now(self, request):
        """Carry out a request without any delay; what is lost on the way is an error."""
        network = self._network
        if network.draws.random() < network.weather.loses_request:
            network.note("request lost", self.actor, request.name)
            return RedisConnectionError("the request was lost")
        reply = self.execute(request, network.clock.time(), self.actor.call)
        if self._loses_reply():
            network.note("reply lost", self.actor, request.name)
            return RedisConnectionError("the reply was lost")
        return reply

    def _loses_reply(self):
        network = self._network
        return network.draws.random() < network.weather.loses_reply

    def _arrive(self, request, sent_at, call):
        network = self._network
        # What was written before a connection was closed may still be read from it.
        if self._is_closed and network.draws.random() >= network.weather.arrives_late:
            network.note("request lost", self.actor, request.name)
            return
        reply = self.execute(request, sent_at, call)
        if self._is_closed:
            return
        if self._loses_reply():
            network.note("reply lost", self.actor, request.name)
            self._fail("the reply was lost")
        else:
            self.push(reply)

    def _fail(self, why):
        network = self._network
        network.count_fault(self.actor)
        if network.draws.random() >= network.weather.silent:
            network.clock.in_world(network.delay(self.actor), self.break_off, why)

    def _receive(self, reply):
        if self._is_closed:
            return
        self._inbox.append(reply)
        if self.on_arrival is not None:
            self.on_arrival()
