"""Envelopes: the bytes themselves, the way there and back, and what hostile bytes do."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from struct import pack
from uuid import UUID

import pytest
from faststream.redis.parser import BinaryMessageFormatV1
from hypothesis import example, given, strategies as st

from faststream_redis_timers_sync import EnvelopeError
from faststream_redis_timers_sync.protocol.envelope import (
    MAGIC,
    Envelope,
    EnvelopeReader,
    read_envelope,
    write_envelope,
)

FASTSTREAM = BinaryMessageFormatV1

ascii_text = st.text(st.characters(codec="ascii"), max_size=30)
any_text = st.text(st.characters(codec="utf-8"), max_size=30)
bodies = st.binary(max_size=100)


def test_an_envelope_is_these_bytes():
    payload = write_envelope(
        b"hello", content_type="text/plain", correlation_id="id-1", headers={"user": "José"}
    )

    assert payload == (
        b"\x89BIN\r\n\x1a\n"  # magic
        b"\x00\x01"  # version
        b"\x00\x00\x00\x12"  # the headers start at 18
        b"\x00\x00\x00\x51"  # the body starts at 81
        b"\x00\x03"  # three headers
        b"\x00\x0ecorrelation_id\x00\x04id-1"
        b"\x00\x0ccontent-type\x00\x0atext/plain"
        b"\x00\x04user\x00\x05Jos\xc3\xa9"  # five bytes, not four characters
        b"hello"
    )


def test_an_envelope_without_headers_is_the_front_and_the_body():
    assert write_envelope(b"hello") == (
        b"\x89BIN\r\n\x1a\n\x00\x01\x00\x00\x00\x12\x00\x00\x00\x14\x00\x00hello"
    )


@given(bodies, st.dictionaries(any_text, any_text, max_size=5))
def test_what_is_written_is_read_back(body, headers):
    assert read_envelope(write_envelope(body, headers=headers)) == (body, headers)


@given(
    body=bodies,
    correlation_id=ascii_text,
    reply_to=ascii_text,
    headers=st.none() | st.dictionaries(ascii_text, ascii_text, max_size=5),
)
async def test_ascii_headers_give_the_bytes_that_faststream_writes(
    body, correlation_id, reply_to, headers
):
    ours = write_envelope(body, correlation_id=correlation_id, reply_to=reply_to, headers=headers)

    assert ours == await FASTSTREAM.encode(
        message=body, correlation_id=correlation_id, reply_to=reply_to, headers=headers
    )


@given(
    body=bodies,
    content_type=st.none() | ascii_text.filter(bool),
    headers=st.dictionaries(any_text, any_text, max_size=5),
)
def test_faststream_reads_what_we_write(body, content_type, headers):
    expected = {"content-type": content_type} if content_type else {}

    read = FASTSTREAM.parse(write_envelope(body, content_type=content_type, headers=headers))

    assert read == (body, expected | headers)


@given(body=bodies, headers=st.dictionaries(any_text, any_text, max_size=5))
@example(body=b"hello", headers={"name": "José", "città": "Forlì", "😀": "😀😀", "plain": "x"})
async def test_we_read_lengths_that_faststream_counted_in_characters(body, headers):
    payload = await FASTSTREAM.encode(
        message=body, correlation_id="id-1", reply_to="", headers=headers
    )

    assert read_envelope(payload) == (body, {"correlation_id": "id-1"} | headers)


# --- hostile input -----------------------------------------------------------------------


def reads_or_refuses(payload):
    """Fail where reading raises anything but EnvelopeError."""
    with suppress(EnvelopeError):
        assert isinstance(read_envelope(payload), Envelope)


VALID = write_envelope(
    b"body",
    content_type="text/plain",
    correlation_id="id-1",
    reply_to="replies",
    headers={"name": "José", "empty": ""},
)
DATA_START = len(VALID) - len(b"body")


def test_an_envelope_cut_before_its_body_is_refused():
    for length in range(len(MAGIC), DATA_START):
        with pytest.raises(EnvelopeError):
            read_envelope(VALID[:length])


def test_an_envelope_cut_within_the_magic_is_a_body():
    for length in range(len(MAGIC)):
        assert read_envelope(VALID[:length]) == (VALID[:length], {})


def test_an_envelope_cut_within_its_body_is_shorter():
    for length in range(DATA_START, len(VALID)):
        assert read_envelope(VALID[:length]).body == b"body"[: length - DATA_START]


@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff"])
def test_a_changed_byte_is_read_or_refused(byte):
    for position in range(DATA_START):
        reads_or_refuses(VALID[:position] + byte + VALID[position + 1 :])


@pytest.mark.parametrize(
    ("front", "reason"),
    [
        (pack(">HII", 2, 18, 20), "version 2, expected 1"),
        (pack(">HII", 1, 0, 20), "positions"),
        (pack(">HII", 1, 18, 19), "positions"),
        (pack(">HII", 1, 20, 18), "positions"),
        (pack(">HII", 1, 18, 2**32 - 1), "positions"),
        (pack(">HII", 1, 2**32 - 1, 2**32 - 1), "positions"),
        (pack(">HIIH", 1, 18, 20, 1), "do not fit"),
        (pack(">HIIH", 1, 18, 20, 65_535), "do not fit"),
        (pack(">HIIHHH", 1, 18, 24, 1, 0, 1), "do not fit"),
        (pack(">HIIHHH", 1, 18, 24, 1, 65_535, 65_535), "do not fit"),
        (pack(">HIIHHH", 1, 18, 24, 0, 0, 0), "do not fit"),
    ],
)
def test_positions_and_lengths_that_lie_are_refused(front, reason):
    with pytest.raises(EnvelopeError, match=reason):
        read_envelope(MAGIC + front + b"some body")


@given(st.binary(max_size=80))
def test_any_bytes_behind_the_magic_are_read_or_refused(rest):
    reads_or_refuses(MAGIC + rest)


@given(st.integers(18, 30), st.integers(18, 40), st.binary(max_size=60))
def test_any_header_region_is_read_or_refused(headers_start, data_start, region):
    reads_or_refuses(MAGIC + pack(">HII", 1, headers_start, data_start) + region)


json_like_envelopes = st.recursive(
    st.none() | any_text | st.integers(),
    lambda inner: st.dictionaries(st.sampled_from(["data", "headers", "b", "ct"]), inner),
    max_leaves=8,
)


json_bytes = json_like_envelopes.map(lambda fields: json.dumps(fields).encode())


@given(st.binary(max_size=80).filter(lambda some: not some.startswith(MAGIC)) | json_bytes)
@example(b'{"data": "\\ud800", "headers": {}}')
@example(b'{"b": "00", "ct": "\\ud800"}')
@example(b'{"data": "x", "headers": {"a": ' + b"9" * 5000 + b"}}")
@example(b'{"data":' * 100_000)
def test_any_bytes_without_the_magic_are_read(payload):
    assert isinstance(read_envelope(payload), Envelope)


def test_header_bytes_that_are_no_utf8_are_kept():
    payload = MAGIC + pack(">HIIHH", 1, 18, 26, 1, 1) + b"n" + pack(">H", 1) + b"\xff" + b"body"

    assert read_envelope(payload) == (b"body", {"n": "\udcff"})


# --- other payloads ----------------------------------------------------------------------


def test_faststreams_json_envelope_is_read():
    payload = b'{"data": "Jos\xc3\xa9", "headers": {"content-type": "text/plain", "tries": 3}}'

    assert read_envelope(payload) == (
        "José".encode(),
        {"content-type": "text/plain", "tries": "3"},
    )


def test_headers_of_the_json_envelope_that_are_no_text_are_json_and_null_is_none():
    headers = {"reply_to": None, "correlation_id": None, "x": True, "y": 1.5, "z": ["é", None]}
    payload = json.dumps({"data": "x", "headers": headers}).encode()

    assert read_envelope(payload) == (b"x", {"x": "true", "y": "1.5", "z": '["\\u00e9", null]'})


@pytest.mark.parametrize(
    ("payload", "headers"),
    [
        (b'{"b": "68656c6c6f", "ct": "text/plain"}', {"content-type": "text/plain"}),
        (b'{"b": "68656c6c6f", "ct": null}', {}),
        (b'{"b": "68656c6c6f"}', {}),
    ],
)
def test_the_hexadecimal_envelope_of_the_old_package_is_read(payload, headers):
    assert read_envelope(payload) == (b"hello", headers)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"\xff\x00",
        b"{",
        b"[1]",
        b'{"data": "x"}',
        b'{"data": {"a": 1}, "headers": {}}',
        b'{"data": "x", "headers": {}, "more": 1}',
        b'{"data": "x", "headers": []}',
        b'{"b": "no hex"}',
        b'{"b": 1}',
        b'{"b": "00", "c": 1}',
    ],
)
def test_anything_else_is_a_body_as_it_stands(payload):
    assert read_envelope(payload) == (payload, {})


# --- headers -----------------------------------------------------------------------------


class Priority(int, Enum):
    HIGH = 7


class Rate(float, Enum):
    FULL = 2.5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        ("José".encode(), "José"),
        (42, "42"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        (Priority.HIGH, "7"),
        (Rate.FULL, "2.5"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), "2030-01-02T03:04:05+00:00"),
    ],
)
def test_a_header_of_these_types_arrives_as_text(value, text):
    assert read_envelope(write_envelope(b"", headers={"name": value})).headers == {"name": text}


def test_the_callers_headers_win_over_the_formats_own():
    payload = write_envelope(
        b"",
        content_type="text/plain",
        correlation_id="theirs",
        reply_to="theirs",
        headers={"content-type": "mine", "correlation_id": "mine", "reply_to": "mine"},
    )

    assert set(read_envelope(payload).headers.values()) == {"mine"}


class Secret(str):
    """A string that hides itself, as some libraries' secrets do."""

    __slots__ = ()

    def __str__(self):
        return "****"


