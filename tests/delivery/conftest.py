"""Fixtures of the tests of delivery."""

import pytest
from bench import Bench, bench_at
from faces import Home
from relay import Relay
from workers import Workers

from examples.embedded_server import embedded_server


@pytest.fixture(scope="session")
def own_url():
    """URL of a server that is ours alone: its statistics and settings may be touched."""
    with embedded_server(config={}) as url:
        yield url


@pytest.fixture
async def own_bench(own_url, key_names):
    """A topic on a server that is ours alone."""
    async with bench_at(own_url, key_names) as bench:
        yield bench


@pytest.fixture
def own_relay(own_url):
    """A relay before the server that is ours alone."""
    with Relay(own_url) as relay:
        yield relay


@pytest.fixture
def process_bench(server_url, key_names):
    bench = Bench(Home(key_names, server_url))
    yield bench
    bench.redis.close()


@pytest.fixture
def workers(process_bench, key_names, tmp_path):
    notes = key_names["timeline_key"].replace("timeline", "notes")
    workers = Workers(process_bench, notes, tmp_path)
    yield workers
    workers.close()
