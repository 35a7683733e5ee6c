"""The worker, a FastStream app: expires orders that nobody has paid, and counts orders daily.

Run it alone: `python manage.py timers_worker worker:app`, which sets up Django first.
"""

from django.conf import settings
from faststream import FastStream
from shop.models import Order
from shop.series import COUNTS_TOPIC

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.django import django_handler

broker = TimersBroker(settings.TIMERS["default"]["URL"])
app = FastStream(broker)


@broker.subscriber(Order.UNPAID_TOPIC)
@django_handler
def expire(order_id: int) -> None:
    # Delivery is at least once, and the customer may have paid at the last moment.
    unpaid = Order.objects.filter(pk=order_id, status=Order.Status.UNPAID)
    if unpaid.update(status=Order.Status.EXPIRED):
        print(f"Order {order_id} has expired", flush=True)


@broker.subscriber(COUNTS_TOPIC)
@django_handler
def count(status: str) -> None:
    print(f"Orders that are {status}: {Order.objects.filter(status=status).count()}", flush=True)
