"""Celery tasks tested without a server, as docs/celery.md tells it."""

import pytest

from examples.celery_app import tasks


@pytest.fixture(autouse=True)
def _shop(timers, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "timers", lambda: timers)
    monkeypatch.setattr(tasks, "DATABASE", str(tmp_path / "shop.sqlite3"))


@pytest.fixture
def always_eager():
    tasks.app.conf.update(task_always_eager=True, task_eager_propagates=True)
    yield
    tasks.app.conf.update(task_always_eager=False, task_eager_propagates=False)


def test_a_task_that_is_called_schedules(timers):
    tasks.accept("ORD-1")

    assert [(timer.topic, timer.timer_id) for timer in timers.scheduled] == [
        ("orders:unpaid", "ORD-1")
    ]
    timers.advance(tasks.PATIENCE)
    assert [timer.decode() for timer in timers.pop_due("orders:unpaid")] == ["ORD-1"]


def test_a_task_that_is_sent_runs_at_once_when_always_eager(timers, always_eager, capsys):
    tasks.accept.delay("ORD-1")
    tasks.pay.apply_async(["ORD-1"])

    assert [timer.timer_id for timer in timers.cancelled] == ["ORD-1"]
    assert timers.count_pending("orders:unpaid") == 0
    tasks.give_up.delay("ORD-1")
    assert capsys.readouterr().out.splitlines() == [
        "ORD-1 is accepted",
        "ORD-1 is paid",
        "ORD-1 was settled before",
    ]


def test_a_task_that_runs_again_leaves_one_timer(timers, always_eager):
    tasks.accept.delay("ORD-1")
    tasks.accept.delay("ORD-1")

    assert timers.get_pending_timers("orders:unpaid") == ["ORD-1"]
