"""The command that redrives dead letters: what it writes, its exit codes, and how `show` helps."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from dead import dead_letter_all
from relay import Relay

from faststream_redis_timers_sync import Cron
from faststream_redis_timers_sync.manage.selection import redrive_each

HOUR = timedelta(hours=1)
DEAD = "invoices:dead"
NASTY = "line\nbreak \x1b[31m\0 \u202e\\"


@pytest.fixture
def dead_letter_some(timers, here):
    """Make dead letters of new timers; give their ids."""

    def run(*timer_ids, topic="invoices", dead_topic=DEAD, **changes):
        for timer_id in timer_ids:
            timers.schedule(f"dead {timer_id}", topic, timer_id=timer_id)
        return [one.decode() for one in dead_letter_all(here, topic, dead_topic, **changes)]

    return run


@pytest.fixture
def mixed(dead_letter_some, timers, here):
    """Two that can be redriven; one each that stays, by the reason."""
    leased = dead_letter_some("held")
    here.claim(DEAD)
    waits = dead_letter_some("user:1", "user:2", "taken")[2]
    timers.schedule("new", "invoices", timer_id="taken", activate_in=HOUR)
    timers.schedule("x", DEAD, timer_id="plain", activate_in=HOUR)
    return {"waiting": waits, "running": leased[0], "no_dead_letter": "plain"}


STAYED = {"waiting": 1, "running": 1, "other_slot": 0, "no_dead_letter": 1}


# --- all, and those that match


def test_all_are_redriven_and_those_that_stay_are_counted_by_the_reason(mixed, invoke, timers):
    result = invoke("redrive", DEAD, "--all", "--yes")

    assert result.exit_code == 0
    assert result.stdout == "2 timers redriven, 3 unchanged\n"
    assert result.stderr.splitlines() == [
        "1 timer unchanged: a timer with its old ID is waiting or recurring",
        "1 timer unchanged: a handler is running with it",
        "1 timer unchanged: not a dead letter",
    ]
    assert set(timers.get_pending_timers("invoices")) == {"taken", "user:1", "user:2"}
    assert set(timers.get_pending_timers(DEAD)) == set(mixed.values())
    assert timers.get_timer("invoices", "taken").decode() == "new"


@pytest.mark.parametrize("choice", [["--all"], ["--match", "*"]])
def test_as_json_it_is_one_object(choice, mixed, records):
    assert records("redrive", DEAD, *choice, "--yes") == [
        {
            "topic": DEAD,
            "redriven": 2,
            "stayed": STAYED,
            "gone": 0,
            "unknown": [],
        }
    ]


def test_those_that_match_are_redriven(mixed, invoke, timers):
    result = invoke("redrive", DEAD, "--match", "user:*", "--yes")

    assert (result.exit_code, result.output) == (0, "2 timers redriven\n")
    assert timers.count_pending(DEAD) == 3


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["--all", "--yes"], "no timer is pending in topic 'invoices:dead'\n"),
        (["--match", "a*", "--yes"], "no timer that matches 'a*' is pending in topic "),
        (["--all"], "no timer is pending in topic 'invoices:dead'\n"),
    ],
)
def test_where_there_is_none_nothing_is_asked(words, note, invoke):
    result = invoke("redrive", DEAD, *words)

    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith(note)


def test_a_prefix_stands_before_the_dead_letter_topic_alone(dead_letter_some, invoke, timers):
    dead_letter_some("42", topic="mine:invoices", dead_topic="mine:invoices:dead")

    result = invoke("--prefix", "mine:", "redrive", DEAD, "--all", "--yes")

    assert (result.exit_code, result.output) == (0, "1 timer redriven\n")
    assert timers.get_pending_timers("mine:invoices") == ["42"]


def test_of_those_with_one_old_id_the_first_is_redriven(dead_letter_some, invoke, timers):
    for _ in range(3):
        dead_letter_some("42")
    first = next(timers.iter_timers(DEAD)).due_at

    result = invoke("redrive", DEAD, "--all", "--yes")

    assert result.stdout == "1 timer redriven, 2 unchanged\n"
    assert all(timer.due_at > first for timer in timers.iter_timers(DEAD))


def test_a_thousand_are_redriven(dead_letter_some, invoke, timers):
    dead_letter_some(*(f"t{n}" for n in range(1000)))

    assert invoke("redrive", DEAD, "--all", "--yes").output == "1,000 timers redriven\n"
    assert timers.count_pending("invoices") == 1000
    assert timers.count_pending(DEAD) == 0


# --- by id


def test_those_that_are_named_are_redriven(dead_letter_some, invoke, timers):
    one, two, three = dead_letter_some("1", "2", "3")

    result = invoke("redrive", DEAD, three, one, three)

    assert (result.exit_code, result.output) == (0, "2 timers redriven\n")
    assert timers.get_pending_timers(DEAD) == [two]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("waiting", "a timer with its old ID is waiting or recurring"),
        ("running", "a handler is running with it"),
        ("no_dead_letter", "not a dead letter"),
    ],
)
def test_one_that_was_named_and_stays_is_exit_code_1(state, why, mixed, invoke):
    result = invoke("redrive", DEAD, mixed[state])

    assert result.exit_code == 1
    assert result.stdout == "0 timers redriven, 1 unchanged\n"
    assert result.stderr == f"Error: '{mixed[state]}' stays in topic 'invoices:dead': {why}\n"


def test_an_unknown_id_is_exit_code_3_and_the_others_are_redriven(mixed, dead_letter_some, invoke):
    (one,) = dead_letter_some("1")

    result = invoke("redrive", DEAD, "nobody", one, mixed["waiting"], "--json")

    assert result.exit_code == 3
    assert json.loads(result.stdout) == {
        "topic": DEAD,
        "redriven": 1,
        "stayed": {"waiting": 1, "running": 0, "other_slot": 0, "no_dead_letter": 0},
        "gone": 0,
        "unknown": ["nobody"],
    }
    assert "Error: no timer 'nobody' is pending in topic 'invoices:dead'\n" in result.stderr


def test_odd_ids_are_escaped(dead_letter_some, invoke, timers):
    (dead_id,) = dead_letter_some(NASTY)
    timers.schedule("x", "invoices", timer_id=NASTY, activate_in=HOUR)

    result = invoke("redrive", DEAD, dead_id)

    assert r"'line\nbreak \x1b[31m\x00 \u202e\\:" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["a", "--all"], ["--all", "--match", "*"]])
def test_which_ones_must_be_said_in_one_way(words, invoke):
    result = invoke("redrive", DEAD, *words)

    assert result.exit_code == 2
    assert "name one or more IDs, or give --match PATTERN, or --all" in result.stderr


# --- questions, and what goes wrong


def test_a_question_without_a_terminal_is_exit_code_2(dead_letter_some, invoke, timers):
    dead_letter_some("1", "2")

    result = invoke("redrive", DEAD, "--all")

    assert result.exit_code == 2
    assert "Redrive 2 timers in topic 'invoices:dead'? There is no terminal" in result.stderr
    assert timers.count_pending(DEAD) == 2


@pytest.mark.parametrize(("keys", "code"), [("y\r", 0), ("\r", 1)])
def test_a_question_is_asked(keys, code, dead_letter_some, timers, terminal):
    dead_letter_some("1", "2")
    shell = terminal("redrive", DEAD, "--match", "*")
    shell.wait_for("Redrive 2 timers in topic 'invoices:dead' matching '*'? [y/N]")
    # What dies meanwhile was not asked about, and what went is counted.
    timers.cancel_timer(DEAD, timers.get_pending_timers(DEAD)[0])
    shell.type(keys)

    assert shell.end() == code
    expected = "nothing was done" if code else "1 timer redriven, 1 no longer pending"
    assert expected in shell.text


def test_what_was_done_before_the_connection_was_lost_is_told(
    dead_letter_some, invoke, server_url, timers
):
    dead_letter_some(*(f"t{n}" for n in range(600)))
    invoke("redrive", DEAD, timers.get_pending_timers(DEAD)[0])
    with Relay(server_url) as relay:
        relay.lose_reply_of_script("redrive", nth=2)
        result = invoke("redrive", DEAD, "--all", "--yes", url=relay.url)

    assert result.exit_code == 4
    first, second = result.stderr.splitlines()
    assert first == "200 timers redriven before this:"
    assert second.startswith("Error: the server's reply to redrive (200 timers of ")
    assert timers.count_pending(DEAD) == 199


def test_each_is_told_apart(mixed, timers, dead_letter_some):
    (one,) = dead_letter_some("1")
    ids = [one, *mixed.values(), "nobody", one]

    outcomes = list(redrive_each(timers, DEAD, ids))

    assert outcomes == [
        (one, "moved"),
        (mixed["waiting"], "waiting"),
        (mixed["running"], "running"),
        ("plain", "no dead letter"),
        ("nobody", "unknown"),
    ]
    with pytest.raises(ValueError, match="timer_id must not be empty"):
        list(redrive_each(timers, DEAD, [""]))
    with pytest.raises(ValueError, match="topic must not be empty"):
        list(redrive_each(timers, "", ["a"]))


# --- looking at one


def test_it_is_shown_how_a_timer_ended(dead_letter_some, invoke):
    (dead_id,) = dead_letter_some("42", first_due=b"1767258000.250000")

    lines = invoke("show", DEAD, dead_id).stdout.splitlines()

    place = lines.index("Dead letter  its attempts are used up, after 3 attempts, with ValueError")
    assert lines[place + 1 : place + 3] == [
        "             topic 'invoices', timer '42'",
        "             first due 2026-01-01 09:00:00.250000+00:00",
    ]
    assert "dead-letter-reason: attempts" in "\n".join(lines)
    assert lines[-1] == "dead 42"


def test_what_is_not_known_of_an_end_is_left_out(dead_letter_some, invoke):
    (dead_id,) = dead_letter_some(NASTY, reason="unreadable", attempts=1, error=None)

    text = invoke("show", DEAD, dead_id).stdout

    assert "Dead letter  it could not be read, after 1 attempt\n" in text
    assert r"topic 'invoices', timer 'line\nbreak \x1b[31m\x00 \u202e\\'" in text


def test_of_an_occurrence_it_is_shown_which_one_it_was(timers, here, invoke):
    daily = Cron("0 9 * * *", tz="Europe/Berlin")
    timers.schedule("x", "reports", timer_id="daily", repeat=daily)
    timers.reschedule_timer("reports", "daily", activate_in=timedelta(0))
    occurrence = datetime(2027, 3, 26, 8, tzinfo=UTC)
    dead_letter_all(here, "reports", definition=daily.definition, occurrence=occurrence)
    (dead_id,) = timers.get_pending_timers("reports:dead")

    lines = invoke("show", "reports:dead", dead_id).stdout.splitlines()

    place = next(n for n, line in enumerate(lines) if line.startswith("Dead letter"))
    assert lines[place + 3 : place + 5] == [
        "             of recurring timer 'daily' (0 9 * * * Europe/Berlin)",
        "             occurrence 2027-03-26 08:00:00+00:00",
    ]
    assert "Repeats" not in "\n".join(lines)


def test_of_another_timer_no_end_is_shown(timers, invoke):
    timers.schedule("x", "invoices", timer_id="42", activate_at=datetime(2099, 1, 1, tzinfo=UTC))

    assert "Dead letter" not in invoke("show", "invoices", "42").stdout
