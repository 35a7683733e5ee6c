"""Searches of topics that are too large for one page: they go on, find each timer once, and end."""

from datetime import UTC, datetime, timedelta

import pytest
from front_ends import Home

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.manage.deadline import Deadline, TimeUpError
from faststream_redis_timers_sync.manage.pages import Cursor, read_cursor, read_page
from faststream_redis_timers_sync.manage.searching import search_page

TOPIC = "invoices"
LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
COUNT = 6000


@pytest.fixture(scope="module")
def names():
    """Ids; every hundredth is a needle, and one is no UTF-8."""
    return [f"{'needle' if n % 100 == 0 else 'hay'}-{n}" for n in range(COUNT)]


@pytest.fixture
def home(key_names, server_url):
    home = Home(key_names, server_url)
    yield home
    home.redis.close()


@pytest.fixture
def timers(server_url, key_names, names, home):
    """A topic that takes many steps: half of its timers are overdue."""
    keys = home.operations.keys.of(TOPIC)
    for start in range(0, COUNT, 1000):
        some = range(start, start + 1000)
        due = {names[n]: 1000 + n if n % 200 else LATER.timestamp() + n for n in some}
        home.redis.zadd(keys.timeline, due)
        home.redis.hset(keys.payloads, mapping={names[n]: b"x" for n in some})
    with TimersClient(server_url, **key_names) as client:
        yield client
    home.redis.delete(*keys)


def pages_of(timers, search, seconds=0.0, **arguments):
    """Read all pages; each cursor goes through an address."""
    pages = []
    after = None
    while not pages or after is not None:
        on_examined = Deadline(seconds)
        page = search_page(timers, TOPIC, search, after=after, on_examined=on_examined, **arguments)
        pages.append(page)
        after = page.end and read_cursor(page.end.token)
        assert page.is_cut is False or page.end is not None
    return pages


def ids(pages):
    return sorted(timer.timer_id for page in pages for timer in page.timers)


@pytest.mark.parametrize("limit", [7, 100, 500])
@pytest.mark.parametrize("search", ["needle", "hay-*", "?*", "needle-5900", "nothing"])
def test_all_that_match_are_found_once(timers, names, search, limit):
    part = search.strip("?*")
    pages = pages_of(timers, search, limit=limit)

    assert ids(pages) == sorted(name for name in names if part in name)
    # However dense they are, a page is not much longer than it may be. The server gives whole
    # buckets of its table: a step of 10 gave up to 21 timers.
    assert all(len(page.timers) <= 2 * limit + 30 for page in pages)
    assert pages[0].is_cut
    assert not pages[-1].is_cut
    looked = [page.examined for page in pages]
    assert looked == sorted(set(looked))


@pytest.mark.parametrize("search", ["needle", "hay-*"])
@pytest.mark.parametrize("only", ["overdue", "waiting", "running", "recurring", "paused"])
def test_all_that_match_in_a_state_are_found_once(timers, names, search, only):
    part = search.strip("*")
    wanted = {
        "overdue": {n for n in range(COUNT) if n % 200},
        "waiting": {n for n in range(COUNT) if not n % 200},
    }.get(only, set())
    pages = pages_of(timers, search, only=only)

    assert ids(pages) == sorted(names[n] for n in wanted if part in names[n])


