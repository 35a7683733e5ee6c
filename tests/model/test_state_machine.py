"""All operations, several workers and the passing of time, against the plain model.

After each step the keys hold what the model does. Time is the server's own and really passes, by
milliseconds: delays and leases are that short, or so long that they do not end.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from clusters import Cluster
from front_ends import ClusterHome, Home
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from model import Count, Entry, Topic

from faststream_redis_timers_sync import Every, TimerExistsError
from faststream_redis_timers_sync.protocol.dead_letters import Ending, write_dead_letter
from faststream_redis_timers_sync.protocol.envelope import read_envelope
from faststream_redis_timers_sync.protocol.management import move_some
from faststream_redis_timers_sync.protocol.model import Claimed, Settlement
from faststream_redis_timers_sync.protocol.timers import encode_timer
from faststream_redis_timers_sync.protocol.times import lease_text, score_text, time_of

TOPICS = st.sampled_from(["invoices", "invoices", "invoices", "orders"])
IDS = st.sampled_from(["a", "b", "ß"])
BODIES = st.binary(max_size=3)
NOW = timedelta(0)
DELAYS = st.sampled_from([NOW, NOW, timedelta(milliseconds=3), timedelta(hours=1)])
LEASES = st.sampled_from([0.004, 30.0])
SERIES = st.sampled_from([Every(hours=1), Every(hours=2), Every(seconds=1)])
OWNERS = st.sampled_from([None, "shop", "site"])
NEXT = st.sampled_from([timedelta(seconds=-1), NOW, timedelta(milliseconds=3), timedelta(hours=1)])
"""When a series is due next, counted from a claim."""
NTH = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 5])
"""Which claim is settled, counted from the last."""
WORKERS = {"one that counts": 3, "one that does not": None}
"""Names, and from which attempt on each suspects a timer."""

SLACK = 2e-6
"""Seconds by which doubles of Unix time may be off."""


class TimersMachine(RuleBasedStateMachine):
    """Does everything twice: on a server, and in the model."""

    make_home: Callable[[dict[str, Any]], Home]

    def __init__(self) -> None:
        super().__init__()
        own = f"test-{uuid4().hex}"
        self.names = {
            f"{name}_key": f"{own}-{name}" for name in ("timeline", "payloads", "attempts")
        }
        self.home = self.make_home(self.names)
        self.operations = self.home.operations
        self.runner = self.home.runner
        self.topics: dict[str, Topic] = {}
        # No bundle of hypothesis': what is claimed depends on the time.
        self.claims: list[tuple[str, str, Claimed, list[bytes]]] = []

    def teardown(self) -> None:
        assert self.home.leave() == []

    # --- help

    def topic(self, name: str) -> Topic:
        return self.topics.setdefault(name, Topic())

    def score(self, topic: str, timer_id: str) -> float:
        return self.home.redis.zscore(self.operations.keys.of(topic).timeline, timer_id)

    @contextmanager
    def server_time(self, topic: str) -> Iterator[list[float]]:
        """Give the time of a topic's server before and, at the end of the block, after."""
        times = [self.home.now(topic).timestamp()]
        yield times
        times.append(self.home.now(topic).timestamp())

    def given_due(self, topic: str, timer_id: str, delay: timedelta, times: list[float]) -> float:
        """Give the due time that the server has made of a delay, if that can be."""
        due = self.score(topic, timer_id)
        assert times[0] - SLACK <= due - delay.total_seconds() <= times[1] + SLACK
        return due

    @staticmethod
    def entry_of(score: float, payload: bytes) -> Entry:
        """Make an entry of a payload, which says whether it is one of a series."""
        headers = read_envelope(payload).headers
        return Entry(
            score,
            payload,
            definition=headers.get("timer-repeat"),
            owner=headers.get("timer-repeat-owner"),
        )

    # --- who schedules

    @rule(topic=TOPICS, timer_id=IDS, body=BODIES, repeat=SERIES, owner=OWNERS)
    def schedule_series(self, topic, timer_id, body, repeat, owner):
        timer = encode_timer(
            body, None, timer_id=timer_id, repeat=repeat, repeat_owner=owner, topic=topic
        )
        with self.server_time(topic) as times:
            reply = self.runner.run_steps(self.operations.schedule_batch(topic, [timer]))
        score = self.score(topic, timer_id)
        held = self.topic(topic)
        before = held.timers.get(timer_id)
        is_now = times[0] - SLACK <= score <= times[1] + SLACK
        # Whether what is there was overdue, which time came first, and whether that had passed when
        # the call came, the server knows.
        for now in {*times, *([before.score] if before else [])}:
            for first in {repeat.after(time_of(moment)).timestamp() for moment in times}:
                held.timers = {**held.timers, **({timer_id: before} if before else {})}
                if before is None:
                    held.timers.pop(timer_id, None)
                told = held.update(timer_id, self.entry_of(first, timer.payload), now)
                found = held.timers[timer_id]
                if told.encode() != reply:
                    continue
                is_due_now = (found.score == now in times) or found.score == first <= score
                if found.score == score or (is_now and is_due_now):
                    found.score = score
                    return
        raise AssertionError((reply, score, before, times))

    @rule(topic=TOPICS, timer_id=IDS)
    def pause(self, topic, timer_id):
        entry = self.topic(topic).timers.get(timer_id)
        is_one_shot = entry is not None and entry.definition is None
        try:
            told = self.runner.run(self.operations.pause(topic, timer_id))
        except ValueError:
            assert is_one_shot
            return
        assert not is_one_shot
        assert self.topic(topic).pause(timer_id) is told

    @rule(topic=TOPICS, timer_id=IDS)
    def resume(self, topic, timer_id):
        with self.server_time(topic) as times:
            told = self.runner.run_steps(self.operations.resume(topic, timer_id))
        first = 0.0
        if told:
            repeat = self.runner.run(self.operations.get(topic, timer_id)).repeat
            first = self.score(topic, timer_id)
            expected = {repeat.after(time_of(moment)).timestamp() for moment in times}
            if first not in expected:
                # It has passed while the call was on its way, so that it is due now.
                assert min(expected) <= self.given_due(topic, timer_id, NOW, times)
        assert self.topic(topic).resume(timer_id, first) is told

    @rule(topic=TOPICS, timer_id=IDS, owner=st.sampled_from(["shop", "site"]))
    def prune(self, topic, timer_id, owner):
        told = self.runner.run(self.operations.prune(topic, timer_id, owner))
        assert self.topic(topic).prune(timer_id, owner) is told

    @rule(
        topic=TOPICS,
        timer_id=IDS,
        body=BODIES,
        delay=DELAYS,
        if_exists=st.sampled_from(["replace", "keep", "error"]),
    )
    def schedule(self, topic, timer_id, body, delay, if_exists):
        timer = encode_timer(body, None, timer_id=timer_id, activate_in=delay)
        refuses = if_exists == "error" and self.topic(topic).stands_in_the_way(timer_id)
        stays = if_exists == "keep" and self.topic(topic).stands_in_the_way(timer_id)
        with self.server_time(topic) as times:
            try:
                self.runner.run(self.operations.schedule(topic, timer, if_exists))
            except TimerExistsError:
                assert refuses
                return
        assert not refuses
        due = 0.0 if stays else self.given_due(topic, timer_id, delay, times)
        assert self.topic(topic).schedule(timer_id, timer.payload, due, if_exists) is not stays

    @rule(topic=TOPICS, timer_ids=st.sets(IDS, min_size=2), delay=DELAYS)
    def schedule_batch(self, topic, timer_ids, delay):
        timers = [encode_timer(b"x", None, timer_id=one, activate_in=delay) for one in timer_ids]
        with self.server_time(topic) as times:
            self.runner.run_steps(self.operations.schedule_batch(topic, timers))
        for timer in timers:
            due = self.given_due(topic, timer.timer_id, delay, times)
            self.topic(topic).schedule(timer.timer_id, timer.payload, due, "replace")

    @rule(topic=TOPICS, timer_id=IDS, delay=DELAYS, through_page=st.booleans())
    def reschedule(self, topic, timer_id, delay, through_page):
        with self.server_time(topic) as times:
            if through_page:
                (state,) = self.runner.run(
                    move_some(
                        self.operations.keys, topic, [timer_id], activate_in=delay, activate_at=None
                    )
                )
                entry = self.topic(topic).timers.get(timer_id)
                is_paused = entry is not None and entry.is_paused
                assert (state == "paused") is is_paused
                if is_paused:
                    return
                moved = state != "unknown"
            else:
                moved = self.runner.run(
                    self.operations.reschedule(topic, timer_id, activate_in=delay, activate_at=None)
                )
        due = self.given_due(topic, timer_id, delay, times) if moved else 0.0
        assert self.topic(topic).reschedule(timer_id, due) is moved

    @rule(topic=TOPICS, timer_id=IDS)
    def cancel(self, topic, timer_id):
        waited = self.runner.run(self.operations.cancel(topic, timer_id))
        assert self.topic(topic).cancel(timer_id) is waited

    @rule(topic=TOPICS, timer_ids=st.sets(IDS))
    def cancel_many(self, topic, timer_ids):
        count = self.runner.run_steps(self.operations.cancel_many(topic, timer_ids))
        assert sum(map(self.topic(topic).cancel, timer_ids)) == count

    @rule(topic=TOPICS, sure=st.integers(0, 5))
    def cancel_all(self, topic, sure):
        if sure:
            return
        assert self.runner.run(self.operations.cancel_all(topic)) == len(self.topic(topic).timers)
        self.topic(topic).timers.clear()

    @rule(topic=TOPICS, timer_id=IDS)
    def schedule_as_a_client_that_counts_nothing(self, topic, timer_id):
        """The package of the same name up to 0.5: two commands, and a due time that is its own."""
        keys = self.operations.keys.of(topic)
        due = self.home.now(topic).timestamp()
        payload = encode_timer(b"old", None, timer_id=timer_id).payload
        self.home.redis.zadd(keys.timeline, {timer_id: due})
        self.home.redis.hset(keys.payloads, timer_id, payload)
        old = self.topic(topic).timers.get(timer_id)
        self.topic(topic).timers[timer_id] = Entry(due, payload, old and old.count)

    # --- who looks

    @rule(topic=TOPICS, timer_id=IDS)
    def look(self, topic, timer_id):
        held = self.topic(topic)
        entry = held.timers.get(timer_id)
        assert self.runner.run(self.operations.count(topic)) == len(held.timers)
        assert self.runner.run(self.operations.has_pending(topic, timer_id)) is (entry is not None)
        timer = self.runner.run(self.operations.get(topic, timer_id))
        assert (timer is None) is (entry is None)
        if timer is not None:
            assert timer.running is not entry.waits
            assert (timer.repeat and timer.repeat.definition) == entry.definition
            assert timer.paused is entry.is_paused
        listed = [one.timer_id for one in self.runner.iterate(self.operations.iterate(topic))]
        assert listed == held.in_order()

    # --- workers

    @rule(topic=TOPICS, worker=st.sampled_from(list(WORKERS)), lease_ttl=LEASES)
    def claim_all(self, topic, worker, lease_ttl):
        """Schedule what is due now, and claim it: most histories need both."""
        self.schedule_batch(topic, {"a", "b"}, NOW)
        self.claim(topic, worker, 3, lease_ttl, 3, 0)

    @rule(
        topic=TOPICS,
        worker=st.sampled_from(list(WORKERS)),
        limit=st.integers(1, 3),
        lease_ttl=LEASES,
        most_suspects=st.integers(-2, 3),
        jitter=st.integers(0, 9999),
    )
    def claim(self, topic, worker, limit, lease_ttl, most_suspects, jitter):
        step = self.runner.run(
            self.operations.settle_and_claim(
                topic,
                [],
                limit=limit,
                lease_ttl=lease_ttl,
                jitter=jitter,
                suspect_from=WORKERS[worker],
                most_suspects=most_suspects,
            )
        )
        lease = float(step.lease) if step.claimed else 0.0
        if step.claimed:
            assert lease_ttl - SLACK <= lease - step.now <= lease_ttl + 0.01 + SLACK
        # Where as many suspects may be claimed as there is room, none is passed over.
        most = 9 if abs(most_suspects) >= limit else most_suspects
        expected = self.topic(topic).claim(step.now, lease, limit, WORKERS[worker], most)
        found = [
            (one.timer_id.decode(), float(one.previous_score), one.attempt) for one in step.claimed
        ]
        assert found == expected
        self.claims += [(topic, worker, one, [step.lease]) for one in step.claimed]

    @rule(nth=NTH)
    def commit(self, nth):
        self.settle(nth, "commit")

    @rule(nth=NTH, delay=DELAYS)
    def nack(self, nth, delay):
        self.settle(nth, "nack", delay)

    @rule(nth=NTH)
    def release(self, nth):
        self.settle(nth, "release")

    @rule(nth=NTH, length=LEASES)
    def renew(self, nth, length):
        self.settle(nth, "renew", length=length)

    @rule(nth=NTH)
    def dead_letter(self, nth):
        self.settle(nth, "dead")

    @rule(nth=NTH, following=NEXT, gives_up=st.booleans())
    def repeat(self, nth, following, gives_up):
        self.settle(nth, "repeat", following, gives_up=gives_up)

    @rule(nth=NTH)
    def repeat_again(self, nth):
        """As after a lost reply: the same settlement twice."""
        self.settle(nth, "repeat", timedelta(hours=1))
        self.settle(nth, "repeat", timedelta(hours=1))

    def settle(self, nth, action, delay=NOW, length=0.0, *, gives_up=False):
        if not self.claims:
            return
        # Of the last ones: most may still have their lease.
        topic, worker, claimed, leases = self.claims[-1 - nth % len(self.claims)]
        timer_id = claimed.timer_id.decode()
        detail, due = self.detail_of(action, claimed, topic, delay, length, gives_up=gives_up)
        settlement = Settlement(action.encode(), claimed.timer_id, b" ".join(leases), detail)
        with self.server_time(topic) as times:
            step = self.runner.run(
                self.operations.settle_and_claim(
                    topic,
                    [settlement],
                    limit=0,
                    lease_ttl=30.0,
                    jitter=0,
                    suspect_from=WORKERS[worker],
                    dead_topic=f"{topic}:dead",
                )
            )
        held = self.topic(topic)
        next_due = due if action == "repeat" else None
        outcome = held.settle(timer_id, [float(one) for one in leases], next_due)
        assert step.outcomes.decode() == outcome
        if outcome != "1":
            return
        entry = held.timers[timer_id]
        move = partial(held.move, timer_id, counts=WORKERS[worker] is not None)
        match action:
            case "commit":
                del held.timers[timer_id]
            case "dead":
                del held.timers[timer_id]
                self.add_dead_letter(topic, timer_id, detail, times)
            case "repeat":
                entry.score, entry.count = due, None
                if gives_up:
                    self.add_dead_letter(topic, timer_id, detail.partition(b" ")[2], times)
            case "renew" if due > entry.score:
                move(due)
                leases.append(detail)
            case "release":
                move(due, change=-1)
            case "nack":
                move(self.put_off(topic, timer_id, entry, delay, times))

    def put_off(self, topic, timer_id, entry, delay, times):
        """Give the due time of a timer that is kept, if that can be."""
        if delay:
            return self.given_due(topic, timer_id, delay, times)
        due = self.score(topic, timer_id)
        assert 0 < entry.score - due < 1e-6
        return due

    def add_dead_letter(self, topic, timer_id, detail, times):
        """Put a dead letter into the model, with the id that it is redriven under."""
        length_of_id, _, rest = detail.partition(b":")
        dead_id = rest[: int(length_of_id)].decode()
        dead_letter = Entry(0.0, rest[int(length_of_id) :])
        dead_letter.score = self.given_due(f"{topic}:dead", dead_id, NOW, times)
        is_occurrence = "dead-letter-repeat" in read_envelope(dead_letter.payload).headers
        dead_letter.home_id = dead_id if is_occurrence else timer_id
        self.topic(f"{topic}:dead").timers[dead_id] = dead_letter

    def detail_of(self, action, claimed, topic, delay, length, *, gives_up):
        """Give what a settlement says, and the score that it asks for, if it names one."""
        match action:
            case "nack" if delay:
                return b"+%d.%06d" % (delay.seconds, delay.microseconds), 0.0
            case "release":
                return claimed.previous_score, float(claimed.previous_score)
            case "renew":
                lease = lease_text(self.home.now(topic).timestamp() + length, 7)
                return lease, float(lease)
            case "dead":
                return self.dead_letter_of(claimed, topic), 0.0
            case "repeat":
                due = score_text(time_of(float(claimed.previous_score)) + delay)
                dead_letter = b" " + self.dead_letter_of(claimed, topic) if gives_up else b""
                return due + dead_letter, float(due)
            case _:
                return b"", 0.0

    @staticmethod
    def dead_letter_of(claimed: Claimed, topic: str) -> bytes:
        definition = read_envelope(claimed.payload).headers.get("timer-repeat")
        ending = Ending(
            reason="rejected",
            topic=topic,
            timer_id=claimed.timer_id,
            first_due=claimed.previous_score,
            definition=definition,
            occurrence=None if definition is None else time_of(float(claimed.previous_score)),
        )
        return write_dead_letter(claimed.payload, ending)

    @rule(topic=TOPICS)
    def redrive(self, topic):
        dead, home = self.topic(f"{topic}:dead"), self.topic(topic)
        with self.server_time(topic) as times:
            count = self.runner.run_steps(self.operations.redrive(f"{topic}:dead"))
        moved = 0
        for dead_id in dead.in_order():
            timer_id = dead.timers[dead_id].home_id
            if not home.stands_in_the_way(timer_id, recurring=True):
                payload = self.home.redis.hget(self.operations.keys.of(topic).payloads, timer_id)
                due = self.given_due(topic, timer_id, timedelta(0), times)
                home.timers[timer_id] = self.entry_of(due, payload)
                del dead.timers[dead_id]
                moved += 1
        assert moved == count

    @rule()
    def tick(self):
        time.sleep(0.004)

    # --- what holds after each step

    @invariant()
    def the_keys_hold_what_the_model_does(self):
        for name, topic in self.topics.items():
            timeline, payloads, attempts = self.operations.keys.of(name)
            scores = self.home.redis.zrange(timeline, 0, -1, withscores=True)
            assert {one.decode(): score for one, score in scores} == {
                one: entry.score for one, entry in topic.timers.items()
            }
            held = self.home.redis.hgetall(payloads)
            assert {one.decode(): payload for one, payload in held.items()} == {
                one: entry.payload for one, entry in topic.timers.items()
            }
            counted = {
                one.decode(): self.read_count(value)
                for one, value in self.home.redis.hgetall(attempts).items()
            }
            assert counted == {
                one: entry.count for one, entry in topic.timers.items() if entry.count
            }

    @invariant()
    def no_key_outlives_its_timers(self):
        expected = {
            key
            for name, topic in self.topics.items()
            if topic.timers
            for key in self.operations.keys.of(name)[:2]
        }
        attempts = {
            self.operations.keys.of(name).attempts
            for name, topic in self.topics.items()
            if any(entry.count for entry in topic.timers.values())
        }
        assert set(self.home.written()) == expected | attempts

    @staticmethod
    def read_count(value: bytes) -> Count:
        times, first_due, score = value.split(b" ")
        return Count(int(times), float(first_due), float(score))


def home_at(url: str | None, names: dict[str, Any]) -> Home:
    return Home(names, url)


def home_in(cluster: Cluster, names: dict[str, Any]) -> Home:
    return ClusterHome({**names, "hash_tags": True}, cluster.nodes[0].url)


@pytest.mark.parametrize("kind", ["real", "fake", "cluster"])
def test_any_history_does_to_the_keys_what_it_does_to_the_model(kind, request):
    machine = type("Machine", (TimersMachine,), {})
    if kind == "cluster":
        machine.make_home = partial(home_in, request.getfixturevalue("cluster"))
    else:
        url = request.getfixturevalue("server_url") if kind == "real" else None
        machine.make_home = partial(home_at, url)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
