"""What each command writes, and its exit code; without a process, since that adds nothing here."""

import base64
import io
import json
import re
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import click
import pytest
from command_line import click_runner

from faststream_redis_timers_sync.cli.commands import COMMANDS
from faststream_redis_timers_sync.cli.source import Source
from faststream_redis_timers_sync.console import actions, changes
from faststream_redis_timers_sync.console.output import Output
from faststream_redis_timers_sync.manage import forecast as forecasting
from faststream_redis_timers_sync.manage.chosen import Chosen

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LATER = datetime(2099, 1, 1, 12, tzinfo=UTC)
NASTY = "line\nbreak \x1b[31m\0 \u202e日本\\"


@pytest.fixture
def stock(timers, here):
    """One timer that runs, one that is overdue, three that wait."""
    timers.schedule("x", "invoices", timer_id="running")
    here.claim("invoices", lease_ttl=600)
    timers.schedule("x", "invoices", timer_id="overdue")
    for n in (1, 2, 3):
        timers.schedule({"n": n}, "invoices", timer_id=f"user:{n}", activate_in=n * DAY)
    return timers


# --- topics and stats


def test_topics_are_listed_with_their_counts(stock, invoke, records):
    stock.schedule("x", NASTY, activate_in=HOUR)

    assert records("topics") == [
        {"topic": "invoices", "pending": 5, "paused": 0, "workers": 0},
        {"topic": NASTY, "pending": 1, "paused": 0, "workers": 0},
    ]
    lines = invoke("topics").stdout.splitlines()
    assert lines[0].split() == ["TOPIC", "PENDING", "PAUSED", "WORKERS"]
    assert lines[1].split() == ["invoices", "5", "0", "0"]
    assert len(lines) == 3


def test_topics_without_a_scan_are_those_that_workers_listen_to(stock, invoke, here):
    assert invoke("topics", "--no-scan").stderr == "no topics found\n"

    with here.redis.pubsub() as worker:
        worker.subscribe(here.keys_of("invoices").timeline)
        worker.get_message(timeout=10)
        result = invoke("topics", "--no-scan", "--json")

    assert json.loads(result.stdout) == {
        "topic": "invoices",
        "pending": 5,
        "paused": 0,
        "workers": 1,
    }


def test_topics_are_named_without_the_prefix(stock, invoke):
    stock.schedule("x", "mine:a", activate_in=HOUR)

    result = invoke("--prefix", "mine:", "topics", "--json")

    assert json.loads(result.stdout)["topic"] == "a"
    assert invoke("--prefix", "mine:", "list", "a").exit_code == 0


def test_stats_show_what_is_due_when(stock, records, invoke):
    (stats,) = records("stats", "invoices")
    now = datetime.fromisoformat(stats["at"])

    assert {name: stats[name] for name in ("topic", "pending", "overdue", "workers")} == {
        "topic": "invoices",
        "pending": 5,
        "overdue": 1,
        "workers": 0,
    }
    assert stats["within_hour"] == 1
    assert datetime.fromisoformat(stats["next_at"]) < now
    assert datetime.fromisoformat(stats["last_at"]) - now == pytest.approx(3 * DAY, abs=HOUR)
    assert records("stats")[0]["topic"] == "invoices"
    assert "ago" in invoke("stats").stdout or "now" in invoke("stats").stdout


def test_a_forecast_shows_how_many_are_due_when(stock, records, invoke):
    stock.schedule("x", "orders", activate_in=2 * DAY)
    (made,) = records("forecast", "invoices", "orders", "--range", "month")

    assert (made["range"], made["topics"]) == ("month", ["invoices", "orders"])
    assert len(made["due"]) == 30
    assert sum(part["count"] for part in made["due"]) == 5
    assert (made["overdue"], made["later"], made["paused"], made["dead"]) == (1, 0, 0, 0)
    assert made["due"][0]["start"] == made["at"]
    assert made["due"][0]["end"] == made["due"][1]["start"]

    result = invoke("forecast", "invoices", "--range", "hour")
    titles, *lines = result.stdout.splitlines()
    # Tests run in UTC, or in another zone whose offset is shown.
    assert re.fullmatch(r"DUE \((UTC|[+-]\d\d:\d\d)\) +TIMERS *", titles)
    assert len(lines) == 60 + 2
    assert [line.split() for line in lines[-2:]] == [["later", "3"], ["overdue", "1"]]
    # The bar of the fullest has 30 characters.
    assert max(line.count("#") for line in lines) == 30
    assert "A running timer counts at the end of its lease" in result.stderr


