"""The commands that look after timers, called as a project calls them: by `call_command`."""

import json
import os
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.test import override_settings
from front_ends import Home

from faststream_redis_timers_sync import Cron, Every, TimersClient
from faststream_redis_timers_sync.cli.commands import COMMANDS
from faststream_redis_timers_sync.testing import FakeTimersClient

HOUR = timedelta(hours=1)
SECRET = "hunter2"  # noqa: S105  it is looked for in all that is said
NAMES = (
    *("topics", "list", "show", "cancel", "reschedule", "pause", "resume", "redrive", "stats"),
    "check",
)


@pytest.fixture
def here(key_names, server_url):
    """The keys of one test, with the means to claim timers as a worker does."""
    home = Home(key_names, server_url)
    yield home
    home.redis.close()


@pytest.fixture
def call(timers):
    """Call a command; give what it wrote, and what it remarked."""

    def run(*words, **options):
        out, err = StringIO(), StringIO()
        call_command(*words, stdout=out, stderr=err, **options)
        return out.getvalue(), err.getvalue()

    return run


@pytest.fixture
def records(call):
    """Call a command with --json, and read what it wrote."""

    def run(*words, **options):
        out, err = call(*words, as_json=True, **options)
        assert err == ""
        return [json.loads(line) for line in out.splitlines()]

    return run


def refusal(call, *words, **options):
    """Give the exit code and the sentence of a command that fails."""
    with pytest.raises(CommandError) as caught:
        call(*words, **options)
    return caught.value.returncode, str(caught.value)


def test_the_app_brings_the_commands():
    brought = {
        name for name, app in get_commands().items() if app == "faststream_redis_timers_sync.django"
    }

    assert brought == {f"timers_{name}" for name in (*NAMES, "series", "worker")}


@pytest.mark.parametrize("name", NAMES)
def test_a_command_has_the_options_of_the_command_lines(name):
    (theirs,) = (command for command in COMMANDS if command.name == name)
    command = load_command_class("faststream_redis_timers_sync.django", f"timers_{name}")
    parser = command.create_parser("manage.py", f"timers_{name}")

    options = {text for param in theirs.params for text in (*param.opts, *param.secondary_opts)}
    positional = [param.name for param in theirs.params if param.param_type_name == "argument"]

    assert {o for o in options if o.startswith("-")} <= set(parser._option_string_actions)
    assert [action.dest for action in parser._get_positional_actions()] == positional


# --- recurring timers


def test_recurring_timers_are_listed_shown_paused_and_resumed(call, records, timers):
    daily = Cron("0 9 * * MON-FRI", tz="Europe/Berlin")
    timers.schedule("x", "reports", timer_id="daily", repeat=daily)
    timers.schedule("x", "reports", timer_id="once", activate_in=HOUR)

    (listed,) = records("timers_list", "reports", recurring=True)
    assert (listed["timer_id"], listed["repeat"]) == ("daily", daily.definition)
    out, err = call("timers_pause", "reports", "daily")
    assert (out, err) == ("1 recurring timer paused\n", "")
    shown, _ = call("timers_show", "reports", "daily")
    assert "State        paused" in shown
    assert "Repeats      0 9 * * MON-FRI Europe/Berlin" in shown
    assert shown.count(" = ") == 3
    out, err = call(
        "timers_reschedule", "reports", everything=True, activate_in=HOUR, interactive=False
    )
    assert out == "1 timer rescheduled, 1 unchanged\n"
    code, sentence = refusal(call, "timers_reschedule", "reports", "daily", activate_in=HOUR)
    assert code == 2
    assert "timer 'daily' is paused; this resumes it. Continue?" in sentence
    assert records("timers_resume", "reports", "daily")[0]["resumed"] == 1
    (stats,) = records("timers_stats", "reports")
    assert (stats["pending"], stats["paused"]) == (2, 0)
    out, err = call("timers_cancel", "reports", "daily")
    assert err == "timer 'daily' was recurring: its series has ended\n"


def test_what_cannot_be_paused_or_resumed_is_said(call, timers):
    timers.schedule("x", "reports", timer_id="once", activate_in=HOUR)

    for name, what in (("timers_pause", "paused"), ("timers_resume", "resumed")):
        code, sentence = refusal(call, name, "reports", "once")
        assert (code, sentence) == (1, f"timer 'once' is not recurring: it was not {what}")
        code, sentence = refusal(call, name, "reports", "nobody")
        assert code == 3
        code, sentence = refusal(call, name, "reports")
        assert code == 2


