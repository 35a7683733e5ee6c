"""Orders in the admin; timers appear there without any code."""

from django.contrib import admin
from shop.models import Order

admin.site.register(Order, list_display=["pk", "item", "status", "created_at"])
