"""This version and the previous one on the same topics, as in a rolling deploy, both ways."""

from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest
from peers import VERSION, PeerError
from waiting import wait_until


def test_the_two_are_two(versions):
    assert versions["old"].version() == VERSION
    assert versions["new"].version() == version("faststream-redis-timers")


@pytest.mark.parametrize("how", ["schedule", "publish"])
def test_what_one_schedules_the_other_delivers(pair, topic, how):
    first, second = pair
    second.start(topic)
    body = {"name": "José", "amount": 12.5, "tags": ["a", None]}

    timer_id = getattr(first, how)(
        body, topic, seconds=0.2, headers={"tenant": "Zoë"}, correlation_id="c-1"
    )

    (seen,) = second.wait_for(topic, 1)
    assert seen["body"] == body
    assert seen["timer_id"] == timer_id
    assert seen["correlation_id"] == "c-1"
    assert seen["content_type"] == "application/json"
    assert seen["headers"]["tenant"] == "Zoë"
    assert 0 <= seen["lateness"] < 10
    assert not seen["redelivered"]
    wait_until(lambda: first.pending(topic) == [])
    second.stop(topic)


def test_a_waiting_worker_is_woken_by_the_other_version(pair, topic):
    first, second = pair
    second.start(topic, polling_interval=60.0, max_polling_interval=60.0)

    first.schedule("later", topic, seconds=3600, timer_id="t")
    first.reschedule(topic, "t", seconds=0)

    (seen,) = second.wait_for(topic, 1)
    assert seen["lateness"] < 30
    second.stop(topic)


def test_what_one_schedules_the_other_inspects_moves_and_cancels(pair, topic):
    first, second = pair
    due_at = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=123457).isoformat()
    moved_to = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=765433).isoformat()
    first.schedule("one", topic, timer_id="t", at=due_at, headers={"k": "v"})

    assert second.get(topic, "t") == first.get(topic, "t")
    assert second.get(topic, "t")["due_at"] == due_at
    assert second.reschedule(topic, "t", at=moved_to)
    assert first.get(topic, "t")["due_at"] == moved_to
    assert second.schedule("two", topic, timer_id="t", at=due_at, if_exists="keep") == "t"
    assert first.get(topic, "t")["body"] == "one"
    with pytest.raises(PeerError, match="TimerExistsError"):
        second.publish("three", topic, timer_id="t", at=due_at, if_exists="error")
    second.publish("four", topic, timer_id="t", at=due_at)
    assert first.get(topic, "t")["body"] == "four"
    assert second.cancel(topic, "t")
    assert first.get(topic, "t") is None
    assert not first.cancel(topic, "t")


def test_what_one_schedules_the_other_cancels_together(pair, topic):
    first, second = pair
    for timer_id in "abc":
        first.schedule("later", topic, timer_id=timer_id, seconds=3600)

    assert second.cancel_timers(topic, ["a", "b", "unknown"]) == 2
    assert first.pending(topic) == ["c"]

    second.start(topic)
    first.schedule("wait", topic, timer_id="t")
    second.wait_for(topic, 1)
    # One waits, and one runs.
    assert first.cancel_all(topic) == 2
    assert second.pending(topic) == []
    second.open(topic)
    second.stop(topic)


def test_a_lease_of_one_is_a_lease_to_the_other(pair, topic):
    first, second = pair
    second.start(topic)
    first.schedule("wait", topic, timer_id="t")
    second.wait_for(topic, 1)

    assert first.get(topic, "t")["running"]
    # It runs, so it was not cancelled in time, but is gone.
    assert not first.cancel(topic, "t")
    assert second.pending(topic) == []
    second.open(topic)
    second.stop(topic)


def test_what_is_scheduled_while_the_other_runs_it_stands(pair, topic):
    first, second = pair
    second.start(topic)
    first.schedule("wait", topic, timer_id="t")
    second.wait_for(topic, 1)

    first.schedule("next", topic, timer_id="t", seconds=0.5)
    second.open(topic)

    assert [seen["body"] for seen in second.wait_for(topic, 2)] == ["wait", "next"]
    wait_until(lambda: first.pending(topic) == [])
    second.stop(topic)


def test_what_one_runs_the_other_reschedules_and_it_runs_again(pair, topic):
    first, second = pair
    second.start(topic)
    first.schedule("wait", topic, timer_id="t")
    second.wait_for(topic, 1)

    assert first.reschedule(topic, "t", seconds=3600)
    assert not second.get(topic, "t")["running"]
    # The handler ends, and its commit removes nothing: the timer no longer has that lease.
    second.open(topic)
    assert first.reschedule(topic, "t", seconds=0)

    assert [seen["body"] for seen in second.wait_for(topic, 2)] == ["wait", "wait"]
    wait_until(lambda: first.pending(topic) == [])
    second.stop(topic)


def test_a_delay_that_a_handler_of_one_asks_for_holds_for_the_other(pair, topic):
    first, second = pair
    first.start(topic, max_attempts=5)
    second.schedule("nack", topic, timer_id="t")
    first.wait_for(topic, 1)
    first.stop(topic)

    assert not second.get(topic, "t")["running"]
    second.start(topic, max_attempts=5)

    (seen,) = second.wait_for(topic, 1)
    assert seen["attempt"] == 2
    # It counts from the first due time, and the delay is 2 seconds.
    assert seen["lateness"] >= 2
    assert len(first.seen(topic)) == 1
    wait_until(lambda: first.pending(topic) == [])
    second.stop(topic)


