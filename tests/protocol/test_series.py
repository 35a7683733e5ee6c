"""Recurring timers in the scripts: what updates, pauses, resumes, prunes and moves them on."""

import os
import shutil
from contextlib import suppress

import pytest
from front_ends import Home
from redis.exceptions import ResponseError
from series import DAILY, HOURLY, series

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.protocol.dead_letters import Ending, write_dead_letter
from faststream_redis_timers_sync.protocol.envelope import read_envelope, write_envelope
from faststream_redis_timers_sync.protocol.management import move_some, read_definitions
from faststream_redis_timers_sync.protocol.model import PAUSED, Outcome, Settlement
from faststream_redis_timers_sync.protocol.recurrence import REPEAT

TOPIC, DEAD = "reports", "reports:dead"
OVERDUE, LATER, FIRST = 1000.0, 4_000_000_000.0, 4_100_000_000.0
LEASE, ENDED_LEASE = 4_000_000_000.0000005, 1000.0000005
ONE_SHOT = write_envelope(b"x")
NOW = "now"


@pytest.fixture
def home(home):
    """The keys of one test, which are removed after it."""
    yield home
    home.redis.delete(*home.keys_of(TOPIC), *home.keys_of(DEAD))


def plant(home, score, payload=None, counted=None, timer_id="a"):
    """Put a timer under its id, and what has been counted of it."""
    payload = series(timer_id).payload if payload is None else payload
    home.plant(TOPIC, timer_id, score, payload)
    if counted is not None:
        home.redis.hset(home.keys_of(TOPIC).attempts, timer_id, counted)


def update(home, repeat=HOURLY, **options):
    timer = series("a", repeat, b"new", due=b"@%d.000000" % FIRST, **options)
    return home.runner.run(home.operations.schedule(TOPIC, timer))


def counted_for(score):
    return b"2 900.000000 %.7f" % score


def score_of(home, timer_id="a"):
    return home.redis.zscore(home.keys_of(TOPIC).timeline, timer_id)


def body_of(home):
    return read_envelope(home.redis.hget(home.keys_of(TOPIC).payloads, "a")).body


def attempts_of(home):
    return home.redis.hget(home.keys_of(TOPIC).attempts, "a")


# --- updating ----------------------------------------------------------------------------

STATES = {
    "waits": (LATER, None),
    "overdue": (OVERDUE, None),
    "paused": (PAUSED, None),
    "runs": (LEASE, counted_for(LEASE)),
    "its lease has ended": (ENDED_LEASE, counted_for(ENDED_LEASE)),
    "waits for its next attempt": (LATER, counted_for(LATER)),
    "was rescheduled after an attempt": (LATER, counted_for(LATER + 5)),
}


@pytest.mark.parametrize(("score", "counted"), STATES.values(), ids=STATES)
def test_the_same_definition_changes_the_payload_alone(score, counted, home):
    plant(home, score, counted=counted)

    assert update(home) == b"s"

    assert (score_of(home), attempts_of(home)) == (score, counted)
    assert body_of(home) == b"new"


@pytest.mark.parametrize(
    ("state", "becomes"),
    [
        ("waits", FIRST),
        ("overdue", NOW),
        ("paused", PAUSED),
        ("runs", FIRST),
        ("its lease has ended", NOW),
        ("waits for its next attempt", LATER),
        ("was rescheduled after an attempt", FIRST),
    ],
)
@pytest.mark.parametrize("present", [series("a", DAILY).payload, ONE_SHOT], ids=["series", "once"])
def test_another_definition_moves_it_as_its_state_says(state, becomes, present, home):
    score, counted = STATES[state]
    plant(home, score, present, counted)
    if state == "paused" and present is ONE_SHOT:
        # A time like any other.
        becomes = FIRST
    if state == "waits for its next attempt" and present is ONE_SHOT:
        # Another timer's attempts.
        becomes = FIRST
    before = home.now().timestamp()

    assert update(home) == b"c"

    if becomes == NOW:
        assert before <= score_of(home) <= home.now().timestamp()
    else:
        assert score_of(home) == becomes
    assert attempts_of(home) == (counted if becomes == score and becomes != PAUSED else None)
    assert body_of(home) == b"new"


