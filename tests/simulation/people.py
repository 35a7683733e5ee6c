"""Workers and producers: the real broker and the real blocking client, driven by draws."""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta

from faststream.exceptions import NackMessage, RejectMessage
from redis.exceptions import RedisError
from simulation.connections import blocking_client_of, client_of
from simulation.virtual_time import Actor

from faststream_redis_timers import TimerOutcomeUnknownError, TimerPublishMessage, TimersBroker
from faststream_redis_timers.annotations import TimerMessage
from faststream_redis_timers_sync import TimerExistsError, TimersClient

TOPIC = "invoices"
NAMES = {
    "timeline_key": "timers_timeline",
    "payloads_key": "timers_payloads",
    "attempts_key": "timers_attempts",
}


class Worker:
    """A place where one worker process runs after the other.

    Args:
        world: The world.
        name: Its name.
        knobs: Options of its subscriber.
    """

    def __init__(self, world, name, knobs):
        self._world = world
        self._name = name
        self._knobs = knobs
        self._count = 0
        self.actor = None
        self._broker = None

    @property
    def is_up(self):
        return self.actor is not None

    def start(self):
        """Start a process."""
        self._count += 1
        world = self._world
        self.actor = actor = Actor(f"{self._name}.{self._count}")
        actor.call = None
        actor.was_paused = False
        # Its clock is wrong; that must not matter.
        actor.clock_error = world.draws.choice([0.0, 0.0, -3600.0, 3600.0, 1.5, -1.5])
        world.loop.add_actor(actor)
        world.note("starts", actor)
        actor.context.run(self._make_broker, actor)
        world.loop.spawn(actor, self._run(actor, self._broker))

    def kill(self):
        """Let the process die: its tasks are dropped, its connections gone."""
        actor, self.actor = self.actor, None
        self._world.note("is killed", actor)
        self._world.loop.kill(actor)
        self._world.network.cut(actor)

    def pause(self, seconds):
        """Stop the process for a while, as SIGSTOP does."""
        self.actor.was_paused = True
        self._world.note("is paused", self.actor, seconds)
        self._world.loop.pause(self.actor, seconds)

    def stop(self):
        """Let the process end in order, as SIGTERM does."""
        actor, self.actor = self.actor, None
        self._world.note("is told to stop", actor)
        return self._world.loop.spawn(actor, self._stop(actor, self._broker))

    def _make_broker(self, actor):
        world = self._world
        self._broker = broker = TimersBroker(
            client_of(actor, world.network),
            logger=_Logger(world, actor),
            log_level=logging.DEBUG,
            graceful_timeout=world.draws.choice([0.5, 2.0, 15.0]),
            **NAMES,
        )

        @broker.subscriber(TOPIC, **self._knobs)
        async def handle(body: str, message: TimerMessage) -> None:
            await _handle(world, self, actor, message)

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

    async def _stop(self, actor, broker):
        await broker.stop()
        self._world.ledger.stopped(actor, sound=self._world.is_sound(actor))
        self._world.loop.kill(actor)


async def _handle(world, worker, actor, message):
    plan = json.loads(message.body)
    ledger = world.ledger
    timer = ledger.started(actor, message.raw_message, plan["version"])
    tries = world.count_start(plan["version"])
    work, end = plan["work"], plan["end"]
    if tries > plan["times"] or world.is_calm:
        work, end = min(work, 0.1), "return"
    if end == "kill" and worker.actor is actor:
        ledger.kills(timer, actor)
        worker.kill()
    if end == "renew":
        await asyncio.sleep(work / 2)
        await message.renew()
        work /= 2
    try:
        await asyncio.sleep(work)
    except asyncio.CancelledError:
        ledger.ended(actor, timer, "failed")
        raise
    if end == "fail":
        ledger.ended(actor, timer, "failed")
        raise _PlannedError
    if end == "nack":
        delay = plan["delay"]
        ledger.ended(actor, timer, delay)
        raise NackMessage(delay=timedelta(seconds=delay))
    if end == "reject":
        ledger.ended(actor, timer, "rejected")
        raise RejectMessage
    ledger.ended(actor, timer, "done")
    if end == "ack":
        await message.ack()


class _PlannedError(Exception):
    pass


class _Logger:
    """Writes the broker's log into the history."""

    def __init__(self, world, actor):
        self._world = world
        self._actor = actor

    def log(self, level, message, *args, exc_info=None, extra=None, **kwargs):
        if level < logging.WARNING or isinstance(exc_info, _PlannedError):
            return
        self._world.note("logs", self._actor, logging.getLevelName(level), message)
        if "has died" in str(message):
            self._world.ledger.violated("alive", f"{self._actor}: {message} {exc_info!r}")


