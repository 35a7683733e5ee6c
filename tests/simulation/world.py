"""One history: a seed draws who there is, what they do, and what happens to them."""

import json
import logging
import random
import secrets
import time
from contextlib import contextmanager
from datetime import timedelta
from unittest import mock

from simulation.auditor import Auditor
from simulation.network import Network, Weather
from simulation.people import NAMES, TOPIC, PlannedError

from faststream_redis_timers import RetryPolicy
from faststream_redis_timers.delivery.duty import Duty

CALLS = 45
"""Calls of the producers in one history."""

TROUBLE = 25.0
"""Seconds during which something may go wrong, at least."""


class World:
    """All that there is in one history.

    Subclasses give what there are two kinds of: a clock, a server, workers and producers.

    Args:
        seed: Gives the same history each time.
    """

    def __init__(self, seed):
        self.seed = seed
        self.draws = random.Random(seed)
        self.clock = self._make_clock(random.Random(f"{seed} order"))
        draws = self.draws
        self.options = {
            "lease_ttl": draws.choice([1.5, 3.0, 8.0]),
            "polling_interval": draws.choice([0.05, 0.5]),
            "max_polling_interval": draws.choice([1.0, 5.0]),
            "max_concurrent": draws.choice([1, 2, 5]),
            "renew_lease": draws.random() < 0.3,
            "retry_policy": self._draw_policy(),
            "dead_letter_topic": draws.choice([None, "{topic}:dead"]),
        }
        # Of its own draws: other histories stay as they are.
        batches = random.Random(f"{seed} batches")
        if batches.random() < 0.35:
            self.options["batch"] = True
            self.options["max_records"] = batches.choice([2, 5, 100])
            self.options["max_wait"] = batches.choice([0.0, 0.0, 0.7])
        self.uses_dead_letters = self.options["dead_letter_topic"] is not None
        if draws.random() < 0.2:
            self.options["handler_timeout"] = 1.5 * self.options["lease_ttl"]
        self.weather = Weather(draws)
        self.ledger = Auditor(self.clock, NAMES, TOPIC, self.options)
        self.ledger.is_sound = self.is_sound
        self.note = self.ledger.note
        self.server = self.ledger.server = self._make_server(self.clock, self.ledger.watch)
        self.network = Network(
            self.clock, self.server, self.weather, random.Random(f"{seed} network"), self.note
        )
        self.network.on_send = self._on_send
        self.is_calm = False
        self._versions = 0
        self._starts = {}
        self._stops = []
        self._at_next_claim = {}
        if draws.random() < 0.4:
            # So that more can be asked of those whom nothing befalls.
            self.weather.clear_up()
        self._dangers = {
            danger: draws.choice([0, weight])
            for danger, weight in (
                ("kill", 3), ("pause", 3), ("stall", 5), ("stop", 3), ("clock", 1), ("cut", 2),
            )
        }  # fmt: skip
        self.is_poisonous = draws.random() < 0.2
        if self.is_poisonous:
            # So that it is certain who does harm.
            self.weather.clear_up()
            self._dangers = {"start": 1}
            policy = self.options["retry_policy"]
            # With a single attempt there is none left for those beside it.
            self.ledger.spares_good_ones = policy is not None and policy.max_attempts > 1
        # Of its own draws: other histories stay as they are.
        self.has_series = not self.is_poisonous and random.Random(f"{seed} series").random() < 0.4
        # Likewise. Histories have few workers, so some rest where there are two.
        self.holders = random.Random(f"{seed} duty").choice([None, 1, 2])
        self._calm_at = 0.0
        self.workers = [
            self._make_worker(f"worker {number}") for number in range(draws.randint(1, 3))
        ]
        self.producers = [
            self._make_producer(f"producer {number}", blocking=bool(number)) for number in range(2)
        ]

    def _draw_policy(self):
        draws = self.draws
        if draws.random() < 0.5:
            return None
        return RetryPolicy(
            max_attempts=draws.choice([1, 2, 3, 5]),
            delay=timedelta(seconds=draws.choice([0.2, 1.0])),
            jitter=draws.choice([0.0, 0.1]),
        )

    # --- what there are two kinds of

    def _make_clock(self, draws):
        """Give virtual time, which can pause and kill actors."""
        raise NotImplementedError

    def _make_server(self, clock, watch):
        raise NotImplementedError

    def _make_worker(self, name):
        raise NotImplementedError

    def _make_producer(self, name, *, blocking):
        raise NotImplementedError

    def add_actor(self, name):
        """Give a new actor."""
        raise NotImplementedError

    def _current_actor(self):
        """Give whose code is running; None is the world."""
        raise NotImplementedError

    def _run(self):
        """Let the history happen; raises the first violation."""
        raise NotImplementedError

    # --- what people ask of it

    def draw_id(self):
        """Give one of few ids, so that they meet."""
        return f"t{self.draws.randrange(25)}"

    def draw_plan(self):
        """Give a version, and the body that tells a handler what to do."""
        draws = self.draws
        self._versions += 1
        ends = {"return": 6, "ack": 1, "reject": 1, "fail": 1.5, "nack": 1, "renew": 0.5}
        work = draws.choices(
            [0.0, draws.uniform(0, 0.5), draws.uniform(0.5, 2.5) * self.options["lease_ttl"]],
            [5, 3, 0 if self.is_poisonous else 1],
        )[0]
        if self.is_poisonous:
            ends = {"return": 10, "ack": 1, "kill": 0.5}
        plan = {
            "version": self._versions,
            "work": round(work, 3),
            "end": draws.choices(list(ends), list(ends.values()))[0],
            "delay": draws.choice([0.0, 0.5, 2.0]),
            "times": draws.choice([1, 2, 9]),
        }
        if plan["end"] in {"return", "ack"}:
            self.ledger.good.add(self._versions)
        return self._versions, json.dumps(plan)

    def count_start(self, version):
        """Count the handlers that were started for a version."""
        self._starts[version] = self._starts.get(version, 0) + 1
        return self._starts[version]

    def is_sound(self, actor):
        """Return whether nothing has ever befallen an actor."""
        return actor.alive and not actor.was_paused and not self.network.faults.get(actor)

    def note_log(self, actor, level, message, error=None):
        """Write a line of an actor's log into the history."""
        if level < logging.WARNING or isinstance(error, PlannedError):
            return
        self.note("logs", actor, logging.getLevelName(level), message)
        if " died: " in str(message):
            self.ledger.violated("alive", f"{actor}: {message} {error!r}")

    def describe(self):
        """Tell the circumstances."""
        return "\n".join(
            [
                f"seed {self.seed}",
                f"subscribers: {self.options}",
                f"network: {vars(self.weather)}",
                f"dangers: {self._dangers}",
            ]
        )

    # --- the history

    def run(self):
        """Let it happen; raises the first violation."""
        state = random.getstate()
        random.seed(f"{self.seed} product")
        try:
            with self._clocks():
                self._run()
        finally:
            random.setstate(state)

    def _story(self):
        """Run the story: yield seconds to sleep, or a list of what to wait for."""
        for worker in self.workers:
            worker.start()
        tasks = [producer.start(CALLS // 2) for producer in self.producers]
        until = self.clock.time() + TROUBLE
        while self.clock.time() < until:
            yield self.draws.expovariate(1 / 1.5)
            self._trouble()
        yield tasks
        yield from self._calm_down()

    def _trouble(self):
        dangers = [danger for danger, weight in self._dangers.items() if weight]
        if not dangers:
            return
        danger = self.draws.choices(dangers, [self._dangers[name] for name in dangers])[0]
        if danger == "clock":
            seconds = self.draws.choice([-60.0, 60.0, -3.0, 3.0])
            self.note("clock is set", "server", seconds)
            self.ledger.clock_sets += 1
            self.server.set_clock(seconds)
            return
        worker = self.draws.choice(self.workers)
        if not worker.is_up:
            worker.start()
        elif self.draws.random() < 0.5:
            self._do_to(worker, danger)
        else:
            self._at_next_claim[worker.actor] = (worker, danger)

    def _do_to(self, worker, danger):
        if danger == "kill":
            worker.kill()
        elif danger == "stop":
            self._stops.append(worker.stop())
        elif danger == "pause":
            worker.pause(self.draws.uniform(0.2, 2.0) * self.options["lease_ttl"])
        elif danger == "stall":
            worker.pause(self.draws.uniform(0.001, 0.5))
        elif danger == "cut":
            self.network.cut(worker.actor)

    def _on_send(self, actor, request):
        """Let something happen while a claim is on its way, and so at each of its stages."""
        if actor in self._at_next_claim and self.ledger.finds_timers(request):
            self.clock.in_world(self.draws.uniform(0, 0.004), self._strike, actor)

    def _strike(self, actor):
        worker, danger = self._at_next_claim.pop(actor, (None, None))
        if worker is not None and worker.actor is actor:
            self._do_to(worker, danger)

    def _calm_down(self):
        self.note("all faults are over", "")
        self.weather.clear_up()
        self.is_calm = True
        self._calm_at = self.clock.time()
        self._at_next_claim.clear()
        for worker in self.workers:
            if not worker.is_up:
                worker.start()
        paused = [worker.actor.resumes_at for worker in self.workers]
        yield max(0.0, max(paused) - self.clock.time())
        latest = max([timer.score for timer in self.ledger.pending.values()], default=0.0)
        # A clock that is set back makes leases long.
        patience = max(0.0, latest - self.server.now) + self.patience
        yield from self._wait_for_the_rest(patience)
        series = [timer.timer_id for timer in self.ledger.pending.values() if timer.repeat]
        if series and not self._is_something_left():
            yield [self.producers[0].start_cancel(series)]
            yield from self._wait_for_the_rest(self.patience)
        self._stops += [worker.stop() for worker in self.workers]
        yield self._stops
        self.ledger.close()

    def _wait_for_the_rest(self, patience):
        until = self.clock.time() + patience
        while self._is_something_left() and self.clock.time() < until:
            yield 0.1
            if self.ledger.dead:
                # Not by a producer that a late request of its own may concern.
                yield [self.producers[0].start_redrive()]

    def _is_something_left(self):
        pending, handled_at = self.ledger.pending, self.ledger.handled_at
        # A recurring timer is never done: it has to run once more. It keeps a dead letter of its
        # id away.
        series = {timer.timer_id for timer in pending.values() if timer.repeat}
        return any(timer.timer_id not in series for timer in self.ledger.dead.values()) or any(
            timer_id not in series or handled_at.get(timer_id, 0.0) <= self._calm_at
            for timer_id in pending
        )

    @property
    def patience(self):
        """Seconds within which all that is due is delivered, once all is well."""
        return 5 * self.options["lease_ttl"] + 3 * self.options["max_polling_interval"] + 10

    @contextmanager
    def _clocks(self):
        tokens = random.Random(f"{self.seed} tokens")

        def draw_token(length):
            return tokens.randbytes(length).hex()[:8]

        with (
            mock.patch.object(time, "time", self._wall_clock),
            mock.patch.object(secrets, "token_urlsafe", draw_token),
            mock.patch.object(Duty, "SMALL", 1),
        ):
            yield

    def _wall_clock(self):
        return self.server.now + getattr(self._current_actor(), "clock_error", 0.0)


def run_seed(seed, make_world):
    """Run a history; give its world. Raises what it violates, with the world as `world`.

    Args:
        seed: Its seed.
        make_world: A kind of world.
    """
    world = make_world(seed)
    try:
        world.run()
    except BaseException as error:
        error.world = world
        raise
    return world
