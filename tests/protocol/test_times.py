"""Activation times: what callers may give, and the grid that tells leases from due times."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from importlib.resources import files
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from faststream_redis_timers_sync import TimersClient, protocol
from faststream_redis_timers_sync.protocol.model import Claimed
from faststream_redis_timers_sync.protocol.times import (
    LONGEST_DELAY,
    NOW,
    ask_due,
    is_lease,
    score_bound,
    seconds_text,
    time_of,
)

BERLIN = ZoneInfo("Europe/Berlin")
MICROSECOND = timedelta(microseconds=1)


# --- the grid ----------------------------------------------------------------------------

YEAR_2001 = 978_307_200 * 10**6
GRID_ENDS = 2**32 * 10**6  # in 2106
moments = st.integers(YEAR_2001, GRID_ENDS - 1)

SHARED = (files(protocol) / "lua" / "_shared.lua").read_text()

JUDGE = """
local answer = {}
for i = 1, #ARGV do
  -- Through a sorted set: its doubles, and the text that it makes of them, are what counts.
  redis.call('ZADD', KEYS[1], ARGV[i], 'id')
  local score = redis.call('ZSCORE', KEYS[1], 'id')
  answer[i] = (is_lease(tonumber(score)) and 'lease ' or 'due ') .. score
end
redis.call('DEL', KEYS[1])
return answer
"""


@pytest.fixture(scope="module")
def judge(redis_client):
    """Ask the server's Lua and Python whether scores are leases: both must agree."""
    key = f"test-{uuid4().hex}"

    def ask(scores):
        verdicts = []
        for answer in redis_client.eval(SHARED + JUDGE, 1, key, *scores):
            lua_says, score = answer.decode().split()
            assert (lua_says == "lease") == is_lease(float(score)), answer
            assert Claimed(b"", b"", score.encode()).was_leased == is_lease(float(score)), answer
            verdicts.append(is_lease(float(score)))
        return verdicts

    return ask


@given(st.lists(moments, min_size=1, max_size=100))
@example([YEAR_2001, GRID_ENDS - 1, 2**31 * 10**6, 2**31 * 10**6 - 1])
def test_a_whole_microsecond_is_never_a_lease(judge, microseconds):
    verdicts = judge([b"%d.%06d" % divmod(n, 10**6) for n in microseconds])

    assert not any(verdicts)


@given(st.lists(moments, min_size=1, max_size=100))
@example([YEAR_2001, GRID_ENDS - 1, 2**31 * 10**6, 2**31 * 10**6 - 1])
def test_half_a_microsecond_is_always_a_lease(judge, microseconds):
    verdicts = judge([b"%d.%06d5" % divmod(n, 10**6) for n in microseconds])

    assert all(verdicts)


@pytest.mark.parametrize(
    "score", [b"0", b"1", b"-1", b"4294967296", b"4294967296.5000005", b"1e300", b"inf", b"-inf"]
)
def test_scores_off_the_grid_are_due_times(judge, score):
    assert judge([score]) == [False]


def test_not_a_number_is_no_lease():
    assert is_lease(math.nan) is False


SUM = """
local seconds, microseconds = add_time(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
return due_score(seconds, microseconds)
"""


@pytest.mark.parametrize(
    ("one", "other", "total"),
    [
        ((1, 2), (3, 4), b"4.000006"),
        ((1, 999_999), (3, 0), b"4.999999"),
        ((1, 999_999), (3, 1), b"5.000000"),
        ((1, 999_999), (3, 999_999), b"5.999998"),
        ((1_790_000_000, 0), (31_557_600_000, 5), b"33347600000.000005"),
    ],
)
def test_the_scripts_carry_microseconds_over_to_seconds(redis_client, one, other, total):
    assert redis_client.eval(SHARED + SUM, 0, *one, *other) == total


DUE = """
local due = resolve_due(ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
redis.call('ZADD', KEYS[1], due, 'id')
local score = redis.call('ZSCORE', KEYS[1], 'id')
redis.call('DEL', KEYS[1])
return {score, string.format('%.6f', due)}
"""


