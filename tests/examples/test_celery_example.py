"""The Celery example as a user runs it: a real worker with two processes, and the bridge."""

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from command_line import LONGEST, ROOT, environment
from running import environment_of_an_example, running
from waiting import wait_until

EXAMPLE = [sys.executable, "-m", "examples.celery_app"]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Run the example, on a server that it starts; give what it writes, a file."""
    output = tmp_path_factory.mktemp("celery") / "output"
    with running(EXAMPLE, output, "Ctrl+C stops all", environment_of_an_example()):
        yield output


def run_beside(text, program, *words):
    """Run a program in the environment that the example has shown."""
    shown = dict(re.findall(r"(\w+)=(\S+)", re.search(r"export (.*)", text)[1]))
    return subprocess.run(
        [Path(sys.executable).with_name(program), *words],
        cwd=ROOT,
        env=environment(TIMERS_REDIS_URL=shown["REDIS_URL"], **shown),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=True,
    ).stdout


@pytest.fixture
def run(output):
    """Run a program beside the example."""
    return partial(run_beside, output.read_text())


@pytest.fixture
def call(run):
    """Send a task, and give its id."""

    def call(task, args):
        return run("celery", "-A", "examples.celery_app.tasks", "call", task, "--args", args)

    return call


def wait_for(output, text):
    wait_until(lambda: text in output.read_text(), timeout=LONGEST)


def test_a_task_schedules_a_timer_whose_handler_sends_a_task(output, call):
    # The example has sent two: one is never paid, the other at once.
    wait_for(output, "ORD-2 is paid")
    # This one is due later than the other would be.
    call("shop.accept", '["ORD-9", 3]')
    wait_for(output, "ORD-9 is cancelled: nobody paid")
    text = output.read_text()

    first = re.search(r"/(ForkPoolWorker-\d)\] ORD-1 is accepted", text)
    assert first, text
    # The id of the task is that of the timer.
    assert "Task shop.give_up[ORD-1] received" in text
    assert (
        text.index("ORD-1 is accepted") < text.index("| ORD-1") < text.index("shop.give_up[ORD-1")
    )
    assert "ORD-1 is cancelled: nobody paid" in text
    # What is paid in time is cancelled before it is due.
    assert "shop.give_up[ORD-2]" not in text


def test_the_command_line_finds_the_timer_of_a_task_and_makes_it_due(output, run, call):
    call("shop.accept", '["ORD-3"]')
    wait_for(output, "ORD-3 is accepted")

    assert "ORD-3" in run("faststream-redis-timers", "list", "orders:unpaid")
    run("faststream-redis-timers", "run-now", "orders:unpaid", "ORD-3")

    wait_for(output, "ORD-3 is cancelled: nobody paid")


SEND_TWICE = """
from examples.celery_app.bridge import celery
for _ in range(2):
    celery.send_task("shop.give_up", ["ORD-4"], task_id="ORD-4")
"""


def test_a_task_that_is_sent_twice_runs_twice_and_changes_things_once(output, run, call):
    """As after a redelivery: Celery does not look whether it has had an id before."""
    call("shop.accept", '["ORD-4"]')
    wait_for(output, "ORD-4 is accepted")

    run("python", "-c", SEND_TWICE)

    wait_for(output, "ORD-4 was settled before")
    text = output.read_text()
    assert text.count("Task shop.give_up[ORD-4] received") == 2
    assert text.count("ORD-4 is cancelled: nobody paid") == 1


STOP_THE_WORKER = "from examples.celery_app.tasks import app; app.control.shutdown()"


def test_a_worker_that_ends_ends_the_example(tmp_path):
    output = tmp_path / "output"
    with (
        output.open("wb") as file,
        subprocess.Popen(
            EXAMPLE,
            cwd=ROOT,
            env=environment_of_an_example(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as example,
    ):
        try:
            # Before it accepts tasks it hears nothing.
            wait_for(output, "ready.")
            run_beside(output.read_text(), "python", "-c", STOP_THE_WORKER)
            assert example.wait(timeout=LONGEST) == 1
        finally:
            example.terminate()
    assert output.read_text().endswith("the Celery worker or the bridge has ended: see above\n")
