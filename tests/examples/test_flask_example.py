"""The Flask example as a user runs it: one command, real requests, the worker, ``flask timers``."""

import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from command_line import LONGEST, ROOT, environment
from example_pages import open_pages
from running import environment_of_an_example, running
from waiting import wait_until

from examples.flask_app.app import create_app


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Run the example, on a server that it starts; give what it writes, a file."""
    output = tmp_path_factory.mktemp("flask") / "output"
    command = [sys.executable, "-m", "examples.flask_app", "--port", "0"]
    with running(command, output, "Ctrl+C stops all", environment_of_an_example()):
        yield output


@pytest.fixture
def address(output):
    """The address of the web app."""
    return re.search(r"http://127\.0\.0\.1:\d+", output.read_text())[0]


@pytest.fixture
def ask(address):
    """Send an HTTP request; give the status and the JSON of the answer."""

    def send(method, path, **form):
        data = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(f"{address}{path}", data, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=LONGEST) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return send


@pytest.fixture
def flask(output):
    """Run ``flask timers`` as the example says."""
    shown = re.search(r"export FLASK_APP=(\S+) FLASK_TIMERS_URL=(\S+)", output.read_text())
    variables = {"FLASK_APP": shown[1], "FLASK_TIMERS_URL": shown[2]}

    def run(*words):
        return subprocess.run(
            [Path(sys.executable).with_name("flask"), "timers", *words],
            cwd=ROOT,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )

    return run


def test_a_request_schedules_and_the_worker_delivers(output, ask):
    status, trial = ask("POST", "/trials/ada", seconds=0.1)
    assert (status, trial["user"]) == (200, "ada")

    wait_until(lambda: "The trial of ada has ended" in output.read_text(), timeout=LONGEST)
    wait_until(lambda: ask("GET", "/trials/ada")[0] == 404)


def test_a_request_cancels(ask):
    ask("POST", "/trials/bob")

    assert ask("DELETE", "/trials/bob") == (200, {"user": "bob", "subscribed": True})
    assert ask("DELETE", "/trials/bob") == (404, {"error": "bob is on no trial"})


def test_the_command_cancels_what_a_request_has_scheduled(ask, flask):
    ask("POST", "/trials/cyd")

    assert '"timer_id": "cyd"' in flask("list", "trials", "--json").stdout
    assert flask("cancel", "trials", "cyd").returncode == 0
    assert ask("GET", "/trials/cyd")[0] == 404
    assert flask("cancel", "trials", "cyd").returncode == 3


def test_the_declared_series_is_created_run_now_and_goes_on(output, flask):
    assert flask("series").returncode == 0
    assert flask("series", "--check").returncode == 0
    assert flask("run-now", "trial-counts", "daily").returncode == 0

    wait_until(lambda: "Trials that go on: " in output.read_text(), timeout=LONGEST)
    assert "0 6 * * * Europe/Berlin" in flask("show", "trial-counts", "daily").stdout


def test_the_health_view(ask):
    assert ask("GET", "/health") == (200, {"timers": "up"})


def test_its_web_pages_show_timers_to_those_who_know_the_password(output):
    assert ">trials</a>" in open_pages(output.read_text())


def test_the_curl_lines_that_are_shown_are_those_of_the_app(output):
    shown = output.read_text()

    rules = create_app(TIMERS_URL="redis://localhost").url_map.bind("localhost")
    lines = re.findall(r"curl .*", shown)
    assert len(lines) == 5
    for line in lines:
        assert len(line) < 78
        method = re.search(r"-X (\w+)", line)
        path = re.search(r"http://[^/]+(\S+)", line)[1]
        assert rules.match(path, method=method[1] if method else "GET")


def test_a_worker_that_ends_ends_the_example():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        # The worker ends without its server; the web app starts all the same.
        url = f"redis://127.0.0.1:{closed.getsockname()[1]}"
        ended = subprocess.run(
            [sys.executable, "-m", "examples.flask_app", "--port", "0"],
            cwd=ROOT,
            env=environment(REDIS_URL=url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.endswith("the worker has ended: see above\n")


def test_the_app_is_tested_without_a_server(timers):
    web = create_app(TIMERS_CLIENT=lambda: timers).test_client()

    assert web.post("/trials/ada").status_code == 200
    assert web.delete("/trials/ada").json == {"user": "ada", "subscribed": True}
    assert [timer.timer_id for timer in timers.cancelled] == ["ada"]
