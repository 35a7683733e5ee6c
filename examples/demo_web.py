"""Adds to `make demo WEB=1` the timers of a shop, a worker for them, and web pages that show both.

The command `faststream-redis-timers web` serves the pages, and prints their address.
"""

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta

import redis

from examples.embedded_server import deaf_to_interrupts
from examples.processes import end
from faststream_redis_timers_sync import Cron, Every, TimersClient

SHOP_WORKER = ("faststream", "run", "examples.demo_web_worker:app")

SHOP_TOPICS = ("invoices", "trials", "reports", "exports", "payments", "payments:dead", "surveys")
"""Topics of the shop; the last two have no worker."""

CUSTOMERS = ("ada", "bob", "cyd", "dan", "eve", "finn", "gus", "hana", "ines", "jon", "kim", "lea")


@contextmanager
def serving_pages(url: str, prefix: str) -> Iterator[str]:
    """Serve web pages of the topics under a prefix, on this machine only.

    Args:
        url: The Redis server.
        prefix: Comes before all topics.

    Yields:
        Their address.

    Raises:
        RuntimeError: They can't be served.
    """
    command = [
        *(sys.executable, "-m", "faststream_redis_timers_sync"),
        *("--redis-url", url, "--prefix", prefix),
        *("web", "--allow-changes", "--show-bodies"),
        # Some topics have no worker: without their names only a search would find them.
        *(word for topic in SHOP_TOPICS for word in ("--topic", topic)),
    ]
    with ExitStack() as ends:
        with deaf_to_interrupts():
            pages = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            ends.enter_context(pages)
            ends.callback(end, pages)
        address = pages.stdout.readline().strip() if pages.stdout else ""
        if not address:
            msg = "there are no web pages: see above"
            raise RuntimeError(msg)
        yield address


def open_shop(timers: TimersClient) -> None:
    """Schedule the timers of a shop: invoices, trials, reports, exports, payments and surveys.

    Args:
        timers: The client.
    """
    chance = random.Random(17)  # noqa: S311  the same shop each time
    now = datetime.now(UTC)

    for number in range(1, 161):
        # Many in the next days, few in a month, some within the hour.
        after = timedelta(hours=min(chance.expovariate(1 / 60), 600), minutes=2)
        customer = chance.choice(CUSTOMERS)
        timers.schedule(
            {"invoice": f"INV-{number:04}", "customer": customer},
            "invoices",
            timer_id=f"INV-{number:04}",
            activate_at=now + after,
            headers={"x-customer": customer},
        )
    for number, customer in enumerate(CUSTOMERS):
        timers.schedule(
            {"customer": customer},
            "trials",
            timer_id=f"trial-{customer}",
            activate_at=now + timedelta(days=number + 1, hours=chance.uniform(0, 12)),
        )

    daily = Cron("0 9 * * MON-FRI", tz="Europe/Berlin")
    timers.schedule({"report": "sales"}, "reports", timer_id="sales-daily", repeat=daily)
    weekly = Cron("30 6 * * MON", tz="Europe/Berlin")
    timers.schedule({"report": "stock"}, "reports", timer_id="stock-weekly", repeat=weekly)
    timers.schedule({"report": "rates"}, "reports", timer_id="rates", repeat=Every(minutes=15))
    yearly = Cron("0 3 1 1 *", tz="Europe/Berlin")
    timers.schedule({"report": "audit"}, "reports", timer_id="audit-yearly", repeat=yearly)
    timers.pause_timer("reports", "rates")

    for customer in CUSTOMERS[:3]:
        what = {"customer": customer, "format": "csv"}
        timers.schedule(what, "exports", timer_id=f"export-{customer}")
    for number in range(4):
        what = {"customer": CUSTOMERS[number], "amount": f"{chance.randrange(10, 90)} EUR"}
        timers.schedule(what, "payments", timer_id=f"PAY-{number + 71}")
    for number in range(6):
        timers.schedule(
            {"survey": str(number)},
            "surveys",
            timer_id=f"survey-{number}",
            activate_at=now + timedelta(hours=number - 2),
        )


def close_shop(timers: TimersClient) -> None:
    """Cancel all timers of the shop, also those of topics without a worker.

    Args:
        timers: The client.
    """
    with suppress(redis.RedisError):
        for topic in SHOP_TOPICS:
            timers.cancel_all(topic)
