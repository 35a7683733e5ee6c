"""The command line on a terminal of 80 columns: colours, questions, progress, the live table."""

import subprocess
import sys
from datetime import timedelta

import pytest
from command_line import ROOT, environment
from relay import Relay

from faststream_redis_timers_sync import Cron, Every
from faststream_redis_timers_sync.protocol.model import Settlement

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
COLOUR = "\x1b[3"
NASTY = "line\nbreak \x1b[31m\x1b]0;title\x07 \u202e" + "日本" * 40

IMPATIENT = [
    sys.executable,
    "-c",
    """
from faststream_redis_timers_sync.cli import main
from faststream_redis_timers_sync.console import output
output._PATIENCE = -1.0
main()
""",
]
"""The command line that shows progress at once, so that no test waits for a second."""


@pytest.fixture
def stock(timers, here):
    """Timers of every kind, under names of every kind."""
    timers.schedule("x", "invoices", timer_id="running")
    here.claim("invoices", lease_ttl=600)
    timers.schedule("x", "invoices", timer_id="overdue")
    for n in range(1, 200):
        timers.schedule({"n": n, "é": None}, "invoices", timer_id=f"user:{n}", activate_in=n * DAY)
    headers = {"x-long": "a " * 100, "x-\x1b[31m": "b\nc"}
    timers.schedule("a " * 100, "invoices", timer_id=NASTY, activate_in=HOUR, headers=headers)
    timers.schedule("x", NASTY, activate_in=HOUR)
    return timers


# --- what everything looks like

LOOKS = [
    ["topics"],
    ["stats"],
    ["stats", "nowhere"],
    ["list", "invoices"],
    ["list", "nowhere"],
    ["show", "invoices", "user:1"],
    ["show", "invoices", "running"],
    ["show", "invoices", "nobody"],
    ["check"],
]


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_everything_fits_80_columns_and_nothing_drives_the_terminal(words, stock, terminal):
    shell = terminal(*words)
    shell.end()

    assert shell.text.strip()
    assert shell.width <= 80
    assert "title" not in shell.raw or r"\x1b]0;title\x07" in shell.text.replace("\n", "")
    assert "Traceback" not in shell.text


@pytest.fixture
def series(timers):
    """Recurring timers with ids and definitions of any length; one of them is paused."""
    workdays = Cron("*/15 8-18 * * MON-FRI", tz="America/Argentina/ComodRivadavia")
    timers.schedule("x", "reports", timer_id="tenant-0042:" + "monthly-" * 5, repeat=workdays)
    timers.schedule("x", "reports", timer_id="stopped", repeat=Every(hours=1))
    timers.pause_timer("reports", "stopped")
    return timers


@pytest.mark.parametrize(
    "words",
    [
        *(["list", "reports"], ["list", "reports", "--series"], ["show", "reports", "stopped"]),
        *(["show", "reports", "tenant-0042:" + "monthly-" * 5], ["stats"], ["pause", "reports"]),
    ],
    ids=["list", "series", "paused", "long", "stats", "none"],
)
def test_recurring_timers_fit_80_columns(words, series, terminal):
    shell = terminal(*words)
    shell.end()

    assert shell.width <= 80
    assert "Traceback" not in shell.text
    if words[0] == "list":
        assert "REPEATS" in shell.text
        assert "*/15 8-18 * *" in shell.text


def test_watching_counts_paused_ones_apart(series, terminal):
    shell = terminal("watch", "reports", "--interval", "0.1")
    shell.wait_for("1 topic, 2 pending, 0 overdue, 1 paused")
    shell.type("\x03")
    assert shell.end() == 0


@pytest.mark.parametrize(("keys", "code"), [("y\r", 0), ("\r", 1)])
def test_moving_a_paused_one_is_asked(keys, code, series, terminal):
    shell = terminal("run-now", "reports", "stopped")
    shell.wait_for("timer 'stopped' is paused; this resumes it. Continue? [y/N]")
    shell.type(keys)

    assert shell.end() == code
    assert series.get_timer("reports", "stopped").paused is bool(code)


