"""Feeds the reader of payloads with bytes that a coverage-guided fuzzer makes: `make fuzz`.

Whatever lies in Redis, it must be read or refused with an EnvelopeError, hold no more than
the payload does, and survive being dead-lettered and redriven. It needs atheris, and takes
libFuzzer's arguments. What it learns, and what fails, it keeps in build/fuzz.
"""

import sys
from contextlib import suppress
from pathlib import Path
from struct import pack
from typing import Literal

import atheris

with atheris.instrument_imports(include=["faststream_redis_timers_sync.protocol"]):
    from faststream_redis_timers_sync.protocol.dead_letters import (
        Ending,
        read_dead_letter,
        write_dead_letter,
    )
    from faststream_redis_timers_sync.protocol.encoding import decode_body
    from faststream_redis_timers_sync.protocol.envelope import (
        MAGIC,
        Envelope,
        read_envelope,
        write_envelope,
    )
    from faststream_redis_timers_sync.protocol.errors import EnvelopeError

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"

SEEDS = [
    b"",
    b"just a body",
    MAGIC,
    write_envelope(b"body"),
    write_envelope(
        b'{"a": [1, null, "x"]}',
        content_type="application/json",
        correlation_id="id-1",
        reply_to="replies",
        headers={"name": "Jos\u00e9", "empty": "", "\U0001f600": "\U0001f600"},
    ),
    write_envelope("J\u00f8rgen".encode(), content_type="text/plain; charset=latin-1"),
    # Lengths that count characters, as FastStream writes them.
    write_envelope(b"body", headers={"name": "Jos\u00e9"}).replace(b"\x00\x05Jos", b"\x00\x04Jos"),
    b'{"data": "body", "headers": {"n": 1, "m": [null, {}]}}',
    b'{"data": "\\ud800", "headers": {}}',
    b'{"b": "00ff", "ct": "text/plain"}',
]
"""Payloads of all kinds, from which the fuzzer begins."""

DICTIONARY = r"""
magic="\x89BIN\x0d\x0a\x1a\x0a\x00\x01\x00\x00\x00\x12\x00\x00\x00"
"\x00\x00\x00\x12"
"\xff\xff"
"\xff\xff\xff\xff"
"{\"data\": \""
"\"headers\": {"
"{\"b\": \""
"\"ct\": "
"\\ud800"
"content-type"
"application/json"
"text/plain"
"""


def check_round_trip(payload: bytes, reason: Literal["rejected", "unreadable"]) -> None:
    """Dead-letter a payload, redrive it, and check that it is the same."""
    ending = Ending(reason=reason, topic="invoices", timer_id=b"\xff1", first_due=b"1.000000")
    length, _, rest = write_dead_letter(payload, ending).partition(b":")
    dead_id, dead_letter = rest[: int(length)], rest[int(length) :]
    origin = read_dead_letter(dead_id, dead_letter)
    assert origin is not None
    assert (origin.topic, origin.timer_id) == ("invoices", b"\xff1")
    if reason == "unreadable":
        assert origin.payload == payload
        return
    before, after = read_envelope(payload), read_envelope(origin.payload)
    assert read_envelope(dead_letter).body == before.body
    if not any(name.startswith("dead-letter-") for name in before.headers):
        assert after.body == before.body
        if payload.startswith(MAGIC):
            # The timer's id is what stands for one that is missing.
            default = {"correlation_id": "\udcff1"}
            assert {**default, **after.headers} == {**default, **before.headers}


def read(payload: bytes) -> None:
    """Read a payload, and check what comes of it."""
    refusal = None
    try:
        envelope = read_envelope(payload)
    except EnvelopeError as error:
        refusal = str(error)
    if refusal is not None:
        assert payload.startswith(MAGIC)
        assert len(refusal) < 100, "an error's text must not show the payload"
        check_round_trip(payload, "unreadable")
        return
    check_round_trip(payload, "rejected")
    assert isinstance(envelope, Envelope)
    assert isinstance(envelope.body, bytes)
    texts = [*envelope.headers, *envelope.headers.values()]
    assert all(isinstance(text, str) for text in texts)
    assert len(envelope.body) <= len(payload)
    if payload.startswith(MAGIC):
        assert payload.endswith(envelope.body)
        assert sum(len(text) for text in texts) <= len(payload)
    with suppress(ValueError):
        # What can be written at all is read back.
        written = write_envelope(envelope.body, headers=envelope.headers)
        assert read_envelope(written) == envelope
    with suppress(ValueError):
        decode_body(envelope.body, envelope.headers.get("content-type"))


def read_all(data: bytes) -> None:
    """Read the bytes as a payload, and as the headers and the body behind a front that is right."""
    read(data)
    if len(data) > 2:
        region = data[2:]
        data_start = 18 + int.from_bytes(data[:2], "big") % (len(region) + 1)
        read(MAGIC + pack(">HII", 1, 18, data_start) + region)


def main() -> None:
    """Fuzz until libFuzzer's limits."""
    corpus = FOLDER / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS):
        (corpus / f"seed-{number}").write_bytes(seed)
    dictionary = FOLDER / "dictionary"
    dictionary.write_text(DICTIONARY)
    options = [f"-dict={dictionary}", f"-artifact_prefix={FOLDER}/"]
    options += ["-max_len=4096", "-rss_limit_mb=512", "-timeout=5"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(corpus)], read_all)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