def test_a_forecast_of_nothing_has_no_bars_and_a_note_as_stats_has(stock, invoke):
    result = invoke("forecast", "nowhere", "--range", "hour")
    lines = result.stdout.splitlines()

    assert result.exit_code == 0
    assert [line.split()[-1] for line in lines[1:]] == ["0"] * 60
    assert "no timer is pending in topic 'nowhere'\n" in result.stderr
    result = invoke("forecast", "invoices", "nowhere", "--json")
    assert result.stderr == "no timer is pending in topic 'nowhere'\n"


def test_a_forecast_without_a_topic_is_that_of_all_that_are_found(stock, records):
    stock.schedule("x", "orders", activate_in=2 * DAY)

    assert {"invoices", "orders"} <= set(records("forecast")[0]["topics"])


def test_a_forecast_of_no_topics_says_so(invoke):
    result = invoke("--prefix", "nobody:", "forecast")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no topics found\n")


def test_a_forecast_of_many_topics_is_that_of_the_largest(timers, invoke, monkeypatch):
    monkeypatch.setattr(actions, "MOST_TOPICS", 1)
    monkeypatch.setattr(forecasting, "MOST_TOPICS", 1)
    for topic in ("a", "b", "b"):
        timers.schedule("x", topic, activate_in=DAY)
    result = invoke("forecast", "--json")

    assert json.loads(result.stdout)["topics"] == ["b"]
    assert result.stderr == "forecast of the 1 topics with the most timers, of 2 found\n"


@pytest.mark.parametrize(
    ("offset", "shown"), [("UTC", "UTC"), ("XXX-05:30", "+05:30"), ("XXX3", "-03:00")]
)
def test_the_heading_of_a_forecast_has_the_offset_of_its_times(process, offset, shown):
    assert process("forecast", "t", TZ=offset).stdout.startswith(f"DUE ({shown})")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["web", "--redis-url", "redis://a"], "web"),
        (["list", "t", "--prefix=x"], "list"),
        (["series", "module:name", "--hash-tags"], "series"),
    ],
)
def test_an_option_of_the_group_behind_the_command_is_told_where_it_goes(words, command, invoke):
    result = invoke(*words)
    option = next(word for word in words if word.startswith("--")).partition("=")[0]

    assert result.exit_code == 2
    assert (
        f"{option} goes before the command: faststream-redis-timers {option} ... {command}\n"
    ) in result.stderr


def test_another_option_that_there_is_not_is_told_as_ever(invoke):
    assert "No such option" in invoke("list", "t", "--redis").stderr


