"""The setting `TIMERS`, and the clients made of it."""

import sys
import threading
from datetime import UTC, datetime, timedelta
from enum import Enum
from importlib import import_module

import pytest
import redis
import redis.asyncio
from django import VERSION
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils import timezone

import faststream_redis_timers_sync.django as public
from faststream_redis_timers_sync import TimerPublishMessage, TimersClient
from faststream_redis_timers_sync.django import get_client, schedule_on_commit
from faststream_redis_timers_sync.django.conf import read_alias
from faststream_redis_timers_sync.testing import FakeTimersClient

HOUR = timedelta(hours=1)
SECRET = "s3cret"  # noqa: S105  what must not be shown
URL = f"redis://user:{SECRET}@localhost:6379/1"


def timers_setting(**aliases):
    return override_settings(TIMERS=aliases)


def options_of(client):
    return client._runner.client.connection_pool.connection_kwargs


# --- what the setting may hold


def test_each_alias_has_its_url_names_and_options(server_url, key_names, key_settings):
    with timers_setting(
        default={"URL": server_url, **key_settings},
        other={
            "URL": server_url,
            "PREFIX": "shop:",
            "TOPICS": ["invoices", "orders"],
            "OPTIONS": {"socket_timeout": 7.5, "max_connections": 3},
            **key_settings,
        },
    ):
        get_client("other").schedule("INV-001", "invoices", timer_id="a", activate_in=HOUR)
        assert get_client().has_pending("shop:invoices", "a")
        assert options_of(get_client())["socket_timeout"] == 2.0
        assert options_of(get_client("other"))["socket_timeout"] == 7.5
        assert get_client("other")._runner.client.connection_pool.max_connections == 3
        assert read_alias("other").topics == ("invoices", "orders")


def test_topics_of_an_enum_are_their_values():
    topic = Enum("Topic", {"INVOICES": "invoices"}, type=str).INVOICES
    with timers_setting(default={"URL": URL, "TOPICS": [topic]}):
        (known,) = read_alias("default").topics

    assert (type(known), known) == (str, "invoices")


@pytest.mark.parametrize("source", [{"URL": URL}, {"CLIENT": redis.Redis}])
def test_an_alias_says_how_many_replicas_must_confirm(source):
    confirms = {"CONFIRM_REPLICAS": 2, "CONFIRM_TIMEOUT": 0.5}
    with timers_setting(default={**source, **confirms}, other={**source, "CONFIRM_REPLICAS": None}):
        assert get_client()._runner.confirmation == (2, 0.5)
        assert get_client("other")._runner.confirmation is None


@pytest.mark.parametrize("source", [{"URL": URL}, {"CLIENT": redis.Redis}])
def test_an_alias_says_whether_keys_have_hash_tags(source):
    with timers_setting(default={**source, "HASH_TAGS": True}, other=source):
        assert get_client()._operations.keys.hash_tags is True
        assert get_client("other")._operations.keys.hash_tags is False


def make_from_path():
    return redis.Redis(host="example.org")


@pytest.mark.parametrize("client", [f"{__name__}.make_from_path", make_from_path])
def test_a_client_may_come_from_a_callable(client):
    with timers_setting(default={"CLIENT": client, "PREFIX": "shop:"}):
        assert options_of(get_client())["host"] == "example.org"
        assert get_client()._prefix == "shop:"


@pytest.mark.parametrize("client", [FakeTimersClient(), TimersClient("redis://localhost")])
def test_a_callable_may_make_the_whole_client(client):
    with timers_setting(default={"CLIENT": lambda: client}):
        assert get_client() is client


