"""A timer that kills its workers, and its neighbours: processes that a workers restarts."""

from collections import Counter
from contextlib import suppress

import pytest
from waiting import wait_until
from workers import START

from faststream_redis_timers_sync import TimerPublishMessage

TIMERS = 50
POISON = "25"
LEASE = 1.0
END = 90.0


@pytest.mark.parametrize(("count", "slots"), [(1, 5), (3, 20)])
@pytest.mark.parametrize("counted", [True, False])
def test_a_timer_that_kills_its_workers_takes_no_neighbour_with_it(
    process_bench, workers, count, slots, counted
):
    options = {"max_concurrent": slots}
    check_that_all_others_arrive(
        process_bench, workers, count, TIMERS, 5 if counted else 0, options
    )


@pytest.mark.parametrize(("count", "slots"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("counted", [True, False])
def test_a_timer_of_a_batch_that_kills_its_workers_takes_none_of_a_hundred_with_it(
    process_bench, workers, count, slots, counted
):
    """Each of the others loses one lease, of three attempts."""
    options = {"max_concurrent": slots, "batch": True}
    check_that_all_others_arrive(process_bench, workers, count, 100, 3 if counted else 0, options)


def check_that_all_others_arrive(bench, workers, count, timers, attempts, options):
    options |= {"lease_ttl": LEASE}
    if counted := attempts > 0:
        options |= {"max_attempts": attempts, "dead_letter_topic": "{topic}:dead"}
    ids = [f"{n}" for n in range(timers)]
    bench.client.schedule_batch(
        [
            TimerPublishMessage("kill" if id_ == POISON else "take a while", timer_id=id_)
            for id_ in ids
        ],
        bench.topic,
    )
    running = [None] * count

    def have_arrived():
        for n, process in enumerate(running):
            if process is None or process.poll() is not None:
                # It may be killed before it has told of its start.
                with suppress(AssertionError):
                    (running[n],) = workers.start(**options)
        left = set(bench.client.get_pending_timers(bench.topic))
        return left <= (set() if counted else {POISON})

    wait_until(have_arrived, END + START)
    ended = Counter(note[0] for note in workers.noted("ended"))
    dead_letters = list(bench.client.iter_timers(f"{bench.topic}:dead"))
    bench.client.cancel_all(f"{bench.topic}:dead")
    bench.client.cancel_all(bench.topic)

    # All others have arrived, and none of them was dead-lettered.
    assert set(ended) == set(ids) - {POISON}
    assert [one.headers["dead-letter-timer-id"] for one in dead_letters] == [POISON] * counted
    if counted:
        # The last attempt may have been one of a batch, so there is one more, alone.
        attempts += options.get("batch", False)
        assert dead_letters[0].headers["dead-letter-attempts"] == f"{attempts}"
        assert "dead-letter-error" not in dead_letters[0].headers
        begun = [note for note in workers.noted("begun") if note[0] == POISON]
        assert len(begun) == attempts
