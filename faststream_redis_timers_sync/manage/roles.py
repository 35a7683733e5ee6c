"""The minimal permissions of workers, producers, declarers and inspectors, as ACL rules.

A script's commands are read from its text, so that a rule can't fall behind it.
"""

import re
from dataclasses import dataclass
from functools import cache

from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.cluster import NODES_AND_STATE
from faststream_redis_timers_sync.manage.permissions import acl_rule, name_of, purposes_of
from faststream_redis_timers_sync.manage.server import internals_of
from faststream_redis_timers_sync.protocol.keys import Dialect
from faststream_redis_timers_sync.protocol.operation import load_script


@dataclass(frozen=True, slots=True)
class Role:
    """The role of a user of the server.

    Args:
        name: The user's name in the documentation.
        scripts: The scripts that it runs.
        commands: The other commands that it runs, by name, in either layout of keys.
        declares: Whether it may touch the lists of declared series.
    """

    name: str
    scripts: tuple[str, ...]
    commands: tuple[str, ...]
    declares: bool = False


_IN_A_CLUSTER = ("CLUSTER|SLOTS", "ASKING")

WORKER = Role(
    "worker",
    ("settle_and_claim",),
    (
        *("PING", "EXISTS", "SUBSCRIBE", "UNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE"),
        *_IN_A_CLUSTER,
    ),
)
"""Delivers. A worker whose handlers schedule, or reply, is a producer too."""

PRODUCER = Role(
    "producer",
    ("schedule", "reschedule", "cancel", "cancel_all", "pause", "resume", "get"),
    ("PING", "TIME", *_IN_A_CLUSTER),
)
"""Schedules, reschedules, cancels, pauses and resumes. To resume a timer it reads it."""

DECLARER = Role(
    "declarer",
    (*PRODUCER.scripts, "prune"),
    (*PRODUCER.commands, "HSET", "HKEYS", "HDEL"),
    declares=True,
)
"""Declares series, and is a producer. A worker whose broker declares series is both."""

INSPECTOR = Role(
    "inspector",
    (
        *("exists", "count", "get", "page", "scan", "definitions", "overview", "running"),
        *("forecast", "permissions"),
    ),
    (
        *("PING", "TIME", "INFO", "EXISTS", "SCAN", "DBSIZE", "PUBSUB|CHANNELS", "PUBSUB|NUMSUB"),
        *("PUBSUB|SHARDCHANNELS", "PUBSUB|SHARDNUMSUB", "CLUSTER|INFO", "CLUSTER|NODES"),
        *_IN_A_CLUSTER,
    ),
)
"""Reads everything and changes nothing: the command line, the collector, the admin."""

ROLES = {role.name: role for role in (WORKER, PRODUCER, DECLARER, INSPECTOR)}
"""All of them, by name."""


def role_rule(timers: TimersClient, role: Role) -> str:
    """Return the ACL command that grants a user the permissions of a role; asks no server.

    Args:
        timers: The client, for its prefix and the names of its keys.
        role: The role.
    """
    keys = internals_of(timers).keys
    names = {"EVAL", "EVALSHA", *role.commands}
    for script in role.scripts:
        names |= commands_of(script, keys.dialect)
    if keys.database:
        names.add("SELECT")
    known = [command for purpose in purposes_of(keys) for command in purpose.commands]
    known += ["INFO", *(NODES_AND_STATE if keys.fits_cluster else ()), "SELECT"]
    commands = [
        command
        for command in known
        if name_of(command) in names and (role.declares or "{series}" not in command)
    ]
    return acl_rule(timers, commands, role.name)


@cache
def commands_of(script: str, dialect: Dialect) -> frozenset[str]:
    """Return the names of the commands that a script runs.

    Args:
        script: Its file's name, without the ending.
        dialect: The dialect that it is written in.
    """
    text = re.sub(r"--.*", "", load_script(script, dialect).text.decode())
    return frozenset(name_of(" ".join(words)) for words in _CALL.findall(text))


_CALL = re.compile(r"redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?")