def test_stats_of_an_unknown_topic_are_zeros_and_a_note(invoke):
    result = invoke("stats", "nowhere", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["pending"] == 0
    assert result.stderr == "no timer is pending in topic 'nowhere'\n"


# --- list and show


def test_a_list_shows_state_and_time(stock, records):
    listed = records("list", "invoices")

    assert [(timer["timer_id"], timer["state"]) for timer in listed] == [
        ("overdue", "overdue"),
        ("running", "running"),
        ("user:1", "waiting"),
        ("user:2", "waiting"),
        ("user:3", "waiting"),
    ]
    assert list(listed[0]) == ["topic", "timer_id", "state", "due_at", "lease_ends_at", "repeat"]
    assert listed[1]["due_at"] is None
    assert datetime.fromisoformat(listed[1]["lease_ends_at"]) > datetime.now(UTC)
    assert listed[2]["lease_ends_at"] is None
    assert listed[2]["due_at"].endswith("Z")
    assert (
        datetime.fromisoformat(listed[2]["due_at"]) == stock.get_timer("invoices", "user:1").due_at
    )


def test_a_list_is_a_table_with_a_line_per_timer(stock, invoke):
    lines = invoke("list", "invoices").stdout.splitlines()

    assert [line.split()[-2:] for line in lines] == [
        ["STATE", "ID"],
        ["overdue", "overdue"],
        ["running", "running"],
        ["waiting", "user:1"],
        ["waiting", "user:2"],
        ["waiting", "user:3"],
    ]
    assert "in 24 hours" in lines[3]
    assert "in 3 days" in lines[5]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--limit", "2"], ["overdue", "running"]),
        (["--match", "user:*", "--limit", "2"], ["user:1", "user:2"]),
        (["--match", "user:*", "--limit", "9" * 20], ["user:1", "user:2", "user:3"]),
        (["--limit", "9" * 20], ["overdue", "running", "user:1", "user:2", "user:3"]),
        (["--match", "user:[23]"], ["user:2", "user:3"]),
    ],
)
def test_a_list_can_be_narrowed(words, expected, stock, records):
    assert sorted(timer["timer_id"] for timer in records("list", "invoices", *words)) == expected


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["list", "nowhere"], "no timer is pending in topic 'nowhere'"),
        (["list", "a\nb"], r"no timer is pending in topic 'a\nb'"),
        (["list", "invoices", "--match", "z*"], "no timer that matches 'z*' is pending in topic"),
        (["cancel", "nowhere", "--all"], "no timer is pending in topic 'nowhere'"),
        (["cancel", "nowhere", "--all", "--yes"], "no timer is pending in topic 'nowhere'"),
        (["cancel", "invoices", "--match", "z*"], "no timer that matches 'z*' is pending"),
        (["cancel", "invoices", "--match", "z*", "--yes"], "no timer that matches 'z*' is"),
        (["run-now", "nowhere", "--all"], "no timer is pending in topic 'nowhere'"),
        (["reschedule", "nowhere", "--match", "*", "--in", "1h"], "no timer that matches '*'"),
    ],
)
def test_where_there_is_nothing_a_note_says_so(words, note, stock, invoke):
    result = invoke(*words)

    assert (result.exit_code, result.stdout) == (0, "")
    assert note in result.stderr


def test_bodies_are_not_read_by_a_list(stock, records):
    assert all(set(timer) & {"body", "headers"} == set() for timer in records("list", "invoices"))


@pytest.mark.parametrize(
    ("message", "shown", "body", "content_type"),
    [
        ("text\nof two \x1blines", "text\nof two \\x1blines\n", "text\nof two \x1blines", "text"),
        ({"é": [1, None]}, '{\n  "é": [\n    1,\n    null\n  ]\n}\n', {"é": [1, None]}, "json"),
        ("42", "42\n", "42", "text"),
        (42, "42\n", 42, "json"),
        ("", "\n", "", "text"),
        (b"\x00\xff\x1b", "b'\\x00\\xff\\x1b'\n", None, None),
        (None, "\n", None, None),
    ],
)
def test_a_timer_is_shown(  # noqa: PLR0913, PLR0917  a timer has that many properties
    message, shown, body, content_type, timers, invoke, records
):
    timers.schedule(
        message, "t", timer_id="one", activate_at=LATER, headers={"x-a": "b\nc"}, reply_to="r"
    )

    (record,) = records("show", "t", "one")
    facts, _, text = invoke("show", "t", "one").stdout.partition("\n\n")

    assert record["body"] == body
    assert (record["timer_id"], record["topic"], record["state"]) == ("one", "t", "waiting")
    assert record["due_at"] == "2099-01-01T12:00:00.000000Z"
    assert content_type is None or content_type in record["content_type"]
    assert record["headers"]["x-a"] == "b\nc"
    assert record["correlation_id"] == "one"
    if body is None:
        assert base64.b64decode(record["body_base64"]) == (message or b"")
    assert text == shown
    assert "2099-01-01 12:00:00.000 UTC" in facts
    assert r"x-a: b\nc" in facts
    assert "reply_to: r" in facts


