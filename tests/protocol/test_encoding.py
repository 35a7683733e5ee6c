"""Messages as bodies: with pydantic or without it, FastStream's bytes."""

import json
import math
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from fast_depends.pydantic import PydanticSerializer
from faststream.message import encode_message as faststream_encode
from hypothesis import example, given, strategies as st
from pydantic import BaseModel, SecretStr
from pydantic_core import to_json

from faststream_redis_timers_sync.protocol.encoding import (
    JSON,
    TEXT,
    check_json,
    decode_body,
    dump_json,
    encode_message,
)


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Name(StrEnum):
    JOSE = "José"


class Shape(Enum):
    POINT = (1, 2)


class Order(BaseModel):
    number: int
    due: datetime | None = None
    token: SecretStr = SecretStr("x")


@dataclass
class Invoice:
    number: UUID
    total: Decimal
    parent: Any = None


@dataclass(slots=True)
class Slotted:
    number: int


class Pair(NamedTuple):
    a: int
    b: int


text = st.text(st.characters(codec="utf-8"))
# Outside of these pydantic writes 1e-7, Python 1e-07: the same number in other bytes.
floats = st.floats(1e-4, 1e15) | st.floats(-1e15, -1e-4) | st.sampled_from([0.0, -0.0])
plain = st.none() | st.booleans() | st.integers() | floats | text
fixed_zones = st.timezones(no_cache=True) | st.just(UTC)
times = (
    st.timedeltas()
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.times()
    | st.times(timezones=st.just(UTC))
)
json_like = st.recursive(
    plain | times | st.uuids() | st.decimals(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        # Where both are keys pydantic writes both, though they are the same in JSON.
        | st.dictionaries(st.none() | text, inner, max_size=4).filter(
            lambda message: not {None, "None"} <= message.keys()
        )
    ),
    max_leaves=10,
)