def test_cancelling_many_says_how_many_series_end(series, terminal):
    shell = terminal("cancel", "reports", "--match", "*")
    shell.wait_for(
        "2 of them are recurring: their series end. A series that an application declares"
    )
    shell.wait_for("Cancel 2 timers in topic 'reports' matching '*'? [y/N]")
    shell.type("y\r")

    assert shell.end() == 0
    assert "2 of them were recurring: their series have ended" in shell.text


def test_a_body_of_long_lines_is_left_to_the_terminal_to_break(stock, terminal):
    shell = terminal("show", "invoices", NASTY)
    shell.end()
    facts, _, body = shell.text.partition("\n\n")

    assert all(len(line) <= 80 for line in facts.splitlines())
    assert [line.rstrip() for line in body.splitlines()] == [("a " * 100).rstrip()]


@pytest.mark.parametrize("words", [["list", "invoices"], ["stats"], ["show", "invoices", "user:1"]])
def test_a_terminal_has_colours_and_a_pipe_has_none(words, stock, terminal, process):
    shell = terminal(*words)
    shell.end()

    assert COLOUR in shell.raw
    assert "\x1b" not in process(*words).stdout


@pytest.mark.parametrize("words", [*LOOKS, ["list", "invoices", "--json"]], ids=" ".join)
def test_with_no_color_nothing_is_escaped_at_all(words, stock, terminal):
    shell = terminal(*words, NO_COLOR="1")
    shell.end()

    assert "\x1b" not in shell.raw
    assert shell.text.strip()


def test_an_empty_no_color_does_not_count(stock, terminal):
    shell = terminal("list", "invoices", NO_COLOR="")
    shell.end()

    assert COLOUR in shell.raw


def test_json_has_no_colours_on_a_terminal_either(stock, terminal):
    shell = terminal("list", "invoices", "--json")
    shell.end()

    assert "\x1b" not in shell.raw


def test_a_terminal_that_can_nothing_gets_plain_text(stock, terminal):
    shell = terminal("list", "invoices", TERM="dumb")
    shell.end()

    assert "\x1b" not in shell.raw
    assert "user:1" in shell.text


def test_without_rich_a_terminal_is_written_to_plainly(stock, terminal):
    code = (
        "import sys; sys.modules['rich'] = None\n"
        "from faststream_redis_timers_sync.cli import main; main()"
    )
    shell = terminal("list", "invoices", command=[sys.executable, "-c", code])

    assert shell.end() == 0
    assert "\x1b" not in shell.raw
    assert shell.text.splitlines()[0].split() == ["DUE", "STATE", "ID"]


def test_a_name_that_is_too_long_goes_on_in_the_next_line(timers, terminal):
    name = "0123456789" * 10
    timers.schedule("x", "t", timer_id=name, activate_in=HOUR)

    shell = terminal("list", "t")
    shell.end()

    parts = [line.split()[-1] for line in shell.text.splitlines()[2:]]
    assert len(parts) == 3
    assert "".join(parts) == name


def test_a_terminal_that_is_too_narrow_for_a_table_loses_no_name(timers, terminal):
    timers.schedule("x", "t", timer_id="reminder:INV-001", activate_in=HOUR)

    shell = terminal("list", "t", columns=40)
    shell.end()

    assert "reminder:INV-001" in shell.text


def test_titles_come_once_however_many_rows_there_are(stock, terminal):
    shell = terminal("list", "invoices")
    shell.end()

    assert shell.text.count("STATE") == 1
    assert shell.text.count("user:") == 199


def test_an_id_in_a_remark_is_broken_nowhere(timers, terminal):
    timers.schedule("x", "t", activate_in=HOUR)

    shell = terminal("cancel", "t", "welcome-mail-anna", columns=32)
    shell.end()

    assert "'welcome-mail-anna'" in shell.text
    assert len(shell.text.splitlines()) > 1


# --- questions