def test_a_string_that_hides_itself_is_written_in_full():
    payload = write_envelope(b"", headers={"token": Secret("hunter2")})

    assert read_envelope(payload).headers == {"token": "hunter2"}


SECRET = "hunter2"  # noqa: S105  it is none


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (None, TypeError),
        ([SECRET], TypeError),
        ({SECRET: SECRET}, TypeError),
        (SECRET + "\ud800", ValueError),
        (SECRET.encode() + b"\xff", ValueError),
        (SECRET * 10_000, ValueError),
    ],
)
def test_a_refused_value_is_told_by_its_headers_name_and_never_shown(value, error):
    with pytest.raises(error, match="'x-token'") as caught:
        write_envelope(b"", headers={"x-token": value})

    chain = [caught.value, caught.value.__cause__]
    assert all(SECRET not in str(link) for link in chain)


@pytest.mark.parametrize(
    ("name", "error"), [(1, TypeError), (None, TypeError), ("\ud800", ValueError)]
)
def test_a_headers_name_must_be_text(name, error):
    with pytest.raises(error, match="header"):
        write_envelope(b"", headers={name: "x"})


@pytest.mark.parametrize("text", ["x" * 65_535, "é" * 32_767 + "x"])
def test_a_header_of_65535_bytes_fits(text):
    headers = {"value": text, text: "name"}

    assert read_envelope(write_envelope(b"", headers=headers)).headers == headers


