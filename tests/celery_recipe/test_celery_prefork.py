"""One client, made and used before Celery's prefork pool forks, in all processes of the pool."""

import os
import signal
import subprocess
import sys

import pytest
from command_line import LONGEST, ROOT, environment
from running import running
from waiting import wait_until

from faststream_redis_timers_sync import TimersClient

ROUNDS = 20

APP = """
import os, time
from datetime import timedelta
import redis
from celery import Celery
from faststream_redis_timers_sync import TimerExistsError, TimersClient

URL, QUEUE = os.environ["TEST_URL"], os.environ["TEST_QUEUE"]
HOUR = timedelta(hours=1)

app = Celery("prefork", broker=URL.replace("unix://", "redis+socket://", 1))
app.conf.update(task_ignore_result=True, task_default_queue=QUEUE, worker_hijack_root_logger=False)

client = TimersClient(
    URL,
    timeline_key=os.environ["TEST_TIMELINE_KEY"],
    payloads_key=os.environ["TEST_PAYLOADS_KEY"],
    attempts_key=os.environ["TEST_ATTEMPTS_KEY"],
)
parent = os.getpid()
# From here on its pool has a connection.
client.schedule(str(parent), "t", timer_id="parent", activate_in=HOUR)


@app.task(name="use")
def use(rounds):
    assert os.getpid() != parent
    # Both processes of the pool begin at once.
    with redis.Redis.from_url(URL) as server:
        server.rpush(QUEUE + ":begun", "x")
        end = time.monotonic() + 30
        while server.llen(QUEUE + ":begun") < 2:
            assert time.monotonic() < end
            time.sleep(0.001)
        for n in range(rounds):
            own = f"{os.getpid()}:{n}"
            assert client.schedule(own, "t", timer_id=own, activate_in=HOUR) == own
            assert client.get_timer("t", own).decode() == own
            try:
                client.schedule("other", "t", timer_id=own, if_exists="error")
            except TimerExistsError as error:
                assert own in str(error)
            if n % 2:
                assert client.cancel_timer("t", own) is True
                assert client.cancel_timer("t", own) is False
        server.rpush(QUEUE + ":done", "x")
"""


@pytest.fixture
def queue(key_names, redis_client):
    """The name of Celery's queue; what is left of it is removed."""
    name = key_names["timeline_key"].removesuffix("-timeline") + "-celery"
    yield name
    redis_client.delete(name, f"{name}:begun", f"{name}:done", f"_kombu.binding.{name}")


def test_each_process_of_the_pool_gets_its_own_answers(
    tmp_path, server_url, key_names, queue, redis_client
):
    (tmp_path / "prefork_app.py").write_text(APP)
    names = {f"TEST_{name.upper()}": value for name, value in key_names.items()}
    env = environment(TEST_URL=server_url, TEST_QUEUE=queue, **names)
    env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    celery = [sys.executable, "-m", "celery", "-A", "prefork_app"]
    options = ["--pool", "prefork", "--concurrency", "2", "--loglevel", "INFO"]
    quick = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    output = tmp_path / "output"

    def stop(pid):
        # After SIGINT its exit code is 1.
        os.kill(pid, signal.SIGTERM)

    with running([*celery, "worker", *options, *quick], output, "ready.", env, stop):
        for _ in range(2):
            subprocess.run(
                [sys.executable, "-c", f"import prefork_app; prefork_app.use.delay({ROUNDS})"],
                env=env,
                timeout=LONGEST,
                check=True,
            )
        wait_until(
            lambda: redis_client.llen(f"{queue}:done") == 2 or "Traceback" in output.read_text(),
            timeout=LONGEST,
        )

    with TimersClient(server_url, **key_names) as client:
        left = set(client.get_pending_timers("t"))
        processes = {timer_id.partition(":")[0] for timer_id in left}
        assert len(processes - {"parent"}) == 2
        assert len(left) == 1 + 2 * ROUNDS // 2
