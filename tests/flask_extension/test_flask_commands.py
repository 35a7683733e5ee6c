"""``flask timers ...``: as Flask's own test runner runs it, and as a process."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from command_line import LONGEST, environment
from flask import current_app

from faststream_redis_timers_sync.cli.commands import COMMANDS

HOUR = timedelta(hours=1)

SHOP = """
from flask import Flask
from faststream_redis_timers_sync.flask import FlaskTimers

def create_app():
    app = Flask(__name__)
    app.config.from_prefixed_env()
    FlaskTimers(app)
    return app
"""


@pytest.fixture
def invoke(app):
    """Run ``flask timers`` within this process."""

    def run(*words, of=app):
        return of.test_cli_runner().invoke(args=["timers", *words], catch_exceptions=False)

    return run


@pytest.fixture
def flask(tmp_path, server_url, key_config):
    """Run ``flask`` as a process, with an app made by a factory."""
    (tmp_path / "shop.py").write_text(SHOP)
    config = {"TIMERS_URL": server_url, "TIMERS_TOPICS": '["invoices"]', **key_config}
    variables = {f"FLASK_{name}": value for name, value in config.items()} | {"FLASK_APP": "shop"}

    def run(*words, **more):
        return subprocess.run(
            [Path(sys.executable).with_name("flask"), *words],
            cwd=tmp_path,
            env=environment() | variables | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )

    return run


def test_the_group_has_all_commands_of_the_command_line(invoke):
    result = invoke("--help")

    assert result.exit_code == 0
    for command in COMMANDS:
        assert f"\n  {command.name} " in result.output


def test_a_timers_life(invoke, client):
    scheduled = invoke("schedule", "invoices", "INV-001", "--id", "a", "--in", "3d")
    listed = invoke("list", "invoices", "--json")
    shown = invoke("show", "invoices", "a")
    moved = invoke("reschedule", "invoices", "a", "--in", "5d")
    cancelled = invoke("cancel", "invoices", "--match", "a*", "--yes")
    again = invoke("cancel", "invoices", "a")

    assert [each.exit_code for each in (scheduled, listed, shown, moved, cancelled)] == [0] * 5
    assert json.loads(listed.output)["timer_id"] == "a"
    assert "INV-001" in shown.output
    assert again.exit_code == 3
    assert client.count_pending("invoices") == 0


def test_an_upper_case_m_is_refused_as_by_the_command_line(invoke, client):
    result = invoke("schedule", "invoices", "x", "--in", "1M")

    assert result.exit_code == 2
    assert "write 1m for minutes, or days for months: 30d" in " ".join(result.output.split())
    assert client.count_pending("invoices") == 0


def test_the_topics_of_the_config_are_known_without_a_look_for_them(invoke, client):
    client.schedule("x", "orders", activate_in=HOUR)

    result = invoke("stats", "--no-scan", "--json")

    counts = {
        line["topic"]: line["pending"] for line in map(json.loads, result.output.splitlines())
    }
    assert counts == {"invoices": 0, "orders": 1}


def test_a_recurring_timers_life(invoke, client):
    words = ("--cron", "0 9 * * MON-FRI", "--tz", "Europe/Berlin")
    scheduled = invoke("schedule", "reports", "run", "--id", "daily", *words)
    paused = invoke("pause", "reports", "daily")
    listed = invoke("list", "reports", "--series", "--json")
    resumed = invoke("resume", "reports", "--all", "--yes")
    cancelled = invoke("cancel", "reports", "daily")

    results = (scheduled, paused, listed, resumed, cancelled)
    assert [result.exit_code for result in results] == [0] * 5
    assert scheduled.output.startswith("daily\ndue in ")
    assert json.loads(listed.stdout)["state"] == "paused"
    assert resumed.output == "1 paused timer resumed\n"
    assert "its series has ended" in cancelled.output
    assert client.count_pending("reports") == 0


def test_each_app_has_its_own_commands(make_app, server_url, key_config, invoke):
    shop, bank = (
        make_app(TIMERS_URL=server_url, TIMERS_PREFIX=prefix, **key_config)
        for prefix in ("shop:", "bank:")
    )
    assert invoke("schedule", "t", "x", "--id", "a", "--in", "1h", of=shop).exit_code == 0

    assert invoke("cancel", "t", "a", of=bank).exit_code == 3
    assert invoke("cancel", "t", "a", of=shop).exit_code == 0


def test_commands_run_without_a_server(make_app, timers):
    app = make_app(TIMERS_CLIENT=lambda: timers)
    timers.schedule("x", "t", timer_id="a", activate_in=HOUR)

    result = app.test_cli_runner().invoke(args=["timers", "cancel", "t", "a"])

    assert result.exit_code == 0
    assert [timer.timer_id for timer in timers.cancelled] == ["a"]


def test_what_makes_the_client_sees_the_current_app(make_app, timers):
    def make():
        return current_app.config["FAKE"]

    app = make_app(TIMERS_CLIENT=make, FAKE=timers)

    assert app.test_cli_runner().invoke(args=["timers", "list", "t"]).exit_code == 0


def test_a_client_that_can_not_be_made_is_one_sentence(make_app):
    app = make_app(TIMERS_CLIENT="no.where")

    result = app.test_cli_runner().invoke(args=["timers", "list", "t"])

    assert result.exit_code == 2
    assert result.output == (
        "Error: app.config: TIMERS_CLIENT 'no.where' can't be imported: No module named 'no'\n"
    )


# --- as a process


def test_the_process(flask, client):
    scheduled = flask("timers", "schedule", "invoices", "INV-001", "--id", "a", "--in", "3d")
    assert (scheduled.returncode, scheduled.stdout) == (0, "a\n")
    assert client.get_timer("invoices", "a").decode() == "INV-001"

    assert flask("timers", "cancel", "invoices", "a").returncode == 0
    again = flask("timers", "cancel", "invoices", "a")
    assert again.returncode == 3
    assert again.stderr == "Error: no timer 'a' is pending in topic 'invoices'\n"


def test_a_server_that_refuses_is_exit_code_4_and_one_sentence(flask):
    result = flask("timers", "list", "t", FLASK_TIMERS_URL="redis://:secret@localhost:1")

    assert (result.returncode, result.stdout) == (4, "")
    assert result.stderr == (
        "Error: the server at localhost:1 can't be reached: connection refused\n"
    )


def test_the_shell_completes_commands_and_topics(flask):
    def complete(words):
        return flask(
            _FLASK_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))
        ).stdout.split()

    assert complete("flask timers can") == ["plain,cancel"]
    assert complete("flask timers list inv") == ["plain,invoices"]


@pytest.mark.parametrize("command", ["topics", "stats", "forecast", "watch"])
def test_config_that_is_wrong_by_now_is_a_sentence(invoke, app, command):
    app.config["TIMERS_TOPICS"] = "invoices"
    result = invoke(command)
    app.config["TIMERS_TOPICS"] = None

    assert result.exit_code == 2
    assert "Error: app.config['TIMERS_TOPICS'] must be a list of topics" in result.stderr
