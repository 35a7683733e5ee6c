"""Views as projects have them."""

from datetime import timedelta

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpResponse

from django_project.models import Invoice
from faststream_redis_timers_sync.django import get_client, schedule_on_commit

_DELAY = timedelta(days=3)


def issue(request):
    invoice = Invoice.objects.create(number=request.GET["number"])
    schedule_on_commit(invoice.number, "invoices", timer_id=invoice.number, activate_in=_DELAY)
    is_early = get_client().has_pending("invoices", invoice.number)
    return HttpResponse(f"pending before the commit: {is_early}")


def issue_and_fail(request):
    issue(request)
    msg = "the view fails after it has scheduled"
    raise RuntimeError(msg)


async def remind_later(request):
    schedule = sync_to_async(get_client().schedule, thread_sensitive=False)
    return HttpResponse(await schedule(request.GET["number"], "invoices", activate_in=_DELAY))


@transaction.atomic
def _issue(number):
    Invoice.objects.create(number=number)
    return schedule_on_commit(number, "invoices", activate_in=_DELAY)


async def issue_without_blocking(request):
    return HttpResponse(await sync_to_async(_issue)(request.GET["number"]))
