"""`faststream-redis-timers web`: one person at one machine, with a token."""

import re
import signal
import socket
import struct
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from command_line import LONGEST, MODULE, ROOT, click_runner, environment
from running import running
from waiting import wait_until
from web_pages import place_of, web_visitor

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.cli.group import group

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
TOPIC = "invoices"


@pytest.fixture
def timers(server_url, key_names):
    with TimersClient(server_url, **key_names) as client:
        client.schedule("s3cret", TOPIC, timer_id="a", activate_at=LATER)
        yield client


@pytest.fixture
def serve(server_url, key_names, tmp_path):
    """Run the command; gives how to name it and where it writes."""
    names = [f"--{name.replace('_', '-')}={value}" for name, value in key_names.items()]
    output = tmp_path / "output"

    def run(*options):
        command = [*MODULE, "--redis-url", server_url, *names, "web", *options]
        return running(command, output, "token=", environment())

    run.output = output
    return run


def signed_in(url):
    """Open the address with the token as a browser does; give the visitor with its cookie."""
    place = place_of(url)
    root = f"http://{place.host}:{place.port}/"
    page = web_visitor(root).get(url.partition("?")[2])
    assert page.status == 303
    assert page.headers["location"] == "?"
    cookie, *flags = page.headers["set-cookie"].split("; ")
    assert sorted(flags) == ["HttpOnly", "Path=/", "SameSite=Strict"]
    return web_visitor(root, cookie=cookie)


def test_the_token_becomes_a_cookie_and_leaves_the_address(serve, timers):
    with serve():
        url = serve.output.read_text().strip()
        assert url.startswith("http://127.0.0.1:")
        assert len(url.partition("token=")[2]) == 32
        visitor = signed_in(url)
        page = visitor.get(f"topic={TOPIC}")

        assert page.status == 200
        assert "token" not in page.html
        assert page.buttons == ["Search"]
        assert visitor.post(f"topic={TOPIC}&do=cancel", [("id", "YQ"), ("sure", "1")]).status == 403
        assert "s3cret" not in visitor.get(f"topic={TOPIC}&timer=a").html
    assert timers.count_pending(TOPIC) == 1


def test_changes_and_bodies_where_they_are_allowed(serve, timers):
    with serve("--allow-changes", "--show-bodies"):
        visitor = signed_in(serve.output.read_text().strip())
        page = visitor.get(f"topic={TOPIC}&timer=a")
        assert "s3cret" in page.text
        # As browsers send it over plain HTTP: without Sec-Fetch-Site.
        done = visitor.press(visitor.press(page, "Cancel"), "Yes, cancel")
        assert "Cancelled 1." in done.text
    assert timers.count_pending(TOPIC) == 0


def test_without_the_token_nobody_sees_anything(serve, timers):
    with serve():
        place = place_of(serve.output.read_text().strip())
        root = f"http://{place.host}:{place.port}/"
        for query, headers in (
            (f"topic={TOPIC}", {}),
            ("token=wrong", {}),
            ("token=", {}),
            ("token=%FF", {}),
            ("", {"cookie": f"timers-{place.port}=wrong"}),
            ("", {"cookie": f"timers-{place.port}="}),
        ):
            page = web_visitor(root, **headers).get(query)
            assert page.status == 403
            assert "it has the token" in page.text
            assert TOPIC not in page.text
            assert page.headers["x-frame-options"] == "DENY"
            assert "set-cookie" not in page.headers


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.evil:1"])
def test_a_forged_host_is_refused(serve, timers, host):
    with serve():
        url = serve.output.read_text().strip()
        visitor = signed_in(url)
        page = visitor.send("GET", f"topic={TOPIC}", {"host": host}, b"")
        assert page.status == 403
        assert TOPIC not in page.text
        # Nor does the token help.
        page = visitor.send("GET", url.partition("?")[2], {"host": host}, b"")
        assert page.status == 403
        assert "set-cookie" not in page.headers


def test_other_machines_can_t_reach_it(serve, timers):
    with serve():
        port = place_of(serve.output.read_text().strip()).port
        with socket.socket() as other:
            # The whole of 127.0.0.0/8 is this machine, and only one address of it is listened to.
            assert other.connect_ex(("127.0.0.2", port)) != 0


def run_to_its_end(command):
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def test_a_port_that_is_taken_is_a_sentence(server_url):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_to_its_end([*MODULE, "--redis-url", server_url, "web", "--port", str(port)])

    assert done.returncode == 2
    assert f"port {port} can't be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_jinja_a_sentence_says_what_to_install(server_url):
    code = (
        "import sys; sys.modules['jinja2'] = None\n"
        "sys.argv = ['timers', 'web']\n"
        "from faststream_redis_timers_sync.cli import main; main()"
    )
    done = run_to_its_end([sys.executable, "-c", code])

    assert done.returncode == 2
    assert "pip install 'faststream-redis-timers[web]'" in done.stderr


