"""docs/how-to/sentinel.md, done as it says: a real Sentinel, a primary that is killed."""

import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest
import redis
from running import running
from waiting import wait_until

PAGE = "docs/how-to/sentinel.md"
SERVER = shutil.which("redis-server") or shutil.which("valkey-server")

pytestmark = pytest.mark.skipif(SERVER is None, reason="needs redis-server, for --sentinel")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    with redis.Redis(port=port) as client:
        try:
            return client.ping()
        except redis.ConnectionError:
            return False


@pytest.fixture
def start(tmp_path):
    """Start a server with these settings; give its process."""
    with ExitStack() as stack:

        def run(port, *words, config=None):
            folder = tmp_path / f"server-{port}"
            folder.mkdir()
            file = folder / "server.conf"
            file.write_text(config or "")
            settings = ("--port", str(port), "--dir", str(folder), "--save", "")
            process = stack.enter_context(
                subprocess.Popen(
                    [SERVER, str(file), *settings, *words],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(process.kill)
            wait_until(lambda: answers(port))
            return process

        yield run


@pytest.fixture
def servers(start):
    """Start a primary, a replica and a Sentinel; give a process, and the others' ports."""
    primary_port, replica_port, sentinel_port = (free_port() for _ in range(3))
    primary = start(primary_port, "--repl-diskless-sync-delay", "0")
    start(replica_port, "--replicaof", "127.0.0.1", str(primary_port))
    with redis.Redis(port=replica_port) as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", timeout=30)
    config = f"""
        sentinel monitor mymaster 127.0.0.1 {primary_port} 1
        sentinel down-after-milliseconds mymaster 1000
        sentinel failover-timeout mymaster 5000
    """
    start(sentinel_port, "--sentinel", config=config)
    with redis.Redis(port=sentinel_port, decode_responses=True) as client:
        wait_until(lambda: client.sentinel_slaves("mymaster"), timeout=30)
    return primary, replica_port, sentinel_port


def test_a_timer_is_delivered_by_the_primary_that_was_promoted(
    tmp_path, write_page, guide_environment, python, servers
):
    primary, replica_port, sentinel_port = servers
    write_page(PAGE)
    guide_environment["SENTINELS"] = f"127.0.0.1:{sentinel_port}"
    output = tmp_path / "output"
    worker = [sys.executable, "-m", "faststream", "run", "worker:app", "--app-dir", tmp_path]
    with running(worker, output, "app started", guide_environment):
        python("web.py")
        with redis.Redis(port=replica_port) as replica:
            # It has confirmed the timer.
            assert replica.zcard("timers_timeline:invoices") == 1

            primary.kill()

            wait_until(lambda: "INV-001 is due" in output.read_text(), timeout=60)
            wait_until(lambda: replica.keys("timers_*") == [])
            assert replica.info("replication")["role"] == "master"
