"""Connections of redis-py that lead through the network of the simulation."""

import asyncio

import redis
import redis.asyncio.connection
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    TimeoutError as RedisTimeoutError,
)
from simulation.brokers.server import read_request


class Connection(redis.asyncio.connection.Connection):
    """An asyncio connection of redis-py over a `Link`."""

    def __init__(self, *, network, actor, **options):
        super().__init__(**options)
        self._network = network
        self._owner = actor
        self._link = None

    @property
    def is_connected(self):
        return self._link is not None and self._link.is_open

    async def connect(self):
        if self.is_connected:
            return
        weather = self._network.weather
        await asyncio.sleep(self._network.delay(self._owner))
        if self._network.draws.random() < weather.loses_request:
            msg = "nobody answers"
            raise RedisConnectionError(msg)
        self._link = self._network.connect(self._owner)

    async def disconnect(self, *args, **options):
        if self._link is not None:
            self._link.close()
            self._link = None

    async def can_read(self):
        if self._link is None:
            return False
        if not self._link.is_open:
            msg = "the connection was closed"
            raise RedisConnectionError(msg)
        return self._link.has_data

    can_read_destructive = can_read

    async def send_packed_command(self, command, **options):
        if self._link is None:
            await self.connect()
        if not self._link.is_open and not self._link.has_data:
            msg = "the connection was closed"
            raise RedisConnectionError(msg)
        self._link.send(read_request(b"".join(command)))

    async def send_command(self, *words, **options):
        await self.send_packed_command(self.pack_command(*words))

    def pack_command(self, *words):
        encoded = [word.encode() if isinstance(word, str) else word for word in words]
        parts = [b"*%d\r\n" % len(encoded)]
        return [b"".join(parts + [b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded])]

    async def read_response(self, *args, timeout=None, **options):
        if self._link is None:
            msg = "the connection is closed"
            raise RedisConnectionError(msg)
        limit = self.socket_timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit):
                reply = await self._read(self._link)
        except TimeoutError:
            if timeout is not None:
                return None
            self._network.count_fault(self._owner)
            await self.disconnect()
            msg = "nothing came within socket_timeout"
            raise RedisTimeoutError(msg) from None
        except BaseException:
            # As redis-py does: the reply would be taken for that of the next command.
            await self.disconnect()
            raise
        if isinstance(reply, Exception):
            if isinstance(reply, RedisConnectionError):
                await self.disconnect()
            raise reply
        return reply

    async def _read(self, link):
        if not link.has_data:
            if not link.is_open:
                msg = "the connection is closed"
                raise RedisConnectionError(msg)
            arrival = self._network.clock.create_future()
            link.on_arrival = lambda: arrival.done() or arrival.set_result(None)
            try:
                await arrival
            finally:
                link.on_arrival = None
        return link.read_now()


class BlockingConnection(redis.Connection):
    """A blocking connection of redis-py over a `Link`; its calls take no time."""

    def __init__(self, *, network, actor, **options):
        super().__init__(**options)
        self._network = network
        self._owner = actor
        self._link = None
        self._reply = None

    def connect(self):
        if self._link is None or not self._link.is_open:
            self._link = self._network.connect(self._owner)

    def disconnect(self, *args):
        if self._link is not None:
            self._link.close()
            self._link = None

    def can_read(self, timeout=0):
        return False

    def send_packed_command(self, command, **options):
        self.connect()
        self._reply = self._link.execute_now(read_request(b"".join(command)))

    def read_response(self, *args, **options):
        reply, self._reply = self._reply, None
        if isinstance(reply, Exception):
            raise reply
        return reply


def client_of(actor, network, **options):
    """Make an asyncio client for an actor, with the deadlines of one made from a URL."""
    pool = redis.asyncio.ConnectionPool(
        connection_class=Connection,
        network=network,
        actor=actor,
        socket_timeout=2.0,
        **options,
    )
    return redis.asyncio.Redis.from_pool(pool)


def blocking_client_of(actor, network):
    """Make a blocking client for an actor."""
    pool = redis.ConnectionPool(
        connection_class=BlockingConnection, network=network, actor=actor, socket_timeout=2.0
    )
    return redis.Redis.from_pool(pool)