@pytest.mark.parametrize(("keys", "code"), [("y\r", 0), ("YES\r", 0), ("n\r", 1), ("\r", 1)])
def test_a_question_is_asked_and_the_default_is_no(keys, code, stock, terminal):
    shell = terminal("cancel", "invoices", "--match", "user:*")
    shell.wait_for("Cancel 199 timers in topic 'invoices' matching 'user:*'? [y/N]")
    shell.type(keys)

    assert shell.end() == code
    assert stock.count_pending("invoices") == (202 if code else 3)
    assert ("nothing was done" if code else "199 timers cancelled") in shell.text


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (["cancel", "invoices", "--all"], "Cancel 202 timers in topic 'invoices'?"),
        (["run-now", "invoices", "--all"], "Make 202 timers in topic 'invoices' due now?"),
        (
            ["reschedule", "invoices", "--all", "--in", "1h"],
            "Reschedule 202 timers in topic 'invoices'?",
        ),
    ],
)
def test_an_end_of_input_is_no(words, question, stock, terminal):
    shell = terminal(*words)
    shell.wait_for(question)
    shell.type("\x04")

    assert shell.end() == 1
    assert stock.count_pending("invoices") == 202


def test_ctrl_c_at_a_question_is_130_and_no_traceback(stock, terminal):
    shell = terminal("cancel", "invoices", "--all")
    shell.wait_for("[y/N]")
    shell.type("\x03")

    assert shell.end() == 130
    assert "interrupted" in shell.text
    assert "Traceback" not in shell.text
    assert stock.count_pending("invoices") == 202


def test_a_question_can_be_asked_though_results_go_into_a_pipe(stock, terminal, tmp_path):
    shell = terminal("cancel", "invoices", "--all", "--json", output=subprocess.DEVNULL)
    shell.wait_for("[y/N]")
    shell.type("y\r")

    assert shell.end() == 0
    assert stock.count_pending("invoices") == 0


@pytest.mark.parametrize("choice", [["--all"], ["--match", "t*"]])
def test_what_fires_while_the_question_stands_is_counted(choice, timers, here, terminal):
    for n in range(3):
        timers.schedule("x", "t", timer_id=f"t{n}")
    shell = terminal("cancel", "t", *choice)
    shell.wait_for("Cancel 3 timers in topic 't'")

    step = here.step("t", limit=1)
    here.step("t", Settlement(b"commit", step.claimed[0].timer_id, step.lease))
    shell.type("y\r")

    assert shell.end() == 0
    assert "2 timers cancelled, 1 no longer pending" in shell.text


# --- progress


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (["topics"], "Looking for topics"),
        (["list", "invoices", "--match", "user:*", "--limit", "1"], "Looking through 'invoices'"),
        (["run-now", "invoices", "--match", "*", "-y"], "Looking through 'invoices'"),
        (["cancel", "invoices", "--match", "user:*", "-y"], "Looking through 'invoices'"),
    ],
    ids=lambda words: words[0],
)
def test_what_takes_long_shows_progress_on_a_terminal_alone(
    words, title, stock, terminal, options, server_url
):
    shell = terminal(*words, command=IMPATIENT)
    assert shell.end() == 0
    assert title in shell.text
    assert "%" in shell.text
    # Afterwards it is gone.
    assert "\x1b[2K" in shell.raw[shell.raw.rindex(title) :]
    # What comes after the bar begins a line of its own.
    assert shell.width <= 80
    assert not any("%" in line and "timer" in line for line in shell.text.splitlines())

    quick = terminal(*words)
    quick.end()
    assert title not in quick.text


def test_progress_does_not_go_where_results_go(stock, terminal, tmp_path):
    with (tmp_path / "results").open("wb") as results:
        shell = terminal("topics", "--json", command=IMPATIENT, output=results)
        assert shell.end() == 0

    assert "Looking for topics" in shell.text
    assert (tmp_path / "results").read_bytes().count(b"\n") == 2
    assert b"\x1b" not in (tmp_path / "results").read_bytes()


