"""The Lua files: documented, loadable, and constant."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
import redis
from series import series

from faststream_redis_timers_sync import protocol
from faststream_redis_timers_sync.protocol.dead_letters import Ending, write_dead_letter
from faststream_redis_timers_sync.protocol.keys import Dialect, KeySpace
from faststream_redis_timers_sync.protocol.listing import make_timer
from faststream_redis_timers_sync.protocol.management import move_some
from faststream_redis_timers_sync.protocol.model import PAUSED, EncodedTimer
from faststream_redis_timers_sync.protocol.operation import load_script
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.timers import new_timer_id

FOLDER = files(protocol) / "lua"
NAMES = sorted(
    file.name.removesuffix(".lua") for file in FOLDER.iterdir() if not file.name.startswith("_")
)
SHARED = (FOLDER / "_shared.lua").read_text()
TAGGED = (FOLDER / "_hash_tags.lua").read_text()
DEFINED = re.compile(r"^local (?:function )?(\w+)", re.MULTILINE)


def test_there_are_scripts():
    assert {"schedule", "reschedule", "cancel", "settle_and_claim"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_opens_with_what_it_does_its_keys_and_its_reply(name):
    text = (FOLDER / f"{name}.lua").read_text()
    header = [line for line in text.split("\n\n")[0].splitlines() if line.startswith("--")]

    assert len(header[0]) > len("-- ")
    for word in ("KEYS", "Reply"):
        assert any(line.startswith(f"-- {word} ") for line in header), word
    assert ("-- ARGV " in "\n".join(header)) == ("ARGV" in text)


@pytest.mark.parametrize("name", NAMES)
def test_the_server_loads_a_script_under_the_sha_that_we_send(name, redis_client):
    script = load_script(name)

    assert redis_client.script_load(script.text).encode() == script.sha


def shared_part(script, own):
    """Return what stands before a script's own text, as paragraphs."""
    text = script.text.decode()
    assert text.endswith(own)
    return text.removesuffix(own).removesuffix("\n\n").split("\n\n")


def names_in(text):
    return re.findall(r"\w+", re.sub(r"--.*|'[^']*'", "", text))


@pytest.mark.parametrize("name", NAMES)
def test_a_scripts_text_is_its_files_and_nothing_else(name):
    script = load_script(name)
    own = (FOLDER / f"{name}.lua").read_text()
    shared = SHARED.rstrip().split("\n\n")

    paragraphs = shared_part(script, own)
    assert paragraphs == [one for one in shared if one in paragraphs] or paragraphs == [""]
    assert script.sha.decode() == hashlib.sha1(script.text, usedforsecurity=False).hexdigest()
    assert load_script(name) is script


@pytest.mark.parametrize("name", NAMES)
def test_with_hash_tags_it_has_all_of_its_lines(name, redis_client):
    script = load_script(name, Dialect(hash_tags=True, fits_cluster=True))
    texts = (SHARED, TAGGED, (FOLDER / f"{name}.lua").read_text())
    shared, tagged, own = (
        re.sub(r"^( *)--@ ", r"\1", text, flags=re.MULTILINE)
        .replace("pcall('PUBLISH'", "pcall('SPUBLISH'")
        .replace("'NUMSUB'", "'SHARDNUMSUB'")
        for text in texts
    )

    paragraphs = shared_part(script, own)
    assert set(paragraphs) - {""} <= {
        *shared.rstrip().split("\n\n"),
        *tagged.rstrip().split("\n\n"),
    }
    assert redis_client.script_load(script.text).encode() == script.sha


@pytest.mark.parametrize("dialect", [Dialect(), Dialect(hash_tags=True, fits_cluster=True)])
@pytest.mark.parametrize("name", NAMES)
def test_a_script_has_those_shared_definitions_that_it_uses_and_no_others(name, dialect):
    text = load_script(name, dialect).text.decode()
    own = (FOLDER / f"{name}.lua").read_text()
    shared = text[: text.index(own.partition("\n")[0])]

    words = names_in(text)
    assert [defined for defined in DEFINED.findall(shared) if words.count(defined) < 2] == []
    everything = {*DEFINED.findall(SHARED), *DEFINED.findall(TAGGED)}
    missing = everything - set(DEFINED.findall(text))
    assert missing.isdisjoint(words)


