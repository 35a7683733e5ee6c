"""docs/how-to/outbox.md, done as it says: Redis away, a rollback, a relay that dies half way."""

import sys

import pytest
from running import running
from waiting import wait_until

PAGE = "docs/how-to/outbox.md"

STATES = "from shop.models import *; print(*Order.objects.values_list('item', 'status'))"

ROLLED_BACK = """
from django.db import transaction
from shop.orders import place
try:
    with transaction.atomic():
        place("soap")
        raise LookupError
except LookupError:
    pass
"""


@pytest.fixture
def shop(write_page, guide_environment, python):
    """Write the page's shop and make its tables; give what runs Python code in it."""
    write_page(PAGE)
    guide_environment["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    python("-m", "django", "migrate", "--run-syncdb", "--verbosity=0")

    def run(code):
        return python("-c", f"import django; django.setup()\n{code}")

    return run


def outbox_of(shop):
    return int(shop("from shop.models import *; print(OutboxTimer.objects.count())"))


def test_what_was_ordered_while_redis_was_away_expires(
    tmp_path, shop, guide_environment, own_url, own_redis
):
    guide_environment["REDIS_URL"] = f"unix://{tmp_path}/nobody.sock"
    shop("from shop.orders import *; place('tea', timedelta(0)); pay(place('cake', timedelta(0)))")
    shop(ROLLED_BACK)
    assert outbox_of(shop) == 3

    guide_environment["REDIS_URL"] = own_url
    worker = [sys.executable, "-m", "django", "timers_worker", "worker:app", "--app-dir", tmp_path]
    output = tmp_path / "output"
    with running(worker, output, "app started", guide_environment):
        wait_until(lambda: "order 1 has expired" in output.read_text(), timeout=30)
        wait_until(lambda: own_redis.zcard("timers_timeline:unpaid-orders") == 0)
        assert outbox_of(shop) == 0
        # A nudge: nobody waits for the relay's next turn.
        shop("from shop.orders import *; place('milk', timedelta(0))")
        wait_until(lambda: "order 3 has expired" in output.read_text(), timeout=9)

    assert shop(STATES) == "('tea', 'expired') ('cake', 'paid') ('milk', 'expired')\n"
    assert own_redis.zrange("timers_timeline:outbox", 0, -1) == [b"relay"]


def test_a_relay_that_dies_half_way_leaves_one_timer(shop, own_redis):
    shop("from shop.orders import *; place('tea')")
    dies = """
import faststream_redis_timers_sync.django as app
from shop.models import OutboxTimer
def die(row): raise SystemExit
OutboxTimer.delete = die
from worker import relay
try: relay._original_call()
except SystemExit: pass
"""
    shop(dies)
    [(_, first)] = own_redis.zrange("timers_timeline:unpaid-orders", 0, -1, withscores=True)
    assert outbox_of(shop) == 1

    shop("from worker import relay; relay._original_call()")

    assert own_redis.zrange("timers_timeline:unpaid-orders", 0, -1, withscores=True) == [
        (b"order:1", first)
    ]
    assert outbox_of(shop) == 0