def test_attempts_of_one_count_for_the_other_which_dead_letters(pair, topic):
    first, second = pair
    dead = f"{topic}:dead"
    options = {"max_attempts": 3, "dead_letter_topic": "{topic}:dead"}
    first.start(topic, delay=1.0, **options)
    first.publish("fail", topic, timer_id="t", headers={"k": "v"}, correlation_id="c-1")
    first.wait_for(topic, 1)
    first.stop(topic)
    second.start(topic, **options)

    wait_until(lambda: first.pending(dead) != [])

    assert [seen["attempt"] for seen in first.seen(topic)] == [1]
    assert [seen["attempt"] for seen in second.seen(topic)] == [2, 3]
    second.stop(topic)
    (dead_letter_id,) = second.pending(dead)
    dead_letter = first.get(dead, dead_letter_id)
    assert dead_letter == second.get(dead, dead_letter_id)
    assert dead_letter["body"] == "fail"
    assert dead_letter["headers"]["k"] == "v"

    # What the second has dead-lettered the first redrives, and its attempts begin again.
    assert first.redrive(dead) == 1
    first.start(topic, **options)
    wait_until(lambda: second.pending(dead) != [])
    assert [seen["attempt"] for seen in first.seen(topic)] == [1, 1, 2, 3]
    assert {seen["correlation_id"] for seen in first.seen(topic)} == {"c-1"}
    first.stop(topic)
    (dead_letter_id,) = first.pending(dead)
    assert second.cancel(dead, dead_letter_id)


def test_what_a_killed_worker_had_leased_the_other_version_redelivers(
    pair, topic, run_peer, versions
):
    first, second = pair
    name = next(name for name, peer in versions.items() if peer is first)
    with run_peer(name) as killed:
        killed.start(topic, lease_ttl=1.0, max_attempts=5)
        second.schedule("wait", topic, timer_id="t")
        killed.wait_for(topic, 1)
        killed.process.kill()

    second.start(topic, lease_ttl=30.0, max_attempts=5)

    (seen,) = second.wait_for(topic, 1)
    assert seen["redelivered"]
    assert seen["attempt"] == 2
    second.open(topic)
    wait_until(lambda: first.pending(topic) == [])
    second.stop(topic)


def test_what_a_stopping_worker_releases_the_other_version_delivers_at_once(pair, topic):
    first, second = pair
    # Long enough that no lease expires meanwhile.
    options = {"lease_ttl": 300.0, "max_attempts": 5}
    first.start(topic, **options)
    second.schedule("wait", topic, timer_id="t")
    first.wait_for(topic, 1)

    first.stop(topic)
    assert not second.get(topic, "t")["running"]
    second.start(topic, **options)

    (seen,) = second.wait_for(topic, 1)
    assert seen["attempt"] == 1
    assert not seen["redelivered"]
    second.open(topic)
    wait_until(lambda: first.pending(topic) == [])
    second.stop(topic)


def test_workers_of_both_share_a_topic_and_each_timer_runs_once(pair, topic):
    first, second = pair
    for peer in pair:
        peer.start(topic, max_concurrent=5, polling_interval=0.01, max_polling_interval=0.05)
    wanted = list(range(200))
    for begin in range(0, 200, 10):
        (first, second)[begin // 10 % 2].publish_batch(*wanted[begin : begin + 10], topic=topic)

    wait_until(lambda: sum(len(peer.seen(topic)) for peer in pair) >= 200, timeout=30.0)
    wait_until(lambda: first.pending(topic) == [])

    bodies = [[seen["body"] for seen in peer.seen(topic)] for peer in pair]
    assert sorted(bodies[0] + bodies[1]) == wanted
    assert all(bodies)
    for peer in pair:
        peer.stop(topic)


def test_batches_of_this_version_and_single_timers_of_the_other_share_a_topic(versions, topic):
    """Batches are how a worker calls its handler: nothing in Redis tells of them."""
    old, new = versions["old"], versions["new"]
    new.start(topic, batch=True)
    old.publish_batch(*range(50), topic=topic)
    new.wait_for(topic, 50)
    old.start(topic)
    wait_until(lambda: old.pending(topic) == [])

    assert sorted(seen["body"] for seen in new.seen(topic)) == list(range(50))
    assert old.seen(topic) == []
    with pytest.raises(PeerError, match="batch"):
        old.start(f"{topic}-2", batch=True)
    old.stop(topic)
    new.stop(topic)


def test_the_old_version_ends_a_series_by_delivering_it_once(versions, topic):
    """What docs/how-to/upgrade.md warns of: the version before recurring timers knows none."""
    old, new = versions["old"], versions["new"]
    new.every("tick", topic, 3600.0, "s")
    old.reschedule(topic, "s", seconds=0)
    old.start(topic)

    old.wait_for(topic, 1)
    wait_until(lambda: new.pending(topic) == [])

    old.stop(topic)


def test_the_old_version_replaces_a_series_by_a_single_timer(versions, topic):
    old, new = versions["old"], versions["new"]
    new.every("tick", topic, 3600.0, "s")
    old.schedule("once", topic, timer_id="s")
    new.start(topic)

    new.wait_for(topic, 1)
    wait_until(lambda: old.pending(topic) == [])

    assert [seen["body"] for seen in new.seen(topic)] == ["once"]
    new.stop(topic)


def test_the_old_version_leaves_a_paused_series_alone(versions, topic):
    old, new = versions["old"], versions["new"]
    new.every("tick", topic, 3600.0, "s")
    new.pause(topic, "s")
    old.start(topic)
    old.schedule("other", topic)
    old.wait_for(topic, 1)

    assert old.get(topic, "s")["due_at"].startswith("9999")
    wait_until(lambda: old.pending(topic) == ["s"])
    old.stop(topic)
    assert new.cancel(topic, "s")
