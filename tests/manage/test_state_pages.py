"""Pages of the timers that are in one state, in order and with a pattern."""

from datetime import UTC, datetime, timedelta

import pytest
from front_ends import Home

from faststream_redis_timers_sync import Every, TimersClient
from faststream_redis_timers_sync.manage.deadline import Deadline, TimeUpError
from faststream_redis_timers_sync.manage.pages import read_page
from faststream_redis_timers_sync.manage.searching import search_page
from faststream_redis_timers_sync.testing import FakeTimersClient

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


@pytest.fixture(params=["server", "fake"])
def either(request, server_url, key_names):
    """A client of the server, then one that keeps its timers in memory."""
    client = (
        FakeTimersClient() if request.param == "fake" else TimersClient(server_url, **key_names)
    )
    with client:
        yield client
        client.cancel_all(TOPIC)


@pytest.mark.parametrize("search", ["", "t*"])
@pytest.mark.parametrize("only", [None, "overdue", "waiting", "recurring", "paused"])
def test_pages_go_on_in_order_until_all_were_shown(either, search, only):
    kinds = {
        "overdue": [f"t{n}" for n in range(5)],
        # Two each are due at the same time.
        "waiting": [f"t{n}" for n in range(10, 14)],
        "paused": ["t20", "t21", "t22"],
    }
    kinds["recurring"] = kinds["paused"]
    for timer_id in kinds["overdue"]:
        either.schedule("x", TOPIC, timer_id=timer_id)
    for n, timer_id in reversed([*enumerate(kinds["waiting"])]):
        either.schedule("x", TOPIC, timer_id=timer_id, activate_at=LATER + timedelta(days=n // 2))
    for timer_id in kinds["paused"]:
        either.schedule("x", TOPIC, timer_id=timer_id, repeat=Every(days=1))
        either.pause_timer(TOPIC, timer_id)

    wanted = kinds.get(only, kinds["overdue"] + kinds["waiting"] + kinds["paused"])
    shown, after = [], None
    for _ in range(len(wanted)):
        page = search_page(either, TOPIC, search, only=only, after=after, limit=2)
        shown.append([timer.timer_id for timer in page.timers])
        if (after := page.end) is None:
            break

    assert after is None
    assert [timer_id for some in shown for timer_id in some] == wanted
    assert all(len(some) <= 2 for some in shown)
