"""The admin where the server can't be asked, and the model behind it."""

import json
import re
import socket
import time
from datetime import timedelta

import pytest
import redis
from admin_pages import ODD, START, Visitor
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from relay import Relay

from faststream_redis_timers_sync.django.admin import site
from faststream_redis_timers_sync.django.models import Timer
from faststream_redis_timers_sync.django.tokens import Place, read_place
from faststream_redis_timers_sync.manage.tokens import from_token, to_token

SECRET = "s3cret"  # noqa: S105  what must not be shown
TOPIC = f"{START}topic/{Visitor.quoted(Place('default', 'invoices'))}/"
TIMER = f"{START}{Visitor.quoted(Place('default', 'invoices', 'INV-001'))}"
PAGES = [START, TOPIC, *(f"{TIMER}/{end}/" for end in ("change", "delete", "reschedule"))]
SURE = {"action": "cancel", "post": "yes", "_selected_action": ["YQ"]}


@pytest.fixture
def silent_port():
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port():
    """A port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def timers_at(**alias):
    return override_settings(TIMERS={"default": alias, "other": {"URL": "redis://localhost:1"}})


# --- a server that can't be asked


@pytest.mark.parametrize("address", PAGES)
def test_a_server_that_refuses_is_said_to_be_unreachable(visitor, closed_port, address):
    url = f"redis://user:{SECRET}@127.0.0.1:{closed_port}"
    with timers_at(URL=url):
        pages = [visitor.get(address)]
        if address == TOPIC:
            pages += [visitor.get(address, q="x"), visitor.post(address, SURE)]
    for page in pages:
        assert page.status == 503
        words = f"server at 127.0.0.1:{closed_port} can't be reached: connection refused"
        assert words in page.text
        assert "Log out" in page.text
        assert "other" in page.links
        assert SECRET not in page.html


def test_a_server_that_stays_silent_is_an_error_in_seconds(visitor, silent_port):
    start = time.monotonic()
    with timers_at(URL=f"redis://127.0.0.1:{silent_port}"):
        page = visitor.get(TOPIC)
    assert page.status == 503
    assert "it did not reply in time" in page.text
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("action", [None, SURE], ids=["look", "cancel"])
def test_a_server_that_falls_silent_is_an_error_in_seconds(visitor, own_url, action):
    with Relay(own_url) as relay, timers_at(URL=relay.url):
        assert visitor.get(TOPIC).status == 200
        relay.stall()
        for address in [TOPIC] if action else PAGES:
            start = time.monotonic()
            page = visitor.post(address, action) if action else visitor.get(address)
            # A page may ask twice: over a connection that fell silent, and over a new one.
            assert time.monotonic() - start < 5
            assert page.status == 503
        relay.refuse()
        relay.resume()


def test_what_the_server_does_not_allow_is_said(visitor, own_url):
    rights = ["+@all", "-scan", "-pubsub"]
    with redis.Redis.from_url(own_url) as admin:
        admin.acl_setuser("reader", enabled=True, nopass=True, keys="*", commands=rights)
    with timers_at(URL=own_url, OPTIONS={"username": "reader"}, TOPICS=["letters"]):
        page = visitor.topics()
        assert "The server does not allow PUBSUB" in page.text
        assert "letters 0 0 - ?" in page.text
        page = visitor.send(page)
        assert "The server does not allow SCAN" in page.text
        assert visitor.topic("invoices").status == 200


def test_what_the_server_does_not_allow_at_all_is_said(visitor, own_url):
    with redis.Redis.from_url(own_url) as admin:
        admin.acl_setuser("nobody", enabled=True, nopass=True, keys="*", commands=["+ping"])
    with timers_at(URL=own_url, OPTIONS={"username": "nobody"}):
        for address in PAGES:
            page = visitor.get(address)
            assert page.status == 503
            assert "the server does not allow it" in page.text.lower()


class WrongConnection(redis.Connection):
    """A connection with an option of a wrong type, which differ in redis-py's versions."""

    def connect(self, *_args, **_options):
        msg = "'str' object cannot be interpreted as a number"
        raise TypeError(msg)


def test_a_connection_that_cannot_be_made_is_said_to_be_so(visitor):
    pool = redis.ConnectionPool(connection_class=WrongConnection)
    with timers_at(CLIENT=lambda: redis.Redis(connection_pool=pool)):
        pages = [visitor.get(address) for address in PAGES]
        queries = [{"q": "x"}, {"after": "x"}, {"q": "x", "after": "MQ.YQ"}]
        pages += [visitor.get(TOPIC, **query) for query in queries]
        pages.append(visitor.post(TOPIC, SURE))
    for page in pages:
        assert page.status == 503
        assert "can't connect: 'str' object" in page.text.lower()


