"""Every example runs as a user would run it: as a process of its own."""

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import redis
from running import environment_of_an_example, running
from waiting import wait_until

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync import TimersClient

ROOT = Path(__file__).parents[2]
EXAMPLES = {path.stem for path in (ROOT / "examples").glob("*.py")}


@pytest.fixture(scope="module")
def own_url():
    """A server of our own even if REDIS_URL is set: examples use topics that all may use."""
    with embedded_server(config={}) as url:
        yield url


@pytest.fixture
def url(own_url):
    """The server, empty."""
    with redis.Redis.from_url(own_url) as server:
        server.flushall()
    return own_url


def environment(url):
    return {**os.environ, "REDIS_URL": url, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def run(url, *arguments):
    """Run a module to its end and give its output."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment(url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_in_order(output, *texts):
    position = 0
    for text in texts:
        assert text in output[position:], f"no {text!r} after character {position} in:\n{output}"
        position = output.index(text, position) + len(text)


def assert_nothing_is_left(url):
    with redis.Redis.from_url(url) as server:
        assert server.keys() == []


def test_no_example_is_left_out():
    tested = {
        "batches",
        "blocking_producer",
        "cancel_and_move",
        "declared_series",
        "demo",
        "demo_cluster",
        "demo_cluster_worker",
        "demo_web",
        "demo_web_worker",
        "demo_worker",
        "filters",
        "get_one",
        "headers_and_tracing",
        "metrics_and_traces",
        "quickstart",
        "recurring",
        "replies",
        "retries",
        "routers",
        "several_primaries",
        "test_thirty_days_later",
        "test_time_travel",
    }

    assert tested | {"__init__", "embedded_cluster", "embedded_server", "processes"} == EXAMPLES


@pytest.mark.parametrize(
    ("command", "stop"),
    [
        pytest.param(
            ("faststream", "run", "examples.quickstart:app"), signal.SIGTERM, id="faststream-run"
        ),
        pytest.param(("examples.quickstart",), signal.SIGINT, id="by-itself"),
    ],
)
def test_quickstart_delivers_until_it_is_stopped(url, tmp_path, command, stop):
    output = tmp_path / "output"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env=environment(url),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            wait_until(lambda: "INV-001 is due" in output.read_text(), timeout=30)
            # As a terminal does on Ctrl-C: to all processes of the group.
            os.killpg(process.pid, stop)
            assert process.wait(timeout=30) == 0, output.read_text()
        finally:
            process.kill()

    assert "Traceback" not in output.read_text()
    assert_nothing_is_left(url)


@pytest.mark.parametrize("pause", [0, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("example", ["celery_app", "django_project", "flask_app"])
def test_ctrl_c_stops_workers_that_are_still_starting(tmp_path, example, pause):
    command = [sys.executable, "-m", f"examples.{example}"]
    if example != "celery_app":
        command += ["--port", "0"]

    # Its workers are still starting: nothing may print a traceback.
    with running(command, tmp_path / "output", "Ctrl+C stops all", environment_of_an_example()):
        time.sleep(pause)


def test_batches(url):
    output = run(url, "examples.batches")

    sizes = [int(size) for size in re.findall(r"^(\d+) offers have expired$", output, re.MULTILINE)]
    assert sum(sizes) == 250
    assert max(sizes) <= 100
    assert_in_order(output, "249 offers in all", "dead-lettered: offer 13")
    with TimersClient(url) as client:
        assert client.cancel_all("example-offers:dead") == 1
    assert_nothing_is_left(url)


def test_blocking_producer_leaves_its_timers_to_a_worker(url):
    output = run(url, "examples.blocking_producer")

    assert_in_order(output, "5 timers are pending", "INV-002", "INV-003", "INV-004", "INV-006")
    with TimersClient(url) as client:
        assert client.cancel_all("example-invoices") == 5
    assert_nothing_is_left(url)


def test_cancel_and_move(url):
    output = run(url, "examples.cancel_and_move")

    assert_in_order(
        output,
        "cancelled ada: True",
        "cancelled ada again: False",
        "moved bob: True",
        "moved cyd: True",
        "refused: timer 'trial:bob' is already waiting",
        "its body is 'bob'",
        "pending: ['trial:bob']",
        "cancelled all: 1",
    )
    # The worker may be faster than the answer to the move.
    assert "fired: the trial of cyd ends" in output
    assert_nothing_is_left(url)


def test_headers_and_tracing(url):
    output = run(url, "examples.headers_and_tracing")

    assert_in_order(
        output,
        "paying INV-001 for José & Søn, traced as order-4711",
        "filing the receipt of INV-001, traced as order-4711",
    )
    assert_nothing_is_left(url)


def test_filters(url):
    output = run(url, "examples.filters")

    for line in ("email to ada", "call to b-o-b", "letter to cyd"):
        assert output.count(f"{line}\n") == 1
    assert_nothing_is_left(url)


def test_get_one(url):
    output = run(url, "examples.get_one")

    assert_in_order(
        output,
        "due now: None",
        "exporting orders",
        "failed to export invoices",
        "exporting invoices",
        "exporting customers",
        "pending: 0",
    )
    assert_nothing_is_left(url)


def test_retries(url):
    output = run(url, "examples.retries")

    assert_in_order(
        output,
        *(f"attempt {n}: charging for order 7" for n in (1, 2, 3)),
        "dead-lettered: order 7 (timer 7), 3 attempts, ConnectionError",
        "redriven: 1",
        "attempt 1: charging for order 7",
    )
    assert_nothing_is_left(url)


def test_replies(url):
    output = run(url, "examples.replies")

    assert_in_order(
        output,
        "question INV-001: INV-001 is paid",
        "question INV-002: INV-002 is overdue",
    )
    assert "INV-000" not in output
    assert_nothing_is_left(url)


def test_metrics_and_traces(url):
    output = run(url, "examples.metrics_and_traces")

    topic = 'topic="example-invoices"'
    assert_in_order(
        output,
        "INV-001 is due",
        "faststream_timers_up 1.0",
        f"faststream_timers_pending{{{topic}}} 1.0",
        'handler="example-invoices",status="acked"} 1.0',
        "faststream_timers_lateness_seconds_count{",
        f"{topic}}} 1.0",
        "'example-invoices process' links to 'POST /invoices'",
    )
    assert_nothing_is_left(url)


def test_routers(url):
    output = run(url, "examples.routers")

    assert_in_order(
        output,
        "example-billing:reminders:first: INV-001 is due",
        "example-billing:reminders:last: INV-001 is overdue",
        "example-billing:court: INV-001 goes to court",
    )
    assert_nothing_is_left(url)


def test_several_primaries(url):
    output = run(url, "examples.several_primaries")

    assert_in_order(
        output,
        "billing holds timers of example-invoices, example-receipts\n",
        "accounts holds timers of example-trials\n",
    )
    # Nothing keeps two primaries in step.
    for line in (
        "billing: INV-001 is due",
        "billing: RCP-001 is filed",
        "accounts: the trial of ada ends",
    ):
        assert output.count(line) == 1
    assert_nothing_is_left(url)


def test_recurring_fires_in_rhythm_until_cancelled(url):
    output = run(url, "examples.recurring")

    fired = [line for line in output.splitlines() if line.startswith("report of")]
    times = [datetime.strptime(line[10:30], "%d %b %Y %H:%M:%S") for line in fired]  # noqa: DTZ007
    # Where this machine is so slow that a second is missed, that shares the next one's report.
    assert len(times) == len(set(times)) >= 3
    assert times == sorted(times)
    assert {line.partition(" (")[2] for line in fired} == {"every 1s)"}
    assert_in_order(output, "report of", "daily report of", "paused: True", "pending: 0")
    assert re.search(r"daily report of .* 0[78]:00:00 \(0 9 \* \* MON-FRI Europe/Berlin\)", output)
    assert_nothing_is_left(url)


def test_declared_series_come_stay_and_go_as_declared(url):
    output = run(url, "examples.declared_series")

    first, second = re.findall(r"'daily report.*' is due at (\S+)", output)
    assert first == second
    assert_in_order(
        output,
        "'daily report' is due",
        "'daily report, with totals' is due",
        "unchanged: [('example-shop:reports', 'daily'), ('example-shop:stock', 'stock')]",
        "pruned: [('example-shop:rates', 'rates')]",
        "unchanged: []",
        "pruned: [('example-shop:reports', 'daily'), ('example-shop:stock', 'stock')]",
    )
    assert_nothing_is_left(url)


@pytest.mark.parametrize(
    ("example", "count"), [("test_time_travel", 2), ("test_thirty_days_later", 6)]
)
def test_tests_of_a_user(url, example, count):
    output = run(url, "pytest", "-c", os.devnull, "--rootdir", "examples", f"examples/{example}.py")

    assert f"{count} passed" in output


def test_demo(url):
    output = run(url, "examples.demo")

    assert_in_order(output, "invoice fired", "welcome fired", "report fired", "meeting fired")
    assert_in_order(output, "trial ", "cancelled, never fired", "report", "was", "All went as it")
    assert max(map(len, output.splitlines())) < 80
    assert_nothing_is_left(url)


def test_demo_with_web_pages(url, tmp_path):
    output = tmp_path / "output"
    command = [sys.executable, "-m", "examples.demo", "--web"]

    with running(command, output, "until Ctrl+C", environment(url)):
        text = output.read_text()
        assert_in_order(
            text, "Pages    http://127.0.0.1:", "All went as it should.", "until Ctrl+C"
        )
        address = re.search(r"^Pages +(\S+)$", text, re.MULTILINE)[1]
        place, _, token = address.removeprefix("http://").partition("/")
        cookie = get_page(place, f"/{token}").getheader("set-cookie").partition(";")[0]

        def page(query=""):
            return get_page(place, f"/?{query}", cookie).read().decode()

        for topic in ("invoices", "trials", "reports", "exports", "payments", "surveys"):
            assert f">{topic}</a>" in page()
        # The worker fails what is due there.
        wait_until(lambda: ">PAY-71" in page("topic=payments:dead"))
        # Nobody listens to it, and yet it is listed.
        assert ">payments:dead</a>" in page()
        assert ">export-ada</a>" in page("topic=exports&only=running")
    assert_nothing_is_left(url)


def get_page(place, path, cookie=""):
    connection = http.client.HTTPConnection(place, timeout=60)
    connection.request("GET", path, headers={"Cookie": cookie})
    # The server ends the connection, and with the response it is closed.
    return connection.getresponse()


def test_demo_on_a_cluster(url):
    output = run(url, "examples.demo_cluster")

    assert all(f"{text} fired" in output for text in ("parcel", "refund", "bill", "reminder"))
    assert_in_order(output, "welcome fired", "is killed", "takes its place", "goodbye fired")
    assert_in_order(output, "trials    welcome", "trials    goodbye", "All went as it should")
    assert max(map(len, output.splitlines())) < 80


def test_demo_on_a_cluster_without_a_server_fails_in_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo_cluster"],
        cwd=ROOT,
        env={**os.environ, "TIMERS_TEST_SERVER": "no-such-server"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "no-such-server" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("bad_url", "text"), [("redis://localhost:1", "refused"), ("nonsense", "schemes")]
)
def test_demo_without_a_server_fails_in_one_line(bad_url, text):
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env=environment(bad_url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert text in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
