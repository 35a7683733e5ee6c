"""Bodies are decoded as FastStream and the standard library would, whatever they are."""

import json
import math
from types import SimpleNamespace

import pytest
from faststream.message import decode_message
from hypothesis import example, given, strategies as st

from faststream_redis_timers.decoding import decode, decode_all
from faststream_redis_timers_sync.protocol.encoding import decode_body

pieces = st.sampled_from(
    [
        *(b'{ } [ ] , : " \\ - + . e E 0 1 9 / \\n \\x \\u00e9 \\ud83d \\ude00 \\u12'.split()),
        *(b"null true false nul NaN -NaN Infinity -Infinity inf 1e400 -1e400 5e-324".split()),
        *(b"-0 -0.0 00 0.1 1E+2 1e+ 9007199254740993 18446744073709551616".split()),
        *(b' "a": "a":1 "b":[ "\\u0061":2'.split()),
        *(bytes([each]) for each in b" \t\r\n\x0b\x0c\0\x1f\x7f\xff"),
        *(each.encode() for each in ("é", "\u00a0", "\ufeff", "\u2028", "😀")),
        b"\xed\xa0\x80",
    ]
)
nearly_json = st.lists(pieces, max_size=8).map(b"".join)
inside = st.builds(lambda some, form: form % some, nearly_json, st.sampled_from([b'"%b"', b"[%b]"]))
numbers = st.from_regex(rb"\A-?[0-9]{1,25}(\.[0-9]{0,25})?([eE][+-]?[0-9]{1,3})?\Z")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
valid = st.builds(
    lambda value, is_ascii, encoding: json.dumps(value, ensure_ascii=is_ascii).encode(encoding),
    values,
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-le"]),
)
bodies = st.one_of(valid, numbers, nearly_json, inside, st.binary(max_size=20))
content_types = st.sampled_from(
    [None, "", "application/json", "application/json; charset=utf-8", "text/plain", "image/png"]
)


def by_faststream(body, content_type):
    """Decode as FastStream does, and where it gives up as the protocol does."""
    try:
        return decode_message(SimpleNamespace(body=body, content_type=content_type))
    except (ValueError, RecursionError):
        return decode_body(body, content_type)


def told(read, *arguments):
    """Give type and value of what is decoded, NaN and -0.0 too; or the error."""
    try:
        return described(read(*arguments))
    except ValueError as error:
        return type(error), str(error)


def described(value):
    if isinstance(value, dict):
        return [(name, described(each)) for name, each in value.items()]
    if isinstance(value, list):
        return [described(each) for each in value]
    if isinstance(value, float):
        return "float", math.isnan(value) or (value, math.copysign(1, value))
    return type(value), value


@given(bodies, content_types)
@example(b"1" * 4301, "application/json")
@example(b"[" * 500 + b"]" * 500, "application/json")
@example(b"[" * 100_000, "application/json")
@example(b"[" * 100_000, None)
@example(b'"\\ud800"', "application/json")
@example(b'{"a":1,"b":2,"\\u0061":3}', "application/json")
@example(b"[NaN,Infinity,-Infinity,1e400]", "application/json")
@example('{"a":"é"}'.encode("utf-16"), "application/json")
@example(b"\xff", "text/plain")
@example(b"", "application/json")
@example(b"", None)
def test_a_body_is_decoded_as_faststream_does(body, content_type):
    assert told(decode, body, content_type) == told(by_faststream, body, content_type)


@given(st.lists(st.tuples(bodies, content_types), max_size=4) | st.lists(
    st.tuples(valid, st.just("application/json")), max_size=4
))  # fmt: skip
@example([(b"[1", "application/json"), (b"2]", "application/json")])
@example([(b"1", "application/json"), (b'"\\ud800"', "application/json")])
@example([(b"1", "application/json"), (b"", None), (b"x", "text/plain")])
def test_bodies_are_decoded_together_as_each_alone(encoded):
    def one_by_one():
        return [decode(*one) for one in encoded]

    def together():
        return decode_all([one for one, _ in encoded], [one for _, one in encoded])

    assert told(together) == told(one_by_one)


def test_each_body_has_its_content_type():
    with pytest.raises(ValueError, match="zip"):
        decode_all([b"1", b"2"], ["application/json"])


@pytest.mark.parametrize("body", ["é", '{"a":1}', "not JSON"])
def test_a_body_that_a_parser_has_made_text_is_decoded_too(body):
    assert told(decode, body, "application/json") == told(by_faststream, body, "application/json")
