"""What ``manage.py check`` says."""

import socket
import socketserver
import threading

import pytest
import redis
from django.core import checks
from django.core.management import call_command
from django.test import override_settings
from relay import Relay

from examples.embedded_server import embedded_server
from faststream_redis_timers_sync.testing import FakeTimersClient


def run_checks(*, deploy=False, **settings):
    with override_settings(**settings):
        return checks.run_checks(tags=["timers"], include_deployment_checks=deploy)


def ids(messages):
    return [message.id for message in messages]


def at(url, **more):
    return {"default": {"URL": url, **more}}


@pytest.fixture
def silent_server():
    """The URL of a server that accepts and says nothing, and the connections it accepted."""
    accepted = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(10)

        def accept():
            while True:
                try:
                    accepted.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0", accepted
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    for connection in accepted:
        connection.close()


# --- the settings


def test_settings_that_are_in_order_are_not_mentioned():
    assert run_checks(TIMERS=at("redis://localhost:1/0")) == []


def test_each_alias_that_is_not_in_order_is_an_error():
    aliases = {
        "default": {"URL": "redis://localhost", "PREFIXES": "a"},
        "good": {"URL": "redis://localhost"},
        "bad": {"URL": "redis://:s3cret@localhost:port"},
        "nowhere": {"CLIENT": "no.where"},
    }
    found = run_checks(TIMERS=aliases, deploy=False)
    assert ids(found) == ["timers.E001"] * 3
    assert all(message.level == checks.ERROR for message in found)
    assert "'PREFIXES': did you mean 'PREFIX'?" in found[0].msg
    assert "s3cret" not in str(found)


def test_a_missing_setting_is_one_error():
    found = run_checks(TIMERS=None)
    assert ids(found) == ["timers.E001"]
    assert "the setting TIMERS is missing" in found[0].msg


def test_a_client_of_a_callable_is_imported_and_not_made():
    def make():
        raise AssertionError

    assert run_checks(TIMERS={"default": {"CLIENT": make}}) == []


@pytest.mark.parametrize("words", [("check",), ("makemigrations", "--check", "--dry-run")])
def test_commands_never_contact_the_server(silent_server, manage, words):
    url, accepted = silent_server
    done = manage(*words, TIMERS_TEST_URL=url)
    assert done.returncode == 0, done.stderr
    assert accepted == []


# --- caches

DJANGO = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"


@pytest.mark.parametrize("backend", [DJANGO, DJANGO_REDIS])
@pytest.mark.parametrize(
    ("url", "cache"),
    [
        ("redis://localhost:6379/0", {"LOCATION": "redis://localhost:6379/0"}),
        ("redis://localhost", {"LOCATION": "redis://127.0.0.1:6379"}),
        ("redis://u:p@LOCALHOST:6379", {"LOCATION": "redis://[::1]/0"}),
        ("redis://h/2", {"LOCATION": "redis://h/", "OPTIONS": {"db": "2"}}),
        ("redis://h?db=2", {"LOCATION": "redis://h/2"}),
        (
            "redis://h/2",
            {"LOCATION": "redis://h", "OPTIONS": {"CONNECTION_POOL_KWARGS": {"db": 2}}},
        ),
        ("redis://h/1", {"LOCATION": ["redis://other/1", "redis://h/1"]}),
        ("redis://h/1", {"LOCATION": "redis://other/1,redis://h/1"}),
        ("redis://h/1", {"LOCATION": "redis://other/1; redis://h/1"}),
        ("rediss://h:6380/1", {"LOCATION": "rediss://h:6380/1"}),
        ("unix:///run/redis.sock?db=1", {"LOCATION": "unix:///run/redis.sock?db=1"}),
    ],
)
def test_a_cache_in_the_same_database_is_warned_of(backend, url, cache):
    found = run_checks(TIMERS=at(url), CACHES={"default": {"BACKEND": backend, **cache}})
    assert ids(found) == ["timers.W001"]
    assert "CACHES['default']: clearing the cache removes all timers" in found[0].msg
    assert "p@" not in str(found)


@pytest.mark.parametrize(
    ("url", "cache"),
    [
        ("redis://h/1", {"BACKEND": DJANGO, "LOCATION": "redis://h/2"}),
        ("redis://h/1", {"BACKEND": DJANGO, "LOCATION": "redis://h:6380/1"}),
        ("redis://h/1", {"BACKEND": DJANGO, "LOCATION": "redis://other/1"}),
        # What the URL says wins over the option.
        ("redis://h/1", {"BACKEND": DJANGO, "LOCATION": "redis://h/2", "OPTIONS": {"db": 1}}),
        ("redis://h/1", {"BACKEND": DJANGO, "LOCATION": "redis://h:port/1"}),
        ("redis://h/1", {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}),
        (
            "redis://h:11211",
            {
                "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
                "LOCATION": "h:11211",
            },
        ),
    ],
)
def test_any_other_cache_is_not(url, cache):
    assert run_checks(TIMERS=at(url), CACHES={"default": cache}) == []


