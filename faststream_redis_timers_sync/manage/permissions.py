"""The permissions that timers need of the server's ACL, and the rules that grant them."""

from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import NoPermissionError, ResponseError

from faststream_redis_timers_sync.calls.runner import Runner
from faststream_redis_timers_sync.client import TimersClient
from faststream_redis_timers_sync.manage.server import ask, escape_glob, internals_of
from faststream_redis_timers_sync.protocol.keys import KeySpace
from faststream_redis_timers_sync.protocol.management import check_permissions


@dataclass(frozen=True, slots=True)
class Purpose:
    """A purpose that needs commands.

    Args:
        name: The purpose, to follow "may not".
        commands: The commands, with ``{timeline}``, ``{payloads}`` and ``{attempts}`` for
            keys of a topic, ``{elsewhere}`` for its timeline in the other layout, ``{channel}``
            for its channel and ``{reserve}`` for one of its reserve, ``{series}`` for the list
            of an owner's series, and ``x`` where any other word does.
        consequence: What happens if they are refused.
        is_vital: Whether nothing works without them.
    """

    name: str
    commands: tuple[str, ...]
    consequence: str
    is_vital: bool = False


def purposes_of(keys: KeySpace) -> tuple[Purpose, ...]:
    """Return all commands that the scripts, workers and the command line run, by purpose.

    Args:
        keys: The names of the keys: with hash tags wake-ups are sharded.
    """
    sharded, shard = ("S", "SHARD") if keys.hash_tags else ("", "")
    purposes = (
        Purpose(
            "schedule, reschedule, cancel, read and deliver timers",
            (
                *("EVAL x 0", "EVALSHA x 0", "TIME", "UNLINK {timeline} {payloads} {attempts}"),
                *("ZADD {timeline} 1 x", "ZREM {timeline} x", "ZCARD {timeline}"),
                *("ZCOUNT {timeline} 0 1", "ZRANGE {timeline} 0 1", "ZSCORE {timeline} x"),
                *("ZMSCORE {timeline} x", "ZSCAN {timeline} 0", "HSET {payloads} x x"),
                *("HGET {payloads} x", "HEXISTS {payloads} x", "HLEN {payloads}"),
                "HSTRLEN {payloads} x",
                *("HDEL {payloads} x", "HDEL {attempts} x"),
                *("HMGET {payloads} x", "HMGET {attempts} x", "HSET {attempts} x x"),
                # Whether a topic is torn.
                *(("EXISTS {payloads}",) if keys.fits_cluster else ()),
            ),
            "nothing works without it",
            is_vital=True,
        ),
        Purpose(
            "wake workers when a timer is scheduled",
            (f"{sharded}PUBLISH {{channel}} x", f"{sharded}PUBLISH {{reserve}} x"),
            "workers find such a timer at their next poll, up to 7.5 s late with default options",
        ),
        Purpose(
            "listen for such wake-ups, as workers do",
            (
                *(f"{sharded}SUBSCRIBE {channel}" for channel in ("{channel}", "{reserve}")),
                *(f"{sharded}UNSUBSCRIBE", "PING"),
            ),
            "harmless if no worker runs as this user",
        ),
        Purpose(
            "count the workers on duty",
            (f"PUBSUB {shard}NUMSUB x",),
            "all workers of a topic claim whenever a timer is due, as with duty=None; if the user "
            "schedules while no worker is on duty, none is called, and the timer waits for a poll",
        ),
        Purpose(
            "list declared series",
            ("HSET {series} x x", "HKEYS {series}", "HDEL {series} x"),
            "harmless if no client or broker that declares series uses this user",
        ),
        Purpose(
            "wait until replicas have confirmed a write, as confirm_replicas demands",
            ("WAIT 1 1",),
            "harmless if no client or broker with confirm_replicas uses this user",
        ),
        Purpose(
            "notice timers under the keys of the other layout, with or without hash tags",
            ("EXISTS {elsewhere}",),
            "a wrong hash_tags option goes unnoticed",
        ),
        Purpose(
            "find topics and listening workers",
            ("SCAN 0", "DBSIZE", f"PUBSUB {shard}CHANNELS x", f"PUBSUB {shard}NUMSUB x"),
            "you must name topics",
        ),
    )
    return (*purposes, *_IN_A_CLUSTER) if keys.fits_cluster else purposes


_IN_A_CLUSTER = (
    Purpose(
        "find the primary of each topic in a cluster",
        ("CLUSTER SLOTS", "ASKING"),
        "harmless on a single primary; in a cluster, nothing works without it",
    ),
)

_WITH_SUBCOMMANDS = {"PUBSUB", "CLUSTER"}


