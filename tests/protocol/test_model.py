"""Values and errors as their users meet them."""

import pickle
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta

import pytest

from faststream_redis_timers_sync import (
    EnvelopeError,
    Timer,
    TimerExistsError,
    TimerOutcomeUnknownError,
    TimerPublishMessage,
    TimersError,
)

TIMER = Timer(
    topic="invoices",
    timer_id="42",
    due_at=datetime(2030, 1, 1, tzinfo=UTC),
    running=False,
    body=b'"hunter2"',
    content_type="application/json",
    headers={"token": "hunter2"},
    correlation_id="42",
)


def test_a_timer_can_not_be_changed():
    with pytest.raises(FrozenInstanceError):
        TIMER.running = True


@pytest.mark.parametrize(
    "value", [TIMER, TimerPublishMessage("hunter2", timer_id="42", headers={"token": "hunter2"})]
)
def test_what_a_message_says_does_not_show_in_a_repr(value):
    assert "'42'" in repr(value)
    assert "hunter2" not in repr(value)


def test_a_messages_settings_are_given_by_name():
    message = TimerPublishMessage("x", timer_id="42", activate_in=timedelta(hours=1))

    assert (message.body, message.timer_id, message.activate_at) == ("x", "42", None)
    with pytest.raises(TypeError):
        TimerPublishMessage("x", "42")


ERRORS = [
    TimerExistsError("invoices", "42"),
    TimerOutcomeUnknownError("cancel", "invoices", ("42",)),
    TimerOutcomeUnknownError("schedule", "invoices", ("42", "43")),
    TimerOutcomeUnknownError("cancel all", "invoices", ()),
    EnvelopeError("broken"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_survives_a_process_boundary(error):
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes

    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ERRORS[0], "timer '42' is already waiting in topic 'invoices'"),
        (ERRORS[1], "the server's reply to cancel (timer '42' in topic 'invoices') was lost"),
        (
            ERRORS[2],
            "server's reply to schedule (2 timers of topic 'invoices', the first '42') was lost",
        ),
        (ERRORS[3], "the server's reply to cancel all (all timers in topic 'invoices') was lost"),
    ],
)
def test_an_error_names_topic_and_timers(error, text):
    assert text in str(error)


def test_the_tree_of_errors():
    assert all(isinstance(error, TimersError) for error in ERRORS)
    assert issubclass(EnvelopeError, ValueError)
    assert not issubclass(TimersError, (ValueError, TypeError, OSError))
