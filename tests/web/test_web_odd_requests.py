"""What no browser sends, or not of itself: forms that are cut off, odd headers, forged fields."""

import asyncio
import base64
import http.client
import json
import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from web_pages import EVERYTHING, FORM, OURS, place_of, visitor_of, web_visitor
from web_servers import LONGEST, uvicorn_serving, waitress_serving

from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.manage.tokens import to_token
from faststream_redis_timers_sync.protocol.dead_letters import REASON, TOPIC
from faststream_redis_timers_sync.web import Access, Request, TimerPages
from faststream_redis_timers_sync.web.local import LocalServer

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)


@contextmanager
def local_serving(pages):
    """Serve pages by the command's server; give the URL, and the cookie's header."""
    server = LocalServer(pages, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        place = place_of(server.url)
        root = f"http://{place.host}:{place.port}/"
        page = web_visitor(root).get(server.url.partition("?")[2])
        yield root, {"cookie": page.headers["set-cookie"].partition(";")[0], "origin": root[:-1]}
    finally:
        server.shutdown()
        server.server_close()
        thread.join(LONGEST)


def read_all(connection):
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def send_raw(url, data, *, ends=True):
    """Send bytes to a web server, and give all that it sends before it closes."""
    place = place_of(url)
    with socket.create_connection((place.host, place.port), LONGEST) as connection:
        connection.sendall(data)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def post(url, body, length, headers=()):
    """Write a POST that cancels, whose length is said to be another one."""
    place = place_of(url)
    lines = [
        "POST /?topic=invoices&do=cancel HTTP/1.1",
        f"Host: {place.host}:{place.port}",
        f"Content-Type: {FORM}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in dict(headers).items()),
        *([] if length is None else [f"Content-Length: {length}"]),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


# --- forms that are cut off

CUT = urlencode([("sure", "1"), ("id", to_token("a"))]).encode()
"""The beginning of a form, of which more ids were to follow."""


@pytest.mark.parametrize("length", [f"{len(CUT) + 1}", "70000", "9" * 5000])
def test_a_form_that_was_cut_off_does_nothing(visitor, invoices, length):
    page = visitor.send("POST", "topic=invoices&do=cancel", {**OURS, "content-length": length}, CUT)

    assert page.status == 400
    assert "The form arrived incomplete, so nothing was changed." in page.text
    assert invoices.count_pending("invoices") == 5


def test_a_form_of_the_length_that_it_has_is_read(visitor, invoices):
    headers = {**OURS, "content-length": f"{len(CUT)}"}
    assert visitor.send("POST", "topic=invoices&do=cancel", headers, CUT).status == 200
    assert invoices.count_pending("invoices") == 4


def test_a_form_of_no_length_at_all_does_nothing(visitor, invoices):
    page = visitor.send("POST", "topic=invoices&do=cancel", OURS, b"")

    assert page.status == 411
    assert visitor.send("POST", "do=scan", {**OURS, "content-length": "0"}, b"").status == 200


@pytest.mark.parametrize("serve", [uvicorn_serving, waitress_serving])
def test_a_form_whose_sender_left_does_nothing_under_a_server(make_pages, invoices, serve):
    pages = make_pages()
    app = pages.asgi if serve is uvicorn_serving else pages.wsgi
    with serve(app, "/") as url:
        said = {"sec-fetch-site": "same-origin"}
        send_raw(url, post(url, CUT, len(CUT) + 10, said))
        # It goes on with others.
        assert web_visitor(url).get().status == 200

    assert invoices.count_pending("invoices") == 5


def test_a_form_whose_sender_left_does_nothing_under_asgi(make_pages, invoices):
    sent = []
    messages = iter(
        [
            {"type": "http.request", "body": CUT, "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "query_string": b"topic=invoices&do=cancel",
        # In chunks: nobody says how long it is.
        "headers": [(name.encode(), value.encode()) for name, value in OURS.items()],
    }
    asyncio.run(make_pages().asgi(scope, receive, send))

    assert sent == []
    assert invoices.count_pending("invoices") == 5


def test_a_form_whose_sender_left_does_nothing_under_the_command(make_pages, invoices):
    with local_serving(make_pages()) as (url, headers):
        told = send_raw(url, post(url, CUT, len(CUT) + 10, headers))
        assert told.startswith(b"HTTP/1.0 400 ")
        assert b"The form arrived incomplete" in told
        assert invoices.count_pending("invoices") == 5
        told = send_raw(url, post(url, CUT, len(CUT), headers))
        assert told.startswith(b"HTTP/1.0 200 ")

    assert invoices.count_pending("invoices") == 4


# --- the command's server


@pytest.mark.parametrize("length", [None, "-5", "abc", "5.0", ""])
def test_the_command_s_server_wants_a_length(make_pages, invoices, length):
    with local_serving(make_pages()) as (url, headers):
        told = send_raw(url, post(url, CUT, length, headers))

    assert told.startswith(b"HTTP/1.0 411 ")
    assert invoices.count_pending("invoices") == 5


def test_the_command_s_server_takes_no_chunks(make_pages, invoices):
    with local_serving(make_pages()) as (url, headers):
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CUT), CUT)
        told = send_raw(url, post(url, chunks, None, {**headers, "Transfer-Encoding": "chunked"}))

    assert told.startswith(b"HTTP/1.0 411 ")
    assert invoices.count_pending("invoices") == 5


@pytest.mark.parametrize("size", [65_537, 5_000_000])
def test_the_command_s_server_answers_who_sends_a_large_form(make_pages, invoices, size):
    with local_serving(make_pages()) as (url, headers):
        place = place_of(url)
        connection = http.client.HTTPConnection(place.host, place.port, timeout=LONGEST)
        connection.request("POST", "/?do=scan", b"x" * size, {**headers, "content-type": FORM})
        response = connection.getresponse()
        assert response.status == 413
        assert b"Forms may have at most 64 KiB" in response.read()
        connection.close()


@pytest.mark.parametrize(
    ("request_line", "more", "status"),
    [
        ("TRACE / HTTP/1.1", "", 501),
        ("<script>alert(1)</script> / HTTP/1.1", "", 501),
        ("GET /<script>alert(1)</script> x HTTP/1.1", "", 400),
        (f"GET /?{'a' * 70_000} HTTP/1.1", "", 414),
        ("GET / HTTP/1.1", "".join(f"h{n}: x\r\n" for n in range(300)), 431),
        ("GET / HTTP/1.1", f"h: {'x' * 70_000}\r\n", 431),
    ],
)
def test_what_the_command_s_server_refuses_is_a_page_with_the_headers(
    make_pages, request_line, more, status
):
    with local_serving(make_pages()) as (url, _):
        told = send_raw(url, f"{request_line}\r\n{more}\r\n".encode(), ends=False)

    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 %d " % status)
    for header in (b"Content-Security-Policy", b"X-Frame-Options", b"Cache-Control: no-store"):
        assert header in head
    assert b"<h1>" in body
    assert b"alert(" not in body


def test_slow_clients_keep_nobody_from_the_command_s_server(make_pages, invoices):
    with local_serving(make_pages(topics=["invoices"])) as (url, headers):
        place = place_of(url)
        slow = [socket.create_connection((place.host, place.port), LONGEST) for _ in range(100)]
        for connection in slow:
            connection.sendall(b"GET / HTTP/1.1\r\nHo")
        assert web_visitor(url, **headers).get("topic=invoices").status == 200
        for connection in slow:
            connection.close()


# --- cookies and other headers


def request_of(**headers):
    return Request(method="GET", query="", headers=headers, scope={})


@pytest.mark.parametrize(
    "header",
    [
        'junk={"a": 1, "b": [2]}; session=abc',
        "session=abc; junk={}",
        "a b c; =; ; session=abc",
        'session="abc"',
        "session=abc; session=other",
        "expires=x; path=/; session=abc",
        "\u00e9=\u00ff; session=abc",
    ],
)
def test_a_cookie_is_found_whatever_others_stand_beside_it(header):
    assert request_of(cookie=header).cookies["session"] == "abc"


def test_the_command_s_cookie_is_found_beside_those_of_other_programs(make_pages, invoices):
    with local_serving(make_pages()) as (url, headers):
        cookie = f'theme={{"dark": true}}; {headers["cookie"]}'
        assert web_visitor(url, cookie=cookie).get("topic=invoices").status == 200


def test_cookies_that_come_one_by_one_are_put_together(make_pages, invoices):
    seen = []

    def allow(request):
        seen.append((request.cookies, request.headers["x-twice"]))
        return EVERYTHING

    async def receive():
        return {"type": "http.request"}

    async def send(_):
        pass

    pairs = [("cookie", "a=1"), ("Cookie", "b=2"), ("x-twice", "1"), ("x-twice", "2")]
    headers = [(name.encode(), value.encode()) for name, value in pairs]
    scope = {"type": "http", "method": "GET", "query_string": b"", "headers": headers}
    asyncio.run(make_pages(allow=allow).asgi(scope, receive, send))

    assert seen == [({"a": "1", "b": "2"}, "1,2")]


# --- forged fields


def word(text):
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "state",
    [
        json.dumps(["99999999999999999999999", 5, False, ["a"], []]),
        json.dumps(["18446744073709551616", 5, False, ["a"], []]),
        json.dumps(["-5", 5, False, ["a"], []]),
        json.dumps(["\u0665", 5, False, ["a"], []]),
        '["5", 1e400, false, ["a"], []]',
        f'["5", {"9" * 5000}, false, ["a"], []]',
        "[" * 20_000,
        json.dumps(["5", 5, False, [[1]], []]),
        json.dumps(["5", 5, False, ["\ud800"], []]),
        json.dumps(["5", 5, ["a"], []]),
    ],
)
def test_a_forged_scan_starts_over(make_pages, invoices, state):
    page = visitor_of(make_pages()).post("do=scan", [("scan", word(state))])

    assert page.status == 200
    assert "Scanned all" in page.text
    assert "invoices" in page.links
    assert "a" not in page.links


def test_a_scan_that_has_looked_at_more_than_there_is_goes_on(make_pages, invoices):
    state = word(json.dumps(["0", 10**30, False, [], []]))
    assert visitor_of(make_pages()).post("do=scan", [("scan", state)]).status == 200


@pytest.mark.parametrize("expected", ["9" * 5000, "\u0661", "-1", "x"])
def test_a_forged_count_of_what_was_confirmed_counts_for_nothing(visitor, invoices, expected):
    fields = [("all", "1"), ("q", to_token("other")), ("sure", "1"), ("expected", expected)]
    page = visitor.post("topic=invoices&do=cancel", fields)

    assert page.status == 200
    assert invoices.count_pending("invoices") == 3


@pytest.mark.parametrize("field", ["at", "target"])
@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"])
def test_times_that_there_are_in_no_other_zone_are_refused(visitor, invoices, field, time):
    page = visitor.post(
        "topic=invoices&do=reschedule", [("id", to_token("a")), ("sure", "1"), (field, time)]
    )

    assert page.status == 400
    assert "can't be converted to UTC" in page.text
    assert invoices.get_timer("invoices", "a").due_at == LATER


def test_a_form_that_is_no_utf_8_is_read_as_what_it_is_not(visitor, invoices):
    for body in (b"id=YQ&sure=1&delay=%FF", b"id=YQ&sure=1&at=%ED%A0%80"):
        page = visitor.send("POST", "topic=invoices&do=reschedule", OURS, body)
        assert page.status == 400
    assert visitor.send("POST", "topic=invoices&do=cancel", OURS, b"id=%FF&sure=1").status == 400
    assert invoices.count_pending("invoices") == 5


def test_the_first_of_two_topics_in_an_address_counts(visitor, invoices):
    for query in ("topic=invoices&topic=other", "topic=invoices&topic="):
        assert "5 timers" in visitor.get(query).text
    visitor.post("topic=invoices&topic=other&do=cancel", [("id", to_token("a")), ("sure", "1")])
    assert invoices.count_pending("invoices") == 4


# --- odd data


def test_ids_and_searches_that_are_no_utf_8(visitor, invoices, redis_client, key_names):
    key = f"{key_names['timeline_key']}:invoices"
    redis_client.zadd(key, {b"byte\xff": LATER.timestamp()})
    redis_client.hset(f"{key_names['payloads_key']}:invoices", b"byte\xff", b"x")
    for search in ("%FF", "byte%FF", "*%FF"):
        page = visitor.get(f"topic=invoices&q={search}")
        assert r"byte\xff" in page.links, search
        page = visitor.press(page, "Cancel", all="1")
        assert "(1 timer)" in page.text
    done = visitor.press(page, "Yes, cancel")
    assert "Cancelled 1." in done.text


def test_broken_payloads_and_impossible_times_have_pages(
    visitor, invoices, redis_client, key_names
):
    odd = {
        "binary": (b"\x00\xff\xfe", 4e9),
        "brace": (b"{", 4e9),
        "empty": (b"", float("inf")),
        "never": (b"x", float("-inf")),
        "later": (b"FST", 1e300),
        "deep": (b"[" * 5000 + b"]" * 5000, 253_402_214_400),
    }
    for timer_id, (payload, score) in odd.items():
        redis_client.zadd(f"{key_names['timeline_key']}:invoices", {timer_id: score})
        redis_client.hset(f"{key_names['payloads_key']}:invoices", timer_id, payload)
    for query in ("", *(f"&only={only}" for only in ("waiting", "overdue", "running", "paused"))):
        assert visitor.get(f"topic=invoices{query}").status == 200
    for timer_id in odd:
        assert visitor.get(f"topic=invoices&timer={timer_id}").status == 200
    assert visitor.get("").status == 200


def test_a_dead_letter_that_was_first_due_at_an_impossible_time(visitor, timers):
    headers = {REASON: "rejected", TOPIC: "there", "dead-letter-due-at": "0001-01-01T00:00+14:00"}
    timers.schedule("x", "invoices", timer_id="a", activate_at=LATER, headers=headers)

    assert "From topic there" in visitor.get("topic=invoices&timer=a").text


def test_a_large_body_and_many_headers_are_shown(make_pages, timers):
    headers = {f"header-{n}": f"value-{n}" for n in range(300)}
    timers.schedule("y" * 100_000, "invoices", timer_id="a", activate_at=LATER, headers=headers)
    page = visitor_of(make_pages(show_body=lambda _, timer: timer.body)).get(
        "topic=invoices&timer=a"
    )

    assert "cut after 65,536 characters" in page.text
    assert page.html.count("y" * 65_536) == 1
    assert "header-299 value-299" in page.text


def test_a_topic_that_is_gone_meanwhile(make_pages, invoices):
    visitor = visitor_of(make_pages(allow=lambda _: Access("ops", may={"cancel"})))
    page = visitor.get("topic=invoices")
    asked = visitor.press(page, "Cancel", "a", "b")
    invoices.cancel_all("invoices")

    assert visitor.follow(page, "a").status == 404
    assert visitor.follow(page, "Refresh").status == 404
    assert "Cancelled 0, no longer pending 2." in visitor.press(asked, "Yes, cancel").text
    assert "None of these timers is still pending." in visitor.press(page, "Cancel", "a").text


# --- what may be written into an address


def test_a_topic_that_can_have_no_keys_is_refused(server_url, key_names):
    with TimersClient(server_url, **key_names, hash_tags=True) as client:
        visitor = visitor_of(TimerPages(client, allow=lambda _: EVERYTHING, topics=["good", "a}b"]))
        assert visitor.get("topic=good").status == 200
        for topic in ("%7D", "a%7Db", "x%7Bb"):
            page = visitor.get(f"topic={topic}")
            assert page.status == 400
            assert "brace" in page.text
        scan = to_token(json.dumps(["0", 1, False, ["c}d"], []]))
        for page in (visitor.get(), visitor.post("do=scan", [("scan", scan)])):
            assert page.status == 200
            assert "good" in page.links
            assert not any("}" in text for text in page.links)


@pytest.mark.parametrize("score", ["1_0", "٣", " 1", "1e", "nan"])
def test_a_cursor_whose_score_is_no_number_of_the_servers_is_refused(invoices, visitor, score):
    after = f"{to_token(score)}.{to_token('a')}"
    assert visitor.get(f"topic=invoices&after={after}").status == 400


@pytest.mark.parametrize("count", ["-1", "9" * 4300, "-" + "9" * 4300, "٣"])
def test_a_forged_last_look_is_passed_over(invoices, visitor, count):
    page = visitor.get(f"topic=invoices&seen=2000-01-01T00:00Z,2099-01-01T00:00Z,{count}")
    assert page.status == 200
    assert "last refresh" not in page.text


@pytest.mark.parametrize("timer_id", ["a\u00a0b", "a\u200db", "a\\b"])
def test_the_field_of_a_search_sends_the_same_again(timers, visitor, timer_id):
    timers.schedule("x", "invoices", timer_id=timer_id, activate_at=LATER)
    page = visitor.get(urlencode({"topic": "invoices", "q": timer_id}))
    assert ("value", timer_id) in page.attributes


def test_the_result_of_a_scan_is_not_refreshed_away(invoices, visitor):
    assert ("data-refresh", "5") in visitor.get("refresh=5").attributes
    page = visitor.post("refresh=5&do=scan", [("scan", "")])
    assert page.status == 200
    assert ("data-refresh", "") in page.attributes
    assert "http-equiv" not in page.html


def test_a_token_for_one_use_is_void_afterwards(make_pages):
    server = LocalServer(make_pages(), 0)
    try:
        place = place_of(server.url)
        headers = {"host": f"{place.host}:{place.port}"}

        def ask(url):
            query = url.partition("?")[2]
            request = Request(method="GET", query=query, headers=headers, scope={})
            return server.answer(request).status

        assert [ask(server.url_for_one_use) for _ in range(2)] == [303, 403]
        assert [ask(server.url) for _ in range(2)] == [303, 303]
        assert ask("?token=") == 403
    finally:
        server.server_close()
