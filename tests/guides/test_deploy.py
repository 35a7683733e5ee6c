"""docs/how-to/deploy.md: its worker, started and stopped as its files say."""

import configparser
import json
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
import yaml
from command_line import LONGEST
from guide_files import files_of
from running import wait_until_listening
from waiting import wait_until

PAGE = "docs/how-to/deploy.md"
FILES = files_of(PAGE)


def seconds(text):
    assert text.endswith("s")
    return float(text[:-1])


def dockers_command():
    line = next(line for line in FILES["Dockerfile"].splitlines() if line.startswith("CMD "))
    return json.loads(line.removeprefix("CMD "))


def dockers_health_check(port):
    """Give the command by which Docker asks for health, at the port of the test."""
    text = FILES["Dockerfile"]
    check = text[text.index("HEALTHCHECK ") :]
    words = json.loads(check[check.index("[") :].partition("\n")[0])
    assert words[0] == "python"
    return [sys.executable, *(word.replace(":8000", f":{port}") for word in words[1:])]


def unit():
    parser = configparser.ConfigParser(interpolation=None)
    # Upper and lower case are two things to systemd.
    parser.optionxform = str
    parser.read_string(FILES["timers-worker.service"])
    return parser["Service"]


def pod():
    return yaml.safe_load(FILES["worker.yaml"])["spec"]["template"]["spec"]


def container():
    return pod()["containers"][0]


def test_each_supervisor_waits_longer_than_the_worker():
    assert "graceful_timeout=20" in FILES["app.py"]
    compose = yaml.safe_load(FILES["compose.yaml"])

    assert seconds(compose["services"]["worker"]["stop_grace_period"]) > 20
    assert float(unit()["TimeoutStopSec"]) > 20
    assert pod()["terminationGracePeriodSeconds"] > 20


def systemds_command():
    return ["faststream", *shlex.split(unit()["ExecStart"])[1:]]


@pytest.mark.parametrize(
    "command",
    [dockers_command(), systemds_command(), container()["command"]],
    ids=["docker", "systemd", "kubernetes"],
)
def test_the_worker_is_healthy_and_ends_in_time(tmp_path, write_page, guide_environment, command):
    write_page(PAGE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert command[0] == "faststream"
    words = [*command[1:], "--app-dir", str(tmp_path)]
    words[words.index("--port") + 1] = str(port)

    output = tmp_path / "output"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "faststream", *words],
            cwd=tmp_path,
            env=guide_environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_until(lambda: "startup complete" in output.read_text(), timeout=LONGEST)
            wait_until_listening(port)
            for probe_of in ("readinessProbe", "livenessProbe"):
                path = container()[probe_of]["httpGet"]["path"]
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}{path}", timeout=LONGEST
                ) as answer:
                    assert answer.status == 204
            subprocess.run(dockers_health_check(port), check=True, timeout=LONGEST)
            process.terminate()
            # uvicorn raises the signal again once it has shut down.
            assert process.wait(timeout=20) == -signal.SIGTERM
            assert "shut down gracefully" in output.read_text()
            ended = subprocess.run(
                dockers_health_check(port), check=False, capture_output=True, timeout=LONGEST
            )
            assert ended.returncode == 1
        finally:
            process.kill()
