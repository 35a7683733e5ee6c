"""The nonce of a content security policy, which the admin's tags carry from Django 6.1 on."""

from typing import Any

from django import template

try:
    from django.utils.csp import nonce_attr
except ImportError:
    nonce_attr = None

register = template.Library()


@register.simple_tag(takes_context=True)  # type: ignore[untyped-decorator]  # Django has no types
def timers_nonce(context: Any, media: Any = None) -> Any:
    """Write the attribute with the nonce, or tags that carry it.

    Args:
        context: The template's context.
        media: Tags to render; None where it is one that the template writes itself.
    """
    if nonce_attr is None:
        return media or ""
    return nonce_attr(context, media)
