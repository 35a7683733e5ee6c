"""The admin's page of topics."""

import re
from datetime import UTC, datetime

import pytest
from django.test import override_settings

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.manage import scanning

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)


def test_topics_of_the_setting_are_shown_with_their_counts(visitor, timers, key_settings, counting):
    client = {"CLIENT": lambda: counting, "TOPICS": ["invoices", "orders"], **key_settings}
    timers.schedule("x", "invoices", timer_id="a", activate_at=LATER)
    timers.schedule("x", "invoices", timer_id="b", activate_at=LATER)
    with override_settings(TIMERS={"default": client}):
        page = visitor.topics()
    assert page.status == 200
    assert re.search(r"invoices 2 0 2099-06-01 09:00:00 in \d+ years.* 0 orders 0 0 - 0", page.text)


def test_topics_with_listening_workers_are_found(visitor, timers, redis_client, key_names):
    with redis_client.pubsub() as one, redis_client.pubsub() as other:
        for worker in (one, other):
            worker.subscribe(f"{key_names['timeline_key']}:invoices")
            assert worker.get_message(timeout=5)["type"] == "subscribe"
        page = visitor.topics()
    assert "invoices 0 0 - 2 " in page.text


def test_other_topics_are_found_when_asked_for_step_by_step(
    visitor, timers, redis_client, key_names, monkeypatch
):
    monkeypatch.setattr(scanning, "SCAN_SECONDS", 0.0)
    timers.schedule("x", "hidden\n1", activate_at=LATER)
    timers.schedule("x", "hidden\n2", activate_at=LATER)
    others = [f"{key_names['payloads_key']}-other:{n}" for n in range(2500)]
    redis_client.mset(dict.fromkeys(others, ""))
    try:
        page = visitor.topics()
        assert "hidden" not in page.text
        steps = 0
        while "scan" in page.fields:
            page = visitor.send(page)
            steps += 1
            assert re.search("Scanned (about [0-9,]+ of|all) [0-9,]+ keys", page.text)
        assert steps >= 3
        assert r"hidden\n1 1 0 2099" in page.text
        assert r"hidden\n2 1 0 2099" in page.text
    finally:
        redis_client.delete(*others)


def test_a_scan_ends_when_there_are_more_topics_than_a_page_shows(visitor, timers, monkeypatch):
    monkeypatch.setattr(scanning, "MOST_TOPICS", 2)
    for topic in "abc":
        timers.schedule("x", topic, activate_at=LATER)
    page = visitor.send(visitor.topics())
    assert "There are more than 2 topics" in page.text
    assert "scan" not in page.fields


@pytest.mark.parametrize("state", ["", "nonsense", "W10", "bnVsbA"])
def test_a_scan_whose_state_cannot_be_read_starts_over(visitor, timers, state):
    timers.schedule("x", "hidden", activate_at=LATER)
    page = visitor.topics()
    while "scan" in page.fields:
        page = visitor.send(page, scan=state)
        state = page.fields.get("scan", [""])[0]
    assert "hidden 1 0 2099" in page.text


def test_each_alias_has_its_topics(visitor, timers, counting, key_settings):
    client = {"CLIENT": lambda: counting, **key_settings}
    aliases = {
        "default": {**client, "TOPICS": ["invoices"]},
        "other": {**client, "PREFIX": "shop:", "TOPICS": ["orders"]},
    }
    timers.schedule("x", "shop:orders", timer_id="a", activate_at=LATER)
    with override_settings(TIMERS=aliases):
        page = visitor.topics()
        assert "orders" not in page.text
        page = visitor.follow(page, "other")
        assert "orders 1 0 2099" in page.text
        assert "a" in visitor.follow(page, "orders").links


def test_a_topic_that_can_have_no_hash_tag_is_told_so(visitor, server_url, key_settings):
    alias = {"URL": server_url, **key_settings, "HASH_TAGS": True}
    with override_settings(TIMERS={"default": alias}):
        page = visitor.topic("{x}")

    assert page.status == 503
    assert "Topic can't be '{x}' where hash_tags=True" in page.text
    assert "write 'x'" in page.text


def test_topics_with_hash_tags_are_found_by_a_scan(visitor, server_url, key_names, key_settings):
    alias = {"URL": server_url, **key_settings, "HASH_TAGS": True}
    with (
        override_settings(TIMERS={"default": alias}),
        TimersClient(server_url, **key_names, hash_tags=True) as timers,
    ):
        timers.schedule("x", "invoices", timer_id="a", activate_at=LATER)
        page = visitor.topics()
        while "scan" in page.fields:
            page = visitor.send(page)

        assert "invoices 1 0 2099" in page.text
        assert "2099-06-01" in visitor.topic("invoices").text


@pytest.mark.parametrize("hash_tags", [True, False])
def test_timers_in_the_other_layout_are_warned_of(
    hash_tags, visitor, server_url, key_names, key_settings
):
    alias = {"URL": server_url, **key_settings, "HASH_TAGS": hash_tags, "TOPICS": ["invoices"]}
    key, word = ("invoices", "without") if hash_tags else ("{invoices}", "with")
    with (
        override_settings(TIMERS={"default": alias}),
        TimersClient(server_url, **key_names, hash_tags=not hash_tags) as others,
    ):
        assert "other" not in visitor.topics().text
        others.schedule("x", "invoices", timer_id="a", activate_at=LATER)
        page = visitor.topics()

    assert (
        f"Topic 'invoices' also has timers under '{key_names['timeline_key']}:{key}'" in page.text
    )
    assert f"the key {word} hash tags" in page.text
    assert "give all programs that share the topic the same hash_tags" in page.text


def test_topics_that_a_scan_finds_in_the_other_layout_alone_are_warned_of(
    visitor, server_url, key_settings, timers
):
    alias = {"URL": server_url, **key_settings, "HASH_TAGS": True}
    timers.schedule("x", "two\nlines", timer_id="a", activate_at=LATER)
    with override_settings(TIMERS={"default": alias}):
        page = visitor.topics()
        while "scan" in page.fields:
            page = visitor.send(page)

    assert r"Topic 'two\nlines' also has timers under" in page.text
    assert "No topics are known" in page.text


def test_what_a_scan_has_found_is_kept_from_step_to_step():
    found = {"topics": frozenset({"a", "\n"}), "elsewhere": frozenset({"é"})}
    scan = scanning.Scan("7,node:1,abcd1234", 2000, total=None, **found)

    assert scanning.read_scan(scan.state) == scan
