"""`manage.py timers_worker`: a real worker of a real project, as a process."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import django
import pytest
from command_line import ROOT
from django_project.models import Invoice
from waiting import wait_until

HERE = Path(__file__).parent

APP = """
from django.apps import apps
from django.conf import settings

assert apps.ready

from django_project.models import Invoice
from faststream import FastStream
from faststream_redis_timers import TimersBroker
from faststream_redis_timers.django import django_handler

timers = settings.TIMERS["default"]
names = {name.lower(): value for name, value in timers.items() if name != "URL"}
broker = TimersBroker(timers["URL"], **names)
app = FastStream(broker)


@app.on_startup
async def greet(greeting: str = "hello"):
    print(greeting, flush=True)


@app.after_startup
async def say_ready():
    print("ready", flush=True)


@app.after_shutdown
async def say_closed():
    print("closed", flush=True)


@broker.subscriber("invoices")
@django_handler
def issue(number: str):
    Invoice.objects.create(number=number)
"""


@pytest.fixture
def environment(key_settings, server_url, tmp_path):
    """The environment of a project whose worker lies in a folder of its own."""
    (tmp_path / "shop_worker.py").write_text(APP)
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, HERE, ROOT))),
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": "command_settings",
        "TIMERS_TEST_SETTING": json.dumps({"default": {"URL": server_url, **key_settings}}),
    }


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def worker(environment, log):
    """Run a worker for the length of a block; its output is in the log."""

    @contextmanager
    def run(*words):
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [sys.executable, "-m", "django", "timers_worker", "shop_worker:app", *words],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    return run


@pytest.fixture
def ended(environment):
    """Run what ends by itself."""

    def run(*command):
        return subprocess.run(
            [sys.executable, *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def wait_for(log, text, count=1):
    wait_until(lambda: log.read_text().count(text) >= count, timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("words", [[], ["--workers", "2"], ["--reload"]], ids=str)
def test_a_worker_delivers_until_a_signal_and_ends_well(words, number, worker, log, timers):
    with worker(*words) as process:
        wait_for(log, "ready\n", count=2 if "--workers" in words else 1)
        for position in range(10):
            timers.schedule(f"INV-{position}", "invoices")
        wait_until(lambda: Invoice.objects.count() == 10, timeout=30)
        wait_until(lambda: timers.count_pending("invoices") == 0, timeout=30)
        if number == signal.SIGINT:
            # As a terminal does on Ctrl-C: to all processes of the group.
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)

        assert process.wait(timeout=30) == 0, log.read_text()

    assert {invoice.number for invoice in Invoice.objects.all()} == {f"INV-{n}" for n in range(10)}
    assert log.read_text().count("closed\n") == (2 if "--workers" in words else 1)
    assert "Traceback" not in log.read_text()


@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django has tasks from version 6 on")
def test_tasks_are_run_in_child_processes_too(worker, log, tmp_path, timers):
    from project_tasks import issue  # noqa: PLC0415  Django 5 can't import it

    serving = "\nfrom faststream_redis_timers.django import serve_tasks\n\nserve_tasks(broker)\n"
    (tmp_path / "shop_worker.py").write_text(APP + serving)
    issue.enqueue("INV-1")
    with worker("--workers", "2") as process:
        wait_until(Invoice.objects.exists, timeout=30)
        wait_until(lambda: timers.count_pending("tasks:default") == 0, timeout=30)
        process.terminate()

        assert process.wait(timeout=30) == 0, log.read_text()

    assert "Traceback" not in log.read_text()


def test_a_worker_is_loaded_again_when_its_code_changes(worker, log, tmp_path, timers):
    with worker("--reload") as process:
        wait_for(log, "ready\n")
        (tmp_path / "shop_worker.py").write_text(APP.replace('"ready"', '"changed"'))
        wait_for(log, "changed\n")
        timers.schedule("INV-1", "invoices")
        wait_until(Invoice.objects.exists, timeout=30)
        process.terminate()

        assert process.wait(timeout=30) == 0, log.read_text()


def test_faststreams_options_and_those_of_the_app_are_passed_on(worker, log):
    with worker("--greeting=hi", "--log-level", "critical") as process:
        wait_for(log, "ready\n")
        process.terminate()

        assert process.wait(timeout=30) == 0

    assert "hi\n" in log.read_text()
    # FastStream says so where its level allows.
    assert "started successfully" not in log.read_text()


def test_an_app_that_is_not_there_is_faststreams_exit_code(ended):
    done = ended("-m", "django", "timers_worker", "shop_worker:missing")

    assert done.returncode == 2
    assert "manage.py timers_worker" in done.stderr
    assert 'Attribute "missing" not found in module "shop_worker"' in " ".join(
        done.stderr.replace("│", " ").split()
    )
    assert "Traceback" not in done.stderr


def test_an_app_must_be_named(ended):
    done = ended("-m", "django", "timers_worker")

    assert done.returncode == 2
    assert "module:app" in done.stderr


def test_help_is_that_of_faststreams_run(ended):
    own = ended("-m", "django", "timers_worker", "--help")
    faststreams = ended("-m", "django", "timers_worker", "shop_worker:app", "--help")

    assert "'timers_worker module:app --help' lists them" in " ".join(own.stdout.split())
    assert faststreams.returncode == 0
    assert "--reload" in faststreams.stdout
    assert "Usage: manage.py timers_worker [OPTIONS]" in faststreams.stdout


def test_without_faststreams_command_line_a_sentence_says_how_to_install_it(ended):
    code = (
        "import sys; sys.modules['typer'] = None\n"
        "from django.core.management import execute_from_command_line as run\n"
        "run(['manage.py', 'timers_worker', 'shop_worker:app'])"
    )

    done = ended("-c", code)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "CommandError: timers_worker needs FastStream's command line, which is not installed: "
        "pip install 'faststream[cli]'\n"
    )
