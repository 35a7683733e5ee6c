"""Tags for the nonce of a content security policy, which the admin has from Django 6.1 on.

Also the words for counts, which all pages share.
"""

from typing import Any

from django import template
from django.utils.translation import gettext

from faststream_redis_timers_sync.manage.states import COUNT_WORDS, CountName

try:
    from django.utils.csp import nonce_attr
except ImportError:
    nonce_attr = None

register = template.Library()


@register.simple_tag(takes_context=True)  # type: ignore[untyped-decorator]  # Django has no types
def timers_nonce(context: Any, media: Any = None) -> Any:
    """Return the attribute with the nonce, or tags that carry it.

    Args:
        context: The template's context.
        media: Tags to render; None for a tag that the template writes itself.
    """
    if nonce_attr is None:
        return media or ""
    return nonce_attr(context, media)


@register.simple_tag  # type: ignore[untyped-decorator]  # as above
def timers_word(name: CountName) -> str:
    """Return the name of a count, in the user's language.

    Args:
        name: The count.
    """
    return gettext(COUNT_WORDS[name])  # type: ignore[no-any-return]
