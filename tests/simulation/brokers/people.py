"""Workers and producers with the real broker and the real blocking client."""

import asyncio
import logging

from faststream.exceptions import NackMessage, RejectMessage
from redis.exceptions import RedisError
from simulation.brokers.connections import blocking_client_of, client_of
from simulation.people import (
    NAMES,
    RENEWED,
    TOPIC,
    PlannedError,
    Producer,
    Worker,
    handle,
)

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.annotations import TimerBatchMessage, TimerMessage
from faststream_redis_timers_sync import TimersClient


class BrokerWorker(Worker):
    """Each of its processes runs a broker.

    Args:
        *parts: See `Worker`.
    """

    def __init__(self, *parts):
        super().__init__(*parts)
        self._broker = None

    def _begin(self, actor, graceful_timeout):
        actor.context.run(self._make_broker, actor, graceful_timeout)
        self._world.clock.spawn(actor, self._run(actor, self._broker))

    def _make_broker(self, actor, graceful_timeout):
        world = self._world
        self._broker = broker = TimersBroker(
            client_of(actor, world.network),
            logger=_Logger(world, actor),
            log_level=logging.DEBUG,
            graceful_timeout=graceful_timeout,
            duty=world.holders,
            **NAMES,
        )

        if self._options.get("batch"):

            @broker.subscriber(TOPIC, **self._options)
            async def handle_batch(bodies: list[str], message: TimerBatchMessage) -> None:
                await self._handle_batch(actor, message)

            return

        @broker.subscriber(TOPIC, **self._options)
        async def handle_timer(body: str, message: TimerMessage) -> None:
            await live(
                handle(world, self, actor, message.raw_message, message.body),
                lambda wanted: message.renew() if wanted is RENEWED else message.ack(),
            )

    async def _handle_batch(self, actor, message):
        """Handle all timers of a batch at once.

        Half of the handlers mark each as it has ended. The others do all or nothing.
        """
        marks = not message.is_split and self._world.draws.random() < 0.5
        deliveries = message.raw_message.deliveries
        ends = await asyncio.gather(
            *(
                live(
                    handle(self._world, self, actor, delivery, body),
                    lambda wanted, timer=timer: _answer(timer, wanted),
                )
                for delivery, body, timer in zip(
                    deliveries, message.body, message.timers, strict=True
                )
            ),
            return_exceptions=True,
        )
        errors = [error for error in ends if error is not None]
        if not errors or not marks:
            # One of them speaks for all.
            if errors:
                raise PlannedError if len(ends) > 1 else errors[0]
            return
        for timer, error in zip(message.timers, ends, strict=True):
            if error is None:
                await timer.ack()
            elif isinstance(error, NackMessage):
                await timer.nack(**error.extra_options)
            elif isinstance(error, RejectMessage):
                await timer.reject()
        if any(isinstance(error, PlannedError) for error in errors):
            raise PlannedError

    async def _run(self, actor, broker):
        while True:
            try:
                await broker.start()
            except (TimeoutError, RedisError) as error:
                # As a process manager does, which starts it again.
                self._world.note("can't start", actor, error)
                await asyncio.sleep(0.5)
            else:
                return

    def _stop(self, actor):
        return self._world.clock.spawn(actor, self._stop_broker(actor, self._broker))

    async def _stop_broker(self, actor, broker):
        await broker.stop()
        self._has_stopped(actor)


async def live(story, call=lambda wanted: wanted):
    """Do what a story tells.

    Args:
        story: Yields seconds to sleep, or what `call` makes something to await of.
        call: Given what was yielded.
    """
    result, error = None, None
    while True:
        try:
            wanted = story.send(result) if error is None else story.throw(error)
        except StopIteration:
            return
        result, error = None, None
        try:
            if isinstance(wanted, float):
                await asyncio.sleep(wanted)
            else:
                result = await call(wanted)
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001  the story's matter
            error = raised


async def _answer(timer, wanted):
    # The lease of a timer of a batch is renewed by its worker alone.
    if wanted is not RENEWED:
        await timer.ack()


class _Logger:
    """Writes the broker's log into the history."""

    def __init__(self, world, actor):
        self._world = world
        self._actor = actor

    def log(self, level, message, *args, exc_info=None, extra=None, **kwargs):
        self._world.note_log(self._actor, level, message, exc_info)


class BrokerProducer(Producer):
    """Publishes with a broker, or schedules with a blocking client.

    Args:
        *parts: See `Producer`.
    """

    def _make_front(self):
        network = self._world.network
        if self._blocking:
            return _AsAwaitable(TimersClient(blocking_client_of(self.actor, network)))
        return _AsClient(client_of(self.actor, network), logger=None)

    def _spawn(self, story):
        return self._world.clock.spawn(self.actor, live(story))

    def act(self, count):
        if not self._blocking:
            yield self._front.connect()
        yield from super().act(count)


class _AsClient(TimersBroker):
    """A broker that schedules by the names of a client's methods."""

    schedule = TimersBroker.publish

    def schedule_batch(self, messages, topic, **time):
        return self.publish_batch(*messages, topic=topic, **time)


class _AsAwaitable:
    """A blocking client whose methods can be awaited."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        method = getattr(self._client, name)

        async def call(*args, **options):
            return method(*args, **options)

        return call