@pytest.mark.parametrize("text", [SHARED, TAGGED], ids=["shared", "hash tags"])
def test_each_shared_paragraph_is_one_definition(text):
    _, *paragraphs = re.split(r"\n\n(?=--|local )", text)

    assert [len(DEFINED.findall(one)) for one in paragraphs] == [1] * len(paragraphs)


@pytest.mark.parametrize("if_exists", ["replace", "keep", "error", "update"])
@pytest.mark.parametrize("count", [1, 2])
def test_schedule_refuses_an_empty_id_and_schedules_nothing(
    if_exists, count, redis_client, key_names
):
    timeline, payloads, attempts = KeySpace(**key_names).of("topic")
    timers = [
        word for n in range(count) for word in ("" if n == count - 1 else "a", "x", "+9.000000")
    ]
    text = load_script("schedule").text

    with pytest.raises(redis.ResponseError, match="a timer id must not be empty"):
        redis_client.eval(text, 2, timeline, payloads, attempts, if_exists, *timers)
    assert redis_client.exists(timeline, payloads) == 0


def test_scripts_refuse_a_torn_topic_unless_they_count_or_give_up():
    def calls(name):
        text = load_script(name, Dialect(hash_tags=True, fits_cluster=True)).text.decode()
        return len(re.findall(r"\bif is_torn\(.*\) then return torn\(", text))

    # Workers are told in a reply of its own.
    others = {"settle_and_claim", "cancel_all", "touch", "permissions"}
    others |= {"overview", "forecast", "running"}
    assert {name: calls(name) for name in NAMES} == {
        name: 0 if name in others else 2 if name == "redrive" else 1 for name in NAMES
    }


def wakes(name):
    return re.search(r"^\s*wake\(", (FOLDER / f"{name}.lua").read_text(), re.MULTILINE)


def test_each_script_that_wakes_workers_is_told_the_database():
    operations = Operations(KeySpace(database=3))
    hour = timedelta(hours=1)
    ending = Ending(reason="rejected", topic="t", timer_id=b"2", first_due=b"1.000000")
    length, _, rest = write_dead_letter(b"", ending).partition(b":")
    dead_id, payload = rest[: int(length)], rest[int(length) :]
    redrive = operations.redrive_first("t:dead", [dead_id])
    next(redrive)
    resume = operations.resume("t", "1")
    next(resume)
    paused = make_timer("t", b"1", b"%d" % PAUSED, series("1").payload)
    resume.send(paused)
    called = [
        operations.schedule("t", EncodedTimer("1", b"", b"+1.000000")),
        operations.reschedule("t", "1", activate_in=hour, activate_at=None),
        move_some(operations.keys, "t", ["1"], activate_in=hour, activate_at=None),
        operations.settle_and_claim("t", [], limit=1, lease_ttl=1.0, jitter=1),
        redrive.send([(b"1.000000", payload)]),
        resume.send(datetime(2030, 1, 1, tzinfo=UTC)),
    ]

    assert sorted(operation.name for operation in called) == list(filter(wakes, NAMES))
    for operation in called:
        text = load_script(operation.name).text
        other = text.replace(b"local channel_prefix = ''", b"local channel_prefix = 'db3:'")
        assert operation.script.text == other != text


@pytest.mark.parametrize("name", NAMES)
def test_a_script_begins_without_a_shebang(name):
    # fakeredis can't load scripts with flags.
    assert not load_script(name).text.startswith(b"#!")


def test_ids_are_new_and_fit_a_command_line():
    ids = {new_timer_id() for _ in range(2000)}

    assert len(ids) == 2000
    assert {len(timer_id) for timer_id in ids} == {22}
    assert not any(timer_id.startswith("-") for timer_id in ids)
