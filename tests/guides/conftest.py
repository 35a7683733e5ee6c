"""Fixtures of the tests that do as a page of the documentation says."""

import os
from functools import partial

import pytest
import redis
from command_line import ROOT, environment
from guide_files import write_project
from running import run_python

from examples.embedded_server import embedded_server


@pytest.fixture
def own_url():
    """URL of a server of the test's own: what pages name may be somebody's elsewhere."""
    with embedded_server(config={}) as url:
        yield url


@pytest.fixture
def own_redis(own_url):
    """A plain client of that server."""
    with redis.Redis.from_url(own_url) as client:
        yield client


@pytest.fixture
def guide_environment(tmp_path, own_url):
    """The environment of a reader in the folder with the page's files."""
    return environment(
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
        PYTHONUNBUFFERED="1",
        REDIS_URL=own_url,
        TIMERS_REDIS_URL=own_url,
    )


@pytest.fixture
def python(tmp_path, guide_environment):
    """Run Python with these words in that folder; give what it writes."""

    return partial(run_python, folder=tmp_path, env=guide_environment)


@pytest.fixture
def write_page(tmp_path):
    """Write the files that a page shows into that folder."""

    def write(page):
        write_project(page, tmp_path)

    return write
