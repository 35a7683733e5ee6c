"""Payloads that are gone, huge or hostile: one error, no crash, no memory beyond the payload."""

import gc
import logging
import subprocess
import sys
import time
import tracemalloc
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from struct import pack

import pytest
from bench import bench_at, delivering
from command_line import environment
from states import balance, noting, numbers, schedule_all
from waiting import wait_until_async

from examples.embedded_server import embedded_server
from faststream_redis_timers.subscriber import loop
from faststream_redis_timers_sync.protocol.envelope import MAGIC, read_envelope, write_envelope
from faststream_redis_timers_sync.protocol.errors import EnvelopeError

MEBIBYTE = 1024 * 1024


def front(data_start):
    return MAGIC + pack(">HII", 1, 18, data_start)


# --- hostile -----------------------------------------------------------------------------


def hostile(size):
    """Give payloads that lie, of about this size, by what is odd about them."""
    filler = b"x" * size
    most = b"\xff\xff" + b"\xc3\xa9" * 32_767 + b"x"
    distinct = b"".join(pack(">H3sH", 3, n.to_bytes(3, "big"), 0) for n in range(65_535))
    region = pack(">H", 65_535) + most * (size // len(most))
    return {
        "magic alone": MAGIC,
        "ends in its front": MAGIC + b"\0\1\0",
        "version": MAGIC + pack(">HIIH", 9, 18, 20, 0) + filler,
        "data before headers": MAGIC + pack(">HIIH", 1, 20, 18, 0) + filler,
        "data beyond the end": front(2**32 - 1) + pack(">H", 0) + filler,
        "more headers than there are": front(20) + pack(">H", 65_535) + filler,
        "empty headers that are not there": front(28) + pack(">H", 65_535) + filler,
        "long headers that are not there": front(18 + len(region)) + region,
        "long headers counted in characters": front(18 + 2 + size)
        + pack(">H", 65_535)
        + (b"\xff\xfe" + b"\xf0\x9f\x98\x80" * 65_534)[:size].ljust(size, b"x"),
        "65,535 headers": front(20 + len(distinct)) + pack(">H", 65_535) + distinct + b"body",
        "65,535 headers of one name": front(20 + 4 * 65_535)
        + pack(">H", 65_535)
        + b"\0\0\0\0" * 65_535
        + b"body",
        "no UTF-8": front(27) + pack(">HH", 1, 1) + b"\xff\0\2\xff\xfe" + filler,
        "lists in JSON": b'{"data": "x", "headers": {"a": [' + b"[]," * (size // 3) + b"0]}}",
        "another document in JSON": b'{"a": [' + b"[]," * (size // 3) + b"0]}",
        "many headers in JSON": b'{"data": "x", "headers": {'
        + b",".join(b'"%d":0' % n for n in range(size // 10))
        + b'"": 0}}',
        "deep JSON": b'{"data":' * (size // 8),
        "long number in JSON": b"9" * max(size, 5000),
        "JSON without an end": b'{"data": "' + filler,
        "odd hexadecimals": b'{"b": "' + b"0" * (size | 1) + b'"}',
    }


@pytest.mark.parametrize("name", hostile(0))
def test_reading_takes_no_memory_beyond_the_payload(name):
    payload = hostile(8 * MEBIBYTE)[name]
    gc.collect()
    tracemalloc.start()
    with suppress(EnvelopeError):
        read_envelope(payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # The body and a copy of the headers; and what 65,535 headers take as Python's strings.
    assert peak <= 2.1 * len(payload) + 12 * MEBIBYTE


async def test_a_worker_removes_or_delivers_each_and_goes_on(bench, open_calls, request):
    payloads = hostile(200_000)
    refused = {timer_id for timer_id, payload in payloads.items() if is_refused(payload)}
    ids = numbers(20)
    now = bench.home.now().timestamp()
    for timer_id, payload in payloads.items():
        bench.home.plant(bench.topic, timer_id, now, payload)
    async with delivering(noting(bench, open_calls, max_concurrent=2)):
        schedule_all(bench, ids)
        await bench.until_gone(*payloads, *ids)

    balance(open_calls, ids, len(payloads)).report(request, "hostile payloads")
    assert open_calls.counts == dict.fromkeys([*(payloads.keys() - refused), *ids], 1)
    assert_one_error_each(bench, refused)
    assert bench.log.at(logging.CRITICAL) == []


def is_refused(payload):
    try:
        read_envelope(payload)
    except EnvelopeError:
        return True
    return False


def assert_one_error_each(bench, timer_ids):
    errors = bench.log.at(logging.ERROR)
    assert len(errors) == len(timer_ids)
    for timer_id in timer_ids:
        (line,) = (line for line in errors if repr(timer_id) in line)
        assert "was removed" in line
        assert len(line) < 300


async def test_an_envelope_truncated_anywhere_is_one_error_or_a_shorter_body(bench, open_calls):
    whole = write_envelope(
        b"a body",
        content_type="text/plain",
        correlation_id="id-1",
        reply_to="",
        headers={"name": "Jos\u00e9"},
    )
    begin_of_body = len(whole) - len(b"a body")
    now = bench.home.now().timestamp()
    ids = [f"cut-{length}" for length in range(len(whole) + 1)]
    for length, timer_id in enumerate(ids):
        bench.home.plant(bench.topic, timer_id, now, whole[:length])
    async with delivering(noting(bench, open_calls)):
        await bench.until_gone(*ids)

    refused = ids[len(MAGIC) : begin_of_body]
    assert open_calls.counts == dict.fromkeys([*ids[: len(MAGIC)], *ids[begin_of_body:]], 1)
    assert_one_error_each(bench, refused)


# --- evicted -----------------------------------------------------------------------------


async def test_of_payloads_that_the_server_evicted_each_is_one_error(open_calls, key_names):
    """The server evicts whole keys: the one that nobody has touched for longest."""
    settings = {"maxmemory-policy": "allkeys-lru", "maxmemory-samples": "10"}
    with embedded_server(config=settings) as url:
        async with bench_at(url, key_names) as bench:
            ids = numbers(10)
            bench.client.schedule_batch(
                [b"x" * 1000] * 10, "before", activate_in=timedelta(hours=1)
            )
            for timer_id in ids:
                bench.schedule(timer_id, b"x" * 10_000, activate_in=timedelta(seconds=2))
            payloads = bench.home.keys_of(bench.topic).payloads
            # The server counts in seconds how long a key has been left alone.
            await wait_until_async(lambda: bench.redis.object("idletime", payloads) >= 1)
            bench.client.cancel_all("before")
            bench.redis.zcard(bench.timeline)
            used = bench.redis.info("memory")["used_memory"]
            bench.redis.config_set("maxmemory", f"{used}")
            bench.redis.set("filler", b"x" * 1000)
            assert not bench.redis.exists(payloads)
            bench.redis.config_set("maxmemory", "0")
            bench.schedule("good", activate_in=timedelta(seconds=0.5))
            async with delivering(noting(bench, open_calls)):
                await wait_until_async(lambda: not bench.redis.exists(bench.timeline))

    assert open_calls.ids == ["good"]
    errors = bench.log.at(logging.ERROR)
    assert len(errors) == len(ids)
    assert all("was it evicted?" in line for line in errors)


# --- huge --------------------------------------------------------------------------------


HUGE = 100 * MEBIBYTE

COPIES = {"schedule": 3.5, "publish": 4.5, "deliver": 3.5}
"""How many payloads the memory of each end holds at most: the body, the envelope around it,
and the command or reply around that; asyncio's transport copies once more what does not go
out at once."""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_payload_of_100_mebibytes_goes_through_and_is_held_a_few_times(request):
    took, copies = {}, {}
    # So much memory is the server's that it serves this test alone.
    with embedded_server(config={}) as url:
        for what in ("schedule", "deliver", "publish", "deliver"):
            began_at = time.monotonic()
            done = subprocess.run(
                [sys.executable, Path(__file__).with_name("large_timer.py"), what, url, f"{HUGE}"],
                env=environment(),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            took[what] = round(time.monotonic() - began_at, 2)
            copies[what] = round(int(done.stdout.split()[-1]) / HUGE, 2)

    facts = {"fault": "100 MiB", "copies": copies, "seconds": took}
    request.node.user_properties.append(("fault", facts))
    assert {what: held for what, held in copies.items() if held > COPIES[what]} == {}


@pytest.mark.parametrize("socket_timeout", ["0.5", "3"])
async def test_a_payload_that_takes_longer_than_a_call_may_be_silent_arrives(
    bench, relay, open_calls, monkeypatch, socket_timeout
):
    monkeypatch.setattr(loop, "CALL_TIMEOUT", 0.5)
    broker = noting(bench, open_calls, f"{relay.url}?socket_timeout={socket_timeout}")
    async with delivering(broker):
        await wait_until_async(lambda: relay.count("SUBSCRIBE"))
        # Some two seconds for all of it.
        relay.split(16_384, pause=0.02)
        bench.schedule("slow", bytes(2 * MEBIBYTE))
        bench.schedule("next")
        await bench.until_gone("slow", "next")

    assert open_calls.counts == {"slow": 1, "next": 1}
    assert bench.log.complaints == []
