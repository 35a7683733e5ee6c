"""Messages as bodies, the way FastStream encodes and decodes them.

JSON is pydantic's where that is installed, loaded at the first message that
needs it: the broker's serializer is the same, and so are the bytes. Without it
the standard library writes them.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from types import NoneType
from typing import Any
from uuid import UUID

TEXT = "text/plain"
JSON = "application/json"


def encode_message(message: Any) -> tuple[bytes, str | None]:
    """Encode a message.

    Args:
        message: bytes and None are sent unchanged, str as UTF-8 text; everything else as
            JSON: JSON's types, pydantic models, dataclasses, datetimes, UUIDs, Decimals, Enums.

    Returns:
        The body and its content type (None for bytes and None).

    Raises:
        Exception: The encoder's own, if the message can't be encoded.
    """
    if message is None:
        return b"", None
    if isinstance(message, bytes):
        return message, None
    if isinstance(message, str):
        return message.encode(), TEXT
    return _json_encoder()(message), JSON


def decode_body(body: bytes, content_type: str | None) -> Any:
    """Decode a body: text as str, JSON as its types.

    Args:
        body: The encoded body.
        content_type: Its MIME type. Without one a body that is JSON is decoded
            as such, any other stays bytes.

    Raises:
        ValueError: The body is not what its content type says.
    """
    if content_type:
        if content_type == TEXT:
            return body.decode()
        return _load_json(body) if content_type.startswith(JSON) else body
    try:
        return _load_json(body)
    except ValueError:
        return body


def _load_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError as error:
        msg = "the body is JSON that is nested too deeply"
        raise ValueError(msg) from error


def check_json(body: bytes, content_type: str | None, name: str) -> None:
    """Refuse NaN and infinities in JSON: encoders write them as bare words, which are not JSON.

    Args:
        body: The encoded body.
        content_type: Its MIME type; anything but JSON passes.
        name: The name of the message, for the error.

    Raises:
        ValueError: There is one; the error says where.
    """
    # All but a few messages end here.
    if b"NaN" not in body and b"Infinity" not in body:
        return
    if content_type is None or not content_type.startswith(JSON):
        return
    word = next(
        (one for one in _JSON_TOKEN.finditer(body) if one[0].endswith((b"NaN", b"Infinity"))), None
    )
    if word is not None:
        msg = (
            f"{name}{_path_to(body, word.start())} is {word[0].decode()}, which JSON can't "
            "represent: send None or a string instead"
        )
        raise ValueError(msg)


_JSON_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{},:]|NaN|-?Infinity')
# A string ends with its quote, so what ends like one of the words is one.


def _path_to(body: bytes, position: int) -> str:
    path: list[str | int] = []
    text = b""
    for token in _JSON_TOKEN.findall(body, 0, position):
        if token == b"[":
            path.append(0)
        elif token == b"{":
            path.append("")
        elif token in b"]}":
            path.pop()
        elif token == b":":
            path[-1] = str(json.loads(text))[:_MOST_OF_A_KEY]
        elif token != b",":
            text = token
        elif isinstance(path[-1], int):
            path[-1] += 1
    return "".join(f"[{key!r}]" for key in path)


_MOST_OF_A_KEY = 80
"""Characters."""


@cache
def _json_encoder() -> Callable[[Any], bytes]:
    try:
        from pydantic_core import to_json  # noqa: PLC0415  loaded when first needed
    except ImportError:
        return dump_json
    return to_json


def dump_json(message: Any) -> bytes:
    """Write JSON with the standard library, as pydantic would.

    Args:
        message: Anything that `encode_message` sends as JSON, but pydantic models.

    Raises:
        TypeError: It holds something that JSON can't represent.
    """
    try:
        text = _dump(message)
    except TypeError:
        # Perhaps because of a key, such as a UUID.
        text = None
    if text is None or _ODD_KEY.search(text):
        text = _dump(_with_text_keys(message))
    return text.encode()


def _dump(message: Any) -> str:
    return json.dumps(message, default=_plain, ensure_ascii=False, separators=(",", ":"))


_ODD_KEY = re.compile(r'"(?:null|NaN|-?Infinity)":')
"""A key that may have been None, NaN or an infinity, which pydantic writes otherwise."""


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {_text_key(key): _with_text_keys(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_text_keys(one) for one in value]
    if isinstance(value, (str, int, float, NoneType)):
        return value
    return _with_text_keys(_plain(value))


def _text_key(key: Any) -> str:
    if isinstance(key, tuple):
        return ",".join(map(_text_key, key))
    if key is None:
        return "None"
    if isinstance(key, float) and not math.isfinite(key):
        return float.__repr__(key)
    if isinstance(key, (int, float)):
        # Also of a member of an Enum; True is true.
        return json.dumps(key)
    plain = key if isinstance(key, str) else _plain(key)
    if isinstance(key, Enum) and not isinstance(key, str):
        return _text_key(plain)
    if not isinstance(plain, str):
        msg = f"a {type(key).__name__} can't be written as JSON where it is a key"
        raise TypeError(msg)
    return plain


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (datetime, date, time)):
        text = value.isoformat()
        is_utc = getattr(value, "tzinfo", None) is not None and value.utcoffset() == timedelta(0)  # type: ignore[union-attr]
        return text.removesuffix("+00:00") + "Z" if is_utc else text
    if isinstance(value, timedelta):
        return _iso_duration(value)
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode()
    if isinstance(value, (set, frozenset)):
        return list(value)
    msg = f"a {type(value).__name__} can't be written as JSON"
    raise TypeError(msg)


def _iso_duration(value: timedelta) -> str:
    sign = "-" if value < timedelta(0) else ""
    value = abs(value)
    years, days = divmod(value.days, 365)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    date_part = _units((years, "Y"), (days, "D"))
    time_part = _units((hours, "H"), (minutes, "M"))
    if seconds or fraction:
        time_part += f"{seconds}{fraction}S"
    if not date_part and not time_part:
        return "PT0S"
    return f"{sign}P{date_part}" + (f"T{time_part}" if time_part else "")


def _units(*counts: tuple[int, str]) -> str:
    return "".join(f"{count}{unit}" for count, unit in counts if count)