@pytest.mark.parametrize("limit", [7, 100])
def test_what_is_looked_at_in_time_is_in_order_and_counted(timers, limit):
    pages = pages_of(timers, "needle", seconds=600, limit=limit)

    assert [page.matching for page in pages] == [60] * len(pages)
    assert len(pages) == -(-60 // limit)
    dues = [timer.due_at for page in pages for timer in page.timers]
    assert dues == sorted(dues)
    assert len(ids(pages)) == 60


def test_where_time_is_up_after_pages_in_order_only_the_rest_comes(timers, names):
    first = search_page(timers, TOPIC, "needle", limit=7)
    assert (first.is_cut, first.matching) == (False, 60)
    pages, after = [first], first.end
    while after is not None:
        pages.append(
            search_page(timers, TOPIC, "needle", after=after, limit=7, on_examined=Deadline(0.0))
        )
        after = pages[-1].end

    assert ids(pages) == sorted(name for name in names if "needle" in name)


def test_the_whole_id_comes_first_and_only_once(timers):
    for timer_id in ("hay-1", "hay-5999"):
        pages = pages_of(timers, timer_id, limit=500)
        assert timer_id in ids(pages[:1])
        assert ids(pages).count(timer_id) == 1
    assert "hay-1" not in ids(pages_of(timers, "hay-1", only="waiting"))


def test_a_step_is_made_however_short_the_time_is(timers):
    def too_late(_):
        raise TimeUpError

    page = search_page(timers, TOPIC, "needle", on_examined=too_late)
    assert page.examined > 0
    assert page.end.position > 0


@pytest.mark.parametrize("only", ["running", "recurring"])
def test_a_page_of_a_state_looks_at_no_more_than_there_is_time_for(timers, only):
    pages = pages_of(timers, "", only=only)

    assert ids(pages) == []
    # What is overdue does not run, whatever it is.
    assert (len(pages) > 3) is (only == "recurring")
    assert pages[-1].examined == (COUNT if only == "recurring" else COUNT // 200)


def test_a_page_does_not_look_for_timers_among_what_has_lost_its_payload(timers, home, names):
    keys = home.operations.keys.of(TOPIC)
    home.redis.hdel(keys.payloads, *names[:-1])
    pages = pages_of(timers, "", limit=10)

    assert ids(pages) == [names[-1]]
    assert len(pages) > 100
    assert pages[0].is_cut


def test_timers_with_ids_that_are_no_utf_8_are_found(timers, home):
    keys = home.operations.keys.of(TOPIC)
    home.redis.zadd(keys.timeline, {b"byte\xff": LATER.timestamp()})
    home.redis.hset(keys.payloads, b"byte\xff", b"x")

    for search in ("\udcff", "byte\udcff", "*\udcff", "b*e?"):
        assert ids(pages_of(timers, search)) == ["byte\udcff"]
        assert ids(pages_of(timers, search, seconds=600)) == ["byte\udcff"]


@pytest.mark.parametrize(
    "cursor",
    [
        Cursor("1000.5", "a"),
        Cursor("1e3", "\n\udcff.", 10, 0),
        Cursor("", "", 4000, 2**64 - 1),
        Cursor("-1", " ", 1, 77),
    ],
)
def test_cursors_are_read_as_they_are_written(cursor):
    assert read_cursor(cursor.token) == cursor


@pytest.mark.parametrize(
    "token",
    [
        ".",
        "..0.0",
        "..5.0",
        "MQ.",
        ".YQ",
        "MQ.YQ.1",
        "MQ.YQ.1.2.3",
        "bmFu.YQ",
        "YQ.YQ",
        "MQ.YQ.-1.0",
        "MQ.YQ.1.18446744073709551616",
        f"MQ.YQ.1.{'1' * 5000}",
        "MQ.YQ.\u0661.1",
        "!.!",
        "MQ",
    ],
)
def test_what_is_no_cursor_is_refused(token):
    with pytest.raises(ValueError, match=r".+"):
        read_cursor(token)


def test_a_cursor_of_another_topic_or_search_does_no_harm(timers):
    cut = search_page(timers, TOPIC, "needle", on_examined=Deadline(0.0)).end
    assert search_page(timers, "elsewhere", "x", after=cut).timers == []
    assert read_page(timers, TOPIC, after=Cursor("inf", "a")).timers == []
    assert read_page(timers, TOPIC, after=cut, limit=5).timers
    assert search_page(timers, TOPIC, "hay", after=Cursor("1e300", "a"), limit=5).timers == []


def test_pages_of_running_timers_look_no_further_than_leases_end(timers, home):
    timers.schedule("x", TOPIC, timer_id="near", activate_in=timedelta(minutes=1))
    page = read_page(timers, TOPIC, only="running", longest_lease=timedelta(seconds=30))

    assert (page.timers, page.end, page.examined) == ([], None, 0)
