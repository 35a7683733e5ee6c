"""What scripts read of a series in a payload is what Python reads, whatever bytes lie there."""

from importlib.resources import files
from struct import pack

import pytest
from hypothesis import example, given, settings, strategies as st

from faststream_redis_timers_sync import protocol
from faststream_redis_timers_sync.protocol.envelope import MAGIC, read_envelope, write_envelope
from faststream_redis_timers_sync.protocol.errors import EnvelopeError
from faststream_redis_timers_sync.protocol.recurrence import REPEAT, REPEAT_OWNER

DEFINITION, OWNER = b"every 300.000000 0.000000", "Josés".encode()
READER = (files(protocol) / "lua" / "_shared.lua").read_text() + (
    "\nlocal definition, owner = read_series(ARGV[1])\nreturn {definition or false, owner or false}"
)
NAMES = [REPEAT.encode(), REPEAT_OWNER.encode(), b"correlation_id", "é".encode(), b""]


def envelope(pairs, *, count=None, before=b"", body=b"body", version=1, starts=(0, 0)):
    """Write an envelope; `starts` is added to where it says that headers and data begin."""
    region = b"".join(pack(">H", len(text)) + text for pair in pairs for text in pair)
    start = 18 + len(before) + starts[0]
    end = 18 + len(before) + 2 + len(region) + starts[1]
    front = pack(">8sHII", MAGIC, version, start % 2**32, end % 2**32)
    count = len(pairs) if count is None else count
    return front + before + pack(">H", count) + region + body


def read_in_python(payload):
    try:
        headers = read_envelope(payload).headers
    except EnvelopeError:
        return None
    definition = headers.get(REPEAT)
    owner = headers.get(REPEAT_OWNER) if definition is not None else None
    texts = (definition, owner)
    return [None if text is None else text.encode("utf-8", "surrogateescape") for text in texts]


@pytest.fixture(scope="module")
def read_in_lua(redis_client):
    """Call the scripts' reader on a real server."""

    def read(payload):
        return redis_client.eval(READER, 0, payload)

    return read


SERIES = (NAMES[0], DEFINITION)
OWNED = (NAMES[1], OWNER)
CASES = {
    "a series": (envelope([SERIES]), [DEFINITION, None]),
    "an owned one": (envelope([SERIES, OWNED]), [DEFINITION, OWNER]),
    "with bytes before its headers": (envelope([SERIES], before=b"\0\1"), [DEFINITION, None]),
    "with an empty body": (envelope([SERIES], body=b""), [DEFINITION, None]),
    "empty": (envelope([(NAMES[0], b"")]), [b"", None]),
    "forwarded": (envelope([(b"x", b"y"), SERIES, OWNED]), [None, None]),
    "owned by what was forwarded": (envelope([SERIES, (b"x", b"y"), OWNED]), [DEFINITION, None]),
    "an owner alone": (envelope([OWNED]), [None, None]),
    "in the body": (envelope([], body=envelope([SERIES])[20:]), [None, None]),
    "twice": (envelope([SERIES, (NAMES[0], b"other")]), [DEFINITION, None]),
    "not in ASCII": (envelope([(NAMES[0], "é".encode())]), [None, None]),
    "not even in UTF-8": (envelope([(NAMES[0], b"\xff")]), [None, None]),
    "without headers": (envelope([]), [None, None]),
    "an envelope in JSON": (
        b'{"data": "x", "headers": {"timer-repeat": "every 1.000000 0.000000"}}',
        [None, None],
    ),
    "no envelope": (b"timer-repeat", [None, None]),
    "nothing": (b"", [None, None]),
}


@pytest.mark.parametrize(("payload", "expected"), CASES.values(), ids=CASES)
def test_both_read_the_same(payload, expected, read_in_lua):
    assert read_in_lua(payload) == expected
    assert read_in_python(payload) == expected


def test_lengths_that_count_characters_are_read_too(read_in_lua):
    payload = write_envelope(b"x", first={REPEAT: DEFINITION}, headers={"name": "José"})
    payload = payload.replace(b"\x00\x05Jos", b"\x00\x04Jos")

    assert read_in_lua(payload) == read_in_python(payload) == [DEFINITION, None]


@pytest.mark.parametrize("length", range(len(envelope([SERIES, OWNED], body=b""))))
def test_one_that_is_cut_off_is_none(length, read_in_lua):
    assert read_in_lua(envelope([SERIES, OWNED], body=b"")[:length]) == [None, None]


pairs = st.lists(
    st.tuples(
        st.sampled_from(NAMES) | st.binary(max_size=4),
        st.sampled_from([DEFINITION, OWNER]) | st.binary(max_size=4),
    ),
    max_size=4,
)
near = st.integers(-20, 20) | st.sampled_from([2**31, 2**32 - 40])
envelopes = st.builds(
    envelope,
    pairs,
    count=st.none() | st.integers(0, 5) | st.just(65_535),
    before=st.binary(max_size=3),
    body=st.binary(max_size=8),
    version=st.sampled_from([1, 1, 1, 0, 2, 65_535]),
    starts=st.just((0, 0)) | st.tuples(near, near),
)
wholes = st.builds(envelope, pairs, before=st.binary(max_size=3), body=st.binary(max_size=8))
changed = st.builds(
    lambda payload, place, value: payload[: place % len(payload)] + value + payload[place + 1 :],
    wholes,
    st.integers(0, 200),
    st.binary(max_size=2),
)


@settings(max_examples=3000)
@given(payload=wholes | envelopes | changed | st.binary(max_size=40))
@example(payload=MAGIC + b"\0\1" + b"\xff" * 40)
@example(payload=MAGIC + b"\0\1" + b"\0" * 40)
def test_what_python_reads_scripts_read_and_nothing_ends_them(payload, read_in_lua):
    read = read_in_lua(payload)

    expected = read_in_python(payload)
    if expected is not None:
        assert read == expected
