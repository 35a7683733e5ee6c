"""Servers of these tests: a primary and two replicas, of each kind that this machine has."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from relay import Relay
from replicated import Group, Opener, binaries, open_async, open_blocking


@pytest.fixture(scope="session", params=binaries(), ids=lambda binary: Path(binary).name)
def servers(request: pytest.FixtureRequest) -> Iterator[Group]:
    folder = Path(tempfile.mkdtemp(prefix="timers-"))
    group = Group(request.param, folder)
    yield group
    group.end()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def group(servers: Group) -> Iterator[Group]:
    """A primary and two replicas, in step and empty."""
    yield servers
    for server in servers.servers:
        for user in server.redis.acl_users():
            if user != "default":
                server.redis.acl_deluser(user)
    servers.rejoin()


@pytest.fixture
def before_primary(group: Group) -> Iterator[Relay]:
    """A relay before the primary."""
    with Relay(group.primary.url) as relay:
        yield relay


@pytest.fixture(params=[open_blocking, open_async], ids=["blocking", "async"])
def open_front_end(request: pytest.FixtureRequest) -> Opener:
    """Opens a front end at a URL."""
    return request.param