# --- servers


def test_a_server_that_is_fine_is_not_mentioned(server_url):
    assert run_checks(deploy=True, TIMERS=at(server_url)) == []


def test_a_server_that_refuses_is_a_warning():
    with Relay("redis://localhost:1") as relay:
        relay.refuse()
        found = run_checks(deploy=True, TIMERS=at(relay.url))
    assert ids(found) == ["timers.W002"]
    assert found[0].level == checks.WARNING
    assert found[0].msg.startswith("TIMERS['default']: the server can't be reached: ")


def test_a_silent_server_is_not_waited_for_by_a_client_that_would_forever(silent_server):
    url, accepted = silent_server

    # Without an end to the check's own patience this test would not end.
    def patient():
        return redis.Redis.from_url(url, socket_timeout=None, retry=None)

    found = run_checks(deploy=True, TIMERS={"default": {"CLIENT": patient}})
    assert ids(found) == ["timers.W002"]
    assert "no reply within 2 s" in found[0].msg
    assert accepted


def test_a_server_that_may_evict_timers_is_a_warning():
    config = {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}
    with embedded_server(config=config) as url:
        found = run_checks(deploy=True, TIMERS=at(url))
    assert ids(found) == ["timers.W003"]
    assert found[0].level == checks.WARNING
    assert "maxmemory-policy is allkeys-lru: timers could be evicted" in found[0].msg
    assert found[0].hint == "set maxmemory-policy noeviction"


def test_a_user_who_may_not_look_is_told_so_and_config_is_never_asked():
    with embedded_server(config={}) as url, redis.Redis.from_url(url) as admin, Relay(url) as relay:
        everything = ["on", ">s3cret", "~*", "&*", "+@all"]
        admin.execute_command("ACL", "SETUSER", "timers", *everything, "-info")
        with_user = relay.url.replace("redis://", "redis://timers:s3cret@")
        found = run_checks(deploy=True, TIMERS=at(with_user))
        assert ids(found) == ["timers.W004"]
        assert "no permission" in found[0].msg

        admin.execute_command("ACL", "SETUSER", "timers", "+info")
        assert run_checks(deploy=True, TIMERS=at(with_user)) == []
        assert relay.count("INFO") == 2
        assert relay.count("CONFIG") == 0


class ServerWithoutInfo(socketserver.StreamRequestHandler):
    """Knows no INFO, as hosted ones may; Redis 8 can't be told to forget it."""

    def handle(self):
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].upper())
            answers = {b"INFO": b"-ERR unknown command 'INFO'", b"HELLO": b"%1\r\n+proto\r\n:3"}
            self.wfile.write(answers.get(words[0], b"+OK") + b"\r\n")


def test_a_server_that_knows_no_info_is_there_all_the_same():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), ServerWithoutInfo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = run_checks(deploy=True, TIMERS=at(f"redis://127.0.0.1:{server.server_address[1]}"))
        server.shutdown()
    assert ids(found) == ["timers.W004"]
    assert "the server does not reply to INFO: unknown command" in found[0].msg


def test_a_client_that_shares_a_caches_database_is_found_when_it_is_made(server_url):
    aliases = {"default": {"CLIENT": lambda: redis.Redis.from_url(server_url)}}
    caches = {"default": {"BACKEND": DJANGO, "LOCATION": server_url}}
    assert ids(run_checks(deploy=False, TIMERS=aliases, CACHES=caches)) == []
    assert ids(run_checks(deploy=True, TIMERS=aliases, CACHES=caches)) == ["timers.W001"]


def test_a_client_in_memory_is_no_server_to_deploy_with():
    found = run_checks(deploy=True, TIMERS={"default": {"CLIENT": FakeTimersClient}})
    assert ids(found) == ["timers.W002"]


def test_the_command_shows_them_under_deploy_only(server_url, capsys):
    with Relay("redis://localhost:1") as relay:
        relay.refuse()
        with override_settings(TIMERS=at(relay.url), MIDDLEWARE=[]):
            call_command("check", tags=["timers"])
            assert "no issues" in capsys.readouterr().out
            call_command("check", tags=["timers"], deploy=True)
            assert "timers.W002" in capsys.readouterr().err
