"""The pages under real web servers, wherever they are mounted, and behind a proxy."""

import asyncio
import contextvars
import http.client
import threading
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from faststream.asgi import AsgiFastStream
from flask import Blueprint, Flask, request as flask_request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from web_pages import EVERYTHING, FORM, OURS, place_of, visitor_of, web_visitor
from web_servers import proxy_before, uvicorn_serving, waitress_serving
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from faststream_redis_timers import TimersBroker
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.flask import FlaskTimers
from faststream_redis_timers_sync.manage.tokens import to_token
from faststream_redis_timers_sync.web import Access, TimerPages

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
ODD = "a.b/c?d#e%20&amp;"


@pytest.fixture
def pages(make_pages):
    return make_pages(topics=[ODD], origins=["https://ops.example.com"])


def walk(visitor, timers):
    """Go through all pages, and cancel a timer."""
    timers.schedule("x", ODD, timer_id=f"id-{ODD}", activate_at=LATER)
    page = visitor.get()
    assert page.status == 200, page.html
    css = next(value for name, value in page.attributes if value and "asset=css" in value)
    assert visitor.get(css).headers["content-type"] == "text/css; charset=utf-8"
    topic = visitor.follow(page, ODD)
    assert "1 timer" in topic.text
    timer = visitor.get(next(link for link in topic.links.values() if "&timer=" in link))
    done = visitor.press(visitor.press(timer, "Cancel"), "Yes, cancel")
    assert "Cancelled 1." in done.text
    assert timers.count_pending(ODD) == 0
    assert visitor.get("topic=nope").status == 404
    assert done.headers["x-frame-options"] == "DENY"


def starlette_app(pages, key_names, server_url):
    return Starlette(routes=[Mount("/timers", app=pages.asgi)]), "/timers/"


def starlette_nested(pages, key_names, server_url):
    inner = Starlette(routes=[Mount("/timers", app=pages.asgi)])
    return Starlette(routes=[Mount("/outer", app=inner)]), "/outer/timers/"


def fastapi_app(pages, key_names, server_url):
    app = FastAPI()
    app.mount("/timers", pages.asgi)
    return app, "/timers/"


def fastapi_nested(pages, key_names, server_url):
    inner = FastAPI()
    inner.mount("/timers", pages.asgi)
    app = FastAPI()
    app.mount("/inner", inner)
    return app, "/inner/timers/"


def faststream_routes(pages, key_names, server_url):
    broker = TimersBroker(server_url, **key_names)
    return AsgiFastStream(broker, asgi_routes=[("/timers", pages.asgi)]), "/timers"


def faststream_mount(pages, key_names, server_url):
    app = AsgiFastStream(TimersBroker(server_url, **key_names))
    app.mount("/timers", pages.asgi)
    return app, "/timers"


def bare(pages, key_names, server_url):
    return pages.asgi, "/"


ASGI = [
    starlette_app,
    starlette_nested,
    fastapi_app,
    fastapi_nested,
    faststream_routes,
    faststream_mount,
    bare,
]


@pytest.mark.parametrize("make", ASGI)
def test_under_uvicorn(pages, timers, key_names, server_url, make):
    app, path = make(pages, key_names, server_url)
    with uvicorn_serving(app, path) as url:
        walk(web_visitor(url), timers)


def test_under_uvicorn_with_a_root_path(pages, timers):
    app = FastAPI()
    app.mount("/timers", pages.asgi)
    with uvicorn_serving(app, "/timers/", root_path="/api/v1") as url:
        walk(web_visitor(url), timers)


def flask_blueprint(pages, key_names, server_url):
    app = Flask(__name__)
    app.config.update({f"TIMERS_{name.upper()}": value for name, value in key_names.items()})
    app.config["TIMERS_URL"] = server_url
    app.config["TIMERS_TOPICS"] = [ODD]
    extension = FlaskTimers(app)
    blueprint = extension.blueprint(allow=lambda _: EVERYTHING, origins=pages._origins)
    app.register_blueprint(blueprint, url_prefix="/timers")
    return app, "/timers/"


def flask_dispatcher(pages, key_names, server_url):
    app = Flask(__name__)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/timers": pages.wsgi})
    return app, "/timers"


def bare_wsgi(pages, key_names, server_url):
    return pages.wsgi, "/"


WSGI = [flask_blueprint, flask_dispatcher, bare_wsgi]


@pytest.mark.parametrize("make", WSGI)
def test_under_waitress(pages, timers, key_names, server_url, make):
    app, path = make(pages, key_names, server_url)
    with waitress_serving(app, path) as url:
        walk(web_visitor(url), timers)
    close_client_of(app)


