"""Orders in the admin; timers are there without a line."""

from django.contrib import admin
from shop.models import Order

admin.site.register(Order, list_display=["pk", "item", "status", "created_at"])