def test_a_running_timer_is_shown_with_the_end_of_its_lease(stock, invoke, records):
    text = invoke("show", "invoices", "running").stdout

    assert "State        running" in text
    assert "Lease ends   in 10 minutes" in text
    assert records("show", "invoices", "running")[0]["due_at"] is None


@pytest.mark.parametrize("body", [b"\x00\xff\r\n\x1b[31m", b"", b"text"])
def test_a_raw_body_is_written_byte_by_byte(body, timers, invoke):
    timers.schedule(body, "t", timer_id="one", activate_at=LATER)

    assert invoke("show", "t", "one", "--raw").stdout_bytes == body


def test_a_body_that_json_has_no_place_for_is_base64(here, records):
    # FastStream's own envelope, as somebody may have written it by hand.
    here.plant("t", "one", 4_000_000_000, b"NaN")

    (record,) = records("show", "t", "one")

    assert record["body"] is None
    assert base64.b64decode(record["body_base64"]) == b"NaN"


def test_a_long_body_is_cut_and_a_note_says_how_to_see_all(timers, invoke):
    timers.schedule("é" * 100_000, "t", timer_id="one", activate_at=LATER)

    result = invoke("show", "t", "one")

    assert result.stdout.count("é") == 64 * 1024
    assert result.stderr == "cut after 65,536 characters: --raw prints all of it\n"


def test_an_unknown_id_is_not_shown(invoke):
    result = invoke("show", "t", "a\nb")

    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == "Error: no timer 'a\\nb' is pending in topic 't'\n"


# --- schedule


def test_a_timer_is_scheduled_with_all_it_can_have(invoke, timers):
    result = invoke(
        *("schedule", "t", '{"a": 1}', "--as", "json", "--id", "one", "--in", "3d"),
        *("--header", "x=a=b", "--header", "y=", "--correlation-id", "c", "--reply-to", "r"),
    )
    timer = timers.get_timer("t", "one")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "one\n", "")
    assert timer.decode() == {"a": 1}
    assert (timer.headers["x"], timer.headers["y"], timer.headers["reply_to"]) == ("a=b", "", "r")
    assert timer.correlation_id == "c"
    assert timer.due_at - datetime.now(UTC) == pytest.approx(3 * DAY, abs=HOUR)


def test_an_id_is_made_and_printed(invoke, timers, records):
    timer_id = invoke("schedule", "t", "x", "--in", "1h").stdout.strip()
    (record,) = records("schedule", "t", "x", "--in", "1h")

    assert timers.has_pending("t", timer_id)
    assert record["topic"] == "t"
    assert timers.has_pending("t", record["timer_id"])


@pytest.mark.parametrize(
    ("words", "given", "expected"),
    [
        (["text"], None, "text"),
        (["-"], b"from\nstdin\n", "from\nstdin\n"),
        (["-", "--as", "json"], b'{"a": [1]}', {"a": [1]}),
        (["-", "--as", "bytes"], b"\x00\xff", b"\x00\xff"),
        (["--", "-x"], None, "-x"),
        (["", "--as", "text"], None, ""),
    ],
)
def test_a_message_comes_from_the_argument_or_standard_input(
    words, given, expected, invoke, timers
):
    result = invoke("schedule", "--id", "one", "--in", "1h", "t", *words, input=given)

    assert result.exit_code == 0, result.output
    assert timers.get_timer("t", "one").decode() == expected


def test_the_time_of_day_is_absolute_and_one_in_the_past_is_remarked(invoke, timers):
    invoke("schedule", "t", "x", "--id", "one", "--at", "2099-01-01T14:00+02:00")
    past = invoke("schedule", "t", "x", "--id", "two", "--at", "2020-01-01T00:00Z")

    assert timers.get_timer("t", "one").due_at == LATER
    assert past.stderr == "that time is past: due at once\n"
    assert past.exit_code == 0


