"""Recurring timers, case by case, at set times: on the scripts and in memory.

Each case is one that went wrong in some other scheduler, or would have in a draft of this one.
"""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from faststream.exceptions import NackMessage, RejectMessage
from virtual_workers import BACKENDS, DEAD, TOPIC, Worker, at, town

from faststream_redis_timers import Cron, Every, RetryPolicy
from faststream_redis_timers_sync.protocol.recurrence import UnknownRepeat

BERLIN = "Europe/Berlin"
NIGHTLY = Cron("30 2 * * *", tz=BERLIN)
QUARTERLY = Cron("*/15 * * * *", tz="America/New_York")
WEEKDAYS = Cron("0 9 * * MON-FRI", tz=BERLIN)
DAILY = Cron("0 9 * * *")
LEASE = timedelta(seconds=30)
ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(params=BACKENDS)
def open_town(request):
    """Open a town at a time; its clock is restored at the end."""
    opened = []

    def open_at(start):
        context = town(request.param, start)
        opened.append(context)
        return context.__enter__()

    yield open_at
    for context in opened:
        context.__exit__(None, None, None)


def line_of(level, text):
    return level, text


def reject(timer):
    timer.reject_soon(RejectMessage())


def fail(timer):
    timer.nack_soon(LookupError())


def nack(delay):
    return lambda timer: timer.nack_soon(NackMessage(), delay)


# --- when it is due next


def test_it_is_due_first_after_the_servers_now(open_town):
    here = open_town("2027-03-26T07:59:59.999999Z")
    assert here.schedule("daily", WEEKDAYS) == b"1"
    assert here.due("daily") == at("2027-03-26T08:00Z")

    here.set_time("2027-03-26T08:00Z")
    here.schedule("another", WEEKDAYS)
    assert here.due("another") == at("2027-03-29T07:00Z")


@pytest.mark.parametrize(
    ("repeat", "claimed_at", "next_due"),
    [
        pytest.param(*case, id=name)
        for name, case in {
            "before the spring gap": (
                NIGHTLY,
                "2027-03-27T01:30:00.2Z",
                "2027-03-28T01:00Z",
            ),
            "after the spring gap": (NIGHTLY, "2027-03-28T01:00Z", "2027-03-29T00:30Z"),
            "first pass in autumn": (NIGHTLY, "2027-10-31T00:30:00.1Z", "2027-11-01T01:30Z"),
            "into the spring gap": (QUARTERLY, "2027-03-14T06:45Z", "2027-03-14T07:00Z"),
            "second pass in autumn": (NIGHTLY, "2027-10-31T01:10Z", "2027-11-01T01:30Z"),
            "over the weekend": (WEEKDAYS, "2027-03-26T08:00:00.1Z", "2027-03-29T07:00Z"),
            "leap day": (
                Cron("0 0 29 2 *", tz=BERLIN),
                "2096-03-01T00:00Z",
                "2104-02-28T23:00Z",
            ),
            "every": (Every(minutes=5), "2027-01-01T10:00:00.000001Z", "2027-01-01T10:05Z"),
        }.items()
    ],
)
def test_a_run_is_followed_by_the_first_time_after_its_claim(
    open_town, repeat, claimed_at, next_due
):
    here = open_town(claimed_at)
    here.schedule("daily", repeat)
    here.reschedule("daily", claimed_at)
    worker = Worker(here)

    assert worker.finish(worker.claim()) == []

    assert here.due("daily") == at(next_due)
    assert worker.lines == []


def test_what_is_scheduled_in_the_second_pass_of_an_hour_is_due_the_next_day(open_town):
    here = open_town("2027-10-31T01:10Z")
    here.schedule("daily", NIGHTLY)
    assert here.due("daily") == at("2027-11-01T01:30Z")


def test_a_quarter_of_an_hour_runs_in_both_passes_of_an_hour(open_town):
    here = open_town("2027-11-07T04:50Z")
    here.schedule("daily", QUARTERLY)
    worker = Worker(here)
    due = []
    while here.due("daily") < at("2027-11-07T07:00Z"):
        due.append(here.due("daily"))
        here.set_time(due[-1].isoformat())
        worker.finish(worker.claim())

    assert due == [at("2027-11-07T05:00Z") + n * timedelta(minutes=15) for n in range(8)]


