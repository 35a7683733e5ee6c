"""``series MODULE:NAME``: the series that an application without a framework declares."""

import json
import sys
from datetime import UTC, datetime

import pytest
from command_line import MODULE, ROOT, environment
from terminal import Terminal

from faststream_redis_timers_sync import Every, Series

HOURLY = Every(hours=1)
DAILY = Every(days=1)
FAR = datetime(2050, 1, 1, tzinfo=UTC)

APP = """
from faststream_redis_timers_sync import Every, Series

SERIES = [
    Series("a", "reports", timer_id="daily", repeat=Every(days=1)),
    Series("b", "a-topic-with-a-name-that-is-rather-long:dead", timer_id="x" * 60,
           repeat=Every(hours=1)),
]
NUMBER = 5


def make():
    return SERIES[:1]


def broken():
    raise ValueError("no price")
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    (tmp_path / "shop_series.py").write_text(APP)
    (tmp_path / "broken_series.py").write_text("raise ValueError('no period')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("shop_series", None)


def words_of(out):
    return [line.split() for line in out.splitlines()[1:]]


def test_it_ensures_what_a_module_declares(shop, invoke, timers):
    first = invoke("series", "shop_series:make", "--owner", "shop")
    second = invoke("series", "shop_series:make", "--owner", "shop")

    assert words_of(first.stdout) == [["created", "reports", "daily"]]
    assert words_of(second.stdout) == [["unchanged", "reports", "daily"]]
    assert timers.get_timer("reports", "daily").headers["timer-repeat-owner"] == "shop"


def test_check_and_prune(shop, invoke, timers):
    old = Series("x", "ticks", timer_id="old", repeat=HOURLY)
    timers.ensure_series([old], owner="shop")
    call = ("series", "shop_series:make", "--owner", "shop")

    assert invoke(*call, "--check").exit_code == 1
    assert not timers.has_pending("reports", "daily")
    result = invoke(*call, "--prune", "--json")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(one["series"], one["timer_id"]) for one in records] == [
        ("created", "daily"),
        ("pruned", "old"),
    ]
    assert not timers.has_pending("ticks", "old")
    assert invoke(*call, "--check").exit_code == 0


def test_check_reports_a_message_that_would_be_written(shop, invoke, timers):
    timers.ensure_series([Series("b", "reports", timer_id="daily", repeat=DAILY)], owner="shop")
    call = ("series", "shop_series:make", "--owner", "shop")

    check = invoke(*call, "--check")

    assert (check.exit_code, words_of(check.stdout)) == (1, [["updated", "reports", "daily"]])
    assert json.loads(invoke(*call, "--check", "--json").stdout)["series"] == "updated"
    invoke(*call)
    assert invoke(*call, "--check").exit_code == 0


@pytest.mark.parametrize(
    ("declaration", "sentence"),
    [
        ("shop_series", "can't be imported: "),
        ("shop_series:NONE", "can't be imported: module 'shop_series' has no attribute 'NONE'"),
        ("no_such:SERIES", "can't be imported: No module named 'no_such'. Write MODULE:NAME"),
        (":SERIES", "can't be imported: "),
        ("shop_series:broken", "shop_series:broken raised ValueError: no price"),
        ("broken_series:SERIES", "broken_series:SERIES raised ValueError: no period"),
        ("shop_series:NUMBER", "series must be a list of Series, got a value of type int"),
    ],
)
def test_a_mistake_is_a_sentence(shop, invoke, declaration, sentence):
    result = invoke("series", declaration, "--owner", "shop")

    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())


def test_an_empty_owner_and_both_ways_are_refused(shop, invoke):
    assert "owner must not be empty" in invoke("series", "shop_series:make", "--owner", "").stderr
    both = invoke("series", "shop_series:make", "--owner", "x", "--check", "--prune")
    assert "give --check or --prune, not both" in both.stderr
    assert both.exit_code == 2


def test_on_a_terminal_of_80_columns(shop, options, server_url, timers):
    skipping = Series("a", "reports", timer_id="daily", repeat=Every(days=1))
    old = Series("x", "ticks", timer_id="old", repeat=HOURLY)
    timers.ensure_series([skipping, old], owner="shop")
    timers.reschedule_timer("reports", "daily", activate_at=skipping.repeat.after(FAR))
    terminal = Terminal(
        [*MODULE, *options, "series", "shop_series:SERIES", "--owner", "shop"],
        cwd=shop,
        env=environment(TIMERS_REDIS_URL=server_url, PYTHONPATH=str(ROOT)),
    )
    try:
        assert terminal.end() == 0
    finally:
        terminal.close()

    assert terminal.width <= 80
    assert "skips occurrences" in terminal.text
    assert "x" * 60 in "".join(terminal.text.split())