@pytest.mark.parametrize("text", ["x" * 65_536, "é" * 32_768])
def test_a_header_of_65536_bytes_is_refused(text):
    with pytest.raises(ValueError, match=r"'value' must be at most 65,535 bytes, got 65,536"):
        write_envelope(b"", headers={"value": text})
    with pytest.raises(ValueError, match="must be at most 65,535 bytes, got 65,536"):
        write_envelope(b"", headers={text: "value"})


def test_65535_headers_fit_and_one_more_is_refused():
    headers = {str(n): "" for n in range(65_535)}

    assert read_envelope(write_envelope(b"", headers=headers)).headers == headers
    with pytest.raises(ValueError, match="headers must be at most 65,535, got 65,536"):
        write_envelope(b"", headers={**headers, "one more": ""})


def test_an_envelopes_repr_shows_sizes_alone():
    assert repr(Envelope(b"hunter2", {"token": "hunter2"})) == "Envelope(7 bytes, 1 headers)"


@pytest.mark.parametrize(
    "front",
    [
        pack(">HII", 2, 18, 20),
        pack(">HII", 1, 18, 2),
        pack(">HIIHH", 1, 18, 29, 1, 7),
    ],
)
def test_a_refusal_never_shows_the_payload(front):
    with pytest.raises(EnvelopeError) as caught:
        read_envelope(MAGIC + front + SECRET.encode())

    assert SECRET not in str(caught.value)


# --- many, one after the other ------------------------------------------------------------


def read_or_error(read, payload):
    """Return what a payload is, or why it cannot be read."""
    try:
        return read(payload)
    except EnvelopeError as error:
        return str(error)


few_headers = st.dictionaries(
    st.sampled_from(["timer-repeat", "timer-repeat-owner", "content-type", "città"]),
    st.sampled_from(["", "@60", "José", "x" * 200]),
    max_size=4,
)
whole = st.builds(write_envelope, st.binary(max_size=3), headers=few_headers)
cut = st.builds(lambda payload, length: payload[:length], whole, st.integers(0, 60))
changed = st.builds(
    lambda payload, place, byte: payload[:place] + byte + payload[place + 1 :],
    whole,
    st.integers(0, 60),
    st.binary(min_size=1, max_size=1),
)
others = st.binary(max_size=5) | json_bytes
more = st.builds(lambda payload, rest: payload + rest, whole, st.binary(max_size=3))


@given(st.lists(st.one_of(whole, cut, changed, more, others), max_size=12))
@example([MAGIC, MAGIC + b"\xff", VALID, VALID[:DATA_START], VALID[: DATA_START - 1], VALID])
def test_payloads_in_a_row_are_read_as_each_alone(payloads):
    read = EnvelopeReader().read

    assert [read_or_error(read, one) for one in payloads] == [
        read_or_error(read_envelope, one) for one in payloads
    ]


def test_what_follows_an_envelope_without_a_body_is_read_by_itself():
    read = EnvelopeReader().read
    assert read(write_envelope(b"", headers={"a": "1"})) == (b"", {"a": "1"})

    assert read(write_envelope(b"", headers={"a": "1", "b": "2"})).headers == {"a": "1", "b": "2"}
    assert read(write_envelope(b"body", headers={"a": "1"})) == (b"body", {"a": "1"})


def test_payloads_with_the_same_headers_share_them():
    read = EnvelopeReader().read
    first, second = (read(write_envelope(body, headers={"a": "1"})) for body in (b"x", b"y"))

    assert first.headers is second.headers
