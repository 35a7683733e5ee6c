"""``flask timers series``: the series that an app declares."""

import json

import pytest

from faststream_redis_timers_sync import Every, Series
from faststream_redis_timers_sync.flask import FlaskTimers

HOURLY = Every(hours=1)
TICK = Series("tick", "ticks", timer_id="tick", repeat=HOURLY)


def declare():
    return [TICK]


def broken():
    raise KeyError("price")


@pytest.fixture
def invoke(app):
    """Run ``flask timers`` within this process, with other series."""

    def run(*words, series=None, owner="shop"):
        app.config.update(TIMERS_SERIES=series, TIMERS_SERIES_OWNER=owner)
        return app.test_cli_runner().invoke(args=["timers", *words], catch_exceptions=False)

    yield run
    app.config.update(TIMERS_SERIES=None, TIMERS_SERIES_OWNER=None)


@pytest.fixture
def timers(app):
    with app.app_context():
        yield FlaskTimers().client


def words_of(result):
    return [line.split() for line in result.stdout.splitlines()[1:]]


@pytest.mark.parametrize(
    "series", ["test_flask_series.declare", declare, [TICK]], ids=["path", "function", "list"]
)
def test_it_ensures_what_the_config_declares(invoke, timers, series):
    first, second = (invoke("series", series=series) for _ in range(2))

    assert (first.exit_code, words_of(first)) == (0, [["created", "ticks", "tick"]])
    assert words_of(second) == [["unchanged", "ticks", "tick"]]
    assert timers.get_timer("ticks", "tick").repeat == HOURLY


def test_check_and_prune(invoke, timers):
    assert invoke("series", "--check", series=[TICK]).exit_code == 1
    assert not timers.has_pending("ticks", "tick")
    invoke("series", series=[TICK])
    assert invoke("series", "--check", series=[TICK]).exit_code == 0

    shown = invoke("series", "--json", series=[])
    assert json.loads(shown.stdout)["series"] == "undeclared"
    assert "--prune cancels them" in shown.stderr
    assert invoke("series", "--prune", series=[]).exit_code == 0
    assert not timers.has_pending("ticks", "tick")


@pytest.mark.parametrize(
    ("words", "config", "sentence"),
    [
        ((), {"owner": None}, "app.config has no TIMERS_SERIES: add a list of Series"),
        ((), {"series": [TICK], "owner": None}, "has TIMERS_SERIES but no TIMERS_SERIES_OWNER"),
        ((), {"series": "no_such.SERIES"}, "TIMERS_SERIES 'no_such.SERIES' can't be imported"),
        ((), {"series": broken}, "TIMERS_SERIES raised KeyError: 'price'"),
        ((), {"series": [5]}, "series[0] must be a Series, got a value of type int"),
        (("--check", "--prune"), {"series": [TICK]}, "give --check or --prune, not both"),
    ],
)
def test_a_mistake_is_a_sentence(invoke, timers, words, config, sentence):
    result = invoke("series", *words, **config)

    assert result.exit_code == 2
    assert sentence in result.stderr
    assert timers.count_pending("ticks") == 0


def test_a_mistake_in_the_config_is_refused_by_init_app(make_app, server_url):
    with pytest.raises(ValueError, match="must be a list of Series, a function"):
        make_app(TIMERS_URL=server_url, TIMERS_SERIES=5, TIMERS_SERIES_OWNER="shop")
