"""The model that stands for timers in Django: permissions, the admin, its log. It has no table."""

from typing import Any

from django.db import models
from django.utils.translation import gettext, gettext_lazy as _

from faststream_redis_timers_sync.django.tokens import Place, read_place
from faststream_redis_timers_sync.manage.text import escape


class NoTimers(models.Manager):  # type: ignore[misc]  # Django has no types
    """Finds nothing and asks no database: timers live in Redis."""

    def get_queryset(self) -> Any:
        """Return a query set that is empty without a query."""
        return super().get_queryset().none()


class Timer(models.Model):  # type: ignore[misc]  # as above
    """A timer, or a whole topic, as Django's permissions and the admin's log name it.

    Use `get_client` to schedule, cancel and read timers.
    """

    key = models.TextField(primary_key=True)

    objects = NoTimers()

    class Meta:
        """It has no table, and nothing is added in the admin."""

        managed = False
        # So that dumpdata --all asks no table either.
        base_manager_name = "objects"
        default_manager_name = "objects"
        default_permissions = ("view", "change", "delete")
        verbose_name = _("timer")
        verbose_name_plural = _("timers")

    def __str__(self) -> str:
        """Return timer and topic, without characters that a database refuses."""
        place = self.place
        if not place.timer_id:
            return gettext("topic %(topic)s") % {"topic": escape(place.topic)}  # type: ignore[no-any-return]
        return f"{escape(place.timer_id)} ({escape(place.topic)})"

    @property
    def place(self) -> Place:
        """Where it is."""
        return read_place(self.key)
