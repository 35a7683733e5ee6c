"""The admin and the commands with timers on a cluster."""

from datetime import UTC, datetime

import pytest
from django.core import checks
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


# --- what manage.py check says


def run_checks(**settings):
    with override_settings(**settings):
        return checks.run_checks(tags=["timers"], include_deployment_checks=True)


def test_a_cluster_in_order_is_not_mentioned_whatever_caches_there_are(empty_cluster):
    first = empty_cluster.nodes[0].address
    caches = {
        name: {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
        for name, url in {"default": "redis://localhost:6379", "node": f"redis://{first}"}.items()
    }

    assert run_checks(TIMERS={"default": {"URL": empty_cluster.url}}, CACHES=caches) == []


def test_a_node_that_may_evict_timers_is_a_warning_that_names_it(empty_cluster):
    odd = empty_cluster.nodes[1]
    odd.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        (found,) = run_checks(TIMERS={"default": {"URL": empty_cluster.url}})
    finally:
        odd.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")

    assert found.id == "timers.W003"
    assert f"{odd.address}: maxmemory-policy is allkeys-lru" in found.msg


def test_an_alias_that_names_one_node_is_told_how_to_name_the_cluster(empty_cluster):
    alias = {"URL": empty_cluster.nodes[0].url, "HASH_TAGS": True}

    (found,) = run_checks(TIMERS={"default": alias})

    assert found.id == "timers.W006"
    assert "redis+cluster://" in found.hint


def test_a_user_who_may_not_ask_for_the_cluster_is_told_so(empty_cluster):
    everything = ["on", ">s3cret", "~*", "&*", "+@all"]
    for node in empty_cluster.nodes:
        node.ask("ACL", "SETUSER", "timers", *everything, "-cluster|nodes")
    try:
        url = empty_cluster.url.replace("://", "://timers:s3cret@")
        (found,) = run_checks(TIMERS={"default": {"URL": url}})
    finally:
        for node in empty_cluster.nodes:
            node.ask("ACL", "DELUSER", "timers")

    assert found.id == "timers.W004"
    assert "may not run CLUSTER INFO and CLUSTER NODES" in found.msg
