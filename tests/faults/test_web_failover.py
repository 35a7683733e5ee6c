"""The web pages over Sentinels: a primary is killed, they say so, and go on with the next one."""

import re
from datetime import UTC, datetime

import pytest
from reach import blocking_client
from servers import Sentinels, short_folder
from waiting import wait_until

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.web import Access, Request, TimerPages

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
OURS = {"sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def sentinels():
    with short_folder() as folder, Sentinels(folder) as sentinels:
        yield sentinels


def test_pages_find_the_primary_that_was_promoted(sentinels):
    access = Access("ops", may={"cancel"})
    with TimersClient(
        blocking_client(sentinels.addresses), confirm_replicas=2, confirm_timeout=10.0
    ) as client:
        for timer_id in ("a", "b"):
            client.schedule("x", "invoices", timer_id=timer_id, activate_at=LATER)
    with TimersClient(blocking_client(sentinels.addresses)) as client:
        pages = TimerPages(client, allow=lambda _: access, topics=["invoices"], longest_lease=30)

        def ask(query="", method="GET", body=b""):
            headers = {**OURS, "content-length": str(len(body))}
            request = Request(method=method, query=query, headers=headers, scope={}, body=body)
            response = pages.answer(request)
            return response.status, response.body.decode()

        for query in ("", "topic=invoices", "topic=invoices&q=a", "topic=invoices&timer=a"):
            status, html = ask(query)
            assert (status, "2099-06-01" in html) == (200, True), query
        status, html = ask("do=scan", "POST")
        assert (status, "Scanned all" in html) == (200, True)
        cancel = "topic=invoices&do=cancel", "POST", b"id=Yg&sure=1"
        primary = sentinels.primary()
        primary.kill()

        told = [ask(query) for query in ("", "topic=invoices", "topic=invoices&timer=a")]
        told.append(ask(*cancel))
        assert [status for status, _ in told] == [503] * 4
        since = [re.search(r"Not reached since ([^,]*)", html)[1] for _, html in told]
        # All of them tell of the same outage.
        assert len(set(since)) == 1
        wait_until(lambda: sentinels.has_moved_from(primary), 30)

        wait_until(lambda: ask()[0] == 200, 30)
        status, html = ask("topic=invoices&timer=a")
        assert (status, "2099-06-01" in html) == (200, True)
        # What was asked for while nobody could be reached was not done.
        assert client.count_pending("invoices") == 2
        status, html = ask(*cancel)
        assert (status, "Cancelled 1." in html) == (200, True)
        assert [timer.timer_id for timer in client.iter_timers("invoices")] == ["a"]
