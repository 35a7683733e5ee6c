"""Series that a Django project declares: the setting, its check, `timers_series`, the worker."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO

import pytest
import redis
from command_line import ROOT
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import override_settings
from test_django_worker import HERE

from faststream_redis_timers_sync import Every, Series
from faststream_redis_timers_sync._settings import load_series
from faststream_redis_timers_sync.django import get_client
from faststream_redis_timers_sync.django.conf import read_alias

HOURLY = Every(hours=1)
FAR = datetime(2050, 1, 1, tzinfo=UTC)
TICK = Series("tick", "ticks", timer_id="tick", repeat=HOURLY)
REPORT = Series("report", "reports", timer_id="daily", repeat=Every(days=1))

calls: list[str] = []


def many():
    calls.append("called")
    return [TICK, REPORT]


NO_SERIES = [TICK, "secret"]
TWICE = [TICK, TICK]


@pytest.fixture
def declaring(server_url, key_settings):
    """Let the project declare series for the length of a block."""

    def settings(series, owner="shop", **more):
        alias = {"URL": server_url, **key_settings, "SERIES": series, "SERIES_OWNER": owner}
        return override_settings(TIMERS={"default": alias, **more})

    return settings


def run(*words, **options):
    out, err = StringIO(), StringIO()
    call_command("timers_series", *words, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def states(out):
    return [line.split() for line in out.splitlines()[1:]]


# --- the command --------------------------------------------------------------------------------


def test_it_creates_them_and_says_so(declaring):
    with declaring([TICK, REPORT]):
        out, err = run()
        assert states(out) == [["created", "ticks", "tick"], ["created", "reports", "daily"]]
        assert err == ""
        assert states(run()[0]) == [
            ["unchanged", "ticks", "tick"],
            ["unchanged", "reports", "daily"],
        ]
        assert get_client().get_timer("ticks", "tick").repeat == HOURLY


def test_what_is_declared_no_longer_is_told_and_pruned_where_that_is_asked(declaring):
    with declaring([TICK, REPORT]):
        run()
    with declaring([Series("tick", "ticks", timer_id="tick", repeat=Every(hours=2))]):
        out, err = run()
        assert states(out) == [["changed", "ticks", "tick"], ["undeclared", "reports", "daily"]]
        assert err == "series that are no longer declared still run (1): --prune cancels them\n"
        assert get_client().has_pending("reports", "daily")

        out, err = run("--prune")
        assert states(out) == [["unchanged", "ticks", "tick"], ["pruned", "reports", "daily"]]
        assert err == ""
        assert not get_client().has_pending("reports", "daily")


def test_a_check_changes_nothing_and_fails_where_there_is_something_to_do(declaring):
    with declaring([TICK, REPORT]):
        out = StringIO()
        with pytest.raises(SystemExit) as caught:
            call_command("timers_series", "--check", stdout=out)
        assert caught.value.code == 1
        assert states(out.getvalue())[0] == ["created", "ticks", "tick"]
        assert get_client().count_pending("ticks") == 0
        run()
        assert states(run("--check")[0])[0] == ["unchanged", "ticks", "tick"]


def test_as_json(declaring):
    with declaring([TICK]):
        run()
        get_client().reschedule_timer("ticks", "tick", activate_at=HOURLY.after(FAR))
        out, err = run(as_json=True)
    assert json.loads(out) == {
        "series": "unchanged",
        "topic": "ticks",
        "timer_id": "tick",
        "skips_occurrences": True,
    }
    assert err.startswith("WARNING: series 'tick' of topic 'ticks' skips occurrences: ")


def test_no_series_at_all(declaring):
    with declaring([]):
        assert run() == ("", "'shop' declares no series\n")


def test_check_and_prune_exclude_each_other(declaring):
    with declaring([TICK]), pytest.raises(CommandError, match="not allowed with argument"):
        run("--check", "--prune")


def test_without_the_setting_it_says_what_to_add(timers):
    with pytest.raises(CommandError, match="has no SERIES: add") as caught:
        run()
    assert caught.value.returncode == 2


def test_where_the_server_is_away_it_says_so():
    alias = {"URL": "redis://127.0.0.1:1", "SERIES": [TICK], "SERIES_OWNER": "shop"}
    with (
        override_settings(TIMERS={"default": alias}),
        pytest.raises(CommandError, match=r"127\.0\.0\.1:1") as caught,
    ):
        run()
    assert caught.value.returncode == 4


def test_a_message_that_can_not_be_encoded_is_a_sentence(declaring):
    wrong = Series("x", "ticks", timer_id="2", repeat=HOURLY, headers={"a": object()})
    with declaring([TICK, wrong]), pytest.raises(CommandError, match="can't be declared") as caught:
        run()
    assert caught.value.returncode == 2


# --- the setting --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "series",
    ["test_django_series.many", many, [TICK, REPORT], (TICK, REPORT)],
    ids=["path", "function", "list", "tuple"],
)
def test_a_path_a_function_or_a_list(declaring, series):
    calls.clear()
    with declaring(series):
        config = read_alias("default")
        get_client()
        # Neither settings nor the check call a function.
        assert checks.run_checks(tags=["timers"]) == []
        assert calls == []
        assert load_series(config) == [TICK, REPORT]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"SERIES": [TICK]}, "has SERIES but no SERIES_OWNER, which"),
        ({"SERIES_OWNER": "shop"}, 'has SERIES_OWNER but no SERIES: add "SERIES": []'),
        ({"SERIES": 5, "SERIES_OWNER": "shop"}, "['SERIES'] must be a list of Series, a function"),
        ({"SERIES": "", "SERIES_OWNER": "shop"}, "['SERIES'] must be a list of Series, a function"),
        ({"SERIES": [TICK], "SERIES_OWNER": ""}, "['SERIES_OWNER'] must be a non-empty str"),
        ({"SERIES": [TICK], "SERIES_OWNER": 5}, "['SERIES_OWNER'] must be a str, got a int"),
        (
            {"SERIES": "no_such.SERIES", "SERIES_OWNER": "shop"},
            "SERIES 'no_such.SERIES' can't be imported: No module named 'no_such'",
        ),
        (
            {"SERIES": "test_django_series.NONE", "SERIES_OWNER": "shop"},
            "SERIES 'test_django_series.NONE' can't be imported: ",
        ),
        (
            {"SERIES": "django_series_broken.SERIES", "SERIES_OWNER": "shop"},
            "SERIES 'django_series_broken.SERIES' raised ValueError: no period",
        ),
        (
            {"SERIES": "test_django_series.NO_SERIES", "SERIES_OWNER": "shop"},
            "series[1] must be a Series, got a value of type str",
        ),
        (
            {"SERIES": "test_django_series.TWICE", "SERIES_OWNER": "shop"},
            "declares timer_id 'tick' of topic 'ticks' twice",
        ),
        ({"SERIE": [TICK]}, "unknown key 'SERIE': did you mean 'SERIES'?"),
    ],
)
def test_a_mistake_is_found_by_the_check_and_refused(
    server_url, more, sentence, tmp_path, monkeypatch
):
    (tmp_path / "django_series_broken.py").write_text("raise ValueError('no period')")
    monkeypatch.syspath_prepend(tmp_path)
    with override_settings(TIMERS={"default": {"URL": server_url, **more}}):
        (error,) = checks.run_checks(tags=["timers"])
        assert error.id == "timers.E001"
        assert sentence in error.msg
        assert "secret" not in error.msg
        with pytest.raises((ImproperlyConfigured, CommandError)):
            run()


# --- the worker ---------------------------------------------------------------------------------

APP = """
from django.conf import settings
from faststream import FastStream
from faststream_redis_timers import TimersBroker

