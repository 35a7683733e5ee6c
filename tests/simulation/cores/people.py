"""Workers with the core alone, and producers who send operations themselves."""

from functools import partial

from simulation.cores.calls import Caller
from simulation.cores.driver import Driver
from simulation.cores.virtual_time import live
from simulation.people import TOPIC, Producer, Worker, handle

from faststream_redis_timers.delivery.settlement_policy import SettlementPolicy
from faststream_redis_timers.delivery.slots import Suspects
from faststream_redis_timers_sync.protocol.timers import encode_timer


class CoreWorker(Worker):
    """Each of its processes drives a core.

    Args:
        *parts: See `Worker`.
    """

    def __init__(self, *parts):
        super().__init__(*parts)
        self._driver = None
        self._graceful_timeout = None

    def _begin(self, actor, graceful_timeout):
        world = self._world
        self._graceful_timeout = graceful_timeout
        policy = self._options["retry_policy"]
        log = partial(world.note_log, actor)
        settlement_policy = SettlementPolicy(
            TOPIC,
            policy,
            f"{TOPIC}:dead" if world.uses_dead_letters else None,
            log,
            *([] if policy is None else [policy.max_attempts]),
            is_batched=world.sub.batch,
        )
        self._driver = Driver(
            world,
            actor,
            lambda timer: handle(world, self, actor, timer, timer.envelope.body),
            topic=TOPIC,
            operations=world.operations,
            settlement_policy=settlement_policy,
            suspects=Suspects(),
            log=log,
        )
        self._driver.start()

    def _stop(self, actor):
        return self._world.clock.spawn(self._stop_driver(actor, self._driver), actor)

    def _stop_driver(self, actor, driver):
        yield from driver.stop(self._graceful_timeout)
        self._has_stopped(actor)


class CoreProducer(Producer):
    """Sends operations.

    Args:
        *parts: See `Producer`.
    """

    def _make_front(self):
        world = self._world
        self._caller = Caller(world.network, self.actor, blocking=self._blocking)
        return _Front(world.operations)

    def _spawn(self, story):
        return self._world.clock.spawn(live(story, self._caller.run), self.actor)


class _Front:
    """Makes operations, by the names of a client's methods."""

    def __init__(self, operations):
        self._operations = operations
        self.cancel_timer = operations.cancel
        self.cancel_timers = operations.cancel_many
        self.cancel_all = operations.cancel_all
        self.redrive = operations.redrive
        self.has_pending = operations.has_pending
        self.count_pending = operations.count
        self.get_timer = operations.get

    def reschedule_timer(self, topic, timer_id, activate_in=None, activate_at=None):
        return self._operations.reschedule(
            topic, timer_id, activate_in=activate_in, activate_at=activate_at
        )

    def schedule(self, body, topic, *, if_exists=None, **timer):
        encoded = _encode(body, topic=topic, **timer)
        return self._operations.schedule_batch(topic, [encoded], if_exists)

    def schedule_batch(self, messages, topic, **time):
        timers = [_encode(one.body, timer_id=one.timer_id, **time) for one in messages]
        return self._operations.schedule_batch(topic, timers)


def _encode(body, **timer):
    return encode_timer(body.encode(), "text/plain; charset=utf-8", **timer)
