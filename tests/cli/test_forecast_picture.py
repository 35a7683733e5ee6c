"""The picture of a forecast: SVG that needs no style, no script and no trust."""

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest

from faststream_redis_timers_sync.manage.forecast import Forecast, Range, edges_of
from faststream_redis_timers_sync.manage.forecast_picture import (
    draw,
    part_text,
    summary_of,
    tick_text,
)

NOW = datetime(2030, 1, 1, 12, 34, 56, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "\"><script>alert('1')</script>&"


def forecast(counts=(), reach=Range.HOUR, zone=UTC):
    edges = edges_of(reach, NOW, zone)
    counts = (*counts, *[0] * (len(edges) - len(counts)))
    return Forecast(reach, NOW, zone, ("invoices",), edges, counts)


def read(markup):
    """Read it as XML does, which is stricter than HTML."""
    return ET.fromstring(markup)  # noqa: S314  our own markup


def bars(picture):
    return picture.findall(f".//{SVG}rect[@class='timers-forecast-bar']")


@pytest.mark.parametrize("reach", Range)
def test_each_part_has_a_title_and_a_bar_as_high_as_timers_are_due_in_it(reach):
    picture = read(draw(forecast([5, 0, 20], reach)))

    titles = [title.text for title in picture.iter(f"{SVG}title")]
    assert len(titles) == reach.parts
    assert titles[0].endswith(": 5 timers")
    assert titles[1].endswith(": 0 timers")
    assert [(bar.get("x"), bar.get("y"), bar.get("height")) for bar in bars(picture)] == [
        ("1", "75", "25"),
        ("21", "0", "100"),
    ]
    assert picture.get("viewBox") == f"0 0 {10 * reach.parts} 100"


def test_a_single_timer_is_seen_beside_billions():
    one, many = bars(read(draw(forecast([1, 10**12]))))

    assert (one.get("y"), one.get("height")) == ("98", "2")
    assert many.get("height") == "100"


def test_huge_counts_are_written_with_all_digits():
    markup = draw(forecast([10**12 + 1]))

    assert "12:34: 1,000,000,000,001 timers" in markup
    assert "e+" not in markup


def test_heights_are_numbers_that_svg_knows():
    for most in (1, 3, 7, 999_983, 10**9):
        for bar in bars(read(draw(forecast([most, *range(1, min(most, 50))])))):
            for name in ("x", "y", "width", "height"):
                assert re.fullmatch(r"\d+(\.\d+)?", bar.get(name))
                assert 0 <= float(bar.get(name)) <= 600


def test_nothing_due_is_a_line_alone():
    picture = read(draw(forecast()))

    assert bars(picture) == []
    assert len(picture.findall(f"{SVG}line")) == 1
    assert picture.get("aria-label") == "Due within an hour, by minutes: 0 timers"


def test_it_is_an_image_with_a_label():
    picture = read(draw(forecast([1, 2])))

    assert picture.get("role") == "img"
    assert picture.get("aria-label") == (
        "Due within an hour, by minutes: 3 timers, at most 2 per minute (12:35)"
    )


def test_it_passes_a_strict_policy_and_takes_its_colours_from_classes():
    picture = read(draw(forecast([1, 2])))

    for element in picture.iter():
        assert element.tag in {f"{SVG}{name}" for name in ("svg", "g", "title", "rect", "line")}
        assert not {name for name in element.attrib if name == "style" or name.startswith("on")}
        assert {element.get("fill"), element.get("stroke")} <= {None, "none", "currentColor"}
        if element.tag in {f"{SVG}rect", f"{SVG}line"}:
            assert element.get("class").startswith("timers-forecast-")


def test_texts_of_callers_are_escaped():
    markup = draw(forecast([1]), label=HOSTILE, describe=lambda part: f"{part.count} {HOSTILE}")

    assert "<script" not in markup
    picture = read(markup)
    assert picture.get("aria-label") == HOSTILE
    assert next(picture.iter(f"{SVG}title")).text == f"1 {HOSTILE}"


@pytest.mark.parametrize(
    ("reach", "first", "second", "ticks"),
    [
        (Range.HOUR, "12:34", "12:35", ["now", "12:44", "12:54", "13:04", "13:14", "13:24"]),
        (
            Range.DAY,
            "12:34 to 13:00",
            "13:00 to 14:00",
            ["now", "16:00", "20:00", "00:00", "04:00", "08:00"],
        ),
        (
            Range.MONTH,
            "2030-01-01",
            "2030-01-02",
            ["now", "01-06", "01-11", "01-16", "01-21", "01-26"],
        ),
    ],
)
def test_times_are_worded_by_the_range(reach, first, second, ticks):
    made = forecast([], reach)

    assert [part_text(made, part) for part in made.parts[:2]] == [first, second]
    assert [tick_text(made, part) for part in made.ticks] == ticks


def test_times_are_those_of_the_time_zone():
    made = forecast([1], Range.DAY, ZoneInfo("Asia/Kolkata"))

    assert part_text(made, made.parts[1]) == "19:00 to 20:00"
    assert summary_of(made) == (
        "Due within a day, by hours: 1 timer, at most 1 per hour (18:04 to 19:00)"
    )


def test_the_day_is_that_of_the_time_zone():
    made = forecast([1], Range.MONTH, ZoneInfo("Pacific/Auckland"))

    assert part_text(made, made.parts[0]) == "2030-01-02"
    assert made.parts[0].end - NOW < timedelta(days=1)
