"""Reads the web pages as a person does: links, forms, buttons, text."""

import http.client
import re
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from faststream_redis_timers_sync.manage.tokens import to_token
from faststream_redis_timers_sync.web import Access, Request
from faststream_redis_timers_sync.web.access import RIGHTS

FORM = "application/x-www-form-urlencoded"
OURS = {"sec-fetch-site": "same-origin", "content-type": FORM}
"""What a browser says of a form of our own pages."""

EVERYTHING = Access("ops", may=RIGHTS)

ODD = [
    "two\nlines",
    "carriage\rreturn\r\nboth ",
    "nul\0",
    "byte\udcff",
    "<script>alert(1)</script>",
    "\"quotes\" 'and' `more`",
    "a.b/c?d#e%20_5F&amp;=+",
    "émoji 🦀 \u202e",
    " ",
    "{{ 7 * 7 }}",
]
"""Ids that browsers, addresses, HTML and templates would change; one is no UTF-8."""


class Form:
    """A form: where it goes, the values of its fields, and its buttons with where these go."""

    def __init__(self, method, action):
        self.method = method
        self.action = action
        self.fields = []
        self.offered = {}
        self.buttons = {}


class Page(HTMLParser):
    """What a response shows.

    Attributes:
        status: The status code.
        headers: The headers, names in lower case.
        html: The whole page.
        links: Text -> address.
        forms: The forms.
        tags: The names of all elements.
        text: All text, with single spaces.
    """

    def __init__(self, status, headers, body):
        super().__init__()
        self.status = status
        self.headers = headers
        self.html = body.decode()
        self.links = {}
        self.forms = []
        self.tags = []
        self.attributes = []
        self._texts = []
        self._open = None
        if headers["content-type"].startswith("text/html"):
            self.feed(self.html)
        self.text = re.sub(r"\s+", " ", " ".join(self._texts))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.attributes += attributes
        self._open = (tag, found) if tag in {"a", "button"} else self._open
        if tag == "form":
            self.forms.append(Form(found["method"], found["action"]))
        elif tag == "input" and "name" in found:
            value = found.get("value", "")
            if found.get("type") == "hidden":
                self.forms[-1].fields.append((found["name"], value))
            else:
                self.forms[-1].offered.setdefault(found["name"], []).append(value)

    def handle_endtag(self, tag):
        self._open = None if tag in {"a", "button"} else self._open

    def handle_data(self, data):
        self._texts.append(data)
        if self._open is None or not data.strip():
            return
        tag, found = self._open
        if tag == "a":
            self.links.setdefault(data.strip(), found["href"])
        else:
            form = self.forms[-1]
            form.buttons[data.strip()] = found.get("formaction", form.action)

    @property
    def buttons(self):
        """The texts of all buttons."""
        return [text for form in self.forms for text in form.buttons]


class Visitor:
    """Somebody who walks through the pages.

    Args:
        send: Sends a request (method, query, headers, body) and gives a `Page`.
    """

    def __init__(self, send):
        self.send = send

    def get(self, query=""):
        """Open an address."""
        return self.send("GET", query.removeprefix("?"), {}, b"")

    def follow(self, page, text):
        """Follow a link."""
        return self.get(page.links[text])

    def post(self, query, fields=(), **headers):
        """Send a form."""
        said = {**OURS, **{name.replace("_", "-"): text for name, text in headers.items()}}
        body = urlencode(list(fields)).encode()
        return self.send("POST", query.removeprefix("?"), said, body)

    def press(self, page, button, *ids, **fields):
        """Press a button, with timers ticked and fields filled in."""
        form = next(form for form in page.forms if button in form.buttons)
        # What is not offered can't be ticked.
        tokens = [to_token(timer_id) for timer_id in ids]
        assert set(tokens) <= set(form.offered.get("id", []))
        assert set(fields) <= set(form.offered)
        ticked = [("id", token) for token in tokens]
        return self.post(form.buttons[button], [*form.fields, *ticked, *fields.items()])


def visitor_of(pages):
    """Walk through pages without a web server."""

    def send(method, query, headers, body):
        request = Request(method=method, query=query, headers=headers, scope={}, body=body)
        response = pages.answer(request)
        told = {name.lower(): value for name, value in response.headers}
        told["content-type"] = response.content_type
        return Page(response.status, told, response.body)

    return Visitor(send)


class Place(NamedTuple):
    """Where pages are served."""

    host: str
    port: int
    path: str


def place_of(url):
    """Read a URL."""
    parts = urlsplit(url)
    return Place(parts.hostname, parts.port, parts.path)


def web_visitor(url, **always):
    """Walk through pages that a web server shows.

    Args:
        url: Where they are.
        always: Headers of each request.
    """
    place = place_of(url)

    def send(method, query, headers, body):
        connection = http.client.HTTPConnection(place.host, place.port, timeout=60)
        address = f"{place.path}?{query}" if query else place.path
        try:
            connection.request(method, address, body or None, {**headers, **always})
            response = connection.getresponse()
            told = {}
            for name, value in response.getheaders():
                told[name.lower()] = value
            told.setdefault("content-type", "")
            return Page(response.status, told, response.read())
        finally:
            connection.close()

    return Visitor(send)
