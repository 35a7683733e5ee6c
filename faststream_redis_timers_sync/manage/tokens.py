"""Ids and other text as one word for addresses and forms.

Tokens are base64url: an id may hold line breaks, which browsers change, or NUL, or no UTF-8.
"""

import base64

from faststream_redis_timers_sync.protocol.keys import decode_id, encode_known_id


def to_token(text: str) -> str:
    """Return text as base64url.

    Args:
        text: The text; surrogate escapes stand for bytes.
    """
    return base64.urlsafe_b64encode(encode_known_id(text)).decode().rstrip("=")


def from_token(token: str) -> str:
    """Decode a token of `to_token`.

    Args:
        token: The token.

    Raises:
        ValueError: It is not base64url.
    """
    padded = token + "=" * (-len(token) % 4)
    return decode_id(base64.b64decode(padded, altchars=b"-_", validate=True))
