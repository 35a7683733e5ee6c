"""The backend for `django.tasks`, and the worker that runs its tasks."""

import asyncio
import logging
import threading
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum

import pytest

pytest.importorskip("django.tasks", reason="Django has tasks from version 6 on")

import project_tasks
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.signals import connection_created
from django.tasks import TaskResultStatus, task_backends
from django.tasks.exceptions import InvalidTask
from django.tasks.signals import task_enqueued, task_finished, task_started
from django.test import override_settings
from django_project.models import Invoice
from waiting import wait_until_async

from faststream_redis_timers import TimersBroker
from faststream_redis_timers.django import serve_tasks
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.testing import FakeTimersClient

HOUR = timedelta(hours=1)
QUEUES = ("default", "slow")


@pytest.fixture(autouse=True)
def calls():
    project_tasks.calls.clear()
    yield project_tasks.calls
    project_tasks.gates.clear()


@pytest.fixture
def backend_with(counting, key_settings):
    """Set TASKS and TIMERS for the length of a test."""
    opened = []

    def use(queues=QUEUES, **options):
        backend = "faststream_redis_timers_sync.django.tasks.TimersBackend"
        setting = {"BACKEND": backend, "QUEUES": queues, "OPTIONS": options}
        timers = {"CLIENT": lambda: counting, **key_settings}
        override = override_settings(TASKS={"default": setting}, TIMERS={"default": timers})
        override.enable()
        opened.append(override)
        return task_backends["default"]

    yield use
    for override in reversed(opened):
        override.disable()


@pytest.fixture
def backend(backend_with):
    return backend_with()


@pytest.fixture
def client(redis_client, key_names):
    return TimersClient(redis_client, **key_names)


@pytest.fixture
def sent():
    """What signals told, in order: their name, and the status at that time."""
    told = []

    def listener(name):
        def note(sender, task_result, **_):
            told.append((name, task_result.status, task_result))

        return note

    listeners = [
        (signal, listener(name))
        for name, signal in (
            ("enqueued", task_enqueued),
            ("started", task_started),
            ("finished", task_finished),
        )
    ]
    for signal, note in listeners:
        signal.connect(note)
    yield told
    for signal, note in listeners:
        signal.disconnect(note)


async def serve(bench, *, until_gone=True, **options):
    """Let a worker run what was enqueued."""
    broker = bench.broker()
    serve_tasks(broker, **options)
    await broker.start()
    if until_gone:
        await wait_until_async(
            lambda: not any(bench.client.count_pending(f"tasks:{queue}") for queue in QUEUES)
        )
        await broker.stop()
    return broker


# --- enqueueing


def test_a_task_becomes_a_timer(backend, sent, client):
    before = datetime.now(UTC)
    result = project_tasks.issue.enqueue("INV-1", again=True)

    (timer,) = client.iter_timers("tasks:default")
    assert timer.timer_id == result.id
    assert timer.decode() == {
        "task": "project_tasks.issue",
        "queue": "default",
        "args": ["INV-1"],
        "kwargs": {"again": True},
        "enqueued_at": result.enqueued_at.isoformat(),
    }
    assert result.status == TaskResultStatus.READY
    assert before <= result.enqueued_at <= datetime.now(UTC)
    assert [(name, found.id) for name, _, found in sent] == [("enqueued", result.id)]


def test_run_after_is_when_it_is_due(backend, client):
    at = datetime(2099, 6, 1, 9, 30, 0, 123, tzinfo=timezone(2 * HOUR))
    result = project_tasks.issue.using(run_after=at).enqueue("INV-1")

    assert client.get_timer("tasks:default", result.id).due_at == at


def test_a_naive_run_after_is_read_in_the_time_zone_of_the_project(backend, client):
    with override_settings(USE_TZ=False, TIME_ZONE="Europe/Berlin"):
        task = project_tasks.issue.using(run_after=datetime(2099, 6, 1, 9))  # noqa: DTZ001
        result = task.enqueue("INV-1")

    due_at = client.get_timer("tasks:default", result.id).due_at
    assert due_at == datetime(2099, 6, 1, 7, tzinfo=UTC)
    assert result.enqueued_at.tzinfo is None


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"run_after": datetime(2099, 6, 1, 9)}, "aware datetime"),  # noqa: DTZ001
        ({"run_after": 60}, "run_after must be a datetime, got 60; for a delay write"),
        ({"run_after": HOUR}, "run_after must be a datetime, got datetime.timedelta"),
        ({"priority": 1}, "does not support setting priority"),
        ({"queue_name": "other"}, "Queue 'other' is not valid"),
    ],
)
def test_what_cannot_be_is_refused(change, part, backend):
    with pytest.raises(InvalidTask, match=part):
        project_tasks.issue.using(**change)


def test_arguments_that_are_no_json_are_refused_and_nothing_is_scheduled(backend, client):
    with pytest.raises(TypeError, match="Unsupported type"):
        project_tasks.issue.enqueue(object())

    assert client.count_pending("tasks:default") == 0


