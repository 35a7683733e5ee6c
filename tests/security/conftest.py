"""Fixtures of the tests of security."""

from collections.abc import Iterator

import pytest
import redis

from examples.embedded_server import embedded_server


@pytest.fixture(scope="session")
def own_url() -> Iterator[str]:
    """The URL of a server that these tests may change."""
    with embedded_server(config={}) as url:
        yield url


@pytest.fixture
def own_server(own_url) -> Iterator[redis.Redis]:
    """A client of that server, which is empty before and after."""
    with redis.Redis.from_url(own_url) as client:
        client.flushall()
        yield client
        client.acl_deluser(*[u for u in client.acl_users() if u != "default"] or ["nobody"])
        client.flushall()