@pytest.mark.parametrize("score", [LATER, LEASE])
def test_an_entry_without_payload_is_none(score, home):
    home.plant(TOPIC, "a", score, None)

    assert update(home) == b"1"
    assert score_of(home) == FIRST


def test_a_payload_without_an_entry_has_no_definition(home):
    plant(home, LATER)
    home.redis.hset(home.keys_of(TOPIC).payloads, "left", series("left").payload)

    definitions = home.runner.run(
        read_definitions(home.operations.keys, TOPIC, ["left", "a", "none"])
    )

    assert definitions == [None, HOURLY, None]


def test_an_update_wakes_waiting_workers_for_an_earlier_due_time(home):
    plant(home, FIRST + 10, series("a", DAILY).payload)
    with home.redis.pubsub() as pubsub:
        home.listen(pubsub, TOPIC)
        update(home)
        assert pubsub.get_message(timeout=10)["data"].endswith(b" %d.000000" % FIRST)
        update(home)
        assert pubsub.get_message(timeout=0.1) is None


def test_one_call_updates_some_and_replaces_others(home):
    plant(home, LATER)
    plant(home, LATER, timer_id="b")
    plant(home, LEASE, series("c", DAILY).payload, timer_id="c")
    timers = [
        series("a", due=b"@%d.000000" % FIRST),
        series("b")._replace(repeat=None, payload=ONE_SHOT, due=b"@%d.000000" % (FIRST + 1)),
        series("c", due=b"@%d.000000" % FIRST),
        series("d", due=b"@%d.000000" % FIRST),
    ]

    (operation,) = home.operations.schedule_calls(TOPIC, timers)

    assert home.runner.run(operation) == b"s1c1"
    scores = [score_of(home, one) for one in "abcd"]
    assert scores == [LATER, FIRST + 1, FIRST, FIRST]


@pytest.mark.parametrize("if_exists", ["replace", "keep", "error"])
def test_what_is_asked_for_by_name_holds_for_series_too(if_exists, home):
    plant(home, PAUSED)
    timer = series("a", due=b"@%d.000000" % FIRST)
    operation = home.operations.schedule(TOPIC, timer, if_exists)

    with suppress(Exception):
        assert home.runner.run(operation) == {"replace": b"1", "keep": b"0"}[if_exists]
    assert score_of(home) == (FIRST if if_exists == "replace" else PAUSED)


# --- pausing, resuming, pruning, moving --------------------------------------------------


@pytest.mark.parametrize(("score", "counted"), STATES.values(), ids=STATES)
def test_pausing_and_resuming_forget_attempts(score, counted, home):
    plant(home, score, counted=counted)

    assert home.runner.run(home.operations.pause(TOPIC, "a"))
    assert score_of(home) == PAUSED
    assert attempts_of(home) is None or score == PAUSED
    home.redis.hset(home.keys_of(TOPIC).attempts, "a", counted_for(LATER))
    assert home.runner.run_steps(home.operations.resume(TOPIC, "a"))

    assert 0 < score_of(home) - home.now().timestamp() <= 3600
    assert attempts_of(home) is None
    assert not home.runner.run_steps(home.operations.resume(TOPIC, "a"))


def test_a_one_shot_is_neither_paused_nor_resumed_nor_pruned(home):
    plant(home, PAUSED, ONE_SHOT)

    with pytest.raises(ValueError, match=r"^timer_id must be that of a recurring timer, got 'a'"):
        home.runner.run(home.operations.pause(TOPIC, "a"))
    assert not home.runner.run_steps(home.operations.resume(TOPIC, "a"))
    assert not home.runner.run(home.operations.prune(TOPIC, "a", "shop"))
    later = {"activate_in": None, "activate_at": None}
    assert home.runner.run(move_some(home.operations.keys, TOPIC, ["a"], **later)) == ["waiting"]


