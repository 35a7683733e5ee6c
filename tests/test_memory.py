"""Timers in memory against the Lua scripts: the same history has the same answers.

fakeredis runs the scripts, and both see the time that freezegun sets.
"""

import random
from datetime import UTC, datetime, timedelta

import fakeredis
import pytest
from freezegun import freeze_time

from faststream_redis_timers_sync import TimersError
from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.protocol.dead_letters import Ending, write_dead_letter
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.management import (
    cancel_some,
    count_running,
    move_some,
    overview,
)
from faststream_redis_timers_sync.protocol.memory.timers import TimersMemory
from faststream_redis_timers_sync.protocol.model import Settlement, Step
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.timers import encode_timer

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
KEYS = KeySpace()
OPERATIONS = Operations(KEYS)
TOPICS = ["invoices", "invoices", "invoices", "other"]
LENGTHS = [timedelta(minutes=1), timedelta(hours=1)]


class Histories:
    """The two who must agree, and what was claimed so far."""

    def __init__(self, server, clock):
        self.server = server
        self.clock = clock
        self.begin()

    def begin(self):
        self.server.flushall()
        self.clock.move_to(START)
        self.scripts = Runner(self.server)
        self.memory = TimersMemory()
        self.claims = []

    def ask(self, operation):
        """Ask both, and give the answer of the memory."""
        answers = [answer_of(runner, operation) for runner in (self.scripts, self.memory)]
        assert comparable(answers[0]) == comparable(answers[1]), operation.script.name
        return answers[1]

    def list_all(self, topic, **bounds):
        pages = OPERATIONS.iterate(topic, **bounds)
        reply = None
        while (step := next_step(pages, reply)) is not None:
            reply = self.ask(step) if isinstance(step, Operation) else None

    def ask_steps(self, steps):
        reply = None
        while (operation := next_step(steps, reply)) is not None:
            reply = self.ask(operation)


def answer_of(runner, operation):
    try:
        return runner.run(operation)
    except TimersError as error:
        return str(error)


def next_step(pages, reply):
    try:
        return pages.send(reply)
    except StopIteration:
        return None


def comparable(answer):
    """Make numbers of scores: a server writes all digits of its double."""
    if isinstance(answer, Step):
        claimed = [
            one._replace(
                previous_score=float(one.previous_score),
                first_due=one.first_due and float(one.first_due),
            )
            for one in answer.claimed
        ]
        return answer._replace(claimed=claimed)
    if isinstance(answer, list) and answer and isinstance(answer[0], tuple):
        return [entry and (float(entry[0]), entry[1]) for entry in answer]
    if isinstance(answer, tuple) and answer and isinstance(answer[-1], list):
        first, entries = answer
        if entries and isinstance(entries[0], tuple):
            return first, [(one, float(score), whole) for one, score, whole in entries]
    return answer


@pytest.fixture
def histories():
    with freeze_time(START) as clock:
        yield Histories(fakeredis.FakeRedis(), clock)


# --- what can happen

IDS = ["a", "b", "é"]
SECONDS = [-1.0, 0.0, 0.000001, 1.0, 30.0, 30.25, 31.5, 3600.0]


def schedule(histories, topic, timer_id, delay, body, if_exists):
    timer = encode_timer(body, None, timer_id=timer_id, activate_in=timedelta(seconds=delay))
    histories.ask(OPERATIONS.schedule(topic, timer, if_exists))


def schedule_at(histories, topic, timer_id, delay, body, if_exists):
    at = START + timedelta(seconds=delay)
    timers = [
        encode_timer(body, None, timer_id=one, activate_at=at) for one in {timer_id, "b", "d"}
    ]
    (operation,) = OPERATIONS.schedule_batch(topic, timers, if_exists)
    histories.ask(operation)


def reschedule(histories, topic, timer_id, delay, *_):
    length = timedelta(seconds=delay)
    histories.ask(OPERATIONS.reschedule(topic, timer_id, activate_in=length, activate_at=None))


