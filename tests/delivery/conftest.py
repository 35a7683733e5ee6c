"""Fixtures of the tests of delivery."""

import pytest
from bench import bench_at
from relay import Relay

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