def test_resuming_counts_from_the_definition_that_it_has_by_then(home):
    plant(home, PAUSED)
    steps = home.operations.resume(TOPIC, "a")
    reply = home.runner.run(next(steps))
    now = home.runner.run(steps.send(reply))
    resume = steps.send(now)
    update(home, DAILY)
    again = steps.send(home.runner.run(resume))
    reply = home.runner.run(again)
    resume = steps.send(home.runner.run(steps.send(reply)))

    with pytest.raises(StopIteration) as ended:
        steps.send(home.runner.run(resume))

    assert ended.value.value is True
    assert score_of(home) % 86_400 == 0


def test_a_definition_in_other_letters_is_resumed(home):
    plant(home, PAUSED, write_envelope(b"x", headers={REPEAT: "cron UTC 0 * * jan-dec *"}))

    assert home.runner.run_steps(home.operations.resume(TOPIC, "a"))
    assert 0 < score_of(home) - home.now().timestamp() <= 3600


@pytest.mark.parametrize("written", ["every 03600.000000 0.000000", "each hour", ""])
def test_a_definition_that_nobody_can_compute_stays_paused(written, home):
    plant(home, LATER, write_envelope(b"x", headers={REPEAT: written}))
    home.runner.run(home.operations.pause(TOPIC, "a"))

    with pytest.raises(ValueError, match="this version can't read the definition"):
        home.runner.run_steps(home.operations.resume(TOPIC, "a"))
    assert score_of(home) == PAUSED


@pytest.mark.parametrize("score", [LATER, LEASE, PAUSED])
def test_only_its_owner_prunes_it(score, home):
    plant(home, score, series("a", owner="shop").payload)

    assert not home.runner.run(home.operations.prune(TOPIC, "a", "other"))
    assert home.runner.run(home.operations.prune(TOPIC, "a", "shop"))
    assert not home.runner.run(home.operations.prune(TOPIC, "a", "shop"))
    assert score_of(home) is None


def test_one_without_owner_is_not_pruned(home):
    plant(home, LATER)

    assert not home.runner.run(home.operations.prune(TOPIC, "a", "shop"))


def test_rescheduling_resumes(home):
    plant(home, PAUSED)
    client = TimersClient(home.redis, **home.key_names)

    assert client.reschedule_timer(TOPIC, "a", activate_at=home.now())
    assert home.claim_due(TOPIC) == [b"a"]


# --- moving on ---------------------------------------------------------------------------

NEXT = b"4050000000.000000"
DEAD_LETTER = write_dead_letter(
    ONE_SHOT, Ending(reason="rejected", topic=TOPIC, timer_id=b"a", first_due=b"1000.000000")
)


def claim(home, *, counts=False, **options):
    suspect_from = 3 if counts else None
    return home.run(
        home.operations.settle_and_claim(
            TOPIC, [], limit=10, lease_ttl=30.0, jitter=1, suspect_from=suspect_from, **options
        )
    )


def settle(home, claimed, *settlements, counts=False, limit=0):
    items = [Settlement(action, b"a", claimed.lease, *detail) for action, *detail in settlements]
    return home.run(
        home.operations.settle_and_claim(
            TOPIC,
            items,
            limit=limit,
            lease_ttl=30.0,
            jitter=2,
            suspect_from=3 if counts else None,
            dead_topic=DEAD,
        )
    )


@pytest.fixture(params=[False, True], ids=["not counted", "counted"])
def counts(request):
    """Whether attempts are counted."""
    return request.param


@pytest.fixture
def second(home, counts):
    """A claim of a series, after an attempt that failed."""
    plant(home, OVERDUE)
    settle(home, claim(home, counts=counts), (b"nack", b"+0.000000"), counts=counts)
    return claim(home, counts=counts)