@pytest.mark.parametrize(
    ("policy", "code", "body"), [("replace", 0, "new"), ("keep", 0, "old"), ("error", 1, "old")]
)
def test_where_the_id_is_taken_the_option_decides(policy, code, body, invoke, timers):
    timers.schedule("old", "t", timer_id="one", activate_in=HOUR)

    result = invoke("schedule", "t", "new", "--id", "one", "--in", "1h", "--if-exists", policy)

    assert result.exit_code == code
    assert timers.get_timer("t", "one").decode() == body
    assert ("is already waiting in topic 't'" in result.stderr) == (code == 1)


# --- cancel, reschedule, run-now


def test_named_timers_are_cancelled_without_a_question(stock, invoke):
    result = invoke("cancel", "invoices", "user:1", "user:2", "user:1")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "2 timers cancelled\n", "")
    assert stock.count_pending("invoices") == 3


def test_an_unknown_id_is_named_and_the_others_are_cancelled(stock, invoke):
    result = invoke("cancel", "invoices", "nobody", "user:1", "a\x1bb")

    assert (result.exit_code, result.stdout) == (3, "1 timer cancelled\n")
    assert result.stderr.splitlines() == [
        "Error: no timer 'nobody' is pending in topic 'invoices'",
        r"Error: no timer 'a\x1bb' is pending in topic 'invoices'",
    ]


def test_one_that_was_running_is_removed_and_a_note_says_so(stock, invoke):
    result = invoke("cancel", "invoices", "running")

    assert (result.exit_code, result.stdout) == (0, "1 timer cancelled\n")
    assert "'running' was running: it is removed, but its handler finishes" in result.stderr
    assert not stock.has_pending("invoices", "running")


@pytest.mark.parametrize(
    ("command", "warning"),
    [
        (["reschedule", "--in", "2h"], "it will run again at the new time"),
        (["run-now"], "a second run starts beside the first"),
    ],
)
def test_moving_one_that_runs_warns_that_it_runs_again(command, warning, stock, invoke):
    name, *words = command
    result = invoke(name, "invoices", "running", "user:1", *words)

    assert result.exit_code == 0
    assert f"timer 'running' was running: {warning}" in result.stderr
    assert "user:1" not in result.stderr
    assert not stock.get_timer("invoices", "running").running


def test_timers_are_rescheduled(stock, invoke):
    result = invoke("reschedule", "invoices", "user:1", "--at", "2099-01-01T12:00Z")

    assert (result.exit_code, result.stdout) == (0, "1 timer rescheduled\n")
    assert stock.get_timer("invoices", "user:1").due_at == LATER


def test_timers_are_made_due(stock, invoke, here):
    result = invoke("run-now", "invoices", "--match", "user:*", "--yes")

    assert (result.exit_code, result.stdout) == (0, "3 timers made due\n")
    assert {claimed.timer_id for claimed in here.claim("invoices").claimed} == {
        *(b"overdue", b"user:1", b"user:2", b"user:3")
    }


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (["cancel"], "5 timers cancelled"),
        (["reschedule", "--in", "1h"], "5 timers rescheduled"),
        (["run-now"], "5 timers made due"),
    ],
)
@pytest.mark.parametrize("choice", [["--all"], ["--match", "*"]])
@pytest.mark.parametrize("sure", ["--yes", "--no-input", "-y"])
def test_all_or_those_that_match_are_changed(command, answer, choice, sure, stock, invoke):
    name, *words = command
    result = invoke(name, "invoices", *choice, *words, sure)

    assert (result.exit_code, result.stdout) == (0, f"{answer}\n")
    if name != "cancel":
        warning = "they will run again" if name == "reschedule" else "a second run of each starts"
        assert f"1 of them were running: {warning}" in result.stderr


