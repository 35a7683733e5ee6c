"""Key names of topics, and ids as bytes."""

import pytest
from hypothesis import given, strategies as st

from faststream_redis_timers_sync.protocol.keys import (
    KeySpace,
    decode_id,
    encode_known_id,
    encode_text,
    prefixed,
)


def test_a_topics_keys_by_default():
    assert KeySpace().of("invoices") == (
        b"timers_timeline:invoices",
        b"timers_payloads:invoices",
        b"timers_attempts:invoices",
    )


def test_a_topics_keys_with_names_of_ones_own():
    keys = KeySpace(timeline_key="t:1", payloads_key="{p}", attempts_key="é")

    assert keys.of("my-service:invoices") == (
        b"t:1:my-service:invoices",
        b"{p}:my-service:invoices",
        b"\xc3\xa9:my-service:invoices",
    )


def test_a_topics_keys_stay_the_same_however_many_topics_there_are():
    keys = KeySpace()

    for n in range(3000):
        assert keys.of(f"user-{n}").timeline == f"timers_timeline:user-{n}".encode()
    assert keys.of("user-0").timeline == b"timers_timeline:user-0"
    # Those that are remembered do not fill the memory.
    assert len(keys._topics) <= 1000


@pytest.mark.parametrize("argument", ["timeline_key", "payloads_key", "attempts_key"])
@pytest.mark.parametrize(
    ("name", "error"), [("", ValueError), ("\ud800", ValueError), (b"x", TypeError)]
)
def test_a_key_name_must_be_text(argument, name, error):
    with pytest.raises(error, match=argument):
        KeySpace(**{argument: name})


def test_two_keys_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"must differ.*'same'.*'same'"):
        KeySpace(timeline_key="same", payloads_key="same")


@pytest.mark.parametrize(
    ("topic", "error"),
    [("", ValueError), ("\ud800", ValueError), (b"x", TypeError), (None, TypeError)],
)
def test_a_topic_must_be_text(topic, error):
    with pytest.raises(error, match="topic"):
        KeySpace().of(topic)
    with pytest.raises(error, match="topic"):
        prefixed("my-service:", topic)


def test_a_prefix_stands_before_the_topic():
    assert prefixed("my-service:", "invoices") == "my-service:invoices"
    assert prefixed("", "invoices") == "invoices"


@given(st.binary(min_size=1))
def test_an_id_of_any_bytes_can_be_shown_and_named_again(timer_id):
    assert encode_known_id(decode_id(timer_id)) == timer_id


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_an_id_of_text_is_written_as_utf8(timer_id):
    assert encode_known_id(timer_id) == encode_text("timer_id", timer_id) == timer_id.encode()


@pytest.mark.parametrize(
    ("timer_id", "error"),
    [(5, TypeError), (None, TypeError), (b"x", TypeError), ("\ud800", ValueError)],
)
def test_an_id_that_can_name_no_timer_is_refused(timer_id, error):
    with pytest.raises(error, match="timer_id"):
        encode_known_id(timer_id)
