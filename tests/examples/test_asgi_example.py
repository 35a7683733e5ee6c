"""The ASGI example as a user runs it: health, AsyncAPI page and "Try it out" over real requests."""

import json
import re
import sys
import urllib.error
import urllib.request

import pytest
import redis
from command_line import LONGEST, environment
from example_pages import open_pages
from relay import Relay
from running import environment_of_an_example, running, wait_until_listening
from waiting import wait_until

from examples.embedded_server import embedded_server

TOPIC = "shop:invoices"


def address_in(output):
    return re.search(r"http://127\.0\.0\.1:\d+", output.read_text())[0]


def ask(url, data=None):
    """Send an HTTP request; give the status and the text of the answer."""
    request = urllib.request.Request(url, data and json.dumps(data).encode())  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=LONGEST) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Run the example, on a server that it starts; give what it writes, a file."""
    output = tmp_path_factory.mktemp("asgi") / "output"
    command = [sys.executable, "-m", "examples.asgi_app", "--port", "0"]
    with running(command, output, "Application startup complete", environment_of_an_example()):
        wait_until_listening(int(address_in(output).rpartition(":")[2]))
        yield output


def test_it_describes_itself_and_is_well(output):
    address = address_in(output)

    assert ask(f"{address}/health") == (204, "")
    status, page = ask(f"{address}/docs")
    assert status == 200
    assert "shop.invoices:Remind" in page
    document = json.loads(ask(f"{address}/docs.json")[1])
    assert document["channels"]["shop.invoices:Remind"]["address"] == TOPIC


def test_try_it_out_calls_the_handler_and_leaves_the_worker_as_it_was(output):
    address = address_in(output)
    form = {
        "channelName": "shop.invoices:Remind",
        "message": {"message": 7},
        "options": {"sendToRealBroker": False},
    }

    assert ask(f"{address}/docs/try", form) == (200, '"reminded of 7"')
    assert "Invoice 7 is due" in output.read_text()
    assert ask(f"{address}/docs/try", {**form, "channelName": "nothing:Here"})[0] == 404
    assert ask(f"{address}/health") == (204, "")


def test_its_web_pages_show_timers_to_those_who_know_the_password(output):
    assert ">invoices</a>" in open_pages(output.read_text())


@pytest.mark.parametrize("password", [{}, {"OPS_PASSWORD": ""}])
def test_without_a_password_nobody_sees_its_web_pages(own_url, tmp_path, password):
    output = tmp_path / "output"
    command = [sys.executable, "-m", "uvicorn", "examples.asgi_app.app:app", "--port", "0"]
    with running(command, output, "Uvicorn running on", environment(REDIS_URL=own_url, **password)):
        request = urllib.request.Request(f"{address_in(output)}/timers")  # noqa: S310
        request.add_header("Authorization", "Basic b3BzOg==")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=LONGEST)  # noqa: S310
        with refused.value as response:
            assert response.code == 401


@pytest.fixture
def own_url():
    """A server of our own even if REDIS_URL is set: the example's topic is one that all may use."""
    with embedded_server(config={}) as url:
        yield url


def test_its_health_is_told_in_time_though_the_server_hangs(own_url, tmp_path):
    output = tmp_path / "output"
    command = [sys.executable, "-m", "uvicorn", "examples.asgi_app.app:app", "--port", "0"]
    with (
        Relay(own_url) as relay,
        running(command, output, "Uvicorn running on", environment(REDIS_URL=relay.url)),
    ):
        address = address_in(output)
        assert ask(f"{address}/health")[0] == 204

        relay.stall()
        assert ask(f"{address}/health")[0] == 500

        relay.resume()
        wait_until(lambda: ask(f"{address}/health")[0] == 204)
        with redis.Redis.from_url(own_url) as server:
            assert server.keys() == []
