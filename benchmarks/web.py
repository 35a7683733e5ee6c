"""How long the web pages take where a topic holds a million timers, beside a thousand topics."""

import io
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from re import search
from typing import Any, TypeVar

from benchmarks.commands import Calls, Meter
from benchmarks.measured import Run
from benchmarks.page import Limit, Table
from benchmarks.systems.measures import MIB, peak_memory
from faststream_redis_timers_sync import Every, TimersClient
from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.operation import Operation
from faststream_redis_timers_sync.web import Access, TimerPages

LARGE = "million"

_MOST_MS = 300
"""Milliseconds that a page may take."""

_MOST_SCRIPT_MS = 5
"""Milliseconds that one of its script calls may keep the server busy, as `Calls.holds` has it."""

_MOST_MEMORY = 16 * MIB
"""Memory that pages may take, beyond what the first ones took."""

_TOPICS = 1000
_OVERDUE = 10
"""One of so many timers is overdue."""

_TURNS = 20
_PAGES = 500
_AT_ONCE = 5000

_T = TypeVar("_T")


@dataclass
class _Times:
    """How long the pages of one kind took.

    Args:
        first: Seconds of each first page.
        further: Seconds of each page that went on.
    """

    first: list[float] = field(default_factory=list)
    further: list[float] = field(default_factory=list)

    @property
    def row(self) -> tuple[str, ...]:
        """Its cells: how many pages, their median and the longest."""
        every = [*self.first, *self.further]
        return (
            f"{len(every):,}",
            f"{1000 * statistics.median(every):.0f}",
            f"{1000 * max(every):.0f}",
        )


def check_web(run: Run) -> tuple[list[Limit], Table | None]:
    """No page takes long, no call of its scripts either, and memory stays as it is."""
    count, topics = run.sized(1_000_000), run.sized(_TOPICS)
    names = [f"topic-{n}" for n in range(topics)]
    run.server.empty()
    run.tell(f"{count:,} timers in a topic, and {topics:,} topics")
    _fill(run, count)
    with TimersClient(run.server.url) as client:
        _fill_topics(client, names)
        pages = _pages(client, [LARGE, *names])
        times = _measure(run, pages)
        calls = _meter(run, client, pages)
        memory = _grown(run, client, [LARGE, *names])
    run.server.empty()
    worst = max(times, key=lambda what: max(times[what].first + times[what].further))
    longest = 1000 * max(times[worst].first + times[worst].further)
    slowest = max(calls, key=lambda what: calls[what].worst[1])
    count_of_pages = run.sized(_PAGES)
    limits = [
        Limit(
            f"Web pages, {count:,} timers in a topic, {topics:,} topics: none takes more than "
            f"{_MOST_MS} ms",
            f"{longest:.0f} ms ({worst})",
            longest <= _MOST_MS,
        ),
        Limit(
            f"nor does a call of their scripts take more than {_MOST_SCRIPT_MS} ms of the server",
            f"{1000 * calls[slowest].worst[1]:.1f} ms ({slowest})",
            all(one.holds for one in calls.values()),
        ),
        Limit(
            f"and {count_of_pages:,} pages take up to {_MOST_MEMORY // MIB} MiB",
            f"{memory / MIB:.1f} MiB",
            memory <= _MOST_MEMORY,
        ),
    ]
    rows = [(what, *one.row) for what, one in times.items()]
    return limits, Table(("page", "asked", "median, ms", "longest, ms"), rows)


def _fill(run: Run, count: int) -> None:
    """Put timers into the large topic: some overdue, the others due within 30 days."""
    keys = KeySpace().of(LARGE)
    chance = random.Random(0)  # noqa: S311  it picks ids and due times
    now, month = time.time(), timedelta(days=30).total_seconds()
    with TimersClient(run.server.url) as client:
        client.schedule("x" * 200, LARGE, timer_id="model", activate_in=timedelta(days=1))
        payload = run.server.client.hget(keys.payloads, "model")
        for n in range(10):
            client.schedule("x", LARGE, timer_id=f"series-{n}", repeat=Every(hours=1))
    for start in range(0, count, _AT_ONCE):
        ids = [f"{chance.getrandbits(64):016x}-{n}" for n in range(start, start + _AT_ONCE)]
        due = {
            one: round(now - n if n % _OVERDUE == 0 else now + chance.uniform(60, month), 6)
            for n, one in enumerate(ids)
        }
        run.server.client.zadd(keys.timeline, due)  # type: ignore[arg-type]
        run.server.client.hset(keys.payloads, mapping=dict.fromkeys(ids, payload))  # type: ignore[arg-type]


def _fill_topics(client: TimersClient, names: list[str]) -> None:
    for n, name in enumerate(names):
        client.schedule_batch(["x"] * 10, name, activate_in=timedelta(minutes=n))