def test_times_without_a_worker_share_one_run(open_town):
    here = open_town("2027-06-04T12:00Z")
    here.schedule("daily", WEEKDAYS)
    assert here.due("daily") == at("2027-06-07T07:00Z")
    here.set_time("2027-06-10T12:20Z")
    worker = Worker(here)

    timer = worker.claim()
    assert timer.occurrence == at("2027-06-10T07:00Z")
    assert timer.due_at == at("2027-06-10T07:00Z")
    assert timer.lateness == 5 * 3600 + 20 * 60
    assert worker.finish(timer) == []

    assert here.due("daily") == at("2027-06-11T07:00Z")


def test_a_run_that_takes_longer_than_a_period_is_followed_at_once(open_town):
    here = open_town("2027-01-01T09:58Z")
    here.schedule("tick", Every(minutes=5))
    worker = Worker(here, lease_ttl=3600.0)
    here.set_time("2027-01-01T10:00Z")
    timer = worker.claim()
    here.set_time("2027-01-01T10:12Z")

    (following,) = worker.finish(timer)

    assert timer.outcome is True
    assert following.occurrence == at("2027-01-01T10:10Z")
    worker.finish(following)
    assert here.due("tick") == at("2027-01-01T10:15Z")


def test_a_redelivery_over_midnight_counts_from_its_own_claim(open_town):
    here = open_town("2027-06-01T21:00Z")
    here.schedule("daily", Cron("59 23 * * *", tz=BERLIN))
    here.set_time("2027-06-01T21:59Z")
    Worker(here).claim()
    here.set_time("2027-06-01T22:00:20Z")
    worker = Worker(here)

    timer = worker.claim()

    assert timer.redelivered
    assert timer.attempt is None
    assert timer.occurrence == at("2027-06-01T21:59Z")
    assert timer.due_at == at("2027-06-01T21:59Z")
    worker.finish(timer)
    assert here.due("daily") == at("2027-06-02T21:59Z")


def test_a_run_before_the_start_is_no_occurrence(open_town):
    here = open_town("2027-01-01T08:30Z")
    here.schedule("tick", Every(hours=1, start=at("2027-01-02T00:00Z")))
    here.reschedule("tick", "2027-01-01T08:30Z")
    worker = Worker(here)

    timer = worker.claim()

    assert timer.occurrence is None
    assert timer.due_at == at("2027-01-01T08:30Z")
    assert timer.correlation_id == "tick"
    worker.finish(timer)
    assert here.due("tick") == at("2027-01-02T00:00Z")


def test_without_a_further_time_it_is_removed_and_the_log_says_so(open_town):
    here = open_town("2027-01-01T08:30Z")
    last = Every(days=365_250, start=datetime(9900, 1, 1, tzinfo=UTC))
    here.schedule("tick", last)
    here.set_time("9901-01-01T00:00Z")
    worker = Worker(here)
    worker.finish(worker.claim())

    assert here.keys() == []
    assert worker.lines == [
        line_of(
            logging.WARNING,
            "recurring timer 'tick' of topic 'reports' has run for the last time: "
            f"no occurrence follows in {last}",
        )
    ]


# --- failures


