"""Fixtures of the tests of delivery."""

import pytest
from bench import Calls, bench_at
from relay import Relay

from examples.embedded_server import embedded_server


@pytest.fixture
async def bench(server_url, key_names):
    """A topic on the common server; brokers made with it are stopped afterwards."""
    async with bench_at(server_url, key_names) as bench:
        yield bench


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
