"""An admin site of the project's own, beside the default one."""

from django.contrib.admin import AdminSite

from faststream_redis_timers_sync.django.admin import TimerAdmin
from faststream_redis_timers_sync.django.models import Timer

office = AdminSite(name="office")
office.register(Timer, TimerAdmin)
