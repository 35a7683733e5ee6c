"""Workers whose cores are driven by hand, on scripts or in memory, at times that a test sets."""

import time
from contextlib import contextmanager
from datetime import UTC, datetime

import fakeredis
from freezegun import freeze_time

from faststream_redis_timers.delivery.core import Call, DeliveryCore, Draws
from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers.delivery.outage import Failure, FailureKind
from faststream_redis_timers.delivery.settlement_policy import SettlementPolicy
from faststream_redis_timers.delivery.slots import Suspects
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.memory.timers import TimersMemory
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.timers import encode_timer

TOPIC = "reports"
DEAD = "reports:dead"
LOST = Failure(FailureKind.LOST_REPLY, "lost")


def at(text):
    """Read a time in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


class Scripts(Runner):
    """Runs scripts on a fakeredis, which sees the time that is set."""

    def __init__(self):
        self.redis = fakeredis.FakeRedis()
        super().__init__(self.redis)

    def keys(self):
        return sorted(self.redis.keys())


class Memory(Runner):
    """Answers out of memory."""

    def __init__(self):
        super().__init__(fakeredis.FakeRedis())
        self._memory = TimersMemory()

    def run(self, operation):
        return self._memory.run(operation)

    def keys(self):
        return sorted(key for key, topic in self._memory._topics.items() if topic)


BACKENDS = {"scripts": Scripts, "memory": Memory}


class Town:
    """A topic, at a time that a test sets.

    Args:
        clock: Sets the time.
        runner: Carries operations out.
    """

    def __init__(self, clock, runner):
        self._clock = clock
        self.run = runner.run
        self._steps = runner.run_steps
        self._iterate = runner.iterate
        self.keys = runner.keys
        self.operations = Operations(KeySpace())
        self.claims = 0

    def set_time(self, text):
        """Set the time, which is given in ISO 8601."""
        self._clock.move_to(at(text))

    def schedule(self, timer_id, repeat=None, body=b"body", if_exists=None, **options):
        """Schedule a timer; give the character of the reply."""
        timer = encode_timer(body, None, timer_id=timer_id, repeat=repeat, topic=TOPIC, **options)
        return self._steps(self.operations.schedule_batch(TOPIC, [timer], if_exists))

    def reschedule(self, timer_id, text):
        """Move a timer to a time."""
        due = at(text)
        return self.run(
            self.operations.reschedule(TOPIC, timer_id, activate_in=None, activate_at=due)
        )

    def cancel(self, timer_id):
        return self.run(self.operations.cancel(TOPIC, timer_id))

    def redrive(self):
        """Redrive all dead letters; give their number."""
        return self._steps(self.operations.redrive(DEAD))

    def get(self, timer_id, topic=TOPIC):
        return self.run(self.operations.get(topic, timer_id))

    def due(self, timer_id):
        """Give the time at which a timer is due that does not run."""
        timer = self.get(timer_id)
        assert not timer.running
        return timer.due_at

    def dead_letters(self):
        """Give the dead letters."""
        return list(self._iterate(self.operations.iterate(DEAD)))


class Worker:
    """A process with a subscriber of the topic.

    Args:
        town: Where it works.
        policy: Its retry policy.
        dead_topic: Where dead letters go.
        **options: Of its subscriber.
    """

    def __init__(self, town, policy=None, dead_topic=None, topic=TOPIC, **options):
        self._town = town
        self.draws = Draws(spread=lambda: 0.5, lease=self._draw)
        self.lines = []
        # What is lost of calls that settle: nothing, the "request", or the "reply" alone.
        self.loses = None
        self.core = DeliveryCore(
            TimerSub(topic=topic, **options),
            topic=topic,
            operations=town.operations,
            settlement_policy=SettlementPolicy(topic, policy, dead_topic, self.log),
            suspects=Suspects(),
            driver=self,
            make_timer=LeasedTimer,
            log=self.log,
        )

    def _draw(self):
        # No two claims have the same lease.
        self._town.claims += 1
        return self._town.claims

    def log(self, level, message, error=None):
        # Not that calls fail: tests let them.
        if not message.startswith("delivery of topic "):
            self.lines.append((level, message))

    def now(self):
        return time.time()

    def stir(self):
        pass

    def settle(self, timers, action, detail):
        self.core.settle(timers, action, detail, self.now())

    def propose_lease(self, lease_ttl):
        return self.core.propose_lease(lease_ttl, self.now())

    def free_slot(self, unit):
        self.core.free_slot(unit)

    def turn(self):
        """Send what there is to send, claims too; give the timers whose handlers begin."""
        begun = []
        self.core.poll_now()
        while isinstance(call := self.core.next(self.now()), Call):
            lost = self.loses if call.settlements else None
            step = None if lost == "request" else self._town.run(call.operation)
            if lost:
                self.core.failed(call, LOST)
                break
            begun += self.core.answered(call, step, self.now(), self.now())
        return begun

    def claim(self):
        """Claim the one timer that is due."""
        (timer,) = self.turn()
        return timer

    def release(self, timer):
        """Release a timer as a worker does that stops, and claims nothing more."""
        self.core.drain()
        timer.release()

    def finish(self, timer, decide=LeasedTimer.commit_soon):
        """End a handler; give the timers whose handlers begin in the same turn."""
        self.core.free_slot(timer)
        decide(timer)
        self.core.ended(timer)
        return self.turn()


@contextmanager
def town(backend, start):
    """Give a town at a time."""
    with freeze_time(at(start)) as clock:
        yield Town(clock, BACKENDS[backend]())