@given(moments, st.integers(0, LONGEST_DELAY // MICROSECOND))
@example(GRID_ENDS - 1, 1)
@example(2**31 * 10**6 - 1, 999_999)
def test_a_due_time_is_the_double_nearest_to_its_microsecond(redis_client, now, delay):
    key, now_words = f"test-{uuid4().hex}", divmod(now, 10**6)

    def resolve(asked):
        return redis_client.eval(SHARED + DUE, 1, key, asked, *now_words)

    for asked, due in (
        (b"+%d.%06d" % divmod(delay, 10**6), now + delay),
        (b"@%d.%06d" % divmod(now + delay, 10**6), now + delay),
        (b"@%d.%06d" % divmod(max(0, now - delay), 10**6), now),
    ):
        text = b"%d.%06d" % divmod(due, 10**6)
        score, written = resolve(asked)
        assert float(score) == float(written) == float(text)
        assert written == text or due >= GRID_ENDS


# --- what callers ask for ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("delay", "asked"),
    [
        (timedelta(0), b"+0.000000"),
        (timedelta(seconds=30), b"+30.000000"),
        (MICROSECOND, b"+0.000001"),
        (timedelta(days=1, milliseconds=1.5), b"+86400.001500"),
        (-MICROSECOND, NOW),
        (timedelta.min, NOW),
        (LONGEST_DELAY, b"+31557600000.000000"),
    ],
)
def test_a_delay_is_asked_for_from_the_servers_now(delay, asked):
    assert ask_due(delay, None) == asked


@pytest.mark.parametrize(
    ("time", "asked"),
    [
        (datetime(2030, 1, 1, tzinfo=UTC), b"@1893456000.000000"),
        (datetime(2030, 1, 1, 0, 0, 0, 1, tzinfo=UTC), b"@1893456000.000001"),
        (datetime(2030, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5.5))), b"@1893456000.000000"),
        (datetime(2030, 7, 1, tzinfo=BERLIN), b"@1909087200.000000"),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), b"@253402300799.999999"),
        (datetime(1970, 1, 1, tzinfo=UTC), b"@0.000000"),
        (datetime(1969, 12, 31, tzinfo=UTC), NOW),
        # In UTC these two lie outside of the years that a datetime can have.
        (datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))), b"@253402304399.999999"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), NOW),
    ],
)
def test_a_time_is_asked_for_as_unix_time(time, asked):
    assert ask_due(None, time) == asked


def test_an_hour_that_comes_twice_is_told_apart_by_its_fold():
    # On this morning clocks in Berlin go back from three to two.
    twice = datetime(2030, 10, 27, 2, 30, tzinfo=BERLIN)

    first, second = (ask_due(None, twice.replace(fold=fold)) for fold in (0, 1))

    assert float(second[1:]) - float(first[1:]) == 3600


def test_neither_time_means_the_default_and_else_now():
    assert ask_due(None, None) == NOW
    assert ask_due(None, None, timedelta(seconds=5)) == b"+5.000000"
    assert ask_due(timedelta(0), None, timedelta(seconds=5)) == NOW


NAIVE = datetime.fromisoformat("2030-01-01")


@pytest.mark.parametrize(
    ("activate_in", "error", "texts"),
    [
        (30, TypeError, ["activate_in", "number 30", "activate_in=timedelta(seconds=30)"]),
        (10**400, TypeError, ["activate_in", f"number {10**400}"]),
        (1.5, TypeError, ["activate_in", "number 1.5", "activate_in=timedelta(seconds=1.5)"]),
        (math.nan, ValueError, ["activate_in", "finite", "nan"]),
        (math.inf, ValueError, ["activate_in", "finite", "inf"]),
        (-math.inf, ValueError, ["activate_in", "finite", "-inf"]),
        (True, TypeError, ["activate_in", "True"]),
        ("30", TypeError, ["activate_in", "'30'"]),
        (Decimal(30), TypeError, ["activate_in", "Decimal('30')"]),
        (NAIVE, TypeError, ["activate_in", "datetime.datetime(2030"]),
        (timedelta.max, ValueError, ["activate_in", "365,250 days", repr(timedelta.max)]),
        (LONGEST_DELAY + MICROSECOND, ValueError, ["activate_in", "microseconds=1"]),
    ],
)
def test_what_is_no_delay_is_refused_by_name_and_value(activate_in, error, texts):
    with pytest.raises(error) as caught:
        ask_due(activate_in, None)

    assert all(text in str(caught.value) for text in texts), caught.value