def test_a_mistake_of_ours_is_not_taken_for_the_connections(visitor, own_url, monkeypatch):
    def complain(*_):
        msg = "ours"
        raise TypeError(msg)

    monkeypatch.setattr(site, "timers_page", complain)
    with timers_at(URL=own_url), pytest.raises(TypeError, match="ours"):
        visitor.get(TOPIC)


@pytest.mark.parametrize(
    ("alias", "complaint"),
    [
        ({}, "TIMERS['default'] has neither URL nor CLIENT"),
        ({"URL": "nonsense"}, "the URL of the server can't be read"),
        ({"CLIENT": "no.such.module"}, "can't be imported"),
    ],
)
def test_an_alias_that_is_not_in_order_is_said_to_be_so(visitor, alias, complaint):
    with timers_at(**alias):
        for address in PAGES:
            page = visitor.get(address)
            assert page.status == 503
            assert complaint in page.text
            assert "other" in page.links


def test_an_alias_that_there_is_not_is_said_to_be_unknown(visitor, timers):
    page = visitor.topics(alias="<b>")
    assert page.status == 503
    assert "TIMERS has no alias '<b>'" in page.text
    assert "<b>" not in page.html


def test_without_the_setting_it_is_said_to_be_missing(visitor):
    with override_settings(TIMERS=None):
        assert "setting TIMERS is missing" in visitor.topics().text


# --- a content security policy


def test_all_that_a_page_loads_carries_its_nonce(visitor, timers):
    csp = pytest.importorskip("django.utils.csp")
    if not hasattr(csp, "nonce_attr"):
        pytest.skip("the admin's own pages carry nonces from Django 6.1 on")
    timers.schedule("x", "invoices", timer_id="INV-001", activate_in=timedelta(hours=1))
    (engine,) = settings.TEMPLATES
    processors = engine["OPTIONS"]["context_processors"]
    with_nonce = [*processors, "django.template.context_processors.csp"]
    with override_settings(
        MIDDLEWARE=["django.middleware.csp.ContentSecurityPolicyMiddleware", *settings.MIDDLEWARE],
        SECURE_CSP={"script-src": [csp.CSP.NONCE], "style-src": [csp.CSP.NONCE]},
        TEMPLATES=[{**engine, "OPTIONS": {"context_processors": with_nonce}}],
    ):
        pages = [visitor.get(address) for address in PAGES]
    for page in pages:
        assert page.status == 200
        loaded = re.findall("<script[^>]*>|<link[^>]*stylesheet[^>]*>", page.html)
        assert len(loaded) > 8
        assert [tag for tag in loaded if 'nonce="' not in tag] == []


# --- the model


def test_nothing_is_dumped_and_no_migration_is_missing(tmp_path):
    target = tmp_path / "dump.json"
    with CaptureQueriesContext(connection) as queries:
        call_command("dumpdata", use_base_manager=True, output=str(target), verbosity=0)
    models = {record["model"] for record in json.loads(target.read_text())}
    assert "faststream_redis_timers.timer" not in models
    assert "auth.permission" in models
    assert not [q for q in queries.captured_queries if "redis_timers_timer" in q["sql"]]
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_its_migration_makes_permissions_and_no_table(users):
    codes = Permission.objects.filter(content_type__app_label="faststream_redis_timers")
    names = {"view_timer", "change_timer", "delete_timer"}
    assert set(codes.values_list("codename", flat=True)) == names
    assert "faststream_redis_timers_timer" not in connection.introspection.table_names()


def test_its_managers_find_nothing_and_ask_nothing():
    with CaptureQueriesContext(connection) as queries:
        assert list(Timer.objects.all()) == []
        assert list(Timer._base_manager.filter(key="x")) == []
        assert Timer.objects.count() == 0
        assert not Timer._default_manager.exists()
    assert queries.captured_queries == []


# --- names in addresses


@pytest.mark.parametrize("odd", [*ODD, "plain", "a" * 1000])
def test_names_survive_the_way_through_addresses(odd):
    assert from_token(to_token(odd)) == odd
    topic = odd.replace("\udcff", "y")
    for place in (Place("default", topic), Place("default", topic, odd)):
        assert read_place(place.key) == place
        assert re.fullmatch("[A-Za-z0-9_.-]+", place.key)
        str(Timer(key=place.key)).encode()
        assert "\0" not in str(Timer(key=place.key))
