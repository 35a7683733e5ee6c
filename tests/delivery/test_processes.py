"""Workers that are real processes: killed, terminated, and several at a time."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from bench import HOUR, Bench
from faces import Home
from waiting import wait_until

from faststream_redis_timers_sync import TimerPublishMessage

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
START = 30.0
"""Seconds that a process may take to come up on a busy machine."""


class Workers:
    """Starts applications of worker_app.py, and reads what they note."""

    def __init__(self, bench, notes, folder):
        self.bench = bench
        self.notes = notes
        self.folder = folder
        self.redis = bench.redis
        self._stack = ExitStack()
        self._logs = {}

    def start(self, count=1, **knobs):
        """Start processes and wait until they deliver."""
        settings = {
            "url": self.bench.home.server_url,
            "key_names": self.bench.home.key_names,
            "notes": self.notes,
            "knobs": knobs,
        }
        env = {
            **os.environ,
            "WORKER_SETTINGS": json.dumps(settings),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{FOLDER}",
        }
        before = self.redis.llen(f"{self.notes}:started")
        processes = []
        for _ in range(count):
            # A file, since nobody reads a pipe meanwhile.
            log = self._stack.enter_context((self.folder / uuid4().hex).open("w+"))
            process = subprocess.Popen(
                [sys.executable, "-m", "faststream", "run", "worker_app:app"],
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            self._stack.enter_context(process)
            self._stack.callback(process.kill)
            self._logs[process] = log
            processes.append(process)

        def have_started():
            for process in processes:
                assert process.poll() is None, self.output_of(process)
            return self.redis.llen(f"{self.notes}:started") == before + count

        wait_until(have_started, START)
        return processes

    def output_of(self, process):
        log = self._logs[process]
        log.seek(0)
        return log.read()

    def noted(self, what):
        return [json.loads(note) for note in self.redis.lrange(f"{self.notes}:{what}", 0, -1)]

    def open_gate(self):
        self.redis.set(f"{self.notes}:gate", 1)

    def close(self):
        self._stack.close()
        keys = [f"{self.notes}:{what}" for what in ("started", "begun", "ended", "gate")]
        self.redis.delete(*keys)


@pytest.fixture
def process_bench(server_url, key_names):
    bench = Bench(Home(key_names, server_url))
    yield bench
    bench.redis.close()


@pytest.fixture
def workers(process_bench, key_names, tmp_path):
    notes = key_names["timeline_key"].replace("timeline", "notes")
    workers = Workers(process_bench, notes, tmp_path)
    yield workers
    workers.close()


def test_what_a_killed_worker_held_is_delivered_again_when_its_lease_ends(process_bench, workers):
    bench = process_bench
    (victim,) = workers.start(lease_ttl=1.0)
    bench.schedule("1", "hang")
    wait_until(lambda: workers.noted("begun"))
    lease = bench.score("1")
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    assert bench.is_leased("1")
    bench.client.schedule("x", bench.topic, timer_id="2", activate_in=HOUR)
    # It hangs again: that is how the second lease can be looked at.
    workers.start(lease_ttl=1.0, max_concurrent=1)
    wait_until(lambda: len(workers.noted("begun")) == 2)

    (first_id, first_redelivered, _), (again_id, again_redelivered, _) = workers.noted("begun")
    assert (first_id, first_redelivered) == ("1", False)
    assert (again_id, again_redelivered) == ("1", True)
    # A second claim gives a second lease, and none is given before the first has ended.
    assert bench.score("1") >= lease + 1.0 - 0.011  # leases are jittered by 10 ms


def test_a_terminated_worker_finishes_what_runs_and_gives_back_what_it_has_not_begun(
    process_bench, workers
):
    bench = process_bench
    (worker,) = workers.start(max_concurrent=2)
    bench.schedule("1", "wait for the gate")
    bench.schedule("2", "wait for the gate")
    wait_until(lambda: len(workers.noted("begun")) == 2)
    bench.schedule("waiting")
    due = bench.score("waiting")
    worker.send_signal(signal.SIGTERM)
    # It does not go while its handlers are at work, and takes nothing new.
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.5)
    assert bench.is_leased("1")
    assert bench.is_leased("2")
    workers.open_gate()
    assert worker.wait(20) == 0, workers.output_of(worker)

    assert sorted(note[0] for note in workers.noted("ended")) == ["1", "2"]
    assert bench.is_gone("1")
    assert bench.is_gone("2")
    assert bench.score("waiting") == due
    assert "Traceback" not in workers.output_of(worker)


def test_what_a_terminated_worker_waited_for_another_one_delivers(process_bench, workers):
    bench = process_bench
    first, _second = workers.start(2, max_concurrent=50)
    ids = [f"{n}" for n in range(500)]
    bench.client.schedule_batch(
        [TimerPublishMessage("x", timer_id=timer_id) for timer_id in ids], bench.topic
    )
    wait_until(lambda: workers.noted("begun"))
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0, workers.output_of(first)
    # The lease is 30 s: nothing may be left to it.
    wait_until(lambda: bench.client.count_pending(bench.topic) == 0)

    assert Counter(note[0] for note in workers.noted("ended")) == dict.fromkeys(ids, 1)
    assert not any(redelivered for _, redelivered, _ in workers.noted("ended"))


def test_two_workers_share_many_timers_and_none_is_delivered_twice(process_bench, workers):
    bench = process_bench
    workers.start(2, max_concurrent=20)
    ids = [f"{n}" for n in range(2000)]
    bench.client.schedule_batch(
        [TimerPublishMessage("x", timer_id=timer_id) for timer_id in ids], bench.topic
    )
    wait_until(lambda: bench.client.count_pending(bench.topic) == 0, 60)

    begun = workers.noted("begun")
    assert Counter(note[0] for note in begun) == dict.fromkeys(ids, 1)
    assert len({pid for _, _, pid in begun}) == 2
