"""The admin and the commands with timers on a cluster."""

from datetime import UTC, datetime

import pytest
from django.test import override_settings

from faststream_redis_timers_sync.django import get_client
from faststream_redis_timers_sync.django.admin import topics as admin_topics
from faststream_redis_timers_sync.manage.server import inside
from faststream_redis_timers_sync.protocol.cluster import slot_of

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
TOPICS = [f"topic-{n}" for n in range(12)]


@pytest.fixture
def clustered(empty_cluster):
    """The default client, with timers in topics of all primaries."""
    with override_settings(TIMERS={"default": {"URL": empty_cluster.url}}):
        client = get_client()
        for topic in TOPICS:
            client.schedule("x", topic, timer_id="a", activate_at=LATER)
        yield client


def move_of(cluster, client, topic):
    slot = slot_of(inside(client).keys.of(topic).timeline)
    owner = cluster.owner_of(slot)
    other = next(one for one in cluster.primaries() if one is not owner)
    return slot, owner, other


# --- the page of topics


def test_topics_are_found_step_by_step_on_all_primaries(clustered, visitor, monkeypatch):
    monkeypatch.setattr(admin_topics, "SCAN_SECONDS", 0.0)
    page = visitor.topics()
    steps = 0
    while "scan" in page.fields:
        page = visitor.send(page)
        steps += 1

    assert steps == 3
    for topic in TOPICS:
        assert f"{topic} 1 0 2099-06-01" in page.text
    assert "All 24 keys of the database were looked at." in page.text
    assert "missing" not in page.text


def test_a_slot_that_moves_during_the_search_is_told_of(
    clustered, visitor, empty_cluster, monkeypatch
):
    monkeypatch.setattr(admin_topics, "SCAN_SECONDS", 0.0)
    slot, owner, other = move_of(empty_cluster, clustered, TOPICS[0])
    page = visitor.send(visitor.topics())
    assert "missing" not in page.text
    empty_cluster.move_slot(slot, other)
    try:
        while "scan" in page.fields:
            page = visitor.send(page)
    finally:
        empty_cluster.move_slot(slot, owner)

    assert "Topics may be missing: slots of the cluster moved during the search" in page.text
