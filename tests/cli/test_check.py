"""What is wrong with a server, told by itself."""

import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import fakeredis
import pytest
import redis
from freezegun import freeze_time

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync import TimersClient, protocol
from faststream_redis_timers_sync.cli import commands
from faststream_redis_timers_sync.django.management.commands import timers_check
from faststream_redis_timers_sync.manage.check import (
    check_eviction,
    check_memory,
    check_persistence,
    check_place,
    check_server,
    check_version,
)
from faststream_redis_timers_sync.manage.cluster import read_pairs
from faststream_redis_timers_sync.manage.permissions import acl_rule, purposes_of
from faststream_redis_timers_sync.manage.selection import cancel_each, list_timers, reschedule_each
from faststream_redis_timers_sync.manage.stats import count_topics
from faststream_redis_timers_sync.manage.topics import listening_topics, scan_topics
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operation import command

HOUR = timedelta(hours=1)


def read_info(timers):
    return timers._runner.run(command(b"INFO", parse=read_pairs))


def levels(findings):
    return {finding.check: finding.level for finding in findings}


@pytest.fixture
def own_timers(own_server, own_url):
    with TimersClient(own_url) as timers:
        yield timers


@pytest.fixture
def as_user(own_server, own_url):
    """Make a user with these rules, and a client of it."""
    clients = []

    def make(*rules, name="alice", **options):
        own_server.execute_command("ACL", "SETUSER", name, "on", ">secret", *rules)
        url = own_url.replace("unix://", f"unix://{name}:secret@")
        clients.append(TimersClient(url, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


# --- version, mode, role


@pytest.mark.parametrize(
    ("info", "level", "words"),
    [
        ({"redis_version": "6.2.14"}, "error", "Redis 6.2.14 is too old"),
        ({"redis_version": "7.0.0"}, "ok", "Redis 7.0.0"),
        ({"redis_version": "10.1.0"}, "ok", "Redis 10.1.0"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.5"}, "ok", "Valkey 7.2.5"),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.9"}, "error", "Valkey 7.1.9"),
        ({}, "unknown", "must be Redis 7.0 or newer"),
        ({"redis_version": "unstable"}, "unknown", "does not report its version"),
    ],
)
def test_the_version_must_be_new_enough(info, level, words):
    finding = check_version(info)

    assert finding.level == level
    assert words in finding.message


@pytest.mark.parametrize(
    "info", [{"cluster_enabled": "1", "role": "master"}, {"redis_mode": "cluster"}]
)
def test_cluster_mode_is_an_error(info):
    assert levels(check_place(info)) == {"cluster": "error", "role": "ok"}


def test_a_replica_is_an_error_that_names_its_primary(own_server, own_timers):
    own_server.replicaof("127.0.0.1", 1)

    findings = {finding.check: finding for finding in check_server(own_timers)}

    assert findings["role"].level == "error"
    assert "127.0.0.1:1" in findings["role"].remedy


# --- memory and persistence


@pytest.mark.parametrize(
    ("policy", "maxmemory", "level", "words"),
    [
        ("noeviction", "100mb", "ok", "noeviction"),
        ("allkeys-lru", "100mb", "error", "timers could be evicted when memory is full"),
        ("allkeys-lru", "0", "warning", "timers could be evicted as soon as"),
        ("volatile-ttl", "100mb", "warning", "Timers don't expire"),
    ],
)
def test_the_eviction_policy_must_be_noeviction(
    policy, maxmemory, level, words, own_server, own_timers
):
    own_server.config_set("maxmemory-policy", policy)
    own_server.config_set("maxmemory", maxmemory)

    finding = check_eviction(read_info(own_timers))

    assert finding.level == level
    assert words in finding.message
    assert finding.remedy == ("" if level == "ok" else "set maxmemory-policy noeviction")


def test_a_server_that_hides_its_policy_is_unknown():
    assert check_eviction({}).level == "unknown"


@pytest.mark.parametrize(
    ("share", "level", "words"),
    [
        (0, "ok", "without a limit"),
        (2, "ok", "MiB are used"),
        (1.05, "warning", "MiB are used"),
        (0.9, "error", "new timers may be refused (OOM)"),
    ],
)
def test_a_server_that_is_full_or_soon_will_be_is_seen(own_timers, share, level, words):
    used = 512 * 1024 * 1024
    finding = check_memory({"used_memory": f"{used}", "maxmemory": f"{int(share * used)}"})

    assert (finding.level, bool(finding.remedy)) == (level, level != "ok")
    assert words in finding.message
    assert check_memory({}).level == "unknown"
    # And the server tells these by the same names.
    assert check_memory(read_info(own_timers)).level == "ok"


def test_persistence_is_seen(own_server, own_timers):
    without = check_persistence(read_info(own_timers))
    own_server.config_set("appendonly", "yes")
    with_aof = check_persistence(read_info(own_timers))

    assert (without.level, without.remedy) == ("warning", "set appendonly yes")
    assert with_aof.level == "ok"


@pytest.mark.parametrize(
    ("info", "level", "words"),
    [
        ({"aof_enabled": "0", "rdb_saves": "0"}, "warning", "may lose all timers"),
        (
            {"aof_enabled": "0", "rdb_saves": "3", "rdb_changes_since_last_save": "1234"},
            "warning",
            "since the last snapshot (1,234 changes",
        ),
        ({"aof_enabled": "1", "aof_last_write_status": "err"}, "error", "AOF failed"),
        ({"aof_enabled": "0", "rdb_last_bgsave_status": "err"}, "error", "snapshot failed"),
        ({}, "unknown", "does not report"),
    ],
)
def test_what_a_restart_would_lose_is_told(info, level, words):
    finding = check_persistence(info)

    assert finding.level == level
    assert words in finding.message


# --- clock


@pytest.mark.parametrize(
    ("off", "level", "words"),
    [
        (timedelta(), "ok", "agree"),
        (HOUR, "warning", r"3,\d{3}\.\d{3} s behind this"),
        (-HOUR, "warning", r"3,\d{3}\.\d{3} s ahead of this"),
    ],
)
def test_a_difference_of_the_clocks_is_told(off, level, words, own_timers):
    with freeze_time(datetime.now(UTC) + off, tick=True):
        (finding,) = [f for f in check_server(own_timers) if f.check == "clock"]

    assert finding.level == level
    assert re.search(words, finding.message)


# --- permissions


def commands_of_scripts():
    """All commands that the Lua files run."""
    folder = files(protocol) / "lua"
    text = "".join(file.read_text() for file in folder.iterdir())
    return set(re.findall(r"redis\.p?call\('([A-Z]+)'", text))


def test_help_and_refusal_name_all_that_is_looked_at(own_timers, as_user):
    looked_at = levels(check_server(own_timers)).keys() - {"permissions", "layout", "clock"}
    (refused,) = (finding for finding in check_server(as_user()) if finding.check == "info")

    assert "memory" in looked_at
    # The mode is that of the cluster.
    assert [name for name in looked_at if name not in refused.message] == []
    for told in (commands.check.help, timers_check.Command.help):
        text = " ".join(told.replace("mode", "cluster").split())
        assert [name for name in looked_at if name not in text] == []


def test_every_command_of_every_script_is_asked_for():
    known = {
        command.split()[0] for purpose in purposes_of(KeySpace()) for command in purpose.commands
    }

    assert len(commands_of_scripts()) > 10
    assert commands_of_scripts() - known == set()


def test_a_user_who_may_do_all_hears_so(own_timers):
    assert levels(check_server(own_timers))["permissions"] == "ok"


def rules_of(timers, topic="any"):
    return [finding.rule for finding in check_server(timers, topic) if finding.rule]


def apply(server, rules):
    for rule in rules:
        server.execute_command(*rule.split(" "))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prefix": "my *[svc]:"},
        {"timeline_key": "other"},
        {"hash_tags": True},
        {"hash_tags": True, "prefix": "my *[svc]:"},
        {"hash_tags": True, "prefix": "{eu}:"},
    ],
)
def test_the_rules_that_are_printed_give_a_user_without_rights_all_it_needs(
    options, as_user, own_server
):
    timers = as_user(**options)
    findings = list(check_server(timers))
    assert levels(findings) == {
        "info": "unknown",
        "permissions": "warning",
        # With a tag of the prefix' own the keys are the same in both layouts.
        "layout": "ok" if options.get("prefix") == "{eu}:" else "unknown",
        "clock": "unknown",
    }
    assert all("USER" in finding.rule for finding in findings if finding.rule)
    own_server.execute_command("ACL", "SETUSER", "alice", "+acl|whoami")

    apply(own_server, rules_of(timers))

    assert set(levels(check_server(timers)).values()) <= {"ok", "warning"}
    assert rules_of(timers) == []
    timers.schedule("x", "topic", timer_id="one", activate_in=HOUR)
    assert scan_topics(timers).topics == {"topic"}
    assert listening_topics(timers) == {}
    assert count_topics(timers, ["topic"]).topics[0].workers == 0
    assert len(list(list_timers(timers, "topic", match="*", limit=1))) == 1
    assert list(reschedule_each(timers, "topic", ["one"])) == [("one", "waiting")]
    assert timers.get_timer("topic", "one").decode() == "x"
    assert list(cancel_each(timers, "topic", ["one"])) == [("one", "waiting")]
    assert timers.cancel_all("topic") == 0


