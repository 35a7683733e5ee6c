"""The ledger itself: what it must find, it finds."""

import json
from collections import Counter

import pytest
from journal import Journal
from ledger import Ledger, Row, kept_row, read_row, table, told_rows
from series_ledger import SeriesLedger

LEASE, LEASE_TEXT = 102.0000005, "102.0000005"
LATER, LATER_TEXT = 103.0000005, "103.0000005"


def fact(what, at, timer_id="1", **more):
    return {"what": what, "at": at, "pid": 1, "id": timer_id, **more}


def begun(at, score, lease=LEASE_TEXT, claimed_at=None, **more):
    claimed_at = at if claimed_at is None else claimed_at
    return fact("begun", at, score=score, lease=lease, claimed_at=claimed_at, **more)


def ended(what, at, lease=LEASE_TEXT, **more):
    return fact(what, at, lease=lease, **more)


ACCEPTED = fact("accepted", 100.0)
DIED = [ACCEPTED, begun(101.0, 100.5)]
HANDLED = [*DIED, ended("done", 101.5), ended("committed", 101.5)]


def reasons(*facts):
    return [reason for _, reason in Ledger(facts).again()]


def test_a_timer_that_is_handled_once_is_all_right():
    ledger = Ledger(HANDLED)
    ledger.check()

    assert ledger.row("none", 1)[1:] == (1, 1, 0, 1, 0, {}, None)


@pytest.mark.parametrize("facts", [[ACCEPTED], DIED])
def test_a_timer_that_no_handler_finished_is_lost(facts):
    ledger = Ledger(facts)

    assert ledger.lost() == ["1"]
    assert ledger.row("none", 1).lost == 1
    with pytest.raises(AssertionError):
        ledger.check()


def test_a_timer_that_was_moved_and_not_handled_since_is_lost():
    moves = [fact("moving", 102.0), fact("moved", 102.1)]
    again = [begun(104.0, 103.5, LATER_TEXT), ended("done", 104.5, LATER_TEXT)]

    assert Ledger([*HANDLED, *moves]).lost() == ["1"]
    assert Ledger([*HANDLED, moves[0], fact("was not there", 102.1)]).lost() == []
    assert Ledger([*HANDLED, *moves, *again]).lost() == []


def test_a_timer_that_was_cancelled_is_not_lost():
    facts = [ACCEPTED, fact("cancelling", 100.1), fact("cancelled_waiting", 100.2)]
    ledger = Ledger(facts)
    ledger.check()

    assert ledger.row("none", 1).cancelled == 1
    assert Ledger([*facts, begun(101.0, 100.5)]).begun_after_a_cancel() == ["1"]


def test_a_delivery_after_a_lease_is_explained():
    again = begun(102.5, LEASE, LATER_TEXT, pid=2)

    assert reasons(*DIED, again) == ["lease ended"]


def test_a_delivery_before_a_lease_ends_is_not():
    again = begun(101.5, LEASE, LATER_TEXT, pid=2)
    ledger = Ledger([*DIED, again])

    assert reasons(*DIED, again) == ["unexplained"]
    assert ledger.begun_early() == [ledger.deliveries["1"][1]]


def test_a_worker_that_runs_a_timer_twice_at_a_time_is_found():
    assert reasons(*DIED, begun(102.5, LEASE, LATER_TEXT)) == ["unexplained"]


def test_a_second_delivery_without_a_lease_before_needs_a_reason():
    again = begun(102.5, 100.9, LATER_TEXT, pid=2)

    assert reasons(*HANDLED, again) == ["unexplained"]
    assert reasons(fact("unknown", 99.0), *HANDLED, again) == ["reply lost"]
    assert reasons(*HANDLED, fact("moving", 101.2), again) == ["moved"]
    assert reasons(*DIED, ended("cancelled", 101.2), again) == ["released"]
    assert reasons(*HANDLED, {"what": "failover", "at": 102.0}, again) == ["failover"]


