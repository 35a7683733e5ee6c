"""docs/tutorials/trial.md, done as it says."""

import sys

from running import running
from waiting import wait_until

PAGE = "docs/tutorials/trial.md"


def test_the_tests_of_the_tutorial_pass(write_page, python):
    write_page(PAGE)

    assert "4 passed" in python("-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_one_pays_one_is_given_days_and_one_gets_a_mail(
    tmp_path, write_page, python, guide_environment, own_redis
):
    write_page(PAGE)
    output = tmp_path / "output"
    worker = [sys.executable, "-m", "faststream", "run", "worker:app", "--app-dir", tmp_path]

    with running(worker, output, "app started", guide_environment):
        assert python("try_it.py").split() == ["True", "True", "False"]
        wait_until(lambda: "ada, your trial has ended" in output.read_text(), timeout=30)
        wait_until(lambda: own_redis.zcard("timers_timeline:trials") == 1)

        assert "trial:eve" in python("-m", "faststream_redis_timers_sync", "list", "trials")
        assert python("-c", "import billing; print(billing.on_payment('eve', {}))") == "no mail\n"

    assert "bob" not in output.read_text()
    assert own_redis.keys("timers_*") == []
