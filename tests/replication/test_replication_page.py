"""The page docs/replication.md: its code runs, and its numbers are those of the code."""

import re
from pathlib import Path

from faststream_redis_timers_sync.protocol.clients import URL_OPTIONS
from faststream_redis_timers_sync.protocol.replication import (
    ANSWER_MARGIN,
    DEFAULT_CONFIRM_TIMEOUT,
    LONGEST_CONFIRM_TIMEOUT,
)

PAGE = (Path(__file__).parents[2] / "docs" / "replication.md").read_text()


def test_its_code_runs(group, capsys):
    space: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block.replace("redis://localhost:6379", group.primary.url), space)  # noqa: S102  ours
        if "timers = TimersClient" in block and "example" not in space:
            space["example"] = space["timers"]
            with group.pause_replicas(2):
                exec(  # noqa: S102  ours
                    re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], space
                )
    space["example"].close()
    space["client"].close()
    assert capsys.readouterr().out == "0 of 1\n"


def test_its_numbers_are_those_of_the_code():
    assert f"`confirm_timeout={DEFAULT_CONFIRM_TIMEOUT}`" in PAGE
    assert f"at most {LONGEST_CONFIRM_TIMEOUT:.0f} |" in PAGE
    assert f"`confirm_timeout` + {ANSWER_MARGIN:.0f} s" in PAGE
    assert set(URL_OPTIONS.values()) == {2.0}
