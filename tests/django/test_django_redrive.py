"""`timers_redrive`: what it redrives, and what it says of what stays."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from dead import dead_letter_all
from django.core.management import CommandError, call_command

HOUR = timedelta(hours=1)
DEAD = "invoices:dead"


@pytest.fixture
def dead_letters(timers, here):
    """Three dead letters, of which one stays; their ids."""
    for timer_id in ("a", "b", "taken"):
        timers.schedule("dead", "invoices", timer_id=timer_id)
    dead = [one.decode() for one in dead_letter_all(here)]
    timers.schedule("new", "invoices", timer_id="taken", activate_in=HOUR)
    return dead


def call(*words):
    """Call the command; give what it wrote, what it remarked, and what it ended with."""
    out, err = StringIO(), StringIO()
    try:
        call_command("timers_redrive", *words, stdout=out, stderr=err)
    except CommandError as error:
        return out.getvalue(), str(error), error.returncode
    return out.getvalue(), err.getvalue(), 0


def test_all_that_can_be_redriven_are(dead_letters, timers):
    assert call(DEAD, "--all", "--no-input") == (
        "2 timers redriven, 1 unchanged\n",
        "1 timer unchanged: a timer with its old ID is waiting or recurring\n",
        0,
    )
    assert sorted(timers.get_pending_timers("invoices")) == ["a", "b", "taken"]
    assert timers.get_pending_timers(DEAD) == [dead_letters[2]]


def test_those_that_match_as_json(dead_letters):
    out, err, _ = call(DEAD, "--match", "a:*", "--yes", "--json")

    assert err == ""
    assert json.loads(out) == {
        "topic": DEAD,
        "redriven": 1,
        "stayed": {"waiting": 0, "running": 0, "other_slot": 0, "no_dead_letter": 0},
        "gone": 0,
        "unknown": [],
    }


def test_one_that_was_named_and_stays_is_exit_code_1(dead_letters):
    one, _, stays = dead_letters
    assert call(DEAD, one, stays) == (
        "1 timer redriven, 1 unchanged\n",
        f"'{stays}' stays in topic '{DEAD}': a timer with its old ID is waiting or recurring",
        1,
    )


def test_an_unknown_id_is_exit_code_3(dead_letters):
    out, sentence, code = call(DEAD, dead_letters[0], "nobody")

    assert (out, code) == ("1 timer redriven\n", 3)
    assert sentence == "no timer 'nobody' is pending in topic 'invoices:dead'"


def test_a_question_without_a_terminal_is_exit_code_2(dead_letters, timers):
    _, sentence, code = call(DEAD, "--all")

    assert code == 2
    assert sentence.startswith("Redrive 3 timers in topic 'invoices:dead'? There is no terminal")
    assert timers.count_pending(DEAD) == 3
