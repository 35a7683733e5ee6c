"""Drives a core in virtual time, as the delivery loop of a subscriber does on an event loop."""

import asyncio
import math
import random
from functools import partial

from faststream.exceptions import NackMessage, RejectMessage
from redis.exceptions import ConnectionError as RedisConnectionError, RedisError
from simulation.cores.calls import Caller, connect, read
from simulation.cores.virtual_time import Signal, live, when_over
from simulation.network import Request
from simulation.people import RENEWED

from faststream_redis_timers.delivery.batch import LeasedBatch
from faststream_redis_timers.delivery.core import Call, DeliveryCore, Wait
from faststream_redis_timers.delivery.duty import Duty, Missing
from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers.delivery.outage import failure_of
from faststream_redis_timers.delivery.schedule import Backoff
from faststream_redis_timers.subscriber.loop import CALL_TIMEOUT, LAST_CALLS, RANDOM_DRAWS
from faststream_redis_timers_sync.protocol.errors import TimersError

SUBSCRIBING = 5.0
"""Seconds within which channels must be subscribed to, and left."""


class Driver:
    """Does what a core says, and tells it what came of it.

    Args:
        world: The world.
        actor: Whose process it is.
        handle: Gives what the handler of a timer does, as a generator.
        **core: Parts of a core, see `DeliveryCore`.
    """

    def __init__(self, world, actor, handle, **core):
        self._world = world
        self._actor = actor
        self._clock = world.clock
        self._handle = handle
        self.now = world.clock.time
        self.draws = RANDOM_DRAWS
        self.core = DeliveryCore(
            world.sub,
            driver=self,
            make_timer=_Timer,
            duty=world.make_duty(self.draws.spread),
            make_batch=LeasedBatch if world.sub.batch else None,
            **core,
        )
        self._caller = Caller(world.network, actor)
        self._claiming = False
        self._sleep = None
        self._handlers = {}
        self._loop = None
        self._listener = Listener(world.network, actor, self.core, world.channels_of(actor))

    # --- the loop

    def start(self):
        """Begin to deliver."""
        self._loop = self._clock.spawn(self._run(), self._actor, self._end)
        self._clock.spawn(self._listener.listen(), self._actor)

    def _run(self):
        while True:
            # As in the loop, where handlers that end in the same turn settle together.
            yield 0.0
            turn = self.core.next(self.now())
            if isinstance(turn, Call):
                yield from self._send(turn)
            elif isinstance(turn, Wait):
                asleep_at = self.now()
                self._sleep = Signal(turn.until)
                self._listener.set_waiting(turn.listens)
                yield self._sleep
                self._listener.set_waiting(False)
                if (late := self.now() - max(turn.until, asleep_at)) > Duty.STALL:
                    self.core.attendance.stalled(late)
            else:
                return

    def _send(self, call):
        self._claiming = call.limit > 0
        sent_at = self.now()
        try:
            step = yield from self._caller.run(call.operation)
        except (RedisError, TimersError) as error:
            yield self.core.failed(call, failure_of(error))
            return
        except asyncio.CancelledError:
            self.core.cancelled(call)
            raise
        finally:
            self._claiming = False
        for unit in self.core.answered(call, step, sent_at, self.now()):
            self._begin(unit)

    def _end(self, error):
        self.core.end()
        if error is not None and not isinstance(error, asyncio.CancelledError):
            self._world.ledger.violated("alive", f"{self._actor}: {error!r}")

    # --- handlers

    def _begin(self, unit):
        """Begin with a timer, or with all of a batch at once, each of which has its own outcome."""
        left = set(unit.deliveries)
        for timer in unit.deliveries:
            end = partial(self._end_handler, unit, left, timer)
            self._handlers[timer] = self._clock.spawn(self._deliver(timer), self._actor, end)

    def _deliver(self, timer):
        if not self.core.claims:
            timer.release()
        elif not timer.lease_ended:
            if (limit := self._world.sub.handler_timeout) is not None:
                end, too_long = self._handlers[timer].throw, asyncio.CancelledError(TOO_LONG)
                self._clock.call_at(self.now() + limit, self._actor, end, too_long)
            yield from self._handle_and_settle(timer)

    def _handle_and_settle(self, timer):
        try:
            yield from live(self._handle(timer), timer.wait_for)
        except RejectMessage as instruction:
            timer.free_slot()
            timer.reject_soon(instruction)
        except NackMessage as instruction:
            timer.free_slot()
            timer.nack_soon(instruction, **instruction.extra_options)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and error.args != (TOO_LONG,):
                raise
            timer.free_slot()
            timer.nack_soon(error)
        else:
            timer.free_slot()
            timer.commit_soon()

    def _end_handler(self, unit, left, timer, error):
        del self._handlers[timer]
        if isinstance(error, asyncio.CancelledError) and not self.core.claims:
            timer.release()
        elif error is not None:
            self._world.ledger.violated("alive", f"{self._actor}: {error!r}")
        left.discard(timer)
        if not left:
            self.core.ended(unit)

    # --- the end

    def stop(self, graceful_timeout):
        """Tell how it stops: handlers may finish within the timeout, then are cancelled."""
        self.core.close()
        self._listener.close()
        graceful_until = self.now() + graceful_timeout
        yield when_over(self._handlers.values(), graceful_until)
        for handler in self._handlers.values():
            handler.throw(asyncio.CancelledError())
        yield when_over(self._handlers.values())
        least = LAST_CALLS + (CALL_TIMEOUT if self._claiming else 0.0)
        yield when_over([self._loop], max(self.now() + least, graceful_until))
        self._loop.throw(asyncio.CancelledError())
        yield when_over([self._loop])

    # --- what the core and its timers ask for

    def stir(self):
        if self._sleep is not None:
            self._sleep.set()

    def follow_post(self, post):
        self._listener.follow_post(post)

    def settle(self, timers, action, detail):
        self.core.settle(timers, action, detail, self.now())

    def propose_lease(self, lease_ttl):
        return self.core.propose_lease(lease_ttl, self.now())

    def free_slot(self, timer):
        # A batch has it until all have ended.
        if not self._world.sub.batch:
            self.core.free_slot(timer)