@pytest.mark.parametrize(
    ("aliases", "sentence"),
    [
        (None, "the setting TIMERS is missing: write TIMERS = {"),
        ([URL], "TIMERS must be a dict of aliases, got a list: write TIMERS = {"),
        ({"main": {"URL": URL}}, "TIMERS must have the alias \"default\", it has 'main'"),
        ({}, 'TIMERS must have the alias "default", it has none'),
        ({"default": URL}, "TIMERS['default'] must be a dict such as {"),
        ({"default": {"UR": URL}}, "the unknown key 'UR': did you mean 'URL'?"),
        ({"default": {"url": URL}}, "the unknown key 'url': did you mean 'URL'?"),
        ({"default": {"URL": URL, "TOPIC": []}}, "'TOPIC': did you mean 'TOPICS'?; it may have"),
        ({"default": {"URL": URL, "COLOUR": 1}}, "the unknown key 'COLOUR'; it may have 'URL', "),
        ({"default": {"URL": None}}, "TIMERS['default']['URL'] must be a str, got None"),
        ({"default": {"URL": [URL]}}, "TIMERS['default']['URL'] must be a str, got a list"),
        ({"default": {"URL": ""}}, "['URL'] must be a non-empty str, got ''"),
        ({"default": {"URL": URL, "PREFIX": 5}}, "['PREFIX'] must be a str, got a int"),
        ({"default": {"URL": URL, "TOPICS": "a"}}, "['TOPICS'] must be a list of topics, got a st"),
        ({"default": {"URL": URL, "TOPICS": [1]}}, "['TOPICS'] must be a list of topics, got a li"),
        ({"default": {"URL": URL, "OPTIONS": [SECRET]}}, "['OPTIONS'] must be a dict of options"),
        (
            {"default": {"URL": URL, "HASH_TAGS": "yes"}},
            "TIMERS['default']['HASH_TAGS'] must be True or False, got a str",
        ),
        (
            {"default": {"URL": URL, "HASH_TAGS": True, "TIMELINE_KEY": "{t}"}},
            "TIMERS['default']: timeline_key must have no brace with hash_tags=True",
        ),
        (
            {"default": {"URL": URL, "HASH_TAGS": True, "PREFIX": "{eu", "TOPICS": ["x", "}"]}},
            "TIMERS['default']['TOPICS']: topic can't be '{eux' where hash_tags=True",
        ),
        (
            {"default": {"CLIENT": FakeTimersClient, "HASH_TAGS": True}},
            "has HASH_TAGS, but CLIENT made a FakeTimersClient, which has its own: remove",
        ),
        (
            {"default": {"URL": URL, "CONFIRM_REPLICAS": "1"}},
            "['CONFIRM_REPLICAS'] must be a number of replicas or None, got a str",
        ),
        (
            {"default": {"URL": URL, "CONFIRM_TIMEOUT": None}},
            "['CONFIRM_TIMEOUT'] must be a number of seconds, got None",
        ),
        (
            {"default": {"URL": URL, "CONFIRM_REPLICAS": 0}},
            "TIMERS['default']: confirm_replicas must be at least 1, got 0",
        ),
        (
            {"default": {"CLIENT": FakeTimersClient, "CONFIRM_REPLICAS": 1}},
            "has CONFIRM_REPLICAS, but CLIENT made a FakeTimersClient, which has its own: remove",
        ),
        ({"default": {"CLIENT": 5}}, "['CLIENT'] must be the dotted path of a callable, or a call"),
        ({"default": {"URL": URL, "CLIENT": "a.b"}}, "has both URL and CLIENT: remove one of them"),
        ({"default": {"PREFIX": "a"}}, "TIMERS['default'] has neither URL nor CLIENT: add"),
        ({"default": {"CLIENT": "a.b", "OPTIONS": {}}}, "has OPTIONS, which are for a URL"),
        ({"default": {"CLIENT": "no.where"}}, "CLIENT 'no.where' can't be imported: No module nam"),
        ({"default": {"CLIENT": "os.sep"}}, "CLIENT 'os.sep' is a str: name a function"),
        ({"default": {"CLIENT": lambda: URL}}, "CLIENT must return a redis.Redis, got a str"),
        ({"default": {"CLIENT": lambda: None}}, "a redis.RedisCluster or a URL, got NoneType"),
        (
            {"default": {"CLIENT": redis.asyncio.Redis}},
            "what CLIENT returned can't be used: client is a redis.asyncio.Redis",
        ),
        (
            {"default": {"CLIENT": FakeTimersClient, "PREFIX": "a"}},
            "has PREFIX, but CLIENT made a FakeTimersClient, which has its own: remove them",
        ),
        ({"default": {"URL": f"http://{SECRET}"}}, "the URL of the server can't be read"),
        ({"default": {"URL": f"redis://:a/{SECRET}@localhost"}}, "the URL of the server can't be"),
        ({"default": {"URL": f"redis://h:{SECRET}/1"}}, "the URL of the server can't be read"),
        (
            {"default": {"URL": URL, "OPTIONS": {"socket_timout": 1}}},
            "options, or the part of the URL after the ?, can't be used",
        ),
        (
            {"default": {"URL": URL, "OPTIONS": {"socket_timeout": "5"}}},
            "options['socket_timeout'] must be a number of seconds, got '5'",
        ),
        (
            {"default": {"URL": URL, "OPTIONS": {"single_connection_client": True}}},
            "leave that option out",
        ),
        (
            {"default": {"URL": URL, "TIMELINE_KEY": "a", "PAYLOADS_KEY": "a"}},
            "TIMERS['default']: timeline_key, payloads_key, attempts_key and series_key must di",
        ),
    ],
)
def test_a_mistake_is_one_clear_sentence_without_secrets(aliases, sentence):
    with override_settings(TIMERS=aliases), pytest.raises(ImproperlyConfigured) as raised:
        get_client()
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)
    shown = raised.value
    while shown is not None:
        assert SECRET not in str(shown)
        shown = None if shown.__suppress_context__ else shown.__cause__ or shown.__context__