@dataclass(frozen=True, slots=True)
class Refused:
    """A purpose that a client's user lacks permissions for.

    Args:
        purpose: The purpose.
        commands: The commands that are refused, by name.
        rule: The command for an administrator that grants the permissions, as redis-cli takes it.
    """

    purpose: Purpose
    commands: tuple[str, ...]
    rule: str


def refused_purposes(timers: TimersClient, topic: str, node: Runner) -> list[Refused]:
    """Ask the server which purposes the client's user lacks permissions for; changes nothing.

    Args:
        timers: The client.
        topic: The topic whose keys are asked for.
        node: The node that is asked: each has its own users.

    Raises:
        redis.exceptions.ResponseError: The server can't tell.
    """
    _, keys, _ = reach = internals_of(timers)
    full = reach.full(topic)
    timeline, payloads, attempts = keys.of(full)
    names = {
        b"{channel}": keys.channel_of(full),
        b"{reserve}": keys.reserve_channel_of(full, 0),
        b"{timeline}": timeline,
        b"{elsewhere}": keys.timeline_elsewhere(full) or timeline,
        b"{payloads}": payloads,
        b"{attempts}": attempts,
        b"{series}": keys.series_of(reach.full("any")),
    }
    purposes = purposes_of(keys)
    commands = [command for purpose in purposes for command in purpose.commands]
    try:
        answers = node.run(
            check_permissions(
                [[names.get(word, word) for word in c.encode().split()] for c in commands]
            ),
        )
    except NoPermissionError:
        # EVALSHA or EVAL is refused itself, so the script could not look.
        answers = [False] * len(commands)
    missing = {c for c, allowed in zip(commands, answers, strict=True) if not allowed}
    refused = []
    for purpose in purposes:
        if some := [name_of(command) for command in purpose.commands if command in missing]:
            rule = acl_rule(timers, purpose.commands)
            refused.append(Refused(purpose, tuple(dict.fromkeys(some)), rule))
    return refused


def acl_rule(timers: TimersClient, commands: Sequence[str], user: str | None = None) -> str:
    """Return the ACL command that allows a user more commands, on the client's keys.

    Args:
        timers: The client.
        commands: The commands, written as in `Purpose`.
        user: The user; None asks the server for the client's user.
    """
    _, keys, prefix = internals_of(timers)
    words = ["ACL", "SETUSER", _user(timers) if user is None else user]
    own, others = keys.beginnings(prefix), keys.beginnings_elsewhere(prefix)
    for place, sign, name, beginnings in (
        ("{channel}", "&", keys.channel_prefix + keys.timeline_key, own),
        # Its channels begin with the topic's.
        ("{reserve}", "&", keys.channel_prefix + keys.timeline_key, own),
        ("{timeline}", "~", keys.timeline_key, own),
        ("{payloads}", "~", keys.payloads_key, own),
        ("{attempts}", "~", keys.attempts_key, own),
        # Owners have the prefix in front too.
        ("{series}", "~", keys.series_key, [prefix]),
        ("{elsewhere}", "%R~", keys.timeline_key, others),
    ):
        if any(place in command for command in commands):
            words += (f"{sign}{_pattern(f'{name}:{text}')}*" for text in beginnings)
    words += (f"+{name_of(command).lower()}" for command in commands)
    return " ".join(dict.fromkeys(words))


def joined_rules(rules: Sequence[str]) -> str:
    """Merge several rules for the same user into one.

    Args:
        rules: Results of `acl_rule`; none gives an empty text.
    """
    user = [word for rule in rules[:1] for word in rule.split(" ")[:3]]
    rights = dict.fromkeys(word for rule in rules for word in rule.split(" ")[3:])
    # Keys come first, then channels, then commands.
    return " ".join([*user, *sorted(rights, key=lambda word: "~%&+".index(word[0]))])


def name_of(command: str) -> str:
    """Return the name by which a rule allows a command: ``pubsub|numsub``.

    Args:
        command: The command, written as in `Purpose`.
    """
    words = command.split()
    return "|".join(words[: 2 if words[0] in _WITH_SUBCOMMANDS else 1])


def _pattern(name: str) -> str:
    # A rule can't have spaces, and needs no quotes without these: ? stands for any byte.
    literal = escape_glob(name).decode()
    return "".join(
        c if c.isprintable() and c not in " \"'" else "?" * len(c.encode()) for c in literal
    )


def _user(timers: TimersClient) -> str:
    try:
        return ask(timers, b"ACL", b"WHOAMI", parse=bytes.decode)
    except ResponseError:
        return "USER"