def move(histories, topic, timer_id, delay, *_):
    at = START + timedelta(seconds=delay)
    histories.ask(move_some(KEYS, topic, [timer_id, "x"], activate_in=None, activate_at=at))


def cancel(histories, topic, timer_id, *_):
    histories.ask(cancel_some(KEYS, topic, [timer_id, "x"]))


def cancel_all(histories, topic, *_):
    histories.ask(OPERATIONS.cancel_all(topic))


def look(histories, topic, timer_id, delay, *_):
    moment = START + timedelta(seconds=delay)
    histories.ask(OPERATIONS.has_pending(topic, timer_id))
    histories.ask(OPERATIONS.get(topic, timer_id))
    histories.ask(OPERATIONS.count(topic))
    histories.ask(overview(KEYS, TOPICS[2:], LENGTHS))
    histories.ask(count_running(KEYS, topic, timedelta(seconds=30)))
    histories.list_all(topic)
    histories.list_all(f"{topic}:dead")
    histories.list_all(topic, after=moment)
    histories.list_all(topic, before=moment)


def claim(histories, topic, _, delay, *__):
    step(histories, topic, [], delay, limit=2)


def settle(action):
    def settle(histories, topic, timer_id, delay, *_):
        limit = int(timer_id == "a")
        some = [one for one in histories.claims if one[0] == topic][-4:]
        detail = {
            b"commit": b"",
            b"nack": b"" if delay < 1 else b"+%.6f" % delay,
            b"renew": b"%.6f5" % (START.timestamp() + delay),
        }
        # A worker settles a timer once: of each id the last lease, or the one before.
        unique = {claimed.timer_id: (claimed, lease) for _, claimed, lease in some[: 4 - limit]}
        settlements = [
            Settlement(
                action,
                claimed.timer_id,
                b"1.0000005 " + lease,
                letter_of(topic, claimed)
                if action == b"dead"
                else detail.get(action, claimed.previous_score),
            )
            for claimed, lease in unique.values()
        ]
        step(histories, topic, settlements, delay, limit)

    return settle


def letter_of(topic, claimed):
    ending = Ending(
        reason="attempts",
        topic=topic,
        timer_id=claimed.timer_id,
        first_due=claimed.first_due or claimed.previous_score,
        attempts=claimed.attempt,
    )
    return write_dead_letter(claimed.payload, ending)


def redrive(histories, topic, *_):
    histories.ask_steps(OPERATIONS.redrive(f"{topic}:dead"))


def step(histories, topic, settlements, delay, limit):
    # On one topic attempts are counted, on the other not.
    operation = OPERATIONS.settle_and_claim(
        topic,
        settlements,
        limit=limit,
        lease_ttl=30.25,
        jitter=int(abs(delay)),
        suspect_from=2 if topic == TOPICS[0] else None,
        most_suspects=round(abs(delay)) % 3,
        dead_topic=f"{topic}:dead",
    )
    done = histories.ask(operation)
    histories.claims += [(topic, claimed, done.lease) for claimed in done.claimed]


def tick(histories, _, __, delay, *___):
    histories.clock.tick(timedelta(seconds=abs(delay)))


EVENTS = {
    schedule: 3,
    schedule_at: 1,
    reschedule: 1,
    move: 1,
    cancel: 1,
    cancel_all: 0.1,
    look: 3,
    claim: 4,
    settle(b"commit"): 1,
    settle(b"nack"): 2,
    settle(b"release"): 2,
    settle(b"renew"): 1,
    settle(b"dead"): 1,
    redrive: 0.3,
    tick: 3,
}


@pytest.mark.parametrize("seed", range(6))
def test_the_same_history_has_the_same_answers(histories, seed):
    """Long histories of few timers: leases end, are taken over, and are settled too late."""
    choice = random.Random(seed)
    histories.begin()
    for event in choice.choices(list(EVENTS), list(EVENTS.values()), k=400):
        event(
            histories,
            choice.choice(TOPICS),
            choice.choice(IDS),
            choice.choice(SECONDS),
            choice.randbytes(choice.randrange(3)),
            choice.choice(["replace", "keep", "error"]),
        )
