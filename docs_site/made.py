"""Texts of pages that are made from code: scripts, commands, errors, an example envelope."""

import re
from collections.abc import Callable, Iterator
from importlib.resources import files

import click

from docs_site import wire
from faststream_redis_timers_sync.cli import PROGRAM
from faststream_redis_timers_sync.cli.group import group
from faststream_redis_timers_sync.protocol import errors

_LUA = files("faststream_redis_timers_sync.protocol") / "lua"
_SHARED = "_shared"
_WITH_HASH_TAGS = "_hash_tags"


def scripts() -> str:
    """Describe the protocol script by script, from the heads of the Lua files."""
    names = sorted(path.name.removesuffix(".lua") for path in _LUA.iterdir())
    return "\n\n".join(_script(name) for name in names if not name.startswith("_"))


def _script(name: str) -> str:
    head = _head(name)
    meaning = []
    fields: list[list[str]] = []
    for line in head:
        if re.match(r"(KEYS|ARGV|Reply) ", line):
            fields.append([line])
        elif fields:
            fields[-1].append(line)
        else:
            meaning.append(line)
    parts = [f"## {name}", " ".join(" ".join(meaning).split())]
    parts.append("```text\n" + "\n".join("\n".join(field) for field in fields).rstrip() + "\n```")
    text = _text(name)
    parts.append(f'??? note "{name}.lua"\n\n' + _indent(f"```lua\n{text.rstrip()}\n```"))
    return "\n\n".join(parts)


def _text(name: str) -> str:
    return (_LUA / f"{name}.lua").read_text()


def _head(name: str) -> list[str]:
    head = []
    for line in _text(name).splitlines():
        if not line.startswith("--"):
            break
        head.append(line.removeprefix("--").removeprefix(" "))
    return head


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


def shared_script() -> str:
    """Show what comes before each script."""
    texts = (_text(name).rstrip() for name in (_SHARED, _WITH_HASH_TAGS))
    return "\n\n".join(f"```lua\n{text}\n```" for text in texts)


def commands() -> str:
    """Show each command's help, as the terminal shows it."""
    return "\n\n".join(_helps(group, PROGRAM, None))


def _helps(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    # Environment variables of the build must not appear on the page.
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=80, **command.context_settings
    )
    yield f"## {name}\n\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for sub_name, sub_command in command.commands.items():
            yield from _helps(sub_command, sub_name, context)


def error_tree() -> str:
    """Show the tree of errors from the module's docstring."""
    tree = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    return f"```text\n{tree}\n```"


MAKERS: dict[str, Callable[[], str]] = {
    "scripts": scripts,
    "shared_script": shared_script,
    "commands": commands,
    "error_tree": error_tree,
    "hex_dump": wire.hex_dump,
}
"""What a page can name."""
