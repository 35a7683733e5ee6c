"""Reads the admin's pages as a person does: links, fields of forms, text, messages."""

import re
from html.parser import HTMLParser

import redis
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote

from faststream_redis_timers_sync.manage.tokens import to_token

START = "/admin/faststream_redis_timers/timer/"

ODD = [
    "two\nlines",
    "carriage\rreturn\r\nboth ",
    "nul\0",
    "byte\udcff",
    "<script>alert(1)</script>",
    "\"quotes\" 'and' `more`",
    "a.b/c?d#e%20_5F&amp;",
    "émoji 🦀 \u202e",
    " ",
]
"""Ids that browsers, addresses and HTML would change; the one with \\udcff is no UTF-8."""


class Page(HTMLParser):
    """What a response shows.

    Attributes:
        status: The status code.
        html: The whole page.
        links: Text -> address.
        fields: The fields of the last form that posts timers, name -> values.
        action: Where that form goes.
        text: All text, with single spaces.
    """

    def __init__(self, response):
        super().__init__()
        self.status = response.status_code
        self.url = response.request["PATH_INFO"]
        self.html = response.content.decode()
        self.links = {}
        self.fields = {}
        self.action = None
        self._texts = []
        self._link = None
        self._is_in_form = False
        self.feed(self.html)
        self.text = re.sub(r"\s+", " ", " ".join(self._texts))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "a":
            self._link = found.get("href")
        elif tag == "form":
            # Not those to search, to log out, to choose a theme.
            self._is_in_form = found.get("method") == "post" and found.get("id") != "logout-form"
            if self._is_in_form:
                self.fields, self.action = {}, found.get("action")
        elif tag == "input" and self._is_in_form and "name" in found:
            self.fields.setdefault(found["name"], []).append(found.get("value", ""))

    def handle_endtag(self, tag):
        if tag == "a":
            self._link = None
        elif tag == "form":
            self._is_in_form = False

    def handle_data(self, data):
        self._texts.append(data)
        if self._link is not None and data.strip():
            self.links.setdefault(data.strip(), self._link)


class Visitor:
    """Somebody who walks through the admin.

    Args:
        client: Django's test client.
        start: Where the timers' pages begin.
    """

    def __init__(self, client, start=START):
        self.client = client
        self.start = start

    def get(self, url, **query):
        return Page(self.client.get(url, query, follow=True))

    def post(self, url, fields):
        return Page(self.client.post(url, fields, follow=True))

    @staticmethod
    def quoted(place):
        """Write a place as it stands in addresses."""
        return quote(place.key)

    def topics(self, **query):
        return self.get(self.start, **query)

    def topic(self, name, **query):
        """Open a topic as one does by its name, then go to its list."""
        opened = self.client.get(self.start, {"topic": name})
        return self.get(opened["Location"], **query)

    def follow(self, page, link):
        return self.get(self._absolute(page, page.links[link]))

    def send(self, page, **fields):
        """Send the page's form, some of its fields changed."""
        action = self._absolute(page, page.action or "")
        return Page(self.client.post(action, {**page.fields, **fields}, follow=True))

    def choose(self, page, action, selected=None, **fields):
        """Select timers of a list, all by default, and ask for an action."""
        if selected is None:
            selected = page.fields["_selected_action"]
        return self.send(page, action=action, _selected_action=selected, **fields)

    @staticmethod
    def _absolute(page, link):
        return page.url + link if link.startswith("?") or not link else link


def ids_of(page, timer_ids):
    """List those of the ids that a list shows, in its order."""
    places = {timer_id: page.html.find(f">{timer_id}</a>") for timer_id in timer_ids}
    return sorted((i for i in places if places[i] >= 0), key=places.get)


def tokens(*timer_ids):
    """Write ids as forms have them."""
    return [to_token(timer_id) for timer_id in timer_ids]


def log():
    """Read the admin's log: flag, name and message of each entry."""
    entries = LogEntry.objects.order_by("pk")
    return [(entry.action_flag, entry.object_repr, entry.get_change_message()) for entry in entries]


def calls_of(url, *names):
    """Count the calls of commands that a server has had, from scripts too."""
    with redis.Redis.from_url(url) as client:
        stats = client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in names)


def bytes_from(url):
    """Count the bytes that a server has sent."""
    with redis.Redis.from_url(url) as client:
        return client.info("stats")["total_net_output_bytes"]
