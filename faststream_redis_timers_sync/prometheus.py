"""Counts of topics as metrics for Prometheus: pending, running, overdue and paused timers.

    registry.register(TimersCollector(TimersClient(url), ["invoices", "trials"]))

Workers count their deliveries with `faststream_redis_timers.prometheus`.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import NamedTuple

from faststream_redis_timers_sync.protocol.checks import check_number
from faststream_redis_timers_sync.protocol.extras import missing_extra

try:
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    if error.name != "prometheus_client":
        raise
    raise missing_extra(__name__, error, "prometheus") from None

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.manage.stats import TopicStats, count_running, count_topics
from faststream_redis_timers_sync.protocol.keys import plain_text
from faststream_redis_timers_sync.protocol.safe_text import text_of

__all__ = ("TimersCollector",)

_log = logging.getLogger(__name__)


class TimersCollector(Collector):
    """Counts the timers of topics on each scrape. A registry takes only one of them.

    A scrape calls the server once per topic, once per 20 topics and once per 250 topics; with hash
    tags twice per topic and at least once per primary. It never fails because of the server: if
    that is away, refuses or does not reply, ``..._timers_up`` is 0, there are no metrics of topics,
    and the log says why, once.

    Args:
        client: A client; it is never closed.
        topics: The topics to count, without the client's prefix. The label `topic` includes the
            prefix, as workers name topics.
        lease_ttl: Seconds: the longest lease of the topics' subscribers. A topic with more than
            2,000 timers due within such a lease has no ``..._timers_running``, since each of them
            would have to be read.
        timeout: Seconds after which a scrape continues without the server.
        metrics_prefix: The beginning of all metrics' names.

    Raises:
        TypeError: `topics` is a single str, or a number of seconds is not a number.
        ValueError: There is no topic, one is empty or can't be written as UTF-8, or a number of
            seconds is not above 0.
    """

    def __init__(
        self,
        client: TimersClient,
        topics: Iterable[str],
        *,
        lease_ttl: float = 30.0,
        timeout: float = 5.0,
        metrics_prefix: str = "faststream",
    ) -> None:
        """Check the arguments; nothing is sent yet."""
        if isinstance(topics, str):
            msg = f"topics must be several strings, got one: write [{topics!r}]"
            raise TypeError(msg)
        for name, seconds in (("lease_ttl", lease_ttl), ("timeout", timeout)):
            check_number(name, seconds)
            if not 0 < seconds < math.inf:
                msg = f"{name} must be a number of seconds above 0, got {seconds!r}"
                raise ValueError(msg)
        reach = internals_of(client)
        self._client = client
        # By the names that workers use; each of them once.
        self._topics = {plain_text("topic", topic): reach.full(topic) for topic in topics}
        if not self._topics:
            msg = "topics must name at least one topic, got none"
            raise ValueError(msg)
        self._longest_lease = timedelta(seconds=lease_ttl)
        self._timeout = timeout
        self._prefix = metrics_prefix
        self._lock = threading.Lock()
        self._counting: _Counting | None = None
        self._was_up = True

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Return the metrics without values; nothing is sent, so registering needs no server."""
        return iter(self._families())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Count, and return the metrics."""
        counted = self._count_in_time()
        families = self._families()
        families.up.add_metric([], float(counted is not None))
        if counted is not None:
            for stats in counted.topics:
                running = counted.running[stats.topic]
                _add(families, self._topics[stats.topic], stats, running)
        return iter(families)

    def _families(self) -> "_Families":
        return _Families(
            *(
                GaugeMetricFamily(
                    f"{self._prefix}_timers_{name}", _DOCUMENTATION[name], labels=labels
                )
                for name, labels in _LABELS.items()
            )
        )

    def _count_in_time(self) -> "_Counted | None":
        with self._lock:
            # A hanging count is waited for again, so that scrapes don't pile up threads. After
            # a fork its thread is gone.
            if self._counting is None or not self._counting.is_alive():
                self._counting = _Counting(self._count)
                self._counting.start()
            counting = self._counting
        counting.join(self._timeout)
        if counting.is_alive():
            self._log_problem(f"no reply within {self._timeout} seconds")
            return None
        if counting.error is not None:
            self._log_problem(f"{type(counting.error).__name__}: {text_of(counting.error)}")
            return None
        self._log_problem(None)
        return counting.counted

    def _count(self) -> "_Counted":
        return _Counted(
            count_topics(self._client, list(self._topics)).topics,
            count_running(self._client, self._topics, longest_lease=self._longest_lease),
        )

    def _log_problem(self, problem: str | None) -> None:
        was_up, self._was_up = self._was_up, problem is None
        if was_up and problem is not None:
            _log.warning("timers can't be counted: %s", problem)
        elif problem is None and not was_up:
            _log.info("timers can be counted again")


class _Counted(NamedTuple):
    """The counts of a scrape."""

    topics: list[TopicStats]
    running: dict[str, int | None]


class _Families(NamedTuple):
    """The metrics of a scrape."""

    up: GaugeMetricFamily
    pending: GaugeMetricFamily
    running: GaugeMetricFamily
    overdue: GaugeMetricFamily
    oldest_overdue_seconds: GaugeMetricFamily
    paused: GaugeMetricFamily
    workers: GaugeMetricFamily


_DOCUMENTATION = {
    "up": "Whether the timers could be counted",
    "pending": "Pending timers, running ones included, by topic",
    "running": "Timers that are leased to workers, by topic",
    "overdue": "Timers that are due but not leased, or whose lease has expired, by topic",
    "oldest_overdue_seconds": "How long the first overdue timer has been overdue, by topic",
    "paused": "Paused recurring timers; they are pending, and never overdue, by topic",
    "workers": "Listening subscribers, by topic",
}

_LABELS = {name: [] if name == "up" else ["topic"] for name in _Families._fields}


def _add(families: _Families, topic: str, stats: TopicStats, running: int | None) -> None:
    families.pending.add_metric([topic], stats.pending)
    families.overdue.add_metric([topic], stats.overdue)
    families.oldest_overdue_seconds.add_metric([topic], stats.overdue_for.total_seconds())
    families.paused.add_metric([topic], stats.paused)
    if running is not None:
        families.running.add_metric([topic], running)
    if stats.workers is not None:
        families.workers.add_metric([topic], stats.workers)


class _Counting(threading.Thread):
    """Counts in a daemon thread, which does not delay the end of the process.

    Args:
        count: Counts.
    """

    def __init__(self, count: Callable[[], _Counted]) -> None:
        super().__init__(name="counting timers", daemon=True)
        self._count = count
        self.counted: _Counted | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        """Count."""
        try:
            self.counted = self._count()
        except Exception as error:  # noqa: BLE001  a scrape shows all else, whatever happens
            self.error = error
