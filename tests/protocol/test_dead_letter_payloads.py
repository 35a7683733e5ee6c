"""Dead letters: what they say, and that a payload comes out of one byte for byte."""

import json
from datetime import UTC, datetime
from struct import pack

import pytest
from faststream.redis.parser import BinaryMessageFormatV1
from hypothesis import example, given, strategies as st

from faststream_redis_timers import Every
from faststream_redis_timers_sync.protocol.dead_letters import (
    Ending,
    Origin,
    read_dead_letter,
    write_dead_letter,
)
from faststream_redis_timers_sync.protocol.envelope import (
    MAGIC,
    append_headers,
    bytes_before_headers,
    counts_bytes,
    read_envelope,
    take_headers,
    write_envelope,
)
from faststream_redis_timers_sync.protocol.errors import EnvelopeError

DUE = b"1767258000.250000"
LONGEST = 65_535
EVERY = Every(minutes=5)

texts = st.text(st.characters(codec="utf-8"), max_size=12)
names = texts | st.sampled_from(["correlation_id", "content-type", "dead-letter-reason"])
many_headers = st.dictionaries(names, texts, max_size=5)
bodies = st.binary(max_size=60)


def by_characters(body, headers):
    """Write an envelope whose lengths count characters, as FastStream's own writer does."""
    region = pack(">H", len(headers))
    for text in (text for pair in headers.items() for text in pair):
        region += pack(">H", len(text)) + text.encode()
    return pack(">8sHII", MAGIC, 1, 18, 18 + len(region)) + region + body


def with_bytes_before(payload, before):
    _, _, start, data = (payload[:8], 1, 18, int.from_bytes(payload[14:18], "big"))
    front = pack(">8sHII", MAGIC, 1, start + len(before), data + len(before))
    return front + before + payload[18:]


envelopes = st.builds(
    lambda body, headers: write_envelope(body, headers=headers), bodies, many_headers
)
payloads = st.one_of(
    bodies,
    envelopes,
    st.builds(by_characters, bodies, many_headers),
    st.builds(with_bytes_before, envelopes, st.binary(max_size=9)),
    st.builds(
        lambda body, headers, indent: json.dumps(
            {"data": body, "headers": headers}, indent=indent
        ).encode(),
        st.text(max_size=20),
        st.dictionaries(texts, st.text(max_size=9) | st.integers(), max_size=3),
        st.sampled_from([None, 1]),
    ),
    st.builds(
        lambda body, kind: json.dumps({"b": body.hex(), "ct": kind}).encode(),
        bodies,
        st.none() | texts,
    ),
    st.builds(lambda rest: MAGIC + rest, st.binary(max_size=40)),
    st.builds(
        lambda payload, place, byte: payload[:place] + byte + payload[place + 1 :],
        envelopes,
        st.integers(8, 40),
        st.binary(min_size=1, max_size=1),
    ),
)
ids = st.binary(min_size=1, max_size=20) | texts.filter(bool).map(str.encode)
endings = st.builds(
    Ending,
    reason=st.sampled_from(["attempts", "rejected", "unreadable"]),
    topic=texts.filter(bool),
    timer_id=ids,
    first_due=st.just(DUE),
    attempts=st.none() | st.integers(1, 99),
    error=st.none() | st.sampled_from(["ValueError", "odd\udcff.Error"]),
)


def ending(**changes):
    known = {"reason": "attempts", "topic": "invoices", "timer_id": b"42", "first_due": DUE}
    return Ending(**{**known, **changes})


def dead_letter_of(payload, ending):
    """Write a dead letter, and take it apart as the script does: id and payload."""
    length, _, rest = write_dead_letter(payload, ending).partition(b":")
    return rest[: int(length)], rest[int(length) :]


# --- there and back


@given(payloads, endings)
@example(write_envelope(b"x", correlation_id="order-7"), ending())
@example(by_characters(b"", {"user": "José"}), ending())
@example(b"", ending())
def test_a_payload_is_redriven_byte_for_byte(payload, ending):
    dead_id, dead_letter = dead_letter_of(payload, ending)

    assert read_dead_letter(dead_id, dead_letter) == Origin(ending.topic, ending.timer_id, payload)


@given(payloads, endings, endings)
@example(write_envelope(b"x"), ending(error="ValueError", attempts=3), ending(reason="rejected"))
@example(b"raw", ending(reason="unreadable"), ending())
@example(by_characters(b"x", {"user": "José"}), ending(), ending(reason="unreadable"))
def test_a_dead_letter_of_a_dead_letter_is_redriven_as_the_first(payload, first, second):
    _, dead_letter = dead_letter_of(payload, first)
    dead_id, outer = dead_letter_of(dead_letter, second)

    assert read_dead_letter(dead_id, outer) == Origin(second.topic, second.timer_id, dead_letter)