def test_a_repetition_is_due_at_its_next_time_and_counts_from_one(home, second, counts):
    done = settle(home, second, (b"repeat", NEXT), counts=counts)

    assert list(done.outcomes) == [Outcome.DONE]
    assert (score_of(home), attempts_of(home)) == (float(NEXT), None)
    assert body_of(home) == b"x"
    assert done.head == float(NEXT)


RENEW = (b"renew", b"4200000000.0000005")
BESIDE = [(b"recount", b"1"), RENEW, (b"release", b"1000.000000"), (b"nack", b"+5.000000")]


@pytest.mark.parametrize("beside", BESIDE, ids=lambda beside: beside[0].decode())
@pytest.mark.parametrize("comes_first", [True, False])
def test_nothing_in_the_same_call_changes_that(beside, comes_first, home, second, counts):
    settlements = [(b"repeat", NEXT), beside]

    settle(home, second, *settlements[:: -1 if comes_first else 1], counts=counts)

    assert (score_of(home), attempts_of(home)) == (float(NEXT), None)
    home.redis.zadd(home.keys_of(TOPIC).timeline, {"a": OVERDUE})
    (claimed,) = claim(home, counts=counts).claimed
    assert (claimed.attempt or 1, claimed.previous_score) == (1, b"1000")


@pytest.mark.parametrize("beside", [None, *BESIDE])
def test_the_same_call_claims_it_again_where_its_next_time_has_come(beside, home, second, counts):
    settlements = [one for one in (beside, (b"repeat", b"1500.000000")) if one]

    done = settle(home, second, *settlements, counts=counts, limit=10)

    (again,) = done.claimed
    assert (again.attempt or 1, float(again.previous_score)) == (1, 1500.0)
    assert float(again.first_due or 1500) == 1500.0
    assert score_of(home) == float(done.lease)
    if counts:
        assert attempts_of(home).split()[0] == b"1"


def test_a_repetition_that_is_sent_twice_makes_one_dead_letter(home, second, counts):
    for outcome in (Outcome.DONE, Outcome.REPEATED, Outcome.REPEATED):
        done = settle(home, second, (b"repeat", NEXT + b" " + DEAD_LETTER), counts=counts)
        assert list(done.outcomes) == [outcome]
        home.redis.delete(*home.keys_of(DEAD)) if outcome == Outcome.REPEATED else None
        expected = 1 if outcome == Outcome.DONE else 0
        assert home.redis.zcard(home.keys_of(DEAD).timeline) == expected

    assert score_of(home) == float(NEXT)


@pytest.mark.parametrize("action", [b"commit", b"nack", b"release", b"renew", b"dead"])
def test_other_settlements_of_what_is_repeated_say_that_it_is_due_again(action, home, second):
    settle(home, second, (b"repeat", NEXT))

    detail = {b"nack": b"", b"release": NEXT, b"renew": RENEW[1], b"dead": DEAD_LETTER}
    done = settle(home, second, (action, detail.get(action, b"")))

    assert list(done.outcomes) == [Outcome.DUE_AGAIN]
    assert score_of(home) == float(NEXT)


def test_another_worker_s_lease_and_another_due_time_are_no_repetition(home, second):
    moved = b"1500.000000"
    settle(home, second, (b"repeat", moved))
    other = claim(home)

    assert list(settle(home, second, (b"repeat", moved)).outcomes) == [Outcome.LEASED_AGAIN]
    settle(home, other, (b"repeat", NEXT))
    assert list(settle(home, second, (b"repeat", moved)).outcomes) == [Outcome.DUE_AGAIN]
    home.redis.zrem(home.keys_of(TOPIC).timeline, "a")
    assert list(settle(home, second, (b"repeat", moved)).outcomes) == [Outcome.GONE]


def test_pausing_or_cancelling_while_it_runs_leaves_nothing_to_its_end(home, second):
    home.runner.run(home.operations.pause(TOPIC, "a"))

    done = settle(home, second, (b"repeat", NEXT + b" " + DEAD_LETTER))

    assert list(done.outcomes) == [Outcome.DUE_AGAIN]
    assert score_of(home) == PAUSED
    assert home.redis.exists(*home.keys_of(DEAD)) == 0


