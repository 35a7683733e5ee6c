"""Which timers of a failed batch are tried alone, and what that says about the others."""

import pytest

from faststream_redis_timers.delivery.splitting import Splitting


def last_ones(timers, count):
    """Stand for chance."""
    return list(timers[-count:]) if count else []


def split(timers, bad=(), *, longest=0.0, seconds=1.0, left=1000.0):
    """Try timers while there is time; give those that were tried, and what is left."""
    splitting = Splitting(timers, last_ones, longest)
    tried = []
    while (timer := splitting.next(left)) is not None:
        tried.append(timer)
        left -= seconds
        splitting.tried(seconds, has_failed=timer in bad)
        if splitting.has_common_cause:
            break
    return tried, splitting


@pytest.mark.parametrize(
    ("timers", "bad", "tried", "is_common"),
    [
        ("", "", "", False),
        ("a", "", "a", False),
        ("a", "a", "a", False),
        ("ab", "", "ab", False),
        ("ab", "b", "ab", False),
        ("ab", "ab", "ab", True),
        ("abcde", "", "deabc", False),
        ("abcde", "a", "deabc", False),
        ("abcde", "d", "deabc", False),
        ("abcde", "e", "deabc", False),
        ("abcde", "ae", "deabc", False),
        ("abcde", "de", "de", True),
        ("abcde", "abcde", "de", True),
    ],
)
def test_two_are_tried_first_and_the_others_unless_both_fail(timers, bad, tried, is_common):
    found, splitting = split(timers, bad)
    assert "".join(found) == tried
    assert splitting.has_common_cause is is_common
    assert splitting.rest == [one for one in timers if one not in tried]


def test_after_a_common_cause_those_that_are_left_are_tried_in_order():
    _, splitting = split("abcde", "de")
    splitting.rest = ["a", "c"]
    assert [splitting.next(10.0), splitting.next(10.0), splitting.next(10.0)] == ["a", "c", None]
    assert splitting.has_common_cause


@pytest.mark.parametrize(
    ("longest", "seconds", "left", "bad", "tried", "rest_has_failed"),
    [
        # No time at all, or not for both where one may take as long as is known.
        (0.0, 1.0, 0.0, "", "", True),
        (0.0, 1.0, -5.0, "", "", True),
        (10.0, 1.0, 19.9, "", "", True),
        (10.0, 1.0, 20.0, "", "deabc", False),
        # The second one has no time, and the first one has failed: no good one is known.
        (0.0, 5.0, 5.0, "de", "d", True),
        (0.0, 5.0, 5.0, "", "d", False),
        # Others are tried while there is time for one that takes as long as the longest yet.
        (0.0, 2.0, 7.0, "", "dea", False),
        (0.0, 2.0, 8.0, "d", "deab", False),
        (4.0, 1.0, 9.0, "", "deabc", False),
        (6.0, 1.0, 13.0, "", "deabc", False),
        (6.0, 1.0, 12.0, "a", "deabc", False),
        (6.0, 2.0, 12.0, "", "deab", False),
    ],
)
def test_none_is_tried_without_time_for_it(longest, seconds, left, bad, tried, rest_has_failed):
    found, splitting = split("abcde", bad, longest=longest, seconds=seconds, left=left)
    assert "".join(found) == tried
    assert splitting.rest_has_failed is rest_has_failed


def test_probes_are_drawn_from_all():
    drawn = []

    def draw(timers, count):
        drawn.append((list(timers), count))
        return ["c", "a"]

    splitting = Splitting("abc", draw)
    assert drawn == [(["a", "b", "c"], 2)]
    assert [splitting.next(1.0), splitting.next(1.0), splitting.next(1.0)] == ["c", "a", "b"]