def test_a_server_that_is_away_is_a_page(key_names, tmp_path):
    output = tmp_path / "output"
    command = [*MODULE, "--redis-url", "redis://localhost:1", "web"]
    with running(command, output, "token=", environment()):
        page = signed_in(output.read_text().strip()).get()
        assert page.status == 503
        assert "can't be reached" in page.text


def test_open_opens_a_browser(server_url, tmp_path):
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    command = [*MODULE, "--redis-url", server_url, "web", "--open"]
    output = tmp_path / "output"
    with running(command, output, "token=", environment(BROWSER=f"{browser} %s")):
        wait_until(lambda: opened.exists() and opened.read_text(), timeout=LONGEST)
        # Others can read the command line of a browser, so its token serves once.
        printed, given = output.read_text().strip(), opened.read_text().strip()
        assert printed.partition("token=")[0] == given.partition("token=")[0]
        assert printed != given
        assert signed_in(given).get().status == 200
        assert web_visitor(given.partition("?")[0]).get(given.partition("?")[2]).status == 403


def test_two_signals_end_it_without_a_traceback(server_url, tmp_path):
    """As where a program that began it ends it too, on Ctrl+C."""
    for number in range(10):
        output = tmp_path / f"output-{number}"
        command = [*MODULE, "--redis-url", server_url, "web"]
        with (
            output.open("wb") as file,
            subprocess.Popen(
                command, stdout=file, stderr=file, env=environment(), start_new_session=True
            ) as process,
        ):
            wait_until(lambda output=output: "token=" in output.read_text(), timeout=LONGEST)
            process.send_signal(signal.SIGINT)
            # At another moment of its end each time.
            time.sleep(number * 0.005)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=LONGEST) in {0, -signal.SIGTERM}
        assert "Traceback" not in output.read_text()


def test_who_changes_what_is_written_to_standard_error(serve, timers):
    with serve("--allow-changes"):
        visitor = signed_in(serve.output.read_text().strip())
        page = visitor.get(f"topic={TOPIC}&timer=a")
        visitor.press(visitor.press(page, "Cancel"), "Yes, cancel")
        said = {"sec_fetch_site": "cross-site"}
        assert visitor.post(f"topic={TOPIC}&do=cancel", [("id", "YQ")], **said).status == 403
    _, begun, ended, refused = serve.output.read_text().splitlines()

    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.match(rf"{stamp} INFO action begun by .*: cancel in topic {TOPIC}: 1 timer", begun)
    assert re.match(rf"{stamp} INFO action ended by .*: cancelled 1$", ended)
    assert re.match(rf"{stamp} WARNING form refused: Sec-Fetch-Site cross-site, ", refused)


def test_topics_that_are_named_are_listed(serve, timers):
    with serve("--topic", "invoices:dead", "--topic", TOPIC, "--longest-lease", "30s"):
        page = signed_in(serve.output.read_text().strip()).get()

    assert {"invoices:dead", TOPIC} <= set(page.links)
    assert "Running" in page.text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--topic", ""], "topic must not be empty"),
        (["--longest-lease", "0s"], "longest_lease must be above 0"),
        (["--longest-lease", "x"], "--longest-lease"),
    ],
)
def test_options_that_cannot_be(words, sentence):
    result = click_runner().invoke(group, ["web", *words])

    assert result.exit_code == 2
    assert sentence in result.stderr


def test_a_page_of_another_address_names_the_right_one(serve, timers):
    with serve():
        url = serve.output.read_text().strip()
        place = place_of(url)
        page = web_visitor(url.partition("?")[0]).send("GET", "", {"host": "127.0.0.1:9000"}, b"")

    assert page.status == 403
    assert f"http://127.0.0.1:{place.port}/" in page.text
    assert f"ssh -L {place.port}:127.0.0.1:{place.port}" in page.text
    assert url.partition("token=")[2] not in page.html


def test_the_stylesheet_needs_no_token_but_the_right_host(serve, timers):
    with serve():
        place = place_of(serve.output.read_text().strip())
        visitor = web_visitor(f"http://{place.host}:{place.port}/")
        assert visitor.get("asset=css").status == 200
        assert (
            visitor.get(f"topic={TOPIC}&asset=css").headers["content-type"].startswith("text/css")
        )
        assert visitor.send("GET", "asset=css", {"host": "evil.example"}, b"").status == 403
        assert visitor.get("asset=nonsense").status == 403
        assert visitor.get(f"topic={TOPIC}&asset=").status == 403
        assert visitor.post(f"asset=css&topic={TOPIC}&do=cancel", [("id", "YQ")]).status == 403


def test_a_client_that_leaves_early_is_no_traceback(serve, timers):
    with serve():
        place = place_of(serve.output.read_text().strip())
        for request in (b"GET / HTTP/1.0\r\n\r\n", b"POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\n"):
            for _ in range(20):
                with socket.create_connection((place.host, place.port)) as client:
                    client.sendall(request)
                    # It resets the connection when it is closed.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert signed_in(serve.output.read_text().strip()).get().status == 200

    assert len(serve.output.read_text().splitlines()) == 1