def close_client_of(app):
    if isinstance(app, Flask) and app.extensions:
        with app.app_context():
            FlaskTimers().client.close()


@pytest.mark.parametrize("make", [*ASGI, *WSGI])
@pytest.mark.parametrize("says_site", [True, False])
def test_behind_a_proxy_that_changes_host_and_scheme(
    pages, timers, key_names, server_url, make, says_site
):
    app, path = make(pages, key_names, server_url)
    serving = waitress_serving if make in WSGI else uvicorn_serving
    # What a browser sends that knows the proxy's address alone.
    said = {"origin": "https://ops.example.com", "content-type": FORM}
    if says_site:
        said["sec-fetch-site"] = "same-origin"
    with serving(app, path) as behind, proxy_before(behind) as url:
        visitor = web_visitor(url)
        sends = visitor.send
        visitor.send = lambda method, query, headers, body: sends(
            method, query, said if method == "POST" else {}, body
        )
        walk(visitor, timers)
    close_client_of(app)


@pytest.mark.parametrize("serve", [uvicorn_serving, waitress_serving])
def test_a_form_of_a_site_that_the_proxy_does_not_know_is_refused(pages, timers, serve):
    timers.schedule("x", "invoices", timer_id="a", activate_at=LATER)
    said = {"origin": "https://evil.example", "content-type": FORM}
    app = pages.asgi if serve is uvicorn_serving else pages.wsgi
    with serve(app, "/") as behind, proxy_before(behind) as url:
        page = web_visitor(url).send("POST", "topic=invoices&do=cancel", said, b"id=YQ&sure=1")

    assert page.status == 403
    assert timers.count_pending("invoices") == 1


@pytest.mark.parametrize("serve", [uvicorn_serving, waitress_serving])
def test_large_bodies_are_refused_under_a_server(pages, timers, serve):
    app = pages.asgi if serve is uvicorn_serving else pages.wsgi
    with serve(app, "/") as url:
        place = place_of(url)
        connection = http.client.HTTPConnection(place.host, place.port, timeout=60)
        headers = {"sec-fetch-site": "same-origin", "content-type": FORM}
        connection.request("POST", "/?topic=x&do=cancel", b"x" * 200_000, headers)
        assert connection.getresponse().status == 413
        connection.close()
        # In chunks, so that nothing says before how large it is.
        connection = http.client.HTTPConnection(place.host, place.port, timeout=60)
        chunks = (b"x" * 10_000 for _ in range(20))
        connection.request("POST", "/?topic=x&do=cancel", chunks, headers, encode_chunked=True)
        assert connection.getresponse().status == 413
        connection.close()
        assert web_visitor(url).send("HEAD", "", {}, b"").html == ""


@pytest.mark.parametrize(
    "path", ["/timers/../../etc/passwd", "/timers/%2e%2e/%2e%2e/etc/passwd", "//evil.example/"]
)
def test_a_path_leads_nowhere(pages, path):
    with uvicorn_serving(pages.asgi, path) as url:
        page = web_visitor(url).get()

    assert page.status == 200
    assert "root:" not in page.html
    assert "evil.example" not in page.html


# --- what each of them gives to allow


def test_allow_gets_what_asgi_middlewares_have_set(timers):
    class SetUser:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app({**scope, "user": "ada"}, receive, send)

    pages = TimerPages(timers, allow=lambda request: Access(request.scope["user"]))
    app = Starlette(routes=[Mount("/", app=pages.asgi)], middleware=[Middleware(SetUser)])

    with uvicorn_serving(app, "/") as url:
        assert "Signed in as ada" in web_visitor(url).get().text


def test_allow_gets_the_context_of_the_request(timers):
    user = contextvars.ContextVar("user")
    pages = TimerPages(timers, allow=lambda _: Access(user.get()))

    async def app(scope, receive, send):
        user.set("grace")
        await pages.asgi(scope, receive, send)

    with uvicorn_serving(app, "/") as url:
        assert "Signed in as grace" in web_visitor(url).get().text


def test_allow_gets_wsgi_s_environ_and_flask_s_context(timers):
    app, _ = flask_dispatcher(
        TimerPages(timers, allow=lambda request: Access(request.scope["REMOTE_USER"])), {}, ""
    )
    got = app.test_client().get("/timers", environ_overrides={"REMOTE_USER": "ada"})

    assert "ada" in got.text