def test_there_is_no_progress_where_remarks_go_into_a_file(stock, options, server_url, process):
    result = subprocess.run(
        [*IMPATIENT, *options, "topics"],
        cwd=ROOT,
        env=environment(TIMERS_REDIS_URL=server_url),
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stderr == ""


# --- watch


def test_a_live_table_ends_cleanly_on_ctrl_c(stock, terminal):
    shell = terminal("watch", "--interval", "0.1")
    shell.wait_for("every 0.1 s, Ctrl-C to stop")
    shell.type("\x03")

    assert shell.end() == 0
    assert shell.width <= 80
    assert "2 topics, 203 pending, 1 overdue" in shell.text
    assert shell.raw.count("\x1b[?25l") == shell.raw.count("\x1b[?25h")
    assert "Traceback" not in shell.text


def test_a_live_table_that_is_terminated_shows_the_cursor_again(stock, terminal):
    shell = terminal("watch", "--interval", "0.1")
    shell.wait_for("Ctrl-C to stop")
    shell.process.terminate()

    assert shell.end() == 0
    assert shell.raw.count("\x1b[?25l") == shell.raw.count("\x1b[?25h")


def test_a_live_table_follows_what_happens(timers, terminal):
    shell = terminal("watch", "t", "--interval", "0.1")
    shell.wait_for("1 topic, 0 pending")
    timers.schedule("x", "t", activate_in=HOUR)
    shell.wait_for("1 topic, 1 pending, 0 overdue")
    timers.schedule("x", "t")
    shell.wait_for("1 topic, 2 pending, 1 overdue")
    shell.type("\x03")

    assert shell.end() == 0


def test_a_live_table_says_that_the_server_is_away_and_goes_on(stock, server_url, terminal):
    with Relay(server_url) as relay:
        shell = terminal("watch", "invoices", "--interval", "0.1", url=relay.url)
        shell.wait_for("1 topic, 202 pending")
        relay.refuse()
        shell.wait_for("no reply from the server for")
        stock.schedule("x", "invoices", activate_in=HOUR)
        relay.accept()
        shell.wait_for("1 topic, 203 pending")
        shell.type("\x03")

        assert shell.end() == 0


@pytest.mark.parametrize("columns", [40, 50, 64])
def test_on_a_narrow_terminal_a_watch_writes_lines_and_loses_no_name(columns, timers, terminal):
    timers.schedule("x", "invoices", activate_in=HOUR)

    shell = terminal("watch", "--interval", "0.1", columns=columns)
    shell.wait_for("invoices")
    shell.type("\x03")

    assert shell.end() == 0
    assert shell.text.splitlines()[0].split()[-1] == "TOPIC"
    assert "\x1b[?25l" not in shell.raw


def test_on_the_narrowest_terminal_of_a_live_table_names_have_room(timers, terminal):
    timers.schedule("x", "invoices", activate_in=HOUR)

    shell = terminal("watch", "--interval", "0.1", columns=65)
    shell.wait_for("Ctrl-C to stop")
    shell.type("\x03")

    assert shell.end() == 0
    assert "invoices" in shell.text
    assert "\x1b[?25l" in shell.raw


def test_a_live_table_of_more_topics_than_lines_shows_the_urgent_ones(timers, terminal):
    for n in range(60):
        timers.schedule("x", f"topic-{n:02}", activate_in=n * HOUR + HOUR)
    timers.schedule("x", "topic-59")

    shell = terminal("watch", "--interval", "0.1")
    shell.wait_for("and 43 more topics")
    shell.type("\x03")
    shell.end()

    first = shell.text.partition("more topics")[0]
    assert first.count("topic-") == 17
    assert first.index("topic-59") < first.index("topic-00")


def test_a_live_table_without_topics_waits_for_some(terminal, here):
    shell = terminal("watch", "--interval", "0.1")
    shell.wait_for("no topics found")
    with here.redis.pubsub() as worker:
        worker.subscribe(here.keys_of("new").timeline)
        shell.wait_for("1 topic, 0 pending")
    shell.type("\x03")

    assert shell.end() == 0