@given(payloads, endings)
def test_body_and_headers_stay_readable(payload, ending):
    try:
        before = read_envelope(payload)
    except EnvelopeError:
        before = None
    _, dead_letter = dead_letter_of(payload, ending)

    after = read_envelope(dead_letter)

    assert after.headers["dead-letter-reason"] == ending.reason
    assert after.headers["dead-letter-topic"] == ending.topic
    if before is None or ending.reason == "unreadable":
        assert after.body == payload
        return
    assert after.body == before.body
    assert after.headers.get("content-type") == before.headers.get("content-type")


@given(bodies, many_headers, endings)
def test_faststream_reads_body_and_headers(body, headers, ending):
    known = {"timer_id": b"42", "reason": "rejected"}
    ending = Ending(**{**{n: getattr(ending, n) for n in Ending.__slots__}, **known})
    _, dead_letter = dead_letter_of(write_envelope(body, headers=headers), ending)

    assert BinaryMessageFormatV1.parse(dead_letter) == read_envelope(dead_letter)


# --- what it says


def test_it_says_why_from_where_when_and_how_often():
    payload = write_envelope(b"hello", content_type="text/plain", headers={"user": "José"})

    dead_id, dead_letter = dead_letter_of(payload, ending(attempts=3, error="app.PaymentError"))

    assert (dead_id[:3], len(dead_id)) == (b"42:", 11)
    assert read_envelope(dead_letter) == (
        b"hello",
        {
            "content-type": "text/plain",
            "user": "José",
            "dead-letter-reason": "attempts",
            "dead-letter-topic": "invoices",
            "dead-letter-timer-id": "42",
            "dead-letter-due-at": "2026-01-01T09:00:00.250000+00:00",
            "dead-letter-attempts": "3",
            "dead-letter-error": "app.PaymentError",
            "correlation_id": "42",
        },
    )


def test_what_is_not_known_has_no_header():
    _, dead_letter = dead_letter_of(write_envelope(b""), ending())

    headers = read_envelope(dead_letter).headers
    assert not {"dead-letter-attempts", "dead-letter-error"} & headers.keys()


def test_each_has_an_id_of_its_own():
    dead_ids = {dead_letter_of(b"x", ending())[0] for _ in range(100)}

    assert len(dead_ids) == 100


def test_its_own_correlation_id_stays():
    dead_id, dead_letter = dead_letter_of(write_envelope(b"x", correlation_id="order-7"), ending())

    assert read_envelope(dead_letter).headers["correlation_id"] == "order-7"
    payload = read_dead_letter(dead_id, dead_letter).payload
    assert read_envelope(payload).headers == {"correlation_id": "order-7"}


def test_an_id_of_the_longest_kind_is_redriven():
    timer_id = "é".encode() * 32_768
    dead_id, dead_letter = dead_letter_of(write_envelope(b"x"), ending(timer_id=timer_id))

    assert "dead-letter-timer-id" not in read_envelope(dead_letter).headers
    origin = Origin("invoices", timer_id, write_envelope(b"x"))
    assert read_dead_letter(dead_id, dead_letter) == origin


def test_where_there_is_no_room_for_headers_the_whole_payload_is_the_body():
    full = write_envelope(b"x", headers={str(n): "" for n in range(LONGEST)})
    dead_id, dead_letter = dead_letter_of(full, ending())

    assert read_envelope(dead_letter).body == full
    assert read_dead_letter(dead_id, dead_letter).payload == full


# --- an occurrence of a recurring timer


def series_of(*pairs):
    """Write an envelope of a series, each header as it is given: bytes, or length and bytes."""
    pairs = [(b"timer-repeat", EVERY.definition.encode()), *pairs]
    region = pack(">H", len(pairs))
    for given_text in (text for pair in pairs for text in pair):
        is_pair = isinstance(given_text, tuple)
        length, text = given_text if is_pair else (len(given_text), given_text)
        region += pack(">H", length) + text
    return pack(">8sHII", MAGIC, 1, 18, 18 + len(region)) + region + b"body"


@pytest.mark.parametrize(
    ("pairs", "kept"),
    [
        pytest.param([(b"x", b"\xff" * LONGEST)], {"x": "\udcff" * LONGEST}, id="no UTF-8"),
        pytest.param([(b"\xff" * LONGEST, b"")], {"\udcff" * LONGEST: ""}, id="name no UTF-8"),
        pytest.param(
            [(b"x", (LONGEST, "é".encode() * LONGEST)), (b"y", b"1")],
            {"y": "1"},
            id="counted in characters, longer than any header in bytes",
        ),
        pytest.param(
            [(b"%d" % n, b"") for n in range(LONGEST - 1)],
            {str(n): "" for n in range(LONGEST - 1)},
            id="as many as there can be",
        ),
    ],
)
@pytest.mark.parametrize("timer_id", [b"daily", b"d" * 65_520], ids=["short id", "long id"])
def test_of_each_occurrence_a_dead_letter_can_be_written(pairs, kept, timer_id):
    of_series = ending(
        timer_id=timer_id, definition=EVERY.definition, occurrence=datetime(2027, 5, 3, tzinfo=UTC)
    )

    dead_id, dead_letter = dead_letter_of(series_of(*pairs), of_series)

    origin = read_dead_letter(dead_id, dead_letter)
    assert (origin.topic, origin.timer_id) == ("invoices", dead_id)
    body, headers = read_envelope(origin.payload)
    assert body == b"body"
    assert headers.pop("dead-letter-repeat") == EVERY.definition
    told = {"dead-letter-series-id", "dead-letter-occurrence", "correlation_id"}
    assert {name: headers[name] for name in headers if name not in told} == kept


