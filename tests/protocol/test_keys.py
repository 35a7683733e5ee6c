"""Key names of topics, and ids as bytes."""

from contextlib import suppress

import pytest
from hypothesis import example, given, strategies as st

from faststream_redis_timers_sync.protocol.cluster import share_slot
from faststream_redis_timers_sync.protocol.keys import (
    RESERVE_GROUPS,
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


@pytest.mark.parametrize("argument", ["timeline_key", "payloads_key", "attempts_key", "series_key"])
@pytest.mark.parametrize(
    ("name", "error"), [("", ValueError), ("\ud800", ValueError), (b"x", TypeError)]
)
def test_a_key_name_must_be_text(argument, name, error):
    with pytest.raises(error, match=argument):
        KeySpace(**{argument: name})


def test_two_keys_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"must differ.*'same'.*'same'"):
        KeySpace(timeline_key="same", payloads_key="same")
    with pytest.raises(ValueError, match=r"attempts_key and series_key must differ"):
        KeySpace(series_key="timers_attempts")


def test_an_owners_series_are_listed_under_a_key_of_their_own():
    assert KeySpace().series_of("shop") == b"timers_series:shop"
    assert KeySpace(series_key="own").series_of("é") == b"own:\xc3\xa9"
    # It is not a topic's key, so hash tags say nothing about it.
    tagged = KeySpace(hash_tags=True, series_key="{x}")
    assert tagged.series_of("{a}:dead") == b"{x}:{a}:dead"


@pytest.mark.parametrize(
    ("owner", "error"),
    [("", ValueError), ("\ud800", ValueError), (b"x", TypeError), (None, TypeError)],
)
def test_an_owner_must_be_text(owner, error):
    with pytest.raises(error, match=r"owner must|owner can't"):
        KeySpace().series_of(owner)


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


@pytest.mark.parametrize(
    ("topic", "end"),
    [
        ("invoices", "{invoices}"),
        ("svc:invoices", "{svc:invoices}"),
        ("invoices:dead", "{invoices}:dead"),
        ("invoices:dead:dead", "{invoices}:dead:dead"),
        ("invoices:dead:letters", "{invoices:dead:letters}"),
        ("deadline", "{deadline}"),
        ("dead", "{dead}"),
        ("line\nbreak:dead", "{line\nbreak}:dead"),
        ("{eu}:invoices", "{eu}:invoices"),
        ("{eu}:invoices:dead", "{eu}:invoices:dead"),
        ("invoices-{eu}", "invoices-{eu}"),
        ("{a}{b}", "{a}{b}"),
        ("{{a}}", "{{a}}"),
    ],
)
def test_keys_with_hash_tags(topic, end):
    keys = KeySpace(hash_tags=True)

    assert keys.of(topic) == tuple(
        f"timers_{name}:{end}".encode() for name in ("timeline", "payloads", "attempts")
    )
    assert keys.channel_of(topic) == keys.of(topic).timeline
    assert KeySpace(hash_tags=True, database=3).channel_of(topic) == b"db3:" + keys.of(topic)[0]


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("{x}", "has its own braces where those of 'x' are; write 'x'"),
        ("{x}:dead", "those of 'x:dead' are; write 'x:dead'"),
        ("{x}:dead:dead", "write 'x:dead:dead'"),
        ("x{", "has a brace without its pair; write both around a name, or neither"),
        ("x}", "has a brace without its pair"),
        ("}x{", "has a brace without its pair"),
        ("{a{b}", "has a brace without its pair"),
        ("{eu}:x}", "has a brace without its pair"),
        ("{}", "has braces with nothing between; write a name there, or no braces"),
        ("{}:x", "has braces with nothing between"),
        (":dead", "has no name before ':dead'; write one before it"),
        (":dead:dead", "has no name before ':dead'"),
    ],
)
def test_a_topic_that_can_have_no_hash_tag_is_refused(topic, reason):
    assert KeySpace().of(topic).timeline == f"timers_timeline:{topic}".encode()

    with pytest.raises(ValueError, match="hash_tags=True") as caught:
        KeySpace(hash_tags=True).of(topic, "reply_to")

    assert str(caught.value).startswith(f"reply_to can't be {topic!r} where hash_tags=True: it ")
    assert str(caught.value).endswith(reason) or reason in str(caught.value)