@pytest.mark.parametrize(
    ("command", "key", "running"),
    [
        (["cancel", "invoices", "running", "user:1", "nobody"], "cancelled", 1),
        (["reschedule", "invoices", "running", "user:1", "nobody", "--in", "1h"], "moved", 1),
        (["run-now", "invoices", "running", "user:1", "nobody"], "moved", 1),
    ],
)
def test_a_change_is_one_object(command, key, running, stock, invoke):
    result = invoke(*command, "--json")

    assert result.exit_code == 3
    assert json.loads(result.stdout) == {
        "topic": "invoices",
        key: 2,
        "running": running,
        **({"recurring": 0} if key == "cancelled" else {"stayed": {"paused": 0}}),
        "gone": 0,
        "unknown": ["nobody"],
    }


@pytest.mark.parametrize("change", [changes.cancel, changes.move])
def test_what_is_scheduled_after_nothing_was_found_stays(change, timers, monkeypatch):
    count = changes.preview

    def count_and_be_late(*args, **options):
        seen = count(*args, **options)
        timers.schedule("x", "t", timer_id="one", activate_at=LATER)
        return seen

    # Between counting and cancelling there is no other place to come in.
    monkeypatch.setattr(changes, "preview", count_and_be_late)

    chosen = Chosen(topic="t", everything=True)
    assert change(timers, Output(err=io.StringIO()), chosen=chosen) == 0
    assert timers.get_timer("t", "one").due_at == LATER


def test_what_is_removed_as_a_whole_was_not_looked_at(stock, records):
    (record,) = records("cancel", "invoices", "--all", "--yes")

    assert (record["cancelled"], record["running"]) == (5, None)


@pytest.mark.parametrize(
    "command", [["cancel"], ["reschedule", "--in", "1h"], ["run-now"]], ids=lambda c: c[0]
)
@pytest.mark.parametrize("choice", [["--all"], ["--match", "user:*"]])
def test_a_question_that_cannot_be_asked_is_exit_code_2(command, choice, stock, invoke):
    name, *words = command
    before = list(stock.iter_timers("invoices"))

    result = invoke(name, "invoices", *choice, *words, input="y\n")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "There is no terminal to ask this on: to confirm, add --yes" in result.stderr
    assert ("5 timers" if choice == ["--all"] else "3 timers") in result.stderr
    assert list(stock.iter_timers("invoices")) == before


def test_a_name_that_nobody_can_type_is_exact_in_json_and_safe_in_a_table(timers, invoke, records):
    timers.schedule("x", NASTY, timer_id=NASTY, activate_in=HOUR)

    for words in (["list", NASTY], ["topics"], ["stats"]):
        output = invoke(*words).output
        assert all(c.isprintable() or c == "\n" for c in output)
    assert records("list", NASTY)[0]["timer_id"] == NASTY
    assert invoke("cancel", NASTY, NASTY).exit_code == 0


# --- check


def test_a_server_is_checked(records, invoke):
    findings = records("check")
    lines = invoke("check").stdout.splitlines()

    assert {finding["check"] for finding in findings} == {
        *("version", "cluster", "memory", "role", "eviction", "persistence", "permissions"),
        *("layout", "clock"),
    }
    assert all(
        set(finding) == {"check", "level", "message", "remedy", "rule", "nodes"}
        for finding in findings
    )
    assert [line.split()[:2] for line in lines] == [
        ["LEVEL", "CHECK"],
        *([finding["level"], finding["check"]] for finding in findings),
    ]


def test_what_timers_cannot_do_with_is_exit_code_1(invoke, own_server, own_url):
    fine = invoke("check", url=own_url)
    own_server.config_set("maxmemory-policy", "allkeys-lru")
    own_server.config_set("maxmemory", "1gb")

    result = invoke("check", url=own_url)

    assert (fine.exit_code, result.exit_code) == (0, 1)
    assert "timers could be evicted" in result.stdout