# --- what is none


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"raw",
        MAGIC,
        MAGIC + b"\0" * 40,
        write_envelope(b"x"),
        write_envelope(b"x", headers={"dead-letter-topic": "invoices"}),
        write_envelope(b"x", headers={"dead-letter-reason": "rejected"}),
        write_envelope(b"x", headers={"dead-letter-reason": "no", "dead-letter-topic": ""}),
        write_envelope(b"x", headers={"dead-letter-topic": "t", "dead-letter-reason": "no"}),
        b'{"data": "x", "headers": {"dead-letter-reason": "no", "dead-letter-topic": "t"}}',
        append_headers(
            write_envelope(b"x"), {"dead-letter-reason": b"no", "dead-letter-topic": b"\xff"}
        ),
    ],
)
def test_what_does_not_say_where_it_comes_from_is_none(payload):
    assert read_dead_letter(b"42:12345678", payload) is None


@pytest.mark.parametrize("dead_id", [b"", b"42", b":12345678", b"by-hand-12345678"])
@pytest.mark.parametrize("told", [{}, {"dead-letter-timer-id": ""}])
def test_of_one_by_hand_whose_old_id_is_nowhere_none_is_made_up(dead_id, told):
    headers = {"dead-letter-reason": "attempts", "dead-letter-topic": "invoices", **told}
    dead_letter = write_envelope(b"x", headers=headers)

    assert read_dead_letter(dead_id, dead_letter) is None
    assert read_dead_letter(b"42:12345678", dead_letter).timer_id == b"42"


def test_one_that_was_republished_by_hand_is_still_one():
    _, dead_letter = dead_letter_of(by_characters(b"x", {"user": "José"}), ending(attempts=3))
    body, headers = read_envelope(dead_letter)
    correlation_id = headers.pop("correlation_id")

    for republished in (
        write_envelope(body, correlation_id=correlation_id, headers={**headers, "more": "é"}),
        by_characters(body, {"correlation_id": correlation_id, **headers, "more": "é"}),
    ):
        topic, timer_id, payload = read_dead_letter(b"another id", republished)

        assert (topic, timer_id) == ("invoices", b"42")
        kept = {"correlation_id": "42", "user": "José", "more": "é"}
        assert read_envelope(payload) == (b"x", kept)


@given(st.binary(max_size=80), st.binary(max_size=20))
def test_any_bytes_are_read_without_an_error(payload, dead_id):
    assert read_dead_letter(dead_id, MAGIC + payload) is None
    read_dead_letter(dead_id, payload)


# --- headers that are added and taken away


@given(envelopes, st.binary(max_size=9), st.dictionaries(st.sampled_from("abc"), bodies))
def test_headers_that_are_added_are_taken_away_again(envelope, before, more):
    envelope = with_bytes_before(envelope, before)
    more = {"first": b"1", **more}

    added = append_headers(envelope, more)
    left, taken = take_headers(added, ["first", "a", "b", "c"])

    assert left == envelope
    assert {name: value.encode("utf-8", "surrogateescape") for name, value in taken.items()} == more
    assert bytes_before_headers(added) == before


def test_a_value_that_is_too_long_is_left_out():
    added = append_headers(write_envelope(b"x"), {"a": b"y" * LONGEST, "b": b"y" * (LONGEST + 1)})

    assert read_envelope(added) == (b"x", {"a": "y" * LONGEST})


def test_more_headers_than_there_is_room_for_are_refused():
    full = write_envelope(b"x", headers={str(n): "" for n in range(LONGEST - 1)})

    full = append_headers(full, {"one": b""})
    with pytest.raises(ValueError, match="headers must be at most 65,535, got 65,536"):
        append_headers(full, {"more": b""})


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (write_envelope(b"x", headers={"user": "José"}), True),
        (by_characters(b"x", {"user": "Jose"}), True),
        (by_characters(b"x", {"user": "José"}), False),
        (b"raw", False),
    ],
)
def test_lengths_count_bytes_or_characters(payload, expected):
    assert counts_bytes(payload) is expected


def test_nothing_is_taken_from_what_has_nothing():
    assert take_headers(write_envelope(b"x", headers={"b": "1"}), ["a", "b"]) is None
    assert take_headers(b"raw", ["a"]) is None
    with pytest.raises(EnvelopeError):
        take_headers(MAGIC, ["a"])
