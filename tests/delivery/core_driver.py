"""Drives a core in tests, with a clock that they set and replies that they give."""

from faststream_redis_timers.delivery.batch import LeasedBatch
from faststream_redis_timers.delivery.core import Call, DeliveryCore, Draws, Wait
from faststream_redis_timers.delivery.leased import LeasedTimer
from faststream_redis_timers.delivery.settlement_policy import SettlementPolicy
from faststream_redis_timers.delivery.slots import Suspects
from faststream_redis_timers.schemas import TimerSub
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.model import Claimed, Outcome, Step
from faststream_redis_timers_sync.protocol.operations import Operations

SERVER = 1_900_000_000.0
"""The server's Unix time when the driver's clock shows 0."""


class Driver:
    """Has a clock that tests set, and a core."""

    def __init__(self, policy=None, suspects=None, slots=None, duty=None, **options):
        self.time = 0.0
        self.draws = Draws(spread=lambda: 0.5, lease=lambda: 7)
        self.stirred = 0
        self.lines = []
        self.posts = []
        self.core = DeliveryCore(
            TimerSub(topic="orders", **options),
            topic="orders",
            operations=Operations(KeySpace()),
            settlement_policy=SettlementPolicy(
                "orders", policy, None, self.log, is_batched=options.get("batch", False)
            ),
            suspects=suspects or Suspects(),
            driver=self,
            make_timer=LeasedTimer,
            log=self.log,
            slots=slots,
            duty=duty,
            make_batch=LeasedBatch if options.get("batch") else None,
        )

    def log(self, level, message, error=None):
        self.lines.append((level, message))

    def now(self):
        return self.time

    def stir(self):
        self.stirred += 1

    def follow_post(self, post):
        self.posts.append(post)

    def settle(self, timers, action, detail):
        self.core.settle(timers, action, detail, self.time)

    def propose_lease(self, lease_ttl):
        return self.core.propose_lease(lease_ttl, self.time)

    def free_slot(self, unit):
        self.core.free_slot(unit)

    def next(self, at=None):
        if at is not None:
            self.time = at
        return self.core.next(self.time)

    def call(self, at=None):
        turn = self.next(at)
        assert isinstance(turn, Call)
        return turn

    def wait(self, at=None):
        turn = self.next(at)
        assert isinstance(turn, Wait)
        return turn

    def answer(self, call, *ids, **reply):
        """Answer a call; see `step`."""
        return self.core.answered(call, self.step(call, *ids, **reply), self.time, self.time)

    def step(  # noqa: PLR0913  the parts of a reply
        self,
        call,
        *ids,
        head=None,
        outcomes=None,
        orphans=(),
        score=None,
        attempt=None,
        is_torn=False,
        roster=None,
    ):
        """Make the reply to a call; the score before is one for all timers, or one by id.

        Without a roster workers may not be counted.
        """
        now = SERVER + self.time
        due = b"%.6f" % (now - 1)
        scores = score if isinstance(score, dict) else dict.fromkeys(ids, score or due)
        first_due = None if attempt is None else due
        claimed = [
            Claimed(i.encode(), b"x", scores.get(i, due), attempt=attempt, first_due=first_due)
            for i in ids
        ]
        on_duty, workers = roster or (None, None)
        return Step(
            now,
            b"%.6f5" % (now + 30),
            head,
            bytes([Outcome.DONE]) * len(call.settlements) if outcomes is None else outcomes,
            claimed,
            list(orphans),
            is_torn=is_torn,
            may_count=roster is not None,
            on_duty=on_duty,
            workers=workers,
        )

    def claim(self, *ids, at=None, **reply):
        return self.answer(self.call(at), *ids, **reply)

    def poll(self, at):
        """Let the next claim come now."""
        self.time = at
        self.core.poll_now()

    def actions(self, call):
        return [item.action for item in call.settlements]
