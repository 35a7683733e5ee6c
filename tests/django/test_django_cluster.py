"""The admin and the commands with timers on a cluster."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from admin_pages import tokens
from django.core import checks
from django.core.management import call_command
from django.test import override_settings

from faststream_redis_timers_sync import Every
from faststream_redis_timers_sync.django import get_client
from faststream_redis_timers_sync.manage import scanning
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.protocol.cluster import slot_of

HOUR = timedelta(hours=1)
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
    slot = slot_of(internals_of(client).keys.of(topic).timeline)
    owner = cluster.owner_of(slot)
    other = next(one for one in cluster.primaries() if one is not owner)
    return slot, owner, other


# --- the page of topics


def test_topics_are_found_step_by_step_on_all_primaries(clustered, visitor, monkeypatch):
    monkeypatch.setattr(scanning, "SCAN_SECONDS", 0.0)
    page = visitor.topics()
    steps = 0
    while "scan" in page.fields:
        page = visitor.send(page)
        steps += 1

    assert steps == 3
    for topic in TOPICS:
        assert f"{topic} 1 0 2099-06-01" in page.text
    assert "Scanned all 24 keys of the database." in page.text
    assert "missing" not in page.text


def test_a_slot_that_moves_during_the_search_is_told_of(
    clustered, visitor, empty_cluster, monkeypatch
):
    monkeypatch.setattr(scanning, "SCAN_SECONDS", 0.0)
    slot, owner, other = move_of(empty_cluster, clustered, TOPICS[0])
    page = visitor.send(visitor.topics())
    assert "missing" not in page.text
    empty_cluster.move_slot(slot, other)
    try:
        while "scan" in page.fields:
            page = visitor.send(page)
    finally:
        empty_cluster.move_slot(slot, owner)

    told = "Topics may be missing, because slots of the cluster moved during the search"
    assert told in page.text


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


# --- timers, and what is done to them


@pytest.mark.parametrize("topic", TOPICS[:3])
def test_timers_are_shown_and_changed_on_whichever_primary(topic, clustered, visitor):
    clustered.schedule("body of b", topic, timer_id="b", activate_at=LATER)
    page = visitor.topic(topic)
    assert "Pending: 2" in page.text
    assert "Workers listening: 0" in page.text
    assert "body of b" in visitor.follow(page, "b").text

    page = visitor.choose(visitor.topic(topic), "reschedule", tokens("a"))
    page = visitor.send(page, at_0="2098-06-01", at_1="09:00:00")
    assert "Rescheduled: 1 timer." in page.text
    assert clustered.get_timer(topic, "a").due_at == LATER.replace(year=2098)

    page = visitor.choose(visitor.topic(topic), "cancel")
    page = visitor.send(page)
    assert "Cancelled: 2 timers." in page.text
    assert clustered.count_pending(topic) == 0


def test_a_cluster_that_is_away_becomes_a_page_that_says_so(visitor):
    url = "redis+cluster://127.0.0.1:1,127.0.0.1:2"
    with override_settings(TIMERS={"default": {"URL": url}}):
        page = visitor.topics()

    assert page.status == 503
    assert "The cluster at 127.0.0.1:1, ... can't be reached" in page.text.replace("\u2019", "'")


def test_the_commands_work_on_a_cluster(clustered):
    def call(*words, **options):
        out = StringIO()
        call_command(*words, stdout=out, stderr=StringIO(), as_json=True, **options)
        return [json.loads(line) for line in out.getvalue().splitlines()]

    assert [record["topic"] for record in call("timers_topics")] == sorted(TOPICS)
    assert {record["pending"] for record in call("timers_stats")} == {1}
    for topic in TOPICS[:3]:
        assert [record["timer_id"] for record in call("timers_list", topic)] == ["a"]
        assert call("timers_show", topic, "a")[0]["timer_id"] == "a"
        (moved,) = call("timers_reschedule", topic, "a", activate_in=HOUR, interactive=False)
        assert moved["moved"] == 1
        clustered.schedule("x", topic, timer_id="hourly", repeat=Every(hours=1))
        assert call("timers_pause", topic, "hourly")[0]["paused"] == 1
        assert call("timers_show", topic, "hourly")[0]["state"] == "paused"
        assert call("timers_resume", topic, everything=True, interactive=False)[0]["resumed"] == 1
        assert call("timers_cancel", topic, "hourly")[0]["recurring"] == 1
        assert call("timers_cancel", topic, "a", interactive=False)[0]["cancelled"] == 1
    checks_made = {record["check"] for record in call("timers_check")}
    assert {"cluster", "replicas", "failover"} <= checks_made