def test_recurring_timers_need_no_server(call):
    with (
        FakeTimersClient() as fake,
        override_settings(TIMERS={"default": {"CLIENT": lambda: fake}}),
    ):
        fake.schedule("x", "reports", timer_id="hourly", repeat=Every(hours=1))
        assert call("timers_pause", "reports", "hourly")[0] == "1 recurring timer paused\n"
        assert "paused   every 1h" in call("timers_list", "reports", recurring=True)[0]
        assert call("timers_resume", "reports", "hourly")[0] == "1 paused timer resumed\n"


# --- looking


def test_timers_are_listed_into_a_buffer(timers):
    timers.schedule("x", "invoices", timer_id="INV-1", activate_in=HOUR)
    buffer = StringIO()

    call_command("timers_list", "invoices", stdout=buffer)

    head, row = buffer.getvalue().splitlines()
    assert head.split()[-1] == "ID"
    assert row.split()[-1] == "INV-1"


def test_times_are_shown_in_the_projects_time_zone(call, timers):
    at = datetime(2099, 7, 1, 22, 30, tzinfo=UTC)
    timers.schedule("x", "invoices", timer_id="INV-1", activate_at=at)

    with override_settings(TIME_ZONE="Asia/Tokyo"):
        listed, _ = call("timers_list", "invoices")
        shown, _ = call("timers_show", "invoices", "INV-1")

    assert "2099-07-02 07:30:00" in listed
    assert "2099-07-02 07:30:00" in shown


def test_the_earliest_that_match_are_listed(records, timers):
    for position in range(10):
        timers.schedule(
            "x", "t", timer_id=f"{position % 2}:{position}", activate_in=position * HOUR
        )

    found = records("timers_list", "t", "--match", "1:*", "--limit", "2")

    assert [record["timer_id"] for record in found] == ["1:1", "1:3"]


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5"])
def test_a_limit_that_is_no_number_above_0_is_refused(text, call):
    _, sentence = refusal(call, "timers_list", "t", f"--limit={text}")

    assert sentence == f"Error: argument --limit: '{text}' is not a whole number above 0"


def test_a_timer_is_shown_with_its_body(call, records, timers):
    timers.schedule({"a": 1}, "t", timer_id="one", activate_in=HOUR, headers={"who": "José"})

    out, _ = call("timers_show", "t", "one")
    (record,) = records("timers_show", "t", "one")
    raw, _ = call("timers_show", "t", "one", raw=True)

    assert "José" in out
    assert record["headers"]["who"] == "José"
    assert json.loads(raw) == {"a": 1}
    assert not raw.endswith("\n")


def test_topics_of_the_settings_are_listed_without_a_scan(key_settings, counting, call, records):
    setting = {"CLIENT": lambda: counting, "TOPICS": ["named"], **key_settings}
    with override_settings(TIMERS={"default": setting}):
        TimersClient(counting, **{k.lower(): v for k, v in key_settings.items()}).schedule(
            "x", "found", activate_in=HOUR
        )

        assert [r["topic"] for r in records("timers_topics")] == ["found", "named"]
        assert [r["topic"] for r in records("timers_topics", "--no-scan")] == ["named"]
        assert [r["topic"] for r in records("timers_stats", scan=False)] == ["named"]
        assert [r["pending"] for r in records("timers_stats", "found")] == [1]


def test_an_empty_topic_is_no_mistake(call):
    for words in (["timers_list", "t"], ["timers_stats", "t"], ["timers_cancel", "t", "--all"]):
        _, err = call(*words)

        assert err == "no timer is pending in topic 't'\n"


def test_the_server_is_checked(records):
    found = records("timers_check", "--topic", "invoices")

    assert {record["level"] for record in found} <= {"ok", "info", "warning"}
    assert any("version" in json.dumps(record).lower() for record in found)


def test_a_fake_client_has_no_server_to_be_checked():
    with override_settings(TIMERS={"default": {"CLIENT": FakeTimersClient}}):
        refused = refusal(call_command, "timers_check")

    assert refused == (1, "a FakeTimersClient has no server that answers INFO")


# --- changing


