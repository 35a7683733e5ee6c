"""Fixtures of the counts: a server whose statistics are the test's alone, and its meter."""

from importlib.resources import files

import pytest
import redis
from counting import Meter

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync.protocol import operations


@pytest.fixture(scope="session")
def server_url():
    """URL of a server that is ours alone, whatever REDIS_URL says."""
    with embedded_server(config={}) as url:
        yield url


@pytest.fixture(scope="session")
def redis_client(server_url):
    """A plain client of that server; the fixtures of all tests look at keys with it."""
    with redis.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
def meter(redis_client):
    """A meter that counts from here on, where the server knows all scripts."""
    for file in files(operations.__package__).joinpath("lua").iterdir():
        name = file.name.removesuffix(".lua")
        if not name.startswith("_"):
            redis_client.script_load(operations.load_script(name).text)
    meter = Meter(redis_client)
    meter.reset()
    return meter
