"""The pages are safe: one test per line of the rules, and the attacks that others met."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from web_pages import EVERYTHING, FORM, OURS, visitor_of

from faststream_redis_timers_sync import Every, TimersClient
from faststream_redis_timers_sync.manage.forms import token_of_search
from faststream_redis_timers_sync.manage.tokens import to_token
from faststream_redis_timers_sync.web import Access, AskPassword, Request, TimerPages
from faststream_redis_timers_sync.web.access import RIGHTS
from faststream_redis_timers_sync.web.addresses import ACTIONS

LATER = datetime(2099, 6, 1, 9, tzinfo=UTC)
SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
A = to_token("a")
SURE = [("id", A), ("sure", "1"), ("delay", "1h")]


def is_there(timers, timer_id="a"):
    timer = timers.get_timer("invoices", timer_id)
    return timer is not None and timer.due_at == LATER


# --- who may look


def test_allow_is_mandatory(timers):
    with pytest.raises(TypeError, match="allow"):
        TimerPages(timers)
    with pytest.raises(TypeError, match="allow must be a function"):
        TimerPages(timers, allow=None)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_none_refuses(make_pages, invoices, method):
    visitor = visitor_of(make_pages(allow=lambda _: None))
    page = visitor.send(method, "topic=invoices&do=cancel", OURS, b"id=YQ&sure=1")

    assert page.status == 403
    assert "You may not see these pages." in page.text
    assert "invoices" not in page.text
    assert is_there(invoices)


def test_whatever_else_allow_returns_lets_nobody_in(make_pages, invoices):
    page = visitor_of(make_pages(allow=lambda _: True)).get("topic=invoices")

    assert page.status == 500
    assert "invoices" not in page.text


def test_an_error_in_allow_lets_nobody_in(make_pages, invoices):
    def allow(_):
        raise LookupError

    assert visitor_of(make_pages(allow=allow)).get("topic=invoices").status == 500


def test_a_password_is_asked_for(make_pages, invoices):
    def allow(request):
        if request.credentials == ("ops", "päss:word"):
            return Access("ops")
        return AskPassword("Timers of the shop")

    visitor = visitor_of(make_pages(allow=allow))
    page = visitor.get("topic=invoices")
    assert page.status == 401
    assert page.headers["www-authenticate"] == 'Basic realm="Timers of the shop", charset="UTF-8"'
    word = "b3BzOnDDpHNzOndvcmQ="
    assert visitor.send("GET", "", {"authorization": f"Basic {word}"}, b"").status == 200
    for wrong in ("Basic !", "Basic b3Bz", f"Bearer {word}"):
        assert visitor.send("GET", "", {"authorization": wrong}, b"").status == 401


class AsyncAllow:
    """What would have to be awaited."""

    async def __call__(self, *_):
        """Allow nothing."""

    @staticmethod
    async def allow(request):
        """Allow nothing."""


@pytest.mark.parametrize("may", [None, "run", 1])
def test_rights_that_are_no_collection(may):
    with pytest.raises(TypeError, match=f"may must be a collection of rights, .* got {may!r}"):
        Access("ops", may=may)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"user": ""}, "user must be a non-empty str, got ''"),
        ({"user": "ops", "may": {"delete"}}, "may must be some of cancel, cancel_all, redrive"),
        ({"user": "ops", "may": [[]]}, r"got \[\[\]\]"),
    ],
)
def test_access_that_cannot_be(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Access(**arguments)


def test_a_realm_that_cannot_be():
    with pytest.raises(ValueError, match="realm must be printable ASCII"):
        AskPassword('a"b')
    with pytest.raises(TypeError, match="realm must be a str, got None"):
        AskPassword(None)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"topics": "invoices"}, TypeError, "write"),
        ({"origins": "https://a.example"}, TypeError, "write"),
        ({"origins": ["a.example"]}, ValueError, "got 'a.example'"),
        ({"origins": ["https://a.example/path"]}, ValueError, "scheme, host and maybe port"),
        ({"links": [("x", "javascript:alert(1)")]}, ValueError, "'javascript:alert"),
        ({"longest_lease": 0}, ValueError, "longest_lease must be above 0, got 0"),
        ({"show_body": True}, TypeError, "show_body must be a function, got True"),
        ({"links": None}, TypeError, r"links must be several pairs .*, got None"),
        ({"links": "docs"}, TypeError, r"links must be several pairs .* write \['docs'\]"),
        ({"links": ["docs"]}, TypeError, r"links must be pairs .*, got 'docs'"),
        ({"links": [("a",)]}, TypeError, r"links must be pairs .*, got \('a',\)"),
        ({"links": [("a", 1)]}, TypeError, r"links must be pairs .*, got \('a', 1\)"),
        ({"links": [("a", "http://[")]}, ValueError, r"links must be .*, got \('a', 'http://\["),
        ({"longest_lease": "30"}, TypeError, "longest_lease must be a timedelta .*, got '30'"),
        ({"longest_lease": True}, TypeError, "longest_lease must be a timedelta .*, got True"),
        ({"longest_lease": math.nan}, ValueError, "longest_lease must be finite .*, got nan"),
        ({"longest_lease": 1e30}, ValueError, r"longest_lease must be finite .*, got 1e\+30"),
        ({"topics": None}, TypeError, "topics must be several strings, got None"),
        ({"topics": [1]}, TypeError, "topic must be .*1"),
        ({"origins": None}, TypeError, "origins must be several strings, got None"),
        ({"origins": [None]}, TypeError, "origins must be several strings, got None among them"),
        ({"origins": ["https://"]}, ValueError, "got 'https://'"),
        ({"origins": ["https://:8"]}, ValueError, "got 'https://:8'"),
        ({"origins": ["https://a:x"]}, ValueError, "got 'https://a:x'"),
        ({"origins": ["https://*.example.com"]}, ValueError, r"got 'https://\*.example.com'"),
        ({"allow": AsyncAllow.allow}, TypeError, "allow must not be async, .* write it with def"),
        ({"allow": AsyncAllow()}, TypeError, "allow must not be async"),
        ({"show_body": AsyncAllow()}, TypeError, "show_body must not be async"),
        ({"topics": AsyncAllow()}, TypeError, "topics must not be async"),
        ({"timers": AsyncAllow()}, TypeError, "timers must not be async"),
    ],
)
def test_arguments_that_cannot_be(make_pages, arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        make_pages(**arguments)


def test_topics_that_a_function_gives_are_checked(make_pages, caplog):
    assert visitor_of(make_pages(topics=lambda: "invoices")).get().status == 500
    assert "topics must be several strings, got one: write ['invoices']" in caplog.text


def test_pages_are_no_application_themselves(make_pages):
    with pytest.raises(TypeError, match=r"mount pages\.asgi or pages\.wsgi"):
        make_pages()({"type": "http"}, None, None)


def test_a_client_that_cannot_be():
    with pytest.raises(TypeError, match="timers must be a TimersClient"):
        TimerPages("redis://localhost", allow=lambda _: None)


# --- GET changes nothing


@pytest.mark.parametrize("do", [*ACTIONS, "scan"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_changes_nothing(visitor, invoices, do, method):
    query = f"topic=invoices&do={do}&id={A}&sure=1&delay=1h"
    visitor.send(method, query, OURS, b"id=YQ&sure=1&delay=1h")

    assert is_there(invoices)


# --- where forms come from


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "nonsense", ""])
def test_a_form_of_another_site_is_refused(visitor, invoices, site):
    # Its Origin does not count where the browser says better.
    page = visitor.post(
        "topic=invoices&do=cancel",
        SURE,
        sec_fetch_site=site,
        origin="https://us.example",
        host="us.example",
    )

    assert page.status == 403
    assert is_there(invoices)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://us.example", "us.example"),
        ("http://us.example:8000", "us.example:8000"),
        ("http://us.example", "us.example:80"),
        ("https://us.example", "us.example"),
        ("https://us.example", "US.example:443"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://ops.example.com", "10.0.0.7:8000"),
    ],
)
def test_without_that_header_the_origin_must_be_this_host_or_a_known_one(
    make_pages, invoices, origin, host
):
    visitor = visitor_of(make_pages(origins=["https://ops.example.com"]))
    said = {"content-type": FORM, "origin": origin, "host": host}
    page = visitor.send("POST", "topic=invoices&do=cancel", said, b"id=YQ&sure=1")

    assert page.status == 200
    assert not is_there(invoices)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "us.example"),
        ("https://evil.example", "us.example"),
        ("http://us.example.evil.example", "us.example"),
        ("http://us.example:81", "us.example"),
        ("https://us.example:80", "us.example:80:80"),
        ("null", "null"),
        ("null", ""),
        ("", ""),
        (None, "us.example"),
        ("http://", ""),
        ("us.example", "us.example"),
        ("javascript://us.example", "us.example"),
        ("http://ops.example.com", "us.example"),
        ("http://us.example,http://us.example", "us.example"),
    ],
)
def test_any_other_origin_is_refused(make_pages, invoices, origin, host):
    visitor = visitor_of(make_pages(origins=["https://ops.example.com"]))
    said = {"content-type": FORM, "host": host}
    if origin is not None:
        said["origin"] = origin
    page = visitor.send("POST", "topic=invoices&do=cancel", said, b"id=YQ&sure=1")

    assert page.status == 403
    assert "nothing was changed" in page.text
    assert is_there(invoices)


def test_a_refused_form_is_logged_and_the_page_names_what_was_compared(visitor, invoices, caplog):
    page = visitor.post(
        "topic=invoices&do=cancel", SURE, sec_fetch_site="same-site", origin="https://a.example"
    )
    assert "The browser sent Sec-Fetch-Site: same-site." in page.text
    said = {"content-type": FORM, "origin": f"http://{SCRIPT}\n", "host": "h" * 201}
    page = visitor.send("POST", "topic=invoices&do=cancel", said, b"id=YQ&sure=1")
    assert f"Origin: http://{SCRIPT}\\n, and" in page.text
    assert f"Host: {'h' * 200}...." in page.text
    assert "<script>" not in page.html

    first, second = caplog.records
    assert (first.name, first.levelname) == ("faststream_redis_timers_sync.web.audit", "WARNING")
    assert first.getMessage().startswith(
        "form refused: Sec-Fetch-Site same-site, Origin https://a.example, Host "
    )
    assert second.getMessage() == (
        f"form refused: Sec-Fetch-Site (none), Origin http://{SCRIPT}\\n, Host {'h' * 200}..."
    )


def test_a_form_of_another_site_is_refused_before_anybody_is_asked(make_pages, invoices):
    asked = []
    visitor = visitor_of(make_pages(allow=asked.append))
    visitor.post("topic=invoices&do=cancel", SURE, sec_fetch_site="cross-site")

    assert asked == []


# --- rights


@pytest.mark.parametrize(
    ("do", "right"),
    [
        ("cancel", "cancel"),
        ("reschedule", "reschedule"),
        ("run_now", "run"),
        ("pause", "reschedule"),
        ("resume", "reschedule"),
        ("redrive", "redrive"),
    ],
)
def test_each_action_needs_its_right(make_pages, invoices, do, right):
    others = visitor_of(make_pages(allow=lambda _: Access("ops", may=RIGHTS - {right})))
    page = others.post(f"topic=invoices&do={do}", SURE)
    assert page.status == 403
    assert f"You need the right “{right}”" in page.text
    assert is_there(invoices)

    alone = visitor_of(make_pages(allow=lambda _: Access("ops", may={right})))
    assert alone.post(f"topic=invoices&do={do}", SURE).status == 200


def test_who_may_look_alone_is_offered_nothing(make_pages, invoices):
    visitor = visitor_of(make_pages(allow=lambda _: Access("ops")))

    assert visitor.get("topic=invoices").buttons == ["Search"]
    assert visitor.get("topic=invoices&timer=a").buttons == []


@pytest.mark.parametrize("search", ["", "*", "**", "?*", "*?*"])
def test_cancelling_all_needs_a_right_of_its_own(make_pages, invoices, search):
    visitor = visitor_of(make_pages(allow=lambda _: Access("ops", may=RIGHTS - {"cancel_all"})))
    fields = [("all", "1"), ("q", token_of_search(search)), ("sure", "1"), ("name", "invoices")]
    page = visitor.post("topic=invoices&do=cancel", fields)

    assert page.status == 403
    assert "“cancel_all”" in page.text
    assert is_there(invoices)


def test_a_pattern_of_question_marks_leaves_longer_ids_alone(visitor, invoices):
    fields = [("all", "1"), ("q", to_token("?")), ("sure", "1")]
    visitor.post("topic=invoices&do=cancel", fields)

    assert {one.timer_id for one in invoices.iter_timers("invoices")} == {"other-1", "other-2"}


@pytest.mark.parametrize("fields", [[], [("q", "")]])
def test_a_form_that_lost_its_search_does_not_mean_everything(visitor, invoices, fields):
    page = visitor.post("topic=invoices&do=run_now", [("all", "1"), *fields, ("sure", "1")])

    assert page.status == 400
    assert "The form does not say which timers to act on." in page.text
    assert all(one.due_at.year == 2099 for one in invoices.iter_timers("invoices"))


@pytest.mark.parametrize(("button", "ids"), [("Cancel", ["a", "b"]), ("Run now", [])])
def test_a_confirmation_that_lost_its_end_asks_again(visitor, invoices, button, ids):
    more = {} if ids else {"all": "1"}
    page = visitor.press(visitor.get("topic=invoices"), button, *ids, **more)
    (form,) = (form for form in page.forms if form.fields)

    assert form.fields[-1] == ("sure", "1")
    again = visitor.post(form.action, form.fields[:-1])
    assert "Yes, cancel" in again.buttons or "Run now" in again.buttons
    assert all(one.due_at.year == 2099 for one in invoices.iter_timers("invoices"))
    assert invoices.count_pending("invoices") == 5


@pytest.mark.parametrize(
    ("may", "search", "is_offered"),
    [
        ({"cancel"}, "", False),
        ({"cancel"}, "a", True),
        ({"cancel", "cancel_all"}, "", True),
        ({"cancel", "run"}, "", True),
    ],
)
def test_all_can_be_selected_where_something_can_be_done_to_all(
    make_pages, invoices, may, search, is_offered
):
    visitor = visitor_of(make_pages(allow=lambda _: Access("ops", may=may)))

    page = visitor.get(f"topic=invoices&q={search}")
    assert ("Select all" in page.text) is is_offered


def test_a_right_withdrawn_between_confirmation_and_action(make_pages, invoices):
    may = set(RIGHTS)
    visitor = visitor_of(make_pages(allow=lambda _: Access("ops", may=may)))
    page = visitor.press(visitor.get("topic=invoices"), "Cancel", "a")
    assert page.status == 200
    may.remove("cancel")

    assert visitor.press(page, "Yes, cancel").status == 403
    assert is_there(invoices)


# --- headers


PROMISED = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}


@pytest.mark.parametrize(
    ("method", "query", "status"),
    [
        ("GET", "", 200),
        ("GET", "topic=invoices", 200),
        ("GET", "topic=invoices&timer=a", 200),
        ("HEAD", "", 200),
        ("GET", "topic=nope", 404),
        ("GET", "only=nonsense", 400),
        ("PUT", "", 405),
        ("OPTIONS", "", 405),
        ("POST", "topic=invoices&do=cancel", 200),
        ("POST", "do=scan", 200),
        ("POST", "", 400),
        ("GET", "asset=css", 200),
    ],
)
def test_every_response_has_the_headers(visitor, invoices, method, query, status):
    page = visitor.send(method, query, OURS, b"id=YQ")

    assert page.status == status
    assert {name: page.headers[name] for name in PROMISED} == PROMISED


def test_so_have_errors(make_pages, invoices, relay, key_names):
    def boom(_):
        raise LookupError

    with TimersClient(relay.url, **key_names) as client:
        relay.refuse()
        pages = {
            403: make_pages(allow=lambda _: None),
            401: make_pages(allow=lambda _: AskPassword()),
            500: make_pages(allow=boom),
            503: TimerPages(client, allow=lambda _: EVERYTHING),
        }
        for status, some in pages.items():
            page = visitor_of(some).get()
            assert page.status == status
            assert {name: page.headers[name] for name in PROMISED} == PROMISED


def test_pages_have_no_inline_style_script_or_handler(visitor, invoices):
    for query in ("", "topic=invoices", "topic=invoices&timer=a", "topic=nope"):
        page = visitor.get(query)
        assert "style" not in page.tags
        names = {name for name, _ in page.attributes}
        assert not {name for name in names if name == "style" or name.startswith("on")}
        assert page.tags.count("script") == 1
        assert page.html.count("<script src=") == 1
        addresses = [value for name, value in page.attributes if name in {"href", "src", "action"}]
        assert all(address.startswith(("?", "#")) for address in addresses)


# --- scripts wherever text comes from


def test_scripts_in_topic_id_header_and_body_are_text(make_pages, timers):
    timers.schedule(
        SCRIPT, SCRIPT, timer_id=f"id-{SCRIPT}", activate_at=LATER, headers={f"x-{SCRIPT}": SCRIPT}
    )
    visitor = visitor_of(
        make_pages(
            topics=[SCRIPT],
            allow=lambda _: Access(SCRIPT, may=RIGHTS),
            show_body=lambda _, timer: timer.body,
        )
    )
    listed = visitor.get()
    topic = visitor.follow(listed, SCRIPT)
    timer = visitor.get(next(link for link in topic.links.values() if "&timer=" in link))
    confirm = visitor.press(timer, "Cancel")
    done = visitor.press(confirm, "Yes, cancel")

    for page in (listed, topic, timer, confirm, done):
        assert page.status == 200
        assert "<script>alert" not in page.html
        assert "img" not in page.tags
        assert SCRIPT in page.text
    assert timer.text.count(SCRIPT) >= 5


@pytest.mark.parametrize("name", ["q", "topic", "timer", "only", "range", "seen", "do", "after"])
def test_scripts_in_an_address_are_text(visitor, invoices, name):
    page = visitor.get(f"topic=invoices&{name}=%3Cscript%3Ealert(1)%3C/script%3E%22'")
    also = visitor.get(f"{name}=%3Cscript%3Ealert(1)%3C/script%3E%22'")

    for found in (page, also):
        assert "<script>alert" not in found.html
        assert "onerror" not in {attribute for attribute, _ in found.attributes}


def test_scripts_in_a_field_of_a_form_are_text(visitor, invoices):
    for do, field in (("reschedule", "delay"), ("reschedule", "at"), ("cancel", "expected")):
        fields = [("id", A), ("sure", "1"), (field, SCRIPT)]
        page = visitor.post(f"topic=invoices&do={do}", fields)
        assert "<script>alert" not in page.html
        assert "img" not in page.tags


def test_scripts_in_what_the_server_says_are_text(timers, key_names, monkeypatch):
    def allow(_):
        return EVERYTHING

    with TimersClient("redis://%3Cscript%3Ealert(1)%3C%2Fscript%3E:1", **key_names) as client:
        page = visitor_of(TimerPages(client, allow=allow)).get()

    assert page.status == 503
    assert "<script>alert" not in page.html


def test_templates_in_text_are_text(visitor, timers):
    timers.schedule("x", "invoices", timer_id="{{ 7 * 7 }}{% raw %}", activate_at=LATER)
    page = visitor.get("topic=invoices&q={{ 6 * 6 }}")

    assert "{{ 7 * 7 }}" in visitor.get("topic=invoices").text
    assert "36" not in page.text


def test_nothing_drives_the_direction_of_text(visitor, timers):
    timers.schedule("x", "invoices", timer_id="a\u202egpj.exe", activate_at=LATER)

    assert "\u202e" not in visitor.get("topic=invoices").html


# --- clickjacking, hosts, paths


def test_no_page_can_be_framed(visitor, invoices):
    page = visitor.press(visitor.get("topic=invoices"), "Cancel", "a")

    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("header", ["host", "x-forwarded-host", "forwarded", "x-original-url"])
def test_a_forged_host_appears_nowhere(visitor, invoices, header):
    for query in ("", "topic=invoices", "topic=nope"):
        page = visitor.send("GET", query, {header: "evil.example"}, b"")
        assert "evil.example" not in page.html
        assert "evil.example" not in str(page.headers)


def test_a_forged_forwarded_host_makes_no_origin_ours(visitor, invoices):
    said = {
        "content-type": FORM,
        "origin": "https://evil.example",
        "host": "us.example",
        "x-forwarded-host": "evil.example",
    }

    assert visitor.send("POST", "topic=invoices&do=cancel", said, b"id=YQ&sure=1").status == 403
    assert is_there(invoices)


@pytest.mark.parametrize(
    "asset", ["../pages.py", "/etc/passwd", "css/../../pages.py", "%2e%2e/pages.py", "css%00"]
)
def test_assets_are_a_closed_list(visitor, asset):
    page = visitor.get(f"asset={asset}")

    assert page.status == 400
    assert "import" not in page.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("only", "all"), ("range", "year"), ("refresh", "1"), ("do", "delete"), ("asset", "x")],
)
def test_values_of_addresses_are_from_closed_lists(visitor, invoices, name, value):
    page = visitor.get(f"topic=invoices&{name}={value}")

    assert page.status == 400
    assert f"{name} must be one of" in page.text


@pytest.mark.parametrize("query", ["topic=%FF", "of=%21", "of=_w", "&".join(["a=b"] * 31)])
def test_addresses_that_cannot_be_are_refused(visitor, query):
    assert visitor.get(query).status in {400, 404}


# --- the size of forms


def test_huge_forms_are_refused(visitor, invoices):
    just = b"id=YQ&sure=1&x=" + b"x" * (64 * 1024 - 15)
    assert len(just) == 64 * 1024
    query = "topic=invoices&do=cancel"

    assert visitor.send("POST", query, OURS, just + b"x").status == 413
    assert is_there(invoices)
    assert visitor.send("POST", query, OURS, just).status == 200
    assert not is_there(invoices)


@pytest.mark.parametrize(("count", "status"), [(300, 200), (301, 413)])
def test_forms_with_many_fields_are_refused(visitor, invoices, count, status):
    body = b"id=YQ&sure=1" + b"&x=1" * (count - 2)

    page = visitor.send("POST", "topic=invoices&do=cancel", OURS, body)

    assert page.status == status
    assert is_there(invoices) is (status != 200)


def test_more_than_200_ids_are_refused(visitor, invoices):
    fields = [("id", to_token(f"t-{n}")) for n in range(201)]
    page = visitor.post("topic=invoices&do=cancel", fields)

    assert page.status == 400
    assert "expected 1 to 200" in page.text


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=x", "application/json", "text/plain", "", None]
)
def test_forms_of_another_type_are_refused(visitor, invoices, content_type):
    said = {"sec-fetch-site": "same-origin"}
    if content_type is not None:
        said["content-type"] = content_type
    page = visitor.send("POST", "topic=invoices&do=cancel", said, b"id=YQ&sure=1")

    assert page.status == 415
    assert is_there(invoices)


def test_forms_that_are_not_encoded_are_refused(visitor, invoices):
    page = visitor.send("POST", "topic=invoices&do=cancel", OURS, b"id=\xff&sure=1")

    assert page.status == 400


@pytest.mark.parametrize("token", ["!", "", "YQ=YQ", "é"])
def test_tokens_that_cannot_be_are_refused(visitor, invoices, token):
    page = visitor.post("topic=invoices&do=cancel", [("id", token), ("sure", "1")])
    assert page.status == 400
    assert "base64" not in page.text


def test_a_target_that_cannot_be_is_asked_for_again(visitor, invoices):
    page = visitor.post("topic=invoices&do=run_now", [("id", A), ("sure", "1"), ("target", "x")])

    assert page.status == 400
    assert is_there(invoices)


def test_a_position_that_cannot_be_is_asked_for_again(visitor, invoices):
    fields = [("id", A), ("sure", "1"), ("position", "x")]
    assert visitor.post("topic=invoices&do=run_now", fields).status == 400
    assert is_there(invoices)


@pytest.mark.parametrize("which", [[("id", A)], [("all", "1"), ("q", token_of_search(""))]])
def test_who_may_only_run_timers_cannot_choose_their_time(make_pages, invoices, which):
    visitor = visitor_of(make_pages(allow=lambda _: Access("bob", may={"run"})))
    fields = [*which, ("sure", "1"), ("target", "2099-01-01T00:00Z")]
    visitor.post("topic=invoices&do=run_now", fields)

    assert invoices.get_timer("invoices", "a").due_at < datetime.now(UTC) + timedelta(hours=1)


def test_who_may_only_run_timers_resumes_none(make_pages, timers):
    timers.schedule("x", "invoices", timer_id="s", repeat=Every(days=1))
    timers.pause_timer("invoices", "s")
    visitor = visitor_of(make_pages(allow=lambda _: Access("bob", may={"run"})))
    page = visitor.press(visitor.get("topic=invoices&timer=s"), "Run now")
    assert "Paused: 1 timer. They stay paused." in page.text
    assert "Resume those that are paused" not in page.text

    fields = [("id", to_token("s")), ("sure", "1"), ("resumes", "1")]
    page = visitor.post("topic=invoices&do=run_now", fields)

    assert "s unchanged: paused" in page.text
    assert timers.get_timer("invoices", "s").paused


def test_requests_show_no_secret():
    request = Request(
        method="GET",
        query="token=s3cret",
        headers={"authorization": "s3cret", "cookie": "a=s3cret"},
        scope={"s3cret": 1},
        body=b"s3cret",
    )

    assert "s3cret" not in repr(request)
    assert request.cookies == {"a": "s3cret"}
