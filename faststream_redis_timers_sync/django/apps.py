"""The app as Django sees it."""

from django.apps import AppConfig
from django.core.checks import register

from faststream_redis_timers_sync.django import checks


class TimersConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """Registers the system checks, under a label that no project's own app has."""

    name = "faststream_redis_timers_sync.django"
    label = "faststream_redis_timers"
    verbose_name = "Timers"

    def ready(self) -> None:
        """Register the system checks."""
        register(checks.check_settings, "timers")
        register(checks.check_caches, "timers")
        register(checks.check_servers, "timers", deploy=True)
