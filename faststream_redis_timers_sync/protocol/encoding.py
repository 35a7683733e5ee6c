"""Messages as bodies, the way FastStream encodes and decodes them.

JSON is pydantic's where that is installed, loaded at the first message that
needs it: the broker's serializer is the same, and so are the bytes. Without it
the standard library writes them.
"""

import dataclasses
import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any
from uuid import UUID

TEXT = "text/plain"
JSON = "application/json"


def encode_message(message: Any) -> tuple[bytes, str | None]:
    """Encode a message.

    Args:
        message: bytes and None go as they are, str as UTF-8 text; all else is
            JSON: its own types, pydantic models, dataclasses, datetimes, UUIDs,
            Decimals, Enums.

    Returns:
        The body and its content type (None for bytes and None).

    Raises:
        Exception: The encoder's own, where the message can't be encoded.
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
        TypeError: It holds something that JSON has no place for.
    """
    return json.dumps(message, default=_plain, ensure_ascii=False, separators=(",", ":")).encode()


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
