"""The commands that look after timers as processes: exit codes, streams, terminals."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from command_line import ROOT
from terminal import Terminal

HERE = Path(__file__).parent
HOUR = timedelta(hours=1)
SECRET = "hunter2"  # noqa: S105  it is looked for in all that is printed
DJANGO = [sys.executable, "-m", "django"]


@pytest.fixture
def environment(key_settings, server_url):
    """Give the environment of a project with these timers."""

    def make(url=server_url, **more):
        setting = {"default": {"URL": url, **key_settings}}
        return {
            "DJANGO_SETTINGS_MODULE": "command_settings",
            "TIMERS_TEST_SETTING": json.dumps(setting),
            **more,
        }

    return make


@pytest.fixture
def command(manage, environment):
    """Run a command of the project as a process; standard input is not a terminal."""

    def run(*words, **more):
        return manage(*words, **environment(**more))

    return run


@pytest.fixture
def terminal(environment):
    """Run a command of the project on a terminal of 80 columns."""
    running = []

    def run(*words, program=DJANGO, **more):
        removed = {"NO_COLOR", "COLUMNS", "LINES"}
        env = {name: value for name, value in os.environ.items() if name not in removed}
        env |= {"PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}", "TERM": "xterm-256color"}
        running.append(Terminal([*program, *words], cwd=HERE, env=env | environment(**more)))
        return running[-1]

    yield run
    for each in running:
        each.close()


def test_a_timers_life(command, timers):
    timers.schedule("INV-001", "invoices", timer_id="a", activate_in=HOUR)
    listed = command("timers_list", "invoices", "--json")
    moved = command("timers_reschedule", "invoices", "a", "--at", "2099-07-01T00:30Z")
    shown = command("timers_show", "invoices", "a")
    cancelled = command("timers_cancel", "invoices", "a")
    again = command("timers_cancel", "invoices", "a")

    runs = (listed, moved, shown, cancelled)
    assert [(run.returncode, run.stderr) for run in runs] == [(0, "")] * 4
    assert json.loads(listed.stdout)["timer_id"] == "a"
    # TIME_ZONE is that of Berlin.
    assert "2099-07-01 02:30:00" in shown.stdout
    assert (again.returncode, again.stdout) == (3, "")
    assert again.stderr == "CommandError: no timer 'a' is pending in topic 'invoices'\n"


def test_a_server_that_refuses_is_exit_code_4_and_one_sentence_without_a_password(command):
    refused = command("timers_list", "t", url=f"redis://:{SECRET}@localhost:1")

    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr == (
        "CommandError: the server at localhost:1 can't be reached: connection refused\n"
    )


def test_a_question_without_a_terminal_is_exit_code_2(command, timers):
    timers.schedule("x", "t", activate_in=HOUR)

    asked = command("timers_cancel", "t", "--all")
    sure = command("timers_cancel", "t", "--all", "--no-input")

    assert (asked.returncode, asked.stdout) == (2, "")
    remark, sentence = asked.stderr.splitlines()
    assert remark == (
        "recurring timers among them end. A series that an application declares is created again "
        "by its next start: pause it instead"
    )
    assert sentence.startswith("CommandError: Cancel 1 timer in topic 't'? There is no term")
    assert (sure.returncode, sure.stdout) == (0, "1 timer cancelled\n")


@pytest.mark.parametrize(
    ("words", "url"),
    [
        (["timers_list"], None),
        (["timers_list", "t", "--limit", "0"], None),
        (["timers_reschedule", "t", "a", "--in", "3"], None),
        (["timers_topics"], f"redis://{SECRET}/x@localhost"),
    ],
    ids=str,
)
def test_what_cannot_be_is_exit_code_2(words, url, command):
    refused = command(*words, **({} if url is None else {"url": url}))

    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Traceback" not in refused.stderr
    assert SECRET not in refused.stderr


def test_what_is_wrong_with_the_server_is_exit_code_1(command, server_url, redis_client):
    redis_client.execute_command(
        "ACL", "SETUSER", "checker", "on", "nopass", "~*", "+@all", "-zadd"
    )
    try:
        checked = command("timers_check", url=server_url.replace("unix://", "unix://checker:x@"))
    finally:
        redis_client.acl_deluser("checker")

    assert (checked.returncode, checked.stderr) == (1, "")
    assert "+zadd" in checked.stdout


def test_a_closed_pipe_is_no_traceback(environment, timers):
    timers.schedule_batch(["x"] * 5000, "t", activate_in=HOUR)
    env = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}", **environment()}
    with subprocess.Popen(
        [*DJANGO, "timers_list", "t"],
        cwd=HERE,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()

        assert process.wait(timeout=60) == 1
        assert process.stderr.read() == b""


def test_a_pipe_needs_neither_rich_nor_click_nor_faststream(command, timers):
    timers.schedule({"a": 1}, "t", timer_id="one", activate_in=HOUR)

    loaded = command("timers_show", "t", "one", PYTHONVERBOSE="1").stderr

    assert "/redis/" in loaded
    for name in ("rich", "click", "typer", "faststream"):
        assert f"/{name}/" not in loaded


# --- on a terminal


def test_a_table_fits_80_columns_and_has_colours(terminal, timers):
    for position in range(3):
        timers.schedule("x", "t", timer_id=f"{position}{'long' * 30}", activate_in=position * HOUR)

    listed = terminal("timers_list", "t")

    assert listed.end() == 0
    assert listed.width <= 80
    assert "\x1b[1m" in listed.raw


@pytest.mark.parametrize(("words", "more"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"})])
def test_colours_can_be_switched_off(words, more, terminal, timers):
    timers.schedule("x", "t", timer_id="one", activate_in=HOUR)

    listed = terminal("timers_list", "t", *words, **more)

    assert listed.end() == 0
    assert "one" in listed.text
    assert "\x1b[" not in listed.raw


def test_without_rich_a_terminal_is_plain(terminal, timers):
    timers.schedule({"a": 1}, "t", timer_id="one", activate_at=datetime(2099, 7, 1, tzinfo=UTC))
    code = (
        "import sys; sys.modules['rich'] = None\n"
        "from django.core.management import execute_from_command_line as run; run()"
    )

    for words in (["timers_list", "t"], ["timers_show", "t", "one"], ["timers_topics"]):
        plain = terminal(*words, program=[sys.executable, "-c", code])

        assert plain.end() == 0
        assert "\x1b[" not in plain.raw
        assert "Traceback" not in plain.text
        assert "2099-07-01 02:00:00" in plain.text or words == ["timers_topics"]


@pytest.mark.parametrize(
    ("answer", "code", "text", "left"),
    [("y\n", 0, "2 timers cancelled", 0), ("\n", 1, "nothing was done", 2)],
)
def test_a_question_is_asked_on_a_terminal(answer, code, text, left, terminal, timers):
    timers.schedule_batch(["x", "y"], "t", activate_in=HOUR)

    asked = terminal("timers_cancel", "t", "--all")
    asked.wait_for("Cancel 2 timers in topic 't'? [y/N] ")
    asked.type(answer)

    assert asked.end() == code
    assert text in asked.text
    assert "CommandError" not in asked.text
    assert timers.count_pending("t") == left


def test_ctrl_c_is_exit_code_130(terminal, timers):
    timers.schedule_batch(["x", "y"], "t", activate_in=HOUR)

    asked = terminal("timers_cancel", "t", "--all")
    asked.wait_for("[y/N] ")
    asked.type("\x03")

    assert asked.end() == 130
    assert "interrupted" in asked.text
    assert "Traceback" not in asked.text