def test_an_unknown_alias_is_named_with_its_neighbours(timers):
    with pytest.raises(ImproperlyConfigured) as raised:
        get_client("defualt")
    assert str(raised.value) == (
        "TIMERS has no alias 'defualt': did you mean 'default'?; it has 'default'"
    )
    with pytest.raises(ImproperlyConfigured, match="TIMERS has no alias 'other'"):
        schedule_on_commit("first", "invoices", alias="other")


def test_the_package_has_its_public_names_and_no_others():
    assert set(dir(public)) == {"cancel_on_commit", "get_client", "schedule_on_commit"}
    assert all(getattr(public, name).__name__ == name for name in public.__all__)
    with pytest.raises(AttributeError, match="no attribute 'get_clients'"):
        _ = public.get_clients


# --- one client per alias and process


def test_all_threads_get_one_client_that_is_made_once():
    begin = threading.Barrier(8)
    made, got = [], []

    def make():
        made.append(FakeTimersClient())
        return made[-1]

    def get():
        begin.wait()
        got.append(get_client())

    with timers_setting(default={"CLIENT": make}):
        threads = [threading.Thread(target=get) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(made) == 1
    assert got == made * 8


def test_what_makes_a_client_may_ask_for_another_alias():
    with timers_setting(
        default={"CLIENT": lambda: get_client("other")}, other={"CLIENT": FakeTimersClient}
    ):
        assert get_client() is get_client("other")


def test_a_client_is_dropped_when_the_setting_changes(timers):
    with timers_setting(default={"URL": "redis://localhost:6379/3"}):
        inner = get_client()
        assert inner is not timers
        assert options_of(inner)["db"] == 3
    assert get_client() is not inner


def test_a_forked_process_makes_its_own_even_while_one_is_being_made(manage):
    script = """
import os, threading
from django.test import override_settings
from django.utils import timezone
from faststream_redis_timers_sync.django import get_client

begun, go_on = threading.Event(), threading.Event()

def slow():
    begun.set()
    go_on.wait()
    from faststream_redis_timers_sync.testing import FakeTimersClient
    return FakeTimersClient()

aliases = {"default": {"URL": "redis://localhost"}, "slow": {"CLIENT": slow}}
with override_settings(TIMERS=aliases):
    mine = get_client()
    thread = threading.Thread(target=get_client, args=("slow",))
    thread.start()
    begun.wait()
    child = os.fork()
    if child == 0:
        os._exit(7 if get_client() is not mine else 1)
    _, status = os.waitpid(child, 0)
    go_on.set()
    thread.join()
print("child's answer", os.waitstatus_to_exitcode(status), get_client() is not mine)
"""
    if sys.platform == "win32":
        pytest.skip("no fork")
    done = manage("shell", "-c", script, PYTHONWARNINGS="ignore::DeprecationWarning")
    assert "child's answer 7 True" in done.stdout, done.stderr


# --- naive times


@pytest.fixture
def berlin():
    with override_settings(USE_TZ=False, TIME_ZONE="Europe/Berlin"):
        yield


def naive(*args, **options):
    return datetime(*args, **options)  # noqa: DTZ001  as they come without time zones


def test_a_naive_time_is_refused_with_time_zones(timers):
    with pytest.raises(ValueError, match="activate_at must be timezone-aware"):
        timers.schedule("first", "invoices", activate_at=naive(2099, 6, 1, 9))


def test_a_naive_time_is_read_in_the_time_zone_without_them(berlin, timers):
    nine = naive(2099, 6, 1, 9)
    timers.schedule("first", "invoices", timer_id="a", activate_at=nine)
    timers.schedule_batch(["first"], "invoices", activate_at=nine)
    message = TimerPublishMessage("first", timer_id="b", activate_at=nine)
    timers.schedule_batch([message], "invoices")
    with timezone.override("Asia/Tokyo"):
        schedule_on_commit("first", "invoices", timer_id="c", activate_at=nine)
    timers.schedule("first", "invoices", timer_id="d", activate_in=HOUR)
    timers.reschedule_timer("invoices", "d", activate_at=nine)

    dues = {timer.due_at for timer in timers.iter_timers("invoices")}
    assert dues == {datetime(2099, 6, 1, 7, tzinfo=UTC)}
    assert len(timers.get_pending_timers("invoices", before=nine)) == 5
    assert timers.get_pending_timers("invoices", before=naive(2099, 6, 1, 8)) == []
    assert list(timers.iter_timers("invoices", after=nine)) == []


def test_on_commit_it_is_read_so_for_a_client_that_refuses_it(berlin):
    fake = FakeTimersClient()
    with timers_setting(default={"CLIENT": lambda: fake}):
        schedule_on_commit("first", "invoices", activate_at=naive(2099, 6, 1, 9))
    assert [timer.due_at for timer in fake.scheduled] == [datetime(2099, 6, 1, 7, tzinfo=UTC)]


def test_an_aware_time_stays_what_it_is_without_time_zones(berlin, timers):
    noon = datetime(2099, 6, 1, 12, tzinfo=UTC)
    timers.schedule("first", "invoices", timer_id="a", activate_at=noon)
    assert timers.get_timer("invoices", "a").due_at == noon


@pytest.mark.parametrize(
    ("local", "due"),
    [
        # The clocks go back on 25 October 2026 at 3, forward on 28 March 2027 at 2.
        (naive(2026, 10, 25, 2, 30), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (naive(2026, 10, 25, 2, 30, fold=1), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        (naive(2027, 3, 28, 2, 30), datetime(2027, 3, 28, 1, 30, tzinfo=UTC)),
    ],
    ids=["the first of two", "the second of two", "in the gap"],
)
def test_times_when_the_clocks_change(berlin, timers, local, due):
    # Moved by whole Gregorian cycles they would be in the past for nobody, and as ambiguous.
    moved = 400
    timers.schedule(
        "first", "invoices", timer_id="a", activate_at=local.replace(year=local.year + moved)
    )
    assert timers.get_timer("invoices", "a").due_at == due.replace(year=due.year + moved)


def test_a_number_is_refused_as_ever(berlin, timers):
    with pytest.raises(TypeError, match="activate_at must be a datetime, got the number"):
        timers.schedule("first", "invoices", activate_at=5)
    with pytest.raises(TypeError, match="messages must be several messages"):
        timers.schedule_batch("first", "invoices")
    with pytest.raises(TypeError, match="messages must be several messages, got NoneType"):
        timers.schedule_batch(None, "invoices")


@pytest.mark.skipif(VERSION >= (6, 0), reason="this Django has tasks")
@pytest.mark.parametrize(
    ("module", "what"),
    [
        ("faststream_redis_timers_sync.django.tasks", "faststream_redis_timers_sync.django.tasks"),
        ("faststream_redis_timers.django.tasks", "serve_tasks"),
    ],
)
def test_without_djangos_tasks_a_sentence_says_which_django_has_them(module, what):
    with pytest.raises(ImportError, match=f"^{what} needs Django 6 or newer, this is 5"):
        import_module(module)