@pytest.mark.parametrize("argument", ["timeline_key", "payloads_key", "attempts_key"])
@pytest.mark.parametrize("name", ["{t}:x", "x{", "}"])
def test_a_key_name_has_no_brace_beside_hash_tags(argument, name):
    with pytest.raises(ValueError, match=rf"{argument} must have no brace .*got '{name}': write"):
        KeySpace(**{argument: name}, hash_tags=True)


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_hash_tags_are_true_or_false(value):
    with pytest.raises(TypeError, match=rf"hash_tags must be True or False, got {value!r}"):
        KeySpace(hash_tags=value)


PIECES = ["{", "}", "{x}", "x", ":", ":dead", "dead", "d", "é"]
TOPICS = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1),
    st.lists(st.sampled_from(PIECES), min_size=1).map("".join),
)


@given(TOPICS, st.booleans())
@example("{x}", True)
def test_a_timeline_names_its_topic(topic, hash_tags):
    keys = KeySpace(hash_tags=hash_tags)
    with suppress(ValueError):
        assert keys.topic_of(keys.of(topic).timeline) == topic


@given(TOPICS)
def test_no_two_topics_share_keys_with_hash_tags(topic):
    keys = KeySpace(hash_tags=True)
    found = keys.topic_of(b"timers_timeline:" + topic.encode())

    # What the key is made of is a topic's name at most once: as it stands, or without braces.
    assert found is None or keys.of(found).timeline == b"timers_timeline:" + topic.encode()


def channels_beside(keys, topic):
    """Name the channels of a topic that are not for wake-ups."""
    groups = [keys.reserve_channel_of(topic, group) for group in range(RESERVE_GROUPS)]
    return [keys.workers_channel_of(topic), *groups]


@pytest.mark.parametrize(
    ("keys", "beginning"),
    [
        (KeySpace(), b"timers_timeline:a"),
        (KeySpace(database=3), b"db3:timers_timeline:a"),
        (KeySpace(hash_tags=True), b"timers_timeline:{a}"),
        (KeySpace(hash_tags=True, database=3), b"db3:timers_timeline:{a}"),
    ],
)
def test_a_topics_channels(keys, beginning):
    assert keys.channel_of("a") == beginning
    assert keys.workers_channel_of("a") == beginning + b"\xffw"
    assert keys.reserve_channel_of("a", 0) == beginning + b"\xff0"
    assert keys.reserve_channel_of("a", RESERVE_GROUPS - 1) == beginning + b"\xffo"


@given(TOPICS, st.booleans())
def test_channels_beside_that_for_wake_ups_differ_and_are_no_topics(topic, hash_tags):
    keys = KeySpace(hash_tags=hash_tags)
    with suppress(ValueError):
        channels = channels_beside(keys, topic)

        assert len(set(channels)) == 1 + RESERVE_GROUPS
        assert [keys.topic_of(channel) for channel in channels] == [None] * len(channels)
        assert not hash_tags or share_slot(keys.of(topic).timeline, *channels)


@given(TOPICS)
def test_all_keys_of_a_topic_and_its_dead_letters_share_a_slot(topic):
    keys = KeySpace(hash_tags=True)
    with suppress(ValueError):
        assert share_slot(*keys.of(topic), *keys.of(f"{topic}:dead"))


@pytest.mark.parametrize("hash_tags", [False, True])
@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"timers_timeline",
        b"timers_timeline:",
        b"timers_payloads:{x}",
        b"x:timers_timeline:{x}",
        b"timers_timeline:\xff",
    ],
)
def test_other_keys_name_no_topic(key, hash_tags):
    assert KeySpace(hash_tags=hash_tags).topic_of(key) is None


def test_a_timeline_of_the_plain_layout_names_no_topic_with_hash_tags():
    assert KeySpace(hash_tags=True).topic_of(b"timers_timeline:invoices") is None
    assert KeySpace().topic_of(b"timers_timeline:{invoices}") == "{invoices}"


