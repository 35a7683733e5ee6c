"""Workers that are real processes: killed, terminated, and several at a time."""

import os
import signal
import subprocess
from collections import Counter

import pytest
from bench import HOUR
from waiting import wait_until

from faststream_redis_timers_sync import TimerPublishMessage


def assert_has_ended(process_id):
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)


def test_what_a_killed_worker_had_leased_is_redelivered(process_bench, workers):
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


def test_a_terminated_worker_finishes_what_runs_and_releases_what_it_has_not_begun(
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
    # It does not go while its handlers are at work, and claims nothing new.
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


async def test_a_terminated_worker_releases_at_once_what_it_has_claimed_and_not_begun(
    process_bench, workers, relay
):
    bench = process_bench
    (worker,) = workers.start(url=relay.url, max_polling_interval=0.05)
    bench.schedule("running", "wait for the gate")
    wait_until(lambda: workers.noted("begun"))
    dues = await bench.hold_a_claim(relay, "1", "2")
    worker.send_signal(signal.SIGTERM)
    workers.until_said(worker, "shutting down")
    assert bench.is_leased("1")
    relay.resume()
    # A handler is still at work, so the process is too.
    wait_until(lambda: {id_: bench.score(id_) for id_ in dues} == dues)
    assert worker.poll() is None
    workers.open_gate()
    assert worker.wait(20) == 0, workers.output_of(worker)

    assert [note[0] for note in workers.noted("ended")] == ["running"]
    assert bench.is_gone("running")
    assert {id_: bench.score(id_) for id_ in dues} == dues
    bench.client.cancel_all(bench.topic)


# --- faststream run --workers ------------------------------------------------------------


def test_two_workers_of_one_command_share_the_timers_and_finish_them_when_terminated(
    process_bench, workers
):
    bench = process_bench
    (parent,) = workers.start(workers=2, max_concurrent=2)
    ids = [f"{n}" for n in range(4)]
    for timer_id in ids:
        bench.schedule(timer_id, "wait for the gate")
    # Neither claims more than two: both are at work.
    wait_until(lambda: len(workers.noted("begun")) == 4)
    parent.send_signal(signal.SIGTERM)
    workers.until_said(parent, "Stopping child process 0")
    assert all(bench.is_leased(timer_id) for timer_id in ids)
    workers.open_gate()
    assert parent.wait(20) == 0, workers.output_of(parent)

    assert Counter(note[0] for note in workers.noted("ended")) == dict.fromkeys(ids, 1)
    (one, other) = {pid for _, _, pid in workers.noted("ended")} - {parent.pid}
    assert_has_ended(one)
    assert_has_ended(other)
    assert bench.client.count_pending(bench.topic) == 0
    assert "Traceback" not in workers.output_of(parent)


def test_two_workers_of_one_command_release_what_they_can_not_finish(process_bench, workers):
    bench = process_bench
    (parent,) = workers.start(workers=2, max_concurrent=1, graceful_timeout=0.1)
    for timer_id in ("1", "2"):
        bench.schedule(timer_id, "hang")
    wait_until(lambda: len(workers.noted("begun")) == 2)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(20) == 0, workers.output_of(parent)

    assert sorted(note[0] for note in workers.noted("begun")) == ["1", "2"]
    (one, other) = {pid for _, _, pid in workers.noted("begun")}
    assert_has_ended(one)
    assert_has_ended(other)
    for timer_id in ("1", "2"):
        assert bench.score(timer_id) is not None
        assert not bench.is_leased(timer_id)
    bench.client.cancel_all(bench.topic)
