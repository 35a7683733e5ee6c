"""The Django example as a user runs it: one command, real requests, the worker, ``manage.py``."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import pytest
from command_line import LONGEST, ROOT, environment
from running import environment_of_an_example, running
from waiting import wait_until

PROJECT = ROOT / "examples" / "django_project"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Run the example, on a server that it starts; give what it writes, a file."""
    output = tmp_path_factory.mktemp("shop") / "output"
    command = [sys.executable, "-m", "examples.django_project", "--port", "0"]
    with running(command, output, "Ctrl+C stops all", environment_of_an_example()):
        yield output


@pytest.fixture
def ask(output):
    """Send an HTTP request; give the status and the text or JSON of the answer."""
    address = re.search(r"http://127\.0\.0\.1:\d+", output.read_text())[0]

    def send(method, path, **form):
        data = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(f"{address}{path}", data, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=LONGEST) as answer:  # noqa: S310
                status, body, kind = answer.status, answer.read(), answer.headers["content-type"]
        except urllib.error.HTTPError as error:
            with error:
                status, body, kind = error.code, error.read(), error.headers["content-type"]
        return status, json.loads(body) if kind == "application/json" else body.decode()

    return send


@pytest.fixture
def status_of(ask):
    """Look up what became of an order."""

    def look(number):
        _, found = ask("GET", "/orders/")
        return next(order["status"] for order in found["orders"] if order["id"] == number)

    return look


@pytest.fixture
def manage(output):
    """Run manage.py as the example says."""
    shown = dict(re.findall(r"export (\w+)=(\S+)", output.read_text()))

    def run(*words):
        return subprocess.run(
            [sys.executable, "examples/django_project/manage.py", *words],
            cwd=ROOT,
            env=environment(DJANGO_SETTINGS_MODULE="shop.settings", **shown),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )

    return run


def test_a_request_schedules_and_the_worker_delivers(output, ask, status_of):
    status, order = ask("POST", "/orders/", item="tea", seconds=0.1)
    assert (status, order["item"]) == (201, "tea")

    wait_until(lambda: status_of(order["id"]) == "expired", timeout=LONGEST)

    wait_until(lambda: f"Order {order['id']} has expired" in output.read_text())
    assert ask("POST", f"/orders/{order['id']}/pay/") == (409, {**order, "status": "expired"})


def test_a_request_cancels(ask, manage):
    _, order = ask("POST", "/orders/", item="cake")

    assert manage("timers_show", "unpaid-orders", str(order["id"])).returncode == 0
    assert ask("POST", f"/orders/{order['id']}/pay/") == (200, {**order, "status": "paid"})
    assert manage("timers_show", "unpaid-orders", str(order["id"])).returncode == 3


def test_the_command_cancels_what_a_request_has_scheduled(ask, manage, status_of):
    _, order = ask("POST", "/orders/", item="tea")
    number = str(order["id"])

    listed = manage("timers_list", "unpaid-orders", "--json")
    assert json.loads(listed.stdout.splitlines()[-1])["timer_id"] == number
    assert manage("timers_cancel", "unpaid-orders", number).returncode == 0
    again = manage("timers_cancel", "unpaid-orders", number)

    assert again.returncode == 3
    assert "Traceback" not in again.stderr
    assert status_of(order["id"]) == "unpaid"


def test_the_declared_series_is_run_now_and_goes_on(output, manage):
    # The worker declares it before it delivers, beside the web server.
    wait_until(lambda: manage("timers_series", "--check").returncode == 0, timeout=LONGEST)
    assert manage("timers_reschedule", "order-counts", "daily", "--in", "0s").returncode == 0

    wait_until(lambda: "Orders that are unpaid: " in output.read_text(), timeout=LONGEST)
    shown = manage("timers_show", "order-counts", "daily")
    assert "0 6 * * * Europe/Berlin" in shown.stdout


def test_what_cannot_be_is_refused(ask):
    assert ask("POST", "/orders/", seconds="soon")[0] == 400
    assert ask("POST", "/orders/999999/pay/")[0] == 404
    assert ask("GET", "/orders/1/pay/")[0] == 405


def test_the_health_view_and_the_admin(ask):
    assert ask("GET", "/health/") == (200, {"timers": "up"})
    assert "Django administration" in ask("GET", "/admin/")[1]


def test_the_project_is_in_order(manage):
    assert manage("check").returncode == 0
    assert manage("makemigrations", "--check").returncode == 0
    assert manage("timers_check").returncode == 0


def test_the_health_view_has_three_lines():
    view = (PROJECT / "shop" / "views.py").read_text().partition("def health")[2]

    assert len(view.strip().splitlines()) == 3


def test_the_lines_that_are_shown_are_those_of_the_shop(output, ask):
    shown = output.read_text()
    lines = re.findall(r"curl (.*)", shown)

    assert len(lines) == 5
    for line in lines:
        method = "POST" if " -d " in line or "-X POST" in line else "GET"
        form = dict(re.findall(r"-d (\w+)=(\S+)", line))
        path = re.search(r"http://[^/]+(\S+)", line)[1]
        assert ask(method, path, **form)[0] in {200, 201, 409}
    assert "examples/django_project/manage.py timers_cancel unpaid-orders --all" in shown
