"""What workers, handlers and producers do: it is drawn here, and done by each kind of history.

Each action is a generator. It yields seconds to sleep, or what else it waits for, and is sent the
result; so nothing here knows whether an event loop runs it.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta

from faststream.exceptions import NackMessage, RejectMessage
from redis.exceptions import RedisError

from faststream_redis_timers import TimerOutcomeUnknownError, TimerPublishMessage
from faststream_redis_timers_sync import Every, TimerExistsError

TOPIC = "invoices"
NAMES = {
    "timeline_key": "timers_timeline",
    "payloads_key": "timers_payloads",
    "attempts_key": "timers_attempts",
}
RENEWED = "renewed"
ACKNOWLEDGED = "acknowledged"
"""What a handler waits for, beside seconds."""


class Worker:
    """A place where one worker process runs after the other.

    Subclasses begin a process (`_begin`) and tell how it stops in order (`_stop`).

    Args:
        world: The world.
        name: Its name.
        options: Options of its subscriber.
    """

    def __init__(self, world, name, options):
        self._world = world
        self._name = name
        self._options = options
        self._count = 0
        self.actor = None

    @property
    def is_up(self):
        return self.actor is not None

    def start(self):
        """Start a process."""
        self._count += 1
        world = self._world
        self.actor = actor = world.add_actor(f"{self._name}.{self._count}")
        # Its clock is wrong; that must not matter.
        actor.clock_error = world.draws.choice([0.0, 0.0, -3600.0, 3600.0, 1.5, -1.5])
        world.note("starts", actor)
        self._begin(actor, graceful_timeout=world.draws.choice([0.5, 2.0, 15.0]))

    def kill(self):
        """Let the process die: what it does is dropped, its connections are gone."""
        actor, self.actor = self.actor, None
        self._world.note("is killed", actor)
        self._world.clock.kill(actor)
        self._world.network.cut(actor)

    def pause(self, seconds):
        """Stop the process for a while, as SIGSTOP does."""
        self.actor.was_paused = True
        self._world.note("is paused", self.actor, seconds)
        self._world.clock.pause(self.actor, seconds)

    def stop(self):
        """Let the process end in order, as SIGTERM does; give what to wait for."""
        actor, self.actor = self.actor, None
        self._world.note("is told to stop", actor)
        return self._stop(actor)

    def _has_stopped(self, actor):
        self._world.ledger.stopped(actor, sound=self._world.is_sound(actor))
        self._world.clock.kill(actor)


def handle(world, worker, actor, delivery, body):
    """Handle a timer as its body says; raises what the handler raises."""
    plan = json.loads(body)
    ledger = world.ledger
    timer = ledger.started(actor, delivery, plan["version"])
    tries = world.count_start(plan["version"])
    work, end = plan["work"], plan["end"]
    if tries > plan["times"] or world.is_calm:
        work, end = min(work, 0.1), "return"
    if end == "kill" and worker.actor is actor:
        ledger.kills(timer, actor)
        worker.kill()
    try:
        if end == "renew":
            yield work / 2
            yield RENEWED
            work /= 2
        yield work
    except asyncio.CancelledError:
        ledger.ended(actor, timer, "failed")
        raise
    if end == "fail":
        ledger.ended(actor, timer, "failed")
        raise PlannedError
    if end == "nack":
        delay = plan["delay"]
        ledger.ended(actor, timer, delay)
        raise NackMessage(delay=timedelta(seconds=delay))
    if end == "reject":
        ledger.ended(actor, timer, "rejected")
        raise RejectMessage
    ledger.ended(actor, timer, "done")
    if end == "ack":
        yield ACKNOWLEDGED


class PlannedError(Exception):
    """What a handler raises that is to fail."""


class Producer:
    """Schedules, moves, cancels and looks, one call at a time.

    Subclasses make its front end (`_make_front`), whose methods are those of `TimersClient`. What
    they give is yielded by the stories, and the result is sent. And they begin to live a story
    (`_spawn`), and give what to wait for.

    Args:
        world: The world.
        name: Its name.
        blocking: Whether it uses the blocking client.
    """

    def __init__(self, world, name, *, blocking):
        self._world = world
        self._blocking = blocking
        self.actor = actor = world.add_actor(name)
        actor.clock_error = world.draws.choice([0.0, -3600.0, 3600.0])
        self._front = self._make_front()

    def start(self, count):
        """Begin with a number of calls; give what to wait for."""
        return self._spawn(self.act(count))

    def start_redrive(self):
        """Begin to redrive all dead letters; give what to wait for."""
        return self._spawn(self._redrive())

    def act(self, count):
        """Tell of a number of calls."""
        draws = self._world.draws
        for _ in range(count):
            yield draws.expovariate(1 / 0.6)
            act = draws.choices(
                [self._schedule, self._batch, self._move, self._cancel, self._cancel_some,
                 self._cancel_all, self._redrive, self._look, self._schedule_series],
                [60, 5, 12, 12, 3, 0.3, 3 if self._world.uses_dead_letters else 0, 5,
                 25 if self._world.has_series else 0],
            )[0]  # fmt: skip
            yield from act(draws)

    def start_cancel(self, timer_ids):
        """Begin to cancel timers; give what to wait for."""
        return self._spawn(self._cancel_these(timer_ids))

    def _make_front(self):
        raise NotImplementedError

    def _spawn(self, story):
        raise NotImplementedError

    def _ask(self, what, call, asked=None):
        ledger = self._world.ledger
        noted = ledger.begin(self.actor, what, asked)
        try:
            result = yield call
        except TimerOutcomeUnknownError:
            ledger.note_reply(self.actor, noted, "unknown")
        except TimerExistsError:
            ledger.note_reply(self.actor, noted, "done", "exists")
        except (RedisError, TimeoutError, OSError) as error:
            ledger.note_reply(self.actor, noted, "refused", error)
        else:
            ledger.note_reply(self.actor, noted, "done", result)

    def _schedule(self, draws):
        timer_id = self._world.draw_id()
        version, body = self._world.draw_plan()
        if_exists = draws.choices(["replace", "keep", "error"], [8, 1, 1])[0]
        time, due = self._draw_time(draws)
        yield from self._ask(
            f"schedule {timer_id}/{version} {if_exists}",
            self._front.schedule(body, TOPIC, timer_id=timer_id, if_exists=if_exists, **time),
            {version: due},
        )

    def _schedule_series(self, draws):
        timer_id = f"t{draws.randrange(6)}"
        version, body = self._world.draw_plan()
        repeat = Every(seconds=draws.choice([2, 3, 7]))
        self._world.ledger.repeats[version] = repeat
        yield from self._ask(
            f"schedule {timer_id}/{version} {repeat}",
            self._front.schedule(body, TOPIC, timer_id=timer_id, repeat=repeat),
        )

    def _batch(self, draws):
        count = draws.randint(2, 4)
        ids = list(dict.fromkeys(self._world.draw_id() for _ in range(count)))
        plans = [self._world.draw_plan() for _ in ids]
        time, due = self._draw_time(draws)
        messages = [
            TimerPublishMessage(body, timer_id=timer_id)
            for timer_id, (_, body) in zip(ids, plans, strict=True)
        ]
        yield from self._ask(
            f"schedule {ids}",
            self._front.schedule_batch(messages, TOPIC, **time),
            {version: due for version, _ in plans},
        )

    def _move(self, draws):
        timer_id = self._world.draw_id()
        time, _ = self._draw_time(draws)
        yield from self._ask(
            f"move {timer_id}", self._front.reschedule_timer(TOPIC, timer_id, **time)
        )

    def _cancel(self, draws):
        timer_id = self._world.draw_id()
        yield from self._ask(f"cancel {timer_id}", self._front.cancel_timer(TOPIC, timer_id))

    def _cancel_these(self, timer_ids):
        for timer_id in timer_ids:
            yield from self._ask(f"cancel {timer_id}", self._front.cancel_timer(TOPIC, timer_id))

    def _cancel_some(self, draws):
        ids = [self._world.draw_id() for _ in range(3)]
        yield from self._ask(f"cancel {ids}", self._front.cancel_timers(TOPIC, ids))

    def _cancel_all(self, draws):
        yield from self._ask("cancel all", self._front.cancel_all(TOPIC))

    def _redrive(self, draws=None):
        yield from self._ask("redrive", self._front.redrive(f"{TOPIC}:dead"))

    def _look(self, draws):
        look = draws.choice(
            [
                lambda: self._front.has_pending(TOPIC, self._world.draw_id()),
                lambda: self._front.count_pending(TOPIC),
                lambda: self._front.get_timer(TOPIC, self._world.draw_id()),
            ]
        )
        try:
            yield look()
        except (RedisError, TimeoutError, OSError) as error:
            self._world.note("can't look", self.actor, error)

    def _draw_time(self, draws):
        seconds = draws.choice([0.0, draws.uniform(0, 1), draws.uniform(0, 8)])
        if draws.random() < 0.7:
            return {"activate_in": timedelta(seconds=seconds)}, lambda now: now + seconds
        at = round(self._world.server.now + seconds - 1, 6)
        return {"activate_at": datetime.fromtimestamp(at, UTC)}, lambda now: max(now, at)