def test_results_are_not_kept(backend):
    result = project_tasks.issue.enqueue("INV-1")

    assert (backend.supports_defer, backend.supports_async_task) == (True, True)
    assert (backend.supports_get_result, backend.supports_priority) == (False, False)
    with pytest.raises(NotImplementedError):
        project_tasks.issue.get_result(result.id)


async def test_it_is_enqueued_from_asynchronous_code(backend, client):
    result = await project_tasks.issue_without_blocking.aenqueue("INV-1")

    assert client.has_pending("tasks:slow", result.id)


def test_options_choose_alias_and_topic(key_settings):
    fake = FakeTimersClient()
    tasks = {
        "BACKEND": "faststream_redis_timers_sync.django.tasks.TimersBackend",
        "OPTIONS": {"ALIAS": "other", "TOPIC_PREFIX": ""},
    }
    timers = {"default": {"URL": "redis://localhost:1"}, "other": {"CLIENT": lambda: fake}}
    with override_settings(TASKS={"default": tasks}, TIMERS=timers):
        result = project_tasks.issue.enqueue("INV-1")

    assert [(timer.topic, timer.timer_id) for timer in fake.scheduled] == [("default", result.id)]


def test_a_queue_of_an_enum_is_its_value(backend_with):
    queue = Enum("Queue", {"SLOW": "slow"}, type=str).SLOW

    assert backend_with(TOPIC_PREFIX=queue).topic_of(queue) == "slowslow"


@pytest.mark.parametrize("prefix", [None, 5, "\ud800"])
def test_a_prefix_that_is_no_text_is_refused(backend_with, prefix):
    with pytest.raises(ImproperlyConfigured, match=r"TASKS.*: TOPIC_PREFIX "):
        backend_with(TOPIC_PREFIX=prefix)


def test_an_unknown_option_is_named(backend_with):
    with pytest.raises(ImproperlyConfigured, match="unknown key 'RETRIES': did you mean 'RETRY'"):
        backend_with(RETRIES=True)


def test_an_unknown_alias_is_found_by_the_checks(backend_with):
    backend_with(ALIAS="defualt")

    (error,) = [error for error in run_checks() if error.id == "timers.E002"]
    assert "TIMERS has no alias 'defualt': did you mean 'default'?" in error.msg
    backend_with()
    assert not any(error.id == "timers.E002" for error in run_checks())


# --- running


async def test_tasks_are_run_and_signals_sent(backend, bench, calls, sent):
    result = project_tasks.issue.enqueue("INV-1", again=True)
    project_tasks.issue_without_blocking.enqueue("INV-2")

    await serve(bench)

    assert sorted(calls, key=str) == [("INV-1", True), ("INV-2", "async")]
    assert {invoice.number async for invoice in Invoice.objects.all()} == {"INV-1", "INV-2"}
    assert bench.log.complaints == []
    own = [(name, status) for name, status, found in sent if found.id == result.id]
    assert own == [
        ("enqueued", TaskResultStatus.READY),
        ("started", TaskResultStatus.RUNNING),
        ("finished", TaskResultStatus.SUCCESSFUL),
    ]
    done = next(f for name, _, f in sent if name == "finished" and f.id == result.id)
    assert done.return_value == {"issued": "INV-1"}
    assert done.enqueued_at == result.enqueued_at
    assert done.enqueued_at <= done.started_at <= done.finished_at
    assert done.task == project_tasks.issue
    assert done.attempts == 1


async def test_they_leave_no_database_connection_open(backend, bench):
    opened = set()

    def note(*, connection, **_):
        opened.add(connection)

    for number in range(20):
        project_tasks.issue.enqueue(f"INV-{number}")
        project_tasks.issue_without_blocking.enqueue(f"INV-{number}")
    connections.close_all()
    connection_created.connect(note)
    try:
        await serve(bench)
    finally:
        connection_created.disconnect(note)

    assert opened
    assert [wrapper for wrapper in opened if wrapper.connection is not None] == []


async def test_a_task_gets_its_context(backend, bench, calls):
    result = project_tasks.tell.enqueue()

    await serve(bench)

    (context,) = calls
    assert context.task_result.id == result.id
    assert context.attempt == 1


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    ("task", "args", "kind"),
    [
        (project_tasks.fail, ["INV-1"], LookupError),
        (project_tasks.leave, [], SystemExit),
        (project_tasks.cancel_itself, [], asyncio.CancelledError),
        (project_tasks.end_as_a_generator, [], GeneratorExit),
        (project_tasks.give_what_is_no_json, [], TypeError),
        (project_tasks.issue, [], TypeError),
    ],
)
async def test_one_that_raises_is_failed_and_removed(task, args, kind, bench, sent, caplog):
    task.enqueue(*args)
    after = project_tasks.issue.using(run_after=datetime.now(UTC)).enqueue("after")

    await serve(bench, max_concurrent=1)

    status, failed = next((s, f) for name, s, f in sent if name == "finished")
    assert status == TaskResultStatus.FAILED
    assert [error.exception_class for error in failed.errors] == [kind]
    assert "Traceback" in failed.errors[0].traceback
    (line,) = [r for r in caplog.records if r.name == "django.tasks" and r.levelname == "ERROR"]
    assert failed.id in line.getMessage()
    assert line.exc_info[0] is kind
    # The worker goes on.
    assert [f.id for name, _, f in sent if name == "finished"] == [failed.id, after.id]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("signal", [task_started, task_finished])
