"""The Lua files: documented, loadable, and constant."""

import hashlib
import re
from datetime import timedelta
from importlib.resources import files

import pytest

from faststream_redis_timers_sync import protocol
from faststream_redis_timers_sync.protocol.dead_letters import Ending, write_dead_letter
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.management import move_some
from faststream_redis_timers_sync.protocol.model import EncodedTimer
from faststream_redis_timers_sync.protocol.operation import load_script
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.timers import new_timer_id

FOLDER = files(protocol) / "lua"
NAMES = sorted(
    file.name.removesuffix(".lua") for file in FOLDER.iterdir() if not file.name.startswith("_")
)
SHARED = (FOLDER / "_shared.lua").read_text()


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


@pytest.mark.parametrize("name", NAMES)
def test_a_scripts_text_is_its_files_and_nothing_else(name):
    script = load_script(name)

    assert script.text.decode() == SHARED + "\n" + (FOLDER / f"{name}.lua").read_text()
    assert script.sha.decode() == hashlib.sha1(script.text, usedforsecurity=False).hexdigest()
    assert load_script(name) is script


def wakes(name):
    return re.search(r"^\s*wake\(", (FOLDER / f"{name}.lua").read_text(), re.MULTILINE)


DIALECTS = {
    "database": (
        KeySpace(database=3),
        ("local channel_prefix = ''", "local channel_prefix = 'db3:'"),
    ),
    "hash tags": (
        KeySpace(hash_tags=True),
        ("redis.pcall('PUBLISH', channel_prefix", "redis.pcall('SPUBLISH', channel_prefix"),
    ),
}


@pytest.mark.parametrize(("keys", "change"), DIALECTS.values(), ids=DIALECTS)
def test_each_script_that_wakes_workers_is_in_the_dialect_of_the_keys(keys, change):
    operations = Operations(keys)
    hour = timedelta(hours=1)
    ending = Ending(reason="rejected", topic="t", timer_id=b"2", first_due=b"1.000000")
    length, _, letter = write_dead_letter(b"", ending).partition(b":")
    dead_id, payload = letter[: int(length)], letter[int(length) :]
    redrive = operations.redrive_first("t:dead", [dead_id])
    next(redrive)
    called = [
        operations.schedule("t", EncodedTimer("1", b"", b"+1.000000")),
        operations.reschedule("t", "1", activate_in=hour, activate_at=None),
        move_some(operations.keys, "t", ["1"], activate_in=hour, activate_at=None),
        operations.settle_and_claim("t", [], limit=1, lease_ttl=1.0, jitter=1),
        redrive.send([(b"1.000000", payload)]),
    ]

    assert sorted(operation.name for operation in called) == list(filter(wakes, NAMES))
    for operation in called:
        text = load_script(operation.name).text.decode()
        other = text.replace(*change)
        assert operation.script.text.decode() == other != text


@pytest.mark.parametrize("name", NAMES)
def test_a_script_begins_without_a_shebang(name):
    # fakeredis can't load scripts with flags.
    assert not load_script(name).text.startswith(b"#!")


def test_ids_are_new_and_fit_a_command_line():
    ids = {new_timer_id() for _ in range(2000)}

    assert len(ids) == 2000
    assert {len(timer_id) for timer_id in ids} == {22}
    assert not any(timer_id.startswith("-") for timer_id in ids)
