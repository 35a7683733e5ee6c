"""The commands with recurring timers, which can also be paused and resumed."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from command_line import click_runner

from faststream_redis_timers_sync import Cron, Every, Series, TimersClient
from faststream_redis_timers_sync.cli.group import group
from faststream_redis_timers_sync.console import changes
from faststream_redis_timers_sync.manage.changing import (
    Outcome,
    Pause,
    Reschedule,
    Resume,
    Tally,
    carry_out,
)
from faststream_redis_timers_sync.manage.chosen import Chosen, preview
from faststream_redis_timers_sync.manage.deadline import Deadline
from faststream_redis_timers_sync.manage.series import definitions_of
from faststream_redis_timers_sync.manage.server import server_time
from faststream_redis_timers_sync.protocol.timers import encode_timer

HOUR = timedelta(hours=1)
LATER = datetime(2099, 1, 1, 12, tzinfo=UTC)
DAILY = Cron("0 9 * * *", tz="Europe/Berlin")
EVERYTHING = Chosen(topic="reports", everything=True)


@pytest.fixture
def stock(timers, here):
    """Two recurring timers, one that is paused, one that runs, and two that are due once."""
    timers.schedule("x", "reports", timer_id="runs", repeat=Every(hours=6))
    timers.reschedule_timer("reports", "runs", activate_in=timedelta(0))
    here.claim("reports", lease_ttl=600)
    timers.schedule("x", "reports", timer_id="daily", repeat=DAILY)
    timers.schedule("x", "reports", timer_id="weekly", repeat=Cron("@weekly"))
    timers.schedule("x", "reports", timer_id="stopped", repeat=Every(hours=1))
    timers.pause_timer("reports", "stopped")
    timers.schedule("x", "reports", timer_id="once", activate_at=LATER)
    timers.schedule("x", "reports", timer_id="later", activate_at=LATER + HOUR)
    return timers


def states(timers):
    return {
        timer.timer_id: "paused" if timer.paused else "running" if timer.running else "waiting"
        for timer in timers.iter_timers("reports")
    }


# --- schedule


@pytest.mark.parametrize(
    ("words", "repeat"),
    [
        (["--every", "1h30m"], Every(minutes=90)),
        (
            ["--cron", "0 9 * * mon-fri", "--tz", "Europe/Berlin"],
            Cron("0 9 * * MON-FRI", tz="Europe/Berlin"),
        ),
        (["--cron", "@daily"], Cron("0 0 * * *")),
    ],
    ids=["every", "cron", "alias"],
)
def test_a_recurring_timer_is_scheduled_and_its_first_time_said(words, repeat, invoke, timers):
    result = invoke("schedule", "reports", "run", "--id", "a", *words)

    assert (result.exit_code, result.stdout) == (0, "a\n")
    timer = timers.get_timer("reports", "a")
    assert timer.repeat == repeat
    assert timer.due_at == repeat.after(server_time(timers))
    assert result.stderr.startswith("due in ")
    again = json.loads(invoke("schedule", "reports", "run", "--id", "a", *words, "--json").stdout)
    assert datetime.fromisoformat(again["due_at"]) == timer.due_at


def test_the_same_definition_keeps_the_time_and_the_pause(invoke, stock):
    stock.reschedule_timer("reports", "daily", activate_at=LATER)

    words = ("--cron", "0 9 * * *", "--tz", "Europe/Berlin")
    result = invoke("schedule", "reports", "new", "--id", "daily", *words)
    assert "2099-01-01" in result.stderr
    assert stock.get_timer("reports", "daily").body == b"new"
    result = invoke("schedule", "reports", "new", "--id", "stopped", "--every", "1h")
    assert result.stderr == "it is paused\n"
    result = invoke("schedule", "reports", "new", "--id", "runs", "--every", "6h")
    assert result.stderr == "it is running\n"
    result = invoke(
        *("schedule", "reports", "new", "--id", "daily", "--every", "1h", "--if-exists", "keep")
    )
    assert stock.get_timer("reports", "daily").repeat == DAILY


WRONG = [
    (["--every", "5m"], "a recurring timer needs an --id"),
    (["--id", "a", "--every", "5m", "--in", "3d"], "give --in or --at, or --every or --cron"),
    (
        ["--id", "a", "--cron", "0 9 * * *", "--at", "2099-01-01T12:00Z"],
        "give --in or --at, or --every or --cron",
    ),
    (["--id", "a", "--every", "5m", "--cron", "0 9 * * *"], "give --every or --cron, not both"),
    (["--id", "a", "--every", "5m", "--tz", "UTC"], "--tz is the time zone of --cron"),
    (["--id", "a", "--tz", "UTC"], "--tz is the time zone of --cron"),
    (["--id", "a", "--every", "0.5s"], "--every must be from 1s to 365250d, got 0.5s"),
    (["--id", "a", "--every", "often"], "'often' is not a duration"),
    (["--id", "a", "--cron", "0 9 * *"], "must have five fields"),
    (["--id", "a", "--cron", "0 9 * * * *"], "must have five fields"),
    (["--id", "a", "--cron", "0 0 30 2 *"], "'0 0 30 2 *'"),
    (["--id", "a", "--cron", "0 9 * * *", "--tz", "Mars/Olympus"], "got 'Mars/Olympus'"),
    (["--id", "a", "--if-exists", "update"], "if_exists='update' is for recurring timers"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_what_cannot_be_is_refused_and_writes_nothing(words, sentence, invoke, timers):
    result = invoke("schedule", "reports", "run", *words)

    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())
    assert timers.count_pending("reports") == 0


# --- list, show, counts


def test_a_list_has_a_column_of_definitions_where_one_is_recurring(stock, invoke):
    lines = invoke("list", "reports").stdout.splitlines()

    assert lines[0].split() == ["DUE", "STATE", "REPEATS", "ID"]
    rows = {line.split()[-1]: line for line in lines[1:]}
    assert "0 9 * * *" in rows["daily"]
    assert "every 1h" in rows["stopped"]
    assert rows["stopped"].split()[:2] == ["-", "paused"]
    assert list(rows)[-1] == "stopped"
    assert "every" not in rows["once"]
    stock.cancel_all("reports")
    stock.schedule("x", "reports", timer_id="once", activate_at=LATER)
    assert invoke("list", "reports").stdout.splitlines()[0].split() == ["DUE", "STATE", "ID"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["daily", "runs", "stopped", "weekly"]),
        (["--match", "*ly"], ["daily", "weekly"]),
    ],
    ids=" ".join,
)
def test_recurring_ones_alone_are_listed(words, expected, stock, records):
    listed = records("list", "reports", "--series", *words)

    assert sorted(timer["timer_id"] for timer in listed) == expected
    assert all(timer["repeat"] for timer in listed)


@pytest.mark.parametrize("words", [["--match", "*"], []], ids=" ".join)
def test_the_first_recurring_one_is_listed(words, stock, records):
    # Which of them that is depends on the time of day.
    ids = [timer.timer_id for timer in stock.iter_timers("reports")]
    first = next(timer_id for timer_id in ids if timer_id in {"daily", "runs", "weekly"})

    listed = records("list", "reports", "--series", "--limit", "1", *words)

    assert [timer["timer_id"] for timer in listed] == [first]


def test_where_there_is_none_that_is_said(timers, invoke):
    timers.schedule("x", "reports", activate_at=LATER)
    result = invoke("list", "reports", "--series")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no recurring timer is pending in topic 'reports'\n"


def test_definitions_are_read_in_parts_where_payloads_are_large(timers):
    timers.schedule("x" * 300_000, "reports", timer_id="a", repeat=DAILY)
    timers.schedule("x" * 700_000, "reports", timer_id="b", repeat=Every(hours=1))
    timers.schedule("x" * 300_000, "reports", timer_id="c")
    timers.schedule("x", "reports", timer_id="d", repeat=DAILY)

    found = definitions_of(timers, "reports", ["a", "nobody", "b", "c", "d"])

    assert found == {"a": DAILY, "b": Every(hours=1), "d": DAILY}


def test_a_topic_counts_them_apart(stock, records, invoke):
    (stats,) = records("stats", "reports")
    assert (stats["pending"], stats["paused"], stats["overdue"]) == (6, 1, 0)
    assert not stats["last_at"].startswith("9999")
    assert invoke("stats", "reports").stdout.splitlines()[1].split()[:4] == [
        "reports",
        "6",
        "0",
        "1",
    ]
    (topic,) = records("topics")
    assert (topic["pending"], topic["paused"]) == (6, 1)


# --- pause and resume


def test_what_became_of_each_that_was_named_is_told(stock):
    ids = ("daily", "runs", "stopped", "once", "nobody")
    tally = Tally()
    carry_out(stock, Pause(), Chosen(topic="reports", timer_ids=ids), tally)
    assert tally.named == [
        Outcome("daily", "done"),
        Outcome("runs", "done"),
        Outcome("stopped", "already paused"),
        Outcome("once", "not recurring"),
        Outcome("nobody", "unknown"),
    ]
    assert {name for name, state in states(stock).items() if state == "paused"} == {
        *("daily", "runs", "stopped")
    }
    tally = Tally()
    ids = ("daily", "weekly", "once", "nobody")
    carry_out(stock, Resume(), Chosen(topic="reports", timer_ids=ids), tally)
    assert tally.named == [
        Outcome("daily", "done"),
        Outcome("weekly", "not paused"),
        Outcome("once", "not recurring"),
        Outcome("nobody", "unknown"),
    ]
    assert stock.get_timer("reports", "daily").due_at == DAILY.after(server_time(stock))


def test_one_whose_next_time_is_unknown_here_stays_paused(timers, here):
    timer = encode_timer(b"x", None, timer_id="a", repeat=DAILY)
    payload = timer.payload.replace(b"Europe/Berlin", b"Mars/OlympusX")
    timer = timer._replace(payload=payload, due=b"+3600.000000")
    here.runner.run(here.operations.schedule("reports", timer, None))
    timers.pause_timer("reports", "a")

    tally = Tally()
    carry_out(timers, Resume(), Chosen(topic="reports", timer_ids=["a"]), tally)

    (outcome,) = tally.named
    assert outcome.result == "no next time"
    assert "Mars/OlympusX" in outcome.detail
    assert states(timers) == {"a": "paused"}


@pytest.mark.parametrize("chosen", [EVERYTHING, Chosen(topic="reports", match="*")])
def test_of_all_those_are_changed_that_can_be(chosen, stock):
    tally = Tally()
    carry_out(stock, Pause(), chosen, tally)
    assert (tally.done, tally.stayed, tally.named) == (3, {}, [])
    assert sorted(states(stock).values()) == ["paused"] * 4 + ["waiting"] * 2
    tally = Tally()
    carry_out(stock, Resume(), chosen, tally)
    assert tally.done == 4
    assert set(states(stock).values()) == {"waiting"}


@pytest.mark.parametrize("change", [Pause(), Resume()])
def test_in_slices_of_time_all_are_changed_and_each_once(change, timers):
    for n in range(250):
        timers.schedule("x", "reports", timer_id=f"t{n}", repeat=Every(hours=1))
        if isinstance(change, Resume):
            timers.pause_timer("reports", f"t{n}")
    done = []
    while True:
        tally = Tally()
        carry_out(timers, change, EVERYTHING, tally, deadline=Deadline(0))
        done.append(tally.done)
        if not tally.is_cut:
            break
    assert done == [200, 50]


def test_a_preview_counts_recurring_and_paused_ones(stock):
    assert preview(stock, EVERYTHING).paused == 1
    seen = preview(stock, Chosen(topic="reports", match="*"))
    assert (seen.count, seen.running, seen.recurring, seen.paused) == (6, 1, 4, 1)
    seen = preview(stock, Chosen(topic="reports", timer_ids=["daily", "stopped", "once"]))
    assert (seen.count, seen.recurring, seen.paused) == (3, 2, 1)
    assert [timer.timer_id for timer in seen.timers if timer.paused] == ["stopped"]


def test_the_commands_pause_and_resume(stock, invoke, records):
    result = invoke("pause", "reports", "daily", "weekly")
    assert (result.exit_code, result.stdout) == (0, "2 recurring timers paused\n")
    result = invoke("pause", "reports", "daily")
    assert (result.exit_code, result.stderr) == (0, "timer 'daily' is already paused\n")
    result = invoke("pause", "reports", "once")
    assert (result.exit_code, result.stdout) == (1, "0 recurring timers paused, 1 unchanged\n")
    assert result.stderr == "Error: timer 'once' is not recurring: it was not paused\n"
    result = invoke("resume", "reports", "nobody")
    assert result.exit_code == 3
    assert records("resume", "reports", "--all", "--yes") == [
        {
            "topic": "reports",
            "resumed": 3,
            "stayed": {"not_recurring": 0, "not_paused": 0, "no_next_time": 0},
            "gone": 0,
            "unknown": [],
        }
    ]
    result = invoke("resume", "reports", "--all", "--yes")
    assert (result.exit_code, result.stderr) == (0, "no timer is paused in topic 'reports'\n")


@pytest.mark.parametrize("name", ["pause", "resume"])
def test_before_many_are_changed_somebody_must_be_asked(name, stock, invoke):
    before = states(stock)
    result = invoke(name, "reports", "--all")
    assert result.exit_code == 2
    assert "to confirm, add --yes" in result.stderr
    assert states(stock) == before


# --- reschedule, run-now, cancel


def test_a_paused_one_that_was_named_is_moved_only_by_who_says_so(stock, invoke):
    result = invoke("reschedule", "reports", "once", "stopped", "--in", "2h")

    assert result.exit_code == 2
    assert "timer 'stopped' is paused; this resumes it. Continue?" in result.stderr
    assert stock.get_timer("reports", "once").due_at == LATER
    result = invoke("reschedule", "reports", "once", "stopped", "--in", "2h", "--yes")
    assert (result.exit_code, result.stdout) == (0, "2 timers rescheduled\n")
    assert states(stock)["stopped"] == "waiting"


@pytest.mark.parametrize("choice", [["--all"], ["--match", "*"]], ids=" ".join)
def test_of_many_paused_ones_are_left_out(choice, stock, invoke):
    result = invoke("run-now", "reports", *choice, "--yes")

    assert (result.exit_code, result.stdout) == (0, "5 timers made due, 1 unchanged\n")
    assert "1 timer unchanged: paused" in result.stderr
    assert "1 of them were running: a second run of each starts beside" in result.stderr
    assert states(stock)["stopped"] == "paused"


@pytest.mark.parametrize("choice", [["--all"], ["--match", "*"]])
def test_while_all_are_paused_nothing_is_moved_unasked(choice, timers, invoke, monkeypatch):
    timers.schedule("x", "reports", timer_id="stopped", repeat=Every(hours=1))
    timers.pause_timer("reports", "stopped")

    def count_and_schedule(*args, **options):
        seen = preview(*args, **options)
        timers.schedule("x", "reports", timer_id="new", activate_at=LATER)
        return seen

    monkeypatch.setattr(changes, "preview", count_and_schedule)
    result = invoke("run-now", "reports", *choice)

    assert (result.exit_code, result.stdout) == (0, "0 timers made due, 1 unchanged\n")
    assert "1 timer paused: left out" in result.stderr
    assert "1 timer unchanged: paused" in result.stderr
    assert timers.get_timer("reports", "new").due_at == LATER
    assert states(timers) == {"stopped": "paused", "new": "waiting"}


def test_one_that_is_paused_after_the_question_stays(stock):
    tally = Tally()
    named = Chosen(topic="reports", timer_ids=["stopped", "once"])
    carry_out(stock, Reschedule(activate_in=HOUR), named, tally)
    assert tally.named == [Outcome("stopped", "paused"), Outcome("once", "done")]
    for change in (Reschedule(resumes=True), Reschedule(HOUR, resumes=True)):
        stock.pause_timer("reports", "stopped")
        tally = Tally()
        carry_out(stock, change, named, tally)
        assert tally.named == [Outcome("stopped", "done"), Outcome("once", "done")]
        assert states(stock)["stopped"] == "waiting"


@pytest.mark.parametrize(("policy", "is_said"), [("replace", True), ("keep", False)])
def test_scheduling_its_id_once_is_said_to_end_a_series(policy, is_said, invoke, timers):
    timers.schedule("x", "reports", timer_id="a", repeat=Every(hours=1))

    result = invoke("schedule", "reports", "once", "--id", "a", "--if-exists", policy, "--in", "1h")

    assert result.exit_code == 0, result.stderr
    assert ("timer 'a' was recurring: its series has ended\n" in result.stderr) is is_said
    assert (timers.get_timer("reports", "a").repeat is None) is is_said


def test_of_a_declared_series_it_is_said_that_it_is_created_again(invoke, timers):
    hourly = Series("x", "reports", timer_id="declared", repeat=Every(hours=1))
    timers.ensure_series([hourly], owner="shop")

    result = invoke("cancel", "reports", "declared")

    assert result.stderr == (
        "timer 'declared' was recurring: its series has ended, but the next start of 'shop' "
        "creates it again: to stop it, pause it\n"
    )


def test_the_end_of_a_series_is_said(stock, invoke, records):
    result = invoke("cancel", "reports", "daily", "once", "runs")
    assert (result.exit_code, result.stdout) == (0, "3 timers cancelled\n")
    assert result.stderr.splitlines() == [
        "timer 'daily' was recurring: its series has ended",
        "timer 'runs' was running: it is removed, but its handler finishes",
        "timer 'runs' was recurring: its series has ended",
    ]
    (record,) = records("cancel", "reports", "--match", "*", "--yes")
    assert (record["cancelled"], record["recurring"]) == (3, 2)


@pytest.mark.parametrize(("rule", "is_said"), [("+@all", True), ("-hget", False)])
def test_who_may_not_read_can_change_all_the_same(rule, is_said, own_server, own_url):
    own_server.execute_command("ACL", "SETUSER", "u", "on", ">secret", "~*", "&*", "+@all", rule)
    with TimersClient(own_url) as timers:
        timers.schedule("x", "t", timer_id="a", repeat=DAILY)
    url = own_url.replace("unix://", "unix://u:secret@")

    def run(*words):
        return click_runner().invoke(group, ["--redis-url", url, *words], catch_exceptions=False)

    result = run("schedule", "t", "x", "--id", "a", "--cron", "0 9 * * *", "--if-exists", "replace")
    assert (result.exit_code, result.stdout) == (0, "a\n")
    assert ("due in" in result.stderr) is is_said
    assert run("reschedule", "t", "a", "--in", "1h").stdout == "1 timer rescheduled\n"
    result = run("cancel", "t", "a")
    assert (result.exit_code, result.stdout) == (0, "1 timer cancelled\n")
    assert ("its series has ended" in result.stderr) is is_said
