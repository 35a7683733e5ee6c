"""`FlaskTimers`: the config of an app, and the client made of it."""

import gc
import subprocess
import sys
import threading
import weakref
from datetime import timedelta

import pytest
import redis
import redis.asyncio
from command_line import ROOT, environment
from flask import Flask, current_app

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.flask import FlaskTimers
from faststream_redis_timers_sync.testing import FakeTimersClient

HOUR = timedelta(hours=1)
SECRET = "s3cret"  # noqa: S105  what must not be shown
URL = f"redis://user:{SECRET}@localhost:6379/1"

extension = FlaskTimers()


def client_of(app):
    with app.app_context():
        return extension.client


def options_of(client):
    return client._runner.client.connection_pool.connection_kwargs


# --- as an app uses it


def test_a_view_schedules_and_another_cancels(app):
    @app.post("/invoices/<number>")
    def send(number):
        return extension.client.schedule(
            number, "invoices", timer_id=number, activate_in=timedelta(days=30)
        )

    @app.delete("/invoices/<number>")
    def pay(number):
        return {"cancelled": extension.client.cancel_timer("invoices", number)}

    web = app.test_client()

    assert web.post("/invoices/INV-001").text == "INV-001"
    assert client_of(app).has_pending("invoices", "INV-001")
    assert web.delete("/invoices/INV-001").json == {"cancelled": True}
    assert not client_of(app).has_pending("invoices", "INV-001")


def test_an_app_is_tested_without_a_server(make_app, timers):
    app = make_app(TIMERS_CLIENT=lambda: timers)

    @app.post("/trials/<user>")
    def begin(user):
        return extension.client.schedule(user, "trials", activate_in=timedelta(days=14))

    app.test_client().post("/trials/ada")

    assert [(timer.topic, timer.body) for timer in timers.scheduled] == [("trials", b"ada")]
    timers.advance(timedelta(days=14))
    assert [timer.decode() for timer in timers.pop_due("trials")] == ["ada"]


def test_an_app_that_is_made_on_import_is_tested_without_a_server(make_app, timers, monkeypatch):
    app = make_app(TIMERS_URL=URL)
    before = client_of(app)
    with monkeypatch.context() as patch:
        patch.setitem(app.config, "TIMERS_URL", None)
        patch.setitem(app.config, "TIMERS_CLIENT", lambda: timers)

        assert client_of(app) is timers
    after = client_of(app)
    assert after not in {before, timers}
    assert client_of(app) is after


def test_health_is_a_bounded_question(make_app, server_url):
    app = make_app(TIMERS_URL=server_url)
    web = app.test_client()

    @app.get("/health")
    def health():
        is_up = extension.client.ping()
        return {"timers": is_up}, 200 if is_up else 503

    assert web.get("/health").status_code == 200
    app.config["TIMERS_URL"] = "redis://localhost:1"
    assert web.get("/health").status_code == 503


# --- what the config may hold


def test_names_and_options_reach_the_client(make_app, server_url, key_config, key_names):
    app = make_app(
        TIMERS_URL=server_url,
        TIMERS_PREFIX="shop:",
        TIMERS_OPTIONS={"socket_timeout": 7.5, "max_connections": 3},
        **key_config,
    )
    client = client_of(app)
    client.schedule("INV-001", "invoices", timer_id="a", activate_in=HOUR)

    assert options_of(client)["socket_timeout"] == 7.5
    assert client._runner.client.connection_pool.max_connections == 3
    with TimersClient(server_url, **key_names) as plain:
        assert plain.has_pending("shop:invoices", "a")


def test_the_config_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("FLASK_TIMERS_URL", "redis://localhost:6379/3")
    monkeypatch.setenv("FLASK_TIMERS_OPTIONS", '{"socket_timeout": 1.5}')
    app = Flask(__name__)
    app.config.from_prefixed_env()
    FlaskTimers(app)

    assert options_of(client_of(app))["db"] == 3
    assert options_of(client_of(app))["socket_timeout"] == 1.5


def test_the_config_says_how_many_replicas_must_confirm(make_app, monkeypatch):
    app = make_app(TIMERS_URL=URL, TIMERS_CONFIRM_REPLICAS=2, TIMERS_CONFIRM_TIMEOUT=0.5)
    assert client_of(app)._runner.confirmation == (2, 0.5)

    monkeypatch.setenv("FLASK_TIMERS_URL", URL)
    monkeypatch.setenv("FLASK_TIMERS_CONFIRM_REPLICAS", "1")
    app = Flask(__name__)
    app.config.from_prefixed_env()
    FlaskTimers(app)
    assert client_of(app)._runner.confirmation == (1, 1.0)


