"""Fixtures for tests that need redis-py and pytest alone.

CI runs this folder also where nothing else is installed beside the wheel, so nothing here
imports the broker, other tests' helpers, or the working tree's modules by their names.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from faststream_redis_timers_sync import TimersClient

ROOT = Path(__file__).parents[2]


def load_embedded_server():
    """Load the server's module from its file: the working tree is not on the path."""
    path = ROOT / "examples" / "embedded_server.py"
    spec = importlib.util.spec_from_file_location("client_only_embedded_server", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.embedded_server


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    with load_embedded_server()() as url:
        yield url


@pytest.fixture
def server(server_url) -> Iterator[redis.Redis]:
    """A plain redis-py client."""
    with redis.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
def client(server) -> Iterator[TimersClient]:
    """A client with a prefix of its own; nothing is left afterwards."""
    prefix = f"test-{uuid4().hex}:"
    yield TimersClient(server, prefix=prefix)
    if keys := list(server.scan_iter(match=f"timers_*:{prefix}*", count=1000)):
        server.delete(*keys)
