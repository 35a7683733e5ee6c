"""Fixtures of the tests of the web pages."""

from datetime import UTC, datetime

import pytest
from front_ends import Home
from web_pages import EVERYTHING, visitor_of

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.web import TimerPages

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)


@pytest.fixture
def here(key_names, server_url):
    """The keys of one test, with the means to claim timers as a worker does."""
    home = Home(key_names, server_url)
    yield home
    home.redis.close()


@pytest.fixture
def timers(server_url, key_names):
    """A client."""
    with TimersClient(server_url, **key_names) as client:
        yield client


@pytest.fixture
def invoices(timers):
    """The client, with timers a, b, c and two others in a topic."""
    for timer_id in ("a", "b", "c", "other-1", "other-2"):
        timers.schedule("secret", "invoices", timer_id=timer_id, activate_at=LATER)
    return timers


@pytest.fixture
def make_pages(timers):
    """Make pages; who looks may do everything, unless the test says otherwise."""

    def make(**arguments):
        return TimerPages(**{"timers": timers, "allow": lambda _: EVERYTHING, **arguments})

    return make


@pytest.fixture
def visitor(make_pages):
    """Somebody who may do everything."""
    return visitor_of(make_pages(topics=["invoices"], longest_lease=30))