TOO_LONG = "longer than handler_timeout"


class _Timer(LeasedTimer):
    """A leased timer whose outcome a story can wait for."""

    __slots__ = ()

    def wait_for(self, wanted):
        """Ask for a longer lease, or for a commit, and wait for the reply."""
        if wanted is RENEWED:
            self.renew_soon(self.claim.lease_ttl)
            while self.is_renewing and self.outcome is None:
                yield self._next_news()
        else:
            self.commit_soon()
            while self.outcome is None:
                yield self._next_news()

    def _next_news(self):
        news = Signal()
        self._waiters = [news]
        return news

    def _notify(self):
        for news in self._waiters:
            news.set()


class Listener:
    """Passes wake-ups and calls for help on to a core while it waits, on a connection of its own.

    Args:
        network: The network.
        actor: Whose process it is.
        core: The core.
        channels: The core's channels.
    """

    def __init__(self, network, actor, core, channels):
        self._network = network
        self._actor = actor
        self._core = core
        self._channels = channels
        self._followed = channels.at(core.attendance.post)
        self._link = None
        # What was asked for and not confirmed, and until when that is waited for.
        self._asked = []
        self._until = math.inf
        self._is_closed = False
        self._waiting = Signal()

    def set_waiting(self, waits):
        """Note whether the core waits: while it does not, nothing is read."""
        if waits:
            self._waiting.set()
        elif self._waiting.is_set:
            self._waiting = Signal()

    def follow_post(self, post):
        """Listen to the channels of a post, and leave all others at once."""
        followed, self._followed = self._followed, self._channels.at(post)
        if self._link is not None and not self._is_closed:
            for channel in followed:
                if channel not in self._followed:
                    self._ask("UNSUBSCRIBE", channel)
            for channel in self._followed:
                if channel not in followed:
                    self._ask("SUBSCRIBE", channel)

    def close(self):
        """Listen no more."""
        self._is_closed = True
        if self._link is not None:
            self._link.close()

    def listen(self):
        """Tell how it listens, whatever befalls the connection."""
        backoff = Backoff(random.random, ceiling=5.0)
        while not self._is_closed:
            try:
                link = yield from connect(self._network, self._actor)
                self._link, self._asked, self._until = link, [], math.inf
                for channel in self._followed:
                    self._ask("SUBSCRIBE", channel)
                yield from self._read_all()
            except RedisError:
                if self._link is not None:
                    self._link.close()
                    self._link = None
            yield backoff.next_pause()

    def _read_all(self):
        while True:
            if not self._asked:
                yield self._waiting
            reply = yield from read(self._link, self._until if self._asked else math.inf)
            if reply is None:
                msg = "nothing came in time"
                raise RedisConnectionError(msg)
            self._take(reply)

    def _ask(self, name, channel):
        self._asked.append((name, channel))
        self._until = self._network.clock.time() + SUBSCRIBING
        self._link.send(Request(name, None, (), (), channel))

    def _take(self, reply):
        kind, channel, text = reply
        if kind == b"message":
            self._pass_on(channel, text)
            return
        words = (kind.decode().upper(), channel)
        self._asked.remove(words)
        is_last = words not in self._asked
        if words == ("SUBSCRIBE", self._channels.wake_ups) and is_last:
            # What was sent before is lost, the first time too.
            self._core.poll_now()

    def _pass_on(self, channel, text):
        if channel not in self._followed:
            return
        if channel == self._channels.wake_ups:
            sent_at, _, due_at = text.partition(b" ")
            self._core.wake(float(sent_at), float(due_at))
        else:
            share, workers, seconds = text.split(b" ")
            missing = Missing(int(workers), float(seconds))
            self._core.attendance.called(float(share), missing, self._network.clock.time())