@pytest.mark.parametrize(
    ("topic", "plain", "tagged"),
    [
        ("x", b"timers_timeline:{x}", b"timers_timeline:x"),
        ("x:dead", b"timers_timeline:{x}:dead", b"timers_timeline:x:dead"),
        ("{eu}:x", None, None),
    ],
)
def test_the_timeline_in_the_other_layout(topic, plain, tagged):
    assert KeySpace().timeline_elsewhere(topic) == plain
    assert KeySpace(hash_tags=True).timeline_elsewhere(topic) == tagged


def test_there_may_be_no_timeline_in_the_other_layout():
    assert KeySpace().timeline_elsewhere("{x}") is None
    assert KeySpace(timeline_key="{t}").timeline_elsewhere("x") is None


@pytest.mark.parametrize(
    ("prefix", "beginnings"),
    [
        ("", [""]),
        ("svc", ["{svc", "svc"]),
        ("svc:", ["{svc:", "svc:", "{svc}:dead"]),
        ("svc:dead", ["{svc:dead", "svc:dead", "{svc}:dead"]),
        ("svc:dead:d", ["{svc:dead:d", "svc:dead:d", "{svc}:dead:dead"]),
        ("{eu}:", ["{eu}:"]),
        ("{eu", ["{eu"]),
    ],
)
def test_how_keys_of_a_prefix_begin(prefix, beginnings):
    assert KeySpace().beginnings(prefix) == [prefix]
    assert KeySpace(hash_tags=True).beginnings(prefix) == beginnings
    # Those of the other layout, where they are not among one's own.
    others = [text for text in beginnings if text.startswith("{") and text != prefix]
    assert KeySpace().beginnings_elsewhere(prefix) == others
    assert KeySpace(hash_tags=True).beginnings_elsewhere(prefix) == []
    assert KeySpace(timeline_key="{t}").beginnings_elsewhere(prefix) == []


@given(st.one_of(st.just(""), TOPICS), TOPICS, st.booleans())
@example("svc:", "dead", True)
def test_the_key_of_a_topic_with_a_prefix_begins_as_told(prefix, topic, hash_tags):
    keys = KeySpace(hash_tags=hash_tags)
    with suppress(ValueError):
        end = keys.of(prefix + topic).timeline.decode().removeprefix("timers_timeline:")
        assert end.startswith(tuple(keys.beginnings(prefix)))
        assert end.startswith(keys.common_beginning(prefix))


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


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        ({}, False),
        ({"hash_tags": True}, True),
        ({"timeline_key": "{t}:a", "payloads_key": "{t}:b", "attempts_key": "{t}:c"}, True),
        ({"timeline_key": "a{t}", "payloads_key": "b{t}{u}", "attempts_key": "c{t}}"}, True),
        ({"timeline_key": "{t}:a", "payloads_key": "{t}:b", "attempts_key": "{u}:c"}, False),
        ({"timeline_key": "{t}:a", "payloads_key": "{t}:b"}, False),
        ({"timeline_key": "{}{t}a", "payloads_key": "{}{t}b", "attempts_key": "{}{t}c"}, False),
        ({"timeline_key": "{a", "payloads_key": "{b", "attempts_key": "{c"}, False),
    ],
)
def test_a_layout_fits_a_cluster_where_each_topic_is_in_one_slot(names, fits):
    keys = KeySpace(**names)

    assert keys.fits_cluster is fits
    topics = ["invoices", "x}y"] if not keys.hash_tags else ["invoices", "{x}y"]
    assert all(share_slot(*keys.of(topic)) for topic in topics) is fits


def test_topics_are_grouped_by_slot():
    topics = ["c", "a", "{eu}:x", "a:dead", "b", "{eu}:y"]

    assert KeySpace(hash_tags=True).by_slot(topics) == [
        ["c"],
        ["a", "a:dead"],
        ["{eu}:x", "{eu}:y"],
        ["b"],
    ]
    assert KeySpace().by_slot(topics) == [topics]
    assert KeySpace().share_slot("a", "b")
    assert not KeySpace(hash_tags=True).share_slot("a", "b")
    assert KeySpace(hash_tags=True).share_slot("a", "a:dead")
