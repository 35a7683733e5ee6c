"""The command line as a process: environment, exit codes, pipes, what it loads, what it hides."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from datetime import timedelta

import pytest
from command_line import MODULE, ROOT, environment
from relay import Relay
from waiting import wait_until

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.cli import PROGRAM

HOUR = timedelta(hours=1)
SECRET = "hunter2"  # noqa: S105  it is looked for in all that is printed


def in_a_fresh_process(code, *words, **more):
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_timers_life(process, timers):
    scheduled = process("schedule", "invoices", "INV-001", "--in", "3d")
    timer_id = scheduled.stdout.strip()
    listed = process("list", "invoices", "--json")
    shown = process("show", "invoices", timer_id)
    moved = process("reschedule", "invoices", timer_id, "--in", "5d")
    cancelled = process("cancel", "invoices", timer_id)
    again = process("cancel", "invoices", timer_id)

    assert [run.returncode for run in (scheduled, listed, shown, moved, cancelled)] == [0] * 5
    assert json.loads(listed.stdout)["timer_id"] == timer_id
    assert "INV-001" in shown.stdout
    assert again.returncode == 3
    assert again.stderr == f"Error: no timer '{timer_id}' is pending in topic 'invoices'\n"
    assert timers.count_pending("invoices") == 0


def test_the_url_of_the_option_comes_before_that_of_the_environment(server_url):
    command = [*MODULE, "--redis-url", server_url, "topics", "--no-scan"]

    result = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(TIMERS_REDIS_URL="redis://localhost:1"),
        capture_output=True,
        check=False,
    )

    assert result.returncode == 0


def test_the_prefix_can_come_from_the_environment(process, timers):
    timers.schedule("x", "mine:t", timer_id="one", activate_in=HOUR)

    result = process("list", "t", "--json", TIMERS_PREFIX="mine:")

    assert json.loads(result.stdout)["timer_id"] == "one"


@pytest.mark.parametrize("source", ["option", "environment"])
def test_keys_may_have_hash_tags(process, server_url, key_names, source):
    option, more = ([], {"TIMERS_HASH_TAGS": "1"})
    if source == "option":
        option, more = ["--hash-tags"], {}
    result = process(*option, "schedule", "t", "x", "--id", "one", "--in", "1h", **more)

    assert (result.returncode, result.stdout) == (0, "one\n")
    with TimersClient(server_url, **key_names, hash_tags=True) as timers:
        assert timers.has_pending("t", "one")


def test_topics_warns_of_timers_in_the_other_layout(invoke, timers, server_url, key_names):
    timers.schedule("x", "invoices", activate_in=HOUR)
    with TimersClient(server_url, **key_names, hash_tags=True) as tags:
        alone = invoke("--hash-tags", "topics")
        tags.schedule("x", "invoices", activate_in=HOUR)
        both = invoke("--hash-tags", "topics", "--json")
        here = invoke("topics")

    key = f"'{key_names['timeline_key']}:invoices'"
    warning = f"WARNING: topic 'invoices' also has timers under {key}, the key without hash tags:"
    assert (alone.exit_code, alone.stdout) == (0, "")
    assert alone.stderr.count(warning) == both.stderr.count(warning) == 1
    assert "no topics found" in alone.stderr
    assert json.loads(both.stdout)["topic"] == "invoices"
    assert here.stderr.count("the key with hash tags: programs without hash tags don't see") == 1
    assert "give all programs that share the topic the same hash_tags" in here.stderr


def test_a_topic_that_can_have_no_hash_tag_is_exit_code_2(invoke):
    result = invoke("--hash-tags", "list", "{x}")

    assert result.exit_code == 2
    assert "topic can't be '{x}' where hash_tags=True" in result.stderr


def test_the_installed_program_is_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["scripts"][PROGRAM] == "faststream_redis_timers_sync.cli:main"


# --- a server that is not there, or says no


COMMANDS = [
    ["topics"],
    ["list", "t"],
    ["show", "t", "a"],
    ["schedule", "t", "x"],
    ["cancel", "t", "a"],
    ["cancel", "t", "--all", "--yes"],
    ["reschedule", "t", "a", "--in", "1h"],
    ["run-now", "t", "--match", "*", "--yes"],
    ["stats"],
    ["stats", "t"],
    ["forecast", "t"],
    ["watch"],
    ["watch", "t"],
    ["check"],
]
"""Each command that asks the server."""


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_server_that_refuses_is_exit_code_4_and_one_sentence(words, json_option, invoke):
    result = invoke(*words, *json_option, url=f"redis://:{SECRET}@localhost:1")

    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == (
        "Error: the server at localhost:1 can't be reached: connection refused\n"
    )


@pytest.mark.parametrize("words", [["list", "t"], ["schedule", "t", "x"]])
def test_a_server_that_stays_silent_is_given_up_after_one_try(words, server_url, process):
    with Relay(server_url) as relay:
        relay.stall()

        result = process(*words, url=relay.url)

        # A connection has 2 seconds to be made and to answer; nothing is tried twice.
        assert relay.connected == 1
    assert result.returncode == 4
    assert "can't be reached: it did not reply in time" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_gives_a_silent_server_up(words, invoke, server_url):
    with Relay(server_url) as relay:
        relay.stall()
        started_at = time.monotonic()

        result = invoke(*words, url=f"{relay.url}?socket_timeout=0.2")

        assert time.monotonic() - started_at < 5
        assert relay.connected == 1
    assert result.exit_code == 4
    assert "can't be reached: it did not reply in time" in result.stderr


def test_an_answer_that_was_lost_is_exit_code_4_and_says_what_is_unknown(
    invoke, server_url, timers
):
    timers.schedule("x", "t", timer_id="one", activate_in=HOUR)
    # From now on the server knows the script, so that each call is one command.
    timers.cancel_timer("t", "nobody")
    with Relay(server_url) as relay:
        relay.lose_reply_of_script("cancel")
        result = invoke("cancel", "t", "one", url=relay.url)

    assert result.exit_code == 4
    assert "the server's reply to cancel (timer 'one' in topic 't') was lost" in result.stderr


def test_what_was_done_before_the_connection_was_lost_is_told(invoke, server_url, timers):
    timers.schedule_batch(["x"] * 1500, "t", activate_in=HOUR)
    # From now on the server knows the script, so that each call is one command.
    timers.cancel_timer("t", "nobody")
    with Relay(server_url) as relay:
        relay.lose_reply_of_script("cancel", nth=2)
        result = invoke("cancel", "t", "--match", "*", "--yes", url=relay.url)

    assert result.exit_code == 4
    assert result.stderr.startswith("200 timers cancelled before this:\nError: the server's reply")
    assert timers.count_pending("t") == 1100


@pytest.mark.parametrize(
    ("rules", "words", "sentence"),
    [
        (["+@all", "-@all"], ["list", "t"], "does not allow it"),
        (["~*", "&*", "+@all", "-zcard"], ["cancel", "t", "--all", "-y"], "does not allow it"),
        (["~*", "&*", "+@all", "-zadd"], ["schedule", "t", "x"], "does not allow it"),
    ],
)
def test_what_the_user_may_not_do_is_exit_code_1(
    rules, words, sentence, invoke, own_server, own_url
):
    own_server.execute_command("ACL", "SETUSER", "alice", "on", f">{SECRET}", *rules)

    result = invoke(*words, url=own_url.replace("unix://", f"unix://alice:{SECRET}@"))

    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert "see the command check" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_the_right_to_scan_topics_must_be_named(invoke, own_server, own_url):
    rules = ("~*", "&*", "+@all", "-scan", "-pubsub")
    own_server.execute_command("ACL", "SETUSER", "alice", "on", f">{SECRET}", *rules)
    url = own_url.replace("unix://", f"unix://alice:{SECRET}@")
    invoke("schedule", "t", "x", url=url)

    found = invoke("stats", url=url)
    named = invoke("stats", "t", "--json", url=url)

    assert found.exit_code == 0
    assert found.stderr.splitlines() == [
        "no permission for PUBSUB: listening workers are unknown",
        "no permission for SCAN: topics that no worker listens to must be named",
        "no topics found",
    ]
    assert json.loads(named.stdout)["pending"] == 1
    assert json.loads(named.stdout)["workers"] is None


def test_a_wrong_password_is_a_sentence_without_it(invoke, own_url, own_server):
    own_server.execute_command("ACL", "SETUSER", "alice", "on", ">right", "+@all")

    result = invoke("list", "t", url=own_url.replace("unix://", f"unix://alice:{SECRET}@"))

    assert result.exit_code == 1
    assert "refused the login" in result.stderr
    assert SECRET not in result.stdout + result.stderr


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@localhost:1",
        f"redis://user:{SECRET}/x@localhost:6379",
        f"redis://{SECRET}/x@localhost",
        f"redis://user:{SECRET}#x@localhost",
        f"redis://user:{SECRET}?x@localhost",
        f"redis://:{SECRET}",
        f"redis://[{SECRET}",
        f"redis://localhost:1?password={SECRET}",
        f"redis://localhost:1?socket_timeout={SECRET}",
        f"redis://localhost:1?{SECRET}=1",
        f"rediss://:{SECRET}@localhost:1",
        f"unix://user:{SECRET}@/nowhere/server.sock",
        f"http://user:{SECRET}@localhost",
        SECRET,
    ],
)
# redis-py 5 forgets the Unix socket that it could not connect.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_passwords_never_appear(url, process, invoke):
    by_environment = process("list", "t", url=url)
    by_option = invoke("list", "t", url=url)
    misused = invoke("list", url=url)
    in_help = invoke("list", "--help", url=url)

    assert by_environment.returncode == by_option.exit_code
    assert by_environment.returncode in {2, 4}
    assert (by_environment.stdout, by_environment.stderr) == (by_option.stdout, by_option.stderr)
    assert len(by_environment.stderr.splitlines()) == 1
    assert misused.exit_code == 2
    for result in (by_option, misused, in_help):
        assert SECRET not in result.stdout + result.stderr


# --- what is loaded


LOADED = (
    "import sys, atexit\n"
    "atexit.register(lambda: print(sorted({m.split('.')[0] for m in sys.modules}"
    " & {'click', 'rich', 'faststream', 'pydantic', 'anyio'}), file=sys.stderr))\n"
)


def test_importing_the_package_loads_neither_click_nor_rich_nor_the_commands():
    result = in_a_fresh_process(
        "import faststream_redis_timers_sync, sys\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('click', 'rich')"
        " or m.startswith('faststream_redis_timers_sync.')"
        " and m.split('.')[1] in ('cli', 'console', 'manage')])"
    )

    assert result.stdout == "[]\n"


def test_managing_and_printing_need_no_click():
    result = in_a_fresh_process(
        LOADED + "import faststream_redis_timers_sync.console.actions\n"
        "import faststream_redis_timers_sync.console.changes\n"
        "import faststream_redis_timers_sync.console.watch\n"
    )

    assert result.stderr == "[]\n"


def test_a_pipe_needs_no_rich(options, server_url, timers):
    timers.schedule({"a": 1}, "t", timer_id="one", activate_in=HOUR)
    code = LOADED + "from faststream_redis_timers_sync.cli import main; main()"

    for words in (["list", "t"], ["show", "t", "one"], ["topics"], ["check"]):
        result = in_a_fresh_process(code, *options, *words, TIMERS_REDIS_URL=server_url)
        assert result.stderr == "['click']\n"


def test_without_click_a_sentence_names_the_command_to_install_it():
    code = (
        "import sys, runpy; sys.modules['click'] = None\n"
        "runpy.run_module('faststream_redis_timers_sync', run_name='__main__')"
    )

    result = in_a_fresh_process(code)

    assert result.returncode == 1
    assert result.stderr == (
        "the command line needs click, which is not installed: "
        "pip install 'faststream-redis-timers[cli]'\n"
    )


def test_another_module_that_is_missing_is_no_matter_of_the_extra():
    code = (
        "import sys, runpy; sys.modules['redis'] = None\n"
        "runpy.run_module('faststream_redis_timers_sync', run_name='__main__')"
    )

    assert "ModuleNotFoundError" in in_a_fresh_process(code).stderr


# --- pipes and signals


def test_a_pipe_that_is_closed_is_no_traceback(options, server_url, timers):
    timers.schedule_batch(["x"] * 5000, "t", activate_in=HOUR)
    with subprocess.Popen(
        [*MODULE, *options, "list", "t"],
        cwd=ROOT,
        env=environment(TIMERS_REDIS_URL=server_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()

        assert process.wait(timeout=60) == 1
        assert process.stderr.read() == b""


def test_a_short_result_into_a_closed_pipe_is_no_complaint_of_python(options, server_url, timers):
    timers.schedule("x", "t", activate_in=HOUR)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*MODULE, *options, "cancel", "t", "--all", "--yes"],
        cwd=ROOT,
        env=environment(TIMERS_REDIS_URL=server_url),
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)

    assert (done.returncode, done.stderr) == (1, b"")
    assert timers.count_pending("t") == 0


def watching(options, server_url, *words):
    return subprocess.Popen(
        [*MODULE, *options, "watch", "--interval", "0.1", *words],
        cwd=ROOT,
        env=environment(TIMERS_REDIS_URL=server_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watching_through_a_pipe_writes_lines_until_a_signal(number, options, server_url, timers):
    timers.schedule("x", "t", activate_in=HOUR)
    with watching(options, server_url) as process:
        lines = [process.stdout.readline().split() for _ in range(4)]
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)

    assert lines[0] == ["TIME", "PENDING", "OVERDUE", "PAUSED", "NEXT", "WORKERS", "TOPIC"]
    for date, clock, pending, overdue, paused, *next_, workers, topic in lines[1:]:
        assert (len(date), len(clock)) == (10, 8)
        assert (pending, overdue, paused, workers, topic) == ("1", "0", "0", "0", "t")
        assert next_[0] == "in"
    assert "TIME" not in rest
    assert (process.returncode, errors) == (0, "")


def test_watching_as_json_writes_objects_and_sees_what_changes(options, server_url, timers):
    with watching(options, server_url, "--json", "t", "u") as process:
        first = json.loads(process.stdout.readline())
        timers.schedule("x", "u", activate_in=HOUR)
        pending = {first["topic"]: first["pending"]}
        while pending.get("u") != 1:
            record = json.loads(process.stdout.readline())
            pending[record["topic"]] = record["pending"]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert pending == {"t": 0, "u": 1}
    assert process.returncode == 0


def test_watching_outlives_an_outage(options, server_url, timers):
    timers.schedule("x", "t", activate_in=HOUR)
    with Relay(server_url) as relay, watching(options, relay.url) as process:
        process.stdout.readline()
        process.stdout.readline()
        relay.refuse()
        note = process.stderr.readline()
        relay.accept()
        connected = relay.connected
        wait_until(lambda: relay.connected > connected)
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert note == "the server does not reply: still trying\n"
    assert line.split()[-1] == "t"
    assert process.returncode == 0


def test_watching_ends_when_the_server_refuses_the_login(options, own_url, own_server):
    def let_in(password):
        own_server.acl_setuser(
            "watcher",
            enabled=True,
            reset_passwords=True,
            passwords=[f"+{password}"],
            keys=["*"],
            channels=["*"],
            commands=["+@all"],
        )

    let_in("old")
    url = own_url.replace("://", "://watcher:old@")
    with watching(options, url, "t") as process:
        process.stdout.readline()
        let_in("new")
        own_server.execute_command("CLIENT", "KILL", "USER", "watcher")
        error = process.stderr.readline()
        if not error.startswith("Error: "):
            process.kill()
        process.communicate(timeout=60)

    assert "refused the login: check user and password" in error
    assert process.returncode == 1


def test_watching_finds_topics_that_workers_begin_to_listen_to(options, server_url, here):
    with (
        Relay(server_url) as relay,
        watching(options, relay.url, "--json") as process,
        here.redis.pubsub() as worker,
    ):
        # The search at the start is over, and the first look too.
        wait_until(lambda: relay.count("PUBSUB") > 2)
        worker.subscribe(here.keys_of("new").timeline)
        record = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert (record["topic"], record["workers"]) == ("new", 1)


def test_watching_scans_once_and_writes_what_it_sees_at_once(options, server_url, timers):
    timers.schedule("x", "t", activate_in=HOUR)
    with Relay(server_url) as relay, watching(options, relay.url) as process:
        for _ in range(5):
            process.stdout.readline()
        # Some 100 lines fit a pipe's buffer.
        assert relay.count("EVALSHA") < 50
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

        scans = [command for command in relay.commands if command[0] == b"SCAN"]
        assert [scan[1] for scan in scans].count(b"0") == 1
        assert all(scan[4:6] == (b"COUNT", b"1000") for scan in scans)


def test_text_that_the_streams_encoding_has_no_place_for_is_escaped(process, timers):
    timers.schedule("日本", "t", timer_id="é🎉", activate_in=HOUR)

    listed = process("list", "t", PYTHONIOENCODING="ascii:strict")
    shown = process("show", "t", "é🎉", PYTHONIOENCODING="ascii:strict")

    assert listed.returncode == shown.returncode == 0
    assert r"\xe9\U0001f389" in listed.stdout
    assert r"\u65e5\u672c" in shown.stdout


# --- completion


def complete(options, server_url, *words):
    line = ["faststream-redis-timers", *options, *words]
    result = subprocess.run(
        MODULE,
        cwd=ROOT,
        env=environment(
            TIMERS_REDIS_URL=server_url,
            _FASTSTREAM_REDIS_TIMERS_COMPLETE="bash_complete",
            COMP_WORDS=" ".join(line),
            COMP_CWORD=str(len(line) - 1),
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stderr == ""
    return [entry.partition(",")[2] for entry in result.stdout.split()]


def test_a_shell_completes_commands_and_options(options, server_url):
    assert complete(options, server_url, "re") == ["reschedule", "resume", "redrive"]
    assert {"--in", "--at", "--match"} <= set(complete(options, server_url, "reschedule", "--"))


def test_a_shell_completes_topics_that_workers_listen_to_and_scans_nothing(
    options, server_url, here, timers
):
    timers.schedule("x", "in-no-worker's-hands", activate_in=HOUR)
    with Relay(server_url) as relay, here.redis.pubsub() as worker:
        worker.subscribe(here.keys_of("invoices").timeline, here.keys_of("other").timeline)
        for _ in range(2):
            worker.get_message(timeout=10)

        assert complete(options, relay.url, "list", "in") == ["invoices"]
        assert relay.count("SCAN", "KEYS") == 0


@pytest.mark.parametrize("url", ["redis://localhost:1", "nonsense"])
def test_a_shell_completes_nothing_where_there_is_no_server(url, options):
    assert complete(options, url, "list", "in") == []


# --- on a server shared with others


def test_no_command_runs_what_would_stop_the_server(own_server, own_url, invoke):
    invoke("schedule", "t", "x", "--id", "a", "--in", "1h", url=own_url)
    own_server.config_resetstat()
    for words in (
        ["topics"],
        ["stats"],
        ["forecast", "t"],
        ["list", "t"],
        ["list", "t", "--match", "*", "--limit", "1"],
        ["show", "t", "a"],
        ["reschedule", "t", "--all", "--in", "2h", "--yes"],
        ["run-now", "t", "--match", "*", "--yes"],
        ["check"],
        ["cancel", "t", "--match", "*", "--yes"],
        ["cancel", "t", "--all", "--yes"],
    ):
        assert invoke(*words, url=own_url).exit_code == 0

    # The first of these is our own, CONFIG RESETSTAT and INFO.
    used = {name.removeprefix("cmdstat_") for name in own_server.info("commandstats")}
    assert {"scan", "zscan", "evalsha"} <= used
    assert used & {"keys", "hscan", "hgetall", "hkeys", "hvals", "smembers", "sort", "flushdb"} == (
        set()
    )


def test_everything_works_without_a_scan_where_the_topic_is_named(own_server, own_url, invoke):
    own_server.config_resetstat()
    for words in (
        ["schedule", "t", "x", "--id", "a", "--in", "1h"],
        ["stats", "t"],
        ["forecast", "t"],
        ["list", "t"],
        ["show", "t", "a"],
        ["reschedule", "t", "a", "--in", "2h"],
        ["check"],
        ["cancel", "t", "a"],
    ):
        assert invoke(*words, url=own_url).exit_code == 0

    assert "cmdstat_scan" not in own_server.info("commandstats")


COMMAND_NAMES = (
    *("topics", "list", "show", "schedule", "cancel", "reschedule", "run-now"),
    *("redrive", "stats", "forecast", "watch", "check"),
)


@pytest.mark.parametrize("name", [[], *([name] for name in COMMAND_NAMES)], ids=str)
def test_help_fits_80_columns_on_a_wider_terminal_too(name, invoke):
    text = invoke(*name, "--help", env={"COLUMNS": "200"}, prog_name=PROGRAM).stdout

    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.partition("Commands:")[2]


def test_help_lists_all_commands_and_the_environment(process):
    text = process("--help").stdout

    for word in (
        *COMMAND_NAMES,
        "TIMERS_REDIS_URL",
        "TIMERS_PREFIX",
        "TIMERS_HASH_TAGS",
        "Exit codes",
    ):
        assert word in text
