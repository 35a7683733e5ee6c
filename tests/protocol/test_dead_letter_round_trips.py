"""Dead letters: payloads are the same after they are redriven."""

import pytest

from faststream_redis_timers_sync.protocol.dead_letters import (
    Ending,
    read_dead_letter,
    write_dead_letter,
)
from faststream_redis_timers_sync.protocol.envelope import read_envelope, write_envelope


def dead_letter_and_redrive(payload, timer_id=b"42"):
    ending = Ending(reason="rejected", topic="invoices", timer_id=timer_id, first_due=b"1.000000")
    length, _, rest = write_dead_letter(payload, ending).partition(b":")
    return read_dead_letter(rest[: int(length)], rest[int(length) :])


@pytest.mark.parametrize(
    "headers",
    [
        {"correlation_id": "order-7"},
        {"correlation_id": "order-7", "name": "José"},
        {"name": "José", "correlation_id": "order-7"},
        {"name": "José"},
        {},
    ],
    ids=lambda headers: " ".join(headers) or "none",
)
def test_an_envelope_is_redriven_byte_for_byte_whichever_header_comes_last(headers):
    payload = write_envelope(b"body", headers=headers)

    origin = dead_letter_and_redrive(payload)

    assert (origin.topic, origin.timer_id, origin.payload) == ("invoices", b"42", payload)


def test_a_correlation_id_that_is_the_timer_id_may_go_as_it_is_the_default():
    origin = dead_letter_and_redrive(write_envelope(b"body", correlation_id="42"))

    assert read_envelope(origin.payload).headers.get("correlation_id", "42") == "42"
