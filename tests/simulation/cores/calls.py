"""How operations are sent: as the runners do it, which the histories of brokers run for real."""

import asyncio

from redis.exceptions import (
    ConnectionError as RedisConnectionError,
    NoScriptError,
    TimeoutError as RedisTimeoutError,
)
from simulation.cores.server import request_of
from simulation.cores.virtual_time import Signal

from faststream_redis_timers_sync.protocol.operation import Operation

SOCKET_TIMEOUT = 2.0
"""Seconds, as a client has it that was made from a URL."""


def connect(network, actor):
    """Open a connection."""
    yield network.delay(actor)
    if network.draws.random() < network.weather.loses_request:
        msg = "nobody answers"
        raise RedisConnectionError(msg)
    return network.connect(actor)


def read(link, until):
    """Wait for the next reply, None where there is none until a moment."""
    if not link.has_data:
        if not link.is_open:
            msg = "the connection is closed"
            raise RedisConnectionError(msg)
        arrival = Signal(until)
        link.on_arrival = arrival.set
        yield arrival
        link.on_arrival = None
    reply = link.read_now()
    if isinstance(reply, RedisConnectionError):
        raise reply
    return reply


class Caller:
    """Sends an actor's operations, one at a time: each once, and reads one reply.

    Args:
        network: The network.
        actor: Whose they are.
        blocking: Whether calls take no time.
    """

    def __init__(self, network, actor, *, blocking=False):
        self._network = network
        self._actor = actor
        self._blocking = blocking
        self._link = None

    def run(self, asked):
        """Send an operation, or the steps of several, and give the result."""
        if isinstance(asked, Operation):
            return (yield from self._run(asked))
        result = None
        while True:
            try:
                operation = asked.send(result)
            except StopIteration as stop:
                return stop.value
            result = yield from self._run(operation)

    def _run(self, operation):
        try:
            reply = yield from self._ask(operation)
        except RedisTimeoutError:
            raise
        except RedisConnectionError:
            if operation.action is not None:
                raise
            reply = yield from self._ask(operation)
        return operation.parse(reply)

    def _ask(self, operation):
        # A pool notices that a connection has been closed, before it gives it out.
        if self._link is None or not self._link.is_open or self._link.has_data:
            self._drop()
            self._link = yield from self._connect()
        try:
            reply = yield from self._exchange(request_of(operation))
            if isinstance(reply, NoScriptError):
                reply = yield from self._exchange(request_of(operation, by_text=True))
        except (RedisConnectionError, RedisTimeoutError) as error:
            self._drop()
            unknown = operation.outcome_unknown(error)
            if unknown is None:
                raise
            raise unknown from error
        except asyncio.CancelledError:
            # A reply that was not read would be taken for that of the next call.
            self._drop()
            raise
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _connect(self):
        if self._blocking:
            return self._network.connect(self._actor)
        return (yield from connect(self._network, self._actor))

    def _exchange(self, request):
        link = self._link
        if self._blocking:
            reply = link.execute_now(request)
            if isinstance(reply, RedisConnectionError):
                raise reply
            return reply
        link.send(request)
        reply = yield from read(link, self._network.clock.time() + SOCKET_TIMEOUT)
        if reply is None:
            self._network.count_fault(self._actor)
            msg = "nothing came within socket_timeout"
            raise RedisTimeoutError(msg)
        return reply

    def _drop(self):
        if self._link is not None:
            self._link.close()
            self._link = None