def test_a_failure_keeps_the_occurrence(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    worker = Worker(here, RetryPolicy(delay=timedelta(minutes=1), factor=1, jitter=0))
    here.set_time("2027-05-03T09:00Z")
    timer = worker.claim()
    worker.finish(timer, fail)
    assert here.due("daily") == at("2027-05-03T09:01Z")

    here.set_time("2027-05-03T09:01Z")
    again = worker.claim()

    assert (again.attempt, again.redelivered) == (2, True)
    assert again.occurrence == timer.occurrence == at("2027-05-03T09:00Z")
    assert again.due_at == at("2027-05-03T09:00Z")
    worker.finish(again)
    assert here.due("daily") == at("2027-05-04T09:00Z")
    here.set_time("2027-05-04T09:00Z")
    assert worker.claim().attempt == 1


def test_times_that_pass_during_a_delay_share_the_next_run(open_town):
    here = open_town("2027-01-01T09:58Z")
    here.schedule("tick", Every(minutes=5))
    worker = Worker(here)
    here.set_time("2027-01-01T10:00Z")
    worker.finish(worker.claim(), nack(timedelta(minutes=12)))
    assert here.due("tick") == at("2027-01-01T10:12Z")

    here.set_time("2027-01-01T10:12Z")
    timer = worker.claim()

    assert timer.occurrence == at("2027-01-01T10:10Z")
    worker.finish(timer)
    assert here.due("tick") == at("2027-01-01T10:15Z")


@pytest.mark.parametrize("is_repeated", [False, True])
@pytest.mark.parametrize(
    ("end", "reason", "told"),
    [(fail, "attempts", "its attempts are used up (LookupError)"),
     (reject, "rejected", "it was rejected (faststream.exceptions.RejectMessage)")],
)  # fmt: skip
def test_an_occurrence_that_is_given_up_is_one_dead_letter(
    open_town, end, reason, told, is_repeated
):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY, b"body", headers={"x": "José"})
    here.set_time("2027-05-03T09:00Z")
    worker = Worker(here, ONCE, DEAD)
    timer = worker.claim()
    worker.loses = "reply" if is_repeated else None
    worker.finish(timer, end)
    worker.loses = None
    worker.turn()

    assert timer.outcome is True
    assert here.due("daily") == at("2027-05-04T09:00Z")
    (dead_letter,) = here.dead_letters()
    assert dead_letter.timer_id.startswith("daily:")
    assert dead_letter.repeat is None
    assert dead_letter.body == b"body"
    error = told.partition("(")[2].rstrip(")")
    assert dead_letter.headers == {
        "dead-letter-repeat": DAILY.definition,
        "dead-letter-series-id": "daily",
        "dead-letter-occurrence": "2027-05-03T09:00:00+00:00",
        "correlation_id": "daily@2027-05-03T09:00:00+00:00",
        "x": "José",
        "dead-letter-reason": reason,
        "dead-letter-topic": TOPIC,
        "dead-letter-timer-id": dead_letter.timer_id,
        "dead-letter-due-at": "2027-05-03T09:00:00+00:00",
        "dead-letter-attempts": "1",
        "dead-letter-error": error,
    }
    assert worker.lines == [
        line_of(
            logging.WARNING,
            "an occurrence of recurring timer 'daily' of topic 'reports' was dead-lettered to "
            f"topic 'reports:dead' as '{dead_letter.timer_id}': {told}, attempt 1, "
            "occurrence 2027-05-03T09:00:00+00:00",
        )
    ]


