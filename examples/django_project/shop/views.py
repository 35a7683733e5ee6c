"""The shop as JSON: list orders, place an order, pay."""

from datetime import timedelta

from django import forms
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe
from shop.models import Order

from faststream_redis_timers_sync.django import cancel_on_commit, get_client, schedule_on_commit


class OrderForm(forms.ModelForm):
    """The fields of an order."""

    seconds = forms.FloatField(min_value=0, max_value=86_400, required=False)

    class Meta:
        """Fields from the model."""

        model = Order
        fields = ("item",)

    @property
    def time_to_pay(self) -> timedelta:
        """How long the customer has to pay."""
        seconds = self.cleaned_data["seconds"]
        return settings.TIME_TO_PAY if seconds is None else timedelta(seconds=seconds)


# API clients have no CSRF cookie.
@csrf_exempt
def orders(request: HttpRequest) -> JsonResponse:
    return place_order(request) if request.method == "POST" else list_orders(request)


@require_safe
def list_orders(_: HttpRequest) -> JsonResponse:
    return JsonResponse({"orders": [order.facts() for order in Order.objects.order_by("pk")]})


def place_order(request: HttpRequest) -> JsonResponse:
    form = OrderForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"errors": form.errors}, status=400)
    with transaction.atomic():
        order = form.save()
        schedule_on_commit(
            order.pk,
            Order.UNPAID_TOPIC,
            timer_id=str(order.pk),
            activate_in=form.time_to_pay,
        )
    return JsonResponse(order.facts(), status=201)


@csrf_exempt
@require_POST
@transaction.atomic
def pay(_: HttpRequest, pk: int) -> JsonResponse:
    order = get_object_or_404(Order.objects.select_for_update(), pk=pk)
    if order.status == Order.Status.EXPIRED:
        return JsonResponse(order.facts(), status=409)
    order.status = Order.Status.PAID
    order.save()
    cancel_on_commit(Order.UNPAID_TOPIC, str(order.pk))
    return JsonResponse(order.facts())


@require_safe
def health(_: HttpRequest) -> JsonResponse:
    is_up = get_client().ping()
    return JsonResponse({"timers": "up" if is_up else "down"}, status=200 if is_up else 503)