def test_timers_are_cancelled_by_id(call, timers):
    for timer_id in ("a", "b", "c"):
        timers.schedule("x", "t", timer_id=timer_id, activate_in=HOUR)

    assert call("timers_cancel", "t", "a", "--yes", "b") == ("2 timers cancelled\n", "")
    assert timers.get_pending_timers("t") == ["c"]


def test_an_unknown_id_is_exit_code_3_and_the_others_are_cancelled(call, timers):
    timers.schedule("x", "t", timer_id="a", activate_in=HOUR)
    out = StringIO()

    with pytest.raises(CommandError) as caught:
        call_command("timers_cancel", "t", "nobody", "a", "none", stdout=out)

    assert caught.value.returncode == 3
    assert str(caught.value).splitlines() == [
        "no timer 'nobody' is pending in topic 't'",
        "no timer 'none' is pending in topic 't'",
    ]
    assert out.getvalue() == "1 timer cancelled\n"
    assert refusal(call, "timers_show", "t", "a")[0] == 3
    assert refusal(call, "timers_reschedule", "t", "a", activate_in=HOUR)[0] == 3


def test_one_that_runs_is_removed_and_that_is_said(call, timers, here):
    timers.schedule("x", "t", timer_id="a")
    here.claim("t")

    out, err = call("timers_cancel", "t", "a")

    assert out == "1 timer cancelled\n"
    assert err == "timer 'a' was running: it is removed, but its handler finishes\n"


def test_those_that_match_or_all_are_cancelled(call, records, timers):
    for timer_id in ("user:1:a", "user:1:b", "user:2:a", "user:3:a"):
        timers.schedule("x", "t", timer_id=timer_id, activate_in=HOUR)

    assert call("timers_cancel", "t", "--match", "user:1:*", "--noinput")[0] == (
        "2 timers cancelled\n"
    )
    assert records("timers_cancel", "t", everything=True, interactive=False) == [
        {"topic": "t", "cancelled": 2, "running": None, "recurring": None, "gone": 0, "unknown": []}
    ]
    assert timers.count_pending("t") == 0


@pytest.mark.parametrize("words", [["--all"], ["--match", "*"]])
@pytest.mark.parametrize("command", [["timers_cancel"], ["timers_reschedule", "--in=2h"]])
def test_a_question_without_a_terminal_is_exit_code_2_and_changes_nothing(
    words, command, call, timers
):
    timers.schedule("x", "t", timer_id="a", activate_in=HOUR)
    before = timers.get_timer("t", "a")
    name, *more = command

    code, sentence = refusal(call, name, "t", *words, *more)

    assert code == 2
    assert sentence.endswith("There is no terminal to ask this on: to confirm, add --yes")
    assert timers.get_timer("t", "a") == before


@pytest.mark.parametrize("words", [[], ["a", "--all"], ["a", "--match", "*"]])
@pytest.mark.parametrize("command", [["timers_cancel"], ["timers_reschedule", "--in=2h"]])
def test_which_timers_must_be_said_in_one_way(words, command, call):
    name, *more = command

    assert refusal(call, name, "t", *words, *more) == (
        2,
        "name one or more IDs, or give --match PATTERN, or --all",
    )


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--at", "2099-06-01T09:00+02:00"], {}),
        ([], {"activate_at": datetime(2099, 6, 1, 7, tzinfo=UTC)}),
    ],
)
def test_timers_are_moved(words, options, call, timers):
    timers.schedule("x", "t", timer_id="a", activate_in=HOUR)

    out, err = call("timers_reschedule", "t", "a", *words, **options)

    assert (out, err) == ("1 timer rescheduled\n", "")
    assert timers.get_timer("t", "a").due_at == datetime(2099, 6, 1, 7, tzinfo=UTC)


def test_one_that_runs_runs_again_when_it_is_moved(call, timers, here):
    timers.schedule("x", "t", timer_id="a")
    here.claim("t")

    _, err = call("timers_reschedule", "t", "a", "--in", "1h30m")

    assert err == "timer 'a' was running: it will run again at the new time\n"


