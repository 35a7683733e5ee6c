"""Envelopes: a body and its headers as bytes, and back.

The format is FastStream's binary message format v1, all numbers big-endian:

    magic (8) | version u16 | headers start u32 | data start u32
    | header count u16 | (length u16 + UTF-8 bytes) for each key and value | body

Lengths count bytes. FastStream's own writer counts characters, so what it wrote
for `José` is one byte off; such envelopes are read as well.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from faststream_redis_timers_sync.protocol.errors import EnvelopeError
from faststream_redis_timers_sync.protocol.keys import plain
from faststream_redis_timers_sync.protocol.recurrence import REPEAT, REPEAT_OWNER

MAGIC = b"\x89BIN\x0d\x0a\x1a\x0a"
VERSION = 1

_FRONT = Struct(">8sHII")
_U16 = Struct(">H")
_LONGEST_TEXT = 65_535
_MOST_HEADERS = 65_535
_MOST_JSON = 1024 * 1024
# Bytes. JSON takes up to 25 times its size in memory, and most of a second per mebibyte.
_JSON_BODY = re.compile(rb'\{\s*+"(?:data|b)"\s*+:\s*+"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

HeaderValue = str | bytes | int | float | bool | UUID | datetime
"""The types of header values; all arrive as text."""


class Envelope(NamedTuple):
    """A message as it is stored in Redis.

    Args:
        body: The encoded body.
        headers: Header names and values.
    """

    body: bytes
    headers: dict[str, str]

    def __repr__(self) -> str:
        """Show sizes, not contents, which may be secret."""
        return f"{type(self).__name__}({len(self.body)} bytes, {len(self.headers)} headers)"


def check_headers(headers: Mapping[str, HeaderValue] | None) -> None:
    """Refuse headers that are neither a mapping nor None.

    Args:
        headers: The headers, which may be secret: no error text shows them.

    Raises:
        TypeError: They are something else.
    """
    if headers is not None and not isinstance(headers, Mapping):
        msg = f"headers must be a mapping, got a value of type {type(headers).__name__}"
        raise TypeError(msg)


def write_envelope(
    body: bytes,
    *,
    content_type: str | None = None,
    correlation_id: str | None = None,
    reply_to: str = "",
    headers: Mapping[str, HeaderValue] | None = None,
    first: Mapping[str, HeaderValue] | None = None,
) -> bytes:
    """Write an envelope.

    Args:
        body: The encoded body.
        content_type: Its MIME type; None for raw bytes.
        correlation_id: Written if given.
        reply_to: Topic for the handler's result, written unless empty.
        headers: Further headers; they win over the three above. Numbers, bools,
            UUIDs and datetimes are written as text.
        first: Headers that are written before all others, and win over them.

    Returns:
        The envelope's bytes.

    Raises:
        TypeError: A header's name is not a string, or its value of another type.
        ValueError: A name or value is longer than 65,535 bytes or is not UTF-8,
            or there are more than 65,535 headers.
    """
    entries: dict[str, HeaderValue] = {**first} if first else {}
    if correlation_id is not None:
        entries["correlation_id"] = correlation_id
    if content_type:
        entries["content-type"] = content_type
    if reply_to:
        entries["reply_to"] = reply_to
    if headers:
        entries.update(headers)
    if first:
        entries.update(first)
    if len(entries) > _MOST_HEADERS:
        raise _too_many(len(entries))

    parts = [_U16.pack(len(entries))]
    size = _U16.size
    for name, value in entries.items():
        for text in (_encode_name(name), _encode_value(name, value)):
            if len(text) > _LONGEST_TEXT:
                msg = (
                    f"header {name[:80]!r} must be at most {_LONGEST_TEXT:,} bytes, "
                    f"got {len(text):,}"
                )
                raise ValueError(msg)
            parts += (_U16.pack(len(text)), text)
            size += _U16.size + len(text)
    return b"".join((_FRONT.pack(MAGIC, VERSION, _FRONT.size, _FRONT.size + size), *parts, body))


def _too_many(count: int) -> ValueError:
    return ValueError(f"headers must be at most {_MOST_HEADERS:,}, got {count:,}")


def _encode_name(name: str) -> bytes:
    if not isinstance(name, str):
        msg = f"a header's name must be a str, got {name!r}"
        raise TypeError(msg)
    try:
        return plain(name).encode()
    except UnicodeEncodeError as error:
        msg = f"header {name!r} can't be written as UTF-8"
        raise ValueError(msg) from error


def _encode_value(name: str, value: HeaderValue) -> bytes:
    if isinstance(value, bytes):
        try:
            value.decode()
        except UnicodeDecodeError as error:
            msg = f"header {name!r} must be UTF-8, got {len(value)} other bytes"
            raise ValueError(msg) from error
        return value
    if isinstance(value, str):
        # The value may be secret: no error text shows it.
        text = plain(value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int):
        # str would write the name of an Enum's member; in a body its number is written too.
        text = int.__repr__(value)
    elif isinstance(value, float):
        text = float.__repr__(value)
    elif isinstance(value, UUID):
        text = str(value)
    elif isinstance(value, datetime):
        text = value.isoformat()
    else:
        msg = (
            f"header {name!r} must be str, bytes, int, float, bool, UUID or datetime, "
            f"got {type(value).__name__}"
        )
        raise TypeError(msg)
    try:
        return text.encode()
    except UnicodeEncodeError:
        msg = f"header {name!r} can't be written as UTF-8"
        raise ValueError(msg) from None


def is_envelope(payload: bytes) -> bool:
    """Return whether a payload has the binary format; it may be broken nevertheless.

    Args:
        payload: The bytes.
    """
    return payload.startswith(MAGIC)


def append_headers(
    payload: bytes, headers: Mapping[str, bytes], *, before: bytes | None = None
) -> bytes:
    """Add headers after those of an envelope, and leave all other bytes unchanged.

    Args:
        payload: An envelope for which `counts_bytes` is true.
        headers: Names in ASCII, and values. One that is longer than 65,535 bytes is left out.
        before: What is to stand between its front and its headers, where readers do not
            look. None leaves what stands there.

    Raises:
        ValueError: There would be more than 65,535 headers.
    """
    pairs = [
        _write_pair(name.encode(), value)
        for name, value in headers.items()
        if len(value) <= _LONGEST_TEXT
    ]
    _, _, headers_start, data_start = _FRONT.unpack_from(payload)
    count = _U16.unpack_from(payload, headers_start)[0] + len(pairs)
    if count > _MOST_HEADERS:
        raise _too_many(count)
    region = b"".join((payload[headers_start + _U16.size : data_start], *pairs))
    return _with_headers(payload, count, region, before)


def replace_headers(payload: bytes, names: Collection[str], first: Mapping[str, str]) -> bytes:
    """Put headers before those of an envelope, replacing some, and leave others unchanged.

    One whose name or value is longer than 65,535 bytes is left out.

    Args:
        payload: An envelope of the binary format that can be read.
        names: The headers to remove.
        first: The headers to put first.

    Raises:
        ValueError: There would be more than 65,535 headers.
    """
    headers = read_envelope(payload).headers
    left = {name: headers[name] for name in headers if name not in names and name not in first}
    texts = [(_as_bytes(name), _as_bytes(value)) for name, value in {**first, **left}.items()]
    pairs = [_write_pair(*pair) for pair in texts if max(map(len, pair)) <= _LONGEST_TEXT]
    if len(pairs) > _MOST_HEADERS:
        raise _too_many(len(pairs))
    return _with_headers(payload, len(pairs), b"".join(pairs), b"")


def take_headers(payload: bytes, names: Sequence[str]) -> tuple[bytes, dict[str, str]] | None:
    """Remove the headers that `append_headers` added last, and leave all other bytes unchanged.

    Args:
        payload: The payload.
        names: The names that may have been added. The first of them always was, as the first.

    Returns:
        The former envelope, and the removed headers; None if none was added.

    Raises:
        EnvelopeError: It begins with the magic but can't be read.
        ValueError: Its lengths count characters, and it can't be written with others.
    """
    if not is_envelope(payload):
        return None
    body, headers = _read_binary(payload)
    if not counts_bytes(payload):
        # Somebody has rewritten it.
        payload = write_envelope(body, headers=headers)
    _, _, headers_start, data_start = _FRONT.unpack_from(payload)
    texts = _read_texts(payload[headers_start:data_start]) or []
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    starts = [place for place, (name, _) in enumerate(pairs) if name == names[0]]
    if not starts:
        return None
    taken = {name: value for name, value in pairs[starts[-1] :] if name in names}
    # What stands behind them is somebody else's.
    left = [pair for place, pair in enumerate(pairs) if place < starts[-1] or pair[0] not in names]
    region = b"".join(_write_pair(_as_bytes(name), _as_bytes(value)) for name, value in left)
    return _with_headers(payload, len(left), region), taken


def counts_bytes(payload: bytes) -> bool:
    """Return whether a payload that can be read is an envelope whose lengths count bytes.

    Args:
        payload: The bytes.
    """
    if not is_envelope(payload):
        return False
    _, _, headers_start, data_start = _FRONT.unpack_from(payload)
    return _read_texts(payload[headers_start:data_start]) is not None


def bytes_before_headers(payload: bytes) -> bytes:
    """Return the bytes between the front and the headers of an envelope: mostly none.

    Args:
        payload: An envelope that can be read.
    """
    return payload[_FRONT.size : _FRONT.unpack_from(payload)[2]]


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _write_pair(name: bytes, value: bytes) -> bytes:
    return b"".join((_U16.pack(len(name)), name, _U16.pack(len(value)), value))


def _with_headers(payload: bytes, count: int, region: bytes, before: bytes | None = None) -> bytes:
    magic, version, _, data_start = _FRONT.unpack_from(payload)
    before = bytes_before_headers(payload) if before is None else before
    headers_start = _FRONT.size + len(before)
    front = _FRONT.pack(magic, version, headers_start, headers_start + _U16.size + len(region))
    return b"".join((front, before, _U16.pack(count), region, payload[data_start:]))


def read_envelope(payload: bytes) -> Envelope:
    """Read a payload of any kind that may be stored in Redis.

    Besides the binary format these are FastStream's JSON envelope
    ``{"data": ..., "headers": {...}}`` and the ``{"b": hex, "ct": type}`` of this library's
    versions before 0.5. Anything else is read as a raw body, as is JSON with more than a mebibyte
    beside such a body, or before it.

    Args:
        payload: The bytes.

    Raises:
        EnvelopeError: It begins with the magic but can't be read.
    """
    if payload.startswith(MAGIC):
        return _read_binary(payload)
    return _read_json(payload) or Envelope(payload, {})


class EnvelopeReader:
    """Reads payloads one after the other, as `read_envelope` does.

    Payloads of a topic often have the same headers, byte for byte. Then they are read once, and the
    envelopes share them, so they must not be changed.
    """

    __slots__ = ("_headers", "_start")

    def __init__(self) -> None:
        """Start as if a payload without headers had been read."""
        self._start = write_envelope(b"")
        self._headers: dict[str, str] = {}

    def read(self, payload: bytes) -> Envelope:
        """Read a payload.

        Args:
            payload: The bytes.

        Raises:
            EnvelopeError: As `read_envelope`.
        """
        start = self._start
        if payload.startswith(start):
            return Envelope(payload[len(start) :], self._headers)
        envelope = read_envelope(payload)
        if payload.startswith(MAGIC):
            self._start = payload[: len(payload) - len(envelope.body)]
            self._headers = envelope.headers
        return envelope


def _read_binary(payload: bytes) -> Envelope:
    if len(payload) < _FRONT.size:
        msg = f"the envelope ends within its first {_FRONT.size} bytes"
        raise EnvelopeError(msg)
    _, version, headers_start, data_start = _FRONT.unpack_from(payload)
    if version != VERSION:
        msg = f"the envelope has version {version}, expected {VERSION}"
        raise EnvelopeError(msg)
    if not _FRONT.size <= headers_start <= data_start - _U16.size <= len(payload) - _U16.size:
        msg = "the envelope's header and data positions lie outside of it"
        raise EnvelopeError(msg)
    region = payload[headers_start:data_start]
    texts = _read_texts(region)
    if texts is None:
        texts = _read_texts_counted_in_characters(region)
    if texts is None:
        msg = "the envelope's headers do not fit their lengths"
        raise EnvelopeError(msg)
    each = iter(texts)
    headers = dict(zip(each, each, strict=True))
    if REPEAT in headers:
        _keep_to_scripts(headers, texts)
    return Envelope(payload[data_start:], headers)


def _keep_to_scripts(headers: dict[str, str], texts: Sequence[str]) -> None:
    """Remove the header of a recurring timer where scripts do not find it: it was forwarded.

    Args:
        headers: The headers, which are changed.
        texts: The same, as encoded names and values.
    """
    if texts[0] != REPEAT or not texts[1].isascii():
        del headers[REPEAT]
        headers.pop(REPEAT_OWNER, None)
        return
    headers[REPEAT] = texts[1]
    if texts[2:3] == [REPEAT_OWNER]:
        headers[REPEAT_OWNER] = texts[3]
    else:
        headers.pop(REPEAT_OWNER, None)


def _read_texts(region: bytes) -> list[str] | None:
    texts = []
    size = len(region)
    # Most are ASCII, and so are the bytes of lengths up to 127: then all is decoded at once.
    text = region.decode() if region.isascii() else None
    position = _U16.size
    for _ in range(2 * (region[0] << 8 | region[1])):
        start = position + 2
        if start > size:
            return None
        position = start + (region[position] << 8 | region[position + 1])
        if text is not None:
            texts.append(text[start:position])
        else:
            # Like str.decode in FastStream's reader, but no byte is ever an error.
            texts.append(region[start:position].decode("utf-8", "surrogateescape"))
    return texts if position == size else None


def _read_texts_counted_in_characters(region: bytes) -> list[str] | None:
    texts = []
    position = _U16.size
    for _ in range(2 * _U16.unpack_from(region)[0]):
        start = position + _U16.size
        if start > len(region):
            return None
        characters = _U16.unpack_from(region, position)[0]
        # A character takes at most four bytes.
        text = region[start : start + 4 * characters].decode("utf-8", "ignore")[:characters]
        if len(text) < characters:
            return None
        position = start + len(text.encode())
        texts.append(text)
    return texts if position == len(region) else None


def _read_json(payload: bytes) -> Envelope | None:
    if not payload.startswith(b"{"):
        return None
    # A body that comes first may be large, as text costs little; all else may not.
    body_first = _JSON_BODY.match(payload)
    if len(payload) - (body_first.end() if body_first else 0) > _MOST_JSON:
        return None
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    match fields:
        case {"data": str(data), "headers": dict(headers), **rest} if not rest:
            try:
                body = data.encode()
            except UnicodeEncodeError:  # JSON can spell half a character, "\ud800"
                return None
            # Scripts look for recurring timers elsewhere.
            series = {REPEAT, REPEAT_OWNER}
            named = {
                name: value if isinstance(value, str) else json.dumps(value)
                for name, value in headers.items()
                # For FastStream a header without a value is as good as none.
                if name not in series and value is not None
            }
            return Envelope(body, named)
        case {"b": str(digits), **rest} if rest.keys() <= {"ct"}:
            try:
                body = bytes.fromhex(digits)
            except ValueError:
                return None
            content_type = rest.get("ct")
            return Envelope(body, {"content-type": str(content_type)} if content_type else {})
    return None