@pytest.mark.parametrize("has_tags", [True, False])
def test_the_config_says_whether_keys_have_hash_tags(make_app, monkeypatch, has_tags):
    app = make_app(TIMERS_URL=URL, TIMERS_HASH_TAGS=has_tags)
    assert client_of(app)._operations.keys.hash_tags is has_tags

    monkeypatch.setenv("FLASK_TIMERS_URL", URL)
    monkeypatch.setenv("FLASK_TIMERS_HASH_TAGS", str(has_tags).lower())
    app = Flask(__name__)
    app.config.from_prefixed_env()
    FlaskTimers(app)
    assert client_of(app)._operations.keys.hash_tags is has_tags


def make_from_path():
    return redis.Redis(host=current_app.config["REDIS_HOST"])


@pytest.mark.parametrize("client", [f"{__name__}.make_from_path", make_from_path])
def test_a_client_may_come_from_a_callable_that_knows_the_app(make_app, client):
    app = make_app(TIMERS_CLIENT=client, TIMERS_PREFIX="shop:", REDIS_HOST="example.org")

    assert options_of(client_of(app))["host"] == "example.org"
    assert client_of(app)._prefix == "shop:"


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "app.config has neither TIMERS_URL nor TIMERS_CLIENT: add"),
        ({"URL": URL}, "app.config has neither TIMERS_URL nor TIMERS_CLIENT: add"),
        ({"TIMERS_UR": URL}, "has the unknown key 'TIMERS_UR': did you mean 'TIMERS_URL'?; it m"),
        ({"TIMERS_TOPIC": []}, "'TIMERS_TOPIC': did you mean 'TIMERS_TOPICS'?; it may have"),
        ({"TIMERS_COLOUR": 1}, "unknown key 'TIMERS_COLOUR'; it may have 'TIMERS_URL', "),
        ({"TIMERS_URL": None}, "app.config has neither TIMERS_URL nor TIMERS_CLIENT: add"),
        ({"TIMERS_URL": b"a"}, "app.config['TIMERS_URL'] must be a str, got a bytes"),
        ({"TIMERS_URL": URL, "TIMERS_PREFIX": 5}, "['TIMERS_PREFIX'] must be a str, got a int"),
        ({"TIMERS_URL": URL, "TIMERS_TOPICS": "a"}, "['TIMERS_TOPICS'] must be a list of topics"),
        (
            {"TIMERS_URL": URL, "TIMERS_HASH_TAGS": "yes"},
            "app.config['TIMERS_HASH_TAGS'] must be True or False, got a str",
        ),
        (
            {"TIMERS_URL": URL, "TIMERS_HASH_TAGS": True, "TIMERS_TOPICS": ["{x}"]},
            "app.config['TIMERS_TOPICS']: topic can't be '{x}' where hash_tags=True",
        ),
        (
            {"TIMERS_URL": URL, "TIMERS_CONFIRM_REPLICAS": "2"},
            "['TIMERS_CONFIRM_REPLICAS'] must be a number of replicas or None, got a str",
        ),
        (
            {"TIMERS_URL": URL, "TIMERS_CLIENT": "a.b"},
            "app.config has both TIMERS_URL and TIMERS_CLIENT: remove one of them",
        ),
        (
            {"TIMERS_CLIENT": "a.b", "TIMERS_OPTIONS": {}},
            "has TIMERS_OPTIONS, which are for a URL: pass them to the client of TIMERS_CLIENT",
        ),
    ],
)
def test_a_mistake_is_one_clear_sentence_when_the_app_is_set_up(make_app, config, sentence):
    with pytest.raises(ValueError) as raised:
        make_app(**config)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"TIMERS_URL": f"http://{SECRET}"}, "app.config: the URL of the server can't be read"),
        (
            {"TIMERS_URL": URL, "TIMERS_OPTIONS": {"socket_timout": 1}},
            "options, or the part of the URL after the ?, can't be used",
        ),
        ({"TIMERS_CLIENT": "no.where"}, "TIMERS_CLIENT 'no.where' can't be imported: No module"),
        ({"TIMERS_CLIENT": "os.way"}, "TIMERS_CLIENT 'os.way' can't be imported: module 'os' ha"),
        (
            {"TIMERS_CLIENT": "here"},
            "app.config: TIMERS_CLIENT 'here' can't be imported: there is no dot in it",
        ),
        ({"TIMERS_CLIENT": "os.sep"}, "TIMERS_CLIENT 'os.sep' is a str: name a function"),
        ({"TIMERS_CLIENT": lambda: URL}, "got a str: a URL goes into TIMERS_URL"),
        (
            {"TIMERS_CLIENT": redis.asyncio.Redis},
            "what TIMERS_CLIENT returned can't be used: client is a redis.asyncio.Redis",
        ),
        (
            {"TIMERS_CLIENT": FakeTimersClient, "TIMERS_PREFIX": "a"},
            "has TIMERS_PREFIX, but TIMERS_CLIENT made a FakeTimersClient, which has its own",
        ),
    ],
)
def test_a_client_that_can_not_be_made_is_one_clear_sentence(make_app, config, sentence):
    app = make_app(**config)
    with pytest.raises(ValueError) as raised:
        client_of(app)
    assert sentence in str(raised.value)
    shown = raised.value
    while shown is not None:
        assert SECRET not in str(shown)
        shown = None if shown.__suppress_context__ else shown.__cause__ or shown.__context__


