"""Fixtures of the tests of delivery."""

import pytest
from bench import Bench, Calls
from faces import Home
from relay import Relay

from examples.embedded_server import embedded_server


@pytest.fixture
async def bench(server_url, key_names):
    """A topic on the common server; brokers made with it are stopped afterwards."""
    async for bench in _bench(server_url, key_names):
        yield bench


@pytest.fixture(scope="session")
def own_url():
    """URL of a server that is ours alone: its statistics and settings may be touched."""
    with embedded_server(config={}) as url:
        yield url


@pytest.fixture
async def own_bench(own_url, key_names):
    """A topic on a server that is ours alone."""
    async for bench in _bench(own_url, key_names):
        yield bench


async def _bench(url, key_names):
    bench = Bench(Home(key_names, url))
    yield bench
    for broker in bench.brokers:
        await broker.stop()
    bench.home.redis.close()


@pytest.fixture
def calls():
    """What handlers were called with; they wait at its gate."""
    return Calls()


@pytest.fixture
def open_calls():
    """What handlers were called with; they do not wait."""
    return Calls(open=True)


@pytest.fixture
def relay(server_url):
    """A relay before the common server."""
    with Relay(server_url) as relay:
        yield relay


@pytest.fixture
def own_relay(own_url):
    """A relay before the server that is ours alone."""
    with Relay(own_url) as relay:
        yield relay