@pytest.mark.parametrize("args", [["INV-1"], []], ids=["fine", "failed"])
async def test_a_receiver_that_raises_is_logged_and_the_task_not_retried(
    signal, args, bench, sent, caplog
):
    def complain(**_):
        msg = "no receiver"
        raise LookupError(msg)

    signal.connect(complain)
    try:
        project_tasks.issue.enqueue(*args)
        await serve(bench, lease_ttl=0.3)
    finally:
        signal.disconnect(complain)

    assert [name for name, _, _ in sent] == ["enqueued", "started", "finished"]
    (line,) = [r for r in caplog.records if r.name == "django.dispatch"]
    assert "no receiver" in line.getMessage()
    failures = [r for r in caplog.records if r.name == "django.tasks" and r.levelname == "ERROR"]
    assert [r.exc_info[0] for r in failures] == ([] if args else [TypeError])


async def test_with_retry_one_that_raises_is_retried(backend_with, bench, calls, sent):
    backend_with(RETRY=True)
    project_tasks.fail_once.enqueue()

    await serve(bench, lease_ttl=0.3)

    assert calls == ["try", "try"]
    assert [(name, status) for name, status, _ in sent if name != "enqueued"] == [
        ("started", TaskResultStatus.RUNNING),
        ("started", TaskResultStatus.RUNNING),
        ("finished", TaskResultStatus.SUCCESSFUL),
    ]
    assert any("LookupError('not yet')" in line for line in bench.log.complaints)


async def test_with_retry_sys_exit_does_not_stop_the_worker(backend_with, bench, calls):
    backend_with(RETRY=True)
    left = project_tasks.leave.enqueue()
    after = project_tasks.issue.using(run_after=datetime.now(UTC)).enqueue("after")

    broker = await serve(bench, until_gone=False)
    await wait_until_async(lambda: not bench.client.has_pending("tasks:default", after.id))
    await broker.stop()

    assert bench.client.cancel_timer("tasks:default", left.id)


@pytest.mark.parametrize(
    ("message", "part"),
    [
        ({"task": "project_tasks.no_task"}, "is not a task: decorate it with @task"),
        ({"task": "os.getpid"}, "'os.getpid', which timer 'odd' names, is not a task"),
        ({"task": "project_tasks.missing"}, 'does not define a "missing"'),
        ({"task": 5}, "timer 'odd' holds no task"),
        ("text", "timer 'odd' holds no task"),
    ],
)
async def test_what_is_no_task_is_not_called_but_kept_for_a_newer_worker(
    message, part, backend, bench, calls, sent
):
    if isinstance(message, dict):
        rest = {"queue": "default", "args": [], "kwargs": {}}
        message = {**rest, "enqueued_at": "2026-01-01T00:00:00+00:00", **message}
    bench.client.schedule(message, "tasks:default", timer_id="odd")

    broker = await serve(bench, until_gone=False)
    await wait_until_async(lambda: bench.log.complaints)
    await broker.stop()

    assert part in "".join(map(logging.Formatter().format, bench.log.records))
    assert calls == sent == []
    assert bench.client.cancel_timer("tasks:default", "odd")


async def test_one_that_outlives_its_worker_stays_leased(backend, bench, calls):
    project_tasks.gates["a"] = threading.Event()
    held = project_tasks.hold.enqueue("a")
    broker = bench.broker(graceful_timeout=0.01)
    serve_tasks(broker)
    await broker.start()
    await wait_until_async(lambda: calls == ["a"])
    try:
        await broker.stop()

        timer = bench.client.get_timer("tasks:default", held.id)
        assert timer is not None
        assert timer.running
    finally:
        project_tasks.gates["a"].set()
    bench.client.cancel_timer("tasks:default", held.id)


async def test_only_the_queues_that_are_named_are_served(backend, bench, calls):
    project_tasks.issue.enqueue("INV-1")
    other = project_tasks.issue_without_blocking.enqueue("INV-2")

    broker = await serve(bench, until_gone=False, queues=["default"])
    await wait_until_async(lambda: bench.client.count_pending("tasks:default") == 0)
    await broker.stop()

    assert calls == [("INV-1", False)]
    assert bench.client.cancel_timer("tasks:slow", other.id)


def test_what_cannot_be_served_is_refused(backend_with):
    backend_with(queues=[])
    with pytest.raises(ValueError, match=r"allows any queue: name those to serve"):
        serve_tasks(TimersBroker())
    immediate = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    with (
        override_settings(TASKS=immediate),
        pytest.raises(TypeError, match="must be a TimersBackend, got ImmediateBackend"),
    ):
        serve_tasks(TimersBroker())
