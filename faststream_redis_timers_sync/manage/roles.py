"""The least that a worker, a producer and an inspector need, as rules for the server's ACL.

What a script runs is read from its text, so that a rule can't fall behind it.
"""

import re
from dataclasses import dataclass
from functools import cache

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.permissions import PURPOSES, acl_rule
from faststream_redis_timers_sync.manage.server import inside
from faststream_redis_timers_sync.protocol.operation import load_script


@dataclass(frozen=True, slots=True)
class Role:
    """What a user of the server is for.

    Args:
        name: The user's name in the documentation.
        scripts: The scripts that it runs.
        commands: What it runs beside them, by name.
    """

    name: str
    scripts: tuple[str, ...]
    commands: tuple[str, ...]


WORKER = Role("worker", ("settle_and_claim",), ("PING", "EXISTS", "SUBSCRIBE", "UNSUBSCRIBE"))
"""Delivers. One whose handlers schedule, or reply, is a producer too."""

PRODUCER = Role("producer", ("schedule", "reschedule", "cancel", "cancel_all"), ("PING",))
"""Schedules, moves and cancels, and looks at nothing."""

INSPECTOR = Role(
    "inspector",
    ("exists", "count", "get", "page", "scan", "overview", "running", "permissions"),
    ("PING", "TIME", "INFO", "EXISTS", "SCAN", "DBSIZE", "PUBSUB CHANNELS", "PUBSUB NUMSUB"),
)
"""Looks at everything and changes nothing: the command line, the collector, the admin."""

ROLES = {role.name: role for role in (WORKER, PRODUCER, INSPECTOR)}
"""All of them, by name."""


def role_rule(timers: TimersClient, role: Role) -> str:
    """Write the command that gives a user what its role needs; the server is not asked.

    Args:
        timers: The client, for its prefix and the names of its keys.
        role: The role.
    """
    names = {"EVAL", "EVALSHA", *role.commands}
    for script in role.scripts:
        names |= commands_of(script)
    if inside(timers).keys.database:
        names.add("SELECT")
    known = [command for purpose in PURPOSES for command in purpose.commands]
    commands = [command for command in (*known, "INFO", "SELECT") if _name(command) in names]
    return acl_rule(timers, commands, role.name)


@cache
def commands_of(script: str) -> frozenset[str]:
    """Give the names of the commands that a script runs.

    Args:
        script: Its file's name, without the ending.
    """
    text = re.sub(r"--.*", "", load_script(script).text.decode())
    run = set(_CALL.findall(_FUNCTION.sub("", text)))
    for name, body in _FUNCTION.findall(text):
        # Where it stands only once nobody calls it.
        if len(re.findall(rf"\b{name}\b", text)) > 1:
            run |= set(_CALL.findall(body))
    return frozenset(run)


_CALL = re.compile(r"redis\.p?call\('([A-Z]+)'")
_FUNCTION = re.compile(r"^local function (\w+)(.*?)^end$", re.DOTALL | re.MULTILINE)


def _name(command: str) -> str:
    return " ".join(command.split()[: 2 if command.startswith("PUBSUB") else 1])
