"""Pages of the timers that are in one state, in order and with a pattern."""

from datetime import UTC, datetime, timedelta

import pytest
from front_ends import Home

from faststream_redis_timers_sync import Every, TimersClient
from faststream_redis_timers_sync.manage.deadline import Deadline, TimeUpError
from faststream_redis_timers_sync.manage.pages import read_page
from faststream_redis_timers_sync.manage.searching import search_page

TOPIC = "invoices"
LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)


@pytest.fixture
def timers(server_url, key_names):
    """A topic with two timers of each state, and a series."""
    home = Home(key_names, server_url)
    with TimersClient(server_url, **key_names) as client:
        for timer_id in ("running-1", "running-2"):
            client.schedule("x", TOPIC, timer_id=timer_id)
        home.claim(TOPIC)
        for timer_id in ("overdue-1", "overdue-2"):
            client.schedule("x", TOPIC, timer_id=timer_id)
        for timer_id in ("waiting-1", "waiting-2"):
            client.schedule("x", TOPIC, timer_id=timer_id, activate_at=LATER)
        for timer_id in ("paused-1", "paused-2"):
            client.schedule("x", TOPIC, timer_id=timer_id, repeat=Every(days=1))
            client.pause_timer(TOPIC, timer_id)
        yield client
    home.redis.close()


STATES = ["running", "overdue", "waiting", "paused"]


def ids(page):
    return sorted(timer.timer_id for timer in page.timers)


@pytest.mark.parametrize("state", STATES)
def test_a_page_has_the_timers_of_a_state(timers, state):
    page = read_page(timers, TOPIC, only=state)

    assert ids(page) == [f"{state}-1", f"{state}-2"]
    assert page.end is None


@pytest.mark.parametrize("state", STATES)
def test_a_pattern_and_a_state_together(timers, state):
    page = search_page(timers, TOPIC, "*-2", only=state)

    assert (ids(page), page.matching) == ([f"{state}-2"], 1)


@pytest.mark.parametrize("state", STATES)
def test_pages_of_a_state_go_on(timers, state):
    first = read_page(timers, TOPIC, only=state, limit=1)
    second = read_page(timers, TOPIC, only=state, limit=1, after=first.end)

    assert sorted(ids(first) + ids(second)) == [f"{state}-1", f"{state}-2"]
    if second.end is not None:
        assert read_page(timers, TOPIC, only=state, limit=1, after=second.end).timers == []


def test_a_page_whose_time_is_up_goes_on_where_it_ended(timers):
    names = [f"many-{n}" for n in range(1200)]
    for name in names:
        timers.schedule("x", TOPIC, timer_id=name, activate_at=LATER - timedelta(days=1))
    page = search_page(
        timers, TOPIC, "", only="overdue", limit=3, on_examined=Deadline(seconds=0.0)
    )
    assert (ids(page), page.end) == (["overdue-1", "overdue-2"], None)

    def give_up(_):
        raise TimeUpError

    page = search_page(timers, TOPIC, "", only="running", limit=3, on_examined=give_up)
    assert page.is_cut
    assert page.end is not None
    while page.end is not None:
        page = read_page(timers, TOPIC, only="running", limit=3, after=page.end)
    assert page.timers == []