def test_one_lost_reply_explains_one_delivery():
    more = [begun(102.5, 100.9, LATER_TEXT, pid=2), begun(103.5, 100.9, "104.0000005", pid=3)]

    assert reasons(fact("unknown", 99.0), *HANDLED, *more) == ["reply lost", "unexplained"]


def test_a_timer_committed_twice_is_found():
    again = [begun(102.5, LEASE, LATER_TEXT, pid=2), ended("committed", 102.6, LATER_TEXT, pid=2)]

    assert Ledger([*HANDLED, *again]).committed_twice() == ["1"]
    fenced = [again[0], ended("fenced", 102.6, LATER_TEXT, pid=2)]
    Ledger([*HANDLED, *fenced]).check()


def test_the_table_has_a_column_for_each_number():
    head, line = table([Ledger(HANDLED).row("a fault", 3)])

    assert head.split() == [
        "fault",
        "tried",
        "scheduled",
        "cancelled",
        "delivered",
        "lost",
        "again",
        "because",
        "halted",
    ]
    assert line.split() == ["a", "fault", "3", "1", "0", "1", "0", "0"]


def test_the_table_shows_how_long_work_stood_still():
    facts = [
        fact("fault", 100.0),
        fact("accepted", 100.5, topic="a"),
        begun(101.0, 100.5, topic="a"),
        begun(101.5, 100.5, topic="b"),
        fact("accepted", 102.0, topic="b"),
        fact("accepted", 103.25, topic="a"),
        begun(103.5, 100.5, topic="a"),
    ]
    ledger = Ledger(facts)
    assert ledger.halted("a") == 2.75
    _, line = table([ledger.row("a fault", 1)._replace(halted=ledger.halted("a"))])

    assert line.endswith("2.8 s")


def test_a_row_reaches_another_process_as_it_was():
    row = Row("a fault", 3, 2, 1, 1, 0, Counter({"lease ended": 2}))

    assert read_row(json.loads(json.dumps(kept_row(row)))) == row


def test_a_journal_is_read_while_it_is_written(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.note("one", id="1")
    with journal.path.open("ab") as file:
        file.write(b'\n{"what": "half of')
    assert [fact["what"] for fact in journal.read()] == ["one"]
    journal.note("two")

    assert [fact["what"] for fact in journal.read()] == ["one", "two"]
    assert [fact["id"] for fact in journal.read("one")] == ["1"]
    journal.close()


def test_what_tests_report_of_one_fault_is_one_line():
    once = {"tried": 1, "scheduled": 20, "delivered": 19, "lost": 1, "again": 0}
    again = {"tried": 2, "scheduled": 5, "delivered": 5, "lost": 0, "again": 3, "longest_s": 0.1}
    first, second = told_rows(
        [{"fault": "a", **once}, {"fault": "b", **once}, {"fault": "a", **again}]
    )

    assert first == ("a", 3, 25, 0, 24, 1, {"unexplained": 3}, None)
    assert second == ("b", 1, 20, 0, 19, 1, {}, None)


@pytest.mark.parametrize(
    ("then", "has_run"),
    [
        ([], False),
        ([ended("committed", 101.5)], True),
        # A batch notes no commit.
        ([begun(103.0, 102.5, LATER_TEXT)], True),
        # Nothing was settled: the lease has expired, or the timer was released.
        ([begun(103.0, LEASE, LATER_TEXT)], False),
        ([begun(103.0, 100.5, LATER_TEXT)], False),
    ],
)
def test_a_series_has_run_if_it_was_committed_or_was_due_again(client, then, has_run):
    series = SeriesLedger(client, "invoices", 1)
    (timer_id,) = series.planned
    facts = [{**one, "id": timer_id} for one in [begun(101.0, 100.5), *then]]

    assert series.have_run_since(facts, 100.0) is has_run
    assert not series.have_run_since(facts, 104.0)