class Producer:
    """Schedules, moves, cancels and looks, one call at a time.

    Args:
        world: The world.
        name: Its name.
        blocking: Whether it uses the blocking client.
    """

    def __init__(self, world, name, *, blocking):
        self._world = world
        self.actor = actor = Actor(name)
        actor.call = None
        actor.clock_error = world.draws.choice([0.0, -3600.0, 3600.0])
        world.loop.add_actor(actor)
        if blocking:
            self._front = _AsAwaitable(TimersClient(blocking_client_of(actor, world.network)))
        else:
            self._front = TimersBroker(client_of(actor, world.network), logger=None)
        self._blocking = blocking

    def start(self, count):
        """Begin with a number of calls."""
        return self._world.loop.spawn(self.actor, self._run(count))

    async def _run(self, count):
        draws = self._world.draws
        if not self._blocking:
            await self._front.connect()
        for _ in range(count):
            await asyncio.sleep(draws.expovariate(1 / 0.6))
            act = draws.choices(
                [self._schedule, self._batch, self._move, self._cancel, self._cancel_some,
                 self._cancel_all, self._redrive, self._look],
                [60, 5, 12, 12, 3, 0.3, 3 if self._world.sets_aside else 0, 5],
            )[0]  # fmt: skip
            await act(draws)

    async def _ask(self, what, call, asked=None):
        ledger = self._world.ledger
        noted = ledger.begin(self.actor, what, asked)
        try:
            result = await call
        except TimerOutcomeUnknownError:
            ledger.tell(self.actor, noted, "unknown")
        except TimerExistsError:
            ledger.tell(self.actor, noted, "done", "exists")
        except (RedisError, TimeoutError, OSError) as error:
            ledger.tell(self.actor, noted, "refused", error)
        else:
            ledger.tell(self.actor, noted, "done", result)

    async def _schedule(self, draws):
        timer_id = self._world.draw_id()
        version, body = self._world.draw_plan()
        if_exists = draws.choices(["replace", "keep", "error"], [8, 1, 1])[0]
        time, due = self._draw_time(draws)
        await self._ask(
            f"schedule {timer_id}/{version} {if_exists}",
            self._schedule_call(body, TOPIC, timer_id=timer_id, if_exists=if_exists, **time),
            {version: due},
        )

    async def _batch(self, draws):
        count = draws.randint(2, 4)
        ids = list(dict.fromkeys(self._world.draw_id() for _ in range(count)))
        plans = [self._world.draw_plan() for _ in ids]
        time, due = self._draw_time(draws)
        messages = [
            TimerPublishMessage(body, timer_id=timer_id)
            for timer_id, (_, body) in zip(ids, plans, strict=True)
        ]
        call = (
            self._front.schedule_batch(messages, TOPIC, **time)
            if self._blocking
            else self._front.publish_batch(*messages, topic=TOPIC, **time)
        )
        await self._ask(f"schedule {ids}", call, {version: due for version, _ in plans})

    async def _move(self, draws):
        timer_id = self._world.draw_id()
        time, _ = self._draw_time(draws)
        await self._ask(f"move {timer_id}", self._front.reschedule_timer(TOPIC, timer_id, **time))

    async def _cancel(self, draws):
        timer_id = self._world.draw_id()
        await self._ask(f"cancel {timer_id}", self._front.cancel_timer(TOPIC, timer_id))

    async def _cancel_some(self, draws):
        ids = [self._world.draw_id() for _ in range(3)]
        await self._ask(f"cancel {ids}", self._front.cancel_timers(TOPIC, ids))

    async def _cancel_all(self, draws):
        await self._ask("cancel all", self._front.cancel_all(TOPIC))

    async def _redrive(self, draws):
        await self.redrive()

    async def redrive(self):
        """Put all dead letters back."""
        await self._ask("redrive", self._front.redrive(f"{TOPIC}:dead"))

    async def _look(self, draws):
        look = draws.choice(
            [
                lambda: self._front.has_pending(TOPIC, self._world.draw_id()),
                lambda: self._front.count_pending(TOPIC),
                lambda: self._front.get_timer(TOPIC, self._world.draw_id()),
            ]
        )
        try:
            await look()
        except (RedisError, TimeoutError, OSError) as error:
            self._world.note("can't look", self.actor, error)

    def _schedule_call(self, body, topic, **options):
        if self._blocking:
            return self._front.schedule(body, topic, **options)
        return self._front.publish(body, topic, **options)

    def _draw_time(self, draws):
        seconds = draws.choice([0.0, draws.uniform(0, 1), draws.uniform(0, 8)])
        if draws.random() < 0.7:
            return {"activate_in": timedelta(seconds=seconds)}, lambda now: now + seconds
        at = round(self._world.server.now + seconds - 1, 6)
        return {"activate_at": datetime.fromtimestamp(at, UTC)}, lambda now: max(now, at)


class _AsAwaitable:
    """A blocking client whose methods can be awaited."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        method = getattr(self._client, name)

        async def call(*args, **options):
            return method(*args, **options)

        return call
