"""Text that can't drive a terminal, tables and numbers."""

import shutil
import subprocess

import pytest

from faststream_redis_timers_sync.console.tables import Cell, Column, plain_lines
from faststream_redis_timers_sync.manage.text import escape, plural, quoted

TABLE = [Column("N", 3, is_number=True), Column("NAME")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("reminder:INV-001", "reminder:INV-001"),
        ("José 日本 🎉", "José 日本 🎉"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("nul\0bell\a", r"nul\x00bell\x07"),
        ("\x9b31m", r"\u009b31m"),
        ("right\u202eleft", r"right\u202eleft"),
        ("\U000e0041", r"\U000e0041"),
        ("back\\slash", r"back\\slash"),
        ("\udcff\udc80", r"\xff\x80"),
        ("\ud800", r"\ud800"),
        ("no\xa0break", r"no\u00a0break"),
    ],
)
def test_what_cannot_be_printed_is_escaped(text, shown):
    assert escape(text) == shown
    assert shown.isprintable()


@pytest.mark.parametrize("data", [b"a\nb\\n\t\x1b[0m\x7f", "Ü\u202e\x9b".encode(), b"\xff\xfe'"])
def test_a_shell_reads_an_escape_back(data):
    shown = escape(data.decode("utf-8", "surrogateescape")).replace("'", "\\'")

    echoed = subprocess.run(
        [shutil.which("bash"), "-c", f"printf %s $'{shown}'"],
        env={"LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
    )

    assert echoed.stdout == data


def test_what_is_kept_is_not_escaped():
    assert escape("a\n\\\x1b", keep="\n\\") == "a\n\\\\x1b"


def test_names_in_sentences_are_quoted():
    assert quoted("a\nb") == r"'a\nb'"


def test_numbers_have_their_plural():
    assert [plural(0), plural(1), plural(1_234_567)] == ["0 timers", "1 timer", "1,234,567 timers"]


def test_a_plain_table_is_aligned_and_nothing_is_cut():
    rows = [["1", "a"], ["20000", Cell("b" * 300, "red")]]

    assert list(plain_lines(TABLE, rows)) == ["  N  NAME", "  1  a", f"20000  {'b' * 300}"]


def test_names_that_come_first_are_as_wide_as_the_widest_but_not_without_end():
    lines = list(plain_lines(TABLE[::-1], [["a", "1"], ["bbbb", "2"]]))
    long = list(plain_lines(TABLE[::-1], [["a", "1"], ["b" * 300, "2"]]))

    assert lines == ["NAME    N", "a       1", "bbbb    2"]
    assert long[1] == f"a{' ' * 39}    1"


def test_a_table_without_rows_has_no_titles():
    assert list(plain_lines(TABLE, [])) == []


def test_a_table_is_written_as_its_rows_come():
    given = []

    def rows():
        for n in range(3):
            given.append(n)
            yield [str(n), "x"]

    lines = plain_lines(TABLE, rows())
    next(lines)
    next(lines)

    assert given == [0]