def test_a_blueprint_may_have_another_name(server_url):
    app = Flask(__name__)
    app.config["TIMERS_URL"] = server_url
    extension = FlaskTimers(app)
    app.register_blueprint(Blueprint("timers", __name__))
    blueprint = extension.blueprint(allow=lambda _: EVERYTHING, name="timer-pages")
    app.register_blueprint(blueprint, url_prefix="/ops")

    assert blueprint.name == "timer-pages"
    assert "timer-pages.pages" in app.view_functions


@pytest.mark.parametrize(
    "read",
    [
        lambda: flask_request.form.get("csrf_token"),
        lambda: flask_request.get_data(as_text=True),
        lambda: flask_request.get_data() and flask_request.form,
    ],
)
def test_an_app_may_read_forms_before_a_blueprint(pages, timers, key_names, server_url, read):
    app, _ = flask_blueprint(pages, key_names, server_url)

    @app.before_request
    def look():
        read()

    timers.schedule("x", ODD, timer_id=ODD, activate_at=LATER)
    timers.schedule("x", ODD, timer_id="b", activate_at=LATER)
    fields = {"id": [to_token(ODD), to_token("b")], "sure": "1"}
    address = f"/timers/?{urlencode({'topic': ODD, 'do': 'cancel'})}"
    answer = app.test_client().post(address, data=fields, headers=OURS)

    assert "Cancelled 2." in answer.text
    assert timers.count_pending(ODD) == 0


def test_a_blueprint_asks_inside_flask_s_request(server_url, key_names):
    app = Flask(__name__)
    app.config.update({f"TIMERS_{name.upper()}": value for name, value in key_names.items()})
    app.config["TIMERS_URL"] = server_url
    blueprint = FlaskTimers(app).blueprint(allow=lambda _: Access(flask_request.args["as"]))
    app.register_blueprint(blueprint, url_prefix="/timers")
    web = app.test_client()

    assert "ada" in web.get("/timers/?as=ada").text
    assert web.get("/timers").location.endswith("/timers/")
    for method in ("PUT", "OPTIONS"):
        answer = web.open("/timers/", method=method)
        assert answer.status_code == 405
        assert answer.headers["X-Frame-Options"] == "DENY"
    close_client_of(app)


# --- asgi's other kinds, and threads


def test_lifespan_and_websockets(pages):
    async def talk(kind, *received):
        sent = []
        messages = iter(received)

        async def receive():
            return {"type": next(messages)}

        async def send(message):
            sent.append(message["type"])

        await pages.asgi({"type": kind}, receive, send)
        return sent

    assert asyncio.run(talk("lifespan", "lifespan.startup", "lifespan.shutdown")) == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert asyncio.run(talk("websocket", "websocket.connect")) == ["websocket.close"]


def test_four_requests_at_once_have_threads_of_the_pages_own(timers):
    inside, go_on, names = threading.Semaphore(0), threading.Event(), []

    def allow(_):
        names.append(threading.current_thread().name)
        inside.release()
        go_on.wait(60)
        return Access("ops")

    pages = TimerPages(timers, allow=allow)
    with uvicorn_serving(pages.asgi, "/") as url:
        visitor = web_visitor(url)
        clients = [threading.Thread(target=visitor.get) for _ in range(6)]
        for client in clients:
            client.start()
        for _ in range(4):
            assert inside.acquire(timeout=60)
        # The event loop goes on: it refuses unknown paths at once.
        assert not inside.acquire(blocking=False)
        go_on.set()
        for client in clients:
            client.join()

    assert len(names) == 6
    assert len(set(names)) == 4
    assert all(name.startswith("timer-pages") for name in names)


# --- on other servers


def test_on_a_cluster(empty_cluster):
    topics = [f"topic-{n}" for n in range(12)]
    with TimersClient(empty_cluster.url) as client:
        for topic in topics:
            client.schedule("x", topic, timer_id="a", activate_at=LATER)
        pages = TimerPages(client, allow=lambda _: EVERYTHING, longest_lease=30)
        visitor = visitor_of(pages)
        page = visitor.press(visitor.get(), "Search for more topics")
        for topic in topics:
            assert f"{topic} 1 0 0 2099-06-01" in page.text
        walk(visitor_of(TimerPages(client, allow=lambda _: EVERYTHING, topics=[ODD])), client)
        for button, topic in (("Run now", "topic-1"), ("Cancel", "topic-2")):
            page = visitor.press(visitor.get(f"topic={topic}"), button, "a")
            visitor.press(page, "Yes, cancel" if button == "Cancel" else button)
        assert client.get_timer("topic-1", "a").due_at < LATER
        assert client.count_pending("topic-2") == 0
        assert visitor.get("topic=topic-3").status == 200