assert __name__ == "shop_worker"
timers = settings.TIMERS["default"]
names = {name.lower(): value for name, value in timers.items() if name.endswith("_KEY")}
broker = TimersBroker(timers["URL"], **names)
app = FastStream(broker)


@app.after_startup
async def end():
    print(await broker.get_pending_timers("ticks"), flush=True)
    app.exit()
"""
SHOP = """
from faststream_redis_timers_sync import Every, Series

SERIES = [Series("tick", "ticks", timer_id="tick", repeat=Every(hours=1))]


def wrong():
    return 5
"""


@pytest.fixture
def worker(key_settings, server_url, tmp_path):
    """Run a worker of a project that declares a series; it ends once it has started."""
    (tmp_path / "shop_worker.py").write_text(APP)
    (tmp_path / "shop_series.py").write_text(SHOP)

    def run(*words, series="shop_series.SERIES", url=server_url):
        alias = {"URL": url, **key_settings, "SERIES": series, "SERIES_OWNER": "shop"}
        return subprocess.run(
            [sys.executable, "-m", "django", "timers_worker", "shop_worker:app", *words],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, HERE, ROOT))),
                "DJANGO_SETTINGS_MODULE": "command_settings",
                "TIMERS_TEST_SETTING": json.dumps({"default": alias}),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_a_worker_ensures_them_before_it_starts(worker):
    first = worker()

    assert first.returncode == 0, first.stderr
    assert first.stdout == "['tick']\n"
    assert "series 'tick' of topic 'ticks' was created: every 1h\n" in first.stderr
    second = worker()
    assert second.stdout == "['tick']\n"
    assert "series" not in second.stderr


def test_a_worker_whose_series_can_not_be_ensured_does_not_start(worker):
    away = worker(url="redis://127.0.0.1:1")
    assert (away.returncode, away.stdout) == (4, "")
    assert "127.0.0.1:1" in away.stderr
    wrong = worker(series="shop_series.wrong")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "series must be a list of Series, got a value of type int" in wrong.stderr
    assert "Traceback" not in away.stderr + wrong.stderr


def test_a_server_that_is_out_of_memory_keeps_no_worker_from_starting(worker, own_url):
    with redis.Redis.from_url(own_url) as server:
        server.config_set("maxmemory", "1")
        try:
            started = worker(url=own_url)
        finally:
            server.config_set("maxmemory", "0")

    assert started.returncode == 0, started.stderr
    assert started.stdout == "[]\n"
    assert "declared series were not all ensured, the next start tries again" in started.stderr


def test_its_help_asks_no_server(worker):
    shown = worker("--help", url="redis://127.0.0.1:1")
    assert shown.returncode == 0
    assert "--workers" in re.sub(r"\x1b\[[0-9;]*m", "", shown.stdout)
