"""The site's search finds, among its first pages, what people look for by the words they use.

The index is asked in Python the way the theme asks it in a browser, which is written in its
`integrations/search`: whole titles before text, each word a beginning of words, pages before
sections of pages.
"""

import json
import re

import pytest
from lunr.builder import Builder
from lunr.pipeline import Pipeline
from lunr.stop_word_filter import stop_word_filter
from pages import NAVIGATION

SHOWN = 3
"""Pages that are seen without scrolling."""

EXPECTED = {
    "dead letter queue": "how-to/dead-letter-queue.html",
    "DLQ": "how-to/dead-letter-queue.html",
    "redrive": "how-to/dead-letter-queue.html",
    "retry": "how-to/retries.html",
    "cron": "reference/cron.html",
    "recurring": "how-to/recurring-timers.html",
    "idempotent": "how-to/idempotency.html",
    "exactly once": "how-to/idempotency.html",
    "outbox": "how-to/outbox.html",
    "cluster": "how-to/redis-cluster.html",
    "sentinel": "how-to/sentinel.html",
    "graceful shutdown": "how-to/deploy.html",
    "kubernetes": "how-to/deploy.html",
    "scale": "scaling.html",
    "latency": "scaling.html",
    "cancel": "guide.html",
    "reschedule": "guide.html",
    "celery eta": "how-to/from-celery.html",
    "migrate": "how-to/migrate-from-0.5.html",
    "test": "testing.html",
    "time travel": "testing.html",
    "health check": "how-to/health-checks.html",
    "liveness": "how-to/health-checks.html",
    "dashboard": "how-to/web-pages.html",
    "prometheus": "observability.html",
    "fastapi": "http.html",
    "acl": "security.html",
    "options": "reference/options.html",
}
"""What is looked for, and the page that answers it."""


class Search:
    """The theme's search over the index of a site."""

    def __init__(self, made):
        config = made["config"]
        self._separator = re.compile(config["separator"])
        self._articles = {}
        self._boosts = {}
        builder = Builder()
        builder.pipeline = Pipeline()
        if "stopWordFilter" in config["pipeline"]:
            builder.pipeline.add(stop_word_filter)
        assert "stemmer" not in config["pipeline"], "words are no longer beginnings alone"
        builder.b(0)
        builder.ref("location")
        for name, field in config["fields"].items():
            builder.field(name, boost=field["boost"])
        for document in made["docs"]:
            # A page comes before its sections.
            self._articles.setdefault(document["location"].partition("#")[0], document["location"])
            fields = {name: self._words_of(document.get(name)) for name in config["fields"]}
            boost = document.get("boost", 1)
            builder.add({"location": document["location"], **fields}, {"boost": boost})
        self._index = builder.build()

    def _words_of(self, text):
        texts = text if isinstance(text, list) else [text or ""]
        pieces = [piece for text in texts for piece in re.split(r"<[^>]*>", text)]
        return [word for piece in pieces for word in self._separator.split(piece) if word]

    def pages(self, query):
        """Give the pages that are found, best first."""
        words = [word.lower() for word in self._separator.split(query) if word]
        scored = []
        for found in self._index.search(" ".join(f"{word}*" for word in words)):
            location = found["ref"]
            page = self._articles[location.partition("#")[0]]
            terms = found["match_data"].metadata
            hits = {word: any(term.startswith(word) for term in terms) for word in words}
            counted = [hit for word, hit in hits.items() if hit or stop_word_filter(word)]
            boost = (location == page) + sum(counted) / len(counted)
            scored.append((found["score"] * (1 + boost**2), page))
        scored.sort(key=lambda one: one[0], reverse=True)
        return list(dict.fromkeys(page for _, page in scored))


@pytest.fixture(scope="module")
def search(site):
    return Search(json.loads((site / "search" / "search_index.json").read_text()))


@pytest.mark.parametrize(("query", "page"), EXPECTED.items())
def test_the_page_is_among_the_first(search, query, page):
    assert page in search.pages(query)[:SHOWN]


@pytest.mark.parametrize(("title", "place"), NAVIGATION)
def test_a_page_is_found_by_its_title(search, title, place):
    if title == "Home":
        return
    assert place.replace(".md", ".html") in search.pages(title)[:SHOWN]
