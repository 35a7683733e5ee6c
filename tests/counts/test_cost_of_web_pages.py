"""What a web page asks the server, however large topics are and however many there are."""

import budgets
import pytest
from bench import HOUR

from faststream_redis_timers_sync import Every, TimersClient
from faststream_redis_timers_sync.web import Access, Request, TimerPages, topic as topic_pages

TOPIC = "invoices"


@pytest.fixture
def client(server_url, key_names):
    with TimersClient(server_url, **key_names) as client:
        yield client


def traffic_of(meter, client, query, *, topics=(), longest_lease=30):
    """Ask for a page of pages that are new, so that nothing is known from before."""
    access = Access("ops")
    arguments = {"allow": lambda _: access, "topics": topics, "longest_lease": longest_lease}
    request = Request(method="GET", query=query, headers={}, scope={})
    # The client connects.
    client.count_pending(TOPIC)
    meter.reset()
    response = TimerPages(client, **arguments).answer(request)
    traffic = meter.read()
    assert response.status == 200
    return traffic


def schedule(client, count):
    for n in range(count):
        client.schedule("x", TOPIC, timer_id=f"id-{n}", activate_in=HOUR)


@pytest.mark.parametrize("topics", [1, 200, 1000])
def test_a_page_of_topics(client, meter, topics):
    names = [f"topic-{n:04}" for n in range(topics)]
    for name in names:
        client.schedule("x", name, activate_in=HOUR)
    traffic = traffic_of(meter, client, "", topics=names)

    assert traffic.reads <= budgets.TOPICS_PAGE + budgets.TOPICS_PAGE_PER_TOPIC * min(200, topics)


def test_a_page_of_topics_counts_running_timers_one_by_one_where_it_is_told_to(client, meter):
    names = [f"topic-{n:04}" for n in range(200)]
    for name in names:
        client.schedule("x", name, activate_in=HOUR)
    traffic = traffic_of(meter, client, "", topics=names, longest_lease=None)

    assert traffic.reads <= budgets.TOPICS_PAGE + budgets.TOPICS_PAGE_PER_TOPIC_ALONE * 200


@pytest.mark.parametrize(
    "query", ["", "&only=waiting", "&only=overdue", "&only=paused", "&range=hour"]
)
@pytest.mark.parametrize("count", [10, 3000])
def test_a_page_of_a_topic(client, meter, count, query):
    schedule(client, count)
    client.schedule("x", TOPIC, timer_id="series", repeat=Every(days=1))
    traffic = traffic_of(meter, client, f"topic={TOPIC}{query}")

    assert traffic.reads <= budgets.TOPIC_PAGE


def test_a_page_of_a_timer(client, meter):
    schedule(client, 1)

    assert traffic_of(meter, client, f"topic={TOPIC}&timer=id-0").reads == budgets.TIMER_PAGE


@pytest.mark.parametrize("query", ["&q=nobody", "&q=id-", "&only=running", "&only=recurring"])
def test_a_page_whose_time_is_up_makes_no_more_steps(client, meter, monkeypatch, query):
    monkeypatch.setattr(topic_pages, "PAGE_SECONDS", 0.0)
    schedule(client, 6000)
    traffic = traffic_of(meter, client, f"topic={TOPIC}{query}", longest_lease=None)

    assert traffic.reads <= budgets.TOPIC_PAGE + budgets.CUT_SEARCH


@pytest.mark.parametrize(
    ("query", "calls"), [("&q=nobody", 4), ("&q=id-&only=recurring", 24), ("&only=running", 12)]
)
def test_a_search_makes_few_calls_for_thousands_of_timers(client, meter, monkeypatch, query, calls):
    monkeypatch.setattr(topic_pages, "PAGE_SECONDS", 600.0)
    schedule(client, 6000)
    traffic = traffic_of(meter, client, f"topic={TOPIC}{query}", longest_lease=None)

    assert traffic.reads <= budgets.TOPIC_PAGE + calls
