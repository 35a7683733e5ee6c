"""The FastAPI example as a user runs it: one command, real requests, timers in the same process."""

import json
import re
import sys
import urllib.error
import urllib.request

import pytest
from command_line import LONGEST
from example_pages import open_pages
from running import environment_of_an_example, running, wait_until_listening
from waiting import wait_until


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Run the example, on a server that it starts; give what it writes, a file."""
    output = tmp_path_factory.mktemp("fastapi") / "output"
    command = [sys.executable, "-m", "examples.fastapi_app", "--port", "0"]
    with running(command, output, "Application startup complete", environment_of_an_example()):
        wait_until_listening(int(address_in(output).rpartition(":")[2]))
        yield output


def address_in(output):
    return re.search(r"http://127\.0\.0\.1:\d+", output.read_text())[0]


@pytest.fixture
def ask(output):
    """Send an HTTP request; give the status and the answer."""
    address = address_in(output)

    def send(method, path):
        request = urllib.request.Request(f"{address}{path}", method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=LONGEST) as answer:  # noqa: S310
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read()
        is_json = body.startswith((b"{", b"["))
        return status, json.loads(body) if is_json else body.decode()

    return send


def test_a_request_schedules_a_timer_that_the_same_app_handles(output, ask):
    status, trial = ask("POST", "/trials/ada?seconds=0.1")
    assert (status, trial["user"]) == (200, "ada")

    wait_until(lambda: "The trial of ada has ended" in output.read_text(), timeout=LONGEST)
    # The handler was given what FastAPI gives to requests.
    assert ask("GET", "/expired") == (200, ["ada"])
    wait_until(lambda: ask("GET", "/trials/ada")[0] == 404)


def test_a_request_cancels(ask):
    assert ask("POST", "/trials/bob")[0] == 200
    assert ask("DELETE", "/trials/bob") == (200, {"user": "bob"})
    assert ask("DELETE", "/trials/bob") == (404, {"detail": "bob is on no trial"})


def test_its_health_and_the_pages_that_describe_it(ask):
    assert ask("GET", "/health") == (200, {"timers": "up"})
    assert "/trials/{user}" in ask("GET", "/openapi.json")[1]["paths"]
    status, page = ask("GET", "/timers")
    assert status == 200
    assert "trials:EndTrial" in page


def test_its_web_pages_show_timers_to_those_who_know_the_password(output):
    assert ">trials</a>" in open_pages(output.read_text())


def test_the_curl_lines_that_are_shown_are_those_of_the_app(output, ask):
    paths = ask("GET", "/openapi.json")[1]["paths"]
    lines = re.findall(r"curl .*", output.read_text())

    assert len(lines) == 6
    for line in lines:
        assert len(line) < 78
        method = re.search(r"-X (\w+)", line)
        path = re.search(r"http://[^/]+([^?']+)", line)[1]
        path = re.sub("/trials/.*", "/trials/{user}", path)
        assert (method[1].lower() if method else "get") in paths[path]