# --- which client it is


def test_one_extension_serves_two_apps(make_app, server_url, key_config):
    shop, bank = (
        make_app(extension, TIMERS_URL=server_url, TIMERS_PREFIX=prefix, **key_config)
        for prefix in ("shop:", "bank:")
    )
    with shop.app_context():
        extension.client.schedule("x", "t", timer_id="a", activate_in=HOUR)
        with bank.app_context():
            assert extension.client.get_pending_timers("t") == []
            extension.client.schedule("x", "t", timer_id="b", activate_in=HOUR)
        assert extension.client.get_pending_timers("t") == ["a"]
    assert client_of(shop) is not client_of(bank)
    assert vars(extension) == {}


def test_apps_and_their_clients_can_be_forgotten(make_app):
    app = make_app(TIMERS_CLIENT=FakeTimersClient)
    gone = [weakref.ref(app), weakref.ref(client_of(app))]
    del app
    gc.collect()

    assert [ref() for ref in gone] == [None, None]


def test_without_a_current_app_it_says_what_to_do():
    with pytest.raises(RuntimeError, match=r"needs a current app: .* 'with app\.app_context"):
        _ = extension.client
    with (
        Flask("shop").app_context(),
        pytest.raises(RuntimeError, match=r"the app 'shop' has no timers: call FlaskTimers\(\)"),
    ):
        _ = extension.client


def test_all_threads_get_one_client_that_is_made_once(make_app):
    begin = threading.Barrier(8)
    made, got = [], []

    def make():
        made.append(FakeTimersClient())
        return made[-1]

    def get():
        begin.wait()
        got.append(client_of(app))

    app = make_app(TIMERS_CLIENT=make)
    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 1
    assert got == made * 8


FORKING = """
import os, signal, sys, threading
from datetime import timedelta
from flask import Flask
from faststream_redis_timers_sync.flask import FlaskTimers
from faststream_redis_timers_sync.testing import FakeTimersClient

def app_with(**config):
    app = Flask(__name__)
    app.config.update(config)
    FlaskTimers(app)
    return app

def client_of(app):
    with app.app_context():
        return FlaskTimers().client

begun, go_on = threading.Event(), threading.Event()
is_child = False

def slow():
    begun.set()
    if not is_child:
        go_on.wait()
    return FakeTimersClient()

app = app_with(TIMERS_URL=sys.argv[1], TIMERS_TIMELINE_KEY=sys.argv[2],
               TIMERS_PAYLOADS_KEY=sys.argv[3], TIMERS_ATTEMPTS_KEY=sys.argv[4])
other = app_with(TIMERS_CLIENT=slow)
before = client_of(app)
before.schedule("x", "t", timer_id="before", activate_in=timedelta(hours=1))
thread = threading.Thread(target=client_of, args=(other,))
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    is_child = True
    # Where it waits forever it ends itself, since nobody else will.
    signal.alarm(50)
    own = client_of(app)
    facts = [own is not before, own.get_pending_timers("t"), before.get_pending_timers("t")]
    facts.append(client_of(other).ping())
    print("child", facts, flush=True)
    os._exit(0)
os.waitpid(child, 0)
go_on.set()
thread.join()
print("parent", client_of(app) is before, before.get_pending_timers("t"))
"""


def in_a_fresh_process(code, *words, **more):
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, *words],
        cwd=ROOT,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_process_makes_its_own_even_while_one_is_being_made(server_url, key_names):
    done = in_a_fresh_process(FORKING, server_url, *key_names.values())

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "child [True, ['before'], ['before'], True]",
        "parent True ['before']",
    ]


# --- what an import needs, and loads


@pytest.mark.parametrize("name", ["flask", "click"])
def test_what_is_missing_is_named_with_the_command_that_installs_it(name):
    done = in_a_fresh_process(
        f"import sys; sys.modules[{name!r}] = None\nimport faststream_redis_timers_sync.flask"
    )

    assert done.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: faststream_redis_timers_sync.flask needs {name}, "
        "which is not installed: pip install 'faststream-redis-timers[flask]'"
    )


def test_importing_loads_neither_rich_nor_faststream():
    done = in_a_fresh_process(
        "import sys, faststream_redis_timers_sync.flask\n"
        "print({name.partition('.')[0] for name in sys.modules}"
        " & {'rich', 'faststream', 'faststream_redis_timers', 'django'})"
    )

    assert done.stdout == "set()\n", done.stderr