def test_the_rules_give_no_more_than_is_needed(as_user, own_server, own_url):
    timers = as_user("+acl|whoami", prefix="mine:")
    apply(own_server, rules_of(timers))
    with redis.Redis.from_url(own_url.replace("unix://", "unix://alice:secret@")) as client:
        client.zcard("timers_timeline:mine:x")
        for key in ("timers_timeline:x", "foreign", "timers_timeline"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.zcard(key)
        for forbidden in (client.flushall, client.config_get, lambda: client.keys("*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                forbidden()


def test_the_rules_for_keys_with_hash_tags_give_no_more_than_is_needed(
    as_user, own_server, own_url
):
    timers = as_user("+acl|whoami", prefix="mine:", hash_tags=True)
    apply(own_server, rules_of(timers))
    with redis.Redis.from_url(own_url.replace("unix://", "unix://alice:secret@")) as client:
        for end in ("{mine:x}", "{mine:x}:dead", "mine:{eu}:x", "{mine}:dead"):
            client.zcard(f"timers_timeline:{end}")
        for end in ("{x}", "{mine}", "{min}:dead", "x{mine:x}", "{eu}:mine:x"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.zcard(f"timers_timeline:{end}")


def test_a_look_at_the_other_layout_may_read_alone(as_user, own_server, own_url):
    timers = as_user("+acl|whoami", "+zadd", prefix="mine:")
    apply(own_server, rules_of(timers))
    with redis.Redis.from_url(own_url.replace("unix://", "unix://alice:secret@")) as client:
        assert client.exists("timers_timeline:{mine:x}") == 0
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.zadd("timers_timeline:{mine:x}", {"1": 1})


@pytest.mark.parametrize(
    ("missing", "purpose", "level"),
    [
        ("-zadd", "schedule, reschedule, cancel", "error"),
        ("-evalsha", "schedule, reschedule, cancel", "error"),
        ("-publish", "wake workers", "warning"),
        ("-subscribe", "listen for such wake-ups", "warning"),
        ("-pubsub|numsub", "count the workers on duty", "warning"),
        ("-scan", "find topics", "warning"),
        ("-pubsub|channels", "find topics", "warning"),
        ("resetchannels", "wake workers", "warning"),
        ("-exists", "notice timers under the keys of the other layout", "warning"),
    ],
)
def test_what_one_missing_right_means_is_told(missing, purpose, level, as_user):
    timers = as_user("~*", "&*", "+@all", missing)

    findings = [f for f in check_server(timers) if f.check == "permissions"]

    assert purpose in findings[0].message
    assert findings[0].level == level
    assert findings[0].rule.startswith("ACL SETUSER alice ")


def test_exists_is_vital_where_scripts_ask_whether_a_topic_is_torn():
    tagged = KeySpace(timeline_key="{t}:a", payloads_key="{t}:b", attempts_key="{t}:c")

    for keys, is_vital in ((KeySpace(), False), (KeySpace(hash_tags=True), True), (tagged, True)):
        vital = {name for one in purposes_of(keys) if one.is_vital for name in one.commands}
        assert ("EXISTS {payloads}" in vital) is is_vital


def test_rights_for_other_keys_alone_are_not_enough(as_user):
    timers = as_user(
        *("~timers_*:mine", "%R~timers_timeline:{mine}", "~timers_series:*"),
        *("&timers_timeline:mine*", "+@all"),
    )

    assert rules_of(timers, "mine") == []
    assert len(rules_of(timers, "other")) > 0


def test_a_rule_for_one_channel_is_not_enough_for_a_reserve(as_user):
    timers = as_user("~*", "&timers_timeline:mine", "+@all")

    found = [finding.message for finding in check_server(timers, "mine") if finding.rule]

    assert len(found) == 2
    assert found[0].startswith("this user may not wake workers when a timer is scheduled: ")
    assert found[1].startswith("this user may not listen for such wake-ups, as workers do: ")


def test_what_follows_where_workers_may_not_be_counted_is_told(as_user):
    timers = as_user("~*", "&*", "+@all", "-pubsub|numsub")

    message = next(f.message for f in check_server(timers) if f.check == "permissions")

    assert message == (
        "this user may not count the workers on duty: all workers of a topic claim whenever a "
        "timer is due, as with duty=None; if the user schedules while no worker is on duty, none "
        "is called, and the timer waits for a poll (refused: PUBSUB|NUMSUB)"
    )


def test_an_aged_server_that_cannot_say_is_no_crash():
    # fakeredis has neither INFO nor a way to ask for rights.
    timers = TimersClient(fakeredis.FakeRedis())

    found = levels(check_server(timers))

    assert found["info"] == "unknown"
    assert found["clock"] == "ok"


@pytest.mark.parametrize(
    ("prefix", "word"),
    [
        ("plain:", "~timers_timeline:plain:*"),
        ("a b", "~timers_timeline:a?b*"),
        ("a*", "~timers_timeline:a\\**"),
        ("\"'", "~timers_timeline:??*"),
        ("\x1b", "~timers_timeline:?*"),
        ("é\u202e", "~timers_timeline:é???*"),
    ],
)
def test_a_rule_is_what_redis_cli_reads_without_quotes(prefix, word, own_url):
    with TimersClient(own_url, prefix=prefix) as timers:
        rule = acl_rule(timers, ["ZCARD {timeline}"])

    assert rule == f"ACL SETUSER default {word} +zcard"


def test_a_cluster_node_is_told_to_be_one():
    with (
        embedded_server(config={"cluster-enabled": "yes"}) as url,
        TimersClient(url) as timers,
    ):
        findings = {finding.check: finding for finding in check_server(timers)}

    assert findings["cluster"].level == "error"