def test_a_new_time_is_needed(call, timers):
    timers.schedule("x", "t", timer_id="a", activate_in=HOUR)
    before = timers.get_timer("t", "a")

    assert refusal(call, "timers_reschedule", "t", "a") == (
        2,
        "give the new time: --in 3d, or --at 2026-06-01T09:00+02:00",
    )
    assert timers.get_timer("t", "a") == before


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--in", "3"], "argument --in: '3' is not a duration: write numbers with their units"),
        (
            ["--in", "1M"],
            "--in: '1M' has an upper-case M, which can mean minutes or months",
        ),
        (["--at", "soon"], "argument --at: 'soon' is not a time: write it as"),
        (["--at", "2099-01-01T09:00"], "has no time zone"),
        (["--in", "1h", "--at", "2099-01-01T09:00Z"], "not allowed with argument --in"),
    ],
)
def test_a_time_that_cannot_be_read_is_named(words, part, call):
    _, sentence = refusal(call, "timers_reschedule", "t", "a", *words)

    assert part in sentence


# --- settings and servers


def test_an_alias_is_used(key_settings, counting, call):
    setting = {"CLIENT": lambda: counting, **key_settings}
    with override_settings(
        TIMERS={"default": {"URL": "redis://localhost:1"}, "other": {**setting, "PREFIX": "mine:"}}
    ):
        TimersClient(counting, **{k.lower(): v for k, v in key_settings.items()}).schedule(
            "x", "mine:t", timer_id="a", activate_in=HOUR
        )

        out, _ = call("timers_list", "t", "--alias", "other", "--json")
        cancelled, _ = call("timers_cancel", "t", "a", alias="other")

    assert json.loads(out)["timer_id"] == "a"
    assert cancelled == "1 timer cancelled\n"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ({"default": {"URL": f"redis://:{SECRET}/x"}}, "URL of the server"),
        ({"default": {"URI": f"redis://:{SECRET}@h"}}, "unknown key 'URI': did you mean 'URL'?"),
        ({"other": {"URL": f"redis://:{SECRET}@h"}}, "must have the alias"),
    ],
)
def test_settings_that_are_not_in_order_are_exit_code_2(setting, part, name, call):
    with override_settings(TIMERS=setting):
        code, sentence = refusal(call, f"timers_{name}", *ARGUMENTS.get(name, []))

    assert code == 2
    assert part in sentence
    assert SECRET not in sentence


@pytest.mark.parametrize("name", NAMES)
def test_a_server_that_refuses_is_exit_code_4(name, call):
    with override_settings(TIMERS={"default": {"URL": f"redis://:{SECRET}@localhost:1"}}):
        refused = refusal(call, f"timers_{name}", *ARGUMENTS.get(name, []))

    assert refused == (4, "the server at localhost:1 can't be reached: connection refused")


ARGUMENTS = {
    "list": ["t"],
    "show": ["t", "a"],
    "cancel": ["t", "a"],
    "reschedule": ["t", "a", "--in=1h"],
    "pause": ["t", "a"],
    "resume": ["t", "a"],
    "redrive": ["t", "a"],
}
"""What a command can't do without."""


def test_an_unknown_alias_is_named(call):
    code, sentence = refusal(call, "timers_topics", "--alias", "defualt")

    assert code == 2
    assert "TIMERS has no alias 'defualt': did you mean 'default'?" in sentence


@pytest.mark.parametrize(
    "words",
    [
        ["--", "-t", "-a"],
        ["--yes", "--", "-t", "-a"],
        ["--alias", "default", "--", "-t", "-a"],
        ["--alias=default", "--yes", "--", "-t", "-a"],
    ],
)
def test_a_topic_may_begin_with_a_dash(call, timers, words):
    timers.schedule("x", "-t", timer_id="-a", activate_in=HOUR)
    call("timers_cancel", *words)
    assert not timers.has_pending("-t", "-a")


@pytest.mark.parametrize(
    "words",
    [
        ["t", "--", "-a"],
        ["t", "--yes", "--", "-a"],
        ["--alias", "default", "t", "--yes", "--", "-a"],
        ["--yes", "t", "--alias", "default", "--", "-a"],
    ],
)
def test_an_id_may_begin_with_a_dash_also_behind_options(call, timers, words):
    timers.schedule("x", "t", timer_id="-a", activate_in=HOUR)
    call("timers_cancel", *words)
    assert not timers.has_pending("t", "-a")


def test_no_color_is_for_one_call(call, timers, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    call("timers_list", "t", "--no-color")
    assert "NO_COLOR" not in os.environ