@pytest.mark.parametrize(
    ("activate_at", "error", "texts"),
    [
        (
            1893456000,
            TypeError,
            ["activate_at", "number 1893456000", "datetime.fromtimestamp(1893456000, tz=UTC)"],
        ),
        (10**400, TypeError, ["activate_at", f"number {10**400}"]),
        (math.nan, ValueError, ["activate_at", "finite", "nan"]),
        (math.inf, ValueError, ["activate_at", "finite", "inf"]),
        (NAIVE, ValueError, ["activate_at", "timezone-aware", repr(NAIVE), "tzinfo=UTC"]),
        ("2030-01-01T00:00:00Z", TypeError, ["activate_at", "'2030-01-01T00:00:00Z'"]),
        (date(2030, 1, 1), TypeError, ["activate_at", "datetime.date(2030, 1, 1)"]),
        (timedelta(1), TypeError, ["activate_at", "datetime.timedelta(days=1)"]),
    ],
)
def test_what_is_no_time_is_refused_by_name_and_value(activate_at, error, texts):
    with pytest.raises(error) as caught:
        ask_due(None, activate_at)

    assert all(text in str(caught.value) for text in texts), caught.value


def test_both_times_are_refused_by_name_and_value():
    with pytest.raises(ValueError, match="not both") as caught:
        ask_due(timedelta(1), datetime(2030, 1, 1, tzinfo=UTC))

    assert "activate_in=datetime.timedelta(days=1)" in str(caught.value)
    assert "activate_at=datetime.datetime(2030, 1, 1" in str(caught.value)


# --- scores as times ---------------------------------------------------------------------


@given(
    st.datetimes(
        datetime.fromisoformat("2050-01-01"),
        datetime.fromisoformat("2100-01-01"),
        timezones=st.timezones(no_cache=True) | st.just(UTC),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_time_comes_back_exact_to_the_microsecond(redis_client, key_names, time):
    client = TimersClient(redis_client, **key_names)

    client.schedule("x", "invoices", timer_id="42", activate_at=time)

    assert client.get_timer("invoices", "42").due_at == time


@pytest.mark.parametrize(
    ("score", "time"),
    [
        (0.0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1.5, datetime(1969, 12, 31, 23, 59, 58, 500_000, tzinfo=UTC)),
        (253_402_300_799.0, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (253_402_300_800.0, datetime.max.replace(tzinfo=UTC)),
        (math.inf, datetime.max.replace(tzinfo=UTC)),
        (-math.inf, datetime.min.replace(tzinfo=UTC)),
        (-1e300, datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_a_score_is_shown_as_a_time_as_far_as_there_are_years(score, time):
    assert time_of(score) == time


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_bound_is_exact_to_the_microsecond(time):
    since_epoch = Decimal(score_bound("before", time, b"+inf").decode())

    assert datetime(1970, 1, 1, tzinfo=UTC) + int(since_epoch * 10**6) * MICROSECOND == time


def test_no_bound_is_unbounded():
    assert score_bound("after", None, b"-inf") == b"-inf"


@pytest.mark.parametrize(
    ("bound", "error"), [(NAIVE, ValueError), (1893456000, TypeError), ("2030", TypeError)]
)
def test_a_bound_must_be_a_time_with_a_zone(bound, error):
    with pytest.raises(error, match="before must") as caught:
        score_bound("before", bound, b"+inf")

    assert repr(bound) in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, b"0.000000"),
        (30, b"30.000000"),
        (0.1, b"0.100000"),
        (2.9999999, b"3.000000"),
        (1e9, b"1000000000.000000"),
    ],
)
def test_a_length_of_time_is_written_in_whole_microseconds(seconds, text):
    assert seconds_text(seconds) == text