def test_a_repetition_wakes_waiting_workers(home, second):
    # Before the end of the lease, the only time that they know.
    soon = b"%d.000000" % (home.now().timestamp() + 10)
    with home.redis.pubsub() as pubsub:
        home.listen(pubsub, TOPIC)
        settle(home, second, (b"repeat", soon))
        settle(home, second, (b"repeat", soon))
        home.publish(TOPIC, "end")
        messages = []
        while b"end" not in messages:
            messages.append(pubsub.get_message(timeout=10)["data"])

    assert [message.split()[1:] for message in messages] == [[soon], []]


# --- redriving ---------------------------------------------------------------------------


@pytest.mark.parametrize("score", [LATER, OVERDUE, LEASE, ENDED_LEASE, PAUSED])
def test_a_dead_letter_stays_where_a_series_has_its_id(score, home):
    dead_id, payload = split_dead_letter(DEAD_LETTER)
    home.plant(DEAD, dead_id, OVERDUE, payload)
    plant(home, score)

    outcomes = home.runner.run_steps(home.operations.redrive_first(DEAD, [dead_id]))

    assert outcomes == ["waiting"]
    assert score_of(home) == score


def split_dead_letter(dead_letter):
    length, _, rest = dead_letter.partition(b":")
    return rest[: int(length)], rest[int(length) :]


# --- where there is no memory left -------------------------------------------------------


@pytest.fixture(scope="module", params=["embedded", "redis-server"])
def full_url(request):
    """The URL of a server of either make that can be full."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "redis-server":
            # With REDIS_URL, as in CI's job `servers`, no program needs to be here.
            may_be_missing = os.environ.get("CI") != "true" or "REDIS_URL" in os.environ
            if shutil.which("redis-server") is None and may_be_missing:
                pytest.skip("there is no redis-server here")
            patch.setenv("TIMERS_TEST_SERVER", "redis-server")
        with embedded_server(config={"maxmemory-policy": "noeviction"}) as url:
            yield url


@pytest.fixture
def full(full_url, key_names):
    """A home on such a server; `fill` makes it refuse what needs memory."""
    home = Home(key_names, full_url)
    yield home
    home.redis.config_set("maxmemory", "0")
    home.leave()
    home.redis.close()


def fill(home):
    home.redis.config_set("maxmemory", "1")


def test_what_ends_occurrences_pauses_and_prunes_goes_on(full, counts):
    for timer_id in "ab":
        plant(full, OVERDUE, timer_id=timer_id)
    plant(full, LATER, series("c", owner="shop").payload, timer_id="c")
    step = claim(full, counts=counts)
    fill(full)

    done = settle(full, step, (b"repeat", NEXT + b" " + DEAD_LETTER), counts=counts)

    assert list(done.outcomes) == [Outcome.DONE]
    assert full.runner.run(full.operations.pause(TOPIC, "b"))
    assert full.runner.run(full.operations.prune(TOPIC, "c", "shop"))
    assert [score_of(full, one) for one in "abc"] == [float(NEXT), PAUSED, None]
    assert full.redis.zcard(full.keys_of(DEAD).timeline) == 1


@pytest.mark.parametrize("present", [None, HOURLY, DAILY])
def test_what_schedules_and_resumes_is_refused_and_changes_nothing(present, full):
    if present is not None:
        plant(full, PAUSED, series("a", present).payload, counted_for(LATER))
    before = [full.redis.dump(key) for key in full.keys_of(TOPIC)]
    fill(full)

    with pytest.raises(ResponseError, match="maxmemory"):
        update(full)
    if present is not None:
        with pytest.raises(ResponseError, match="maxmemory"):
            full.runner.run_steps(full.operations.resume(TOPIC, "a"))

    full.redis.config_set("maxmemory", "0")
    assert [full.redis.dump(key) for key in full.keys_of(TOPIC)] == before
