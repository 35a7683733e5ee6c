"""Nothing is unpickled or evaluated, and no script's text contains input."""

import ast
import re
from importlib.resources import files

import pytest
from command_line import ROOT

from faststream_redis_timers_sync import protocol
from faststream_redis_timers_sync.protocol import management, operations
from faststream_redis_timers_sync.protocol.envelope import read_envelope
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.model import Settlement
from faststream_redis_timers_sync.protocol.operation import Operation, Script, load_script
from faststream_redis_timers_sync.protocol.operations import Operations
from faststream_redis_timers_sync.protocol.timers import encode_timer

PACKAGES = ("faststream_redis_timers", "faststream_redis_timers_sync")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LUA = sorted((ROOT / "faststream_redis_timers_sync" / "protocol" / "lua").glob("*.lua"))

FORBIDDEN_MODULES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle"),
    *("yaml", "code", "codeop", "runpy", "ctypes", "subprocess", "pty"),
}
"""What makes objects or programs of bytes, or starts others."""

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "literal_eval"}

TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in SOURCES}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def called(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            # re.compile makes a pattern, no program.
            if isinstance(function, ast.Attribute) and getattr(function.value, "id", "") == "re":
                continue
            yield getattr(function, "attr", getattr(function, "id", ""))


def where(found):
    """Give what was found, by file, without the files where nothing was."""
    return {path: some for path, tree in TREES.items() if (some := set(found(tree)))}


def test_nothing_is_unpickled_or_evaluated():
    modules = where(lambda tree: FORBIDDEN_MODULES & set(imported(tree)))
    calls = where(lambda tree: FORBIDDEN_CALLS & set(called(tree)))

    assert modules == {
        # It runs `faststream run` within the process of manage.py.
        "faststream_redis_timers_sync/django/management/commands/timers_worker.py": {"runpy"},
    }
    assert calls == {}


def test_modules_are_imported_by_name_only_where_a_project_names_them():
    found = where(lambda tree: {"import_module", "import_string"} & set(called(tree)))

    assert found == {
        "faststream_redis_timers_sync/_settings.py": {"import_module"},
        # The user of the command names a module of theirs.
        "faststream_redis_timers_sync/cli/series.py": {"import_module"},
        # A timer names its task as django.tasks wants it; anything else is not called.
        "faststream_redis_timers_sync/django/tasks.py": {"import_string"},
    }


def is_load(node):
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "load_script"
        and isinstance(node.args[0], ast.Constant)
        # The other is a number and a choice, whatever they were made of.
        and [ast.unparse(arg) for arg in node.args[1:]]
        in ([], ["self.keys.dialect"], ["keys.dialect"])
    )


def made_of_input(tree):
    """Give the operations whose script is none of the package's files, as they are written."""
    loaded = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and is_load(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        name = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
        if name == "Operation" and node.args:
            if not is_load(node.args[0]) and getattr(node.args[0], "id", "") not in loaded:
                yield ast.unparse(node)
        elif name == "Script" or (name == "reading" and not isinstance(node.args[0], ast.Constant)):
            yield ast.unparse(node)


def test_an_operation_s_script_comes_from_the_package_s_files():
    folder = "faststream_redis_timers_sync/protocol/"

    assert where(made_of_input) == {
        f"{folder}operation.py": {
            # Here the files are read.
            "Script(name, text, sha)",
            # `reading`; those who call it name the script themselves.
            (
                "Operation(load_script(script, keys.dialect), keys.of(topic)[:2], args, parse, "
                "may_repeat=True, topic=topic)"
            ),
            # `command`, which has no script.
            "Operation(None, keys, words, parse, may_repeat=may_repeat)",
        },
    }


def test_eval_is_sent_by_operations_alone():
    names = {"EVAL", "EVALSHA", "SCRIPT", "FUNCTION", "FCALL"}

    def sent(tree):
        constants = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant))
        return {c for c in constants if isinstance(c, bytes) and c.decode("latin-1") in names}

    assert where(sent) == {
        "faststream_redis_timers_sync/protocol/operation.py": {b"EVAL", b"EVALSHA"}
    }


# --- the scripts


def test_there_are_scripts():
    assert len(LUA) > 10
    assert len(SOURCES) > 100


@pytest.mark.parametrize("path", LUA, ids=lambda path: path.name)
def test_a_script_runs_no_text_and_names_its_commands_itself(path):
    code = re.sub(r"--.*", "", path.read_text())

    assert not re.findall(r"\b(load|loadstring|dofile|setfenv|getfenv|debug|cjson|struct)\b", code)
    calls = re.findall(r"redis\.p?call\((.)", code)
    assert set(calls) <= {"'"}
    # Keys come in as KEYS, never made of arguments.
    assert not re.findall(r"KEYS\s*\[[^\]]*\.\.", code)


EVIL = "')]] redis.call('FLUSHALL') --[[('\"\0\r\n$*"


def operations_with_input():
    made = Operations(KeySpace(timeline_key=EVIL, payloads_key=f"{EVIL}2", attempts_key=f"{EVIL}3"))
    timer = encode_timer(EVIL.encode(), EVIL, timer_id=EVIL, headers={EVIL: EVIL}, reply_to=EVIL)
    raw = EVIL.encode()
    yield made.schedule(EVIL, timer)
    yield made.cancel(EVIL, EVIL)
    yield made.cancel_all(EVIL)
    yield made.has_pending(EVIL, EVIL)
    yield made.get(EVIL, EVIL)
    yield made.count(EVIL)
    settlement = Settlement(b"commit", raw, raw)
    yield made.settle_and_claim(EVIL, [settlement], limit=1, lease_ttl=1.0, jitter=1)
    yield management.cancel_some(made.keys, EVIL, [EVIL])
    yield management.check_permissions([[raw]])


def test_input_is_never_in_a_script_s_text():
    texts = {load_script(path.stem).text for path in LUA if not path.stem.startswith("_")}

    for operation in operations_with_input():
        assert isinstance(operation, Operation)
        words = operation.words(by_text=True)
        assert words[:2] == (b"EVAL", operation.script.text)
        assert operation.script.text in texts
        # Each word goes with its length, so none can end early and begin another.
        parts = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        assert b"".join(operation.pack(by_text=True)) == b"*%d\r\n%b" % (len(words), parts)


def test_scripts_are_those_of_the_package():
    folder = files(protocol) / "lua"
    shared = (folder / "_shared.lua").read_bytes().rstrip().split(b"\n\n")

    for path in LUA:
        if not path.stem.startswith("_"):
            script = load_script(path.stem)
            assert isinstance(script, Script)
            own = (folder / path.name).read_bytes()
            assert script.text.endswith(own)
            before = script.text.removesuffix(own).removesuffix(b"\n\n")
            assert set(before.split(b"\n\n")) <= {*shared, b""}
    assert operations.load_script is load_script


# --- what is read of payloads is text and bytes, whatever they say


PICKLED = b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94"


@pytest.mark.parametrize(
    "payload",
    [
        PICKLED,
        b'{"data": "x", "headers": {"__class__": "os.system", "py/object": "posix.system"}}',
        b'{"b": "78", "ct": "application/x-python-pickle"}',
        b"!!python/object/apply:os.system ['true']",
    ],
)
def test_a_payload_becomes_bytes_and_text_and_nothing_else(payload):
    body, headers = read_envelope(payload)

    assert type(body) is bytes
    assert all(type(text) is str for pair in headers.items() for text in pair)
