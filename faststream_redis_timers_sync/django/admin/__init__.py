"""Timers in Django's admin, which imports this module if it is installed."""

from django.contrib import admin

from faststream_redis_timers_sync.django.admin.site import TimerAdmin
from faststream_redis_timers_sync.django.models import Timer

__all__ = ("TimerAdmin",)

admin.site.register(Timer, TimerAdmin)