def _pages(client: TimersClient, names: list[str]) -> dict[str, tuple[TimerPages, str]]:
    """Name the pages that are asked for: each with the application and the query."""
    known = TimerPages(client, allow=_everything, topics=names, longest_lease=30)
    # Nobody has told it how long leases are, so running timers may be anywhere.
    unknown = TimerPages(client, allow=_everything, topics=names)
    timer_id = next(client.iter_timers(LARGE, bodies=False)).timer_id
    queries = {
        "topics": "",
        "topics, by minutes": "range=hour",
        "a topic": f"topic={LARGE}",
        "a timer": f"topic={LARGE}&timer={timer_id}",
        "search, none matches": f"topic={LARGE}&q=nobody",
        "search, a whole ID": f"topic={LARGE}&q={timer_id}",
        "search, one in 4,096 matches": f"topic={LARGE}&q=abc*",
        "search, all match": f"topic={LARGE}&q=?*",
        "search among overdue ones": f"topic={LARGE}&q=abc*&only=overdue",
        "search among recurring ones": f"topic={LARGE}&q=se*&only=recurring",
        "waiting": f"topic={LARGE}&only=waiting",
        "overdue": f"topic={LARGE}&only=overdue",
        "recurring": f"topic={LARGE}&only=recurring",
        "paused": f"topic={LARGE}&only=paused",
        "running": f"topic={LARGE}&only=running",
    }
    pages = {what: (known, query) for what, query in queries.items()}
    return {**pages, "running, leases unknown": (unknown, queries["running"])}


def _measure(run: Run, pages: dict[str, tuple[TimerPages, str]]) -> dict[str, _Times]:
    """Ask for each page some times, and once go on as long as there is a link."""
    found = {}
    for what, (app, query) in pages.items():
        run.tell(what)
        found[what] = times = _Times()
        times.first += (_ask(app, query)[0] for _ in range(run.sized(_TURNS)))
        times.further += _go_on(app, query, 10 * run.sized(_TURNS))
    return found


class _Metered(Runner):
    """Runs operations like its parent, and meters scripts."""

    __slots__ = ("meter",)

    def __init__(self, runner: Runner, meter: Meter) -> None:
        super().__init__(runner.client)
        self.meter = meter

    def run(self, operation: Operation[_T]) -> _T:
        if operation.script is None:
            return super().run(operation)
        return self.meter.ask(operation.name, operation)


def _meter(
    run: Run, client: TimersClient, pages: dict[str, tuple[TimerPages, str]]
) -> dict[str, Calls]:
    """Ask for the pages once more, and tell how long each of their scripts kept the server busy."""
    meter = Meter(run.server)
    plain = client._runner  # noqa: SLF001  the pages have no other way to the server
    client._runner = _Metered(plain, meter)  # noqa: SLF001
    try:
        for what, (app, query) in pages.items():
            run.tell(f"Scripts: {what}")
            _ask(app, query)
            list(_go_on(app, query, 10))
    finally:
        client._runner = plain  # noqa: SLF001
    return meter.calls


def _go_on(app: TimerPages, query: str, most: int) -> Iterator[float]:
    """Follow the link to the next page, as often as there is one, and give the seconds of each."""
    _, html = _ask(app, query)
    for _ in range(most):
        link = search(r'href="\?([^"]*)">(?:Go on|Next page)<', html)
        if link is None:
            return
        seconds, html = _ask(app, unescape(link[1]))
        yield seconds


def _grown(run: Run, client: TimersClient, names: list[str]) -> int:
    """Tell how much memory pages take beyond what the first ones took."""
    app = TimerPages(client, allow=_everything, topics=names, longest_lease=30)
    queries = ["", f"topic={LARGE}", f"topic={LARGE}&q=abc*", f"topic={LARGE}&only=waiting"]
    turns = run.sized(_PAGES) // len(queries)
    before = 0
    run.tell(f"Memory of {len(queries) * turns:,} pages")
    for turn in range(2 * turns):
        if turn == turns:
            before = peak_memory(anew=True)
        for query in queries:
            _ask(app, f"{query}&seen={turn}")
    return peak_memory() - before


def _everything(_: Any) -> Access:
    return Access("measured", may={"run", "reschedule", "cancel", "redrive", "cancel_all"})


def _ask(app: TimerPages, query: str) -> tuple[float, str]:
    """Ask for a page through WSGI, and give the seconds that it took."""
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": query,
        "HTTP_HOST": "localhost",
        "wsgi.input": io.BytesIO(),
    }
    begun = time.perf_counter()
    body = b"".join(app.wsgi(environ, lambda status, _: statuses.append(status)))
    seconds = time.perf_counter() - begun
    if statuses != ["200 OK"]:
        msg = f"?{query} was answered with {statuses}"
        raise RuntimeError(msg)
    return seconds, body.decode()
