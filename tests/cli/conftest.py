"""Fixtures of the command line's tests: real processes, click's runner, and a terminal."""

import json
import subprocess
from collections.abc import Iterator

import pytest
import redis
from command_line import LONGEST, MODULE, ROOT, click_runner, environment
from front_ends import Home
from terminal import Terminal

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.cli.group import group


@pytest.fixture
def options(key_names):
    """The group's options that keep to the keys of one test."""
    return [
        word for name, value in key_names.items() for word in (f"--{name.replace('_', '-')}", value)
    ]


@pytest.fixture
def here(key_names, server_url) -> Iterator[Home]:
    """The keys of one test, with the means to claim timers as a worker does."""
    home = Home(key_names, server_url)
    yield home
    home.redis.close()


@pytest.fixture
def timers(key_names, server_url) -> Iterator[TimersClient]:
    """A client of the same keys as the command line's."""
    with TimersClient(server_url, **key_names) as client:
        yield client


@pytest.fixture
def process(options, server_url):
    """Run the command line as a process; standard input is not a terminal."""

    def run(*words, url=server_url, **more):
        env = environment(TIMERS_REDIS_URL=url, **more)
        return subprocess.run(
            [*MODULE, *options, *words],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )

    return run


@pytest.fixture
def invoke(options, server_url):
    """Run the command line within this process, which is ten times as fast."""

    def run(*words, url=server_url, **more):
        arguments = ["--redis-url", url, *options, *words]
        return click_runner().invoke(group, arguments, catch_exceptions=False, **more)

    return run


@pytest.fixture
def records(invoke):
    """Run a command with --json, and read what it writes."""

    def run(*words):
        result = invoke(*words, "--json")
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    return run


@pytest.fixture
def terminal(options, server_url) -> Iterator:
    """Run the command line on a terminal of 80 columns."""
    running = []

    def run(*words, url=server_url, command=MODULE, columns=80, output=None, **more):
        env = environment(TIMERS_REDIS_URL=url, **more)
        running.append(
            Terminal(
                [*command, *options, *words], columns=columns, output=output, cwd=ROOT, env=env
            )
        )
        return running[-1]

    yield run
    for each in running:
        each.close()


@pytest.fixture(scope="session")
def own_url() -> Iterator[str]:
    """The URL of a server that these tests may change and look into."""
    with embedded_server(config={}) as url:
        yield url


@pytest.fixture
def own_server(own_url) -> Iterator[redis.Redis]:
    """A client of that server, which is empty before and after, with its settings as they were."""
    with redis.Redis.from_url(own_url) as client:
        before = client.config_get("maxmemory*") | client.config_get("appendonly")
        client.flushall()
        yield client
        client.replicaof("NO", "ONE")
        for name, value in before.items():
            client.config_set(name, value)
        for user in client.acl_users():
            if user != "default":
                client.acl_deluser(user)
        client.flushall()