def test_a_redriven_occurrence_runs_once_beside_its_series(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    worker = Worker(here, ONCE, DEAD)
    worker.finish(worker.claim(), reject)
    (dead_letter,) = here.dead_letters()
    here.set_time("2027-05-03T12:00Z")

    assert here.redrive() == 1

    timer = worker.claim()
    assert timer.timer_id == dead_letter.timer_id
    assert (timer.repeat, timer.attempt) == (None, 1)
    assert timer.occurrence == at("2027-05-03T09:00Z")
    assert timer.correlation_id == "daily@2027-05-03T09:00:00+00:00"
    assert worker.finish(timer) == []
    assert here.get(dead_letter.timer_id) is None
    assert here.due("daily") == at("2027-05-04T09:00Z")
    assert here.dead_letters() == []


def test_a_redriven_occurrence_can_be_dead_lettered_and_redriven_again(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    worker = Worker(here, ONCE, DEAD)
    worker.finish(worker.claim(), reject)
    here.redrive()
    redriven = worker.claim()
    worker.finish(redriven, reject)

    (dead_letter,) = here.dead_letters()
    assert dead_letter.headers["dead-letter-timer-id"] == redriven.timer_id
    assert dead_letter.headers["dead-letter-series-id"] == "daily"
    assert dead_letter.headers["dead-letter-occurrence"] == "2027-05-03T09:00:00+00:00"
    assert here.redrive() == 1
    assert worker.claim().timer_id == redriven.timer_id


def test_a_plain_dead_letter_of_the_id_does_not_end_a_series(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily")
    worker = Worker(here, ONCE, DEAD)
    worker.finish(worker.claim(), reject)
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    timer = worker.claim()

    assert here.redrive() == 0
    worker.finish(timer)
    assert here.redrive() == 0

    assert here.due("daily") == at("2027-05-04T09:00Z")


@pytest.mark.parametrize("end", [fail, reject])
def test_without_a_dead_letter_topic_an_occurrence_is_discarded(open_town, end):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    worker = Worker(here, ONCE)
    worker.finish(worker.claim(), end)

    assert here.due("daily") == at("2027-05-04T09:00Z")
    ((level, line),) = worker.lines
    assert level == logging.ERROR
    assert "timer 'daily' of topic 'reports' was discarded: " in line
    assert ", attempt 1, occurrence 2027-05-03T09:00:00+00:00; " in line


def test_the_last_attempt_that_was_lost_skips_no_time(open_town):
    here = open_town("2027-05-03T08:00Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:05Z")
    Worker(here, ONCE, DEAD).claim()
    here.set_time("2027-05-04T12:00Z")
    worker = Worker(here, ONCE, DEAD)

    timer = worker.claim()

    assert timer.occurrence == at("2027-05-04T09:00Z")
    assert timer.attempt == 1
    (dead_letter,) = here.dead_letters()
    assert dead_letter.headers["dead-letter-occurrence"] == "2027-05-03T09:00:00+00:00"
    worker.finish(timer)
    assert here.due("daily") == at("2027-05-05T09:00Z")
    assert len(here.dead_letters()) == 1


@pytest.mark.parametrize(
    ("repeat", "claims", "noticed", "runs_for"),
    [
        pytest.param(*case, id=name)
        for name, case in {
            "within the lost lease": (
                DAILY,
                ["2027-05-04T08:59:50Z"],
                "2027-05-04T09:00:21Z",
                "2027-05-04T09:00Z",
            ),
            "within an earlier lost lease": (
                DAILY,
                ["2027-05-04T08:59:50Z", "2027-05-04T09:00:21Z"],
                "2027-05-04T09:01Z",
                "2027-05-04T09:00Z",
            ),
            "several, which share a run": (
                Every(minutes=1),
                ["2027-05-03T09:00Z"],
                "2027-05-03T09:05:40Z",
                "2027-05-03T09:05Z",
            ),
        }.items()
    ],
)
def test_no_time_since_the_first_attempt_was_due_is_skipped(
    open_town, repeat, claims, noticed, runs_for
):
    due = "2027-05-03T09:00Z"
    here = open_town(due)
    here.schedule("daily", repeat)
    here.reschedule("daily", due)
    policy = RetryPolicy(max_attempts=len(claims))
    for claimed_at in claims:
        here.set_time(claimed_at)
        Worker(here, policy, DEAD).claim()
    here.set_time(noticed)

    timer = Worker(here, policy, DEAD).claim()

    (dead_letter,) = here.dead_letters()
    assert dead_letter.headers["dead-letter-occurrence"] == at(due).isoformat()
    assert (timer.occurrence, timer.due_at, timer.attempt) == (at(runs_for), at(runs_for), 1)


def test_after_a_lost_lease_in_which_no_time_has_come_it_is_due_at_the_next(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    Worker(here, ONCE, DEAD).claim()
    here.set_time("2027-05-03T09:00:31Z")

    assert Worker(here, ONCE, DEAD).turn() == []

    assert here.due("daily") == at("2027-05-04T09:00Z")
    assert len(here.dead_letters()) == 1


def test_without_a_further_time_an_occurrence_that_is_given_up_ends_it(open_town):
    here = open_town("2027-01-01T08:30Z")
    last = Every(days=365_250, start=datetime(9900, 1, 1, tzinfo=UTC))
    here.schedule("tick", last)
    here.set_time("9901-01-01T00:00Z")
    worker = Worker(here, ONCE, DEAD)
    worker.finish(worker.claim(), reject)

    assert here.get("tick") is None
    (dead_letter,) = here.dead_letters()
    assert dead_letter.headers["dead-letter-repeat"] == last.definition


# --- moved, cancelled, scheduled again


def test_a_run_that_is_asked_for_leaves_the_next_time(open_town):
    here = open_town("2027-05-03T08:30Z")
    here.schedule("daily", DAILY)
    here.reschedule("daily", "2027-05-03T08:30Z")
    worker = Worker(here)

    timer = worker.claim()

    assert timer.occurrence == at("2027-05-02T09:00Z")
    assert timer.due_at == at("2027-05-03T08:30Z")
    assert timer.lateness == 0
    worker.finish(timer)
    assert here.due("daily") == at("2027-05-03T09:00Z")


def test_a_time_that_is_moved_runs_once(open_town):
    here = open_town("2027-05-03T08:30Z")
    here.schedule("daily", DAILY)
    here.reschedule("daily", "2027-05-03T11:00Z")
    worker = Worker(here)
    here.set_time("2027-05-03T09:00Z")
    assert worker.turn() == []
    here.set_time("2027-05-03T11:00Z")
    worker.finish(worker.claim())
    assert here.due("daily") == at("2027-05-04T09:00Z")


def test_one_that_is_cancelled_while_it_runs_leaves_no_keys(open_town):
    here = open_town("2027-05-03T09:00Z")
    here.schedule("daily", DAILY)
    here.reschedule("daily", "2027-05-03T09:00Z")
    worker = Worker(here, RetryPolicy())
    timer = worker.claim()
    here.cancel("daily")

    assert worker.finish(timer) == []

    assert timer.outcome is False
    assert here.keys() == []


def test_another_definition_while_it_runs_stands(open_town):
    here = open_town("2027-05-03T09:00Z")
    here.schedule("daily", DAILY)
    here.reschedule("daily", "2027-05-03T09:00Z")
    worker = Worker(here)
    timer = worker.claim()
    assert here.schedule("daily", Cron("30 9 * * *")) == b"c"

    worker.finish(timer)

    assert timer.outcome is False
    assert here.due("daily") == at("2027-05-03T09:30Z")


def test_the_same_definition_with_another_body_moves_nothing(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY, b"old")
    for body in (b"1", b"2", b"3"):
        assert here.schedule("daily", DAILY, body) == b"s"
        assert here.due("daily") == at("2027-05-03T09:00Z")
    here.set_time("2027-05-03T10:00Z")
    assert here.schedule("daily", DAILY, b"overdue") == b"s"
    assert here.due("daily") == at("2027-05-03T09:00Z")
    worker = Worker(here)
    timer = worker.claim()
    assert timer.envelope.body == b"overdue"
    assert here.schedule("daily", DAILY, b"running") == b"s"

    worker.finish(timer)

    assert timer.outcome is True
    assert here.due("daily") == at("2027-05-04T09:00Z")
    assert here.get("daily").body == b"running"


def test_another_definition_after_a_lost_lease_is_due_now(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    Worker(here).claim()
    here.set_time("2027-05-03T10:00Z")
    here.schedule("daily", Cron("0 7 * * *"))
    assert here.due("daily") == at("2027-05-03T10:00Z")
    worker = Worker(here)
    worker.finish(worker.claim())
    assert here.due("daily") == at("2027-05-04T07:00Z")


def test_what_a_stop_releases_is_due_as_before(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:05Z")
    worker = Worker(here, RetryPolicy(), DEAD)
    worker.finish(worker.claim(), worker.release)

    assert here.due("daily") == at("2027-05-03T09:00Z")
    again = Worker(here, RetryPolicy(), DEAD).claim()
    assert (again.attempt, again.occurrence) == (1, at("2027-05-03T09:00Z"))


def test_one_that_is_paused_while_it_runs_stays_paused(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    worker = Worker(here)
    timer = worker.claim()
    here.run(here.operations.pause(TOPIC, "daily"))
    here.set_time("2027-05-03T09:01Z")
    worker.finish(timer)

    assert timer.outcome is False
    assert here.get("daily").paused
    assert worker.lines == []
    here.set_time("2027-05-05T09:00Z")
    assert worker.turn() == []


# --- lost leases, lost replies


def run_elsewhere(here):
    """Let another worker run the timer when its lease has ended."""
    other = Worker(here)
    other.finish(other.claim())


def test_a_repetition_is_done_while_its_lease_lasts(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    worker = Worker(here)
    timer = worker.claim()
    worker.loses = "reply"
    worker.finish(timer)
    worker.loses = None
    worker.turn()

    assert timer.outcome is True
    assert worker.lines == []


@pytest.mark.parametrize("lost", ["reply", "request"])
def test_a_repetition_after_its_lease_is_not_done(open_town, lost):
    """ACK_FIRST starts no handler then: another worker may have run the same occurrence."""
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    worker = Worker(here)
    timer = worker.claim()
    timer.commit_soon()
    worker.loses = lost
    worker.turn()
    worker.loses = None
    here.set_time("2027-05-03T09:00:31Z")
    if lost == "request":
        run_elsewhere(here)
    assert here.due("daily") == at("2027-05-04T09:00Z")
    worker.turn()

    assert timer.outcome is False
    assert here.due("daily") == at("2027-05-04T09:00Z")


def test_who_outlives_its_lease_beside_another_run_is_told(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    worker = Worker(here)
    timer = worker.claim()
    here.set_time("2027-05-03T09:00:31Z")
    run_elsewhere(here)
    worker.finish(timer)

    assert timer.outcome is False
    ((level, line),) = worker.lines
    assert level == logging.WARNING
    assert line.startswith("timer 'daily' of topic 'reports' outlived its lease and ")


def test_one_that_was_moved_to_the_next_time_meanwhile_is_not_done(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    worker = Worker(here, ONCE, DEAD)
    timer = worker.claim()
    here.reschedule("daily", "2027-05-04T09:00Z")
    worker.finish(timer, reject)

    assert timer.outcome is False
    assert here.dead_letters() == []


# --- definitions that can't be computed


def write_by_a_later_version(here, **options):
    """Schedule a timer whose definition this version does not know."""
    here.schedule("later", Later(), **options)


class Later(Every):
    """A definition of a later version."""

    def __init__(self):
        super().__init__(hours=1)

    @property
    def definition(self):
        return "moon full"

    def bound_to(self, topic, timer_id):
        return self


@pytest.mark.parametrize("counted", [False, True])
def test_a_definition_that_nobody_knows_stays_leased(open_town, counted):
    here = open_town("2027-05-03T08:59Z")
    write_by_a_later_version(here)
    here.set_time("2027-05-03T09:00Z")
    policy = ONCE if counted else None
    worker = Worker(here, policy, DEAD if counted else None, max_concurrent=1)

    assert worker.turn() == []

    timer = here.get("later")
    assert timer.running
    assert isinstance(timer.repeat, UnknownRepeat)
    assert worker.lines == [
        line_of(
            logging.ERROR,
            "recurring timer 'later' of topic 'reports' can't be run by this worker, which leaves "
            "it leased after each claim: this version can't read the definition 'moon full': "
            "update faststream-redis-timers",
        )
    ]
    # It takes nobody's slot, and does not count as an attempt, however often.
    here.schedule("one-shot")
    worker.finish(worker.claim())
    for _ in range(5):
        here.set_time((here.get("later").due_at + timedelta(seconds=1)).isoformat())
        assert worker.turn() == []
        assert here.get("later").running
    assert here.dead_letters() == []
    assert len(worker.lines) == 1


def test_who_knows_the_definition_runs_it_after_one_who_does_not(open_town, monkeypatch):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    with monkeypatch.context() as patch:
        patch.setattr(Cron, "after", lambda self, time: UnknownRepeat("x").after(time))
        ignorant = Worker(here, ONCE, DEAD)
        assert ignorant.turn() == []
    here.set_time("2027-05-03T09:00:31Z")
    worker = Worker(here, ONCE, DEAD)

    timer = worker.claim()

    assert timer.attempt == 1
    assert timer.occurrence == timer.due_at == at("2027-05-03T09:00Z")
    worker.finish(timer)
    assert here.due("daily") == at("2027-05-04T09:00Z")


# --- what is counted and told


def test_the_next_occurrence_is_a_first_attempt_beside_a_count_that_is_corrected(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.set_time("2027-05-03T09:00Z")
    worker = Worker(here, RetryPolicy(max_attempts=2), max_concurrent=2)
    timer = worker.claim()
    here.set_time("2027-05-03T09:00:31Z")
    # It claims the timer that runs here: that renews the lease, and the count is set again.
    worker.loses = "request"
    assert worker.turn() == []
    worker.loses = None
    worker.finish(timer)

    assert timer.outcome is True
    here.set_time("2027-05-04T09:00Z")
    assert worker.claim().attempt == 1


def test_the_correlation_id_names_the_occurrence(open_town):
    here = open_town("2027-05-03T08:59Z")
    here.schedule("daily", DAILY)
    here.schedule("named", DAILY, correlation_id="all-days")
    here.set_time("2027-05-03T09:00Z")
    worker = Worker(here, max_concurrent=2)

    told = {timer.timer_id: timer.correlation_id for timer in worker.turn()}

    assert told == {"daily": "daily@2027-05-03T09:00:00+00:00", "named": "all-days"}