def test_one_command_allows_all_that_a_user_lacks(invoke, own_server, own_url):
    own_server.execute_command("ACL", "SETUSER", "alice", "on", ">secret", "+acl|whoami", "+info")
    url = own_url.replace("unix://", "unix://alice:secret@")

    refused = invoke("check", url=url)
    rule = refused.stdout.splitlines()[-1]
    own_server.execute_command(*rule.split(" "))

    assert refused.exit_code == 1
    assert rule.startswith("ACL SETUSER alice ~")
    assert invoke("check", url=url).exit_code == 0


# --- arguments that can't be


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["cancel", "t"], "name one or more IDs, or give --match PATTERN, or --all"),
        (["cancel", "t", "a", "--all"], "name one or more IDs, or give --match"),
        (["cancel", "t", "--match", "a", "--all"], "name one or more IDs, or give --match"),
        (["reschedule", "t", "a"], "give the new time: --in 3d, or --at 2026"),
        (["reschedule", "t", "a", "--in", "1h", "--at", "2099-01-01T00:00Z"], "not both"),
        (["schedule", "t", "x", "--in", "1h", "--at", "2099-01-01T00:00Z"], "not both"),
        (["schedule", "t", "x", "--in", "3"], "'--in': '3' is not a duration"),
        (["schedule", "t", "x", "--in", "1M"], "write 1m for minutes, or days for months: 30d"),
        (["reschedule", "t", "a", "--in", "1M"], "'--in': '1M' has an upper-case M"),
        (["schedule", "t", "x", "--at", "2026-06-01T09:00"], "has no time zone"),
        (["schedule", "t", "x", "--header", "novalue"], "'novalue' is not a header"),
        (["schedule", "t", "{", "--as", "json"], "the message is not json"),
        (["schedule", "t", "x", "--id", ""], "timer_id must not be empty"),
        (["schedule", "", "x"], "topic must not be empty"),
        (["schedule", "t", "x", "--in", "999999d"], "at most 365,250 days"),
        (["list", ""], "topic must not be empty"),
        (["list", "t", "--match", ""], "match must not be empty"),
        (["list", "t", "--limit", "0"], "0 is not in the range"),
        (["cancel", "t", ""], "timer_id must not be empty"),
        (["cancel", "\udcff", "a"], "topic can't be written as UTF-8"),
        (["watch", "--interval", "0"], "0.0 is not in the range"),
        (["watch", "--interval", "inf"], "inf is not in the range 0.1<=x<=86400"),
        (["watch", "--interval", "1e10"], "10000000000.0 is not in the range"),
        (["watch", "--interval", "nan"], "Invalid value for '--interval': nan is not a number"),
        (["forecast", ""], "topic must not be empty"),
        (["forecast", "t", "--range", "week"], "'week' is not one of 'hour', 'day', 'month'"),
        (["forecast", *map(str, range(101))], "topics must be at most 100, got 101"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_arguments_that_cannot_be_are_exit_code_2(words, sentence, invoke):
    result = invoke(*words)

    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stdout == ""


# --- other groups


def test_another_group_mounts_the_commands_with_a_client_of_its_own(stock, timers):
    opened = []

    def open_client():
        opened.append(timers)
        return nullcontext(timers)

    source = Source(open_client, topics=lambda: ["configured"])
    group = click.Group("timers", commands=COMMANDS, context_settings={"obj": source})
    outer = click.Group("app", commands=[group], context_settings={"obj": "the framework's own"})

    listed = click_runner().invoke(outer, ["timers", "list", "invoices", "--limit", "1", "--json"])
    topics = click_runner().invoke(outer, ["timers", "topics", "--json"])

    assert json.loads(listed.stdout)["timer_id"] == "overdue"
    assert [json.loads(line)["topic"] for line in topics.stdout.splitlines()] == [
        "configured",
        "invoices",
    ]
    assert opened == [timers, timers]
    assert timers.ping()


def test_a_group_without_a_client_says_what_it_lacks():
    group = click.Group("timers", commands=COMMANDS)

    with pytest.raises(RuntimeError, match="has no Source"):
        click_runner().invoke(group, ["list", "t"], catch_exceptions=False)
