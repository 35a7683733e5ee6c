"""Forms: which timers to act on, and when they are to be due."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime, AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.translation import gettext, gettext_lazy as _

from faststream_redis_timers_sync.django.admin.formatting import zone_name
from faststream_redis_timers_sync.django.clients import as_aware
from faststream_redis_timers_sync.django.tokens import Place
from faststream_redis_timers_sync.manage.chosen import Chosen
from faststream_redis_timers_sync.manage.forms import read_chosen
from faststream_redis_timers_sync.manage.times import parse_delay
from faststream_redis_timers_sync.protocol.times import ask_due

MOST_NAMED = 500
"""The most timers that one request may name; a page has fewer."""


def chosen_in(place: Place, form: Mapping[str, Any], named: Iterable[str]) -> Chosen | None:
    """Read from a form which timers to act on.

    Args:
        place: Their topic.
        form: The form.
        named: The tokens of the timers that were selected one by one.

    Returns:
        None if none was selected.

    Raises:
        ValueError: The form was not made by these pages.
    """
    # A form that lost this field must not mean everything.
    search = form.get("search", "") if form.get("select_across") == "1" else None
    return read_chosen(place.topic, named, search, most=MOST_NAMED)


def _zone_text() -> str:
    return gettext("Time zone: %s") % zone_name(timezone.now())  # type: ignore[no-any-return]


class RescheduleForm(forms.Form):  # type: ignore[misc]  # Django has no types
    """Asks for a delay or a time."""

    delay = forms.CharField(
        label=_("In"),
        required=False,
        widget=AdminTextInputWidget(attrs={"placeholder": "1h30m"}),
        help_text=_("From now, such as 3d, 1h30m or 45s; 0s makes them due at once."),
    )
    at = forms.SplitDateTimeField(
        label=_("Or at"),
        required=False,
        widget=AdminSplitDateTime,
        help_text=lazy(_zone_text, str)(),
    )

    def clean_delay(self) -> timedelta | None:
        """Read the delay.

        Raises:
            ValidationError: It can't be read.
        """
        text = self.cleaned_data["delay"]
        try:
            return parse_delay(text) if text else None
        except ValueError as error:
            raise ValidationError(str(error)) from error

    def clean_at(self) -> datetime | None:
        """Add the time zone to the time."""
        return as_aware(self.cleaned_data["at"])

    def clean(self) -> Any:
        """Check that exactly one of the two was given, and is not too far in the future.

        Raises:
            ValidationError: The check failed.
        """
        cleaned = super().clean()
        if self.errors:
            return cleaned
        if (self.activate_in is None) == (self.activate_at is None):
            raise ValidationError(_("Say when: fill in either the delay or the time."))
        try:
            ask_due(self.activate_in, self.activate_at)
        except ValueError as error:
            raise ValidationError(str(error)) from error
        return cleaned

    def due_at(self, now: datetime) -> datetime:
        """Return the requested due time.

        Args:
            now: The server's time, from which a delay counts.
        """
        return self.activate_at or now + (self.activate_in or timedelta())

    @property
    def activate_in(self) -> timedelta | None:
        """The requested delay."""
        return self.cleaned_data.get("delay")  # type: ignore[no-any-return]

    @property
    def activate_at(self) -> datetime | None:
        """The requested time."""
        return self.cleaned_data.get("at")  # type: ignore[no-any-return]