EXAMPLES = [
    [],
    {},
    {"a": [1, 2.5, None, True, {"b": 'José 😀 \x00\x1f\x7f\u2028 "\\/'}]},
    {5: "int", True: "bool"},
    {None: 1, "null": 2, "a": [{None: {None: None}}, ({None: 1},), {"b": {1.5: "null"}}]},
    {"text": '"null": "NaN":', "null": "NaN"},
    {math.nan: 1, math.inf: 2, -math.inf: 3},
    (1, 2),
    Pair(1, 2),
    {5},
    2**70,
    1e16,
    b"bytes",
    [b"Jos\xc3\xa9", bytearray(b"x")],
    Colour.RED,
    [Colour.RED, Level.HIGH, Name.JOSE, Shape.POINT],
    {Name.JOSE: 1, Level.HIGH: 2},
    UUID(int=7),
    Decimal("1.10"),
    Decimal("1E+5"),
    date(2030, 1, 2),
    datetime.fromisoformat("2030-01-02T03:04:05"),
    datetime(2030, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC),
    datetime(2030, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(2030, 1, 2, tzinfo=timezone(-timedelta(hours=5, minutes=30))),
    time(3, 4, 5, 6),
    time(3, tzinfo=UTC),
    timedelta(0),
    timedelta(seconds=-1),
    timedelta(days=-800, microseconds=1),
    timedelta(days=365, seconds=60),
    timedelta.max,
    timedelta.min,
    Invoice(UUID(int=7), Decimal(1), {None: Slotted(1)}),
    [frozenset([1]), {None: {Shape.POINT}}],
    Invoice(UUID(int=7), Decimal("1.10"), Invoice(UUID(int=8), Decimal(2), {"a": Slotted(1)})),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=repr)
def test_json_without_pydantic_is_pydantics_byte_for_byte(message):
    assert dump_json(message) == to_json(message)


@given(json_like)
def test_any_plain_value_without_pydantic_is_pydantics_byte_for_byte(message):
    assert dump_json(message) == to_json(message)


KEYS = [
    UUID(int=7),
    date(2030, 1, 1),
    datetime(2030, 1, 1, tzinfo=UTC),
    time(1, 2),
    timedelta(seconds=90.5),
    Decimal("1.50"),
    b"Jos\xc3\xa9",
    Colour.RED,
    Level.HIGH,
    Name.JOSE,
    Shape.POINT,
    (),
    (1, "a", None, True, 1.5, 1e30, math.inf, UUID(int=7), (Colour.RED, Level.HIGH), Name.JOSE),
]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_a_key_without_pydantic_is_pydantics_byte_for_byte(key):
    message = {"a": [{key: {1: True, None: (date(2030, 1, 1),)}}]}

    assert dump_json(message) == to_json(message)


def test_a_key_that_json_has_no_place_for_is_refused_with_and_without_pydantic():
    with pytest.raises(TypeError, match="a frozenset can't be written as JSON"):
        dump_json({frozenset("a"): 1})
    with pytest.raises(ValueError, match="not valid as object key"):
        encode_message({frozenset("a"): 1})


def test_of_keys_that_are_the_same_in_json_the_last_is_read():
    message = {None: 1, "None": 2}

    assert json.loads(dump_json(message)) == json.loads(to_json(message)) == {"None": 2}


@given(st.timedeltas())
@example(timedelta(microseconds=100))
@example(timedelta(days=364, hours=23, minutes=59, seconds=59))
def test_any_timedelta_without_pydantic_is_pydantics_byte_for_byte(value):
    assert dump_json(value) == to_json(value)


@given(st.floats(allow_nan=False))
@example(1e-7)
@example(1e-5)
def test_any_float_without_pydantic_is_the_same_number(value):
    assert json.loads(dump_json(value)) == json.loads(to_json(value)) == value


@pytest.mark.parametrize(
    "message",
    [
        None,
        b"",
        b"\xff\x00",
        "",
        "José",
        *EXAMPLES,
        Order(number=1, due=datetime(2030, 1, 2, tzinfo=UTC)),
    ],
    ids=repr,
)
def test_a_message_is_encoded_as_faststream_encodes_it(message):
    assert encode_message(message) == faststream_encode(message, PydanticSerializer())


def test_text_bytes_and_nothing_go_as_they_are():
    assert encode_message("José") == ("José".encode(), "text/plain")
    assert encode_message(b"\xff") == (b"\xff", None)
    assert encode_message(None) == (b"", None)
    assert encode_message(["x"]) == (b'["x"]', "application/json")


@pytest.mark.parametrize(
    "message",
    [object(), range(3), Invoice, {"a": object()}],
    ids=["object", "range", "class", "object in a dict"],
)
def test_what_json_has_no_place_for_is_refused_with_and_without_pydantic(message):
    with pytest.raises(TypeError, match="can't be written as JSON"):
        dump_json(message)
    with pytest.raises(ValueError, match="Unable"):
        encode_message(message)


@pytest.mark.parametrize("message", ["\ud800", ["\ud800"], [b"\xff"]])
def test_what_is_no_text_is_refused_with_and_without_pydantic(message):
    with pytest.raises(ValueError, match="utf-8"):
        encode_message(message)
    with pytest.raises(ValueError, match="utf-8"):
        dump_json(message)


# --- numbers that are none ---------------------------------------------------------------


@dataclass
class Point:
    x: float


class Loose(BaseModel, ser_json_inf_nan="constants"):
    x: Any


NO_NUMBERS = [
    (math.nan, "message is NaN"),
    (math.inf, "message is Infinity"),
    (-math.inf, "message is -Infinity"),
    ([1, [], [{}, math.nan]], "message[2][1] is NaN"),
    ({"a": {}, "b": [{"c": 1, "d": (0, math.inf)}]}, "message['b'][0]['d'][1] is Infinity"),
    ({"a": "NaN", "b,[{": ["]", ":", -math.inf]}, "message['b,[{'][2] is -Infinity"),
    ({'"\\': [{"José": math.nan}]}, "message['\"\\\\'][0]['José'] is NaN"),
    ({1: {None: math.nan}}, "message['1']['None'] is NaN"),
    (Point(math.nan), "message['x'] is NaN"),
    ([Point(1), Point(math.inf)], "message[1]['x'] is Infinity"),
    (Invoice(UUID(int=7), Decimal(1), [Slotted(math.nan)]), "message['parent'][0]['number'] is"),
    ([[[]] * 3, math.nan, math.inf], "message[1] is NaN"),
]


@pytest.mark.parametrize("write", [dump_json, to_json])
@pytest.mark.parametrize(("message", "where"), NO_NUMBERS, ids=repr)
def test_a_number_that_json_does_not_know_is_refused_and_named(message, where, write):
    with pytest.raises(ValueError, match="which JSON can't represent") as caught:
        check_json(write(message), JSON, "message")

    assert str(caught.value).startswith(where)


def test_so_is_one_in_a_pydantic_model():
    body, content_type = encode_message({"all": [Loose(x=1), Loose(x=[math.inf])]})

    with pytest.raises(ValueError, match=r"messages\[3\]\['all'\]\[1\]\['x'\]\[0\] is Infinity"):
        check_json(body, content_type, "messages[3]")


@pytest.mark.parametrize(
    "message",
    [
        ["NaN", "Infinity", 'a "NaN", "-Infinity": NaN', "\\", "NaN"],
        {"NaN": "NaN", "Infinity": ["-Infinity"]},
        {math.nan: 1, math.inf: 2},
        # The encoder writes Decimals as strings, and in its models null by default.
        [Decimal("NaN"), Decimal("-Infinity"), {"a": Decimal("inf")}],
        Order.model_construct(number=math.nan),
    ],
    ids=repr,
)
def test_their_names_in_texts_are_no_numbers(message):
    body, content_type = encode_message(message)

    check_json(body, content_type, "message")

    json.loads(body, parse_constant=pytest.fail)


@pytest.mark.parametrize("content_type", [None, TEXT, "application/octet-stream"])
def test_what_is_not_sent_as_json_may_hold_anything(content_type):
    check_json(b"NaN [", content_type, "message")


def test_json_that_is_nested_deeper_than_python_reads_is_searched_too():
    depth = 10 * sys.getrecursionlimit()
    text = b"[" * depth + b'{"a":NaN}' + b"]" * depth

    with pytest.raises(ValueError, match=r"\['a'\] is NaN"):
        check_json(text, JSON, "message")


@given(json_like, st.sampled_from([math.nan, math.inf, -math.inf]), st.data())
def test_any_of_them_is_found_wherever_it_stands(message, number, data):
    root = holder = [message]
    place: Any = 0
    path = "message"
    while (inner := holder[place]) and isinstance(inner, (list, dict)) and data.draw(st.booleans()):
        holder = inner
        if isinstance(holder, list):
            place = data.draw(st.integers(0, len(holder) - 1))
            path += f"[{place}]"
        else:
            place = data.draw(st.sampled_from(list(holder)))
            path += f"[{str(place)[:80]!r}]"
    holder[place] = number

    with pytest.raises(ValueError, match="which JSON can't represent") as caught:
        check_json(dump_json(root[0]), JSON, "message")

    assert str(caught.value).startswith(f"{path} is ")


# --- decoding ----------------------------------------------------------------------------


@pytest.mark.parametrize("message", ["", "José", b"\xff\x00", {"a": [1, None]}, [], 5])
def test_what_is_encoded_is_decoded_again(message):
    assert decode_body(*encode_message(message)) == message


@pytest.mark.parametrize(
    ("body", "content_type", "decoded"),
    [
        (b'{"a": 1}', None, {"a": 1}),
        (b"42", None, 42),
        (b"hello", None, b"hello"),
        (b"\xff", None, b"\xff"),
        (b"", None, b""),
        (b"[" * 100_000, None, b"[" * 100_000),
        (b"42", "text/plain", "42"),
        (b"42", "application/json; charset=utf-8", 42),
        (b"42", "image/png", b"42"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_is_decoded_by_its_content_type_or_else_its_looks(body, content_type, decoded):
    assert decode_body(body, content_type) == decoded


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff", "text/plain"),
        (b"{", "application/json"),
        (b"[" * 100_000, "application/json"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_is_not_what_its_content_type_says_is_an_error(body, content_type):
    with pytest.raises(ValueError, match=r"decode|Expecting|nested"):
        decode_body(body, content_type)
